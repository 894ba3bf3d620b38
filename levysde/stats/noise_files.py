"""Noise series from files: NumPy arrays, CSV and parquet, as experiment trackers export them.

A file holds one or more series: 1-D arrays of values or norms, and 2-D arrays of vectors, a row for
each step. Of a table, the column of steps gives the steps; columns of times, of minima and maxima
(`__MIN`, `__MAX`), of text and of one constant are left out; columns whose names differ by a final
number only are the coordinates of one vector.
"""

import os
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from levysde import errors
from levysde.results import Result
from levysde.stats.noise_class import NoiseClass, noise_class
from levysde.tables import Table, listed
from levysde.types import Arg, PathLike

if TYPE_CHECKING:
    import pandas as pd

Arrays = dict[str, np.ndarray]
_STEPS = {"step", "steps", "global_step", "trainer/global_step", "iteration", "iterations", "iter"}
_TIMES = {"time", "wall time", "timestamp", "runtime", "relative time (process)", "epoch"}
_RANGES = ("__MIN", "__MAX")  # of the bins of a tracker
_BLOCK = 10_000_000  # numbers looked at in one go
_MOST = 64  # coordinates of a vector that are classified


@dataclass(frozen=True, repr=False)
class NoiseLog(Result):
    """Series of noise that `read_noise` found in a file. Prints as a table.

    Attributes:
        path: the file.
        values: the series by name, each of shape `(n,)` or `(n, d)`, with NaN where the file has
            no number.
        steps: the number of each step, shape `(n,)`, or None if the file has no column of steps.
        warnings: what was left out, and why.
    """

    path: str
    values: Arrays = field(repr=False)
    steps: np.ndarray | None = field(default=None, repr=False)
    warnings: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the series, in the order of the file."""
        return tuple(self.values)

    def _columns(self) -> dict[str, np.ndarray]:
        found = {} if self.steps is None else {"step": self.steps}
        for name, series in self.values.items():
            if series.ndim == 1:
                found[name] = series
            else:
                found |= {f"{name}_{i}": column for i, column in enumerate(series.T)}
        return found

    def _about(self) -> dict[str, Any]:
        return super()._about() | {"path": self.path}

    def classify(self, name: str | None = None, *, norms: bool | None = None) -> NoiseClass:
        """The class of a series, as `noise_class` finds it; steps without a number are left out.

        Args:
            name: which series; not needed if the file has one.
            norms: whether the series holds norms; by default if no value is negative.

        Returns:
            The class.

        Raises:
            ValueError, TypeError: a name that the file does not have, or none where it has several;
                as `noise_class`.
        """
        if name is None and len(self.values) == 1:
            name = self.names[0]
        if name not in self.values:
            raise ValueError(
                f"name must be one of the series of {Path(self.path).name}, not "
                f'{errors.shown(name)}: {_several(self.names)}. For example name="{self.names[0]}".'
            )
        x = self.values[name]
        good = _finite(x)
        dim = x[0].size
        if dim > _MOST:
            x = x[:, np.linspace(0, dim - 1, _MOST).astype(int)]
        found = noise_class(x if good.all() else x[good], norms=norms)
        gaps = () if good.all() else (_gaps(name, good),)
        return replace(found, dim=dim, warnings=(*gaps, *found.warnings))

    def _table(self) -> Table:
        rows = [
            (name, f"{len(x):,} " + ("values" if x.ndim == 1 else f"vectors of {x.shape[1]:,}"))
            for name, x in self.values.items()
        ]
        if self.steps is not None:
            rows.append(("steps", f"{self.steps[0]:g} to {self.steps[-1]:g}"))
        return Table(f"NoiseLog: {Path(self.path).name}", rows, self.warnings)


def read_noise(path: Arg[PathLike]) -> NoiseLog:
    """Read noise that was written during training: values, norms or vectors, one for each step.

    Read are NumPy files (.npz, .npy), .csv and .parquet, for example the export of an experiment
    tracker with a column of steps and columns of metrics. CSV needs pandas, and parquet also
    pyarrow: `pip install "levysde[sweep]"`.

    Args:
        path: the file; its ending says what it is.

    Returns:
        The series, whose method `classify` says which class of noise they are.

    Raises:
        ValueError, TypeError: no such file, another ending, an empty or damaged file, rows of
            different lengths, or no series of numbers that vary.
        ImportError: pandas or pyarrow is missing.

    Source:
        elementary.
    """
    if not isinstance(path, str | os.PathLike):
        raise TypeError(
            f'path must be a path, not {errors.shown(path)}. For example path="noise.npz".'
        )
    file = Path(path)
    reader = _READERS.get(file.suffix.lower())
    if reader is None:
        raise ValueError(
            f"path = {str(file)!r} has the ending {file.suffix!r}; {', '.join(_READERS)} can be "
            "read. Save the noise as one of these."
        )
    try:
        if not file.stat().st_size:
            raise ValueError("it is empty, 0 bytes")
        arrays = reader(file)
    except ImportError:
        raise
    except FileNotFoundError:
        raise ValueError(f"path = {str(file)!r}: there is no such file. Check the path.") from None
    except Exception as error:  # pandas, pyarrow, zipfile and NumPy raise their own
        reason = str(error).strip().split("\n")[0].rstrip(".") or type(error).__name__
        if "pickle" in reason:  # what NumPy says of anything that it does not know
            reason = "it is damaged, or holds other things than numbers"
        raise ValueError(
            f"path = {str(file)!r} cannot be read: {reason}. Write the file again."
        ) from None
    return _log(file, arrays)


def _log(file: Path, arrays: Arrays) -> NoiseLog:
    """The series among the arrays of a file."""
    values, steps, left, notes = {}, None, [], []
    for name, x in arrays.items():
        plain = name.strip("_ ").lower()
        if x.dtype.kind not in "fiu" or x.ndim not in (1, 2) or not x.size:
            left.append(f"{name} ({_kind(x)})")
        elif plain in _STEPS and x.ndim == 1:
            steps = x
        elif plain not in _TIMES and not name.endswith(_RANGES):
            good = _finite(x)
            if not good.any():
                left.append(f"{name} (no numbers)")
            elif (x[good] == x[good][:1]).all():
                left.append(f"{name} (constant, {x[good].flat[0]:.6g})")
            else:
                values[name] = x
                notes += [] if good.all() else [_gaps(name, good)]
    if not values:
        raise ValueError(
            f"path = {str(file)!r} holds no series of numbers that vary: it has "
            f"{_several(left or [*arrays]) or 'nothing'}. Write an array or a column of noise, one "
            "number for each step."
        )
    if left:
        notes.append(f"left out: {_several(left)}.")
    if steps is not None and not (np.diff(steps) > 0).all():
        notes.append(
            "the steps do not increase everywhere: the file may hold several runs, whose rows "
            "follow each other. Give one run."
        )
    return NoiseLog(str(file), values, steps, tuple(notes))


def _kind(x: np.ndarray) -> str:
    """What an array is that holds no noise."""
    if not x.size:
        return "no rows"
    words = x.flat if x.dtype.kind in "OSUT" else ()
    text = next((word for word in words if isinstance(word, str) and not _is_number(word)), None)
    return f"{x.dtype}, shape {x.shape}" if text is None else f"text, such as {text[:30]!r}"


def _finite(x: np.ndarray) -> np.ndarray:
    """Which rows hold numbers only, `(n,)`; by blocks, since x may be a mapped file."""
    blocks = np.array_split(x, max(1, min(len(x), x.size // _BLOCK)))
    return np.concatenate([np.isfinite(b).reshape(len(b), -1).all(1) for b in blocks])


def _gaps(name: str, good: np.ndarray) -> str:
    where = errors.place_of_first(~good, "are missing, NaN or infinite")
    return f"{name}: {where}. These steps are left out."


def _several(names: list[str] | tuple[str, ...]) -> str:
    return ", ".join(names[:8]) + (f", ... ({len(names)})" if len(names) > 8 else "")


def _npz(file: Path) -> Arrays:
    with np.load(file) as held:
        return {name: held[name] for name in held.files}


def _npy(file: Path) -> Arrays:
    return {file.stem: np.load(file, mmap_mode="r")}


def _csv(file: Path) -> Arrays:
    pandas = _pandas(".csv")
    with file.open(encoding="utf-8-sig") as lines:
        cells = lines.readline().strip().split(",")
    headed = not all(map(_is_number, cells))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pandas.errors.ParserWarning)  # of rows that are cut
            frame = pandas.read_csv(
                file, header=0 if headed else None, index_col=False, low_memory=False
            )
    except pandas.errors.ParserError as error:
        found = re.search(r"Expected (\d+) fields in line (\d+), saw (\d+)", str(error))
        if not found:
            raise
        raise ValueError(
            f"line {found[2]} has {found[3]} cells, not {found[1]} as the lines above"
        ) from None
    except pandas.errors.ParserWarning:
        raise ValueError(
            f"its lines have more cells than the first, which has {len(cells)}"
        ) from None
    return _of_frame(frame if headed else _named(frame, file.stem))


def _named(frame: "pd.DataFrame", stem: str) -> "pd.DataFrame":
    """Columns of a file without a line of names: a first one that counts is the step."""
    first = frame[0].to_numpy()
    counts = frame.shape[1] > 1 and first.dtype.kind == "i" and (np.diff(first) == 1).all()
    names = [f"{stem}_{number}" for number in frame.columns] if frame.shape[1] > 1 else [stem]
    return frame.set_axis(["step", *names[1:]] if counts else names, axis=1)


def _is_number(cell: object) -> bool:
    try:
        float(str(cell))
    except ValueError:
        return False
    return True


def _parquet(file: Path) -> Arrays:
    return _of_frame(_pandas(".parquet", "pyarrow").read_parquet(file))


def _pandas(ending: str, *more: str):
    for package in ("pandas", *more):
        if find_spec(package) is None:
            raise errors.missing_extra(package, "sweep", f"Reading {ending}")
    import pandas

    return pandas


def _of_frame(frame: "pd.DataFrame") -> Arrays:
    """Arrays of columns; those that differ by a final number only, and lists, are vectors."""
    groups: dict[str, list[str]] = {}
    for name in map(str, frame.columns):
        groups.setdefault(re.sub(r"[._\[]?\d+\]?$", "", name), []).append(name)
    frame = frame.set_axis([str(name) for name in frame.columns], axis=1)
    columns = {name: frame[name].to_numpy() for name in frame.columns}
    arrays: Arrays = {}
    for stem, names in groups.items():
        if len(names) > 1 and all(columns[name].dtype.kind in "fiu" for name in names):
            arrays[stem or "columns"] = np.stack([columns[name] for name in names], axis=1)
            continue
        for name in names:
            x = columns[name]
            if x.dtype.kind == "O" and len(x) and isinstance(x[0], np.ndarray | list):
                lengths = {len(row) for row in x}
                if len(lengths) > 1:
                    raise ValueError(
                        f"the lists of column {name!r} have {listed(sorted(lengths))} numbers"
                    )
                x = np.stack([*x])
            arrays[name] = x
    return arrays


_READERS: dict[str, Callable[[Path], Arrays]] = {
    ".npz": _npz,
    ".npy": _npy,
    ".csv": _csv,
    ".parquet": _parquet,
}
