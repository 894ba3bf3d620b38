"""Real minibatches: logistic regression and fully connected networks leave a sublevel set of their
minimum.

Each problem is trained, refined to a strict minimum in float64 and stretched by sqrt(k)
afterwards, so that all k have one minimum. "Escape" is the first iteration at which the loss over
all data exceeds the minimum's by a height h: logistic regression has one minimum only, and where
the saddles around a network's minimum lie nobody knows. So this is the null model's question, and
next to each problem stands its own null model: a quadratic bowl with the Hessian and the minibatch
covariance of the problem's minimum, Gaussian noise, the same learning rates, the same height.

Settings by rule, before any run: base B = 8, k = 1, eta lambda_max = 0.1, examples drawn with
replacement; h such that the linear theory of the bowl has the exponent `EXPONENTS` at the base,
chosen in a short trial so that lives are a thousand iterations or so. Each ladder changes one of B,
eta, k so that B / (eta k) takes the same five values.
"""

import functools
from dataclasses import dataclass
from math import log
from typing import Any

import jax.numpy as jnp
import numpy as np

from levysde import errors
from levysde.domains import Sublevel
from levysde.landscapes import (
    NetworkLandscape,
    Quadratic,
    fully_connected,
    logistic_regression,
    rescaled,
)
from levysde.networks import refine, train
from levysde.noise import Brownian, LowRankScale, minibatch_scale
from levysde.protocols import Landscape
from levysde.theory import sgd_covariance

PROBLEMS: dict[str, tuple[Any, int]] = {  # data set, layers of weights
    "logistic": ("breast_cancer", 1),
    "depth 2": ("wine", 2),
    "depth 3": ("iris", 3),
}
NAMES = tuple(PROBLEMS)
TRAINING = {"learning_rate": 0.1, "batch_size": 30, "epochs": 500, "seed": 0}
BATCH, STEP = 8, 0.1  # base B, and eta lambda_max
BATCHES = (6, 7, 8, 9, 11)
EXPONENTS = {"logistic": 7.0, "depth 2": 6.0, "depth 3": 4.5}


@dataclass(frozen=True)
class Minimum:
    """A problem at its minimum, at k = 1. Arrays in float64.

    Attributes:
        network: with its minimum marked.
        hessian: of the loss there, weight decay included, `(d, d)`.
        gradients: of each example there, `(n, d)`.
        covariance: of one example's gradient, `(d, d)`.
    """

    network: NetworkLandscape
    hessian: np.ndarray
    gradients: np.ndarray
    covariance: np.ndarray

    @property
    def largest(self) -> float:
        """Largest curvature."""
        return float(np.linalg.eigvalsh(self.hessian)[-1])

    @property
    def rate(self) -> float:
        """The base learning rate."""
        return STEP / self.largest


def start_of(name: str) -> NetworkLandscape:
    """The problem at its random start; logistic regression at zero."""
    data, depth = PROBLEMS[name]
    if depth > 1:
        return fully_connected(data, depth=depth)
    network = logistic_regression(data)
    return network.at(jnp.zeros(network.dim))


@functools.cache
def at_minimum(name: str) -> Minimum:
    """The problem trained and refined."""
    data, depth = PROBLEMS[name]
    if depth == 1:
        network = logistic_regression(data)
    else:
        network = start_of(name)
        network = network.at(
            errors.as_array("x", refine(network, train(network, "sgd", **TRAINING)).point, "x")
        )
    hessian, gradients = derivatives(network, network.minimum)
    return Minimum(network, hessian, gradients, np.cov(gradients.T, bias=True))


def derivatives(network: NetworkLandscape, x: Any) -> tuple[np.ndarray, np.ndarray]:
    """Hessian and examples' gradients at `x`, in float64 on the host."""
    hessian = np.asarray(network.hessian(x), float)
    return (hessian + hessian.T) / 2, np.asarray(network.example_gradients(x), float)


def linear_exponent(name: str, height: float, batch: float, rate: float, k: float) -> float:
    """`log mean` to leading order of leaving `y' H y / 2 < h` in the bowl: the least
    quasi-potential on its edge, with the exact stationary covariance S of the discrete linear
    iteration, `h / largest eigenvalue of H^(1/2) S H^(1/2)`."""
    return height / _spread(name, batch, rate, k)


@functools.lru_cache(maxsize=1000)
def _spread(name: str, batch: float, rate: float, k: float) -> float:
    there = at_minimum(name)
    hessian = k * there.hessian
    spread = sgd_covariance(hessian, k * there.covariance / batch, learning_rate=rate).position
    root = np.linalg.cholesky(hessian)
    return float(np.linalg.eigvalsh(root.T @ spread @ root)[-1])


def height_of(name: str) -> float:
    """h: the height at which the linear theory has the problem's exponent at the base setting."""
    return EXPONENTS[name] * _spread(name, float(BATCH), at_minimum(name).rate, 1.0)


def problem(problem: Any, hessian_factor: Any) -> Landscape:
    """A problem at its minimum, stretched: what sweeps escape from. Raises ValueError for an
    unknown name."""
    return rescaled(at_minimum(_known(problem)).network, hessian_factor)


def bowl(problem: Any, hessian_factor: Any) -> Landscape:
    """The quadratic bowl with the Hessian of the problem's minimum times `hessian_factor`, turned
    to its axes."""
    k = errors.positive("hessian_factor", hessian_factor)
    return Quadratic(hessian=k * jnp.asarray(_turned(_known(problem))[0], dtype=float))


def bowl_noise(problem: Any, hessian_factor: Any, batch_size: Any) -> LowRankScale:
    """Gaussian noise of the covariance of the problem's minibatches at its minimum, times
    `hessian_factor`, on the bowl's axes; without the directions that hold the last thousandth of
    its trace."""
    k = errors.positive("hessian_factor", hessian_factor)
    _, gradients, rank = _turned(_known(problem))
    return minibatch_scale(
        jnp.sqrt(k) * jnp.asarray(gradients, dtype=float),
        Brownian(),
        batch_size=batch_size,
        rank=rank,
    )


@functools.cache
def _turned(name: str) -> tuple[np.ndarray, np.ndarray, int]:
    """Eigenvalues of H, the examples' gradients along its eigenvectors, and how many directions of
    noise matter."""
    there = at_minimum(name)
    eigenvalues, vectors = np.linalg.eigh(there.hessian)
    variances = np.linalg.eigvalsh(there.covariance)[::-1]
    rank = int(np.searchsorted(np.cumsum(variances), 0.999 * variances.sum())) + 1
    return eigenvalues, there.gradients @ vectors, rank


def basin(problem: Any, landscape: Any) -> Sublevel:
    """The sublevel set of the problem's height; the same height at every k."""
    return Sublevel(landscape, height=height_of(_known(problem)))


def _known(problem: Any) -> str:
    return errors.choice("problem", problem, NAMES)


def log_rates(name: str, at: list[tuple[float, float, float]], kind: str) -> np.ndarray:
    """`-log rate` up to a constant at (B, eta, k): "linear" theory of the bowl, or "theorem":
    Theorem 3.2 with noise H / B and the barrier h, climbed at the largest curvature (s = 1); with
    the time of relaxation, 1 / k, in front."""
    height, largest = height_of(name), at_minimum(name).largest
    return np.array(
        [
            (
                linear_exponent(name, height, b, eta, k)
                if kind == "linear"
                else 2 * b * height / (eta * k * largest)
            )
            - log(k)
            for b, eta, k in at
        ]
    )
