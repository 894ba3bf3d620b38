"""What a run of escapes returns: one row a trajectory, and how the run was made; and one run on
several hosts, each of which makes every n-th trajectory.

A trajectory is a pure function of the seed and its id, so the processes have nothing to tell each
other while they run, and the parts together are the run that one process would have made, bit for
bit (on one jax version, backend and type of device).
"""

import enum
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, cast

import jax
import numpy as np

from levysde import errors
from levysde.results import Result
from levysde.stats import mean_time
from levysde.tables import Table
from levysde.types import Arg

if TYPE_CHECKING:
    import pandas

SAMPLINGS = {
    "independent": "independent: different examples, drawn anew each iteration",
    "replacement": "with replacement: each example drawn anew",
    "epochs": "epochs: each example once in a walk through the data",
}


_KEPT_START = 1000  # dimensions up to which the start is kept
# of `RunInfo`: what shards of one run agree in, what is added up, of what the longest is taken
_SAME = ("kernel", "domain", "unit", "dt", "seed", "num", "versions")
_SUMS, _LONGEST = ("workers", "lane_steps", "live_steps"), ("seconds", "compile_seconds")
_FEW_OVERSHOTS = 0.01  # of the exits
_FEW = 16  # dimensions up to which a table of rows has the places


class Status(enum.IntEnum):
    """How a trajectory ended."""

    UNFINISHED = 0
    EXITED = 1
    CENSORED = 2
    NONFINITE = 3

    @property
    def message(self) -> str:
        """The status in words."""
        return {
            Status.UNFINISHED: "stopped before it ended (interrupted run)",
            Status.EXITED: "left the domain",
            Status.CENSORED: "still inside at max_time or max_steps",
            Status.NONFINITE: "became NaN or infinite",
        }[self]


@dataclass(frozen=True, repr=False)
class RunInfo(Result):
    """How a result was made.

    Attributes:
        kernel, domain: names of what moved and of the basin.
        unit: of the clock, "SDE time" or "iterations".
        dt: step in that unit, None for an algorithm that has none.
        minibatches: how an optimiser's minibatches were drawn, "independent", "replacement" or
            "epochs"; None without any.
        seed, num: as given, number of trajectories.
        lanes, workers: trajectories in flight for each worker, and how many workers there were.
        device: name of the CPU or accelerator.
        versions: of jax, jaxlib, numpy and equinox.
        seconds, compile_seconds: wall-clock seconds in all, and spent on compilation.
        lane_steps, live_steps: steps computed, idle lanes included, and steps of living
            trajectories.
        start: where all trajectories started, None where they did not start in one place, or in
            more than 1,000 dimensions.
        warnings: conditions found before the run that can make its numbers wrong, each with a
            value and how to fix it.
    """

    kernel: str
    domain: str
    unit: str
    dt: float | None
    seed: int
    num: int
    lanes: int
    workers: int
    device: str
    versions: dict[str, str]
    seconds: float = 0.0
    compile_seconds: float = 0.0
    lane_steps: int = 0
    live_steps: int = 0
    minibatches: str | None = None
    start: tuple[float, ...] | None = None
    warnings: tuple[str, ...] = ()

    @property
    def useful_work(self) -> float:
        """Share of computed lane-steps that belonged to a living trajectory."""
        return self.live_steps / self.lane_steps if self.lane_steps else float("nan")

    @property
    def steps_per_second(self) -> float:
        """Living trajectory-steps a second, compilation excluded."""
        seconds = self.seconds - self.compile_seconds
        return self.live_steps / seconds if seconds > 0 else float("nan")

    def _rows(self) -> list[tuple[str, str]]:
        step = [] if self.dt is None else [("step dt", f"{self.dt:g}")]
        if self.minibatches is not None:
            step.append(("minibatches", SAMPLINGS[self.minibatches]))
        return [
            ("kernel", self.kernel),
            ("domain", self.domain),
            *step,
            ("seed", f"{self.seed}"),
            ("device", f"{self.device}, {self.workers} workers of {self.lanes} lanes"),
            (
                "speed",
                f"{self.steps_per_second:.3g} trajectory-steps/s, useful work "
                f"{self.useful_work:.2f}",
            ),
        ]

    def _table(self) -> Table:
        rows = [
            *self._rows(),
            ("seconds", f"{self.seconds:.3g}, {self.compile_seconds:.3g} of them for compilation"),
            ("versions", ", ".join(f"{name} {version}" for name, version in self.versions.items())),
        ]
        return Table(f"RunInfo of {self.num} trajectories", rows)


@dataclass(frozen=True, repr=False)
class EscapeResult(Result):
    """Escape times and places, indexed by trajectory id.

    Attributes:
        time: clock at the exit, or at censoring, in `info.unit`; float64, shape `(num,)`. NaN where
            unfinished.
        exited: whether the trajectory left the domain; bool, shape `(num,)`.
        label: 0 where it did not leave, else which exit set it entered; int32, shape `(num,)`.
        last_inside: last position inside; shape `(num, d)`, `(num, 0)` from a run with
            `record="times"`.
        first_outside: first position outside, NaN where it did not leave; the same shape.
        steps: steps made; uint32, shape `(num,)`.
        status: a `Status` for each; int8, shape `(num,)`.
        info: seed, versions, device, speed of the run.
        overshot: whether it left by an overshoot of the drift: by one step that was longer than the
            distance from the attractor to the boundary and mostly the drift's. Such an exit is made
            by the integrator; bool, shape `(num,)`.
    """

    time: np.ndarray
    exited: np.ndarray
    label: np.ndarray
    last_inside: np.ndarray
    first_outside: np.ndarray
    steps: np.ndarray
    status: np.ndarray
    info: RunInfo = field(compare=False)
    overshot: np.ndarray = None  # pyright: ignore[reportAssignmentType]

    def __post_init__(self):
        if self.overshot is None:
            object.__setattr__(self, "overshot", np.zeros(len(self.status), bool))

    @property
    def num(self) -> int:
        """Number of trajectories."""
        return len(self.status)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What can make the numbers of this run wrong, found before it and during it."""
        exits, overshot = self.count(Status.EXITED), int(self.overshot.sum())
        if overshot <= _FEW_OVERSHOTS * exits:
            return self.info.warnings
        return (
            *self.info.warnings,
            f"{overshot / exits:.1%} of the exits ({overshot} of {exits}) were made by the "
            "integrator: one step of the drift, longer than the way from the attractor to the "
            "boundary, carried the trajectory out. The mean is too small by about that share. "
            "Take a smaller dt, or TamedEuler for a loss that grows faster than a square.",
        )

    def count(self, status: Status) -> int:
        """How many trajectories ended with this status."""
        return int(np.sum(self.status == status))

    def _table(self) -> Table:
        info = self.info
        ends = ", ".join(f"{self.count(s)} {s.name.lower()}" for s in Status if self.count(s))
        rows = [
            ("trajectories", f"{self.num}: {ends}" if self.num else "0"),
            (f"mean escape time ({info.unit})", self._mean()),
            *self._sets(),
            (
                "steps",
                f"{int(self.steps.sum(dtype=np.uint64))}, at most {self.steps.max(initial=0)} in "
                "one trajectory",
            ),
            *info._rows(),
            ("jax", info.versions.get("jax", "unknown")),
        ]
        lost = [
            f"{self.count(s)} of {self.num} {s.message}: left out of the mean"
            for s in (Status.UNFINISHED, Status.NONFINITE)
            if self.count(s)
        ]
        return Table("EscapeResult", rows, [*self.warnings, *lost])

    def to_dataframe(self) -> "pandas.DataFrame":
        """One row a trajectory, numbered by `trajectory`.

        Returns:
            Columns `time` (in `attrs["unit"]`), `exited`, `label`, `steps`, `status` (as a word)
            and `overshot`; up to 16 dimensions also `last_inside_0`, ... and `first_outside_0`, ...
            `to_dataset` has the places in any dimension.

        Raises:
            ImportError: pandas is missing.
        """
        return super().to_dataframe().set_index("trajectory")

    def _columns(self) -> dict[str, Any]:
        places = {}
        for name in ("last_inside", "first_outside") if self.last_inside.shape[1] <= _FEW else ():
            places |= {f"{name}_{i}": column for i, column in enumerate(getattr(self, name).T)}
        words = np.asarray([status.name.lower() for status in Status])
        by_trajectory = ("time", "exited", "label", "steps", "overshot")
        return (
            {"trajectory": np.arange(self.num)}
            | {name: getattr(self, name) for name in by_trajectory}
            | {"status": words[self.status]}
            | places
        )

    def _variables(self) -> dict[str, Any]:
        columns = self._columns()
        units = {"time": {"units": self.info.unit}}
        found: dict[str, Any] = {
            name: ("trajectory", columns[name], units.get(name, {}))
            for name in columns
            if not name.startswith(("last_inside", "first_outside"))
        }
        for name in ("last_inside", "first_outside"):
            found[name] = (("trajectory", "coordinate"), getattr(self, name))
        return found

    def _about(self) -> dict[str, Any]:
        info = {field.name: getattr(self.info, field.name) for field in fields(self.info)}
        versions = {f"version_{name}": v for name, v in info.pop("versions").items()}
        warned = {"warnings": "\n".join(self.warnings)}
        given = {name: value for name, value in info.items() if value is not None}
        return super()._about() | given | versions | warned

    def _mean(self) -> str:
        ended = (self.status == Status.EXITED) | (self.status == Status.CENSORED)
        known = ended & (self.time > 0) & (self.time < np.inf)
        if not known.any():
            return "none"
        mean = mean_time(self.time[known], self.exited[known])
        return f"{mean}  ({mean.confidence:.0%} interval, time at risk over exits)"

    def _sets(self) -> list[tuple[str, str]]:
        entered = self.label[self.exited]
        if not entered.size or entered.min() == entered.max():
            return []
        labels, counts = np.unique(entered, return_counts=True)
        shares = ", ".join(
            f"{label}: {share:.1%}"
            for label, share in zip(labels[:8], counts / counts.sum(), strict=False)
        )
        more = ", ..." if len(labels) > 8 else ""
        return [("exit sets, share of exits", shares + more)]


def one_start(starts: np.ndarray) -> tuple[float, ...] | None:
    """Where all trajectories started, `starts` being `(d,)` or `(num, d)`; None as `RunInfo.start`
    says."""
    rows = np.atleast_2d(starts)
    one = rows.shape[1] <= _KEPT_START and bool((rows == rows[0]).all())
    return tuple(rows[0].tolist()) if one else None


def check_places(result: Any) -> None:
    """Refuses a run that kept no places of its exits.

    Args:
        result: an `EscapeResult` or `Paths`.

    Returns:
        Nothing.

    Raises:
        TypeError: something else.
        ValueError: a run with `record="times"`.
    """
    if not hasattr(result, "first_outside"):
        raise TypeError(
            f"result must be an EscapeResult or Paths, not {errors.shown(result)}. Type "
            "simulate_escape(...)."
        )
    if not result.first_outside.shape[1]:
        raise ValueError(
            'this run kept no places (record="times"). Run it again with record="places".'
        )


def as_shard(shard: Arg[tuple[int, int] | str | None]) -> tuple[int, int]:
    """Which share of a run this process makes.

    Args:
        shard: `(i, n)` or "i/n", i from 0 to n - 1; None for this process among those that
            `jax.distributed` joins.

    Returns:
        The two integers.

    Raises:
        ValueError: anything else.
    """
    if shard is None:
        return jax.process_index(), jax.process_count()
    if isinstance(shard, str):
        parts = shard.split("/")
        shard = cast(Any, tuple(int(part) if part.isdecimal() else part for part in parts))
    if (
        not isinstance(shard, tuple)
        or len(shard) != 2
        or not all(isinstance(k, int) and not isinstance(k, bool) for k in shard)
        or not 0 <= shard[0] < shard[1]
    ):
        raise ValueError(
            f'shard must be (i, n) or "i/n" with i from 0 to n - 1, not {errors.shown(shard)}. '
            'For example "0/2".'
        )
    return shard


def join_shards(results: Arg[Sequence[EscapeResult]]) -> EscapeResult:
    """The run whose shards these are.

    Args:
        results: a list of `EscapeResult`, in any order.

    Returns:
        An `EscapeResult`. Workers and steps in its `info` are sums over the shards, seconds the
        longest of any; trajectories that no shard finished stay `UNFINISHED`.

    Raises:
        TypeError, ValueError: not a list of results, results of different runs, a trajectory that
            two of them hold.
    """
    listed = isinstance(results, Sequence) and len(results)
    if not listed or not all(isinstance(r, EscapeResult) for r in results):
        raise TypeError(
            f"results must be a list of EscapeResult, not {errors.shown(results)}. Type "
            "join_shards([first, second])."
        )
    first = results[0]
    for other in results[1:]:
        for name in _SAME:
            mine, theirs = getattr(first.info, name), getattr(other.info, name)
            if mine != theirs:
                raise ValueError(
                    f"these are shards of different runs: {name} is {mine!r} in one and {theirs!r} "
                    "in another."
                )
        if other.last_inside.shape != first.last_inside.shape:
            raise ValueError(
                "these are shards of different runs: one kept the places of its "
                "exits, another did not."
            )
    made = np.stack([r.status != Status.UNFINISHED for r in results])
    twice = np.flatnonzero(made.sum(0) > 1)
    if len(twice):
        raise ValueError(f"trajectory {twice[0]} is in two of the shards. Give each shard once.")
    owner = made.argmax(0)
    columns = {name: column.copy() for name, column in _columns(first).items()}
    for i, other in enumerate(results[1:], 1):
        for name, column in _columns(other).items():
            shape = (-1, *[1] * (column.ndim - 1))
            columns[name] = np.where((owner == i).reshape(shape), column, columns[name])
    sums = {name: sum(getattr(r.info, name) for r in results) for name in _SUMS}
    longest = {name: max(getattr(r.info, name) for r in results) for name in _LONGEST}
    return EscapeResult(**columns, info=replace(first.info, **sums, **longest))


def gathered(result: EscapeResult) -> EscapeResult:
    """The whole run on every process that `jax.distributed` joins, from the shard of each."""
    from jax.experimental import multihost_utils  # slow to import

    names = _SUMS + _LONGEST
    work = np.array([getattr(result.info, name) for name in names], np.float64)
    mine = _columns(result) | {"work": work}
    # bytes: 64 bits stay 64 bits
    everyone = multihost_utils.process_allgather(
        {name: np.frombuffer(column.tobytes(), np.uint8) for name, column in mine.items()}
    )
    parts = []
    for i in range(jax.process_count()):
        arrays = {
            name: np.frombuffer(np.asarray(everyone[name][i]).tobytes(), column.dtype).reshape(
                column.shape
            )
            for name, column in mine.items()
        }
        work = [float(number) for number in arrays.pop("work")]
        numbers: dict[str, Any] = dict(zip(names, work, strict=True))
        numbers |= {name: int(numbers[name]) for name in _SUMS}
        parts.append(EscapeResult(**arrays, info=replace(result.info, **numbers)))
    return join_shards(parts)


def _columns(result: EscapeResult) -> dict[str, np.ndarray]:
    names = [f.name for f in fields(EscapeResult) if f.name != "info"]
    return {name: np.asarray(getattr(result, name)) for name in names}
