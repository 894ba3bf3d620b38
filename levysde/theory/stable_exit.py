"""Exit of a one-dimensional or radial SDE under symmetric stable noise: the nonlocal equation.
Float64.

`dX = b(X) dt + epsilon dL + sqrt(2D) dW` leaves an interval, or with isotropic L, D = 0 and a
radial drift a ball, mostly by a jump across the edge. What it collects until then solves
`b u' + epsilon^a A u + D u'' = -f` inside and is given on the whole outside, where
`A = -(-Laplacian)^(a/2)`: f = 1 for the mean exit time, f = 2u for its second moment. On an
interval it is solved by piecewise polynomials (`levysde.theory.graded_exit`). On the unit ball
of dimension d, with `z = 2 r^2 - 1`,

    A [(1 - r^2)^(a/2) P_n^(a/2, d/2-1)(z)] = -mu_n P_n^(a/2, d/2-1)(z),
    mu_n = 2^a Gamma(a/2 + n + 1) Gamma((d + a)/2 + n) / (n! Gamma(d/2 + n))

(Dyda, Kuznetsov, Kwasnicki, Constr. Approx. 45, 2017), so in these functions, tested against
themselves, A is diagonal and the drift a matrix of Gauss-Jacobi sums. The number of functions is
doubled; the answers approach their limit as a power of it, since the drift makes other powers of
the distance from the edge, and the limit is extrapolated (Aitken).
"""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from scipy.special import gammaln, roots_jacobi

from levysde import errors
from levysde.results import Result
from levysde.tables import Table
from levysde.theory.first_passage import as_values
from levysde.theory.graded_exit import solve_interval
from levysde.theory.law import Answers
from levysde.types import Arg, Integer, Number, Numbers

_SIZES = (32, 64, 128, 256, 512)
_AGREE = 1e-9  # relative change at which the size is not doubled again
_TOLERANCE = 1e-3  # largest relative error at which an answer is given
_MODES = 256  # of a survival curve
_NEAREST = 1e-12  # to an end, of half the interval, for a start: the distance itself is rounded
_SHORTEST = 1e-6  # lives, beside the longest, that a survival curve has


@dataclass(frozen=True, repr=False)
class StableExit(Result, Answers):
    """When and where a path first leaves an interval or a ball, as `stable_exit` and
    `stable_ball_exit` give it.

    Attributes:
        mean: of the exit time, in the time of the equation.
        second_moment: of the exit time, in that time squared.
        upper_probability: of leaving beyond the upper end of an interval; NaN for a ball.
        error: estimated error, the largest: relative for the moments, absolute for the probability.
        unit: of time, that of the equation.
        name: of the reference.
        assumptions: when it is that of a run.
        start: the place that the mean is for; None where it was not recorded.
    """

    mean: float
    second_moment: float
    upper_probability: float
    error: float
    _system: tuple[np.ndarray, ...] = field(repr=False, compare=False)
    is_exact = True
    unit: str = "SDE time"
    name: str = "the nonlocal equation, exact"
    assumptions: tuple[str, ...] = (
        "the drift and the noise of the equation are those of the run, and so is its start",
    )
    start: float | None = None

    @property
    def log_rate(self) -> float:
        """Minus the logarithm of the mean."""
        return -math.log(self.mean)

    def relative_error(self, confidence: float) -> float:
        """Of the mean's computation, the whole of it at any confidence."""
        return self.error

    def survival(self, times: Arg[Numbers]) -> np.ndarray:
        """Probability of being inside at `times`, `(n,)`, `>= 0`; to about 1e-3 for times beyond a
        hundredth of the mean.

        Raises RuntimeError where its mean is not that of the equation: a strong outward drift."""
        t = errors.reals("times", times)
        if (t < 0).any():
            raise ValueError(
                f"times must not be negative, not {t.min():g}. For example times=[1.0, 2.0]."
            )
        lives, weights = self._modes
        return np.real(np.exp(-np.multiply.outer(t, 1 / lives)) @ weights)

    @property
    def decay_rate(self) -> float:
        """The rate at which survival falls in the end, a unit of time."""
        return float(np.real(1 / self._modes[0]).min())

    @functools.cached_property
    def _modes(self) -> tuple[np.ndarray, np.ndarray]:
        """Lives and weights of the exponentials whose sum is the survival: of the inverse, whose
        large eigenvalues are exact where the operator's own drown in those of the smallest
        elements."""
        operator, mass, one, at_start = self._system
        scale = 1 / np.sqrt(np.abs(np.diag(operator)))
        inverse = -np.linalg.inv(operator * np.multiply.outer(scale, scale))
        lives, vectors = np.linalg.eig(inverse @ (mass * np.multiply.outer(scale, scale)))
        weights = ((at_start * scale) @ vectors) * np.linalg.solve(
            vectors, (inverse @ (one * scale)).astype(complex)
        )
        kept = np.real(lives) > _SHORTEST * np.abs(lives).max()
        lives, means = lives[kept], weights[kept]
        off = abs(float(np.real(means.sum())) / self.mean - 1)
        if off > 5 * _TOLERANCE:
            raise RuntimeError(
                f"the survival curve did not converge: its mean is off by {off:.1e} of itself. A "
                "drift that carries paths out against little noise has no stable modes: simulate, "
                "or take a larger epsilon."
            )
        return lives, means / lives

    def _table(self) -> Table:
        return Table(
            "StableExit",
            [
                ("mean exit time", f"{self.mean:.6g}"),
                ("root of its second moment", f"{self.second_moment**0.5:.6g}"),
                (
                    "probability of the upper end",
                    f"{self.upper_probability:.6g}"
                    if self.upper_probability == self.upper_probability
                    else "none: a ball",
                ),
                ("estimated error", f"{self.error:.2g}"),
            ],
        )


def stable_exit(
    drift: Arg[Callable[[np.ndarray], np.ndarray]],
    *,
    alpha: Arg[Number],
    epsilon: Arg[Number],
    start: Arg[Number],
    lower: Arg[Number],
    upper: Arg[Number],
    diffusion: Arg[Number] = 0.0,
) -> StableExit:
    """Exit of `dX = b(X) dt + epsilon dL + sqrt(2D) dW` from an interval, L symmetric stable: the
    nonlocal equation, solved.

    `E exp(i k L_1) = exp(-|k|^alpha)`. A path leaves mostly by a jump across an end.

    Args:
        drift: b, from points `(n,)` to values `(n,)`, float64; smooth on the interval.
        alpha: stability index, in (0, 2]; 2 is Brownian motion of variance 2t.
        epsilon: noise amplitude, positive.
        start: where the path starts, between the ends; by 1e-12 of half the interval at least.
        lower: the lower end of the interval.
        upper: the upper end of the interval.
        diffusion: D, not negative; 0 by default, without a Gaussian part.

    Returns:
        Mean, second moment and side of the exit, in the time of the equation, and its survival
        curve.

    Raises:
        TypeError: a drift that cannot be called, or a number that is traced by JAX.
        ValueError: numbers out of range or order; a drift that is not finite or not of the shape of
            its argument.
        RuntimeError: the method did not converge, to 1e-3: a drift that is not smooth, noise too
            small beside it, or a Gaussian barrier too high for float64 (`first_passage` has no such
            limit).

    Source:
        this package: piecewise polynomials on a graded mesh (`levysde.theory.graded_exit`), for
        the equation of a mean exit time `b u' + epsilon^alpha A u + D u'' = -1`, A the fractional
        Laplacian; checked against Getoor (1961) at b = 0.
    """
    b, a, eps = errors.function("drift", drift), *_law(alpha, epsilon)
    gauss = errors.real("diffusion", diffusion, "diffusion=0.0")
    if gauss < 0:
        raise ValueError(
            f"diffusion = {gauss:g} must not be negative. Type diffusion=0.0 for none."
        )
    x, low, high = (
        errors.real(name, value, f"{name}=0.0")
        for name, value in (("start", start), ("lower", lower), ("upper", upper))
    )
    if not low < x < high:
        raise ValueError(
            f"start = {x:g} must lie between lower = {low:g} and upper = {high:g}. Give lower < "
            "start < upper."
        )
    half = (high - low) / 2
    if min(x - low, high - x) < _NEAREST * half:
        raise ValueError(
            f"start = {x!r} is nearer to an end than {_NEAREST:g} of half the interval, where its "
            "distance is lost in rounding. Start further in."
        )

    def velocity(below: np.ndarray, above: np.ndarray) -> np.ndarray:
        return (
            as_values("drift", b, np.where(below < above, low + half * below, high - half * above))
            / half
        )

    start_at = ((x - low) / half, (high - x) / half)
    value, error, system = solve_interval(velocity, a, (eps / half) ** a, gauss / half**2, start_at)
    if not error < _TOLERANCE or min(value[:2]) <= 0:
        raise RuntimeError(
            "the mean exit time did not converge: at the finest mesh tried it still moves by "
            f"{error:.1e} of itself. Is the drift smooth, and the noise not too small beside it? "
            "Take a larger epsilon, or simulate"
            + ("; without jumps first_passage(...) has no such limit." if a == 2 or gauss else ".")
        )
    return StableExit(
        float(value[0]), float(value[1]), float(np.clip(value[2], 0, 1)), error, system
    )


def stable_ball_exit(
    drift: Arg[Callable[[np.ndarray], np.ndarray]],
    *,
    alpha: Arg[Number],
    epsilon: Arg[Number],
    dim: Arg[Integer],
    start: Arg[Number] = 0.0,
    radius: Arg[Number] = 1.0,
) -> StableExit:
    """Exit of `dX = b(|X|) X/|X| dt + epsilon dL` from a ball about 0, L isotropic stable: the
    nonlocal equation, solved.

    `E exp(i <k, L_1>) = exp(-|k|^alpha)`.

    Args:
        drift: b, the outward speed, from distances `(n,)` to values `(n,)`, float64; `lambda r: -r`
            for a quadratic well.
        alpha: stability index, in (0, 2]; 2 is Brownian motion of variance 2t.
        epsilon: noise amplitude, positive.
        dim: d, the dimension.
        start: distance from the centre, at least 0 and below the radius; 0 by default.
        radius: of the ball, positive; 1 by default.

    Returns:
        Mean and second moment of the exit time, in the time of the equation, and its survival
        curve.

    Raises:
        ValueError, TypeError: as `stable_exit`.
        RuntimeError: the method did not converge, to 1e-3: noise too small beside the drift, or for
            alpha < 1 a drift that points inwards at the edge.

    Source:
        eigenfunctions of the fractional Laplacian on a ball: Dyda, Kuznetsov, Kwasnicki, Constr.
        Approx. 45 (2017).
    """
    b, a, eps = errors.function("drift", drift, "drift=lambda r: -r"), *_law(alpha, epsilon)
    d = errors.integer("dim", dim)
    r, edge = errors.real("start", start), errors.real("radius", radius)
    if not 0 <= r < edge:
        raise ValueError(
            f"start = {r:g} must be a distance from the centre below radius = "
            f"{edge:g}. Type start=0.0."
        )

    def system(size: int) -> tuple[np.ndarray, ...]:
        nodes, weights = roots_jacobi(size + size // 2 + 20, a - 1, d / 2 - 1)
        values, slopes = _polynomials(a / 2, d / 2 - 1, nodes, size)
        distance = np.sqrt((1 + nodes) / 2)
        speed = as_values("drift", b, edge * distance) / edge * distance
        weights = weights * 2 ** (1 - a / 2)
        carried = (values * (weights * speed)) @ (2 * (1 - nodes) * slopes - a * values).T
        n = np.arange(size)
        above, below = gammaln(n + a / 2 + 1) + gammaln(n + (d + a) / 2), gammaln(n + 1)
        rates = (2 * eps / edge) ** a * np.exp(above - (below + gammaln(n + d / 2)))
        mass = (values * (weights * (1 - nodes) / 2)) @ values.T
        return carried - np.diag(rates), mass, _first(a / 2, d / 2 - 1, size)

    def at(size: int) -> np.ndarray:
        z = np.array([2 * (r / edge) ** 2 - 1])
        return (1 - (r / edge) ** 2) ** (a / 2) * _polynomials(a / 2, d / 2 - 1, z, size)[0][:, 0]

    return _extrapolated(system, at, a)


def _extrapolated(system: Callable, at: Callable, alpha: float) -> StableExit:
    """Answers at doubled sizes, and their limit."""
    answers, best = [], None
    for size in _SIZES:
        operator, mass, one = system(size)
        weights = at(size)
        mean = np.linalg.solve(operator, -one)
        answers.append(
            np.array([weights @ mean, weights @ np.linalg.solve(operator, -2 * mass @ mean)])
        )
        if size <= _MODES:
            modes = operator, mass, one, weights
        value, error = _limit(answers)
        if best is None or error < best[1]:
            best = value, error
        if error < _AGREE:
            break
    assert best is not None
    value, error = best
    if not error < _TOLERANCE or min(value) <= 0:
        raise RuntimeError(
            f"the mean exit time did not converge: with {_SIZES[-1]} functions it still moves by "
            f"{error:.1e} of itself. The noise is too small beside the drift for this method: "
            "take a larger epsilon, or simulate"
            + (
                ", or the drift points inwards at the edge, where for alpha < 1 the answer jumps."
                if alpha < 1
                else "."
            )
        )
    return StableExit(float(value[0]), float(value[1]), float("nan"), error, modes)


def _limit(answers: list[np.ndarray]) -> tuple[np.ndarray, float]:
    """The last of a sequence that approaches its limit by a constant factor a step, extrapolated,
    and the relative error."""
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


def _polynomials(
    first: float, second: float, x: np.ndarray, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Orthonormal Jacobi polynomials and their derivatives, `(size, len(x))`, by their
    recurrence."""
    n, total = np.arange(size, dtype=float), first + second
    middle = (second**2 - first**2) / (
        (2 * n + total) * (2 * n + total + 2) + (n == 0) * (total == 0)
    )
    middle[0] = (second - first) / (total + 2)
    k = n[1:]
    with np.errstate(divide="ignore", invalid="ignore"):
        off = (
            4
            * k
            * (k + first)
            * (k + second)
            * (k + total)
            / ((2 * k + total) ** 2 * ((2 * k + total) ** 2 - 1))
        )
    if size > 1:
        off[0] = 4 * (1 + first) * (1 + second) / ((2 + total) ** 2 * (3 + total))
    off = np.sqrt(off)
    values, slopes = np.zeros((2, size, len(x)))
    values[0] = 1 / _first(first, second, 1)[0]
    for i in range(size - 1):
        values[i + 1] = (x - middle[i]) * values[i] - (off[i - 1] * values[i - 1] if i else 0)
        slopes[i + 1] = (
            values[i] + (x - middle[i]) * slopes[i] - (off[i - 1] * slopes[i - 1] if i else 0)
        )
        values[i + 1] /= off[i]
        slopes[i + 1] /= off[i]
    return values, slopes


def _first(first: float, second: float, size: int) -> np.ndarray:
    """The integrals of the orthonormal polynomials with their weight: only the first has one."""

    log = (
        (first + second + 1) * np.log(2)
        + gammaln(first + 1)
        + gammaln(second + 1)
        - gammaln(first + second + 2)
    )
    return np.eye(1, size)[0] * np.exp(log / 2)


def _law(alpha: Arg[Number], epsilon: Arg[Number]) -> tuple[float, float]:
    return (
        errors.real_index(alpha),
        errors.positive_real("epsilon", epsilon),
    )
