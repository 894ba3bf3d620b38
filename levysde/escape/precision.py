"""Whether the float spacing is fine enough for a kernel's steps, looked at before a run.

A position x is held to the spacing q of the floats near it (float32: 7.6e-6 near 100). Where the
noise of a step is well above q, rounding errors are random, have mean 0 and add a variance of
`q^2 / 12`: no harm. Where it is not, they add up: a drift below `q / 2` is lost, and a larger
one is off by up to `q / 2` each step.

So a few hundred steps are made here in float64, half-way to the boundary along each axis, and their
displacements are compared with the spacing that the run will have. The averages of an optimiser
with memory are checked in the same way: an average that moves by the share w of the way to its
target stops within `q / (2 w)` of it.
"""

import math
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from levysde.errors import PrecisionWarning
from levysde.interfaces import ray_distances
from levysde.parts import in_float64
from levysde.protocols import Domain, Dynamics, Kernel, State

_NOISE = 2.0  # spacings that the noise of a step spans, in the median, so that rounding is unbiased
_DRIFT = 10.0  # spacings that the drift of a step spans: then half a spacing is at most 5% of it
# spacings that the noise of a step spans in the mean square, where rare jumps carry it and the rest
# is nothing
_JUMPS = 30.0
_SHORT = 0.05  # of an average, by which it may stop short of its target
# spacings that the largest step spans where there is no hope: half a spacing moves nothing
_NEVER = 0.05
_WORDS, _FEW, _NUMBERS = 512, 8, 2**14  # steps from each place: most, fewest, and numbers in all
_AXES, _RAYS = 8, 1000  # dimensions up to which each axis is looked along, and a diagonal
_LITTLE = 1e-2  # of the squared displacement of a step, which may be lost in more dimensions
_LOST = 0.05  # of the largest gradient half-way to the boundary, by which rounding may change it
_WIDENED = 2**22  # numbers in a kernel that are copied to float64


class _Steps(NamedTuple):
    """Places `(n, d)`, changes of the position `(n, words, d)`; averages `(k, m)`, their changes
    `(k, words, m)`, and how far they are from where they tend to `(k, m)`."""

    x: Any
    change: Any
    averages: Any
    moves: Any
    gaps: Any


class _Moves(NamedTuple):
    """Statistics of the changes in a step, in units of the float spacing: the median; the median
    and the root mean square of the deviations from it, these cut at the distance of the places; the
    largest change; and the spacing itself."""

    drift: np.ndarray
    noise: np.ndarray
    jumps: np.ndarray
    largest: np.ndarray
    spacing: np.ndarray


def precision(kernel: Kernel, domain: Domain, starts: np.ndarray) -> list[PrecisionWarning]:
    """A warning where the steps of `kernel` are not held by the floats of the run.

    Args:
        kernel, domain: what moves, and the basin.
        starts: `(d,)` or `(num, d)`.

    Returns:
        At most one warning.

    Raises:
        ValueError: no step can move the position at all.
    """
    starts = np.atleast_2d(starts)
    furthest = starts[np.argmax(np.abs(starts).max(1))]
    places, along = _places(kernel, domain, furthest)
    steps = _steps(kernel, places)
    if not np.isfinite(steps.change).all():  # it will be NONFINITE
        return []
    moves = _measured(steps.x, steps.change, starts.dtype)
    return (
        _position(kernel, moves, places, along)
        or _memory(kernel, steps, starts.dtype)
        or _gradient(kernel, places[along.any(1)])
    )


def _gradient(kernel: Kernel, places: np.ndarray) -> list[PrecisionWarning]:
    """A warning where rounding changes the gradient of the loss, or the drift, compared with
    float64."""
    dynamics = getattr(kernel, "dynamics", None)
    if not isinstance(dynamics, Dynamics) or not len(places) or _size(dynamics) > _WIDENED:
        return []
    here = np.asarray(_slopes(dynamics, jnp.asarray(places)), np.float64)
    try:
        with in_float64((dynamics, places)) as (precise, at):
            wide = np.asarray(_slopes(precise, at))
    except Exception:  # custom functions may hold float32 arrays or accept no others
        return []
    if not (np.isfinite(here).all() and np.isfinite(wide).all()):
        return []
    lost, size = np.abs(here - wide).max(), np.abs(wide).max()
    if lost <= _LOST * size:
        return []
    loss = getattr(dynamics, "landscape", None)
    name = "the drift" if loss is None else f"the gradient of {type(loss).__name__}"
    return [
        PrecisionWarning(
            f"rounding changes {name} by up to {lost:.2g}, "
            f"where its size is {size:.2g} (at {len(places)} places between the start and the "
            f"boundary, {places.dtype} beside float64). Write it in terms of the distance from the "
            "minimum, or switch JAX to float64 with "
            'jax.config.update("jax_enable_x64", True).'
        )
    ]


@eqx.filter_jit
def _slopes(dynamics: Dynamics, places: Array) -> Array:
    return jax.vmap(dynamics.force)(places)


def _places(kernel: Kernel, domain: Domain, start: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points `(n, d)` in the dtype of the run, and whether each lies off the start along each axis,
    bool `(n, d)`. Every domain has the same number of points, so that nothing compiles again; the
    start stands for a missing one."""
    dynamics = getattr(kernel, "dynamics", None)
    rest = start
    if isinstance(dynamics, Dynamics) and dynamics.has_attractor:
        rest = np.asarray(dynamics.attractor, start.dtype)
    rest = rest if np.isfinite(rest).all() and bool(domain.contains(jnp.asarray(rest))) else start
    points = [start, rest, (start + rest) / 2]
    moved = [np.zeros(len(start), bool), np.zeros(len(start), bool), start != rest]
    if len(start) > _RAYS:  # a network, whose rays cost a search and whose steps cost a gradient
        return start[None], np.zeros((1, len(start)), bool)
    directions = _directions(len(start))
    for origin in (start, rest):
        if origin is start or (start != rest).any():
            rays = jnp.asarray(directions, start.dtype)
            ways = np.asarray(ray_distances(domain, jnp.asarray(origin), rays))
        for way, direction in zip(ways, directions, strict=True):
            known = np.isfinite(way)
            points.append(origin + (way / 2 if known else 0) * direction)
            moved.append((direction != 0) & known)
    return np.asarray(points, start.dtype), np.asarray(moved)


def _directions(dim: int) -> np.ndarray:
    signs = np.random.default_rng(0).choice([-1.0, 1.0], dim) / np.sqrt(dim)
    axes = np.eye(dim) if dim <= _AXES else signs[None]
    return np.concatenate([axes, -axes])


def _steps(kernel: Kernel, places: np.ndarray) -> _Steps:
    """Steps from each place, in float64 where the kernel is not too large to be copied."""
    count = int(np.clip(_NUMBERS // kernel.dim, _FEW, _WORDS))
    shape = count, kernel.words_per_step
    words = np.random.default_rng(0).integers(0, 2**32, shape, dtype=np.uint32)
    if _size(kernel) <= _WIDENED:
        try:
            with in_float64((kernel, places)) as (precise, at):
                return jax.tree.map(np.asarray, _stepped(precise, at, jnp.asarray(words)))
        except Exception:  # custom functions may hold float32 arrays or accept no others
            pass
    return jax.tree.map(np.asarray, _stepped(kernel, jnp.asarray(places), jnp.asarray(words)))


def _size(part: Any) -> int:
    return sum(np.size(leaf) for leaf in jax.tree.leaves(part))


@eqx.filter_jit
def _stepped(kernel: Kernel, places: Array, words: Array) -> _Steps:
    def stepped(state: State) -> tuple[Array, list[Array], list[Array]]:
        new = jax.vmap(lambda word: kernel.step(word, state))(words)
        x = kernel.position(state)
        moved = jax.vmap(kernel.position)(new) - x[None]
        old, new = _averages(state), _averages(new)
        return moved, old, [after - before[None] for before, after in zip(old, new, strict=True)]

    dynamics = getattr(kernel, "dynamics", None)
    settled = jax.vmap(kernel.settled)(places)
    if not isinstance(dynamics, Dynamics) or jax.tree.structure(settled) != jax.tree.structure(
        jax.eval_shape(dynamics.settled, places[0])
    ):
        return _Steps(places, jax.vmap(lambda state: stepped(state)[0])(settled), [], [], [])
    change = jax.vmap(lambda x: stepped(dynamics.moving(x))[0])(places)
    # averages as they are at one place, the position at another: how they move towards what they
    # average
    start = dynamics.settled(places[0])
    away = jax.vmap(lambda x: stepped(dynamics.move(start, x))[1:])(places)
    back = jax.vmap(lambda state: stepped(dynamics.move(state, places[0]))[1:])(settled)
    old, moves = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), away, back)
    gap = [
        jnp.abs(leaf - first[None])
        for leaf, first in zip(_averages(settled), _averages(start), strict=True)
    ]
    return _Steps(places, change, old, moves, [jnp.concatenate([leaf, leaf]) for leaf in gap])


def _averages(state: State) -> list[Array]:
    """The floats of a state beside its position, which comes first in the states of all
    dynamics."""
    return [leaf for leaf in jax.tree.leaves(state)[1:] if jnp.issubdtype(leaf.dtype, jnp.floating)]


def _measured(before: np.ndarray, change: np.ndarray, dtype: Any) -> _Moves:
    """The statistics of changes `(n, words, m)` that begin at `before`, for floats of `dtype`."""
    largest = np.maximum(np.abs(before), np.abs(before + np.median(change, 1)))
    spacing = np.spacing(largest.astype(dtype)).astype(np.float64)
    drift = np.median(change, 1)
    size = np.abs(change - drift[:, None])
    jumps = np.sqrt(np.mean(np.minimum(size, np.ptp(before, 0)) ** 2, 1))
    return _Moves(
        np.abs(drift) / spacing,
        np.median(size, 1) / spacing,
        jumps / spacing,
        np.abs(change).max(1) / spacing,
        spacing,
    )


def _position(
    kernel: Kernel, moves: _Moves, places: np.ndarray, along: np.ndarray
) -> list[PrecisionWarning]:
    """A warning where rounding changes the steps of a coordinate. A coordinate is held if its noise
    or its drift spans enough spacings at every place along its axis; one without noise of its own,
    if its drift does at any place."""
    held = (moves.noise >= _NOISE) | (moves.jumps >= _JUMPS) | (moves.drift >= _DRIFT)
    looked = np.where(along.any(0), along, True)
    driven = ~moves.noise.any(0) & (moves.drift >= _DRIFT).any(0)
    lost = ~np.all(held | ~looked, 0) & moves.largest.any(0) & ~driven
    if places.shape[1] > _AXES and lost.any():
        square = np.median((moves.drift + moves.noise) * moves.spacing, 0) ** 2
        lost = lost if square[lost].sum() > _LITTLE * square.sum() else np.zeros_like(lost)
    if not lost.any():
        return []
    steps = np.where(looked & lost, moves.noise + moves.drift, np.inf)
    place, i = np.unravel_index(np.argmin(steps), steps.shape)
    message = _message(kernel, moves, places, int(place), int(i))
    if np.all(moves.largest < _NEVER):
        raise ValueError(message.replace("cannot hold the steps of", "cannot hold any step of"))
    return [PrecisionWarning(message)]


def _message(kernel: Kernel, moves: _Moves, places: np.ndarray, place: int, i: int) -> str:
    x, spacing = places[place], moves.spacing[place, i]
    drift, noise = moves.drift[place, i] * spacing, moves.noise[place, i] * spacing
    reach = np.ptp(places[:, i])
    message = (
        f"the precision of {x.dtype} cannot hold the steps of {type(kernel).__name__}: near "
        f"x[{i}] = {x[i]:.6g} its spacing is {spacing:.2g}, while {_step_name(kernel)} moves "
        f"x[{i}] by {drift:.2g} through the drift and {noise:.2g} through the noise (median), so "
        "that rounding changes the result."
    )
    remedies = _wider(x.dtype)
    if np.abs(places[:, i]).min() > 2 * reach > 0:
        remedies.append("shift the problem so that it is centered at 0")
    # noise grows by a power of dt from 1/2 up
    longer = min(
        _DRIFT * spacing / max(drift, 1e-300), (_NOISE * spacing / max(noise, 1e-100)) ** 2
    )
    return f"{message} {_advice([*remedies, *_longer(kernel, longer)])}"


def _memory(kernel: Kernel, steps: _Steps, dtype: Any) -> list[PrecisionWarning]:
    """A warning where an average stops short of its target: its steps are below half a spacing."""
    for number, (old, change, gap) in enumerate(
        zip(steps.averages, steps.moves, steps.gaps, strict=True)
    ):
        moves = _measured(old, change, dtype)
        with np.errstate(divide="ignore", invalid="ignore"):
            short = np.fmin(np.where(gap > 0, gap / (2 * moves.drift), 0), gap)
        scale = np.abs(old).max(0)
        lost = (moves.noise < _NOISE) & (short > _SHORT * scale)
        if not lost.any():
            continue
        place, i = np.unravel_index(np.argmax(lost), lost.shape)
        name, step = _average_name(kernel, number), moves.drift[place, i] * moves.spacing[place, i]
        message = (
            f"the precision of {np.dtype(dtype)} cannot hold the steps of "
            f"{type(kernel).__name__}: the average {name}[{i}] = {old[place, i]:.4g}, "
            f"{gap[place, i]:.2g} from where it tends to, moves by {step:.2g} in "
            f"{_step_name(kernel)}, and the spacing is {moves.spacing[place, i]:.2g}, so that it "
            f"stops {short[place, i]:.2g} short."
        )
        longer = _longer(
            kernel, float(short[place, i] / (_SHORT * scale[i])) if scale[i] > 0 else math.inf
        )
        return [PrecisionWarning(f"{message} {_advice([*_wider(dtype), *longer])}")]
    return []


def _average_name(kernel: Kernel, number: int) -> str:
    state = jax.eval_shape(
        kernel.settled, jax.ShapeDtypeStruct((kernel.dim,), jnp.result_type(float))
    )
    paths = [
        path
        for path, leaf in jax.tree_util.tree_leaves_with_path(state)[1:]
        if leaf.dtype.kind == "f"
    ]
    return jax.tree_util.keystr(paths[number][-1:]).strip(".[]'\"")


def _step_name(kernel: Kernel) -> str:
    dt = getattr(kernel, "dt", None)
    return "one step" if dt is None else f"one step of dt = {float(dt):.4g}"


def _wider(dtype: Any) -> list[str]:
    return (
        ['switch JAX to float64 with jax.config.update("jax_enable_x64", True)']
        if np.dtype(dtype).itemsize < 8
        else []
    )


def _longer(kernel: Kernel, factor: float) -> list[str]:
    dt = getattr(kernel, "dt", None)
    if dt is None:
        return ["take a larger learning rate"]
    return [
        f"take a larger dt, about {float(dt) * factor:.1g}" if factor < 1e6 else "take a larger dt"
    ]


def _advice(remedies: list[str]) -> str:
    text = ", or ".join(remedies)
    return f"{text[0].upper()}{text[1:]}."
