"""The covariance of the examples' gradients at a point, and how it lies to the Hessian.

Notation: `g_i` the gradient of example i, g their mean, `C1 = 1/n sum_i (g_i - g)(g_i - g)'`; a
minibatch of B different examples has the covariance `C_B = C1/B (n - B)/(n - 1)`. C1 is known by
its diagonal, exact, and its largest eigenpairs; it is never formed in more than 256 dimensions, and
neither are the n gradients together.

Near the minimum of a negative log-likelihood that fits the data `C1 ~ H` (Xie, Sato, Sugiyama, ICLR
2021); how far it is so:

    cosine      tr(C1 H) / sqrt(tr C1^2 tr H^2)      1 when proportional
    factor      tr(C1 H) / tr H^2                    c of the nearest c H
    along       u_j' C1 u_j against lambda_j         noise along the Hessian's sharpest directions
    overlap     |U' V|^2 / k                         of the two spans of k directions, k/d for
                random ones

`tr(C1 H) = sum_j lambda_j u_j' C1 u_j + mean_i (g_i - g)' H' (g_i - g)`, H' without the largest
eigenvalues: the sum is exact, the mean over all examples or over a random part.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from levysde.networks.curvature import (
    DENSE,
    Product,
    Spectrum,
    mean_estimate,
    random_sums,
    top_eigenpairs,
)
from levysde.results import Result
from levysde.stats import Estimate
from levysde.tables import Table, listed

_PROBES = 16  # sign vectors for tr C1^2 beyond the largest eigenvalues
_ROUNDING = 1e-6  # eigenvalues below this share of the largest are none


def batch_factor(num_examples: int, batch_size: int) -> float:
    """`C_B / C1` for batches of different examples."""
    return (num_examples - batch_size) / ((num_examples - 1) * batch_size)


@dataclass(frozen=True, repr=False)
class GradientCovariance(Result):
    """C1 in low rank.

    Attributes:
        variance: the diagonal of C1, exact, gradient units squared, shape `(d,)`.
        eigenvalues: the largest, falling, shape `(r,)`.
        vectors: their eigenvectors, columns, shape `(d, r)`.
        squares: tr C1^2, with the interval of its random part.
        mean: g, weight decay left out, shape `(d,)`.
        num_examples: n.
    """

    variance: np.ndarray = field(repr=False)
    eigenvalues: np.ndarray
    vectors: np.ndarray = field(repr=False)
    squares: Estimate
    mean: np.ndarray = field(repr=False)
    num_examples: int

    @property
    def trace(self) -> float:
        return float(self.variance.sum())

    @property
    def trace_share(self) -> float:
        """Which share of the trace the eigenvalues hold."""
        return float(self.eigenvalues.sum() / self.trace)

    @property
    def effective_rank(self) -> float:
        """`(tr C1)^2 / tr C1^2`: how many equal directions would spread the noise as much."""
        return self.trace**2 / self.squares.value

    def batch_factor(self, batch_size: int) -> float:
        """`C_B / C1` for batches of different examples."""
        return batch_factor(self.num_examples, batch_size)

    def _table(self) -> Table:
        return Table("GradientCovariance", [("examples", f"{self.num_examples:,}"), *self._rows()])

    def _rows(self) -> list[tuple[str, str]]:
        return [
            ("trace of C1 (one example)", f"{self.trace:.4g}"),
            (
                "largest eigenvalues of C1",
                f"{listed(self.eigenvalues, '.3g', 4)}, {self.trace_share:.0%} of the trace",
            ),
            ("effective rank of C1", f"{self.effective_rank:.3g}"),
            ("coordinates without noise", f"{int(np.sum(self.variance == 0)):,}"),
        ]


@dataclass(frozen=True, repr=False)
class Alignment(Result):
    """How C1 lies to the Hessian (see the top of this file).

    Attributes:
        cosine, factor: with intervals of all that was drawn; of no width where nothing was.
        curvature, noise: `lambda_j` and `u_j' C1 u_j`, shape `(k,)`.
        overlap, chance: of the spans of the largest directions, and what random ones would have.
    """

    cosine: Estimate
    factor: Estimate
    curvature: np.ndarray
    noise: np.ndarray
    overlap: float
    chance: float

    def _table(self) -> Table:
        return Table("Alignment", self._rows())

    def _rows(self) -> list[tuple[str, str]]:
        return [
            ("cosine of C1 and Hessian", f"{self.cosine}, 1 when proportional"),
            ("C1 over Hessian, nearest factor", f"{self.factor}"),
            (
                "overlap of their largest directions",
                f"{self.overlap:.3g} (random: {self.chance:.2g})",
            ),
        ]


def gradient_covariance(
    product: Product,
    variance: np.ndarray,
    mean: np.ndarray,
    num_examples: int,
    count: int,
    seed: int,
    confidence: float,
) -> GradientCovariance:
    """From `product(v) = C1 v`, its diagonal, and the mean gradient; `count` eigenpairs."""
    dim = len(variance)
    rng = np.random.default_rng(seed)
    if dim <= DENSE:
        matrix = np.stack([product(axis) for axis in np.eye(dim)])
        values, vectors = (part[..., ::-1] for part in np.linalg.eigh((matrix + matrix.T) / 2))
        total = float((values**2).sum())
        squares = Estimate(total, total, total, confidence)
        values, vectors = values[:count], vectors[:, :count]
    else:
        values, vectors = top_eigenpairs(product, dim, min(count, num_examples - 1), rng)
        _, squares, _ = random_sums(product, values, vectors, _PROBES, rng, confidence)
    kept = values > _ROUNDING * values.max(initial=0.0)
    return GradientCovariance(
        variance, values[kept].copy(), vectors[:, kept].copy(), squares, mean, num_examples
    )


def alignment(
    hessian: Spectrum,
    covariance: GradientCovariance,
    product: Product,
    curved: Callable[[int], tuple[np.ndarray, float]],
    examples: int,
    seed: int,
    confidence: float,
) -> Alignment:
    """`product(v) = C1 v`, `curved(i)` is `g_i - g` and its `(g_i - g)' H (g_i - g)`; so many
    `examples` are drawn."""
    n = covariance.num_examples
    whole = examples >= n
    drawn = (
        np.arange(n) if whole else np.random.default_rng(seed).choice(n, examples, replace=False)
    )
    vectors = hessian.vectors
    sharpest = hessian.largest[: vectors.shape[1]]
    noise = np.array([u @ product(u) for u in vectors.T])
    values = []
    for i in drawn:
        apart, value = curved(int(i))
        values.append(value - sharpest @ (vectors.T @ apart) ** 2)
    joint = mean_estimate(np.array(values), confidence, float(sharpest @ noise))
    if whole:
        joint = Estimate(joint.value, joint.value, joint.value, confidence)
    k = min(vectors.shape[1], covariance.vectors.shape[1])
    overlap = (
        float(np.sum((vectors[:, :k].T @ covariance.vectors[:, :k]) ** 2) / k)
        if k
        else float("nan")
    )
    size = float(np.sqrt(covariance.squares.value * hessian.squares.value))
    return Alignment(
        cosine=_over(
            joint, size, _relative(covariance.squares) / 2, _relative(hessian.squares) / 2
        ),
        factor=_over(joint, hessian.squares.value, _relative(hessian.squares)),
        curvature=hessian.largest[: len(noise)],
        noise=noise,
        overlap=overlap,
        chance=k / len(vectors),
    )


def _relative(estimate: Estimate) -> float:
    return (estimate.high - estimate.low) / 2 / estimate.value


def _over(estimate: Estimate, by: float, *errors: float) -> Estimate:
    """The quotient, with the relative errors of what stands below joined in quadrature."""
    value = estimate.value / by
    half = float(
        np.hypot(
            (estimate.high - estimate.low) / 2 / by, value * np.sqrt(np.sum(np.square(errors)))
        )
    )
    return Estimate(value, value - half, value + half, estimate.confidence)
