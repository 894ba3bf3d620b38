"""ADAM on the patch data: with and without its average of gradients. The paper's theorems are on GD
and GD+M only."""

from typing import Any

from levysde.studies import (
    Claim,
    Finding,
    Section,
    Verdict,
    Word,
    all_judged,
    judged,
    reference,
    ruled,
)
from levysde.sweeps import Sweep

from ..figures import legend_below, new_figure
from .figures import bars, plain_log
from .numbers import axis, over_runs, runs, share, shown, sight
from .training import Patches

BETAS = [0.0, 0.9, 0.99]
RATES = [0.001, 0.003, 0.01, 0.03]
_GAIN = 0.005
MU = 0.1  # the default of the patches

CLAIMS = (
    Claim(
        "adam-learns",
        "Does ADAM (beta1 = 0.9) learn the small-margin points as GD+M does?",
        "a question of ours: no text of theirs on ADAM is known to us",
        "test error near 0 at every learning rate, training error zero",
        "mean test error above 0.005 at any learning rate",
        "own",
    ),
    Claim(
        "adam-average",
        "Is it the average of gradients that helps in ADAM too?",
        "a question of ours to the mechanism (historical gradients)",
        f"test error at beta1 = 0 less that at beta1 = 0.9: at least {_GAIN:g} at every learning "
        "rate",
        f"below {_GAIN:g} at any learning rate",
        "own",
    ),
)


def sweeps(quick: bool) -> dict[str, dict[str, Any]]:
    run = {"runs": 4 if quick else 16, "rule": "adam", "steps": 1500}
    grid = {"learning_rate": RATES[1:3] if quick else RATES, "gamma": BETAS}
    spec = {"experiment": reference(Patches), "seed": 0, "coupled": True}
    return {"rates": spec | {"run": run, "grid": grid}}


def judge(found: dict[str, Sweep], quick: bool) -> Finding:
    sweep = found["rates"]
    rows = []
    for eta in axis(sweep, "learning_rate"):
        for beta1 in axis(sweep, "gamma"):
            test = over_runs(runs(sweep, "test_error", learning_rate=eta, gamma=beta1))
            row = {
                "learning_rate": eta,
                "beta1": beta1,
                "test_error": test.value,
                "low": test.low,
                "high": test.high,
            }
            for name in ("train_error", "test_small", "test_large", "signal"):
                row[name] = float(runs(sweep, name, learning_rate=eta, gamma=beta1).mean())
            rows.append(row)
    return Finding(
        (_learns(sweep), _average(sweep)), {"errors": _adam_figure(sweep, MU)}, {"cells": rows}
    )


def _learns(sweep: Sweep) -> Verdict:
    rates = axis(sweep, "learning_rate")
    tests = [over_runs(runs(sweep, "test_error", learning_rate=eta, gamma=0.9)) for eta in rates]
    train = runs(sweep, "train_error", gamma=0.9)
    done = share(int((train == 0).sum()), train.size)
    words: list[Word] = [judged(one, high=0.005) for one in tests]
    return _in_some(
        CLAIMS[0],
        words,
        rates,
        _listed(tests, rates) + f"; runs with zero training error {shown(done)}",
        sight(tests, 0.01, "where the interval is widest, an excess"),
    )


def _average(sweep: Sweep) -> Verdict:
    rates = axis(sweep, "learning_rate")
    gains = [
        over_runs(plain - averaged)
        for eta in rates
        for plain, averaged in [
            [runs(sweep, "test_error", learning_rate=eta, gamma=beta1) for beta1 in (0.0, 0.9)]
        ]
    ]
    words: list[Word] = [judged(one, low=_GAIN) for one in gains]
    power = sight(gains, 0.01, "where the interval is widest, a deviation")
    return _in_some(CLAIMS[1], words, rates, _listed(gains, rates), power)


def _listed(found: list[Any], rates: list[float]) -> str:
    return ", ".join(f"{shown(one)} at {eta:g}" for one, eta in zip(found, rates, strict=True))


def _in_some(claim: Claim, words: list[Word], rates: list[float], text: str, power: str) -> Verdict:
    """Where it holds at some learning rates and fails at others, these are named."""
    held = [f"{eta:g}" for word, eta in zip(words, rates, strict=True) if word == "holds"]
    if held and "fails" in words:
        return ruled(
            claim, "holds only if", text, power, f"the learning rate is {' or '.join(held)}"
        )
    return ruled(claim, all_judged(words), text, power)


def _adam_figure(sweep: Sweep, mu: float) -> Any:
    """Test errors of ADAM against its learning rate, from 0, where GD+M is."""
    figure, (left, right) = new_figure(1, 2, width=4.2, height=4.0)
    for k, beta1 in enumerate(axis(sweep, "gamma")):
        for ax, name in ((left, "test_error"), (right, "signal")):
            bars(
                ax,
                axis(sweep, "learning_rate"),
                runs(sweep, name, gamma=beta1),
                k,
                f"beta1 = {beta1:g}",
            )
    left.set_ylabel("test error")
    left.set_ylim(0, 1.2 * mu / 2)
    left.axhline(
        mu / 2,
        color="0.5",
        linewidth=0.8,
        linestyle="--",
        label="mu/2, as GD (GD+M, gamma = .99: 0)",
    )
    right.set_ylabel("learned signal |c|")
    plain_log(right)
    for ax in (left, right):
        ax.set_xscale("log")
        ax.set_xlabel("ADAM's learning rate")
        legend_below(ax)
    return figure


SECTION = Section("adam", CLAIMS, sweeps, judge)
