"""The escape experiment: optimisers in their minima, a ladder of noise amplitudes, measured times against the law.

What is fixed before a run, and reported whatever comes out: the ladder (in predicted mean steps, so that eps follows
from the law and not from the measurement), the seeds, the step, the basin. A rung's verdict is its ratio with interval.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from levysde import errors
from levysde.analysis.compare import Comparison, compare
from levysde.analysis.gradient_noise import GradientNoise, measure_gradient_noise
from levysde.analysis.training import Minimum, polish, train
from levysde.domains import Box, Sublevel
from levysde.dynamics import SGD, Adam
from levysde.escape import EscapeResult, simulate_escape, simulate_paths
from levysde.kernels import EulerMaruyama
from levysde.landscapes import DoubleWell, Quadratic, digits_mlp
from levysde.noise import StableComponents, StableIsotropic
from levysde.protocols import Domain, Driver, Dynamics, Landscape
from levysde.random import LAST_STEP
from levysde.tables import Table, Tabled
from levysde.theory import EscapeLaw, escape_law
from levysde.types import Arg, Number, Numbers, PathLike

if TYPE_CHECKING:
    from levysde.escape import Checkpoint
    from levysde.protocols import Scale

LANDSCAPES = ("digits", "quadratic", "double-well")
NOISES = {"components": StableComponents, "isotropic": StableIsotropic}
Optimizer = Literal["sgd", "adam"]
OPTIMIZERS: tuple[Optimizer, ...] = ("sgd", "adam")
LADDER = (30, 100, 300, 1000)
_STABLE_STEP = (
    0.45  # dt times the largest curvature, where dt is not given; halving it moved no ratio (docs/decisions.md)
)
_HARDLY = 0.5  # of the basin's height: where the noise holds the median loss up by more, there is hardly a basin
_FREE_STEPS, _FREE_PATHS = 500, 64  # of the run that measures it
_EXAMPLE = 'EscapeSettings(landscape="quadratic")'
_TRAINING = {"sgd": 0.1, "adam": 0.01}  # learning rates


@dataclass(frozen=True)
class EscapeSettings:
    """What to run. None means: by the rule in the argument's line.

    Args:
        landscape: "digits" (a network on images), "quadratic" (curvatures 1 and 4), "double-well" (one dimension).
        noise: "components" or "isotropic".
        optimizers: any of "sgd" and "adam".
        alpha: stability index, in (0, 2).
        epsilons: the ladder of noise amplitudes; None: those whose predicted mean is 30, 100, 300 and 1000 steps.
        num: trajectories a rung, from 1.
        seed: 0 to `2^63 - 1`, of data, training, noise measurement and trajectories.
        dt: step in SDE time; None: 0.45 over the largest curvature.
        basin_height: height of the basin's rim over the minimum, in units of the loss; None: 0.05 for digits,
            0.5 for quadratic, 0.5 for double-well.

    Raises:
        ValueError, TypeError: a name that is unknown, a number out of range.
    """

    landscape: Arg[Literal["digits", "quadratic", "double-well"]] = "digits"
    noise: Arg[Literal["components", "isotropic"]] = "components"
    optimizers: Arg[Sequence[Optimizer]] = OPTIMIZERS
    alpha: Arg[Number] = 1.5
    epsilons: Arg[Sequence[float] | None] = None
    num: Arg[int] = 1500
    seed: Arg[int] = 0
    dt: Arg[float | None] = None
    basin_height: Arg[float | None] = None

    def __post_init__(self):
        errors.choice("landscape", self.landscape, LANDSCAPES)
        errors.choice("noise", self.noise, tuple(NOISES))
        errors.integer("num", self.num, "num=1500")
        errors.integer("seed", self.seed, "seed=0", low=0, high=2**63 - 1)
        if not errors.several("optimizers", self.optimizers, str, 'optimizers=("sgd", "adam")'):
            raise ValueError('optimizers is empty. Type for example optimizers=("sgd", "adam").')
        for optimizer in self.optimizers:
            errors.choice("each of optimizers", optimizer, OPTIMIZERS)
        found: dict[str, Any] = {"alpha": errors.real_index(self.alpha)}
        if found["alpha"] == 2:
            raise ValueError("alpha = 2 is Gaussian and has no stable escape law. Give alpha below 2, for example 1.5.")
        if self.epsilons is not None:
            given = errors.several("epsilons", self.epsilons, object, "epsilons=(0.3, 0.1)")
            if not given:
                raise ValueError("epsilons is empty. Leave it out for the ladder of the law, or type (0.3, 0.1).")
            found["epsilons"] = tuple(errors.positive_real("epsilons", e, "epsilons=(0.3, 0.1)") for e in given)
        for name, example in (("dt", "dt=1e-3"), ("basin_height", "basin_height=0.05")):
            if getattr(self, name) is not None:
                found[name] = errors.positive_real(name, getattr(self, name), example)
        for name, value in found.items():
            object.__setattr__(self, name, value)


@dataclass(frozen=True, repr=False)
class Case(Tabled):
    """One optimiser in its minimum.

    Attributes:
        optimizer: "sgd" or "adam".
        dynamics: its SDE at unit noise.
        domain: the basin.
        law: the escape law there, at unit noise.
        dt: step in SDE time.
        height: of the basin's rim over the minimum, in units of the loss.
        minimum: how it was certified.
        noise: of the minibatch gradient, None where there is no data.
    """

    optimizer: str
    dynamics: Dynamics
    domain: Domain
    law: EscapeLaw
    dt: float
    height: float
    minimum: Minimum
    noise: GradientNoise | None = field(repr=False)

    def _table(self) -> Table:
        rows = [
            ("optimiser", self.optimizer),
            ("escape law", self.law.name),
            ("domain", f"{type(self.domain).__name__}, {self.height:g} over the minimum"),
            ("star-shaped", "yes" if self.law.star_shaped else "no"),
            ("m(W)", f"{self.law.measure:.6g}"),
            ("step dt", f"{self.dt:g}"),
            ("loss at the minimum", f"{self.minimum.loss:.6g}"),
            ("noise", "given" if self.noise is None else "measured, in .noise"),
        ]
        return Table("Case", rows)


@dataclass(frozen=True, repr=False)
class Rung(Tabled):
    """One row of the table.

    Attributes:
        case: the optimiser in its minimum.
        epsilon: noise amplitude.
        law: at this amplitude.
        result: the run's trajectories.
        comparison: of the run with the law.
    """

    case: Case
    epsilon: float
    law: EscapeLaw
    result: EscapeResult
    comparison: Comparison

    def numbers(self) -> dict[str, Any]:
        """The row as plain numbers; times in SDE time, speeds per second."""
        c, info = self.comparison, self.result.info
        test = c.exponentiality
        return {
            "optimizer": self.case.optimizer,
            "alpha": self.law.alpha,
            "epsilon": self.epsilon,
            "dt": self.case.dt,
            "m(W)": self.law.measure,
            "predicted_mean": self.law.mean,
            "predicted_steps": self.law.mean / self.case.dt,
            "measured_mean": [c.mean.value, c.mean.low, c.mean.high],
            "ratio": [c.ratio.value, c.ratio.low, c.ratio.high],
            "shape": [test.shape.value, test.shape.low, test.shape.high] if test else None,
            "p_exponential": test.p_value if test else None,
            "num": c.num,
            "exits": c.exits,
            "censored_share": c.censored_share,
            "regime": self.law.regime,
            "steps_per_second": info.steps_per_second,
            "useful_work": info.useful_work,
            "warnings": list(c.warnings),
        }

    def _table(self) -> Table:
        compared = self.comparison._table()
        rows = [("optimiser", self.case.optimizer), ("epsilon", f"{self.epsilon:.4g}"), *compared.lines]
        return Table(f"Rung: {compared.title}", rows, compared.warnings)


def prepare(settings: Arg["EscapeSettings"]) -> list[Case]:
    """Bring each optimiser to its minimum, measure the noise there, set the basin.

    Args:
        settings: an `EscapeSettings`.

    Returns:
        A `Case` for each optimiser, in a list.

    Raises:
        TypeError: something else than settings.
        ValueError: no strict minimum is reached: without one the row would be void; a rim over the barrier.
    """
    errors.instance("settings", settings, EscapeSettings, _EXAMPLE)
    driver = NOISES[settings.noise](alpha=settings.alpha)
    make = _digits_case if settings.landscape == "digits" else _well_case
    return [make(settings, optimizer, driver) for optimizer in settings.optimizers]


def ladder(settings: Arg["EscapeSettings"], case: Arg["Case"]) -> list[float]:
    """The noise amplitudes of a case: as given, or those of the fixed ladder of predicted mean steps.

    The law's rate is `rate(1) eps^alpha`, so `eps = (rate(1) dt steps)^(-1/alpha)`.

    Args:
        settings: an `EscapeSettings`.
        case: from `prepare(settings)`.

    Returns:
        The amplitudes, epsilon, falling where they are the ladder's.

    Raises:
        TypeError: arguments of another kind.
    """
    errors.instance("settings", settings, EscapeSettings, _EXAMPLE)
    errors.instance("case", case, Case, "prepare(settings)[0]")
    if settings.epsilons is not None:
        return list(settings.epsilons)
    return [(case.law.rate * case.dt * steps) ** (-1 / case.law.alpha) for steps in LADDER]


def run_rung(
    settings: Arg["EscapeSettings"],
    case: Arg["Case"],
    epsilon: Arg[Number],
    *,
    checkpoint: Arg["Checkpoint | PathLike | None"] = None,
    progress: Arg[bool | Callable[[int, int], Any]] = False,
) -> Rung:
    """Simulate one rung and hold it against the law. Nothing is censored below 30 predicted means.

    Args:
        settings: an `EscapeSettings`, of which the number of trajectories and the seed are taken.
        case: from `prepare(settings)`.
        epsilon: noise amplitude.
        checkpoint: as in `simulate_escape`, None for none.
        progress: show a bar.

    Returns:
        A `Rung`.

    Raises:
        TypeError, ValueError: arguments of another kind or out of range.
        NonFiniteError: a trajectory became NaN.
        Interrupted: Ctrl-C, as in `simulate_escape`.
    """
    errors.instance("settings", settings, EscapeSettings, _EXAMPLE)
    errors.instance("case", case, Case, "prepare(settings)[0]")
    epsilon = errors.positive_real("epsilon", epsilon, "epsilon=0.1")
    dynamics = with_epsilon(case.dynamics, epsilon)
    law = case.law.with_epsilon(epsilon)
    if law.mean / case.dt > LAST_STEP:
        raise ValueError(
            f"epsilon = {epsilon:g}: the predicted mean is {law.mean / case.dt:.3g} steps, and a trajectory makes at most "
            f"{LAST_STEP}. Take a larger epsilon, or a larger dt."
        )
    result = simulate_escape(
        EulerMaruyama(dynamics, dt=case.dt),
        case.domain,
        dynamics.attractor,
        num=settings.num,
        seed=settings.seed,
        max_time=min(30 * law.mean, LAST_STEP * case.dt),
        checkpoint=checkpoint,
        progress=progress,
    )
    compared = compare(result, law)
    held = _held_up(case, dynamics, law, settings.seed)
    if held > _HARDLY * case.height:
        warning = (
            f"there is hardly a basin: without its rim the noise holds the loss up by {held:.2g} in the median, "
            f"{held / case.height:.0%} of the basin's height, {case.height:.2g}. Trajectories leave at once. Take a "
            "smaller epsilon, or a larger basin_height."
        )
        compared = replace(compared, warnings=(*compared.warnings, warning))
    return Rung(case, epsilon, law, result, compared)


def _held_up(case: Case, dynamics: Dynamics, law: EscapeLaw, seed: int) -> float:
    """The median loss over that of the minimum in the second half of a short run from there without a basin: of stable noise
    the mean is infinite."""
    steps = int(min(_FREE_STEPS, max(8, law.mean / case.dt)))
    kernel = EulerMaruyama(dynamics, dt=case.dt)
    paths = simulate_paths(
        kernel, dynamics.attractor, num=_FREE_PATHS, seed=seed, every=steps // 4, max_steps=steps, throw=False
    )
    late = paths.positions[:, paths.steps >= steps / 2].reshape(-1, paths.dim)
    landscape, dtype = dynamics.landscape, dynamics.landscape.minimum.dtype
    losses = _losses(landscape, jnp.asarray(late, dtype))
    return float(np.nanmedian(np.asarray(losses, float))) - case.minimum.loss


@eqx.filter_jit
def _losses(landscape: Landscape, rows: Array) -> Array:
    return jax.lax.map(landscape.value, rows)


def with_epsilon(dynamics: Arg[Dynamics], epsilon: Arg[Number]) -> Dynamics:
    """The same SDE at another noise amplitude; every other number is kept.

    Args:
        dynamics: a `Dynamics`, for example `SGD(landscape, driver, epsilon=0.1)`.
        epsilon: the amplitude, positive.

    Returns:
        A copy.

    Raises:
        TypeError, ValueError: something else than dynamics, an amplitude that is not positive.
    """
    errors.instance("dynamics", dynamics, Dynamics, "SGD(landscape, driver, epsilon=0.1)")
    return eqx.tree_at(lambda d: d.epsilon, dynamics, errors.positive("epsilon", epsilon, "epsilon=0.1"))


def _digits_case(settings: EscapeSettings, optimizer: Optimizer, driver: Driver) -> Case:
    network = digits_mlp(seed=settings.seed)
    trained = train(network, optimizer, seed=settings.seed, learning_rate=_TRAINING[optimizer])
    minimum = polish(network, trained)
    network = network.at(jnp.asarray(minimum.point, dtype=float))
    noise = measure_gradient_noise(network, seed=settings.seed, alpha=settings.alpha)
    height = 0.05 if settings.basin_height is None else settings.basin_height
    domain = Sublevel(network, height=height)
    return _case(settings, optimizer, domain, network, driver, noise.scale, noise.variance, height, minimum, noise)


def _well_case(settings: EscapeSettings, optimizer: Optimizer, driver: Driver) -> Case:
    height = 0.5 if settings.basin_height is None else settings.basin_height
    if settings.landscape == "quadratic":
        well = Quadratic(hessian=jnp.diag(jnp.array([1.0, 4.0])))
        domain: Domain = Sublevel(well, height=height)
    else:
        well = DoubleWell()
        if height >= 1:
            raise ValueError(
                f"basin_height = {height:g} reaches over the barrier, whose height is 1. Give less, for example 0.5."
            )
        # the sublevel set has a part in each well; this is the marked one's
        ends = -jnp.sqrt(1 + jnp.array([1.0, -1.0]) * height**0.5)
        domain = Box(lower=ends[:1], upper=ends[1:])
    return _case(settings, optimizer, domain, well, driver, 1.0, 1.0, height, polish(well, well.minimum), None)


def _case(
    settings: EscapeSettings,
    optimizer: str,
    domain: Domain,
    landscape: Landscape,
    driver: Driver,
    scale: Arg["Scale | Numbers"],
    variance: Any,
    height: float,
    minimum: Minimum,
    noise: GradientNoise | None,
) -> Case:
    if optimizer == "sgd":
        dynamics = SGD(landscape, driver, epsilon=1.0, scale=scale)
    else:
        delta = 0.1 * float(np.sqrt(np.max(variance)))
        dynamics = Adam(
            landscape, driver, epsilon=1.0, scale=scale, gradient_variance=variance, delta=delta, rates=(1.0, 1.0)
        )
    law = escape_law(dynamics, domain, check=False)
    dt = _STABLE_STEP / law.stiffness if settings.dt is None else settings.dt
    if optimizer == "adam":
        # the algorithm's averages span 10 and 1000 of its steps
        rates = -np.log([0.9, 0.999]) / dt
        dynamics = eqx.tree_at(lambda d: d.rates, dynamics, jnp.asarray(rates, dtype=float))
        law = replace(law, dynamics=dynamics)  # the rate is that of frozen averages, a check of it is not
    return Case(optimizer, dynamics, domain, law, dt, height, minimum, noise)
