"""Lévy measures as half-lines, for jumps along the axes and in all directions alike.

Each comes twice: as `LevyRays` on the host in float64, and as `TracedRays` for JAX.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from levysde.protocols import LevyRays, TracedRays


def traced_components(dim: int, log_tail: Callable, up: Any = 1.0, down: Any = 1.0) -> TracedRays:
    """The `2 dim` half-axes, with these weights of those upwards and downwards."""
    axes, ones = np.eye(dim), np.ones(dim)
    weights = jnp.concatenate([up * ones, down * ones])
    return TracedRays(np.concatenate([axes, -axes]), weights, log_tail)


def traced_isotropic(dim: int, num: int, seed: int, log_tail: Callable) -> TracedRays:
    """The directions of `isotropic_rays`; `log_tail` is that of all together."""
    directions = _sphere(dim, num, seed)
    return TracedRays(directions, jnp.full(len(directions), 1 / len(directions)), log_tail)


def power_tail(alpha: float, factor: float = 1.0) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """`r^-alpha` times `factor`, the same along every ray."""
    return functools.partial(_power_tail, alpha, factor)  # which pickle takes, unlike a closure


def _power_tail(alpha: float, factor: float, r: np.ndarray, _: np.ndarray) -> np.ndarray:
    return factor * np.asarray(r, dtype=float) ** -alpha


def component_rays(
    dim: int, tail: Callable, index: float, up: np.ndarray | float = 1.0, down: Any = 1.0
) -> LevyRays:
    """The `2 dim` half-axes, with these weights of those upwards and downwards."""
    axes, ones = np.eye(dim), np.ones(dim)
    weights = np.concatenate([up * ones, down * ones])
    return LevyRays(np.concatenate([axes, -axes]), weights, tail, index)


def isotropic_rays(
    dim: int, num: int, seed: int, tail: Callable, index: float, total: float = 1.0
) -> LevyRays:
    """About `num` directions spread evenly over the unit sphere, of the weight `total` in all: both
    ends in d = 1, equal angles in d = 2, scrambled Sobol points above, in antipodal pairs."""
    directions = _sphere(dim, num, seed)
    return LevyRays(directions, np.full(len(directions), total / len(directions)), tail, index)


def _sphere(dim: int, num: int, seed: int) -> np.ndarray:
    from scipy.stats import norm, qmc  # slow to import

    if dim == 1:
        return np.array([[1.0], [-1.0]])
    if dim == 2:
        start = np.random.default_rng(seed).uniform()
        angles = 2 * np.pi * (np.arange(num) + start) / num
        return np.stack([np.cos(angles), np.sin(angles)], 1)
    power, rng = max(1, int(np.ceil(np.log2(num / 2)))), np.random.default_rng(seed)
    if dim <= qmc.Sobol.MAXDIM:
        gaussian = norm.ppf(np.clip(qmc.Sobol(dim, rng=rng).random_base2(power), 1e-12, 1 - 1e-12))
    else:  # the sequence has no more dimensions
        gaussian = rng.normal(size=(2**power, dim))
    unit = gaussian / np.linalg.norm(gaussian, axis=1, keepdims=True)
    return np.concatenate([unit, -unit])
