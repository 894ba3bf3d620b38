"""What this study runs besides escapes: where an optimiser is found after a while, and what tail
index its noise reads."""

import functools
import warnings
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

import jax.numpy as jnp
import numpy as np
from pydantic import Field

from levysde import errors
from levysde.escape import simulate_paths
from levysde.kernels import OptimizerKernel
from levysde.landscapes import AsymmetricValley, NetworkLandscape, digits_mlp, sharp_flat
from levysde.networks import train
from levysde.noise import StableComponents
from levysde.protocols import Landscape
from levysde.stats import block_log_moment_index, characteristic_function_fit, hill
from levysde.sweeps import Experiment, Job, Model, Variable

WELLS: dict[str, Any] = {
    "sharp_curvature": 16.0,
    "flat_curvature": 2.0,
    "barriers": (1.0, 1.0),
    "distances": (0.8, 2.0),
}
_ESTIMATORS: dict[str, Callable[[np.ndarray], float]] = {
    "block": lambda x: block_log_moment_index(x).value,
    "fit": lambda x: characteristic_function_fit(x).alpha.value,
    "hill": lambda x: hill(x).alpha.value,
}
_APART = 44  # iterations after which an average of beta = 0.9 has forgotten all but 1%


def two_wells() -> Landscape:
    """A sharp, narrow well on the left and a flat, wide one on the right, equally deep; the saddle
    at 0."""
    return sharp_flat(**WELLS)


class OccupationSettings(Model):
    """Where an optimiser under stable gradient noise is after `iterations`.

    Attributes:
        landscape: two wells, sharp on the left and flat on the right; or a valley that rises
            steeply on the left.
        optimizer, learning_rate: of optax.
        alpha, scale: of the gradient noise.
        num: trajectories, half of them from the left.
    """

    landscape: Literal["two wells", "valley"] = "two wells"
    optimizer: Literal["sgd", "adam"] = "sgd"
    learning_rate: Annotated[float, Field(gt=0)] = 0.01
    alpha: Annotated[float, Field(gt=0, le=2)] = 1.5
    scale: Annotated[float, Field(gt=0)] = 0.3
    num: Annotated[int, Field(ge=2)] = 2000
    iterations: Annotated[int, Field(ge=1)] = 20_000


class Occupation(Experiment):
    """How many trajectories are on the right, the flat side, by where they began; and their
    positions."""

    name = "zhou2020-occupation"
    settings = OccupationSettings

    def variables(self, points: Sequence[OccupationSettings]) -> tuple[Variable, ...]:
        return (
            Variable(
                "right_from_left",
                "float64",
                "share on the right at the end, of those begun on the left",
            ),
            Variable(
                "right_from_right",
                "float64",
                "share on the right at the end, of those begun on the right",
            ),
            Variable("median", "float64", "median position at the end", "parameter units"),
            Variable(
                "mean", "float64", "mean position at the end, of those within 10", "parameter units"
            ),
            Variable("mean_error", "float64", "its standard error", "parameter units"),
        )

    def run(self, settings: OccupationSettings, job: Job) -> np.ndarray:
        landscape = two_wells() if settings.landscape == "two wells" else AsymmetricValley()
        left, right = (
            (-WELLS["distances"][0], WELLS["distances"][1])
            if settings.landscape == "two wells"
            else (0.0, 0.0)
        )
        kernel = OptimizerKernel(
            settings.optimizer,
            landscape,
            driver=StableComponents(settings.alpha),
            scale=settings.scale,
            hyperparameters={"learning_rate": settings.learning_rate},
        )
        half = settings.num // 2
        starts = jnp.concatenate(
            [jnp.full((half, 1), left), jnp.full((settings.num - half, 1), right)]
        )
        steps = settings.iterations
        paths = simulate_paths(
            kernel,
            starts,
            num=settings.num,
            seed=job.seed,
            every=steps,
            max_steps=steps,
            throw=False,
        )
        return np.asarray(paths.positions[:, -1, 0], float)

    def columns(
        self, settings: OccupationSettings, outcome: np.ndarray, job: Job
    ) -> dict[str, Any]:
        half = settings.num // 2
        near = outcome[np.abs(outcome) < 10]
        return {
            "right_from_left": float(np.mean(outcome[:half] > 0)),
            "right_from_right": float(np.mean(outcome[half:] > 0)),
            "median": float(np.median(outcome)),
            "mean": float(near.mean()),
            "mean_error": float(near.std(ddof=1) / np.sqrt(len(near))),
        }


class TailsSettings(Model):
    """The noise whose tail index is read.

    Attributes:
        source: of minibatch gradients of a fully connected network on digits, or drawn: "stable",
            "gaussian", "mixture" (of two normals, ten times apart, one draw in ten the wider).
        optimizer, learning_rate, epochs: how the network was trained.
        batch_size: examples a gradient.
        alpha: of drawn stable noise.
        coordinates: that are read, those of the largest variance.
        length: iterations of noise.
    """

    source: Literal["network", "stable", "gaussian", "mixture"] = "network"
    optimizer: Literal["sgd", "adam"] = "sgd"
    learning_rate: Annotated[float, Field(gt=0)] = 0.1
    epochs: Annotated[int, Field(ge=0)] = 100
    batch_size: Annotated[int, Field(ge=1)] = 10
    alpha: Annotated[float, Field(gt=0, le=2)] = 1.5
    coordinates: Annotated[int, Field(ge=3)] = 40
    length: Annotated[int, Field(ge=2000)] = 40_000


class Tails(Experiment):
    """The index by three estimators: of the noise as SGD takes it, of ADAM's average of it (beta =
    0.9) in a row, and of that average seen so rarely that its values are independent. The median
    over coordinates, and its bootstrap error."""

    name = "zhou2020-tails"
    settings = TailsSettings
    kinds = ("raw", "averaged", "apart")

    def variables(self, points: Sequence[TailsSettings]) -> tuple[Variable, ...]:
        names = [(kind, how) for kind in self.kinds for how in _ESTIMATORS]
        return tuple(
            Variable(
                f"{kind}_{how}{end}", "float64", f"tail index of the {kind} noise by {how}{about}"
            )
            for kind, how in names
            for end, about in (("", ""), ("_error", ": standard error"))
        )

    def run(self, settings: TailsSettings, job: Job) -> np.ndarray:
        rng = np.random.default_rng(job.seed)
        if settings.source == "network":
            return _minibatch_noise(settings, rng)
        shape = (settings.length, settings.coordinates)
        if settings.source == "stable":
            from scipy.stats import levy_stable  # slow to import

            return np.asarray(levy_stable.rvs(settings.alpha, 0, size=shape, random_state=rng))
        wide = np.where(rng.random(shape) < 0.1, 10.0, 1.0) if settings.source == "mixture" else 1.0
        return rng.normal(size=shape) * wide

    def columns(self, settings: TailsSettings, outcome: np.ndarray, job: Job) -> dict[str, Any]:
        from scipy.signal import lfilter  # slow to import

        averaged = np.asarray(lfilter([0.1], [1.0, -0.9], outcome, axis=0))[_APART:]
        samples = dict(zip(self.kinds, (outcome, averaged, averaged[::_APART]), strict=True))
        rng, found = np.random.default_rng(0), {}
        for kind, sample in samples.items():
            for how, estimator in _ESTIMATORS.items():
                read = np.array([_or_nan(estimator, column) for column in sample.T])
                read = read[np.isfinite(read)]
                draws = np.median(read[rng.integers(len(read), size=(1000, len(read)))], axis=1)
                found |= {
                    f"{kind}_{how}": float(np.median(read)),
                    f"{kind}_{how}_error": float(draws.std()),
                }
        return found


def _or_nan(estimator: Callable[[np.ndarray], float], x: np.ndarray) -> float:
    """NaN where an estimator says that it has no answer. Its warnings are expected: most of this
    noise is not stable."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", errors.AccuracyWarning)
        try:
            return estimator(x)
        except ValueError:
            return np.nan


def _minibatch_noise(settings: TailsSettings, rng: np.random.Generator) -> np.ndarray:
    """`g_B - g` at the point where training has come to, batches without replacement, shape
    `(length, coordinates)`."""
    network = _trained(settings.optimizer, settings.learning_rate, settings.epochs)
    rows = np.asarray(network.example_gradients(network.minimum), float)
    rows = rows - rows.mean(0)
    chosen = np.argsort(rows.var(0))[::-1][: settings.coordinates]
    n = len(rows)
    noise = np.empty((settings.length, settings.coordinates))
    for start in range(0, settings.length, 2000):
        stop = min(start + 2000, settings.length)
        index = np.argsort(rng.random((stop - start, n)), axis=1)[:, : settings.batch_size]
        noise[start:stop] = rows[:, chosen][index].mean(1)
    return noise


@functools.lru_cache(maxsize=8)
def _trained(optimizer: Any, learning_rate: float, epochs: int) -> NetworkLandscape:
    network = digits_mlp(hidden=16, weight_decay=1e-4)
    if not epochs:
        return network
    return network.at(
        train(network, optimizer, learning_rate=learning_rate, batch_size=30, epochs=epochs)
    )
