"""m(W) of SGD and of ADAM at one point, from rays that both share if the noise allows it."""

import numpy as np

from levysde.networks.basin_measure import (
    EXTRA,
    BasinMeasure,
    RayCrossings,
    axis_measure,
    cross,
    draw_axes,
    isotropic_measure,
    quadratic_masses,
)
from levysde.networks.products import Products

_FAR = 1e3  # largest first guess of a ray's length, in typical lengths


def measure_basins(
    model: Products,
    sizes: dict[str, np.ndarray],
    preconditioner: dict[str, np.ndarray],
    diagonal: np.ndarray,
    *,
    height: float,
    alpha: float,
    stable_noise: str,
    num_rays: int,
    seed: int,
    confidence: float,
) -> dict[str, BasinMeasure]:
    """The measure of each optimiser.

    Args:
        sizes: A of each optimiser, the displacement by a unit jump along each coordinate, `(d,)`.
        preconditioner: Q of each, `(d,)`: the flow near the point is `Q^-1 H`.
        diagonal: diagonal of the Hessian, exact or approximate, `(d,)`.
        num_rays: number of coordinates drawn (each has two rays), or of directions.
    """
    if stable_noise == "components":
        return _components(
            model, sizes, preconditioner, diagonal, height, alpha, num_rays, seed, confidence
        )
    return {
        name: _isotropic(
            model, sizes[name], preconditioner[name], height, alpha, num_rays, seed, confidence
        )
        for name in sizes
    }


def _components(
    model: Products,
    sizes: dict[str, np.ndarray],
    preconditioner: dict[str, np.ndarray],
    diagonal: np.ndarray,
    height: float,
    alpha: float,
    num_rays: int,
    seed: int,
    confidence: float,
) -> dict[str, BasinMeasure]:
    predicted = {
        name: quadratic_masses(size, diagonal, height, alpha) for name, size in sizes.items()
    }
    drawn, chance = draw_axes(list(predicted.values()), num_rays, np.random.default_rng(seed))
    axes, where = np.unique(drawn, return_inverse=True)
    curvature = np.array([_row(model, int(axis))[axis] for axis in axes])
    found = _crossings(
        model.along_axes(np.concatenate([axes, axes]), np.repeat([1.0, -1.0], len(axes))),
        np.concatenate([curvature, curvature]),
        model.loss + height,
        height,
    )
    rays = 2 * len(axes)
    both = found.masses(rays, alpha).reshape(2, -1).mean(0)
    returning = float(found.returning(rays).mean())
    return {
        name: axis_measure(
            (both * sizes[name][axes] ** alpha)[where],
            drawn,
            chance,
            predicted[name],
            (curvature / preconditioner[name][axes])[where],
            returning,
            confidence,
        )
        for name in sizes
    }


def _isotropic(
    model: Products,
    sizes: np.ndarray,
    preconditioner: np.ndarray,
    height: float,
    alpha: float,
    num_rays: int,
    seed: int,
    confidence: float,
) -> BasinMeasure:
    losses, second = model.along_directions(sizes, preconditioner, seed)
    length, curvature, pull = np.array([second(i) for i in range((1 + EXTRA) * num_rays)]).T
    predicted = quadratic_masses(length, curvature, height, alpha)
    found = _crossings(losses, curvature[:num_rays], model.loss + height, height)
    masses = found.masses(num_rays, alpha) * length[:num_rays] ** alpha
    returning = float(found.returning(num_rays).mean())
    return isotropic_measure(masses, predicted, pull[:num_rays], returning, confidence)


def _row(model: Products, axis: int) -> np.ndarray:
    unit = np.zeros(model.dim)
    unit[axis] = 1.0
    return model.hessian(unit)


def _crossings(losses, curvature: np.ndarray, level: float, height: float) -> RayCrossings:
    """Rays from the quadratic guess of their lengths."""
    positive = curvature > 0
    typical = np.sqrt(2 * height / np.median(curvature[positive])) if positive.any() else 1.0
    guess = np.sqrt(2 * height / np.where(positive, curvature, 1.0))
    guess = np.where(positive, np.minimum(guess, _FAR * typical), typical)
    return cross(lambda ray, r: losses(ray, r) - level, guess)
