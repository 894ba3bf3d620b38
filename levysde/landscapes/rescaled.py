"""A loss made sharper or flatter by stretching its parameters: `L_k(x) = L(sqrt(k) x)`.

Every Hessian is multiplied by k, every distance divided by sqrt(k), and all heights stay: minima,
saddles and barriers keep their losses. It is how Xie, Sato and Sugiyama (ICLR 2021) make minima of
one network sharper. The basin goes along: a `Sublevel` of the stretched loss is the stretched
sublevel set, any other domain is `Dilated(domain, k^(-1/2))`.
"""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from levysde import errors
from levysde.landscapes.network import NetworkLandscape
from levysde.protocols import Landscape, Point, Scalar
from levysde.types import Arg, Number


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
    """The loss `L(sqrt(k) x)`: Hessians times k, distances over sqrt(k), heights as they were (top
    of this file).

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
    if not isinstance(landscape, Landscape):
        raise TypeError(
            f"landscape must be a Landscape, not {landscape!r}. For example "
            "rescaled(DoubleWell(), hessian_factor=2.0)."
        )
    k = errors.positive("hessian_factor", hessian_factor, "hessian_factor=2.0")
    if not isinstance(landscape, NetworkLandscape):
        return Rescaled(landscape, k)
    root = jnp.sqrt(k)
    stretch = root if landscape.stretch is None else root * landscape.stretch
    return eqx.tree_at(
        lambda net: (net.stretch, net.minimum),
        landscape,
        (stretch, landscape.minimum / root),
        is_leaf=_is_none,
    )


def _is_none(leaf: object) -> bool:
    return leaf is None
