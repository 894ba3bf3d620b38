"""Domains made of domains: intersection, complement, dilation, and exit sets of which one is
entered first."""

from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from levysde import errors
from levysde.domains.shapes import ConvexShape, as_domain, bisected
from levysde.protocols import Domain, Label, Point, Scalar, Truth
from levysde.types import Arg, Number

# a set without formulas is looked for along a ray at these powers of two of |v|, a step being a
# factor of 1.044
_NEAREST, _FARTHEST, _PER_DOUBLING = -20, 40, 16
_BISECTIONS = 30


class Intersection(Domain):
    """Inside all of `domains`. The label is the number, from 1, of the first listed one that is
    left.

    Args:
        domains: one or more domains of one dimension. That they have no point in common is not
            noticed.

    Raises:
        ValueError, TypeError: no domain, something that is not a domain, or different dimensions.
    """

    domains: tuple[Domain, ...]

    def __init__(self, *domains: Arg[Domain]):
        self.domains = _checked("each of domains", "Intersection", domains)

    def contains(self, x: Point) -> Truth:
        return jnp.all(_inside(self.domains, x))

    def label(self, x: Point) -> Label:
        return _first(~_inside(self.domains, x))

    def ray_distance(self, x: Point, v: Point) -> Scalar:
        return jnp.min(jnp.stack([domain.ray_distance(x, v) for domain in self.domains]))

    def ray_edges(self, x: Point, v: Point) -> Array | None:
        return _edges(self.domains, x, v)

    def faces(self, x: Point) -> tuple[Array, Array]:
        parts = [domain.faces(x) for domain in self.domains]
        return jnp.concatenate([part[0] for part in parts]), jnp.concatenate(
            [part[1] for part in parts]
        )

    @property
    def dim(self) -> int:
        """d, the length of the points it takes."""
        return self.domains[0].dim

    @property
    def convex(self) -> bool:
        return all(domain.convex for domain in self.domains)


class OfDomain(Domain):
    """A domain made of one other, of the same dimension."""

    domain: eqx.AbstractVar[Domain]

    @property
    def dim(self) -> int:
        """d, the length of the points it takes."""
        return self.domain.dim


class Complement(OfDomain):
    """Outside of `domain`, within the range of floats: to escape from it is to enter `domain`. Its
    boundary belongs to it.

    Args:
        domain: the set to keep out of.

    Raises:
        TypeError: something that is no `Domain`.
    """

    domain: Domain

    def __init__(self, domain: Arg[Domain]):
        (self.domain,) = _checked("domain", "Complement", (domain,))

    def contains(self, x: Point) -> Truth:
        return ~self.domain.contains(x) & jnp.all(jnp.isfinite(x))

    def ray_distance(self, x: Point, v: Point) -> Scalar:
        return entry_distance(self.domain, x, v)

    def ray_edges(self, x: Point, v: Point) -> Array | None:
        return self.domain.ray_edges(x, v)

    @property
    def convex(self) -> bool:
        return False


class Dilated(OfDomain):
    """`{factor x : x in domain}`, with the labels of `domain`: the basin that goes with a loss
    whose parameters are stretched (`levysde.landscapes.rescaled`, factor `hessian_factor^(-1/2)`).

    Args:
        domain: the set to dilate, about the origin.
        factor: of all lengths, positive.

    Raises:
        ValueError, TypeError: something that is no `Domain`, a factor that is not positive and
            finite.
    """

    domain: Domain
    factor: Array

    def __init__(self, domain: Arg[Domain], factor: Arg[Number]):
        example = "Dilated(Ball(radius=1.0, center=jnp.zeros(2)), factor=0.5)"
        self.domain = as_domain(domain, example)
        self.factor = errors.positive("factor", factor)

    def contains(self, x: Point) -> Truth:
        return self.domain.contains(x / self.factor)

    def label(self, x: Point) -> Label:
        return self.domain.label(x / self.factor)

    def ray_distance(self, x: Point, v: Point) -> Scalar:
        return self.domain.ray_distance(x / self.factor, v / self.factor)

    def ray_edges(self, x: Point, v: Point) -> Array | None:
        return self.domain.ray_edges(x / self.factor, v / self.factor)

    def faces(self, x: Point) -> tuple[Array, Array]:
        gaps, normals = self.domain.faces(x / self.factor)
        return jnp.asarray(self.factor * gaps), normals

    @property
    def convex(self) -> bool:
        return self.domain.convex


class ExitSets(Domain):
    """Inside until one of `sets` is entered, for example balls around other minima.

    The label is the number, from 1, of the set entered, the first listed where sets overlap; one
    more than there are sets where a point has left the range of floats without entering any. A
    process in steps can jump across a set unseen.

    Args:
        sets: one or more domains of one dimension.
        names: one for each set, so that `names[label - 1]` says which was entered; "1", "2", ... by
            default.

    Raises:
        ValueError, TypeError: no sets, something that is no `Domain`, different dimensions, bad
            names.
    """

    sets: tuple[Domain, ...]
    names: tuple[str, ...] = eqx.field(static=True)

    def __init__(self, *sets: Arg[Domain], names: Arg[Sequence[str] | None] = None):
        self.sets = _checked("each of sets", "ExitSets", sets)
        given = tuple(str(i + 1) for i in range(len(sets))) if names is None else names
        errors.several("names", given, str, 'names=("left", "right")')
        if len(given) != len(sets) or len(set(given)) != len(sets):
            raise ValueError(
                f"names must be {len(sets)} different strings, one for each set, not {names!r}. "
                'For example names=("left", "right").'
            )
        self.names = tuple(given)

    def contains(self, x: Point) -> Truth:
        return ~jnp.any(_inside(self.sets, x)) & jnp.all(jnp.isfinite(x))

    def label(self, x: Point) -> Label:
        return _first(jnp.append(_inside(self.sets, x), ~jnp.all(jnp.isfinite(x))))

    def ray_distance(self, x: Point, v: Point) -> Scalar:
        return jnp.min(jnp.stack([entry_distance(domain, x, v) for domain in self.sets]))

    def ray_edges(self, x: Point, v: Point) -> Array | None:
        return _edges(self.sets, x, v)

    @property
    def dim(self) -> int:
        """d, the length of the points it takes."""
        return self.sets[0].dim

    @property
    def convex(self) -> bool:
        return False


def entry_distance(domain: Domain, x: Point, v: Point) -> Scalar:
    """`inf {r > 0 : x + r v in domain}`: how far a ray goes before it enters.

    By formula for convex shapes, their intersections, and complements. Else by search along
    `r = 2^(k/16)` from 2^-20 to 2^40: a stretch that the ray spends inside can be overlooked
    when it is shorter than 0.044 of its distance.

    Args:
        domain: the set that may be entered.
        x: the start of the ray, shape `(d,)`.
        v: its direction, shape `(d,)`, of any length.

    Returns:
        r, in units of `|v|`: 0 from inside, inf when the ray never enters.
    """
    if isinstance(domain, Complement):
        return domain.domain.ray_distance(x, v)
    parts = domain.domains if isinstance(domain, Intersection) else (domain,)
    chords = [part.chord(x, v) for part in parts if isinstance(part, ConvexShape)]
    if len(chords) < len(parts):
        return _search_entry(domain, x, v)
    low = jnp.max(jnp.stack([chord[0] for chord in chords]))
    high = jnp.min(jnp.stack([chord[1] for chord in chords]))
    return jnp.where((low < high) & (high > 0), jnp.maximum(low, 0), jnp.inf)


def _search_entry(domain: Domain, x: Point, v: Point) -> Scalar:
    def inside(r: Array) -> Truth:
        return domain.contains(x + r * v)

    steps = jnp.arange(_NEAREST * _PER_DOUBLING, _FARTHEST * _PER_DOUBLING + 1, dtype=x.dtype)
    radii = jnp.exp2(steps / _PER_DOUBLING)
    seen = jax.lax.map(inside, radii)
    first = jnp.argmax(seen)
    before = jnp.where(first > 0, radii[jnp.maximum(first - 1, 0)], 0)
    _, high = bisected(lambda r: ~inside(r), before, radii[first], _BISECTIONS)
    return jnp.where(domain.contains(x), 0, jnp.where(jnp.any(seen), high, jnp.inf))


def _edges(domains: tuple[Domain, ...], x: Point, v: Point) -> Array | None:
    """The edges of all `domains`; None if one of them does not know its own."""
    found = [domain.ray_edges(x, v) for domain in domains]
    known = [edges for edges in found if edges is not None]
    return jnp.concatenate(known) if len(known) == len(found) else None


def _inside(domains: tuple[Domain, ...], x: Point) -> Array:
    return jnp.stack([domain.contains(x) for domain in domains])


def _first(where: Array) -> Label:
    """The number, from 1, of the first true entry; 0 when there is none."""
    return jnp.where(jnp.any(where), 1 + jnp.argmax(where).astype(jnp.int32), 0)


def _checked(name: str, taker: str, domains: tuple) -> tuple[Domain, ...]:
    example = f"{taker}(Ball(radius=1.0, center=jnp.zeros(2)))"
    for domain in domains:
        as_domain(domain, example, name)
    if not domains:
        raise ValueError(f"{taker} needs at least one domain. For example {example}.")
    dims = [domain.dim for domain in domains]
    if len(set(dims)) > 1:
        raise ValueError(f"{taker} takes domains of one dimension, not of {dims}. Make them one.")
    return domains
