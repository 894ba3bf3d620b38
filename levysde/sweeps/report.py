"""The report of a sweep: one self-contained HTML file without scripts.

It reads only the store, so it can be written for a sweep that is running, was interrupted, failed,
or was run elsewhere.
"""

import collections
import importlib.resources
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
import numpy as np

from levysde import errors
from levysde.sweeps.fits import (
    METHODS,
    REJECTED,
    Line,
    ScalingFit,
    end_ratios,
    fit_line,
    groups_along,
    lines_along,
    log_mean_covariance,
)
from levysde.sweeps.report_figures import (
    MOST_CURVES,
    MOST_SERIES,
    Panel,
    mean_panel,
    ratio_panel,
    series_along,
    survival_panels,
)
from levysde.sweeps.rows import (
    AxisColumn,
    Row,
    SweepTable,
    kinds_of,
    number,
    read_table,
    shortened,
    words_of,
)
from levysde.sweeps.spec import as_toml, setting_lines
from levysde.sweeps.status import duration
from levysde.types import Arg, PathLike

if TYPE_CHECKING:
    from levysde.sweeps.sweep import Sweep

_MOST_ROWS = 200
_MOST_NAMES = 40  # of points, where they are listed
_RESAMPLES = 500
_CONFIDENCE = 0.95  # as in the stored columns
_NOT_EXPONENTIAL = 1e-3  # p-value, as in `compare`
_LONG_TEXT = "gradient_noise"  # of the main job, lines that do not fit a table
_SHOWN_AS = {  # the columns of an escape run in the words of a table; the rest keep their names
    "escapes": "escapes",
    "censored": "censored",
    "nan": "NaN",
    "mean_time": "mean time",
    "predicted_mean": "predicted",
    "ratio": "measured over predicted",
    "shape": "shape",
    "p_exponential": "p (exponential)",
    "regime": "rate / relaxation",
    "dt": "dt",
}


@dataclass(frozen=True)
class PointGrid:
    """A table for the page: heads, and rows of texts; `words` says which columns are not
    numbers."""

    heads: list[str]
    rows: list[list[str]]
    words: list[bool]
    left_out: int = 0


@dataclass(frozen=True)
class Along:
    """What is shown along one axis; `along` names the axes that change together with it."""

    axis: AxisColumn
    along: tuple[str, ...]
    panels: list[Panel]
    fits: list[ScalingFit]
    lines: int


def write_report(sweep: "Sweep", path: Arg[PathLike]) -> Path:
    """Write the report of a sweep, finished or not, as one HTML file.

    Args:
        sweep: from `open_sweep`.
        path: of the file, replaced when it is there.

    Returns:
        The path.

    Raises:
        TypeError, ValueError: not a sweep; a path that cannot be written.
    """
    if not hasattr(sweep, "store"):
        raise TypeError(
            f"sweep must be a Sweep, not {errors.shown(sweep)}. Type "
            "write_report(open_sweep(folder), path)."
        )
    path = errors.writable("path", path)
    path.write_text(render(sweep), encoding="utf-8")
    return path


def render(sweep: "Sweep") -> str:
    """The page as text. The same store gives the same text."""
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"number": number, "place": words_of, "once": _once}
    source = (
        importlib.resources.files("levysde.sweeps")
        .joinpath("report.html.j2")
        .read_text(encoding="utf-8")
    )
    return environment.from_string(source).render(_contents(sweep))


def _contents(sweep: "Sweep") -> dict[str, Any]:
    store = sweep.store
    spec, table = store.spec, read_table(store)
    states = collections.Counter(row.state for row in table.rows)
    escapes = {"mean_time", "escapes"} <= set(table.quantities)
    covariance = log_mean_covariance(store, table, _RESAMPLES, 0) if escapes else {}
    alongs = _alongs(table, covariance, spec.coupled) if escapes else []
    steps = [axis for axis in table.axes if _is_step(axis)]
    return {
        "title": store.attributes["title"],
        "store": Path(store.place.url).name if store.place.is_local else store.place.url,
        "spec": spec,
        "spec_text": as_toml(spec.model_dump()),
        "states": {name: states[name] for name in ("done", "failed", "to run")},
        "total": len(table.rows),
        "axes": _axes(table),
        "shared": setting_lines(spec.run, {axis.setting for axis in table.axes}),
        "results": _results(table),
        "summary": _summary(table, alongs),
        "has_escapes": escapes,
        "has_law": any(np.isfinite(row.get("predicted_mean")) for row in table.done),
        "unit": table.quantities["mean_time"][0] if escapes else "",
        "curves": survival_panels(sweep, table) if escapes else [],
        "most_curves": MOST_CURVES,
        "alongs": [along for along in alongs if not _is_step(along.axis)],
        "step_alongs": [along for along in alongs if _is_step(along.axis)],
        "most_series": MOST_SERIES,
        "fits": _fits(alongs),
        "method": METHODS[spec.coupled],
        "steps": [
            ratio
            for axis in steps
            if axis.can_be_fitted
            for ratio in end_ratios(table, axis.name, covariance, spec.coupled, _CONFIDENCE)
        ],
        "step_axis": steps[0].name if steps else "",
        "warnings": _warnings(table),
        "failures": _failures(table),
        "to_run": _names(table, [row for row in table.rows if row.state == "to run"]),
        "how": _how(list(store.how().values())),
        "attributes": store.attributes,
        "quantities": table.quantities,
    }


def _alongs(table: SweepTable, covariance: dict[Any, Any], coupled: bool) -> list[Along]:
    found = []
    for k, axis in enumerate(table.axes):
        if not axis.varies or not any(np.isfinite(row.get("mean_time")) for row in table.done):
            continue
        lines: list[Line] = []
        if axis.is_physical and axis.can_be_fitted:
            lines = lines_along(table, axis.name, covariance, 3)
        no_law = all(np.isnan(row.get("predicted_mean")) for row in table.done)
        fits: list[ScalingFit] = []
        panels: list[Panel] = []
        unit = table.quantities["mean_time"][0]
        for form in ("power", "exponential") if no_law and lines else ("power",):
            own = [
                fit_line(line, axis.name, "mean_time", form, _CONFIDENCE, coupled) for line in lines
            ]
            own = [fit for fit in own if fit is not None]
            series = series_along(table, axis, own, lines)
            panels.append(mean_panel(series, axis, unit, f"mean{k}{form[0]}", form))
            fits += own
        series = series_along(table, axis, [], [])
        if not no_law:
            panels.append(ratio_panel(series, axis, f"ratio{k}"))
        found.append(Along(axis, groups_along(table, axis.name)[1], panels, fits, len(series)))
    return found


def _is_step(axis: AxisColumn) -> bool:
    return axis.setting.rsplit(".", 1)[-1] == "dt"


def _axes(table: SweepTable) -> list[tuple[str, str, int, str]]:
    """Name, setting, number of values, values in words."""
    found = []
    for axis in table.axes:
        shown = [shortened(number(label, 6), 60) for label in axis.labels]
        if len(shown) > 12:
            shown = [*shown[:6], "…", *shown[-3:]]
        found.append((axis.name, axis.setting, len(axis.labels), ", ".join(shown)))
    return found


def _results(table: SweepTable) -> PointGrid:
    """One line per finished point: its axes, then its numbers with their intervals."""
    rows = table.done
    names = [
        n
        for n in table.quantities
        if any(np.isfinite(r.get(n)) or np.isinf(r.get(n)) for r in rows)
    ]
    first = [name for name in _SHOWN_AS if name in names]
    ends = {f"{name}{end}" for name in names for end in ("_low", "_high")}
    names = first + [name for name in names if name not in _SHOWN_AS and name not in ends]
    if not any(row.get("nan") for row in rows):
        names = [name for name in names if name != "nan"]
    if len({row.get("dt") for row in rows}) < 2 or any(_is_step(axis) for axis in table.axes):
        names = [name for name in names if name != "dt"]
    axes = [axis for axis in table.axes if axis.varies] or list(table.axes)
    names = [name for name in names if name not in {axis.name for axis in table.axes}]
    texts = sorted({name for row in rows for name in row.words} - {_LONG_TEXT})
    units = {name: table.quantities[name][0] for name in names}
    named = [
        _SHOWN_AS.get(name, name) + (f" ({unit})" if unit not in ("", "1") else "")
        for name, unit in units.items()
    ]
    heads = [axis.name for axis in axes] + named + texts
    body = [
        [shortened(number(row.at[axis.name], 6), 60) for axis in axes]
        + [_with_interval(row, name) for name in names]
        + [row.words[name] for name in texts]
        for row in rows[:_MOST_ROWS]
    ]
    words = [not axis.is_numeric for axis in axes] + [False] * len(names) + [True] * len(texts)
    if any(row.warnings for row in rows):
        heads, words = [*heads, "warnings"], [*words, False]
        body = [
            [*cells, str(len(row.warnings) or "")] for cells, row in zip(body, rows, strict=False)
        ]
    return PointGrid(heads, body, words, max(len(rows) - _MOST_ROWS, 0))


def _with_interval(row: Row, name: str) -> str:
    value, low, high = (row.get(f"{name}{end}") for end in ("", "_low", "_high"))
    if name == "p_exponential":
        return number(value, 2)
    if np.isnan(low) or np.isnan(high):
        return number(value)
    return f"{number(value)} [{number(low)}, {number(high)}]"


def _summary(table: SweepTable, alongs: Sequence[Along]) -> list[str]:
    """The main results in sentences."""
    found = []
    ratios = [row for row in table.done if np.isfinite(row.get("ratio"))]
    if ratios:
        values = [row.get("ratio") for row in ratios]
        inside = sum(row.get("ratio_low") <= 1 <= row.get("ratio_high") for row in ratios)
        found.append(
            f"Measured over predicted mean: median {number(float(np.median(values)), 3)}, from "
            f"{number(min(values), 3)} to {number(max(values), 3)}; the 95% intervals of {inside} "
            f"of {len(ratios)} points contain 1."
        )
    fits = [fit for along in alongs for fit in along.fits if np.isfinite(fit.theory_slope)]
    if fits:
        straight = [fit for fit in fits if not fit.rejected]
        inside = sum(fit.slope.low <= fit.theory_slope <= fit.slope.high for fit in straight)
        why = (
            " The law is a limit for small noise: as long as measured over predicted still moves "
            "towards 1 along an axis, slopes differ from the law's."
        )
        if straight:
            found.append(
                f"The 95% intervals of {inside} of {len(straight)} fitted slopes contain theory's "
                "slope." + why * (inside < len(straight))
            )
        if len(straight) < len(fits):
            found.append(
                f"{len(fits) - len(straight)} of {len(fits)} lines are rejected (p < "
                f"{REJECTED:g}): the means do not lie on a straight line, and the slope and its "
                "interval describe nothing. Look at the figure, or fit a shorter range."
            )
    bent = sum(row.get("p_exponential") < _NOT_EXPONENTIAL for row in table.done)
    if bent:
        found.append(
            f"The times of {bent} of {len(table.done)} points are not exponential (p < "
            f"{_NOT_EXPONENTIAL:g}), which the intervals assume."
        )
    still = sum(row.get("escapes") == 0 for row in table.done)
    if still:
        found.append(
            f"At {still} of {len(table.done)} points no trajectory left: their mean has "
            "only a lower limit."
        )
    warned = sum(bool(row.warnings) for row in table.done)
    if table.done and "mean_time" in table.quantities:
        found.append(f"{warned} of {len(table.done)} finished points carry warnings.")
    return found


def _fits(alongs: Sequence[Along]) -> PointGrid:
    fits = [fit for along in alongs for fit in along.fits]
    heads = [
        "log mean against",
        "at",
        "points",
        "from",
        "to",
        "slope",
        "theory's slope",
        "p (straight)",
    ]
    words = [True, True, False, False, False, False, False, False]
    body = [
        [
            f"log {fit.axis}" if fit.form == "power" else f"1 / {fit.axis}",
            fit.where or ("together with " + ", ".join(fit.along) if fit.along else ""),
            f"{fit.points}" + (f" ({fit.left_out} left out)" if fit.left_out else ""),
            number(fit.low),
            number(fit.high),
            f"{number(fit.slope.value)} [{number(fit.slope.low)}, {number(fit.slope.high)}]",
            number(fit.theory_slope),
            number(fit.p_value, 2),
        ]
        for fit in fits[:_MOST_ROWS]
    ]
    return PointGrid(heads, body, words, max(len(fits) - _MOST_ROWS, 0))


def _warnings(table: SweepTable) -> list[dict[str, Any]]:
    """Warnings that differ only in their numbers, together: how many points, which, and the text of
    the last."""
    return [
        {
            "count": len({row.index for row, _ in own}),
            "text": own[-1][1],
            "where": table.place(own[-1][0]),
            "points": _names(table, [row for row, _ in own]),
        }
        for own in sorted(
            kinds_of((row, row.warnings) for row in table.rows), key=len, reverse=True
        )
    ]


def _failures(table: SweepTable) -> list[tuple[str, str]]:
    """Messages of failed points, those of one message together."""
    kinds: dict[str, list[Row]] = {}
    for row in table.rows:
        if row.state == "failed":
            kinds.setdefault(row.message, []).append(row)
    return [(message, _names(table, rows)) for message, rows in kinds.items()]


def _names(table: SweepTable, rows: Sequence[Row]) -> str:
    """Points in words, all of them when they are few."""
    more = f"; and {len(rows) - _MOST_NAMES} more" if len(rows) > _MOST_NAMES else ""
    return "; ".join(map(table.place, rows[:_MOST_NAMES])) + more


def _how(logs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    seconds = [float(log["seconds"]) for log in logs]
    ended = sorted(log["ended"].replace("T", " ").replace("+00:00", " UTC") for log in logs)
    devices = collections.Counter(log["device"] for log in logs)
    stacks = collections.Counter(
        ", ".join(f"{name} {version}" for name, version in log["versions"].items()) for log in logs
    )
    return {
        "points": len(logs),
        "seconds": duration(sum(seconds)),
        "longest": duration(max(seconds, default=0.0)),
        "first": ended[0] if ended else "",
        "last": ended[-1] if ended else "",
        "hosts": len({log["host"] for log in logs}),
        "devices": devices.most_common(),
        "versions": stacks.most_common(),
    }


def _once(device: str) -> str:
    """A device by platform and kind, "gpu NVIDIA H100", which are one word on a CPU."""
    return " ".join(dict.fromkeys(device.split()))
