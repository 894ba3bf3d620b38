"""How long a new user waits for the first result: import, parts, first and second calls.

Each case runs in a process of its own, `--repeats` times; the fastest is reported. With `--cache`,
JAX's persistent compilation cache is on, and one run before fills it.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

import jax

README = """
import jax.numpy as jnp, warnings
warnings.simplefilter("ignore")
mark("import jax")
import levysde as ls
mark("import levysde")
def parts(epsilon, seed):
    well = ls.Quadratic(hessian=jnp.diag(jnp.array([1.0, 4.0])))
    dynamics = ls.SGD(well, ls.StableComponents(alpha=1.5), epsilon=epsilon)
    ball = ls.Ball(radius=1.0, center=jnp.zeros(2))
    return dynamics, ball, ls.EulerMaruyama(dynamics, dt=1e-3)
dynamics, ball, kernel = parts(0.1, 0)
mark("parts")
run = ls.simulate_escape(kernel, ball, jnp.zeros(2), num=500, seed=0, max_time=1e4)
mark("first simulate_escape")
law = ls.escape_law(dynamics, ball, check=False)
mark("escape_law without its check")
law = ls.escape_law(dynamics, ball)
mark("escape_law")
text = str(ls.compare(run, law))
mark("compare")
dynamics, ball, kernel = parts(0.11, 1)
mark("parts again")
run = ls.simulate_escape(kernel, ball, jnp.zeros(2), num=500, seed=1, max_time=1e4)
mark("second simulate_escape")
law = ls.escape_law(dynamics, ball)
mark("second escape_law")
text = str(ls.compare(run, law))
mark("second compare")
"""

BASIN = """
import jax.numpy as jnp, warnings
warnings.simplefilter("ignore")
import levysde as ls
mark("import")
well = ls.DoubleWell(barrier=1.0, distance=1.0, dim=2)
basin = ls.Basin(well)
dynamics = ls.SGD(well, ls.StableComponents(alpha=1.5), epsilon=0.1)
mark("parts")
law = ls.escape_law(dynamics, basin, check=False)
mark("escape_law without its check")
law = ls.escape_law(dynamics, basin)
mark("escape_law")
"""

DIGITS = """
import jax, jax.numpy as jnp, warnings
warnings.simplefilter("ignore")
import levysde as ls
from sklearn.datasets import load_digits
images, labels = load_digits(return_X_y=True)
def loss_fn(params, image, label):
    logits = jnp.tanh(image @ params["w"]) @ params["v"]
    return jax.nn.logsumexp(logits) - logits[label]
params = {"w": jax.random.normal(jax.random.key(0), (64, 16)) / 8, "v": jnp.zeros((16, 10))}
mark("import and data")
network = ls.from_network(loss_fn, params, images / 16, labels, weight_decay=0.01)
mark("from_network")
trained = ls.networks.train(network, learning_rate=0.3, batch_size=1797, epochs=500)
mark("train")
report = ls.diagnose(
    loss_fn, network.unflatten(trained), (images / 16, labels), batch_size=32,
    learning_rate=0.1, weight_decay=0.01, settle=1000,
)
mark("diagnose")
"""

CASES = {"README's example, num = 500": README, "law of a 2-D Basin": BASIN, "digits": DIGITS}
CLOCK = """
import sys, time, json
times, last = {}, [time.perf_counter()]
def mark(name):
    now = time.perf_counter()
    times[name], last[0] = now - last[0], now
"""


def timed(code: str, cache: str | None) -> dict[str, float]:
    """Seconds of each step, from one process."""
    settings = dict(os.environ)
    if cache:
        settings |= {
            "JAX_COMPILATION_CACHE_DIR": cache,
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        }
    out = subprocess.run(
        [sys.executable, "-c", f"{CLOCK}{code}\nprint(json.dumps(times))"],
        env=settings,
        check=True,
        capture_output=True,
        text=True,
    )
    return json.loads(out.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--cache", action="store_true")
    parser.add_argument("--only", default="")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        cache = folder if args.cache else None
        for name, code in CASES.items():
            if args.only not in name:
                continue
            runs = [timed(code, cache) for _ in range(args.repeats + args.cache)][args.cache :]
            found[name] = {step: min(run[step] for run in runs) for step in runs[0]}
            print(f"\n{name}{' (warm cache)' if cache else ''}")
            for step, seconds in found[name].items():
                print(f"  {step:32s} {seconds:8.3f} s")
    if args.out:
        about = {
            "command": " ".join(sys.argv),
            "cores": os.cpu_count(),
            "versions": {"python": platform.python_version(), "jax": jax.__version__},
        }
        args.out.write_text(json.dumps({"seconds": found, **about}, indent=1) + "\n")


if __name__ == "__main__":
    main()
