"""The points of a sweep as rows, read from the store only.

No objects of points are made, so a report needs neither the modules that a spec names nor a trained
network.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from levysde.sweeps.store import Store

T = TypeVar("T")
# settings that change how a run is made, but not its subject
_NOT_SWEPT_FOR = {"seed", "training_seed", "num", "lanes", "dt"}
_LONGEST = 40  # letters of a word where points are named
_BOOKKEEPING = {"done", "failure", "seed", "warnings", "run_warnings", "summary"}


@dataclass(frozen=True)
class AxisColumn:
    """One axis as it is stored.

    Attributes:
        name: name of the coordinate.
        setting: path of the setting that it changes.
        labels: its values, numbers or strings, in the spec's order.
    """

    name: str
    setting: str
    labels: tuple[Any, ...]

    @property
    def is_numeric(self) -> bool:
        return not isinstance(self.labels[0], str)

    @property
    def is_physical(self) -> bool:
        """Whether the axis is numeric and changes the problem. Seeds, steps and numbers of
        trajectories do not."""
        return self.is_numeric and self.setting.rsplit(".", 1)[-1] not in _NOT_SWEPT_FOR

    @property
    def varies(self) -> bool:
        return len(set(self.labels)) > 1

    @property
    def can_be_fitted(self) -> bool:
        """Whether the values are positive numbers, at least two of them different."""
        return self.is_numeric and self.varies and min(self.labels) > 0


@dataclass(frozen=True)
class Row:
    """One point.

    Attributes:
        index: its index in the store.
        at: its value on each axis, by the axis's name.
        state: "done", "failed" or "to run".
        numbers: its scalars by name; NaN if the point has not been run.
        words: its stored texts by name.
        warnings: caveats of the ratio.
        message: why it failed, else "".
        seed: seed of its noise.
    """

    index: tuple[int, ...]
    at: dict[str, Any]
    state: str
    numbers: dict[str, float]
    words: dict[str, str]
    warnings: tuple[str, ...]
    message: str
    seed: int

    def get(self, name: str) -> float:
        """The scalar of this name, NaN if there is none."""
        return self.numbers.get(name, np.nan)


@dataclass(frozen=True)
class SweepTable:
    """All points of a sweep.

    Attributes:
        axes: in the spec's order.
        rows: in the order of the points.
        quantities: units and long name of each scalar, by its name.
        walked: whether the axes are those of a [list], so that each row has its own value on each.
    """

    axes: tuple[AxisColumn, ...]
    rows: tuple[Row, ...]
    quantities: dict[str, tuple[str, str]]
    walked: bool

    @property
    def done(self) -> list[Row]:
        return [row for row in self.rows if row.state == "done"]

    def axis(self, name: str) -> AxisColumn:
        return next(axis for axis in self.axes if axis.name == name)

    def place(self, row: Row) -> str:
        """A row's values on the axes that vary, as text."""
        return words_of(row.at, [axis.name for axis in self.axes if axis.varies]) or words_of(
            row.at
        )


def read_table(store: Store) -> SweepTable:
    """Read every point's scalars. A thousand points take about a second."""
    arrays, spec = store.arrays, store.spec
    # in the store's order, which can differ from the order in the text of the spec
    dims = arrays["done"].metadata.dimension_names
    names = [name.replace(".", "_") for name in spec.list] or list(dims)
    axes = tuple(_axis(name, arrays[name]) for name in names)
    finished, failed = store.finished(), store.failed()
    numbers, words, about = _scalars(store)
    seeds = arrays["seed"][...]
    messages = _texts(arrays, "failure", failed, store.shape)
    remarks = _texts(arrays, "warnings", finished | failed, store.shape)
    rows = []
    for index in np.ndindex(store.shape):
        places = index * len(axes) if spec.list else index
        state = "done" if index in finished else "failed" if index in failed else "to run"
        rows.append(
            Row(
                index,
                {axis.name: axis.labels[k] for axis, k in zip(axes, places, strict=True)},
                state,
                {
                    name: float(values[index]) if state != "to run" else np.nan
                    for name, values in numbers.items()
                },
                {name: str(values[index]) for name, values in words.items()},
                tuple(line for line in str(remarks[index]).split("\n") if line),
                str(messages[index]),
                int(seeds[index]),
            )
        )
    return SweepTable(axes, tuple(rows), about, bool(spec.list))


def kinds_of(warnings: Iterable[tuple[T, Sequence[str]]]) -> list[list[tuple[T, str]]]:
    """The warnings of all rows; those that differ only in their numbers are grouped."""
    kinds: dict[str, list[tuple[T, str]]] = {}
    for row, texts in warnings:
        for text in texts:
            kinds.setdefault(re.sub(r"[\d.]+(e[+-]?\d+)?", "#", text), []).append((row, text))
    return list(kinds.values())


def words_of(at: dict[str, Any], names: Sequence[str] | None = None) -> str:
    """A point as text, `alpha = 1.5, epsilon = 0.1`; with all axes, or those in `names`."""
    return ", ".join(
        f"{name} = {shortened(number(value), _LONGEST)}"
        for name, value in at.items()
        if names is None or name in names
    )


def shortened(text: str, most: int) -> str:
    """A text of at most `most` letters; an empty one becomes two quotation marks."""
    return (text if len(text) <= most else text[: most - 1] + "…") or '""'


def number(value: Any, digits: int = 4) -> str:
    """A value as text: numbers with `digits` significant digits, a dash for NaN."""
    if isinstance(value, str | bool) or not isinstance(value, int | float | np.number):
        return str(value)
    if np.isnan(value):
        return "–"
    if np.isinf(value):
        return "∞" if value > 0 else "−∞"
    if float(value).is_integer() and abs(value) < 1e6:
        return f"{int(value)}".replace("-", "−")
    return f"{float(value):.{digits}g}".replace("-", "−")


def _axis(name: str, array: Any) -> AxisColumn:
    values = array[...]
    labels = (
        tuple(values.tolist()) if np.asarray(values).dtype.kind in "if" else tuple(map(str, values))
    )
    return AxisColumn(name, str(array.attrs.get("long_name", name)), labels)


def _scalars(store: Store) -> tuple[dict[str, Any], dict[str, Any], dict[str, tuple[str, str]]]:
    """The numbers and texts of which a point has one, and units and long names of the numbers."""
    arrays = store.arrays
    numbers, words, about = {}, {}, {}
    if store.quantities:
        summary = arrays["summary"][...]
        units, names = arrays["quantity_units"][...], arrays["quantity_long_name"][...]
        for k, name in enumerate(store.quantities):
            numbers[name], about[name] = summary[..., k], (str(units[k]), str(names[k]))
    for name, array in arrays.items():
        if name in _BOOKKEEPING or array.shape != store.shape or "coordinates" not in array.attrs:
            continue  # axes have no coordinates of their own
        if np.dtype(array.dtype).kind in "biuf":
            numbers[name] = array[...]
            about[name] = (
                str(array.attrs.get("units", "1")),
                str(array.attrs.get("long_name", name)),
            )
        else:
            words[name] = array[...]
    return numbers, words, about


def _texts(
    arrays: dict[str, Any], name: str, where: set[tuple[int, ...]], shape: tuple[int, ...]
) -> np.ndarray:
    """The texts of the points in `where`; the others have none and are not read."""
    texts = np.full(shape, "", dtype=object)
    if name in arrays and arrays[name].shape == shape:
        for index in where:
            texts[index] = str(arrays[name][index])
    return texts
