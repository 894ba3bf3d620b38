"""Many trainings at once, and the experiment on patches: one point trains one optimiser from many
seeds.

    momentum   g <- gamma g + (1 - gamma) grad, W <- W - eta g; gamma = 0 is gradient descent. This
               is optax.sgd with
               the step eta (1 - gamma)
    adam       optax.adam, beta1 = gamma

All numbers are traced and so is the number of steps: a grid compiles one program for each rule and
batch size.
"""

import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int
from pydantic import Field

from levysde.landscapes import NetworkLandscape
from levysde.sweeps import Experiment, Job, Model, Variable

from .patches import PatchData, cubic_patches, cubic_responses, patch_data

Rule = Literal["momentum", "adam"]
Positive = Annotated[float, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Memory = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1, le=10**7)]


def record_steps(steps: int, records: int) -> np.ndarray:
    """The steps at which a training of `steps` is looked at, from 1 on, evenly in their logarithm;
    the first ones repeat. Shape `(records,)`."""
    return np.round(np.geomspace(1, steps, records)).astype(int)


@eqx.filter_jit
def train_runs(
    landscapes: NetworkLandscape,
    rule: Rule,
    rates: dict[str, Array],
    at: Int[Array, " records"],
    keys: Array,
    batch_size: int | None,
) -> Float[Array, "runs records dim"]:
    """Train each of a stack of landscapes from its marked point.

    Args:
        landscapes: one landscape whose arrays have a leading axis `runs`.
        rule: "momentum" or "adam".
        rates: `learning_rate`, `gamma`, and for ADAM `beta2`, `delta`.
        at: steps after which the weights are kept, rising.
        keys: one `jax.random` key a run, for the order of its minibatches.
        batch_size: examples a step, each epoch in a new order, what is left over waiting for the
            next; None for all.
    """

    def one(landscape: NetworkLandscape, key: Array) -> Array:
        optimiser = _optimiser(rule, rates)
        per_epoch = 1 if batch_size is None else landscape.num_examples // batch_size

        def step(t: Array, state: Any) -> Any:
            x, memory, order = state
            if batch_size is None:
                slope = landscape.gradient(x)
            else:
                # the step is the same in all runs, so this is done once an epoch and not at every
                # step
                order = jax.lax.cond(
                    t % per_epoch == 0, lambda: _shuffled(key, t, order), lambda: order
                )
                index = jax.lax.dynamic_slice_in_dim(
                    order, (t % per_epoch) * batch_size, batch_size
                )
                slope = landscape.batch_gradient(x, index)
            move, memory = optimiser.update(slope, memory, x)
            return optax.apply_updates(x, move), memory, order

        def block(state: Any, ends: Array) -> Any:
            state = jax.lax.fori_loop(ends[0], ends[1], step, state)
            return state, state[0]

        x = landscape.minimum
        start = x, optimiser.init(x), jnp.arange(landscape.num_examples)
        begins = jnp.concatenate([jnp.zeros(1, at.dtype), at[:-1]])
        return jax.lax.scan(block, start, jnp.stack([begins, at], 1))[1]

    return eqx.filter_vmap(one)(landscapes, keys)


def _optimiser(rule: Rule, rates: dict[str, Array]) -> optax.GradientTransformation:
    eta, gamma = rates["learning_rate"], rates["gamma"]
    if rule == "adam":
        return optax.adam(eta, b1=gamma, b2=rates["beta2"], eps=rates["delta"])  # type: ignore[arg-type]
    return optax.sgd(eta * (1 - gamma), momentum=gamma)  # type: ignore[arg-type]


def _shuffled(key: Array, t: Array, order: Array) -> Array:
    return jax.random.permutation(jax.random.fold_in(key, t), order)


def stacked(parts: Sequence[Any]) -> Any:
    """Trees of one structure as one, their arrays along a new first axis."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *parts)


def run_seeds(seed: int, runs: int) -> list[list[int]]:
    """Four seeds a run, of data, start, minibatches and test; the first runs keep theirs when there
    are more."""
    return (
        np.random.SeedSequence(seed).generate_state(4 * runs, np.uint32).reshape(runs, 4).tolist()
    )


class Training(Model):
    """How a point is trained, whatever on.

    Attributes:
        rule: "momentum", with gamma = 0 for gradient descent, or "adam".
        learning_rate: eta.
        gamma: weight of the old gradients' average; ADAM's beta1.
        beta2, delta: ADAM's.
        batch_size: examples a step; None, or as many as there are, for all.
        time: eta times the number of steps; or
        relaxations: how often the momentum's memory `1/(1 - gamma)` fits into the steps, whichever
            gives more steps; or
        steps: their number; or
        epochs: passes over the examples.
        examples: of the training set.
        runs: seeds.
        records: how often a training is looked at.
    """

    rule: Rule = "momentum"
    learning_rate: Positive = 0.1
    gamma: Memory = 0.0
    beta2: Memory = 0.999
    delta: Positive = 1e-8
    batch_size: Count | None = None
    time: Positive = 150.0
    relaxations: Annotated[float, Field(ge=0)] = 0.0
    steps: Count | None = None
    epochs: Count | None = None
    examples: Count = 200
    runs: Annotated[int, Field(ge=2, le=10_000)] = 5
    records: Annotated[int, Field(ge=2, le=1000)] = 40

    @property
    def num_steps(self) -> int:
        if self.steps is not None:
            return self.steps
        if self.epochs is not None:
            return self.epochs * max(1, self.examples // (self.batch_size or self.examples))
        return math.ceil(
            max(self.time / self.learning_rate, self.relaxations / (1 - self.gamma)) - 1e-6
        )

    @property
    def at(self) -> np.ndarray:
        return record_steps(self.num_steps, self.records)

    def rates(self) -> dict[str, Array]:
        names = ("learning_rate", "gamma", "beta2", "delta")
        return {name: jnp.asarray(getattr(self, name), float) for name in names}

    def train(
        self, landscapes: NetworkLandscape, keys: Array, together: int = 32
    ) -> Float[Array, "runs records dim"]:
        """Train the stack, so many runs at once: as many as their arrays fit into a core's
        cache."""
        batch = (
            None if self.batch_size is None or self.batch_size >= self.examples else self.batch_size
        )
        at = jnp.asarray(self.at)
        parts = []
        for k in range(0, self.runs, together):
            part = jax.tree.map(lambda leaf, k=k: leaf[k : k + together], (landscapes, keys))
            parts.append(train_runs(part[0], self.rule, self.rates(), at, part[1], batch))
        return jnp.concatenate(parts)


class PatchSettings(Training):
    """A training on patches; the data's names are those of `patch_data`, the network's those of
    `cubic_patches`.

    Attributes:
        test_points: draws of the noise patches, each looked at with both margins and both signs.
    """

    dim: Annotated[int, Field(ge=2)] = 50
    patches: Annotated[int, Field(ge=2)] = 3
    filters: Count = 10
    large_margin: Positive = 4.0
    small_margin: Positive = 0.3
    small_fraction: Fraction = 0.1
    noise_norm: Positive = 3.0
    init_scale: Positive = 0.05
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    test_points: Count = 2000


_WORDS = {
    "train_error": "fraction of training examples on the wrong side",
    "train_loss": "mean training loss (nats), without weight decay",
    "large_loss": "mean loss (nats) of the large-margin training examples",
    "test_error": "chance of a wrong answer on new examples",
    "test_small": "chance of a wrong answer on new small-margin examples",
    "test_large": "chance of a wrong answer on new large-margin examples",
    "signal": "norm over the filters of <w_r, w*>",
    "small_by_signal": "part of a small-margin training example's margin that the feature makes, "
    "mean",
    "small_by_noise": "part of a small-margin training example's margin that its own noise makes, "
    "mean",
    "small_share": "fraction of the training examples that have the small margin",
}


class Patches(Experiment):
    """The cubic network on patch data."""

    name = "jelassi2022-patches"
    settings = PatchSettings

    def variables(self, points: Sequence[PatchSettings]) -> tuple[Variable, ...]:
        return training_variables(points, _WORDS)

    def run(self, settings: PatchSettings, job: Job) -> dict[str, Any]:
        seeds = run_seeds(job.seed, settings.runs)
        data = [
            _drawn(settings, settings.examples, settings.small_fraction, one[0]) for one in seeds
        ]
        made = {
            "filters": settings.filters,
            "init_scale": settings.init_scale,
            "weight_decay": settings.weight_decay,
        }
        landscapes = [
            cubic_patches(d, seed=one[1], **made) for d, one in zip(data, seeds, strict=True)
        ]
        keys = jax.vmap(jax.random.key)(jnp.asarray([one[2] for one in seeds], jnp.uint32))
        trained = settings.train(stacked(landscapes), keys)
        tests = [_test_noise(settings, d, one[3]) for d, one in zip(data, seeds, strict=True)]
        margins = jnp.asarray(
            [settings.large_margin, settings.small_margin, settings.small_fraction], float
        )
        shape = (settings.filters, settings.dim)
        return _measured(trained, stacked(data), jnp.stack(tests), margins, shape) | {
            "step": settings.at
        }


def training_variables(points: Sequence[Training], words: dict[str, str]) -> tuple[Variable, ...]:
    """The store's arrays: the steps looked at, and for each name one number a run and look."""
    records = max(len(point.at) for point in points)
    runs = max(point.runs for point in points)
    step = Variable("step", "int64", "training step", "1", ("record",), (records,))
    sizes = (runs, records)
    return step, *(
        Variable(n, "float32", text, "1", ("run", "record"), sizes) for n, text in words.items()
    )


def _drawn(
    settings: PatchSettings, num: int, fraction: float, seed: int, direction: Any = None
) -> PatchData:
    return patch_data(
        num,
        dim=settings.dim,
        patches=settings.patches,
        large_margin=settings.large_margin,
        small_margin=settings.small_margin,
        small_fraction=fraction,
        noise=settings.noise_norm / math.sqrt(settings.dim),
        direction=direction,
        seed=seed,
    )


def _test_noise(settings: PatchSettings, data: PatchData, seed: int) -> Array:
    """New examples with the feature's patch set to zero: what the network makes of their noise.
    `(test_points, P, d)`."""
    new = _drawn(settings, settings.test_points, 0.0, seed, np.asarray(data.direction))
    return jnp.where(
        (jnp.arange(settings.patches)[None] == new.place[:, None])[..., None], 0, new.patches
    )


@eqx.filter_jit
def _measured(
    trained: Array, data: PatchData, tests: Array, margins: Array, shape: tuple[int, int]
) -> dict[str, Array]:
    """What `_WORDS` names, each of shape `(runs, records)`."""
    alpha, beta, mu = margins

    def look(x: Array, data: PatchData, test: Array) -> dict[str, Array]:
        filters = x.reshape(shape)
        along = jnp.sum(filters * data.direction[None], 1)
        cubes = jnp.sum(along**3)
        made = cubic_responses(filters, data.patches)
        holds = jnp.arange(made.shape[1])[None] == data.place[:, None]
        by_signal = data.labels * jnp.sum(jnp.where(holds, made, 0), 1)
        by_noise = data.labels * jnp.sum(jnp.where(holds, 0, made), 1)
        margin = by_signal + by_noise
        losses = jax.nn.softplus(-margin)
        by_new = cubic_responses(filters, test).sum(1)
        wrong = [
            (jnp.mean(c**3 * cubes + by_new <= 0) + jnp.mean(c**3 * cubes - by_new <= 0)) / 2
            for c in (beta, alpha)
        ]
        return {
            "train_error": jnp.mean(margin <= 0),
            "train_loss": jnp.mean(losses),
            "large_loss": _mean_over(losses, ~data.small),
            "test_error": mu * wrong[0] + (1 - mu) * wrong[1],
            "test_small": wrong[0],
            "test_large": wrong[1],
            "signal": jnp.sqrt(jnp.sum(along**2)),
            "small_by_signal": _mean_over(by_signal, data.small),
            "small_by_noise": _mean_over(by_noise, data.small),
            "small_share": jnp.mean(data.small),
        }

    def one(path: Array, data: PatchData, test: Array) -> dict[str, Array]:
        return jax.lax.map(lambda x: look(x, data, test), path)

    return jax.vmap(one)(trained, data, tests)


def _mean_over(values: Array, which: Array) -> Array:
    """Mean over some; NaN where there are none."""
    count = jnp.sum(which)
    return jnp.where(
        count > 0, jnp.sum(jnp.where(which, values, 0)) / jnp.maximum(count, 1), jnp.nan
    )
