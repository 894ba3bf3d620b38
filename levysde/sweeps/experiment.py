"""What can be swept: an experiment says what a point's settings are, what it yields, and how it is
run.

A point is one combination of settings. Its seed and its checkpoint come in a `Job`; what comes out
are the columns that the experiment has declared as `Variable`s, whose shapes hold for the whole
sweep, so that the store can be laid out before anything runs.
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
    """Settings: frozen, no unknown fields, no NaN, no words for numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=True)


@dataclass(frozen=True)
class Variable:
    """One array of the store, of which each point fills a part of shape `sizes`.

    Args:
        name: of the array.
        dtype: NumPy's name for it, or "str".
        long_name: what the number is, for labels.
        units: "1" for pure numbers, "" for words.
        dims: names of its dimensions beyond the sweep's axes.
        sizes: their lengths.

    Raises:
        ValueError, TypeError: a name that is no word, a dtype that NumPy does not know, dimensions
            without a length.
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
        # of a word that is read as a list of types
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
        """What a point holds that has not been run."""
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
    """How a point is to be run.

    Attributes:
        seed: of its randomness, 0 to 2^64 - 1.
        checkpoint: where a long point saves itself, or None.
        progress: called with (finished, all) as a point goes on, or None.
    """

    seed: int
    checkpoint: Checkpoint | None = None
    progress: Callable[[int, int], None] | None = None


@dataclass(frozen=True)
class Work:
    """What a point will cost.

    Args:
        amount: of work, in the unit that the experiment's `work_unit` names (trajectory-steps for
            escapes); may be infinite.
        is_bound: whether that is a bound, or an expectation.

    Raises:
        ValueError, TypeError: an amount that is no number from 0 on, a bound that is neither True
            nor False.
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
    """One kind of run. Stateless: everything is in the settings, so that it can be sent to another
    process by name."""

    name: ClassVar[str]
    settings: ClassVar[type[Model]]
    work_unit: ClassVar[str] = "units"  # of what `work` counts

    def check(self, settings: Any) -> None:  # noqa: B027  (what the types of the settings say is enough for many)
        """Raises ValueError, TypeError or ImportError for settings that cannot run; cheap. By
        default nothing is refused."""

    @abstractmethod
    def variables(self, points: Sequence[Any]) -> tuple[Variable, ...]:
        """What the store holds for these points, wide enough for each of them."""

    @abstractmethod
    def run(self, settings: Any, job: Job) -> Any:
        """Run one point."""

    def columns(self, settings: Any, outcome: Any, job: Job) -> dict[str, Any]:
        """The point's part of each variable, by default the outcome, a dict.

        Arrays may be shorter than the variable's sizes; the rest keeps its fill.
        """
        return {name: np.asarray(value) for name, value in outcome.items()}

    def outcome(self, settings: Any, columns: dict[str, Any], job: Job) -> Any:
        """What a point's stored columns came from, for analyses."""
        raise ValueError(
            f"the points of {self.name!r} cannot be brought back as results. Read the "
            "arrays of `data`."
        )

    def law(self, settings: Any) -> Any:
        """The law that the experiment's outcome is compared with, None where there is none."""
        return None

    def work(self, settings: Any) -> Work | None:
        """The expected cost of a point, None where nothing predicts it."""
        return None

    def units_per_second(self, settings: Any) -> float:
        """Speed of a short trial on this machine, in units of `work`; asked only where that
        predicts a cost."""
        raise NotImplementedError(
            f"{type(self).__name__} predicts `work`, and must tell `units_per_second` too"
        )


_REGISTERED: dict[str, Experiment] = {}


def register(experiment: Arg["Experiment"]) -> None:
    """Make an experiment known by its name, so that a spec can say `experiment = "name"`.

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
    """The experiment of that name: a registered one, or from an importable module by `module:Class`
    or `module:instance`.

    Raises ValueError with the names there are.
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
    """The object that `module:name` names. Raises ValueError for one that cannot be imported."""
    module, _, attribute = reference.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except Exception as error:  # a user's module may raise anything
        raise ValueError(
            f"{reference!r} cannot be imported ({type(error).__name__}: {error})."
        ) from None


def nearest(name: str, known: Any) -> str:
    """What to type instead of `name`: the nearest of the known names, else all of them."""
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
