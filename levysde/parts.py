"""What the parts of a run have in common: how they print, and that their numbers belong
together."""

import functools
import inspect
import operator
import re
import textwrap
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

_LINE = 100  # columns of a part that prints on one line
_FEW = 4  # numbers of an array that prints whole


class Part(eqx.Module):
    """What a run is made of. Prints as one would type it: numbers as numbers, large arrays by their
    shapes."""

    def _arguments(self) -> dict[str, Any]:
        """What is printed, by name: arguments of `__init__` that are kept, or all fields where a
        needed one is not."""
        known = {field.name for field in fields(self)}
        found = {}
        for name, parameter in inspect.signature(type(self).__init__).parameters.items():
            if name in known or isinstance(getattr(type(self), name, None), property):
                found[name] = getattr(self, name, None)
            elif name != "self" and parameter.default is parameter.empty:
                return {field.name: getattr(self, field.name, None) for field in fields(self)}
        return found

    def __repr__(self) -> str:
        return _written(self, _LINE)

    def _derived(self) -> dict[str, Any]:
        """Fields that were computed from other fields when the object was made, as they would be
        computed now, on the host."""
        return {}


class Function(Part):
    """A plain function as a part of a run, and of its compiled program."""

    fn: Callable = eqx.field(static=True)

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        return own_arrays(self.fn)(*arguments, **keywords)


class Bound(Part):
    """A function with its keyword arguments. The `numbers`, arrays and parts, are arguments of a
    compiled program, so that other values compile nothing new; the `constants` belong to it."""

    fn: Callable
    numbers: dict[str, Any]
    constants: tuple[tuple[str, Any], ...] = eqx.field(static=True)

    def __call__(self, *arguments: Any) -> Any:
        return self.fn(*arguments, **self.numbers, **dict(self.constants))


def traced(module: Callable) -> Callable:
    """`module` as a run calls it, with its arrays traced: one that looks at their values fails."""
    arrays, rest = eqx.partition(module, eqx.is_array)
    inner = jax.jit(lambda arrays, *arguments: eqx.combine(arrays, rest)(*arguments))
    return functools.partial(inner, arrays)


def own_arrays(fn: Callable) -> Callable:
    """The function with copies of the NumPy arrays among its defaults, in its closure and its
    module, and of those of other plain functions there.

    JAX 0.10 keeps a NumPy array that a program uses in the precision of its first use for as long
    as that program lives: a function that ran in float32 would fail in float64, or compute there
    with numbers rounded to float32. A copy has no first use."""
    inner = fn
    while isinstance(inner, functools.partial):
        inner = inner.func
    return _Copies(getattr(inner, "__globals__", {})).of(fn)


class _Copies:
    def __init__(self, module: dict[str, Any]) -> None:
        self._module = module
        self._made: dict[int, Any] = {}

    def of(self, value: Any) -> Any:
        """A copy of an array, or of what holds one; other values as they are."""
        if type(value) is np.ndarray:  # a subclass, as with a mask, would not be one afterwards
            return np.array(value)
        make = self._makers.get(type(value))
        if make is None:
            return value
        if id(value) not in self._made:
            self._made[id(value)] = value  # for what holds itself
            self._made[id(value)] = make(self, value)
        return self._made[id(value)]

    def _partial(self, fn: functools.partial) -> functools.partial:
        return functools.partial(self.of(fn.func), *self.of(fn.args), **self.of(fn.keywords))

    def _items(self, value: Any) -> Any:
        new = list(map(self.of, value))
        return value if all(map(operator.is_, new, value)) else type(value)(new)

    def _values(self, value: dict) -> dict:
        new = {key: self.of(item) for key, item in value.items()}
        return value if all(new[key] is value[key] for key in value) else new

    def _function(self, fn: types.FunctionType) -> types.FunctionType:
        names = _names(fn.__code__) if fn.__globals__ is self._module else ()
        used = {name: self._module[name] for name in names if name in self._module}
        held = *used.values(), *(fn.__closure__ or ()), fn.__defaults__, fn.__kwdefaults__
        new = list(map(self.of, held))
        if all(map(operator.is_, new, held)):
            return fn
        *taken, defaults, keywords = new
        scope = fn.__globals__ | dict(zip(used, taken, strict=False))
        closure = tuple(taken[len(used) :])
        copy = types.FunctionType(fn.__code__, scope, fn.__name__, defaults, closure)
        copy.__kwdefaults__ = keywords
        copy.__dict__ |= fn.__dict__
        return copy

    def _cell(self, cell: types.CellType) -> types.CellType:
        try:
            held = cell.cell_contents
        except ValueError:  # empty
            return cell
        new = self.of(held)
        return cell if new is held else types.CellType(new)

    _makers: ClassVar[dict[type, Callable]] = {
        functools.partial: _partial,
        tuple: _items,
        list: _items,
        dict: _values,
        types.FunctionType: _function,
        types.CellType: _cell,
    }


def _names(code: types.CodeType) -> set[str]:
    """Names in a function's code, and in the functions made inside it."""
    inner = (const for const in code.co_consts if isinstance(const, types.CodeType))
    return set(code.co_names).union(*map(_names, inner))


def as_module(fn: Callable) -> Any:
    """A function as an `equinox.Module`; one that is such is handed back."""
    return fn if isinstance(fn, eqx.Module) else Function(fn)


def check_derived(value: Any) -> None:
    """Raises ValueError where a number no longer belongs to those it was computed from, as after
    `equinox.tree_at`."""
    if isinstance(value, tuple | list):
        for item in value:
            check_derived(item)
    if not isinstance(value, Part):
        return
    for field in fields(value):
        check_derived(getattr(value, field.name, None))
    for name, expected in value._derived().items():
        held = getattr(value, name)
        if jax.tree.structure(held) != jax.tree.structure(expected) or not all(
            np.shape(a) == np.shape(b)
            and np.allclose(a, b, rtol=1e-3, atol=1e-6 * np.max(np.abs(b), initial=0))
            for a, b in zip(jax.tree.leaves(held), jax.tree.leaves(expected), strict=True)
        ):
            kind = type(value).__name__
            raise ValueError(
                f"{kind}.{name} was computed from the other numbers of this {kind} when it was "
                "made, and one of them has been replaced since, so that they no longer agree. "
                f"Make a new {kind} instead."
            )


@contextmanager
def in_float64(part: Any) -> Iterator[Any]:
    """A copy of a tree of arrays with its floats in float64; JAX computes in float64 inside."""
    with jax.enable_x64(True):
        yield jax.tree.map(
            lambda leaf: (
                jnp.asarray(np.asarray(leaf, np.float64)) if eqx.is_inexact_array(leaf) else leaf
            ),
            part,
        )


def _written(value: Any, room: int) -> str:
    """A value as one would type it, on one line if it has room."""
    if isinstance(value, Part):
        opening, items, closing = f"{type(value).__name__}(", _items(value), ")"
    elif isinstance(value, dict):
        opening, items, closing = "{", [(f"{key!r}: ", inner) for key, inner in value.items()], "}"
    elif type(value) in (tuple, list) and len(value) <= 2 * _FEW:
        opening, items, closing = "[", [("", inner) for inner in value], "]"
        if isinstance(value, tuple):
            opening, closing = "(", ",)" if len(value) == 1 else ")"
    else:
        return short(value)
    line = opening + ", ".join(label + _written(inner, 10**9) for label, inner in items) + closing
    if len(line) <= room or not items:
        return line
    inside = "".join(f"{label}{_written(inner, room - 4)},\n" for label, inner in items)
    return f"{opening}\n{textwrap.indent(inside, '    ')}{closing.lstrip(',')}"


def _items(part: Part) -> list[tuple[str, Any]]:
    """The arguments that are not at their defaults, with `name=` before all but the parts that come
    first."""
    found: list[tuple[str, Any]] = []
    parameters = inspect.signature(type(part).__init__).parameters
    bare = True
    for name, value in part._arguments().items():
        parameter = parameters.get(name)
        if parameter is not None and parameter.kind is parameter.VAR_POSITIONAL:
            found += [("", inner) for inner in value]
            continue
        if (
            parameter is None
            or parameter.default is parameter.empty
            or _written(parameter.default, 0) != short(value)
        ):
            bare = (
                bare
                and isinstance(value, Part)
                and parameter is not None
                and parameter.default is parameter.empty
            )
            found.append(("" if bare else f"{name}=", value))
    return found


def short(value: Any) -> str:
    """A value that is no part: numbers whole, large arrays by kind and shape, others by their
    class."""
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return _array(value)
    if value is None or isinstance(value, bool | int | float | complex | str):
        return repr(value)
    return getattr(value, "__name__", f"{type(value).__name__}(...)")


def _array(value: Any) -> str:
    name = re.sub("^(f|i|u|c)(loat|nt|int|omplex)", r"\1", str(value.dtype))
    shape = f"{name}[{','.join(map(str, value.shape))}]"
    whole = isinstance(value, np.ndarray | np.generic | jax.Array) and not isinstance(value, Tracer)
    if not whole or not 0 < np.prod(value.shape) <= _FEW:
        return shape
    try:
        numbers = np.asarray(value)
    except (RuntimeError, TypeError):  # donated, on another host, or keys of JAX
        return shape
    return _numbers(numbers)


def _numbers(value: Any) -> str:
    if np.ndim(value):
        return f"[{', '.join(_numbers(row) for row in value)}]"
    # the fewest digits, for any width
    return repr(float(str(value))) if value.dtype.kind == "f" else str(value)
