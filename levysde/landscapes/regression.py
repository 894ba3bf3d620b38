"""Logistic and softmax regression on the data sets that come with scikit-learn: convex, with the one minimum known.

    F(x) = 1/n sum_i cross-entropy(x; input_i, label_i) + weight_decay |x|^2 / 2      (nats; |x|^2 includes the biases)

Inputs are standardised: every feature has mean 0 and variance 1 over the examples used; a constant feature becomes 0.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from levysde import errors
from levysde.errors import Checked
from levysde.landscapes.network import NetworkLandscape, from_network

_NAMES = ("breast_cancer", "digits", "iris", "wine")


def logistic_regression(
    dataset: Checked = "breast_cancer", *, classes: Checked = (0, 1), weight_decay: Checked = 0.01
) -> NetworkLandscape:
    """Logistic regression of one class against another; the marked minimum is the unique one, to float precision.

    Parameters, in order: the bias, then one weight a feature (31 in all for breast_cancer). The second class counts as 1.

    Args:
        dataset: "breast_cancer" (569 examples, 30 features), "digits" (64 features), "iris" (4) or "wine" (13).
        classes: the two classes, by number. breast_cancer has 0 (malignant) and 1 (benign).
        weight_decay: positive: it makes the loss strictly convex.

    Raises:
        TypeError, ValueError: an argument outside its range.
        ImportError: scikit-learn is missing.
    """
    decay = errors.positive("weight_decay", weight_decay, "weight_decay=0.01")
    inputs, labels = _load(dataset)
    pair = _pair(classes, int(labels.max()) + 1)
    used = np.isin(labels, pair)
    inputs, labels = _standardised(inputs[used]), labels[used] == pair[1]
    params = {"bias": np.zeros(()), "weight": np.zeros(inputs.shape[1])}
    return _at_minimum(from_network(logistic_loss, params, inputs, labels.astype(int), weight_decay=decay))


def softmax_regression(dataset: Checked = "digits", *, weight_decay: Checked = 0.01) -> NetworkLandscape:
    """Softmax regression on all classes of a data set; the marked minimum is the unique one, to float precision.

    Parameters, in order: the biases `(classes,)`, then the weights `(features, classes)`.

    Args:
        dataset: "digits" (1797 examples, 650 parameters), "iris" (150, 15), "wine" (178, 42) or "breast_cancer" (569, 62).
        weight_decay: positive: it makes the loss strictly convex.

    Raises:
        TypeError, ValueError: an argument outside its range.
        ImportError: scikit-learn is missing.
    """
    decay = errors.positive("weight_decay", weight_decay, "weight_decay=0.01")
    inputs, labels = _load(dataset)
    num_classes = int(labels.max()) + 1
    params = {"bias": np.zeros(num_classes), "weight": np.zeros((inputs.shape[1], num_classes))}
    return _at_minimum(from_network(softmax_loss, params, _standardised(inputs), labels, weight_decay=decay))


def logistic_loss(params: dict, features: Array, label: Array) -> Array:
    """Cross-entropy in nats of one example with features `(p,)` and label 0 or 1."""
    logit = params["bias"] + jnp.sum(params["weight"] * features)
    return jnp.logaddexp(logit, 0) - label * logit


def softmax_loss(params: dict, features: Array, label: Array) -> Array:
    """Cross-entropy in nats of one example with features `(p,)` and its class."""
    logits = params["bias"] + features @ params["weight"]
    return jax.nn.logsumexp(logits) - jnp.sum(jnp.where(jnp.arange(logits.shape[0]) == label, logits, 0))


def _load(dataset: Checked) -> tuple[np.ndarray, np.ndarray]:
    if not isinstance(dataset, str) or dataset not in _NAMES:
        raise ValueError(
            f'dataset must be one of {", ".join(_NAMES)}, not {dataset!r}. Type for example dataset="wine".'
        )
    try:
        import sklearn.datasets  # slow to import, and an extra
    except ImportError:
        raise errors.missing_extra("scikit-learn", "data", f"The data set {dataset}") from None
    inputs, labels = getattr(sklearn.datasets, f"load_{dataset}")(return_X_y=True)
    return np.asarray(inputs, float), np.asarray(labels, int)


def _pair(classes: Checked, num: int) -> tuple[int, int]:
    example = "classes=(0, 1)"
    if not isinstance(classes, list | tuple) or len(classes) != 2:
        raise TypeError(f"classes must be two numbers of classes, not {classes!r}. Type for example {example}.")
    first, second = (errors.integer("each of classes", k, example, low=0, high=num - 1) for k in classes)
    if first == second:
        raise ValueError(f"classes must be two different ones, not {classes!r}. Type for example {example}.")
    return first, second


def _standardised(inputs: np.ndarray) -> np.ndarray:
    spread = inputs.std(0)
    return (inputs - inputs.mean(0)) / np.where(spread > 0, spread, 1)


def _at_minimum(landscape: NetworkLandscape) -> NetworkLandscape:
    """The landscape marked at its minimum: L-BFGS from zero, then Newton, in float64 on the landscape's own numbers."""
    from scipy.optimize import minimize  # slow to import

    with jax.enable_x64(True):
        precise = jax.tree.map(_widen, landscape)
        both = eqx.filter_jit(lambda net, x: (net.value(x), net.gradient(x)))
        second = eqx.filter_jit(lambda net, x: net.hessian(x))

        def value_and_gradient(x: np.ndarray) -> tuple[float, np.ndarray]:
            value, gradient = both(precise, jnp.asarray(x))
            return float(value), np.asarray(gradient)

        options = {"gtol": 1e-8, "ftol": 0.0, "maxiter": 10_000, "maxfun": 20_000, "maxcor": 20}
        x = minimize(value_and_gradient, np.zeros(landscape.dim), jac=True, method="L-BFGS-B", options=options).x
        for _ in range(3):
            x = x - np.linalg.solve(np.asarray(second(precise, jnp.asarray(x))), value_and_gradient(x)[1])
        gradient = value_and_gradient(x)[1]
    # strictly convex: the distance to the minimum is at most |gradient| / weight_decay
    away = float(np.linalg.norm(gradient)) / float(landscape.weight_decay)
    if not away < 1e-7 * (1 + float(np.linalg.norm(x))):
        raise ValueError(
            f"the minimum was not reached: it may be {away:.3g} away. Raise weight_decay, now "
            f"{float(landscape.weight_decay):g}, for example to 0.01."
        )
    return landscape.at(x)


def _widen(leaf: Array) -> Array:
    return jnp.asarray(np.asarray(leaf, np.float64)) if eqx.is_inexact_array(leaf) else leaf
