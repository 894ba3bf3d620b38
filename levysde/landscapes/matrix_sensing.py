"""Matrix sensing: recover a low-rank matrix from random measurements of it."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from levysde import errors
from levysde.landscapes.smooth import Smooth
from levysde.protocols import Point, Scalar
from levysde.types import Arg, Integer


class MatrixSensing(Smooth):
    """`F(U) = 1/(4m) sum_i (<A_i, U U'> - y_i)^2`: recover `U U'` from m random symmetric Gaussian
    measurements `y_i = <A_i, truth truth'>`. `x` is U row by row, `d = num_rows * rank`.

    The marked minimum is the truth, of loss 0; so is the truth times any rotation, hence zero
    eigenvalues for `rank > 1`.

    Args:
        num_rows: rows of U.
        rank: columns of U, at most `num_rows`.
        measurements: m; from about `3 num_rows rank` on there are no other minima.
        seed: of the truth (columns of length about 1) and the measurements.

    Raises:
        ValueError, TypeError: an argument out of range.

    Source:
        Ge, Jin, Zheng, ICML 2017.
    """

    sensors: Array
    readings: Array
    minimum: Array
    rank: int = eqx.field(static=True)
    dim: int = eqx.field(static=True)

    def __init__(
        self,
        num_rows: Arg[Integer] = 5,
        *,
        rank: Arg[Integer] = 1,
        measurements: Arg[Integer] = 30,
        seed: Arg[Integer] = 0,
    ):
        size = errors.integer("num_rows", num_rows)
        self.rank = errors.integer("rank", rank, high=size)
        measurements = errors.integer("measurements", measurements)
        rng = np.random.default_rng(errors.seed(seed))
        truth = rng.normal(size=(size, self.rank)) / np.sqrt(size)
        raw = rng.normal(size=(measurements, size, size))
        sensors = (raw + raw.transpose(0, 2, 1)) / 2
        self.sensors = jnp.asarray(sensors, dtype=float)
        self.readings = jnp.asarray(np.einsum("mij,ik,jk->m", sensors, truth, truth), dtype=float)
        self.minimum = jnp.asarray(truth.ravel(), dtype=float)
        self.dim = size * self.rank

    def _arguments(self) -> dict:
        size, measurements = self.dim // self.rank, self.sensors.shape[0]
        return {
            "num_rows": size,
            "rank": self.rank,
            "measurements": measurements,
            "sensors": self.sensors,
        }

    def value(self, x: Point) -> Scalar:
        u = x.reshape(-1, self.rank)
        square = jnp.sum(u[:, None, :] * u[None, :, :], 2)
        error = jnp.sum(self.sensors * square[None, :, :], (1, 2)) - self.readings
        return jnp.sum(error * error) / (4 * self.readings.shape[0])
