"""What the programs of a kernel and a domain tell: whether they keep to their interfaces, and how lanes may be laid out.

A class of the user's own may fail or return another shape, which JAX would say from deep inside itself, or not at all. A trace
takes milliseconds and depends on the structure only, so each is made once.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from levysde import errors
from levysde.protocols import Domain, Kernel

_KERNEL, _DOMAIN = 0, 1

# Primitives whose bits depend on the size of the batch, since a library picks the order of its sums by it.
_LIBRARY = {"dot_general", "conv_general_dilated", "custom_linear_solve", "triangular_solve", "cholesky", "lu", "qr"}
_LIBRARY |= {"eigh", "eig", "svd", "schur", "fft", "ragged_dot_general"}


class _Sketch:
    """The two without their numbers, to be traced."""

    def __init__(self, structure: Any, kinds: tuple, sizes: tuple[int, int, int]):
        self.structure = structure
        self.leaves = [jax.ShapeDtypeStruct(*kind) for kind in kinds]
        self.names = [type(part).__name__ for part in jax.tree.unflatten(structure, self.leaves)]
        self.x = jax.ShapeDtypeStruct(sizes[:1], jnp.result_type(float))
        self.start, self.step = (jax.ShapeDtypeStruct((size,), jnp.uint32) for size in sizes[1:])

    def method(self, i: int, name: str) -> Callable:
        """As a function of the numbers and the arguments."""
        return lambda leaves, *arguments: getattr(jax.tree.unflatten(self.structure, leaves)[i], name)(*arguments)

    def outcome(self, i: int, name: str, *arguments: Any) -> Any:
        try:
            return jax.eval_shape(self.method(i, name), self.leaves, *arguments)
        except Exception as error:  # a user's method may raise anything
            raise TypeError(
                f"{self.names[i]}.{name} fails: {errors.told(error)}\n"
                "It is written for one trajectory, with jax.numpy; levysde.protocols says what it takes and returns."
            ) from None

    def expect(self, i: int, name: str, argument: Any, shape: tuple[int, ...], kind: Any, words: str) -> None:
        found = self.outcome(i, name, argument)
        if getattr(found, "shape", None) != shape or not jnp.issubdtype(found.dtype, kind):
            what = f"{found.dtype} of shape {found.shape}" if hasattr(found, "shape") else repr(found)
            raise TypeError(f"{self.names[i]}.{name} must return {words}, of shape {shape}, not {what}.")


def check_interfaces(kernel: Kernel, domain: Domain) -> None:
    """Raises TypeError, naming the method, where one fails or returns something of another shape than it should."""
    _check_interfaces(*_key(kernel, domain))


def runs_by_lanes(kernel: Kernel, domain: Domain) -> bool:
    """Whether a step and the exit test avoid library matmuls, whose bits depend on the number of lanes."""
    return _runs_by_lanes(*_key(kernel, domain))


def _key(kernel: Kernel, domain: Domain) -> tuple:
    leaves, structure = jax.tree.flatten((kernel, domain))
    kinds = tuple((jnp.shape(leaf), jnp.result_type(leaf)) for leaf in leaves)
    return structure, kinds, (kernel.dim, kernel.words_per_init, kernel.words_per_step)


@functools.lru_cache(maxsize=256)
def _check_interfaces(*key: Any) -> None:
    sketch = _Sketch(*key)
    sketch.expect(_DOMAIN, "contains", sketch.x, (), jnp.bool_, "one truth value")
    sketch.expect(_DOMAIN, "label", sketch.x, (), jnp.integer, "one integer")
    state = sketch.outcome(_KERNEL, "init", sketch.x, sketch.start)
    sketch.expect(_KERNEL, "position", state, sketch.x.shape, jnp.floating, "a point")
    before, after = (jax.tree.map(jnp.shape, s) for s in (state, sketch.outcome(_KERNEL, "step", sketch.step, state)))
    if before != after:
        raise TypeError(
            f"{sketch.names[_KERNEL]}.step must return a state like that of init, of shapes {before}, not {after}."
        )


@functools.lru_cache(maxsize=256)
def _runs_by_lanes(*key: Any) -> bool:
    sketch = _Sketch(*key)
    state = sketch.outcome(_KERNEL, "init", sketch.x, sketch.start)
    step, contains = sketch.method(_KERNEL, "step"), sketch.method(_DOMAIN, "contains")
    return is_lane_invariant(step, sketch.leaves, sketch.step, state) and is_lane_invariant(
        contains, sketch.leaves, sketch.x
    )


def is_lane_invariant(fn: Callable, *args: Any) -> bool:
    """Whether `fn(*args)` avoids library matmuls and decompositions, read off its traced program."""

    return _clean(jax.make_jaxpr(fn)(*args).jaxpr)


def _clean(jaxpr: Any) -> bool:
    for equation in jaxpr.eqns:
        if equation.primitive.name in _LIBRARY:
            return False
        for parameter in jax.tree.leaves(equation.params, is_leaf=lambda p: hasattr(p, "eqns") or hasattr(p, "jaxpr")):
            inner = getattr(parameter, "jaxpr", parameter)
            if hasattr(inner, "eqns") and not _clean(inner):
                return False
    return True
