"""What is predicted of SGD and of ADAM in a large model, and of no other optimiser.

The escape law is `rate = epsilon^a T_nu m(W)`, an iteration being eta of SDE time. The loss held up
by the noise is tr(HV)/2, V the stationary covariance: with a preconditioner P,
`PHV + VHP = eta P C_B P` to first order in eta, so that `tr(HV) = eta tr(P C_B) / 2`; momentum
does not change it."""

import numpy as np

from levysde.networks.basin_measure import BasinMeasure
from levysde.networks.diagnose_input import Request
from levysde.networks.diagnosis import PredictedEscape
from levysde.networks.gradient_covariance import Alignment
from levysde.noise import StableComponents, StableIsotropic, total_tail

DRIVERS = {"components": StableComponents, "isotropic": StableIsotropic}


def predicted_escapes(
    request: Request, measures: dict[str, BasinMeasure], alpha: float
) -> dict[str, PredictedEscape]:
    if request.learning_rate is None or request.optimizer not in ("sgd", "adam"):
        return {}
    eta = request.learning_rate
    epsilon = eta ** ((alpha - 1) / alpha)
    total = total_tail(DRIVERS[request.stable_noise](alpha), request.landscape.dim)
    found = {}
    for name, measure in measures.items():
        rates = [
            epsilon**alpha * total * m
            for m in (measure.measure.value, measure.measure.low, measure.measure.high)
        ]
        means = [1 / (rate * eta) if rate > 0 else np.inf for rate in rates]
        estimate = type(measure.measure)(means[0], means[2], means[1], request.confidence)
        found[name] = PredictedEscape(estimate, rates[0], rates[0] * measure.relaxation, epsilon)
    return found


def expected_iterations(request: Request, predictions: dict[str, PredictedEscape]) -> float:
    law = predictions.get(request.optimizer)
    return float("nan") if law is None else law.mean.value


def held_up(request: Request, aligned: Alignment, variance: np.ndarray, factor: float) -> float:
    """The mean loss that the optimiser's own noise adds near the point, `variance` the diagonal of
    C_B; NaN where it has no formula, or no learning rate."""
    if request.optimizer == "adam" and request.learning_rate is not None:
        return adam_lift(request.learning_rate, variance, request.delta)
    if request.optimizer == "sgd":
        return lifted(request.learning_rate, aligned, float(variance.sum()), factor)
    return float("nan")


def adam_lift(learning_rate: float, variance: np.ndarray, delta: float) -> float:
    """`eta tr(P C_B) / 4` with the preconditioner at rest, `P = 1 / (sqrt(v) + delta)`, v the
    diagonal of C_B."""
    return float(learning_rate / 4 * np.sum(variance / (np.sqrt(variance) + delta)))


def lifted(learning_rate: float | None, aligned: Alignment, trace: float, factor: float) -> float:
    """The mean loss that SGD's noise adds in a quadratic, `eta/2 sum_j c_j / (2 - eta lambda_j)`,
    from the trace of `C_B = factor C1` and the sharpest directions; curvature is neglected in the
    others. It is the stationary covariance `HS + SH - eta HSH = eta C_B` in the eigenvectors of H
    (Liu, Ziyin, Ueda, ICML 2021)."""
    if learning_rate is None:
        return float("nan")
    left = 2 - learning_rate * aligned.curvature
    if (left <= 0).any():
        return float("inf")
    sharp = factor * aligned.noise
    return float(learning_rate / 2 * (np.sum(sharp / left) + max(trace - sharp.sum(), 0.0) / 2))
