"""What a run of escapes returns: one row a trajectory, and how the run was made."""

import enum
from dataclasses import dataclass, field
from typing import Any

import numpy as np


class Status(enum.IntEnum):
    """How a trajectory ended."""

    UNFINISHED = 0
    EXITED = 1
    CENSORED = 2
    NONFINITE = 3

    @property
    def message(self) -> str:
        return {
            Status.UNFINISHED: "stopped before it ended (interrupted run)",
            Status.EXITED: "left the domain",
            Status.CENSORED: "still inside at max_time or max_steps",
            Status.NONFINITE: "became NaN",
        }[self]


@dataclass(frozen=True)
class RunInfo:
    """How a result was made. Seconds are wall-clock; `lane_steps` counts idle lanes too, `live_steps` only lived ones."""

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

    @property
    def useful_work(self) -> float:
        """Share of computed lane-steps that belonged to a living trajectory."""
        return self.live_steps / self.lane_steps if self.lane_steps else float("nan")

    @property
    def steps_per_second(self) -> float:
        """Living trajectory-steps a second, compilation excluded."""
        seconds = self.seconds - self.compile_seconds
        return self.live_steps / seconds if seconds > 0 else float("nan")


@dataclass(frozen=True, repr=False)
class EscapeResult:
    """Escape times and places, indexed by trajectory id.

    Attributes:
        time: clock at the exit, or at censoring, in `info.unit`; float64, shape `(num,)`. NaN where unfinished.
        exited: whether the trajectory left the domain; bool, shape `(num,)`.
        label: 0 where it did not leave, else which exit set it entered; int32, shape `(num,)`.
        last_inside: last position inside; shape `(num, d)`, `(num, 0)` from a run with `record="times"`.
        first_outside: first position outside, NaN where it did not leave; the same shape.
        steps: steps made; uint32, shape `(num,)`.
        status: a `Status` for each; int8, shape `(num,)`.
        info: seed, versions, device, speed of the run.
    """

    time: np.ndarray
    exited: np.ndarray
    label: np.ndarray
    last_inside: np.ndarray
    first_outside: np.ndarray
    steps: np.ndarray
    status: np.ndarray
    info: RunInfo = field(compare=False)

    @property
    def num(self) -> int:
        return len(self.status)

    def count(self, status: Status) -> int:
        return int(np.sum(self.status == status))

    def __repr__(self) -> str:
        info = self.info
        at_risk = float(np.nansum(self.time))
        exits = self.count(Status.EXITED)
        mean = f"{at_risk / exits:.5g}" if exits else "none"
        rows: list[tuple[str, Any]] = [
            (
                "trajectories",
                f"{self.num}: " + ", ".join(f"{self.count(s)} {s.name.lower()}" for s in Status if self.count(s)),
            ),
            (f"mean escape time ({info.unit})", f"{mean} (time at risk over exits)"),
            ("kernel", info.kernel),
            ("domain", info.domain),
            ("seed, device", f"{info.seed}, {info.device}"),
            ("speed", f"{info.steps_per_second:.3g} trajectory-steps/s, useful work {info.useful_work:.2f}"),
        ]
        width = max(len(name) for name, _ in rows)
        return "EscapeResult\n" + "\n".join(f"  {name:<{width}}  {value}" for name, value in rows)


def check_places(result: Any) -> None:
    """Raises ValueError where a run kept no places of its exits."""
    if not result.first_outside.shape[1]:
        raise ValueError('this run kept no places (record="times"). Run it again with record="places".')
