"""Pages of the API reference, one for each public package, written from what the packages export.

A name is public where a package's `__init__.py` binds it by `X as X`, or where a single module
defines it without an underscore, so that a new name gets its entry by itself. Only the standard
library and `levysde` are imported here.
"""

import ast
import dataclasses
import enum
import functools
import importlib
import inspect
from pathlib import Path

import markup

import levysde

PACKAGE = Path(levysde.__file__).parent
ROOMS = {
    "noise": "Noise",
    "landscapes": "Landscapes",
    "domains": "Domains",
    "dynamics": "Dynamics",
    "kernels": "Kernels",
    "escape": "Escape",
    "theory": "Theory",
    "stats": "Statistics",
    "analysis": "Analysis",
    "networks": "Networks",
    "plots": "Plots",
    "sweeps": "Sweeps",
    "studies": "Studies",
    "protocols": "Protocols",
    "errors": "Errors",
    "random": "Random words",
    "results": "Results in files and tables",
}


@functools.cache
def public_names(room: str) -> list[str]:
    """The public names of `levysde.<room>`, in the order in which its source has them."""
    init = PACKAGE / room / "__init__.py"
    if init.exists():
        init = init.with_suffix(".pyi") if init.with_suffix(".pyi").exists() else init
        found = [
            node
            for node in ast.walk(ast.parse(init.read_text()))
            if isinstance(node, ast.ImportFrom)
        ]
        return list(
            dict.fromkeys(
                alias.name for node in found for alias in node.names if alias.asname == alias.name
            )
        )
    names = []
    for node in ast.parse((PACKAGE / f"{room}.py").read_text()).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            names.append(node.name)
        elif isinstance(node, ast.Assign):
            names += [target.id for target in node.targets if isinstance(target, ast.Name)]
    return [name for name in names if not name.startswith("_")]


def top_names() -> dict[str, str]:
    """What `import levysde as ls` offers, and the package in which each name has its entry."""
    homes = {}
    for name in dir(levysde):
        part = getattr(levysde, name)
        if not name.startswith("_") and not inspect.ismodule(part):
            rooms = [
                room
                for room in ROOMS
                if name in public_names(room) and _resolve(room, name) is part
            ]
            homes |= {name: rooms[0]} if rooms else {}
    return homes


def targets() -> dict[str, str]:
    """Where a name in backticks leads, for names that have one meaning, or one at the top."""
    homes: dict[str, set[str]] = {}
    for room in ROOMS:
        for name in public_names(room):
            homes.setdefault(name, set()).add(room)
    top = top_names()
    found = {
        name: f"levysde.{next(iter(rooms))}.{name}"
        for name, rooms in homes.items()
        if len(rooms) == 1
    }
    return found | {name: f"levysde.{room}.{name}" for name, room in top.items()}


def write_pages(folder: Path) -> None:
    """One page a package, and the index of them, into `folder`; pages that have not changed keep
    their date."""
    folder.mkdir(exist_ok=True)
    links = targets()
    pages = {f"{room}.rst": _page(room, title, links) for room, title in ROOMS.items()} | {
        "index.rst": _index()
    }
    for old in folder.glob("*.rst"):
        if old.name not in pages:
            old.unlink()
    for name, text in pages.items():
        page = folder / name
        if not page.exists() or page.read_text() != text:
            page.write_text(text)


def members(cls: type) -> list[str]:
    """Methods and properties to show: those a class adds to its public bases, or says something
    about itself."""
    known = {name for base in _public_bases(cls) for name in (*dir(base), *base.__annotations__)}
    shown: list[str] = []
    for owner in cls.__mro__:
        # a private base of the package counts as the class itself; a public one has an entry of its
        # own
        if not owner.__module__.startswith("levysde") or (
            owner is not cls and owner in _public_bases(cls)
        ):
            continue
        for name in vars(owner):
            part = inspect.getattr_static(owner, name)
            part = part if isinstance(part, property) else getattr(owner, name)
            if (
                name.startswith("_")
                or not (callable(part) or isinstance(part, property))
                or inspect.isclass(part)
            ):
                continue
            if (
                (part.__doc__ or name not in known)
                and name not in shown
                and name not in _fields(cls)
            ):
                shown.append(name)
    return shown


def _resolve(room: str, name: str) -> object:
    return getattr(importlib.import_module(f"levysde.{room}"), name)


def _fields(cls: type) -> set[str]:
    return (
        {field.name for field in dataclasses.fields(cls)}
        if dataclasses.is_dataclass(cls)
        else set()
    )


def _public_bases(cls: type) -> list[type]:
    return [base for base in cls.__mro__[1:] if public_path(base)]


def public_path(part: object) -> str | None:
    """The dotted name under which a class has its entry, or None."""
    module, name = getattr(part, "__module__", "") or "", getattr(part, "__qualname__", "")
    room = module.split(".")[1] if module.startswith("levysde.") else ""
    return f"levysde.{room}.{name}" if room in ROOMS and name in public_names(room) else None


def _page(room: str, title: str, links: dict[str, str]) -> str:
    module = importlib.import_module(f"levysde.{room}")
    names = public_names(room)
    described = [name for name in names if not _is_data(_resolve(room, name))]
    summary = markup.inline(markup.first_sentence(module.__doc__ or ""), links)
    lines = [
        title,
        "=" * len(title),
        "",
        f".. py:module:: levysde.{room}",
        "",
        f"``levysde.{room}``: {summary}",
        "",
    ]
    lines += [".. list-table::", "   :class: summary", ""]
    for name in described:
        sentence = markup.first_sentence(inspect.getdoc(_resolve(room, name)) or "")
        lines += [
            f"   * - :py:obj:`~levysde.{room}.{name}`",
            f"     - {markup.inline(sentence, links)}",
        ]
    lines.append("")
    for name in names:
        lines += _entry(room, name)
    return "\n".join(lines + _notes(room, links))


def notes_label(module: str) -> str:
    return "notes-" + module.removeprefix("levysde.").replace(".", "-").replace("_", "-")


def _notes(room: str, links: dict[str, str]) -> list[str]:
    """What the files that make the public names say at their heads: notation, formulas, sources."""
    parts = [_resolve(room, name) for name in public_names(room)]
    modules = dict.fromkeys(getattr(part, "__module__", None) or "" for part in parts)
    lines: list[str] = []
    for module in [name for name in modules if name.startswith(f"levysde.{room}")]:
        text = inspect.getdoc(importlib.import_module(module)) or ""
        if "\n" in text:
            title = module.removeprefix("levysde.").replace(".", "/") + ".py"
            body = markup.rst(text.splitlines(), links)
            lines += [f".. _{notes_label(module)}:", "", title, "~" * len(title), "", *body, ""]
    heading = ["Notes of the files", "------------------", "", ".. highlight:: none", ""]
    return heading + lines if lines else []


def _is_data(part: object) -> bool:
    return not (inspect.isclass(part) or callable(part)) or not getattr(
        part, "__module__", ""
    ).startswith("levysde")


def _entry(room: str, name: str) -> list[str]:
    part, path = _resolve(room, name), f"levysde.{room}.{name}"
    if _is_data(part):
        value, comment = _assigned(room, name)
        return [
            f".. py:data:: {name}",
            *([f"   :value: {value}"] if value else []),
            "",
            f"   {comment}",
            "",
        ]
    if not inspect.isclass(part):
        return [f".. autofunction:: {path}", ""]
    lines = [f".. autoclass:: {path}"]
    shown = members(part)
    if shown:
        lines += [f"   :members: {', '.join(shown)}", "   :undoc-members:"]
    lines.append("")
    if issubclass(part, enum.Enum):
        lines += ["   " + ", ".join(f"``{item.name}`` = {item.value}" for item in part) + ".", ""]
    bases = [base for base in _public_bases(part) if members(base)]
    if bases:
        lines += [f"   A :py:class:`~{public_path(bases[0])}`, with its methods.", ""]
    return lines


def _assigned(room: str, name: str) -> tuple[str, str]:
    """What a constant is, as its source says it, and the comment on its line or above it."""
    source = PACKAGE / f"{room}.py"
    if not source.exists():
        for node in ast.walk(ast.parse((PACKAGE / room / "__init__.py").read_text())):
            if isinstance(node, ast.ImportFrom) and name in [alias.name for alias in node.names]:
                source = PACKAGE.parent / Path(*node.module.split(".")).with_suffix(".py")
    lines = source.read_text().splitlines()
    for node in ast.parse(source.read_text()).body:
        if isinstance(node, ast.Assign) and name in [
            getattr(target, "id", None) for target in node.targets
        ]:
            above, start = [], node.lineno - 2
            while start >= 0 and lines[start].startswith("# "):
                above.insert(0, lines[start].removeprefix("# "))
                start -= 1
            _, _, beside = lines[node.end_lineno - 1].partition("  # ")
            return ast.unparse(node.value), " ".join(above) or beside
    return "", ""


def _index() -> str:
    homes, links = top_names(), targets()
    lines = ["Reference", "=========", ""]
    lines += [
        "Every public name, by package; below, what ``import levysde as ls`` offers at once.",
        "",
    ]
    lines += [".. toctree::", "   :hidden:", "", *(f"   {room}" for room in ROOMS), ""]
    lines += [".. list-table::", ""]
    for room in ROOMS:
        sentence = markup.first_sentence(importlib.import_module(f"levysde.{room}").__doc__ or "")
        lines += [
            f"   * - :doc:`{room}`",
            f"     - ``levysde.{room}``",
            f"     - {markup.inline(sentence, links)}",
        ]
    lines += ["", "At the top", "----------", ""]
    for room in ROOMS:
        names = sorted((name for name in homes if homes[name] == room), key=str.lower)
        if names:
            shown = ", ".join(f":py:obj:`~levysde.{room}.{name}`" for name in names)
            lines += [f":doc:`{room}`", f"   {shown}", ""]
    return "\n".join(lines)
