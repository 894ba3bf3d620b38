"""Escape times of the optimiser: by the law for SGD and ADAM, and simulated if time allows.

The escape law is `rate = epsilon^a T_nu m(W)`; one iteration is eta of SDE time. The loss held up
by the noise is tr(HV)/2, V the stationary covariance: with a preconditioner P,
`PHV + VHP = eta P C_B P` to first order in eta, so that `tr(HV) = eta tr(P C_B) / 2`; momentum
does not change it."""

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
from levysde.networks.basin_measure import BasinMeasure
from levysde.networks.diagnose_input import Request
from levysde.networks.diagnosis import PredictedEscape, SimulatedEscape
from levysde.networks.example_blocks import GIB, compiled
from levysde.networks.gradient_covariance import Alignment
from levysde.networks.noise_tails import batch_rows
from levysde.noise import StableComponents, StableIsotropic, total_tail
from levysde.random import LAST_STEP

_DRIVERS = {"components": StableComponents, "isotropic": StableIsotropic}


def predicted_escapes(
    request: Request, measures: dict[str, BasinMeasure], alpha: float
) -> dict[str, PredictedEscape]:
    if request.learning_rate is None or request.optimizer not in ("sgd", "adam"):
        return {}
    eta = request.learning_rate
    epsilon = eta ** ((alpha - 1) / alpha)
    total = total_tail(_DRIVERS[request.stable_noise](alpha), request.landscape.dim)
    found = {}
    for name, measure in measures.items():
        rates = [
            epsilon**alpha * total * m
            for m in (measure.measure.value, measure.measure.low, measure.measure.high)
        ]
        means = [1 / (rate * eta) if rate > 0 else np.inf for rate in rates]
        estimate = type(measure.measure)(means[0], means[2], means[1], request.confidence)
        found[name] = PredictedEscape(estimate, rates[0], rates[0] * measure.relaxation, epsilon)
    return found


def expected_iterations(request: Request, predictions: dict[str, PredictedEscape]) -> float:
    law = predictions.get(request.optimizer)
    return float("nan") if law is None else law.mean.value


def held_up(request: Request, aligned: Alignment, variance: np.ndarray, factor: float) -> float:
    """The mean loss that the optimiser's own noise adds near the point, `variance` the diagonal of
    C_B; NaN where it has no formula, or no learning rate."""
    if request.optimizer == "adam" and request.learning_rate is not None:
        return adam_lift(request.learning_rate, variance, request.delta)
    if request.optimizer == "sgd":
        return lifted(request.learning_rate, aligned, float(variance.sum()), factor)
    return float("nan")


def adam_lift(learning_rate: float, variance: np.ndarray, delta: float) -> float:
    """`eta tr(P C_B) / 4` with the preconditioner at rest, `P = 1 / (sqrt(v) + delta)`, v the
    diagonal of C_B."""
    return float(learning_rate / 4 * np.sum(variance / (np.sqrt(variance) + delta)))


def lifted(learning_rate: float | None, aligned: Alignment, trace: float, factor: float) -> float:
    """The mean loss that SGD's noise adds in a quadratic, `eta/2 sum_j c_j / (2 - eta lambda_j)`,
    from the trace of `C_B = factor C1` and the sharpest directions; curvature is neglected in the
    others. It is the stationary covariance `HS + SH - eta HSH = eta C_B` in the eigenvectors of H
    (Liu, Ziyin, Ueda, ICML 2021)."""
    if learning_rate is None:
        return float("nan")
    left = 2 - learning_rate * aligned.curvature
    if (left <= 0).any():
        return float("inf")
    sharp = factor * aligned.noise
    return float(learning_rate / 2 * (np.sum(sharp / left) + max(trace - sharp.sum(), 0.0) / 2))


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
    """Seconds and bytes of one iteration: the loss over all data (the exit test) and a batch
    gradient."""
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
    """ADAM whose averages have seen minibatches at the minimum, without moving."""
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
    request: Request, height: float, expected: float, memory: int, seed: int
) -> tuple[SimulatedEscape | None, str, float]:
    """Simulate escapes from the basin.

    Args:
        request: what `diagnose` was asked.
        height: of the basin.
        expected: the predicted mean in iterations, NaN if unknown.
        memory: bytes that the programs may take.
        seed: of the trajectories.

    Returns:
        The escapes, or None and why they were left out; and the loss that the noise holds up, NaN
        where it was not measured, which is where there is a prediction.
    """
    landscape, kernel = request.landscape, request.kernel
    num, budget, nan = request.num_escapes, request.time_budget, float("nan")
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
        return simulate_escape(
            kernel,
            Sublevel(landscape, height=height),
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
    result = run(num, seed, longest)
    used = (result.status == Status.EXITED) | (result.status == Status.CENSORED)
    mean = stats.mean_time(result.time[used], result.exited[used], confidence=request.confidence)
    return SimulatedEscape(mean, int(result.exited.sum()), num, longest, result), "", lift


def measured_lift(kernel: OptimizerKernel, steps: int, seed: int) -> float:
    """Mean rise of the loss above the minimum in the second half of `steps` iterations from there,
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
    """A time rounded up to two digits, since timings vary."""
    unit = 10.0 ** (floor(log10(seconds)) - 1)
    return np.format_float_positional(
        ceil(seconds / unit) * unit, precision=2, fractional=False, trim="-"
    )
