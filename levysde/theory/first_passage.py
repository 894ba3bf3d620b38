"""First passage of a Gaussian diffusion in one dimension, by quadrature: no asymptotics. Plain
float64, on the host.

`dX = b(X) dt + sqrt(2 D(X)) dW` (Ito) on an interval from p to q. With `psi(x) = -int b/D`, scale
`s' = e^psi` and speed `m = e^-psi / D`, and both ends absorbing, the mean of f collected until the
exit is

    u(x) = int G(x, z) f(z) m(z) dz,    G(x, z) = (s(min) - s(p)) (s(q) - s(max)) / (s(q) - s(p)),

f = 1 for the mean exit time, f = 2 u for its second moment; an end that reflects takes its factor
out. (Karlin and Taylor, A Second Course in Stochastic Processes, 1981, chapter 15; Gardiner,
Handbook of Stochastic Methods, section 5.5.)

Every integrand is positive and is summed in logarithms, so that a barrier of hundreds of D loses no
digits. Panels of 16 Gauss-Legendre points are doubled until two answers agree.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy

from levysde import errors
from levysde.results import Result
from levysde.tables import Table, from_log
from levysde.theory.law import Answers
from levysde.types import Arg, Number

_POINTS = 16  # of a panel
_PANELS = tuple(2**k for k in range(5, 13))
_AGREE = 1e-11  # relative difference of two answers, at which the second is taken
_FURTHER = 4.0, 16.0  # times the reach at which two answers agree, to detect another well
_TOLERANCE = 1e-7  # and the largest at which an answer is given at all
# of its median: a diffusion that falls below between two points, or is below at one, vanishes
_VANISHING = 1e-6, 1e-12


@dataclass(frozen=True, repr=False)
class FirstPassage(Result, Answers):
    """When and where a path first leaves an interval, as `first_passage` gives it.

    Attributes:
        mean: of the exit time, in the time of the equation; may be inf in float64 where `log_mean`
            is not.
        second_moment: of the exit time, in that time squared; may be inf too.
        log_mean: natural logarithm of the mean.
        upper_probability: of leaving at the upper end; 0 or 1 where the other end is no exit.
        error: relative difference of the last two refinements, the largest of the three quantities.
        unit: of time, that of the equation.
        name: of the reference.
        assumptions: when it is that of a run.
        start: the place that the mean is for; None where it was not recorded.
    """

    mean: float
    second_moment: float
    log_mean: float
    upper_probability: float
    error: float
    is_exact = True
    unit: str = "SDE time"
    name: str = "the first-passage quadrature, exact"
    assumptions: tuple[str, ...] = (
        "the drift and the diffusion of the equation are those of the run, and so is its start",
    )
    start: float | None = None

    @property
    def log_rate(self) -> float:
        """Minus the logarithm of the mean."""
        return -self.log_mean

    def relative_error(self, confidence: float) -> float:
        """Of the mean's computation, the whole of it at any confidence."""
        return self.error

    @property
    def variance(self) -> float:
        """Of the exit time."""
        return self.second_moment - self.mean**2

    def _table(self) -> Table:
        return Table(
            "FirstPassage",
            [
                ("mean exit time", from_log(self.log_mean)),
                ("root of its second moment", f"{self.second_moment**0.5:.6g}"),
                ("probability of the upper end", f"{self.upper_probability:.6g}"),
                ("estimated error", f"{self.error:.2g}"),
            ],
        )


def first_passage(
    drift: Arg[Callable[[np.ndarray], np.ndarray]],
    diffusion: Arg[Number | Callable[[np.ndarray], np.ndarray]],
    *,
    start: Arg[Number],
    lower: Arg[Number | None] = None,
    upper: Arg[Number | None] = None,
    reflecting: Arg[Number | None] = None,
) -> FirstPassage:
    """Exit time and side of `dX = b(X) dt + sqrt(2 D(X)) dW` (Ito) from the interval between two
    ends.

    With `D = (eta / 2 B) |L''|` taken literally a path never leaves a valley: D vanishes at the
    inflection while the drift points back. It is refused, as a diffusion that vanishes.

    Args:
        drift: b, from points `(n,)` to values `(n,)`, float64.
        diffusion: D, a positive number or a function like `drift`.
        start: where the path starts, strictly between the ends.
        lower: the lower end, where it exits. One end may be left out: the path then comes back from
            that side by itself, or is reflected.
        upper: the upper end, where it exits.
        reflecting: where it is reflected, beyond the start on the side without an exit; by default
            nowhere.

    Returns:
        Mean, second moment and side of the exit, in the time of the equation.

    Raises:
        TypeError: a drift or diffusion that cannot be called.
        ValueError: ends and start out of order or not finite; a drift or diffusion that is not
            finite, or not of the shape of its argument; a diffusion that vanishes or is negative in
            the interval; without `reflecting`, a path that does not come back from the side without
            an exit, so that its mean exit time is infinite.
        RuntimeError: the quadrature did not converge (a drift with a jump or a pole): it names the
            quantity.

    Source:
        Karlin and Taylor, A Second Course in Stochastic Processes (1981), chapter 15.
    """
    b, d = errors.function("drift", drift), _diffusion(diffusion)
    x = errors.real("start", start)
    low, high, mirror = (
        None if end is None else errors.real(name, end, f"{name}=0.0")
        for name, end in (("lower", lower), ("upper", upper), ("reflecting", reflecting))
    )
    exits = low is not None, high is not None
    if not any(exits):
        raise ValueError(
            "give lower, upper or both: without an end there is no exit. For example upper=1.0."
        )
    if mirror is not None and all(exits):
        raise ValueError(
            f"reflecting = {reflecting!r} with two exits: a path meets an exit first. Leave one of "
            "the three out."
        )
    low, high = mirror if low is None else low, mirror if high is None else high
    if (low is not None and low >= x) or (high is not None and high <= x):
        raise ValueError(
            f"start = {x:g} must lie strictly between the ends of the interval, not of ({low}, "
            f"{high}). Give lower < start < upper."
        )
    if low is not None and high is not None:
        return _refined(b, d, low, x, high, exits)
    return _from_afar(b, d, low, x, high)


def _from_afar(
    b: Callable, d: Callable, low: float | None, x: float, high: float | None
) -> FirstPassage:
    """One exit, nothing on the other side: reflected ever further out, until the mean no longer
    feels it."""
    exit_ = high if low is None else low
    assert exit_ is not None

    def reflected(reach: float) -> FirstPassage:
        if low is None:
            return _refined(b, d, x - reach, x, exit_, (False, True))
        return _refined(b, d, exit_, x, x + reach, (True, False))

    def differs_beyond(reach: float, found: FirstPassage) -> bool:
        """Whether the mean changes where paths may go much further: into another well, say."""
        for times in _FURTHER:
            try:
                with np.errstate(all="ignore"):
                    beyond = reflected(times * reach)
            except (RuntimeError, ValueError, ArithmeticError):  # drift or diffusion end before
                return False
            if abs(beyond.log_mean - found.log_mean) > max(1e-6, 10 * beyond.error, found.error):
                return True
        return False

    reach, before = 2 * abs(x - exit_), None
    for _ in range(40):  # to 10^7 times the distance of the exit
        try:
            found = reflected(reach)
        except RuntimeError:
            if before is None:
                raise
            break
        agrees = before is not None and abs(found.log_mean - before) < max(_AGREE, found.error)
        if agrees and not differs_beyond(reach, found):
            return found
        before, reach = found.log_mean, 1.5 * reach
    side = "below" if low is None else "above"
    raise ValueError(
        f"a path that goes far {side} does not come back soon enough: the mean first-passage time "
        f"from {x:g} to {exit_:g} is infinite, or the drift is not integrable there. Bound the "
        "interval with reflecting=..., or give a second exit."
    )


def _refined(
    b: Callable, d: Callable, low: float, x: float, high: float, exits: tuple[bool, bool]
) -> FirstPassage:
    """Panels are doubled until the three quantities agree, or until rounding makes them differ more
    again."""
    _check_positive(d, low, high)
    before, best, smallest = None, None, np.inf
    for panels in _PANELS:
        now = _solved(b, d, low, x, high, exits, panels)
        if before is not None:
            step = float(np.max(np.abs(now - before)))
            if step < smallest:
                best, smallest = now, step
            if smallest < _AGREE or (smallest < _TOLERANCE and step > 2 * smallest):
                break
        before = now
    if best is None or smallest > _TOLERANCE:
        raise RuntimeError(
            f"the mean first-passage time over ({low:g}, {high:g}) did not converge: with "
            f"{_PANELS[-1]} panels it still moves by {smallest:.1e} of itself. Is the drift or "
            "the diffusion discontinuous? Smooth it, or bring the ends together."
        )
    log_mean, log_second, log_upper = (float(value) for value in best)
    upper = float(np.exp(log_upper)) if all(exits) else float(exits[1])
    with np.errstate(over="ignore"):
        return FirstPassage(
            float(np.exp(log_mean)), float(np.exp(log_second)), log_mean, upper, smallest
        )


def _solved(
    b: Callable,
    d: Callable,
    low: float,
    x: float,
    high: float,
    exits: tuple[bool, bool],
    panels: int,
) -> np.ndarray:
    """Logarithms of mean, second moment and probability of the upper end. The start is the edge of
    a panel."""
    left = min(max(1, round(panels * (x - low) / (high - low))), panels - 1)
    edges = np.concatenate(
        [np.linspace(low, x, left + 1), np.linspace(x, high, panels - left + 1)[1:]]
    )
    half, z = panel_points(edges)
    diffusion = as_values("diffusion", d, z)
    psi = log_scale(as_values("drift", b, z) / diffusion, half)
    log_speed = -psi - np.log(diffusion)
    up, down, up_at, down_at = log_integrals(psi, half)
    whole, log_upper = up_at[-1], up_at[left] - up_at[-1]
    if not all(exits):
        whole = log_upper = 0.0
        up, up_at = (up, up_at) if exits[0] else (np.zeros_like(up), np.zeros_like(up_at))
        down, down_at = (
            (down, down_at) if exits[1] else (np.zeros_like(down), np.zeros_like(down_at))
        )
    log_f, found = np.zeros_like(z), []
    for _ in range(2):
        before, _, before_at, _ = log_integrals(up + log_speed + log_f, half)
        _, after, _, after_at = log_integrals(down + log_speed + log_f, half)
        found.append(
            np.logaddexp(down_at[left] + before_at[left], up_at[left] + after_at[left]) - whole
        )
        log_f = np.log(2) + np.logaddexp(down + before, up + after) - whole
    return np.array([*found, log_upper])


def panel_points(edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Half the width of each panel, `(panels, 1)`, and its points, `(panels, points)`."""
    half = np.diff(edges)[:, None] / 2
    return half, (edges[:-1, None] + edges[1:, None]) / 2 + half * _rule()[0]


def log_scale(ratio: np.ndarray, half: np.ndarray) -> np.ndarray:
    """`psi = -int b / D` from the first edge to each point, from `b / D` at the points."""
    _, weights, cumulative = _rule()
    reached = np.concatenate([[0.0], np.cumsum(half[:, 0] * (ratio @ weights))[:-1]])
    return -(reached[:, None] + half * (ratio @ cumulative.T))


def log_integrals(
    log_f: np.ndarray, half: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Logarithms of the integrals of e^log_f from the lower end to each point, and from each point
    to the upper end, both `(panels, points)`; and to and from each edge of a panel,
    `(panels + 1,)`."""
    _, weights, cumulative = _rule()
    top = log_f.max(axis=1, keepdims=True)
    f = np.exp(log_f - top)
    with np.errstate(divide="ignore"):
        total = np.log(half[:, 0] * (f @ weights)) + top[:, 0]
        inside = (
            np.log(np.maximum(half * (f @ cumulative.T), 0)) + top
        )  # below 0 by rounding, or where panels are too wide
        outside = np.log(np.maximum(half * (f @ cumulative[::-1, ::-1].T), 0)) + top
    nothing = np.array([-np.inf])
    to = np.concatenate([nothing, np.logaddexp.accumulate(total)])
    since = np.concatenate([np.logaddexp.accumulate(total[::-1])[::-1], nothing])
    return np.logaddexp(to[:-1, None], inside), np.logaddexp(since[1:, None], outside), to, since


@functools.cache
def _rule() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gauss-Legendre points and weights on (-1, 1), and the matrix that integrates from -1 to each
    point."""
    legendre = np.polynomial.legendre
    nodes, weights = legendre.leggauss(_POINTS)
    integrals = np.stack(
        [legendre.Legendre.basis(k).integ(lbnd=-1)(nodes) for k in range(_POINTS)], 1
    )
    return nodes, weights, integrals @ np.linalg.inv(legendre.legvander(nodes, _POINTS - 1))


def _check_positive(d: Callable, low: float, high: float) -> None:
    """Refuses a diffusion that vanishes inside, also between the sampled points."""

    z = np.linspace(low, high, 2003)[1:-1]
    values = as_values("diffusion", d, z)
    typical, i = float(np.median(np.abs(values))), int(np.argmin(values))
    near = scipy.optimize.minimize_scalar(
        lambda place: float(as_values("diffusion", d, np.array([place]))[0]),
        bounds=(max(low, z[i] - (z[1] - z[0])), min(high, z[i] + (z[1] - z[0]))),
        method="bounded",
        options={"xatol": 1e-13 * (high - low)},
    )
    smallest, place = min((float(values[i]), float(z[i])), (float(near.fun), float(near.x)))
    falls = near.fun < _VANISHING[0] * typical and near.fun < 0.01 * values[i]
    if falls or smallest <= _VANISHING[1] * typical:
        raise ValueError(
            f"the diffusion is {smallest:.3g} at x = {place:g}, inside ({low:g}, {high:g}): a "
            "path crosses such a place only with the drift, never against it, and where the drift "
            "points back it never escapes. Give a diffusion that is positive in the whole "
            "interval."
        )


def as_values(name: str, function: Callable, places: np.ndarray) -> np.ndarray:
    """What a user's function gives at places of any shape; it is given them in a row."""
    z = places.ravel()
    try:
        values = errors.numeric(name, function(z), "lambda x: -x").astype(float)
    except Exception as failure:  # a user's function may raise anything
        raise TypeError(
            f"{name} must map points (n,) to values (n,), but fails: {failure!r}"
        ) from failure
    if values.shape != z.shape:
        raise ValueError(
            f"{name} must map points {z.shape} to as many values, not to {values.shape}. Type "
            "lambda x: -x."
        )
    if not np.isfinite(values).all():
        place = z[~np.isfinite(values)][0]
        raise ValueError(
            f"{name} is {values[~np.isfinite(values)][0]} at x = {place:g}. It must be finite in "
            "the interval."
        )
    return values.reshape(places.shape)


def _diffusion(value: Arg[Number | Callable[[np.ndarray], np.ndarray]]) -> Callable:
    if callable(value):
        return errors.function("diffusion", value, "diffusion=lambda x: 1 + x**2")
    number = errors.positive_real("diffusion", value)
    return lambda x: np.full_like(x, number)
