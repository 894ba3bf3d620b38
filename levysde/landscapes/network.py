"""A network on data: the mean loss over the examples plus weight decay, as a landscape.

    F(x) = 1/n sum_i loss(params(x), input_i, target_i) + weight_decay |x|^2 / 2

`x` is the flat parameter vector: the leaves of the parameter tree, in the order of
`jax.tree.leaves`, end to end. The weight decay makes minima strict: it adds `weight_decay` to every
eigenvalue of the Hessian.

In a parameter tree that holds an `equinox.Module` the parameters are the floating-point arrays, as
in `equinox.filter_grad`. Activation functions, sizes and integer arrays stay as they are and are
put back before the loss is called.

`value` and `gradient` at one `x` in one jitted program share the forward pass.

The loss is a function of one example, or with `batched=True` of all of them. A batched loss that
keeps the examples on the last axis of its arrays, as `digits_mlp` does, takes half the time: XLA
vectorises over the last axis, and a vmap over examples leaves the classes there (610 parameters,
300 images, 16 lanes, one core: 23 us a gradient against 48).
"""

import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from levysde import errors
from levysde.parts import own_arrays
from levysde.protocols import Landscape, Point, Scalar
from levysde.types import Arg, Number, Numbers

_EXAMPLE = (
    "from_network(loss, params, inputs, targets) with loss(params, input, target) -> one number"
)
_BATCHED = (
    "from_network(loss, params, inputs, targets, batched=True) with loss(params, inputs, targets) "
    "-> one number each"
)
_CHUNK = 256  # examples whose gradients are computed at a time


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
    is_model = lambda node: isinstance(node, eqx.Module)  # noqa: E731
    models = any(map(is_model, jax.tree.leaves(params, is_leaf=is_model)))
    trained = eqx.is_inexact_array if models else lambda leaf: not callable(leaf)
    arrays, rest = eqx.partition(params, trained)
    return (OnModel(loss, rest), arrays) if jax.tree.leaves(rest) else (loss, params)


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


class NetworkLandscape(Landscape):
    """Mean per-example loss over data, plus `weight_decay |x|^2 / 2`. Made by `from_network`.

    Attributes:
        loss: the loss of one example or, where `batched`, of all.
        batched: whether it takes all examples at once.
        treedef, shapes: of the parameter tree, by which `unflatten` puts a flat vector back into
            it.
        inputs, targets: the data, leading axis the `n` examples.
        weight_decay: a number, in units of the loss over squared parameters.
        minimum: the marked point, shape `(d,)`; at first the parameters given. Move it with `at`.
        dim: d, the number of parameters.
        stretch: a factor on the parameters before the loss, `F(stretch x)`, None for 1; see
            `rescaled`.
    """

    loss: Callable = eqx.field(static=True)
    batched: bool = eqx.field(static=True)
    treedef: Any = eqx.field(static=True)
    shapes: tuple[tuple[int, ...], ...] = eqx.field(static=True)
    inputs: Array
    targets: Array
    weight_decay: Array
    minimum: Array
    dim: int = eqx.field(static=True)
    stretch: Array | None = None

    def _arguments(self) -> dict[str, Any]:
        return {
            name: getattr(self, name)
            for name in ("loss", "inputs", "targets", "weight_decay", "dim", "stretch")
        }

    @property
    def num_examples(self) -> int:
        """n, the number of examples."""
        return self.inputs.shape[0]

    def unflatten(self, x: Point) -> Any:
        """The parameters of the flat vector `x` as they were given to `from_network`, whole models
        included, in the dtype of `x`."""
        arrays = self.arrays(x)
        return self.loss.whole(arrays) if isinstance(self.loss, OnModel) else arrays

    def arrays(self, x: Point) -> Any:
        """The tree of the arrays of the flat vector `x`: `unflatten` without what is not trained,
        for an optimiser."""
        ends = np.cumsum([math.prod(shape) for shape in self.shapes])
        # the transpose of a split is one concatenation, that of slices a sum of padded arrays,
        # which XLA does not vectorise
        leaves = [
            part.reshape(shape)
            for part, shape in zip(jnp.split(x, ends[:-1]), self.shapes, strict=True)
        ]
        return jax.tree.unflatten(self.treedef, leaves)

    def value(self, x: Point) -> Scalar:
        return self._mean_loss(x, self.inputs, self.targets)

    def gradient(self, x: Point) -> Point:
        return jax.grad(self.value)(x)

    def hessian(self, x: Point) -> Float[Array, "d d"]:
        return jax.hessian(self.value)(x)

    def batch_gradient(self, x: Point, index: Int[Array, " b"]) -> Point:
        """The gradient over the examples numbered `index` alone, weight decay included. Shape
        `(d,)`."""
        return jax.grad(self._mean_loss)(x, self.inputs[index], self.targets[index])

    def losses(self, x: Point, index: Int[Array, " b"]) -> Float[Array, " b"]:
        """The losses of the examples numbered `index`, weight decay left out. Shape `(b,)`."""
        return self._losses(x, self.inputs[index], self.targets[index])

    def tree_gradient(self, params: Any, index: Int[Array, " b"] | None = None) -> Any:
        """`batch_gradient` as a tree, for optimisers that keep one: the parts of the flat one are
        put end to end, which takes a sixth of its time in small networks. `index` None is all
        examples."""
        data = self.inputs, self.targets
        inputs, targets = data if index is None else (part[index] for part in data)

        def loss(params: Any) -> Scalar:
            params = jax.tree.map(self._stretched, params)
            squares = sum(jnp.sum(leaf * leaf) for leaf in jax.tree.leaves(params))
            mean = jnp.mean(self._tree_losses(params, inputs, targets))
            return mean + self.weight_decay / 2 * squares

        return jax.grad(loss)(params)

    def example_gradients(self, x: Point) -> Float[Array, "n d"]:
        """The gradient of each example, weight decay included: their mean is `gradient(x)`."""

        def one(example: tuple[Array, Array]) -> Array:
            alone = jax.tree.map(lambda leaf: leaf[None], example)
            return jax.grad(lambda x: self._losses(x, *alone)[0])(x)

        rows = jax.lax.map(one, (self.inputs, self.targets), batch_size=_CHUNK)
        decay = self.weight_decay if self.stretch is None else self.weight_decay * self.stretch**2
        return rows + (decay * x)[None, :]

    def at(self, x: Arg[Numbers]) -> "NetworkLandscape":
        """This landscape with its minimum marked at `x`, shape `(d,)`.

        Raises TypeError or ValueError for a wrong shape, or a loss or gradient that is not finite
        there. It is not checked whether x is a minimum: `levysde.networks.refine` finds one and
        checks it.
        """
        x = errors.finite("x", x, f"x=jnp.zeros({self.dim})", (self.dim,))
        moved = eqx.tree_at(lambda landscape: landscape.minimum, self, x)
        if not errors.is_traced(x):
            _check_finite(moved)
        return moved

    def _losses(self, x: Point, inputs: Array, targets: Array) -> Float[Array, " n"]:
        return self._tree_losses(self.arrays(self._stretched(x)), inputs, targets)

    def _tree_losses(self, params: Any, inputs: Array, targets: Array) -> Float[Array, " n"]:
        loss = own_arrays(self.loss)
        loss = loss if self.batched else jax.vmap(loss, (None, 0, 0))
        return loss(params, inputs, targets)

    def _mean_loss(self, x: Point, inputs: Array, targets: Array) -> Scalar:
        decayed = self._stretched(x)
        mean = jnp.mean(self._losses(x, inputs, targets))
        return mean + self.weight_decay / 2 * jnp.sum(decayed * decayed)

    def _stretched(self, x: Array) -> Array:
        return x if self.stretch is None else self.stretch * x


def from_network(
    loss: Arg[Callable[..., Any]],
    params: Arg[Any],
    inputs: Arg[Numbers],
    targets: Arg[Numbers],
    *,
    weight_decay: Arg[Number] = 0.0,
    batched: Arg[bool] = False,
) -> NetworkLandscape:
    """A landscape from a loss over any tree of parameters, and data.

    Args:
        loss: `loss(params, input, target) -> scalar` for ONE example, written with jax.numpy; or,
            with `batched=True`, `loss(params, inputs, targets) -> losses` of shape `(n,)` for any
            number of examples.
        params: any pytree of real arrays, or an equinox model, of which the floating-point arrays
            are the parameters: the marked point, and where training starts.
        inputs: the examples, shape `(n, ...)`; real numbers become floats, integers stay (indices,
            tokens).
        targets: as many targets, shape `(n, ...)`.
        weight_decay: adds `weight_decay |x|^2 / 2`; 0 or positive. Without it a network has no
            strict minimum.
        batched: whether `loss` takes all examples at once. It must not mix them: each has its own
            gradient.

    Returns:
        A `NetworkLandscape` over the flat vector of all parameters, in the order of
        `jax.tree.leaves`.

    Raises:
        TypeError: `loss` is no function, fails on an example, or returns something else than one
            real number each; `batched` is not True or False; `params` hold something else than real
            arrays, models and functions.
        ValueError: no parameters, data of unequal length or without examples, data or parameters
            that are not finite, a negative weight decay, a loss or gradient that is not finite at
            `params`.

    Source:
        Elementary.
    """
    loss, arrays = model_parameters(errors.function("loss", loss, _EXAMPLE), params)
    batched = errors.flag("batched", batched)
    leaves, treedef = jax.tree.flatten(arrays)
    if not leaves:
        raise ValueError(
            f"params hold no arrays: {params!r}. Give the network's weights, for example {{'w': "
            f"jnp.ones(3)}}."
        )
    leaves = [
        errors.finite("each array in params", leaf, "params={'w': jnp.ones(3)}") for leaf in leaves
    ]
    inputs, targets = _data("inputs", inputs), _data("targets", targets)
    if inputs.shape[0] != targets.shape[0]:
        raise ValueError(
            f"inputs hold {inputs.shape[0]} examples but targets {targets.shape[0]}. "
            "Give both the same leading axis, one row an example."
        )
    weight_decay = errors.nonnegative("weight_decay", weight_decay)
    minimum = jnp.concatenate([leaf.ravel() for leaf in leaves])
    landscape = NetworkLandscape(
        loss=loss,
        batched=batched,
        treedef=treedef,
        shapes=tuple(leaf.shape for leaf in leaves),
        inputs=inputs,
        targets=targets,
        weight_decay=weight_decay,
        minimum=minimum,
        dim=minimum.size,
    )
    _check_loss(landscape)
    _check_finite(landscape)
    return landscape


def _data(name: str, value: Any) -> Array:
    """Data as an array leaf with at least one row; integers and truth values keep their kind."""
    try:
        array = value if errors.is_traced(value) else np.asarray(errors.unmasked(name, value))
    except ValueError as error:  # rows of unequal length
        raise TypeError(
            f"{name} must be an array of numbers, one row an example: {error}"
        ) from None
    if array.dtype.kind not in "fiub" and not jnp.issubdtype(array.dtype, jnp.floating):
        raise TypeError(
            f"{name} must be an array of numbers, not of dtype {array.dtype}. Give one "
            "row an example."
        )
    if array.ndim == 0 or array.shape[0] == 0:
        raise ValueError(
            f"{name} hold no examples: their shape is {array.shape}. Give one row an example."
        )
    if jnp.issubdtype(array.dtype, jnp.floating):
        return errors.finite(name, array, f"{name} of shape (n, ...) without NaN")
    return jnp.asarray(array)


def _check_loss(landscape: NetworkLandscape) -> None:
    shapes = (
        f"input of shape {landscape.inputs.shape[1:]}, target of shape "
        f"{landscape.targets.shape[1:]}"
    )
    batched = landscape.batched
    # a batched loss is tried on two examples, so that one that averages them, or asks for all, is
    # seen
    count = min(2, landscape.num_examples) if batched else 1
    one, which = (_BATCHED, f"{count} examples") if batched else (_EXAMPLE, "one example")
    data = (landscape.inputs[:count], landscape.targets[:count])
    example = data if batched else jax.tree.map(lambda leaf: leaf[0], data)
    try:
        out = jax.eval_shape(landscape.loss, landscape.arrays(landscape.minimum), *example)
    except Exception as error:
        raise TypeError(
            f"loss fails on {which} ({shapes}): {errors.described(error)}\nWrite it with "
            "jax.numpy, as "
            f"in {one}." + flat_vector_hint(landscape.arrays(landscape.minimum))
        ) from None
    shape = (count,) if batched else ()
    if getattr(out, "shape", None) != shape or not jnp.issubdtype(out.dtype, jnp.floating):
        raise TypeError(
            f"loss must return one real number for each example, not {out} for "
            f"{which}, as in {one}."
        )


@eqx.filter_jit
def _value_and_gradient(landscape: NetworkLandscape) -> tuple[Array, Array]:
    """At the marked point. One function for all landscapes: those of one shape and loss are
    compiled once."""
    return landscape.value(landscape.minimum), landscape.gradient(landscape.minimum)


def _check_finite(landscape: NetworkLandscape) -> None:
    if any(errors.is_traced(leaf) for leaf in jax.tree.leaves(landscape)):
        return
    value, gradient = _value_and_gradient(landscape)
    bad = int(np.sum(~np.isfinite(gradient)))
    for name, number in (
        ("loss", value),
        (f"gradient ({bad} of {landscape.dim} entries)", gradient),
    ):
        if not np.isfinite(number).all():
            raise ValueError(
                f"the {name} is not finite at the parameters given (loss {float(value)}). "
                "Give other parameters, or guard logarithms, roots and divisions in the loss."
            )
