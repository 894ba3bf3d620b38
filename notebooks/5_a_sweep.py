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
# One escape is a number. A *sweep* is that number at every point of a grid: noises, optimisers, amplitudes. It is
# written in one file, runs here or on many machines, keeps everything in one labelled store, and goes on after any
# interruption.
#
# It needs the extra `sweep`. The twenty points below take well under a minute on two cores.

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
# ## The spec
#
# A TOML file. Names and arguments are those of the library: `{ name = "Quadratic", hessian = ... }` is
# `ls.Quadratic(hessian=...)`. `[run]` holds what all points share, `[grid]` the axes, and every combination of them
# is a point. This is `docs/sweeps/first.toml`.

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
# The axis `alpha` is short for `driver.alpha`: an axis is named by its last word where no other setting ends so.
# Typing errors are found before anything runs, and told by name.
#
# What will it cost? `estimate` tries each kind of point for a second and writes nothing. (`levysde sweep first.toml
# --out first --dry-run`.)

# %%
store = folder / "first"
estimate(make_plan(read_spec(spec)), Place(store))

# %% [markdown]
# ## Run it, and stop it
#
# In a shell you would type `levysde sweep first.toml --out first`. Here it is the function behind it. We also press
# the stop button: a thread waits until a few points are done and then interrupts this cell, as Ctrl-C or the
# notebook's stop button would.


# %%
def stop_after(points):
    """Interrupt the main thread once so many points are in the store."""
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
# How far did it get? `levysde status first` says the same from another shell or machine, also while the sweep runs.

# %%
sweep_status(store)

# %% [markdown]
# ## Go on
#
# **Type the same again.** Finished points stay, the point under way goes on from its checkpoint, and the data are bit
# for bit those of a sweep that nobody stopped. The same holds after `kill -9`, a full disk, or a machine that was
# taken away.

# %%
run_sweep(spec, store)

# %% [markdown]
# ## Read it
#
# `open_sweep` opens a finished or half-finished store. The store itself is a zarr group with labels, so that
# `xarray.open_zarr` is enough to read it, today and without this package.

# %%
sweep = ls.open_sweep(store)
sweep

# %%
xr.open_zarr(store)

# %% [markdown]
# `sweep.data` has one variable for each number of a point, with units. Pick by label:

# %%
ratio = sweep.data["ratio"].sel(alpha=1.6)
ratio.to_pandas().round(3)

# %% [markdown]
# A ratio is measured over predicted mean, 1 where the escape law holds. Expect less than 1 at the strong end. All
# with their intervals:

# %%
figure, panels = plt.subplots(1, 2, figsize=(10, 4), sharey=True, layout="constrained")
for ax, name in zip(panels, sweep.data["dynamics"].values, strict=True):
    for alpha in sweep.data["alpha"].values:
        at = sweep.data.sel(dynamics=name, alpha=alpha)
        ends = np.stack([at["ratio_low"], at["ratio_high"]], 1)
        ls.plots.ratio_ladder(at["epsilon"], at["ratio"], ends, ax=ax, label=f"alpha = {alpha:g}")
    ax.invert_xaxis()  # smaller noise to the right
    ax.set_title(name)
panels[1].set_ylabel("")
plt.show()

# %% [markdown]
# The ratios rise towards 1 as the noise falls (to the right): the law is a limit for small noise.
#
# Every point is a full run. `sweep.result` gives it back as an `EscapeResult`, `sweep.compare` holds it against its
# law:

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
# By the law the mean falls as `epsilon^-alpha`. A straight line through the logarithms, with its interval, beside the
# law's slope:

# %%
fits = sweep.fit("epsilon")
for fit in fits:
    print(
        f"{fit.where:<30} slope {fit.slope}, theory {fit.theory_slope:.3g}, straight: p = {fit.p_value:.2g}"
    )

# %% [markdown]
# Measured slopes tend to be steeper than the law's: at the strong end of this range the noise is too strong for it,
# and a slope over a range believes both ends. A small p says that the points do not lie on one line at all. All four
# with their points:

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
# One HTML file with tables, figures, fits, warnings and how to reproduce it; no scripts, nothing from the network, so
# that it can be mailed. In a shell: `levysde report first`.

# %%
page = write_report(sweep, folder / "report.html")
print(f"open {page.name} in a browser: {page.stat().st_size / 1000:.0f} kB")

# %% [markdown]
# ## The same on many machines
#
# A point depends on nothing but the spec: its seed is a hash of the sweep's and of its own values. So any number of
# processes may share the points, knowing nothing of each other but the store. Here two "machines", one after the
# other:

# %%
shared = folder / "shared"
for machine in ("0/2", "1/2"):
    print(machine, run_sweep(spec, shared, shard=machine))
same = np.array_equal(xr.open_zarr(store)["time"], xr.open_zarr(shared)["time"], equal_nan=True)
print("the same escape times, bit for bit, as the sweep that was stopped:", same)

# %% [markdown]
# On real ones only the command changes:
#
# ```sh
# levysde sweep first.toml --out s3://bucket/first --shard $SLURM_ARRAY_TASK_ID/20   # SLURM, Kubernetes, anything that counts
# levysde sweep first.toml --out s3://bucket/first --engine ray                      # a Ray cluster, accelerators and all
# levysde status s3://bucket/first                                                   # from your desk
# ```
#
# Ready-made files for SLURM, Kubernetes, SkyPilot and KubeRay are in `docs/sweeps`.
#
# **What to take away**
#
# * One file says what is run. It can be read, compared and run again in a year.
# * Stop whenever you want, and type the same again.
# * Read intervals, not points; read warnings in the report.
#
# **From here**: `docs/sweeps.md` has the rest of the spec (lists, references, your own experiment), `levysde.studies`
# are sweeps with verdicts (notebook 4), and `docs/sweeps/first.toml` is a file to start yours from.
