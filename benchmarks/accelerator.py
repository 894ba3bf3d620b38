"""How many steps a second does an accelerator make, beside its own limit, XLA's loop, diffrax and a
published figure?

Job J (see `escape_throughput.py`) at 10^4 to 10^7 trajectories by `simulate_escape`; its steps
alone, a million lanes that do not leave, in one kernel and in XLA's loop; diffrax on the same
device; and the problem of DiffEqGPU's published 3.0e9 steps a second (Utkarsh et al., Comput.
Methods Appl. Mech. Eng. 419, 2024: a linear SDE, d = 3, 256 steps, no exits), with an exit test and
without.

The limit is computed: the operations of a step, counted in the program that the kernel is made of
(a rotation, three operations there, is one instruction), over the device's rates for whole numbers
and for floats (a multiplication with an addition is two), measured in the same run by kernels that
do nothing else. The slower of the two counts; loads, launches and lanes that wait are not in it.

Verdicts, fixed beforehand: J above 3e10 steps a second on an H200-class device, and at least half
the limit; the kernel faster than XLA's loop; diffrax's and levysde's mean exit times within three
standard errors.

    python benchmarks/accelerator.py [--repeats 3] [--rehearse]

`--rehearse` is for a machine without one: small numbers, the kernel by its interpreter; its times
mean nothing and are not written.
"""

import argparse
import collections
import importlib.metadata
import json
import statistics
import sys
import time
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from escape_peers import DT, Diffrax, Levysde, Run
from jax.experimental import pallas as pl

import levysde as ls
from levysde.escape import fused, scalars
from levysde.escape.block import advance, begin, empty_stack
from levysde.escape.paths import Everywhere
from levysde.random import split_uint64, trajectory_key

AIM, SHARE, PUBLISHED = 3e10, 0.5, 3.0e9
RESULT = Path(__file__).parent / "results" / "accelerator.json"
WHOLE = {
    "and",
    "or",
    "xor",
    "shift_left",
    "shift_right_logical",
    "shift_right_arithmetic",
    "add",
    "sub",
    "mul",
}
CHAINS = 8  # independent, so that none waits for itself


def linear(dim: int = 3) -> ls.EulerMaruyama:
    """dX = -X dt + 0.1 X dW."""
    scale = ls.StateScale(lambda x: x, dim=dim)
    return ls.EulerMaruyama(
        ls.SGD(ls.Quadratic(hessian=jnp.ones(dim)), ls.Brownian(), epsilon=0.1, scale=scale), dt=DT
    )


def block_of(kernel: ls.EulerMaruyama, lanes: int):
    empty = jax.tree.map(lambda leaf: leaf[0], empty_stack(kernel, 1, lanes, np.float32))
    keys = trajectory_key(split_uint64(7), split_uint64(np.arange(lanes, dtype=np.uint64)))
    everyone, slots = np.ones(lanes, bool), np.arange(lanes, dtype=np.int32)
    return jax.jit(begin)(kernel, empty, everyone, jnp.full((kernel.dim, lanes), 0.1), keys, slots)


def seconds(call, repeats: int) -> float:
    """The median of some calls; what they return is waited for."""
    jax.block_until_ready(call())
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(call())
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def steps_alone(problem, lanes: int, steps: int, repeats: int, interpret: bool) -> dict[str, float]:
    """Lane-steps a second in one kernel and in XLA's loop."""
    block, limit, count = block_of(problem[0], lanes), np.uint32(2**31), np.int32(steps)
    ways = {
        "kernel": jax.jit(partial(fused.advance, interpret=interpret)),
        "loop": jax.jit(advance),
    }
    calls = {name: partial(way, problem, block, limit, count) for name, way in ways.items()}
    return {name: lanes * steps / seconds(call, repeats) for name, call in calls.items()}


def operations(problem) -> collections.Counter:
    """How many operations on whole numbers and on floats a step takes."""
    kernel, _ = problem
    block = jax.eval_shape(lambda: block_of(kernel, 16))
    shared = problem, jnp.zeros((), jnp.uint32)
    lane = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[:-1], leaf.dtype), block)
    program = jax.make_jaxpr(fused.turn_of)(shared, lane.key, lane.state, lane.before, lane.step)
    shapes = [
        jax.ShapeDtypeStruct((16,), var.aval.dtype)
        for var in program.jaxpr.invars
        for _ in range(int(np.prod(var.aval.shape)))
    ]

    def written_out(*flat):
        rest = iter(flat)
        arrays = [
            scalars.numbers(v.aval.shape, [next(rest) for _ in range(int(np.prod(v.aval.shape)))])
            for v in program.jaxpr.invars
        ]
        return [part for array in scalars.run(program, arrays) for part in array.reshape(-1)]

    count = collections.Counter()
    for equation in jax.make_jaxpr(written_out)(*shapes).jaxpr.eqns:
        name, out = equation.primitive.name, equation.outvars[0].aval
        if name in ("broadcast_in_dim", "reshape", "jit", "pjit") or not out.shape:
            continue
        whole = name in WHOLE and jnp.issubdtype(out.dtype, jnp.integer)
        # a rotation: shifts, or
        count["whole" if whole else "float"] += -1 if name == "or" and whole else 1
    return count


def peak(kind: str, lanes: int, turns: int, repeats: int, interpret: bool) -> float:
    """Operations a second: additions and exclusive ors of whole numbers, or fused multiplications
    and additions."""
    from jax.experimental.pallas import triton

    def turn(_, values):
        if kind == "whole":
            return tuple((v + np.uint32(0x9E3779B9)) ^ (v >> np.uint32(7)) for v in values)
        return tuple(v * np.float32(0.999) + np.float32(0.1) for v in values)

    def kernel(source, sink):
        begun = tuple(source[:] + i for i in range(CHAINS))
        sink[:] = sum(jax.lax.fori_loop(0, turns, turn, begun)[1:], begun[0] * 0)

    spec = pl.BlockSpec((128,), lambda i: (i,))
    values = jnp.arange(lanes, dtype=jnp.uint32 if kind == "whole" else jnp.float32)
    call = jax.jit(
        pl.pallas_call(
            kernel,
            grid=(lanes // 128,),
            in_specs=[spec],
            out_specs=spec,
            out_shape=values,
            interpret=interpret,
            compiler_params=triton.CompilerParams(num_warps=4, num_stages=1),
        )
    )
    each = 3 if kind == "whole" else 2
    return lanes * turns * (CHAINS - 1) * each / seconds(partial(call, values), repeats)


def job(num: int, repeats: int) -> tuple[Run, float]:
    """The middle run, and its useful work."""
    peer = Levysde(num, 1)
    peer.prepare()
    runs = sorted((peer.run(1 + repeat) for repeat in range(repeats)), key=lambda run: run.seconds)
    return runs[len(runs) // 2], runs[0].seconds


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--rehearse", action="store_true", help="small numbers, on the CPU")
    parser.add_argument("--out", type=Path, default=RESULT, help="JSON file for the numbers")
    args = parser.parse_args()
    device = jax.devices()[0]
    if device.platform == "cpu" and not args.rehearse:
        sys.exit(
            "no accelerator here: this benchmark is of one. Type --rehearse to see that the "
            "script runs."
        )
    small = args.rehearse
    lanes, steps, ladder = (
        (1024, 4, [100]) if small else (2**20, 1024, [10**4, 10**5, 10**6, 10**7])
    )
    table: dict = {"device": device.device_kind, "command": " ".join(sys.argv)}
    table["versions"] = {
        name: importlib.metadata.version(name) for name in ("jax", "jaxlib", "diffrax", "numpy")
    }

    well = ls.Quadratic(hessian=jnp.eye(2))
    stepper = ls.EulerMaruyama(ls.SGD(well, ls.StableComponents(alpha=1.5), epsilon=1e-6), dt=DT)
    problem = stepper, ls.Ball(radius=1.0, center=jnp.zeros(2))
    table["operations"] = dict(operations(problem))
    table["peaks"] = {
        kind: peak(kind, lanes, 4 if small else 4096, args.repeats, small)
        for kind in ("whole", "float")
    }
    table["limit"] = 1 / max(
        table["operations"][kind] / table["peaks"][kind] for kind in table["peaks"]
    )
    print(
        f"a step: {table['operations']} operations; rates {table['peaks']}; limit "
        f"{table['limit']:.3g} steps/s",
        flush=True,
    )
    table["steps"] = steps_alone(problem, lanes, steps, args.repeats, small)
    print(f"steps alone: {table['steps']}", flush=True)

    table["linear"] = {}
    for name, domain in (
        ("exit test", ls.Ball(radius=1e3, center=jnp.zeros(3))),
        ("none", Everywhere(3)),
    ):
        table["linear"][name] = steps_alone(
            (linear(), domain), lanes, 4 if small else 256, args.repeats, small
        )
    print(
        f"linear SDE, d = 3 (published for DiffEqGPU: {PUBLISHED:.1e}): {table['linear']}",
        flush=True,
    )

    table["job"] = []
    for num in ladder:
        run, best = job(num, args.repeats)
        row = {
            "num": num,
            "steps_per_second": run.live_steps / run.seconds,
            "best": run.live_steps / best,
        }
        table["job"].append(row | {"mean": run.mean, "error": run.error})
        print(
            f"J, {num} trajectories: {row['steps_per_second']:.3g} steps/s, mean {run.mean:.3f} +- "
            f"{run.error:.3f}",
            flush=True,
        )
    table["diffrax"] = []
    for own in (False, True):
        peer = Diffrax(50 if small else 1000, own)
        peer.prepare()
        run = peer.run(0)
        rate = run.live_steps / run.seconds
        table["diffrax"].append(
            {
                "name": peer.name,
                "num": peer.num,
                "steps_per_second": rate,
                "mean": run.mean,
                "error": run.error,
            }
        )
        print(
            f"{peer.name}: {rate:.3g} steps/s, mean {run.mean:.3f} +- {run.error:.3f}", flush=True
        )

    most = max(row["steps_per_second"] for row in table["job"])
    last = table["job"][-1]
    table["verdicts"] = {
        f"J above {AIM:.0e} steps a second": most > AIM,
        "at least half the limit": most > SHARE * table["limit"],
        "kernel faster than the loop": table["steps"]["kernel"] > table["steps"]["loop"],
        "means within three standard errors": all(
            abs(row["mean"] - last["mean"]) < 3 * np.hypot(row["error"], last["error"])
            for row in table["diffrax"]
        ),
    }
    for claim, holds in table["verdicts"].items():
        print(f"{'met   ' if holds else 'MISSED'} {claim}")
    if not small:
        args.out.write_text(json.dumps(table, indent=1, default=float) + "\n")


if __name__ == "__main__":
    main()
