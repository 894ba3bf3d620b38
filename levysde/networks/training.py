"""Training a network with minibatches, and refining what comes out to a strict minimum in
float64."""

from dataclasses import dataclass, field
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array

from levysde import errors
from levysde.kernels import OptimizerKernel
from levysde.landscapes import NetworkLandscape, flattened, in_float64
from levysde.protocols import Landscape
from levysde.results import Result
from levysde.tables import Table
from levysde.types import Arg, Integer, Number, Seed

_OPTIMIZERS = {"sgd": optax.sgd, "adam": optax.adam}


@dataclass(frozen=True, repr=False)
class Minimum(Result):
    """A strict local minimum, computed in float64.

    Attributes:
        point: where, shape `(d,)`.
        loss: the loss there.
        gradient_norm: Euclidean norm of the gradient there, in loss units over parameter units.
        smallest_eigenvalue, largest_eigenvalue: of the Hessian there.
        hessian: shape `(d, d)`.
        distance: from the start of the refinement, in parameter units.
    """

    point: np.ndarray = field(repr=False)
    loss: float
    gradient_norm: float
    smallest_eigenvalue: float
    largest_eigenvalue: float
    hessian: np.ndarray = field(repr=False)
    distance: float

    def _table(self) -> Table:
        return Table(
            "Minimum",
            [
                ("dimensions", f"{len(self.point)}"),
                ("loss", f"{self.loss:.6g}"),
                ("gradient norm", f"{self.gradient_norm:.2g}"),
                (
                    "eigenvalues of the Hessian",
                    f"{self.smallest_eigenvalue:.4g} to {self.largest_eigenvalue:.4g}",
                ),
                ("distance from the start", f"{self.distance:.3g}"),
            ],
        )


def train(
    landscape: Arg[NetworkLandscape],
    optimizer: Arg["Literal['sgd', 'adam'] | optax.GradientTransformation"] = "sgd",
    *,
    seed: Arg[Seed] = 0,
    learning_rate: Arg[Number | None] = None,
    batch_size: Arg[Integer] = 30,
    epochs: Arg[Integer] = 1000,
) -> Any:
    """Train by real minibatches (optax) from the landscape's marked point.

        network = ls.from_network(loss, params, inputs, targets, weight_decay=0.01)
        schedule = optax.cosine_decay_schedule(0.3, decay_steps=2000)
        params = ls.networks.train(network, optax.sgd(schedule, momentum=0.9), batch_size=32)

    Each epoch walks through the examples once in a new random order, in batches without
    replacement; the examples left over when `batch_size` does not divide their number are left out
    of that epoch. Weight decay is part of the gradient.

    Args:
        landscape: a network on data.
        optimizer: "sgd", "adam" (betas 0.9 and 0.999), or an optax `GradientTransformation` with
            its own learning rate or schedule. A schedule counts steps, of which an epoch has
            `n // batch_size`. Parameters reach it in the tree that `from_network` was given.
        seed: seed of the batches.
        learning_rate: learning rate of an optimiser given by name, 0.1 by default; ADAM needs about
            a tenth of SGD's.
        batch_size: examples per step, at most all of them.
        epochs: number of passes through the data.

    Returns:
        The last parameters, in the tree that `from_network` was given (a whole model if it was
        given one). `landscape.at`, `refine` and `diagnose` take them as they are, and
        `landscape.flatten` makes the flat vector.

    Raises:
        TypeError, ValueError: an argument outside its range, an optimiser that needs more than one
            gradient per step, or a run that diverged.
    """
    check_network(landscape)
    n = landscape.num_examples
    if learning_rate is not None:
        errors.positive("learning_rate", errors.concrete("learning_rate", learning_rate))
    batch_size = errors.integer("batch_size", batch_size, f"batch_size={min(30, n)}", high=n)
    epochs = errors.integer("epochs", epochs)
    seeds = np.random.SeedSequence(errors.seed(seed)).generate_state(1)
    made = _as_transformation(optimizer, landscape, learning_rate, batch_size)
    rate = jnp.asarray(0.1 if learning_rate is None else learning_rate, dtype=float)
    x, loss = _run_epochs(landscape, made, batch_size, epochs, rate, jax.random.key(seeds[0]))
    if not np.isfinite(np.asarray(x)).all() or not np.isfinite(float(loss)):
        if not isinstance(made, str):
            raise ValueError(
                "training diverged: the optimizer left the float range. Give one with a smaller "
                "learning rate."
            )
        raise ValueError(
            f"training diverged: {optimizer} with learning_rate = {float(rate):g} left the float "
            f"range. Type a smaller one, for example learning_rate={float(rate) / 10:g}."
        )
    return landscape.unflatten(x)


def _as_transformation(
    optimizer: Any, landscape: NetworkLandscape, learning_rate: Any, batch_size: int
) -> Any:
    """The optimiser's name, or the transformation if it runs on these parameters."""
    named = isinstance(optimizer, str)
    if named and optimizer in _OPTIMIZERS:
        return optimizer
    transformation: Any = optimizer
    if not isinstance(optimizer, optax.GradientTransformation | optax.MultiSteps):
        raise (ValueError if named else TypeError)(
            'optimizer must be "sgd" or "adam" or an optax GradientTransformation, not '
            f"{errors.shown(optimizer)}. For example optimizer=optax.sgd(0.1, momentum=0.9)."
        )
    if learning_rate is not None:
        raise ValueError(
            f"learning_rate = {errors.shown(learning_rate)}, but an optax transformation has its "
            "own. Leave learning_rate out."
        )
    # which checks that it takes one gradient per step, and keeps a state of arrays
    return OptimizerKernel(transformation, landscape, batch_size).transformation


@eqx.filter_jit
def _run_epochs(
    landscape: NetworkLandscape,
    optimizer: str | optax.GradientTransformation,
    batch_size: int,
    epochs: int,
    rate: Array,
    key: Array,
):
    named = isinstance(optimizer, str)
    made: Any = _OPTIMIZERS[optimizer](rate) if named else optimizer
    # SGD and ADAM treat all coordinates alike and need no tree
    tree = (lambda x: x) if named else landscape.arrays
    steps = landscape.num_examples // batch_size

    def batch(carry, index):
        x, state = carry
        update, new = made.update(tree(landscape.batch_gradient(x, index)), state, tree(x))
        moved = jnp.concatenate([jnp.ravel(leaf) for leaf in jax.tree.leaves(update)])
        # a state may come back in another precision
        state = jax.tree.map(lambda leaf, old: leaf.astype(old.dtype), new, state)
        return (x + moved.astype(x.dtype), state), None

    def epoch(carry, key):
        order = jax.random.permutation(key, landscape.num_examples)
        return jax.lax.scan(batch, carry, order[: steps * batch_size].reshape(steps, batch_size))

    state = jax.tree.map(jnp.asarray, made.init(tree(landscape.minimum)))
    (x, _), _ = jax.lax.scan(epoch, (landscape.minimum, state), jax.random.split(key, epochs))
    return x, landscape.value(x)


def refine(
    landscape: Arg[Landscape],
    x: Arg[Any],
    *,
    tolerance: Arg[Number] = 1e-8,
    max_steps: Arg[Integer] = 500,
) -> Minimum:
    """Refine `x` to the strict minimum next to it, in float64, by L-BFGS and then Newton steps in a
    trust region (scipy's trust-exact).

    Every step lowers the loss; saddles are left along negative curvature. It may end in another
    basin than the one `x` lies in where training has not settled: look at `distance`. float64 is
    switched on for the length of the call only.

    Args:
        landscape: any landscape; a copy with its numbers in float64 is used.
        x: where to start, best the end of a training run: shape `(d,)`, or for a network also a
            tree of parameters, as `train` returns it.
        tolerance: the gradient norm to reach.
        max_steps: Newton steps, each with one Hessian of `d^2` numbers; L-BFGS may take 20 times as
            many.

    Returns:
        A `Minimum`, with its certificate.

    Raises:
        TypeError, ValueError: `x` of wrong shape or tree, or not finite; a gradient norm above
            `tolerance`
            at the end, or a smallest eigenvalue that is not positive (then the point is a saddle,
            or the minimum is flat).
    """
    errors.instance("landscape", landscape, Landscape, "digits_mlp()")
    tolerance = errors.positive_real("tolerance", tolerance, "tolerance=1e-8")
    max_steps = errors.integer("max_steps", max_steps, "max_steps=500", high=10**6)
    if isinstance(landscape, NetworkLandscape):
        x = flattened(landscape, "x", errors.concrete("x", x))
    start = errors.reals("x", x, f"x=jnp.zeros({landscape.dim})", (landscape.dim,))
    with in_float64(landscape) as precise:
        return _descend(precise, start, tolerance, max_steps)


def _descend(landscape: Landscape, start: np.ndarray, tolerance: float, max_steps: int) -> Minimum:
    from scipy.optimize import minimize  # slow to import

    both = eqx.filter_jit(lambda net, x: (net.value(x), net.gradient(x)))
    second = eqx.filter_jit(lambda net, x: net.hessian(x))

    def value_and_gradient(x):
        value, gradient = both(landscape, jnp.asarray(x))
        return float(value), np.asarray(gradient)

    def hessian(x):
        matrix = np.asarray(second(landscape, jnp.asarray(x)))
        return (matrix + matrix.T) / 2

    if not np.isfinite(value_and_gradient(start)[0]):
        raise ValueError(
            "the loss is not finite at x. Start the refinement from the end of a training run."
        )
    options = {
        "gtol": 1e-6,
        "ftol": 0.0,
        "maxiter": 20 * max_steps,
        "maxfun": 40 * max_steps,
        "maxcor": 20,
    }
    near = minimize(value_and_gradient, start, jac=True, method="L-BFGS-B", options=options).x
    options = {"gtol": tolerance / 10, "maxiter": max_steps, "initial_trust_radius": 0.1}
    found = minimize(
        value_and_gradient, near, jac=True, hess=hessian, method="trust-exact", options=options
    )
    point = _newton(found.x, value_and_gradient, hessian)
    loss, gradient = value_and_gradient(point)
    matrix = hessian(point)
    eigenvalues = np.linalg.eigvalsh(matrix)
    minimum = Minimum(
        point=point,
        loss=loss,
        gradient_norm=float(np.linalg.norm(gradient)),
        smallest_eigenvalue=float(eigenvalues[0]),
        largest_eigenvalue=float(eigenvalues[-1]),
        hessian=matrix,
        distance=float(np.linalg.norm(point - start)),
    )
    _check_strict(minimum, gradient, tolerance, found.nit)
    return minimum


def _newton(point: np.ndarray, value_and_gradient, hessian) -> np.ndarray:
    """A last Newton step where the Hessian is positive and the step lowers the gradient's norm.

    Near the minimum the loss no longer changes in its last digit, and a trust region that watches
    the loss stalls.
    """
    for _ in range(3):
        gradient, matrix = value_and_gradient(point)[1], hessian(point)
        if np.linalg.eigvalsh(matrix)[0] <= 0:
            return point
        closer = point - np.linalg.solve(matrix, gradient)
        if not np.linalg.norm(value_and_gradient(closer)[1]) < np.linalg.norm(gradient):
            return point
        point = closer
    return point


def _check_strict(minimum: Minimum, gradient: np.ndarray, tolerance: float, steps: int) -> None:
    after = f"after {steps} Newton steps"
    if not minimum.gradient_norm <= tolerance:
        raise ValueError(
            f"no minimum reached: {after} the gradient norm is {minimum.gradient_norm:.3g} "
            f"(wanted {tolerance:g}). Train longer first, or raise max_steps."
        )
    # below the rounding of the largest eigenvalue a sign means nothing
    if not minimum.smallest_eigenvalue > 1e-12 * minimum.largest_eigenvalue:
        raise ValueError(
            f"not a strict minimum: {after} the Hessian's eigenvalues run from "
            f"{minimum.smallest_eigenvalue:.3g} to {minimum.largest_eigenvalue:.3g}. A flat "
            "direction has no escape time of its own: add weight decay (for example "
            "weight_decay=0.02), or start from another training run."
        )
    ahead = float(np.linalg.norm(np.linalg.solve(minimum.hessian, gradient)))
    if ahead > 1e-3 * (1 + float(np.linalg.norm(minimum.point))):
        raise ValueError(
            f"no minimum reached: {after} the next one would still go {ahead:.3g} further: the "
            "loss falls towards infinity. Add weight decay, for example weight_decay=0.02."
        )


def check_network(landscape: Arg[Landscape]) -> None:
    if not isinstance(landscape, NetworkLandscape):
        raise TypeError(
            f"landscape must be a network on data, not {type(landscape).__name__}. "
            "For example digits_mlp(), or make your own with from_network."
        )
