"""What all estimators share: the form of an estimate, checks of a sample, tables of exact stable
laws. Float64, on the host."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np

from levysde import errors
from levysde.results import Result
from levysde.tables import Table
from levysde.types import Arg, Numbers

# share of values that occur more than once, far above what rounding to a fine grid leaves
_MOSTLY = 0.9


@dataclass(frozen=True, repr=False)
class Estimate(Result):
    """A point estimate and its two-sided confidence interval.

    Attributes:
        value: the estimate.
        low: lower end of the interval, in the unit of `value`.
        high: upper end of the interval, in the unit of `value`.
        confidence: the interval's coverage, between 0 and 1.
    """

    value: float
    low: float
    high: float
    confidence: float = 0.95

    def _table(self) -> Table:
        if self.low == self.value == self.high:  # nothing random in it
            return Table(f"{self.value:.4g}")
        return Table(f"{self.value:.4g} [{self.low:.4g}, {self.high:.4g}]")


def sample(
    x: Arg[Numbers], *, name: str = "x", vectors: bool = False, least: int = 1
) -> np.ndarray:
    """`x` as finite float64 of shape `(n,)`, or `(n, d)` too where `vectors`, with n at least
    `least`; else an error."""
    array = errors.reals(name, x, f"{name}=np.random.default_rng(0).normal(size=1000)")
    if array.ndim not in ((1, 2) if vectors else (1,)):
        shapes = "(n,) or (n, d)" if vectors else "(n,)"
        advice = f" Give one coordinate: {name}[:, 0]." if array.ndim == 2 else ""
        raise ValueError(f"{name} must have shape {shapes}, not {array.shape}.{advice}")
    if len(array) < least:
        raise ValueError(
            f"{name} has shape {array.shape}; at least {least} values are needed here. Give more."
        )
    return array


def sizes(x: np.ndarray) -> np.ndarray:
    """`|x|`, Euclidean norms where x holds vectors: `(n,)`. Their squares may leave the range of
    floats."""
    if x.ndim == 1:
        return np.abs(x)
    exponent = np.frexp(np.abs(x).max(1))[1]  # of a power of two, which changes no digits
    scaled = np.ldexp(x, -exponent[:, None])
    return np.ldexp(np.sqrt((scaled * scaled).sum(1)), exponent)


def ties(x: np.ndarray) -> np.ndarray:
    """How many of all values equal the one at each place, `x` in order: `(n,)`."""
    starts = np.flatnonzero(np.append(True, x[1:] != x[:-1]))
    counts = np.diff(np.append(starts, x.size))
    return np.repeat(counts, counts)


def too_many(tied: np.ndarray, used: np.ndarray | int) -> np.ndarray:
    """Whether `tied` equal values among those used move an order statistic by about its standard
    error, sqrt(used)/2."""
    return tied > np.maximum(2, np.sqrt(used) / 2)


def repeated(x: np.ndarray, name: str = "values of x") -> list[str]:
    """What values that occur more than once do to the quantiles of x and to intervals: nothing, or
    one message."""
    tied = ties(np.sort(x))
    if too_many(tied, x.size).any():
        return [
            f"{tied.max()} of {x.size} {name} are equal, which moves its quantiles by about their "
            "standard errors or more: x is rounded or discrete. Give the values unrounded."
        ]
    if (share := np.mean(tied > 1)) > _MOSTLY:
        return [
            f"{share:.0%} of the {x.size} {name} occur more than once, {tied.mean():.3g} times on "
            "average: x is rounded or discrete, or holds copies, which the intervals count as "
            "independent values. Give each measurement once, unrounded."
        ]
    return []


def warned(messages: Sequence[str]) -> tuple[str, ...]:
    """Issues each message as an `AccuracyWarning` of the caller's caller, and returns them all."""
    for message in messages:
        warnings.warn(errors.AccuracyWarning(message), stacklevel=3)
    return tuple(messages)


@cache
def stable_table() -> dict[str, np.ndarray]:
    """The tables of exact stable laws that come with the package: `alpha`, `beta`, `level`,
    `quantile`, `density`, `share`, `log_excess`, as described where they are made
    (`benchmarks/stable_quantiles.py`)."""
    with (
        files("levysde.stats").joinpath("stable_quantiles.npz").open("rb") as file,
        np.load(file) as held,
    ):
        return {name: held[name] for name in held.files}
