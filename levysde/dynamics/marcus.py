"""The Marcus reading of multiplicative noise: a jump runs along the field of the scale.

Notation: `f_y(x) = epsilon S(x) y`. Where Ito moves x to `x + f_y(x)`, Marcus moves it to `phi(1)`,

    phi' = f_y(phi),    phi(0) = x,

so that the chain rule holds as in ordinary calculus; for Brownian noise it is Stratonovich's.
Marcus, IEEE Trans. Inform. Theory 24 (1978); Kurtz, Pardoux, Protter, Ann. Inst. H. Poincaré B 31
(1995).

The flow is followed by Dormand and Prince's method of order 5 (J. Comput. Appl. Math. 6, 1980), its
step length chosen by its error estimate: jumps of heavy-tailed noise are of every size, and an
equal division of a large one would be thrown far out where the field falls to zero. The unknown is
the displacement `u = phi - x`, and the clock runs to `max |y_i|` along a unit jump, so that numbers
stay in range. Most jumps take one sub-step.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from levysde.protocols import NoiseVector, Point, Scale

_TOLERANCE = 1e-5  # error of a sub-step, as a share of the displacement so far
_SAFETY, _SHRINK, _GROW = 0.9, 1e-3, 8.0
_STAGES = (
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
)
_ERROR = (71 / 57600, 0.0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40)


def marcus_displacement(scale: Scale, epsilon: Array, y: NoiseVector, x: Point, most: int) -> Point:
    """`phi(1) - x`, to about 1e-5 of itself, shape `(d,)`, by at most `most` sub-steps, tried or
    made.

    What is left of a jump then is dropped. By the default of `SGD` this is one that has gone round
    some three times, or has stretched or shrunk its field by a factor 1e8 and more: it has arrived
    at a zero of the field, or is far out.
    """
    length = jnp.max(jnp.abs(y))
    direction = y / jnp.where(length > 0, length, 1)

    def field(u: Point) -> Point:
        return epsilon * scale.apply(direction, x + u)

    def going(carry: tuple) -> Array:
        return (carry[1] > 0) & (carry[3] < most)

    def advance(carry: tuple) -> tuple:
        u, left, h, count = carry
        new, error = _dormand_prince(field, u, h)
        size = jnp.maximum(jnp.max(jnp.abs(u)), jnp.max(jnp.abs(new)))
        ratio = jnp.max(jnp.abs(error)) / jnp.where(size > 0, size * _TOLERANCE, 1)
        ratio = jnp.where(jnp.all(jnp.isfinite(new)) & jnp.isfinite(ratio), ratio, np.inf)
        good = ratio <= 1
        stretch = jnp.clip(_SAFETY * jnp.maximum(ratio, 1e-9) ** -0.2, _SHRINK, _GROW)
        left = jnp.where(good, left - h, left)
        return jnp.where(good, new, u), left, jnp.minimum(h * stretch, left), count + 1

    still = jnp.zeros_like(x)
    u = jax.lax.while_loop(going, advance, (still, length, length, jnp.zeros((), jnp.int32)))[0]
    first = field(still)
    # a scale that is NaN at x is to be noticed
    return jnp.where(jnp.all(jnp.isfinite(first)), u, first)


def _dormand_prince(field, u: Point, h: Array) -> tuple[Point, Point]:
    """The point after a sub-step of length h, and its error estimate."""
    slopes = [field(u)]
    for row in _STAGES:
        point = u + h * sum(
            weight * slope for weight, slope in zip(row, slopes, strict=True) if weight
        )
        slopes.append(field(point))
    error = h * sum(weight * slope for weight, slope in zip(_ERROR, slopes, strict=True) if weight)
    return point, error
