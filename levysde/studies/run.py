"""Studies and running them: sections of claims, their sweeps, the verdicts and the files written.

The same call resumes an interrupted run. A study lives in a folder that is a Python package: a
folder with an `__init__.py` that defines `STUDY`. It is imported by its own name, with the names of
enclosing packages in front, as pytest imports tests: the first folder above it without an
`__init__.py` goes on Python's search path. Sweeps look for the study's own modules in the same
place, also in other processes."""

import importlib
import json
import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from levysde import errors
from levysde.studies.claims import Claim
from levysde.studies.page import as_json, markdown
from levysde.studies.verdicts import Verdict
from levysde.sweeps import Sweep, open_sweep, run_sweep, versions
from levysde.tables import Table, Tabled
from levysde.types import Arg, PathLike


@dataclass(frozen=True, repr=False)
class Finding(Tabled):
    """What a section has found.

    Args:
        verdicts: a `Verdict` on each of the section's claims, in their order.
        figures: matplotlib figures by name.
        tables: tables by name; a table is a list of rows `{column: number or string}`.

    Raises:
        TypeError: something other than verdicts or dicts.
    """

    verdicts: Arg[Sequence[Verdict]]
    figures: Arg[Mapping[str, Any]] = field(default_factory=dict)
    tables: Arg[Mapping[str, Sequence[Mapping[str, Any]]]] = field(default_factory=dict)

    def __post_init__(self):
        errors.several(
            "verdicts", self.verdicts, Verdict, "(Verdict(claim, word, outcome, power),)"
        )
        errors.instance("figures", self.figures, dict, '{"name": figure}')
        errors.instance("tables", self.tables, dict, '{"name": [{"column": 1.0}]}')

    def _table(self) -> Table:
        return Table(
            f"Finding of {len(self.verdicts)} verdicts",
            [
                *((verdict.claim.key, verdict.word) for verdict in self.verdicts),
                ("figures", ", ".join(self.figures) or "none"),
                ("tables", ", ".join(self.tables) or "none"),
            ],
        )


@dataclass(frozen=True, repr=False)
class Section(Tabled):
    """One question of a study.

    Args:
        name: of the section and of its folder of results.
        claims: the `Claim`s under test, written before the run.
        sweeps: a function of `quick` that returns the specs of the sweeps by name, as in a sweep's
            TOML file.
        judge: a function of the finished sweeps (a dict of `Sweep`s by name) and of `quick` that
            returns a `Finding`.

    Raises:
        TypeError: a name that is not a string, something other than claims or functions.
    """

    name: Arg[str]
    claims: Arg[Sequence[Claim]]
    sweeps: Arg[Callable[[bool], Mapping[str, Mapping[str, Any]]]]
    judge: Arg[Callable[[dict[str, Sweep], bool], Finding]]

    def __post_init__(self):
        errors.word("name", self.name)
        errors.several(
            "claims", self.claims, Claim, "(Claim(key, statement, where, predicted, fails_if),)"
        )
        errors.function("sweeps", self.sweeps, "lambda quick: {}")
        errors.function("judge", self.judge, "lambda found, quick: Finding(verdicts)")

    def _table(self) -> Table:
        return Table(
            f"Section: {self.name}", [(claim.key, claim.statement) for claim in self.claims]
        )


@dataclass(frozen=True, repr=False)
class Study(Tabled):
    """Claims and the runs that test them, for example those of one paper.

    Args:
        name: of the study.
        paper: whose claims they are: authors, title, venue; or a description of your own question.
        sections: a `Section` for each question, in the order in which they are run.
        folder: the folder that `load_study` has loaded the study from, "" for a study made in
            Python.

    Raises:
        TypeError: a name, paper or folder that is not a string, something other than sections.
    """

    name: Arg[str]
    paper: Arg[str]
    sections: Arg[Sequence[Section]]
    folder: Arg[str] = ""

    def __post_init__(self):
        for name in ("name", "paper", "folder"):
            errors.word(name, getattr(self, name))
        errors.several(
            "sections", self.sections, Section, "(Section(name, claims, sweeps, judge),)"
        )

    def _table(self) -> Table:
        return Table(
            f"Study: {self.name}",
            [
                ("paper", self.paper),
                *[(section.name, f"{len(section.claims)} claims") for section in self.sections],
            ],
        )


LOG = logging.getLogger("levysde.studies")
_EXAMPLE = '"benchmarks/papers/zhou2020"'


def run_study(
    study: Arg[Study | PathLike],
    out: Arg[PathLike],
    *,
    quick: Arg[bool] = False,
    sections: Arg[Sequence[str] | None] = None,
    progress: Arg[bool] = False,
) -> tuple[Verdict, ...]:
    """Run a study's sweeps into a folder, and write the verdicts, their data and their figures
    there.

    The folder then holds `verdicts.md`, `verdicts.json`, `data.json`, the figures as PNG, and a
    folder of sweeps for each section.

    Args:
        study: a `Study`, or the path of a study folder, see `load_study`.
        out: the folder. Points that an earlier run has finished are not run again.
        quick: run what the study's sweeps return for `quick=True`, a smaller run with weaker
            verdicts. Give it another folder.
        sections: names of the sections to run; all by default.
        progress: show a bar for each sweep.

    Returns:
        The verdicts, in the order of the claims.

    Raises:
        TypeError, ValueError: no study, an unknown section, a folder that cannot be written or
            holds another run, verdicts that are not those on the section's claims.
        RuntimeError: a point failed. The other points are stored, and the same call tries it again.
        Interrupted: Ctrl-C. The same call resumes the run.
    """
    study = study if isinstance(study, Study) else load_study(study)
    chosen = _chosen(study, sections)
    errors.flag("quick", quick)
    errors.flag("progress", progress)
    errors.instance("out", out, str | os.PathLike, '"results"')
    folder = errors.writable("out", Path(out) / "verdicts.md").parent
    modules = _root(Path(study.folder).resolve()) if study.folder else None
    verdicts: list[Verdict] = []
    tables: dict[str, Any] = {}
    for section in chosen:
        finding = _run_section(section, folder, modules, quick, progress)
        verdicts += finding.verdicts
        tables |= {f"{section.name}/{name}": rows for name, rows in finding.tables.items()}
        for name, figure in finding.figures.items():
            figure.savefig(folder / f"{section.name}-{name}.png", dpi=150)
    command = _command(study, folder, quick, sections)
    (folder / "verdicts.md").write_text(markdown(verdicts, command), encoding="utf-8")
    (folder / "verdicts.json").write_text(as_json(verdicts), encoding="utf-8")
    about = {
        "study": study.name,
        "paper": study.paper,
        "quick": quick,
        "command": command,
        "versions": versions(),
    }
    (folder / "data.json").write_text(
        json.dumps(about | {"tables": tables}, indent=1, default=float), encoding="utf-8"
    )
    return tuple(verdicts)


def _run_section(
    section: Section, folder: Path, modules: Path | None, quick: bool, progress: bool
) -> Finding:
    found: dict[str, Sweep] = {}
    for name, spec in section.sweeps(quick).items():
        place = folder / section.name / name
        LOG.info("%s: %s", section.name, name)
        spec = {"title": f"{section.name}: {name}", **spec}
        tally = run_sweep(spec, place, retry_failed=True, progress=progress, folder=modules)
        found[name] = open_sweep(place)
        if tally.failed or found[name].failures:
            point, message = next(iter(found[name].failures.items()))
            raise RuntimeError(
                f"{place}: the point {point} failed: {message}\nThe same command tries it again."
            )
    finding = errors.instance(
        "what judge returns", section.judge(found, quick), Finding, "Finding(verdicts)"
    )
    keys, judged = (
        [claim.key for claim in part]
        for part in (section.claims, (v.claim for v in finding.verdicts))
    )
    if judged != keys:
        raise ValueError(
            f"section {section.name!r} must return a verdict on each of its claims, in their "
            f"order ({', '.join(keys)}), got {', '.join(judged) or 'none'}."
        )
    return finding


def _chosen(study: Study, names: Any) -> Sequence[Section]:
    if names is None:
        return study.sections
    known = {section.name: section for section in study.sections}
    for name in errors.several("sections", names, str, f"({study.sections[0].name!r},)"):
        if name not in known:
            raise ValueError(
                f"sections: {study.name} has no section {errors.shown(name)}. There are "
                f"{', '.join(known)}."
            )
    return [section for section in study.sections if section.name in names]


def _command(study: Study, folder: Path, quick: bool, sections: Any) -> str:
    """What makes the same verdicts again."""
    if not study.folder:
        more = [
            f"{folder.name!r}",
            *["quick=True"] * quick,
            *([f"sections={list(sections)}"] if sections else []),
        ]
        return f"run_study({study.name}, {', '.join(more)})"
    words = [
        "levysde study",
        study.folder,
        "--quick" * quick,
        *(f"--section {name}" for name in sections or ()),
    ]
    return " ".join([*filter(None, words), f"--out {folder.name}"])


def load_study(path: Arg[PathLike]) -> Study:
    """The study in a folder.

    Args:
        path: a folder whose `__init__.py` defines `STUDY`, a `Study`. Its modules are imported by
            the folder's name, which must be a Python name.

    Returns:
        The `Study`.

    Raises:
        TypeError: not a path.
        ValueError: no such folder, no `STUDY` in it, or a module that cannot be imported.
    """
    given = Path(errors.instance("path", path, str | os.PathLike, _EXAMPLE))
    folder = given.resolve()
    if not folder.is_dir():
        raise ValueError(
            f"path must be a study folder, but there is no folder {str(given)!r}. Give for example "
            f"{_EXAMPLE}."
        )
    if not (folder / "__init__.py").is_file():
        raise ValueError(
            f"path must be a study folder, but {str(given)!r} has no __init__.py. Add one that "
            "defines STUDY = Study(...)."
        )
    root = _root(folder)
    name = ".".join(folder.relative_to(root).parts)
    if not all(part.isidentifier() for part in name.split(".")):
        raise ValueError(
            f"path must be a study folder, but {name!r} cannot be imported. Rename it to letters, "
            "digits and underscores."
        )
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
    study = getattr(_imported(name, folder, given), "STUDY", None)
    if not isinstance(study, Study):
        raise ValueError(
            f"path must be a study folder, but {str(given)!r} defines no Study called STUDY. Add "
            "STUDY = Study(...)."
        )
    here = Path.cwd()
    return replace(
        study,
        folder=(folder.relative_to(here) if folder.is_relative_to(here) else given).as_posix(),
    )


def _root(folder: Path) -> Path:
    """The first folder above a package that is not a package."""
    root = folder.parent
    while (root / "__init__.py").is_file():
        root = root.parent
    return root


def _imported(name: str, folder: Path, given: Path) -> ModuleType:
    importlib.invalidate_caches()
    try:
        module = importlib.import_module(name)
    except Exception as error:  # a user's module may raise anything
        raise ValueError(
            f"path: the study {str(given)!r} cannot be imported ({type(error).__name__}: {error})."
        ) from error
    if Path(module.__file__ or "").parent != folder:
        raise ValueError(
            f"path: the name of {str(given)!r} belongs to another module, "
            f"{module.__file__ or name}. Rename the folder."
        )
    return module


def reference(part: Arg[Callable[..., Any]]) -> str:
    """The name by which a spec names a function or class of your own: `"module:name"`.

    Use it for the parts of a spec (`{"name": reference(my_loss), "depth": 1.0}`) and for an
    experiment (`"experiment": reference(MyExperiment)`).

    Args:
        part: a function or class defined at the top level of a module.

    Returns:
        The name.

    Raises:
        TypeError: not a function or class.
        ValueError: defined inside another one, or in a script, where another process does not find
            it.
    """
    if not (callable(part) and hasattr(part, "__module__")):
        raise TypeError(
            f"part must be a function or class, got {errors.shown(part)}. For example "
            "reference(my_loss)."
        )
    name = getattr(part, "__qualname__", "")
    if not name.isidentifier() or part.__module__ == "__main__":
        raise ValueError(
            f"part must be defined at the top level of a module, got {errors.shown(part)}. Move it "
            "into a module of the study."
        )
    return f"{part.__module__}:{name}"
