"""A real optimiser as a kernel: any optax transformation, on minibatches of data or under synthetic
gradient noise.

    g_k = gradient of the loss over the k-th minibatch                       (batch_size), or
    g_k = grad F(x_k) - S(x_k) xi_k,  xi_k a unit increment of the driver    (noise)
    updates, state = transformation.update(g_k, state, params);   x_{k+1} = x_k + updates

The sign is that of an SDE's noise: a draw pushes the position its own way, so that plain SGD under
a stable driver makes the very steps of
`EulerMaruyama(SGD(landscape, driver, learning_rate=eta), dt=eta)` from the same seed."""

import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from levysde import errors
from levysde.kernels.minibatches import WORDS, first_epoch, next_of_epoch, subset
from levysde.kernels.optimizer_checks import EXAMPLE, check_update, transformation_maker
from levysde.landscapes import NetworkLandscape
from levysde.noise import as_scale
from levysde.protocols import Driver, Kernel, Landscape, Point, Scale, State, Words
from levysde.random import below
from levysde.types import Arg, Integer, Number, Numbers

_DIRECTIONS = 64  # of noise, that are looked along for a way out


class OptimizerState(NamedTuple):
    """`position` `(d,)`; the optimiser's state, its hidden keys as bare words; what the walk
    through the data carries."""

    position: Any
    inner: Any
    data: Any


class OptimizerKernel(Kernel):
    """Replicas of a real optimiser, one iteration a step.

    Args:
        transformation: an optax `GradientTransformation`, for example
            `optax.chain(optax.clip(1.0), optax.adam(0.01))`; or what makes one, `optax.adam` or
            its name "adam", with `hyperparameters`. Parameters reach it in the tree of the
            landscape's network, so that it may treat layers differently.
        landscape: the loss. A network on data for minibatches; any landscape under a `driver`.
        batch_size: examples a batch, all of them for gradient descent; or
        driver: its increment over 1 is the gradient noise of an iteration, negative:
            `Brownian()`, `StableComponents(alpha=1.5)`, `StudentT(df=3.0, dt=1.0)`,
            `EmpiricalSteps(rows, batch_size)`, ...
        scale: S of the noise: a number, `(d,)`, `(d, d)`, or a `Scale`; the identity by default.
        hyperparameters: of a transformation that is made here. Its numbers are array leaves:
            another learning rate compiles nothing new, whereas `optax.sgd(0.1)` and
            `optax.sgd(0.2)` are two programs.
        sampling: of minibatches. "independent": B different examples, drawn anew each iteration.
            "replacement": drawn one by one, so that one may come twice. "epochs": without
            repetition until the data have been walked through.
        optimizer_state: the optimiser's state at the start, for example with averages as they are
            in the minimum; by default `transformation.init(params)`.
        iteration_time: SDE time that one iteration stands for (the learning rate of SGD): the clock
            then counts SDE time, to be compared with an SDE. By default it counts iterations.
        iterations_per_step: iterations between two exit tests; in a sublevel set a test costs a
            loss over all data. Exits are detected up to `iterations_per_step - 1` iterations
            late.

    A random key inside the optimiser's state (`optax.noisy_sgd`) is drawn anew for each trajectory.

    Raises:
        TypeError: parts of the wrong kind; a transformation that cannot be made, fails, or whose
            state holds something else than arrays or changes its shape.
        ValueError: neither or both of `batch_size` and `driver`; a batch larger than the data;
            numbers out of range.

    Source:
        This package: any optax transformation in the engine; under a stable `driver`, plain SGD is
        the Euler step of eq. 4 of Zhou et al., NeurIPS 2020.
    """

    transformation: Any = eqx.field(static=True)
    numbers: dict[str, Array]
    options: tuple[tuple[str, Any], ...] = eqx.field(static=True)
    landscape: Landscape
    driver: Driver | None
    scale: Scale | None
    start: Any
    iteration_time: Array | None
    batch_size: int | None = eqx.field(static=True)
    sampling: str = eqx.field(static=True)
    iterations_per_step: int = eqx.field(static=True)

    def __init__(
        self,
        transformation: Arg[
            optax.GradientTransformation | Callable[..., optax.GradientTransformation] | str
        ],
        landscape: Arg[Landscape],
        batch_size: Arg[Integer | None] = None,
        *,
        driver: Arg[Driver | None] = None,
        scale: Arg[Scale | Numbers | None] = None,
        hyperparameters: Arg[dict[str, Any] | None] = None,
        sampling: Arg[Literal["independent", "replacement", "epochs"]] = "independent",
        optimizer_state: Arg[Any] = None,
        iteration_time: Arg[Number | None] = None,
        iterations_per_step: Arg[Integer] = 1,
    ):
        self.landscape = errors.instance("landscape", landscape, Landscape, EXAMPLE)
        self.transformation, self.numbers, self.options = transformation_maker(
            transformation, hyperparameters
        )
        self.batch_size, self.driver, self.scale = _noise(landscape, batch_size, driver, scale)
        self.sampling = errors.choice(
            "sampling", sampling, ("independent", "replacement", "epochs")
        )
        self.iterations_per_step = errors.integer("iterations_per_step", iterations_per_step)
        self.iteration_time = (
            None if iteration_time is None else errors.positive("iteration_time", iteration_time)
        )
        self.start = optimizer_state
        check_update(self)

    def _arguments(self) -> dict[str, Any]:
        return {
            **super()._arguments(),
            "hyperparameters": {**self.numbers, **dict(self.options)} or None,
        }

    @property
    def name(self) -> str:
        """For the head of a result: the optimiser, where it is known by a name."""
        made = isinstance(self.transformation, optax.GradientTransformation)
        how = "optax" if made else getattr(self.transformation, "__name__", "optax")
        if self.driver is not None:
            return f"OptimizerKernel({how}, {type(self.driver).__name__})"
        data = (
            "all examples" if self._whole_data else f"batches of {self.batch_size}, {self.sampling}"
        )
        return f"OptimizerKernel({how}, {data})"

    @property
    def minibatches(self) -> str | None:
        """How the examples of a minibatch are drawn, `sampling`; None where none are drawn."""
        return self.sampling if self.driver is None and not self._whole_data else None

    @property
    def unit(self) -> str:
        """Of the clock: "iterations", or "SDE time" where `iteration_time` is given."""
        return "iterations" if self.iteration_time is None else "SDE time"

    @property
    def dt(self) -> float | None:
        """SDE time between two exit tests, None where iterations are counted."""
        time = self.iteration_time
        return None if time is None else self.iterations_per_step * float(time)

    @property
    def dim(self) -> int:
        """d, the length of the position."""
        return self.landscape.dim

    @property
    def words_per_iteration(self) -> int:
        """Random words that one iteration takes."""
        if self.driver is not None:
            return self.driver.words_per_step(self._noise_dim)
        if self._whole_data:
            return 0
        return self.batch_size or 0 if self.sampling == "replacement" else WORDS

    @property
    def words_per_step(self) -> int:
        return self.iterations_per_step * self.words_per_iteration

    @property
    def words_per_init(self) -> int:
        return 2 * sum(map(_is_key, jax.tree.leaves(self._initial())))

    def init(self, x0: Point, words: Words) -> State:
        leaves, structure = jax.tree.flatten(self._initial(x0))
        taken = 0
        for i, leaf in enumerate(leaves):
            if _is_key(leaf):
                leaves[i] = words[taken : taken + 2]
                taken += 2
            else:
                leaves[i] = jnp.asarray(leaf, jnp.result_type(leaf))
        walks = self.driver is None and self.sampling == "epochs" and not self._whole_data
        data = first_epoch(self.landscape.num_examples) if walks else ()  # pyright: ignore[reportAttributeAccessIssue]
        return OptimizerState(x0, jax.tree.unflatten(structure, leaves), data)

    def step(self, words: Words, state: OptimizerState) -> OptimizerState:
        if self.iterations_per_step == 1:
            return self._iterate(words, state)
        rows = words.reshape(self.iterations_per_step, self.words_per_iteration)
        state, _ = jax.lax.scan(lambda state, row: (self._iterate(row, state), None), state, rows)
        return state

    def position(self, state: OptimizerState) -> Point:
        return state.position

    def elapsed(self, state: Any, steps: Any) -> Any:
        time = 1.0 if self.iteration_time is None else float(self.iteration_time)
        return np.asarray(steps, np.float64) * self.iterations_per_step * time

    def steps_within(self, time: float) -> int:
        # a clock rounded to float32 has not reached less
        return max(1, math.ceil(time / (self.dt or self.iterations_per_step) * (1 - 1e-6)))

    def noise_directions(self) -> Float[Array, "m d"]:
        """Some of the draws of a synthetic noise, or of the examples' gradients: enough to look for
        a way out."""
        if self.driver is not None:
            count = self._noise_dim
            axes = jnp.eye(count)[:: max(1, count // _DIRECTIONS)]
            found = jax.vmap(lambda y: self.scale.apply(y, self.landscape.minimum))(axes)  # pyright: ignore[reportOptionalMemberAccess]
        else:
            network: Any = self.landscape
            some = jnp.arange(0, network.num_examples, max(1, network.num_examples // _DIRECTIONS))
            found = jax.lax.map(lambda i: network.batch_gradient(network.minimum, i[None]), some)
            found = found - jnp.mean(found, 0)[None]
        return jnp.concatenate([found, -found])

    @property
    def _noise_dim(self) -> int:
        return 0 if self.scale is None else self.scale.noise_dim(self.dim)

    @property
    def _whole_data(self) -> bool:
        """Whether every iteration takes all examples, which needs no random words."""
        examples = getattr(self.landscape, "num_examples", None)
        return (
            self.driver is None and self.sampling != "replacement" and self.batch_size == examples
        )

    def _made(self) -> Any:
        """The transformation itself."""
        if isinstance(self.transformation, optax.GradientTransformation):
            return self.transformation
        return self.transformation(**self.numbers, **dict(self.options))

    def _initial(self, x: Point | None = None) -> Any:
        """The optimiser's state at the start, keys and all; `x` is the landscape's minimum by
        default."""
        if self.start is not None:
            return self.start
        return self._made().init(self._tree(self.landscape.minimum if x is None else x))

    def _tree(self, x: Point) -> Any:
        return self.landscape.arrays(x) if isinstance(self.landscape, NetworkLandscape) else x

    def _iterate(self, words: Words, state: OptimizerState) -> OptimizerState:
        updates, inner, data = self._updated(words, state, self._tree(state.position))
        moved = jnp.concatenate([jnp.ravel(leaf) for leaf in jax.tree.leaves(updates)]).astype(
            state.position.dtype
        )
        inner = jax.tree.map(
            lambda new, old: _bare(new).astype(old.dtype), inner, state.inner, is_leaf=_is_key
        )
        return OptimizerState(state.position + moved, inner, data)

    def _updated(self, words: Words, state: OptimizerState, params: Any) -> tuple[Any, Any, State]:
        """The updates, the optimiser's state after them, and what the walk through the data carries
        on."""
        gradient, data = self._gradient(words, state, params)
        updates, inner = self._made().update(
            gradient, _with_keys(self._initial(), state.inner), params
        )
        return updates, inner, data

    def _gradient(self, words: Words, state: OptimizerState, params: Any) -> tuple[Any, State]:
        """The gradient that this iteration sees, as a tree like `params`, and what the walk through
        the data carries on."""
        x = state.position
        if self.driver is not None:
            draw = self.driver.increment(words, self._noise_dim, jnp.ones((), x.dtype))
            noisy = self.landscape.gradient(x) - self.scale.apply(draw, x)  # pyright: ignore[reportOptionalMemberAccess]
            return self._tree(noisy), state.data
        network: Any = self.landscape
        n, size, data = network.num_examples, self.batch_size or 0, state.data
        if self._whole_data:
            return network.tree_gradient(params), data
        if self.sampling == "epochs":
            index, data = next_of_epoch(words, size, n, data)
        elif self.sampling == "independent":
            index = subset(words, size, n)
        else:
            index = below(words, n)
        # materialised: fused into the gathering of examples, a batch would be drawn again for each
        # number of each of them
        return network.tree_gradient(params, jax.lax.optimization_barrier(index)), data


def _noise(
    landscape: Landscape, batch_size: Any, driver: Any, scale: Any
) -> tuple[int | None, Driver | None, Scale | None]:
    if (batch_size is None) == (driver is None):
        raise ValueError(
            f"give exactly one of batch_size and driver, not batch_size={batch_size!r} and "
            f"driver={driver!r}. For example {EXAMPLE}, or OptimizerKernel(optax.sgd(0.1), "
            "landscape, driver=StableComponents(alpha=1.5))."
        )
    if driver is not None:
        errors.instance("driver", driver, Driver, "driver=StableComponents(alpha=1.5)")
        driver.check_step(1.0)
        return None, driver, as_scale(scale, landscape.dim)
    if scale is not None:
        raise ValueError(
            "scale belongs to a synthetic noise; minibatches have their own. Leave it "
            "out, or give a driver."
        )
    if not isinstance(landscape, NetworkLandscape):
        raise TypeError(
            f"{type(landscape).__name__} has no examples to take minibatches of. Give a network "
            "on data (from_network), or driver=StableComponents(alpha=1.5) in place of batch_size."
        )
    most = landscape.num_examples
    return errors.integer("batch_size", batch_size, "batch_size=30", high=most), None, None


def _is_key(leaf: Any) -> bool:
    """Whether a leaf is a random key: JAX's typed ones, or the bare two words of old."""
    bare = getattr(leaf, "dtype", None) == jnp.uint32 and jnp.shape(leaf) == (2,)
    return bare or _is_typed(leaf)


def _is_typed(leaf: Any) -> bool:
    return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _bare(leaf: Any) -> Array:
    """A key as its words, anything else as an array."""
    return jax.random.key_data(leaf) if _is_typed(leaf) else jnp.asarray(leaf)


def _with_keys(known: Any, state: Any) -> Any:
    """`state` with its bare words as the keys that `known` has in their place."""

    def restored(old: Any, new: Any) -> Any:
        impl = jax.random.key_impl(old) if _is_typed(old) else None
        return new if impl is None else jax.random.wrap_key_data(new, impl=impl)

    return jax.tree.map(restored, known, state, is_leaf=_is_key)
