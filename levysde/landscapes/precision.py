"""A landscape in float64, whatever JAX is set to."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from levysde import errors
from levysde.protocols import Landscape
from levysde.types import Arg


def in_float64(landscape: Arg[Landscape]) -> AbstractContextManager[Landscape]:
    """A copy of `landscape` with its floats in float64; JAX computes in float64 inside the `with`
    block.

    Args:
        landscape: any, its numbers not traced by JAX.

    Returns:
        A context manager: `with in_float64(landscape) as precise`.

    Raises:
        TypeError: something that is no landscape, or one whose numbers JAX traces.

    Source:
        Elementary.
    """
    return _in_float64(
        errors.instance(
            "landscape", landscape, Landscape, "with in_float64(DoubleWell()) as precise"
        )
    )


@contextmanager
def _in_float64(landscape: Landscape) -> Iterator[Landscape]:
    with jax.enable_x64(True):
        yield jax.tree.map(_widen, landscape)


def _widen(leaf):
    return jnp.asarray(np.asarray(leaf, np.float64)) if eqx.is_inexact_array(leaf) else leaf
