"""Gradient flow: at which known minimum does the path of steepest descent from a point end?

Notation: F the loss, `u(x) = -grad F / |grad F|` the direction of descent, s the length of path
walked, so that `dx/ds = u(x)` has the orbits of the gradient flow without its slow stretches.
Integrated by the method of Bogacki and Shampine (Appl. Math. Lett. 2, 1989), of order 3 with an
error estimate of order 2.

A path ends in the capture ball of a minimum m: where `(x - m) . grad F(x) > 0` throughout a ball,
|x - m| falls along the flow, so every path that enters ends at m.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from levysde import errors
from levysde.domains.shapes import as_point
from levysde.protocols import Landscape, Point, Scalar, Truth
from levysde.types import Arg, Integer, Numbers

_TOLERANCE = 1e-4  # error allowed in a step, in units of the distance to the nearest known minimum
_LONGEST = 0.25  # largest step, in the same units
# error allowed in a step, in units of its length: a turn is followed, however narrow for the
# distance
_BEND = 5e-3
# at an unknown minimum the direction flips and every step is refused, until it is this short
_STALL = 1e-6
_DIRECTIONS = 64  # random ones, beside the principal axes, along which a capture ball is looked at
_PRINCIPAL = 32  # principal axes looked at, half from either end of the spectrum
_SHELLS = np.linspace(0.125, 1.0, 8)
_SMALLER, _TRIES = 2.0**-0.25, 120  # a ball that fails is followed by one of this size
_SAFE = 0.75  # of the largest ball that passed
_STATIONARY = 1e-3


class Attractors(eqx.Module):
    """Minima with their capture balls: `minima` of shape `(n, d)`, `radii` of shape `(n,)`."""

    minima: Array
    radii: Array
    max_steps: Array

    def reached_from(self, landscape: Landscape, x: Point, moving: Truth) -> Int[Array, ""]:
        """The row of the minimum at which the descent from `x` ends; n where it ends elsewhere, is
        not done within `max_steps`, or is not `moving` to begin with."""

        def caught(y: Point) -> Array:
            offset = y[None, :] - self.minima
            return jnp.sum(offset * offset, 1) < self.radii * self.radii

        def scale(y: Point) -> Scalar:
            return jnp.min(jnp.max(jnp.abs(y[None, :] - self.minima), 1))

        def going(carry: tuple) -> Truth:
            y, _, _, stalled, count = carry
            return moving & ~jnp.any(caught(y)) & ~stalled & (count < self.max_steps)

        def walk(carry: tuple) -> tuple:
            y, u, length, _, count = carry
            new, error, after = _step(landscape, y, u, length)
            allowed = jnp.minimum(_TOLERANCE * scale(y), _BEND * length)
            accept = error <= allowed
            growth = jnp.clip(
                0.9 * jnp.cbrt(allowed / jnp.maximum(error, allowed * 1e-3)), 0.2, 2.0
            )
            growth = jnp.where(jnp.isfinite(error), growth, 0.2)
            y, u = jnp.where(accept, new, y), jnp.where(accept, after, u)
            length = jnp.minimum(length * growth, _LONGEST * scale(y))
            stalled = length < _STALL * (scale(y) + jnp.max(jnp.abs(y)))
            return y, u, length, stalled, count + 1

        def lost(u: Point) -> Truth:  # no slope at all, or none that is a number
            return ~(jnp.sum(u * u) > 0.5)

        u = _descent(landscape, x)
        start = x, u, _LONGEST * scale(x), lost(u), jnp.zeros_like(self.max_steps)
        end = jax.lax.while_loop(going, walk, start)[0]
        inside = caught(end) & moving
        return jnp.where(jnp.any(inside), jnp.argmax(inside), len(self.radii)).astype(jnp.int32)


def _step(landscape: Landscape, y: Point, u: Point, length: Scalar) -> tuple[Point, Scalar, Point]:
    """One step of Bogacki and Shampine: the new point, the error estimate, the direction there."""
    second = _descent(landscape, y + length / 2 * u)
    third = _descent(landscape, y + length * 3 / 4 * second)
    new = y + length * (u * 2 / 9 + second / 3 + third * 4 / 9)
    after = _descent(landscape, new)
    error = jnp.max(jnp.abs(u * 5 / 72 - second / 12 - third / 9 + after / 8))
    return new, length * error, after


def _descent(landscape: Landscape, x: Point) -> Point:
    """`-grad F / |grad F|`; zero where the gradient is zero."""
    slope = landscape.gradient(x)
    largest = jnp.max(jnp.abs(slope))
    slope = slope / jnp.where(largest > 0, largest, 1)
    size = jnp.sqrt(jnp.sum(slope * slope))
    return -slope / jnp.where(size > 0, size, 1)


def attractors(
    landscape: Landscape, minima: Arg[Numbers | None], max_steps: Arg[Integer]
) -> Attractors:
    """The marked minimum in row 0, then `minima`, with capture balls found on the host.

    Raises TypeError or ValueError for a bad argument, and for a point that is no isolated minimum.
    """
    max_steps = errors.integer("max_steps", max_steps, high=10**6)
    points = [landscape.minimum, *rows("minima", errors.concrete("minima", minima), landscape.dim)]
    names = ["the landscape's minimum", *(f"minima[{i}]" for i in range(len(points) - 1))]
    errors.concrete("landscape", landscape)
    stacked = jnp.stack(points)
    radii = [_capture_radius(landscape, x, name) for x, name in zip(points, names, strict=True)]
    apart = np.linalg.norm(np.asarray(stacked)[:, None] - np.asarray(stacked)[None], axis=-1)
    same = apart <= 1e-6 * (1 + np.abs(np.asarray(stacked)).max())
    radius = np.minimum(radii, np.where(same, np.inf, apart).min(1) / 2)
    radius[np.tril(same, -1).any(1)] = 0  # listed before: the earlier row catches
    return Attractors(
        stacked, jnp.asarray(radius, dtype=stacked.dtype), jnp.asarray(max_steps, jnp.int32)
    )


def rows(name: str, points: Arg[Numbers | None], dim: int) -> list[Array]:
    """The rows of an `(n, d)` array of points, none when `points` is None."""
    if points is None:
        return []
    array = errors.finite(name, points, f"{name}=landscape.{name}")
    if array.ndim != 2 or array.shape[1] != dim or not len(array):
        raise ValueError(
            f"{name} must have shape (n, {dim}), a point in each row, not {array.shape}. "
            f"For example {name}=landscape.{name}."
        )
    return [as_point(name, row) for row in array]


def stationary_spectrum(landscape: Landscape, x: Point, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues, ascending, and eigenvectors of the Hessian at `x`; ValueError unless the
    gradient vanishes there."""
    slope, hessian = (np.asarray(f(x), float) for f in (landscape.gradient, landscape.hessian))
    if not (np.isfinite(slope).all() and np.isfinite(hessian).all()):
        raise ValueError(
            f"gradient or Hessian are not finite at {name}, x = {np.asarray(x)}. Mend "
            "the loss or move x."
        )
    values, vectors = np.linalg.eigh((hessian + hessian.T) / 2)
    limit = _STATIONARY * max(np.abs(values).max(), 1e-6) * (1 + np.linalg.norm(np.asarray(x)))
    if np.linalg.norm(slope) > limit:
        raise ValueError(
            f"{name}, x = {np.asarray(x)}, is no stationary point: the gradient's norm there is "
            f"{np.linalg.norm(slope):.4g}. Refine it first, for example with "
            "scipy.optimize.minimize."
        )
    return values, vectors


def _capture_radius(landscape: Landscape, x: Point, name: str) -> float:
    """Three quarters of the first radius, from `1 + max|x|` downwards, at which the loss rises
    outwards throughout the ball, as seen on 8 shells along the principal axes and random
    directions."""
    values, vectors = stationary_spectrum(landscape, x, name)
    if values[0] < -_STATIONARY * np.abs(values).max():
        raise ValueError(
            f"{name}, x = {np.asarray(x)}, is a saddle or a maximum (the Hessian's smallest "
            f"eigenvalue is {values[0]:.4g}): no basin of attraction surrounds it. Give a minimum."
        )
    half = _PRINCIPAL // 2
    axes = (
        vectors.T
        if len(values) <= _PRINCIPAL
        else np.concatenate([vectors.T[:half], vectors.T[-half:]])
    )
    random = np.random.default_rng(0).normal(size=(_DIRECTIONS, landscape.dim))
    unit = np.concatenate([axes, -axes, random / np.linalg.norm(random, axis=1, keepdims=True)])
    offsets = jnp.asarray(
        (_SHELLS[:, None, None] * unit[None]).reshape(-1, landscape.dim), dtype=x.dtype
    )
    radius = float(1 + np.abs(np.asarray(x)).max())
    for _ in range(_TRIES):
        if bool(_rises(landscape, x, offsets, jnp.asarray(radius, dtype=x.dtype))):
            return _SAFE * radius
        radius *= _SMALLER
    raise ValueError(
        f"{name}, x = {np.asarray(x)}, is not isolated: around it the loss does not rise in every "
        "direction (a flat valley, or a loss that is not smooth), so the flow does not single it "
        "out. Give an isolated minimum."
    )


@eqx.filter_jit
def _rises(landscape: Landscape, x: Point, offsets: Float[Array, "m d"], radius: Array) -> Truth:
    def outwards(offset: Array) -> Scalar:
        return jnp.sum(offset * landscape.gradient(x + radius * offset))

    return jnp.all(jax.lax.map(outwards, offsets, batch_size=256) > 0)
