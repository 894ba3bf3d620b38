"""Handwritten digits of which a fraction has low contrast, and a small convolutional network: the
experiment.

An image is `contrast * pixels + noise`, pixels in [0, 1], contrast 1 or `low_contrast`, and the
same noise for both: the feature shrinks and what tells images apart does not, as on patches. The
network is 3x3 filters, ReLU, means over 2x2 patches and a linear layer: with its biases at 0 its
logits are proportional to the contrast.
"""

from collections.abc import Sequence
from typing import Annotated, Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from pydantic import Field

from levysde import errors
from levysde.landscapes import from_network
from levysde.sweeps import Experiment, Job, Variable

from .training import (
    Count,
    Fraction,
    Positive,
    Training,
    run_seeds,
    stacked,
    training_variables,
)

_CLASSES = 10


class DigitsSettings(Training):
    """A training on digits.

    Attributes:
        channels: filters of the network.
        low_contrast: of the small-margin images; the others have 1.
        small_fraction: of images with low contrast.
        pixel_noise: standard deviation of a pixel's noise.
    """

    channels: Count = 8
    low_contrast: Positive = 0.25
    small_fraction: Fraction = 0.2
    pixel_noise: Annotated[float, Field(ge=0)] = 0.1


_WORDS = {
    "train_error": "fraction of training images that are misread",
    "train_loss": "mean training loss (nats)",
    "test_error": "fraction of test images that are misread, contrasts mixed as in training",
    "test_small": "the same, all at low contrast",
    "test_large": "the same, all at full contrast",
}


class Digits(Experiment):
    """The convolutional network on digits of two contrasts."""

    name = "jelassi2022-digits"
    settings = DigitsSettings

    def check(self, settings: DigitsSettings) -> None:
        if settings.examples > 1500:
            raise ValueError(
                f"examples must leave test images, at most 1500 of 1797, not {settings.examples}."
            )
        _images()

    def variables(self, points: Sequence[DigitsSettings]) -> tuple[Variable, ...]:
        return training_variables(points, _WORDS)

    def run(self, settings: DigitsSettings, job: Job) -> dict[str, Any]:
        seeds = run_seeds(job.seed, settings.runs)
        parts = [_drawn(settings, one[0], one[3]) for one in seeds]
        landscapes = [
            from_network(_losses, _start(settings, one[1]), images, labels, batched=True)
            for one, (images, labels, *_) in zip(seeds, parts, strict=True)
        ]
        keys = jax.vmap(jax.random.key)(jnp.asarray([one[2] for one in seeds], jnp.uint32))
        stack = stacked(landscapes)
        trained = settings.train(stack, keys, together=8)
        tests = [jnp.asarray(np.stack([part[k] for part in parts])) for k in (2, 3, 4)]
        measured = _measured(trained, stack, tests, jnp.asarray(settings.small_fraction, float))
        return measured | {"step": settings.at}


def _images() -> tuple[np.ndarray, np.ndarray]:
    """Pixels in [0, 1], `(1797, 64)`, and labels."""
    try:
        from sklearn.datasets import load_digits  # slow to import, and an extra
    except ImportError:
        raise errors.missing_extra("scikit-learn", "data", "The digits data set") from None
    images, labels = (np.asarray(part) for part in load_digits(return_X_y=True))
    return images / 16, labels


def _drawn(settings: DigitsSettings, seed: int, test_seed: int) -> tuple[np.ndarray, ...]:
    """Training images and labels, then all other images at low and at full contrast, and their
    labels."""
    images, labels = _images()
    rng, test_rng = np.random.default_rng(seed), np.random.default_rng(test_seed)
    order = rng.permutation(len(labels))
    train, test = order[: settings.examples], order[settings.examples :]
    low = rng.random(settings.examples) < settings.small_fraction
    contrast = np.where(low, settings.low_contrast, 1.0)[:, None]
    noise = settings.pixel_noise * rng.normal(size=(settings.examples, 64))
    new_noise = settings.pixel_noise * test_rng.normal(size=(len(test), 64))
    new = images[test]
    return (
        (contrast * images[train] + noise).astype(np.float32),
        labels[train],
        (settings.low_contrast * new + new_noise).astype(np.float32),
        (new + new_noise).astype(np.float32),
        labels[test],
    )


def _start(settings: DigitsSettings, seed: int) -> dict[str, np.ndarray]:
    rng, k = np.random.default_rng(seed), settings.channels
    return {
        "filter": rng.normal(size=(k, 9)) * np.sqrt(2 / 9),
        "filter_bias": np.zeros(k),
        "output": rng.normal(size=(_CLASSES, 9 * k)) / np.sqrt(9 * k),
        "output_bias": np.zeros(_CLASSES),
    }


def _logits(params: Any, images: Array) -> Array:
    """Classes first, images last, where XLA vectorises: `(10, n)` for images `(n, 64)`."""
    n = images.shape[0]
    pixels = images.T.reshape(8, 8, n)
    patches = jnp.stack([pixels[i : i + 6, j : j + 6].ravel() for i in range(3) for j in range(3)])
    active = jax.nn.relu(params["filter"] @ patches + params["filter_bias"][:, None])
    pooled = active.reshape(-1, 3, 2, 3, 2, n).mean((2, 4)).reshape(-1, n)
    return params["output"] @ pooled + params["output_bias"][:, None]


def _losses(params: Any, images: Array, labels: Array) -> Array:
    logits = _logits(params, images)
    chosen = jnp.arange(_CLASSES)[:, None] == labels[None, :]
    return jax.nn.logsumexp(logits, axis=0) - jnp.sum(jnp.where(chosen, logits, 0), axis=0)


@eqx.filter_jit
def _measured(trained: Array, landscapes: Any, tests: list[Array], mu: Array) -> dict[str, Array]:
    """What `_WORDS` names, each of shape `(runs, records)`."""

    def one(path: Array, landscape: Any, tests: list[Array]) -> dict[str, Array]:
        low, full, labels = tests

        def look(x: Array) -> dict[str, Array]:
            params = landscape.unflatten(x)

            def wrong(images: Array, truth: Array) -> Array:
                return jnp.mean(jnp.argmax(_logits(params, images), 0) != truth)

            at_low, at_full = wrong(low, labels), wrong(full, labels)
            return {
                "train_error": wrong(landscape.inputs, landscape.targets),
                "train_loss": landscape.value(x),
                "test_error": mu * at_low + (1 - mu) * at_full,
                "test_small": at_low,
                "test_large": at_full,
            }

        return jax.lax.map(look, path)

    return eqx.filter_vmap(one)(trained, landscapes, tests)
