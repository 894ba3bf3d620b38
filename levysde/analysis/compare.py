"""A run held against theory, or against another run: the ratio of the means, with its interval and its conditions."""

from dataclasses import dataclass
from math import exp, hypot, inf, log
from typing import Any, NamedTuple, cast

import numpy as np

from levysde import errors, stats
from levysde.escape import EscapeResult, Status
from levysde.stats import Estimate, Exponentiality
from levysde.tables import Table, Tabled, listed
from levysde.theory import EscapeLaw, FirstPassage, KramersLaw, LawError, MetastableChain, MinibatchLaw, StableExit
from levysde.types import Arg, Number

SAMPLER_FLOOR = 1e-8  # the samplers are right to 1% down to this chance of a draw
_FEW_EXITS = 100
_STIFFEST = 0.5  # dt times the stiffest curvature
_LATEST = 0.02  # relative lateness of a skeleton
_SLOWEST = 0.1  # rate over relaxation
_LAW_HOLDS = 0.9  # a mean between this and its inverse times the law's


@dataclass(frozen=True, repr=False)
class Comparison(Tabled):
    """A measured escape time against a reference.

    Attributes:
        mean: measured mean escape time (time at risk over exits) with its interval, in `unit`.
        reference: the reference's mean; its interval is the quadrature's for a law, the run's for a run.
        ratio: measured mean over reference mean, with its interval; 1 where they agree.
        exact: the exact mean, where one was given, its interval the error of its computation; and
        exact_ratio: measured mean over exact mean, with its interval. Exact over reference is what the law leaves out.
        exponentiality: score test and Weibull shape of the measured times; None below two distinct exit times.
        exits, num: trajectories that left, and that the estimates rest on.
        censored_share: share of those still inside at the end of the run.
        regime: rate over relaxation (NaN against a run).
        one_step_chance: chance that one step from the attractor leaves (NaN against a run, or without a step).
        skeleton_bias: relative lateness to be expected of the step, at most (NaN as above, and for alpha <= 1).
        dt: the step, None for an algorithm that has none.
        unit: of times.
        name: of the reference.
        warnings: what stands against reading the ratio as it is, each with its number and what to do.
        law_error: how far the law is from its own problem's mean, where `escape_law` checked it; else None.
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

    def _table(self) -> Table:
        test = self.exponentiality
        share = f"{self.confidence:.0%} interval"
        rows = [
            (f"measured mean ({self.unit})", f"{self.mean}  ({share})"),
            ("reference mean", f"{self.reference.value:.4g}"),
            ("measured over reference", f"{self.ratio}"),
            *([("simulated over reference", f"{self.law_error.ratio}")] if self.law_error else []),
            *self._exact_rows(),
            ("Weibull shape, 1 if exponential", f"{test.shape}  (p = {test.p_value:.2g})" if test else "too few exits"),
            ("exits", f"{self.exits} of {self.num}, {self.censored_share:.1%} censored"),
        ]
        if np.isfinite(self.regime):
            rows.append(("rate over relaxation", f"{self.regime:.3g}"))
        if self.dt is not None:
            rows.append(("step dt", f"{self.dt:g}"))
        if np.isfinite(self.one_step_chance):
            rows.append(("one-step exit chance", f"{self.one_step_chance:.3g}"))
        if np.isfinite(self.skeleton_bias):
            rows.append(("lateness, at most, by dt", f"{self.skeleton_bias:.2%}"))
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
    reference: Arg[EscapeLaw | KramersLaw | MinibatchLaw | MetastableChain | EscapeResult | StableExit | FirstPassage],
    *,
    exact: Arg[StableExit | FirstPassage | None] = None,
    confidence: Arg[Number] = 0.95,
) -> Comparison:
    """The mean escape time of `result` over that of `reference`, with interval, shape test and warnings.

    A law is a limit for small noise, which the mean approaches slowly (5% at epsilon = 0.1 in a unit quadratic well): give the
    exact mean too, in one dimension, and the two ratios tell the law's error from the run's.

    Args:
        result: an `EscapeResult`; rows that became NaN or did not finish are left out, with a warning.
        reference: an `EscapeLaw`, a `KramersLaw` or a `MinibatchLaw`; a `MetastableChain`, of which the well is taken in which
            the run started; an `EscapeResult` of independent trajectories; or what `exact` takes.
        exact: `exact_exit(dynamics, domain, start=...)` with the start of the run, or another `StableExit` or `FirstPassage`.
        confidence: coverage of every interval, in (0, 1).

    Returns:
        A `Comparison`; times in the result's unit.

    Raises:
        TypeError: arguments of another kind.
        ValueError: a confidence outside (0, 1), the two run on different clocks, or no row of a result can be used.
    """
    if not isinstance(result, EscapeResult):
        raise TypeError(
            f"result must be an EscapeResult, not {type(result).__name__}. Type compare(simulate_escape(...), law)."
        )
    if isinstance(reference, MetastableChain):
        reference = cast(Any, _residence(reference, result))
    if not isinstance(reference, EscapeResult | EscapeLaw | StableExit | FirstPassage | _EXACT_MEAN):
        raise TypeError(
            f"reference must be an EscapeLaw, KramersLaw, MinibatchLaw, MetastableChain, StableExit, FirstPassage or "
            f"EscapeResult, not "
            f"{type(reference).__name__}. Type for example compare(result, escape_law(dynamics, domain))."
        )
    if not isinstance(exact, StableExit | FirstPassage | None):
        raise TypeError(
            f"exact must be a StableExit or a FirstPassage, not {type(exact).__name__}. "
            "Type for example compare(result, law, exact=exact_exit(dynamics, domain))."
        )
    confidence = errors.fraction("confidence", confidence, "confidence=0.95")
    unit, dt = result.info.unit, result.info.dt
    units = {_unit(known) for known in (reference, exact) if known is not None}
    if units != {unit}:
        raise ValueError(
            f"the result counts {unit} and the reference {' and '.join(sorted(units - {unit}))}: their means do not compare. "
            "Give both the same clock; for an algorithm and its SDE that is SDE time = learning rate x iterations."
        )
    time, exited = _rows(result, "result")
    mean = stats.mean_time(time, exited, confidence=confidence)
    test = stats.exponentiality(time, exited, confidence=confidence) if np.unique(time[exited]).size > 1 else None
    regime = chance = bias = float("nan")
    about: list[str] = []
    if isinstance(reference, EscapeResult):
        name, about = f"a run of {reference.info.kernel}", _about_run(reference, "reference run")
        other = _rows(reference, "reference")
        expected = stats.mean_time(*other, confidence=confidence)
        ratio = stats.mean_ratio(time, exited, *other, confidence=confidence)
    else:
        name = _NAMES.get(type(reference)) or getattr(reference, "name", "a law")
        expected, ratio = _against(reference, mean)
    if isinstance(reference, EscapeLaw):
        about, regime = _about_law(reference, dt) + _about_ratio(reference, ratio), reference.regime
        if result.info.start is not None:
            about += reference.start_warnings(result.info.start)
        if dt is not None:
            chance, bias = reference.one_step_chance(dt), reference.skeleton_bias(dt)
    known, known_ratio = (None, None) if exact is None else _against(exact, mean)
    return Comparison(
        mean=mean,
        reference=expected,
        ratio=ratio,
        exact=known,
        exact_ratio=known_ratio,
        exponentiality=test,
        exits=int(exited.sum()),
        num=len(time),
        censored_share=float(1 - exited.mean()),
        regime=regime,
        one_step_chance=chance,
        skeleton_bias=bias,
        dt=dt,
        unit=unit,
        name=name,
        law_error=reference.error if isinstance(reference, EscapeLaw) else None,
        warnings=(*_about_run(result, "run"), *_about_shape(test), *about, *_about_sampling(result, reference)),
    )


def _rows(result: EscapeResult, name: str) -> tuple[np.ndarray, np.ndarray]:
    """`time` and `exited` of the rows that left or were censored."""
    used = (result.status == Status.EXITED) | (result.status == Status.CENSORED)
    if not used.any():
        raise ValueError(
            f"no trajectory of the {name} left or was censored: there is nothing to compare. Run it longer."
        )
    return result.time[used], result.exited[used]


_NAMES = {
    KramersLaw: "the law of Eyring and Kramers",
    StableExit: "the nonlocal equation, exact",
    FirstPassage: "the first-passage quadrature, exact",
}


class _Residence(NamedTuple):
    """The stay in one well of a chain."""

    mean: float
    unit: str
    name: str


_EXACT_MEAN = KramersLaw | MinibatchLaw | _Residence  # references whose mean has no error of its computation


def _residence(chain: MetastableChain, result: EscapeResult) -> _Residence:
    """The stay in the well in which the run started: that of the nearest minimum."""
    means, start = chain.mean_residence, result.info.start
    if start is None and np.ptp(means) > 1e-6 * means.min():
        raise ValueError(
            f"the run does not say in which well it started, and the wells of the chain have the mean residences "
            f"{listed(means)}. Start all trajectories in one place."
        )
    well = 0
    if start is not None:
        if len(start) != chain.minima.shape[1]:
            raise ValueError(
                f"the run started in {len(start)} dimensions, the chain has {chain.minima.shape[1]}. Make them one."
            )
        well = int(np.argmin(np.linalg.norm(chain.minima - np.array(start), axis=1)))
    return _Residence(float(means[well]), chain.unit, f"the stay in well {well} of the chain from {chain.name}")


def _unit(reference: Any) -> str:
    if isinstance(reference, EscapeResult):
        return reference.info.unit
    return "SDE time" if isinstance(reference, StableExit | FirstPassage) else reference.unit


def _against(reference: Any, mean: Estimate) -> tuple[Estimate, Estimate]:
    """The reference's mean and the ratio to it, the error of its computation joined in quadrature of the logarithms: standard
    errors of a law, the whole error of an exact mean."""
    from scipy.stats import norm  # slow to import

    error = 0.0
    if isinstance(reference, EscapeLaw):
        error = float(norm.isf((1 - mean.confidence) / 2)) * reference.rate_error / reference.rate
    elif not isinstance(reference, _EXACT_MEAN):
        error = reference.error
    expected = Estimate(reference.mean, reference.mean * exp(-error), reference.mean * exp(error), mean.confidence)
    if mean.value == inf:
        return expected, Estimate(inf, mean.low / reference.mean * exp(-error), inf, mean.confidence)
    value = mean.value / reference.mean
    low, high = (hypot(log(end / mean.value), error) for end in (mean.low, mean.high))
    return expected, Estimate(value, value * exp(-low), value * exp(high), mean.confidence)


def _about_run(result: EscapeResult, name: str) -> list[str]:
    """What a run's own rows say against it."""
    exits, censored, nonfinite, unfinished = (
        result.count(s) for s in (Status.EXITED, Status.CENSORED, Status.NONFINITE, Status.UNFINISHED)
    )
    found = [f"{name}: {warning}" for warning in result.warnings]
    if exits < _FEW_EXITS:
        found.append(
            f"the {name} has {exits} exits, fewer than {_FEW_EXITS}: the intervals are wide and the shape test is weak. "
            "Raise num or max_time."
        )
    if censored:
        found.append(
            f"{censored / result.num:.1%} of the {name}'s trajectories were censored: the mean is that of an exponential "
            "law. Raise max_time, or read stats.restricted_mean."
        )
    if nonfinite:
        found.append(
            f"{nonfinite} trajectories of the {name} became NaN and are left out, which biases the mean. Take a smaller dt."
        )
    if unfinished:
        found.append(
            f"{unfinished} trajectories of the {name} did not finish and are left out, which biases the mean towards "
            "early exits. Resume it from its checkpoint."
        )
    return found


def _about_sampling(result: EscapeResult, reference: Any) -> list[str]:
    """Minibatches that are drawn differently make different noise: shuffled epochs cancel its slow part."""
    one = result.info.minibatches
    other = reference.info.minibatches if isinstance(reference, EscapeResult) else None
    if one == other:
        return []
    if one is not None and other is not None:
        return [
            f'the minibatches of the run are drawn by sampling="{one}", those of the reference run by sampling="{other}". '
            "Their noise differs, and so do the mean escape times (factors from 1.4 to 1,600 were measured). Give both "
            "kernels the same sampling."
        ]
    if "epochs" in (one, other):
        return [
            'the minibatches of one side are drawn by sampling="epochs", whose noise nearly cancels over an epoch; that of the '
            "other side is independent from step to step, and its mean escape time may be shorter by orders of magnitude. Give "
            'the OptimizerKernel sampling="independent".'
        ]
    return []


def _about_shape(test: Exponentiality | None) -> list[str]:
    if test is None or test.p_value > 1e-3:
        return []
    return [
        f"the times are not exponential (Weibull shape {test.shape}, p = {test.p_value:.1g}), which the intervals assume. "
        "Read stats.kaplan_meier; for the law's limit take a smaller epsilon."
    ]


def _about_ratio(law: EscapeLaw, ratio: Estimate) -> list[str]:
    """What a measured mean away from the law's says about the law at this noise, or about the run."""
    if law.normalization != "true" or not 0 < ratio.value < inf or ratio.low <= 1 <= ratio.high:
        return []
    if min(ratio.value, 1 / ratio.value) >= _LAW_HOLDS:
        return []
    side = "shorter" if ratio.value < 1 else "longer"
    off = f"the measured mean is {abs(1 - ratio.value):.0%} {side} than the law's (ratio {ratio})"
    if law.error is None or not law.error.ratio.value > 0:
        return [
            f"{off}: at epsilon = {law.epsilon:.3g} the law, a limit for small noise, is that far from the mean, or the run is "
            "not of the law's dynamics, domain and start, or its step is too coarse. law_error(law) estimates the first."
        ]
    if law.error.ratio.low <= ratio.high and ratio.low <= law.error.ratio.high:
        return []  # the law's own warning has said it
    return [
        f"{off}, where a simulation of the law's own problem gave {law.error.ratio}: the run is of other dynamics, another "
        "domain or start, or one of the two steps is too coarse."
    ]


def _about_law(law: EscapeLaw, dt: float | None) -> list[str]:
    """Where the law, or the step it is tested with, is outside its conditions."""
    found = []
    if law.normalization == "printed":
        found.append(
            'the reference is the rate as printed, not the true one. Type normalization="true" to test theory.'
        )
    if not law.star_shaped:
        found.append(
            "the basin is not star-shaped about the attractor: the rate counts every stretch outside along each ray, and "
            "trajectories that cross a stretch within one step are not counted as exits."
        )
    found += law.warnings
    if _SLOWEST < law.regime < inf:
        found.append(
            f"the rate over relaxation is {law.regime:.3g}, above {_SLOWEST}: escape is not rare, and the law is a limit "
            "for rare escape. Take a smaller epsilon or a larger basin."
        )
    if dt is None:
        return found
    chance, lateness = law.one_step_chance(dt), law.skeleton_bias(dt)
    if chance < SAMPLER_FLOOR:
        found.append(
            f"the one-step exit chance is {chance:.2g}, below the {SAMPLER_FLOOR:g} down to which the sampler is right to "
            "1%. Take a larger dt or epsilon."
        )
    if dt * law.stiffness > _STIFFEST:
        found.append(
            f"dt times the largest curvature is {dt * law.stiffness:.3g}, above {_STIFFEST}: dt is too coarse for the flow. "
            f"Type dt={_STIFFEST / law.stiffness:.2g} or less."
        )
    if lateness > _LATEST:
        finer = dt * (_LATEST / lateness) ** law.alpha
        found.append(
            f"dt = {dt:g} makes exits late by up to {lateness:.1%}: it is too coarse. Type dt={finer:.2g} or less for "
            f"{_LATEST:.0%}, and see whether halving it moves the mean."
        )
    return found
