"""Tail indices of SGD's and of ADAM's noise during training, by three estimators, beside noise
whose index is known."""

from typing import Any

from levysde.stats import Estimate
from levysde.studies import (
    Claim,
    Finding,
    Section,
    all_judged,
    detection_chance,
    judged,
    reference,
    ruled,
)
from levysde.sweeps import Sweep

from ..figures import new_figure, plain_ticks, points, shared_legend
from ..numbers import around
from .experiments import Tails

EPOCHS = (0, 10, 100, 1000)
HOW = {"block": "block log-moment (Mohammadi)", "fit": "characteristic function", "hill": "Hill"}

HEAVY = Claim(
    "heavy-tails",
    "Is the gradient noise of a small network heavy-tailed, and at which stage of training?",
    "a question of ours; Figure 1 (p. 2) shows AlexNet on CIFAR10 with fitted laws and prints no "
    "alpha",
    "index of raw minibatch noise (10 of 300 digits) below 1.9 by the characteristic function, at "
    "every stage of training",
    "the interval of the index lies above 1.9 at every stage, by an estimator that reads 2 on "
    "Gaussian noise",
    "own",
)
LIGHTER = Claim(
    "averaging",
    "ADAM's average of the gradient has lighter tails than SGD's gradient",
    'abstract (b); p. 7. (p. 5 expects of the average "similar behaviors", the same SaS(1))',
    "index of the average (values apart) over that of the raw noise, by the characteristic "
    "function: higher where that is below 1.9, and nowhere lower by more than 0.02; for exact "
    "stable noise, averaging does not change the index",
    "the interval of the difference lies below 0 where the raw index is below 1.9, or below -0.02 "
    "anywhere",
    "read",
    'the exponential gradient average "leads to lighter gradient noise tails than SGD"',
)
ESTIMATOR = Claim(
    "estimator",
    "Does the block log-moment estimator read the index of averaged noise?",
    "advice of ours; the paper's code applies it to raw gradients",
    "on averages of known noise, in a row: the index that went in, within 0.1",
    "the interval of a reading lies further than 0.1 from the index that went in",
    "own",
)
CLAIMS = (HEAVY, LIGHTER, ESTIMATOR)


def sweeps(quick: bool) -> dict[str, dict[str, Any]]:
    length = 8000 if quick else 40_000
    epochs = list(EPOCHS[1:3] if quick else EPOCHS)
    network = {"optimizer": ["sgd", "adam"], "epochs": epochs}
    controls = {
        "source": ["stable", "stable", "gaussian", "mixture"],
        "alpha": [1.5, 1.8, 2.0, 2.0],
    }
    return {
        "network": {
            "experiment": reference(Tails),
            "seed": 501,
            "run": {"length": length, "learning_rate": 0.02},
            "grid": network,
        },
        "controls": {
            "experiment": reference(Tails),
            "seed": 502,
            "run": {"length": length},
            "list": controls,
        },
    }


def reading(columns: dict[str, Any], name: str) -> Estimate:
    value, half = float(columns[name]), 1.96 * float(columns[f"{name}_error"])
    return around(value, half)


def difference(columns: dict[str, Any]) -> Estimate:
    """Index of the average, values apart, less that of the raw noise; errors taken as
    independent."""
    apart, raw = reading(columns, "apart_fit"), reading(columns, "raw_fit")
    half = ((apart.high - apart.value) ** 2 + (raw.high - raw.value) ** 2) ** 0.5
    return around(apart.value - raw.value, half)


def judge(found: dict[str, Sweep], quick: bool) -> Finding:
    stages = {
        (point.settings.optimizer, point.settings.epochs): found["network"].columns(point)
        for point in found["network"].plan.points
    }
    controls = {
        f"{point.settings.source} {point.settings.alpha:g}": (
            point.settings.alpha,
            found["controls"].columns(point),
        )
        for point in found["controls"].plan.points
    }
    raw = {stage: reading(columns, "raw_fit") for stage, columns in stages.items()}
    lighter = {stage: difference(columns) for stage, columns in stages.items()}
    unchanged = {
        name: difference(columns)
        for name, (_, columns) in controls.items()
        if name.startswith("stable")
    }
    known = {
        n: (truth, reading(c, "averaged_block"))
        for n, (truth, c) in controls.items()
        if n != "mixture 2"
    }
    grow = all_judged(
        [judged(d, low=0.0 if raw[stage].high < 1.9 else -0.02) for stage, d in lighter.items()]
    )
    verdicts = (
        ruled(
            HEAVY,
            "own finding",
            "; ".join(f"{index} ({who}, epoch {epoch})" for (who, epoch), index in raw.items()),
            f"on Gaussian noise it reads {reading(controls['gaussian 2'][1], 'raw_fit')}; on a "
            "mixture of two normals, whose tail is Gaussian, "
            f"{reading(controls['mixture 2'][1], 'raw_fit')}: a low reading does not show a heavy "
            "tail",
            "yes at "
            + (
                ", ".join(f"{who}, epoch {e}" for (who, e), i in raw.items() if i.high < 1.9)
                or "no stage"
            )
            + "; the index alone does not distinguish a heavy tail from a mixture of normals",
        ),
        ruled(
            LIGHTER,
            "holds only if" if grow == "holds" else grow,
            "; ".join(f"{d} ({who}, epoch {epoch})" for (who, epoch), d in lighter.items())
            + "; stable noise: "
            + "; ".join(f"{d} ({name})" for name, d in unchanged.items()),
            f"chance to see a fall by 0.1: {detection_chance(0.1, lighter.values()):.2f}",
            "the noise is not stable: a sum of many examples goes to a normal law, an average of "
            "stable noise keeps its index"
            if grow == "holds"
            else "",
        ),
        ruled(
            ESTIMATOR,
            all_judged(
                [judged(index, truth - 0.1, truth + 0.1) for truth, index in known.values()]
            ),
            "; ".join(f"{index} for {truth:g}" for truth, index in known.values()),
            "intervals of a few hundredths",
        ),
    )
    return Finding(
        verdicts, {"indices": _figure(stages, controls)}, {"readings": _rows(stages, controls)}
    )


def _rows(stages: dict[Any, Any], controls: dict[str, Any]) -> list[dict[str, Any]]:
    rows = [
        {"noise": f"{who}, epoch {epoch}"} | columns for (who, epoch), columns in stages.items()
    ]
    return rows + [{"noise": name} | columns for name, (_, columns) in controls.items()]


def _figure(stages: dict[Any, Any], controls: dict[str, Any]) -> Any:
    figure, axes = new_figure(1, 2)
    labels = {
        "raw": "as SGD takes it",
        "averaged": "ADAM's average, in a row",
        "apart": "ADAM's average, values apart",
    }
    groups = (
        {f"{who.upper()}\nepoch\n{epoch}": columns for (who, epoch), columns in stages.items()},
        {name.replace(" ", "\n"): columns for name, (_, columns) in controls.items()},
    )
    for ax, group, title in zip(
        axes, groups, ("minibatches of 10, digits", "noise of known index"), strict=True
    ):
        for k, kind in enumerate(labels):
            for j, how in enumerate(HOW):
                found = [reading(columns, f"{kind}_{how}") for columns in group.values()]
                x = [i + 0.22 * (k - 1) + 0.06 * (j - 1) for i in range(len(group))]
                points(
                    ax,
                    x,
                    found,
                    fmt="os^"[j],
                    lw=1,
                    color=f"C{k}",
                    label=f"{labels[kind]}: {HOW[how]}",
                )
        ax.axhline(2, color="0.5", lw=1, ls="--")
        ax.set_xticks(range(len(group)), list(group), fontsize=7)
        ax.set(
            ylabel="tail index, median over coordinates", title=title, yscale="log", ylim=(0.95, 20)
        )
        plain_ticks(ax.yaxis, [1, 1.5, 2, 3, 5, 10])
    shared_legend(figure, axes[1:], 3, fontsize=7, loc="outside lower center")
    return figure


SECTION = Section("tails", CLAIMS, sweeps, judge)
