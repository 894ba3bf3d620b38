"""One row of the validation table."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Check:
    """A number that a class computes, and its reference.

    Attributes:
        part: the class or function checked.
        quantity: what was computed, in words, with its setting.
        value, reference: the two numbers.
        tolerance: the relative error that counts as failure, fixed before the run (absolute where
            the reference is 0).
        source: where the reference comes from: closed form, quadrature, an independent method, a
            paper's equation.
        standard_error: of `value` if it is random; the check also fails if the error exceeds five
            of them.
    """

    part: str
    quantity: str
    value: float
    reference: float
    tolerance: float
    source: str
    standard_error: float | None = None

    @property
    def error(self) -> float:
        """Relative error, absolute where the reference is 0."""
        return float(abs(self.value - self.reference) / (abs(self.reference) or 1.0))

    @property
    def passed(self) -> bool:
        within = self.error <= self.tolerance
        if self.standard_error is None:
            return within
        return within and bool(abs(self.value - self.reference) <= 5 * self.standard_error)


def timed(checks: Callable[[], Iterator[Check]]) -> Iterator[tuple[Check, float]]:
    """Each check with the seconds it took."""
    start = time.perf_counter()
    for check in checks():
        yield check, time.perf_counter() - start
        start = time.perf_counter()
