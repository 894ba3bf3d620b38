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
# # 1. A first escape
#
# This notebook measures how long an optimiser stays in one valley of the loss before the noise of
# its gradients carries it out, and compares the result with theory. It takes less than a minute.
# You need basic Python and the concept of a gradient.
#
# To install the package from a clone of the repository: `pip install ".[notebooks]"`.

# %%
import os

import matplotlib.pyplot as plt
import numpy as np

import levysde as ls

NUM = int(os.environ.get("LEVYSDE_NOTEBOOK_NUM", "10000"))  # trajectories of each run

# %% [markdown]
# ## The loss
#
# A *landscape* is a loss that the package can differentiate. `DoubleWell` has two valleys with a
# saddle between them. For your own formula, use `ls.from_function(fn, dim=2, minimum=...)`; for
# your own network, use `ls.from_network(...)` as in notebook 3.

# %%
well = ls.DoubleWell(barrier=1.0, distance=1.0, dim=2)
valley = ls.Ball(radius=1.0, center=well.minimum)

ax = ls.plots.landscape(well, domain=valley, bounds=((-2.3, 2.0), (-1.4, 1.4)))
ax.set_title("Two valleys, and the basin that we watch")
plt.show()

# %% [markdown]
# The numbers on the lines are values of the loss. The dashed circle is the *basin*: the region
# that counts as "still in the valley". You choose it, and the escape time depends on it. This one
# is a ball around the left minimum that reaches to the saddle.
#
# ## The noise
#
# SGD with learning rate $\eta$ is modelled by a stochastic differential equation (SDE), a
# gradient flow with noise:
#
# $$ d\theta = -\nabla F(\theta)\,dt + \varepsilon\,dL. $$
#
# $L$ is a random process, the *driver*. `StableComponents(alpha=1.5)` is heavy-tailed and
# independent in each coordinate: most of its steps are small, and some are large jumps, whose
# size has the tail $r^{-1.5}$. With `ls.Brownian()` the noise is Gaussian. `epsilon` is the noise
# amplitude.
#
# A *kernel* advances a trajectory by one step. `EulerMaruyama` takes steps of length `dt`.

# %%
dynamics = ls.SGD(well, ls.StableComponents(alpha=1.5), epsilon=0.1)
kernel = ls.EulerMaruyama(dynamics, dt=2e-3)

# %% [markdown]
# ## A few paths
#
# First look at four trajectories. They start at the minimum, and each ends where it is first seen
# outside the basin.

# %%
few = ls.simulate_paths(
    kernel, well.minimum, seed=3, num=4, every=10, max_time=200.0, domain=valley
)
few

# %%
figure, (plane, time) = plt.subplots(
    1, 2, figsize=(11, 4.8), width_ratios=(3, 2), layout="constrained"
)
ls.plots.landscape(well, domain=valley, ax=plane, bounds=((-2.3, 2.0), (-1.4, 1.4)))
ls.plots.paths(few, ax=plane)
ls.plots.paths(few, ax=time, coordinates=0)
time.set_ylim(-2.3, 0.7)
time.get_legend().remove()  # the same as on the left
plane.set_title("Four paths on the loss")
time.set_title("The same, coordinate 0 against time")
plt.show()

# %% [markdown]
# No path climbs over the saddle. Each stays near the bottom and then leaves by **one** jump along
# one of the two axes, because this noise moves one coordinate at a time. The legend counts paths
# that end beyond the frame, since a jump can be long. With heavy-tailed noise, trajectories leave
# a valley in this way. Therefore the distance to the boundary matters, and the height of the
# saddle hardly matters (see notebook 2).
#
# ## One run
#
# Now run many independent trajectories on all cores. Each has one escape time. The mean is a few
# tens of time units.

# %%
result = ls.simulate_escape(kernel, valley, well.minimum, num=NUM, seed=0)
result

# %% [markdown]
# The same seed gives identical results on any number of cores. `result.time`, `result.exited`,
# `result.first_outside` and others are arrays with one entry per trajectory:

# %%
print("the first three times:", result.time[:3])
print("where they were first seen outside:", *result.first_outside[:3])

# %% [markdown]
# ## The law
#
# For this noise there is an *escape law*. As the noise becomes small, the escape times become
# **exponential**, with a rate that depends only on the distance to the boundary along each
# direction in which the noise jumps.

# %%
law = ls.escape_law(dynamics, valley)
law

# %% [markdown]
# ## Compare the run with the law

# %%
comparison = ls.compare(result, law)
comparison

# %% [markdown]
# The rows mean:
#
# * **measured mean**: total simulated time over the number of exits, with a 95% interval. More
#   trajectories make it narrower.
# * **measured over reference**: the ratio of the measured mean to the law's. It is 1 if both
#   agree.
# * **Weibull shape**: 1 for exponential times. p is the p-value of a test that the times are
#   exponential.
# * **rate over relaxation**: the escape rate divided by the rate at which the noiseless flow
#   returns to the minimum. The law needs it far below 1.
# * **one-step exit chance** and **discretisation bias**: effects of the step `dt`, see below.
# * **warnings**, if any: conditions that are not met. The absence of warnings is not a proof that
#   all is well.
#
# With 10,000 trajectories the interval of the ratio was entirely below 1: paths leave *sooner*
# than the law says. The run is right. The law is a limit for small noise. At this noise, the many
# small jumps carry paths closer to the boundary, so that a shorter large jump is enough. The last
# section returns to this.
#
# The next plot shows the same. On a logarithmic axis exponential times give a straight line.

# %%
ax = ls.plots.survival(result, law)
ax.set_title("Share of the trajectories that are still in the valley")
plt.show()

# %% [markdown]
# The band is the 95% interval. It is wide at the end, where few trajectories are left.
#
# ## Censoring
#
# Escapes can take very long, so a run has a limit, `max_time`. A trajectory that is still inside
# at the limit is *censored*: only a lower bound of its escape time is known. If you drop censored
# trajectories, or use the limit as their escape time, the mean is too short. Here the limit is so
# short that about half of the trajectories are censored.

# %%
short = ls.simulate_escape(kernel, valley, well.minimum, num=NUM, seed=0, max_time=0.7 * law.mean)
mean = ls.stats.mean_time(short.time, short.exited)
print(f"censored                              {1 - short.exited.mean():.0%}")
print(f"mean of those that left (wrong)       {short.time[short.exited].mean():.4g}")
print(f"mean of all, censored or not (wrong)  {short.time.mean():.4g}")
print(f"total time over exits (right)         {mean}")
print(f"the run without a limit               {comparison.mean}")

# %% [markdown]
# All means in this package are total simulated time over number of exits. This is correct for
# exponential times, and therefore `compare` warns about censoring and prints the censored share.
# The survival curve (Kaplan-Meier) does not need exponential times; it only ends earlier:

# %%
figure, ax = plt.subplots(figsize=(6.4, 4), layout="constrained")
for run, label, colour, width in (
    (short, "with a limit", "#fdae6b", 7),
    (result, "without a limit", "#2b83ba", 1.5),
):
    curve = ls.stats.kaplan_meier(run.time, run.exited)
    ax.step(curve.time, curve.survival, where="post", color=colour, linewidth=width, label=label)
ax.set_yscale("log")
ax.set_ylim(0.01, 1.1)
ax.set_xlim(0, 4 * law.mean)
ax.set_xlabel("time (SDE time)")
ax.set_ylabel("share still inside")
ax.legend(frameon=False)
plt.show()

# %% [markdown]
# ## The effect of dt
#
# `EulerMaruyama` sees the path only every `dt`. It misses exits between two steps or sees them
# late, so the mean is too long. This *discretisation bias* falls like `dt^(1/alpha)`, slower than
# dt, and is larger for larger noise. To make it visible, we use ten times the noise. If the
# horizontal axis is `dt^(1/alpha)`, the points should lie on a straight line. `extrapolate_escape`
# runs all steps and extrapolates the line to dt = 0.

# %%
wild = ls.SGD(well, ls.StableComponents(alpha=1.5), epsilon=1.0)
limit = ls.extrapolate_escape(
    lambda dt: (ls.EulerMaruyama(wild, dt=dt), valley),
    well.minimum,
    steps=[0.05, 0.02, 0.01, 5e-3, 2e-3],
    num=NUM,
    seed=1,
)
limit

# %%
figure, ax = plt.subplots(figsize=(6.4, 4), layout="constrained")
x, best = limit.steps**limit.order, limit.mean
ax.errorbar(
    x,
    limit.means,
    1.96 * limit.standard_errors,
    fmt="o",
    color="#2b83ba",
    capsize=3,
    label="runs, 95% intervals",
)
ax.errorbar(
    0, best.value, [[best.value - best.low], [best.high - best.value]],
    fmt="s", color="#d95f02", capsize=3, label="limit, 95% interval", clip_on=False,
)  # fmt: skip
ax.set_xticks([0, *x], ["0", *(f"{dt:g}" for dt in limit.steps)])
ax.set_xlim(0, None)
ax.set_xlabel("dt, on a scale of dt^(1/alpha)")
ax.set_ylabel("mean escape time (SDE time)")
ax.set_title("A coarse step makes escape times too long (epsilon = 1)")
ax.legend(frameon=False)
plt.show()

# %% [markdown]
# At `epsilon = 0.1`, as in our run, `compare` prints an upper bound on this bias and warns if it
# is above 2%. Then use a smaller `dt`, or extrapolate, or draw the time of every large jump with
# `ls.JumpAdapted` and `ls.Shifted`, as in notebook 2.
#
# The step of a *real* optimiser is not an error, because it is the learning rate (notebook 3).
#
# ## Test the law as a limit
#
# The law is a limit for small noise. To test it, make the noise smaller and check that the ratio
# approaches 1. `epsilon` is an input of the compiled program, so a new value does not need a new
# compilation.

# %%
ladder = np.array([0.3, 0.2, 0.1, 0.05])
ratios = []
for i, epsilon in enumerate(ladder):
    weaker = ls.SGD(well, ls.StableComponents(alpha=1.5), epsilon=epsilon)
    run = ls.simulate_escape(
        ls.EulerMaruyama(weaker, dt=5e-3), valley, well.minimum, num=NUM // 2, seed=20 + i
    )
    ratios.append(ls.compare(run, ls.escape_law(weaker, valley, check=False)).ratio)

ax = ls.plots.ratios(
    ladder, [r.value for r in ratios], [(r.low, r.high) for r in ratios], label="double well"
)
ax.invert_xaxis()
ax.set_title("Towards 1 as the noise falls: smaller noise to the right")
plt.show()

# %% [markdown]
# **Summary**
#
# * A problem has five parts: a landscape, a driver, dynamics, a basin and a kernel.
#   `simulate_escape` simulates it, `escape_law` predicts the result, and `compare` compares the
#   two.
# * Read the ratio with its interval, then the warnings.
# * Three things make a mean wrong without a Python error: censored trajectories counted as exits,
#   a coarse `dt`, and a law used outside its limit. The printed table reports each of them.
#
# **Next**: `2_stable_against_gaussian` shows whether the height of the barrier or the width of
# the valley decides the escape time.
