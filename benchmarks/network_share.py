"""What share of a network's step is the gradient itself, and what does the rest go to?

The digits MLP (610 parameters, 300 images), SGD under component noise, a sublevel set as basin, one
worker. Beside the engine's step, each in the same blocks of lanes and with the same compiler
option: the gradient alone, the gradient with the loss at the same point (which the exit test
needs), and the draw of 610 coordinates alone. Repeats are interleaved, medians reported. Verdict,
fixed beforehand: the gradient alone is at least 70% of the engine's step.

Run: python benchmarks/network_share.py        --help shows the options.
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
import numpy as np

import levysde as ls
from levysde.escape.block import jit, lanes as over_lanes
from levysde.random import split_uint64, step_words, trajectory_key

WIDTH, STEPS, LIMIT = 16, 2_000, 0.7
RESULT = Path(__file__).parent / "results" / "network_share.json"


def loop(step: Callable, start) -> Callable[[], float]:
    """Seconds a lane-step of `step` over a block of lanes."""
    run = jit(
        lambda x, n: jax.lax.fori_loop(0, n, lambda i, x: step(x, i), x), jax.default_backend()
    )
    jax.block_until_ready(run(start, 1))

    def timed() -> float:
        begin = time.perf_counter()
        jax.block_until_ready(run(start, STEPS))
        return (time.perf_counter() - begin) / STEPS / WIDTH

    return timed


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=5, help="interleaved repeats")
    parser.add_argument("--out", type=Path, default=RESULT, help="JSON file for the numbers")
    args = parser.parse_args()
    network, driver = ls.digits_mlp(seed=0), ls.StableComponents(alpha=1.5)
    kernel = ls.EulerMaruyama(ls.SGD(network, driver, epsilon=1e-6), dt=1e-3)
    basin = ls.Sublevel(network, height=1e6)
    x = jnp.broadcast_to(network.minimum[:, None], (network.dim, WIDTH))
    key = jnp.asarray(
        trajectory_key(split_uint64(0), split_uint64(np.arange(WIDTH, dtype=np.uint64)))
    )
    num = driver.words_per_step(network.dim)

    def gradient(x, _):
        return x - 1e-6 * over_lanes(network.gradient)(x)

    def with_loss(x, _):
        inside = over_lanes(network.value)(x) < 1e6
        return jnp.where(inside, x - 1e-6 * over_lanes(network.gradient)(x), x)

    def draw(x, i):
        words = step_words(key, jnp.full(WIDTH, i, jnp.uint32), num)
        return x + over_lanes(lambda w: driver.increment(w, network.dim, jnp.asarray(1e-3)))(words)

    def engine() -> float:
        run = ls.simulate_escape(
            kernel,
            basin,
            network.minimum,
            num=WIDTH,
            seed=0,
            max_steps=STEPS,
            lanes=WIDTH,
            devices=1,
            chunk=STEPS // 4,
        )
        return (run.info.seconds - run.info.compile_seconds) / run.info.lane_steps

    parts = {
        "engine": engine,
        "gradient": loop(gradient, x),
        "gradient and loss": loop(with_loss, x),
        "draw": loop(draw, x),
    }
    engine()
    times = {name: [] for name in parts}
    for _ in range(args.repeats):
        for name, part in parts.items():
            times[name].append(1e6 * part())
    median = {name: statistics.median(values) for name, values in times.items()}
    for name, value in median.items():
        print(f"{name:18} {value:7.2f} us a lane-step  {value / median['engine']:5.0%}")
    share = median["gradient"] / median["engine"]
    print(
        f"gradient's share: {share:.2f}, target at least {LIMIT}: "
        f"{'met' if share >= LIMIT else 'MISSED'}"
    )
    versions = {
        "jax": jax.__version__,
        "python": platform.python_version(),
        "levysde": ls.__version__,
    }
    record = {
        "us_a_lane_step": {n: [round(v, 3) for v in t] for n, t in times.items()},
        "share": round(share, 3),
    }
    args.out.write_text(
        json.dumps(record | {"lanes": WIDTH, "versions": versions}, indent=1) + "\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
