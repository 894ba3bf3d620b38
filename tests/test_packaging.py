"""What is installed and what is loaded: the lazy front door, the names it promises, one version
everywhere."""

import ast
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

import levysde as ls

ROOT = Path(__file__).parents[1]
EXTRAS = (
    "xarray",
    "zarr",
    "pandas",
    "pyarrow",
    "pydantic",
    "jinja2",
    "ray",
    "s3fs",
    "gcsfs",
    "fsspec",
    "sklearn",
    "numba",
)
# loaded when first used
SLOW = ("matplotlib", "diffrax", "optimistix", "scipy.stats", "scipy.optimize", "typer")
TWELVE_LINES = (
    "Quadratic SGD StableComponents Ball simulate_escape EulerMaruyama escape_law compare".split()
)


def loaded_after(code: str) -> set[str]:
    """The modules that a fresh interpreter has loaded after `code`."""
    code += "\nimport sys\nprint(*sys.modules)"
    return set(
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.split()
    )


def test_the_package_itself_loads_nothing_but_its_front_door():
    before = loaded_after("import jax, lazy_loader")
    new = {
        name
        for name in loaded_after("import jax, lazy_loader, levysde") - before
        if not name.startswith("_")
    }
    assert {name for name in new if name.split(".")[0] == "levysde"} == {"levysde"}
    assert new <= {"levysde", "ast"}  # lazy_loader reads the stub


def test_no_extra_and_nothing_slow_is_loaded_by_the_core():
    code = (
        "import levysde as "
        "ls\n" + "\n".join(f"ls.{name}" for name in TWELVE_LINES) + "\nls.plots, ls.stats, "
        "ls.theory"
    )
    loaded = loaded_after(code)
    # the names did load their parts
    assert {"levysde.escape", "levysde.theory", "levysde.plots", "equinox"} <= loaded
    assert loaded.isdisjoint({*EXTRAS, *SLOW})


def stub_names() -> list[str]:
    tree = ast.parse((ROOT / "levysde" / "__init__.pyi").read_text())
    return [
        alias.asname or alias.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    ]


@pytest.mark.parametrize("name", stub_names())
def test_every_name_of_the_stub_is_there(name):
    assert getattr(ls, name) is not None
    assert name in dir(ls)
    assert name in ls.__all__


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("StableComponent", "Did you mean StableComponents"),
        ("train", "It is levysde.networks.train"),
        ("kaplan_meier", "It is levysde.stats.kaplan_meier"),
        ("zebra", "no 'zebra'.$"),
    ],
)
def test_an_unknown_name_is_told_where_to_look(name, words):
    with pytest.raises(AttributeError, match=words):
        getattr(ls, name)


def test_one_version_everywhere():
    assert metadata.version("levysde") == ls.__version__
    cited = re.search(r"^version: (.*)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    assert cited
    assert cited[1] == ls.__version__
    assert f"## {ls.__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_types_are_shipped_and_every_extra_is_declared():
    assert (ROOT / "levysde" / "py.typed").exists()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(project["optional-dependencies"]) >= {
        "sweep",
        "ray",
        "s3",
        "gcs",
        "data",
        "docs",
        "cuda12",
        "cuda13",
        "tpu",
    }
    core = {re.split(r"[<>=!\[]", line)[0] for line in project["dependencies"]}
    assert core.isdisjoint(
        {"xarray", "zarr", "ray", "s3fs", "gcsfs", "scikit-learn", "pydantic", "pandas", "sphinx"}
    )


def written_classes() -> dict[str, tuple[Path, set[str]]]:
    """Every class at the top of a file of the package: its file and the names of its bases."""
    return {
        node.name: (path, {ast.unparse(base).split("[")[0].split(".")[-1] for base in node.bases})
        for path in Path(ls.__file__).parent.rglob("*.py")
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.ClassDef)
    }


@pytest.mark.parametrize(
    ("protocol", "room"),
    [("Driver", "noise"), ("Domain", "domains"), ("Dynamics", "dynamics"), ("Kernel", "kernels")],
)
def test_no_part_is_forgotten_in_the_public_names(protocol, room):
    """A final class of a protocol is a name of its folder and of `levysde`. The suites of parts
    then ask for an instance of it, and the tests of bad calls for a call."""
    classes = written_classes()
    found, below = {protocol}, set()
    while below != found:
        below = set(found)
        found |= {name for name, (_, bases) in classes.items() if bases & found}
    parents = set().union(*(bases for _, bases in classes.values()))
    final = {name for name in found - parents if classes[name][0].parent.name == room}
    assert len(final) > 5
    assert final <= set(dir(getattr(ls, room)))
    assert final <= set(dir(ls))
