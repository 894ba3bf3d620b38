"""The loss that gradient descent of a finite learning rate follows to second order.

    F_eta(x) = F(x) + eta/4 |grad F(x)|^2,    grad F_eta = grad F + eta/2 H grad F.

A step of gradient descent, `x - eta grad F(x)`, is the flow of `-grad F_eta` over the time eta up
to eta^3. With noise,

    dX = -grad F_eta(X) dt + sqrt(eta) S dW,    S S' the covariance of the stochastic gradient,

agrees with SGD to weak order 2 at a fixed time, where `dX = -grad F dt + sqrt(eta) S dW` does to
order 1.

What it is not: better at rest. Near a minimum of curvature h with gradient variance C, SGD's
stationary variance is `eta C / (h (2 - eta h))`, a factor `1 + eta h/2 + ...` above that of the
first-order equation, while the modified loss is steeper and has `1 - eta h/2 + ...`: both are right
to leading order, this one is off by twice as much. The scale `(1 + eta H/2) S` mends it, to
`1 + eta h/2`, and the weak order stays 2.

Li, Tai, E, ICML 2017, and J. Mach. Learn. Res. 20 (2019); without noise, Barrett, Dherin, ICLR
2021.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from levysde import errors
from levysde.protocols import Landscape, Point, Scalar
from levysde.types import Arg, Number


class Modified(Landscape):
    """`F + eta/4 |grad F|^2`, with the minimum of F (see the head of this file).

    `SGD(Modified(F, learning_rate=eta), Brownian(), learning_rate=eta)` is the second-order
    modified equation of SGD, to be integrated with steps well below eta. A gradient costs one of F
    and a product with its Hessian.

    Args:
        landscape: the loss F. Every stationary point of F is one of this loss too; a saddle or
            maximum keeps its kind while `eta |curvature| < 2`.
        learning_rate: eta, positive.

    Raises:
        ValueError, TypeError: something that is no landscape, or a learning rate that is not
            positive and finite.

    Source:
        Li, Tai, E, ICML 2017, and J. Mach. Learn. Res. 20, 2019; without noise, Barrett, Dherin,
        ICLR 2021.
    """

    landscape: Landscape
    learning_rate: Array

    def __init__(self, landscape: Arg[Landscape], *, learning_rate: Arg[Number]):
        if not isinstance(landscape, Landscape):
            raise TypeError(
                f"landscape must be a Landscape, not {landscape!r}. For example "
                "Quadratic(hessian=jnp.eye(2)); make your own loss into one with "
                "levysde.from_function."
            )
        self.landscape = landscape
        self.learning_rate = errors.positive("learning_rate", learning_rate)

    @property
    def dim(self) -> int:
        """d, the length of the parameter vector."""
        return self.landscape.dim

    @property
    def minimum(self) -> Array:
        """That of F, shape `(d,)`."""
        return self.landscape.minimum

    def value(self, x: Point) -> Scalar:
        slope = self.landscape.gradient(x)
        return self.landscape.value(x) + self.learning_rate / 4 * jnp.sum(slope * slope)

    def gradient(self, x: Point) -> Point:
        slope = self.landscape.gradient(x)
        _, bent = jax.jvp(self.landscape.gradient, (x,), (slope,))
        return slope + self.learning_rate / 2 * bent

    def hessian(self, x: Point) -> Float[Array, "d d"]:
        return jax.jacfwd(self.gradient)(x)
