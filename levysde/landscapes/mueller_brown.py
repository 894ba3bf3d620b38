"""The Müller-Brown potential.

V(x, y) = sum_k A_k exp(a_k (x - X_k)^2 + b_k (x - X_k) (y - Y_k) + c_k (y - Y_k)^2)
"""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from levysde import errors
from levysde.errors import Checked
from levysde.protocols import Landscape, Point, Scalar

# rows A, a, b, c, X, Y
_CONSTANTS = np.array(
    [
        [-200.0, -100.0, -170.0, 15.0],
        [-1.0, -1.0, -6.5, 0.7],
        [0.0, 0.0, 11.0, 0.6],
        [-10.0, -10.0, -6.5, 0.7],
        [1.0, 0.0, -0.5, -1.0],
        [0.0, 0.5, 1.5, 1.0],
    ]
)
# stationary points in float64, by Newton's method from the published two or three digits
_MINIMA = np.array(
    [
        [-0.5582236346330243, 1.4417258418046686],
        [0.6234994049308765, 0.028037758528685664],
        [-0.05001082299820608, 0.4666941048719721],
    ]
)
_SADDLES = np.array([[-0.8220015587327322, 0.6243128028148713], [0.21248658200066206, 0.2929883251073677]])


class MuellerBrown(Landscape):
    """The Müller-Brown potential with its published constants, times `factor`; in two dimensions.

    Minima (-0.558, 1.442), the marked one, (0.623, 0.028) and (-0.050, 0.467), at -146.700, -108.167 and -80.768; saddles
    (-0.822, 0.624) and (0.212, 0.293), at -40.665 and -72.249 (times `factor`). The minima's curvatures go from 220
    to 4,070: a `factor` of 0.01 allows for larger steps. Raises ValueError unless `factor` is positive.

    Source: Müller, Brown, Theoretica Chimica Acta 53 (1979) 75, footnote 7.
    """

    factor: Array
    dim: int = eqx.field(static=True, default=2)

    def __init__(self, *, factor: Checked = 1.0):
        self.factor = errors.positive("factor", factor, "factor=1.0")

    @property
    def minimum(self) -> Point:
        return self.minima[0]

    @property
    def minima(self) -> Float[Array, "3 2"]:
        return jnp.asarray(_MINIMA, self.factor.dtype)

    @property
    def saddles(self) -> Float[Array, "2 2"]:
        """The one between minima 0 and 2, then the one between 2 and 1."""
        return jnp.asarray(_SADDLES, self.factor.dtype)

    def value(self, x: Point) -> Scalar:
        return self.factor * jnp.sum(self._terms(x)[0])

    def gradient(self, x: Point) -> Point:
        term, first, second, _ = self._terms(x)
        return self.factor * jnp.stack([jnp.sum(term * first), jnp.sum(term * second)])

    def hessian(self, x: Point) -> Float[Array, "2 2"]:
        term, first, second, (a, b, c) = self._terms(x)
        mixed = jnp.sum(term * (first * second + b))
        rows = [[jnp.sum(term * (first**2 + 2 * a)), mixed], [mixed, jnp.sum(term * (second**2 + 2 * c))]]
        return self.factor * jnp.stack([jnp.stack(row) for row in rows])

    def _terms(self, x: Point) -> tuple[Array, Array, Array, Array]:
        """The four terms, the derivatives of their exponents along x and y, and `a, b, c`."""
        height, a, b, c, x0, y0 = jnp.asarray(_CONSTANTS, x.dtype)
        u, v = x[0] - x0, x[1] - y0
        exponent = a * u * u + b * u * v + c * v * v
        return height * jnp.exp(exponent), 2 * a * u + b * v, b * u + 2 * c * v, jnp.stack([a, b, c])
