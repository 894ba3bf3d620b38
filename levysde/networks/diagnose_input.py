"""Checks of the arguments of `diagnose`, and its plan of memory, before anything is computed."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax

from levysde import errors
from levysde.kernels import OptimizerKernel
from levysde.landscapes import NetworkLandscape, flat_vector_hint, from_network, model_parameters
from levysde.networks.curvature import krylov_bytes
from levysde.networks.example_blocks import GIB
from levysde.networks.noise_tails import MOST_SAMPLED
from levysde.types import Arg, Integer, Number, Seed

OPTIMIZERS = ("sgd", "adam")
STABLE_NOISES = ("components", "isotropic")
_CALL = (
    "diagnose(loss_fn, params, (inputs, targets), batch_size=30) with loss_fn(params, input, "
    "target) -> one number"
)
_BATCHED = (
    "diagnose(loss_fn, params, (inputs, targets), batch_size=30, batched=True) with "
    "loss_fn(params, inputs, targets) -> one number for each example"
)
_LOOKED_AT = 8  # examples whose losses are computed together and alone
_ALONE = 1e-3  # relative difference above which a loss mixes examples; rounding is far below


@dataclass(frozen=True)
class Request:
    """Checked arguments; `kernel` is the real optimiser on minibatches, None where a named one
    lacks its learning rate."""

    landscape: NetworkLandscape
    layers: tuple[tuple[str, int], ...]
    optimizer: str
    kernel: OptimizerKernel | None
    learning_rate: float | None
    batch_size: int
    delta: float
    alpha: float | None
    stable_noise: str
    height: float | None
    num_batches: int
    num_eigenvalues: int
    num_probes: int
    num_rays: int
    num_escapes: int
    memory_budget: float
    time_budget: float
    confidence: float
    seed: int
    settle: int
    weight_decay: float

    @property
    def predicts(self) -> bool:
        """Whether there is a law of the escape time for this optimiser and learning rate."""
        return self.learning_rate is not None and self.optimizer in OPTIMIZERS

    def memory(self) -> tuple[int, int]:
        """Bytes that are held, and bytes that programs may take. Raises ValueError for too small a
        budget."""
        net, count = self.landscape, self.num_eigenvalues
        held = held_bytes(net.dim, net.num_examples, count, self.num_batches)
        return held, program_limit(held, self.memory_budget, net.dim, count)


def as_request(
    loss_fn: Arg[Callable[..., Any] | None],
    params: Arg[Any],
    data: Arg[Any],
    *,
    batch_size: Arg[Integer],
    optimizer: Arg[Literal["sgd", "adam"] | optax.GradientTransformation],
    learning_rate: Arg[Number | None],
    weight_decay: Arg[Number],
    batched: Arg[bool],
    alpha: Arg[Number | None],
    basin_height: Arg[Number | None],
    delta: Arg[Number],
    num_batches: Arg[Integer],
    memory_budget: Arg[Number],
    confidence: Arg[Number],
    seed: Arg[Seed],
    stable_noise: Arg[str] = "components",
    settle: Arg[Integer] = 0,
    num_eigenvalues: Arg[Integer] = 10,
    num_probes: Arg[Integer] = 64,
    num_rays: Arg[Integer] = 256,
    num_escapes: Arg[Integer] = 0,
    time_budget: Arg[Number] = 120.0,
) -> Request:
    """The checked arguments of `diagnose`. Raises as it does."""
    rate = None if learning_rate is None else errors.positive_real("learning_rate", learning_rate)
    small = errors.positive_real("delta", delta)
    batches = errors.integer("num_batches", num_batches, low=400)
    count = errors.integer("num_eigenvalues", num_eigenvalues)
    settle = errors.integer("settle", settle, low=0)
    budget = errors.positive_real("memory_budget", memory_budget)
    numbers = {
        "alpha": None if alpha is None else below_two(alpha),
        "stable_noise": errors.choice("stable_noise", stable_noise, STABLE_NOISES),
        "height": None
        if basin_height is None
        else errors.positive_real("basin_height", basin_height),
        "num_probes": errors.integer("num_probes", num_probes, low=4),
        "num_rays": errors.integer("num_rays", num_rays, low=16),
        "num_escapes": errors.integer("num_escapes", num_escapes, low=0),
        "time_budget": errors.positive_real("time_budget", time_budget),
        "confidence": errors.fraction("confidence", confidence),
        "seed": errors.seed(seed),
    }
    errors.concrete("weight_decay", weight_decay)
    errors.concrete("params", params)
    errors.concrete("data", data)
    batch = errors.integer("batch_size", batch_size, "batch_size=32")
    size = sum(int(np.size(leaf)) for leaf in jax.tree.leaves(params))
    # before anything is computed
    program_limit(held_bytes(size, 1, count, batches), budget, size, count)
    landscape, layers = as_landscape(loss_fn, params, data, weight_decay, batched)
    n = landscape.num_examples
    if n < 2:
        raise ValueError("one example has no minibatch noise. Give more data.")
    if batch >= n:
        raise ValueError(
            f"batch_size = {batch}, but there are {n} examples: a batch of all of them has no "
            f"noise, and none is larger. Type batch_size={max(1, min(32, n // 2))} or less than "
            f"{n}."
        )
    name, kernel, rate = as_optimizer(optimizer, landscape, rate, batch, small)
    return Request(
        landscape=landscape,
        layers=layers,
        optimizer=name,
        kernel=kernel,
        learning_rate=rate,
        batch_size=batch,
        delta=small,
        num_batches=batches,
        num_eigenvalues=count,
        memory_budget=budget,
        settle=settle,
        weight_decay=float(landscape.weight_decay),
        **numbers,
    )


def as_landscape(
    loss_fn: Arg[Callable[..., Any] | None],
    params: Arg[Any],
    data: Arg[Any],
    weight_decay: Arg[Number],
    batched: Arg[bool],
) -> tuple[NetworkLandscape, tuple[tuple[str, int], ...]]:
    """The network, and name and size of each leaf of its parameters. Raises as `diagnose` does."""
    if not callable(loss_fn):
        raise TypeError(f"loss_fn must be a function, not {loss_fn!r}. For example {_CALL}.")
    batched = errors.flag("batched", batched)
    loss, inputs, targets = _data(loss_fn, data, batched)
    loss, params = model_parameters(loss, params)
    _check_leaves(params)
    _check_loss(loss, params, inputs, targets, batched)
    landscape = from_network(
        loss, params, inputs, targets, weight_decay=weight_decay, batched=batched
    )
    if batched:
        _check_apart(landscape)
    paths = jax.tree_util.tree_leaves_with_path(params)
    layers = tuple(
        (jax.tree_util.keystr(path, simple=True, separator=".") or "params", int(np.size(leaf)))
        for path, leaf in paths
    )
    return landscape, layers


def _data(
    loss_fn: Callable, data: Arg[Any], batched: bool
) -> tuple[Callable, np.ndarray, np.ndarray]:
    """The loss as one of inputs and targets, and both. Data without targets get zeros, which their
    loss does not see."""
    if isinstance(data, tuple | list) and len(data) == 2:
        inputs, targets = (_numbers(part) for part in data)
        if not inputs.ndim or not targets.ndim or len(inputs) != len(targets):
            counts = [len(part) if part.ndim else "no" for part in (inputs, targets)]
            raise ValueError(
                f"data hold {counts[0]} inputs but {counts[1]} targets. Give both the same "
                "leading axis, one row an example: data=(inputs, targets)."
            )
        _check_some(inputs)
        return loss_fn, inputs, targets
    if isinstance(data, tuple | list | dict) or not hasattr(data, "shape"):
        raise TypeError(
            "data must be (inputs, targets), or one array for a loss without targets, not "
            f"{type(data).__name__}{f' of {len(data)}' if hasattr(data, '__len__') else ''}. For "
            "example data=(inputs, targets)."
        )
    inputs = _numbers(data)
    _check_some(inputs)
    return (
        (lambda params, inputs, _: loss_fn(params, inputs)),
        inputs,
        np.zeros(len(inputs), np.int32),
    )


def _numbers(part: Arg[Any]) -> np.ndarray:
    errors.unmasked("data", part)
    try:
        array = np.asarray(part)
    except ValueError as error:
        raise ValueError(f"data are no arrays ({error}). Give rows of one length.") from None
    if not jnp.issubdtype(array.dtype, jnp.number) and array.dtype.kind != "b":
        raise TypeError(
            f"data must be numbers, not {array.dtype}. For example data=(inputs, targets), "
            "both arrays."
        )
    return array


def _check_some(inputs: np.ndarray) -> None:
    if not inputs.size:
        raise ValueError(
            f"data hold no examples: their shape is {inputs.shape}. Give one row an example."
        )


def _check_leaves(params: Arg[Any]) -> None:
    """Names the leaf that is no array of real numbers."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        kind = getattr(leaf, "dtype", np.asarray(leaf).dtype)
        if not jnp.issubdtype(kind, jnp.floating):
            raise TypeError(
                f"params{jax.tree_util.keystr(path)} is of {kind}, and only real parameters have "
                "gradients. Keep other things in loss_fn, for example functools.partial(loss_fn, "
                "other), or in an equinox model."
            )


def _check_loss(
    loss: Callable, params: Arg[Any], inputs: np.ndarray, targets: np.ndarray, batched: bool
) -> None:
    count = min(2, len(inputs)) if batched else 1
    given = [part[:count] if batched else part[0] for part in (inputs, targets)]
    shapes = f"input of shape {given[0].shape}, target of shape {given[1].shape}"
    which = f"{count} examples" if batched else "one example"
    example = _BATCHED if batched else _CALL
    try:
        out: Any = jax.eval_shape(loss, params, *map(jnp.asarray, given))
    except Exception as error:  # a user's loss may raise anything
        raise TypeError(
            f"loss_fn fails on {which} ({shapes}): {errors.described(error)}\n"
            f"It must be a loss of {'any number of examples' if batched else 'ONE example'}: "
            f"{example}." + flat_vector_hint(params)
        ) from None
    shape = (count,) if batched else ()
    if getattr(out, "shape", None) != shape or not jnp.issubdtype(out.dtype, jnp.floating):
        means = batched and getattr(out, "shape", None) == ()
        raise TypeError(
            f"loss_fn must return one real number for each example, but gives {out} for {which} "
            f"({shapes})"
            + (
                ": it seems to take their mean, and the noise lies in the single ones"
                if means
                else ""
            )
            + f". Type {example}."
        )


def _check_apart(landscape: NetworkLandscape) -> None:
    """Raises ValueError when an example's loss depends on which others stand beside it."""
    count = min(_LOOKED_AT, landscape.num_examples)
    index = jnp.arange(count)
    together = jax.jit(lambda net, i: net.losses(net.minimum, i))(landscape, index)
    alone = jax.jit(lambda net, i: jax.lax.map(lambda k: net.losses(net.minimum, k[None])[0], i))(
        landscape, index
    )
    together, alone = np.asarray(together, float), np.asarray(alone, float)
    apart = float(np.abs(together - alone).max())
    if not apart <= _ALONE * (1e-3 + float(np.abs(alone).max())):
        raise ValueError(
            f"loss_fn mixes examples: their losses change by up to {apart:.3g} with the others in "
            "the batch (normalisation over a batch does this). Use fixed statistics, so that each "
            "example has a loss, and a gradient, of its own."
        )


def as_optimizer(
    optimizer: Arg[Literal["sgd", "adam"] | optax.GradientTransformation],
    landscape: NetworkLandscape,
    learning_rate: float | None,
    batch_size: int,
    delta: float,
) -> tuple[str, OptimizerKernel | None, float | None]:
    """The optimiser's name, its kernel, and the learning rate of its law. Raises as `diagnose`
    does."""
    if isinstance(optimizer, str):
        if optimizer not in OPTIMIZERS:
            raise ValueError(
                'optimizer must be "sgd", "adam" or an optax GradientTransformation, not '
                f"{optimizer!r}. For example optimizer=optax.rmsprop(1e-3), "
                "learning_rate=1e-3."
            )
        if learning_rate is None:
            return optimizer, None, None
        numbers = {"learning_rate": learning_rate} | ({"eps": delta} if optimizer == "adam" else {})
        return (
            optimizer,
            OptimizerKernel(optimizer, landscape, batch_size, hyperparameters=numbers),
            learning_rate,
        )
    if not isinstance(optimizer, optax.GradientTransformation | optax.MultiSteps):
        raise TypeError(
            'optimizer must be "sgd", "adam" or an optax GradientTransformation, not '
            f"{optimizer!r}. For example optimizer=optax.sgd(0.1, momentum=0.9), "
            "learning_rate=0.1."
        )
    kernel = OptimizerKernel(optimizer, landscape, batch_size)
    own = sgd_rate(kernel.transformation, landscape.dim)
    if own is None:
        return "optax", kernel, learning_rate
    if learning_rate is not None and abs(own - learning_rate) > _ALONE * learning_rate:
        raise ValueError(
            f"learning_rate = {learning_rate:g}, but the optimizer is plain SGD at the learning "
            f"rate {own:g}. Leave learning_rate out, or give both the same."
        )
    return "sgd", kernel, own if learning_rate is None else learning_rate


def sgd_rate(transformation: optax.GradientTransformation, dim: int) -> float | None:
    """The learning rate of a transformation that is plain SGD: it keeps no state and multiplies
    every gradient, of any size and at any parameters, by one negative number. None for any
    other."""
    rng = np.random.default_rng(0)
    rates = []
    try:
        for size in (1e-3, 1.0, 1e3):
            params, gradient = (jnp.asarray(rng.normal(size=dim), dtype=float) for _ in range(2))
            state = transformation.init(params)
            if jax.tree.leaves(state):
                return None
            updates: Any = transformation.update(size * gradient, state, params)[0]
            rates.append(-np.asarray(updates, float) / np.asarray(size * gradient, float))
    except Exception:  # one that wants parameters of another tree is not plain SGD
        return None
    found = np.concatenate(rates)
    rate = float(np.median(found))
    return rate if rate > 0 and np.abs(found - rate).max() <= _ALONE * rate else None


def below_two(alpha: Arg[Number]) -> float:
    index = errors.real_index(alpha)
    if index == 2:
        raise ValueError(
            "alpha = 2 is Gaussian: such noise has no jumps, and no escape law of jumps. Give "
            "alpha below 2, for example 1.9, or leave it out to have it measured."
        )
    return index


def check_height(height: float, loss: float) -> None:
    if height == 0:
        raise ValueError(
            "all examples have the same loss, so there is no default height for the basin. Give "
            "one in units of the loss, for example basin_height=0.05."
        )
    if not height > 10 * float(jnp.finfo(jnp.zeros(0).dtype).eps) * abs(loss):
        raise ValueError(
            f"the basin's height, {height:.3g}, is lost in rounding next to the loss, {loss:.6g}. "
            "Give a larger basin_height, for example "
            f"basin_height={max(1e-3 * abs(loss), 1e-6):.2g}."
        )


def held_bytes(dim: int, n: int, num_eigenvalues: int, num_batches: int) -> int:
    """What is held beside the programs: Krylov vectors, eigenvectors of both matrices, sampled
    columns, some vectors."""
    count = min(num_eigenvalues, dim)
    sampled = 8 * min(dim, MOST_SAMPLED) * (n + num_batches)
    return krylov_bytes(dim, count) + 8 * dim * (2 * count + 20) + sampled


def program_limit(held: int, budget: float, dim: int, num_eigenvalues: int) -> int:
    """Bytes that programs may take, or a ValueError that says what the model needs."""
    if held >= budget * GIB:
        raise ValueError(
            f"memory_budget = {budget:g} GiB, but {dim:,} parameters take {held / GIB:.3g} GiB "
            "for their Krylov vectors and what is sampled of their gradients alone. Raise "
            "memory_budget above that, or type fewer eigenvalues, for example "
            f"num_eigenvalues={max(1, num_eigenvalues // 3)}."
        )
    return int(budget * GIB) - held
