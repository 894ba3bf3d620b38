"""What a study is made of: sections, each with claims, the sweeps that test them, and a function
that judges the results."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from levysde import errors
from levysde.studies.claims import Claim
from levysde.studies.verdicts import Verdict
from levysde.sweeps import Sweep
from levysde.tables import Table, Tabled
from levysde.types import Arg


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
        rows = [
            *((verdict.claim.key, verdict.word) for verdict in self.verdicts),
            ("figures", ", ".join(self.figures) or "none"),
            ("tables", ", ".join(self.tables) or "none"),
        ]
        return Table(f"Finding of {len(self.verdicts)} verdicts", rows)


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
        rows = [(section.name, f"{len(section.claims)} claims") for section in self.sections]
        return Table(f"Study: {self.name}", [("paper", self.paper), *rows])
