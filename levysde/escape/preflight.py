"""What is looked at before a run starts: conditions under which its numbers would be wrong."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import jax.numpy as jnp
import numpy as np

from levysde.errors import AccuracyWarning
from levysde.escape.precision import precision
from levysde.escape.stability import stability
from levysde.interfaces import ray_doubts
from levysde.parts import check_derived
from levysde.protocols import Domain, Kernel

_looked = ContextVar("looked", default=False)


@contextmanager
def without_preflight() -> Iterator[None]:
    """Runs inside are not looked at, nor are overshoots counted: for further runs of a problem that
    has been."""
    token = _looked.set(True)
    try:
        yield
    finally:
        _looked.reset(token)


def is_looked_at() -> bool:
    """Whether this run's problem is to be looked at: not within `without_preflight`."""
    return not _looked.get()


def preflight(kernel: Kernel, domain: Domain, starts: np.ndarray) -> tuple[str, ...]:
    """Issues an `AccuracyWarning` for each condition that the run does not meet, and returns their
    messages.

    Args:
        kernel, domain: what moves, and the basin.
        starts: `(d,)` or `(num, d)`.

    Returns:
        One message a condition: what is wrong, the value, how to fix it.

    Raises:
        ValueError: a run that cannot give a right number.
    """
    if not is_looked_at():
        return ()
    check_derived((kernel, domain))
    found: list[AccuracyWarning | str] = []
    found += stability(kernel, domain)
    found += precision(kernel, domain, starts)
    directions = np.asarray(kernel.noise_directions())
    found += map(AccuracyWarning, ray_doubts(domain, jnp.atleast_2d(starts)[0], directions))
    for warning in found:
        if isinstance(warning, AccuracyWarning):  # a note is kept in the result alone
            warnings.warn(warning, stacklevel=4)
    return tuple(str(warning) for warning in found)
