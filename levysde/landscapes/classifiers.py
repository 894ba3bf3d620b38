"""Classifiers on scikit-learn's bundled data: linear ones, and small fully connected networks.

The features are standardised to mean 0 and variance 1 (constant ones stay 0); losses are in nats,
averaged over the examples; weight decay acts on weights and biases alike. Linear ones are strictly
convex with it: their minimum is the only one, is found on the host in float64 and marked.
"""

import itertools
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from levysde import errors
from levysde.landscapes.losses import softmax_cross_entropy
from levysde.landscapes.network import NetworkLandscape, from_network
from levysde.types import Arg, Integer, Number

_DATA = {"breast_cancer": 2, "iris": 3, "wine": 3, "digits": 10}  # classes


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
    seed: Arg[Integer] = 0,
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
    _check_dataset(dataset, tuple(_DATA), "fully_connected")
    depth, width = (
        errors.integer("depth", depth, low=2),
        errors.integer("width", width),
    )
    rng = np.random.default_rng(errors.seed(seed))
    decay = float(errors.positive("weight_decay", errors.concrete("weight_decay", weight_decay)))
    features, labels = _standardised(dataset)
    sizes = [features.shape[1], *[width] * (depth - 1), _DATA[dataset]]
    params = [
        {"weight": rng.normal(size=(a, b)) / np.sqrt(a), "bias": np.zeros(b)}
        for a, b in itertools.pairwise(sizes)
    ]
    return from_network(_layered_losses, params, features, labels, weight_decay=decay, batched=True)


def _layered_losses(params: Any, features: Array, labels: Array) -> Array:
    """Units first, examples last."""
    active = features.T
    for layer in params[:-1]:
        active = jnp.tanh(layer["weight"].T @ active + layer["bias"][:, None])
    return softmax_cross_entropy(
        params[-1]["weight"].T @ active + params[-1]["bias"][:, None], labels
    )


def _check_dataset(
    dataset: Arg[Literal["iris", "wine", "breast_cancer", "digits"]],
    known: tuple[str, ...],
    caller: str,
) -> None:
    if not isinstance(dataset, str) or dataset not in known:
        names = ", ".join(repr(name) for name in known)
        raise ValueError(
            f"dataset must be one of {names}, not {errors.shown(dataset)}. Type "
            f"{caller}({known[0]!r})."
        )


def _classifier(
    dataset: Arg[Literal["iris", "wine", "breast_cancer", "digits"]],
    weight_decay: Arg[Number],
    loss: Any,
    outputs: int | None,
    caller: str,
) -> NetworkLandscape:
    _check_dataset(
        dataset, tuple(name for name, n in _DATA.items() if outputs is None or n == 2), caller
    )
    decay = float(errors.positive("weight_decay", errors.concrete("weight_decay", weight_decay)))
    features, labels = _standardised(dataset)
    columns = outputs or _DATA[dataset]
    params = {"weight": np.zeros((features.shape[1], columns)), "bias": np.zeros(columns)}
    landscape = from_network(loss, params, features, labels, weight_decay=decay, batched=True)
    return landscape.at(_minimise(features, labels, columns, decay))


def _binary_losses(params: Any, features: Array, labels: Array) -> Array:
    logits = params["weight"][:, 0] @ features.T + params["bias"][0]
    return jax.nn.softplus(logits) - logits * labels.astype(logits.dtype)


def _softmax_losses(params: Any, features: Array, labels: Array) -> Array:
    return softmax_cross_entropy(params["weight"].T @ features.T + params["bias"][:, None], labels)


def _standardised(dataset: str) -> tuple[np.ndarray, np.ndarray]:
    try:
        import sklearn.datasets as data  # slow to import, and an extra
    except ImportError:
        raise errors.missing_extra("scikit-learn", "data", f"The {dataset} data set") from None
    features, labels = getattr(data, f"load_{dataset}")(return_X_y=True)
    spread = features.std(0)
    return (features - features.mean(0)) / np.where(spread > 0, spread, 1), labels


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
