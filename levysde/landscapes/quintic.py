"""A loss of one variable through given stationary points: quintic Hermite pieces, twice continuously differentiable.

Knots `k_0 < k_1 < ...` are alternately minima and maxima, with loss `v_j` and curvature `h_j`. Between two of them, with
`t = (x - k_j) / L`, `L = k_(j+1) - k_j`, the loss `p(t)` has

    p'(t) = t (1 - t) (a + b t + c t^2),   a = h_j L^2,   a + b + c = -h_(j+1) L^2,   a/6 + b/12 + c/20 = v_(j+1) - v_j

which is the one quintic with these values, curvatures, and slope 0 at both ends. It has no other stationary point where
`a + b t + c t^2` keeps its sign on (0, 1). Outside the outermost knots the loss is quadratic.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from levysde.protocols import Scalar


def evaluate(
    x: Scalar, knots: Float[Array, " k"], values: Float[Array, " k"], curvatures: Float[Array, " k"]
) -> tuple[Scalar, Scalar, Scalar]:
    """Loss, slope and curvature at `x`."""
    pieces = _pieces(knots, values, curvatures)
    # selected by masks: a gather in every lane is slower, and a matmul would depend on the number of lanes
    here = jnp.arange(pieces.shape[1]) == jnp.sum(x >= knots)
    origin, inverse, value, q2, q3, q4, q5 = jnp.sum(jnp.where(here[None, :], pieces, 0), 1)
    t = (x - origin) * inverse
    loss = value + t * t * (q2 + t * (q3 + t * (q4 + t * q5)))
    slope = inverse * t * (2 * q2 + t * (3 * q3 + t * (4 * q4 + t * 5 * q5)))
    curvature = inverse * inverse * (2 * q2 + t * (6 * q3 + t * (12 * q4 + t * 20 * q5)))
    return loss, slope, curvature


def _pieces(knots: Array, values: Array, curvatures: Array) -> Float[Array, "7 pieces"]:
    """Columns of origin, 1 / length, loss at the origin, coefficients of t^2 to t^5; the first and last are the outsides."""
    a, b, c = coefficients(knots, values, curvatures)
    inner = [knots[:-1], 1 / (knots[1:] - knots[:-1]), values[:-1], a / 2, (b - a) / 3, (c - b) / 4, -c / 5]
    zero, one = jnp.zeros_like(knots[0]), jnp.ones_like(knots[0])
    ends = [jnp.stack([knots[j], one, values[j], curvatures[j] / 2, zero, zero, zero]) for j in (0, -1)]
    return jnp.concatenate([ends[0][:, None], jnp.stack(inner), ends[1][:, None]], 1)


def coefficients(knots, values, curvatures):
    """`a, b, c` of every piece between knots; NumPy or JAX arrays."""
    length, rise = knots[1:] - knots[:-1], values[1:] - values[:-1]
    a, end = curvatures[:-1] * length**2, -curvatures[1:] * length**2
    b = 30 * rise - 3.5 * a - 1.5 * end
    return a, b, end - a - b


def check_monotone(knots: np.ndarray, values: np.ndarray, curvatures: np.ndarray) -> None:
    """Raises ValueError when the loss turns back between two neighbouring knots."""
    for j, (a, b, c) in enumerate(zip(*coefficients(knots, values, curvatures), strict=True)):
        low, high = sorted((j, j + 1), key=lambda i: values[i])
        a, b, c = np.array([a, b, c]) * np.sign(values[j + 1] - values[j])
        # positive at both ends already: only a dip between them can reach zero
        if c > 0 and 0 < -b < 2 * c and b * b >= 4 * a * c:
            rise, distance = values[high] - values[low], abs(knots[high] - knots[low])
            raise ValueError(
                f"curvature {curvatures[low]:g} at the minimum x = {knots[low]:g} and {-curvatures[high]:g} at the saddle "
                f"x = {knots[high]:g} do not fit a rise of {rise:g} over a distance of {distance:g}: the loss would turn back "
                f"on its way. Their sum is {(curvatures[low] - curvatures[high]):g}; up to 12 rise / distance^2 = "
                f"{12 * rise / distance**2:g} it always fits."
            )
