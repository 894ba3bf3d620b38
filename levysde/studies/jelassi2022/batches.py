"""SGD with and without momentum: what the batch size does to the gain."""

from typing import Any

import numpy as np

from levysde.studies.jelassi2022 import figures
from levysde.studies.jelassi2022.numbers import axis, over_runs, runs, shown, sight
from levysde.studies.study import Finding, Section
from levysde.studies.verdicts import Claim, Verdict, all_judged, judged
from levysde.sweeps import Sweep

GAMMAS = [0.0, 0.95, 0.99]
MOMENTUM = 0.99  # its gain is nearly mu/2, the most there can be; that of .95 has room to grow
EXAMPLES = 200
STEPS = 1500
_GAIN = 0.005  # a tenth of the gain at full batch
_BUDGETS = {"steps": "equal steps", "epochs": "equal epochs"}

CLAIMS = (
    Claim(
        "stochastic-gain",
        "With minibatches momentum helps as it does with all examples",
        "section 2 (known from a summary that quotes it: over a wide range of batch sizes)",
        f"test error of SGD less that of SGD+M (gamma = {MOMENTUM:g}) at least {_GAIN:g} at every batch size, equal steps",
        f"a batch size at which it is below {_GAIN:g}",
    ),
    Claim(
        "gain-grows-with-batch",
        "The gain by momentum is larger for larger batches",
        "introduction and experiments (recalled, CIFAR-10)",
        "gain at full batch less gain at the smallest batch: positive, for gamma = .95 (.99 gains nearly all there is)",
        f"it is below {_GAIN:g} for either momentum, at equal steps and at equal epochs",
    ),
)


def sweeps(quick: bool) -> dict[str, dict[str, Any]]:
    sizes = [10, 50, EXAMPLES] if quick else [10, 20, 50, 100, EXAMPLES]
    spec = {"experiment": "levysde.studies.jelassi2022.training:PATCHES", "seed": 0, "coupled": True}
    grid = {"batch_size": sizes, "gamma": GAMMAS}
    run = {"runs": 4 if quick else 16, "examples": EXAMPLES}
    epochs = 300 if quick else STEPS
    return {
        "steps": spec | {"run": run | {"steps": STEPS}, "grid": grid},
        "epochs": spec | {"run": run | {"epochs": epochs}, "grid": grid},
    }


def judge(found: dict[str, Sweep], quick: bool) -> Finding:
    rows = []
    for budget, sweep in found.items():
        for size in axis(sweep, "batch_size"):
            for gamma in axis(sweep, "gamma"):
                test, train = (
                    over_runs(runs(sweep, n, batch_size=size, gamma=gamma)) for n in ("test_error", "train_error")
                )
                row = {"budget": budget, "batch_size": size, "gamma": gamma, "test_error": test.value}
                rows.append(row | {"low": test.low, "high": test.high, "train_error": train.value})
    picture = figures.batches({_BUDGETS[name]: sweep for name, sweep in found.items()}, EXAMPLES)
    return Finding((_everywhere(found["steps"]), _grows(found)), {"gain": picture}, {"cells": rows})


def gain(sweep: Sweep, size: int, gamma: float = MOMENTUM) -> np.ndarray:
    """Test error without momentum less that with it, run by run."""
    plain, momentum = (runs(sweep, "test_error", batch_size=size, gamma=g) for g in (0.0, gamma))
    return plain - momentum


def _everywhere(sweep: Sweep) -> Verdict:
    gains = {size: over_runs(gain(sweep, size)) for size in axis(sweep, "batch_size")}
    most = max(gains.values(), key=lambda one: one.high - one.low)
    return Verdict(
        CLAIMS[0],
        all_judged([judged(one, low=_GAIN) for one in gains.values()]),
        "gain " + ", ".join(f"{shown(one)} at {size}" for size, one in gains.items()),
        sight(most, 0.01, "where the interval is widest, a deviation"),
    )


def _grows(found: dict[str, Sweep]) -> Verdict:
    more, words, sizes = {}, {}, []
    for name, sweep in found.items():
        sizes = axis(sweep, "batch_size")
        for gamma in GAMMAS[1:]:
            at = f"{_BUDGETS[name]}, gamma = {gamma:g}"
            more[at] = over_runs(gain(sweep, sizes[-1], gamma) - gain(sweep, sizes[0], gamma))
            words[at] = judged(more[at], low=_GAIN)
    widest = max(more.values(), key=lambda one: one.high - one.low)
    text = f"batches of {sizes[-1]} and {sizes[0]}: " + "; ".join(f"{shown(one)} at {at}" for at, one in more.items())
    power = sight(widest, 0.01, "where the interval is widest, a difference")
    held = [at for at, word in words.items() if word == "holds"]
    if held and "fails" in words.values():
        return Verdict(CLAIMS[1], "holds only if", text, power, " or ".join(held))
    return Verdict(CLAIMS[1], all_judged(list(words.values())), text, power)


SECTION = Section("batches", CLAIMS, sweeps, judge)
