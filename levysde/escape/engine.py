"""The escape engine: thousands of trajectories from their starts to their exits, on every core or
accelerator.

The host drives short compiled calls; between them it writes finished rows by trajectory id, hands
out the next ids, reports progress, saves, and can stop. Ids are fixed in advance and each runs to
exit or censoring: stopping at the first N exits would bias the mean. A trajectory is a pure
function of (seed, id, step), so no field of the result depends on the number of lanes, the length
of a call, the number of workers, or a restart.
"""

import functools
import importlib.metadata
import math
import os
import platform
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from levysde import errors
from levysde.escape.bar import progress_bar
from levysde.escape.by_lanes import runs_by_lanes
from levysde.escape.checkpoint import Saver, as_checkpoint, saver
from levysde.escape.forked import check_process
from levysde.escape.ledger import Ledger, Rows
from levysde.escape.precision import widened
from levysde.escape.preflight import is_looked_at, preflight
from levysde.escape.result import EscapeResult, RunInfo, Status, one_start
from levysde.escape.shards import as_shard, gathered
from levysde.escape.stability import domain_size, ray_distances
from levysde.escape.worker import SMALLEST, Run, Worker
from levysde.interfaces import check_interfaces
from levysde.protocols import Domain, Kernel
from levysde.random import LAST_STEP
from levysde.types import Arg, Integer, Number, Numbers, PathLike

if TYPE_CHECKING:
    from levysde.escape.checkpoint import Checkpoint

_POLL_SECONDS = 0.05
_SAVE_SHARE = 0.05  # of the time may go into saving
# numbers in a block's state, its lanes, blocks of a worker
_BLOCK_NUMBERS, _WIDEST, _BLOCKS = 4096, 64, 2
_DRAIN = 16  # trajectories a lane sees at least, in the mean


def simulate_escape(
    kernel: Arg[Kernel],
    domain: Arg[Domain],
    x0: Arg[Numbers],
    *,
    num: Arg[Integer],
    seed: Arg[Integer],
    max_time: Arg[Number | None] = None,
    max_steps: Arg[Integer | None] = None,
    lanes: Arg[Integer | None] = None,
    chunk: Arg[Integer | None] = None,
    devices: Arg[Integer | None] = None,
    record: Arg[Literal["places", "times"]] = "places",
    shard: Arg[tuple[int, int] | str | None] = None,
    checkpoint: Arg["Checkpoint | PathLike | None"] = None,
    progress: Arg[bool | Callable[[int, int], Any]] = False,
    throw: Arg[bool] = True,
) -> EscapeResult:
    """Escape times and places of `num` independent trajectories of `kernel` from `domain`.

    Args:
        kernel: what moves, for example `EulerMaruyama(dynamics, dt=1e-3)`.
        domain: the basin.
        x0: the start, `(d,)`, or one for each trajectory, `(num, d)`; inside the domain.
        num: number of trajectories, from 1.
        seed: an integer, 0 to `2^64 - 1`; hashed whole.
        max_time: a trajectory still inside then is censored, in the kernel's unit (SDE time for an
            SDE).
        max_steps: the same in steps, at most `2^32 - 2`. Without either a trajectory runs to its
            exit.
        lanes: trajectories in flight for each worker; rounded up to a multiple of 16, above one
            block (64 lanes for d up to 64) to whole blocks. A measured rule by default.
        chunk: steps between two refills of the lanes; adapted to the run by default.
        devices: workers: threads on CPU (all cores by default), else accelerators (all by default).
        record: "places" keeps where each trajectory left; "times" does not, for very many
            trajectories: 18 bytes each.
        shard: `(i, n)` or "i/n": of n processes that share the run, the i-th, from 0, which makes
            every n-th trajectory; the rows of others stay `UNFINISHED`, see `join_shards`. By
            default the processes that `jax.distributed` joins share the run, and each returns all
            of it.
        checkpoint: a file path, or `Checkpoint(path, checkpoint_every=seconds)`; a run that finds
            its file goes on from it.
        progress: True shows a bar with exits so far and time left; a function is called with
            (finished, all) as that grows.
        throw: raise `NonFiniteError` when a trajectory becomes NaN or infinite, as by default;
            False marks it in `status`.

    Returns:
        An `EscapeResult`, one row a trajectory; times in the kernel's unit.

    Raises:
        TypeError, ValueError: bad input, before anything is compiled; a call inside jit, vmap or
            grad.
        RuntimeError: in a process forked from one that had run something, where JAX would wait for
            ever.
        NonFiniteError: see `throw`; its `result` holds all rows.
        Interrupted: Ctrl-C; its `result` holds the finished rows, and the checkpoint, if any, has
            been saved.
    """
    check_process()
    run = _checked(kernel, domain, x0, num, seed, max_time, max_steps, lanes, chunk, devices)
    places = errors.choice("record", record, ("places", "times")) == "places"
    errors.flag("throw", throw)
    if not isinstance(progress, bool):
        errors.function("progress", progress)
    concerns = preflight(kernel, domain, run.starts)
    rows = _rows(run, kernel.dim if places else 0)
    part = as_shard(shard)
    checkpoint = as_checkpoint(checkpoint)
    keeper = None if checkpoint is None else saver(checkpoint, run, record, part)
    ledger = Ledger(rows, part, keeper.load(rows) if keeper else None)
    start = time.perf_counter()
    interrupted = _drive(run, ledger, keeper, progress)
    result = _result(run, ledger, time.perf_counter() - start, concerns)
    if shard is None and part[1] > 1 and not interrupted:
        result = gathered(result)
    if interrupted:
        kept = (
            f"resume with checkpoint={str(keeper.path)!r}"
            if keeper
            else "give checkpoint=... to be able to resume"
        )
        raise errors.Interrupted(
            f"interrupted with {ledger.finished} of {ledger.num} trajectories finished; they are "
            f"in .result ({kept}).",
            result,
        )
    bad = result.count(Status.NONFINITE)
    if bad and throw:
        raise errors.NonFiniteError(
            f"{bad} of {run.num} trajectories became NaN or infinite. Take a smaller dt or "
            "learning rate, or throw=False to keep them as status NONFINITE. All rows are in "
            ".result.",
            result,
        )
    return result


def _rows(run: Run, dim: int) -> Rows:
    try:
        return Rows(run.num, dim, run.starts.dtype)
    except MemoryError as error:
        raise ValueError(
            f"num = {run.num}: the rows do not fit into memory ({error}). Take fewer trajectories."
        ) from None


def _checked(
    kernel: Arg[Kernel],
    domain: Arg[Domain],
    x0: Arg[Numbers],
    num: Arg[Integer],
    seed: Arg[Integer],
    max_time: Arg[Number | None],
    max_steps: Arg[Integer | None],
    lanes: Arg[Integer | None],
    chunk: Arg[Integer | None],
    devices: Arg[Integer | None],
) -> Run:
    """Everything about the input that can be wrong, looked at before anything is compiled."""
    errors.concrete(
        "kernel", errors.instance("kernel", kernel, Kernel, "EulerMaruyama(dynamics, dt=1e-3)")
    )
    errors.concrete(
        "domain", errors.instance("domain", domain, Domain, "Ball(radius=1.0, center=jnp.zeros(2))")
    )
    num = errors.integer("num", num, "num=10_000")
    seed = errors.seed(seed)
    places = _devices(devices)
    if chunk is not None:
        chunk = errors.integer("chunk", chunk, high=2**30)
    limit = LAST_STEP
    if max_steps is not None:
        limit = errors.integer("max_steps", max_steps, "max_steps=1_000_000", high=LAST_STEP)
    if max_time is not None:
        limit = steps_until("max_time", kernel, max_time, limit, refuse=max_steps is None)
    starts = starting_points(kernel, domain, x0, num)
    if max_time is None and max_steps is None:
        _check_escapable(kernel, domain, starts)
    lane_invariant = runs_by_lanes(kernel, domain)
    lanes, width = layout(kernel.dim, lane_invariant, places, num, as_lanes(lanes))
    size = domain_size(kernel, domain, starts) if is_looked_at() else np.inf
    return Run(
        (kernel, domain),
        starts,
        seed,
        num,
        limit,
        lanes,
        width,
        chunk,
        places,
        lane_invariant,
        size,
    )


def steps_until(
    name: str, kernel: Kernel, time: Arg[Number], limit: int = LAST_STEP, *, refuse: bool = True
) -> int:
    """The steps after which the clock has reached `time`, at most `limit`; refused beyond it."""
    time = errors.positive_real(name, time, f"{name}=1e4")
    steps = kernel.steps_within(time)
    if steps <= limit or not refuse:
        return min(steps, limit)
    dt = getattr(kernel, "dt", None)
    longer = (
        "iterations_per_step"
        if dt is None
        else f"a dt of {1.01 * float(dt) * steps / limit:.3g} or more"
    )
    raise ValueError(
        f"{name} = {time:g} takes {steps:.4g} "
        f"steps{'' if dt is None else f' of dt = {float(dt):.4g}'}, but a trajectory makes at "
        f"most {limit}. Type {name}={0.99 * time * limit / steps:.3g} or less, or take {longer}."
    )


@eqx.filter_jit
def _contained(domain: Domain, points: Array) -> Array:
    """As one program: a flow that is followed is compiled anew each time where it is run operation
    by operation."""
    return jax.vmap(domain.contains)(points)


def starting_points(kernel: Kernel, domain: Domain, x0: Any, num: int) -> np.ndarray:
    errors.concrete("x0", x0)
    if errors.is_traced(jnp.zeros(())):
        raise TypeError(
            "a simulation runs on the host, not inside jit, vmap or grad. Call it "
            "outside, once a setting."
        )
    example = f"jnp.zeros({kernel.dim})"
    starts = np.asarray(errors.finite("x0", x0, example))
    if starts.shape not in ((kernel.dim,), (num, kernel.dim)):
        raise ValueError(
            f"x0 must have shape ({kernel.dim},), or ({num}, {kernel.dim}) for one start a "
            f"trajectory, not {starts.shape}."
        )
    if domain.dim != kernel.dim:
        raise ValueError(
            f"the domain takes points of {domain.dim} dimensions, the kernel moves in "
            f"{kernel.dim}. Make them one."
        )
    check_interfaces(kernel, domain)
    inside = np.asarray(_contained(domain, jnp.atleast_2d(starts)))
    if not inside.all():
        row = int(np.flatnonzero(~inside)[0])
        which = f"x0[{row}] = {starts[row]}" if starts.ndim == 2 else f"x0 = {starts}"
        why = _why_outside(
            domain, np.atleast_2d(np.asarray(x0, np.float64))[row], np.atleast_2d(starts)[row]
        )
        raise ValueError(
            f"{which} lies outside the domain, so there is nothing to escape from. {why}"
        )
    return starts


def _why_outside(domain: Domain, given: np.ndarray, held: np.ndarray) -> str:
    """How to fix a start outside: it may be inside as it was given, and have been rounded to the
    boundary."""
    try:
        with jax.enable_x64(True):
            inside = bool(jax.tree.map(widened, domain).contains(jnp.asarray(given)))
    except Exception:  # custom functions may hold float32 arrays or accept no others
        inside = False
    if not inside:
        return "Start inside it."
    i = int(np.argmax(np.abs(given - held)))
    return (
        f"As given it is inside, but {held.dtype} rounds {float(given[i])!r} to "
        f"{float(held[i])!r}: the spacing of its numbers there is "
        f"{np.spacing(np.abs(held[i])):.1g}. Start further inside, or switch JAX to float64 with "
        'jax.config.update("jax_enable_x64", True).'
    )


def _check_escapable(kernel: Kernel, domain: Domain, starts: np.ndarray) -> None:
    x = jnp.atleast_2d(starts)[0]
    if not np.isfinite(ray_distances(domain, x, kernel.noise_directions())).any():
        raise ValueError(
            "the domain is unbounded along every direction in which the noise pushes, so the mean "
            "escape time is infinite. Bound the domain, or give max_time to censor."
        )


def _devices(devices: Arg[Integer | None]) -> tuple:
    backend = jax.default_backend()
    local = jax.local_devices(backend=backend)
    if backend == "cpu":
        cores = (
            len(os.sched_getaffinity(0))
            if hasattr(os, "sched_getaffinity")
            else os.cpu_count() or 1
        )
        return (local[0],) * (cores if devices is None else errors.integer("devices", devices))
    count = (
        len(local)
        if devices is None
        else errors.integer("devices", devices, f"devices={len(local)}")
    )
    if count > len(local):
        raise ValueError(
            f"devices = {count}, but there are {len(local)} {backend} devices. Type "
            f"devices={len(local)} or less."
        )
    return tuple(local[:count])


def as_lanes(lanes: Arg[Integer | None]) -> int | None:
    return None if lanes is None else errors.integer("lanes", lanes, high=2**24)


def layout(
    dim: int, lane_invariant: bool, places: tuple, num: int, lanes: int | None
) -> tuple[int, int]:
    """Lanes of a worker, and of each of its blocks, as measured: small states want blocks that stay
    in the first-level cache and are not split between threads, networks few lanes, GPUs one block
    of many; and few trajectories want fewer lanes, since those drain."""
    if places[0].platform != "cpu":
        widest = most = max(1024, min(2**20, 2**28 // dim))
        share = -(-num // len(places))
    else:
        widest = int(np.clip(2 ** math.floor(math.log2(_BLOCK_NUMBERS / dim)), SMALLEST, _WIDEST))
        widest = widest if lane_invariant else SMALLEST
        most = _BLOCKS * widest if lane_invariant else widest
        share = -(-num // (_DRAIN * len(places)))
    lanes = min(most, share) if lanes is None else lanes
    lanes = -(-lanes // SMALLEST) * SMALLEST
    width = lanes if lanes < widest or places[0].platform != "cpu" else widest
    return -(-lanes // width) * width, width


def _drive(run: Run, ledger: Ledger, keeper: Saver | None, progress: Any) -> bool:
    """Run the workers to the end; True when Ctrl-C cut it short. A worker's exception is raised
    here."""
    failures: list[BaseException] = []

    def work(worker: Worker, done: threading.Event) -> None:
        try:
            worker.run()
        except BaseException as failure:
            failures.append(failure)
            ledger.stop.set()
        finally:
            done.set()

    # an event a worker, and never Thread.join: a join cut short by Ctrl-C takes the thread for
    # ended (Python 3.11, 3.12)
    ended = [threading.Event() for _ in run.devices]
    workers = [Worker(i, run, ledger, device) for i, device in enumerate(run.devices)]
    threads = [
        threading.Thread(target=work, args=pair) for pair in zip(workers, ended, strict=True)
    ]
    interrupted = False
    with _bar(ledger.num, ledger.finished, progress) as bar:
        try:
            for thread in threads:
                thread.start()
            _watch(ended, ledger, keeper, bar)
        except KeyboardInterrupt:
            interrupted = True
        finally:
            ledger.stop.set()
            for thread, done in zip(threads, ended, strict=True):
                if thread.ident is not None:
                    done.wait()
            bar.update(ledger.finished - bar.n)
            if keeper and (ledger.num > ledger.finished or (keeper.final and not failures)):
                keeper.save(ledger)
    if failures:
        raise failures[0]
    return interrupted


def _watch(
    ended: Sequence[threading.Event], ledger: Ledger, keeper: Saver | None, bar: Any
) -> None:
    """Wait for the workers; meanwhile show progress and save from time to time."""
    last, every = time.monotonic(), keeper.every if keeper else math.inf
    while any(not done.is_set() for done in ended):
        next((done for done in ended if not done.is_set()), ended[0]).wait(_POLL_SECONDS)
        bar.update(ledger.finished - bar.n)
        if keeper is None or time.monotonic() - last < every:
            continue
        if ledger.wanted == 0 or _all_deposited(ended, ledger):
            if ledger.wanted:
                start = time.monotonic()
                keeper.save(ledger)
                last = time.monotonic()
                every = max(every, (last - start) / _SAVE_SHARE)
            ledger.wanted += 1


def _all_deposited(ended: Sequence[threading.Event], ledger: Ledger) -> bool:
    with ledger.lock:
        snapshots = dict(ledger.snapshots)
    return all(
        done.is_set() or snapshots.get(i, (0, None))[0] >= ledger.wanted
        for i, done in enumerate(ended)
    )


class _Told:
    """In place of a bar where the caller gives a function: called with (finished, all)
    whenever that changes."""

    def __init__(self, tell: Callable[[int, int], Any], num: int, done: int):
        self.tell, self.num, self.n = tell, num, done

    def __enter__(self) -> "_Told":
        return self

    def __exit__(self, *failure: object) -> None:
        return None

    def update(self, more: int) -> None:
        if more:
            self.n += more
            self.tell(self.n, self.num)


def _bar(num: int, done: int, progress: Any) -> Any:
    if not isinstance(progress, bool):
        return _Told(progress, num, done)
    return progress_bar(num, "exit", "escapes", show=progress, done=done, smoothing=0.1)


def _result(run: Run, ledger: Ledger, seconds: float, concerns: tuple[str, ...]) -> EscapeResult:
    kernel, domain = run.problem
    dt = getattr(kernel, "dt", None)
    info = RunInfo(
        kernel=describe(kernel),
        domain=describe(domain),
        unit=kernel.unit,
        dt=None if dt is None else float(dt),
        seed=run.seed,
        num=run.num,
        lanes=run.lanes,
        workers=len(run.devices),
        device=_device_name(run.devices[0]),
        versions=dict(_versions()),
        seconds=seconds,
        compile_seconds=ledger.compile_seconds,
        lane_steps=ledger.lane_steps,
        live_steps=ledger.live_steps,
        minibatches=getattr(kernel, "minibatches", None),
        start=one_start(run.starts),
        warnings=concerns,
    )
    rows = ledger.rows
    exited = rows.status == Status.EXITED
    return EscapeResult(
        rows.time,
        exited,
        rows.label,
        rows.last_inside,
        rows.first_outside,
        rows.steps,
        rows.status,
        info,
        rows.overshot,
    )


@functools.cache
def _versions() -> dict[str, str]:
    """Read once: looking through what is installed takes as long as a short run."""
    return {
        name: importlib.metadata.version(name) for name in ("jax", "jaxlib", "numpy", "equinox")
    }


def _device_name(device: Any) -> str:
    """The accelerator's name, or the CPU's where the system tells it."""
    if device.platform != "cpu":
        return f"{device.platform}: {device.device_kind}"
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return "cpu: " + next(
            line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")
        )
    except (OSError, StopIteration):
        return f"cpu: {platform.processor() or platform.machine()}"


def describe(part: Any) -> str:
    """The name of a kernel or domain, with those of its dynamics and driver."""
    inner = getattr(part, "dynamics", None)
    name = getattr(part, "name", type(part).__name__)
    return (
        f"{name}({type(inner).__name__}, {type(inner.driver).__name__})"
        if inner is not None
        else name
    )
