"""The compiled part: blocks of lanes, advanced by a number of steps and refilled from a queue,
round after round.

The lane axis is last. One turn of the innermost loop looks whether each lane's state is inside, and
only then steps it, so that a loss used by both the domain and the gradient is computed once, and a
lane that is outside keeps its first point outside.

A call takes a stack of blocks. In each round its blocks are advanced one after the other, each
small enough to stay in the first-level cache; then lanes that have ended are written down and take
the next trajectory from the queue, so that a call can be long beside the host's work and few steps
go to lanes that wait. How many blocks, steps and rounds is traced: a run that adapts them, or
drains, compiles nothing new.
"""

import functools
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from levysde.protocols import Domain, Kernel, State
from levysde.random import LAST_STEP, init_words, step_words

INSIDE, AT_LIMIT, NONFINITE = 0, -1, -2
SMALLEST = 16  # lanes; below this XLA may vectorise differently and change the last bit
_CALL_SECONDS = 0.2  # of a call of `advance_lanes`: Ctrl-C waits for its end
IDLE = 0xFFFFFFFF  # the step number of a lane that holds no trajectory: above every limit


class Problem(eqx.Module):
    """Kernel and domain as one argument of a compiled program. An array that both hold goes in
    once: of two equal arguments XLA cannot know that a loss over the one is the loss over the
    other, and would compute it twice."""

    leaves: tuple[Any, ...]
    index: tuple[int, ...] = eqx.field(static=True)
    treedef: Any = eqx.field(static=True)

    def __init__(self, kernel: Kernel, domain: Domain):
        leaves, self.treedef = jax.tree.flatten((kernel, domain))
        # numbers stay apart: that two of them are one object is chance, and would compile anew
        # where they are not
        names = [id(leaf) if np.ndim(leaf) else -i for i, leaf in enumerate(leaves)]
        first = {name: names.index(name) for name in names}
        kept = sorted(first.values())
        self.leaves = tuple(leaves[i] for i in kept)
        self.index = tuple(kept.index(first[name]) for name in names)

    def parts(self) -> tuple[Kernel, Domain]:
        return jax.tree.unflatten(self.treedef, [self.leaves[i] for i in self.index])


# Arrays below are JAX's in the compiled part and NumPy's on the host, hence Any.


class Block(NamedTuple):
    """Lanes in flight: kernel state `(..., lanes)`, last position inside `(d, lanes)`, steps made
    `(lanes,)`, key of the trajectory `(2, lanes)`, and the slot where its end is recorded
    `(lanes,)`, below 0 where there is none."""

    state: Any
    before: Any
    step: Any
    key: Any
    slot: Any


class Queue(NamedTuple):
    """Trajectories that wait, NumPy arrays from the host: keys `(2, places)`, starts `(d, places)`
    or `(d, 1)` when they have one in common, and how many places are taken."""

    key: Any
    start: Any
    count: Any


class Records(NamedTuple):
    """The ends of trajectories, `(slots, ...)`: how each stands (the label of the exit set it is
    in, `AT_LIMIT` or `NONFINITE`; `INSIDE` where it has not ended), position, last position inside,
    steps, state, and whether it left by an overshoot of the drift. Slots are numbered by lane for
    those in flight when the call began, then by place in the queue."""

    standing: Any
    position: Any
    before: Any
    step: Any
    state: Any
    overshot: Any = None


class Limits(NamedTuple):
    """Numbers of a call: most steps of a trajectory, steps a round, rounds, blocks in use; it ends
    early when the queue is empty and at most `floor` lanes live; and the size of the domain, for
    `overshot`."""

    limit: Any
    count: Any
    rounds: Any
    blocks: Any
    floor: Any
    size: Any = np.inf


def lanes(fn):
    return jax.vmap(fn, in_axes=-1, out_axes=-1)


def _select(condition: Any, yes: State, no: State) -> State:
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), yes, no)


def begin(
    kernel: Kernel, block: Block, fresh: Array, start: Array, key: Array, slot: Array
) -> Block:
    """`block` with the `fresh` lanes at the start of a trajectory: starts `(d, lanes)`, keys
    `(2, lanes)`."""
    state = lanes(kernel.init)(start, init_words(key, kernel.words_per_init))
    return _select(fresh, Block(state, start, jnp.zeros_like(block.step), key, slot), block)


def turn(
    problem: tuple[Kernel, Domain],
    limit: Array,
    words: Array,
    state: State,
    before: Array,
    step: Array,
    over: Callable[[Callable], Callable] = lanes,
) -> tuple[State, Array, Array]:
    """One step of every lane that is inside and has made fewer than `limit`. `over` carries the
    functions of one trajectory over the lanes. (A vmap of the whole turn would lay the lanes first,
    at twelve times the time.)"""
    kernel, domain = problem
    x = over(kernel.position)(state)
    alive = over(domain.contains)(x) & (step < limit)
    new = over(kernel.step)(words, state)
    return _select(alive, new, state), jnp.where(alive, x, before), step + alive.astype(jnp.uint32)


def advance(problem: tuple[Kernel, Domain], block: Block, limit: Array, count: Array) -> Block:
    """`count` steps for every lane that is inside and has made fewer than `limit`.

    The words of a step are materialised once, by `step_words`: fused into every consumer they would
    be drawn again for each, at twice the time of the whole step.
    """

    def turns(_: Array, block: Block) -> Block:
        words = step_words(block.key, block.step, problem[0].words_per_step)
        state, before, step = turn(problem, limit, words, block.state, block.before, block.step)
        return block._replace(state=state, before=before, step=step)

    return jax.lax.fori_loop(0, count, turns, block)


def standing(problem: tuple[Kernel, Domain], block: Block, limit: Array) -> tuple[Array, Array]:
    """Positions `(d, lanes)`, and how each lane stands, as in `Records`."""
    kernel, domain = problem
    x = lanes(kernel.position)(block.state)
    label = jnp.maximum(lanes(domain.label)(x), 1)
    within = jnp.where(block.step < limit, INSIDE, AT_LIMIT)
    stands = jnp.where(lanes(domain.contains)(x), within, label)
    lost = (stands != INSIDE) & ~jnp.all(jnp.isfinite(x), 0)
    return x, jnp.where(lost, NONFINITE, stands).astype(jnp.int32)


def overshot(kernel: Kernel, before: Array, after: Array, size: Array) -> Array:
    """Whether the step from `before` to `after`, `(d, lanes)`, is longer than `size` and mostly the
    drift's: then the integrator carried the trajectory there, and not the equation."""
    drift = lanes(kernel.drift_step)(before)
    step = after - before
    # lengths in units of the longest coordinate, whose square may be beyond the float range
    unit = jnp.maximum(jnp.max(jnp.abs(step), 0), jnp.finfo(step.dtype).tiny)
    step, drift = step / unit[None], drift / unit[None]
    length = jnp.sum(step * step, 0)
    return (jnp.sqrt(length) * unit > size) & (jnp.sum(step * drift, 0) > length / 2)


def _overshoots(kernel: Kernel, records: Records, size: Array, width: int) -> Array:
    """`overshot` of every slot that has left, block by block, as the steps are made: others are not
    looked at."""
    slots = len(records.step)
    padding = -slots % width

    def blocks(leaf: Array) -> Array:
        padded = jnp.pad(leaf, [(0, padding), *[(0, 0)] * (leaf.ndim - 1)])
        return jnp.moveaxis(padded.reshape(-1, width, *leaf.shape[1:]), 1, -1)

    def one(part: tuple[Array, Array, Array]) -> Array:
        stands, before, after = part
        looked = lambda: (stands > 0) & overshot(kernel, before, after, size)  # noqa: E731
        return jax.lax.cond(jnp.any(stands > 0), looked, lambda: jnp.zeros(width, bool))

    found = jax.lax.map(
        one, tuple(blocks(leaf) for leaf in (records.standing, records.before, records.position))
    )
    return found.reshape(-1)[:slots]


def advance_stack(
    whole: Problem,
    stack: Block,
    queue: Queue,
    limits: Limits,
    advance: Callable[..., Block] = advance,
) -> tuple[Block, Records, Array, Array]:
    """Rounds of a stack of blocks, every array with a leading axis of blocks. Returns the stack,
    the records, how many places of the queue were taken, and the rounds made. `advance` is how a
    block makes its steps.

    A lane has ended where `advance` made fewer steps than it was asked for: only its own exit test
    decides. The same test in another program may round otherwise, and a lane on the edge, ended for
    one and living for the other, would never go.
    """
    problem, size = whole.parts(), stack.step.size
    numbers = jnp.arange(size, dtype=jnp.int32).reshape(stack.step.shape)
    stack = stack._replace(slot=jnp.where(stack.slot >= 0, numbers, -1))
    slots = size + queue.key.shape[1]
    ends = Records(stack.slot, stack.before, stack.before, stack.step, stack.state)
    records = jax.tree.map(lambda leaf: jnp.zeros((slots, *leaf.shape[1:-1]), leaf.dtype), ends)

    def one(i: Array, carry: tuple[Block, Array, Array]) -> tuple[Block, Array, Array]:
        stack, ended, count = carry
        block = jax.tree.map(lambda leaf: leaf[i], stack)
        after = advance(problem, block, limits.limit, count)
        stack = jax.tree.map(lambda every, part: every.at[i].set(part), stack, after)
        return stack, ended.at[i].set(after.step - block.step < count.astype(jnp.uint32)), count

    def round_(carry: tuple) -> tuple:
        stack, records, ended, taken, made, _ = carry
        stack, records, taken = _turnover(problem, stack, queue, records, ended, taken, limits)
        living = jnp.sum(stack.slot >= 0)
        more = (
            (made < limits.rounds)
            & (living > 0)
            & ((taken < queue.count) | (living > limits.floor))
        )
        count = jnp.where(more, limits.count, 0)
        stack, ended, _ = jax.lax.fori_loop(
            0, limits.blocks, one, (stack, jnp.zeros_like(ended), count)
        )
        return stack, records, ended, taken, made + more.astype(jnp.int32), more

    zero, none = jnp.zeros((), jnp.int32), jnp.zeros(stack.step.shape, bool)
    carry = stack, records, none, zero, zero, jnp.ones((), bool)
    stack, records, _, taken, made, _ = jax.lax.while_loop(lambda carry: carry[-1], round_, carry)
    records = records._replace(
        overshot=_overshoots(problem[0], records, limits.size, stack.step.shape[1])
    )
    return stack, records, taken, made


def _turnover(
    problem: tuple[Kernel, Domain],
    stack: Block,
    queue: Queue,
    records: Records,
    ended: Array,
    taken: Array,
    limits: Limits,
) -> tuple[Block, Records, Array]:
    """Write down the lanes that have ended, and hand free lanes to the next trajectories of the
    queue."""
    size, slots = stack.step.size, len(records.step)
    position, stands = jax.vmap(lambda block: standing(problem, block, limits.limit))(stack)
    done = ended & (stack.slot >= 0)
    where = jnp.where(done, stack.slot, slots).reshape(size)
    ends = Records(
        jnp.where(stands == INSIDE, 1, stands), position, stack.before, stack.step, stack.state
    )
    records = jax.tree.map(
        lambda all_, end: all_.at[where].set(_rows(end), mode="drop"), records, ends
    )
    in_use = jnp.arange(len(stack.step)) < limits.blocks
    free = (done | (stack.slot < 0)) & in_use[:, None]
    place = taken + (jnp.cumsum(free.reshape(size), dtype=jnp.int32) - 1).reshape(free.shape)
    fresh = free & (place < queue.count)
    place = jnp.where(fresh, place, 0)
    key = jnp.moveaxis(queue.key[:, place], 0, 1)
    start = jnp.moveaxis(
        queue.start[:, place if queue.start.shape[1] > 1 else jnp.zeros_like(place)], 0, 1
    )
    stack = stack._replace(
        slot=jnp.where(done, -1, stack.slot), step=jnp.where(done, jnp.uint32(IDLE), stack.step)
    )
    stack = jax.vmap(lambda *parts: begin(problem[0], *parts))(
        stack, fresh, start, key, size + place
    )
    return stack, records, taken + jnp.sum(fresh, dtype=jnp.int32)


def _rows(leaf: Array) -> Array:
    """`(blocks, ..., width)` as `(lanes, ...)`."""
    moved = jnp.moveaxis(leaf, -1, 1)
    return moved.reshape(-1, *moved.shape[2:])


def empty_stack(kernel: Kernel, blocks: int, width: int, dtype: Any) -> Block:
    """A stack of blocks whose lanes are all idle."""
    x = jax.ShapeDtypeStruct((kernel.dim,), dtype)
    words = jax.ShapeDtypeStruct((kernel.words_per_init,), jnp.uint32)
    state = jax.eval_shape(kernel.init, x, words)
    zeros = jax.tree.map(lambda leaf: np.zeros((blocks, *leaf.shape, width), leaf.dtype), state)
    stack = Block(
        state=zeros,
        before=np.zeros((blocks, kernel.dim, width), dtype),
        step=np.full((blocks, width), IDLE, np.uint32),
        key=np.zeros((blocks, 2, width), np.uint32),
        slot=np.full((blocks, width), -1, np.int32),
    )
    return jax.tree.map(jnp.asarray, stack)  # nothing to compile


def empty_queue(starts: np.ndarray, places: int) -> Queue:
    """A queue with no trajectory in it; `starts` as the run's, `(d,)` or `(num, d)`."""
    start = (
        starts[:, None] if starts.ndim == 1 else np.zeros((starts.shape[1], places), starts.dtype)
    )
    return Queue(np.zeros((2, places), np.uint32), start, np.int32(0))


# 512-bit vectors gain 1.4x on CPUs that have them. Up to 0.11.0, JAX dropped optimisation barriers
# before it fused: what they set apart was computed again for every number that it serves, and whole
# steps were not vectorised (12 times in d = 10).
_CPU_OPTIONS = {"xla_cpu_prefer_vector_width": "512"}
if jax.__version_info__ < (0, 11, 1):
    _CPU_OPTIONS["xla_disable_hlo_passes"] = "cse_barrier_expander"


def jit(program: Callable, platform: str) -> Any:
    """`jax.jit` with the options of the engine; they exist on CPU only and touch nothing global."""
    return jax.jit(program, compiler_options=_CPU_OPTIONS if platform == "cpu" else None)


@functools.cache
def _compiled(platform: str) -> Any:
    def program(whole: Problem, block: Block, count: Array) -> tuple[Block, Array]:
        block = advance(whole.parts(), block, jnp.uint32(LAST_STEP), count)
        left = standing(whole.parts(), block, jnp.uint32(LAST_STEP))[1] != INSIDE
        return block, left

    return jit(program, platform)


def advance_lanes(
    kernel: Kernel, domain: Domain, state: State, key: np.ndarray, count: int, rest: State
) -> tuple[State, np.ndarray, np.ndarray]:
    """At most `count` steps of every lane, each until it is outside.

    Args:
        kernel, domain: what moves, and the basin.
        state: of the kernel, the lane axis last.
        key: of each lane's trajectory, uint32 `(2, lanes)`.
        count: steps.
        rest: a state well inside, of one lane. It takes the place of those that have left: a test
            of a point outside may cost many times that of one inside, as where a flow is followed.

    Returns:
        The states, the steps that each lane made, and which lanes are outside; those of NaN are.
        Shapes `(lanes,)`.
    """
    x = lanes(kernel.position)(state)
    zero = jnp.zeros(x.shape[-1], jnp.uint32)
    block = Block(state, x, zero, jnp.asarray(key), zero.astype(jnp.int32))
    problem, run, chunk = Problem(kernel, domain), _compiled(jax.default_backend()), 32
    ends, steps = jax.tree.map(np.array, state), np.zeros(len(zero), np.uint32)
    gone = np.zeros(len(zero), bool)
    while True:
        start = time.perf_counter()
        block, left = run(problem, block, np.int32(min(chunk, count)))
        left = np.asarray(left)
        count -= chunk
        over = count <= 0 or bool((left | gone).all())
        fresh = ~gone if over else left & ~gone
        ends = jax.tree.map(functools.partial(np.where, fresh), block.state, ends)
        steps = np.where(fresh, np.asarray(block.step), steps)
        gone |= left & fresh
        if over:
            return ends, steps, gone
        if left.any():
            still = jax.tree.map(lambda one: one[..., None], rest)
            block = block._replace(state=_select(left, still, block.state))
        chunk = min(2 * chunk, 2**20) if time.perf_counter() - start < _CALL_SECONDS / 2 else chunk
