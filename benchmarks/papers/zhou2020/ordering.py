"""SGD against ADAM in one basin: exact m(W) of both over a map, and simulated escapes at some of
its places.

In the valley `F = sum h_i x_i^2 / 2 < 1/2` with noise of scale `s_i` a coordinate, SGD's jumps are
`s_i`, ADAM's `s_i / (s_i + delta)`: m(W) is the mean of `(h_i s_i^2)^(a/2)` for the one, and for
the other tends to that of `h_i^(a/2)`. Their order is that of s to 1, a number with units: it turns
around when the loss is multiplied by a constant. So two readings are mapped: one learning rate for
both, as the paper compares them, and learning rates at which the slowest direction relaxes in as
many iterations under either. An iteration escapes with chance `eta^a T_nu m(W)`, and then the ratio
`(eta_SGD / eta_ADAM)^a m(W_SGD) / m(W_ADAM)` does not change with the units of the loss (nor of
delta).
"""

import itertools
from typing import Any

import numpy as np

from levysde.studies import (
    Claim,
    Finding,
    Reading,
    Section,
    Verdict,
    detection_chance,
    judged,
    reference,
    ruled,
)
from levysde.sweeps import Sweep

from ..figures import new_figure
from ..numbers import around, by_factor
from .problems import ADAM, HEIGHT, at_regime, curvatures, dynamics_part, law_of, valley

DIM = 10
ALPHAS = (1.2, 1.5, 1.8)
CONDITIONS = (1.0, 10.0, 100.0)
# s_i = size * h_i^power: against the curvature, even, and with it as minibatch noise is
POWERS = (-0.5, 0.0, 0.5)
SIZES = (0.01, 0.1, 1.0, 10.0)  # of the noise, in units of the gradient
# condition, power, size; alpha = 1.5
SIMULATED = tuple(itertools.product((3.0, 10.0), (0.0, 0.5), (0.1, 1.0)))
REGIME = 0.01
# rate of ADAM's average over the fastest relaxation: the law is that of averages which follow
_FOLLOW = 5.0
_EQUAL = 1e-6
_AXES = {"size": "size", "power": "power of the curvature"}

ORDER = Claim(
    "order",
    "SGD's escaping set is larger: m(W_SGD) > m(W_ADAM), so that SGD leaves a basin sooner",
    "p. 8, Section 4.2",
    "m(W_SGD) / m(W_ADAM) above 1 over the whole map of condition number, anisotropy, size of the "
    "noise and alpha",
    "the exact ratio is below 1 at any place of the map",
    "read",
    "prod s_i^2 << 1 for the singular values s_i of Sigma, hence V(W_SGD^c) < V(W_ADAM^c) and "
    "m(W_SGD) > m(W_ADAM)",
)
VOLUMES = Claim(
    "volumes",
    "The volumes of the complements are V(W_ADAM^c) = z prod l_i and V(W_SGD^c) = z prod l_i s_i^2",
    "p. 8, Section 4.2, after eqs. 7 and 8",
    "volume of {y: y'My < S^2 h} over prod of M's eigenvalues the same for both sets",
    "V(W_SGD^c) / V(W_ADAM^c) falls where prod s_i^2 rises",
    "read",
    "V(W_ADAM^c) = z prod l_i, V(W_SGD^c) = z prod l_i s_i^2, z = (2/d) (pi S/h)^(d/2) / "
    "Gamma(d/2)",
    "any common factor z and any power of the eigenvalues: only the direction in which V(W_SGD^c) "
    "/ V(W_ADAM^c) goes with prod s_i^2",
)
RELAXED = Claim(
    "order-in-relaxations",
    "m(W_SGD) > m(W_ADAM) at learning rates that let both relax in as many iterations",
    "a reading of ours, in which the order does not depend on the units of the loss",
    "escapes an iteration of SGD over those of ADAM above 1 over the whole map",
    "the exact ratio is below 1 at any place of the map",
    "own",
)
SIMULATION = Claim(
    "order-simulated",
    "Simulated escape times of SGD and ADAM (eq. 5) have the ratio of the exact measures",
    "follows from Theorem 1 for both",
    "mean of ADAM over mean of SGD, each at its own small noise: over the exact ratio 1, in the "
    "band [0.9, 1.1]",
    "the interval of a ratio lies outside [0.9, 1.1]",
    "own",
)
CLAIMS = (ORDER, VOLUMES, RELAXED, SIMULATION)


def _scale(condition: float, power: float, size: float) -> np.ndarray:
    return size * curvatures(DIM, condition) ** power


def sweeps(quick: bool) -> dict[str, dict[str, Any]]:
    axes: dict[str, list[Any]] = {"dynamics": [], "condition": [], "epsilon": [], "dt": []}
    for condition, power, size in SIMULATED[:2] if quick else SIMULATED:
        scale = _scale(condition, power, size)
        for optimizer in ("SGD", "Adam"):
            law, dt = at_regime(_law(optimizer, 1.5, condition, scale), REGIME)
            part = dynamics_part(
                optimizer, law.epsilon, scale, (_FOLLOW * law.stiffness, law.stiffness)
            )
            values = part, condition, law.epsilon, dt
            for name, value in zip(("dynamics", "condition", "epsilon", "dt"), values, strict=True):
                axes[name].append(value)
    run = {
        "landscape": {"name": reference(valley), "dim": DIM, "condition": 1.0},
        "driver": {"name": "StableComponents", "alpha": 1.5},
        "dynamics": axes["dynamics"][0],
        "domain": {"name": "Sublevel", "height": HEIGHT},
        "kernel": {"name": "EulerMaruyama", "dt": axes["dt"][0]},
        "num": 500 if quick else 3000,
    }
    return {"simulated": {"seed": 401, "run": run, "list": axes}}


def _law(optimizer: str, alpha: float, condition: float, scale: np.ndarray) -> Any:
    return law_of(optimizer, "StableComponents", valley(DIM, condition), alpha, HEIGHT, scale)


def ratio_map() -> list[dict[str, Any]]:
    """m(W_SGD) / m(W_ADAM), and the ratio of escapes a relaxation, at every place."""
    rows = []
    for alpha, condition, power, size in itertools.product(ALPHAS, CONDITIONS, POWERS, SIZES):
        sgd, adam = (
            _law(o, alpha, condition, _scale(condition, power, size)) for o in ("SGD", "Adam")
        )
        where = {"alpha": alpha, "condition": condition, "power": power, "size": size}
        measures = sgd.measure / adam.measure
        rows.append(
            where
            | {
                "measure_ratio": measures,
                "relaxed_ratio": _slowest(condition, power, size) ** alpha * measures,
            }
        )
    return rows


def _slowest(condition: float, power: float, size: float) -> float:
    """Relaxation of ADAM over that of SGD at one learning rate, in the slowest direction of
    each."""
    h = curvatures(DIM, condition)
    return float(np.min(h / (_scale(condition, power, size) + ADAM["delta"])) / np.min(h))


def judge(found: dict[str, Sweep], quick: bool) -> Finding:
    places = ratio_map()
    sweep, rows, ratios = found["simulated"], [], []
    points = sweep.plan.points
    for place, pair in zip(SIMULATED, _pairs(points), strict=False):
        columns = [sweep.columns(point) for point in pair]
        sgd, adam = ([float(c[name]) for name in ("ratio", "escapes")] for c in columns)
        value = adam[0] / sgd[0]
        half = 1.96 * np.sqrt(1 / adam[1] + 1 / sgd[1])
        ratios.append(by_factor(value, half))
        rows.append(
            dict(zip(("condition", "power", "size"), place, strict=True))
            | {"simulated_over_exact": value}
        )
    verdicts = (
        _ordered(ORDER, places, "measure_ratio", "size"),
        _volumes(),
        _ordered(RELAXED, places, "relaxed_ratio", "power"),
        ruled(
            SIMULATION,
            judged(ratios, 0.9, 1.1),
            "; ".join(map(repr, ratios)),
            f"chance to see 20%: {detection_chance(0.1, ratios):.2f}",
        ),
    )
    return Finding(verdicts, {"map": _figure(places)}, {"map": places, "simulated": rows})


def log_volume(form: np.ndarray, height: float) -> float:
    """Logarithm of the volume of `{y: y'My < height}`."""
    from scipy.special import gammaln  # slow to import

    dim = len(form)
    ball = dim / 2 * np.log(np.pi) - gammaln(dim / 2 + 1)
    return float(ball + dim / 2 * np.log(height) - np.linalg.slogdet(form)[1] / 2)


def _volumes() -> Verdict:
    """Exact volumes of both complements for random valleys and noises, sharing no axes, against the
    printed product."""
    rng = np.random.default_rng(0)
    x, y = [], []
    for dim in (1, 2, 5, 10):
        for _ in range(25):
            hessian, noise = (_random_form(rng, dim) for _ in range(2))
            x.append(2 * np.linalg.slogdet(noise)[1])  # log prod s_i^2
            y.append(log_volume(noise @ hessian @ noise, 1.0) - log_volume(hessian, 1.0))
    power = float(np.dot(x, y) / np.dot(x, x))
    error = float(np.max(np.abs(np.array(y) - power * np.array(x))))
    reading = Reading(
        around(power, error),
        0.0,
        np.inf,
        "V(W_SGD^c) / V(W_ADAM^c) = prod s_i^2: a power above 0",
    )
    return ruled(
        VOLUMES,
        "fails" if reading.contradicts else "inconclusive",
        f"V(W_SGD^c) / V(W_ADAM^c) = (prod s_i^2)^{power:.4g} in 100 random valleys of 1 to 10 "
        "dimensions, printed power 1; in one dimension the length of W_ADAM^c is 2 S sqrt(h/l), "
        "printed 2 sqrt(S/h) l",
        "exact",
        "the product of the eigenvalues is printed instead of that of their inverse square "
        "roots. With the right volume the printed premise, prod s_i^2 << 1, gives the reverse "
        "order",
        reading,
    )


def _random_form(rng: np.random.Generator, dim: int) -> np.ndarray:
    """A symmetric matrix with eigenvalues from 0.1 to 10 along random axes."""
    axes = np.linalg.qr(rng.normal(size=(dim, dim)))[0]
    return axes * np.exp(rng.uniform(np.log(0.1), np.log(10), dim)) @ axes.T


def _pairs(points: Any) -> list[tuple[Any, Any]]:
    return list(zip(points[::2], points[1::2], strict=True))


def _ordered(claim: Claim, places: list[dict[str, Any]], name: str, by: str) -> Verdict:
    values = np.array([row[name] for row in places])
    above, even = values > 1 + _EQUAL, np.abs(values - 1) <= _EQUAL
    condition, word = "", "fails"
    if above.all():
        word = "holds"
    elif above.any():
        word, condition = "holds only if", _condition(places, above, by)
    return ruled(
        claim,
        word,
        f"above 1 at {above.sum()} of {len(values)} places, equal to 1 at {even.sum()}; "
        f"from {values.min():.2g} to "
        f"{values.max():.2g}" + (_under_premise(places, above) if claim is ORDER else ""),
        "exact values: every place below 1 is seen",
        condition,
    )


def _under_premise(places: list[dict[str, Any]], above: np.ndarray) -> str:
    """At how many of the places that meet the printed premise."""
    small = np.array(
        [np.prod(_scale(row["condition"], row["power"], row["size"]) ** 2) < 0.1 for row in places]
    )
    return (
        f"; where prod s_i^2 < 0.1, as the paper assumes, at {above[small].sum()} of {small.sum()}"
    )


def _condition(places: list[dict[str, Any]], above: np.ndarray, by: str) -> str:
    """Where it holds, by one of the map's axes."""
    words = []
    for value in sorted({row[by] for row in places}):
        here = np.array([row[by] == value for row in places])
        words.append(f"{above[here].sum()} of {here.sum()} places at {_AXES[by]} {value:g}")
    return (
        "the noise is large in units of the gradient: "
        if by == "size"
        else "the noise follows the curvature: "
    ) + (", ".join(words))


def _figure(places: list[dict[str, Any]]) -> Any:
    figure, axes = new_figure(2, 3)
    labels = {-0.5: "against the curvature", 0.0: "even", 0.5: "with the curvature"}
    for ax, (name, alpha) in zip(
        axes, itertools.product(("measure_ratio", "relaxed_ratio"), ALPHAS), strict=True
    ):
        for k, (power, condition) in enumerate(itertools.product(POWERS, CONDITIONS)):
            at = [
                r
                for r in places
                if (r["alpha"], r["power"], r["condition"]) == (alpha, power, condition)
            ]
            even = {"lw": 5, "alpha": 0.4} if power == 0 else {}  # beneath what it coincides with
            style = {
                "color": f"C{k // 3}",
                "ls": ("-", "--", ":")[k % 3],
                "marker": "o",
                "ms": 3,
            } | even
            label = f"{labels[power]}, condition {condition:g}"
            ax.plot([r["size"] for r in at], [r[name] for r in at], label=label, **style)
        ax.axhline(1, color="0.4", lw=1)
        ax.set(
            xscale="log",
            yscale="log",
            xlabel="size of the noise s (units of the gradient)",
            title=f"alpha = {alpha:g}",
        )
        ax.set_ylabel(
            "m(W), SGD over ADAM"
            if name == "measure_ratio"
            else "escapes an iteration at equal relaxation, SGD over ADAM"
        )
    axes[0].legend(fontsize=7, frameon=False)
    return figure


SECTION = Section("ordering", CLAIMS, sweeps, judge)
