"""Calls of `levysde.domains`."""

from collections.abc import Iterator

import jax.numpy as jnp

import levysde as ls
from calls.table import Call, Exempt


def calls() -> Iterator[Call | Exempt]:
    yield Call(ls.Ball, lambda: {"radius": 1.0, "center": jnp.zeros(2)})
