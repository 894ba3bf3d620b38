"""Losses made of another loss: the one that gradient descent of a finite learning rate follows to
second order, a loss with its parameters stretched, a loss in float64.

Modified: the loss that gradient descent follows to second order.

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

Rescaled: a loss made sharper or flatter by stretching its parameters, `L_k(x) = L(sqrt(k) x)`.
Every Hessian is multiplied by k, every distance divided by sqrt(k), and all heights stay: minima,
saddles and barriers keep their losses. Xie, Sato and Sugiyama (ICLR 2021) make minima of one
network sharper in this way. The basin goes along: a `Sublevel` of the stretched loss is the
stretched sublevel set, any other domain is `Dilated(domain, k^(-1/2))`.
"""

from contextlib import AbstractContextManager

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from levysde import errors
from levysde.landscapes.network import NetworkLandscape
from levysde.parts import in_float64 as copy_in_float64
from levysde.protocols import Landscape, Point, Scalar
from levysde.types import Arg, Number


class Modified(Landscape):
    """`F + eta/4 |grad F|^2`, with the minimum of F (see the top of this file).

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
        self.landscape = errors.instance(
            "landscape",
            landscape,
            Landscape,
            "Quadratic(hessian=jnp.eye(2)); make your own loss into one with levysde.from_function",
        )
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


class Rescaled(Landscape):
    """`L(sqrt(hessian_factor) x)` with its minimum at `landscape.minimum / sqrt(hessian_factor)`.
    Made by `rescaled`.

    Attributes:
        landscape: the loss L.
        hessian_factor: k, by which every Hessian is multiplied.
    """

    landscape: Landscape
    hessian_factor: Array

    def __init__(self, landscape: Landscape, hessian_factor: Array):
        self.landscape, self.hessian_factor = landscape, hessian_factor

    @property
    def dim(self) -> int:
        """d, the length of the parameter vector."""
        return self.landscape.dim

    @property
    def minimum(self) -> Array:
        """The marked minimum, shape `(d,)`."""
        return self.landscape.minimum / jnp.sqrt(self.hessian_factor)

    def value(self, x: Point) -> Scalar:
        return self.landscape.value(jnp.sqrt(self.hessian_factor) * x)

    def gradient(self, x: Point) -> Point:
        root = jnp.sqrt(self.hessian_factor)
        return root * self.landscape.gradient(root * x)

    def hessian(self, x: Point) -> Float[Array, "d d"]:
        return self.hessian_factor * self.landscape.hessian(jnp.sqrt(self.hessian_factor) * x)


def rescaled(landscape: Arg[Landscape], hessian_factor: Arg[Number]) -> Landscape:
    """The loss `L(sqrt(k) x)`: Hessians times k, distances over sqrt(k), heights as they were.

    Args:
        landscape: the loss L, with its minimum.
        hessian_factor: k, positive; an array leaf of the result, so that another k compiles nothing
            new.

    Returns:
        A network stays a network on the same data, with all that networks have: minibatch gradients
        are those of the stretched loss, so that an `OptimizerKernel` runs on it. Any other
        landscape becomes a `Rescaled`.

    Raises:
        ValueError, TypeError: something that is no landscape, or a `hessian_factor` that is not
            positive and finite.

    Source:
        Xie, Sato, Sugiyama, ICLR 2021.
    """
    errors.instance("landscape", landscape, Landscape, "rescaled(DoubleWell(), hessian_factor=2.0)")
    k = errors.positive("hessian_factor", hessian_factor, "hessian_factor=2.0")
    if not isinstance(landscape, NetworkLandscape):
        return Rescaled(landscape, k)
    root = jnp.sqrt(k)
    stretch = root if landscape.stretch is None else root * landscape.stretch
    return eqx.tree_at(
        lambda net: (net.stretch, net.minimum),
        landscape,
        (stretch, landscape.minimum / root),
        is_leaf=lambda leaf: leaf is None,
    )


def in_float64(landscape: Arg[Landscape]) -> AbstractContextManager[Landscape]:
    """A copy of `landscape` with its floats in float64; JAX computes in float64 inside the `with`
    block.

    Args:
        landscape: any, its numbers not traced by JAX.

    Returns:
        A context manager: `with in_float64(landscape) as precise`.

    Raises:
        TypeError: something that is no landscape, or one whose numbers JAX traces.

    Source:
        Elementary.
    """
    example = "with in_float64(DoubleWell()) as precise"
    return copy_in_float64(errors.instance("landscape", landscape, Landscape, example))
