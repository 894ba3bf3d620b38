"""A network on data: the mean loss over the examples plus weight decay, as a landscape.

    F(x) = 1/n sum_i loss(params(x), input_i, target_i) + weight_decay |x|^2 / 2

`x` is the flat parameter vector: the leaves of the parameter tree, in the order of
`jax.tree.leaves`, end to end. The weight decay makes minima strict: it adds `weight_decay` to every
eigenvalue of the Hessian.

In a parameter tree that holds an `equinox.Module` or random keys the parameters are the
floating-point arrays, as in `equinox.filter_grad`; of the variables of flax.nnx they are each
`nnx.Param`. Activation functions, sizes, integer arrays and batch statistics stay as they are and
are put back before the loss is called.

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
from levysde.landscapes.trees import OnModel, flat_vector_hint, model_parameters, partition
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


def flattened(landscape: "NetworkLandscape", name: str, params: Any) -> Any:
    """The numbers of a tree of parameters end to end, unchecked and in their own precision; a
    vector is handed back.

    Args:
        landscape: the network whose parameters they are.
        name: the argument's, for messages.
        params: a flat vector, or a tree like the one that `from_network` was given.

    Raises:
        TypeError, ValueError: another tree, an array of another shape, or a model that differs in
            what is not trained.

    Source:
        Elementary.
    """
    numbers, alone = jax.tree.leaves(params), jax.tree_util.all_leaves([params])
    one = alone and jax.tree_util.treedef_is_leaf(landscape.treedef)
    if not numbers or (alone and not (one and np.shape(params) == landscape.shapes[0])):
        return params
    arrays, rest = partition(params)
    held = jax.tree_util.tree_leaves_with_path(arrays)
    if jax.tree.structure(arrays) != landscape.treedef:
        if isinstance(params, tuple | list) and not any(map(np.ndim, numbers)):
            return params
        raise TypeError(
            f"{name} is another tree than the parameters of this network: "
            f"{_first_difference(landscape, held)}. Give a tree like the one that from_network was "
            f"given, or a flat vector of shape ({landscape.dim},)."
        )
    for (path, leaf), shape in zip(held, landscape.shapes, strict=True):
        if np.shape(leaf) != shape:
            raise ValueError(
                f"{name}{jax.tree_util.keystr(path)} must have shape {shape}, not "
                f"{np.shape(leaf)}. Give a tree like the one that from_network was given."
            )
    mine = landscape.loss.rest if isinstance(landscape.loss, OnModel) else None
    if not eqx.tree_equal(jax.tree.leaves(rest), jax.tree.leaves(mine)):
        raise ValueError(
            f"{name} differs from what from_network was given in something that is not trained, "
            "for example in a batch statistic or an activation function. Make the landscape with "
            f"this {name}, or keep in the tree only what is trained."
        )
    parts = [errors.unmasked(name, leaf) for _, leaf in held]
    joined = jnp if any(map(errors.is_traced, parts)) else np
    return joined.concatenate([joined.ravel(part) for part in parts])


def _first_difference(landscape: "NetworkLandscape", held: list) -> str:
    own = jax.tree_util.tree_leaves_with_path(landscape.arrays(landscape.minimum))
    wanted, found = ([jax.tree_util.keystr(path) for path, _ in leaves] for leaves in (own, held))
    for path in wanted:
        if path not in found:
            return f"{path} is missing"
    more = [path for path in found if path not in wanted]
    return f"{more[0]} is not among them" if more else "its containers are of other kinds"


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

    def unflatten(self, x: Arg[Numbers]) -> Any:
        """The parameters of the flat vector `x`, shape `(d,)`, as they were given to
        `from_network`, whole models included, in the dtype of `x`.

        Raises TypeError or ValueError for something else than a vector of this shape.
        """
        example = f"x=jnp.zeros({self.dim})"
        vector: Any = x if errors.is_traced(x) else jnp.asarray(errors.numeric("x", x, example))
        if vector.shape != (self.dim,):
            raise ValueError(
                f"x must have shape ({self.dim},), not {vector.shape}. For example {example}."
            )
        arrays = self.arrays(vector)
        return self.loss.whole(arrays) if isinstance(self.loss, OnModel) else arrays

    def flatten(self, params: Arg[Any]) -> Point:
        """The flat vector, shape `(d,)`, of parameters in a tree like the one that `from_network`
        was given: the inverse of `unflatten`. A flat vector is handed back.

        Raises TypeError or ValueError for another tree, or numbers that are not finite.
        """
        vector = flattened(self, "params", params)
        return errors.finite("params", vector, f"params=jnp.zeros({self.dim})", (self.dim,))

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

    def at(self, x: Arg[Any]) -> "NetworkLandscape":
        """This landscape with its minimum marked at `x`: a tree of parameters, as from
        `levysde.networks.train`, or a flat vector of shape `(d,)`.

        Raises TypeError or ValueError for another tree or shape, or a loss or gradient that is not
        finite there. It is not checked whether x is a minimum: `levysde.networks.refine` finds one
        and checks it.
        """
        x = flattened(self, "x", x)
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
