"""Escape over a saddle under Gaussian noise: the law of Eyring and Kramers, in any number of
dimensions.

`dX = -grad F(X) dt + sqrt(2 D) dW` from a minimum a over a saddle b of index one to the minimum
behind it, as D falls below the barrier `F(b) - F(a)`:

    mean = (2 pi / |l|) sqrt(|det H_b| / det H_a) exp((F(b) - F(a)) / D),

l the negative eigenvalue of H_b (Eyring, J. Chem. Phys. 3, 1935; Kramers, Physica 7, 1940; Bovier,
Eckhoff, Gayrard, Klein, J. Eur. Math. Soc. 6, 2004). Half of it is the mean time to the saddle's
dividing surface, where a path turns back as often as not. With friction g,
`dX = V dt, dV = -(grad F + g V) dt + sqrt(2 g D) dW`, and friction not weak, the same with
`sqrt(g^2 / 4 + |l|) - g / 2` for `|l|` (Kramers; Langer, Ann. Phys. 54, 1969). Several saddles
on the way add their rates.

D must be a number: where noise is stronger in some directions, F is not what the path has to climb.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import scipy

from levysde import errors
from levysde.landscapes import in_float64
from levysde.protocols import Landscape
from levysde.results import Result
from levysde.tables import Table, from_log, listed
from levysde.theory.law import Exponential
from levysde.types import Arg, Integer, Number, Numbers

# of a stationary point, relative to its largest eigenvalue times its distance from the start, or 1
_GRADIENT = 1e-8
_FLAT = 1e-10  # eigenvalues below this share of the largest in size are zero

# compiled once for all points of a landscape: uncompiled, a loss that is differentiated by program
# takes half a second a point
_value_at = eqx.filter_jit(lambda loss, x: loss.value(x))
_gradient_at = eqx.filter_jit(lambda loss, x: loss.gradient(x))
_hessian_at = eqx.filter_jit(lambda loss, x: loss.hessian(x))


_LOW_BARRIER = 3.0  # in units of D, below which the law is more than 10% off
_WEAK_FRICTION = 3.0  # energy lost per turn, in units of D


@dataclass(frozen=True, repr=False)
class StationaryPoint(Result):
    """A point where the gradient vanishes, in float64, as `stationary_point` gives it.

    Attributes:
        point: the place, `(d,)`.
        loss: the loss there.
        eigenvalues: of the Hessian there, ascending, `(d,)`.
    """

    point: np.ndarray
    loss: float
    eigenvalues: np.ndarray

    @property
    def index(self) -> int:
        """How many eigenvalues are negative: 0 for a minimum, 1 for a saddle that escapes pass
        over."""
        return int(np.sum(self.eigenvalues < 0))

    def _table(self) -> Table:
        kind = (
            ("minimum", "saddle")[self.index] if self.index < 2 else f"saddle of index {self.index}"
        )
        return Table(
            f"StationaryPoint: {kind}",
            [
                ("at", listed(self.point)),
                ("loss", f"{self.loss:.6g}"),
                ("eigenvalues of the Hessian", listed(self.eigenvalues)),
            ],
        )


@dataclass(frozen=True, repr=False)
class KramersLaw(Result, Exponential):
    """Exponential escape over saddles, as `kramers_law` gives it.

    Attributes:
        log_rate: natural logarithm of `rate`, which may underflow.
        barriers: `F(b) - F(a)` for each saddle, in units of the loss.
        shares: of the escapes that go over each saddle, summing to 1.
        minimum: where a path starts from.
        saddles: which it passes over, in the order of `barriers`.
        diffusion: D, in units of the loss.
        friction: g, a unit of time; None without momentum.
        escape: what is meant: "other minimum", or "saddle": the first crossing of a dividing
            surface, twice as fast.
        unit: of time.
        name: of the law.
        assumptions: when it holds.
    """

    log_rate: float
    barriers: np.ndarray
    shares: np.ndarray
    minimum: StationaryPoint
    saddles: tuple[StationaryPoint, ...]
    diffusion: float
    friction: float | None
    escape: str
    unit: str = "SDE time"
    name: str = "the law of Eyring and Kramers"
    assumptions: tuple[str, ...] = (
        "the diffusion is small against every barrier",
        "the Hessian at the minimum and at each saddle has no eigenvalue near 0",
        "the saddles given are all that lead out at the lowest heights",
    )

    @property
    def rate(self) -> float:
        """Escapes a unit of time; 0 where float64 ends."""
        return float(np.exp(self.log_rate))

    @property
    def mean(self) -> float:
        """Mean escape time; inf where float64 ends."""
        with np.errstate(over="ignore"):
            return float(np.exp(-self.log_rate))

    def _table(self) -> Table:
        return Table(
            "KramersLaw",
            [
                (f"mean escape time ({self.unit})", from_log(-self.log_rate)),
                ("rate", from_log(self.log_rate)),
                ("to", self.escape),
                ("diffusion D", f"{self.diffusion:g}"),
                ("barriers over D", listed(self.barriers / self.diffusion)),
                ("share of each saddle", listed(self.shares, ".3g")),
                (
                    "friction",
                    "none: first order" if self.friction is None else f"{self.friction:g}",
                ),
            ],
        )


def derivatives(
    landscape: Landscape,
) -> tuple[Callable[[np.ndarray], np.ndarray], Callable[[np.ndarray], np.ndarray]]:
    """Gradient and Hessian, made symmetric, as functions of NumPy points; in the precision that JAX
    is set to."""

    def gradient(x: np.ndarray) -> np.ndarray:
        return np.asarray(_gradient_at(landscape, jnp.asarray(x)))

    def hessian(x: np.ndarray) -> np.ndarray:
        matrix = np.asarray(_hessian_at(landscape, jnp.asarray(x)))
        return (matrix + matrix.T) / 2

    return gradient, hessian


def stationary_point(
    landscape: Arg[Landscape], x: Arg[Numbers], *, max_steps: Arg[Integer] = 200
) -> StationaryPoint:
    """The stationary point that Newton's method finds from a point nearby, in float64: a minimum or
    a saddle.

    Args:
        landscape: the loss F.
        x: where to start, `(d,)`.
        max_steps: evaluations of the gradient that the root finder may make; 200 by default.

    Returns:
        The place, the loss and the Hessian's eigenvalues there.

    Raises:
        TypeError: no landscape, or a point traced by JAX.
        ValueError: `x` of wrong shape or not finite; no point where the gradient vanishes is found;
            a Hessian with an eigenvalue 0 there, for which the law has no prefactor.

    Source:
        elementary: Powell's hybrid method (`scipy.optimize.root`), then three steps of Newton's.
    """

    errors.instance("landscape", landscape, Landscape, "DoubleWell(dim=2)")
    start = errors.reals("x", x, f"x=jnp.zeros({landscape.dim})", (landscape.dim,))
    steps = errors.integer("max_steps", max_steps, "max_steps=200", high=10**6)
    with in_float64(landscape) as precise:
        gradient, hessian = derivatives(precise)
        found = np.asarray(
            scipy.optimize.root(
                gradient, start, jac=hessian, options={"maxfev": steps, "xtol": 1e-12}
            ).x
        )
        for _ in range(3):  # the root finder's quotients leave some digits
            if np.isfinite(found).all() and abs(np.linalg.det(hessian(found))) > 0:
                found = found - np.linalg.solve(hessian(found), gradient(found))
        eigenvalues = (
            np.linalg.eigvalsh(hessian(found))
            if np.isfinite(found).all()
            else np.full(len(start), np.nan)
        )
        slope = float(np.linalg.norm(gradient(found)))
        value = float(_value_at(precise, jnp.asarray(found)))
    largest = float(np.max(np.abs(eigenvalues)))
    if not slope <= _GRADIENT * largest * max(1.0, float(np.linalg.norm(found - start))):
        raise ValueError(
            f"no stationary point found from x = {start}: after {steps} steps the gradient norm "
            f"is {slope:.3g}. Start nearer, or give more max_steps."
        )
    if np.min(np.abs(eigenvalues)) <= _FLAT * largest:
        flattest = eigenvalues[np.argmin(np.abs(eigenvalues))]
        raise ValueError(
            f"the Hessian at {found} has an eigenvalue {flattest:.2g}: the point is flat in one "
            "direction, and the Eyring-Kramers prefactor is infinite or zero there. Break the "
            "symmetry, or simulate."
        )
    return StationaryPoint(found, value, eigenvalues)


def kramers_law(
    landscape: Arg[Landscape],
    *,
    saddles: Arg[Numbers],
    diffusion: Arg[Number],
    minimum: Arg[Numbers | None] = None,
    friction: Arg[Number | None] = None,
    escape: Arg[Literal["other minimum", "saddle"]] = "other minimum",
) -> KramersLaw:
    """The law of Eyring and Kramers, for `dX = -grad F dt + sqrt(2 D) dW` as D falls below the
    barrier.

    From a minimum a over a saddle b, l the negative eigenvalue of its Hessian:
    `mean = (2 pi / |l|) sqrt(|det H_b| / det H_a) exp((F(b) - F(a)) / D)`; with friction g,
    `sqrt(g^2 / 4 + |l|) - g / 2` in place of `|l|`. Several saddles add their rates.

    Args:
        landscape: the loss F.
        saddles: near which points to look for the saddles on the way, `(d,)`, or several, `(k, d)`.
        diffusion: D, a positive number, in units of the loss: `Langevin(landscape, diffusion=D)`.
        minimum: near which point to look for the minimum, `(d,)`; the landscape's own by default.
        friction: g of the underdamped equation, positive, a unit of time; by default none, a
            first-order equation.
        escape: "other minimum", or "saddle", twice as fast.

    Returns:
        The law; times are SDE time.

    Raises:
        ValueError, TypeError: bad numbers; a minimum that has negative eigenvalues; a saddle that
            is not of index one, or not above the minimum.

    Source:
        Eyring, J. Chem. Phys. 3 (1935); Kramers, Physica 7 (1940); Bovier, Eckhoff, Gayrard, Klein,
        J. Eur. Math. Soc. 6 (2004); with friction Langer, Ann. Phys. 54 (1969).
    """
    errors.instance("landscape", landscape, Landscape, "DoubleWell(dim=2)")
    noise = errors.positive_real("diffusion", diffusion)
    drag = None if friction is None else errors.positive_real("friction", friction)
    factor = {"other minimum": 1.0, "saddle": 2.0}[
        errors.choice("escape", escape, ("other minimum", "saddle"))
    ]
    errors.concrete("saddles or minimum", (saddles, minimum))
    place = landscape.minimum if minimum is None else minimum
    low = stationary_point(landscape, errors.reals("minimum", place, shape=(landscape.dim,)))
    if low.index:
        raise ValueError(
            f"the stationary point at {low.point} has {low.index} negative eigenvalues: it is no "
            "minimum. Give minimum=..."
        )
    passes = _saddles(landscape, saddles, low)
    barriers = np.array([point.loss - low.loss for point in passes])
    logs = np.array([log_rate_over(point, low, noise, drag) for point in passes])
    total = float(np.logaddexp.reduce(logs))
    shares = np.exp(logs - total)
    for caveat in _caveats(barriers, noise, drag, low):
        warnings.warn(errors.AccuracyWarning(caveat), stacklevel=3)  # past the wrapper of names
    return KramersLaw(total + np.log(factor), barriers, shares, low, passes, noise, drag, escape)


def _caveats(
    barriers: np.ndarray, noise: float, friction: float | None, low: StationaryPoint
) -> list[str]:
    """Where the law is outside its limits: a low barrier, and friction too weak for it."""
    found, lowest = [], float(barriers.min())
    if lowest < _LOW_BARRIER * noise:
        found.append(
            f"the lowest barrier is {lowest / noise:.3g} D, below {_LOW_BARRIER:g} D: the law is "
            "a limit for high barriers, and the mean escape time may differ from it by more than "
            "10%. Take a smaller diffusion, or first_passage in one dimension."
        )
    if friction is not None:
        # the energy that friction takes in one turn at the height of the barrier, over D
        lost = 2 * np.pi * friction * lowest / np.sqrt(low.eigenvalues[0]) / noise
        if lost < _WEAK_FRICTION:
            found.append(
                f"friction = {friction:.3g} is weak: it takes {lost:.3g} D of energy per turn in "
                f"the well, below {_WEAK_FRICTION:g} D, where escape is limited by the energy and "
                "not by the saddle. The mean escape time is longer than the law's. Simulate "
                "Underdamped."
            )
    return found


def log_rate_over(
    saddle: StationaryPoint, low: StationaryPoint, diffusion: float, friction: float | None
) -> float:
    """Logarithm of the rate of Eyring and Kramers from the minimum `low` over one saddle."""
    speed = -float(saddle.eigenvalues[0])
    if friction is not None:  # sqrt(g^2 / 4 + |l|) - g / 2, without cancellation
        speed /= np.hypot(friction / 2, np.sqrt(speed)) + friction / 2
    curvature = np.sum(np.log(low.eigenvalues)) - np.sum(np.log(np.abs(saddle.eigenvalues)))
    return np.log(speed / (2 * np.pi)) + curvature / 2 - (saddle.loss - low.loss) / diffusion


def distinct_points(
    landscape: Landscape, name: str, guesses: np.ndarray, index: int, why: str
) -> tuple[StationaryPoint, ...]:
    """The stationary points near `guesses`, `(n, d)`, all of one index and different."""
    points: list[StationaryPoint] = []
    for guess in guesses:
        point = stationary_point(landscape, guess)
        if point.index != index:
            raise ValueError(
                f"the stationary point at {point.point}, found from {guess} of {name}, has "
                f"{point.index} negative eigenvalues: {why}. Start nearer to one."
            )
        if any(np.allclose(point.point, other.point, rtol=1e-6, atol=1e-6) for other in points):
            raise ValueError(
                f"two of the {name} lead to the same point {point.point}, which would count twice. "
                "Leave one out."
            )
        points.append(point)
    return tuple(points)


def _saddles(
    landscape: Landscape, places: Arg[Numbers], low: StationaryPoint
) -> tuple[StationaryPoint, ...]:
    guesses = errors.reals("saddles", places, f"saddles=jnp.zeros({landscape.dim})")
    if guesses.ndim not in (1, 2) or guesses.shape[-1] != landscape.dim:
        raise ValueError(
            f"saddles must have shape ({landscape.dim},), or (k, {landscape.dim}) for several, not "
            f"{guesses.shape}."
        )
    why = "escapes pass over saddles of index one"
    passes = distinct_points(landscape, "saddles", np.atleast_2d(guesses), 1, why)
    for saddle in passes:
        if not saddle.loss > low.loss:
            raise ValueError(
                f"the saddle at {saddle.point} lies no higher than the minimum at "
                f"{low.point}. Give the lower minimum."
            )
    return passes
