"""Docstrings of all public names are complete: every argument, shapes of arrays, what is raised,
where it comes from.

What a reader of the reference needs, in the form that the reference is made from. What no test can
see (whether a unit is the right one) is for the eyes.
"""

import dataclasses
import inspect
import re
from collections import defaultdict
from pathlib import Path

import pytest
from bad_values import want
from calls import Call, Exempt, public_names, table
from calls.table import ROOMS

from levysde import protocols

SCIENCE = ("noise", "landscapes", "dynamics", "kernels", "theory", "stats")  # what has sources
CALLS = {entry.target: entry for room in ROOMS for entry in table(room) if isinstance(entry, Call)}
EXEMPT = {entry.target for room in ROOMS for entry in table(room) if isinstance(entry, Exempt)}
PUBLIC = public_names()
CONTRIBUTING = Path(__file__).parents[1] / "CONTRIBUTING.md"
COLUMNS = ["name", "meaning", "type", "usual position"]  # of its table of argument names


def section(doc: str, title: str) -> str:
    """The lines below `title:` up to the next line without indentation."""
    found = re.search(rf"^{title}:(.*(?:\n(?:[ \t].*|[ \t]*))*)", doc, re.MULTILINE)
    return found.group(1) if found else ""


def entries(text: str) -> dict[str, str]:
    """What a section says of each name: `a, b: words` stands for both."""
    found: dict[str, str] = {}
    for names, words in re.findall(
        r"^ {4}(\*?\w+(?:, \*?\w+)*): ?((?:.*)(?:\n "
        r"{5,}.*)*)",
        text,
        re.MULTILINE,
    ):
        found |= {name.lstrip("*"): words for name in names.split(", ")}
    return found


def why_incomplete(name: str, target) -> list[str]:
    """What is missing in the docstring of a public class or function."""
    doc, room = inspect.getdoc(target) or "", name.split(".")[1]
    if not re.match(r".+[.:]", doc.split("\n\n")[0], re.DOTALL):
        return ["a first sentence"]
    missing = []
    if target in CALLS:
        parameters = list(inspect.signature(target).parameters)
        said = entries(section(doc, "Args"))
        missing += [f"argument {p}" for p in parameters if len(said.get(p, "").split()) < 2]
        arrays = [
            p for p in parameters if p in said and want(CALLS[target].arguments[p]) == "array"
        ]
        missing += [f"shape of {p}" for p in arrays if not re.search(r"`\([^`]*\)`", said[p])]
        if parameters and not re.search(r"(ValueError|TypeError|Error\b)", section(doc, "Raises")):
            missing.append("Raises")
        if inspect.isfunction(target) and not section(doc, "Returns").strip():
            missing.append("Returns")
        if (
            room in SCIENCE
            and not re.search(r"\b(19|20)\d\d\b", doc)
            and not section(doc, "Source").strip()
        ):
            missing.append("Source")
    elif dataclasses.is_dataclass(target):
        said = entries(section(doc, "Attributes")) | entries(section(doc, "Args"))
        fields = [f.name for f in dataclasses.fields(target) if not f.name.startswith("_")]
        missing += [f"attribute {f}" for f in fields if len(said.get(f, "").split()) < 2]
    return missing


def own_members(target) -> list[str]:
    """Public methods and properties that a class of this package defines or inherits from one."""
    found = []
    for name, member in inspect.getmembers_static(target):
        homes = [c for c in target.__mro__ if name in vars(c)]
        ours = homes and homes[0].__module__.startswith("levysde")
        if (
            ours
            and not name.startswith("_")
            and (inspect.isfunction(member) or isinstance(member, property | classmethod))
        ):
            found.append(name)
    return found


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_docstring_is_complete(name):
    assert why_incomplete(name, PUBLIC[name]) == []


@pytest.mark.parametrize("name", [name for name in sorted(PUBLIC) if inspect.isclass(PUBLIC[name])])
def test_methods_have_docstrings(name):
    target = PUBLIC[name]
    assert [m for m in own_members(target) if not inspect.getdoc(getattr(target, m))] == []


def vocabulary() -> dict[str, list[str]]:
    """The meanings that the table in CONTRIBUTING.md gives to each argument name."""
    _, below = CONTRIBUTING.read_text().split(f"| {' | '.join(COLUMNS)} |\n|---|---|---|---|\n")
    meanings = defaultdict(list)
    for row in below.split("\n\n")[0].splitlines():
        names, meaning, *rest = row.removeprefix("| ").removesuffix(" |").split(" | ")
        assert len(rest) == 2, f"not four cells: {row}"
        assert re.fullmatch(r"`\w+`(, `\w+`)*", names), f"not names: {row}"
        for name in re.findall(r"\w+", names):
            meanings[name].append(meaning)
    return dict(meanings)


def users() -> dict[str, set[str]]:
    """Which public classes and functions have an argument of each name."""
    found = defaultdict(set)
    for target in CALLS:
        for name in inspect.signature(target).parameters:
            found[name].add(target.__qualname__)
    return dict(found)


def test_each_shared_argument_name_has_one_meaning_in_the_guide():
    meanings, used = vocabulary(), users()
    assert len(meanings) > 90
    assert {name: given for name, given in meanings.items() if len(given) > 1} == {}
    shared = {name: sorted(targets) for name, targets in used.items() if len(targets) > 1}
    assert {name: shared[name] for name in shared.keys() - meanings.keys()} == {}


def test_the_guide_lists_no_argument_that_is_gone():
    asked = {
        name
        for _, kind in inspect.getmembers(protocols, inspect.isclass)
        for _, method in inspect.getmembers(kind, inspect.isfunction)
        for name in inspect.signature(method).parameters
    }
    assert sorted(vocabulary().keys() - users().keys() - asked) == []
