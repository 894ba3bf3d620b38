"""Gradient noise of covariance |curvature| / B, coordinate by coordinate, for losses that are sums
over coordinates.

literal    |L''(x)| / B where the path is: what the paper writes down first; frozen     the same
with two temperatures: the minimum's curvature until the loss has climbed the fraction s of the way
to
           the saddle, the saddle's beyond: what the paper computes with.
"""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from levysde import errors
from levysde.landscapes import StyblinskiTang, in_float64
from levysde.noise import StateScale, as_scale
from levysde.protocols import Landscape, Point, Scale

# compiled once for all numbers of a landscape
_value_at = eqx.filter_jit(lambda loss, x: loss.value(x))
_hessian_at = eqx.filter_jit(lambda loss, x: loss.hessian(x))


def literal_noise(landscape: Any, batch_size: Any) -> StateScale:
    """`S(x) = sqrt(|L''(x_i)| / B)` in each coordinate, for `StyblinskiTang` or a landscape of one
    dimension.

    Raises TypeError or ValueError for another landscape, or a batch that is not positive.
    """
    batch = errors.positive("batch_size", batch_size)
    _profile(landscape)
    law = (
        _TangRoot(landscape, batch)
        if isinstance(landscape, StyblinskiTang)
        else _OneRoot(landscape, batch)
    )
    return StateScale(law, dim=landscape.dim)


def frozen_noise(landscape: Any, batch_size: Any, path_fraction: Any = 0.5) -> StateScale:
    """`S(x)^2 = h / B` in each coordinate, h the curvature of the minimum in whose valley it lies
    below the switch, and that of the saddle around it. For `StyblinskiTang`, or a landscape of one
    dimension with two minima and a saddle.

    Args:
        landscape: the loss.
        batch_size: B.
        path_fraction: s, the share of the climb made before the switch, in (0, 1).

    Raises TypeError or ValueError for another landscape, or numbers out of range.
    """
    batch = errors.positive("batch_size", batch_size)
    fraction = errors.fraction("path_fraction", path_fraction)
    places, curvatures = switches(landscape, fraction)
    law = _Steps(
        jnp.asarray(places, dtype=float), jnp.asarray(np.sqrt(curvatures), dtype=float), batch
    )
    return StateScale(law, dim=landscape.dim)


def switches(landscape: Landscape, fraction: float) -> tuple[np.ndarray, np.ndarray]:
    """Where the noise changes on the left and on the right of the saddle, and |curvature| left,
    between and right of them."""
    from scipy.optimize import brentq  # slow to import

    profile = _profile(landscape)
    minima = np.sort(np.asarray(profile.minima, float)[:, 0])  # pyright: ignore[reportAttributeAccessIssue]
    top = float(np.asarray(profile.saddles, float)[0, 0])  # pyright: ignore[reportAttributeAccessIssue]
    with in_float64(profile) as precise:

        def value(u: float) -> float:
            return float(_value_at(precise, jnp.asarray([u])))

        high, places = value(top), []
        for low in minima:
            level = (1 - fraction) * value(low) + fraction * high
            places.append(brentq(lambda u, level=level: value(u) - level, low, top, xtol=1e-10))
        curvatures = [
            abs(float(_hessian_at(precise, jnp.asarray([u]))[0, 0]))
            for u in (minima[0], top, minima[1])
        ]
    return np.array(places), np.array(curvatures)


def _profile(landscape: Any) -> Landscape:
    """The loss of one coordinate."""
    if isinstance(landscape, StyblinskiTang):
        return StyblinskiTang(
            1, hessian_factor=landscape.hessian_factor, loss_factor=landscape.loss_factor
        )
    if not isinstance(landscape, Landscape):
        raise TypeError(
            f"landscape must be a Landscape, not {landscape!r}. For example StyblinskiTang(10)."
        )
    if landscape.dim != 1:
        raise ValueError(
            f"the noise is made coordinate by coordinate, but {type(landscape).__name__} has "
            f"{landscape.dim} coupled ones. Give StyblinskiTang, or a landscape of one dimension."
        )
    return landscape


class _TangRoot(eqx.Module):
    landscape: StyblinskiTang
    batch: Array

    def __call__(self, x: Point) -> Point:
        k = self.landscape.hessian_factor
        return jnp.sqrt(k * self.landscape.loss_factor * jnp.abs(6 * k * x * x - 16) / self.batch)


class _OneRoot(eqx.Module):
    landscape: Landscape
    batch: Array

    def __call__(self, x: Point) -> Point:
        return jnp.sqrt(jnp.abs(self.landscape.hessian(x)[0]) / self.batch)


class _Steps(eqx.Module):
    places: Array
    roots: Array
    batch: Array

    def __call__(self, x: Point) -> Point:
        left, right = self.places[0], self.places[1]
        root = jnp.where(
            x < left, self.roots[0], jnp.where(x < right, self.roots[1], self.roots[2])
        )
        return root / jnp.sqrt(self.batch)


def bowl_noise(landscape: Any, batch_size: Any) -> Scale:
    """`S = sqrt(H / B)`, H the Hessian at the minimum, of which only the diagonal is taken: for
    bowls along the axes.

    Raises TypeError or ValueError for no landscape, or a batch that is not positive.
    """
    if not isinstance(landscape, Landscape):
        raise TypeError(
            f"landscape must be a Landscape, not {landscape!r}. For example Quadratic(jnp.ones(2))."
        )
    batch = errors.positive("batch_size", batch_size)
    return as_scale(jnp.sqrt(jnp.diag(landscape.hessian(landscape.minimum)) / batch), landscape.dim)
