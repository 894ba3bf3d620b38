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
# An optimiser sits in a valley of the loss. The noise of its gradients shakes it. **How long until it leaves?**
#
# This notebook asks that of one valley, from the loss to a number with its uncertainty, and holds the number against
# theory. It takes less than a minute. Nothing is assumed but some Python and the word "gradient".
#
# To install, in a clone of the repository: `pip install ".[notebooks]"`.

# %%
import os

import matplotlib.pyplot as plt
import numpy as np

import levysde as ls

NUM = int(os.environ.get("LEVYSDE_NOTEBOOK_NUM", "10000"))  # trajectories of each run

# %% [markdown]
# ## The loss
#
# A *landscape* is a loss that the toolkit can differentiate. `DoubleWell` has two valleys and a saddle between them.
# Your own formula would be `ls.from_function(fn, dim=2, minimum=...)`, your own network `ls.from_network(...)`, as in
# notebook 3.

# %%
well = ls.DoubleWell(barrier=1.0, width=1.0, dim=2)
valley = ls.Ball(radius=1.0, center=well.minimum)

ax = ls.plots.landscape(well, domain=valley, bounds=((-2.3, 2.0), (-1.4, 1.4)))
ax.set_title("Two valleys, and the basin that we watch")
plt.show()

# %% [markdown]
# Numbers on the lines are heights of the loss. The dashed circle is the *basin*: the set that counts as "still in the
# valley". It is our choice, and a part of the question. This one is a ball around the left minimum that reaches up to
# the saddle.
#
# ## The noise
#
# SGD with learning rate $\eta$ is modelled by a stochastic differential equation, a gradient flow with noise:
#
# $$ d\theta = -\nabla F(\theta)\,dt + \varepsilon\,dL. $$
#
# $L$ is the *driver*. `StableComponents(alpha=1.5)` makes heavy-tailed noise, independent in each coordinate: mostly
# small kicks, now and then a large jump, whose size has the tail $r^{-1.5}$. With `ls.Brownian()` it would be
# Gaussian. `epsilon` is the noise's size.
#
# A *kernel* is what makes the steps. `EulerMaruyama` takes steps of `dt`.

# %%
dynamics = ls.SGD(well, ls.StableComponents(alpha=1.5), epsilon=0.1)
kernel = ls.EulerMaruyama(dynamics, dt=2e-3)

# %% [markdown]
# ## A few paths
#
# Before counting thousands, look at four. They start in the minimum, and each ends where it is first seen outside the
# basin.

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
# No path climbs. Each wanders near the bottom, and leaves by **one** jump, along one of the two axes, since the noise
# moves one coordinate at a time. The legend counts what lies beyond the frame: a jump may go far. This is how
# heavy-tailed noise leaves a valley, and why the distance to the edge matters and the height of the saddle hardly
# does (notebook 2).
#
# ## One run
#
# Now many independent trajectories, on all cores. What to expect: one time for each trajectory, with a mean of some
# tens.

# %%
result = ls.simulate_escape(kernel, valley, well.minimum, num=NUM, seed=0)
result

# %% [markdown]
# The same seed gives the same bits, whatever the number of cores. `result.time`, `result.exited`,
# `result.first_outside` and others are arrays with one row a trajectory:

# %%
print("the first three times:", result.time[:3])
print("where they were first seen outside:", *result.first_outside[:3])

# %% [markdown]
# ## The law
#
# For this noise there is a law: as the noise becomes small, escape times become **exponential**, with a rate that
# needs nothing but how far away the edge is along each direction in which the noise jumps.

# %%
law = ls.escape_law(dynamics, valley)
law

# %% [markdown]
# ## The run against the law

# %%
comparison = ls.compare(result, law)
comparison

# %% [markdown]
# How to read it:
#
# * **measured mean**: total time lived over the number of exits, with a 95% interval. More trajectories make it
#   narrower.
# * **measured over reference**: the number that matters. 1 where run and law agree.
# * **Weibull shape**: 1 if the times are exponential; p is the chance of a shape as far from 1 as this one, if they
#   are.
# * **rate over relaxation**: how often it escapes in the time it needs to roll back to the minimum. The law wants it
#   far below 1.
# * **one-step exit chance** and **lateness**: what the step `dt` does, see below.
# * **warnings**, if any, say what stands against reading the ratio as it is. None is not a proof, but each one is a
#   reason to look.
#
# With 10,000 trajectories the ratio was somewhat below 1, by more than its interval: paths leave *sooner* than the
# law says. That is no error of the run. The law is a limit for small noise; here many smaller kicks help the large
# jump along. We come back to it.
#
# The same as a picture. On a logarithmic axis exponential times make a straight line.

# %%
ax = ls.plots.survival(result, law)
ax.set_title("Share of the trajectories that are still in the valley")
plt.show()

# %% [markdown]
# The band is the uncertainty, wide at the end, where few are left.
#
# ## Censoring: when you cannot wait
#
# Escapes can take very long, so a run is given a limit, `max_time`. A trajectory that is still inside then is
# *censored*: we know only that its time is longer. Throwing such trajectories away, or taking the limit for their
# time, makes the mean too short. Here the limit is so tight that about half are cut off.

# %%
short = ls.simulate_escape(kernel, valley, well.minimum, num=NUM, seed=0, max_time=0.7 * law.mean)
mean = ls.stats.mean_time(short.time, short.exited)
print(f"censored                              {1 - short.exited.mean():.0%}")
print(f"mean of those that left (wrong)       {short.time[short.exited].mean():.4g}")
print(f"mean of all, cut off or not (wrong)   {short.time.mean():.4g}")
print(f"time lived over exits (right)         {mean}")
print(f"the run without a limit               {comparison.mean}")

# %% [markdown]
# Time lived over exits is what every mean here is. It is right for exponential times, which is why `compare` warns
# and names the share that was censored. The survival curve (Kaplan and Meier) needs no such assumption; it only ends
# earlier:

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
# ## What dt does
#
# `EulerMaruyama` looks at the path every `dt` only. An exit between two looks is missed, or seen late: the mean comes
# out too long. The error falls as `dt^(1/alpha)`, slower than dt itself, and it grows with the noise. To see it we
# take ten times the noise. The points should come down as dt falls, near a line on this scale. `extrapolate_escape`
# runs the ladder and follows the line to 0.

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
x, best = limit.steps**limit.order, limit.value
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
ax.set_title("A coarse step sees exits late (epsilon = 1)")
ax.legend(frameon=False)
plt.show()

# %% [markdown]
# At `epsilon = 0.1`, our run, `compare` said how late exits may be at most; it warns above 2%. Where it does, take a
# smaller `dt`, or extrapolate, or let every large jump come at its own time: `ls.JumpAdapted` with `ls.Shifted`, as
# in notebook 2.
#
# For a *real* optimiser the step is no error: it is the learning rate, and it acts as often as it acts (notebook 3).
#
# ## Is the law wrong, then?
#
# It said that it is a limit. Test it as one: make the noise smaller and see where the ratio goes. `epsilon` is a
# number in a compiled program, so that nothing is compiled again.

# %%
ladder = np.array([0.3, 0.2, 0.1, 0.05])
ratios = []
for i, epsilon in enumerate(ladder):
    weaker = ls.SGD(well, ls.StableComponents(alpha=1.5), epsilon=epsilon)
    run = ls.simulate_escape(
        ls.EulerMaruyama(weaker, dt=5e-3), valley, well.minimum, num=NUM // 2, seed=20 + i
    )
    ratios.append(ls.compare(run, ls.escape_law(weaker, valley, check=False)).ratio)

ax = ls.plots.ratio_ladder(
    ladder, [r.value for r in ratios], [(r.low, r.high) for r in ratios], label="double well"
)
ax.invert_xaxis()
ax.set_title("Towards 1 as the noise falls: smaller noise to the right")
plt.show()

# %% [markdown]
# **What to take away**
#
# * A question has five parts: a landscape, a driver, dynamics, a basin, a kernel. `simulate_escape` answers it,
#   `escape_law` predicts, `compare` holds the two together.
# * Read the ratio with its interval, then the warnings.
# * Three things make a mean wrong without a message from Python: censored trajectories taken for exits, a coarse
#   `dt`, and a law used outside its limit. Each is printed.
#
# **Next**: `2_stable_against_gaussian` asks what decides, the height of the barrier or the width of the valley.
