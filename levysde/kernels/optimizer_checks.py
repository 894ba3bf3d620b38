"""Which optax optimisers `OptimizerKernel` runs as they are meant: one gradient an iteration, of
one batch, at the position.

An optimiser that needs more either fails when it is traced (a line search wants the loss), or runs
and is another algorithm (SAM would draw a new batch for each half of its step). The second kind is
known by its state.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array

from levysde import errors

EXAMPLE = "OptimizerKernel(optax.sgd(0.1), landscape, batch_size=30)"

# by the state that the optimiser keeps: what is wrong, and what to do
_REFUSED = {
    "SAMState": (
        "optax.contrib.sam takes two gradients of the same batch in an iteration. Here each would "
        "see a batch of its own, which is another algorithm (its stationary variance is smaller), "
        "each would count as an iteration, and the domain would look at the perturbed position. "
        "OptimizerKernel has no option for SAM. Write a Kernel whose step takes both gradients of "
        "one batch; or simulate the equation of unnormalised SAM of radius rho, "
        "SGD(Modified(landscape, learning_rate=2 * rho), driver, learning_rate=..., scale=...), "
        "whose scale is (I + rho * Hessian) times the noise of the gradient."
    ),
    "ScheduleFreeState": (
        "optax.contrib.schedule_free takes gradients at one point and is evaluated at another, "
        "the average that schedule_free_eval_params returns. The domain would look at the first, "
        "and the escape would not be that of the trained parameters. Give its base optimiser, for "
        "example optax.sgd(0.1), or write a Kernel whose position is the average."
    ),
    "LookaheadState": (
        "optax.lookahead moves two sets of parameters, fast and slow, and this kernel has one. "
        "Give its fast optimiser, for example optax.sgd(0.1), or write a Kernel whose state holds "
        "both."
    ),
    "DifferentiallyPrivateAggregateState": (
        "optax.contrib.differentially_private_aggregate clips the gradient of each example, and "
        "this kernel passes the mean over a batch. Give "
        "optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(0.1)), which clips the mean, or "
        "write a Kernel that passes the gradients of the examples."
    ),
}
_NEEDS_MORE = (
    "required keyword-only argument",
    "grad_fn",
    "obj_fn",
    "value_fn",
)  # in the message of a failed update
_GENERAL = (
    "It must be a GradientTransformation whose update takes gradients, its state and the "
    "parameters, and keeps the tree of its state."
)


def transformation_maker(
    transformation: Any, hyperparameters: Any
) -> tuple[Any, dict[str, Array], tuple[tuple[str, Any], ...]]:
    """A transformation, or what makes it, with its numbers as arrays and its other options
    apart."""
    if isinstance(transformation, optax.GradientTransformation):
        if hyperparameters is not None:
            raise ValueError(
                "hyperparameters belong to a transformation that is made here, and this one has "
                "been made. For example "
                'OptimizerKernel("sgd", landscape, batch_size=30, '
                'hyperparameters={"learning_rate": 0.1}).'
            )
        return transformation, {}, ()
    if isinstance(transformation, str):
        made = getattr(optax, transformation, None)
        if not callable(made):
            raise ValueError(
                f"transformation: optax has no optimiser {transformation!r}. For example {EXAMPLE}."
            )
        transformation = made
    if not callable(transformation):
        _check_transformation(transformation)
    given = {} if hyperparameters is None else hyperparameters
    if not isinstance(given, Mapping):
        raise TypeError(
            f'hyperparameters must be a dict, not {given!r}. For example {{"learning_rate": '
            f'0.1, "momentum": 0.9}}.'
        )
    numbers, options = {}, []
    for name, value in given.items():
        if value is None or isinstance(value, bool | str) or callable(value):
            options.append((name, value))
        else:
            numbers[name] = errors.finite(f"hyperparameters[{name!r}]", value, "0.1", ())
    try:
        found = transformation(**numbers, **dict(options))
    except Exception as error:  # a user's maker may raise anything
        raise TypeError(
            f"{getattr(transformation, '__name__', transformation)!r} makes no transformation of "
            f"{dict(given)!r}: {error}. "
            'For example OptimizerKernel("sgd", landscape, batch_size=30, '
            'hyperparameters={"learning_rate": 0.1}).'
        ) from None
    _check_transformation(found)
    return transformation, numbers, tuple(options)


def _check_transformation(transformation: Any) -> None:
    """Raises TypeError for what is no `GradientTransformation`."""
    if isinstance(transformation, optax.MultiSteps):
        raise TypeError(
            "transformation is an optax.MultiSteps, which only wraps a GradientTransformation. "
            "Type optax.MultiSteps(...).gradient_transformation()."
        )
    errors.instance("transformation", transformation, optax.GradientTransformation, EXAMPLE)


def check_update(kernel: Any) -> None:
    """That the optimiser runs on these parameters as it is meant, and keeps a state of arrays of
    constant shape.

    Args:
        kernel: an `OptimizerKernel`.

    Raises:
        TypeError: an optimiser that fails, needs more than one gradient an iteration, returns
            something else than one number for each parameter, or whose state holds something else
            than arrays or changes its shape.
    """
    given = "" if kernel.start is None else " and this optimizer_state"
    given += f" and the hyperparameters {dict(kernel.options)}" if kernel.options else ""

    def failed(error: Exception) -> TypeError:
        advice = _GENERAL
        if any(words in str(error) for words in _NEEDS_MORE):
            advice = (
                "This kernel passes gradients, state and parameters, and no loss or function of "
                "the loss, which line searches, reduce_on_plateau, momo, polyak_sgd and sophia "
                "need. Give an optimiser with a fixed learning rate, for example optax.sgd(0.1); "
                "for optax.lbfgs, optax.lbfgs(learning_rate=0.1, linesearch=None)."
            )
        return TypeError(
            f"the optimiser fails on this landscape's parameters{given}: {error}\n{advice}"
        )

    try:
        initial = kernel._initial()
    except Exception as error:  # a user's transformation may raise anything
        raise failed(error) from None
    refused = [name for name in _states(initial) if name in _REFUSED]
    if refused:
        raise TypeError(_REFUSED[refused[0]])
    for leaf in jax.tree.leaves(initial):
        if not (errors.is_traced(leaf) or isinstance(leaf, jax.Array | np.ndarray | float | int)):
            raise TypeError(
                f"the optimiser's state{given} must hold arrays only, but holds "
                f"{errors.shown(leaf)}. Keep constants in the functions of the "
                "GradientTransformation, not in its state."
            )
    x = jax.ShapeDtypeStruct((kernel.dim,), kernel.landscape.minimum.dtype)
    words = jax.ShapeDtypeStruct((kernel.words_per_iteration,), jnp.uint32)
    start = jax.ShapeDtypeStruct((kernel.words_per_init,), jnp.uint32)
    try:
        before = jax.eval_shape(kernel.init, x, start)
        params = jax.eval_shape(lambda state: kernel._tree(state.position), before)
        updates = jax.eval_shape(
            lambda w, state, p: kernel._updated(w, state, p)[0], words, before, params
        )
        after = jax.eval_shape(kernel._iterate, words, before)
    except Exception as error:
        raise failed(error) from None
    wanted, found = (jax.tree.map(lambda leaf: leaf.shape, tree) for tree in (params, updates))
    if not _alike(wanted, found):
        raise TypeError(
            f"the optimiser returns updates of shape {found} for parameters of shape {wanted}. "
            "Its update must return one number for each parameter."
        )
    old, new = (jax.tree.map(lambda leaf: leaf.shape, state) for state in (before, after))
    if not _alike(old, new):
        raise TypeError(
            f"the optimiser's state changes its shape in a step, from {old} to {new}. Keep it "
            "constant."
        )


def _alike(one: Any, other: Any) -> bool:
    """Whether two trees of shapes are the same. Leaves are compared by themselves: a tree may hold
    models that are equal to themselves only."""
    return jax.tree.flatten(one) == jax.tree.flatten(other)


def _states(state: Any) -> list[str]:
    """The names of the named tuples in an optimiser's state, outer ones first."""
    if isinstance(state, tuple):
        own = [type(state).__name__] if type(state) is not tuple else []
        return own + [name for inner in state for name in _states(inner)]
    if isinstance(state, dict):
        state = list(state.values())
    return [name for inner in state for name in _states(inner)] if isinstance(state, list) else []
