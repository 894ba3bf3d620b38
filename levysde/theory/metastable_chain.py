"""A Markov chain in continuous time on the wells of a loss: where it rests, where it goes, how long
it takes. Float64, host.

`q_ij` is the rate of going from well i to well j; `levysde.theory.metastability` says where rates
come from. They may differ by hundreds of orders of magnitude, so everything is computed from their
logarithms by eliminating wells one by one, which adds and multiplies positive numbers only
(Grassmann, Taksar, Heyman, Oper. Res. 33, 1985).
"""

import numbers
from dataclasses import dataclass

import numpy as np
import scipy

from levysde import errors
from levysde.results import Result
from levysde.tables import Table, from_log, listed
from levysde.theory.law import Answers
from levysde.types import Arg, Integer, Numbers

_TERMS = 20  # of the exponential series of a matrix whose rows sum to at most 1
_QUICK = 64  # wells of a chain whose long run is worked out to be printed


@dataclass(frozen=True, repr=False)
class Residence(Result, Answers):
    """The stay in one well of a chain, as `MetastableChain.from_start` gives it.

    Attributes:
        log_rate: logarithm of the rate of leaving the well.
        name: which well of which chain.
        assumptions: when it holds.
        unit: of time.
    """

    log_rate: float
    name: str
    assumptions: tuple[str, ...]
    unit: str

    @property
    def mean(self) -> float:
        """Mean stay; inf where float64 ends, or where there is no way out."""
        with np.errstate(over="ignore"):
            return float(np.exp(-self.log_rate))

    def _table(self) -> Table:
        return Table(
            "Residence", [("of", self.name), (f"mean stay ({self.unit})", from_log(-self.log_rate))]
        )


@dataclass(frozen=True, repr=False)
class MetastableChain(Result):
    """A continuous-time Markov chain on n wells, as `stable_chain` and `gaussian_chain` give it.

    Attributes:
        log_rates: logarithms of the rates `q_ij` of going from i to j, -inf where there is no way
            and for i = j, `(n, n)`.
        minima: the wells' minima, `(n, d)`.
        name: what it is made of.
        assumptions: when it holds.
        escape: what ends a stay: "other minimum".
        unit: of time.
    """

    log_rates: np.ndarray
    minima: np.ndarray
    name: str
    assumptions: tuple[str, ...]
    escape: str = "other minimum"
    unit: str = "SDE time"

    @property
    def num(self) -> int:
        """n, the number of wells."""
        return len(self.log_rates)

    @property
    def rates(self) -> np.ndarray:
        """`q_ij`, 0 for i = j, `(n, n)`."""
        return np.exp(self.log_rates)

    @property
    def generator(self) -> np.ndarray:
        """The rates, with diagonal entries that make each row sum to 0, `(n, n)`."""
        return self.rates - np.diag(self.rates.sum(1))

    @property
    def mean_residence(self) -> np.ndarray:
        """Mean time in each well before the next, `(n,)`; inf where float64 ends, or where there is
        no way out."""
        with np.errstate(over="ignore"):
            return np.exp(-np.logaddexp.reduce(self.log_rates, axis=1))

    def from_start(self, start: tuple[float, ...] | None) -> Residence:
        """The stay in the well whose minimum is nearest to `start`, which may be None where all
        wells hold for as long.

        Raises ValueError for a start of another dimension, and for None where the wells differ."""
        means = self.mean_residence
        if start is None and np.ptp(means) > 1e-6 * means.min():
            raise ValueError(
                "the run does not say in which well it started, and the wells of the chain have "
                f"the mean residences {listed(means)}. Start all trajectories in one place."
            )
        if start is not None and len(start) != self.minima.shape[1]:
            raise ValueError(
                f"the run started in {len(start)} dimensions, the chain has "
                f"{self.minima.shape[1]}. Make them one."
            )
        place = self.minima[0] if start is None else np.array(start)
        near = int(np.argmin(np.linalg.norm(self.minima - place, axis=1)))
        name = f"the stay in well {near} of the chain from {self.name}"
        log_rate = float(np.logaddexp.reduce(self.log_rates[near]))
        return Residence(log_rate, name, self.assumptions, self.unit)

    @property
    def next_probabilities(self) -> np.ndarray:
        """Which well is entered first from well i: row i, `(n, n)`. Raises ValueError where one has
        no way out."""
        totals = np.logaddexp.reduce(self.log_rates, axis=1)
        if np.isneginf(totals).any():
            raise ValueError(
                f"well {int(np.argmin(totals))} has no way out. Add the saddles that "
                "lead out of it."
            )
        return np.exp(self.log_rates - totals[:, None])

    @property
    def stationary(self) -> np.ndarray:
        """The share of time in each well in the long run, `(n,)`. Raises ValueError where not all
        wells are joined."""
        self._check_joined("long-run share of each well")
        logs = self.log_rates.copy()
        for k in range(self.num - 1, 0, -1):  # without well k: its neighbours pass through it
            logs[:k, k] -= np.logaddexp.reduce(logs[k, :k])
            logs[:k, :k] = np.logaddexp(logs[:k, :k], logs[:k, k, None] + logs[None, k, :k])
            np.fill_diagonal(logs, -np.inf)
        weights = np.zeros(self.num)
        for k in range(1, self.num):
            weights[k] = np.logaddexp.reduce(weights[:k] + logs[:k, k])
        return np.exp(weights - np.logaddexp.reduce(weights))

    @property
    def mean_transitions(self) -> np.ndarray:
        """Mean time from well i until well j is first entered, over any others, 0 for i = j,
        `(n, n)`.

        Raises ValueError where not all wells are joined.
        """
        self._check_joined("mean time between two wells")
        with np.errstate(over="ignore"):
            return np.exp(np.stack([self._log_times_to(j) for j in range(self.num)], 1))

    def mean_transition(self, i: Arg[Integer], j: Arg[Integer]) -> float:
        """Mean time from well `i` until well `j` is first entered. Raises as `mean_transitions`,
        and for bad numbers."""
        start, end = (
            errors.integer(name, value, f"{name}=0", low=0, high=self.num - 1)
            for name, value in (("i", i), ("j", j))
        )
        self._check_joined("mean time between two wells")
        with np.errstate(over="ignore"):
            return float(np.exp(self._log_times_to(end)[start]))

    def occupation(self, t: Arg[Numbers], start: Arg[Numbers | Integer]) -> np.ndarray:
        """Probability of each well at times `t`, a number or `(T,)`: `(n,)` or `(T, n)`.

        Args:
            start: the number of a well, or probabilities of all, `(n,)`.

        Raises TypeError or ValueError for negative times, a number that is no well, or no
        probabilities.
        """
        times = errors.reals("t", t)
        if (times < 0).any():
            raise ValueError(f"t must not be negative, not {times.min():g}. For example t=1.0.")
        if isinstance(start, numbers.Integral):
            first = np.eye(self.num)[
                errors.integer("start", start, "start=0", low=0, high=self.num - 1)
            ]
        else:
            first = errors.reals("start", start, "start=0", (self.num,))
            if (first < 0).any() or abs(first.sum() - 1) > 1e-6:
                raise ValueError(
                    f"start must be probabilities that sum to 1, not {start!r}. For "
                    "example start=0."
                )
        return np.stack([first @ self._after(time) for time in times.ravel()]).reshape(
            *times.shape, self.num
        )

    def _after(self, t: float) -> np.ndarray:
        """Which well after a time t from each, `(n, n)`: a short time by a series, then doubled.

        Only positive numbers are added, and rows are kept at the sum of 1, which every doubling
        would carry twice as far from it: rates may differ by any power of ten, and t be as long as
        the slowest.
        """
        rates, out = self.rates, self.rates.sum(1)
        with np.errstate(divide="ignore"):
            doublings = int(max(0.0, np.ceil(np.log2(t) + np.log2(out.max()))))
        jumps = np.ldexp(t, -doublings) * (rates + np.diag(out.max() - out))
        after = term = np.eye(self.num)
        for k in range(1, _TERMS):
            term = term @ jumps / k
            after = after + term
        after = after / after.sum(1, keepdims=True)
        for _ in range(doublings):
            after = after @ after
            after = after / after.sum(1, keepdims=True)
        return after

    def _log_times_to(self, target: int) -> np.ndarray:
        """Logarithms of the mean times to `target`, `(n,)`, by eliminating all other wells."""
        order = [target, *(k for k in range(self.num) if k != target)]
        logs = self.log_rates[np.ix_(order, order)]
        # log of the time gathered a unit of time spent in a well, with what was passed through
        stay = np.zeros(self.num)
        out = np.zeros(self.num)
        for k in range(self.num - 1, 0, -1):
            out[k] = np.logaddexp.reduce(logs[k, :k])
            through = logs[1:k, k] - out[k]
            stay[1:k] = np.logaddexp(stay[1:k], through + stay[k])
            logs[1:k, :k] = np.logaddexp(logs[1:k, :k], through[:, None] + logs[None, k, :k])
            np.fill_diagonal(logs, -np.inf)
        times = np.full(self.num, -np.inf)
        for k in range(1, self.num):
            times[k] = np.logaddexp(stay[k], np.logaddexp.reduce(logs[k, :k] + times[:k])) - out[k]
        found = np.empty(self.num)
        found[order] = times
        return found

    def _check_joined(self, quantity: str) -> None:
        parts, labels = scipy.sparse.csgraph.connected_components(
            np.isfinite(self.log_rates), connection="strong"
        )
        if parts > 1:
            groups = " | ".join(
                " ".join(str(i) for i in np.flatnonzero(labels == part)) for part in range(parts)
            )
            raise ValueError(
                f"the chain is disconnected, so that the {quantity} is not defined: wells "
                f"{groups} are not joined both ways. Add the saddles between them, or leave wells "
                "out."
            )

    def _table(self) -> Table:
        return Table(
            "MetastableChain",
            [
                ("from", self.name),
                ("wells", f"{self.num} in {self.minima.shape[1]} dimensions"),
                (f"mean residence ({self.unit})", listed(self.mean_residence)),
                ("share of time in each", self._shares()),
                ("assumes", "\n".join(self.assumptions)),
            ],
        )

    def _shares(self) -> str:
        if self.num > _QUICK:
            return "in .stationary"
        try:
            return listed(self.stationary)
        except ValueError:
            return "not defined: the chain is disconnected"
