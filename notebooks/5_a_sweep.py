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
# # 5. A sweep
#
# This notebook shows how to measure escape times for many combinations of noises, optimisers and
# amplitudes. Such a *sweep* is described in one file, runs on one machine or on many, stores all
# results in one labelled store, and resumes after any interruption.
#
# It needs the extra `sweep`. The twenty points below take less than a minute on two cores.

# %%
import os
import signal
import tempfile
import threading
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr

import levysde as ls
from levysde.sweeps import (
    Place,
    estimate,
    make_plan,
    read_spec,
    run_sweep,
    sweep_status,
    write_report,
)

NUM = int(os.environ.get("LEVYSDE_NOTEBOOK_NUM", "2000"))  # trajectories of each point
folder = Path(tempfile.mkdtemp(prefix="levysde-sweep-"))

# %% [markdown]
# ## The specification
#
# The specification is a TOML file. Names and arguments are those of the package: `{ name =
# "Quadratic", hessian = ... }` is `ls.Quadratic(hessian=...)`. `[run]` contains what all points
# share. `[grid]` contains the axes, and every combination of their values is a point. This file
# is `docs/sweeps/first.toml`.

# %%
SPEC = f"""
title = "Escape from a quadratic well"
seed = 0

[run]
landscape = {{ name = "Quadratic", hessian = [[1.0, 0.0], [0.0, 4.0]] }}
driver = {{ name = "StableComponents", alpha = 1.5 }}
dynamics = {{ name = "SGD", epsilon = 0.1 }}
domain = {{ name = "Sublevel", height = 0.5 }}
kernel = {{ name = "EulerMaruyama", dt = 2e-3 }}
num = {NUM}
max_means = 30.0    # censor at thirty predicted means

[grid]
dynamics = ["SGD", {{ name = "Adam", epsilon = 0.1, delta = 0.1, rates = [5.0, 0.5] }}]
alpha = [1.3, 1.6]
epsilon = {{ low = 0.05, high = 0.25, num = 5, spacing = "log" }}
"""
spec = folder / "first.toml"
print(f"{spec.name}: {spec.write_text(SPEC)} characters")

# %% [markdown]
# The axis `alpha` is short for `driver.alpha`: the last word of a setting is enough if no other
# setting ends with it. Spelling errors are found before anything runs.
#
# `estimate` predicts the cost. It tries each kind of point for a second and writes nothing. The
# shell command is `levysde sweep first.toml --out first --dry-run`.

# %%
store = folder / "first"
estimate(make_plan(read_spec(spec)), Place(store))

# %% [markdown]
# ## Run it, and stop it
#
# The shell command is `levysde sweep first.toml --out first`. Here we call the function behind
# it. To show an interruption, a thread waits until a few points are done and then interrupts this
# cell, as Ctrl-C or the stop button of the notebook would.


# %%
def stop_after(points):
    """Interrupt the main thread once `points` points are in the store."""
    while running.is_set():
        if (store / "zarr.json").exists() and sweep_status(store).done >= points:
            return signal.raise_signal(signal.SIGINT)
        time.sleep(0.02)


running = threading.Event()
running.set()
presser = threading.Thread(target=stop_after, args=(5,))
presser.start()
try:
    run_sweep(spec, store)
except KeyboardInterrupt as stop:
    print(stop)
finally:
    running.clear()
    presser.join()

# %% [markdown]
# `sweep_status` shows how far it got. `levysde status first` shows the same from another shell or
# machine, also while the sweep runs.

# %%
sweep_status(store)

# %% [markdown]
# ## Resume
#
# **Run the same command again.** Finished points are kept, the current point resumes from its
# checkpoint, and the data are identical to those of an uninterrupted sweep. The same holds after
# `kill -9`, a full disk, or the loss of a machine.

# %%
run_sweep(spec, store)

# %% [markdown]
# ## Read the results
#
# `open_sweep` opens a finished or unfinished store. The store is a labelled zarr group, so
# `xarray.open_zarr` can read it without this package.

# %%
sweep = ls.open_sweep(store)
sweep

# %%
xr.open_zarr(store)

# %% [markdown]
# `sweep.data` has one variable for each number of a point, with units. Select by label:

# %%
ratio = sweep.data["ratio"].sel(alpha=1.6)
ratio.to_pandas().round(3)

# %% [markdown]
# The ratio is measured over predicted mean, and is 1 where the escape law holds. Expect less than
# 1 for strong noise. This plot has all ratios with their intervals:

# %%
figure, panels = plt.subplots(1, 2, figsize=(10, 4), sharey=True, layout="constrained")
for ax, name in zip(panels, sweep.data["dynamics"].values, strict=True):
    for alpha in sweep.data["alpha"].values:
        at = sweep.data.sel(dynamics=name, alpha=alpha)
        ends = np.stack([at["ratio_low"], at["ratio_high"]], 1)
        ls.plots.ratios(at["epsilon"], at["ratio"], ends, ax=ax, label=f"alpha = {alpha:g}")
    ax.invert_xaxis()  # smaller noise to the right
    ax.set_title(name)
panels[1].set_ylabel("")
plt.show()

# %% [markdown]
# The ratios rise towards 1 as the noise falls (to the right), because the law is a limit for
# small noise.
#
# Every point is a full run. `sweep.result` returns it as an `EscapeResult`, and `sweep.compare`
# compares it with its law:

# %%
point = {"dynamics": "SGD", "alpha": 1.3, "epsilon": 0.05}
sweep.compare(point)

# %%
ax = ls.plots.survival(sweep.result(point), sweep.law(point))
ax.set_title(", ".join(f"{name} = {value}" for name, value in point.items()))
plt.show()

# %% [markdown]
# ## Fits
#
# According to the law the mean is proportional to `epsilon^-alpha`. `fit` fits a straight line to
# the logarithms and returns its slope with an interval, and the slope of the law:

# %%
fits = sweep.fit("epsilon")
for fit in fits:
    print(
        f"{fit.where:<30} slope {fit.slope}, theory {fit.theory_slope:.3g}, "
        f"goodness of fit p = {fit.p_value:.2g}"
    )

# %% [markdown]
# The measured slopes tend to be steeper than the law's. At the strong end of this range the noise
# is too strong for the law, and a fit uses both ends. A small p-value says that the points are
# not on one line. This plot has all four fits with their points:

# %%
figure, ax = plt.subplots(figsize=(6.4, 4), layout="constrained")
for fit, colour, marker in zip(
    fits, ("#2b83ba", "#d95f02", "#1b9e77", "#b0569b"), "osD^", strict=True
):
    at = sweep.data.sel(fit.at)
    bars = np.stack([at["mean_time"] - at["mean_time_low"], at["mean_time_high"] - at["mean_time"]])
    ax.errorbar(
        at["epsilon"], at["mean_time"], bars, fmt=marker, color=colour, capsize=3, label=fit.where
    )
    ax.plot(at["epsilon"], fit.predict(at["epsilon"]), color=colour)
ax.set_xscale("log")
ax.set_yscale("log")
ax.set_xticks(at["epsilon"], [f"{e:.3g}" for e in at["epsilon"].values])
ax.minorticks_off()
ax.set_xlabel("noise amplitude epsilon")
ax.set_ylabel("mean escape time (SDE time)")
ax.legend(frameon=False, title="points with 95% intervals, fitted lines")
plt.show()

# %% [markdown]
# ## Report
#
# The report is one HTML file with tables, figures, fits, warnings and the commands to reproduce
# it. It has no scripts and needs no network, so you can send it by mail. The shell command is
# `levysde report first`.

# %%
page = write_report(sweep, folder / "report.html")
print(f"open {page.name} in a browser: {page.stat().st_size / 1000:.0f} kB")

# %% [markdown]
# ## The same on many machines
#
# A point depends only on the specification, because its seed is a hash of the sweep's seed and of
# its own settings. Any number of processes can therefore share the points; they need only the
# same store. Here two "machines" run one after the other:

# %%
shared = folder / "shared"
for machine in ("0/2", "1/2"):
    print(machine, run_sweep(spec, shared, shard=machine))
same = np.array_equal(xr.open_zarr(store)["time"], xr.open_zarr(shared)["time"], equal_nan=True)
print("the same escape times, bit for bit, as the sweep that was stopped:", same)

# %% [markdown]
# On real machines only the command changes:
#
# ```sh
# # SLURM, or any scheduler that numbers its tasks
# levysde sweep first.toml --out s3://bucket/first --shard $SLURM_ARRAY_TASK_ID/20
# # a Ray cluster, with accelerators if it has any
# levysde sweep first.toml --out s3://bucket/first --engine ray
# # from another machine
# levysde status s3://bucket/first
# ```
#
# `docs/sweeps/slurm.sh` is an example for SLURM.
#
# **Summary**
#
# * One file describes what is run. You can read it, compare it and run it again later.
# * You can stop a sweep at any time. The same command resumes it.
# * Read intervals and not only values, and read the warnings in the report.
#
# **More**: `docs/sweeps.md` describes the rest of the specification (lists, references, custom
# experiments). Studies are sweeps with verdicts (notebook 4). `docs/sweeps/first.toml` is a file
# to start from.
