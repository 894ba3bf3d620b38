"""The sweep's points on a Ray cluster: one long-lived actor for each accelerator, or for all cores of a node.

Actors are sent the spec, build the points themselves, and write them themselves. An actor that dies is started again with
what it was doing, which goes on from the point's checkpoint; a point that takes its actor down four times has failed. A gang
shares a point: each member runs every n-th trajectory, which needs no exchange, and the driver joins the shares.
"""

import functools
import logging
import os
import tempfile
import time
import warnings
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from levysde import errors
from levysde.sweeps.place import Place
from levysde.sweeps.plan import Plan, Point, make_plan
from levysde.sweeps.spec import Spec
from levysde.sweeps.store import Store, open_store

LOG = logging.getLogger("levysde.sweeps")
_RETRIES = 3
_POLL_SECONDS = 1.0
_STORE_BYTES = 10**8  # of shared memory on one machine: outcomes are small


class Runner:
    """What an actor does: hold the plan and the store, and run points of them."""

    def __init__(self, spec: str, folder: str | None, url: str, every: float):
        self.given = (spec, folder, url)
        self.every = every

    @functools.cached_property
    def plan(self) -> Plan:
        """Made by the first task and not with the actor: what fails then is told, and tried only a few times."""
        spec, folder, _ = self.given
        return make_plan(Spec.model_validate_json(spec), Path(folder) if folder else None)

    @functools.cached_property
    def store(self) -> Store:
        try:
            return open_store(Place(self.given[2]))
        except ValueError as error:
            raise ValueError(
                f"this node does not see the store ({error}). Give a folder that all nodes share, or a URL."
            ) from None

    def node(self) -> str:
        """The machine that this actor is on."""
        return _ray().get_runtime_context().get_node_id()

    def run(self, number: int, was_failed: bool, seat: tuple[int, int]) -> tuple[str, float]:
        """Run a point and store it: its message when it failed, else "", and how many units it was."""
        from levysde.sweeps.driver import run_point

        _sit(seat)
        point = self.plan.points[number]
        if point.index in self.store.finished():  # the actor died after storing it
            return "", 0.0
        count = [0.0]

        def inside(finished: int, total: int) -> None:
            count[0] = total

        return run_point(self.plan, self.store, point, self.every, inside, was_failed=was_failed), count[0]

    def share(self, number: int, part: tuple[int, int], seat: tuple[int, int]) -> tuple[Any, str]:
        """This actor's share of a point: what it yielded, and why it failed, or ""."""
        from levysde.sweeps.driver import attempt

        _sit(seat)
        return attempt(self.plan, self.store.place, self.plan.points[number], part, self.every, None)


def run_points(
    plan: Plan, place: Place, todo: Sequence[Point], told: Any, *, workers: int | None, hosts: int, every: float
) -> None:
    """Run the points `todo`. `told` hears of each that ends. Raises OSError when a store cannot be written."""
    ray = _ray()
    mine = not ray.is_initialized()
    if mine:
        _start(ray)
    try:
        count, resources = _actors(ray, workers, hosts)
        LOG.info("%d actors, each with %s", count, resources)
        make = ray.remote(max_restarts=-1, max_task_retries=_RETRIES, **resources)(Runner)
        folder = str(plan.folder) if plan.folder else None
        handles = [make.remote(plan.spec.model_dump_json(), folder, place.url, every) for _ in range(count)]
        nodes = ray.get([handle.node.remote() for handle in handles])
        actors = [(h, (nodes[:k].count(nodes[k]), nodes.count(nodes[k]))) for k, h in enumerate(handles)]
        if hosts > 1:
            _run_gangs(ray, plan, place, todo, told, [actors[k : k + hosts] for k in range(0, count, hosts)])
        else:
            _run_singly(ray, plan, place, todo, told, actors)
        for handle in handles:
            ray.kill(handle)
    finally:
        if mine:
            ray.shutdown()


def _run_singly(ray: Any, plan: Plan, place: Place, todo: Sequence[Point], told: Any, actors: Sequence[Any]) -> None:
    """Hand each actor its next point while it runs one, so that it never waits."""
    from levysde.sweeps.driver import conclude

    store = open_store(place)
    number = {point.index: k for k, point in enumerate(plan.points)}
    failed = store.failed()
    waiting, running = deque(todo), {}

    def hand_out(actor: Any) -> None:
        if waiting:
            point, (handle, seat) = waiting.popleft(), actor
            running[handle.run.remote(number[point.index], point.index in failed, seat)] = (actor, point)

    for _ in range(2):
        for actor in actors:
            hand_out(actor)
    while running:
        ready, _ = ray.wait(list(running), timeout=_POLL_SECONDS)
        told.beat()
        for task in ready:
            actor, point = running.pop(task)
            start = time.monotonic()
            try:
                message, units = ray.get(task)
                told.inside(units, units)
            except ray.exceptions.RayActorError as death:
                message = f"the worker died {_RETRIES + 1} times while it ran this point (out of memory?): {_first_line(death)}"
                conclude(plan, store, point, None, message, time.monotonic() - start, was_failed=False)
            except ray.exceptions.RayTaskError as failure:
                raise failure.cause from None
            told.ended(point, message)
            hand_out(actor)


def _run_gangs(
    ray: Any, plan: Plan, place: Place, todo: Sequence[Point], told: Any, gangs: Sequence[Sequence[Any]]
) -> None:
    """Each gang runs a point at a time, a share a member; the shares are joined here and stored."""
    from levysde.sweeps.driver import conclude

    store = open_store(place)
    number = {point.index: k for k, point in enumerate(plan.points)}
    failed = store.failed()
    waiting, running = deque(todo), {}

    def hand_out(gang: Sequence[Any]) -> None:
        if waiting:
            point = waiting.popleft()
            k, n = number[point.index], len(gang)
            shares = [handle.share.remote(k, (i, n), seat) for i, (handle, seat) in enumerate(gang)]
            running[point.index] = (gang, point, shares, time.monotonic())

    for gang in gangs:
        hand_out(gang)
    while running:
        ray.wait([task for _, _, shares, _ in running.values() for task in shares], timeout=_POLL_SECONDS)
        told.beat()
        for index, (gang, point, shares, start) in list(running.items()):
            if len(ray.wait(shares, num_returns=len(shares), timeout=0)[0]) < len(shares):
                continue
            del running[index]
            outcome = None
            try:
                parts = ray.get(shares)
                message = next((message for _, message in parts if message), "")
                if all(part is not None for part, _ in parts):
                    outcome = plan.experiment.join([part for part, _ in parts])
            except ray.exceptions.RayActorError as death:
                message = (
                    f"a worker died {_RETRIES + 1} times while it ran this point (out of memory?): {_first_line(death)}"
                )
            except ray.exceptions.RayTaskError as failure:
                raise failure.cause from None
            conclude(plan, store, point, outcome, message, time.monotonic() - start, was_failed=point.index in failed)
            told.ended(point, message)
            hand_out(gang)


def _ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError:
        raise errors.missing_extra("ray", "ray", 'engine="ray"') from None
    return ray


def _start(ray: Any) -> None:
    """Join the cluster that RAY_ADDRESS names, or that this machine belongs to, or start one here."""
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if os.environ.get("RAY_ADDRESS"):
        ray.init(**quiet)
        return
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    # sockets have short names: a long temporary folder would not fit
    short = tempfile.mkdtemp(prefix="ray", dir="/tmp" if os.path.isdir("/tmp") else None)
    with warnings.catch_warnings():
        # the processes that Ray forks run another program at once
        warnings.filterwarnings("ignore", message=r"os.fork\(\) was called", category=RuntimeWarning)
        ray.init(address="local", include_dashboard=False, object_store_memory=_STORE_BYTES, _temp_dir=short, **quiet)


def _actors(ray: Any, workers: int | None, hosts: int) -> tuple[int, dict[str, Any]]:
    """How many actors, and what each asks for: an accelerator, or an equal part of a node's cores."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    for kind in ("GPU", "TPU"):
        count = int(sum(node.get(kind, 0) for node in nodes))
        if count:
            count = count if workers is None else workers
            asked: dict[str, Any] = {"num_gpus": 1} if kind == "GPU" else {"resources": {"TPU": 1}}
            return _whole_gangs(count, hosts), asked
    count = len(nodes) if workers is None else workers
    count = _whole_gangs(max(count, hosts) if workers is None else count, hosts)
    cores = max(1, int(sum(node.get("CPU", 0) for node in nodes)) // count)
    return count, {"num_cpus": cores, "runtime_env": {"env_vars": {"JAX_PLATFORMS": "cpu"}}}


def _sit(seat: tuple[int, int]) -> None:
    """Keep to this actor's part of the machine's cores: Ray counts cores and does not part them."""
    k, of = seat
    if of == 1 or not hasattr(os, "sched_setaffinity"):
        return
    global _cores
    _cores = _cores or sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, set(_cores[k::of]) or {_cores[k % len(_cores)]})


_cores: list[int] = []  # of the machine, as the actor was started


def _whole_gangs(count: int, hosts: int) -> int:
    if count < hosts:
        raise ValueError(f"{hosts} hosts a point need as many actors, and there are {count}. Lower hosts_per_point.")
    return count - count % hosts


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0]
