"""Trees of parameters: which of their leaves are trained, and a loss of the trained ones alone."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from levysde.parts import own_arrays


class OnModel:
    """A loss of a whole model as one of its arrays. Equal to another of the same loss on an equal
    rest, so that both share their compiled programs."""

    def __init__(self, loss: Callable, rest: Any):
        self.loss, self.rest = loss, rest
        self.__name__ = getattr(loss, "__name__", type(loss).__name__)

    def whole(self, arrays: Any) -> Any:
        return eqx.combine(arrays, self.rest)

    def __call__(self, arrays: Any, inputs: Any, targets: Any) -> Any:
        return own_arrays(self.loss)(self.whole(arrays), inputs, targets)

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
    arrays, rest = partition(params)
    return (OnModel(loss, rest), arrays) if jax.tree.leaves(rest) else (loss, params)


def partition(params: Any) -> tuple[Any, Any]:
    """The trained arrays, and all else: two trees like `params`, each with None for what the other
    holds."""

    def is_model(node: Any) -> bool:
        return isinstance(node, eqx.Module) or _is_fixed(node)

    nodes = jax.tree.leaves(params, is_leaf=is_model)
    whole = any(is_model(node) or _is_key(node) for node in nodes)
    trained = eqx.is_inexact_array if whole else lambda leaf: not callable(leaf)
    kept = []
    for node in jax.tree.leaves(params, is_leaf=_is_fixed):
        kept += [False] * len(jax.tree.leaves(node)) if _is_fixed(node) else [trained(node)]
    leaves, structure = jax.tree.flatten(params)
    arrays = [leaf if keep else None for leaf, keep in zip(leaves, kept, strict=True)]
    rest = [None if keep else leaf for leaf, keep in zip(leaves, kept, strict=True)]
    return jax.tree.unflatten(structure, arrays), jax.tree.unflatten(structure, rest)


def _is_fixed(node: Any) -> bool:
    """Whether a node is a variable of flax.nnx and no parameter: a batch statistic, or the state of
    a random stream. Known by name, because flax may be missing."""
    kinds = type(node).__mro__
    names = [kind.__name__ for kind in kinds if kind.__module__.startswith("flax.nnx.")]
    return "Variable" in names and "Param" not in names


def _is_key(leaf: Any) -> bool:
    return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def flat_vector_hint(params: Any) -> str:
    """What to do where a loss fails because it got a flat vector in place of its parameters; else
    ""."""
    shape = getattr(params, "shape", None)
    if shape is None or len(shape) != 1:
        return ""
    return (
        f"\nparams is one flat vector of {shape[0]} numbers. If it comes from "
        "networks.refine or network.minimum, give network.unflatten(params)."
    )
