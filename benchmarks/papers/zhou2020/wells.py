"""Two wells, one sharp and narrow, one flat and wide, equally deep; and a valley steep on one side.
Where does each end?

Both are optax's own, under the same stable gradient noise. For SGD the law says: a well is left at
a rate that goes with its width alone, `width^-alpha`, so that the odds of the flat well are
`(w_flat / w_sharp)^alpha`, whatever barriers and curvatures are. ADAM's jumps are bounded by some
32 learning rates (see `model`), so that its learning rate matters.
"""

from typing import Any

import numpy as np

from levysde.stats import Estimate
from levysde.studies import (
    Claim,
    Finding,
    Section,
    Verdict,
    Word,
    detection_chance,
    judged,
    reference,
    ruled,
)
from levysde.sweeps import Sweep

from ..figures import curves, new_figure
from ..numbers import around, by_factor, width
from .experiments import WELLS, Occupation, two_wells

ALPHA, SCALE, ETA = 1.5, 0.3, 0.01  # of SGD
ADAM_RATES = (0.01, 0.03, 0.1)
SHARP, FLAT = WELLS["distances"]
ODDS = (FLAT / SHARP) ** ALPHA
_MOST_STEPS = 300_000

WIDTH = Claim(
    "width",
    "SGD leaves a well at a rate that goes with its width, so that the wide, flat one holds it "
    "longer",
    "Theorem 1 and Definition 2, p. 6",
    f"mean time out of the flat well over that out of the sharp one {ODDS:.2f}, in the band "
    f"[{0.85 * ODDS:.2f}, {1.15 * ODDS:.2f}]",
    "the interval lies outside the band",
    "read",
    "E Gamma is at the order of 1/(m(W) Theta(1/eps)); flat means a basin with a large Radon "
    "measure",
)
ENDS = Claim(
    "ends-flatter",
    "SGD ends in the flat minimum more often than ADAM",
    "title; p. 8, Section 4.2",
    "share of trajectories in the flat well after 100,000 iterations larger for SGD than for "
    f"ADAM, at ADAM's learning rates {', '.join(f'{r:g}' for r in ADAM_RATES)}, from either well",
    "at some learning rate ADAM's share is larger by more than both intervals, from both wells",
    "read",
    'for the same basin SGD escapes sooner; "ADAM will get stuck"',
)
SIDE = Claim(
    "valley-side",
    "In a valley that is steep on one side, SGD stays longer on the flat side",
    "He, Huang and Yuan, NeurIPS 2019 (abstract; the caption of their Figure 1c, in a public "
    "review), about SGD alone",
    "share of SGD on the flat side above 0.5",
    "the interval of the share lies below 0.5",
    "restated",
)
VALLEY = Claim(
    "valley",
    "Is SGD more on the flat side of such a valley than ADAM?",
    "a question of ours: Zhou et al. claim that such valleys hold SGD long (p. 1-3, 6, 8, 9), and "
    "nothing about the side",
    "share on the flat side larger for SGD than for ADAM at each of its learning rates",
    "at some learning rate ADAM's share is larger by more than both intervals",
    "own",
)
CLAIMS = (WIDTH, ENDS, SIDE, VALLEY)


def sweeps(quick: bool) -> dict[str, dict[str, Any]]:
    num, many = (200, 400) if quick else (2000, 8000)
    axes = {"optimizer": ["sgd", *["adam"] * len(ADAM_RATES)], "learning_rate": [ETA, *ADAM_RATES]}
    where = {
        "scale": SCALE,
        "alpha": ALPHA,
        "num": many,
        "iterations": 20_000 if quick else 100_000,
    }
    return {
        "out-of-sharp": _escapes(601, num, right=False),
        "out-of-flat": _escapes(602, num, right=True),
        "two-wells": {"experiment": reference(Occupation), "seed": 603, "run": where, "list": axes},
        "valley": {
            "experiment": reference(Occupation),
            "seed": 604,
            "run": where | {"landscape": "valley"},
            "list": axes,
        },
    }


def _escapes(seed: int, num: int, *, right: bool) -> dict[str, Any]:
    """SGD out of one well, over the saddle at 0."""
    box = {"lower": [0.0], "upper": [1e9]} if right else {"lower": [-1e9], "upper": [0.0]}
    run = {
        "landscape": {"name": reference(two_wells)},
        "dynamics": {"name": "Langevin", "diffusion": 1.0},
        "domain": {"name": "Box"} | box,
        "kernel": {
            "name": "OptimizerKernel",
            "transformation": "sgd",
            "driver": {"name": "StableComponents", "alpha": ALPHA},
            "scale": SCALE,
            "hyperparameters": {"learning_rate": ETA},
        },
        "start": [FLAT if right else -SHARP],
        "num": num,
        "max_steps": _MOST_STEPS,
    }
    return {"seed": seed, "run": run, "grid": {"scale": [SCALE]}}


def judge(found: dict[str, Sweep], quick: bool) -> Finding:
    ratio = _time_ratio(
        *(
            found[name].columns(found[name].plan.points[0])
            for name in ("out-of-flat", "out-of-sharp")
        )
    )
    ends = {name: _shares(found[name]) for name in ("two-wells", "valley")}
    on_flat = next(iter(ends["valley"].values()))["all"]
    verdicts = (
        ruled(
            WIDTH,
            judged(ratio, 0.85 * ODDS, 1.15 * ODDS),
            f"{ratio}",
            f"chance to see a ratio 30% off: {detection_chance(0.15 * ODDS, ratio):.2f}",
        ),
        _compared(ENDS, ends["two-wells"], ("left", "right")),
        ruled(
            SIDE,
            judged(on_flat, low=0.5),
            f"share of SGD on the flat side {on_flat}",
            f"chance to see a share of 0.48: {detection_chance(0.02, on_flat):.2f}",
        ),
        _compared(VALLEY, ends["valley"], ("all",)),
    )
    rows = [
        {"landscape": name} | row
        for name, sweep in found.items()
        if name in ends
        for row in _rows(sweep)
    ]
    return Finding(
        verdicts,
        {"ends": _figure(ends)},
        {"shares": rows, "times": [{"flat_over_sharp": ratio.value}]},
    )


def _time_ratio(flat: dict[str, Any], sharp: dict[str, Any]) -> Estimate:
    value = float(flat["mean_time"] / sharp["mean_time"])
    half = 1.96 * np.sqrt(1 / flat["escapes"] + 1 / sharp["escapes"])
    return by_factor(value, half)


def _shares(sweep: Sweep) -> dict[str, dict[str, Estimate]]:
    """Shares on the flat side by optimiser and by start, with 95% intervals (normal, of a
    share)."""
    shares = {}
    for point in sweep.plan.points:
        columns, half = sweep.columns(point), point.settings.num // 2
        left, right = float(columns["right_from_left"]), float(columns["right_from_right"])
        name = f"{point.settings.optimizer} {point.settings.learning_rate:g}"
        shares[name] = {
            "left": _share(left, half),
            "right": _share(right, half),
            "all": _share((left + right) / 2, 2 * half),
        }
    return shares


def _share(value: float, num: int) -> Estimate:
    half = 1.96 * np.sqrt(max(value * (1 - value), 1 / num) / num)
    return around(value, half)


def _compared(
    claim: Claim, shares: dict[str, dict[str, Estimate]], starts: tuple[str, ...]
) -> Verdict:
    sgd, adam = next(iter(shares.items())), list(shares.items())[1:]
    words: dict[str, Word] = {}
    for name, found in adam:
        above = [sgd[1][s].low > found[s].high for s in starts]
        below = [sgd[1][s].high < found[s].low for s in starts]
        words[name] = "holds" if all(above) else "fails" if all(below) else "inconclusive"
    kinds = set(words.values())
    word: Word = (
        kinds.pop()
        if len(kinds) == 1
        else "holds only if"
        if "holds" in kinds
        else "fails"
        if "fails" in kinds
        else "inconclusive"
    )
    condition = ""
    if word == "holds only if":
        condition = "ADAM's learning rate is " + " or ".join(
            n.split()[1] for n, w in words.items() if w == "holds"
        )
        condition += "; at " + ", ".join(
            f"{n.split()[1]} it {'fails' if w == 'fails' else 'depends on the start'}"
            for n, w in words.items()
            if w != "holds"
        )
    text = "; ".join(
        f"{name}: "
        + ", ".join(
            f"{found[s].value:.3f}" + (f" from the {s}" if s != "all" else "") for s in starts
        )
        for name, found in shares.items()
    )
    half = max(width(found[s]) for found in shares.values() for s in starts) / 2
    return ruled(claim, word, text, f"intervals of {half:.3f} at most", condition)


def _rows(sweep: Sweep) -> list[dict[str, Any]]:
    return [
        {"optimizer": p.settings.optimizer, "learning_rate": p.settings.learning_rate}
        | sweep.columns(p)
        for p in sweep.plan.points
    ]


def _figure(ends: dict[str, dict[str, dict[str, Estimate]]]) -> Any:
    figure, axes = new_figure(1, 2)
    for ax, (name, shares) in zip(axes, ends.items(), strict=True):
        starts = (
            {"left": "begun in the sharp well", "right": "begun in the flat well"}
            if name == "two-wells"
            else {"all": "all"}
        )
        lines = {
            label: (range(len(shares)), [found[s] for found in shares.values()])
            for s, label in starts.items()
        }
        curves(ax, lines, "", "share on the flat side", scale="linear")
        for line in ax.lines:
            line.set_linestyle("")
        ax.set_xticks(range(len(shares)), [n.upper().replace(" ", "\n") for n in shares])
        if name == "two-wells":
            ax.set_ylim(-0.03, 1.03)
        ax.set_title("two wells" if name == "two-wells" else "a valley, steep on the left")
    axes[0].axhline(ODDS / (1 + ODDS), color="0.5", ls="--", lw=1)
    axes[0].annotate(
        "by widths (SGD)",
        (0.36, ODDS / (1 + ODDS) + 0.01),
        xycoords=("axes fraction", "data"),
        fontsize=8,
    )
    return figure


SECTION = Section("wells", CLAIMS, sweeps, judge)
