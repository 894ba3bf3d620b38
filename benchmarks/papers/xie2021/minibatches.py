"""SGD with real minibatches on real data: `-log rate` against B, 1/eta and 1/k, each next to its
quadratic null model."""

from collections.abc import Callable
from typing import Any

import numpy as np

from levysde.stats import Estimate
from levysde.studies import (
    Claim,
    Finding,
    Section,
    Verdict,
    Word,
    all_judged,
    detection_chance,
    judged,
    reference,
    ruled,
)
from levysde.sweeps import Sweep

from .ladders import (
    Ladder,
    Panel,
    Series,
    bend,
    ladder,
    ladder_figure,
    pooled,
    quotient,
    rows,
    slope,
    slope_ratio,
)
from .networks import (
    BATCH,
    BATCHES,
    NAMES,
    PROBLEMS,
    at_minimum,
    basin,
    bowl,
    bowl_noise,
    height_of,
    log_rates,
    problem,
)

AXES = {"batch_size": "B", "learning_rate": "1/η", "sharpness": "1/k"}
NUM = {"logistic": 600, "depth 2": 300, "depth 3": 250}  # trajectories a rung
BOWLS = 250

LINES = Claim(
    "nets-lines",
    "SGD on logistic regression and fully connected networks of depth 2 and 3: −log rate is linear "
    "in B, 1/η and 1/k",
    "experiments to Theorem 3.2",
    "slopes at the two ends of a line differ by less than half of the slope in the middle, for "
    "all nine lines",
    "an interval of that difference outside [−0.5, 0.5]",
)
SIZE = Claim(
    "nets-exponent",
    "Are the slopes those of a saddle escape with noise covariance H/B, 2BΔL/(ηkH_a)?",
    "a question of ours: the exit is from a sublevel set without a saddle, outside the statement "
    "of Theorem 3.2",
    "measured over predicted slope 1 within a factor of 1.5, ΔL being the height of the set and "
    "H_a the largest curvature",
    "a problem's pooled interval outside [0.67, 1.5]",
    "own",
)
NULL = Claim(
    "nets-evidence",
    "Does a quadratic bowl with the minimum's Hessian and noise make straight lines too?",
    "a caution of ours (null model)",
    "the bowl's lines are straight by the same test, wherever it could be tested",
    "an interval of a relative change of slope in a bowl outside [−0.5, 0.5]",
    "own",
)
CLAIMS = (LINES, SIZE, NULL)


def values(name: str, axis: str, quick: bool) -> list[float] | list[int]:
    batches = BATCHES[:3] if quick else BATCHES
    if axis == "batch_size":
        return list(batches)
    base = at_minimum(name).rate if axis == "learning_rate" else 1.0
    return [float(f"{base * BATCH / b:.6g}") for b in batches]


def problems(quick: bool) -> tuple[str, ...]:
    return NAMES[:1] if quick else NAMES


def sweeps(quick: bool) -> dict[str, dict[str, Any]]:
    found = {}
    for i, name in enumerate(problems(quick)):
        for j, axis in enumerate(AXES):
            num, of_bowl = (100, 100) if quick else (NUM[name], BOWLS)
            for k, (kind, run) in enumerate(
                {"net": net_run(name, num), "bowl": bowl_run(name, of_bowl)}.items()
            ):
                path = {
                    "batch_size": "kernel.batch_size"
                    if kind == "net"
                    else "kernel.scale.batch_size",
                    "learning_rate": "kernel.iteration_time",
                    "sharpness": "landscape.hessian_factor",
                }[axis]
                seed = 200 + 100 * i + 10 * j + k
                found[f"{name.replace(' ', '')}-{kind}-{axis}"] = {
                    "seed": seed,
                    "run": run,
                    "grid": {path: values(name, axis, quick)},
                }
    return found


def net_run(name: str, num: int) -> dict[str, Any]:
    """Real minibatches, one look at the loss over all data an iteration."""
    kernel = {
        "name": "OptimizerKernel",
        "transformation": "sgd",
        "batch_size": BATCH,
        "sampling": "replacement",
    }
    return _run(name, problem, kernel, num)


def bowl_run(name: str, num: int) -> dict[str, Any]:
    noise = {
        "name": reference(bowl_noise),
        "batch_size": BATCH,
        "hessian_factor": {"of": "landscape.hessian_factor"},
    }
    scale = noise | {"problem": name}
    kernel = {
        "name": "OptimizerKernel",
        "transformation": "sgd",
        "driver": {"name": "Brownian"},
        "scale": scale,
    }
    return _run(name, bowl, kernel, num)


def _run(name: str, kind: Callable, kernel: dict[str, Any], num: int) -> dict[str, Any]:
    rate = {"of": "kernel.iteration_time"}
    return {
        "landscape": {"name": reference(kind), "problem": name, "hessian_factor": 1.0},
        "driver": {"name": "Brownian"},
        "dynamics": {"name": "SGD", "learning_rate": rate},
        "domain": {"name": reference(basin), "problem": name},
        "kernel": kernel
        | {
            "hyperparameters": {"learning_rate": rate},
            "iteration_time": float(f"{at_minimum(name).rate:.6g}"),
        },
        "num": num,
        "max_steps": 1_000_000,
    }


def judge(found: dict[str, Sweep], quick: bool) -> Finding:
    raw = {name: ladder(sweep) for name, sweep in found.items()}
    lines, laws = {}, {}
    for name in problems(quick):
        for axis in AXES:
            for kind in ("net", "bowl"):
                key = f"{name.replace(' ', '')}-{kind}-{axis}"
                here = raw[key]
                order = np.argsort(here.x if axis == "batch_size" else 1 / here.x)
                at = settings(name, axis, here)
                lines[name, kind, axis] = here if axis == "batch_size" else here.against(1 / here.x)
                for law in ("linear", "theorem"):
                    laws[name, kind, axis, law] = log_rates(name, at, law)[order]
    names = problems(quick)
    verdicts = (_lines(names, lines), _size(names, lines, laws), _null(names, lines))
    panels = [
        [
            Panel(
                label,
                [
                    Series("real minibatches", lines[name, "net", axis]),
                    Series(
                        "null model: bowl with the same H and C, Gaussian noise",
                        lines[name, "bowl", axis],
                    ),
                ],
                f"{name} ({PROBLEMS[name][0].replace('_', ' ')}), h = {height_of(name):.3g}",
            )
            for axis, label in AXES.items()
        ]
        for name in names
    ]
    data = {name: rows(raw[name], name.rsplit("-", 1)[1]) for name in raw}
    data["slopes"] = _slopes(names, lines, laws)
    return Finding(verdicts, {"lines": ladder_figure(panels)}, data)


def settings(name: str, axis: str, found: Ladder) -> list[tuple[float, float, float]]:
    """(B, eta, k) of each rung."""
    base = [float(BATCH), at_minimum(name).rate, 1.0]
    place = list(AXES).index(axis)
    return [tuple([*base[:place], float(x), *base[place + 1 :]]) for x in found.x]  # pyright: ignore[reportReturnType]


def _slopes(
    names: tuple[str, ...], lines: dict[Any, Ladder], laws: dict[Any, np.ndarray]
) -> list[dict[str, Any]]:
    table = []
    for name in names:
        for axis, label in AXES.items():
            for kind in ("net", "bowl"):
                here = lines[name, kind, axis]
                parts = {
                    "slope": slope(here),
                    "over linear theory": slope_ratio(here, laws[name, kind, axis, "linear"]),
                    "over theorem with C = H/B": slope_ratio(
                        here, laws[name, kind, axis, "theorem"]
                    ),
                    "bend": bend(here),
                }
                spread = {
                    f"{part} {end}": getattr(e, end)
                    for part, e in parts.items()
                    for end in ("value", "low", "high")
                }
                table.append({"problem": name, "kind": kind, "against": label} | spread)
    return table


def _lines(names: tuple[str, ...], lines: dict[Any, Ladder]) -> Verdict:
    bends = {(name, axis): bend(lines[name, "net", axis]) for name in names for axis in AXES}
    words: dict[Any, Word] = {key: judged(value, -0.5, 0.5) for key, value in bends.items()}
    together = {name: pooled([bends[name, axis] for axis in AXES]) for name in names}
    shown = "; ".join(
        f"{name}: "
        + ", ".join(f"{label} {bends[name, axis]}" for axis, label in AXES.items())
        + f", pooled {together[name]}"
        for name in names
    )
    count = sum(word == "holds" for word in words.values())
    return ruled(
        LINES,
        all_judged(list(words.values())),
        f"relative change of slope {shown}; inside the band: {count} of {len(words)}",
        f"chance to see a change of slope of 1: {detection_chance(0.5, bends.values()):.2f} or "
        "more",
        ", ".join(
            f"{name} bends" for name, value in together.items() if not value.low <= 0 <= value.high
        ),
    )


def _size(names: tuple[str, ...], lines: dict[Any, Ladder], laws: dict[Any, np.ndarray]) -> Verdict:
    ratios = {
        name: pooled(
            [
                slope_ratio(lines[name, "net", axis], laws[name, "net", axis, "theorem"])
                for axis in AXES
            ]
        )
        for name in names
    }
    linear = {
        name: pooled(
            [
                slope_ratio(lines[name, "net", axis], laws[name, "net", axis, "linear"])
                for axis in AXES
            ]
        )
        for name in names
    }
    word = judged(ratios.values(), 0.67, 1.5)
    return ruled(
        SIZE,
        word,
        f"measured over predicted {_each(ratios)}; over the linear theory with the measured "
        f"covariance {_each(linear)}",
        f"chance to see a slope off by a factor of 2: {detection_chance(0.5, ratios.values()):.2f} "
        "or more",
        "" if word == "holds" else "the noise covariance is not H/B in size: see `align-size`",
    )


def _null(names: tuple[str, ...], lines: dict[Any, Ladder]) -> Verdict:
    bends = {(name, axis): bend(lines[name, "bowl", axis]) for name in names for axis in AXES}
    words: list[Word] = [judged(value, -0.5, 0.5) for value in bends.values()]
    ratios = {
        name: pooled(
            [
                quotient(slope(lines[name, "net", axis]), slope(lines[name, "bowl", axis]))
                for axis in AXES
            ]
        )
        for name in names
    }
    word: Word = "fails" if "fails" in words else "holds" if "holds" in words else "inconclusive"
    bent = {name: pooled([bends[name, axis] for axis in AXES]) for name in names}
    return ruled(
        NULL,
        word,
        f"relative change of slope in the bowls, pooled: {_each(bent)}; slope with minibatches "
        f"over that of the bowl {_each(ratios)}; straight by the test: {words.count('holds')} of "
        f"{len(words)}, bent: {words.count('fails')}",
        "chance to see a change of slope of 1 in a bowl: "
        f"{detection_chance(0.5, bends.values()):.2f} or more",
        "a straight line alone does not distinguish the theorem from a bowl without a saddle"
        if word == "holds"
        else "",
    )


def _each(values: dict[str, Estimate]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


SECTION = Section("networks", CLAIMS, sweeps, judge)
