"""Losses of products of matrices: deep linear networks and matrix sensing. Products are written multiply-and-sum."""

import math

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from levysde import errors
from levysde.errors import Checked
from levysde.landscapes.smooth import Smooth
from levysde.protocols import Point, Scalar


def _product(a: Float[Array, "n k"], b: Float[Array, "k m"]) -> Float[Array, "n m"]:
    return jnp.sum(a[:, :, None] * b[None, :, :], 1)


class DeepLinear(Smooth):
    """`F = |W_L ... W_1 - target|^2 / 2 + weight_decay |W|^2 / 2`, a deep linear network on whitened inputs (Saxe, McClelland,
    Ganguli, ICLR 2014). `x` is W_1, ..., W_L end to end, row by row.

    The marked minimum is the balanced factorisation by singular values, each mode shrunk by the weight decay. Minima are flat
    along the rotations between layers, with weight decay too: their Hessians have zero eigenvalues. Zero is a saddle (for two
    layers a strict one), `saddles`.

    Args:
        target: the matrix to be learnt, shape `(n_L, n_0)`.
        hidden: widths of the hidden layers, `L - 1` of them, one at least.
        weight_decay: 0 or positive; so large that the minimum is zero is refused.

    Raises TypeError or ValueError for arguments out of range.
    """

    target: Array
    weight_decay: Array
    minimum: Array
    shapes: tuple[tuple[int, int], ...] = eqx.field(static=True)
    dim: int = eqx.field(static=True)

    def __init__(self, target: Checked, *, hidden: Checked = (2,), weight_decay: Checked = 0.0):
        example = "target=jnp.diag(jnp.array([2.0, 1.0]))"
        self.target = errors.finite("target", target, example)
        if self.target.ndim != 2 or not self.target.size:
            raise ValueError(f"target must be a matrix, not of shape {self.target.shape}. Type for example {example}.")
        if not isinstance(hidden, tuple | list) or not hidden:
            raise TypeError(f"hidden must be a tuple of widths, not {hidden!r}. Type for example hidden=(2,).")
        widths = [errors.integer("each width in hidden", width, "hidden=(2,)") for width in hidden]
        self.weight_decay = errors.finite("weight_decay", weight_decay, "weight_decay=0.1", ())
        if errors.is_traced(self.target) or errors.is_traced(self.weight_decay):
            raise TypeError("DeepLinear finds its minimum on the host: make it outside jit, vmap and grad.")
        sizes = [self.target.shape[1], *widths, self.target.shape[0]]
        self.shapes = tuple((sizes[i + 1], sizes[i]) for i in range(len(sizes) - 1))
        self.dim = sum(math.prod(shape) for shape in self.shapes)
        layers = _balanced(np.asarray(self.target, float), sizes, float(self.weight_decay))
        self.minimum = jnp.asarray(np.concatenate([layer.ravel() for layer in layers]), dtype=float)

    def layers(self, x: Point) -> list[Array]:
        """The weight matrices in `x`, the first layer first."""
        ends = np.cumsum([math.prod(shape) for shape in self.shapes])
        return [x[end - math.prod(shape) : end].reshape(shape) for end, shape in zip(ends, self.shapes, strict=True)]

    def value(self, x: Point) -> Scalar:
        product, *rest = self.layers(x)
        for layer in rest:
            product = _product(layer, product)
        return jnp.sum((product - self.target) ** 2) / 2 + self.weight_decay / 2 * jnp.sum(x * x)

    @property
    def saddles(self) -> Float[Array, "1 d"]:
        return jnp.zeros((1, self.dim), self.target.dtype)


def _balanced(target: np.ndarray, sizes: list[int], decay: float) -> list[np.ndarray]:
    """Layers of equal singular values p, with `p^(L-1) (p^L - s) + decay p = 0` for each singular value s of the target."""
    if decay < 0:
        raise ValueError(f"weight_decay must not be negative, but is {decay:g}. Give 0 or more.")
    left, singular, right = np.linalg.svd(target)
    depth, rank = len(sizes) - 1, min(sizes)
    modes = np.array([_mode(s, depth, decay) for s in singular[:rank]])
    if not modes.any():
        raise ValueError(
            f"weight_decay = {decay:g} is so large that the minimum is zero. Give less, for example {singular[0] / 10:.2g}."
        )
    layers = []
    for i in range(depth):
        layer = np.zeros((sizes[i + 1], sizes[i]))
        layer[: len(modes), : len(modes)][np.diag_indices(len(modes))] = modes
        layers.append(layer)
    layers[0] = layers[0] @ right
    layers[-1] = left @ layers[-1]
    return layers


def _mode(s: float, depth: int, decay: float) -> float:
    """The p >= 0 of least `(p^depth - s)^2 / 2 + depth decay p^2 / 2`."""
    coefficients = np.zeros(2 * depth)
    coefficients[0], coefficients[depth] = 1.0, -s  # p^(2L-1) - s p^(L-1) + decay p
    coefficients[2 * depth - 2] += decay
    roots = np.roots(coefficients)
    real = np.append(roots.real[(np.abs(roots.imag) < 1e-9) & (roots.real > 0)], 0.0)
    return float(real[np.argmin((real**depth - s) ** 2 / 2 + depth * decay * real**2 / 2)])


class MatrixSensing(Smooth):
    """`F(U) = 1/(4m) sum_i (<A_i, U U'> - y_i)^2` (Ge, Jin, Zheng, ICML 2017): recover `U U'` from m random symmetric Gaussian
    measurements `y_i = <A_i, truth truth'>`. `x` is U row by row, `d = size * rank`.

    The marked minimum is the truth, of loss 0; so is the truth times any rotation, hence zero eigenvalues for `rank > 1`.

    Args:
        size: rows of U.
        rank: columns of U, at most `size`.
        measurements: m; from about `3 size rank` on there are no other minima.
        seed: of the truth (columns of length about 1) and the measurements.

    Raises TypeError or ValueError for arguments out of range.
    """

    sensors: Array
    readings: Array
    minimum: Array
    rank: int = eqx.field(static=True)
    dim: int = eqx.field(static=True)

    def __init__(self, size: Checked = 5, *, rank: Checked = 1, measurements: Checked = 30, seed: Checked = 0):
        size = errors.integer("size", size, "size=5")
        self.rank = errors.integer("rank", rank, "rank=1", high=size)
        measurements = errors.integer("measurements", measurements, "measurements=30")
        rng = np.random.default_rng(errors.seed(seed))
        truth = rng.normal(size=(size, self.rank)) / np.sqrt(size)
        raw = rng.normal(size=(measurements, size, size))
        sensors = (raw + raw.transpose(0, 2, 1)) / 2
        self.sensors = jnp.asarray(sensors, dtype=float)
        self.readings = jnp.asarray(np.einsum("mij,ik,jk->m", sensors, truth, truth), dtype=float)
        self.minimum = jnp.asarray(truth.ravel(), dtype=float)
        self.dim = size * self.rank

    def value(self, x: Point) -> Scalar:
        u = x.reshape(-1, self.rank)
        square = jnp.sum(u[:, None, :] * u[None, :, :], 2)
        error = jnp.sum(self.sensors * square[None, :, :], (1, 2)) - self.readings
        return jnp.sum(error * error) / (4 * self.readings.shape[0])
