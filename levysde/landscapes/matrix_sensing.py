"""Symmetric low-rank matrix sensing.

F(U) = 1/(4 m) sum_i (<A_i, U U'> - y_i)^2,   y_i = <A_i, U* U*'>,   <A, B> = sum_jk A_jk B_jk
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from levysde import errors
from levysde.errors import Checked
from levysde.protocols import Landscape, Point, Scalar


class MatrixSensing(Landscape):
    """Recover `U*` of shape `(size, rank)` from `m` noiseless Gaussian measurements of `U* U*'`.

    `x` is `U` row by row, `d = size rank`. `A_i = (G + G') / 2` with standard normal entries in `G`, so that for many measurements
    F tends to `|U U' - U* U*'|^2 / 4`. `U*` has orthonormal columns, by `seed`.

    The truth is the marked minimum, with loss 0. For rank 1 it is strict; above, `U R` is as good for every rotation `R`: the
    Hessian has `rank (rank - 1) / 2` zero eigenvalues, and `levysde.analysis.polish` refuses it. With few measurements there
    may be further minima.

    Args:
        size, rank: of the matrix, `rank <= size`.
        num_measurements: `m`, at least the number of unknowns, `size rank - rank (rank - 1) / 2`.
        seed: of measurements and truth.

    Raises TypeError or ValueError for an argument outside its range.

    Source: Bhojanapalli, Neyshabur, Srebro, NeurIPS 2016; Ge, Jin, Zheng, ICML 2017 (no spurious minima for many measurements).
    """

    measurements: Float[Array, "m n n"]
    outcomes: Float[Array, " m"]
    minimum: Array
    size: int = eqx.field(static=True)
    rank: int = eqx.field(static=True)
    dim: int = eqx.field(static=True)

    def __init__(self, size: Checked = 5, rank: Checked = 1, *, num_measurements: Checked = 50, seed: Checked = 0):
        self.size = errors.integer("size", size, "size=5")
        self.rank = errors.integer("rank", rank, "rank=1", high=self.size)
        self.dim = self.size * self.rank
        unknowns = self.dim - self.rank * (self.rank - 1) // 2
        m = errors.integer("num_measurements", num_measurements, "num_measurements=50")
        if m < unknowns:
            raise ValueError(
                f"num_measurements = {m} cannot fix a matrix of size {self.size} and rank {self.rank}, with {unknowns} unknowns. "
                f"Type for example num_measurements={4 * unknowns}."
            )
        rng = np.random.default_rng(errors.seed(seed))
        draws = rng.normal(size=(m, self.size, self.size))
        truth = np.linalg.qr(rng.normal(size=(self.size, self.rank)))[0]
        self.measurements = jnp.asarray((draws + draws.transpose(0, 2, 1)) / 2, dtype=float)
        self.minimum = jnp.asarray(truth.ravel(), dtype=float)
        self.outcomes = self._measure(self.minimum)[1]

    @property
    def minima(self) -> Float[Array, "2 d"]:
        """The truth and its negative."""
        return jnp.stack([self.minimum, -self.minimum])

    @property
    def saddles(self) -> Float[Array, "1 d"]:
        """The origin: stationary, and a strict saddle or a maximum; in general of higher index than 1."""
        return jnp.zeros((1, self.dim), self.minimum.dtype)

    def value(self, x: Point) -> Scalar:
        return jnp.mean((self._measure(x)[1] - self.outcomes) ** 2) / 4

    def gradient(self, x: Point) -> Point:
        applied, outcomes = self._measure(x)
        return jnp.mean((outcomes - self.outcomes)[:, None, None] * applied, 0).ravel()

    def hessian(self, x: Point) -> Float[Array, "d d"]:
        return jax.jacfwd(self.gradient)(x)

    def _measure(self, x: Point) -> tuple[Float[Array, "m n r"], Float[Array, " m"]]:
        """`A_i U` and `<A_i, U U'>`."""
        u = x.reshape(self.size, self.rank)
        # a matmul that no library reorders
        applied = jnp.sum(self.measurements[:, :, :, None] * u[None, None, :, :], 2)
        return applied, jnp.sum(applied * u[None], (1, 2))
