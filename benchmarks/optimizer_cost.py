"""What do replicas of a real optimiser cost beside the gradients that they take?

Minibatches of the digits networks (300 images; MLPs of 610 and 4,810 parameters, a CNN of 410), by
optax through the engine, one worker. Beside each, in the same blocks of lanes and with the same
compiler option: the minibatch gradient alone (gathering its examples included, drawing their
numbers not), as a tree, as the replicas take it, which counts, and as the flat vector of
`batch_gradient`. A ball as basin costs no loss; a sublevel set costs the loss over all 300 images
whenever it is looked at, which is more than the gradient of 30, hence also every 10 iterations.
Repeats are interleaved; the median of the ratios of pairs counts. Verdict, fixed beforehand: at
most 1.3 times the gradients in each row but those of a sublevel set looked at every iteration.

Run: python benchmarks/optimizer_cost.py        --help shows the options.
"""

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import optax

import levysde as ls
from levysde.escape.block import jit, lanes as over_lanes

WIDTH, STEPS, LIMIT = 16, 3_000, 1.3
RESULT = Path(__file__).parent / "results" / "optimizer_cost.json"
OPTIMIZERS = {
    "SGD": optax.sgd(1e-6),
    "heavy ball": optax.sgd(1e-6, momentum=0.9),
    "ADAM": optax.adam(1e-6),
    "AdamW": optax.adamw(1e-6),
    "clipped ADAM": optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-6)),
}


def gradients(network, batch_size: int, flat: bool) -> Callable[[], float]:
    """Seconds a lane and gradient, over a block of lanes: as a tree, as the replicas take it, or as
    one flat vector."""
    numbers = jnp.arange(batch_size)[:, None] + 7 * jnp.arange(WIDTH)[None, :]
    gradient = network.batch_gradient if flat else network.tree_gradient

    def step(i, x):
        index = (numbers * 11 + i) % network.num_examples
        return jax.tree.map(lambda leaf, g: leaf - 1e-6 * g, x, over_lanes(gradient)(x, index))

    run = jit(lambda x, n: jax.lax.fori_loop(0, n, step, x), jax.default_backend())
    start = network.minimum if flat else network.unflatten(network.minimum)
    x = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf[..., None], (*leaf.shape, WIDTH)), start)
    jax.block_until_ready(run(x, 1))

    def timed() -> float:
        begin = time.perf_counter()
        jax.block_until_ready(run(x, STEPS))
        return (time.perf_counter() - begin) / STEPS / WIDTH

    return timed


def replicas(kernel, basin, start) -> Callable[[], float]:
    """Seconds a lane and iteration of the engine."""
    steps = STEPS // kernel.iterations_per_step

    def timed() -> float:
        run = ls.simulate_escape(
            kernel,
            basin,
            start,
            num=WIDTH,
            seed=0,
            max_steps=steps,
            lanes=WIDTH,
            devices=1,
            record="times",
        )
        assert not run.exited.any()
        return (
            (run.info.seconds - run.info.compile_seconds)
            / run.info.lane_steps
            / kernel.iterations_per_step
        )

    timed()
    return timed


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=7, help="interleaved repeats")
    parser.add_argument("--out", type=Path, default=RESULT, help="JSON file for the numbers")
    args = parser.parse_args()
    mlp, wide, cnn = ls.digits_mlp(seed=0), ls.digits_mlp(hidden=64, seed=0), ls.digits_cnn(seed=0)
    cases = [("MLP", mlp, 30, name, "ball", 1, "independent") for name in OPTIMIZERS]
    cases += [
        ("MLP", mlp, 30, "ADAM", "ball", 1, sampling) for sampling in ("replacement", "epochs")
    ]
    cases += [("MLP", mlp, 100, name, "ball", 1, "independent") for name in ("SGD", "ADAM")]
    cases += [("wide MLP", wide, 100, name, "ball", 1, "independent") for name in ("SGD", "ADAM")]
    cases += [("CNN", cnn, 30, name, "ball", 1, "independent") for name in ("SGD", "ADAM")]
    cases += [("MLP", mlp, 30, "ADAM", "sublevel set", every, "independent") for every in (1, 10)]
    rows = []
    for label, network, size, name, shape, every, sampling in cases:
        kernel = ls.OptimizerKernel(
            OPTIMIZERS[name], network, size, iterations_per_step=every, sampling=sampling
        )
        ball = ls.Ball(radius=10.0, center=network.minimum)
        basin = ball if shape == "ball" else ls.Sublevel(network, height=1e6)
        parts = (
            gradients(network, size, False),
            gradients(network, size, True),
            replicas(kernel, basin, network.minimum),
        )
        pairs = [[1e6 * part() for part in parts] for _ in range(args.repeats)]
        ratio = statistics.median(whole / gradient for gradient, _, whole in pairs)
        counted = shape == "ball" or every > 1
        rows.append(
            {
                "network": label,
                "batch_size": size,
                "optimizer": name,
                "basin": shape,
                "looked at every": every,
                "sampling": sampling,
                "us: gradient, flat gradient, iteration": [[round(v, 2) for v in p] for p in pairs],
                "ratio": round(ratio, 3),
                "reached": ratio <= LIMIT if counted else None,
            }
        )
        median = [statistics.median(column) for column in zip(*pairs, strict=True)]
        verdict = "" if not counted else "met" if ratio <= LIMIT else "MISSED"
        print(
            f"{label:8} B={size:3} {name:12} {shape:12} every {every:2} {sampling:11}  gradient "
            f"{median[0]:6.1f} us, flat {median[1]:6.1f} us, iteration {median[2]:6.1f} us, "
            f"{ratio:.2f} {verdict}",
            flush=True,
        )
    versions = {
        "jax": jax.__version__,
        "python": platform.python_version(),
        "levysde": ls.__version__,
    }
    args.out.write_text(
        json.dumps({"rows": rows, "lanes": WIDTH, "versions": versions}, indent=1) + "\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
