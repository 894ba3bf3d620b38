"""The symmetric stable law's tail, and a rational fit of its inverse, from which one random word
makes one draw.

Notation: a the stability index, X a SaS(1) variable, p = P(|X| > x), t = sqrt(p), C_a the Lévy
constant.

    x = (1 - p) p^(-1/a) R(t),   R(0) = (2 C_a / a)^(1/a),   R(1) = pi / (2 Gamma(1 + 1/a))

With both ends of the law taken out, R varies by less than a factor ten and is smooth in t. A
quotient of two polynomials in t is fitted to it on the host, in float64, from the tail by
quadrature: reweighted linear least squares on Chebyshev columns (Sanathanan and Koerner, IEEE
Trans. Automat. Control 8, 1963), the weights driven towards the largest error (Lawson 1961). The
tail is Zolotarev's integral (One-dimensional stable distributions, 1986), over the angle of the
Chambers-Mallows-Stuck draw.
"""

import functools
import math

import numpy as np

# the range of alpha where the fit reaches TOLERANCE; beyond it R bends too sharply
FITTED = (0.7, 1.95)
TOLERANCE = 5e-5  # largest relative error of a draw: a histogram would need 10^8 draws to show it
_DEGREES = range(4, 9)
_ROUNDS = 30
# the integrand is a step at a = 1: within this distance the tail is interpolated in a
_NEAR_CAUCHY = 0.02


def stable_tail(alpha: float, x: np.ndarray) -> np.ndarray:
    """`P(|X| > x)` for SaS(1) and `x > 0`, shape `(n,)`, to about 1e-9 relative to itself."""
    x = np.asarray(x, dtype=float)
    if abs(alpha - 1) >= _NEAR_CAUCHY:
        return _zolotarev(alpha, x)
    # none within 0.015 of 1
    nodes = 1 + 3 * _NEAR_CAUCHY * np.cos(np.pi * (np.arange(6) + 0.5) / 6)
    values = [np.log(_zolotarev(node, x)) for node in nodes]
    basis = [np.prod([(alpha - m) / (node - m) for m in nodes if m != node]) for node in nodes]
    return np.exp(np.tensordot(basis, values, 1))


def _zolotarev(alpha: float, x: np.ndarray) -> np.ndarray:
    """X = A(angle) E^((a-1)/a) with E exponential, so the tail is an expectation over the angle;
    tanh-sinh quadrature."""
    power = alpha / (alpha - 1)
    pole, centre, weight = _angles(int(600 * max(1.0, abs(power) / 2)))
    sine = np.sin(
        np.pi * np.where(alpha * centre > 0.5, (1 - alpha / 2) + alpha * pole, alpha * centre)
    )
    turn = abs(1 - alpha)
    cosine = np.sin(np.pi * ((1 - turn) / 2 + turn * pole))
    log_a = np.log(sine) + ((1 - alpha) * np.log(cosine) - np.log(np.sin(np.pi * pole))) / alpha

    def tail(log_x: float) -> float:
        z = np.exp(np.clip((log_x - log_a) * power, -700, 700))
        return 2 * float(np.sum(weight * (np.exp(-z) if alpha > 1 else -np.expm1(-z))))

    return np.array([tail(value) for value in np.log(x).ravel()]).reshape(x.shape)


@functools.lru_cache(maxsize=4)
def _angles(count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distance to the pole and to the centre, in units of pi, and weights: fine near both ends of
    (0, 1/2)."""
    s, step = np.linspace(-4, 4, count, retstep=True)
    u = np.pi * np.sinh(s)
    pole, centre = 0.5 / (1 + np.exp(-u)), 0.5 / (1 + np.exp(u))
    return pole, centre, 2 * np.pi * step * np.cosh(s) * pole * centre


@functools.lru_cache(maxsize=1024)
def fit_quantile(alpha: float) -> np.ndarray:
    """Coefficients of R's numerator and denominator in powers of t, lowest first, shape `(2, 9)`;
    zeros where a lower degree is better. The degree is that of the smallest error in float32: that
    of the fit and of evaluating it.

    Raises ValueError outside `FITTED`, and RuntimeError if the fit should miss `TOLERANCE`.
    """
    if not FITTED[0] <= alpha <= FITTED[1]:
        raise ValueError(f"alpha = {alpha:g} lies outside the fitted range {FITTED}.")
    t, ratio = _samples(alpha)
    smallest, best = min((_fit(t, ratio, degree) for degree in _DEGREES), key=lambda pair: pair[0])
    if smallest > TOLERANCE:
        raise RuntimeError(
            f"the fit of the stable quantile at alpha = {alpha:g} is off by {smallest:.1e}."
        )
    return best


def _fit(t: np.ndarray, ratio: np.ndarray, degree: int) -> tuple[float, np.ndarray]:
    """Largest relative error in float32 and coefficients, for numerator and denominator of one
    degree."""
    basis = np.polynomial.chebyshev.chebvander(2 * t - 1, degree)
    weight, below, smallest, best = (
        np.ones_like(t),
        np.ones_like(t),
        math.inf,
        np.zeros((2, _DEGREES[-1] + 1)),
    )
    for _ in range(_ROUNDS):
        rows = (
            np.concatenate([basis / ratio[:, None], -basis[:, 1:]], 1) * (weight / below)[:, None]
        )
        found = np.linalg.lstsq(rows, weight / below, rcond=None)[0]
        parts = found[: degree + 1], np.concatenate([[1.0], found[degree + 1 :]])
        below = np.abs(basis @ parts[1]) + 1e-12
        error = np.abs(basis @ parts[0] / below / ratio - 1)
        if (basis @ parts[1] > 0).all():
            powers = np.stack([_powers(part) for part in parts])
            total = error.max() + _rounding(powers, t)
            if total < smallest:
                smallest, best[:, : degree + 1], best[:, degree + 1 :] = total, powers, 0
        weight = np.maximum(weight * np.sqrt(error + 1e-12), 1e-12)
        weight = np.maximum(weight / weight.max(), 1e-3)
    return smallest, best


def _powers(part: np.ndarray) -> np.ndarray:
    """A Chebyshev series in `2 t - 1` as powers of t."""
    coefficients = np.polynomial.chebyshev.cheb2poly(part)
    found = coefficients[-1:]
    for coefficient in coefficients[-2::-1]:  # Horner's scheme in 2 t - 1
        found = np.convolve(found, [-1.0, 2.0])
        found[0] += coefficient
    return np.pad(found, (0, len(part) - len(found)))


def _rounding(powers: np.ndarray, t: np.ndarray) -> float:
    """Relative rounding error of the quotient in float32: that of each sum grows as its terms
    cancel."""
    size = np.polynomial.polynomial.polyval(t, np.abs(powers).T)
    return 2.0**-24 * float(
        np.max(size / np.abs(np.polynomial.polynomial.polyval(t, powers.T)), axis=1).sum()
    )


def _samples(alpha: float) -> tuple[np.ndarray, np.ndarray]:
    """t and R(t) at points that follow x, both ends included."""
    limit = (
        math.gamma(1 + alpha) * math.sin(math.pi * min(alpha, 2 - alpha) / 2) / math.pi * 2 / alpha
    )
    far = (limit * 2.0**36) ** (1 / alpha)
    x = np.concatenate(
        [np.geomspace(3e-3, 1, 60)[:-1], np.geomspace(1, 30, 90)[:-1], np.geomspace(30, far, 90)]
    )
    x = x[x <= far]
    p = stable_tail(alpha, x)
    t = np.concatenate([[1.0], np.sqrt(p), [0.0]])
    inner = x * p ** (1 / alpha) / (1 - p)
    ends = math.pi / (2 * math.gamma(1 + 1 / alpha)), limit ** (1 / alpha)
    return t, np.concatenate([[ends[0]], inner, [ends[1]]])
