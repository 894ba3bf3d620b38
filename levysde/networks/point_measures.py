"""What `diagnose` and `track` measure at one point: the noise of minibatches, and the basin."""

from dataclasses import dataclass

import numpy as np

from levysde import errors
from levysde.networks.basin_measure import BasinMeasure
from levysde.networks.basins import measure_basins
from levysde.networks.curvature import Spectrum
from levysde.networks.diagnose_input import Request, check_height
from levysde.networks.gradient_covariance import batch_factor
from levysde.networks.noise_tails import NoiseTails, measure_tails, sampled_coordinates
from levysde.networks.products import Products, descent_left

# a coordinate has no noise if its gradients differ by less than this share of their size
_ROUNDING = 1e-6
_HIGHEST_ALPHA, _LOWEST_ALPHA = 1.95, 0.5  # a measured index is clipped to this range
_SHARE = 0.1  # of the standard deviation of the losses: the basin's height


@dataclass(frozen=True)
class BatchNoise:
    """The diagonals of C1 and of C_B, `(d,)`; tail indices and scale; and the noise of each
    minibatch in some coordinates, `(num_batches, m)`."""

    variance: np.ndarray
    batch_variance: np.ndarray
    tails: NoiseTails
    values: np.ndarray


def measure_noise(request: Request, model: Products, seed: int) -> BatchNoise:
    """The noise at the point of `model`. Raises ValueError where there is none, or a gradient is
    not finite."""
    rng = np.random.default_rng(seed)
    coordinates = sampled_coordinates(model.landscape, rng)
    variance, largest, columns = model.moments(coordinates)
    bad = ~np.isfinite(variance)
    if bad.any():
        where = errors.place_of_first(bad, "of the gradient are affected")
        raise ValueError(
            f"the gradient of some example is not finite at params: {where}. Give another point."
        )
    variance = np.where(np.sqrt(variance) <= _ROUNDING * largest, 0.0, variance)
    if not variance.any():
        raise ValueError(
            "no coordinate has any gradient noise at params: all examples have the same gradient "
            "there. Give data that differ."
        )
    tails, values = measure_tails(
        model.landscape,
        np.asarray(model.x),
        model.gradient,
        tuple(name for name, _ in request.layers),
        variance,
        columns,
        coordinates,
        request.batch_size,
        request.num_batches,
        rng,
    )
    factor = batch_factor(model.landscape.num_examples, request.batch_size)
    return BatchNoise(variance, variance * factor, tails, values)


@dataclass(frozen=True)
class LossBasin:
    """The fields of the same names of a `Diagnosis`."""

    descent: float
    kink: bool
    loss_spread: float
    height: float
    alpha: float
    measures: dict[str, BasinMeasure]


def measure_basin(
    request: Request, model: Products, hessian: Spectrum, noise: BatchNoise, seed: int
) -> LossBasin:
    """The basin around the point of `model`, and m(W) for both optimisers, none where the point is
    not near a minimum. Raises ValueError for a height that cannot be chosen or is lost in
    rounding."""
    descent, kink = descent_left(model, hessian.largest[0])
    spread = float(model.losses.std())
    height = _SHARE * spread if request.height is None else request.height
    check_height(height, model.loss)
    alpha = request.alpha if request.alpha is not None else _measured(noise.tails)
    measures = {}
    if descent < height:
        scale = noise.tails.scale(alpha)
        divisors = {
            "sgd": np.ones(model.dim),
            "adam": np.sqrt(noise.batch_variance) + request.delta,
        }
        measures = measure_basins(
            model,
            {name: scale / divisor for name, divisor in divisors.items()},
            divisors,
            hessian.diagonal,
            height=height,
            alpha=alpha,
            stable_noise=request.stable_noise,
            num_rays=request.num_rays,
            seed=seed,
            confidence=request.confidence,
        )
    return LossBasin(descent, kink, spread, height, alpha, measures)


def _measured(tails: NoiseTails) -> float:
    """The median index over coordinates, clipped to where the law has one; the highest where none
    could be read."""
    found = tails.characteristic_function.median.value
    return float(np.clip(np.nan_to_num(found, nan=_HIGHEST_ALPHA), _LOWEST_ALPHA, _HIGHEST_ALPHA))
