"""Escapes of the real optimiser from the basin, where a stated time is enough for them."""

import time
from math import ceil, floor, log10
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array

from levysde import stats
from levysde.analysis.diagnosis import SimulatedEscape
from levysde.analysis.example_blocks import GIB, compiled
from levysde.analysis.noise_tails import batch_rows
from levysde.domains import Sublevel
from levysde.escape import Status, simulate_escape
from levysde.kernels import OptimizerKernel
from levysde.landscapes import NetworkLandscape

_FEWEST = 50  # iterations that must be affordable
_LONGEST = 20  # expected means after which a trajectory is censored
_LANES = 16  # trajectories that the engine moves side by side
_SEEN = 3000  # minibatches that ADAM's averages see
_TIMED = 5  # runs of the pair of programs that one iteration is made of


def _iteration(net: NetworkLandscape, x: Array, index: Array) -> tuple[Array, Array]:
    return net.value(x), net.batch_gradient(x, index)


def cost_of_iteration(landscape: NetworkLandscape, batch_size: int) -> tuple[float, int]:
    """Seconds and bytes of one loss over all data, which the exit test is, with one gradient over a batch."""
    index = jnp.arange(batch_size)
    program, needs = compiled(_iteration, landscape, landscape.minimum, index)
    jax.block_until_ready(program(landscape, landscape.minimum, index))
    taken = []
    for _ in range(_TIMED):
        start = time.perf_counter()
        jax.block_until_ready(program(landscape, landscape.minimum, index))
        taken.append(time.perf_counter() - start)
    return float(np.median(taken)), needs


def settled(kernel: OptimizerKernel, seed: int) -> OptimizerKernel:
    """ADAM with its averages as they are in the minimum: it has seen minibatches there, without moving."""
    network: Any = kernel.landscape
    numbers: Any = kernel.numbers
    transformation = optax.adam(**numbers)
    rows = batch_rows(network.num_examples, int(kernel.batch_size or 1), _SEEN, np.random.default_rng(seed))

    def see(state: Any, index: Array) -> tuple[Any, None]:
        gradient = network.unflatten(network.batch_gradient(network.minimum, index))
        return transformation.update(gradient, state)[1], None

    start = transformation.init(network.unflatten(network.minimum))
    state = jax.jit(lambda rows: jax.lax.scan(see, start, rows)[0])(jnp.asarray(rows))
    return OptimizerKernel(
        kernel.transformation, network, kernel.batch_size, hyperparameters=kernel.numbers, optimizer_state=state
    )


def simulate(
    landscape: NetworkLandscape,
    kernel: OptimizerKernel | None,
    height: float,
    expected: float,
    num: int,
    budget: float,
    memory: int,
    seed: int,
    confidence: float,
) -> tuple[SimulatedEscape | None, str]:
    """Escapes, or None and why they were left out. `expected` is the predicted mean in iterations, NaN when unknown."""
    if not num:
        return None, "num_escapes=0"
    if kernel is None:
        return None, "no learning rate; type learning_rate=..."
    each, needs = cost_of_iteration(landscape, int(kernel.batch_size or 1))
    if needs * _LANES > memory:
        return None, (
            f"{_LANES} trajectories side by side take about {needs * _LANES / GIB:.3g} GiB, over what memory_budget leaves, "
            f"{memory / GIB:.3g} GiB"
        )
    affordable = int(budget / (each * num))
    wanted = max(_FEWEST, expected) if np.isfinite(expected) else _FEWEST
    if affordable < wanted:
        needed = each * num * wanted
        less = "a lower basin_height, or a larger learning_rate" if wanted > _FEWEST else "or fewer num_escapes"
        return None, (
            f"{num} escapes of {wanted:,.0f} iterations at {each * 1e3:.3g} ms take about {needed:,.3g} s, over "
            f"time_budget={budget:g}. Type time_budget={_rounded_up(1.2 * needed)}, {less}"
        )
    longest = int(min(affordable, max(_FEWEST, _LONGEST * expected) if np.isfinite(expected) else affordable))
    if kernel.transformation == "adam" or kernel.transformation is optax.adam:
        kernel = settled(kernel, seed)
    domain = Sublevel(landscape, height=height)
    result = simulate_escape(
        kernel, domain, landscape.minimum, num=num, seed=seed, max_steps=longest, record="times", throw=False
    )
    return _summary(result, num, longest, confidence), ""


def _rounded_up(seconds: float) -> str:
    """To two digits: timings vary, and what is typed must be enough."""
    unit = 10.0 ** (floor(log10(seconds)) - 1)
    return np.format_float_positional(ceil(seconds / unit) * unit, precision=2, fractional=False, trim="-")


def _summary(result: Any, num: int, longest: int, confidence: float) -> SimulatedEscape:
    used = (result.status == Status.EXITED) | (result.status == Status.CENSORED)
    mean = stats.mean_time(result.time[used], result.exited[used], confidence=confidence)
    return SimulatedEscape(mean, int(result.exited.sum()), num, longest, result)
