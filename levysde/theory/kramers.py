"""Escape over a saddle under Gaussian noise: the law of Eyring and Kramers, in any number of dimensions.

`dX = -grad F(X) dt + sqrt(2 D) dW` from a minimum a over a saddle b of index one to the minimum behind it, as D falls below the
barrier `F(b) - F(a)`:

    mean = (2 pi / |l|) sqrt(|det H_b| / det H_a) exp((F(b) - F(a)) / D),

l the negative eigenvalue of H_b (Eyring, J. Chem. Phys. 3, 1935; Kramers, Physica 7, 1940; Bovier, Eckhoff, Gayrard, Klein,
J. Eur. Math. Soc. 6, 2004). Half of it is the mean time to the saddle's dividing surface, where a path turns back as often as
not. With friction g, `dX = V dt, dV = -(grad F + g V) dt + sqrt(2 g D) dW`, and friction not weak, the same with
`sqrt(g^2 / 4 + |l|) - g / 2` for `|l|` (Kramers; Langer, Ann. Phys. 54, 1969). Several saddles on the way add their rates.

D must be a number: where noise is stronger in some directions, F is not what the path has to climb.
"""

from collections.abc import Callable
from dataclasses import dataclass

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from levysde import errors
from levysde.errors import Checked
from levysde.landscapes import in_float64
from levysde.protocols import Landscape
from levysde.theory.exact import as_real

_GRADIENT = 1e-8  # of a stationary point, relative to its largest eigenvalue times its distance from the start, or 1
_FLAT = 1e-10  # eigenvalues below this share of the largest in size are zero

# compiled once for all points of a landscape: uncompiled, a loss that is differentiated by program takes half a second a point
_value_at = eqx.filter_jit(lambda loss, x: loss.value(x))
_gradient_at = eqx.filter_jit(lambda loss, x: loss.gradient(x))
_hessian_at = eqx.filter_jit(lambda loss, x: loss.hessian(x))


@dataclass(frozen=True)
class StationaryPoint:
    """A point where the gradient vanishes: place `(d,)`, loss, eigenvalues of the Hessian ascending `(d,)`; float64."""

    x: np.ndarray
    value: float
    eigenvalues: np.ndarray

    @property
    def index(self) -> int:
        """How many eigenvalues are negative: 0 for a minimum, 1 for a saddle that escapes pass over."""
        return int(np.sum(self.eigenvalues < 0))


@dataclass(frozen=True)
class KramersLaw:
    """Exponential escape over saddles.

    Attributes:
        rate: of escape, a unit of time; `log_rate` holds where it underflows.
        barriers: `F(b) - F(a)` for each saddle, in units of the loss.
        shares: of the escapes that go over each saddle, summing to 1.
        minimum, saddles: the stationary points that the law is made of.
        diffusion, friction: D, and g or None without momentum.
        escape: what is meant: "other minimum", or "saddle": the first crossing of a dividing surface, twice as fast.
        unit: of time.
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

    @property
    def rate(self) -> float:
        return float(np.exp(self.log_rate))

    @property
    def mean(self) -> float:
        """Mean escape time; inf where float64 ends."""
        with np.errstate(over="ignore"):
            return float(np.exp(-self.log_rate))

    def survival(self, t: Checked) -> np.ndarray | float:
        """`P(escape time > t) = exp(-rate t)`, any shape."""
        return np.exp(-self.rate * np.maximum(np.asarray(t, dtype=float), 0))

    def __repr__(self) -> str:
        rows = [
            (f"mean escape time ({self.unit})", f"{self.mean:.6g}"),
            ("to", self.escape),
            ("barriers over D", ", ".join(f"{barrier / self.diffusion:.4g}" for barrier in self.barriers)),
            ("share of each saddle", ", ".join(f"{share:.3g}" for share in self.shares)),
            ("friction", "none: first order" if self.friction is None else f"{self.friction:g}"),
        ]
        width = max(len(name) for name, _ in rows)
        return "KramersLaw\n" + "\n".join(f"  {name:<{width}}  {value}" for name, value in rows)


def derivatives(landscape: Landscape) -> tuple[Callable[[np.ndarray], np.ndarray], Callable[[np.ndarray], np.ndarray]]:
    """Gradient and Hessian, made symmetric, as functions of NumPy points; in the precision that JAX is set to."""

    def gradient(x: np.ndarray) -> np.ndarray:
        return np.asarray(_gradient_at(landscape, jnp.asarray(x)))

    def hessian(x: np.ndarray) -> np.ndarray:
        matrix = np.asarray(_hessian_at(landscape, jnp.asarray(x)))
        return (matrix + matrix.T) / 2

    return gradient, hessian


def stationary_point(landscape: Checked, x: Checked, *, max_steps: Checked = 200) -> StationaryPoint:
    """The stationary point that Newton's method finds from `x`, `(d,)`, in float64: a minimum or a saddle.

    Raises:
        TypeError: no landscape.
        ValueError: `x` of wrong shape or not finite; no point where the gradient vanishes is found; a Hessian with an
            eigenvalue 0 there, for which the law has no prefactor.
    """
    from scipy.optimize import root  # slow to import

    if not isinstance(landscape, Landscape):
        raise TypeError(f"landscape must be a Landscape, not {landscape!r}. Type for example DoubleWell(dim=2).")
    errors.finite("x", x, f"x=jnp.zeros({landscape.dim})", (landscape.dim,))
    steps = errors.integer("max_steps", max_steps, "max_steps=200")
    start = np.asarray(x, np.float64)
    with in_float64(landscape) as precise:
        gradient, hessian = derivatives(precise)
        found = np.asarray(root(gradient, start, jac=hessian, options={"maxfev": steps, "xtol": 1e-12}).x)
        for _ in range(3):  # the root finder's quotients leave some digits
            if np.isfinite(found).all() and abs(np.linalg.det(hessian(found))) > 0:
                found = found - np.linalg.solve(hessian(found), gradient(found))
        eigenvalues = np.linalg.eigvalsh(hessian(found)) if np.isfinite(found).all() else np.full(len(start), np.nan)
        slope = float(np.linalg.norm(gradient(found)))
        value = float(_value_at(precise, jnp.asarray(found)))
    largest = float(np.max(np.abs(eigenvalues)))
    if not slope <= _GRADIENT * largest * max(1.0, float(np.linalg.norm(found - start))):
        raise ValueError(
            f"no stationary point found from x = {start}: after {steps} steps the gradient norm is {slope:.3g}. Start nearer, "
            "or give more max_steps."
        )
    if np.min(np.abs(eigenvalues)) <= _FLAT * largest:
        flattest = eigenvalues[np.argmin(np.abs(eigenvalues))]
        raise ValueError(
            f"the Hessian at {found} has an eigenvalue {flattest:.2g}: the point is flat in one direction, and the "
            "Eyring-Kramers prefactor is infinite or zero there. Break the symmetry, or simulate."
        )
    return StationaryPoint(found, value, eigenvalues)


def kramers_law(
    landscape: Checked,
    *,
    saddles: Checked,
    diffusion: Checked,
    minimum: Checked = None,
    friction: Checked = None,
    escape: Checked = "other minimum",
) -> KramersLaw:
    """The law of Eyring and Kramers (top of this file).

    Args:
        landscape: the loss F.
        saddles: near which points to look for the saddles on the way, `(d,)`, or several, `(k, d)`.
        diffusion: D, a number: `Langevin(landscape, diffusion=D)`.
        minimum: near which point to look for the minimum; the landscape's own by default.
        friction: g of the underdamped equation, in its time; first order by default.
        escape: "other minimum", or "saddle", twice as fast.

    Raises:
        TypeError, ValueError: bad numbers; a minimum that has negative eigenvalues; a saddle that is not of index one, or not
            above the minimum.
    """
    if not isinstance(landscape, Landscape):
        raise TypeError(f"landscape must be a Landscape, not {landscape!r}. Type for example DoubleWell(dim=2).")
    noise = as_real("diffusion", errors.positive("diffusion", diffusion, "diffusion=0.1"), diffusion)
    drag = friction
    if friction is not None:
        drag = as_real("friction", errors.positive("friction", friction, "friction=1.0"), friction)
    factor = {"other minimum": 1.0, "saddle": 2.0}[errors.choice("escape", escape, ("other minimum", "saddle"))]
    low = stationary_point(landscape, landscape.minimum if minimum is None else minimum)
    if low.index:
        raise ValueError(
            f"the stationary point at {low.x} has {low.index} negative eigenvalues: it is no minimum. Give minimum=..."
        )
    passes = _saddles(landscape, saddles, low)
    barriers = np.array([point.value - low.value for point in passes])
    steepness = np.array([-point.eigenvalues[0] for point in passes])
    speed = steepness if drag is None else np.sqrt(drag**2 / 4 + steepness) - drag / 2
    curvature = [np.sum(np.log(low.eigenvalues)) - np.sum(np.log(np.abs(point.eigenvalues))) for point in passes]
    logs = np.log(speed / (2 * np.pi)) + np.array(curvature) / 2 - barriers / noise
    total = float(np.logaddexp.reduce(logs))
    shares = np.exp(logs - total)
    return KramersLaw(total + np.log(factor), barriers, shares, low, passes, noise, drag, escape)


def _saddles(landscape: Landscape, places: Checked, low: StationaryPoint) -> tuple[StationaryPoint, ...]:
    guesses = np.asarray(errors.finite("saddles", places, f"saddles=jnp.zeros({landscape.dim})"), float)
    if guesses.ndim not in (1, 2) or guesses.shape[-1] != landscape.dim or not guesses.size:
        raise ValueError(
            f"saddles must have shape ({landscape.dim},), or (k, {landscape.dim}) for several, not {guesses.shape}."
        )
    passes: list[StationaryPoint] = []
    for guess in np.atleast_2d(guesses):
        point = stationary_point(landscape, guess)
        if point.index != 1:
            raise ValueError(
                f"the stationary point at {point.x}, found from {guess}, has {point.index} negative eigenvalues: escapes pass "
                "over saddles of index one. Start nearer to one."
            )
        if not point.value > low.value:
            raise ValueError(
                f"the saddle at {point.x} lies no higher than the minimum at {low.x}. Give the lower minimum."
            )
        if any(np.allclose(point.x, other.x, rtol=1e-6, atol=1e-6) for other in passes):
            raise ValueError(
                f"two of the saddles lead to the same point {point.x}, which would count twice. Leave one out."
            )
        passes.append(point)
    return tuple(passes)
