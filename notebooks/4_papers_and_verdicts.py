# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 4. Papers and verdicts
#
# A theory of optimisers is a set of claims: "the escape time grows as...", "SGD leaves sooner than ADAM". Each can be
# right, wrong, or right under a condition that is not named. `levysde study PATH` tests the claims in a folder; the
# folders of three papers are in `benchmarks/papers`. This notebook shows how a claim is written so that it **can be
# contradicted**, what it takes to say that a printed statement **fails**, runs one section live, and lets you write a
# claim of your own.
#
# It needs the extra `sweep` and takes about a minute.

# %%
import os
import tempfile
from pathlib import Path

import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from IPython.display import Image, display

import levysde as ls
from levysde import theory
from levysde.noise import levy_constant
from levysde.stats import Estimate
from levysde.studies import (
    Claim,
    Finding,
    Reading,
    Section,
    Study,
    Verdict,
    judged,
    load_study,
    read_verdicts,
    run_study,
)

NUM = int(
    os.environ.get("LEVYSDE_NOTEBOOK_NUM", "4000")
)  # trajectories of each point of our own study
BLUE, ORANGE, GREEN = "#2b83ba", "#d95f02", "#1b9e77"
folder = Path(tempfile.mkdtemp(prefix="levysde-papers-"))
root = next(
    p for p in (Path.cwd(), *Path.cwd().parents) if (p / "benchmarks" / "papers").is_dir()
)  # of the repository

# %% [markdown]
# ## Three papers
#
# * **Zhou et al. 2020**: gradient noise is heavy-tailed. SGD leaves a basin by a jump, at a rate that is a measure
#   m(W) of the basin. ADAM smooths the jumps away, leaves later, and so ends in sharper minima.
# * **Xie et al. 2021**: near minima the covariance of gradient noise is nearly proportional to the Hessian and inverse
#   to the batch size. So SGD leaves sharp minima exponentially sooner than flat ones.
# * **Jelassi and Li 2022**: momentum keeps going along a feature that examples share, and learns what gradient
#   descent memorises.
#
# A study is a list of sections, a section one question with its claims:

# %%
studies = {
    name: load_study(root / "benchmarks" / "papers" / name)
    for name in ("zhou2020", "xie2021", "jelassi2022")
}
display(*studies.values())

# %% [markdown]
# ## A claim, written before the run
#
# A `Claim` has the sentence, its place, what it predicts *of the numbers measured here*, and **the result that would
# contradict it**, fixed before anything runs. It also says how the statement is known: `"read"` in the work itself,
# `"restated"` by others, `"recalled"`, or a question of our `"own"`.

# %%
sections = {section.name: section for section in studies["zhou2020"].sections}
claim = sections["ordering"].claims[1]
claim

# %% [markdown]
# ## From an interval to a word
#
# What is measured comes with a 95% interval, and the claim allows a band. Inside the band: *holds*. Across its edge:
# *inconclusive*; the run could not tell, and says how small a contradiction it would have seen. *Holds only if* and
# *depends on the convention* are for claims that are right under a condition.

# %%
band = (0.9, 1.1)
examples = [Estimate(1.02, 0.97, 1.07), Estimate(1.25, 1.18, 1.32), Estimate(1.04, 0.88, 1.20)]
figure, ax = plt.subplots(figsize=(6.4, 2.4), layout="constrained")
ax.axvspan(*band, color=GREEN, alpha=0.2, label="what the claim allows")
for row, measured in enumerate(examples):
    ax.errorbar(measured.value, row, xerr=[[measured.value - measured.low], [measured.high - measured.value]],
                fmt="o", color="0.3", capsize=4)  # fmt: skip
words = [judged(measured, *band) for measured in examples]
ax.set_yticks(range(3), [word if word != "fails" else "outside the band" for word in words])
ax.set_ylim(2.6, -0.6)
ax.set_xlabel("measured over predicted, with its 95% interval (made up for this figure)")
ax.legend(frameon=False, loc="lower right")
plt.show()

# %% [markdown]
# ## What "fails" needs
#
# Outside the band is not yet *fails*. That word is a statement about other people's work, and a band is ours. It needs
# a statement that was read, its most favourable reasonable reading, and a number under that reading whose interval
# excludes everything that the statement allows: a `Reading`. The claim above, on p. 8 of Zhou et al., has a formula for
# two volumes. The most favourable reading allows any common factor and any power, so that only a sign is left.

# %%
reading = Reading(Estimate(-0.5, -0.5, -0.5), 0.0, np.inf, "V(W_SGD^c) / V(W_ADAM^c) = prod s_i^2")
Verdict(claim, "fails", "V(W_SGD^c) / V(W_ADAM^c) = (prod s_i^2)^-0.5", "exact", reading=reading)

# %% [markdown]
# Without these, the word is refused:

# %%
try:
    Verdict(sections["ordering"].claims[2], "fails", "above 1 at 24 of 108 places", "exact")
except ValueError as error:
    print(error)

# %% [markdown]
# ## Run a section
#
# Section `prefactor` of the study of Xie et al. asks whether their escape time has the right factor in front of its
# exponential, in one dimension, where the exact mean is known by quadrature. `quick=True` takes few escapes: seconds
# instead of minutes, and weaker words. In a shell: `levysde study benchmarks/papers/xie2021 --quick
# --section prefactor`.

# %%
verdicts = run_study(studies["xie2021"], folder / "xie2021", quick=True, sections=["prefactor"])
display(*verdicts)

# %% [markdown]
# The first word rests on a quadrature, without noise. Where the temperature jumps on the way, the equation needs a
# convention. In the isothermal one the exact mean tends to the law as others restate it. In Ito's it tends to **half**
# of it, since one curvature is twice the other here. So the word is *depends on the convention*, and no *fails*: the
# theorem was not read in the paper, and its most favourable reading is right. Two hundred escapes a point are too few
# for firm words on the other claims; the full study (`docs/studies/xie2021.md`) has 3,000.
#
# The folder holds the tables `verdicts.md`, every number in `data.json`, the runs, and the figure:

# %%
Image(filename=folder / "xie2021" / "prefactor-prefactor.png", width=560)

# %% [markdown]
# Points are runs with 95% intervals, lines are exact. Solid lines (Ito) go to the law with the minimum's curvature,
# dashed ones (isothermal) to the dotted line, the law as restated.
#
# ## A printed constant, in numbers
#
# Zhou et al. print (p. 7) the closed form $\Theta(\varepsilon) = \frac{2}{\alpha}\varepsilon^\alpha$ for the tail of
# the noise's Lévy measure. For noise whose characteristic function is $e^{-|k|^\alpha}$, as in their equation (p. 4),
# the tail in one dimension is $C_\alpha$ times that, $C_\alpha |y|^{-1-\alpha}$ being the density of its jumps. Their
# Theorem 1 is right with the true tail. Does the constant matter? Take a well in one dimension and the exact mean exit
# time, from the nonlocal equation, and no simulation at all. The ratio to the right law must go to 1 as the noise falls.

# %%
well, interval = ls.Quadratic(hessian=jnp.eye(1)), ls.Ball(radius=1.0, center=jnp.zeros(1))
amplitudes = np.array([0.4, 0.2, 0.1, 0.05])
figure, ax = plt.subplots(figsize=(8, 4.2), layout="constrained")
print("exact mean over the law's, at the smallest noise")
for alpha, colour, marker in ((1.2, BLUE, "o"), (1.5, ORANGE, "s"), (1.8, GREEN, "D")):
    noises = [
        ls.SGD(well, ls.StableComponents(alpha=alpha), epsilon=epsilon) for epsilon in amplitudes
    ]
    exact = np.array([theory.exact_exit(noise, interval).mean for noise in noises])
    for kind, line in (("true", "-"), ("printed", ":")):
        # unchecked: the exact mean shows how far from it each law is
        law = np.array(
            [
                ls.escape_law(noise, interval, normalization=kind, check=False).mean
                for noise in noises
            ]
        )
        ax.plot(
            amplitudes,
            exact / law,
            line,
            color=colour,
            marker=marker,
            label=f"{kind}, alpha = {alpha}",
        )
        print(
            f"  alpha = {alpha}, {kind:<7}  {exact[-1] / law[-1]:.3f}   1/C = {1 / float(levy_constant(alpha)):.3f}"
        )
ax.axhline(1, color="0.4", lw=0.8)
ax.set_xscale("log")
ax.set_yscale("log")
ax.set_xticks(amplitudes, [f"{a:g}" for a in amplitudes])
ax.set_yticks([0.5, 1, 2, 5, 10], ["0.5", "1", "2", "5", "10"])
ax.minorticks_off()
ax.set_xlabel("noise amplitude epsilon")
ax.set_ylabel("exact mean escape time / the law's")
ax.set_title("Solid: with the true tail. Dotted: with the printed closed form")
figure.legend(frameon=False, fontsize="small", loc="outside right center")
plt.show()

# %% [markdown]
# With the printed constant the ratio goes to $1/C_\alpha$, and the nearer alpha is to 2, the worse. In d dimensions it goes to
# $1/(d\,C_\alpha)$. Slopes and comparisons of one noise with itself do not feel a constant factor; comparisons with a
# measured time, or between noises, do.
#
# ## A claim of your own
#
# Folklore says: "the escape time falls as $\varepsilon^{-\alpha}$". As a claim that can fail: in a quadratic well
# with alpha = 1.5 the slope of log mean against log epsilon lies between -1.55 and -1.45. We look at weak noise and
# at strong noise, by one sweep each. (What a spec means is the subject of notebook 5.)

# %%
CLAIM = Claim(
    key="slope",
    statement="The mean escape time falls as epsilon^-alpha",
    where="folklore",
    predicted="slope of log mean in log epsilon -1.5, in the band [-1.55, -1.45]",
    fails_if="the interval of the slope lies outside the band",
    known="recalled",
)
RANGES = {"weak": (0.01, 0.04), "strong": (0.1, 0.4)}


def sweeps(quick):
    run = {
        "landscape": {"name": "Quadratic", "hessian": [[1.0, 0.0], [0.0, 4.0]]},
        "driver": {"name": "StableComponents", "alpha": 1.5},
        "dynamics": {"name": "SGD", "epsilon": 0.1},
        "domain": {"name": "Ball", "radius": 1.0},
        "kernel": {"name": "EulerMaruyama", "dt": 0.01},
        "num": NUM,
    }
    return {
        name: {
            "run": run,
            "grid": {"epsilon": {"low": low, "high": high, "num": 4, "spacing": "log"}},
        }
        for name, (low, high) in RANGES.items()
    }


def judge(found, quick):
    slopes = {name: sweep.fit("epsilon")[0].slope for name, sweep in found.items()}
    words = {name: judged(slope, -1.55, -1.45) for name, slope in slopes.items()}
    word, condition = words["weak"], ""
    if words == {"weak": "holds", "strong": "fails"}:
        word, condition = (
            "holds only if",
            f"the noise is weak (epsilon up to {RANGES['weak'][1]:g})",
        )
    measured = ", ".join(f"{name} noise: {slope}" for name, slope in slopes.items())
    widest = max(slope.high - slope.low for slope in slopes.values())
    return Finding(
        (Verdict(CLAIM, word, measured, f"intervals of at most {widest:.2f}", condition),)
    )


mine = Study("folklore", "nobody in particular", (Section("slope", (CLAIM,), sweeps, judge),))
(verdict,) = run_study(mine, folder / "folklore")
verdict

# %% [markdown]
# With 4,000 trajectories a point this came out as *holds only if* the noise is weak; with few trajectories expect
# *inconclusive*. That the word depends on the budget is as it should be.
#
# ## The verdicts of the full studies
#
# They are committed with everything that led to them, in `docs/studies`. `read_verdicts` reads them, and with that
# applies the rule for *fails* again.

# %%
table = {name: read_verdicts(root / "docs" / "studies" / name) for name in studies}
WORDS = {"holds": BLUE, "holds only if": "#92c5de", "depends on the convention": "#c2a5cf", "inconclusive": "0.75",
         "fails": ORANGE, "own finding": "#b8e0b0"}  # fmt: skip

figure, ax = plt.subplots(figsize=(7.4, 2.8), layout="constrained")
for row, verdicts in enumerate(table.values()):
    left = 0
    for word, colour in WORDS.items():
        count = sum(verdict.word == word for verdict in verdicts)
        ax.barh(
            row, count, left=left, color=colour, edgecolor="white", label=word if row == 0 else None
        )
        if count:
            ax.text(left + count / 2, row, str(count), ha="center", va="center", fontsize="small")
        left += count
ax.set_yticks(range(len(table)), list(table))
ax.invert_yaxis()
ax.set_xlabel("verdicts")
figure.legend(loc="outside upper center", ncols=3, frameon=False, fontsize="small")
plt.show()

# %% [markdown]
# The statements that fail, each with its place. Of the other two papers only abstracts could be read, so nothing of
# theirs can:

# %%
display(
    *(verdict for verdicts in table.values() for verdict in verdicts if verdict.word == "fails")
)

# %% [markdown]
# A missing constant, a product in place of its inverse root, a decay factor in place of a rate. Theorem 1 itself is not
# affected. What the three papers print, and what of it holds, is in `docs/papers.md`.
#
# **What to take away**
#
# * Write what would contradict you before you run.
# * "Fails" needs the statement itself, read, and its kindest reading, tested. All else is a finding of your own.
# * An interval that straddles the band is no verdict. More trajectories are.
# * A constant that "does not matter" is seen at once beside an exact value.
#
# **Next**: `5_a_sweep`, many settings from one file.
