"""Calls of `levysde.domains`."""

from collections.abc import Iterator

import jax.numpy as jnp
import numpy as np

import levysde as ls
from calls.table import Call, Exempt
from levysde import domains

WELL = ls.DoubleWell()
STABLE = ls.SGD(
    ls.Quadratic(hessian=jnp.array([1.0, 4.0])), ls.StableComponents(alpha=1.5), epsilon=0.1
)
INFINITE = ("inf inside",)  # a side that is open


def ellipse(x):
    return x[0] ** 2 + 4 * x[1] ** 2 < 1


def disc(x=0.0, y=0.0, radius=1.0):
    return ls.Ball(radius=radius, center=jnp.array([x, y]))


MATRIX = np.array([[2.0, 0.5], [0.5, 1.0]])
WELLS = ls.DoubleWell(dim=2, stiffness=3.0)  # the watershed is x_0 = 0
LEFT = jnp.array([-1.0, 0.0])
# for the suite that every domain passes, each with the origin inside
CASES = {
    "Ball": ls.Ball(radius=1.0, center=jnp.array([0.2, -0.1])),
    "Basin": ls.Basin(WELLS, minima=WELLS.minima),
    "Box": ls.Box(lower=jnp.array([-1.0, -0.5]), upper=jnp.array([0.7, jnp.inf])),
    "Complement": ls.Complement(disc(1.2, 0.3)),
    "Component": ls.Component(WELLS, height=0.5, minima=WELLS.minima, saddles=WELLS.saddles),
    "Dilated": ls.Dilated(disc(0.2, -0.1), factor=0.8),
    "Ellipsoid": ls.Ellipsoid(center=jnp.array([0.1, 0.2]), matrix=jnp.array(MATRIX)),
    "ExitSets": ls.ExitSets(
        disc(1.2, 0.3), ls.Box(lower=jnp.array([-9.0, -2.0]), upper=jnp.array([9.0, -0.4]))
    ),
    "HalfSpaces": ls.HalfSpaces(
        normals=jnp.array([[3.0, 4.0], [-1.0, 0.0], [0.0, -2.0]]),
        offsets=jnp.array([5.0, 0.5, 0.8]),
    ),
    "Inner": ls.Inner(ls.Sublevel(ls.Quadratic(hessian=jnp.array(MATRIX)), height=0.9), margin=0.2),
    "Intersection": ls.Intersection(disc(0.3), ls.Predicate(ellipse, dim=2)),
    "Predicate": ls.Predicate(ellipse, dim=2),
    "Shifted": ls.Shifted(
        disc(0.2, -0.1),
        ls.SGD(ls.Quadratic(hessian=jnp.array(MATRIX)), ls.StableIsotropic(1.5), epsilon=0.1),
        cutoff=1.0,
    ),
    "Sublevel": ls.Sublevel(ls.Quadratic(hessian=jnp.array([[2.0, 0.5], [0.5, 1.0]])), height=0.4),
}
STARTS = {"Basin": LEFT, "Component": LEFT}  # inside, where the origin is not
# how sharply the boundary is known, in units of the way there; 1e-4 for all others
SLACK = {"Basin": 1e-2}


def calls() -> Iterator[Call | Exempt]:
    ball = domains.Ball(radius=1.0, center=jnp.zeros(2))
    box = domains.Box(lower=-jnp.ones(2), upper=jnp.ones(2))
    yield Call(domains.Ball, lambda: {"radius": 1.0, "center": jnp.zeros(2)})
    yield Call(
        domains.Box,
        lambda: {"lower": -jnp.ones(2), "upper": jnp.array([1.0, 2.0])},
        fine={"lower": INFINITE, "upper": INFINITE},
    )
    yield Call(domains.Ellipsoid, lambda: ellipsoid() | {"matrix": jnp.diag(jnp.array([1.0, 4.0]))})
    yield Call(
        domains.Ellipsoid,
        lambda: ellipsoid() | {"radii": jnp.array([1.0, 0.5]), "axes": jnp.eye(2)},
    )
    yield Call(
        domains.HalfSpaces, lambda: {"normals": jnp.eye(2), "offsets": jnp.array([1.0, 2.0])}
    )
    yield Call(domains.half_space, lambda: {"normal": jnp.array([1.0, 0.0]), "offset": 1.0})
    yield Call(domains.Sublevel, lambda: {"landscape": WELL, "height": 0.5})
    yield Call(domains.Predicate, lambda: {"inside": lambda x: jnp.sum(x * x) < 1, "dim": 2})
    for parts in (ball, (ball, box)):
        yield Call(domains.Intersection, lambda parts=parts: {"domains": parts})
    yield Call(domains.ExitSets, lambda: {"sets": ball, "names": None})
    yield Call(domains.ExitSets, lambda: {"sets": (ball, box), "names": ("left", "right")})
    yield Call(domains.Complement, lambda: {"domain": ball})
    yield Call(domains.Dilated, lambda: {"domain": ball, "factor": 0.5})
    yield Call(domains.Inner, lambda: {"domain": ball, "margin": 0.1, "num_directions": 8})
    sublevel = domains.Sublevel(WELL, height=0.5)
    yield Call(domains.Inner, lambda: {"domain": sublevel, "margin": 0.1, "num_directions": 8})
    yield Call(domains.boundary_distance, lambda: {"domain": ball, "x": jnp.zeros(2)})
    others = {"minima": WELL.minima, "max_steps": 100}
    yield Call(domains.Basin, lambda: {"landscape": WELL, **others}, host=True)
    component = {"landscape": WELL, "height": 2.0, "saddles": WELL.saddles, **others}
    yield Call(domains.Component, lambda: component, host=True)
    yield Call(
        domains.Shifted, lambda: {"domain": ball, "dynamics": STABLE, "dt": 0.001, "cutoff": None}
    )
    yield Call(
        domains.Shifted, lambda: {"domain": ball, "dynamics": STABLE, "dt": None, "cutoff": 0.1}
    )
    yield Exempt(domains.check_boundary, "what `Shifted`, `Bridged` and `JumpAdapted` check")
    yield Exempt(domains.pulled_back, "what they call in a compiled step")
    yield Exempt(domains.ConvexShape, "the interface of the convex shapes")
    yield Exempt(
        domains.entry_distance, "what `ray_distance` of a domain calls, in a compiled step"
    )
    yield Exempt(domains.search_ray, "what `ray_distance` of a domain calls, in a compiled step")


def ellipsoid() -> dict:
    return {"center": jnp.zeros(2), "matrix": None, "radii": None, "axes": None}
