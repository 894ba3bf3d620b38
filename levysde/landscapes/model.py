"""The trainable arrays of a model apart from everything else in it, so that an equinox model works
as it is.

In a tree that holds an `equinox.Module` the parameters are the floating-point arrays, as in
`equinox.filter_grad`. Activation functions, sizes and integer arrays stay as they are and are put
back before the loss is called.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax


class OnModel:
    """A loss of a whole model as one of its arrays. Equal to another of the same loss on an equal
    rest, so that both share their compiled programs."""

    def __init__(self, loss: Callable, rest: Any):
        self.loss, self.rest = loss, rest
        self.__name__ = getattr(loss, "__name__", type(loss).__name__)

    def whole(self, arrays: Any) -> Any:
        """The model with these arrays."""
        return eqx.combine(arrays, self.rest)

    def __call__(self, arrays: Any, inputs: Any, targets: Any) -> Any:
        return self.loss(self.whole(arrays), inputs, targets)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, OnModel)
            and self.loss == other.loss
            and bool(eqx.tree_equal(self.rest, other.rest))
        )

    def __hash__(self) -> int:
        return hash((self.loss, jax.tree.structure(self.rest)))


def model_parameters(loss: Callable, params: Any) -> tuple[Callable, Any]:
    """The loss as a function of the trainable arrays, and these arrays.

    Args:
        loss: `loss(params, input, target)`.
        params: a tree of arrays, or one that holds equinox models or functions as well.

    Returns:
        `(loss, params)` as they are where there is nothing but arrays; else the loss of the arrays
        alone, and a tree of the same structure with None in place of everything else.

    Source:
        `equinox.partition` and `equinox.combine`.
    """
    models = jax.tree.leaves(params, is_leaf=_is_model)
    trained = eqx.is_inexact_array if any(map(_is_model, models)) else _is_no_function
    arrays, rest = eqx.partition(params, trained)
    return (OnModel(loss, rest), arrays) if jax.tree.leaves(rest) else (loss, params)


def _is_model(node: Any) -> bool:
    return isinstance(node, eqx.Module)


def _is_no_function(leaf: Any) -> bool:
    return not callable(leaf)


def flat_vector_hint(params: Any) -> str:
    """What to do where a loss fails because it got the flat vector of `train` in place of its
    parameters; else ""."""
    shape = getattr(params, "shape", None)
    if shape is None or len(shape) != 1:
        return ""
    return (
        f"\nparams is one flat vector of {shape[0]} numbers. If it comes from networks.train, "
        "networks.refine or "
        "network.minimum, give network.unflatten(params)."
    )
