"""Factorisations of a matrix as losses: a deep linear network, and matrix sensing.

A deep linear network as a loss of its weights:

    F(x) = |W_L ... W_1 - T|^2 / 2 + weight_decay |x|^2 / 2      (Frobenius norms; x holds W_1, ...,
        W_L, each row by row)

With `T = U diag(s) V'`, a balanced point has `W_1 = diag(u) V'`, `W_L = U diag(u)`, the layers
between `diag(u)`, one factor `u_i` a singular value, and is stationary where for every `i`

    u^(L-1) (u^L - s) + weight_decay u = 0.

Without weight decay that is `u = s^(1/L)` or 0. With it, `u^2 = s - weight_decay` or 0 for two
layers; for more layers, 0 (a minimum by itself) or one of two roots, the smaller one a maximum
along the mode.
"""

import itertools
import math
from collections.abc import Sequence

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from levysde import errors
from levysde.landscapes.wells import Smooth
from levysde.protocols import Point, Scalar
from levysde.types import Arg, Integer, Number, Numbers, Seed


class DeepLinear(Smooth):
    """`|W_L ... W_1 - T|^2 / 2`, `W_l` of shape `(widths[l], widths[l - 1])`, plus
    `weight_decay |x|^2 / 2`.

    On inputs `X` (one a column, `X X'/n = I`) and outputs `Y`, the mean squared error over two is
    this with `T = Y X'/n`, plus a constant.

    The marked minimum is a global one: the balanced factorisation of the best `T` of rank
    `min(widths)`. It is not strict: `W_2 G, G^-1 W_1` is the same network, so that the Hessian has
    at least `sum h^2` zero eigenvalues, `h` the hidden widths (exactly that many when every `h` is
    the rank of `T`). Weight decay leaves only rotations `G`: `sum h (h - 1) / 2`, none at hidden
    width 1. `levysde.networks.refine` refuses it accordingly.

    Args:
        widths: input, hidden and output widths, `L + 1` of them, `L >= 2`.
        target: `T`, shape `(widths[-1], widths[0])`, not zero; a number already, not traced.
        weight_decay: adds `weight_decay |x|^2 / 2`; 0 or positive.

    Attributes:
        minimum: `(d,)`. Computed at construction for the numbers given then, as are the saddles.
        saddles: `(m, d)`, one for each singular value in the minimum: the point with that one taken
            out. Strict (a negative eigenvalue), of index 1 when `T` has rank `min(widths)` at most;
            zero eigenvalues as at the minimum. Without weight decay the value is taken out of the
            first and last layer alone: out of all, in three layers or more, leaves a saddle that no
            Hessian shows, as is `x = 0`. None where the weight decay outweighs every singular
            value, and the minimum is 0.

    Raises:
        ValueError, TypeError: widths or a target that do not fit, a negative weight decay, numbers
            that JAX traces.

    Source:
        Kawaguchi, "Deep learning without poor local minima", NeurIPS 2016, theorem 2.3.
    """

    target: Array
    weight_decay: Array
    minimum: Array
    saddles: Array
    widths: tuple[int, ...] = eqx.field(static=True)
    dim: int = eqx.field(static=True)

    def __init__(
        self,
        widths: Arg[Sequence[Integer]],
        target: Arg[Numbers],
        *,
        weight_decay: Arg[Number] = 0.0,
    ):
        self.widths = _widths(widths)
        shape = (self.widths[-1], self.widths[0])
        errors.concrete("target", target)  # the minimum is found on the host
        errors.concrete("weight_decay", weight_decay)
        self.target = errors.finite("target", target, f"target=jnp.ones({shape})", shape)
        if not np.asarray(self.target).any():
            raise ValueError(
                "target must not be zero: it has no singular value to learn. For "
                "example jnp.eye(2)."
            )
        self.weight_decay = errors.nonnegative("weight_decay", weight_decay)
        self.dim = sum(a * b for a, b in zip(self.widths[1:], self.widths[:-1], strict=True))
        for name, value in self._derived().items():
            setattr(self, name, value)

    def _derived(self) -> dict[str, Array]:
        minimum, saddles = _balanced(
            self.widths, np.asarray(self.target, float), float(self.weight_decay)
        )
        return {
            "minimum": jnp.asarray(minimum, self.target.dtype),
            "saddles": jnp.asarray(saddles, self.target.dtype),
        }

    @property
    def minima(self) -> Float[Array, "1 d"]:
        """The marked one alone, shape `(1, d)`: the others are its images under the symmetry."""
        return self.minimum[None]

    def layers(self, x: Point) -> list[Float[Array, "m n"]]:
        """`W_1, ..., W_L` of the flat vector `x`."""
        layers, start = [], 0
        for before, after in zip(self.widths[:-1], self.widths[1:], strict=True):
            layers.append(x[start : start + after * before].reshape(after, before))
            start += after * before
        return layers

    def value(self, x: Point) -> Scalar:
        product, *rest = self.layers(x)
        for layer in rest:
            # a matmul that no library reorders
            product = jnp.sum(layer[:, :, None] * product[None, :, :], 1)
        return jnp.sum((product - self.target) ** 2) / 2 + self.weight_decay / 2 * jnp.sum(x * x)


def _widths(widths: Arg[Sequence[Integer]]) -> tuple[int, ...]:
    example = "widths=(3, 2, 3): input, hidden and output widths"
    if not isinstance(widths, list | tuple):
        raise TypeError(
            f"widths must be a tuple of integers, not {widths!r}. For example {example}."
        )
    if len(widths) < 3:
        raise ValueError(
            f"widths must name at least one hidden layer, not {widths!r}. For example {example}."
        )
    return tuple(errors.integer("each of widths", width, example) for width in widths)


def _balanced(
    widths: tuple[int, ...], target: np.ndarray, decay: float
) -> tuple[np.ndarray, np.ndarray]:
    left, singular, right = np.linalg.svd(target)
    depth, rank = len(widths) - 1, min(widths)
    singular = np.where(singular > 1e-12 * singular[0], singular, 0)
    found = [_factors(s, depth, decay) for s in singular[:rank]]
    learnt = np.array([factor for factor, _ in found])

    def point(outer: np.ndarray, inner: np.ndarray) -> np.ndarray:
        layers = []
        for i, (before, after) in enumerate(itertools.pairwise(widths)):
            layer = np.zeros((after, before))
            layer[:rank, :rank] = np.diag(outer if i in (0, depth - 1) else inner)
            layers.append(layer)
        layers[0], layers[-1] = layers[0] @ right, left @ layers[-1]
        return np.concatenate([layer.ravel() for layer in layers])

    saddles = []
    for i in np.flatnonzero(learnt):
        outer, inner = learnt.copy(), learnt.copy()
        outer[i] = found[i][1]
        inner[i] = learnt[i] if decay == 0 else found[i][1]
        saddles.append(point(outer, inner))
    minimum = point(learnt, learnt)
    # none where the decay outweighs every singular value
    return minimum, np.array(saddles).reshape(-1, minimum.size)


def _factors(s: float, depth: int, decay: float) -> tuple[float, float]:
    """A singular value's factor in each layer at the minimum, and at the saddle of its mode."""
    from scipy.optimize import root_scalar  # slow to import

    if decay == 0:
        return s ** (1 / depth), 0.0
    if depth == 2:
        return math.sqrt(max(s - decay, 0)), 0.0

    def slope(u: float) -> float:
        return u ** (2 * depth - 2) - s * u ** (depth - 2) + decay

    turn = ((depth - 2) * s / (2 * depth - 2)) ** (1 / depth)
    if slope(turn) >= 0:
        return 0.0, 0.0
    small = root_scalar(slope, bracket=(0, turn), xtol=1e-15).root
    large = root_scalar(slope, bracket=(turn, s ** (1 / depth)), xtol=1e-15).root
    better = (large**depth - s) ** 2 + decay * depth * large**2 < s**2
    return (large, small) if better else (0.0, small)


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
        seed: Arg[Seed] = 0,
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
