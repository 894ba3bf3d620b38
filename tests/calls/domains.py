"""Calls of `levysde.domains`."""

from collections.abc import Iterator

import jax.numpy as jnp

import levysde as ls
from calls.table import Call, Exempt
from levysde import domains

WELL = ls.DoubleWell()
STABLE = ls.SGD(
    ls.Quadratic(hessian=jnp.array([1.0, 4.0])), ls.StableComponents(alpha=1.5), epsilon=0.1
)
INFINITE = ("inf inside",)  # a side that is open


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
