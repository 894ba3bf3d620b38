"""What can be swept: an experiment defines the settings of a point, how a point is run, and what is
stored.

A point is one combination of settings. A `Job` holds its seed and its checkpoint. The stored
columns are declared as `Variable`s, with the same shapes in the whole sweep, so that the store can
be created before anything runs.
"""

import importlib
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from pydantic import BaseModel, ConfigDict

from levysde import errors
from levysde.escape import Checkpoint
from levysde.types import Arg, Integer


class Model(BaseModel):
    """Base of settings: frozen, strictly typed, without unknown fields, NaN or infinity."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=True)


@dataclass(frozen=True)
class Variable:
    """One array of the store; each point has a part of shape `sizes`.

    Args:
        name: of the array.
        dtype: NumPy's name for it, or "str".
        long_name: what the number is, for labels.
        units: "1" for pure numbers, "" for text.
        dims: names of its dimensions beyond the sweep's axes.
        sizes: lengths of these dimensions.

    Raises:
        ValueError, TypeError: a name that is not a string, a dtype that NumPy does not know, `dims`
            and `sizes` of different lengths.
    """

    name: Arg[str]
    dtype: Arg[str]
    long_name: Arg[str]
    units: Arg[str] = "1"
    dims: Arg[Sequence[str]] = ()
    sizes: Arg[Sequence[Integer]] = ()

    def __post_init__(self):
        for name in ("name", "dtype", "long_name", "units"):
            errors.word(name, getattr(self, name))
        try:
            np.dtype(self.dtype)
        # NumPy reads some strings as a list of types
        except (TypeError, ValueError, SyntaxError) as error:
            raise ValueError(
                f'dtype = {self.dtype!r} is unknown to NumPy ({error}). For example "float64".'
            ) from None
        errors.several("dims", self.dims, str, '("trajectory",)')
        for size in errors.several("sizes", self.sizes, object, "(100,)"):
            errors.integer("each of sizes", size, "(100,)", low=0)
        if len(self.dims) != len(self.sizes):
            raise ValueError(
                f"dims and sizes must be of one length, not {self.dims} and {self.sizes}."
            )

    @property
    def fill(self) -> Any:
        """The value of points that have not been run."""
        return "" if self.dtype == "str" else np.nan if np.dtype(self.dtype).kind == "f" else 0

    @property
    def nbytes(self) -> int:
        """Bytes of a point, before compression."""
        return (
            32
            if self.dtype == "str"
            else np.dtype(self.dtype).itemsize * int(math.prod(self.sizes))
        )


@dataclass(frozen=True)
class Job:
    """How to run a point.

    Attributes:
        seed: seed of its random numbers, 0 to 2^64 - 1.
        checkpoint: where a long point saves its state, or None.
        progress: called with (finished, all) while the point runs, or None.
    """

    seed: int
    checkpoint: Checkpoint | None = None
    progress: Callable[[int, int], None] | None = None


@dataclass(frozen=True)
class Work:
    """The cost of a point.

    Args:
        amount: amount of work in the experiment's `work_unit` (trajectory-steps for escapes); may
            be infinite.
        is_bound: True if `amount` is an upper bound, False if it is an expectation.

    Raises:
        ValueError, TypeError: `amount` that is negative or not a number, `is_bound` that is not
            True or False.
    """

    amount: Arg[float]
    is_bound: Arg[bool]

    def __post_init__(self):
        amount = errors.numeric("amount", errors.concrete("amount", self.amount))
        if amount.shape != () or not amount >= 0:
            raise ValueError(
                f"amount must be a number from 0 on, not {errors.shown(self.amount)}. "
                "For example 1e6."
            )
        errors.flag("is_bound", self.is_bound)


class Experiment(ABC):
    """One kind of run. It has no state: everything is in the settings, so that another process can
    find it by its name."""

    name: ClassVar[str]
    settings: ClassVar[type[Model]]
    work_unit: ClassVar[str] = "units"  # of what `work` counts

    def check(self, settings: Any) -> None:  # noqa: B027  (for many, the types of the settings are enough)
        """Raise ValueError, TypeError or ImportError for settings that cannot run. Must be fast. By
        default nothing is refused."""

    @abstractmethod
    def variables(self, points: Sequence[Any]) -> tuple[Variable, ...]:
        """The columns of these points, with sizes that are large enough for each of them."""

    @abstractmethod
    def run(self, settings: Any, job: Job) -> Any:
        """Run one point."""

    def columns(self, settings: Any, outcome: Any, job: Job) -> dict[str, Any]:
        """The point's part of each variable; by default the outcome, a dict.

        Arrays may be shorter than the variable's sizes. The rest keeps its fill value.
        """
        return {name: np.asarray(value) for name, value in outcome.items()}

    def outcome(self, settings: Any, columns: dict[str, Any], job: Job) -> Any:
        """The outcome from which a point's stored columns were made, for analyses."""
        raise ValueError(
            f"the points of {self.name!r} cannot be brought back as results. Read the "
            "arrays of `data`."
        )

    def law(self, settings: Any) -> Any:
        """The law that the outcome is compared with, None if there is none."""
        return None

    def work(self, settings: Any) -> Work | None:
        """The expected cost of a point, None if it cannot be predicted."""
        return None

    def units_per_second(self, settings: Any) -> float:
        """Speed of a short trial on this machine, in units of `work` per second; called only if
        `work` predicts a cost."""
        raise NotImplementedError(
            f"{type(self).__name__} predicts `work`, and must tell `units_per_second` too"
        )


_REGISTERED: dict[str, Experiment] = {}


def register(experiment: Arg["Experiment"]) -> None:
    """Register an experiment by its name, so that a spec can say `experiment = "name"`.

    Args:
        experiment: an instance of a class derived from `Experiment`.

    Returns:
        Nothing.

    Raises:
        TypeError: not an `Experiment`.
        ValueError: the name is taken.
    """
    if not isinstance(experiment, Experiment):
        raise TypeError(
            f"experiment must be an Experiment, not {experiment!r}. Derive it from "
            "levysde.sweeps.Experiment."
        )
    if experiment.name in _REGISTERED:
        raise ValueError(
            f"an experiment named {experiment.name!r} is registered already. Give it another name."
        )
    _REGISTERED[experiment.name] = experiment


def find_experiment(name: str) -> Experiment:
    """The experiment of this name: a registered one, or `module:Class` or `module:instance` of an
    importable module.

    Raises ValueError with the known names.
    """
    if ":" in name:
        found = imported(name)
        found = found() if isinstance(found, type) and issubclass(found, Experiment) else found
        if not isinstance(found, Experiment):
            raise ValueError(f"{name!r} is {type(found).__name__}, not an Experiment.")
        return found
    if name not in _REGISTERED:
        raise ValueError(f"no experiment is named {name!r}.{nearest(name, _REGISTERED)}")
    return _REGISTERED[name]


def imported(reference: str) -> Any:
    """The object that `module:name` names. Raises ValueError if it cannot be imported."""
    module, _, attribute = reference.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except Exception as error:  # a user's module may raise anything
        raise ValueError(
            f"{reference!r} cannot be imported ({type(error).__name__}: {error})."
        ) from None


def nearest(name: str, known: Any) -> str:
    """A hint for a wrong `name`: the nearest known name, else all of them."""
    import difflib

    names = sorted(map(str, known))
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    return (
        f" Did you mean {close[0]!r}?"
        if close
        else f" There are: {', '.join(names)}."
        if names
        else ""
    )
