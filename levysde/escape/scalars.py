"""A traced program for one trajectory, carried out number by number.

An accelerator's kernel language has vectors of lanes and no small arrays: no slices, no
concatenations, no gathers. Here every array of the program becomes a NumPy array of objects, each
of them one number of the trajectory over all lanes. Arithmetic goes to the objects one by one. What
only moves numbers about is run once, on their positions, and costs nothing in the kernel.
"""

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
    "closed_call": "call_jaxpr",
    "custom_jvp_call": "call_jaxpr",
}
_CALLS |= {"custom_vjp_call": "call_jaxpr", "checkpoint": "jaxpr", "remat2": "jaxpr"}

Numbers = (
    np.ndarray
    # of objects: JAX scalars or vectors of lanes, or NumPy scalars where a number is known while
    # tracing
)


class CannotWriteOut(Exception):
    """The program has an operation that cannot be carried out number by number, or too many."""


def numbers(shape: tuple[int, ...], values: Any) -> Numbers:
    """`values`, in row-major order, as an array of objects of that shape."""
    array = np.empty(math.prod(shape), object)
    for i, value in enumerate(values):
        array[i] = value
    return array.reshape(shape)


def run(program: ClosedJaxpr, arguments: list[Numbers], barriers: bool = False) -> list[Numbers]:
    """`program` on arrays of objects. `barriers`: keep those that the program sets for XLA; kernel
    languages have none.

    Raises `CannotWriteOut`.
    """
    return _Run(MOST, barriers).closed(program, arguments)


class _Run:
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
            return _barred(operands) if self.barriers else operands
        if name in _CALLS:
            inner = params[_CALLS[name]]
            return (
                self.closed(inner, operands)
                if hasattr(inner, "consts")
                else self.open(inner, [], operands)
            )
        if name in _ELEMENTWISE:
            shape = equation.outvars[0].aval.shape
            operands = [np.broadcast_to(operand, shape).reshape(-1) for operand in operands]
            each = [
                self.apply(equation.primitive.bind, params, parts)
                for parts in zip(*operands, strict=True)
            ]
            return [numbers(shape, each)]
        if name in _REDUCTIONS:
            return [
                self.reduced(
                    _REDUCTIONS[name], operands[0], params["axes"], equation.outvars[0].aval.shape
                )
            ]
        if name in _RUNNING:
            return [self.running(_RUNNING[name], operands[0], params["axis"], params["reverse"])]
        if name in ("argmax", "argmin"):
            better = jax.lax.gt if name == "argmax" else jax.lax.lt
            return [self.first(better, operands[0], params["axes"][0], params["index_dtype"])]
        if name == "round":
            rounded = [
                self.rounded(params["rounding_method"], part) for part in operands[0].reshape(-1)
            ]
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
        """One operation on one number each."""
        if all(isinstance(part, np.generic) for part in parts):
            return _now(operation, parts, params)[0][()]
        if self.left == 0:
            raise CannotWriteOut(f"more than {MOST} operations")
        self.left -= 1
        shape = np.broadcast_shapes(*(np.shape(part) for part in parts))
        return operation(*(jnp.broadcast_to(part, shape) for part in parts), **params)

    def reduced(self, operation: Any, operand: Numbers, axes: tuple, shape: tuple) -> Numbers:
        kept = [axis for axis in range(operand.ndim) if axis not in axes]
        rows = operand.transpose(*kept, *axes).reshape(math.prod(shape), -1)
        if not rows.shape[1]:
            raise CannotWriteOut("a reduction of nothing")
        totals = rows[:, 0]
        for column in rows.T[1:]:
            totals = [self.apply(operation, {}, pair) for pair in zip(totals, column, strict=True)]
        return numbers(shape, totals)

    def running(self, operation: Any, operand: Numbers, axis: int, reverse: bool) -> Numbers:
        ways = slice(None, None, -1 if reverse else 1)
        rows = np.moveaxis(operand, axis, 0)[ways].copy()
        flat = rows.reshape(len(rows), -1)
        for before, row in itertools.pairwise(flat):
            row[:] = numbers(
                row.shape,
                [self.apply(operation, {}, pair) for pair in zip(before, row, strict=True)],
            )
        return np.moveaxis(flat.reshape(rows.shape)[ways], 0, axis)

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
        shape = np.broadcast_shapes(
            *(np.shape(part) for operand in operands for part in operand.reshape(-1))
        )
        dtypes = [
            aval.dtype
            for aval, carried in zip(params["body_jaxpr"].out_avals, begun, strict=True)
            for _ in range(carried.size)
        ]

        def flat(arrays: list[Numbers]) -> tuple:
            parts = [part for array in arrays for part in array.reshape(-1)]
            return tuple(
                jnp.broadcast_to(jnp.asarray(part, dtype), shape)
                for part, dtype in zip(parts, dtypes, strict=True)
            )

        def whole(carry: tuple) -> list[Numbers]:
            rest = iter(carry)
            return [
                numbers(array.shape, [next(rest) for _ in range(array.size)]) for array in begun
            ]

        def living(carry: tuple) -> Any:
            return self.closed(params["cond_jaxpr"], [*tests, *whole(carry)])[0].item()

        def body(carry: tuple) -> tuple:
            new, go = (
                flat(self.closed(params["body_jaxpr"], [*bodies, *whole(carry)])),
                living(carry),
            )
            return tuple(
                jnp.where(go, after, before) for after, before in zip(new, carry, strict=True)
            )

        def some(carry: tuple) -> Any:
            return jnp.max(jnp.broadcast_to(living(carry), shape).astype(jnp.int32)) > 0

        return whole(jax.lax.while_loop(some, body, flat(begun)))

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
            best = [self.selected(here, *pair) for pair in zip(result, best, strict=True)]
        return best

    def selected(self, here: Any, yes: Numbers, no: Numbers) -> Numbers:
        pairs = zip(no.reshape(-1), yes.reshape(-1), strict=True)
        return numbers(
            yes.shape, [self.apply(jax.lax.select_n, {}, (here, *pair)) for pair in pairs]
        )


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


def _barred(operands: list[Numbers]) -> list[Numbers]:
    flat = jax.lax.optimization_barrier(
        [part for operand in operands for part in operand.reshape(-1)]
    )
    rest = iter(flat)
    return [
        numbers(operand.shape, [next(rest) for _ in range(operand.size)]) for operand in operands
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
    every = numbers((total,), [part for i in data for part in operands[i].reshape(-1)])
    if any(np.any((result < 0) | (result >= total)) for result in taken):
        raise CannotWriteOut(f"{name} outside its operand")
    return [numbers(result.shape, every[result.reshape(-1)]) for result in taken]
