"""How the lanes of a problem may be laid out, read off its programs."""

import functools
from collections.abc import Callable
from typing import Any

import jax

from levysde.interfaces import DOMAIN, KERNEL, Sketch, sketch_key
from levysde.protocols import Domain, Kernel

# Primitives whose bits depend on the size of the batch, since a library picks the order of its sums
# by it.
_LIBRARY = {
    "dot_general",
    "conv_general_dilated",
    "custom_linear_solve",
    "triangular_solve",
    "cholesky",
    "lu",
    "qr",
}
_LIBRARY |= {"eigh", "eig", "svd", "schur", "fft", "ragged_dot_general"}


def runs_by_lanes(kernel: Kernel, domain: Domain) -> bool:
    """Whether a step and the exit test avoid library matmuls, whose bits depend on the number of
    lanes."""
    return _runs_by_lanes(*sketch_key(domain, kernel))


@functools.lru_cache(maxsize=256)
def _runs_by_lanes(*key: Any) -> bool:
    sketch = Sketch(*key)
    state = sketch.outcome(KERNEL, "init", sketch.x, sketch.start)
    step, contains = sketch.method(KERNEL, "step"), sketch.method(DOMAIN, "contains")
    return is_lane_invariant(step, sketch.leaves, sketch.step, state) and is_lane_invariant(
        contains, sketch.leaves, sketch.x
    )


def is_lane_invariant(fn: Callable, *args: Any) -> bool:
    """Whether `fn(*args)` avoids library matmuls and decompositions, read off its traced
    program."""

    return _clean(jax.make_jaxpr(fn)(*args).jaxpr)


def _clean(jaxpr: Any) -> bool:
    for equation in jaxpr.eqns:
        if equation.primitive.name in _LIBRARY:
            return False
        for parameter in jax.tree.leaves(
            equation.params, is_leaf=lambda p: hasattr(p, "eqns") or hasattr(p, "jaxpr")
        ):
            inner = getattr(parameter, "jaxpr", parameter)
            if hasattr(inner, "eqns") and not _clean(inner):
                return False
    return True
