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
from levysde.domains import Sublevel
from levysde.escape import Status, simulate_escape, simulate_paths
from levysde.kernels import OptimizerKernel
from levysde.landscapes import NetworkLandscape
from levysde.networks.diagnosis import SimulatedEscape
from levysde.networks.example_blocks import GIB, compiled
from levysde.networks.noise_tails import batch_rows
from levysde.random import LAST_STEP

_FEWEST = 50  # iterations that must be affordable
_LONGEST = 20  # expected means after which a trajectory is censored
_LANES = 16  # trajectories that the engine moves side by side, and of a pilot
_PILOT = 0.1  # of the time budget
_LIFTED = 2000  # most iterations after which the loss held up by the noise is measured
_NO_EXIT = 3.0  # a mean of exits below this would show one with chance 95%
_SEEN = 3000  # minibatches that ADAM's averages see
_TIMED = 5  # runs of the pair of programs that one iteration is made of


def _iteration(net: NetworkLandscape, x: Array, index: Array) -> tuple[Array, Array]:
    return net.value(x), net.batch_gradient(x, index)


def cost_of_iteration(landscape: NetworkLandscape, batch_size: int) -> tuple[float, int]:
    """Seconds and bytes of one loss over all data, which the exit test is, with one gradient over a
    batch."""
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
    """ADAM with its averages as they are in the minimum: it has seen minibatches there, without
    moving."""
    network: Any = kernel.landscape
    numbers: Any = kernel.numbers
    transformation = optax.adam(**numbers)
    rows = batch_rows(
        network.num_examples, int(kernel.batch_size or 1), _SEEN, np.random.default_rng(seed)
    )

    def see(state: Any, index: Array) -> tuple[Any, None]:
        gradient = network.arrays(network.batch_gradient(network.minimum, index))
        return transformation.update(gradient, state)[1], None

    start = transformation.init(network.arrays(network.minimum))
    state = jax.jit(lambda rows: jax.lax.scan(see, start, rows)[0])(jnp.asarray(rows))
    return OptimizerKernel(
        kernel.transformation,
        network,
        kernel.batch_size,
        hyperparameters=kernel.numbers,
        optimizer_state=state,
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
) -> tuple[SimulatedEscape | None, str, float]:
    """Escapes, or None and why they were left out; and the loss that the noise holds up, NaN where
    it was not measured, which is where there is a prediction. `expected` is the predicted mean in
    iterations, NaN when unknown."""
    nan = float("nan")
    if not num:
        return None, "num_escapes=0", nan
    if kernel is None:
        return None, "no learning rate; type learning_rate=...", nan
    each, needs = cost_of_iteration(landscape, int(kernel.batch_size or 1))
    if needs * _LANES > memory:
        reason = (
            f"{_LANES} trajectories side by side take about {needs * _LANES / GIB:.3g} GiB, over "
            f"what memory_budget leaves, {memory / GIB:.3g} GiB"
        )
        return None, reason, nan
    affordable = min(int(budget / (each * num)), LAST_STEP)
    if affordable < _FEWEST:
        needed = each * num * _FEWEST
        reason = (
            f"{num} escapes of {_FEWEST} iterations at {each * 1e3:.3g} ms take about "
            f"{needed:,.3g} s, over time_budget={budget:g}. Type "
            f"time_budget={_rounded_up(1.2 * needed)}, or fewer num_escapes"
        )
        return None, reason, nan
    if kernel.transformation == "adam" or kernel.transformation is optax.adam:
        kernel = settled(kernel, seed)
    steps = min(max(_FEWEST, int(_PILOT * budget / (each * _LANES))), LAST_STEP)
    lift = nan if np.isfinite(expected) else measured_lift(kernel, min(steps, _LIFTED), seed)

    def run(count: int, seed: int, limit: int) -> Any:
        domain = Sublevel(landscape, height=height)
        return simulate_escape(
            kernel,
            domain,
            landscape.minimum,
            num=count,
            seed=seed,
            max_steps=limit,
            record="times",
            throw=False,
        )

    # the law may be wrong, or there is none: see how long escapes take
    if not expected <= affordable:
        pilot = run(_LANES, seed + 1, steps)
        exits = int(pilot.exited.sum())
        mean = float(pilot.time.sum()) / (exits or _NO_EXIT)
        needed = each * num * mean
        if not exits and needed > budget:
            typed = _rounded_up(max(1.2 * needed, 2 * budget))
            reason = (
                f"none of {_LANES} pilot trajectories left within {steps:,} iterations, so the "
                f"mean is above {mean:,.0f} (95%). {num} escapes at {each * 1e3:.3g} ms an "
                f"iteration take more than {needed:,.3g} s, over time_budget={budget:g}. Type "
                f"time_budget={typed} or more, a lower basin_height, or a larger learning_rate"
            )
            return None, reason, lift
        expected = mean if exits else float("inf")
    longest = int(min(affordable, max(_FEWEST, _LONGEST * expected)))
    return _summary(run(num, seed, longest), num, longest, confidence), "", lift


def measured_lift(kernel: OptimizerKernel, steps: int, seed: int) -> float:
    """The mean loss over that of the minimum in the second half of `steps` iterations from there,
    without a basin."""
    network: Any = kernel.landscape
    paths = simulate_paths(
        kernel,
        network.minimum,
        num=_LANES,
        seed=seed,
        every=max(1, steps // 4),
        max_steps=steps,
        throw=False,
    )
    late = paths.positions[:, paths.times >= steps / 2].reshape(-1, network.dim)
    if not np.isfinite(late).all():
        return float("inf")
    losses = jax.jit(lambda net, rows: jax.lax.map(net.value, rows))(
        network, jnp.asarray(late, network.minimum.dtype)
    )
    return float(np.mean(np.asarray(losses, float))) - float(
        jax.jit(type(network).value)(network, network.minimum)
    )


def _rounded_up(seconds: float) -> str:
    """To two digits: timings vary, and what is typed must be enough."""
    unit = 10.0 ** (floor(log10(seconds)) - 1)
    return np.format_float_positional(
        ceil(seconds / unit) * unit, precision=2, fractional=False, trim="-"
    )


def _summary(result: Any, num: int, longest: int, confidence: float) -> SimulatedEscape:
    used = (result.status == Status.EXITED) | (result.status == Status.CENSORED)
    mean = stats.mean_time(result.time[used], result.exited[used], confidence=confidence)
    return SimulatedEscape(mean, int(result.exited.sum()), num, longest, result)
