"""Richardson extrapolation of a simulated mean over the step: its limit, how far off the finest
step was, and an interval.

Notation: `m(h)` the mean at step h, `m(h) = v + c h^p + ...`. From levels h_i of independent runs v
and c are fitted by least squares, each level weighed by its own standard error; the scatter that
the fit leaves is tested by chi-square.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from levysde import errors
from levysde.domains import Shifted
from levysde.escape import EscapeResult, Status, simulate_escape
from levysde.kernels import EulerMaruyama
from levysde.protocols import Domain, Kernel
from levysde.results import Result
from levysde.stats import Estimate
from levysde.tables import Table
from levysde.types import Arg, Integer, Number, Numbers, Seed

_MISFIT = 1e-3  # below this chance the levels do not follow the order


@dataclass(frozen=True, repr=False)
class Extrapolation(Result):
    """A mean with the error of its step taken away.

    Attributes:
        mean: the limit, with its interval.
        bias: mean at the finest step minus the limit, with its interval.
        order: p, the power of the step.
        steps, means, standard_errors, nums: of the levels, the coarsest first; shape `(n,)`.
        seeds: of the levels.
        p_value: chance of a scatter about the fit as large as seen; NaN for two levels, where any
            fit passes.
        warnings: caveats of the mean.
    """

    mean: Estimate
    bias: Estimate
    order: float
    steps: np.ndarray
    means: np.ndarray
    standard_errors: np.ndarray
    nums: np.ndarray
    seeds: tuple[int, ...]
    p_value: float
    warnings: tuple[str, ...]

    def _table(self) -> Table:
        share = f", {self.bias.value / self.mean.value:.2%} of the limit" if self.mean.value else ""
        tested = f"p = {self.p_value:.2g}" if len(self.steps) > 2 else "two levels: not tested"
        levels = zip(self.steps, self.means, self.standard_errors, self.nums, strict=True)
        rows = [
            ("limit", f"{self.mean}  ({self.mean.confidence:.0%} interval)"),
            ("bias of the finest step", f"{self.bias}{share}"),
            (f"fit of step^{self.order:.4g}", tested),
            *(
                (f"step {step:g}", f"{mean:.6g} +- {error:.2g}  (num = {num})")
                for step, mean, error, num in levels
            ),
        ]
        return Table("Extrapolation", rows, self.warnings)


def extrapolate_escape(
    make: Arg[Callable[[float], tuple[Kernel, Domain]]],
    x0: Arg[Numbers],
    *,
    steps: Arg[Numbers],
    num: Arg[Integer | Sequence[Integer]],
    seed: Arg[Seed],
    order: Arg[Number | None] = None,
    statistic: Arg[Callable[[EscapeResult], Any] | None] = None,
    confidence: Arg[Number] = 0.95,
    lanes: Arg[Integer | None] = None,
) -> Extrapolation:
    """The mean escape time, or another mean over exits, as the step falls to zero.

    Args:
        make: `make(step) -> (kernel, domain)`; the step may be dt, or the cutoff of `JumpAdapted`,
            or anything that errs as a power of it.
        x0: the start, `(d,)`.
        steps: two or more, falling, shape `(n,)`; three let the fit be tested.
        num: trajectories of each level, one number or one a level, from 2. All run to their exits.
        seed: of the whole; levels have seeds of their own.
        order: p; by default that of `EulerMaruyama` on a fixed domain, 1/alpha (1 for alpha <= 1,
            where it is O(dt) but for a logarithm at 1), and 1 for everything else.
        statistic: what to average, `(num,)` from a result; the escape time by default.
            `lambda result: result.label == 2` is the chance of the second exit set.
        confidence: coverage of the intervals, in (0, 1). Normal ones: those at 95% cover 90% with
            20 exponential times a step and 93% with 100 (three steps), since the spread of few
            times is uncertain.
        lanes: as in `simulate_escape`; very short trajectories want many.

    Returns:
        An `Extrapolation`; times in the kernel's unit.

    Raises:
        TypeError, ValueError: bad numbers, steps that do not fall, a `make` that does not give a
            kernel and a domain.
        NonFiniteError: some trajectories became NaN.
    """
    steps, nums = _rungs(steps, num)
    words = errors.seed(seed)
    confidence = errors.fraction("confidence", confidence)
    power = None if order is None else errors.positive_real("order", order, "order=1.0")
    if statistic is not None:
        errors.function("statistic", statistic, "lambda result: result.time")
    lanes = None if lanes is None else errors.integer("lanes", lanes)
    errors.concrete("x0", x0)
    problems = [_problem(make, float(step)) for step in steps]
    power = power or _order(problems)
    seeds = tuple(
        int(word) for word in np.random.SeedSequence(words).generate_state(len(steps), np.uint64)
    )
    means, deviations = [], []
    for (kernel, domain), count, own in zip(problems, nums, seeds, strict=True):
        result = simulate_escape(
            kernel,
            domain,
            x0,
            num=int(count),
            seed=own,
            lanes=lanes,
            record="times" if statistic is None else "places",
        )
        sample = _sample(result, statistic)
        if sample.shape != (count,) or not np.all(result.status == Status.EXITED):
            raise ValueError(
                f"statistic must give one number a trajectory, shape ({count},), not "
                f"{sample.shape}."
            )
        if not np.ptp(sample):
            raise ValueError(
                f"statistic is {sample[0]:g} for all {count} trajectories of one step, which "
                "leaves no interval. Raise num, or average something that varies."
            )
        means.append(sample.mean())
        deviations.append(sample.std(ddof=1) / np.sqrt(count))
    return _fitted(steps, np.array(means), np.array(deviations), nums, seeds, power, confidence)


def _sample(
    result: EscapeResult, statistic: Arg[Callable[[EscapeResult], Any] | None]
) -> np.ndarray:
    """What is averaged: the user's function may return anything."""
    sample = result.time if statistic is None else statistic(result)
    if isinstance(sample, np.ndarray) and sample.dtype.kind == "b":
        sample = sample.astype(float)
    return np.asarray(
        errors.as_array("statistic(result)", sample, "statistic=lambda result: result.time"), float
    )


def _fitted(
    steps: np.ndarray,
    means: np.ndarray,
    errors_: np.ndarray,
    nums: np.ndarray,
    seeds: tuple[int, ...],
    power: float,
    confidence: float,
) -> Extrapolation:
    from scipy.stats import chi2, norm  # slow to import

    weights = 1 / np.maximum(errors_, 1e-300)
    design = np.stack([np.ones_like(steps), (steps / steps[-1]) ** power], 1)
    inverse = np.linalg.inv((design * weights[:, None] ** 2).T @ design)
    limit, slope = fit = inverse @ (design * weights[:, None] ** 2).T @ means
    free = len(steps) - 2
    scatter = float(np.sum(((means - design @ fit) * weights) ** 2))
    p_value = float(chi2.sf(scatter, free)) if free else float("nan")
    z = float(norm.isf((1 - confidence) / 2))
    halves = z * np.sqrt(np.diag(inverse))
    found = []
    if p_value < _MISFIT:
        found.append(
            f"the levels do not follow step^{power:.4g} (p = {p_value:.1g}): the interval leaves "
            "that out. Take finer steps, or another order."
        )
    if abs(slope) > 0.2 * abs(limit):
        found.append(f"the finest step is off by {slope / limit:.0%}: take finer steps.")
    return Extrapolation(
        Estimate(float(limit), float(limit - halves[0]), float(limit + halves[0]), confidence),
        Estimate(float(slope), float(slope - halves[1]), float(slope + halves[1]), confidence),
        power,
        steps,
        means,
        errors_,
        nums,
        seeds,
        p_value,
        tuple(found),
    )


def _rungs(
    steps: Arg[Numbers], num: Arg[Integer | Sequence[Integer]]
) -> tuple[np.ndarray, np.ndarray]:
    array = errors.reals("steps", steps)
    if array.ndim != 1 or len(array) < 2 or not (array > 0).all() or not (np.diff(array) < 0).all():
        raise ValueError(
            f"steps must be two or more positive numbers that fall, not {errors.shown(steps)}. "
            "Type [0.04, 0.02, 0.01]."
        )
    several = isinstance(num, list | tuple) or np.ndim(errors.concrete("num", num)) > 0
    counts = list(np.asarray(num, object)) if several else [num] * len(array)
    if len(counts) != len(array):
        raise ValueError(
            f"num must be one number, or {len(array)}, one a step, not {errors.shown(num)}."
        )
    return array, np.array([errors.integer("num", count, "num=10_000", low=2) for count in counts])


def _problem(
    make: Arg[Callable[[float], tuple[Kernel, Domain]]], step: float
) -> tuple[Kernel, Domain]:
    example = "lambda dt: (EulerMaruyama(dynamics, dt=dt), domain)"
    made = errors.function("make", make, example)(step)
    if (
        not isinstance(made, tuple)
        or len(made) != 2
        or not isinstance(made[0], Kernel)
        or not isinstance(made[1], Domain)
    ):
        raise TypeError(
            f"make({step:g}) must give a kernel and a domain, not {made!r}. For example {example}."
        )
    return made


def _order(problems: list[tuple[Kernel, Domain]]) -> float:
    kernel, domain = problems[0]
    if isinstance(kernel, EulerMaruyama) and not isinstance(domain, Shifted):
        return min(1.0, 1 / float(kernel.dynamics.driver.index))
    return 1.0
