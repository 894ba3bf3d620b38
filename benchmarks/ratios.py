"""Has a ratio to a peer got worse by a fifth since the numbers in results/ were written?

Runs the benchmarks that hold this package beside others on the same machine in the same minutes,
and compares their ratios with the committed ones: seconds differ from machine to machine, ratios
should not. Not part of the tests; wants a quiet machine. Exits with 1 when a ratio is worse by a
fifth or more.

Run: python benchmarks/ratios.py        about ten minutes on two cores; --help shows the options.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
WORSE = 1.2
SCRIPTS = {
    "escape_throughput": ["--peers", "levysde", "cpp", "numba", "--num", "4000"],
    "problem_throughput": [],
    "network_share": [],
}


def costs(folder: Path) -> dict[str, float]:
    """Every ratio in the results of a folder, our time over the peer's: larger is worse."""
    found = {}
    for row in _read(folder, "escape_throughput").get("peers", []):
        if row["peer"] in ("C++", "numba, np.random", "numba, tuned"):
            found[f"job J over {row['peer']}"] = 1 / row["ratio_to_levysde"]
    for row in _read(folder, "problem_throughput").get("problems", []):
        found[f"{row['problem']} over C++"] = row["ratio"]
    if share := _read(folder, "network_share").get("share"):
        found["network step over its gradient"] = 1 / share
    return found


def _read(folder: Path, name: str) -> dict:
    path = folder / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else {}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", default="5", help="interleaved repeats of each benchmark")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for name, options in SCRIPTS.items():
            command = [
                sys.executable,
                str(HERE / f"{name}.py"),
                "--repeats",
                args.repeats,
                *options,
            ]
            subprocess.run([*command, "--out", str(Path(folder, f"{name}.json"))], check=True)
        before, now = costs(HERE / "results"), costs(Path(folder))
    worse = 0
    print("\n| ratio | committed | now | |\n|---|---|---|---|")
    for name, value in now.items():
        known = before.get(name)
        bad = known is not None and value >= WORSE * known
        worse += bad
        shown = "-" if known is None else f"{known:.3f}"
        print(f"| {name} | {shown} | {value:.3f} | {'WORSE' if bad else ''} |")
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
