"""SGD with and without momentum: what the batch size does to the gain."""

from typing import Any

import numpy as np

from levysde.studies import Claim, Finding, Section, Verdict, judged, reference, ruled
from levysde.sweeps import Sweep

from ..figures import legend_below, new_figure
from .figures import bars
from .numbers import axis, over_runs, runs, shown, sight
from .training import Patches

GAMMAS = [0.0, 0.95, 0.99]
EXAMPLES = 200
STEPS = 1500
_BUDGETS = {"steps": "equal steps", "epochs": "equal epochs"}

CLAIMS = (
    Claim(
        "batch-sizes",
        "Momentum improves generalisation at every batch size",
        "Section 2, from a public summary that quotes it",
        "test error of SGD less that of SGD+M above 0 at batch sizes from 10 to all 200, gamma = "
        "0.95 and 0.99, at equal steps and at equal epochs",
        "the interval of a gain lies below 0",
        "restated",
        'momentum "consistently improves generalization" on "a wide range of batch sizes and '
        'datasets"',
    ),
    Claim(
        "gain-by-batch",
        "Does the gain depend on the batch size?",
        "a question of ours: no statement on this is known to us",
        "gain with all examples less gain with batches of 10, reported",
        "nothing: a measurement",
        "own",
    ),
)


def sweeps(quick: bool) -> dict[str, dict[str, Any]]:
    sizes = [10, 50, EXAMPLES] if quick else [10, 20, 50, 100, EXAMPLES]
    spec = {"experiment": reference(Patches), "seed": 0, "coupled": True}
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
                    over_runs(runs(sweep, n, batch_size=size, gamma=gamma))
                    for n in ("test_error", "train_error")
                )
                row = {
                    "budget": budget,
                    "batch_size": size,
                    "gamma": gamma,
                    "test_error": test.value,
                }
                rows.append(row | {"low": test.low, "high": test.high, "train_error": train.value})
    picture = _batches_figure({_BUDGETS[name]: sweep for name, sweep in found.items()}, EXAMPLES)
    return Finding((_everywhere(found), _by_batch(found)), {"gain": picture}, {"cells": rows})


def gain(sweep: Sweep, size: int, gamma: float) -> np.ndarray:
    """Test error without momentum less that with it, run by run."""
    plain, momentum = (runs(sweep, "test_error", batch_size=size, gamma=g) for g in (0.0, gamma))
    return plain - momentum


def _everywhere(found: dict[str, Sweep]) -> Verdict:
    gains = {
        f"{_BUDGETS[name]}, gamma = {gamma:g}": {
            size: over_runs(gain(sweep, size, gamma)) for size in axis(sweep, "batch_size")
        }
        for name, sweep in found.items()
        for gamma in GAMMAS[1:]
    }
    every = [one for by_size in gains.values() for one in by_size.values()]
    return ruled(
        CLAIMS[0],
        judged(every, low=0.0),
        "; ".join(
            f"{at}: gain " + ", ".join(f"{shown(one)} at {size}" for size, one in by_size.items())
            for at, by_size in gains.items()
        ),
        sight(every, 0.005, "where the interval is widest, a gain"),
    )


def _by_batch(found: dict[str, Sweep]) -> Verdict:
    more, sizes = {}, []
    for name, sweep in found.items():
        sizes = axis(sweep, "batch_size")
        for gamma in GAMMAS[1:]:
            at = f"{_BUDGETS[name]}, gamma = {gamma:g}"
            more[at] = over_runs(gain(sweep, sizes[-1], gamma) - gain(sweep, sizes[0], gamma))
    grows = [at for at, one in more.items() if one.low > 0]
    falls = [at for at, one in more.items() if one.high < 0]
    says = [
        f"the gain {verb} with the batch at {' and at '.join(at)}"
        for verb, at in (("grows", grows), ("falls", falls))
        if at
    ]
    return ruled(
        CLAIMS[1],
        "own finding",
        f"gain with {sizes[-1]} less gain with {sizes[0]} examples a batch: "
        + "; ".join(f"{shown(one)} at {at}" for at, one in more.items()),
        sight(more.values(), 0.005, "where the interval is widest, a difference"),
        "; ".join(says) or "no dependence on the batch size is seen",
    )


def _batches_figure(sweeps: dict[str, Sweep], examples: int) -> Any:
    """Test errors of SGD with and without momentum against the batch size."""
    figure, axs = new_figure(1, len(sweeps), width=4.2, height=4.0)
    for ax, (name, sweep) in zip(axs, sweeps.items(), strict=True):
        for k, gamma in enumerate(axis(sweep, "gamma")):
            label = f"SGD+M, gamma = {gamma:g}" if gamma else "SGD"
            bars(ax, axis(sweep, "batch_size"), runs(sweep, "test_error", gamma=gamma), k, label)
        ax.set_xscale("log")
        ax.set_ylim(bottom=-0.002)
        ax.set_title(name, fontsize="medium")
        ax.set_xlabel(f"batch size, of {examples} examples")
        legend_below(ax)
    axs[0].set_ylabel("test error")
    return figure


SECTION = Section("batches", CLAIMS, sweeps, judge)
