"""What the papers do with numbers and their intervals."""

import numpy as np

from levysde.stats import Estimate

CONFIDENCE = 0.95  # of every interval


def around(value: float, half: float) -> Estimate:
    """A value and half the width of its interval."""
    return Estimate(value, value - half, value + half)


def by_factor(value: float, half: float) -> Estimate:
    """A positive value whose logarithm has an interval of half width `half`."""
    return Estimate(value, value * float(np.exp(-half)), value * float(np.exp(half)))


def scaled(estimate: Estimate, factor: float) -> Estimate:
    """The estimate times a known factor of any sign."""
    low, high = sorted((estimate.low * factor, estimate.high * factor))
    return Estimate(estimate.value * factor, low, high, estimate.confidence)


def over(above: Estimate, under: Estimate) -> Estimate:
    """The quotient of positive numbers, with the widest interval that the two allow."""
    return Estimate(above.value / under.value, above.low / under.high, above.high / under.low)


def width(estimate: Estimate) -> float:
    """Of the interval."""
    return estimate.high - estimate.low
