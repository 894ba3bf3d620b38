"""The sweep's points on a Ray cluster: one long-lived actor for each accelerator, or for all cores of a node.

Actors are sent the spec, build the points themselves, and write them themselves. An actor that dies is started again with
what it was doing, which goes on from the point's checkpoint; a point that takes its actor down four to eight times has
failed, one whose node has gone is handed to another. A gang shares a point: each member runs every n-th trajectory, which
needs no exchange, and the driver joins the shares.
"""

import functools
import itertools
import logging
import os
import tempfile
import time
import warnings
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from levysde import errors
from levysde.sweeps.driver import attempt, conclude, run_point
from levysde.sweeps.place import Place
from levysde.sweeps.plan import Plan, Point, make_plan
from levysde.sweeps.spec import Spec
from levysde.sweeps.store import Store, open_store

LOG = logging.getLogger("levysde.sweeps")
# Of a point by an actor that dies, and of handing it out again: four deaths, eight where Ray says only that it is out of reach
_RETRIES, _CHANCES = 1, 2
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
        _sit(seat)
        return attempt(self.plan, self.store.place, self.plan.points[number], part, self.every, None)


def run_points(
    plan: Plan, place: Place, todo: Sequence[Point], told: Any, *, workers: int | None, hosts: int, every: float
) -> None:
    """Run the points `todo`, each by `hosts` actors. `told` hears of each that ends.

    Raises OSError when the store cannot be written, or no node is left.
    """
    ray = _ray()
    mine = not ray.is_initialized()
    if mine:
        _start(ray)
    try:
        count, resources, cores = _actors(ray, workers, hosts)
        LOG.info("%d actors, each with %s", count, resources)
        make = ray.remote(max_restarts=-1, max_task_retries=_RETRIES, **resources)(Runner)
        folder = str(plan.folder) if plan.folder else None
        crew = _Crew(ray, lambda: make.remote(plan.spec.model_dump_json(), folder, place.url, every), count, cores)
        try:
            _run(crew, plan, place, todo, told, hosts)
        finally:
            crew.dismiss()
    finally:
        if mine:
            ray.shutdown()


class _Crew:
    """The actors: those that a node is still being found for, those that wait for work, those whose node has gone."""

    def __init__(self, ray: Any, make: Callable[[], Any], count: int, cores: int):
        self.ray, self.make, self.cores = ray, make, cores
        self.joining: dict[Any, Any] = {}  # the task that tells an actor's node -> the actor
        self.seats: dict[Any, tuple[str, int]] = {}  # actor -> its node, and its number there
        self.idle: list[Any] = []
        for _ in range(count):
            self._hire()

    def _hire(self) -> None:
        actor = self.make()
        self.joining[actor.node.remote()] = actor

    def update(self) -> None:
        """Seat who has come, let go who has lost its node, and look for another in its place."""
        nodes = {n["NodeID"]: n["Resources"] for n in self.ray.nodes() if n["Alive"]}
        for task in (
            self.ray.wait(list(self.joining), num_returns=len(self.joining), timeout=0)[0] if self.joining else ()
        ):
            actor = self.joining.pop(task)
            try:
                node = self.ray.get(task)
            except self.ray.exceptions.RayActorError:
                self.ray.kill(actor)
                self._hire()
                continue
            taken = {k for other, k in self.seats.values() if other == node}
            self.seats[actor] = (node, next(k for k in itertools.count() if k not in taken))
            self.idle.append(actor)
        for actor, (node, _) in list(self.seats.items()):
            if node not in nodes:
                LOG.warning("a node has gone, with a worker of this sweep; its points go to others")
                del self.seats[actor]
                self.idle = [other for other in self.idle if other is not actor]
                self.ray.kill(actor)
                self._hire()
        self.nodes = nodes

    def seat(self, actor: Any) -> tuple[int, int]:
        """Which part of its node's cores is the actor's: the k-th of so many."""
        node, k = self.seats[actor]
        return k, max(k + 1, int(self.nodes[node].get("CPU", 1)) // self.cores) if self.cores else 1

    def release(self, actors: Sequence[Any]) -> None:
        self.idle += [actor for actor in actors if actor in self.seats]

    def recall(self, actors: Sequence[Any]) -> None:
        """Give them nothing more until they answer: one of them has died, and perhaps its node."""
        for actor in actors:
            if self.seats.pop(actor, None):
                self.joining[actor.node.remote()] = actor

    def dismiss(self) -> None:
        for actor in [*self.seats, *self.joining.values()]:
            self.ray.kill(actor)


def _run(crew: _Crew, plan: Plan, place: Place, todo: Sequence[Point], told: Any, hosts: int) -> None:
    """Hand points to actors that wait, as many to each point as share it, until all have ended."""
    ray, store = crew.ray, open_store(place)
    number = {point.index: k for k, point in enumerate(plan.points)}
    failed = store.failed()
    waiting: deque[Point] = deque(todo)
    running: list[_Running] = []
    deaths: Counter[tuple[int, ...]] = Counter()
    while waiting or running:
        crew.update()
        while waiting and len(crew.idle) >= hosts:
            point, members = waiting.popleft(), [crew.idle.pop(0) for _ in range(hosts)]
            k, was_failed = number[point.index], point.index in failed
            if hosts == 1:
                tasks = [members[0].run.remote(k, was_failed, crew.seat(members[0]))]
            else:
                tasks = [actor.share.remote(k, (i, hosts), crew.seat(actor)) for i, actor in enumerate(members)]
            running.append(_Running(point, members, tasks, time.monotonic(), was_failed))
        ray.wait([task for run in running for task in run.tasks] + list(crew.joining), timeout=_POLL_SECONDS)
        told.beat()
        for run in list(running):
            if len(ray.wait(run.tasks, num_returns=len(run.tasks), timeout=0)[0]) < len(run.tasks):
                continue
            running.remove(run)
            crew.update()
            try:
                message = _concluded(ray, plan, store, run, told)
            except ray.exceptions.RayActorError as death:
                deaths[run.point.index] += 1
                crew.recall(run.members)
                # who is out of reach mostly has died, but it may be its node or the network
                unsure = isinstance(death, ray.exceptions.ActorUnavailableError)
                if deaths[run.point.index] < (2 * _CHANCES if unsure else _CHANCES):
                    waiting.appendleft(run.point)
                    continue
                times = deaths[run.point.index] * (_RETRIES + 1)
                message = f"its worker died {times} times (out of memory?): {_first_line(death)}"
                conclude(plan, store, run.point, None, message, time.monotonic() - run.start, was_failed=run.was_failed)
            told.ended(run.point, message)
            crew.release(run.members)


@dataclass(frozen=True)
class _Running:
    """A point under way, by one actor or by a gang."""

    point: Point
    members: list[Any]
    tasks: list[Any]
    start: float
    was_failed: bool


def _concluded(ray: Any, plan: Plan, store: Store, run: _Running, told: Any) -> str:
    """The message of a point that has ended, "" when it is done. A gang's shares are joined and stored here."""
    try:
        results = ray.get(run.tasks)
    except ray.exceptions.RayTaskError as failure:
        raise failure.cause from None
    if len(results) == 1:
        message, units = results[0]
        told.inside(units, units)
        return message
    message = next((message for _, message in results if message), "")
    parts = [part for part, _ in results]
    outcome = None if any(part is None for part in parts) else plan.experiment.join(parts)
    conclude(plan, store, run.point, outcome, message, time.monotonic() - run.start, was_failed=run.was_failed)
    return message


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


def _actors(ray: Any, workers: int | None, hosts: int) -> tuple[int, dict[str, Any], int]:
    """How many actors, what each asks for (an accelerator, or an equal part of the cores), and how many cores it keeps to, 0
    where that does not matter."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    for kind in ("GPU", "TPU"):
        count = int(sum(node.get(kind, 0) for node in nodes))
        if count:
            asked: dict[str, Any] = {"num_gpus": 1} if kind == "GPU" else {"resources": {"TPU": 1}}
            return _whole_gangs(count if workers is None else workers, hosts), asked, 0
    cores = [int(node["CPU"]) for node in nodes if node.get("CPU", 0) >= 1]
    if not cores:
        raise ValueError("the cluster has neither accelerators nor cores to give. Add a node.")
    count = _whole_gangs(max(len(cores), hosts) if workers is None else workers, hosts)
    each = max(1, min(min(cores), sum(cores) // count))
    return count, {"num_cpus": each, "runtime_env": {"env_vars": {"JAX_PLATFORMS": "cpu"}}}, each


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
