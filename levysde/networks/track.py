"""One training run over time: a row of measures for each of its checkpoints.

Notation: `g_B` and `H_B` the gradient and the Hessian of the mean loss of a minibatch, H the
Hessian over all examples, weight decay included in all of them.

    sharpness                  largest eigenvalue of H; gradient descent is unstable above 2 / eta
    batch sharpness            E[g_B' H_B g_B] / E[g_B' g_B]
    preconditioned sharpness   largest eigenvalue of P^-1/2 H P^-1/2, P = sqrt(v) + delta

Batch sharpness is the quantity that settles near 2 / eta under SGD at the edge of stability
(Andreyev, Beneventano, arXiv 2412.20553). In the last one, v is where ADAM's average of squared
gradients would settle if the parameters rested at the checkpoint, `E[g_B^2]` in each coordinate.
ADAM on all examples is unstable above `(2 + 2 b1) / ((1 - b1) eta)`, 38 / eta at b1 = 0.9 (Cohen
et al., arXiv 2207.14484).
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from levysde import errors, stats
from levysde.landscapes import flattened, in_float64
from levysde.networks.curvature import DENSE, largest_eigenvalue, ratio_of_means, spectrum
from levysde.networks.diagnose_input import Request, as_request
from levysde.networks.diagnosis import PredictedEscape
from levysde.networks.diagnosis_warnings import GAUSSIAN, SLOWEST
from levysde.networks.escapes import predicted_escapes
from levysde.networks.example_blocks import batch_curvature, compiled
from levysde.networks.noise_tails import batch_rows
from levysde.networks.point_measures import BatchNoise, LossBasin, measure_basin, measure_noise
from levysde.networks.products import Products
from levysde.results import Result
from levysde.stats import Estimate
from levysde.tables import Grid, Table, listed
from levysde.types import Arg, Integer, Number, Numbers, Seed

if TYPE_CHECKING:
    import optax

_NAN = float("nan")
_NOTHING = Estimate(_NAN, _NAN, _NAN)
_EXAMPLE = "checkpoints=[params_at_0, params_at_100]"
_TOO_SHORT = "too short to tell"
_ENOUGH = 5000  # minibatches from which a class of noise is named


@dataclass(frozen=True, repr=False)
class Track(Result):
    """Noise, curvature and predicted escape times along a training run, a row for each checkpoint.
    Prints as a table; `plots.track` draws it.

    Numbers that could not be measured are NaN, and a warning says why.

    Attributes:
        iteration: when each checkpoint was taken, shape `(k,)`.
        loss: with weight decay, shape `(k,)`.
        noise: the class of the minibatch noise, a name of `stats.noise_class` each; "" where it was
            not measured.
        tail_index: of the minibatch noise, the median over coordinates, an `Estimate` each.
        sharpness: the largest eigenvalue of the Hessian, shape `(k,)`.
        batch_sharpness: `E[g' H g] / E[g' g]` with the gradient g and the Hessian H of a minibatch,
            an `Estimate` each.
        preconditioned_sharpness: the largest eigenvalue of `P^-1/2 H P^-1/2` with ADAM's
            preconditioner at rest, `P = sqrt(E[g^2]) + delta`, over the coordinates with gradient
            noise, shape `(k,)`.
        escape: the predicted mean escape time in iterations, an `Estimate` each.
        optimizer, learning_rate, batch_size: as given; the optimiser is "optax" if it is an optax
            transformation other than plain SGD.
        warnings: caveats, a tuple of sentences.
    """

    iteration: np.ndarray
    loss: np.ndarray
    noise: tuple[str, ...]
    tail_index: tuple[Estimate, ...]
    sharpness: np.ndarray
    batch_sharpness: tuple[Estimate, ...]
    preconditioned_sharpness: np.ndarray
    escape: tuple[Estimate, ...]
    optimizer: str
    learning_rate: float | None
    batch_size: int
    warnings: tuple[str, ...] = ()

    def _table(self) -> Table:
        rate = "" if self.learning_rate is None else f", learning rate {self.learning_rate:g}"
        name = self.optimizer if self.optimizer == "optax" else self.optimizer.upper()
        head = (
            "iteration",
            "loss",
            "noise",
            "tail index",
            "sharpness",
            "of batches",
            "for ADAM",
            "escape",
        )
        columns = (
            [f"{i:,}" for i in self.iteration],
            [f"{x:.4g}" for x in self.loss],
            [name or "-" for name in self.noise],
            [f"{e}" for e in self.tail_index],
            [f"{x:.3g}" for x in self.sharpness],
            [f"{e.value:.3g}" for e in self.batch_sharpness],
            [f"{x:.3g}" for x in self.preconditioned_sharpness],
            [f"{e.value:.3g}" for e in self.escape],
        )
        lines = [
            ("optimiser", f"{name}{rate}, batches of {self.batch_size}"),
            Grid(head, list(zip(*columns, strict=True))),
        ]
        return Table(f"Track of {len(self.iteration)} checkpoints", lines, self.warnings)

    def _columns(self) -> dict[str, np.ndarray]:
        columns: dict[str, np.ndarray] = {}
        for name in _COLUMNS:
            values = getattr(self, name)
            if isinstance(values, tuple) and isinstance(values[0], Estimate):
                for end, suffix in (("value", ""), ("low", "_low"), ("high", "_high")):
                    columns[name + suffix] = np.array([getattr(e, end) for e in values])
            else:
                columns[name] = np.asarray(values)
        return columns

    def _variables(self) -> dict[str, Any]:
        return {name: (("iteration",), column) for name, column in self._columns().items()}

    def _about(self) -> dict[str, Any]:
        given = {"optimizer": self.optimizer, "batch_size": self.batch_size}
        rate = {} if self.learning_rate is None else {"learning_rate": self.learning_rate}
        return super()._about() | given | rate


_COLUMNS = (
    "iteration",
    "loss",
    "noise",
    "tail_index",
    "sharpness",
    "batch_sharpness",
    "preconditioned_sharpness",
    "escape",
)


def track(
    loss_fn: Arg[Callable[..., Any] | None],
    checkpoints: Arg[Sequence[Any]],
    data: Arg[Any],
    *,
    batch_size: Arg[Integer],
    iterations: Arg[Numbers | None] = None,
    optimizer: Arg["Literal['sgd', 'adam'] | optax.GradientTransformation"] = "sgd",
    learning_rate: Arg[Number | None] = None,
    weight_decay: Arg[Number] = 0.0,
    batched: Arg[bool] = False,
    alpha: Arg[Number | None] = None,
    basin_height: Arg[Number | None] = None,
    delta: Arg[Number] = 1e-8,
    num_batches: Arg[Integer] = 2000,
    memory_budget: Arg[Number] = 4.0,
    confidence: Arg[Number] = 0.95,
    seed: Arg[Seed] = 0,
) -> Track:
    """Measure the noise, the sharpness and the predicted escape time at several checkpoints of one
    training run.

        saved = [params, *(train_further(params, steps) for steps in (100, 1000))]
        found = ls.networks.track(
            loss_fn, saved, (inputs, targets), iterations=[0, 100, 1000], batch_size=32,
            learning_rate=0.1, weight_decay=0.01,
        )
        print(found)  # a table; found.to_dataframe(); ls.plots.track(found) draws it

    Each row has the numbers that `diagnose` gives for this checkpoint with the same arguments.
    Everything is compiled once, for all checkpoints. A checkpoint that cannot be measured gives a
    row with NaN and a warning.

    Args:
        loss_fn: loss of one example, or of many with `batched=True`, as in `diagnose`.
        checkpoints: the parameters at several times, a list of pytrees of one structure. Of models
            that hold more than their parameters, all else must be the same in all checkpoints.
        data: `(inputs, targets)`, whose leading axes are the n examples; or one array.
        batch_size: number of different examples in a minibatch, less than n.
        iterations: when each checkpoint was taken, increasing integers, shape `(k,)`; 0, 1, 2, ...
            by default.
        optimizer: "sgd", "adam" (betas 0.9 and 0.999), or an optax `GradientTransformation`. Escape
            times are predicted for SGD and ADAM given by name, and for plain SGD of optax.
        learning_rate: learning rate of the law. Without it, no escape times are predicted, and no
            basin is measured.
        weight_decay: adds `weight_decay |x|^2 / 2` to the loss.
        batched: whether `loss_fn` takes all examples at once.
        alpha: stability index of the law, below 2; by default the measured one of each checkpoint,
            clipped to 0.5 to 1.95.
        basin_height: height of the basin `F < F(params) + height`, in units of the loss; by default
            a tenth of the standard deviation of the examples' losses, at each checkpoint anew. Give
            a number to compare the escape times of different checkpoints.
        delta: the number that ADAM adds to `sqrt(v)`, in units of the gradient (optax: `eps`).
        num_batches: minibatches drawn for the noise, and as many for the batch sharpness, at least
            400.
        memory_budget: GiB that the computation may take beyond Python, JAX, data and parameters.
        confidence: coverage of the intervals of batch sharpness and escape time.
        seed: seed of all random numbers, the same for each checkpoint.

    Returns:
        A `Track`. Escape times are in iterations.

    Raises:
        TypeError, ValueError: arguments that `diagnose` refuses; a checkpoint that is not finite or
            of another tree than the first, named by its index; `iterations` that do not increase.
            If no checkpoint can be measured, the error of the first.
        Interrupted: Ctrl-C after the first row; `.result` holds the rows so far.

    Source:
        Batch sharpness: Andreyev, Beneventano, arXiv 2412.20553. Preconditioned sharpness: Cohen et
        al., arXiv 2207.14484.
    """
    _check_checkpoints(checkpoints)
    times = _as_iterations(iterations, len(checkpoints))
    try:
        request = as_request(
            loss_fn,
            checkpoints[0],
            data,
            batch_size=batch_size,
            optimizer=optimizer,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            batched=batched,
            alpha=alpha,
            basin_height=basin_height,
            delta=delta,
            num_batches=num_batches,
            memory_budget=memory_budget,
            confidence=confidence,
            seed=seed,
        )
    except (TypeError, ValueError) as error:
        if "param" not in str(error):
            raise
        raise type(error)(f"{error}\nHere params is checkpoints[0].") from None
    net = request.landscape
    points = [
        errors.reals(name, flattened(net, name, params), _EXAMPLE, (net.dim,))
        for name, params in ((f"checkpoints[{i}]", saved) for i, saved in enumerate(checkpoints))
    ]
    rows: list[_Row] = []
    try:
        for point in points:
            rows.append(_measured(request, point))
    except KeyboardInterrupt:
        if not rows:
            raise
        raise errors.Interrupted(
            f"interrupted with {len(rows)} of {len(points)} checkpoints measured; they are in "
            ".result.",
            _track(request, times, rows),
        ) from None
    failures = [row.failure for row in rows]
    if all(failures) and failures[0] is not None:
        raise failures[0]
    return _track(request, times, rows)


def _check_checkpoints(checkpoints: Any) -> None:
    """Raises for what is no list of parameters, and for numbers that are not finite."""
    if not isinstance(checkpoints, list | tuple) or not checkpoints:
        raise TypeError(
            f"checkpoints must be a list of parameters, not {errors.shown(checkpoints)}. For "
            f"example {_EXAMPLE}; for a single point use diagnose."
        )
    errors.concrete("checkpoints", checkpoints)
    for i, params in enumerate(checkpoints):
        for path, leaf in jax.tree_util.tree_leaves_with_path(params):
            if eqx.is_inexact_array(leaf):
                errors.reals(f"checkpoints[{i}]{jax.tree_util.keystr(path)}", leaf, _EXAMPLE)


def _as_iterations(iterations: Any, count: int) -> np.ndarray:
    if iterations is None:
        return np.arange(count)
    example = f"iterations={list(range(0, 100 * count, 100))[:3]}"
    times = errors.reals("iterations", iterations, example, (count,))
    if (times != np.round(times)).any() or (times < 0).any() or (np.diff(times) <= 0).any():
        raise ValueError(
            f"iterations must be increasing integers from 0, not {errors.shown(iterations)}. For "
            f"example {example}."
        )
    return times.astype(np.int64)


@dataclass
class _Row:
    """What was measured of a checkpoint, and what stopped it."""

    loss: float = _NAN
    noise: str = ""
    tail_index: Estimate = _NOTHING
    sharpness: float = _NAN
    batch_sharpness: Estimate = _NOTHING
    preconditioned_sharpness: float = _NAN
    silent: int = 0
    basin: LossBasin | None = None
    law: PredictedEscape | None = None
    no_basin: str = ""
    failure: Exception | None = None


def _measured(request: Request, point: Any) -> _Row:
    row = _Row()
    try:
        _fill(row, replace(request, landscape=request.landscape.at(point)))
    except Exception as error:  # a user's loss may raise anything, and other rows are not lost
        row.failure = error
    return row


def _fill(row: _Row, request: Request) -> None:
    """Measure one checkpoint, with the seeds of `diagnose`."""
    landscape, count = request.landscape, request.num_eigenvalues
    _, limit = request.memory()
    seeds = [int(s) for s in np.random.SeedSequence(request.seed).generate_state(9)]
    precise: Any
    with in_float64(landscape) if landscape.dim <= DENSE else nullcontext(landscape) as precise:
        model = Products(precise, limit)
        row.loss = model.loss
        hessian = None
        if request.predicts:
            hessian = spectrum(
                model.hessian, model.dim, count, request.num_probes, seeds[0], request.confidence
            )
            row.sharpness = float(hessian.largest[0])
        else:
            row.sharpness = largest_eigenvalue(model.hessian, model.dim, count, seeds[0])
        row.batch_sharpness = _batch_sharpness(request, model, seeds[7])
        noise = measure_noise(request, model, seeds[1])
        row.tail_index = noise.tails.characteristic_function.median
        row.noise = stats.noise_class(noise.values).name
        row.silent = int((noise.variance == 0).sum())
        row.preconditioned_sharpness = _preconditioned(request, model, noise, seeds[8])
        if hessian is None:
            return
        try:
            row.basin = measure_basin(request, model, hessian, noise, seeds[4])
        except ValueError as error:
            row.no_basin = str(error)
            return
    row.law = predicted_escapes(request, row.basin.measures, row.basin.alpha).get(request.optimizer)


def _batch_sharpness(request: Request, model: Products, seed: int) -> Estimate:
    rng = np.random.default_rng(seed)
    net, block = model.landscape, max(2, int(np.sqrt(request.num_batches)))
    found = []
    for _ in range(request.num_batches // block):
        index = jnp.asarray(batch_rows(net.num_examples, request.batch_size, block, rng))
        program, _ = compiled(batch_curvature, net, model.x, index)
        found.append(np.asarray(program(net, model.x, index), float))
    curved, squares = np.concatenate(found).T
    return ratio_of_means(curved, squares, request.confidence)


def _preconditioned(request: Request, model: Products, noise: BatchNoise, seed: int) -> float:
    """Over the coordinates with noise: elsewhere P is `delta` alone where the gradient vanishes."""
    live = noise.variance > 0
    squares = noise.batch_variance[live] + model.slope[live] ** 2
    root = 1 / np.sqrt(np.sqrt(squares) + request.delta)

    def product(v: np.ndarray) -> np.ndarray:
        whole = np.zeros(model.dim)
        whole[live] = root * v
        return root * model.hessian(whole)[live]

    return largest_eigenvalue(product, root.size, 1, seed)


def _track(request: Request, times: np.ndarray, rows: list[_Row]) -> Track:
    times = times[: len(rows)]
    return Track(
        iteration=times,
        loss=np.array([row.loss for row in rows]),
        noise=tuple(row.noise for row in rows),
        tail_index=tuple(row.tail_index for row in rows),
        sharpness=np.array([row.sharpness for row in rows]),
        batch_sharpness=tuple(row.batch_sharpness for row in rows),
        preconditioned_sharpness=np.array([row.preconditioned_sharpness for row in rows]),
        escape=tuple(_NOTHING if row.law is None else row.law.mean for row in rows),
        optimizer=request.optimizer,
        learning_rate=request.learning_rate,
        batch_size=request.batch_size,
        warnings=tuple(_warnings(request, times, rows)),
    )


def _warnings(request: Request, times: np.ndarray, rows: list[_Row]) -> list[str]:
    """Each caveat once, with the iterations to which it applies."""
    found = [
        f"at iteration {time:,} not everything was measured: {errors.described(row.failure)}"
        for time, row in zip(times, rows, strict=True)
        if row.failure is not None
    ]

    def say(applies: Callable[[_Row], Any], text: str) -> None:
        here = np.array([bool(applies(row)) for row in rows])
        if here.any():
            found.append(f"at {_named(times[here])} {text}")

    if request.optimizer == "optax":
        found.append("no escape law is known for this optimiser, so no times are predicted.")
    elif request.learning_rate is None:
        found.append(
            "no learning rate was given, so no times are predicted. Type learning_rate=..."
        )
    say(
        lambda row: row.noise == _TOO_SHORT,
        f"there are too few minibatches to tell the class of the noise. Type num_batches={_ENOUGH} "
        "or more.",
    )
    say(
        lambda row: row.silent,
        f"up to {max(row.silent for row in rows):,} of {request.landscape.dim:,} coordinates have "
        "no gradient noise, and the preconditioned sharpness is that of the others.",
    )
    say(
        lambda row: row.basin and not row.basin.measures,
        "the point is not near a minimum: the loss would still fall by more than the basin's "
        "height, so there is no basin to leave. Train longer, or give a larger basin_height.",
    )
    for reason in dict.fromkeys(row.no_basin for row in rows if row.no_basin):
        say(lambda row, reason=reason: row.no_basin == reason, f"no time was predicted: {reason}")
    say(
        lambda row: row.law and request.alpha is None and row.tail_index.value > GAUSSIAN,
        f"the tail index is above {GAUSSIAN:g}, so the noise is hardly stable, and the predicted "
        "escape by jumps of a stable law is hardly what minibatches of finite data do. Simulate "
        "escapes, with diagnose.",
    )
    say(
        lambda row: row.law and row.law.regime > SLOWEST,
        f"the rate over relaxation is above {SLOWEST}: escape is not rare, as the law assumes. "
        "Lower the learning rate, or raise basin_height.",
    )
    say(
        lambda row: row.law and np.isinf(row.law.mean.value),
        "no ray left the basin, so the predicted escape time is infinite. Add weight_decay to "
        "bound the basin.",
    )
    say(
        lambda row: row.basin and row.basin.kink,
        "the loss has a kink at the point, as of ReLU: the Hessian does not describe it there.",
    )
    rate = request.learning_rate if request.optimizer == "sgd" else None
    say(
        lambda row: rate is not None and row.sharpness * rate > 2,
        "learning_rate times the sharpness is above 2: plain SGD is unstable there without any "
        "noise, and the law does not apply.",
    )
    return found


def _named(times: np.ndarray) -> str:
    return f"iteration{'s' if len(times) > 1 else ''} {listed(times, ',d')}"
