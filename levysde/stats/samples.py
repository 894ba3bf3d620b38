"""What every estimator here checks before it looks at a sample. Host side, float64."""

import warnings
from collections.abc import Sequence

import numpy as np

from levysde import errors
from levysde.errors import AccuracyWarning
from levysde.types import Arg, Numbers

# share of values that occur more than once, far above what rounding to a fine grid leaves
_MOSTLY = 0.9


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
    """Whether so many equal values among those used move an order statistic by about its standard
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
        warnings.warn(AccuracyWarning(message), stacklevel=3)
    return tuple(messages)
