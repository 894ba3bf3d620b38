"""How far the escape law is from the true mean escape time at a given noise amplitude, by
simulation.

The law is a limit for small noise. The ratio of rate and relaxation does not show how far the limit
is: it is 0.004 in a pair of wells where the law's mean is twice too long, because jumps that land
inside near the separatrix linger there and leave by the next small jump. The same problem is
simulated in one of two ways:

* directly, if escapes are cheap: a thousand of them or more;
* otherwise by forced jumps (`levysde.theory.forced_jumps`), whose cost does not depend on how rare
  escapes are.
"""

import time
import warnings
from dataclasses import dataclass
from math import exp, hypot, inf, log
from typing import Any, Literal

import jax
import numpy as np
from scipy.special import ndtri

from levysde import errors, stats
from levysde.dynamics import FirstOrder
from levysde.escape import Status, progress_bar, simulate_escape, without_preflight
from levysde.kernels import EulerMaruyama, TamedEuler
from levysde.landscapes import Quadratic
from levysde.noise import SkewedComponents, StableComponents, StableIsotropic
from levysde.protocols import Domain, Dynamics
from levysde.stats import Estimate
from levysde.theory.exit_conditions import linearisation
from levysde.theory.forced_jumps import ForcedJumps, Restless, Stepper, steps_of
from levysde.theory.law import LawError
from levysde.theory.stable_law import EscapeLaw
from levysde.types import Arg, Integer, Number, Seed

_CONFIDENCE = 0.95
_Z = float(ndtri((1 + _CONFIDENCE) / 2))
_STEP = 0.1  # dt times the stiffness
_LATE = 0.02  # largest discretisation bias at that dt
_COARSE = 2.5  # times both where the finer step is too dear
_MEASURED_BIAS = (0.4, 0.9)  # in units of `skeleton_bias`
_EXITS = (500, 4096)  # least and most direct escapes
_JUMPS = (1000, 4000)  # least and most forced jumps
_DEARER = 5.0  # times the steps of all forced jumps: direct escapes that cost more are not made
_CENSOR = 5.0  # law's means after which a direct trajectory is censored
_WIDE = 0.15  # half-width of an interval that still tells something
_HALVINGS = 30  # of the step, for drivers that have no increments over a long one
_EIGENVALUES = 200  # dimensions up to which they are computed
# the fewest: narrower blocks for the last trajectories would be compiled apart, in a second or two
_LANES = 16
# dimensions up to which the drift is tamed: by its norm, which in many dimensions is large
# everywhere
_TAMED = 64


def law_error(
    law: Arg[EscapeLaw],
    *,
    dt: Arg[Number | None] = None,
    method: Arg[Literal["auto", "direct", "forced"]] = "auto",
    num: Arg[Integer | None] = None,
    seed: Arg[Seed] = 0,
    seconds: Arg[Number] = 15.0,
    progress: Arg[bool] = False,
) -> LawError:
    """How far the escape law is from the mean escape time at its own noise, by simulation.

    Args:
        law: from `escape_law`.
        dt: step of the simulation, in SDE time. By default that of the law if it follows a flow,
            else 0.1 over the largest curvature, or less if the discretisation bias would exceed 2%;
            2.5 times both where that takes too long.
        method: "direct" simulates escapes, "forced" forced jumps, "auto" the first where it is
            affordable, else the second.
        num: escapes or forced jumps; as many as `seconds` allow by default: 500 to 4096, or 1000 to
            4000.
        seed: an integer, 0 to 2^64 - 1.
        seconds: about how long it may take, without compilation; it decides the method and `num`
            by a short measurement of the speed, so give both to have the same numbers again.
        progress: True shows a bar.

    Returns:
        The ratio of the means with its interval, or why it is not resolved.

    Raises:
        TypeError, ValueError: arguments of another kind or out of range; a law as printed, or one
            put together by hand.

    Source:
        Hill, "Free Energy Transduction in Biology", 1977 (the flux of a recycled process); this
        package (strata of jumps).
    """
    if getattr(law, "dynamics", None) is None or getattr(law, "domain", None) is None:
        raise TypeError(
            f"law must come from escape_law(dynamics, domain), got {errors.shown(law)}, which "
            "keeps no dynamics to simulate."
        )
    if law.normalization != "true":
        raise ValueError(
            "law is the rate as printed, for comparison only. Give escape_law(..., "
            'normalization="true").'
        )
    errors.choice("method", method, ("auto", "direct", "forced"))
    seed = errors.seed(seed)
    seconds = errors.positive_real("seconds", seconds)
    if num is not None:
        num = errors.integer("num", num, high=10**7)
    assert law.dynamics is not None
    assert law.domain is not None
    own = getattr(law.dynamics.driver, "dt", None)  # of noise whose increments have one length
    if own is not None and dt is None:
        dt = float(own)
    if dt is None and not _speed_of_flow(law) > 0:
        return _unresolved(
            law,
            seed,
            float("nan"),
            "the drift has no linear part at the attractor, so no step for "
            "the simulation follows from it; give law_error(law, dt=...)",
        )
    step = _step(law) if dt is None else errors.positive_real("dt", dt, "dt=1e-2")
    coarse = _step(law, _COARSE) if dt is None else None
    kernel, shown = _stepper(law.dynamics, step), errors.flag("progress", progress)
    check = _Check(law, law.domain, kernel, coarse, method, num, seed, seconds, shown)
    with warnings.catch_warnings():
        # the step is ours: what it does to the result is in the result
        warnings.simplefilter("ignore", errors.AccuracyWarning)
        return check.run()


def _stepper(dynamics: Dynamics, dt: float) -> Stepper:
    """The stepper of the simulation: no long jump may be followed by a step of the drift that
    overshoots the basin. Its step is `dt`, halved until the driver can make increments over it."""
    quadratic = isinstance(getattr(dynamics, "landscape", None), Quadratic)
    curved = isinstance(dynamics, FirstOrder) and not quadratic
    kind = TamedEuler if curved and dynamics.dim <= _TAMED else EulerMaruyama
    for _ in range(_HALVINGS):
        try:
            dynamics.driver.check_step(dt)
            break
        except ValueError:
            dt /= 2
    return kind(dynamics, dt)


def _step(law: EscapeLaw, coarse: float = 1.0) -> float:
    """A step that suits the flow and has little discretisation bias, times `coarse`."""
    if law.response == "flow" and law.dt is not None:
        return law.dt
    step = coarse * _STEP / _speed_of_flow(law)
    late = law.skeleton_bias(step)
    return step * min(1.0, (coarse * _LATE / late) ** law.alpha) if late > 0 else step


def _speed_of_flow(law: EscapeLaw) -> float:
    """The largest `|l|^2 / Re l` of the eigenvalues of the flow: a step of Euler makes a rotation
    fall more slowly by that."""
    if law.dynamics is None or law.dynamics.dim > _EIGENVALUES:
        return law.stiffness
    values = np.linalg.eigvals(np.asarray(linearisation(law.dynamics), float))
    falling = values[values.real > 0]
    return max(law.stiffness, float((np.abs(falling) ** 2 / falling.real).max(initial=0.0)))


@dataclass
class _Check:
    law: EscapeLaw
    domain: Domain
    kernel: Stepper
    coarse: float | None  # the step to take where that of the kernel is too dear
    method: str
    num: int | None
    seed: int
    seconds: float
    progress: bool

    def run(self) -> LawError:
        try:
            # looks at the problem, compiles, and what else is slow once
            self.simulate(4 * _LANES, max_steps=4)
        # of the engine, for example a step that float32 does not hold
        except ValueError as refusal:
            return self.none(f"it cannot be simulated at dt = {self.dt:.3g} ({refusal})")
        with without_preflight():
            return self.measured()

    def measured(self) -> LawError:
        law = self.law
        speed, alone = self.speed()
        # steps; forced jumps are made by one processor
        room, single = self.seconds * speed, self.seconds * alone
        slowest = law.slowest if law.slowest > 0 else law.rate / law.regime
        coarse = self.coarse
        while True:
            each = law.mean / self.dt
            dear = _DEARER * steps_of(_JUMPS[1], slowest, self.dt) if slowest > 0 else inf
            if self.method == "direct" or (
                self.method == "auto" and _EXITS[0] * each <= min(room, dear)
            ):
                return self.direct(self.num or _power(room / each, *_EXITS))
            if self.method == "forced" or (
                slowest > 0 and steps_of(_JUMPS[0], slowest, self.dt) <= single
            ):
                break
            if coarse is None:
                forced = steps_of(_JUMPS[0], slowest, self.dt) / alone if slowest > 0 else inf
                need = min(_EXITS[0] * each / speed, forced)
                return self.none(
                    f"it takes about {need:.2g} s and {self.seconds:g} are allowed; law_error(law, "
                    f"seconds={1.5 * need:.2g})"
                )
            self.kernel, coarse = _stepper(self.kernel.dynamics, coarse), None
        if not slowest > 0:
            return self.none("the flow does not come back to the attractor, so no state is at rest")
        jumps = ForcedJumps(self.kernel, law, self.domain, slowest, self.seed)
        num = self.num or _power(single / jumps.steps(1), *_JUMPS)
        expected = jumps.steps(num)
        try:
            with progress_bar(
                round(expected), "step", "check of the law", show=self.progress
            ) as bar:
                found = jumps.run(
                    num, lambda made: bar.update(max(0, made - bar.n)), max(single, 2 * expected)
                )
        except Restless:
            return self.none(
                "states leave by small jumps before they come to rest: escapes are not rare"
            )
        if not found.rate > 0:
            return self.none(f"none of {num} forced jumps left")
        why, driver = found.unresolved, self.kernel.dynamics.driver
        power_law = isinstance(driver, StableComponents | StableIsotropic | SkewedComponents)
        # without a power law nothing says that exits by the jumps left out, or by a Gaussian part,
        # are rarer still
        if not why and not power_law and found.unseen > law.rate:
            why = (
                "exits by small noise alone were not seen, but may be up to "
                f"{found.unseen / law.rate:.2g} times as frequent as the law's"
            )
        return self.result(
            "forced", law.rate / found.rate, found.error / found.rate, found.num, found.steps, why
        )

    @property
    def dt(self) -> float:
        return float(self.kernel.dt)

    def speed(self) -> tuple[float, float]:
        """Steps per second of all processors, and of one, if they do nothing else."""
        begun, lasted = None, 0.0
        found: Any = None
        # an accelerator works while the processor waits
        clock = time.process_time if jax.default_backend() == "cpu" else time.perf_counter
        for most in (4, 32, 512, 8192):
            if lasted < 0.05:
                start = clock()
                found = self.simulate(4 * _LANES, max_steps=most)
                used = clock() - start
                begun = used if begun is None else begun  # what every run costs, and hardly a step
                lasted = used - begun
        alone = found.info.live_steps / max(lasted, 1e-4)
        return alone * found.info.workers, alone

    def simulate(self, num: int, **limits: Any) -> Any:
        return simulate_escape(
            self.kernel,
            self.domain,
            self.kernel.dynamics.attractor,
            num=num,
            seed=self.seed,
            lanes=_LANES,
            record="times",
            throw=False,
            **limits,
        )

    def direct(self, num: int) -> LawError:
        law = self.law
        result = self.simulate(num, max_time=_CENSOR * law.mean, progress=self.progress)
        used = (result.status == Status.EXITED) | (result.status == Status.CENSORED)
        exits = int(result.exited.sum())
        if exits < 50:
            return self.none(
                f"{exits} of {num} simulated trajectories left within {_CENSOR:g} of "
                "the law's means"
            )
        mean = stats.mean_time(result.time[used], result.exited[used], confidence=_CONFIDENCE)
        nonfinite = num - int(used.sum())
        overflowed = f"{nonfinite} of {num} simulated trajectories overflowed"
        why = overflowed if nonfinite > 0.01 * num else ""
        error, steps = log(mean.high / mean.low) / (2 * _Z), int(result.steps.sum(dtype=np.uint64))
        return self.result("direct", mean.value / law.mean, error, num, steps, why)

    def result(
        self, method: str, ratio: float, error: float, num: int, steps: int, unresolved: str
    ) -> LawError:
        """The ratio corrected for the discretisation bias, of which a range is known."""
        law, dt = self.law, self.dt
        late = law.skeleton_bias(dt)
        low, high = (1 + share * late for share in _MEASURED_BIAS) if late > 0 else (1.0, 1.0)
        ratio /= (low + high) / 2
        width = hypot(_Z * hypot(error, law.rate_error / law.rate), (high - low) / 2)
        if not unresolved and width > _WIDE:
            unresolved = (
                f"its interval is {exp(-width) * ratio:.3g} to {exp(width) * ratio:.3g} of the "
                "law's mean"
            )
        estimate = Estimate(ratio, ratio * exp(-width), ratio * exp(width), _CONFIDENCE)
        return LawError(estimate, method, num, dt, self.seed, steps, law.epsilon, unresolved)

    def none(self, why: str) -> LawError:
        return _unresolved(self.law, self.seed, self.dt, why)


def _unresolved(law: EscapeLaw, seed: int, dt: float, why: str) -> LawError:
    nan = float("nan")
    return LawError(Estimate(nan, nan, nan, _CONFIDENCE), "none", 0, dt, seed, 0, law.epsilon, why)


def _power(number: float, least: int, most: int) -> int:
    """The power of two below `number`, so that a little noise in the speed does not change it;
    within the bounds."""
    return int(np.clip(2 ** np.floor(np.log2(max(number, 1))), least, most))
