"""The points of a spec: axes and references are resolved, and every point gets a name, a seed and
checked settings."""

import hashlib
import itertools
import json
import math
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from levysde import errors
from levysde.sweeps.experiment import Experiment, find_experiment, nearest
from levysde.sweeps.spec import MOST_POINTS, Range, Reference, Spec, SpecError, as_spec, validated
from levysde.tables import Table, Tabled
from levysde.types import Arg, PathLike

# names of the store's own
RESERVED = frozenset({"point", "quantity", "seed", "summary", "done", "failure", "log"})
_LOOKED_AT = 500  # points whose objects are made as a check


@dataclass(frozen=True)
class Axis:
    """One axis: the path of the setting that it changes, its values, and their labels."""

    name: str
    path: tuple[str, ...]
    values: tuple[Any, ...]
    labels: tuple[Any, ...]


@dataclass(frozen=True)
class Point:
    """One point: its index in the store, its name, its seed and its settings."""

    index: tuple[int, ...]
    id: str
    seed: int
    settings: Any


@dataclass(frozen=True, repr=False)
class Plan(Tabled):
    """A spec that has been checked.

    Attributes:
        spec: the `Spec`.
        folder: where modules named by the spec are searched besides the installed ones, or None.
        experiment: what is run at each point.
        axes: one `Axis` for each axis, in the spec's order.
        points: one `Point` for each point, in the order of the store.
    """

    spec: Spec
    folder: Path | None
    experiment: Experiment = field(compare=False)  # stateless, and named by the spec
    axes: tuple[Axis, ...]
    points: tuple[Point, ...]

    @property
    def dims(self) -> tuple[str, ...]:
        """Names of the store's dimensions: the axes, or "point" if the spec has a [list]."""
        return ("point",) if self.spec.list else tuple(axis.name for axis in self.axes)

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the store's dimensions."""
        return (
            (len(self.points),) if self.spec.list else tuple(len(axis.values) for axis in self.axes)
        )

    def _rows(self) -> list[tuple[str, str]]:
        axes = ", ".join(f"{axis.name} ({len(axis.values)})" for axis in self.axes)
        return [
            ("axes", axes + (", value by value" if self.spec.list else "")),
            ("noise", "shared by all points" if self.spec.coupled else "independent at each point"),
        ]

    def _table(self) -> Table:
        return Table(
            f"Plan of {len(self.points):,} points of {self.experiment.name!r}", self._rows()
        )


def make_plan(spec: Arg[Spec | dict[str, Any]], folder: Arg[PathLike | None] = None) -> Plan:
    """Check every field of a spec and list its points. Nothing is simulated.

    Args:
        spec: a `Spec`, or a table as in the TOML file.
        folder: where modules named by the spec are searched besides the installed ones, or None.

    Returns:
        A `Plan`.

    Raises:
        SpecError: (a ValueError) names the wrong field, and the nearest valid name.
        TypeError: `folder` is not a path.
    """
    spec = as_spec(spec)
    if folder is not None:
        folder = Path(errors.instance("folder", folder, str | os.PathLike, '"experiments"'))
    if folder is not None and str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    try:
        experiment = find_experiment(spec.experiment)
    except ValueError as error:
        raise SpecError(f"experiment: {error}") from None
    section = "list" if spec.list else "grid"
    known = sorted(_paths(spec.run)) + [(name,) for name in experiment.settings.model_fields]
    axes = tuple(
        _axis(section, name, given, known) for name, given in getattr(spec, section).items()
    )
    paths = [axis.path for axis in axes]
    for axis in axes:
        if paths.count(axis.path) > 1:
            raise SpecError(
                f"{section}.{axis.name}: two axes change {'.'.join(axis.path)!r}. Leave out one."
            )
    places = list(_places(section, axes))
    points, seen = [], {}
    for place in places:
        chosen = {axis.name: axis.labels[k] for axis, k in zip(axes, place, strict=True)}
        name = "/".join(f"{key}={_word(value)}" for key, value in sorted(chosen.items()))
        index = (len(points),) if spec.list else place
        if name in seen:
            raise SpecError(f"{section}: two points are {name}. Leave out one.")
        seen[name] = True
        settings = _settings(spec, experiment, axes, place)
        points.append(
            Point(index, name, point_seed(spec.seed, "" if spec.coupled else name), settings)
        )
    plan = Plan(spec, folder, experiment, axes, tuple(points))
    _check_settings(plan, places)
    taken = RESERVED | {
        v.name for v in experiment.variables([points[0].settings]) if v.dims or v.dtype != "float64"
    }
    for axis in axes:
        if axis.name in taken:
            full = ".".join(axis.path)
            raise SpecError(
                f"{section}.{axis.name}: the store has an array of this name. "
                + (f"Type {full!r}." if full != axis.name else "This setting cannot be an axis.")
            )
    return plan


def point_seed(seed: int, name: str) -> int:
    """The seed of a point: a hash of the sweep's seed and the point's name; the sweep's seed if the
    name is empty."""
    if not name:
        return seed
    return int.from_bytes(hashlib.sha256(f"{seed}:{name}".encode()).digest()[:8], "little")


def _paths(table: dict[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The paths of all settings in a table, including those of tables (parts)."""
    for key, value in table.items():
        yield (*above, key)
        if isinstance(value, dict) and "of" not in value:
            yield from _paths(value, (*above, key))


def _resolve(where: str, name: str, known: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """The path that an axis or a reference names: in full, or by its last part if it is unique."""
    path = tuple(name.split("."))
    if path in known or len(path) > 1:
        return path
    ends = sorted({p for p in known if p[-1] == name})
    if len(ends) == 1:
        return ends[0]
    if ends:
        choices = " or ".join(repr(".".join(p)) for p in ends)
        raise SpecError(f"{where}: several settings end so. Type {choices}.")
    names = {".".join(p) for p in known} | {p[-1] for p in known}
    raise SpecError(f"{where}: no setting has this name.{nearest(name, names)}")


def _axis(section: str, name: str, given: Any, known: Sequence[tuple[str, ...]]) -> Axis:
    where = f"{section}.{name}"
    if not all(part.isidentifier() for part in name.split(".")):
        raise SpecError(
            f"{where}: an axis is named by a setting, for example alpha or "
            f"driver.alpha, not {name!r}."
        )
    path = _resolve(where, name, known)
    if isinstance(given, dict):
        span = validated(Range, given, (section, name))
        if span.spacing == "log" and not (span.low > 0 and span.high > 0):
            raise SpecError(
                f'{where}: spacing = "log" wants low and high above 0, not {span.low} '
                f"and {span.high}."
            )
        if not math.isfinite(span.high - span.low):
            raise SpecError(f"{where}: low and high lie too far apart, {span.low} and {span.high}.")
        given = span.values()
    if not isinstance(given, list) or not given:
        shown = f"{given!r}"[:80]
        raise SpecError(
            f"{where}: an axis is a list of values, or {{ low = 0.1, high = 1.0, num = 5 }}, and "
            f"not empty; not {shown}."
        )
    if len(given) > MOST_POINTS:
        raise SpecError(f"{where}: {len(given)} values; at most {MOST_POINTS:,}.")
    labels: list[Any] = [_label(value) for value in given]
    numeric = all(
        isinstance(label, int | float) and not isinstance(label, bool) for label in labels
    )
    if numeric and any(isinstance(label, float) for label in labels):
        labels = [float(label) for label in labels]
    if not numeric:
        labels = [str(label) for label in labels]
    if section == "grid" and len(set(labels)) < len(labels):
        twice = next(label for label in labels if labels.count(label) > 1)
        raise SpecError(
            f"{where}: the value {twice!r} is there twice. Leave out one, or give tables a label."
        )
    values = [
        {k: v for k, v in value.items() if k != "label"} if isinstance(value, dict) else value
        for value in given
    ]
    return Axis(name.replace(".", "_"), path, tuple(values), tuple(labels))


def _label(value: Any) -> Any:
    if isinstance(value, dict):
        return value.get("label", value.get("name", json.dumps(value, sort_keys=True)))
    return (
        json.dumps(value)
        if isinstance(value, list)
        else str(value).lower()
        if isinstance(value, bool)
        else value
    )


def _word(label: Any) -> str:
    return f"{label!r}" if isinstance(label, float) else str(label)


def _places(section: str, axes: Sequence[Axis]) -> Iterator[tuple[int, ...]]:
    """For each point, the index of its value on each axis."""
    lengths = [len(axis.values) for axis in axes]
    if section == "list":
        if len(set(lengths)) > 1:
            sizes = ", ".join(f"{axis.name} {len(axis.values)}" for axis in axes)
            raise SpecError(
                f"list: all axes must have the same length, not {sizes}. Or put them in [grid]."
            )
        return ((k,) * len(axes) for k in range(lengths[0]))
    if math.prod(lengths) > MOST_POINTS:
        raise SpecError(
            f"grid: {math.prod(lengths):,} points; at most {MOST_POINTS:,}. Make an axis shorter."
        )
    return itertools.product(*(range(n) for n in lengths))


def _settings(
    spec: Spec, experiment: Experiment, axes: Sequence[Axis], place: tuple[int, ...]
) -> Any:
    """The settings of one point: the shared ones and each axis's value, references resolved."""
    table = json.loads(json.dumps(spec.run))
    for axis, k in zip(axes, place, strict=True):
        _put(table, axis.path, axis.values[k], axis.name)
    resolved = _walk(table, (), table, sorted(_paths(table)))
    return validated(experiment.settings, resolved, ("run",))


def _put(table: dict[str, Any], path: tuple[str, ...], value: Any, axis: str) -> None:
    """Set the value at a path. A string in the place of a part changes the part's name."""
    for key in path[:-1]:
        inner = table.setdefault(key, {})
        if not isinstance(inner, dict):
            raise SpecError(
                f"axis {axis}: {'.'.join(path)} leads through {key!r}, which is no table."
            )
        table = inner
    old = table.get(path[-1])
    if isinstance(old, dict) and "name" in old and isinstance(value, str):
        table[path[-1]] = old | {"name": value}
    else:
        table[path[-1]] = json.loads(json.dumps(value))


def _walk(
    value: Any, path: tuple[str, ...], table: dict[str, Any], known: Sequence[tuple[str, ...]]
) -> Any:
    """`value`, which is at `path`, with its references replaced by numbers. Raises SpecError."""
    if not isinstance(value, dict):
        return value
    if "of" in value:
        return _number(value, path, (), table, known)
    return {key: _walk(inner, (*path, key), table, known) for key, inner in value.items()}


def _number(
    given: dict[str, Any],
    path: tuple[str, ...],
    trail: tuple[str, ...],
    table: dict[str, Any],
    known: Sequence[tuple[str, ...]],
) -> float:
    """The value of the reference `given` at `path`; `trail` holds the references that led here."""
    where = ".".join(("run", *path))
    if where in trail:
        raise SpecError(
            f"{where}: refers to itself, by {' -> '.join((*trail, where))}. Give one "
            "of them a number."
        )
    reference = validated(Reference, given, ("run", *path))
    target = _resolve(f"{where}.of", reference.of, known)
    base: Any = table
    for key in target:
        base = base.get(key) if isinstance(base, dict) else None
    if isinstance(base, dict) and "of" in base:
        base = _number(base, target, (*trail, where), table, known)
    if isinstance(base, bool) or not isinstance(base, int | float):
        raise SpecError(f"{where}.of: {'.'.join(target)!r} is {base!r}, not a number.")
    try:
        result = reference.times * float(base) ** reference.power
    except (OverflowError, ZeroDivisionError):
        result = math.inf
    if isinstance(result, complex) or not math.isfinite(result):
        raise SpecError(
            f"{where}: {reference.times} * {base} ** {reference.power} is no finite number."
        )
    return result


def _check_settings(plan: Plan, places: Sequence[tuple[int, ...]]) -> None:
    """Let the experiment check every value of every axis: the first point and those that differ
    from it in one axis. Of very many, evenly spaced ones are checked."""
    look = [k for k, place in enumerate(places) if plan.spec.list or sum(map(bool, place)) <= 1]
    for k in [look[j] for j in np.unique(np.linspace(0, len(look) - 1, _LOOKED_AT).astype(int))]:
        point = plan.points[k]
        try:
            plan.experiment.check(point.settings)
        except (ValueError, TypeError, ImportError) as error:
            at = f" (point {point.id})" if len(places) > 1 else ""
            raise SpecError(f"{error}{at}") from None
