"""Caveats of a diagnosis: what is wrong, the number, and how to fix it, given what was asked
for."""

import numpy as np

from levysde.networks.diagnose_input import Request
from levysde.networks.diagnosis import Diagnosis

GAUSSIAN = 1.9
_DESCENT = 0.01  # of the basin's height
_NEGATIVE = 1e-5  # of the largest eigenvalue: above the rounding of float32
SLOWEST = 0.1  # rate over relaxation
_FEWEST_ITERATIONS = 10
_WIDE = 0.5  # half-width of the interval of m(W) over its value
_FULL = 0.2  # of the basin's height: the loss held up by the noise
_OVERFULL = 0.5  # the same: from here on there is hardly a basin
_APART = 2.0  # simulated mean over the predicted one, either way


def find_warnings(report: Diagnosis, request: Request) -> tuple[str, ...]:
    """The warnings of a report."""
    return (
        *_about_point(report, request),
        *_about_noise(report),
        *_about_basin(report),
        *_about_escape(report, request),
    )


def _about_point(r: Diagnosis, request: Request) -> list[str]:
    found = []
    advice = _advice(r, request)
    if r.descent >= r.height:
        found.append(
            f"the point is not near a minimum: the gradient's norm is {r.gradient_norm:.3g} and "
            f"the loss would still fall by {r.descent:.3g}, more than the basin's height, "
            f"{r.height:.3g}. Basin and escapes are left out. {advice}"
        )
    elif r.descent > _DESCENT * r.height:
        found.append(
            f"the point lies on a slope: the gradient's norm is {r.gradient_norm:.3g} and the "
            f"loss would still fall by {r.descent:.3g}, {r.descent / r.height:.0%} of the basin's "
            f"height. {advice}"
        )
    if r.hessian.smallest < -_NEGATIVE * r.hessian.largest[0] and not r.kink:
        found.append(
            f"the Hessian has the eigenvalue {r.hessian.smallest:.3g}: the point is a saddle, and "
            f"the basin about it is not that of a minimum. {advice}"
        )
    if r.kink:
        found.append(
            f"the loss has a kink at the point: it falls by {r.descent:.2g} only, although the "
            f"gradient's norm is {r.gradient_norm:.3g}. The Hessian, whose smallest eigenvalue is "
            f"{r.hessian.smallest:.3g}, does not describe the loss there, and predictions from it "
            "may be wrong. Use a smooth activation, for example jax.nn.softplus or jnp.tanh for "
            "ReLU, or trust simulated escapes only."
        )
    return found


def _advice(r: Diagnosis, request: Request) -> str:
    """How to come to a strict minimum, beyond what was done already."""
    if request.settle:
        found = (
            f"settle={request.settle} did not reach a minimum. Type settle={10 * request.settle}, "
            "train longer"
        )
    else:
        found = "Type settle=1000 to bring it down by L-BFGS first, train longer"
    if request.weight_decay > 0:
        return f"{found}, or raise weight_decay from {request.weight_decay:g}."
    return (
        f"{found}, or add weight_decay, for example weight_decay=0.01, which makes a minimum "
        "strict."
    )


def _about_noise(r: Diagnosis) -> list[str]:
    index = r.tails.characteristic_function.median
    if not np.isfinite(index.value):
        if not r.measured:
            return []
        return [
            "no coordinate's noise takes values enough to read a tail index, and alpha = "
            f"{r.alpha:g} is assumed. Give alpha=..."
        ]
    if index.value > GAUSSIAN and r.measured:
        return [
            f"the noise reads as Gaussian (median index {index}): a stable law has no jumps at 2, "
            f"and the law at alpha = {r.alpha:.3g} ascribes escapes to jumps that minibatches of "
            "finite data hardly make. Trust simulated escapes before predicted ones; type "
            "alpha=... for another law."
        ]
    if r.measured:
        return [
            f"alpha = {r.alpha:.3g} was read off minibatches of finite data, which are bounded: "
            "it describes the bulk of the noise, not its far tail, and mixed scales alone read "
            "below 2."
        ]
    if index.value - r.alpha > 0.1:
        return [
            f"alpha = {r.alpha:g} was given, but the noise reads {index} (median over "
            "coordinates): the law is that of heavier noise than was measured."
        ]
    return []


def _about_basin(r: Diagnosis) -> list[str]:
    found = []
    for name, m in r.measures.items():
        if not m.measure.value > 0:
            found.append(
                f"no ray left the basin for {name.upper()}: its escape time by jumps is infinite, "
                "or the rays drawn missed the coordinates that leave. Raise num_rays, or add "
                "weight_decay to bound the basin."
            )
        elif m.measure.high - m.measure.value > _WIDE * m.measure.value:
            found.append(
                f"m(W) of {name.upper()} is known to a factor only, {m.measure}. Raise num_rays."
            )
    shares = [m.returning for m in r.measures.values()]
    if shares and max(shares) > 0:
        found.append(
            f"the basin is not star-shaped: {max(shares):.1%} of the rays come back into it; every "
            "stretch outside is counted."
        )
    share = r.excess / r.height
    held = (
        f"the noise of the optimiser holds the loss up by {r.excess:.2g}, {share:.0%} of the "
        "basin's height"
    )
    if share > _OVERFULL:
        found.append(
            f"there is hardly a basin: {held}, {r.height:.2g}. It leaves at once, and the mean "
            f"says little about a minimum. Type basin_height={2.5 * r.excess:.2g} or more, or "
            "lower the learning rate."
            if np.isfinite(share)
            else "there is hardly a basin: the optimiser is unstable in it. Lower the learning "
            "rate."
        )
    elif share > _FULL:
        found.append(
            f"{held}: many small kicks may reach the edge too, and the law counts single jumps "
            "only. Raise basin_height, or lower the learning rate."
        )
    return found


def _about_escape(r: Diagnosis, request: Request) -> list[str]:
    found = []
    law, s = r.predictions.get(r.optimizer), r.simulated
    if law is not None:
        if law.mean.value < _FEWEST_ITERATIONS:
            found.append(
                f"the law predicts escape within {law.mean.value:.2g} iterations, faster than an "
                "optimiser's steps resolve. Lower the learning rate, or raise basin_height."
            )
        elif law.regime > SLOWEST:
            found.append(
                f"the rate over relaxation is {law.regime:.3g}, above {SLOWEST}: escape is not "
                "rare, and the law is a limit for rare escape. Lower the learning rate, or raise "
                "basin_height."
            )
    product = (r.learning_rate or 0.0) * r.hessian.largest[0]
    if r.optimizer == "sgd" and product > 2:
        found.append(
            f"learning_rate times the largest eigenvalue is {product:.3g}: plain SGD is unstable "
            f"here without any noise. Type learning_rate={1 / r.hessian.largest[0]:.2g} or less."
        )
    if r.optimizer == "optax":
        found.append(
            "no escape law is known for this optimiser, so no times are predicted; trust simulated "
            "escapes. For a law type "
            'optimizer="sgd" or "adam" with learning_rate=... .'
        )
    elif r.learning_rate is None:
        found.append(
            "no learning rate was given, so no times are predicted. Type learning_rate=..."
        )
    if law is not None and s is not None and s.exits:
        ratio = s.mean.value / law.mean.value
        apart = s.mean.low > law.mean.high or s.mean.high < law.mean.low
        if apart and not 1 / _APART < ratio < _APART:
            found.append(
                f"the simulated mean is {ratio:.2g} of the predicted one: "
                "the law of single jumps does not describe these escapes. Trust the simulated "
                "mean."
            )
    if request.kernel is not None and request.kernel.words_per_init:
        found.append(
            "the optimiser hides a random key in its state: it is drawn anew for each simulated "
            "trajectory, and what it adds is in no other number here."
        )
    return found
