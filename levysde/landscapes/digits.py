"""Small networks on real images: scikit-learn's bundled 8x8 digits."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from levysde import errors
from levysde.landscapes.losses import softmax_cross_entropy
from levysde.landscapes.network import NetworkLandscape, from_network
from levysde.types import Arg, Integer, Number

_CLASSES = 10
_SMALLEST_CLASS = 174


def digits_mlp(
    hidden: Arg[Integer] = 8,
    num_images: Arg[Integer] = 300,
    weight_decay: Arg[Number] = 0.02,
    seed: Arg[Integer] = 0,
) -> NetworkLandscape:
    """A one-hidden-layer tanh network with softmax cross-entropy (nats) on handwritten digits: 8x8
    images, pixels in [0, 1].

    Args:
        hidden: hidden units; the network has `75 hidden + 10` parameters, 610 at 8.
        num_images: images, in equal parts from each class, drawn by `seed`; a multiple of 10, up to
            1740.
        weight_decay: adds `weight_decay |x|^2 / 2`; 0 or positive.
        seed: chooses images and initial weights.

    Returns:
        A `NetworkLandscape`. Its marked point is its random start, not a minimum: train and refine
        it.

    Raises:
        ValueError, TypeError: an argument outside its range.
        ImportError: scikit-learn is missing.

    Source:
        The images: Alpaydin and Kaynak, 1998 (UCI), as bundled with scikit-learn.
    """
    hidden = errors.integer("hidden", hidden)
    rng, images, labels = _sample(num_images, seed)
    params = {
        "hidden": {"weight": rng.normal(size=(64, hidden)) / 8, "bias": np.zeros(hidden)},
        "output": {
            "weight": rng.normal(size=(hidden, _CLASSES)) / np.sqrt(hidden),
            "bias": np.zeros(_CLASSES),
        },
    }
    return from_network(
        _mlp_losses, params, images, labels, weight_decay=weight_decay, batched=True
    )


def digits_cnn(
    channels: Arg[Integer] = 4,
    num_images: Arg[Integer] = 300,
    weight_decay: Arg[Number] = 0.02,
    seed: Arg[Integer] = 0,
) -> NetworkLandscape:
    """A small convolutional network on the same images: 3x3 filters, tanh, means over 2x2 patches,
    cross-entropy (nats).

    Args:
        channels: filters; the network has `100 channels + 10` parameters, 410 at 4.
        num_images: images, in equal parts from each class, drawn by `seed`; a multiple of 10, up to
            1740.
        weight_decay: adds `weight_decay |x|^2 / 2`; 0 or positive.
        seed: chooses images and initial weights.

    Returns:
        A `NetworkLandscape`. Its marked point is its random start, not a minimum: train and refine
        it.

    Raises:
        ValueError, TypeError: an argument outside its range.
        ImportError: scikit-learn is missing.

    Source:
        The images: Alpaydin and Kaynak, 1998 (UCI), as bundled with scikit-learn.
    """
    channels = errors.integer("channels", channels)
    rng, images, labels = _sample(num_images, seed)
    params = {
        "filter": {
            "weight": rng.normal(size=(channels, 1, 3, 3)) / 3,
            "bias": np.zeros((channels, 1, 1)),
        },
        "output": {
            "weight": rng.normal(size=(9 * channels, _CLASSES)) / np.sqrt(9 * channels),
            "bias": np.zeros(_CLASSES),
        },
    }
    return from_network(
        _cnn_losses, params, images, labels, weight_decay=weight_decay, batched=True
    )


def _mlp_losses(params: Any, images: Array, labels: Array) -> Array:
    """Tanh network with one hidden layer, for images `(n, 64)` and labels `(n,)`; units first,
    examples last."""
    hidden, output = params["hidden"], params["output"]
    activation = jnp.tanh(hidden["weight"].T @ images.T + hidden["bias"][:, None])
    return softmax_cross_entropy(output["weight"].T @ activation + output["bias"][:, None], labels)


def _cnn_losses(params: Any, images: Array, labels: Array) -> Array:
    """The convolution as one product of the filters with the 3x3 patches, `(9, 36 n)`: channels
    first, examples last."""
    output, n = params["output"], images.shape[0]
    pixels = images.T.reshape(8, 8, n)
    patches = jnp.stack([pixels[i : i + 6, j : j + 6].ravel() for i in range(3) for j in range(3)])
    weight = params["filter"]["weight"]
    activation = jnp.tanh(weight.reshape(-1, 9) @ patches + params["filter"]["bias"].reshape(-1, 1))
    pooled = activation.reshape(-1, 3, 2, 3, 2, n).mean((2, 4)).reshape(-1, n)
    return softmax_cross_entropy(output["weight"].T @ pooled + output["bias"][:, None], labels)


def _sample(
    num_images: Arg[Integer], seed: Arg[Integer]
) -> tuple[np.random.Generator, np.ndarray, np.ndarray]:
    """The generator after drawing the images, pixels in [0, 1], labels."""
    num_images = errors.integer("num_images", num_images, low=10, high=10 * _SMALLEST_CLASS)
    if num_images % _CLASSES:
        raise ValueError(
            f"num_images must be a multiple of 10, one part a digit, not {num_images}. Type "
            "num_images=300."
        )
    rng = np.random.default_rng(errors.seed(seed))
    return rng, *_balanced(rng, num_images // _CLASSES)


def _balanced(rng: np.random.Generator, each: int) -> tuple[np.ndarray, np.ndarray]:
    """`each` images of every class, pixels in [0, 1]: shapes `(10 each, 64)` and `(10 each,)`."""
    try:
        from sklearn.datasets import load_digits  # slow to import, and an extra
    except ImportError:
        raise errors.missing_extra("scikit-learn", "data", "The digits data set") from None
    images, labels = (np.asarray(part) for part in load_digits(return_X_y=True))
    chosen = np.concatenate(
        [rng.permutation(np.flatnonzero(labels == k))[:each] for k in range(_CLASSES)]
    )
    return images[chosen] / 16, labels[chosen]
