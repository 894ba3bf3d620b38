"""Exit of a one-dimensional or radial SDE under symmetric stable noise: the nonlocal equation, by a spectral method. Float64.

`dX = b(X) dt + epsilon dL` leaves an interval, or with isotropic L and a radial drift a ball, mostly by a jump across the edge.
What it collects until then solves `b u' + epsilon^a A u = -f` inside and is given on the whole outside, where
`A = -(-Laplacian)^(a/2)`. On (-1, 1), and with `z = 2 r^2 - 1` on the unit ball of dimension d,

    A [(1 - x^2)^(a/2) P_n^(a/2, a/2)(x)] = -Gamma(a + n + 1) / n!  P_n^(a/2, a/2)(x),
    A [(1 - r^2)^(a/2) P_n^(a/2, d/2-1)(z)] = -mu_n P_n^(a/2, d/2-1)(z),
    mu_n = 2^a Gamma(a/2 + n + 1) Gamma((d + a)/2 + n) / (n! Gamma(d/2 + n))

(Dyda, Kuznetsov, Kwasnicki, Constr. Approx. 45, 2017), so in these functions, tested against themselves, A is diagonal and the
drift a matrix of Gauss-Jacobi sums. The number of functions is doubled; the answers approach their limit as a power of it,
since the drift makes other powers of the distance from the edge, and the limit is extrapolated (Aitken).
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from levysde import errors
from levysde.errors import Checked
from levysde.theory.exact import as_real
from levysde.theory.first_passage import as_function, as_place, as_values

_SIZES = (32, 64, 128, 256, 512)
_AGREE = 1e-9  # relative change at which the size is not doubled again
_TOLERANCE = 1e-3  # largest relative error at which an answer is given
_MODES = 256  # of a survival curve


@dataclass(frozen=True)
class StableExit:
    """When and where a path first leaves an interval or a ball.

    Attributes:
        mean, second_moment: of the exit time, in the time of the equation.
        upper_probability: of leaving beyond the upper end of an interval; NaN for a ball.
        error: estimated relative error of the three: that of the extrapolation, the largest.
    """

    mean: float
    second_moment: float
    upper_probability: float
    error: float
    _system: tuple[np.ndarray, ...] = field(repr=False, compare=False)

    def survival(self, times: Checked) -> np.ndarray:
        """Probability of being inside at `times`, `(n,)`, `>= 0`; to about 1e-3 for times beyond a hundredth of the mean."""
        t = np.asarray(errors.finite("times", times, "times=[1.0, 2.0]"), float)
        if (t < 0).any():
            raise ValueError(f"times must not be negative, not {t.min():g}. Type for example times=[1.0, 2.0].")
        rates, weights = self._modes
        return np.real(np.exp(np.multiply.outer(t, rates)) @ weights)

    @property
    def decay_rate(self) -> float:
        """The rate at which survival falls in the end, a unit of time."""
        return float(-np.real(self._modes[0]).max())

    @functools.cached_property
    def _modes(self) -> tuple[np.ndarray, np.ndarray]:
        """Rates and weights of the exponentials whose sum is the survival."""
        operator, mass, one, at_start = self._system
        rates, vectors = np.linalg.eig(np.linalg.solve(mass, operator))
        return rates, (at_start @ vectors) * np.linalg.solve(vectors, np.linalg.solve(mass, one).astype(complex))


def stable_exit(
    drift: Checked, *, alpha: Checked, epsilon: Checked, start: Checked, lower: Checked, upper: Checked
) -> StableExit:
    """Exit of `dX = b(X) dt + epsilon dL` from `(lower, upper)`, L symmetric stable with `E exp(i k L_1) = exp(-|k|^alpha)`.

    Args:
        drift: b, from points `(n,)` to values `(n,)`, float64; smooth on the interval.
        alpha: stability index, in (0, 2]; 2 is Brownian motion of variance 2t.
        epsilon: noise amplitude.
        start: where the path starts, between the ends.

    Raises:
        TypeError: a drift that cannot be called, or a number that is traced by JAX.
        ValueError: numbers out of range or order; a drift that is not finite or not of the shape of its argument.
        RuntimeError: the method did not converge, to 1e-3: the noise is too small beside the drift (at alpha = 1.5 and a unit
            quadratic well below epsilon = .05), or alpha < 1 and the drift points inwards at an end, where the answer jumps: a
            path that starts there is carried in before it jumps out.
    """
    b, a, eps = as_function("drift", drift, "lambda x: -x"), *_law(alpha, epsilon)
    x, low, high = (as_place(name, value) for name, value in (("start", start), ("lower", lower), ("upper", upper)))
    if not low < x < high:
        raise ValueError(
            f"start = {x:g} must lie between lower = {low:g} and upper = {high:g}. Give lower < start < upper."
        )
    half, middle = (high - low) / 2, (low + high) / 2
    place = (x - middle) / half

    def system(size: int) -> tuple[np.ndarray, ...]:
        nodes, weights, values, slopes = _functions(a, a / 2, a - 1, size)
        velocity = as_values("drift", b, middle + half * nodes) / half
        edge = (1 - nodes) * (1 + nodes)
        carried = (values * (weights * velocity)) @ (edge * slopes - a * nodes * values).T
        rates = (eps / half) ** a * np.exp(_log_gammas((a + 1,), (1,), size))
        mass = (values * (weights * edge)) @ values.T
        return carried - np.diag(rates), mass, _first(a / 2, a / 2, size), values @ (weights * velocity)

    def at(size: int) -> np.ndarray:
        return (1 - place**2) ** (a / 2) * _polynomials(a / 2, a / 2, np.array([place]), size)[0][:, 0]

    return _extrapolated(system, at, _free_side(a, place), a)


def stable_ball_exit(
    drift: Checked, *, alpha: Checked, epsilon: Checked, dim: Checked, start: Checked = 0.0, radius: Checked = 1.0
) -> StableExit:
    """Exit of `dX = b(|X|) X/|X| dt + epsilon dL` from the ball of `radius` about 0 in `dim` dimensions, L isotropic stable
    with `E exp(i <k, L_1>) = exp(-|k|^alpha)`.

    Args:
        drift: b, the outward speed, from distances `(n,)` to values `(n,)`, float64; `lambda r: -r` for a quadratic well.
        alpha, epsilon: as in `stable_exit`.
        start: distance from the centre.

    Raises as `stable_exit`.
    """
    b, a, eps = as_function("drift", drift, "lambda r: -r"), *_law(alpha, epsilon)
    d = errors.integer("dim", dim, "dim=2")
    r, edge = as_place("start", start), as_place("radius", radius)
    if not 0 <= r < edge:
        raise ValueError(f"start = {r:g} must be a distance from the centre below radius = {edge:g}. Type start=0.0.")

    def system(size: int) -> tuple[np.ndarray, ...]:
        nodes, weights, values, slopes = _functions(a, d / 2 - 1, d / 2 - 1, size)
        distance = np.sqrt((1 + nodes) / 2)
        speed = as_values("drift", b, edge * distance) / edge * distance
        weights = weights * 2 ** (1 - a / 2)
        carried = (values * (weights * speed)) @ (2 * (1 - nodes) * slopes - a * values).T
        rates = (2 * eps / edge) ** a * np.exp(_log_gammas((a / 2 + 1, (d + a) / 2), (1, d / 2), size))
        mass = (values * (weights * (1 - nodes) / 2)) @ values.T
        return carried - np.diag(rates), mass, _first(a / 2, d / 2 - 1, size), np.full(size, np.nan)

    def at(size: int) -> np.ndarray:
        z = np.array([2 * (r / edge) ** 2 - 1])
        return (1 - (r / edge) ** 2) ** (a / 2) * _polynomials(a / 2, d / 2 - 1, z, size)[0][:, 0]

    return _extrapolated(system, at, (np.nan, np.nan), a)


def _extrapolated(system: Callable, at: Callable, free: tuple[float, float], alpha: float) -> StableExit:
    """Answers at doubled sizes, and their limit. `free`: without drift, the probability of the upper end and the factor of its
    density."""
    answers, best = [], None
    for size in _SIZES:
        operator, mass, one, push = system(size)
        weights = at(size)
        mean = np.linalg.solve(operator, -one)
        found = [weights @ mean, weights @ np.linalg.solve(operator, -2 * mass @ mean)]
        if not np.isnan(free[0]):
            found.append(free[0] + weights @ np.linalg.solve(operator, -free[1] * push))
        answers.append(np.array(found))
        if size <= _MODES:
            modes = operator, mass, one, weights
        value, error = _limit(answers)
        if best is None or error < best[1]:
            best = value, error
        if error < _AGREE:
            break
    assert best is not None
    value, error = best
    if not error < _TOLERANCE or min(value[:2]) <= 0:
        raise RuntimeError(
            f"the mean exit time did not converge: with {_SIZES[-1]} functions it still moves by {error:.1e} of itself. The "
            "noise is too small beside the drift for this method: take a larger epsilon, or simulate"
            + (", or the drift points inwards at the edge, where for alpha < 1 the answer jumps." if alpha < 1 else ".")
        )
    side = float(np.clip(value[2], 0, 1)) if len(value) > 2 else float("nan")
    return StableExit(float(value[0]), float(value[1]), side, error, modes)


def _limit(answers: list[np.ndarray]) -> tuple[np.ndarray, float]:
    """The last of a sequence that approaches its limit by a constant factor a step, extrapolated, and the relative error."""
    if len(answers) < 2:
        return answers[-1], np.inf
    last, size = answers[-1] - answers[-2], np.abs(answers[-1])
    if len(answers) < 3:
        return answers[-1], float(np.max(np.abs(last) / size))
    before = answers[-2] - answers[-3]
    factor = np.divide(last, before, out=np.zeros_like(last), where=before != 0)
    steady = (factor > 0) & (factor < 0.5)
    rest = np.where(steady, last * factor / (1 - np.where(steady, factor, 0)), 0)
    return answers[-1] + rest, float(np.max(np.abs(np.where(steady, rest, last)) / size))


def _functions(a: float, second: float, quadrature: float, size: int) -> tuple[np.ndarray, ...]:
    """Gauss-Jacobi points and weights for the drift, and values and slopes of the polynomials there."""
    from scipy.special import roots_jacobi  # slow to import

    nodes, weights = roots_jacobi(size + size // 2 + 20, a - 1, quadrature)
    return nodes, weights, *_polynomials(a / 2, second, nodes, size)


def _polynomials(first: float, second: float, x: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Orthonormal Jacobi polynomials and their derivatives, `(size, len(x))`, by their recurrence."""
    n, total = np.arange(size, dtype=float), first + second
    middle = (second**2 - first**2) / ((2 * n + total) * (2 * n + total + 2) + (n == 0) * (total == 0))
    middle[0] = (second - first) / (total + 2)
    k = n[1:]
    with np.errstate(divide="ignore", invalid="ignore"):
        off = 4 * k * (k + first) * (k + second) * (k + total) / ((2 * k + total) ** 2 * ((2 * k + total) ** 2 - 1))
    if size > 1:
        off[0] = 4 * (1 + first) * (1 + second) / ((2 + total) ** 2 * (3 + total))
    off = np.sqrt(off)
    values, slopes = np.zeros((2, size, len(x)))
    values[0] = 1 / _first(first, second, 1)[0]
    for i in range(size - 1):
        values[i + 1] = (x - middle[i]) * values[i] - (off[i - 1] * values[i - 1] if i else 0)
        slopes[i + 1] = values[i] + (x - middle[i]) * slopes[i] - (off[i - 1] * slopes[i - 1] if i else 0)
        values[i + 1] /= off[i]
        slopes[i + 1] /= off[i]
    return values, slopes


def _first(first: float, second: float, size: int) -> np.ndarray:
    """The integrals of the orthonormal polynomials with their weight: only the first has one."""
    from scipy.special import gammaln

    log = (first + second + 1) * np.log(2) + gammaln(first + 1) + gammaln(second + 1) - gammaln(first + second + 2)
    return np.eye(1, size)[0] * np.exp(log / 2)


def _log_gammas(above: tuple[float, ...], below: tuple[float, ...], size: int) -> np.ndarray:
    """log of the product of Gamma(n + above) over that of Gamma(n + below), n from 0."""
    from scipy.special import gammaln

    n = np.arange(size)
    return np.sum([gammaln(n + c) for c in above], 0) - np.sum([gammaln(n + c) for c in below], 0)


def _free_side(a: float, place: float) -> tuple[float, float]:
    """Without drift: the probability of leaving (-1, 1) upwards, and c in its derivative `c (1 - x^2)^(a/2 - 1)` (Blumenthal,
    Getoor, Ray, Trans. Amer. Math. Soc. 99, 1961)."""
    from scipy.special import betainc, gamma

    return float(betainc(a / 2, a / 2, (1 + place) / 2)), float(gamma(a) / gamma(a / 2) ** 2 * 2 ** (1 - a))


def _law(alpha: Checked, epsilon: Checked) -> tuple[float, float]:
    return (
        as_real("alpha", errors.stability_index(alpha), alpha),
        as_real("epsilon", errors.positive("epsilon", epsilon, "epsilon=0.1"), epsilon),
    )
