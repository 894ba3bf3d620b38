"""Who may import whom: strictly downwards by floor, through a folder's public names, and never
`levysde` itself.

Every import counts, also those inside functions, under `if TYPE_CHECKING`, relative ones, and by
`import_module`.
"""

import ast
import graphlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

import levysde

PACKAGE = Path(levysde.__file__).parent
FLOORS = {
    "cli": 13,
    "studies": 12,
    "sweeps": 11,
    "plots": 10,
    "networks": 9,
    "analysis": 8,
    "theory": 7,
    "kernels": 6,
    "domains": 5,
    "dynamics": 4,
    "escape": 4,
    "landscapes": 3,
    "noise": 3,
    "stats": 3,
    "interfaces": 2,
    "protocols": 1,
    "results": 1,
    "errors": 0,
    "naming": 0,
    "parts": 0,
    "random": 0,
    "tables": 0,
    "types": 0,
}
MODULES = {
    "cli",
    "interfaces",
    "protocols",
    "naming",
    "parts",
    "random",
    "results",
    "tables",
    "types",
}  # single files; the others are folders


def imports(tree: ast.AST, module: str, is_package: bool) -> Iterator[tuple[int, str, str | None]]:
    """Each import as (line, module imported from, name imported or None)."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            source = node.module or ""
            if node.level:
                above = module.split(".")
                above = above[: len(above) - node.level + is_package]
                source = ".".join([*above, source]) if source else ".".join(above)
            yield from ((node.lineno, source, alias.name) for alias in node.names)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if called in ("import_module", "__import__"):
                yield node.lineno, str(node.args[0].value), None


def public_names(room: str) -> set[str]:
    """The names a folder's `__init__` binds by `X as X`."""
    init = PACKAGE / room / "__init__.py"
    if not init.exists():
        return set()
    bodies = [node for node in ast.parse(init.read_text()).body if isinstance(node, ast.ImportFrom)]
    return {alias.name for node in bodies for alias in node.names if alias.asname == alias.name}


def why_refused(module: str, source: str, name: str | None) -> str | None:
    """What is wrong with `module` importing `name` from `source` (both dotted), or None."""
    if source.split(".")[0] != "levysde":
        return None
    room, path = module.split(".")[1], source.split(".")[1:]
    if not path:
        if name is None or name not in FLOORS:
            return (
                None
                if room == "cli"
                else "only the command line sees the whole package: import from a folder"
            )
        path, name = [name], None
    target = path[0]
    if target not in FLOORS:
        return f"{target} has no floor in the table"
    if room == target:
        return None if room not in MODULES else "a module cannot import itself"
    if FLOORS[target] >= FLOORS[room]:
        return f"{room} (floor {FLOORS[room]}) may not import {target} (floor {FLOORS[target]})"
    if target in MODULES:
        return (
            f"{name} is private to {target}" if name is not None and name.startswith("_") else None
        )
    if len(path) > 1:
        return f"reaches into {target}: write `from levysde.{target} import ...`"
    if name is not None and name not in public_names(target):
        return f"{name} is not a public name of {target}: export it there as `{name} as {name}`"
    return None


def source_files() -> list[Path]:
    return [path for path in sorted(PACKAGE.rglob("*.py")) if path != PACKAGE / "__init__.py"]


def dotted(path: Path) -> str:
    parts = ["levysde", *path.relative_to(PACKAGE).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def test_every_part_of_the_package_has_a_floor():
    parts = {
        path.stem
        for path in PACKAGE.iterdir()
        if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert parts - {"__init__"} <= set(FLOORS)
    assert {"noise", "protocols", "random", "errors"} <= parts


@pytest.mark.parametrize("path", source_files(), ids=dotted)
def test_imports_go_strictly_downwards(path):
    module = dotted(path)
    found = list(imports(ast.parse(path.read_text()), module, path.name == "__init__.py"))
    wrong = [
        f"{path.name}:{line}: {why}"
        for line, source, name in found
        if (why := why_refused(module, source, name))
    ]
    assert not wrong, "\n".join(wrong)


REFUSED = [
    ("levysde.noise.stable", "from levysde.landscapes import Quadratic"),  # same floor
    ("levysde.noise.stable", "from levysde.escape import simulate_escape"),  # upwards
    (
        "levysde.noise.stable",
        "def f():\n    from levysde import theory",
    ),  # upwards, inside a function
    ("levysde.noise.stable", "import importlib\nimportlib.import_module('levysde.theory')"),
    ("levysde.noise.stable", "from ..kernels import EulerMaruyama"),  # upwards, relative
    ("levysde.noise", "from ..kernels.euler import EulerMaruyama"),
    ("levysde.dynamics.gradient", "from levysde.escape import EscapeResult"),  # same floor
    (
        "levysde.theory.exit_law",
        "from levysde.noise.stable import levy_constant",
    ),  # past the public names
    ("levysde.theory.exit_law", "import levysde.noise.stable"),
    ("levysde.theory.exit_law", "from levysde.noise import stable"),  # a file, not a public name
    ("levysde.theory.exit_law", "from levysde.noise import not_exported"),
    ("levysde.theory.exit_law", "from levysde.random import _rotate"),
    ("levysde.theory.exit_law", "import levysde"),
    ("levysde.theory.exit_law", "from levysde import SGD"),
    ("levysde.theory.exit_law", "from levysde.helpers import anything"),  # not in the table
    ("levysde.parts", "from levysde.errors import seed"),
    ("levysde.errors", "from levysde import random"),
]
ALLOWED = [
    (
        "levysde.noise.stable",
        "from levysde.random import exponential\nfrom levysde import errors\nimport jax, numpy as "
        "np",
    ),
    ("levysde.noise.stable", "from levysde.noise.scales import as_scale"),
    (
        "levysde.noise",
        "from .stable import Brownian\nfrom levysde.noise.stable import StableComponents",
    ),
    ("levysde.theory.exit_law", "from levysde.noise import levy_constant"),
    ("levysde.kernels.euler", "from levysde.protocols import Kernel"),
    ("levysde.cli", "import levysde as ls\nfrom levysde import escape_law"),
]


def refusals(module: str, source: str) -> list[str]:
    found = imports(ast.parse(source), module, is_package=module == "levysde.noise")
    return [why for _, origin, name in found if (why := why_refused(module, origin, name))]


@pytest.mark.parametrize(("module", "source"), REFUSED)
def test_a_forbidden_edge_is_seen(module, source):
    assert refusals(module, source)


@pytest.mark.parametrize(("module", "source"), ALLOWED)
def test_an_allowed_edge_is_let_through(module, source):
    assert not refusals(module, source)


def circle(edges: dict[str, set[str]]) -> list[str]:
    """Files that import each other in a circle; empty where there is none."""
    try:
        graphlib.TopologicalSorter(edges).prepare()
    except graphlib.CycleError as error:
        return error.args[1]
    return []


def test_no_files_import_each_other_in_a_circle():
    files = {dotted(path): path for path in source_files() if path.name != "__init__.py"}
    edges = {}
    for module, path in files.items():
        found = imports(ast.parse(path.read_text()), module, is_package=False)
        named = {
            f"{source}.{name}" if f"{source}.{name}" in files else source
            for _, source, name in found
        }
        edges[module] = named & files.keys()
    assert len(edges) > 100
    assert circle(edges) == []


def test_a_circle_is_seen():
    assert sorted(set(circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}))) == ["b", "c"]
    assert circle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def test_no_two_classes_have_one_name():
    nodes = [node for path in source_files() for node in ast.walk(ast.parse(path.read_text()))]
    names = Counter(node.name for node in nodes if isinstance(node, ast.ClassDef))
    assert [name for name, count in names.items() if count > 1] == []
