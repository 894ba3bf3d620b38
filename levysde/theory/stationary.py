"""Where SGD with momentum rests around a minimum: exact covariances of the algorithm, not of an
equation. Plain float64.

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
modes has an equation of its own, linear in C_ij, which keeps its digits at small learning rates and
takes a moment in hundreds of dimensions.

Linear regression with fresh inputs `a ~ N(0, A)` and labels of noise variance s^2 has H = A and a
noise that grows with w. Averaged over w of covariance V, for a batch of B (Isserlis' theorem;
Ziyin, Liu, Mori, Ueda, ICLR 2022),

    C = (A V A + tr(A V) A + s^2 A) / B.
"""

from dataclasses import dataclass

import numpy as np

from levysde import errors
from levysde.tables import Table, Tabled, listed
from levysde.types import Arg, Integer, Number, Numbers


@dataclass(frozen=True, repr=False)
class StationaryCovariance(Tabled):
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
        rows = [
            ("dimensions", f"{len(self.position)}"),
            ("variances of the position", listed(np.diag(self.position))),
            ("variances of the momentum", listed(np.diag(self.momentum))),
        ]
        return Table("StationaryCovariance", rows)


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
    c = symmetric("gradient_covariance", gradient_covariance, len(h))
    smallest = float(np.linalg.eigvalsh(c)[0])
    if smallest < -1e-9 * float(np.abs(c).max()):
        raise ValueError(
            f"gradient_covariance must be a covariance, but has the eigenvalue "
            f"{smallest:.3g}. Give one without negative ones."
        )
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
