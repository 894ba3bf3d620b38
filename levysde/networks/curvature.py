"""The Hessian of a large model by its products with vectors: ends of the spectrum, density, trace,
diagonal.

Notation: H the Hessian, `lambda_j, u_j` its largest eigenvalues with their vectors,
`H' = H - sum_j lambda_j u_j u_j'` what is left, z a vector of independent signs. Up to 256
dimensions H is formed and all is exact. Beyond:

    ends      restarted Lanczos (ARPACK, by scipy); the lower end as the upper one of `c I - H`, c
              above all eigenvalues, so that its tolerance is relative to the largest eigenvalue and
              not to a number that may be 0
    density   Lanczos from random directions: with `T = Q' H Q`, the eigenvalues of T and the
              squares of the first components of its eigenvectors are a Gauss quadrature of the
              density (Ghorbani, Krishnan, Xiao, ICML 2019)
    sums      E z'H'z = tr H', E |H'z|^2 = tr H'^2, E z * H'z = diag H' (Hutchinson 1989; Bekas,
              Kokiopoulou, Saad 2007)

Taking the largest eigenvalues out first leaves the random parts little to vary by (Meyer, Musco,
Musco, Woodruff 2021).
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from levysde.results import Result
from levysde.stats import Estimate
from levysde.tables import Table, listed

DENSE = 256  # dimensions up to which matrices are formed
_TOLERANCE = 1e-4  # of an eigenvalue, relative to the largest
_RESTARTS = 30
_DENSITY_STEPS, _DENSITY_STARTS = 48, 4

Product = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, repr=False)
class Spectrum(Result):
    """Eigenvalues of a symmetric matrix that may be known by its products only.

    Attributes:
        largest: the largest eigenvalues, falling, shape `(k,)`.
        vectors: their eigenvectors, columns, shape `(d, k)`.
        smallest: the smallest eigenvalue; where not `exact`, the smallest that was found, which is
            an upper limit of it.
        trace, squares: `tr H` and `tr H^2`, with intervals of their random parts.
        diagonal: `H_ii`, shape `(d,)`; where not `exact`, an estimate without bias, coordinate by
            coordinate noisy.
        nodes, weights: the density of the eigenvalues:
            `(1/d) sum_j phi(lambda_j) ~ sum_k weights_k phi(nodes_k)`.
        exact: whether the whole matrix was decomposed.
        products: how many products with vectors were made.
    """

    largest: np.ndarray
    vectors: np.ndarray = field(repr=False)
    smallest: float
    trace: Estimate
    squares: Estimate
    diagonal: np.ndarray = field(repr=False)
    nodes: np.ndarray = field(repr=False)
    weights: np.ndarray = field(repr=False)
    exact: bool
    products: int

    @property
    def negative_share(self) -> float:
        """The share of eigenvalues below 0, by the density; those within rounding of 0 do not
        count."""
        rounding = 1e-6 if not self.exact else 1e-12
        return float(self.weights[self.nodes < -rounding * np.abs(self.nodes).max()].sum())

    def _table(self) -> Table:
        return Table("Spectrum", self._rows())

    def _rows(self) -> list[tuple[str, str]]:
        smallest = f"{self.smallest:.4g}" if self.exact else f"{self.smallest:.4g} or less"
        return [
            ("largest eigenvalues", listed(self.largest, ".3g", 4)),
            ("smallest eigenvalue", smallest),
            ("share of negative eigenvalues", f"{self.negative_share:.2%}"),
            ("trace", f"{self.trace}"),
        ]


def krylov_bytes(dim: int, count: int) -> int:
    """What `spectrum` holds at most: the Lanczos vectors of ARPACK and its work, eigenvectors,
    those of the density."""
    if dim <= DENSE:
        return 8 * 4 * dim * dim
    return 8 * dim * (_basis(dim, count) + 3 * count + 12) + 4 * dim * _DENSITY_STEPS


def spectrum(
    product: Product, dim: int, count: int, probes: int, seed: int, confidence: float
) -> Spectrum:
    """The spectrum of a symmetric matrix of `dim` rows from `product(v) = H v`: `count`
    eigenvalues, `probes` sign vectors."""
    if dim <= DENSE:
        return _decomposed(np.stack([product(axis) for axis in np.eye(dim)]), count, confidence)
    rng = np.random.default_rng(seed)
    calls = [0]

    def counted(v: np.ndarray) -> np.ndarray:
        calls[0] += 1
        return product(v)

    largest, vectors = top_eigenpairs(counted, dim, count, rng)
    nodes, weights = _density(counted, dim, rng)
    above = 1.01 * max([*largest, nodes.max(), 0.0]) + 1e-30
    flipped, _ = top_eigenpairs(lambda v: above * v - counted(v), dim, 1, rng)
    smallest = min([float(nodes.min()), *(above - flipped)])  # Ritz values lie inside the spectrum
    trace, squares, diagonal = random_sums(counted, largest, vectors, probes, rng, confidence)
    return Spectrum(
        largest, vectors, smallest, trace, squares, diagonal, nodes, weights, False, calls[0]
    )


def largest_eigenvalue(product: Product, dim: int, count: int, seed: int) -> float:
    """The first of `spectrum(...).largest`, without the rest."""
    if dim <= DENSE:
        return float(spectrum(product, dim, 1, 0, seed, 0.95).largest[0])
    values, _ = top_eigenpairs(product, dim, count, np.random.default_rng(seed))
    if not values.size:
        raise ValueError(
            "the largest eigenvalue did not converge: products with the Hessian are too inexact. "
            'Switch JAX to float64 with jax.config.update("jax_enable_x64", True).'
        )
    return float(values[0])


def _decomposed(matrix: np.ndarray, count: int, confidence: float) -> Spectrum:
    matrix = (matrix + matrix.T) / 2
    values, vectors = np.linalg.eigh(matrix)
    dim = len(values)
    trace, squares = (
        Estimate(s, s, s, confidence) for s in (float(values.sum()), float((values**2).sum()))
    )
    return Spectrum(
        largest=values[::-1][:count].copy(),
        vectors=vectors[:, ::-1][:, :count].copy(),
        smallest=float(values[0]),
        trace=trace,
        squares=squares,
        diagonal=np.diag(matrix).copy(),
        nodes=values,
        weights=np.full(dim, 1 / dim),
        exact=True,
        products=dim,
    )


def _basis(dim: int, count: int) -> int:
    return min(dim - 1, max(2 * count + 1, 30))


def top_eigenpairs(
    product: Product, dim: int, count: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """The `count` largest eigenvalues, falling, and their vectors `(d, count)`; only those that
    converged."""
    from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh  # slow to import

    operator = LinearOperator((dim, dim), matvec=lambda v: product(v.ravel()), dtype=np.float64)  # pyright: ignore[reportCallIssue]
    count = min(count, dim - 2)
    start = rng.normal(size=dim)
    try:
        values, vectors = eigsh(
            operator,
            count,
            which="LA",
            v0=start,
            ncv=_basis(dim, count),
            tol=_TOLERANCE,  # pyright: ignore[reportArgumentType]
            maxiter=_RESTARTS,
        )
    except ArpackNoConvergence as stopped:
        values, vectors = stopped.eigenvalues, stopped.eigenvectors
    order = np.argsort(values)[::-1]
    return values[order], vectors[:, order]


def lanczos(product: Product, start: np.ndarray, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights of the Gauss quadrature of the spectral measure of `start`, with `steps`
    products.

    Every vector is made orthogonal to all before it, twice: without that eigenvalues come up more
    than once.
    """
    basis = np.empty((steps, start.size), np.float32 if start.size > DENSE else np.float64)
    diagonal, beside = [], []
    q = start / np.linalg.norm(start)
    for k in range(min(steps, start.size)):
        basis[k] = q
        w = product(q)
        diagonal.append(float(q @ w))
        for _ in range(2):
            w = w - (basis[: k + 1] @ w.astype(basis.dtype)).astype(float) @ basis[: k + 1]
        size = float(np.linalg.norm(w))
        if size <= 1e-6 * max(map(abs, diagonal)):
            break
        beside.append(size)
        q = w / size
    from scipy.linalg import eigh_tridiagonal  # slow to import

    nodes, vectors = eigh_tridiagonal(np.array(diagonal), np.array(beside[: len(diagonal) - 1]))
    return nodes, vectors[0] ** 2


def _density(product: Product, dim: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    found = [
        lanczos(product, rng.choice([-1.0, 1.0], dim), _DENSITY_STEPS)
        for _ in range(_DENSITY_STARTS)
    ]
    nodes = np.concatenate([nodes for nodes, _ in found])
    weights = np.concatenate([weights for _, weights in found]) / _DENSITY_STARTS
    order = np.argsort(nodes)
    return nodes[order], weights[order]


def random_sums(
    product: Product,
    largest: np.ndarray,
    vectors: np.ndarray,
    probes: int,
    rng: np.random.Generator,
    confidence: float,
) -> tuple[Estimate, Estimate, np.ndarray]:
    """Trace, trace of the square, and diagonal, the eigenpairs given being taken out first."""
    dim = len(vectors)
    traces, squares, diagonal = [], [], np.zeros(dim)
    for _ in range(probes):
        z = rng.choice([-1.0, 1.0], dim)
        left = product(z) - vectors @ (largest * (vectors.T @ z))
        traces.append(float(z @ left))
        squares.append(float(left @ left))
        diagonal += z * left / probes
    diagonal += (vectors**2) @ largest
    known = float(largest.sum()), float((largest**2).sum())
    return (
        mean_estimate(np.array(traces), confidence, known[0]),
        mean_estimate(np.array(squares), confidence, known[1]),
        diagonal,
    )


def mean_estimate(sample: np.ndarray, confidence: float, plus: float = 0.0) -> Estimate:
    """The mean of independent values with Student's interval, moved by a known number."""
    error = float(sample.std(ddof=1) / np.sqrt(sample.size))
    return student_estimate(float(sample.mean()) + plus, error, sample.size - 1, confidence)


def student_estimate(value: float, error: float, freedom: int, confidence: float) -> Estimate:
    """A value with Student's interval from its standard error."""
    from scipy.stats import t  # slow to import

    half = float(t.isf((1 - confidence) / 2, freedom)) * error
    return Estimate(value, value - half, value + half, confidence)


def ratio_of_means(above: np.ndarray, below: np.ndarray, confidence: float) -> Estimate:
    """Of pairs of numbers, with its error by the delta method; NaN where all below are 0."""
    if not below.any():
        return Estimate(float("nan"), float("nan"), float("nan"), confidence)
    value = float(above.mean() / below.mean())
    left = above - value * below
    error = float(left.std(ddof=1) / below.mean() / np.sqrt(left.size))
    return student_estimate(value, error, left.size - 1, confidence)
