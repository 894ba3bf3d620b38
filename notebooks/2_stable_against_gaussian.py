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
# # 2. Stable and Gaussian noise: barrier or width?
#
# This notebook shows what decides how long an optimiser stays in a minimum. The literature has
# two answers. If gradient noise is **Gaussian**, a path has to climb, and the escape time grows
# exponentially with the *height* of the barrier (Kramers). If it is heavy-tailed
# (alpha-**stable**), one large jump is enough, and the escape time grows with the *width* of the
# valley by a power law and does not depend on the height.
#
# Both are compared here in one dimension, where the mean exit time is known exactly for both
# noises. The simulation can therefore be compared with a number and not only with a trend. The
# notebook takes about a minute and uses the terms of notebook 1.

# %%
import os
import warnings

import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import levysde as ls
from levysde import theory

NUM = int(os.environ.get("LEVYSDE_NOTEBOOK_NUM", "5000"))  # trajectories of each point
ALPHA, EPSILON, TEMPERATURE = 1.5, 0.1, 0.1
BLUE, ORANGE = "#2b83ba", "#d95f02"

# %% [markdown]
# ## One valley, two noises
#
# The landscape is a double well, `F(x) = h ((x/w)^2 - 1)^2`, with minima at `-w` and `w` and a
# saddle of height `h` between them. A path starts in the left minimum and has escaped when it is
# right of the saddle. A jump of stable noise may also go far to the left, so a position below `-4
# w` counts as an escape too. This does not change the Gaussian case, because the left wall is
# steep.
#
# `Langevin` is the gradient flow with Gaussian noise of temperature `D`. `SGD` with
# `StableComponents` is the model of notebook 1.


# %%
def problem(height, width):
    """Landscape, valley, start."""
    well = ls.DoubleWell(barrier=height, distance=width)
    return well, ls.Box(lower=jnp.array([-4.0 * width]), upper=jnp.zeros(1)), well.minimum


def gaussian_dynamics(well):
    return ls.Langevin(well, diffusion=TEMPERATURE)


def stable_dynamics(well):
    return ls.SGD(well, ls.StableComponents(alpha=ALPHA), epsilon=EPSILON)


# %%
well, valley, start = problem(0.4, 1.0)
noises = {"Gaussian": (gaussian_dynamics, BLUE, "o"), "stable": (stable_dynamics, ORANGE, "s")}
figure, panels = plt.subplots(1, 2, figsize=(10, 3.6), sharey=True, layout="constrained")
for ax, (name, (dynamics, colour, _)) in zip(panels, noises.items(), strict=True):
    kernel = ls.EulerMaruyama(dynamics(well), dt=0.005)
    path = ls.simulate_paths(kernel, start, seed=8, num=1, every=10, max_time=500.0, domain=valley)
    ls.plots.paths(path, ax=ax, artist={"color": colour, "markerfacecolor": colour})
    ax.axhline(0, color="0.4", lw=0.8, ls="--")
    ax.set_ylim(-1.9, 0.9)
    ax.set_title(f"{name} noise")
panels[1].set_ylabel("")
plt.show()

# %% [markdown]
# The plot has one path for each noise; the dashed line is the saddle. Under Gaussian noise the
# path makes many attempts before it crosses, and some nearly succeed. Under stable noise it stays
# low and leaves by a single jump.
#
# ## Three numbers for each noise
#
# * **Exact**: `exact_exit` computes the mean by quadrature (Gaussian) or from the nonlocal
#   equation (stable), without asymptotics.
# * **Law**: Kramers' law uses the curvatures of well and saddle. The escape law of jumps uses
#   only distances.
# * **Simulated**, with steppers that have no leading discretisation bias. `Bridged` detects
#   crossings between two steps. `JumpAdapted` draws the time of every large jump, so that it need
#   not fall on a multiple of dt, and `Shifted` corrects for the small jumps.


# %%
# the lowest barrier is 2 D, where Kramers' law warns; the plot below shows how far it is off
warnings.filterwarnings("ignore", "the lowest barrier", ls.AccuracyWarning)


def gaussian(height, width):
    well, valley, start = problem(height, width)
    dynamics = gaussian_dynamics(well)
    law = theory.kramers_law(
        well, saddles=well.saddles, diffusion=TEMPERATURE, escape="saddle"
    ).mean
    kernel = ls.Bridged(ls.OrnsteinUhlenbeck(dynamics, dt=time_step(well)), valley)
    run = ls.simulate_escape(kernel, valley, start, num=NUM, seed=round(1000 * height + 10 * width))
    return theory.exact_exit(dynamics, valley).mean, law, run


def stable(height, width):
    well, valley, start = problem(height, width)
    dynamics = stable_dynamics(well)
    cutoff = 0.02 * width / EPSILON  # smaller jumps are made Gaussian: a fiftieth of the way
    basin = ls.Shifted(valley, dynamics, cutoff=cutoff)
    kernel = ls.JumpAdapted(dynamics, dt=time_step(well), cutoff=cutoff, domain=basin)
    run = ls.simulate_escape(kernel, basin, start, num=NUM, seed=round(2000 * height + 10 * width))
    return (
        theory.exact_exit(dynamics, valley).mean,
        theory.escape_law(dynamics, valley, check=False).mean,
        run,
    )


def time_step(well):
    """Time step: a twentieth of the relaxation time at the minimum."""
    return 0.05 / float(jnp.max(well.hessian(well.minimum)))


# %% [markdown]
# ## Vary the height and the width
#
# With the height, the Gaussian time should grow by orders of magnitude and the stable time should
# stay the same. With the width, the stable time should grow as `w^1.5`.

# %%
HEIGHTS, WIDTHS = np.array([0.2, 0.4, 0.6]), np.array([0.6, 1.0, 1.7])
points = {"height": [(h, 1.0) for h in HEIGHTS], "width": [(0.4, w) for w in WIDTHS]}
every = dict.fromkeys(points["height"] + points["width"])  # one point is on both
found = {}
for name, run in (("Gaussian", gaussian), ("stable", stable)):
    at = {point: run(*point) for point in every}
    found |= {(name, what): [at[point] for point in points[what]] for what in points}

# %%
figure, panels = plt.subplots(1, 2, figsize=(10, 4.6), sharey=True, layout="constrained")
for ax, what, x in zip(panels, ("height", "width"), (HEIGHTS, WIDTHS), strict=True):
    for name, (_, colour, marker) in noises.items():
        exact, law, runs = zip(*found[name, what], strict=True)
        mean = [ls.stats.mean_time(run.time, run.exited) for run in runs]
        value = np.array([m.value for m in mean])
        bars = [value - [m.low for m in mean], [m.high for m in mean] - value]
        ax.plot(x, exact, color=colour, label=f"{name}: exact")
        ax.plot(x, law, color=colour, linestyle=(0, (4, 1.5)), label=f"{name}: law for weak noise")
        ax.errorbar(
            x,
            value,
            bars,
            fmt=marker,
            color=colour,
            ms=5,
            capsize=3,
            label=f"{name}: simulated, 95%",
        )
    ax.set_yscale("log")
panels[0].set_xlabel("height h of the barrier (width w = 1)")
panels[0].set_ylabel("mean escape time (SDE time)")
panels[1].set_xlabel("width w of the valley (height h = 0.4)")
panels[1].set_xscale("log")
panels[1].set_xticks(WIDTHS, [f"{w:g}" for w in WIDTHS])
panels[0].set_yticks([10, 30, 100, 300, 1000], ["10", "30", "100", "300", "1000"])
panels[0].set_ylim(10, 900)
for ax in panels:
    ax.minorticks_off()
named = dict(sorted(zip(*reversed(panels[0].get_legend_handles_labels()), strict=True)))
figure.legend(named.values(), named.keys(), loc="outside lower center", ncols=2, frameon=False)
figure.suptitle(
    f"The height matters under Gaussian noise (D = {TEMPERATURE}), the width under stable noise "
    f"(alpha = {ALPHA}, eps = {EPSILON})"
)
plt.show()

# %% [markdown]
# In the left panel the Gaussian escape time grows as `exp(h / D) / h`; the factor `1 / h` comes
# from the prefactor. The stable time hardly changes. In the right panel the stable time grows as
# `w^1.5`. The Gaussian time also grows with the width, as `w^2`, but only through the prefactor:
# a wider valley has smaller curvatures, so the path moves more slowly.
#
# The slopes, computed from the simulated means:

# %%
for name in noises:
    times = {
        what: np.array([run.time.mean() for _, _, run in found[name, what]])
        for what in ("height", "width")
    }
    per_height = np.polyfit(HEIGHTS, np.log(times["height"]), 1)[0] * TEMPERATURE
    per_width = np.polyfit(np.log(WIDTHS), np.log(times["width"]), 1)[0]
    print(
        f"{name:>8}: d log(time) / d (h/D) = {per_height:5.2f},   d log(time) / d log(w) = "
        f"{per_width:4.2f}"
    )

# %% [markdown]
# ## How good are the laws?
#
# Both laws are limits for small noise, and both are approached slowly. The first column compares
# the simulation with the exact mean; about 19 of 20 intervals should contain 1. The last column
# is the error of the law at this noise.

# %%
print(f"{'':>8} {'h':>5} {'w':>5}  simulated / exact        law / exact")
for name in noises:
    for point, (exact, law, run) in dict(
        zip(
            points["height"] + points["width"],
            found[name, "height"] + found[name, "width"],
            strict=True,
        )
    ).items():
        mean = ls.stats.mean_time(run.time, run.exited)
        interval = f"{mean.value / exact:.3f} [{mean.low / exact:.3f}, {mean.high / exact:.3f}]"
        print(f"{name:>8} {point[0]:5.2f} {point[1]:5.2f}  {interval:<23}  {law / exact:.3f}")

# %% [markdown]
# With 5,000 trajectories the intervals are 6% wide, and the laws were off by 7 to 21%. Without
# the exact value you could not tell whether this error belongs to the law or to the simulation.
# If an exact value is available, pass it to `compare`, which then prints both ratios:

# %%
dynamics = stable_dynamics(well)
law = ls.escape_law(dynamics, valley, check=False)
ls.compare(found["stable", "height"][1][2], law, exact=theory.exact_exit(dynamics, valley))

# %% [markdown]
# **Summary**
#
# * Before you say that an optimiser prefers flat minima, say which flatness you mean: the height
#   of the walls, their curvature, or the width of the valley. Their effect depends on the noise.
# * A law for small noise is a limit. An exact value separates the error of the law from the error
#   of the simulation.
#
# **Next**: `3_your_own_network` measures which of the two noises a network has.
