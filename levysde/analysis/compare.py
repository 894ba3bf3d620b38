"""A run compared with theory, or with another run: the ratio of the means, with its interval and
its conditions."""

from dataclasses import dataclass
from math import exp, hypot, inf, log
from typing import Any

import numpy as np

from levysde import errors, stats
from levysde.escape import EscapeResult, Status
from levysde.results import Result
from levysde.stats import Estimate, Exponentiality
from levysde.tables import Table
from levysde.theory import Conditions, Law, LawError, MetastableChain
from levysde.types import Arg, Number

_FEW_EXITS = 100


@dataclass(frozen=True, repr=False)
class Comparison(Result):
    """A measured escape time against a reference.

    Attributes:
        mean: measured mean escape time (time at risk over exits) with its interval, in `unit`.
        reference: the reference's mean; its interval is the quadrature's for a law, the run's for a
            run.
        ratio: measured mean over reference mean, with its interval; 1 where they agree.
        exact: the exact mean, where one was given, its interval the error of its computation; and
        exact_ratio: measured mean over exact mean, with its interval. Exact over reference is what
            the law leaves out.
        exponentiality: score test and Weibull shape of the measured times; None below two distinct
            exit times.
        exits, num: trajectories that left, and that the estimates rest on.
        censored_share: share of those still inside at the end of the run.
        regime: rate over relaxation (NaN against a run).
        one_step_chance: chance that one step from the attractor leaves (NaN against a run, or
            without a step).
        skeleton_bias: upper bound of the relative discretisation bias (NaN as above, and for
            alpha <= 1).
        dt: the step, None for an algorithm that has none.
        unit: of times.
        name: of the reference.
        warnings: caveats of the ratio, each with its number and what to
            do.
        law_error: how far the law is from its own problem's mean, where `escape_law` checked it;
            else None.
        log_rank: test of equal laws of the two times, against a run; else None.
    """

    mean: Estimate
    reference: Estimate
    ratio: Estimate
    exact: Estimate | None
    exact_ratio: Estimate | None
    exponentiality: Exponentiality | None
    exits: int
    num: int
    censored_share: float
    regime: float
    one_step_chance: float
    skeleton_bias: float
    dt: float | None
    unit: str
    name: str
    warnings: tuple[str, ...]
    law_error: LawError | None = None
    log_rank: stats.LogRank | None = None

    def _table(self) -> Table:
        test = self.exponentiality
        share = f"{self.confidence:.0%} interval"
        rows = [
            (f"measured mean ({self.unit})", f"{self.mean}  ({share})"),
            ("reference mean", f"{self.reference.value:.4g}"),
            ("measured over reference", f"{self.ratio}"),
            *([("simulated over reference", f"{self.law_error.ratio}")] if self.law_error else []),
            *self._exact_rows(),
            (
                "Weibull shape, 1 if exponential",
                f"{test.shape}  (p = {test.p_value:.2g})" if test else "too few exits",
            ),
            *([("log-rank test of equal laws", f"{self.log_rank}")] if self.log_rank else []),
            ("exits", f"{self.exits} of {self.num}, {self.censored_share:.1%} censored"),
        ]
        if np.isfinite(self.regime):
            rows.append(("rate over relaxation", f"{self.regime:.3g}"))
        if self.dt is not None:
            rows.append(("step dt", f"{self.dt:g}"))
        if np.isfinite(self.one_step_chance):
            rows.append(("one-step exit chance", f"{self.one_step_chance:.3g}"))
        if np.isfinite(self.skeleton_bias):
            rows.append(("discretisation bias, at most", f"{self.skeleton_bias:.2%}"))
        return Table(f"Comparison with {self.name}", rows, self.warnings)

    def _exact_rows(self) -> list[tuple[str, str]]:
        if self.exact is None:
            return []
        return [
            ("exact mean", f"{self.exact.value:.6g}"),
            ("measured over exact", f"{self.exact_ratio}"),
            ("exact over reference", f"{self.exact.value / self.reference.value:.4g}"),
        ]

    @property
    def confidence(self) -> float:
        """Coverage of every interval."""
        return self.ratio.confidence


def compare(
    result: Arg[EscapeResult],
    reference: Arg[Law | MetastableChain | EscapeResult],
    *,
    exact: Arg[Law | None] = None,
    confidence: Arg[Number] = 0.95,
) -> Comparison:
    """The mean escape time of `result` over that of `reference`, with interval, shape test and
    warnings.

    A law is a limit for small noise, which the mean approaches slowly (5% at epsilon = 0.1 in a
    unit quadratic well): give the exact mean too, in one dimension, and the two ratios tell the
    law's error from the run's.

    Args:
        result: an `EscapeResult`; rows that became NaN or did not finish are left out, with a
            warning.
        reference: a `Law` (`EscapeLaw`, `KramersLaw`, `MinibatchLaw`, `StableExit`, `FirstPassage`,
            or your own); a `MetastableChain`, of which the well is taken in which the run started;
            or an `EscapeResult` of independent trajectories.
        exact: a `Law` without an error of its own: `exact_exit(dynamics, domain, start=...)` with
            the start of the run.
        confidence: coverage of every interval, in (0, 1).

    Returns:
        A `Comparison`; times in the result's unit.

    Raises:
        TypeError: arguments of another kind.
        ValueError: a confidence outside (0, 1), the two run on different clocks, or no row of a
            result can be used.
    """
    if not isinstance(result, EscapeResult):
        raise TypeError(
            f"result must be an EscapeResult, not {type(result).__name__}. Type "
            "compare(simulate_escape(...), law)."
        )
    start = result.info.start
    other = _side("reference", reference, start)
    if exact is not None and not getattr(exact, "is_exact", False):
        raise TypeError(
            f"exact must be a StableExit or a FirstPassage, not {type(exact).__name__}. "
            "For example compare(result, law, exact=exact_exit(dynamics, domain))."
        )
    known = None if exact is None else _side("exact", exact, start)
    confidence = errors.fraction("confidence", confidence)
    unit, dt = result.info.unit, result.info.dt
    units = {side.unit for side in (other, known) if side is not None}
    if units != {unit}:
        raise ValueError(
            f"the result counts {unit} and the reference {' and '.join(sorted(units - {unit}))}: "
            "their means do not compare. Give both the same clock; for an algorithm and its SDE "
            "that is SDE time = learning rate x iterations."
        )
    time, exited = _rows(result, "result")
    mean = stats.mean_time(time, exited, confidence=confidence)
    test = (
        stats.exponentiality(time, exited, confidence=confidence)
        if np.unique(time[exited]).size > 1
        else None
    )
    expected, ratio = other.against(time, exited, mean)
    held = other.conditions(ratio, dt, start)
    exact_mean = exact_ratio = None
    of_exact: tuple[str, ...] = ()
    if known is not None:
        exact_mean, exact_ratio = known.against(time, exited, mean)
        of_exact = known.conditions(exact_ratio, dt, start).warnings
    return Comparison(
        mean=mean,
        reference=expected,
        ratio=ratio,
        exact=exact_mean,
        exact_ratio=exact_ratio,
        exponentiality=test,
        exits=int(exited.sum()),
        num=len(time),
        censored_share=float(1 - exited.mean()),
        regime=held.regime,
        one_step_chance=held.one_step_chance,
        skeleton_bias=held.skeleton_bias,
        dt=dt,
        unit=unit,
        name=other.name,
        law_error=held.law_error,
        log_rank=other.test(time, exited),
        warnings=(
            *_about_run(result, "run"),
            *_about_shape(test, other.is_exact),
            *held.warnings,
            *of_exact,
            *_about_sampling(result.info.minibatches, other.minibatches),
        ),
    )


def _rows(result: EscapeResult, name: str) -> tuple[np.ndarray, np.ndarray]:
    """`time` and `exited` of the rows that left or were censored."""
    used = (result.status == Status.EXITED) | (result.status == Status.CENSORED)
    if not used.any():
        raise ValueError(
            f"no trajectory of the {name} left or was censored: there is nothing to compare. Run "
            "it longer."
        )
    return result.time[used], result.exited[used]


class _Run:
    """Another run as the reference."""

    is_exact = False

    def __init__(self, result: EscapeResult):
        self.result, self.unit = result, result.info.unit
        self.name = f"a run of {result.info.kernel}"
        self.minibatches = result.info.minibatches

    def against(
        self, time: np.ndarray, exited: np.ndarray, mean: Estimate
    ) -> tuple[Estimate, Estimate]:
        other = _rows(self.result, "reference")
        ratio = stats.mean_ratio(time, exited, *other, confidence=mean.confidence)
        return stats.mean_time(*other, confidence=mean.confidence), ratio

    def conditions(
        self, ratio: Estimate, dt: float | None, start: tuple[float, ...] | None
    ) -> Conditions:
        return Conditions(warnings=tuple(_about_run(self.result, "reference run")))

    def test(self, time: np.ndarray, exited: np.ndarray) -> stats.LogRank | None:
        return stats.log_rank(time, exited, *_rows(self.result, "reference"))


class _Theory:
    """A law as the reference."""

    minibatches = None

    def __init__(self, law: Law):
        self.law, self.name, self.unit = law, law.name, law.unit
        self.is_exact = getattr(law, "is_exact", False)

    def against(
        self, time: np.ndarray, exited: np.ndarray, mean: Estimate
    ) -> tuple[Estimate, Estimate]:
        """The law's mean and the ratio to it. The error of the law's mean is added in quadrature of
        the logarithms."""
        expected = self.law.interval(mean.confidence)
        if (
            not isinstance(expected, Estimate)
            or not 0 < expected.low <= expected.value <= expected.high
            or expected.confidence != mean.confidence
        ):
            raise ValueError(
                f"the law {self.name!r} must answer interval({mean.confidence:g}) with an "
                "Estimate of that confidence, low <= value <= high, all positive, got "
                f"{errors.shown(expected)}. Compare with another law, or mend its interval."
            )
        if expected.value == inf:
            raise ValueError(
                f"the mean of the law {self.name!r} is beyond float64, and no ratio to it can be "
                "formed. Read its log_rate."
            )
        if mean.value == inf:
            return expected, Estimate(inf, mean.low / expected.high, inf, mean.confidence)
        value = mean.value / expected.value
        above, below = log(expected.high / expected.value), log(expected.value / expected.low)
        low = hypot(log(mean.low / mean.value), above)
        high = hypot(log(mean.high / mean.value), below)
        return expected, Estimate(value, value * exp(-low), value * exp(high), mean.confidence)

    def conditions(
        self, ratio: Estimate, dt: float | None, start: tuple[float, ...] | None
    ) -> Conditions:
        held = self.law.conditions(ratio, dt, start)
        if not isinstance(held, Conditions) or isinstance(held.warnings, str):
            raise TypeError(
                f"the law {self.name!r} must answer conditions(...) with Conditions whose "
                f"warnings are a tuple of texts, got {errors.shown(held)}. For no caveats return "
                "Conditions()."
            )
        return held

    def test(self, time: np.ndarray, exited: np.ndarray) -> stats.LogRank | None:
        return None


def _side(name: str, reference: Any, start: tuple[float, ...] | None) -> _Run | _Theory:
    """A run or a law as one side of a comparison, or an error."""
    if isinstance(reference, EscapeResult):
        return _Run(reference)
    law = reference.from_start(start) if hasattr(reference, "from_start") else reference
    if not isinstance(law, Law):
        raise TypeError(
            f"{name} must be an EscapeLaw or another law of levysde.theory, or an EscapeResult, "
            f"not {type(reference).__name__}. For example compare(result, "
            "escape_law(dynamics, domain))."
        )
    return _Theory(law)


def _about_run(result: EscapeResult, name: str) -> list[str]:
    """Caveats from a run's own rows."""
    exits, censored, nonfinite, unfinished = (
        result.count(s)
        for s in (Status.EXITED, Status.CENSORED, Status.NONFINITE, Status.UNFINISHED)
    )
    found = [f"{name}: {warning}" for warning in result.warnings]
    if exits < _FEW_EXITS:
        found.append(
            f"the {name} has {exits} exits, fewer than {_FEW_EXITS}: the intervals are wide and "
            "the shape test is weak. Raise num or max_time."
        )
    if censored:
        found.append(
            f"{censored / result.num:.1%} of the {name}'s trajectories were censored: the mean is "
            "that of an exponential law. Raise max_time, or read stats.restricted_mean."
        )
    if nonfinite:
        found.append(
            f"{nonfinite} trajectories of the {name} became NaN and are left out, which biases the "
            "mean. Take a smaller dt."
        )
    if unfinished:
        found.append(
            f"{unfinished} trajectories of the {name} did not finish and are left out, which "
            "biases the mean towards early exits. Resume it from its checkpoint."
        )
    return found


def _about_sampling(one: str | None, other: str | None) -> list[str]:
    """Caveat of minibatches that are drawn differently: shuffled epochs cancel the slow part of
    their noise."""
    if one == other:
        return []
    if one is not None and other is not None:
        return [
            f'the minibatches of the run are drawn by sampling="{one}", those of the reference run '
            f'by sampling="{other}". '
            "Their noise differs, and so do the mean escape times (factors from 1.4 to 1,600 were "
            "measured). Give both kernels the same sampling."
        ]
    if "epochs" in (one, other):
        return [
            'the minibatches of one side are drawn by sampling="epochs", whose noise nearly '
            "cancels over an epoch; that of the other side is independent from step to step, and "
            "its mean escape time may be shorter by orders of magnitude. Give "
            'the OptimizerKernel sampling="independent".'
        ]
    return []


def _about_shape(test: Exponentiality | None, is_exact: bool) -> list[str]:
    if test is None or test.p_value > 1e-3:
        return []
    limit = "" if is_exact else "; for the law's limit take a smaller epsilon"
    return [
        f"the times are not exponential (Weibull shape {test.shape}, p = {test.p_value:.1g}), "
        f"which the intervals assume. Read stats.kaplan_meier{limit}."
    ]
