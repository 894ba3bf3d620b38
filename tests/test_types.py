"""A type checker sees the types of public arguments: it refuses wrong calls and accepts right
ones."""

import inspect
import json
import re
import subprocess
import sys
from pathlib import Path

from calls import Call, table
from calls.table import ROOMS

CALLS = Path(__file__).parent / "typing" / "calls.py"


def test_a_type_checker_tells_wrong_calls_from_right_ones():
    options = ["--pythonpath", sys.executable, "--outputjson", str(CALLS)]
    run = subprocess.run(
        [sys.executable, "-m", "pyright", *options], capture_output=True, text=True, check=False
    )
    found = json.loads(run.stdout)["generalDiagnostics"]
    errors = {
        item["range"]["start"]["line"]: item["message"]
        for item in found
        if item["severity"] == "error"
    }
    kinds = re.compile(r"# (right|wrong)$")
    lines = {
        n: match.group(1)
        for n, line in enumerate(CALLS.read_text().splitlines())
        if (match := kinds.search(line))
    }
    assert sorted(lines.values()) == 64 * ["right"] + 66 * ["wrong"]
    wrong = {n for n, kind in lines.items() if kind == "wrong"}
    missed = [n + 1 for n in sorted(wrong - errors.keys())]
    assert not missed, f"no error in lines {missed}"
    refused = {n + 1: message for n, message in errors.items() if n not in wrong}
    assert not refused, refused


def test_public_arguments_have_types():
    """At run time they are Any, so that the package's own messages come first; the source says what
    they are."""
    untyped, total = [], 0
    for room in ROOMS:
        for entry in table(room):
            if not isinstance(entry, Call):
                continue
            source = inspect.getsource(inspect.unwrap(entry.target))
            for name in inspect.signature(entry.target).parameters:
                total += 1
                if re.search(rf"\b{name}: (Any|Arg\[Any\])\b", source):
                    untyped.append(f"{entry.target.__name__}({name})")
    assert total > 500
    assert len(set(untyped)) < 0.01 * total, sorted(set(untyped))
