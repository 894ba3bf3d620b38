"""What the tests of sweeps share: a small spec, a sweep in a process of its own, and stores
compared byte by byte."""

import copy
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

SPEC: dict[str, Any] = {
    "title": "small",
    "seed": 3,
    "run": {
        "landscape": {"name": "Quadratic", "hessian": [[1.0, 0.0], [0.0, 4.0]]},
        "driver": {"name": "StableComponents", "alpha": 1.5},
        "dynamics": {"name": "SGD", "epsilon": 0.3},
        "domain": {"name": "Ball", "radius": 1.0},
        "kernel": {"name": "EulerMaruyama", "dt": 0.01},
        "num": 40,
    },
    "grid": {"alpha": [1.3, 1.7], "epsilon": [0.3, 0.5, 0.7]},
}


def spec(**changed: Any) -> dict[str, Any]:
    """A copy of the small spec; keys are paths whose dots are written `__`."""
    table = copy.deepcopy(SPEC)
    for path, value in changed.items():
        *above, last = path.split("__")
        inner = table
        for key in above:
            inner = inner.setdefault(key, {})
        if value is None:
            inner.pop(last)
        else:
            inner[last] = value
    return table


def long_spec() -> dict[str, Any]:
    """Points of about a second each, none of it compilation."""
    return spec(
        run__kernel__dt=5e-5,
        run__num=600,
        run__dynamics__epsilon=0.2,
        grid={"alpha": [1.3, 1.5, 1.7]},
    )


def data_files(store: Path) -> dict[str, bytes]:
    """Every file of the data, without what says how and when it was run."""
    files = (path for path in store.rglob("*") if path.is_file())
    names = {str(path.relative_to(store)): path for path in files}
    return {
        name: path.read_bytes()
        for name, path in sorted(names.items())
        if not name.startswith((".run/", "log/", "report"))
    }


def start(table: dict[str, Any], out: str, **options: Any) -> subprocess.Popen:
    """The sweep in a process of its own."""
    code = (
        "import json, sys\n"
        "from levysde.sweeps import run_sweep\n"
        "table, out, options = map(json.loads, sys.argv[1:])\n"
        "print(run_sweep(table, out, checkpoint_every=0.1, **options), flush=True)\n"
    )
    arguments = [json.dumps(part) for part in (table, out, options)]
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
