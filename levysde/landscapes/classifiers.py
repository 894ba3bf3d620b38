"""Classifiers on scikit-learn's bundled data: linear ones, and small networks, some on images.

The features are standardised to mean 0 and variance 1 (constant ones stay 0), pixels of images lie
in [0, 1]; losses are in nats, averaged over the examples; weight decay acts on weights and biases
alike. Linear classifiers are strictly convex with it: their minimum is the only one, is found on
the host in float64 and marked.

Inside the losses classes and units come first, examples last, where XLA vectorises: the other way
round the sums over a few classes take several times as long.
"""

import itertools
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from levysde import errors
from levysde.landscapes.network import NetworkLandscape, from_network
from levysde.types import Arg, Integer, Number, Seed

_DATA = {"breast_cancer": 2, "iris": 3, "wine": 3, "digits": 10}  # classes
_CLASSES = 10
_SMALLEST_CLASS = 174  # images of the rarest digit


def logistic_regression(
    dataset: Arg[Literal["iris", "wine", "breast_cancer", "digits"]] = "breast_cancer",
    *,
    weight_decay: Arg[Number] = 0.01,
) -> NetworkLandscape:
    """Logistic regression on a data set of two classes, its minimum marked.

    Args:
        dataset: "breast_cancer" (569 examples, 30 features; `d = 31`).
        weight_decay: adds `weight_decay |x|^2 / 2`; positive.

    Returns:
        A `NetworkLandscape` with `d = features + 1`, its minimum marked.

    Raises:
        ValueError, TypeError: an unknown data set, an argument out of range or traced by JAX.
        ImportError: scikit-learn is missing.

    Source:
        Elementary; the data are those of the UCI repository, as bundled with scikit-learn.
    """
    return _classifier(dataset, weight_decay, _binary_losses, 1, "logistic_regression")


def softmax_regression(
    dataset: Arg[Literal["iris", "wine", "breast_cancer", "digits"]] = "wine",
    *,
    weight_decay: Arg[Number] = 0.01,
) -> NetworkLandscape:
    """Softmax regression, one weight vector a class, its minimum marked.

    Args:
        dataset: "iris" (150 examples, `d = 15`), "wine" (178, 42), "breast_cancer" (569, 62) or
            "digits" (1797, 650).
        weight_decay: adds `weight_decay |x|^2 / 2`; positive.

    Returns:
        A `NetworkLandscape` with `d = (features + 1) classes`, its minimum marked.

    Raises:
        ValueError, TypeError: an unknown data set, an argument out of range or traced by JAX.
        ImportError: scikit-learn is missing.

    Source:
        Elementary; the data are those of the UCI repository, as bundled with scikit-learn.
    """
    return _classifier(dataset, weight_decay, _softmax_losses, None, "softmax_regression")


def fully_connected(
    dataset: Arg[Literal["iris", "wine", "breast_cancer", "digits"]] = "wine",
    *,
    depth: Arg[Integer] = 2,
    width: Arg[Integer] = 6,
    weight_decay: Arg[Number] = 0.01,
    seed: Arg[Seed] = 0,
) -> NetworkLandscape:
    """A fully connected tanh network with softmax cross-entropy on one of the data sets.

    Args:
        dataset: "iris", "wine", "breast_cancer" or "digits", as in `softmax_regression`.
        depth: layers of weights, 2 or more; 2 has one hidden layer.
        width: units of each hidden layer. Depth 2 has `(features + 1) width + (width + 1) classes`
            parameters, 105 for wine at width 6; each further layer adds `(width + 1) width`.
        weight_decay: adds `weight_decay |x|^2 / 2`; positive.
        seed: of the initial weights, normal with variance 1 over their inputs.

    Returns:
        A `NetworkLandscape`. Its marked point is its random start, not a minimum: train and refine
        it.

    Raises:
        ValueError, TypeError: an unknown data set, an argument out of range or traced by JAX.
        ImportError: scikit-learn is missing.

    Source:
        Elementary; the data are those of the UCI repository, as bundled with scikit-learn.
    """
    depth = errors.integer("depth", depth, low=2)
    width = errors.integer("width", width)
    rng = np.random.default_rng(errors.seed(seed))
    features, labels, decay = _data(dataset, tuple(_DATA), "fully_connected", weight_decay)
    sizes = [features.shape[1], *[width] * (depth - 1), _DATA[dataset]]
    params = [
        {"weight": rng.normal(size=(a, b)) / np.sqrt(a), "bias": np.zeros(b)}
        for a, b in itertools.pairwise(sizes)
    ]
    return from_network(_layered_losses, params, features, labels, weight_decay=decay, batched=True)


def _layered_losses(params: Any, features: Array, labels: Array) -> Array:
    active = features.T
    for layer in params[:-1]:
        active = jnp.tanh(layer["weight"].T @ active + layer["bias"][:, None])
    return _cross_entropy(params[-1], active, labels)


def _classifier(
    dataset: Arg[Literal["iris", "wine", "breast_cancer", "digits"]],
    weight_decay: Arg[Number],
    loss: Any,
    outputs: int | None,
    caller: str,
) -> NetworkLandscape:
    known = tuple(name for name, n in _DATA.items() if outputs is None or n == 2)
    features, labels, decay = _data(dataset, known, caller, weight_decay)
    columns = outputs or _DATA[dataset]
    params = {"weight": np.zeros((features.shape[1], columns)), "bias": np.zeros(columns)}
    landscape = from_network(loss, params, features, labels, weight_decay=decay, batched=True)
    return landscape.at(_minimise(features, labels, columns, decay))


def _data(
    dataset: Arg[str], known: tuple[str, ...], caller: str, weight_decay: Arg[Number]
) -> tuple[np.ndarray, np.ndarray, float]:
    """Standardised features and labels of a data set out of those `known`, and the weight decay."""
    if not isinstance(dataset, str) or dataset not in known:
        names = ", ".join(repr(name) for name in known)
        raise ValueError(
            f"dataset must be one of {names}, not {errors.shown(dataset)}. Type "
            f"{caller}({known[0]!r})."
        )
    decay = float(errors.positive("weight_decay", errors.concrete("weight_decay", weight_decay)))
    features, labels = _loaded(dataset)
    spread = features.std(0)
    return (features - features.mean(0)) / np.where(spread > 0, spread, 1), labels, decay


def _loaded(dataset: str) -> tuple[np.ndarray, np.ndarray]:
    try:
        import sklearn.datasets as data  # slow to import, and an extra
    except ImportError:
        raise errors.missing_extra("scikit-learn", "data", f"The {dataset} data set") from None
    return getattr(data, f"load_{dataset}")(return_X_y=True)


def _binary_losses(params: Any, features: Array, labels: Array) -> Array:
    logits = params["weight"][:, 0] @ features.T + params["bias"][0]
    return jax.nn.softplus(logits) - logits * labels.astype(logits.dtype)


def _softmax_losses(params: Any, features: Array, labels: Array) -> Array:
    return _cross_entropy(params, features.T, labels)


def _minimise(features: np.ndarray, labels: np.ndarray, columns: int, decay: float) -> np.ndarray:
    """The flat parameters (biases, then weights row by row, as `jax.tree.leaves` orders them) of
    least loss."""
    from scipy.optimize import minimize  # slow to import

    count, wide = len(labels), np.concatenate([np.ones((len(labels), 1)), features], 1)
    # two classes with one column: the other class has logit 0
    hot = np.eye(max(columns, 2))[labels][:, -columns:]

    def parts(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        logits = wide @ x.reshape(-1, columns)
        full = np.concatenate([np.zeros((count, 1)), logits], 1) if columns == 1 else logits
        shift = full.max(1, keepdims=True)
        norm = shift[:, 0] + np.log(np.exp(full - shift).sum(1))
        return logits, norm, np.exp(logits - norm[:, None])

    def loss(x: np.ndarray) -> tuple[float, np.ndarray]:
        logits, norm, chance = parts(x)
        value = np.mean(norm - np.sum(logits * hot, 1)) + decay / 2 * x @ x
        return value, (wide.T @ (chance - hot) / count).ravel() + decay * x

    def curvature(x: np.ndarray, v: np.ndarray) -> np.ndarray:
        chance = parts(x)[2]
        moved = wide @ v.reshape(-1, columns)
        inner = chance * (moved - np.sum(chance * moved, 1, keepdims=True))
        return (wide.T @ inner / count).ravel() + decay * v

    start = np.zeros(wide.shape[1] * columns)
    found = minimize(
        loss,
        start,
        jac=True,
        hessp=curvature,
        method="trust-ncg",
        options={"gtol": 1e-10, "maxiter": 500},
    )
    return np.asarray(found.x)


def digits_mlp(
    hidden: Arg[Integer] = 8,
    num_images: Arg[Integer] = 300,
    weight_decay: Arg[Number] = 0.02,
    seed: Arg[Seed] = 0,
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
    seed: Arg[Seed] = 0,
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
    hidden = params["hidden"]
    activation = jnp.tanh(hidden["weight"].T @ images.T + hidden["bias"][:, None])
    return _cross_entropy(params["output"], activation, labels)


def _cnn_losses(params: Any, images: Array, labels: Array) -> Array:
    """The convolution as one product of the filters with the 3x3 patches, `(9, 36 n)`: channels
    first, examples last."""
    n = images.shape[0]
    pixels = images.T.reshape(8, 8, n)
    patches = jnp.stack([pixels[i : i + 6, j : j + 6].ravel() for i in range(3) for j in range(3)])
    weight = params["filter"]["weight"]
    activation = jnp.tanh(weight.reshape(-1, 9) @ patches + params["filter"]["bias"].reshape(-1, 1))
    pooled = activation.reshape(-1, 3, 2, 3, 2, n).mean((2, 4)).reshape(-1, n)
    return _cross_entropy(params["output"], pooled, labels)


def _sample(
    num_images: Arg[Integer], seed: Arg[Seed]
) -> tuple[np.random.Generator, np.ndarray, np.ndarray]:
    """The generator after drawing the images, pixels in [0, 1], labels."""
    num_images = errors.integer("num_images", num_images, low=10, high=10 * _SMALLEST_CLASS)
    if num_images % _CLASSES:
        raise ValueError(
            f"num_images must be a multiple of 10, one part a digit, not {num_images}. Type "
            "num_images=300."
        )
    rng = np.random.default_rng(errors.seed(seed))
    images, labels = (np.asarray(part) for part in _loaded("digits"))
    each = num_images // _CLASSES
    chosen = np.concatenate(
        [rng.permutation(np.flatnonzero(labels == k))[:each] for k in range(_CLASSES)]
    )
    return rng, images[chosen] / 16, labels[chosen]


def _cross_entropy(
    layer: Any, active: Float[Array, "units n"], labels: Int[Array, " n"]
) -> Float[Array, " n"]:
    """`-log softmax(logits)[label]` of each example, the logits being those of the last layer."""
    logits = layer["weight"].T @ active + layer["bias"][:, None]
    chosen = jnp.arange(logits.shape[0])[:, None] == labels[None, :]
    return jax.nn.logsumexp(logits, axis=0) - jnp.sum(jnp.where(chosen, logits, 0), axis=0)
