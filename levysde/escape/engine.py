"""The escape engine: thousands of trajectories from their starts to their exits, on every core or
accelerator.

The host drives short compiled calls; between them it writes finished rows by trajectory id, hands
out the next ids, reports progress, saves, and can stop. Ids are fixed in advance and each runs to
exit or censoring: stopping at the first N exits would bias the mean. A trajectory is a pure
function of (seed, id, step), so no field of the result depends on the number of lanes, the length
of a call, the number of workers, or a restart.
"""

import contextlib
import functools
import importlib.metadata
import math
import platform
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from levysde import errors
from levysde.escape.ledger import Checkpoint, Ledger, Rows, Saver, saver
from levysde.escape.preflight import preflight
from levysde.escape.request import Run, checked_run
from levysde.escape.result import (
    EscapeResult,
    RunInfo,
    Status,
    as_shard,
    gathered,
    one_start,
)
from levysde.escape.worker import Worker
from levysde.protocols import Domain, Kernel
from levysde.types import Arg, Integer, Number, Numbers, PathLike, Seed

_POLL_SECONDS = 0.05
_SAVE_SHARE = 0.05  # of the time may go into saving


def simulate_escape(
    kernel: Arg[Kernel],
    domain: Arg[Domain],
    x0: Arg[Numbers],
    *,
    num: Arg[Integer],
    seed: Arg[Seed],
    max_time: Arg[Number | None] = None,
    max_steps: Arg[Integer | None] = None,
    lanes: Arg[Integer | None] = None,
    chunk: Arg[Integer | None] = None,
    devices: Arg[Integer | None] = None,
    record: Arg[Literal["places", "times"]] = "places",
    shard: Arg[tuple[int, int] | str | None] = None,
    checkpoint: Arg[Checkpoint | PathLike | None] = None,
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
            its file resumes from it.
        progress: True shows a bar with exits so far and time left; a function is called with
            (finished, all) as that grows.
        throw: raise `NonFiniteError` when a trajectory becomes NaN or infinite, as by default;
            False marks it in `status`.

    Returns:
        An `EscapeResult`, one row a trajectory; times in the kernel's unit.

    Raises:
        TypeError, ValueError: bad input, before anything is compiled; a call inside jit, vmap or
            grad.
        RuntimeError: in a process forked from one that had used JAX, where a run would wait for
            ever.
        NonFiniteError: see `throw`; its `result` holds all rows.
        Interrupted: Ctrl-C; its `result` holds the finished rows, and the checkpoint, if any, has
            been saved.
    """
    errors.check_process()
    run = checked_run(kernel, domain, x0, num, seed, max_time, max_steps, lanes, chunk, devices)
    places = errors.choice("record", record, ("places", "times")) == "places"
    errors.flag("throw", throw)
    if not isinstance(progress, bool):
        errors.function("progress", progress)
    concerns = preflight(kernel, domain, run.starts)
    try:
        rows = Rows(run.num, kernel.dim if places else 0, run.starts.dtype)
    except MemoryError as error:
        raise ValueError(
            f"num = {run.num}: the rows do not fit into memory ({error}). Take fewer trajectories."
        ) from None
    part = as_shard(shard)
    keeper = None if checkpoint is None else saver(checkpoint, run, record, part)
    ledger = Ledger(rows, part, keeper.load(rows) if keeper else None)
    start = time.perf_counter()
    interrupted = _drive(run, ledger, keeper, progress)
    result = _result(run, ledger, time.perf_counter() - start, concerns)
    if shard is None and part[1] > 1 and not interrupted:
        result = gathered(result)
    if interrupted:
        kept = "give checkpoint=... to be able to resume"
        if keeper:
            kept = f"resume with checkpoint={str(keeper.path)!r}"
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
    pairs = zip(workers, ended, strict=True)
    threads = [threading.Thread(target=work, args=pair) for pair in pairs]
    interrupted, num, done = False, ledger.num, ledger.finished
    if isinstance(progress, bool):
        counter = progress_bar(num, "exit", "escapes", show=progress, done=done, smoothing=0.1)
    else:
        counter = _Counter(progress, num, done)
    with counter as bar:
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
            if keeper and (
                ledger.num > ledger.finished or (keeper.settings.final and not failures)
            ):
                keeper.save(ledger)
    if failures:
        raise failures[0]
    return interrupted


def _watch(
    ended: Sequence[threading.Event], ledger: Ledger, keeper: Saver | None, bar: Any
) -> None:
    """Wait for the workers; meanwhile show progress and save from time to time."""
    last, every = time.monotonic(), keeper.settings.checkpoint_every if keeper else math.inf
    while any(not done.is_set() for done in ended):
        next((done for done in ended if not done.is_set()), ended[0]).wait(_POLL_SECONDS)
        bar.update(ledger.finished - bar.n)
        if keeper is None or time.monotonic() - last < every:
            continue
        with ledger.lock:
            snapshots = dict(ledger.snapshots)
        deposited = all(
            done.is_set() or snapshots.get(i, (0, None))[0] >= ledger.wanted
            for i, done in enumerate(ended)
        )
        if ledger.wanted == 0 or deposited:
            if ledger.wanted:
                start = time.monotonic()
                keeper.save(ledger)
                last = time.monotonic()
                every = max(every, (last - start) / _SAVE_SHARE)
            ledger.wanted += 1


class _Counter(contextlib.AbstractContextManager):
    """In place of a bar where the caller gives a function: called with (finished, all)
    whenever that changes."""

    def __init__(self, call: Callable[[int, int], Any], num: int, done: int):
        self.call, self.num, self.n = call, num, done

    def __exit__(self, *failure: object) -> None:
        return None

    def update(self, more: int) -> None:
        if more:
            self.n += more
            self.call(self.n, self.num)


def progress_bar(
    total: int, unit: str, title: str, *, show: bool, done: int = 0, smoothing: float = 0.0
) -> Any:
    """A progress bar of tqdm, silent unless `show`; of text where a notebook has no ipywidgets."""
    from tqdm import TqdmWarning, std  # slow to import

    made = std.tqdm
    if show:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", TqdmWarning)
            from tqdm.auto import tqdm as made
    return made(
        total=total, initial=done, unit=unit, disable=not show, desc=title, smoothing=smoothing
    )


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
    exited = ledger.rows.status == Status.EXITED
    return EscapeResult(**ledger.rows.arrays(), exited=exited, info=info)


@functools.cache
def _versions() -> dict[str, str]:
    """Read once: looking through what is installed takes as long as a short run."""
    return {
        name: importlib.metadata.version(name) for name in ("jax", "jaxlib", "numpy", "equinox")
    }


def _device_name(device: Any) -> str:
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
    if inner is None:
        return name
    return f"{name}({type(inner).__name__}, {type(inner.driver).__name__})"
