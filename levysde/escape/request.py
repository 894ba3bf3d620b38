"""Checks of the arguments of a run, before anything is compiled, and the layout of its lanes."""

import math
import os
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from levysde import errors
from levysde.escape.block import SMALLEST
from levysde.escape.preflight import domain_size, is_looked_at
from levysde.interfaces import (
    check_interfaces,
    contained,
    noise_directions,
    ray_distances,
    runs_by_lanes,
)
from levysde.parts import in_float64
from levysde.protocols import Domain, Kernel
from levysde.random import LAST_STEP
from levysde.types import Arg, Integer, Number, Numbers, Seed

# numbers in a block's state, its lanes, blocks of a worker
_BLOCK_NUMBERS, _WIDEST, _BLOCKS = 4096, 64, 2
_DRAIN = 16  # minimum mean number of trajectories per lane


def check_host(*parts: Any) -> None:
    """Raises TypeError inside a transformation of JAX."""
    if errors.is_traced(jnp.zeros(())) or any(map(errors.is_traced, jax.tree.leaves(parts))):
        raise TypeError(
            "a simulation runs on the host, which ends each trajectory at its own step, not inside "
            "jit, vmap or grad. Call it outside, once a setting; inside, "
            "sample_paths(kernel, x0, seed=key, num_steps=100) makes paths of a fixed length."
        )


@dataclass(frozen=True)
class Run:
    """What is the same for every worker: `(kernel, domain)`, starts `(d,)` or `(num, d)`, limits,
    layout. A worker has `lanes` lanes in blocks of `width`. `lane_invariant`: whether results are
    the same bits for any width; if not, it is kept to the end. `size`: of the domain, beyond which
    a step of the drift is an overshoot."""

    problem: tuple
    starts: np.ndarray
    seed: int
    num: int
    limit: int
    lanes: int
    width: int
    chunk: int | None
    devices: tuple
    lane_invariant: bool
    size: float = np.inf


def checked_run(
    kernel: Arg[Kernel],
    domain: Arg[Domain],
    x0: Arg[Numbers],
    num: Arg[Integer],
    seed: Arg[Seed],
    max_time: Arg[Number | None],
    max_steps: Arg[Integer | None],
    lanes: Arg[Integer | None],
    chunk: Arg[Integer | None],
    devices: Arg[Integer | None],
) -> Run:
    check_host(kernel, domain)
    errors.instance("kernel", kernel, Kernel, "EulerMaruyama(dynamics, dt=1e-3)")
    errors.instance("domain", domain, Domain, "Ball(radius=1.0, center=jnp.zeros(2))")
    num = errors.integer("num", num, "num=10_000")
    seed = errors.seed(seed)
    places = _devices(devices)
    if chunk is not None:
        chunk = errors.integer("chunk", chunk, high=2**30)
    limit = LAST_STEP
    if max_steps is not None:
        limit = errors.integer("max_steps", max_steps, "max_steps=1_000_000", high=LAST_STEP)
    if max_time is not None:
        limit = steps_until("max_time", kernel, max_time, limit, refuse=max_steps is None)
    starts = starting_points(kernel, domain, x0, num)
    if max_time is None and max_steps is None:
        x = jnp.atleast_2d(starts)[0]
        if not np.isfinite(ray_distances(domain, x, noise_directions(kernel))).any():
            raise ValueError(
                "the domain is unbounded along every direction in which the noise pushes, so the "
                "mean escape time is infinite. Bound the domain, or give max_time to censor."
            )
    lane_invariant = runs_by_lanes(kernel, domain)
    lanes, width = layout(kernel.dim, lane_invariant, places, num, lanes)
    size = domain_size(kernel, domain, starts) if is_looked_at() else np.inf
    problem = kernel, domain
    return Run(problem, starts, seed, num, limit, lanes, width, chunk, places, lane_invariant, size)


def steps_until(
    name: str, kernel: Kernel, time: Arg[Number], limit: int = LAST_STEP, *, refuse: bool = True
) -> int:
    """The number of steps after which the clock has reached `time`. More than `limit` are an error,
    or cut to it where `refuse` is False."""
    time = errors.positive_real(name, time, f"{name}=1e4")
    steps = kernel.steps_within(time)
    if steps <= limit or not refuse:
        return min(steps, limit)
    dt = getattr(kernel, "dt", None)
    longer = (
        "iterations_per_step"
        if dt is None
        else f"a dt of {1.01 * float(dt) * steps / limit:.3g} or more"
    )
    raise ValueError(
        f"{name} = {time:g} takes {steps:.4g} "
        f"steps{'' if dt is None else f' of dt = {float(dt):.4g}'}, but a trajectory makes at "
        f"most {limit}. Type {name}={0.99 * time * limit / steps:.3g} or less, or take {longer}."
    )


@eqx.filter_jit
def _admitted(kernel: Kernel, points: Array) -> Array:
    return jax.vmap(kernel.admits)(points)


def starting_points(kernel: Kernel, domain: Domain, x0: Any, num: int) -> np.ndarray:
    errors.concrete("x0", x0)
    example = f"jnp.zeros({kernel.dim})"
    starts = np.asarray(errors.finite("x0", x0, example))
    if starts.shape not in ((kernel.dim,), (num, kernel.dim)):
        raise ValueError(
            f"x0 must have shape ({kernel.dim},), or ({num}, {kernel.dim}) for one start a "
            f"trajectory, not {starts.shape}."
        )
    if domain.dim != kernel.dim:
        raise ValueError(
            f"the domain takes points of {domain.dim} dimensions, the kernel moves in "
            f"{kernel.dim}. Make them one."
        )
    check_interfaces(kernel, domain)
    anywhere = type(kernel).admits is Kernel.admits  # as for almost all, and nothing to compile
    kept = np.ones(1, bool) if anywhere else np.asarray(_admitted(kernel, jnp.atleast_2d(starts)))
    if not kept.all():
        raise ValueError(
            f"x0 = {np.atleast_2d(starts)[np.argmin(kept)]} lies behind the wall of "
            f"{type(kernel).__name__}, where nothing can start. Start in front of it."
        )
    inside = np.asarray(contained(domain, jnp.atleast_2d(starts)))
    if not inside.all():
        row = int(np.flatnonzero(~inside)[0])
        which = f"x0[{row}] = {starts[row]}" if starts.ndim == 2 else f"x0 = {starts}"
        given = np.atleast_2d(np.asarray(x0, np.float64))[row]
        why = _why_outside(domain, given, np.atleast_2d(starts)[row])
        raise ValueError(
            f"{which} lies outside the domain, so there is nothing to escape from. {why}"
        )
    return starts


def _why_outside(domain: Domain, given: np.ndarray, held: np.ndarray) -> str:
    """How to fix a start outside: it may be inside as it was given, and have been rounded to the
    boundary."""
    try:
        with in_float64(domain) as precise:
            inside = bool(precise.contains(jnp.asarray(given)))
    except Exception:  # custom functions may hold float32 arrays or accept no others
        inside = False
    if not inside:
        return "Start inside it."
    i = int(np.argmax(np.abs(given - held)))
    return (
        f"As given it is inside, but {held.dtype} rounds {float(given[i])!r} to "
        f"{float(held[i])!r}: the spacing of its numbers there is "
        f"{np.spacing(np.abs(held[i])):.1g}. Start further inside, or switch JAX to float64 with "
        'jax.config.update("jax_enable_x64", True).'
    )


def _devices(devices: Arg[Integer | None]) -> tuple:
    backend = jax.default_backend()
    local = jax.local_devices(backend=backend)
    if backend == "cpu":
        known = hasattr(os, "sched_getaffinity")
        cores = len(os.sched_getaffinity(0)) if known else os.cpu_count() or 1
        return (local[0],) * (cores if devices is None else errors.integer("devices", devices))
    asked = len(local) if devices is None else devices
    count = errors.integer("devices", asked, f"devices={len(local)}")
    if count > len(local):
        raise ValueError(
            f"devices = {count}, but there are {len(local)} {backend} devices. Type "
            f"devices={len(local)} or less."
        )
    return tuple(local[:count])


def layout(
    dim: int, lane_invariant: bool, places: tuple, num: int, lanes: Arg[Integer | None]
) -> tuple[int, int]:
    """Lanes of a worker, and of each of its blocks, by a measured rule. Small states run fastest in
    blocks that fit into the first-level cache and are not split between threads, networks in few
    lanes, GPUs in one large block. Few trajectories get fewer lanes, which are idle at the end."""
    if places[0].platform != "cpu":
        widest = most = max(1024, min(2**20, 2**28 // dim))
        share = -(-num // len(places))
    else:
        widest = int(np.clip(2 ** math.floor(math.log2(_BLOCK_NUMBERS / dim)), SMALLEST, _WIDEST))
        widest = widest if lane_invariant else SMALLEST
        most = _BLOCKS * widest if lane_invariant else widest
        share = -(-num // (_DRAIN * len(places)))
    lanes = min(most, share) if lanes is None else errors.integer("lanes", lanes, high=2**24)
    lanes = -(-lanes // SMALLEST) * SMALLEST
    width = lanes if lanes < widest or places[0].platform != "cpu" else widest
    return -(-lanes // width) * width, width
