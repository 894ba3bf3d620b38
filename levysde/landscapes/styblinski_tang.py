"""The Styblinski-Tang function, with a sharpness."""

import itertools
import math

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from levysde import errors
from levysde.errors import Checked
from levysde.protocols import Landscape, Point, Scalar

# The roots of u^3 - 8 u + 5/4 (Viete's formula): global minimum, maximum, local minimum of one coordinate.
_ANGLE = math.acos(-15 / 64 * math.sqrt(3 / 8))
_LOW, _TOP, _HIGH = sorted(math.sqrt(32 / 3) * math.cos((_ANGLE - 2 * math.pi * j) / 3) for j in range(3))
_LARGEST_LIST = 12


class StyblinskiTang(Landscape):
    """`F(x) = L(sqrt(k) x)`, `L(u) = sum_i (u_i^4 - 16 u_i^2 + 5 u_i) / 2`, in any number of dimensions.

    `2^d` minima: every coordinate of `u` at -2.9035 (loss -39.166) or 2.7468 (loss -25.029); the marked one is the
    global minimum. Saddles have one coordinate at 0.1567. `k`, the sharpness, multiplies every Hessian by `k` and leaves all
    losses as they are.

    Args:
        dim: the dimension `d`.
        sharpness: `k`, positive.

    Raises TypeError or ValueError for an argument outside its range.

    Source: Styblinski, Tang, Neural Networks 3 (1990) 467; the sharpness: Xie, Sato, Sugiyama, ICLR 2021.
    """

    sharpness: Array
    dim: int = eqx.field(static=True)

    def __init__(self, dim: Checked = 2, *, sharpness: Checked = 1.0):
        self.dim = errors.integer("dim", dim, "dim=2")
        self.sharpness = errors.positive("sharpness", sharpness, "sharpness=1.0")

    @property
    def minimum(self) -> Point:
        return self._points(np.full(self.dim, _LOW))

    @property
    def minima(self) -> Float[Array, "n d"]:
        """All `2^d`, the marked one first. Raises ValueError above 12 dimensions."""
        self._check_list()
        return self._points(np.array(list(itertools.product((_LOW, _HIGH), repeat=self.dim))))

    @property
    def saddles(self) -> Float[Array, "m d"]:
        """All `d 2^(d-1)` of index 1, those beside the marked minimum first. Raises ValueError above 12 dimensions."""
        self._check_list()
        others = itertools.product((_LOW, _HIGH), repeat=self.dim - 1)
        return self._points(np.array([np.insert(rest, i, _TOP) for rest in others for i in range(self.dim)]))

    def value(self, x: Point) -> Scalar:
        u = jnp.sqrt(self.sharpness) * x
        return jnp.sum(u * (5 + u * (u * u - 16))) / 2

    def gradient(self, x: Point) -> Point:
        root = jnp.sqrt(self.sharpness)
        u = root * x
        return root * (2 * u * (u * u - 8) + 2.5)

    def hessian(self, x: Point) -> Float[Array, "d d"]:
        return jnp.diag(self.sharpness * (6 * self.sharpness * x * x - 16))

    def _points(self, u: np.ndarray) -> Array:
        return jnp.asarray(u, self.sharpness.dtype) / jnp.sqrt(self.sharpness)

    def _check_list(self) -> None:
        if self.dim > _LARGEST_LIST:
            raise ValueError(
                f"the minima in {self.dim} dimensions are 2^{self.dim}, too many to list (at most {_LARGEST_LIST} dimensions). "
                "Take .minimum, and move single coordinates."
            )
