"""The documentation: its examples run and print what they say, every public name has an entry, the
picture has the floors.

Nothing here needs Sphinx; `python -m sphinx -W --keep-going -b html docs docs/_build/html` checks
markup and links.
"""

import doctest
import importlib
import inspect
import json
import math
import re
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from test_imports import FLOORS
from typer.testing import CliRunner

import levysde
from levysde.cli import app

DOCS = Path(__file__).parents[1] / "docs"
PAGES = [
    "start.md",
    "theory.md",
    "papers.md",
    *(f"howto/{path.name}" for path in sorted((DOCS / "howto").glob("*.md"))),
]
INNER = {"cli", "interfaces", "naming", "parts", "tables", "types"}  # have no names for users
NUMBER = r"-?\d+\.?\d*(?:e[+-]?\d+)?"


class NearlyEqual(doctest.OutputChecker):
    """What doctest accepts, and numbers that differ by a few percent: bits differ between
    machines."""

    def check_output(self, want: str, got: str, optionflags: int) -> bool:
        if super().check_output(want, got, optionflags):
            return True
        pieces = re.split(rf"(\.\.\.|{NUMBER})", " ".join(want.split()))
        pattern = "".join(
            ".*"
            if piece == "..."
            else f"({NUMBER})"
            if re.fullmatch(NUMBER, piece)
            else re.escape(piece)
            for piece in pieces
        )
        match = re.fullmatch(pattern, " ".join(got.split()))
        numbers = [float(piece) for piece in pieces if re.fullmatch(NUMBER, piece)]
        return match is not None and all(map(self.near, numbers, map(float, match.groups())))

    @staticmethod
    def near(want: float, got: float) -> bool:
        return math.isclose(want, got, rel_tol=0.05, abs_tol=1e-3)


@pytest.mark.slow_cases(
    "howto/basin.md",
    "howto/diffrax.md",
    "howto/law.md",
    "howto/network.md",
    "howto/noise.md",
    "howto/sde.md",
    "howto/trust.md",
    "start.md",
)
@pytest.mark.parametrize("page", PAGES)
def test_the_examples_of_a_page_print_what_it_says(page):
    text = (DOCS / page).read_text()
    examples = doctest.DocTestParser().get_doctest(text, {}, page, page, 0)
    runner = doctest.DocTestRunner(
        NearlyEqual(), optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    )
    failed, attempted = runner.run(examples)
    assert attempted > 1
    assert not failed, "see what was printed"


@pytest.mark.parametrize(
    ("want", "got", "same"),
    [
        ("mean 39.03\n", "mean 39.1\n", True),
        ("mean 39.03\n", "mean 45\n", False),
        ("mean 39.03 (p = ...)\n", "mean 39.1   (p = 0.4)\n", True),
        ("a 1\n", "b 1\n", False),
        ("a 1\n", "a 1 1\n", False),
    ],
)
def test_numbers_may_differ_by_a_few_percent_and_words_not(want, got, same):
    assert NearlyEqual().check_output(want, got, 0) is same


@pytest.mark.slow
def test_the_study_of_the_page_on_claims_runs(tmp_path, monkeypatch):
    """The folder that the page shows, by the command that it shows."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    page = (DOCS / "howto" / "claims.md").read_text()
    (code,) = re.findall(r"```python\n(# power/__init__\.py\n.*?)```", page, re.DOTALL)
    (tmp_path / "power").mkdir()
    (tmp_path / "power" / "__init__.py").write_text(code)
    (command,) = re.findall(r"^levysde (study power --quick)", page, re.MULTILINE)
    done = CliRunner().invoke(app, command.split())
    assert done.exit_code == 0, done.output
    assert re.search(
        r"OWN FINDING \((not )?as predicted.*\): The mean|INCONCLUSIVE: The "
        r"mean",
        done.output,
    ), done.output
    out = tmp_path / "power-quick"
    for name in ("verdicts.md", "verdicts.json", "data.json", "power-times.png", "power/noise"):
        assert f"`{name}`" in page
        assert (out / name).exists(), name
    assert f"`levysde {command} --out power-quick`" in (out / "verdicts.md").read_text()
    assert len(json.loads((out / "data.json").read_text())["tables"]["power/times"]) == 3


def test_a_fence_never_ends_an_example():
    """doctest would take the fence for what is printed."""
    for page in PAGES:
        for block in re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(), re.DOTALL):
            assert ">>>" not in block or block.endswith("\n\n"), (
                f"{page}: a blank line is missing before the fence"
            )


@pytest.fixture(scope="module")
def entries(tmp_path_factory):
    """The pages of the reference as Sphinx gets them, by package."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(DOCS / "_ext"))
        folder = tmp_path_factory.mktemp("reference")
        importlib.import_module("reference").write_pages(folder)
    return {page.stem: page.read_text() for page in folder.glob("*.rst")}


def named(room: str, name: str) -> re.Pattern:
    return re.compile(
        rf"^\.\. (?:autoclass:: levysde\.{room}\.|autofunction:: levysde\.{room}\.|py:data:: "
        rf"){name}$",
        re.M,
    )


def test_every_package_has_a_page(entries):
    assert set(entries) - {"index"} == set(FLOORS) - INNER


@pytest.mark.parametrize("room", sorted(set(FLOORS) - INNER))
def test_every_public_name_has_an_entry(room, entries):
    module = importlib.import_module(f"levysde.{room}")
    names = [
        name
        for name in dir(module)
        if not name.startswith("_")
        and getattr(getattr(module, name), "__module__", "").startswith("levysde.")
    ]
    single = not hasattr(module, "__path__")  # what a file imports is not its own
    names = [
        name for name in names if not single or getattr(module, name).__module__ == module.__name__
    ]
    assert names
    assert not [name for name in names if not named(room, name).search(entries[room])]


def test_the_index_leads_to_every_name_at_the_top(entries):
    parts = {name: getattr(levysde, name) for name in dir(levysde) if not name.startswith("_")}
    names = [name for name, part in parts.items() if not inspect.ismodule(part)]
    assert len(names) > 80
    assert not [
        name for name in names if not re.search(rf"`~levysde\.\w+\.{name}`", entries["index"])
    ]


def test_the_picture_of_the_floors_is_the_table_of_the_imports():
    texts = (
        ET.parse(DOCS / "architecture.svg").getroot().findall("{http://www.w3.org/2000/svg}text")
    )
    heights = {
        text.text: float(text.get("y", "nan")) for text in texts if text.get("class") == "room"
    }
    assert set(heights) == set(FLOORS)
    floors = {
        int(text.text or -1): float(text.get("y", "nan"))
        for text in texts
        if text.get("class") == "floor"
    }
    assert floors == {floor: heights[room] + 1 for room, floor in FLOORS.items()}
    assert [floors[i] for i in range(len(floors))] == sorted(floors.values(), reverse=True)
