"""A study: the claims of one paper, the sweeps that test them, and the verdicts. Run again, it goes on where it stopped."""

import json
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from levysde import errors
from levysde.errors import Checked
from levysde.studies.claims import Claim
from levysde.studies.verdicts import Verdict, as_json, markdown
from levysde.sweeps import Sweep, open_sweep, run_sweep, versions
from levysde.tables import Table, Tabled

LOG = logging.getLogger("levysde.studies")


@dataclass(frozen=True, repr=False)
class Finding(Tabled):
    """What a section found.

    Args:
        verdicts: a `Verdict` for each of its claims, in their order.
        figures: pictures by name.
        data: tables by name, each a list of rows `{column: number or word}`.

    Raises:
        TypeError: something else than verdicts, than dicts.
    """

    verdicts: Checked
    figures: Checked = field(default_factory=dict)
    data: Checked = field(default_factory=dict)

    def __post_init__(self):
        errors.several("verdicts", self.verdicts, Verdict, "(Verdict(claim, word, measured, power),)")
        errors.instance("figures", self.figures, dict, '{"name": figure}')
        errors.instance("data", self.data, dict, '{"name": [{"column": 1.0}]}')

    def _table(self) -> Table:
        rows = [
            *((verdict.claim.key, verdict.word) for verdict in self.verdicts),
            ("figures", ", ".join(self.figures) or "none"),
            ("data", ", ".join(self.data) or "none"),
        ]
        return Table(f"Finding of {len(self.verdicts)} verdicts", rows)


@dataclass(frozen=True, repr=False)
class Section(Tabled):
    """One question to a paper.

    Args:
        name: of its folder.
        claims: a `Claim` for each thing it says, fixed before the run.
        sweeps: for quick or not, the specs to run, by name; as in a sweep's TOML file.
        judge: from the finished sweeps, and quick or not, what was found: a `Finding`.

    Raises:
        TypeError: a name that is no word, something else than claims, than functions.
    """

    name: Checked
    claims: Checked
    sweeps: Checked
    judge: Checked

    def __post_init__(self):
        errors.word("name", self.name)
        errors.several("claims", self.claims, Claim, "(Claim(key, statement, where, predicted, fails_if),)")
        errors.function("sweeps", self.sweeps, "lambda quick: {}")
        errors.function("judge", self.judge, "lambda found, quick: Finding(verdicts)")

    def _table(self) -> Table:
        return Table(f"Section: {self.name}", [(claim.key, claim.statement) for claim in self.claims])


@dataclass(frozen=True, repr=False)
class Study(Tabled):
    """A paper under test.

    Args:
        name: as in `levysde study NAME`.
        paper: authors, title, venue.
        sections: a `Section` for each question, in the order they are run.

    Raises:
        TypeError: a name or a paper that is no text, something else than sections.
    """

    name: Checked
    paper: Checked
    sections: Checked

    def __post_init__(self):
        errors.word("name", self.name)
        errors.word("paper", self.paper)
        errors.several("sections", self.sections, Section, "(Section(name, claims, sweeps, judge),)")

    def _table(self) -> Table:
        rows = [(section.name, f"{len(section.claims)} claims") for section in self.sections]
        return Table(f"Study: {self.name}", [("paper", self.paper), *rows])


def run_study(
    study: Checked,
    out: Checked,
    *,
    quick: Checked = False,
    sections: Checked = None,
    progress: Checked = False,
) -> tuple[Verdict, ...]:
    """Run a study's sweeps into `out`, and write `verdicts.md`, `verdicts.json`, `data.json` and the figures there.

    Args:
        study: a `Study`, or the name of one: "zhou2020", "xie2021", "jelassi2022".
        out: a folder. Finished points of an earlier run are not run again.
        quick: a smaller run of under three minutes, whose verdicts are weaker; not in the folder of a full one.
        sections: names of those to run; all by default.
        progress: show a bar for each sweep.

    Returns:
        The verdicts, in the order of the claims.

    Raises:
        TypeError, ValueError: an unknown study or section, a folder that cannot be written or holds another run.
        RuntimeError: a point failed; the others are stored, and the same call tries it again.
        Interrupted: Ctrl-C; type the same command again.
    """
    study = study if isinstance(study, Study) else find_study(study)
    chosen = _chosen(study, sections)
    errors.flag("quick", quick)
    errors.flag("progress", progress)
    errors.instance("out", out, str | os.PathLike, '"zhou2020"')
    folder = errors.writable("out", Path(out) / "verdicts.md").parent
    verdicts: list[Verdict] = []
    tables: dict[str, Any] = {}
    for section in chosen:
        finding = _run_section(section, folder, quick, progress)
        keys = [verdict.claim.key for verdict in finding.verdicts]
        assert keys == [claim.key for claim in section.claims], f"{section.name} judged {keys}"
        verdicts += finding.verdicts
        tables |= {f"{section.name}/{name}": rows for name, rows in finding.data.items()}
        for name, figure in finding.figures.items():
            figure.savefig(folder / f"{section.name}-{name}.png", dpi=150)
    command = _command(study, folder, quick, sections)
    (folder / "verdicts.md").write_text(markdown(verdicts, command))
    (folder / "verdicts.json").write_text(as_json(verdicts))
    about = {"study": study.name, "paper": study.paper, "quick": quick, "command": command, "versions": versions()}
    (folder / "data.json").write_text(json.dumps(about | {"tables": tables}, indent=1, default=float))
    return tuple(verdicts)


def _run_section(section: Section, folder: Path, quick: bool, progress: bool) -> Finding:
    found: dict[str, Sweep] = {}
    for name, spec in section.sweeps(quick).items():
        place = folder / section.name / name
        LOG.info("%s: %s", section.name, name)
        title = {"title": f"{section.name}: {name}"}
        tally = run_sweep(title | spec, place, retry_failed=True, progress=progress)
        found[name] = open_sweep(place)
        if tally.failed or found[name].failures:
            first = next(iter(found[name].failures.items()))
            raise RuntimeError(
                f"{place}: the point {first[0]} failed: {first[1]}\nType the same command to try it again."
            )
    return section.judge(found, quick)


def _chosen(study: Study, names: Any) -> Sequence[Section]:
    if names is None:
        return study.sections
    known = {section.name: section for section in study.sections}
    for name in errors.several("sections", names, str, f"({study.sections[0].name!r},)"):
        if name not in known:
            raise ValueError(
                f"sections: {study.name} has no section {errors.shown(name)}. There are {', '.join(known)}."
            )
    return [section for section in study.sections if section.name in names]


def _command(study: Study, folder: Path, quick: bool, sections: Any) -> str:
    words = ["levysde study", study.name, "--quick" * quick, *(f"--section {name}" for name in sections or ())]
    return " ".join([*filter(None, words), f"--out {folder.name}"])


STUDIES = ("jelassi2022", "xie2021", "zhou2020")


def find_study(name: Checked) -> Study:
    """The study of that name.

    Args:
        name: "zhou2020", "xie2021" or "jelassi2022".

    Returns:
        A `Study`.

    Raises:
        ValueError: another name.
    """
    import importlib

    if not isinstance(name, str) or name not in STUDIES:
        raise ValueError(f"there is no study of the name {errors.shown(name)}. There are {', '.join(STUDIES)}.")
    return importlib.import_module(f"levysde.studies.{name}").STUDY
