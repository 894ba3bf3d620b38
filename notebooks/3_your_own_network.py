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
# # 3. Your own network
#
# This notebook takes a loss, parameters and data of your own, and measures how noisy the
# gradients are, how sharp the minimum is, how long an optimiser stays there, and how well an SDE
# (stochastic differential equation) models the optimiser.
#
# The network is a few lines of JAX, and small enough that everything runs in a minute or two on
# two cores. Any pytree of parameters works: nested dicts, tuples, or the parameters of a model of
# flax, haiku or equinox.

# %%
import os

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
from sklearn.datasets import load_digits

import levysde as ls

NUM = int(os.environ.get("LEVYSDE_NOTEBOOK_NUM", "600"))  # trajectories of each run

# %% [markdown]
# ## Data, parameters, loss
#
# The data are handwritten zeros, ones and twos with 8 by 8 pixels, averaged to 4 by 4. They come
# from scikit-learn (the extra `data`); nothing is downloaded.

# %%
images, labels = load_digits(n_class=3, return_X_y=True)
inputs = images[:240].reshape(-1, 4, 2, 4, 2).mean((2, 4)).reshape(-1, 16) / 16
targets = labels[:240]

rng = np.random.default_rng(0)
params = {
    "hidden": {"w": rng.normal(size=(16, 4)) / 4, "b": np.zeros(4)},
    "out": {"w": rng.normal(size=(4, 3)) / 2, "b": np.zeros(3)},
}


def loss(params, image, label):
    """Cross-entropy of ONE example, in nats."""
    hidden = jnp.tanh(image @ params["hidden"]["w"] + params["hidden"]["b"])
    logits = hidden @ params["out"]["w"] + params["out"]["b"]
    return jax.nn.logsumexp(logits) - logits[label]


# %% [markdown]
# The loss is that of **one** example. The package averages over examples itself. It needs the loss
# of each example to compute the noise of a minibatch.
#
# `from_network` makes a landscape from it. `weight_decay` adds `weight_decay |x|^2 / 2`. Without
# it the network has no strict minimum, because the loss of separable data can always decrease,
# and so there is no escape time.

# %%
WEIGHT_DECAY = 0.01
network = ls.from_network(loss, params, inputs, targets, weight_decay=WEIGHT_DECAY)
print(f"{network.dim} parameters, {network.num_examples} examples")

# %% [markdown]
# ## Find a minimum and verify it
#
# `train` runs minibatch SGD with optax, or any optax transformation, and returns parameters like
# those that you gave. It ends *near* a minimum and keeps fluctuating. `refine` refines the point in
# double precision with L-BFGS and Newton steps. It checks the gradient and the smallest eigenvalue
# of the Hessian, and raises an error if the point is not a strict minimum.

# %%
trained = ls.networks.train(network, "sgd", learning_rate=0.3, batch_size=30, epochs=300, seed=0)
minimum = ls.networks.refine(network, trained)
network = network.at(minimum.point)
minimum

# %% [markdown]
# The gradient norm should be at the rounding error of float64, and the smallest eigenvalue
# positive. The ratio of the largest to the smallest eigenvalue is in the thousands, so the basin
# is a long, narrow valley.
#
# ## The noise of the gradient
#
# `measure_gradient_noise` measures how minibatch gradients differ from the full gradient at the
# minimum, coordinate by coordinate.

# %%
noise = ls.networks.measure_gradient_noise(network, batch_size=30, alpha=1.5, seed=0)
noise

# %% [markdown]
# `scale` is the size of the noise. The tail index says how heavy its tails are: 2 is Gaussian, and
# a smaller index means heavier tails. The index is estimated for each coordinate, by two
# estimators; if they disagree, trust neither. Here the median over the coordinates is close to 2
# for both, so this noise is nearly Gaussian.
#
# ## All at once: diagnose
#
# `diagnose` does the above and more for networks of up to about 100,000 parameters. It reports
# the noise, the curvature, how the two are aligned, the basin, and predicted and simulated
# escapes. It takes the loss and the data, not the landscape. The *basin* is the region where the
# loss is less than `basin_height` above the minimum. `ls.networks.track` makes a table of several
# checkpoints of a training run.

# %%
report = ls.diagnose(
    loss,
    network.unflatten(network.minimum),
    (inputs, targets),
    weight_decay=WEIGHT_DECAY,
    batch_size=30,
    learning_rate=0.1,
    basin_height=0.05,
    num_batches=1000,
    num_escapes=0,  # we simulate below
)
report

# %%
ls.plots.diagnosis(report)
plt.show()

# %% [markdown]
# Read three things first:
#
# * **Warnings.** One of them says that the noise is nearly Gaussian, so that a law of jumps
#   explains little. This is correct here.
# * **Cosine of C1 and Hessian.** C1 is the covariance of the gradients of single examples. The
#   cosine is 1 if the noise is large exactly where the curvature is large. For a network near a
#   minimum it is large.
# * **Excess loss from the noise.** This is the amount by which the noise keeps the mean loss above
#   the minimum, relative to the height of the basin. Near 1 or above, the noise fills the basin,
#   and an escape time means little.
#
# ## What if the noise were heavy-tailed?
#
# Much of the literature assumes heavy-tailed noise. To see what follows, we add stable noise with
# alpha = 1.5, with the measured scale of each coordinate, to this network. The basin is where the
# loss is less than 0.05 nats above the minimum. From the law we compute the noise amplitudes at
# which an escape should take 100, 300 and 1,000 steps on average, and simulate there.

# %%
basin = ls.Sublevel(network, height=0.05)
stable = ls.SGD(network, ls.StableComponents(alpha=1.5), epsilon=1.0, scale=noise.scale)
law = ls.escape_law(stable, basin, check=False)  # the runs below show how far it is from the truth
# the stiffest direction moves by less than half of its distance in a step
dt = 0.45 / law.stiffness

ladder, comparisons = (100, 300, 1000), []
for steps in ladder:
    epsilon = (law.rate * dt * steps) ** (-1 / law.alpha)  # the law's rate is a power of epsilon
    weaker = ls.analysis.with_epsilon(stable, epsilon)
    kernel = ls.EulerMaruyama(weaker, dt=dt)
    run = ls.simulate_escape(
        kernel, basin, network.minimum, num=NUM, seed=steps, max_time=30 * steps * dt
    )
    comparisons.append(ls.compare(run, law.with_epsilon(epsilon)))
comparisons[-1]

# %%
ratios = [c.ratio for c in comparisons]
ax = ls.plots.ratios(
    ladder,
    [r.value for r in ratios],
    [(r.low, r.high) for r in ratios],
    xlabel="predicted mean (steps)",
    label="network",
)
ax.set_title(f"Stable noise on {network.dim} parameters: measured over predicted")
plt.show()

# %% [markdown]
# With strong noise (left) the paths leave sooner than the law says. With weaker noise (right) the
# ratio should rise to 1. `levysde escape` does the same with a larger network, for SGD and ADAM.
#
# ## The optimiser and its SDE
#
# Now we make no assumption on the tails and run optax's SGD on minibatches of the data.
# `OptimizerKernel` runs many copies of it in the same simulation engine. One iteration is
# `learning_rate` of SDE time; `iteration_time` sets this, so that both use the same unit.
#
# We compare it with its SDE: a gradient flow with Gaussian noise that has the covariance of a
# minibatch gradient at the minimum.

# %%
LEARNING_RATE, BATCH = 0.1, 10
small = ls.Sublevel(network, height=0.03)

real = ls.OptimizerKernel(
    optax.sgd(LEARNING_RATE), network, batch_size=BATCH, iteration_time=LEARNING_RATE
)

gradients = network.example_gradients(network.minimum)
scale = ls.minibatch_scale(gradients, ls.Brownian(), batch_size=BATCH, replacement=False)
equation = ls.SGD(network, ls.Brownian(), learning_rate=LEARNING_RATE, scale=scale)
model = ls.EulerMaruyama(equation, dt=LEARNING_RATE)  # one step, one iteration

algorithm = ls.simulate_escape(real, small, network.minimum, num=NUM, seed=1, max_steps=20_000)
sde = ls.simulate_escape(model, small, network.minimum, num=NUM, seed=2, max_steps=20_000)
against = ls.compare(sde, algorithm)
against

# %%
ax = ls.plots.survival(algorithm, label="optax.sgd on minibatches")
ls.plots.survival(sde, ax=ax, label="its SDE", artist={"linestyle": "--"})
ax.set_title(f"Learning rate {LEARNING_RATE:g}, batches of {BATCH}: algorithm and equation")
plt.show()

# %%
mean = ls.stats.mean_time(algorithm.time, algorithm.exited)
print(f"SGD stays for {mean.value / LEARNING_RATE:.0f} iterations on average")
print(f"the SDE's mean over the algorithm's: {against.ratio}")

# %% [markdown]
# Both runs have sampling error, and the interval includes both. If it contains 1, the SDE is
# accurate enough *for this question* and this number of trajectories. With 600 trajectories the
# interval was [1.04, 1.31]: the SDE stays somewhat longer.
#
# Most of such a difference comes from the shape of the distribution of minibatch noise: its
# covariance is that of the SDE's noise, but it is not Gaussian. In seven small networks and
# regressions, an SDE with the right covariance at the minimum stayed 1.0 to 13 times as long as
# SGD. A scale that depends on the position, `ls.minibatch_state_scale`, did not help: the SDE then
# left 1.15 to 6 times too early in all seven. These SDEs were within 20% of SGD in 3 and in 1 of
# the seven models. Use `OptimizerKernel` if the escape time of the algorithm matters.
#
# The way minibatches are drawn has a larger effect. Here they are independent draws. With epochs,
# as in `train` and most training loops, the noise nearly cancels over an epoch, and the mean
# escape time was 1.7 to 1,600 times as long. A result records its sampling scheme, and `compare`
# warns if two results differ in it.
#
# **Summary**
#
# * You need a loss of one example, a pytree and data. `refine` verifies that the point is a
#   minimum.
# * Measure the noise before you assume a distribution. On this network minibatch noise is nearly
#   Gaussian.
# * Compare the SDE with the optimiser before you draw conclusions from the SDE. You can use any
#   optax transformation in place of `optax.sgd`.
#
# **Next**: `4_papers_and_verdicts` tests claims from papers in this way.
