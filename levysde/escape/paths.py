"""Whole trajectories at chosen times, by the program that the engine runs.

The host calls the engine's block for the stretches between chosen steps, 64 a call; their lengths
are traced numbers, so that all calls share one compilation. A trajectory draws the words of (seed,
id, step) as in `simulate_escape`: path i of a seed is trajectory i of a run with that seed, bit for
bit, and any trajectory of a large run can be looked at again by its id.
"""

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from levysde import errors
from levysde.escape.block import (
    INSIDE,
    SMALLEST,
    Block,
    Problem,
    Records,
    advance,
    begin,
    empty_stack,
    jit,
    standing,
)
from levysde.escape.engine import describe
from levysde.escape.fused import FUSED, compiles, fused_or_looped
from levysde.escape.preflight import preflight
from levysde.escape.request import check_host, layout, starting_points, steps_until
from levysde.escape.result import Status
from levysde.escape.worker import outcome
from levysde.interfaces import runs_by_lanes
from levysde.protocols import Domain, Kernel, Point, Scalar, Truth
from levysde.random import LAST_STEP, split_uint64, trajectory_key
from levysde.results import Result
from levysde.tables import Table
from levysde.types import Arg, Integer, Number, Numbers, Seed

_CALL_SECONDS = 0.1  # a call lasts about this long, so that Ctrl-C is prompt
_LOOKS = 64  # looks a call
_LAST_ID = 2**64 - 1


@dataclass(frozen=True, repr=False)
class Paths(Result):
    """Trajectories at chosen times. A path that has left the domain stays at its first point
    outside.

    Attributes:
        times: the clock at the chosen steps, in `unit`, ascending; float64, shape `(T,)`.
        steps: the chosen steps; int64, shape `(T,)`.
        positions: shape `(num, T, d)`.
        ids: the trajectory of each path; uint64, shape `(num,)`.
        end_time, end_step: clock and steps made when the path left, or at the last chosen step;
            shape `(num,)`.
        exited, label, last_inside, first_outside, status: at the end, as in `EscapeResult`;
            `last_inside` is the last point of a path that did not leave.
        unit, seed, kernel, domain: how they were made; `domain` is None where there was none.
    """

    times: np.ndarray
    steps: np.ndarray
    positions: np.ndarray
    ids: np.ndarray
    end_time: np.ndarray
    end_step: np.ndarray
    exited: np.ndarray
    label: np.ndarray
    last_inside: np.ndarray
    first_outside: np.ndarray
    status: np.ndarray
    unit: str
    seed: int
    kernel: str
    domain: str | None = field(default=None)

    @property
    def num(self) -> int:
        """Number of paths."""
        return len(self.ids)

    @property
    def dim(self) -> int:
        """Number of parameters, d."""
        return self.positions.shape[2]

    @property
    def inside(self) -> np.ndarray:
        """Whether each path was still inside at each chosen time; bool, shape `(num, T)`."""
        return ~self.exited[:, None] | (self.steps[None, :] < self.end_step[:, None])

    def _columns(self) -> dict[str, Any]:
        shape = self.positions.shape[:2]
        places = self.positions.reshape(-1, self.dim)
        return {
            "trajectory": np.repeat(self.ids, shape[1]),
            "time": np.tile(self.times, shape[0]),
            "step": np.tile(self.steps, shape[0]),
            "inside": self.inside.ravel(),
        } | {f"x_{i}": column for i, column in enumerate(places.T)}

    def _variables(self) -> dict[str, Any]:
        one = ("end_time", "end_step", "exited", "label", "status")
        return {
            "trajectory": ("trajectory", self.ids),
            "time": ("time", self.times, {"units": self.unit}),
            "step": ("time", self.steps),
            "positions": (("trajectory", "time", "coordinate"), self.positions),
            "inside": (("trajectory", "time"), self.inside),
            "last_inside": (("trajectory", "coordinate"), self.last_inside),
            "first_outside": (("trajectory", "coordinate"), self.first_outside),
        } | {name: ("trajectory", getattr(self, name)) for name in one}

    def _about(self) -> dict[str, Any]:
        about = {name: getattr(self, name) for name in ("unit", "seed", "kernel")}
        return super()._about() | about | ({"domain": self.domain} if self.domain else {})

    def _table(self) -> Table:
        left = f", {int(self.exited.sum())} left {self.domain}" if self.domain is not None else ""
        bad = int(np.sum(self.status == Status.NONFINITE))
        lost = f", {bad} became NaN or infinite" if bad else ""
        rows = [
            ("paths", f"{self.num} in {self.dim} dimensions{left}{lost}"),
            (
                f"times ({self.unit})",
                f"{len(self.times)} from {self.times[0]:.6g} to {self.times[-1]:.6g}",
            ),
            ("kernel", self.kernel),
            ("seed", f"{self.seed}"),
        ]
        return Table("Paths", rows)


def simulate_paths(
    kernel: Arg[Kernel],
    x0: Arg[Numbers],
    *,
    seed: Arg[Seed],
    num: Arg[Integer | None] = None,
    ids: Arg[Numbers | None] = None,
    times: Arg[Numbers | None] = None,
    every: Arg[Integer | None] = None,
    max_time: Arg[Number | None] = None,
    max_steps: Arg[Integer | None] = None,
    domain: Arg[Domain | None] = None,
    lanes: Arg[Integer | None] = None,
    throw: Arg[bool] = True,
) -> Paths:
    """A few whole trajectories of `kernel`, seen at chosen times.

    Args:
        kernel: what moves, for example `EulerMaruyama(dynamics, dt=1e-3)`.
        x0: the start, `(d,)`, or one for each path, `(num, d)`; inside the domain.
        seed: an integer, 0 to `2^64 - 1`, as in `simulate_escape`.
        num: number of paths, then they are the trajectories 0 to `num - 1`; or
        ids: the trajectories to look at, integers of shape `(num,)`, for example the slowest of a
            run, `np.argsort(result.time)[-5:]`.
        times: when to look, increasing, in the kernel's clock, shape `(T,)`; seen at the first step
            that has reached each; or
        every: to look every so many steps, from 0 on, and at the last step, of `max_steps` or
            `max_time`.
        max_time: the end of the paths in the kernel's clock; with `every` only, and instead of
        max_steps: the end in steps, at most `2^32 - 2`.
        domain: a path that leaves it stays where it was first seen outside. None: paths never end.
        lanes: on an accelerator a kernel with library matmuls (a network) has other bits at another
            number of lanes: give `result.info.lanes` to see the trajectories of that run. Does not
            matter for others, nor on CPUs.
        throw: raise `NonFiniteError` when a path becomes NaN or infinite, as by default; False
            marks it in `status`.

    Returns:
        A `Paths`; memory `num * T * d` numbers.

    Raises:
        TypeError, ValueError: bad input, before anything is compiled; a kernel whose clock differs
            from path to path; a call inside jit, vmap or grad.
        RuntimeError: in a process forked from one that had used JAX, where a run would wait for
            ever.
        NonFiniteError: see `throw`; its `result` holds the paths.
    """
    errors.check_process()
    check_host(kernel, domain)
    errors.instance("kernel", kernel, Kernel, "EulerMaruyama(dynamics, dt=1e-3)")
    errors.instance("domain", domain, Domain | None, "Ball(radius=1.0, center=jnp.zeros(2))")
    words = errors.seed(seed)
    errors.flag("throw", throw)
    ids = _ids(num, ids)
    grid = _grid(kernel, times, every, max_time, max_steps)
    basin = Everywhere(kernel.dim) if domain is None else domain
    starts = starting_points(kernel, basin, x0, len(ids))
    device = jax.local_devices(backend=jax.default_backend())[0]
    # how many paths go together: all, unless the bits of the kernel depend on it; then as many as
    # in the engine's blocks
    size = layout(kernel.dim, False, (device,), len(ids), lanes)[1]
    if runs_by_lanes(kernel, basin):
        size = -(-len(ids) // SMALLEST) * SMALLEST
    preflight(kernel, basin, starts)
    starts = np.broadcast_to(starts, (len(ids), kernel.dim))
    pieces = [slice(i, i + size) for i in range(0, len(ids), size)]
    parts = [
        _record((kernel, basin), words, starts[piece], ids[piece], size, grid) for piece in pieces
    ]
    columns = {name: np.concatenate([part[1][name] for part in parts]) for name in parts[0][1]}
    times = _clock(kernel, parts[0][2], columns, grid)
    paths = Paths(
        times=times,
        steps=grid,
        positions=np.concatenate([part[0] for part in parts]),
        ids=ids,
        end_time=columns.pop("time"),
        end_step=columns.pop("steps"),
        exited=columns["status"] == Status.EXITED,
        unit=kernel.unit,
        seed=words,
        kernel=describe(kernel),
        domain=None if domain is None else describe(domain),
        **columns,
    )
    bad = int(np.sum(paths.status == Status.NONFINITE))
    if bad and throw:
        raise errors.NonFiniteError(
            f"{bad} of {paths.num} paths became NaN or infinite. Take a smaller dt or learning "
            "rate, or throw=False to keep them. All paths are in .result.",
            paths,
        )
    return paths


class Everywhere(Domain):
    dim: int = eqx.field(static=True)

    def contains(self, x: Point) -> Truth:
        return jnp.ones((), bool)

    def ray_distance(self, x: Point, v: Point) -> Scalar:
        return jnp.full((), jnp.inf, x.dtype)

    @property
    def convex(self) -> bool:
        return True


@functools.cache
def _compiled_look(platform: str, fused: bool) -> Callable:
    """As in the engine, since the same bits need the same program and option: the engine's
    `advance` by each of `counts` steps in turn; the block, and positions and standings after each,
    stacked in front."""
    steps = fused_or_looped if fused else advance

    def look(
        whole: Problem, block: Block, limit: Array, counts: Array
    ) -> tuple[Block, tuple[Array, Array]]:
        problem = whole.parts()

        def ahead(block: Block, count: Array) -> tuple[Block, tuple[Array, Array]]:
            block = steps(problem, block, limit, count)
            return block, standing(problem, block, limit)

        return jax.lax.scan(ahead, block, counts)

    return jit(look, platform)


def _record(
    problem: tuple, seed: int, starts: np.ndarray, ids: np.ndarray, lanes: int, grid: np.ndarray
) -> tuple[np.ndarray, dict[str, np.ndarray], Any]:
    """One block of lanes along the grid: positions `(num, T, d)`, the columns of a result, the last
    states."""
    kernel, device = problem[0], jax.local_devices(backend=jax.default_backend())[0]
    num, idle = len(ids), lanes - len(ids)
    start = np.ascontiguousarray(np.pad(starts, ((0, idle), (0, 0))).T)
    keys = trajectory_key(split_uint64(seed), split_uint64(np.pad(ids, (0, idle))))
    whole, start, keys = jax.device_put((Problem(*problem), start, keys), device)
    empty = jax.tree.map(lambda leaf: leaf[0], empty_stack(kernel, 1, lanes, starts.dtype))
    fresh = np.arange(lanes) < num
    slots = np.where(fresh, 0, -1).astype(np.int32)
    block = jax.jit(begin)(kernel, empty, fresh, start, keys, slots)
    positions = np.empty((num, len(grid), kernel.dim), starts.dtype)
    limit, made, seen, budget = np.uint32(grid[-1]), 0, 0, _LOOKS
    arguments = whole, block, limit, np.zeros(_LOOKS, np.int32)
    fused = device.platform in FUSED and compiles(_compiled_look(device.platform, True), *arguments)
    look = _compiled_look(device.platform, fused)
    while seen < len(grid):
        counts, reached, made = _plan(grid, seen, made, budget)
        began = time.perf_counter()
        block, (points, stands) = jax.tree.map(np.asarray, look(whole, block, limit, counts))
        positions[:, seen : seen + len(reached)] = np.moveaxis(points[reached, :, :num], 2, 0)
        seen += len(reached)
        slow = time.perf_counter() - began > _CALL_SECONDS
        budget = max(1, budget // 2) if slow else min(2 * budget, 2**30)
        if (stands[-1, :num] != INSIDE).all():
            positions[:, seen:] = points[-1, :, :num].T[:, None]
            break
    ends = Records(stands[-1], points[-1], block.before, block.step, block.state)
    rows = jax.tree.map(lambda leaf: np.moveaxis(leaf, -1, 0)[:num], ends)
    return positions, outcome(kernel, kernel.elapsed, rows), block.state


def _plan(grid: np.ndarray, seen: int, made: int, budget: int) -> tuple[np.ndarray, list[int], int]:
    """The next looks: steps before each, at most `budget` in all; which of them fall on the grid;
    steps made then."""
    counts, reached = np.zeros(_LOOKS, np.int32), []
    for look in range(_LOOKS):
        if seen == len(grid) or (made < grid[seen] and not budget):
            break
        counts[look] = min(grid[seen] - made, budget)
        made, budget = made + int(counts[look]), budget - int(counts[look])
        if made == grid[seen]:
            reached.append(look)
            seen += 1
    return counts, reached, made


def _clock(
    kernel: Kernel, state: Any, columns: dict[str, np.ndarray], grid: np.ndarray
) -> np.ndarray:
    """The clock at the steps of the grid, which all paths must share."""
    first = jax.tree.map(lambda leaf: np.repeat(leaf[..., :1], len(grid), -1), state)
    times = np.asarray(kernel.elapsed(first, grid), np.float64)
    staying = columns["status"] == Status.CENSORED
    if not (columns["time"][staying] == times[-1]).all():
        raise ValueError(
            f"the clock of {type(kernel).__name__} differs from path to path, so paths have no "
            "times in common. Look at them one by one, or use a kernel with a fixed step, for "
            "example EulerMaruyama(dynamics, dt=1e-3)."
        )
    return times


def _ids(num: Arg[Integer | None], ids: Arg[Numbers | None]) -> np.ndarray:
    if (num is None) == (ids is None):
        raise ValueError(
            f"give exactly one of num and ids, not num={errors.shown(num)} and "
            f"ids={errors.shown(ids)}. For example num=5."
        )
    if ids is None:
        return np.arange(errors.integer("num", num, "num=5"), dtype=np.uint64)
    listed = isinstance(ids, list | tuple)  # may mix numbers that NumPy makes floats
    numbers: Any = errors.unmasked("ids", ids)
    numbers = numbers if listed else np.asarray(errors.concrete("ids", numbers))
    if not (listed or np.ndim(numbers) == 1) or not len(numbers):
        raise ValueError(
            f"ids must be a list of at least one trajectory, not {errors.shown(ids)}. For "
            "example ids=[0, 7]."
        )
    return np.array([errors.integer("ids", i, low=0, high=_LAST_ID) for i in numbers], np.uint64)


def _grid(
    kernel: Kernel,
    times: Arg[Numbers | None],
    every: Arg[Integer | None],
    max_time: Arg[Number | None],
    max_steps: Arg[Integer | None],
) -> np.ndarray:
    """The steps to look at, int64, ascending."""
    if (times is None) == (every is None):
        raise ValueError(
            f"give exactly one of times and every, not times={errors.shown(times)} and "
            f"every={errors.shown(every)}. For example times=np.linspace(0, 10, 101), or "
            "every=10 with max_steps=1000."
        )
    if times is not None:
        if max_time is not None or max_steps is not None:
            raise ValueError(
                "max_time and max_steps go with every; with times the last of them is the end. "
                "Leave them out."
            )
        return _chosen(kernel, times)
    every = errors.integer("every", every, high=LAST_STEP)
    if (max_time is None) == (max_steps is None):
        raise ValueError(
            "every needs exactly one of max_time and max_steps, not "
            f"max_time={errors.shown(max_time)} and max_steps={errors.shown(max_steps)}. For "
            "example every=10, max_steps=1000."
        )
    if max_time is not None:
        limit = steps_until("max_time", kernel, max_time)
    else:
        limit = errors.integer("max_steps", max_steps, "max_steps=1000", high=LAST_STEP)
    if every > limit:
        raise ValueError(
            f"every = {every} is more than the {limit} steps of the run. Type every={limit} or "
            "less."
        )
    return np.union1d(np.arange(0, limit + 1, every), limit)


def _chosen(kernel: Kernel, times: Arg[Numbers]) -> np.ndarray:
    example = "times=np.linspace(0, 10, 101)"
    chosen = errors.reals("times", times, example)
    if chosen.ndim != 1:
        raise ValueError(
            f"times must be a list of times, not of shape {chosen.shape}. For example {example}."
        )
    if chosen[0] < 0 or (np.diff(chosen) <= 0).any():
        raise ValueError(
            f"times must increase, from 0 on, not {errors.shown(times)}. For example {example}."
        )
    steps = np.array(
        [steps_until("times", kernel, float(t)) if t > 0 else 0 for t in chosen], np.int64
    )
    if (np.diff(steps) <= 0).any():
        i = int(np.flatnonzero(np.diff(steps) <= 0)[0])
        raise ValueError(
            f"times {chosen[i]!r} and {chosen[i + 1]!r} fall into one step of the kernel. Space "
            "them at least a step apart."
        )
    return steps
