"""Basins by gradient flow: the basin of attraction of a minimum, and the connected component of a
sublevel set."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from levysde import errors
from levysde.domains.flow import Attractors, attractors, rows, stationary_spectrum
from levysde.domains.implicit import Sublevel, search_ray
from levysde.protocols import Domain, Label, Landscape, Point, Scalar, Truth
from levysde.types import Arg, Integer, Number, Numbers

_ENOUGH = 10_000  # steps of the flow; a path among wells takes some tens
_NUDGE = 0.01  # off a saddle, in units of the smallest capture radius


class Basin(Domain):
    """The points from which the gradient flow `dx = -grad F dt` ends at the landscape's marked
    minimum.

    The flow is followed in steps of controlled error until it enters a ball about a known minimum
    that no flow leaves (looked at along many directions when the domain is built). A point whose
    flow ends elsewhere, or has not arrived after `max_steps` steps, is outside. Beside the
    watershed, within about 1e-4 of the distance to the minimum, a point may be put on the wrong
    side; from 1e7 times the size of the well, floats of 32 bits no longer follow a flow. The basin
    is that of the loss: where the noiseless dynamics is not its gradient flow (momentum, ADAM),
    theirs differs.

    The label is `1 + i` where the flow ends at `minima[i]`, and one more than there are `minima`
    where it ends elsewhere or has not arrived.

    Args:
        landscape: the loss, with its minimum.
        minima: other known minima, `(n, d)`, for the labels and to end flows there early; the
            marked one may be among them.
        max_steps: of the flow, each three gradients; long curved valleys need many.

    Raises:
        TypeError, ValueError: no landscape; a minimum that is a saddle, not stationary, or not
            isolated; bad `minima` or `max_steps`; a landscape traced by JAX.
    """

    landscape: Landscape
    attractors: Attractors

    def __init__(
        self,
        landscape: Arg[Landscape],
        *,
        minima: Arg[Numbers | None] = None,
        max_steps: Arg[Integer] = _ENOUGH,
    ):
        if not isinstance(landscape, Landscape):
            raise TypeError(
                f"landscape must be a Landscape, not {landscape!r}. For example "
                "Basin(DoubleWell()); make your own loss into one with levysde.from_function."
            )
        self.landscape = landscape
        self.attractors = attractors(landscape, minima, max_steps)

    def _arguments(self) -> dict:
        known = self.attractors
        return {"landscape": self.landscape, "minima": known.minima, "max_steps": known.max_steps}

    def contains(self, x: Point) -> Truth:
        return self.label(x) == 0

    def label(self, x: Point) -> Label:
        return self.attractors.reached_from(self.landscape, x, jnp.all(jnp.isfinite(x)))

    def ray_distance(self, x: Point, v: Point) -> Scalar:
        return search_ray(self.contains, x, v)

    @property
    def dim(self) -> int:
        """d, the length of the points it takes."""
        return self.landscape.dim

    @property
    def convex(self) -> bool:
        return False


class Component(Domain):
    """The connected component of `{x : F(x) < F(minimum) + height}` that holds the landscape's
    marked minimum.

    Decided by the gradient flow, which never leaves a component: `x` is inside when its loss is
    below the level and the flow from it ends at a minimum that is linked to the marked one below
    the level.

    Without `minima` and `saddles` only the marked minimum counts: the component where it is the
    only minimum in it, else the part of the component in its basin of attraction. With them, minima
    are linked through the saddles below the level (from each of index 1 the flow is followed to
    both sides), and what is decided is the whole component, provided that none of either is missing
    from the lists. Precision of the flow, and what becomes of a flow that does not arrive, as for
    `Basin`.

    Args:
        landscape: the loss, with its minimum.
        height: of the level above the loss at the minimum, in units of the loss.
        minima, saddles: all others below the level, `(n, d)` and `(m, d)`; both or, by default,
            neither. The marked minimum may be among them, saddles of higher index and above the
            level do no harm.
        max_steps: of the flow, each three gradients.

    Raises:
        TypeError, ValueError: as `Sublevel` and `Basin`; one of `minima` and `saddles` without the
            other; a saddle that is none, or whose two sides do not lead to minima of the list.
    """

    sublevel: Sublevel
    attractors: Attractors
    # whether each minimum is in the component, and False for none of them; shape (n + 1,)
    linked: Array
    listed: bool = eqx.field(static=True)

    def __init__(
        self,
        landscape: Arg[Landscape],
        *,
        height: Arg[Number],
        minima: Arg[Numbers | None] = None,
        saddles: Arg[Numbers | None] = None,
        max_steps: Arg[Integer] = _ENOUGH,
    ):
        for name, value in {"height": height, "minima": minima, "saddles": saddles}.items():
            errors.concrete(name, value)
        self.sublevel = Sublevel(landscape, height=height)
        if (minima is None) != (saddles is None):
            given, missing = ("minima", "saddles") if saddles is None else ("saddles", "minima")
            raise ValueError(
                f"{given} without {missing}: which minima the component holds is seen from both. "
                "For example minima=landscape.minima, saddles=landscape.saddles, or give "
                "neither."
            )
        self.attractors = attractors(landscape, minima, max_steps)
        points = rows("saddles", saddles, landscape.dim)
        self.linked = jnp.asarray(_linked(self.sublevel, self.attractors, points))
        self.listed = saddles is not None

    def contains(self, x: Point) -> Truth:
        below = self.sublevel.contains(x)
        return below & self.linked[self.attractors.reached_from(self.landscape, x, below)]

    def ray_distance(self, x: Point, v: Point) -> Scalar:
        if not self.listed:
            return search_ray(self.contains, x, v)
        # until it leaves the sublevel set, a ray stays in its component
        return jnp.where(self.contains(x), self.sublevel.ray_distance(x, v), 0)

    @property
    def landscape(self) -> Landscape:
        """The loss whose component it is."""
        return self.sublevel.landscape

    @property
    def dim(self) -> int:
        """d, the length of the points it takes."""
        return self.sublevel.dim

    @property
    def convex(self) -> bool:
        return False


def _linked(sublevel: Sublevel, known: Attractors, saddles: list[Array]) -> np.ndarray:
    """Which minima lie in the component of row 0: the saddles below the level join those on their
    two sides."""
    landscape, count = sublevel.landscape, len(known.radii)
    nearest = float(jnp.min(jnp.where(known.radii > 0, known.radii, jnp.inf)))
    edges = []
    for number, saddle in enumerate(saddles):
        values, vectors = stationary_spectrum(landscape, saddle, f"saddles[{number}]")
        if not values[0] < 0:
            raise ValueError(
                f"saddles[{number}] = {np.asarray(saddle)} is no saddle: the Hessian's smallest "
                f"eigenvalue there is {values[0]:.4g}. Leave it out."
            )
        if (len(values) > 1 and values[1] < 0) or not bool(sublevel.contains(saddle)):
            continue
        nudge = jnp.asarray(_NUDGE * nearest * vectors[:, 0], dtype=saddle.dtype)
        ends = [int(_follow(known, landscape, saddle + side * nudge)) for side in (1.0, -1.0)]
        if count in ends:
            raise ValueError(
                f"the flow down from saddles[{number}] = {np.asarray(saddle)} ends at none of the "
                "minima. List every minimum below the level."
            )
        edges.append(ends)
    linked = np.arange(count + 1) == 0
    for _ in range(count):
        for one, other in edges:
            linked[[one, other]] = linked[one] or linked[other]
    return linked


@eqx.filter_jit
def _follow(known: Attractors, landscape: Landscape, x: Point) -> Array:
    return known.reached_from(landscape, x, jnp.ones((), bool))
