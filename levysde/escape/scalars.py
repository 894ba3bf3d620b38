"""A traced program for one trajectory, carried out number by number.

An accelerator's kernel language has vectors of lanes and no small arrays: no slices, no
concatenations, no gathers. Here every array of the program becomes a NumPy array of objects, each
of them one number of the trajectory over all lanes. Arithmetic goes to the objects one by one. What
only moves numbers about is run once, on their positions, and costs nothing in the kernel.
"""

import functools
import itertools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr

# operations of a program: beyond it a kernel compiles for minutes and keeps nothing in registers
MOST = 16_384

# What a kernel language computes number by number.
_ELEMENTWISE = set(
    "abs add add_any and atan2 bitcast_convert_type cbrt ceil clamp convert_element_type cos cosh "
    "div eq exp exp2 expm1 floor ge gt integer_pow is_finite le log log1p log2 logistic lt max "
    "min mul ne neg not or pow rem rsqrt select_n shift_left shift_right_arithmetic "
    "shift_right_logical sign sin sinh sqrt square sub tan tanh "
    "xor".split()
)
_MOVES = set(
    "broadcast_in_dim concatenate dynamic_slice dynamic_update_slice expand_dims gather pad "
    "reshape rev scatter slice split "
    "squeeze stack transpose unstack".split()
)
# How many leading operands of a move are numbers, where the rest are positions; all of them
# elsewhere.
_DATA = {"gather": 1, "dynamic_slice": 1, "dynamic_update_slice": 2}
_REDUCTIONS = {
    "reduce_sum": jax.lax.add,
    "reduce_prod": jax.lax.mul,
    "reduce_max": jax.lax.max,
    "reduce_min": jax.lax.min,
    "reduce_and": jax.lax.bitwise_and,
    "reduce_or": jax.lax.bitwise_or,
}
_RUNNING = {
    "cumsum": jax.lax.add,
    "cumprod": jax.lax.mul,
    "cummax": jax.lax.max,
    "cummin": jax.lax.min,
}
_IDENTITIES = {"copy", "copy_p", "reshard", "stop_gradient"}
_CALLS = {
    "jit": "jaxpr",
    "pjit": "jaxpr",
    "checkpoint": "jaxpr",
    "remat2": "jaxpr",
    "closed_call": "call_jaxpr",
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
}

# of objects: JAX scalars or vectors of lanes; NumPy scalars where a number is known while tracing
Numbers = np.ndarray


class CannotWriteOut(Exception):
    """The program has an operation that cannot be carried out number by number, or too many."""


def numbers(shape: tuple[int, ...], values: Any) -> Numbers:
    """`values`, in row-major order, as an array of objects of that shape."""
    array = np.empty(math.prod(shape), object)
    for i, value in enumerate(values):
        array[i] = value
    return array.reshape(shape)


def flattened(arrays: list[Numbers]) -> list[Any]:
    return [part for array in arrays for part in array.reshape(-1)]


def refilled(arrays: list[Numbers], values: Any) -> list[Numbers]:
    """Arrays of the shapes of these, of other numbers, given in a row."""
    rest = iter(values)
    return [numbers(array.shape, itertools.islice(rest, array.size)) for array in arrays]


def run(program: ClosedJaxpr, arguments: list[Numbers], barriers: bool = False) -> list[Numbers]:
    """`program` on arrays of objects. `barriers`: keep those that the program sets for XLA; kernel
    languages have none.

    Raises `CannotWriteOut`.
    """
    return _ScalarRun(MOST, barriers).closed(program, arguments)


class _ScalarRun:
    """Carries out a program; `left` counts the operations that it may still take."""

    def __init__(self, left: int, barriers: bool):
        self.left, self.barriers = left, barriers

    def closed(self, program: ClosedJaxpr, arguments: list[Numbers]) -> list[Numbers]:
        constants = [_known(constant) for constant in program.consts]
        return self.open(program.jaxpr, constants, arguments)

    def open(
        self, jaxpr: Jaxpr, constants: list[Numbers], arguments: list[Numbers]
    ) -> list[Numbers]:
        values = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*constants, *arguments), strict=True))

        def read(atom: Any) -> Numbers:
            return (
                _known(np.asarray(atom.val, atom.aval.dtype))
                if hasattr(atom, "val")
                else values[atom]
            )

        for equation in jaxpr.eqns:
            results = self.equation(equation, [read(atom) for atom in equation.invars])
            values.update(zip(equation.outvars, results, strict=True))
        return [read(atom) for atom in jaxpr.outvars]

    def equation(self, equation: Any, operands: list[Numbers]) -> list[Numbers]:
        name, params = equation.primitive.name, equation.params
        if name in _IDENTITIES:
            return operands
        if name == "optimization_barrier":
            if self.barriers:
                return refilled(operands, jax.lax.optimization_barrier(flattened(operands)))
            return operands
        if name in _CALLS:
            inner = params[_CALLS[name]]
            return (
                self.closed(inner, operands)
                if hasattr(inner, "consts")
                else self.open(inner, [], operands)
            )
        if name in _ELEMENTWISE:
            return [self.mapped(equation.primitive.bind, params, *operands)]
        if name in _REDUCTIONS:
            return [self.reduced(_REDUCTIONS[name], operands[0], params["axes"])]
        if name in _RUNNING:
            return [self.running(_RUNNING[name], operands[0], params["axis"], params["reverse"])]
        if name in ("argmax", "argmin"):
            better = jax.lax.gt if name == "argmax" else jax.lax.lt
            return [self.first(better, operands[0], params["axes"][0], params["index_dtype"])]
        if name == "round":
            method = params["rounding_method"]
            rounded = [self.rounded(method, part) for part in operands[0].reshape(-1)]
            return [numbers(operands[0].shape, rounded)]
        if name == "while":
            return self.loop(params, operands)
        if name == "cond":
            return self.chosen(params["branches"], operands[0].item(), operands[1:])
        if name == "iota":
            return [_known(_now(equation.primitive.bind, (), params)[0])]
        if name in _MOVES:
            return _moved(equation, operands)
        raise CannotWriteOut(name)

    def apply(self, operation: Any, params: dict, parts: tuple) -> Any:
        if all(isinstance(part, np.generic) for part in parts):
            return _now(operation, parts, params)[0][()]
        if self.left == 0:
            raise CannotWriteOut(f"more than {MOST} operations")
        self.left -= 1
        shape = np.broadcast_shapes(*(np.shape(part) for part in parts))
        return operation(*(jnp.broadcast_to(part, shape) for part in parts), **params)

    def mapped(self, operation: Any, params: dict, *operands: Numbers) -> Numbers:
        """One operation on each number of arrays."""
        arrays = np.broadcast_arrays(*operands)
        parts = zip(*(array.reshape(-1) for array in arrays), strict=True)
        return numbers(arrays[0].shape, [self.apply(operation, params, part) for part in parts])

    def reduced(self, operation: Any, operand: Numbers, axes: tuple) -> Numbers:
        kept = [axis for axis in range(operand.ndim) if axis not in axes]
        shape = [operand.shape[axis] for axis in kept]
        rows = operand.transpose(*kept, *axes).reshape(*shape, -1)
        if not rows.shape[-1]:
            raise CannotWriteOut("a reduction of nothing")
        columns = (rows[..., i] for i in range(rows.shape[-1]))
        return functools.reduce(functools.partial(self.mapped, operation, {}), columns)

    def running(self, operation: Any, operand: Numbers, axis: int, reverse: bool) -> Numbers:
        ways = slice(None, None, -1 if reverse else 1)
        rows = np.moveaxis(operand, axis, 0)[ways]
        each = (rows[i, ...] for i in range(len(rows)))
        totals = itertools.accumulate(each, functools.partial(self.mapped, operation, {}))
        return np.moveaxis(np.stack(list(totals))[ways], 0, axis)

    def first(self, better: Any, operand: Numbers, axis: int, dtype: Any) -> Numbers:
        """The place of the best number along an axis, the first of equals; a NaN is best of all."""
        rows = np.moveaxis(operand, axis, -1)
        places = []
        for row in rows.reshape(-1, rows.shape[-1]):
            best, place = row[0], jnp.zeros((), dtype)
            for i, part in enumerate(row[1:], 1):
                found = better(part, best) | ((part != part) & (best == best))
                best, place = (
                    jnp.where(found, part, best),
                    jnp.where(found, jnp.asarray(i, dtype), place),
                )
            places.append(place)
        return numbers(rows.shape[:-1], places)

    def rounded(self, method: Any, part: Any) -> Any:
        """To the nearest whole number, from those below: kernel languages have `floor` alone."""
        down = jnp.floor(part)
        rest = part - down
        odd = down - 2 * jnp.floor(down / 2) == 1
        up = odd if method == jax.lax.RoundingMethod.TO_NEAREST_EVEN else part > 0
        return jnp.where((rest > 0.5) | ((rest == 0.5) & up), down + 1, down)

    def loop(self, params: dict, operands: list[Numbers]) -> list[Numbers]:
        """Turns until every lane has ended; each keeps what it had when it did."""
        first, second = params["cond_nconsts"], params["cond_nconsts"] + params["body_nconsts"]
        tests, bodies, begun = operands[:first], operands[first:second], operands[second:]
        shape = np.broadcast_shapes(*map(np.shape, flattened(operands)))
        dtypes = [
            aval.dtype
            for aval, carried in zip(params["body_jaxpr"].out_avals, begun, strict=True)
            for _ in range(carried.size)
        ]

        def flat(arrays: list[Numbers]) -> tuple:
            return tuple(
                jnp.broadcast_to(jnp.asarray(part, dtype), shape)
                for part, dtype in zip(flattened(arrays), dtypes, strict=True)
            )

        def living(carry: tuple) -> Any:
            return self.closed(params["cond_jaxpr"], [*tests, *refilled(begun, carry)])[0].item()

        def body(carry: tuple) -> tuple:
            new = flat(self.closed(params["body_jaxpr"], [*bodies, *refilled(begun, carry)]))
            go = living(carry)
            return tuple(
                jnp.where(go, after, before) for after, before in zip(new, carry, strict=True)
            )

        def some(carry: tuple) -> Any:
            return jnp.max(jnp.broadcast_to(living(carry), shape).astype(jnp.int32)) > 0

        return refilled(begun, jax.lax.while_loop(some, body, flat(begun)))

    def chosen(self, branches: Any, index: Any, operands: list[Numbers]) -> list[Numbers]:
        """A branch: the one that is known, else all of them and a selection, since they have no
        effects."""
        if isinstance(index, np.generic):
            return self.closed(branches[int(np.clip(index, 0, len(branches) - 1))], operands)
        results = [self.closed(branch, operands) for branch in branches]
        best = results[0]
        for i, result in enumerate(results[1:], 1):
            here = self.apply(
                jax.lax.eq if i < len(branches) - 1 else jax.lax.ge, {}, (index, np.int32(i))
            )
            chosen = functools.partial(self.mapped, jax.lax.select_n, {}, numbers((), [here]))
            best = [chosen(no, yes) for no, yes in zip(best, result, strict=True)]
        return best


def _now(operation: Any, operands: Any, params: dict) -> list[np.ndarray]:
    """What is known while tracing, on the CPU whatever the program is traced for."""
    cpu, no_mesh = jax.local_devices(backend="cpu")[0], jax.sharding.AbstractMesh((), ())
    with (
        jax.ensure_compile_time_eval(),
        jax.default_device(cpu),
        jax.sharding.use_abstract_mesh(no_mesh),
    ):
        results = operation(*operands, **params)
    return [
        np.asarray(result)
        for result in (results if isinstance(results, list | tuple) else [results])
    ]


def _known(array: Any) -> Numbers:
    array = np.asarray(array)
    return numbers(array.shape, array.reshape(-1))


def _moved(equation: Any, operands: list[Numbers]) -> list[Numbers]:
    """An operation that moves numbers, run on their positions."""
    name = equation.primitive.name
    data = [0, 2] if name == "scatter" else list(range(_DATA.get(name, len(operands))))
    positions, total = [], 0
    for i, operand in enumerate(operands):
        if i in data:
            positions.append(
                np.arange(total, total + operand.size, dtype=np.int32).reshape(operand.shape)
            )
            total += operand.size
        elif all(isinstance(index, np.generic) for index in operand.reshape(-1)):
            dtype = equation.invars[i].aval.dtype
            positions.append(np.array(list(operand.reshape(-1)), dtype).reshape(operand.shape))
        else:
            raise CannotWriteOut(f"{name} at places that are not known")
    taken = _now(equation.primitive.bind, positions, equation.params)
    every = numbers((total,), flattened([operands[i] for i in data]))
    if any(np.any((result < 0) | (result >= total)) for result in taken):
        raise CannotWriteOut(f"{name} outside its operand")
    return [numbers(result.shape, every[result.reshape(-1)]) for result in taken]
