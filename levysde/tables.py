"""Small tables: how a result prints, as text and in a notebook as HTML, both from one description.

A class inherits `Tabled` and says by `_table` what it shows; how that looks is decided here alone.
Both forms hold the same words in the same order.
"""

import html
import math
import textwrap
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import jax
import numpy as np

WIDTH = 110  # of a line of text; longer values go on in the next
# no colours: those of the page hold, light or dark
_TABLE = "border-collapse:collapse;width:auto;margin:0.5em 0;"
_CAPTION = "caption-side:top;text-align:left;font-weight:bold;color:inherit;white-space:nowrap;"
_CELL = "padding:0.1em 1em 0.1em 0.3em;vertical-align:top;border:none;"
_VALUE = "font-family:monospace;"
_ARRAYS = (np.ndarray, np.generic, jax.Array)


class Heading(str):
    """Stands over the rows that follow."""

    __slots__ = ()


@dataclass(frozen=True)
class Grid:
    """Rows of several columns: names of the columns, and the cells."""

    head: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


@dataclass(frozen=True)
class Table:
    """What an object shows.

    Attributes:
        title: what it is.
        lines: in their order: rows `(label, value)`, a `Grid`, a `Heading`, or a note as a plain
            string.
        warnings: caveats.
    """

    title: str
    lines: Sequence[tuple[str, str] | Grid | str] = ()
    warnings: Sequence[str] = ()

    def text(self) -> str:
        width = max((len(line[0]) for line in self.lines if isinstance(line, tuple)), default=0)
        found = [self.title]
        for line in self.lines:
            if isinstance(line, Heading):
                found.append(f" {line}")
            elif isinstance(line, str):
                found += _wrapped("  ", line)
            elif isinstance(line, Grid):
                found += _columns(line)
            else:
                found += _wrapped(f"  {line[0]:<{width}}  ", line[1])
        for warning in self.warnings:
            found += _wrapped("  warning: ", warning)
        return "\n".join(found)

    def html(self) -> str:
        if not self.lines and not self.warnings:
            return f"<code>{html.escape(self.title)}</code>"
        columns = max([2, *(len(line.head) for line in self.lines if isinstance(line, Grid))])
        rows = [_html(line, columns) for line in self.lines]
        rows += [
            _whole(f"<strong>warning:</strong> {html.escape(warning)}", columns)
            for warning in self.warnings
        ]
        caption = f'<caption style="{_CAPTION}">{html.escape(self.title)}</caption>'
        return f'<table style="{_TABLE}">{caption}<tbody>{"".join(rows)}</tbody></table>'


class Compared:
    """Base of dataclasses that hold arrays: two are equal if all they hold is.

    A plain dataclass compares its fields as one tuple, which fails for arrays, and calls NaN
    unequal to itself. Here arrays are compared by shape and values, and NaN equals NaN. What holds
    no arrays can be hashed.
    """

    __slots__ = ()

    def __init_subclass__(cls, **arguments: Any):
        super().__init_subclass__(**arguments)
        # in the class itself, or `@dataclass` would write its own
        for name in ("__eq__", "__hash__"):
            if name not in vars(cls):
                setattr(cls, name, getattr(Compared, name))

    def __eq__(self, other: object) -> bool:
        if self is other or not is_dataclass(self) or type(self) is not type(other):
            return self is other
        return same(_held(self), _held(other))

    def __hash__(self) -> int:
        if not is_dataclass(self):
            return object.__hash__(self)
        leaves = jax.tree.leaves(_held(self))
        if any(isinstance(leaf, np.ndarray | jax.Array) for leaf in leaves):
            raise TypeError(
                f"{type(self).__name__} holds arrays, which cannot be hashed. Compare "
                "it with == instead."
            )
        # equal objects need equal hashes, and Python hashes NaN by its place in memory
        return hash((type(self), *(None if leaf != leaf else leaf for leaf in leaves)))


class Tabled(Compared, ABC):
    """Prints as the small table that its `_table` describes."""

    __slots__ = ()

    @abstractmethod
    def _table(self) -> Table:
        """What it shows."""

    def __repr__(self) -> str:
        return self._table().text()

    def _repr_html_(self) -> str:
        return self._table().html()


def same(one: Any, other: Any) -> bool:
    """Whether two values hold the same: arrays by shape and values, containers item by item, NaN
    equal to NaN.

    Args:
        one, other: numbers, words, arrays, or containers and modules of such.

    Returns:
        True or False, never an array.

    Raises:
        Nothing.

    Source:
        Elementary.
    """
    (leaves, structure), (others, its_structure) = jax.tree.flatten(one), jax.tree.flatten(other)
    return bool(structure == its_structure) and all(map(_same_leaf, leaves, others))


def _same_leaf(one: Any, other: Any) -> bool:
    if not isinstance(one, _ARRAYS) and not isinstance(other, _ARRAYS):
        return bool(one == other or (one != one and other != other))
    one, other = np.asarray(one), np.asarray(other)
    return np.array_equal(one, other, equal_nan=one.dtype.kind in "fc" and other.dtype.kind in "fc")


def _held(result: Any) -> list:
    """The values that count when results are compared."""
    return [getattr(result, field.name) for field in fields(result) if field.compare]


def listed(values: Sequence[float] | np.ndarray, digits: str = ".4g", most: int = 8) -> str:
    """The first few of some numbers, with how many there are when not all are shown."""
    values = np.asarray(values).ravel()
    shown = ", ".join(format(value, digits) for value in values[:most])
    return (shown or "none") + (f", ... ({len(values)})" if len(values) > most else "")


def spread(values: Sequence[float] | np.ndarray) -> str:
    """Five numbers for many: the smallest, the quartiles, the largest; NaN counted apart."""
    values = np.asarray(values, float).ravel()
    known = values[~np.isnan(values)]
    missing = f" ({values.size - known.size} NaN)" if known.size < values.size else ""
    if not known.size:
        return "none" + missing
    low, *quartiles, high = np.quantile(known, [0, 0.25, 0.5, 0.75, 1], method="nearest")
    return f"{low:.4g} to {high:.4g}, quartiles {', '.join(f'{q:.4g}' for q in quartiles)}{missing}"


def from_log(log: float) -> str:
    """The number whose natural logarithm this is, also beyond the range of floats."""
    return (
        f"{math.exp(log):.6g}"
        if abs(log) < 700 or math.isinf(log) or math.isnan(log)
        else f"10^{log / math.log(10):.6g}"
    )


def _wrapped(start: str, text: str) -> list[str]:
    """`text` after `start`, long text on several lines."""
    if "\n" not in text and len(start) + len(text) <= WIDTH:
        return [(start + text).rstrip()]
    room, under = max(WIDTH - len(start), 40), " " * min(len(start), WIDTH - 40)
    pieces = [
        piece
        for part in text.split("\n")
        for piece in textwrap.wrap(part, room, break_long_words=False, break_on_hyphens=False)
        or [""]
    ]
    return [start + pieces[0], *(under + piece for piece in pieces[1:])]


def _columns(grid: Grid) -> list[str]:
    """The first column to the left, numbers to the right."""
    rows = [grid.head, *grid.rows]
    widths = [max(len(row[k]) for row in rows) for k in range(len(grid.head))]
    return [
        "  " + "  ".join(_cell(row, k, width) for k, width in enumerate(widths)).rstrip()
        for row in rows
    ]


def _cell(row: tuple[str, ...], k: int, width: int) -> str:
    return row[k].rjust(width) if k else row[k].ljust(width)


def _html(line: tuple[str, str] | Grid | str, columns: int) -> str:
    if isinstance(line, Grid):
        head = "".join(_td(cell, "th", k) for k, cell in enumerate(line.head))
        body = ("".join(_td(cell, "td", k) for k, cell in enumerate(row)) for row in line.rows)
        return f"<tr>{head}</tr>" + "".join(f"<tr>{row}</tr>" for row in body)
    if isinstance(line, Heading):
        return _whole(f"<em>{html.escape(line)}</em>", columns)
    if isinstance(line, str):
        return _whole(html.escape(line), columns)
    label, value = (html.escape(part) for part in line)
    return (
        f'<tr><th scope="row" style="{_CELL}text-align:left;font-weight:normal;">{label}</th>'
        f'<td colspan="{columns - 1}" '
        f'style="{_CELL}{_VALUE}text-align:left;">{value.replace(chr(10), "<br/>")}</td></tr>'
    )


def _td(cell: str, tag: str, k: int) -> str:
    style = f"{_CELL}{_VALUE if tag == 'td' else ''}text-align:{'right' if k else 'left'};"
    return f'<{tag} style="{style}">{html.escape(cell)}</{tag}>'


def _whole(content: str, columns: int) -> str:
    return f'<tr><td colspan="{columns}" style="{_CELL}text-align:left;">{content}</td></tr>'
