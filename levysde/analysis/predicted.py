"""The escape laws of SGD and ADAM in a large model: `rate = epsilon^a T_nu m(W)`, an iteration being eta of SDE time."""

import numpy as np

from levysde.analysis.basin_measure import BasinMeasure
from levysde.analysis.diagnose_input import Request
from levysde.analysis.diagnosis import PredictedEscape
from levysde.noise import StableComponents, StableIsotropic, total_tail

DRIVERS = {"components": StableComponents, "isotropic": StableIsotropic}


def predicted_escapes(request: Request, measures: dict[str, BasinMeasure], alpha: float) -> dict[str, PredictedEscape]:
    if request.learning_rate is None:
        return {}
    eta = request.learning_rate
    epsilon = eta ** ((alpha - 1) / alpha)
    total = total_tail(DRIVERS[request.noise](alpha), request.landscape.dim)
    found = {}
    for name, measure in measures.items():
        rates = [epsilon**alpha * total * m for m in (measure.value.value, measure.value.low, measure.value.high)]
        means = [1 / (rate * eta) if rate > 0 else np.inf for rate in rates]
        estimate = type(measure.value)(means[0], means[2], means[1], request.confidence)
        found[name] = PredictedEscape(estimate, rates[0], rates[0] * measure.relaxation, epsilon)
    return found


def expected_iterations(request: Request, predictions: dict[str, PredictedEscape]) -> float:
    law = predictions.get("adam" if request.optimizer == "adam" else "sgd")
    return float("nan") if law is None else law.mean.value
