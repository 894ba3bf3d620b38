"""What stands against reading a diagnosis as it is, each with its number and what to do."""

from dataclasses import replace

import numpy as np

from levysde.analysis.diagnose_input import Request
from levysde.analysis.diagnosis import Diagnosis

_GAUSSIAN = 1.9
_DESCENT = 0.01  # of the basin's height
_NEGATIVE = 1e-5  # of the largest eigenvalue: above the rounding of float32
_SLOWEST = 0.1  # rate over relaxation
_FEWEST_ITERATIONS = 10
_WIDE = 0.5  # half-width of the interval of m(W) over its value
_FULL = 0.2  # of the basin's height: the loss held up by the noise


def find_warnings(report: Diagnosis, request: Request) -> Diagnosis:
    """The report with its warnings."""
    found = [*_about_point(report), *_about_noise(report), *_about_basin(report), *_about_escape(report, request)]
    return replace(report, warnings=tuple(found))


def _about_point(r: Diagnosis) -> list[str]:
    found = []
    advice = "Type settle=1000 to bring it down by L-BFGS first, or train longer; weight_decay makes a minimum strict."
    if r.descent >= r.height:
        found.append(
            f"the point is not near a minimum: the gradient's norm is {r.gradient_norm:.3g} and the loss would still fall "
            f"by {r.descent:.3g}, more than the basin's height, {r.height:.3g}. Basin and escapes are left out. {advice}"
        )
    elif r.descent > _DESCENT * r.height:
        found.append(
            f"the point lies on a slope: the gradient's norm is {r.gradient_norm:.3g} and the loss would still fall by "
            f"{r.descent:.3g}, {r.descent / r.height:.0%} of the basin's height. {advice}"
        )
    if r.hessian.smallest < -_NEGATIVE * r.hessian.largest[0]:
        found.append(
            f"the Hessian has the eigenvalue {r.hessian.smallest:.3g}: the point is a saddle, and the basin about it is not "
            "that of a minimum. Type settle=1000, train longer, or add weight_decay."
        )
    return found


def _about_noise(r: Diagnosis) -> list[str]:
    index = r.tails.characteristic_function.median
    if not np.isfinite(index.value):
        if not r.measured:
            return []
        return [
            f"no coordinate's noise takes values enough to read a tail index, and alpha = {r.alpha:g} is "
            "assumed. Give alpha=..."
        ]
    if index.value > _GAUSSIAN and r.measured:
        return [
            f"the noise reads as Gaussian (median index {index}): a stable law has no jumps at 2, and the law at alpha = "
            f"{r.alpha:.3g} ascribes escapes to jumps that minibatches of finite data hardly make. Trust simulated escapes "
            "before predicted ones; type alpha=... for another law."
        ]
    if r.measured:
        return [
            f"alpha = {r.alpha:.3g} was read off minibatches of finite data, which are bounded: it describes the bulk of the "
            "noise, not its far tail, and mixed scales alone read below 2."
        ]
    if index.value - r.alpha > 0.1:
        return [
            f"alpha = {r.alpha:g} was given, but the noise reads {index} (median over coordinates): the law is that of heavier "
            "noise than was measured."
        ]
    return []


def _about_basin(r: Diagnosis) -> list[str]:
    found = []
    for name, m in r.measures.items():
        if not m.value.value > 0:
            found.append(
                f"no ray left the basin for {name.upper()}: its escape time by jumps is infinite, or the rays drawn missed the "
                "coordinates that leave. Raise num_rays, or add weight_decay to bound the basin."
            )
        elif m.value.high - m.value.value > _WIDE * m.value.value:
            found.append(f"m(W) of {name.upper()} is known to a factor only, {m.value}. Raise num_rays.")
    shares = [m.returning for m in r.measures.values()]
    if shares and max(shares) > 0:
        found.append(
            f"the basin is not star-shaped: {max(shares):.1%} of the rays come back into it; every stretch outside is counted."
        )
    if r.excess > _FULL * r.height:
        found.append(
            f"SGD's noise holds the loss up by about {r.excess:.3g}, {r.excess / r.height:.0%} of the basin's height: many "
            "small kicks may reach the edge too, and the law counts single jumps only. Raise basin_height, or lower the "
            "learning rate."
        )
    return found


def _about_escape(r: Diagnosis, request: Request) -> list[str]:
    found = []
    own = {"sgd": ["sgd"], "adam": ["adam"]}.get(r.optimizer, [])
    for name in own:
        law = r.predictions.get(name)
        if law is None:
            continue
        if law.mean.value < _FEWEST_ITERATIONS:
            found.append(
                f"the law predicts escape within {law.mean.value:.2g} iterations, faster than an optimiser's steps resolve. "
                "Lower the learning rate, or raise basin_height."
            )
        elif law.regime > _SLOWEST:
            found.append(
                f"the rate over relaxation is {law.regime:.3g}, above {_SLOWEST}: escape is not rare, and the law is a limit "
                "for rare escape. Lower the learning rate, or raise basin_height."
            )
    if r.learning_rate is not None and "sgd" in own and r.learning_rate * r.hessian.largest[0] > 2:
        found.append(
            f"learning_rate times the largest eigenvalue is {r.learning_rate * r.hessian.largest[0]:.3g}: plain SGD is "
            f"unstable here without any noise. Type learning_rate={1 / r.hessian.largest[0]:.2g} or less."
        )
    if r.learning_rate is None:
        found.append("no learning rate was given, so no times are predicted. Type learning_rate=...")
    elif r.optimizer == "optax" and r.predictions:
        found.append(
            "the laws are those of plain SGD and of ADAM at the learning rate given; what else the optimiser does "
            "they do not know."
        )
    if request.kernel is not None and request.kernel.words_per_init:
        found.append(
            "the optimiser hides a random key in its state: it is drawn anew for each simulated trajectory, and what it adds "
            "is in no other number here."
        )
    return found
