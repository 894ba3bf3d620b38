"""`run_point` as tasks on a Ray cluster, one for each accelerator or each node at a time.

Ray starts the worker processes, keeps them from task to task, and runs a task again elsewhere when
its worker or node dies; the point then resumes from its checkpoint.
"""

import functools
import logging
import os
import tempfile
import time
import warnings
from collections import deque
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

from levysde import errors
from levysde.sweeps.place import Place
from levysde.sweeps.plan import Plan, Point, make_plan
from levysde.sweeps.run_point import conclude, run_point
from levysde.sweeps.spec import Spec
from levysde.sweeps.store import Store, open_store

LOG = logging.getLogger("levysde.sweeps")
_RETRIES = 3  # of a task whose worker dies
_POLL_SECONDS = 1.0
_STORE_BYTES = 10**8  # shared memory on one machine: the tasks return next to nothing


def map_points(
    plan: Plan,
    store: Store,
    todo: Sequence[Point],
    every: float,
    beat: Callable[[], None],
    workers: int | None,
) -> Generator[tuple[Point, str, float], None, None]:
    """Each point of `todo` as it ends, its message if it failed or "", and its units of work.
    `beat` is called now and then.

    Raises OSError when the store cannot be written.
    """
    ray = _ray()
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
    """The task: run the point of this number and store it. Its message if it failed or "", and its
    units of work."""
    plan, store = _opened(*given)
    point = plan.points[number]
    if point.index in store.finished():  # the worker died after storing it
        return "", 0.0
    units = [0.0]

    def inside(finished: int, total: int) -> None:
        units[0] = total

    return run_point(plan, store, point, every, inside, was_failed=was_failed), units[0]


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


def _ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError:
        raise errors.missing_extra("ray", "ray", 'engine="ray"') from None
    return ray


def _start(ray: Any) -> None:
    """Join the cluster that RAY_ADDRESS names, or that this machine belongs to, or start one
    here."""
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
            message=r"os.fork\(\) was "
            r"called",
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
    """How many points to run at a time, and what each asks for: an accelerator, or an equal part of
    the cores."""
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
