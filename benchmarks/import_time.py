"""How long does `import levysde` take beyond `import jax`, and what do the names of a first script
add?

Each repeat is a fresh interpreter, the three cases in turn, so that a machine whose speed varies is
fair to all. Verdict, fixed beforehand: the median of `import levysde` less that of `import jax` is
at most 0.35 s.

Run: python benchmarks/import_time.py
"""

import argparse
import json
import platform
import subprocess
import sys
from pathlib import Path
from statistics import median

LIMIT = 0.35  # s
RESULT = Path(__file__).parent / "results" / "import_time.json"
NAMES = (
    "Quadratic",
    "SGD",
    "StableComponents",
    "Ball",
    "simulate_escape",
    "EulerMaruyama",
    "escape_law",
    "compare",
)
CASES = {
    "jax": "import jax, jax.numpy",
    "jax, levysde": "import jax, jax.numpy, levysde",
    "and the names of the README's twelve lines": "import jax, jax.numpy, levysde as ls\n"
    + "\n".join(f"ls.{name}" for name in NAMES),
}


def seconds(code: str) -> float:
    """In a fresh interpreter, without its own start."""
    timed = f"import time\nstart = time.perf_counter()\n{code}\nprint(time.perf_counter() - start)"
    return float(
        subprocess.run(
            [sys.executable, "-c", timed], check=True, capture_output=True, text=True
        ).stdout
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--out", type=Path, default=RESULT, help="JSON file for the numbers")
    args = parser.parse_args()
    rounds = [
        {name: seconds(code) for name, code in CASES.items()} for _ in range(args.repeats + 1)
    ][1:]  # the first warms
    found = {name: median(row[name] for row in rounds) for name in CASES}
    beyond = found["jax, levysde"] - found["jax"]
    import jax

    versions = {"jax": jax.__version__, "python": platform.python_version()}
    numbers = {
        "median seconds": found,
        "beyond jax": beyond,
        "repeats": args.repeats,
        "versions": versions,
    }
    args.out.write_text(json.dumps(numbers, indent=1) + "\n")
    for name, value in found.items():
        print(f"{value:7.3f} s  {name}")
    print(
        f"levysde beyond jax: {beyond:.3f} s, target at most {LIMIT:g}: "
        f"{'met' if beyond <= LIMIT else 'MISSED'}"
    )
    return 0 if beyond <= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
