"""Sums over the examples of a network's data, block by block, in a stated amount of memory.

Notation: `f_i` the loss of example i, F their mean plus weight decay, H the Hessian of F, J the
`(n, d)` Jacobian of the losses, whose rows are the examples' gradients `g_i`, g their mean,
`C1 = 1/n sum_i (g_i - g)(g_i - g)'`.

    H v  = d/dt grad F(x + t v)          one gradient of a gradient (Pearlmutter, Neural Computation
         6, 1994)
    C1 v = J'(J v) / n - g (g'v)         one derivative along v, one back; no row of J is ever
                                         formed

The memory that a program needs beyond its arguments is known once it is compiled, before it runs.
Blocks are made small enough to fit.
"""

import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from levysde.landscapes import NetworkLandscape
from levysde.protocols import Point, Scalar

GIB = 2**30
_FIRST = 2048  # examples in the first block that is tried
_FEWER = 0.8  # of what should fit by proportion


class Blocks(eqx.Module):
    """The examples in blocks of equal size. The last block is padded with the first example, and
    `mask` is 0 there.

    `index` and `mask` have shape `(blocks, size)`.
    """

    landscape: NetworkLandscape
    index: Int[Array, "blocks size"]
    mask: Float[Array, "blocks size"]


def in_blocks(landscape: NetworkLandscape, size: int) -> Blocks:
    n = landscape.num_examples
    count = -(-n // size)
    place = np.arange(count * size).reshape(count, size)
    mask = jnp.asarray(place < n, landscape.minimum.dtype)
    return Blocks(landscape, jnp.asarray(np.where(place < n, place, 0), jnp.int32), mask)


def _total(blocks: Blocks, part: Callable[[Array, Array], Any], zero: Any) -> Any:
    """`sum_b part(index_b, mask_b)`, one block after the other."""

    def add(total: Any, block: tuple[Array, Array]) -> tuple[Any, None]:
        return jax.tree.map(jnp.add, total, part(*block)), None

    return jax.lax.scan(add, zero, (blocks.index, blocks.mask))[0]


def _loss(blocks: Blocks, x: Point) -> Scalar:
    net = blocks.landscape
    total = _total(blocks, lambda i, mask: jnp.sum(mask * net.losses(x, i)), jnp.zeros((), x.dtype))
    return total / net.num_examples + net.weight_decay / 2 * jnp.sum(x * x)


def _losses_at(
    blocks: Blocks, point: Callable[[Array], Point], steps: Array, count: Array
) -> Array:
    def put(j: Array, found: Array) -> Array:
        return found.at[j].set(_loss(blocks, point(j)))

    return jax.lax.fori_loop(0, count, put, jnp.zeros_like(steps))


def axis_losses(
    blocks: Blocks,
    x: Point,
    axis: Int[Array, " k"],
    steps: Float[Array, " k"],
    count: Int[Array, ""],
) -> Float[Array, " k"]:
    """`F(x + steps_j e_axis_j)` for the first `count` of them, 0 for the rest."""
    return _losses_at(blocks, lambda j: x.at[axis[j]].add(steps[j]), steps, count)


def unit_direction(key: Array, number: Array, sizes: Point) -> tuple[Point, Scalar]:
    """`A v / |A v|` and `|A v|` for the direction v of this number, uniform on the sphere.

    Directions are computed again at each use, since many of them would fill the memory.
    """
    v = jax.random.normal(jax.random.fold_in(key, number), sizes.shape, sizes.dtype)
    jump = sizes * v / jnp.sqrt(jnp.sum(v * v))
    length = jnp.sqrt(jnp.sum(jump * jump))
    return jump / length, length


def direction_losses(
    blocks: Blocks,
    x: Point,
    sizes: Point,
    key: Array,
    number: Int[Array, " k"],
    steps: Float[Array, " k"],
    count: Int[Array, ""],
) -> Float[Array, " k"]:
    """As `axis_losses`, along the directions of these numbers."""

    def point(j: Array) -> Point:
        return x + steps[j] * unit_direction(key, number[j], sizes)[0]

    return _losses_at(blocks, point, steps, count)


def loss_and_slope(blocks: Blocks, x: Point) -> tuple[Scalar, Point]:
    """F and its gradient, weight decay included."""
    return _loss(blocks, x), data_gradient(blocks, x) + blocks.landscape.weight_decay * x


def example_losses(blocks: Blocks, x: Point) -> Float[Array, "blocks size"]:
    return jax.lax.map(lambda i: blocks.landscape.losses(x, i), blocks.index)


def data_gradient(blocks: Blocks, x: Point) -> Point:
    """g, the mean of the examples' gradients, weight decay left out."""
    net = blocks.landscape

    def part(i: Array, mask: Array) -> Point:
        return jax.grad(lambda x: jnp.sum(mask * net.losses(x, i)))(x)

    return _total(blocks, part, jnp.zeros_like(x)) / net.num_examples


def hessian_product(blocks: Blocks, x: Point, v: Point) -> Point:
    """`H v`, weight decay included."""
    net = blocks.landscape

    def part(i: Array, mask: Array) -> Point:
        return jax.jvp(jax.grad(lambda x: jnp.sum(mask * net.losses(x, i))), (x,), (v,))[1]

    return _total(blocks, part, jnp.zeros_like(x)) / net.num_examples + net.weight_decay * v


def covariance_product(blocks: Blocks, x: Point, v: Point) -> Point:
    """`J'(J v) / n`: C1 v but for the mean's part."""
    net = blocks.landscape

    def part(i: Array, mask: Array) -> Point:
        _, along = jax.jvp(lambda x: net.losses(x, i), (x,), (v,))
        return jax.vjp(lambda x: net.losses(x, i), x)[1](mask * along)[0]

    return _total(blocks, part, jnp.zeros_like(x)) / net.num_examples


def example_moments(
    blocks: Blocks, x: Point, mean: Point, chosen: Int[Array, " m"]
) -> tuple[Point, Point, Float[Array, "n m"]]:
    """`sum_i (g_i - g)^2` and `max_i |g_i|`, coordinate by coordinate, and `g_i - g` in the chosen
    coordinates; examples of the mask's end included in the last."""
    net = blocks.landscape

    def one(i: Array) -> Point:
        return jax.grad(lambda x: net.losses(x, i[None])[0])(x)

    def step(
        carry: tuple[Array, Array], block: tuple[Array, Array]
    ) -> tuple[tuple[Array, Array], Array]:
        squares, largest = carry
        index, mask = block
        rows = jax.vmap(one)(index)
        apart = (rows - mean[None, :]) * mask[:, None]
        squares = squares + jnp.sum(apart * apart, 0)
        return (squares, jnp.maximum(largest, jnp.max(jnp.abs(rows), 0))), apart[:, chosen]

    (squares, largest), columns = jax.lax.scan(
        step, (jnp.zeros_like(x), jnp.zeros_like(x)), (blocks.index, blocks.mask)
    )
    return squares, largest, columns.reshape(-1, len(chosen))


def batch_noise(
    landscape: NetworkLandscape,
    x: Point,
    mean: Point,
    index: Int[Array, "k b"],
    chosen: Int[Array, " m"],
) -> tuple[Point, Point, Point, Float[Array, "k m"], Float[Array, "k layers"]]:
    """The noise `g_B - g` of k minibatches: its sum, the sum of `log|.|` where it is not 0 and how
    often it is not, its values in the chosen coordinates, and its squared norm in each leaf of the
    parameters."""

    ends = np.cumsum([math.prod(shape) for shape in landscape.shapes])[:-1]

    def step(
        carry: tuple[Array, Array, Array], index: Array
    ) -> tuple[tuple[Array, Array, Array], tuple[Array, Array]]:
        total, logs, moved = carry
        noise = jax.grad(lambda x: jnp.mean(landscape.losses(x, index)))(x) - mean
        moves = noise != 0
        logs = logs + jnp.where(moves, jnp.log(jnp.abs(jnp.where(moves, noise, 1))), 0)
        sizes = jnp.stack([jnp.sum(part * part) for part in jnp.split(noise, ends)])
        return (total + noise, logs, moved + moves), (noise[chosen], sizes)

    zero = jnp.zeros_like(x)
    (total, logs, moved), (values, sizes) = jax.lax.scan(step, (zero, zero, zero), index)
    return total, logs, moved, values, sizes


def batch_curvature(
    landscape: NetworkLandscape, x: Point, index: Int[Array, "k b"]
) -> Float[Array, "k 2"]:
    """`g' H g` and `g' g` for each of k minibatches, g the gradient and H the Hessian of its own
    mean loss, weight decay included."""

    def one(i: Array) -> Array:
        gradient, along = jax.linearize(lambda x: landscape.batch_gradient(x, i), x)
        return jnp.stack([jnp.sum(gradient * along(gradient)), jnp.sum(gradient * gradient)])

    return jax.lax.map(one, index)


def example_curvature(
    blocks: Blocks, x: Point, mean: Point, i: Int[Array, ""]
) -> tuple[Point, Scalar]:
    """`g_i - g` and `(g_i - g)' H (g_i - g)`."""
    apart = jax.grad(lambda x: blocks.landscape.losses(x, i[None])[0])(x) - mean
    return apart, jnp.sum(apart * hessian_product(blocks, x, apart))


def direction_curvature(
    blocks: Blocks, x: Point, sizes: Point, divisor: Point, key: Array, number: Int[Array, ""]
) -> Float[Array, "3"]:
    """`|A v|`, `u'Hu`, `u'Q^-1 Hu` for the direction of this number, `u = A v / |A v|`, Q the
    diagonal `divisor`."""
    u, length = unit_direction(key, number, sizes)
    pull = hessian_product(blocks, x, u)
    return jnp.stack([length, jnp.sum(u * pull), jnp.sum(u * pull / divisor)])


_MOST_KEPT = 64
# compiled programs by function and shapes, for the next diagnosis
_kept: dict[Any, tuple[Any, int]] = {}


def compiled(program: Callable, *args: Any) -> tuple[Any, int]:
    """`program` compiled for arguments of these shapes, and the bytes that it needs beyond them."""
    leaves, structure = jax.tree.flatten(args)
    key = program, structure, tuple((leaf.shape, leaf.dtype) for leaf in leaves)
    if key not in _kept:
        if len(_kept) >= _MOST_KEPT:
            _kept.clear()
        made = jax.jit(program).lower(*args).compile()
        memory = made.memory_analysis()
        # a backend that does not say is taken at its arguments' size
        needs = getattr(memory, "temp_size_in_bytes", None)
        output = getattr(memory, "output_size_in_bytes", 0)
        size = sum(leaf.nbytes for leaf in leaves) if needs is None else needs + output
        _kept[key] = made, int(size)
    return _kept[key]


def fitting(
    make: Callable[[int], tuple[Any, int]], most: int, limit: int, what: str
) -> tuple[int, Any, int]:
    """The largest block, at most `most`, whose program stays within `limit` bytes, that program and
    its bytes.

    Raises ValueError when not even a block of one does.
    """
    size = max(1, min(most, _FIRST))
    while True:
        program, needs = make(size)
        if needs <= limit:
            return size, program, needs
        if size == 1:
            raise ValueError(
                f"memory_budget leaves {limit / GIB:.3g} GiB for {what}, which takes "
                f"{needs / GIB:.3g} GiB even for one example at a time. Raise memory_budget by "
                f"{(needs - limit) / GIB:.2g} or more, or diagnose a smaller model."
            )
        size = max(1, min(size // 2, int(_FEWER * size * limit / needs)))
