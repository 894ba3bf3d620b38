"""Many-well test functions of optimisation: Styblinski-Tang and Rastrigin in any dimension,
Mueller-Brown in two."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from levysde import errors
from levysde.landscapes.wells import Smooth
from levysde.protocols import Landscape, Point, Scalar
from levysde.random import sinpi
from levysde.types import Arg, Integer, Number

# roots of 4 u^3 - 32 u + 5, the slope of u^4 - 16 u^2 + 5 u: deep minimum, maximum, shallow minimum
_DEEP, _TOP, _SHALLOW = np.sort(np.roots([4.0, 0.0, -32.0, 5.0]).real)
_MOST = 12  # dimensions in which all 2^d minima are listed


class StyblinskiTang(Smooth):
    """`F(x) = loss_factor/2 sum_i (u_i^4 - 16 u_i^2 + 5 u_i)`, `u = sqrt(hessian_factor) x`.

    The stretch multiplies every Hessian by `hessian_factor` and leaves the depths. The marked
    minimum is the deepest, `u_i = -2.9035`, of loss `-39.166 loss_factor` a coordinate.

    Args:
        dim: d, coordinates of x.
        hessian_factor: k, positive.
        loss_factor: factor on the loss, positive; at 1, curvatures are in the tens.

    Raises:
        ValueError, TypeError: an argument out of range.

    Source:
        Styblinski and Tang, Neural Networks 3, 1990; the stretch Xie, Sato, Sugiyama, ICLR 2021.
    """

    hessian_factor: Array
    loss_factor: Array
    dim: int = eqx.field(static=True)

    def __init__(
        self,
        dim: Arg[Integer],
        *,
        hessian_factor: Arg[Number] = 1.0,
        loss_factor: Arg[Number] = 1.0,
    ):
        self.dim = errors.integer("dim", dim, "dim=10")
        self.hessian_factor = errors.positive("hessian_factor", hessian_factor)
        self.loss_factor = errors.positive("loss_factor", loss_factor, "loss_factor=1.0")

    def value(self, x: Point) -> Scalar:
        u = jnp.sqrt(self.hessian_factor) * x
        return self.loss_factor * jnp.sum(u * u * (u * u - 16) + 5 * u) / 2

    @property
    def minimum(self) -> Point:
        """The marked minimum, shape `(d,)`."""
        return jnp.full(self.dim, _DEEP, self.hessian_factor.dtype) / jnp.sqrt(self.hessian_factor)

    @property
    def minima(self) -> Float[Array, "n d"]:
        """All `2^d` minima, the deepest first. Raises ValueError above 12 dimensions."""
        self._check_dim("minima")
        rows = list(itertools.product((_DEEP, _SHALLOW), repeat=self.dim))
        return jnp.asarray(rows, self.hessian_factor.dtype) / jnp.sqrt(self.hessian_factor)

    @property
    def saddles(self) -> Float[Array, "n d"]:
        """The `d 2^(d-1)` saddles of index one: one coordinate on top. Raises ValueError above 12
        dimensions."""
        self._check_dim("saddles")
        rest = itertools.product((_DEEP, _SHALLOW), repeat=self.dim - 1)
        rows = [[*row[:i], _TOP, *row[i:]] for row in rest for i in range(self.dim)]
        return jnp.asarray(rows, self.hessian_factor.dtype) / jnp.sqrt(self.hessian_factor)

    def _check_dim(self, what: str) -> None:
        if self.dim > _MOST:
            raise ValueError(
                f"in {self.dim} dimensions there are {2**self.dim} minima; {what} are listed up "
                f"to {_MOST}. Each coordinate of a minimum is one of those of "
                "StyblinskiTang(1).minima."
            )


class Rastrigin(Landscape):
    """`F(x) = sum_i (amplitude (1 - cos(2 pi x_i)) + x_i^2)`. The marked minimum is the origin, of
    loss 0; others stand near every integer point while `2 pi^2 amplitude` exceeds 1.

    Args:
        dim: d, coordinates of x.
        amplitude: of the ripples, at least 1 (below about 0.3 the nearest wells vanish).

    Raises:
        ValueError, TypeError: an argument out of range.

    Source:
        Rastrigin, 1974; in d dimensions Rudolph, 1990.
    """

    amplitude: Array
    dim: int = eqx.field(static=True)

    def __init__(self, dim: Arg[Integer], *, amplitude: Arg[Number] = 10.0):
        self.dim = errors.integer("dim", dim)
        self.amplitude = errors.positive("amplitude", amplitude)
        if not errors.is_traced(self.amplitude) and float(self.amplitude) < 1:
            raise ValueError(
                f"amplitude must be at least 1, not {amplitude!r}. For example amplitude=10.0."
            )

    def value(self, x: Point) -> Scalar:
        sine = sinpi(x - jnp.round(x))
        return jnp.sum(x * x + 2 * self.amplitude * sine * sine)

    def gradient(self, x: Point) -> Point:
        offset = x - jnp.round(x)
        return 2 * x + 4 * jnp.pi * self.amplitude * sinpi(offset) * sinpi(0.5 - jnp.abs(offset))

    def hessian(self, x: Point) -> Float[Array, "d d"]:
        sine = sinpi(x - jnp.round(x))
        return jnp.diag(2 + 4 * jnp.pi**2 * self.amplitude * (1 - 2 * sine * sine))

    @property
    def minimum(self) -> Point:
        """The origin, shape `(d,)`."""
        return jnp.zeros(self.dim, self.amplitude.dtype)

    @property
    def minima(self) -> Float[Array, "n d"]:
        """The origin and its `2 d` nearest neighbours, one step along an axis."""
        axes = self._stationary(1.0) * jnp.eye(self.dim)
        return jnp.concatenate([self.minimum[None, :], axes, -axes])

    @property
    def saddles(self) -> Float[Array, "n d"]:
        """The `2 d` saddles between the origin and those neighbours."""
        axes = self._stationary(0.5) * jnp.eye(self.dim)
        return jnp.concatenate([axes, -axes])

    def _stationary(self, near: float) -> Scalar:
        """The root of `x + pi amplitude sin(2 pi x)` near a multiple of 1/2, by Newton."""
        x = jnp.asarray(near, self.amplitude.dtype)
        for _ in range(6):
            slope = x + jnp.pi * self.amplitude * jnp.sin(2 * jnp.pi * x)
            x = x - slope / (1 + 2 * jnp.pi**2 * self.amplitude * jnp.cos(2 * jnp.pi * x))
        return x


_MB_HEIGHT = [-200.0, -100.0, -170.0, 15.0]
_MB_A, _MB_B, _MB_C = [-1.0, -1.0, -6.5, 0.7], [0.0, 0.0, 11.0, 0.6], [-10.0, -10.0, -6.5, 0.7]
_MB_X, _MB_Y = [1.0, 0.0, -0.5, -1.0], [0.0, 0.5, 1.5, 1.0]
# to the digits of Mueller and Brown; Newton takes them on
_MB_MINIMA = [[-0.558, 1.442], [0.623, 0.028], [-0.050, 0.467]]
_MB_SADDLES = [[-0.822, 0.624], [0.212, 0.293]]


class MuellerBrown(Landscape):
    """The two-dimensional surface of Mueller and Brown,
    `sum_k A_k exp(a_k dx^2 + b_k dx dy + c_k dy^2)`, `dx = x_0 - x_k`, `dy = x_1 - y_k`, times
    `loss_factor`.

    Minima of loss -146.70 (the marked one), -108.17 and -80.77, saddles of -40.66 and -72.25, at
    `loss_factor` 1.

    Args:
        loss_factor: factor on the whole loss, positive. Small noise needs a small one: at 1 the
            curvatures reach thousands.

    Raises:
        ValueError, TypeError: a `loss_factor` that is not positive and finite.

    Source:
        Mueller and Brown, Theor. Chim. Acta 53, 1979.
    """

    loss_factor: Array
    dim: int = eqx.field(static=True)

    def __init__(self, *, loss_factor: Arg[Number] = 1.0):
        self.loss_factor = errors.positive("loss_factor", loss_factor, "loss_factor=0.01")
        self.dim = 2

    def value(self, x: Point) -> Scalar:
        return self.loss_factor * sum(size for size, *_ in self._hills(x))

    def gradient(self, x: Point) -> Point:
        hills = self._hills(x)
        first, second = sum(size * p for size, p, _ in hills), sum(size * q for size, _, q in hills)
        return self.loss_factor * jnp.where(jnp.arange(2) == 0, first, second)

    def _hills(self, x: Point) -> list[tuple[Scalar, Scalar, Scalar]]:
        """Of each term the size, and the two derivatives of its exponent."""
        hills = []
        for height, a, b, c, x_k, y_k in zip(
            _MB_HEIGHT, _MB_A, _MB_B, _MB_C, _MB_X, _MB_Y, strict=True
        ):
            dx, dy = x[0] - x_k, x[1] - y_k
            size = height * jnp.exp(a * dx * dx + b * dx * dy + c * dy * dy)
            hills.append((size, 2 * a * dx + b * dy, b * dx + 2 * c * dy))
        return hills

    def hessian(self, x: Point) -> Float[Array, "2 2"]:
        return jax.jacfwd(self.gradient)(x)

    @property
    def minimum(self) -> Point:
        """The deepest minimum, shape `(2,)`."""
        return self.minima[0]

    @property
    def minima(self) -> Float[Array, "3 2"]:
        """The three minima, shape `(3, 2)`, the deepest first."""
        return self._refined(_MB_MINIMA)

    @property
    def saddles(self) -> Float[Array, "2 2"]:
        """The two saddles, shape `(2, 2)`."""
        return self._refined(_MB_SADDLES)

    def _refined(self, points: list) -> Float[Array, "n 2"]:
        """Newton from points known to three digits, the 2 x 2 systems solved by Cramer's rule."""
        rows = []
        for point in points:
            x = jnp.asarray(point, self.loss_factor.dtype)
            for _ in range(4):
                g, h = self.gradient(x), self.hessian(x)
                step = jnp.stack([h[1, 1] * g[0] - h[0, 1] * g[1], h[0, 0] * g[1] - h[1, 0] * g[0]])
                x = x - step / (h[0, 0] * h[1, 1] - h[0, 1] * h[1, 0])
            rows.append(x)
        return jnp.stack(rows)
