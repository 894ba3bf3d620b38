"""Where SGD rests around a minimum: exact covariances of the algorithm with momentum, and the tail
index of linear regression. Of the algorithm, not of an equation. Float64.

On a quadratic loss of Hessian H, w measured from its minimum, the gradient `g = H w + n` with noise
n of covariance C, drawn anew each iteration, mu the momentum:

    m <- mu m + g,    w <- w - eta m,    with Nesterov's look-ahead  w <- w - eta (g + mu m)

(the raw convention of `optax.sgd` and PyTorch; momentum that averages gradients is the same at the
learning rate eta (1 - mu), its m smaller by 1 - mu). It is stable while `eta h < 2 (1 + mu)`, or
with the look-ahead `eta h < 2 (1 + mu) / (1 + 2 mu)`, for every curvature h. Then the covariance of
(w, m) is that X with `X = A X A' + B C B'`, A and B the step's matrices. In one dimension, heavy
ball,

    Var w = eta C / (h (1 - mu) (2 - eta h / (1 + mu)))

(Liu, Ziyin, Ueda, ICML 2021). C need not commute with H: in the eigenvectors of H each pair of
modes has its own equation, linear in C_ij: accurate at small learning rates, and fast to solve.

Linear regression with fresh inputs `a ~ N(0, A)` and labels of noise variance s^2 has H = A and a
noise that grows with w. Averaged over w of covariance V, for a batch of B (Isserlis' theorem;
Ziyin, Liu, Mori, Ueda, ICLR 2022),

    C = (A V A + tr(A V) A + s^2 A) / B.

Tail index. `x <- M x + q`, `M = I - (eta/B) sum_i a_i a_i'`, with B fresh inputs
`a_i ~ N(0, s^2 I_d)` an iteration and any label noise of light tails. Stationary solutions have
`P(|x| > r) ~ C r^-alpha`, alpha the positive root of (Kesten, Acta Math. 131, 1973)

    lim_n (E ||M_n ... M_1||^alpha)^(1/n) = E |M e|^alpha = 1,   |e| = 1.

The first equality is exact here: the law of M is invariant under rotations, so
`log |M_n ... M_1 e|` is a sum of n independent terms with the law of `log |M e|`, whatever e.
The inputs enter along e and across it only. With `c = eta s^2 / B`, X ~ chi-square(B) and an
independent
Y ~ chi-square(d - 1), 0 for d = 1,

    |M e|^2 = (1 - c X)^2 + c^2 X Y

(Gurbuzbalaban, Simsekli, Zhu, ICML 2021, for Gaussian inputs). A stationary law exists iff
`E log |M e| < 0`.

What is exactly true. alpha depends on (c, B, d), not on eta/B alone. X is unbounded, so alpha is
finite for every eta: the tail is always a power. Where alpha >= 1, it falls strictly as eta or s
grows (|M e|^alpha is convex in c, and 1 at c = 0) and rises strictly with B (Jensen: M of B inputs
is a mean of exchangeable M of B - 1). alpha = 2 exactly at `c = 2/(B + d + 1)`, from
`E |M e|^2 = 1 - 2 c B + c^2 B (B + d + 1)`.
"""

import math
from dataclasses import dataclass

import numpy as np
import scipy

from levysde import errors
from levysde.results import Result
from levysde.tables import Table, listed
from levysde.types import Arg, Integer, Number, Numbers

_LARGEST = 128.0  # above it the tail is out of reach of any sample, and of the quadrature's nodes
_RESOLVED = 1e-7  # |E log |M e|| below this is 0 to the quadrature: alpha is then below it too
_DROP = 50.0  # integrals end where the integrand is e^-50 of its largest value


@dataclass(frozen=True, repr=False)
class StationaryCovariance(Result):
    """Second moments in the stationary law of SGD, as `sgd_covariance` gives them; means are 0, w
    measured from the minimum.

    Attributes:
        position: of w, `(d, d)`.
        momentum: of m, `(d, d)`.
        cross: `E w m'`, `(d, d)`.
    """

    position: np.ndarray
    momentum: np.ndarray
    cross: np.ndarray

    @property
    def joint(self) -> np.ndarray:
        """Of (w, m), `(2d, 2d)`."""
        return np.block([[self.position, self.cross], [self.cross.T, self.momentum]])

    def _table(self) -> Table:
        return Table(
            "StationaryCovariance",
            [
                ("dimensions", f"{len(self.position)}"),
                ("variances of the position", listed(np.diag(self.position))),
                ("variances of the momentum", listed(np.diag(self.momentum))),
            ],
        )


def sgd_covariance(
    hessian: Arg[Numbers],
    gradient_covariance: Arg[Numbers],
    *,
    learning_rate: Arg[Number],
    momentum: Arg[Number] = 0.0,
    nesterov: Arg[bool] = False,
) -> StationaryCovariance:
    """The stationary covariance of SGD with momentum on a quadratic loss: of the algorithm, exact
    at any learning rate.

    `m <- mu m + H w + n`, `w <- w - eta m`, noise n of covariance C. In one dimension
    `Var w = eta C / (h (1 - mu) (2 - eta h / (1 + mu)))`.

    Args:
        hessian: H, `(d, d)`, symmetric, positive definite.
        gradient_covariance: C, the covariance of one iteration's gradient, `(d, d)`.
        learning_rate: eta, positive, with `eta h < 2 (1 + mu)` for every curvature h.
        momentum: mu, in [0, 1); 0, plain SGD, by default.
        nesterov: whether to look ahead by one step; then stable while
            `eta h < 2 (1 + mu) / (1 + 2 mu)`.

    Returns:
        The covariances of w and m.

    Raises:
        ValueError, TypeError: numbers or shapes out of range; a matrix that is not symmetric or of
            the wrong sign; a learning rate at which the algorithm is unstable.

    Source:
        Liu, Ziyin, Ueda, ICML 2021; matrices that do not commute: this package, a 4 x 4 equation
        for each pair of modes.
    """
    h, vectors = _modes("hessian", hessian)
    c = covariance("gradient_covariance", gradient_covariance, len(h))
    unit = _unit(h, *_algorithm(h, learning_rate, momentum, nesterov))
    return _back(unit * (vectors.T @ c @ vectors)[:, :, None, None], vectors)


def regression_covariance(
    input_covariance: Arg[Numbers],
    *,
    learning_rate: Arg[Number],
    batch_size: Arg[Integer],
    label_noise: Arg[Number] = 1.0,
    momentum: Arg[Number] = 0.0,
    nesterov: Arg[bool] = False,
) -> StationaryCovariance:
    """The stationary covariance of SGD on linear regression with fresh Gaussian inputs, half the
    mean square as loss.

    The noise grows with w: averaged over w of covariance V it is
    `C = (A V A + tr(A V) A + s^2 A) / B`.

    Args:
        input_covariance: A, `(d, d)`, symmetric, positive definite; `s**2 * jnp.eye(d)` for
            `LinearRegressionSGD`.
        learning_rate: eta, as in `sgd_covariance`, with A for H.
        batch_size: B, fresh pairs an iteration.
        label_noise: s, standard deviation of a label, positive; 1 by default.
        momentum: mu, in [0, 1); 0, plain SGD, by default.
        nesterov: whether to look ahead by one step.

    Returns:
        The covariances of w and m.

    Raises:
        ValueError, TypeError: as `sgd_covariance`; and where the stationary law, if there is one,
            has no finite variance.

    Source:
        Ziyin, Liu, Mori, Ueda, ICLR 2022; the average over w by Isserlis' theorem.
    """
    h, vectors = _modes("input_covariance", input_covariance)
    batch = errors.integer("batch_size", batch_size)
    variance = errors.positive_real("label_noise", label_noise) ** 2
    algorithm = _algorithm(h, learning_rate, momentum, nesterov)
    unit = _unit(h, *algorithm)
    # how much a mode's noise feeds its own variance
    own = np.einsum("ii->i", unit[:, :, 0, 0]) * h**2 / batch
    shared = np.sum(own / (1 - own)) if (own < 1).all() else np.inf  # tr(A V) / (tr(A V) + s^2)
    if shared >= 1:
        raise ValueError(
            f"learning_rate = {algorithm[0]:g} has no stationary law of finite variance: with "
            f"batch_size = {batch} the noise of the inputs multiplies itself ({shared:.3g} must "
            "stay below 1). Take a smaller learning_rate or a larger batch."
        )
    total = variance / (1 - shared)  # tr(A V) + s^2
    noise = h * total / batch / (1 - own)
    return _back(unit * np.diag(noise)[:, :, None, None], vectors)


def _algorithm(
    h: np.ndarray, learning_rate: Arg[Number], momentum: Arg[Number], nesterov: Arg[bool]
) -> tuple[float, float, bool]:
    """eta, mu and the look-ahead, checked to be stable at the curvatures h."""
    eta = errors.positive_real("learning_rate", learning_rate)
    mu = errors.real("momentum", momentum)
    if not 0 <= mu < 1:
        raise ValueError(
            f"momentum must lie in [0, 1), not {momentum!r}. For example momentum=0.9."
        )
    ahead = errors.flag("nesterov", nesterov)
    most, formula = 2 * (1 + mu), "2 (1 + momentum)"
    if ahead:
        most, formula = most / (1 + 2 * mu), "2 (1 + momentum) / (1 + 2 momentum)"
    if not eta * h[-1] < most:
        raise ValueError(
            f"learning_rate = {eta:g} is unstable: times the largest curvature {h[-1]:g} it is "
            f"{eta * h[-1]:.4g}, and must stay below {formula} = {most:.4g}. Take a learning_rate "
            f"below {most / h[-1]:.4g}."
        )
    return eta, mu, ahead


def _unit(h: np.ndarray, eta: float, mu: float, nesterov: bool) -> np.ndarray:
    """Covariances of (w_i, m_i) with (w_j, m_j) for `C_ij = 1`, shape `(d, d, 2, 2)`: a 4 x 4
    equation for each pair."""
    one = np.ones_like(h)
    pull, carry, push = (1 + mu, mu**2, 1 + mu) if nesterov else (1.0, mu, 1.0)
    step = np.stack(
        [np.stack([1 - eta * pull * h, -eta * carry * one], 1), np.stack([h, mu * one], 1)], 1
    )
    kick = np.outer([-eta * push, 1.0], [-eta * push, 1.0])
    pairs = np.einsum("iab,jcd->ijacbd", step, step).reshape(len(h), len(h), 4, 4)
    return np.linalg.solve(np.eye(4) - pairs, kick.reshape(4, 1)).reshape(len(h), len(h), 2, 2)


def _back(modes: np.ndarray, vectors: np.ndarray) -> StationaryCovariance:
    """From the eigenvectors' coordinates to the parameters'."""
    position, momentum, cross = (
        vectors @ modes[:, :, a, b] @ vectors.T for a, b in ((0, 0), (1, 1), (0, 1))
    )
    return StationaryCovariance((position + position.T) / 2, (momentum + momentum.T) / 2, cross)


def _modes(name: str, value: Arg[Numbers]) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues, ascending, and eigenvectors of a positive definite matrix."""
    values, vectors = np.linalg.eigh(symmetric(name, value))
    if not values[0] > 1e-14 * values[-1]:
        raise ValueError(
            f"{name} must be positive definite, but its smallest eigenvalue is {values[0]:.3g}: "
            "along a flat direction nothing holds the noise, and there is no stationary law. Add "
            "weight decay."
        )
    return values, vectors


def covariance(name: str, value: Arg[Numbers], dim: int) -> np.ndarray:
    """A symmetric float64 matrix `(dim, dim)` without negative eigenvalues."""
    matrix = symmetric(name, value, dim)
    smallest = float(np.linalg.eigvalsh(matrix)[0])
    if smallest < -1e-9 * float(np.abs(matrix).max()):
        raise ValueError(
            f"{name} must have no negative eigenvalue, as a covariance, but has {smallest:.3g}. "
            f"For example {name}=jnp.eye({dim})."
        )
    return matrix


def symmetric(name: str, value: Arg[Numbers], dim: int | None = None) -> np.ndarray:
    """A symmetric float64 matrix, `(dim, dim)` when that is given."""
    matrix = errors.reals(name, value, f"{name}=jnp.eye({dim or 2})")
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or (dim and len(matrix) != dim):
        shape = f"({dim}, {dim})" if dim else "(d, d)"
        raise ValueError(
            f"{name} must have shape {shape}, not {matrix.shape}. For example "
            f"{name}=jnp.eye({dim or 2})."
        )
    gap, size = float(np.abs(matrix - matrix.T).max()), float(np.abs(matrix).max())
    if gap > 1e-5 * size:  # float32 keeps seven digits
        raise ValueError(
            f"{name} must be symmetric, but differs from its transpose by {gap:.3g}. Mend it."
        )
    return (matrix + matrix.T) / 2


def kesten_index(
    *,
    dim: Arg[Integer],
    learning_rate: Arg[Number],
    batch_size: Arg[Integer],
    input_scale: Arg[Number] = 1.0,
) -> float:
    """The tail index alpha of the stationary law of `LinearRegressionSGD`:
    `P(|x| > r) ~ C r^-alpha`.

    The root of `E |M e|^alpha = 1`, to about 1e-9, by trapezoids in logarithmic variables.

    Args:
        dim: d, the dimension.
        learning_rate: eta, positive.
        batch_size: B, fresh pairs an iteration.
        input_scale: s, standard deviation of an input's coordinate, positive; 1 by default.

    Returns:
        The tail index, positive, at most 128.

    Raises:
        TypeError: an argument of another kind, or traced by JAX.
        ValueError: a number out of range; no stationary law (`E log |M e| >= 0`: the iterates grow
            without bound); or an index above 128, a tail too thin for any sample to show.

    Source:
        Kesten, Acta Math. 131 (1973); Gurbuzbalaban, Simsekli, Zhu, ICML 2021, for Gaussian inputs.
    """
    d = errors.integer("dim", dim)
    eta = errors.positive_real("learning_rate", learning_rate)
    batch = errors.integer("batch_size", batch_size)
    c = eta * errors.positive_real("input_scale", input_scale) ** 2 / batch
    growth = _Growth(c, batch, d, 4.0)
    drift = growth.mean_log()
    if drift > -_RESOLVED:
        raise ValueError(
            f"learning_rate = {eta:g} has no stationary law: E log|M e| = {drift:.3g} is not "
            "below 0, so the iterates grow without bound. Take a smaller learning_rate, for "
            f"example {_contracting(eta, c, batch, d):.2g}."
        )
    high = 4.0
    while growth.log_moment(high) <= 0:
        high *= 2
        if high > _LARGEST:
            raise ValueError(
                f"the tail index at learning_rate = {eta:g} is above {_LARGEST:g}: a power tail "
                "that no sample can show. Take a larger learning_rate."
            )
        growth = _Growth(c, batch, d, high)
    return _root(growth, high)


class _Growth:
    """Nodes of `log |M e|` with logarithms of their weights, good for moments up to `alpha`.

    The integral over x is split at 1/c, where |1 - c x| is not smooth; each piece and the integral
    over y are turned into ones over the whole line whose integrand falls exponentially, where
    trapezoids converge exponentially. A step is 0.7 of the narrowest peak, that of a gamma variable
    in its logarithm.
    """

    def __init__(self, c: float, batch: int, d: int, alpha: float):
        outer = min(0.2, 0.7 / math.sqrt(batch / 2 + alpha))
        below = np.arange(min(0.0, math.log(c * batch)) - _reach(batch / 2), _DROP, outer)
        above = np.arange(-_DROP, max(0.0, math.log(c) + _highest(batch / 2 + alpha)), outer)
        log_x = np.concatenate([-np.logaddexp(0, -below), np.logaddexp(0, above)]) - math.log(c)
        log_gap = np.concatenate([-np.logaddexp(0, below), above])  # log |1 - c x|
        # log dx/dt
        slope = np.concatenate([log_x[: len(below)] + log_gap[: len(below)], above - math.log(c)])
        weight = _log_chi_square(log_x, batch) + slope
        size = log_gap
        if d > 1:
            shape = (d - 1) / 2
            inner = min(0.2, 0.7 / math.sqrt(shape + alpha / 2))
            log_y = np.arange(
                math.log(2 * shape) - _reach(shape), _highest(shape + alpha / 2), inner
            )
            weight = weight[:, None] + (_log_chi_square(log_y, d - 1) + log_y)[None]
            across = 2 * math.log(c) + log_x[:, None] + log_y[None]
            size = np.logaddexp(2 * log_gap[:, None], across) / 2
        # the others count for no moment up to alpha
        kept = weight + alpha * np.maximum(size, 0) > -2 * _DROP
        self.size, self.weight = size[kept], weight[kept]
        self.weight = self.weight - _log_sum(self.weight)

    def mean_log(self) -> float:
        """`E log |M e|`."""
        return float(np.sum(np.exp(self.weight) * self.size))

    def log_moment(self, alpha: float) -> float:
        """`log E |M e|^alpha`: convex, 0 at 0."""
        return _log_sum(self.weight + alpha * self.size)


def _reach(shape: float) -> float:
    """How far below its mean the log of a gamma variable has fallen to a density of e^-DROP."""
    return _DROP / shape + math.sqrt(2 * _DROP / shape)


def _highest(shape: float) -> float:
    """The log of a value that a chi-square variable exceeds with probability below e^-DROP."""
    return math.log(2 * (shape + math.sqrt(2 * _DROP * shape) + _DROP))


def _log_chi_square(log_x: np.ndarray, df: int) -> np.ndarray:
    """Logarithm of the chi-square density."""
    return (df / 2 - 1) * log_x - np.exp(log_x) / 2 - df / 2 * math.log(2) - math.lgamma(df / 2)


def _log_sum(terms: np.ndarray) -> float:
    top = float(terms.max())
    return top + math.log(float(np.sum(np.exp(terms - top))))


def _root(growth: _Growth, high: float) -> float:
    low = high / 2
    while growth.log_moment(low) >= 0:
        low, high = low / 2, low
    return float(scipy.optimize.brentq(growth.log_moment, low, high, xtol=1e-12 * high))


def _contracting(eta: float, c: float, batch: int, d: int) -> float:
    """A learning rate with a stationary law: halved until `E log |M e|` is negative."""
    while True:
        eta, c = eta / 2, c / 2
        if _Growth(c, batch, d, 4.0).mean_log() < 0:
            return eta
