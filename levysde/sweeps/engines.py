"""Run and store one point of a sweep, in this process or as a task on a Ray cluster.

Every engine calls `run_point`, so all of them store the same bytes. Ray keeps its
worker processes from task to task, and runs a task again elsewhere when its worker or node dies;
the point then resumes from its checkpoint.
"""

import functools
import logging
import os
import socket
import tempfile
import time
import warnings
from collections import deque
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

import jax

from levysde import errors
from levysde.escape import Checkpoint
from levysde.sweeps.experiment import Job
from levysde.sweeps.place import Place
from levysde.sweeps.plan import Plan, Point, make_plan
from levysde.sweeps.spec import Spec
from levysde.sweeps.store import Store, now, open_store, versions

LOG = logging.getLogger("levysde.sweeps")
Ended = Generator[tuple[Point, str, float], None, None]


def run_point(
    plan: Plan,
    store: Store,
    point: Point,
    every: float,
    inside: Callable[[int, int], None] | None = None,
    *,
    was_failed: bool,
) -> tuple[str, float]:
    """Run one point and store it.

    Args:
        plan, store, point: what to run, and where to.
        every: seconds between checkpoints.
        inside: called with (finished, all) as the point runs.
        was_failed: whether the point is stored as failed.

    Returns:
        The message of a point that failed, else "", and its units of work.

    Raises:
        OSError: of the store, which would fail the next point too.
        KeyboardInterrupt: Ctrl-C.
    """
    start, units = time.monotonic(), 1.0

    def counted(finished: int, total: int) -> None:
        nonlocal units
        units = total
        if inside is not None:
            inside(finished, total)

    outcome, message = _attempt(plan, store.place, point, every, counted)
    job = Job(point.seed)
    columns = {} if outcome is None else plan.experiment.columns(point.settings, outcome, job)
    conclude(store, point, columns, message, time.monotonic() - start, was_failed=was_failed)
    return message, units


def _attempt(
    plan: Plan, place: Place, point: Point, every: float, inside: Callable[[int, int], None]
) -> tuple[Any, str]:
    """The outcome of a point, and why it failed, or ""."""

    def run() -> Any:
        job = Job(point.seed, _checkpoint(place, point, every), inside)
        return plan.experiment.run(point.settings, job)

    try:
        try:
            return run(), ""
        except errors.CheckpointError as stale:
            LOG.warning("%s starts over: %s", point.id, stale)
            place.remove(".run", "checkpoints", _checkpoint_name(point))
            return run(), ""
    except OSError:
        raise
    except errors.NonFiniteError as failure:
        return failure.result, str(failure)
    except Exception as failure:
        LOG.debug("point %s failed", point.id, exc_info=True)
        return None, f"{type(failure).__name__}: {failure}"


def conclude(
    store: Store,
    point: Point,
    columns: dict[str, Any],
    message: str,
    seconds: float,
    *,
    was_failed: bool,
) -> None:
    """Store the columns of a point, mark it as done or failed, and remove its checkpoint."""
    how = {
        "seconds": seconds,
        "ended": now(),
        "host": socket.gethostname(),
        "device": device_name(),
        "versions": versions(),
    }
    if message:
        store.fail(point.index, message, columns, how)
        LOG.warning("%s failed: %s", point.id, message)
    else:
        store.write(point.index, columns, how, failed=was_failed)
        LOG.info("%s: %.3g s", point.id, seconds)
    store.place.remove(".run", "checkpoints", _checkpoint_name(point))


def _checkpoint(place: Place, point: Point, every: float) -> Checkpoint:
    """The checkpoint of a point. For a bucket, the file is kept on this machine and copied after
    each save."""
    name = _checkpoint_name(point)
    if place.is_local:
        return Checkpoint(
            place.path(".run", "checkpoints", name), checkpoint_every=every, final=False
        )
    folder = Path(tempfile.gettempdir()) / f"levysde-{os.getpid()}"
    folder.mkdir(exist_ok=True)
    file = folder / name
    file.unlink(missing_ok=True)
    saved = place.read(".run", "checkpoints", name)
    if saved is not None:
        file.write_bytes(saved)

    def copy(path: Path) -> None:
        place.write(path.read_bytes(), ".run", "checkpoints", path.name)

    return Checkpoint(file, checkpoint_every=every, final=False, on_save=copy)


def _checkpoint_name(point: Point) -> str:
    return "-".join(map(str, point.index)) + ".npz"


def device_name() -> str:
    device = jax.local_devices()[0]
    return f"{device.platform} {device.device_kind}"


_RETRIES = 3  # of a task whose worker dies
_POLL_SECONDS = 1.0
_STORE_BYTES = 10**8  # shared memory on one machine: the tasks return next to nothing


def map_here(
    plan: Plan,
    store: Store,
    todo: Sequence[Point],
    every: float,
    inside: Callable[[int, int], None],
) -> Ended:
    """Run the points of `todo` one after another in this process.

    Yields each point as it ends, its message if it failed or "", and its units of work.
    """
    failed = store.failed()
    for point in todo:
        yield point, *run_point(plan, store, point, every, inside, was_failed=point.index in failed)


def map_on_ray(
    plan: Plan,
    store: Store,
    todo: Sequence[Point],
    every: float,
    beat: Callable[[], None],
    workers: int | None,
) -> Ended:
    """Run the points of `todo` as tasks on a Ray cluster; yields what `map_here` does.

    `beat` is called about once a second. Raises OSError when the store cannot be written.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray.exceptions
    except ImportError:
        raise errors.missing_extra("ray", "ray", 'engine="ray"') from None
    mine = not ray.is_initialized()
    if mine:
        _start(ray)
    running: dict[Any, tuple[Point, float]] = {}
    try:
        count, resources = _resources(ray, workers)
        LOG.info("%d points at a time, each with %s", count, resources)
        task = ray.remote(max_retries=_RETRIES, **resources)(_run_numbered)
        given = (
            plan.spec.model_dump_json(),
            str(plan.folder) if plan.folder else None,
            store.place.url,
        )
        number = {point.index: k for k, point in enumerate(plan.points)}
        failed, waiting = store.failed(), deque(todo)
        while waiting or running:
            while waiting and len(running) < count:
                point = waiting.popleft()
                started = task.remote(given, number[point.index], every, point.index in failed)
                running[started] = point, time.monotonic()
            for ended in ray.wait(list(running), timeout=_POLL_SECONDS)[0]:
                point, start = running.pop(ended)
                try:
                    yield point, *ray.get(ended)
                except ray.exceptions.RayTaskError as failure:
                    raise failure.cause from None
                except ray.exceptions.RayError as death:
                    reason = str(death).strip().split("\n")[0]
                    message = f"its worker died {_RETRIES + 1} times (out of memory?): {reason}"
                    seconds = time.monotonic() - start
                    conclude(store, point, {}, message, seconds, was_failed=point.index in failed)
                    yield point, message, 0.0
            beat()
    finally:
        for unfinished in running:
            ray.cancel(unfinished, force=True)
        if mine:
            ray.shutdown()


def _run_numbered(
    given: tuple[str, str | None, str], number: int, every: float, was_failed: bool
) -> tuple[str, float]:
    """The task: run the point of this number and store it; returns what `run_point` does."""
    plan, store = _opened(*given)
    point = plan.points[number]
    if point.index in store.finished():  # the worker died after storing it
        return "", 0.0
    return run_point(plan, store, point, every, was_failed=was_failed)


@functools.lru_cache(maxsize=1)
def _opened(spec: str, folder: str | None, url: str) -> tuple[Plan, Store]:
    plan = make_plan(Spec.model_validate_json(spec), Path(folder) if folder else None)
    try:
        return plan, open_store(Place(url))
    except ValueError as error:
        raise ValueError(
            f"this node does not see the store ({error}). Give a folder that all nodes share, or a "
            "URL."
        ) from None


def _start(ray: Any) -> None:
    """Join the cluster that RAY_ADDRESS names or this machine belongs to, or start one here."""
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if os.environ.get("RAY_ADDRESS"):
        ray.init(**quiet)
        return
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    # sockets have short names: a long temporary folder would not fit
    short = tempfile.mkdtemp(prefix="ray", dir="/tmp" if os.path.isdir("/tmp") else None)
    with warnings.catch_warnings():
        # the processes that Ray forks run another program at once
        warnings.filterwarnings(
            "ignore",
            message=r"os.fork\(\) was called",
            category=RuntimeWarning,
        )
        ray.init(
            address="local",
            include_dashboard=False,
            object_store_memory=_STORE_BYTES,
            _temp_dir=short,
            **quiet,
        )


def _resources(ray: Any, workers: int | None) -> tuple[int, dict[str, Any]]:
    """The number of points to run at a time, and the resources of each: an accelerator, or an equal
    part of the cores."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    for kind in ("GPU", "TPU"):
        count = int(sum(node.get(kind, 0) for node in nodes))
        if count:
            asked: dict[str, Any] = {"num_gpus": 1} if kind == "GPU" else {"resources": {"TPU": 1}}
            # a worker keeps its compiled programs
            return workers or count, asked | {"max_calls": 0}
    cores = [int(node["CPU"]) for node in nodes if node.get("CPU", 0) >= 1]
    if not cores:
        raise ValueError("the cluster has neither accelerators nor cores to give. Add a node.")
    count = workers or len(cores)
    each = max(1, min(min(cores), sum(cores) // count))
    return count, {"num_cpus": each, "runtime_env": {"env_vars": {"JAX_PLATFORMS": "cpu"}}}
