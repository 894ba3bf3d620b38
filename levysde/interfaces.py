"""Checks that kernels and domains keep to their interfaces, on their traced programs and, for rays,
on numbers; and whether a program gives the same bits for any number of lanes.

A custom class may fail or return another shape, which JAX would say from deep inside
itself, or not at all. A trace takes milliseconds and depends on the structure only, so each is made
once.
"""

import functools
from collections.abc import Callable, Iterator
from dataclasses import fields
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from levysde.protocols import Domain, Kernel

DOMAIN, KERNEL = 0, 1
# primitives whose bits depend on the size of the batch, by which a library orders its sums
_LIBRARY = set(
    "dot_general ragged_dot_general conv_general_dilated custom_linear_solve triangular_solve "
    "cholesky lu qr eigh eig svd schur fft".split()
)
_RAYS = 48  # along which a custom ray_distance is compared with contains
_FAR = 1e4  # times the shortest of some rays, from which on one counts as endless
_BESIDE = 0.01  # how far before and behind the boundary, as a share of the distance


class Sketch:
    """A domain, or a domain and a kernel, without their numbers, to be traced."""

    def __init__(self, structure: Any, kinds: tuple, sizes: tuple[int, int, int]):
        self.structure = structure
        self.leaves = [jax.ShapeDtypeStruct(*kind) for kind in kinds]
        self.names = [type(part).__name__ for part in jax.tree.unflatten(structure, self.leaves)]
        self.x = jax.ShapeDtypeStruct(sizes[:1], jnp.result_type(float))
        self.start, self.step = (jax.ShapeDtypeStruct((size,), jnp.uint32) for size in sizes[1:])

    def method(self, i: int, name: str) -> Callable:
        return lambda leaves, *arguments: getattr(
            jax.tree.unflatten(self.structure, leaves)[i], name
        )(*arguments)

    def outcome(self, i: int, name: str, *arguments: Any) -> Any:
        try:
            return jax.eval_shape(self.method(i, name), self.leaves, *arguments)
        except Exception as error:  # a user's method may raise anything
            raise TypeError(
                f"{self.names[i]}.{name} fails: {type(error).__name__}: {error}\n"
                "It is written for one trajectory, with jax.numpy; levysde.protocols says what it "
                "takes and returns."
            ) from None

    def expect(
        self, i: int, name: str, argument: Any, shape: tuple[int, ...], kind: Any, words: str
    ) -> None:
        found = self.outcome(i, name, argument)
        if getattr(found, "shape", None) != shape or not jnp.issubdtype(found.dtype, kind):
            what = (
                f"{found.dtype} of shape {found.shape}" if hasattr(found, "shape") else repr(found)
            )
            raise TypeError(
                f"{self.names[i]}.{name} must return {words}, of shape {shape}, not {what}."
            )


def check_interfaces(kernel: Kernel, domain: Domain) -> None:
    """Raises TypeError, naming the method, where one fails or returns something of another shape
    than it should."""
    _check_domain(*sketch_key(domain))
    _check_kernel(*sketch_key(domain, kernel))


def check_domain(domain: Domain) -> None:
    """As `check_interfaces`, for a custom domain alone; those of this package are not traced."""
    if _custom(domain):
        _check_domain(*sketch_key(domain))


def ray_doubts(domain: Domain, x: Array, directions: np.ndarray) -> list[str]:
    """A message where `ray_distance` of a custom domain, alone or within another, does not end
    where `contains` does.

    Args:
        domain: of any class; nothing is looked at where all of it is this package's own.
        x: where the rays begin, shape `(d,)`.
        directions: of the rays, of any length, shape `(m, d)`; some of them are taken.
    """
    names = sorted({type(part).__name__ for part in _domains(domain) if _custom(part)})
    return _disagreements(domain, x, directions, " and ".join(names)) if names else []


def _disagreements(domain: Domain, x: Array, directions: np.ndarray, names: str) -> list[str]:
    directions = np.asarray(directions, float)
    lengths = np.linalg.norm(directions, axis=1, keepdims=True)
    units = (directions / np.where(lengths > 0, lengths, 1))[lengths[:, 0] > 0]
    units = units[:: max(1, len(units) // _RAYS)]
    if not len(units):
        return []
    within, distance, before, behind = (
        np.asarray(a) for a in _sides(domain, x, jnp.asarray(units, dtype=float))
    )
    if not within:
        return []
    ends = np.isfinite(distance)
    seen = ~ends | (
        _BESIDE * distance > 8 * np.finfo(distance.dtype).eps * np.abs(np.asarray(x)).max()
    )
    wrong = seen & np.where(ends, ~before | behind, ~before | np.isnan(distance))
    if not wrong.any():
        return []
    i = int(np.flatnonzero(wrong)[0])
    found = "outside a little before" if not before[i] else "inside a little behind"
    return [
        f"ray_distance of {names} disagrees with contains along {int(wrong.sum())} of "
        f"{int(seen.sum())} rays from {np.asarray(x)}: along {units[i].round(4)} it is "
        f"{distance[i]:.4g}, but contains says {found} that. Escape laws use ray_distance, "
        "simulations use contains. Return the least r > 0 for which x + r v is outside."
    ]


@eqx.filter_jit
def _sides(
    domain: Domain, x: Float[Array, " d"], units: Float[Array, "m d"]
) -> tuple[Bool[Array, ""], Float[Array, " m"], Bool[Array, " m"], Bool[Array, " m"]]:
    """Whether x is inside, the length of each ray, and whether points before and behind its end are
    inside. One that has no end is followed as far as the longest of the others, or far out."""
    distance = jax.vmap(lambda v: domain.ray_distance(x, v))(units)
    distance = jnp.where(distance > _FAR * jnp.min(distance), jnp.inf, distance)
    longest = jnp.max(jnp.where(jnp.isfinite(distance), distance, 0))
    longest = jnp.where(longest > 0, longest, _FAR * (1 + jnp.max(jnp.abs(x))))
    inside = jax.vmap(lambda r, v: domain.contains(x + r * v))
    sides = (
        jnp.where(jnp.isfinite(distance), distance, longest) * (1 + side)
        for side in (-_BESIDE, _BESIDE)
    )
    before, behind = (inside(r, units) for r in sides)
    return domain.contains(x), distance, before, behind


def _custom(domain: Domain) -> bool:
    return type(domain).__module__.split(".")[0] != __name__.split(".")[0]


def _domains(value: Any) -> Iterator[Domain]:
    if hasattr(value, "ray_distance"):
        yield value
    parts = value if isinstance(value, tuple | list) else ()
    for part in (
        (getattr(value, f.name, None) for f in fields(value))
        if isinstance(value, eqx.Module)
        else parts
    ):
        yield from _domains(part)


def sketch_key(domain: Domain, kernel: Kernel | None = None) -> tuple:
    """The arguments of a `Sketch`: what a program of a domain, and of a kernel if one is given,
    depends on."""
    leaves, structure = jax.tree.flatten((domain, kernel) if kernel is not None else (domain,))
    kinds = tuple((jnp.shape(leaf), jnp.result_type(leaf)) for leaf in leaves)
    words = (kernel.words_per_init, kernel.words_per_step) if kernel is not None else (0, 0)
    return structure, kinds, ((domain if kernel is None else kernel).dim, *words)


@functools.lru_cache(maxsize=256)
def _check_domain(*key: Any) -> None:
    sketch = Sketch(*key)
    sketch.expect(DOMAIN, "contains", sketch.x, (), jnp.bool_, "one truth value")
    sketch.expect(DOMAIN, "label", sketch.x, (), jnp.integer, "one integer")


@functools.lru_cache(maxsize=256)
def _check_kernel(*key: Any) -> None:
    sketch = Sketch(*key)
    state = sketch.outcome(KERNEL, "init", sketch.x, sketch.start)
    sketch.expect(KERNEL, "position", state, sketch.x.shape, jnp.floating, "a point")
    before, after = (
        jax.tree.map(jnp.shape, s)
        for s in (state, sketch.outcome(KERNEL, "step", sketch.step, state))
    )
    if before != after:
        raise TypeError(
            f"{sketch.names[KERNEL]}.step must return a state like that of init, of shapes "
            f"{before}, not {after}."
        )


def runs_by_lanes(kernel: Kernel, domain: Domain) -> bool:
    """Whether a step and the exit test avoid library matmuls, whose bits depend on the number of
    lanes."""
    return _runs_by_lanes(*sketch_key(domain, kernel))


@functools.lru_cache(maxsize=256)
def _runs_by_lanes(*key: Any) -> bool:
    sketch = Sketch(*key)
    state = sketch.outcome(KERNEL, "init", sketch.x, sketch.start)
    step, contains = sketch.method(KERNEL, "step"), sketch.method(DOMAIN, "contains")
    return is_lane_invariant(step, sketch.leaves, sketch.step, state) and is_lane_invariant(
        contains, sketch.leaves, sketch.x
    )


def is_lane_invariant(fn: Callable, *args: Any) -> bool:
    """Whether the traced program of `fn(*args)` has no library matmuls and decompositions."""
    return _clean(jax.make_jaxpr(fn)(*args).jaxpr)


def _clean(jaxpr: Any) -> bool:
    for equation in jaxpr.eqns:
        if equation.primitive.name in _LIBRARY:
            return False
        for parameter in jax.tree.leaves(
            equation.params, is_leaf=lambda p: hasattr(p, "eqns") or hasattr(p, "jaxpr")
        ):
            inner = getattr(parameter, "jaxpr", parameter)
            if hasattr(inner, "eqns") and not _clean(inner):
                return False
    return True


@eqx.filter_jit
def noise_directions(kernel: Kernel) -> Array:
    """Those of a kernel, as one program: each operation by itself is compiled anew."""
    return kernel.noise_directions()


@eqx.filter_jit
def contained(domain: Domain, points: Float[Array, "n d"]) -> Array:
    """Which of the points a domain contains. One program: run operation by operation, a domain
    that follows a flow compiles it again at each call."""
    return jax.vmap(domain.contains)(points)


@eqx.filter_jit
def ray_distances(domain: Domain, x: Array, directions: Array) -> Array:
    """How far each direction goes before it leaves the domain, in units of its length. One program:
    a search along rays is compiled anew each time where it is run operation by operation."""
    return jax.vmap(lambda v: domain.ray_distance(x, v))(directions)
