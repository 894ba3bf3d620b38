"""A landscape in float64, whatever JAX is set to."""

from collections.abc import Iterator
from contextlib import contextmanager

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from levysde.protocols import Landscape


@contextmanager
def in_float64(landscape: Landscape) -> Iterator[Landscape]:
    """A copy of `landscape` with its floats in float64; JAX computes in float64 inside the `with` block."""
    with jax.enable_x64(True):
        yield jax.tree.map(_widen, landscape)


def _widen(leaf):
    return jnp.asarray(np.asarray(leaf, np.float64)) if eqx.is_inexact_array(leaf) else leaf
