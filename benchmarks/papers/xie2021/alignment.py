"""Whether the covariance of the gradient noise is aligned with the Hessian, at minima and at random
starts.

C is the covariance of one example's gradient, H the Hessian of the loss without weight decay, which
has no noise. Measured:

    cosine     tr(C H) / (|C| |H|), 1 where C is a multiple of H
    isotropic  the same for the identity in place of C: what no alignment at all would give
    size       tr(C H) / |H|^2: the c of the best C ~ c H, 1 if C = H
    power      slope of log v_i' C v_i against log h_i over the eigenvectors v_i of H with h_i above
               1e-3 of the largest, the
               median over pairs of directions (Theil and Sen), directions without noise left out
    mute       the share of those left out: curvature, but less noise than 1e-6 of the noisiest

Intervals: bootstrap over examples, each with its gradient and its own Hessian.
"""

from collections.abc import Sequence
from typing import Annotated, Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from pydantic import Field

from levysde.landscapes import NetworkLandscape
from levysde.stats import Estimate
from levysde.studies import (
    Claim,
    Finding,
    Section,
    Word,
    all_judged,
    detection_chance,
    judged,
    reference,
    ruled,
)
from levysde.sweeps import Experiment, Job, Model, Sweep, Variable

from ..figures import COLOURS, MARKERS, new_figure, shared_legend
from ..numbers import CONFIDENCE
from .networks import NAMES, PROBLEMS, at_minimum, start_of

PLACES = ("minimum", "start")
LEAST, MUTE = 1e-3, 1e-6  # of the largest eigenvalue, of the largest variance along an eigenvector
_MOST = 256  # eigenvalues kept

AT_MINIMA = Claim(
    "align-minimum",
    "At minima the noise covariance is nearly proportional to the Hessian",
    "abstract of a middle version (not in the last version's)",
    "cosine of C and H above 0.9",
    "the interval of the cosine below 0.9 in any problem",
    "read",
    'the covariance is "nearly proportional to the Hessian", and inverse to the batch size, "near '
    'minima"',
)
AT_START = Claim(
    "align-start",
    "Is the covariance proportional to the Hessian at random initialisation, far from minima, too?",
    "a question of ours: the abstract speaks of minima",
    "cosine of C and H above 0.9",
    "the interval of the cosine below 0.9 in any problem",
    "own",
)
SIZE = Claim(
    "align-size",
    "Is the covariance at minima the Hessian in size too, C = H/B?",
    "a question of ours; Ziyin et al. (ICLR 2022) have published the criticism: at a minimum of "
    "squared loss C = (2L/B) H",
    "size c of C ≈ c H: 1, in the band [0.5, 2]",
    "the interval of c outside [0.5, 2] in any problem",
    "own",
)
POWER = Claim(
    "align-power",
    "Is the noise along each eigenvector of the Hessian proportional to its eigenvalue?",
    "a question of ours, direction by direction",
    "power 1, in the band [0.8, 1.2], at minima; no direction with curvature and without noise",
    "the interval of the power outside [0.8, 1.2], or more than a tenth of the directions without "
    "noise, in any problem",
    "own",
)
CLAIMS = (AT_MINIMA, AT_START, SIZE, POWER)
MEASURES = ("cosine", "isotropic", "size", "power", "mute")


class Settings(Model):
    """One place of one problem."""

    problem: str
    place: str
    resamples: Annotated[int, Field(ge=20)] = 200


class Alignment(Experiment):
    """Noise covariance and Hessian at one place."""

    name = "xie2021-alignment"
    settings = Settings

    def check(self, settings: Settings) -> None:
        if settings.problem not in NAMES:
            raise ValueError(
                f"run.problem: must be one of {', '.join(NAMES)}, not {settings.problem!r}."
            )
        if settings.place not in PLACES:
            raise ValueError(
                f"run.place: must be one of {', '.join(PLACES)}, not {settings.place!r}."
            )

    def variables(self, points: Sequence[Settings]) -> tuple[Variable, ...]:
        numbers = [
            Variable(
                f"{name}{end}",
                "float64",
                f"{name} of covariance and Hessian{end.replace('_', ', ')}",
            )
            for name in MEASURES
            for end in ("", "_low", "_high")
        ]
        clouds = [
            Variable(
                "curvature",
                "float64",
                "eigenvalues of the Hessian, descending",
                "1",
                ("direction",),
                (_MOST,),
            ),
            Variable(
                "variance", "float64", "noise variance along them", "1", ("direction",), (_MOST,)
            ),
        ]
        return (*numbers, *clouds)

    def run(self, settings: Settings, job: Job) -> dict[str, Any]:
        there = (
            at_minimum(settings.problem).network
            if settings.place == "minimum"
            else start_of(settings.problem)
        )
        gradients, hessians = per_example(there)
        rng = np.random.default_rng(job.seed)
        return measured(gradients, hessians, rng, settings.resamples)


def per_example(network: NetworkLandscape) -> tuple[np.ndarray, np.ndarray]:
    """Gradient `(n, d)` and Hessian `(n, d, d)` of each example at the marked point, weight decay
    left out."""
    bare = eqx.tree_at(lambda net: net.weight_decay, network, jnp.zeros_like(network.weight_decay))

    @eqx.filter_jit
    def one(net: NetworkLandscape, i: jax.Array) -> tuple[jax.Array, jax.Array]:
        def loss(x: jax.Array) -> jax.Array:
            return net.losses(x, i[None])[0]

        return jax.grad(loss)(net.minimum), jax.hessian(loss)(net.minimum)

    found = [one(bare, jnp.asarray(i)) for i in range(network.num_examples)]
    return np.array([g for g, _ in found], float), np.array([h for _, h in found], np.float32)


def measured(
    gradients: np.ndarray, hessians: np.ndarray, rng: np.random.Generator, resamples: int
) -> dict[str, Any]:
    """The four numbers with intervals, and the cloud."""
    n, dim = gradients.shape
    flat = hessians.reshape(n, -1)

    def at(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        mean = weights @ gradients
        covariance = (weights[:, None] * gradients).T @ gradients - np.outer(mean, mean)
        hessian = (weights.astype(np.float32) @ flat).astype(float).reshape(dim, dim)
        return covariance, (hessian + hessian.T) / 2

    covariance, hessian = at(np.full(n, 1 / n))
    curvature, vectors = np.linalg.eigh(hessian)
    kept = curvature > LEAST * curvature[-1]
    numbers = _numbers(covariance, hessian, vectors[:, kept])
    draws = []
    for _ in range(resamples):
        weights = np.bincount(rng.integers(n, size=n), minlength=n) / n
        draws.append(_numbers(*at(weights), vectors[:, kept]))
    low, high = np.quantile(draws, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], axis=0)
    columns: dict[str, Any] = {}
    for k, name in enumerate(MEASURES):
        columns |= {name: numbers[k], f"{name}_low": low[k], f"{name}_high": high[k]}
    order = np.argsort(curvature)[::-1][:_MOST]
    variance = np.sum(vectors * (covariance @ vectors), 0)
    return columns | {"curvature": curvature[order], "variance": variance[order]}


def _numbers(covariance: np.ndarray, hessian: np.ndarray, vectors: np.ndarray) -> tuple[float, ...]:
    """The measures; curvatures and variances along the fixed directions `vectors`, `(d, m)`."""
    inner, size = float(np.sum(covariance * hessian)), float(np.linalg.norm(hessian))
    curvature = np.sum(vectors * (hessian @ vectors), 0)
    variance = np.sum(vectors * (covariance @ vectors), 0)
    good = (curvature > 0) & (variance > MUTE * variance.max())
    x, y = np.log(curvature[good]), np.log(variance[good])
    i, j = np.triu_indices(len(x), 1)
    power = float(np.median((y[i] - y[j]) / (x[i] - x[j])))
    cosine = inner / (float(np.linalg.norm(covariance)) * size)
    isotropic = float(np.trace(hessian)) / (size * len(hessian) ** 0.5)
    return cosine, isotropic, inner / size**2, power, float(1 - good.mean())


def sweeps(quick: bool) -> dict[str, dict[str, Any]]:
    names = list(NAMES[:1] if quick else NAMES)
    run = {"problem": names[0], "place": PLACES[0], "resamples": 40 if quick else 200}
    grid_ = {"problem": names, "place": list(PLACES)}
    return {"clouds": {"experiment": reference(Alignment), "seed": 500, "run": run, "grid": grid_}}


def judge(found: dict[str, Sweep], quick: bool) -> Finding:
    sweep = found["clouds"]
    points = {(point.settings.problem, point.settings.place): point for point in sweep.plan.points}
    seen = {at: sweep.columns(point) for at, point in points.items()}
    names = list(dict.fromkeys(name for name, _ in seen))

    def each(measure: str, place: str) -> dict[str, Estimate]:
        return {name: sweep.estimate(points[name, place], measure) for name in names}

    isotropic = {place: _shown(each("isotropic", place), "{:.2f}") for place in PLACES}
    mute = _shown(each("mute", "minimum"), "{:.2f}")
    specs = (
        (
            AT_MINIMA,
            "cosine",
            "minimum",
            0.9,
            np.inf,
            f"; of H and the identity {isotropic['minimum']}",
        ),
        (AT_START, "cosine", "start", 0.9, np.inf, f"; of H and the identity {isotropic['start']}"),
        (SIZE, "size", "minimum", 0.5, 2.0, f"; at the start {_shown(each('size', 'start'))}"),
        (
            POWER,
            "power",
            "minimum",
            0.8,
            1.2,
            f"; share without noise {mute}; power at the start {_shown(each('power', 'start'))}",
        ),
    )
    verdicts = []
    for claim, measure, place, low, high, more in specs:
        values = each(measure, place)
        words: dict[str, Word] = {name: judged(value, low, high) for name, value in values.items()}
        if claim is POWER:
            words |= {
                name: "fails"
                for name, share in each("mute", "minimum").items()
                if share.value > 0.1
            }
        margin = {"cosine": 0.1, "size": 0.25, "power": 0.2}[measure]
        power = detection_chance(margin, values.values())
        verdicts.append(
            ruled(
                claim,
                all_judged(list(words.values())),
                f"{measure} {_shown(values)}{more}",
                f"chance to see a value {margin:g} outside the band: {power:.2f} or more",
                _where(words),
            )
        )
    table = [
        {"problem": name, "place": place}
        | {
            k: float(v)
            for k, v in columns.items()
            if np.ndim(v) == 0 and k.split("_")[0] in MEASURES
        }
        for (name, place), columns in seen.items()
    ]
    return Finding(tuple(verdicts), {"clouds": _figure(seen, names)}, {"measures": table})


def _where(words: dict[str, Any]) -> str:
    """Which problems differ."""
    groups = {
        word: [name for name, w in words.items() if w == word]
        for word in dict.fromkeys(words.values())
    }
    how = {"holds": "inside the band", "fails": "outside the band", "inconclusive": "inconclusive"}
    return (
        ""
        if len(groups) == 1
        else "; ".join(f"{how[word]} for {', '.join(names)}" for word, names in groups.items())
    )


def _shown(values: dict[str, Estimate], form: str = "") -> str:
    return ", ".join(f"{name} {form.format(v.value) if form else v}" for name, v in values.items())


def _figure(seen: dict[tuple[str, str], dict[str, Any]], names: list[str]) -> Any:
    figure, axes = new_figure(1, len(names), width=3.4, height=3.1, legend=0.5)
    for ax, name in zip(axes, names, strict=True):
        for k, place in enumerate(PLACES):
            columns = seen[name, place]
            h, v = np.asarray(columns["curvature"]), np.asarray(columns["variance"])
            seen_ = h > LEAST * np.nanmax(h)
            floor = MUTE * np.nanmax(v)
            good, bad = seen_ & (v > floor), seen_ & (v <= floor)
            label = {"minimum": "at the minimum", "start": "at the start"}[place]
            ax.loglog(h[good], v[good], MARKERS[k], ms=3.5, color=COLOURS[k], label=label)
            if bad.any():
                at, label = np.full(bad.sum(), floor), f"{label}: no noise"
                ax.loglog(h[bad], at, "v", ms=4.5, mfc="none", color=COLOURS[k], label=label)
        ends = np.array(ax.get_xlim())
        ax.loglog(ends, ends, color="0.4", lw=1, ls=(0, (4, 2)), label="C = H")
        ax.set_xlim(*ends)
        ax.set_xlabel("eigenvalue of H")
        ax.set_title(f"{name} ({PROBLEMS[name][0].replace('_', ' ')})", fontsize="medium")
    axes[0].set_ylabel("gradient variance along its eigenvector")
    shared_legend(figure, axes, len(names) + 2)
    return figure


SECTION = Section("alignment", CLAIMS, sweeps, judge)
