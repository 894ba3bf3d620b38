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
# # 6. Your own tools, in and out
#
# This notebook connects `levysde` with what you already have: an equation of your own, pandas and
# xarray, `jax.grad`, a model of equinox, checkpoints and a log of a training run, and a problem
# written for diffrax. Each connection takes at most five lines.

# %%
import os
import tempfile
from pathlib import Path

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
import pandas as pd
from sklearn.datasets import load_digits

import levysde as ls

NUM = int(os.environ.get("LEVYSDE_NOTEBOOK_NUM", "2000"))  # trajectories of each run
FOLDER = Path(tempfile.mkdtemp())

# %% [markdown]
# ## An equation of your own
#
# The drift is any function of the position. That of Maier and Stein has stable points at (-1, 0)
# and (1, 0), and is not the gradient of a loss. How long does noise take from the left half of the
# plane to the right one?


# %%
def maier_stein(x):
    u, v = x
    return jnp.stack([u - u**3 - 3 * u * v**2, -(1 + u**2) * v])


# %%
point, left = jnp.array([-1.0, 0.0]), ls.half_space(normal=[1.0, 0.0], offset=0.0)
equation = ls.SDE(maier_stein, ls.Brownian(), dim=2, epsilon=0.45, attractor=point)
kernel = ls.Bridged(ls.EulerMaruyama(equation, dt=0.02), left)
run = ls.simulate_escape(kernel, left, point, num=NUM, seed=0)
run

# %% [markdown]
# ## Results leave in one line
#
# Every result can be saved, loaded, and turned into a table of pandas or a dataset of xarray. A row
# names its trajectory.

# %%
run.save(FOLDER / "run.npz")
assert ls.load(FOLDER / "run.npz") == run
run.to_dataframe().head()

# %%
run.to_dataset()

# %% [markdown]
# ## A law with derivatives
#
# `theory.log_rate` is the logarithm of the escape rate as a pure function, so `jax.vmap` and
# `jax.grad` work. Here is the rate out of a disc for ten noise amplitudes, and its derivative with
# respect to the radius:

# %%
well = ls.Quadratic(hessian=jnp.diag(jnp.array([1.0, 4.0])))


def log_rate(epsilon, radius):
    dynamics = ls.SGD(well, ls.StableComponents(alpha=1.5), epsilon=epsilon)
    return ls.theory.log_rate(dynamics, ls.Ball(radius=radius, center=well.minimum))


# %%
rates = jax.vmap(log_rate, (0, None))(jnp.geomspace(0.01, 0.1, 10), 1.0)
slope = jax.grad(log_rate, argnums=1)(0.1, 2.0)
print("log rates", rates)
print(f"d log rate / d radius at radius 2: {slope:.4f} (exact: -1.5 / 2)")

# %% [markdown]
# ### Which learning rate schedule leaves sharp minima, but not flat ones?
#
# A run of 10,000 iterations starts in a sharp well with a low barrier. We want it to leave this
# well, and then to stay in a flat one with a higher barrier. Under Gaussian noise of variance 1,
# the diffusion at the learning rate $\eta$ is $\eta / 2$, and an iteration takes the time $\eta$.
# With escape rates $r$ that follow the law of Eyring and Kramers, a schedule leaves the sharp well
# with the probability $1 - \exp(-\sum \eta\, r_{sharp}(\eta))$ and stays in the flat well with the
# probability $\exp(-\sum \eta\, r_{flat}(\eta))$. We maximise the product over ten learning rates
# by gradient ascent, from a schedule that decays.

# %%
sharp = ls.DoubleWell(barrier=0.6, distance=1.0)
flat = ls.DoubleWell(barrier=0.9, distance=2.0)
start = 0.3 * 0.9 ** jnp.arange(10.0)  # learning rates, each for 1000 iterations


def escapes(well, rates):
    def expected(rate):
        dynamics = ls.Langevin(well, diffusion=rate / 2)
        return 1000 * rate * jnp.exp(ls.theory.log_rate(dynamics, saddles=jnp.zeros(1)))

    return jnp.sum(jax.vmap(expected)(rates))


@jax.jit
def log_success(log_rates):
    rates = jnp.exp(log_rates)
    return jnp.log(-jnp.expm1(-escapes(sharp, rates))) - escapes(flat, rates)


# %%
ascent = optax.adam(0.03)
log_rates, state = jnp.log(start), ascent.init(start)
step = jax.jit(jax.value_and_grad(lambda x: -log_success(x)))
for _ in range(300):
    _, gradient = step(log_rates)
    update, state = ascent.update(gradient, state)
    log_rates = log_rates + update
before, after = jnp.exp(log_success(jnp.log(start))), jnp.exp(log_success(log_rates))
print(f"probability of success: {before:.3f} with decay, {after:.3f} at the optimum")

# %%
fig, ax = plt.subplots(figsize=(5, 3))
iterations = 1000 * np.arange(11)
ax.stairs(start, iterations, label=f"decaying, success {before:.2f}")
ax.stairs(jnp.exp(log_rates), iterations, label=f"optimal, success {after:.2f}")
ax.set(xlabel="iteration", ylabel="learning rate", ylim=(0, None))
ax.legend(frameon=False)
plt.show()

# %% [markdown]
# The best schedule is constant. Under Gaussian noise the rate out of the flat well is a convex
# function of the rate out of the sharp one, so a mean over unequal learning rates costs more than
# it gains. Under stable noise both rates are the same power of the learning rate. Their ratio is
# then the same for every schedule, and there is nothing to choose.

# %% [markdown]
# ## A model of your own, and any optimiser
#
# Parameters may be any pytree: dicts of arrays, a model of equinox, or the parameters of flax or
# haiku. `train` takes any transformation of optax, and returns parameters like those that you gave.

# %%
images, labels = load_digits(n_class=3, return_X_y=True)
inputs = images[:240].reshape(-1, 4, 2, 4, 2).mean((2, 4)).reshape(-1, 16) / 16
targets = labels[:240]


def loss(model, image, label):
    """Cross-entropy of one example."""
    logits = model(image)
    return jax.nn.logsumexp(logits) - logits[label]


# %%
model = eqx.nn.MLP(16, 3, width_size=4, depth=1, activation=jnp.tanh, key=jax.random.key(0))
network = ls.from_network(loss, model, inputs, targets, weight_decay=0.01)
clipped = optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(0.3, momentum=0.9))
trained = ls.networks.train(network, clipped, batch_size=24, epochs=20)
print(f"loss {network.value(network.minimum):.3f} before, after: {type(trained).__name__}")

# %% [markdown]
# ## Checkpoints over time
#
# `networks.track` measures several checkpoints of one run: the noise of the minibatch gradients,
# the sharpness, and the predicted escape time.

# %%
epochs = [0, 10, 40, 100]
checkpoints = [model]
for number in np.diff(epochs):
    there = ls.from_network(loss, checkpoints[-1], inputs, targets, weight_decay=0.01)
    later = ls.networks.train(there, learning_rate=0.3, batch_size=24, epochs=int(number))
    checkpoints.append(later)

# %%
track = ls.networks.track(
    loss, checkpoints, (inputs, targets), iterations=[10 * epoch for epoch in epochs],
    batch_size=24, learning_rate=0.3, weight_decay=0.01, num_batches=5000,
)  # fmt: skip
track

# %%
ls.plots.track(track)
plt.show()

# %% [markdown]
# ## A log file
#
# A training run elsewhere, for example in PyTorch, writes a number per step: here the norm of the
# gradient noise, in a CSV file. `levysde noise FILE` on the command line, or the following lines,
# say which class of noise it is and what escape law that implies.

# %%
noise = np.random.default_rng(0).standard_t(2.5, 20_000)
pd.DataFrame({"step": np.arange(20_000), "gradient_noise": noise}).to_csv(
    FOLDER / "log.csv", index=False
)

# %%
found = ls.read_noise(FOLDER / "log.csv").classify("gradient_noise")
found

# %%
ls.plots.noise(found)
plt.show()

# %% [markdown]
# ## A diffrax problem
#
# Terms of diffrax run in the engine as they are, with its exits, restarts and bits.

# %%
path = diffrax.UnsafeBrownianPath(shape=(2,), key=jax.random.key(0))
terms = diffrax.MultiTerm(
    diffrax.ODETerm(lambda t, y, args: -y),
    diffrax.ControlTerm(lambda t, y, args: 0.5 * jnp.eye(2), path),
)

# %%
stepper = ls.DiffraxKernel(terms, diffrax.Heun(), dt=0.01, dim=2)
disc = ls.Ball(radius=1.0, center=jnp.zeros(2))
ls.simulate_escape(stepper, disc, jnp.zeros(2), num=NUM, seed=0)

# %% [markdown]
# The pages *Simulate your own equation*, *Choose a law*, *From PyTorch* and *Use diffrax terms and
# noise* of the documentation say more about each of them.
