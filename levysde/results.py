"""Results that leave the package: a file that holds one and gives it back, rows for pandas, arrays
with names for xarray.

A file is a NumPy archive (`.npz`) without pickles: the arrays, and a description in JSON that names
the class and says where each array belongs. Equations, domains and functions are not kept.
"""

import contextlib
import importlib
import json
import os
import zipfile
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from levysde import errors
from levysde.tables import Tabled
from levysde.types import Arg, PathLike

if TYPE_CHECKING:
    import pandas
    import xarray

_FORMAT = 1
_DESCRIPTION = "description"
_PLAIN = (bool, int, float, str, type(None))


class Result(Tabled):
    """Base of results: prints as a table, is saved in one line, and goes to pandas and xarray."""

    __slots__ = ()

    def save(self, path: Arg[PathLike]) -> None:
        """Writes the result to a file, from which `levysde.load` reads it.

        What makes a result but is no number, word or array, as the dynamics and the domain of a
        law, is not kept. The file takes its place only when it is complete.

        Args:
            path: the file, usually `.npz`. One that exists is replaced.

        Raises:
            TypeError: no path; a result that would be nothing without such a part.
            ValueError: a file that cannot be written.
        """
        place = errors.writable("path", path)
        arrays: dict[str, np.ndarray] = {}
        description = {"format": _FORMAT, "result": _packed(self, arrays)}
        arrays[_DESCRIPTION] = np.asarray(json.dumps(description))
        made = place.parent / f".{place.name}.{os.getpid()}.part"
        try:
            with open(made, "wb") as file:
                np.savez_compressed(file, allow_pickle=False, **arrays)
            os.replace(made, place)
        finally:
            made.unlink(missing_ok=True)

    def to_dataframe(self) -> "pandas.DataFrame":
        """The result as a table of pandas.

        Returns:
            One row a trajectory for a run, one a trajectory and time for paths, else one row; an
            `Estimate` takes three columns: its name, and with `_low` and `_high`.

        Raises:
            ImportError: pandas is missing.
        """
        try:
            import pandas
        except ImportError:
            raise errors.missing_extra("pandas", "sweep", "to_dataframe") from None
        frame = pandas.DataFrame(self._columns())
        frame.attrs.update(self._about())
        return frame

    def to_dataset(self) -> "xarray.Dataset":
        """The result as a dataset of xarray: every array with the names of its axes.

        Returns:
            The dataset; units and what describes the run are attributes.

        Raises:
            ImportError: xarray is missing.
        """
        try:
            import xarray
        except ImportError:
            raise errors.missing_extra("xarray", "sweep", "to_dataset") from None
        return xarray.Dataset(self._variables(), attrs=self._about())

    def _columns(self) -> dict[str, Any]:
        """The columns of the table, by name."""
        return {name: [value] for name, value in _scalars(self).items()}

    def _variables(self) -> dict[str, Any]:
        """What `xarray.Dataset` takes: axes, array and attributes, by name."""
        found: dict[str, Any] = {name: ((), value) for name, value in _scalars(self).items()}
        for name, value in _values(self):
            if isinstance(value, np.ndarray) and value.dtype != object:
                found[name] = (tuple(f"{name}_{i}" for i in range(value.ndim)), value)
        return found

    def _about(self) -> dict[str, Any]:
        """What describes the whole: plain numbers and words."""
        return {"result": type(self).__name__}


def load(path: Arg[PathLike]) -> Any:
    """The result that `save` wrote to a file.

    Args:
        path: the file.

    Returns:
        An object of the class that was saved, equal to it. A law comes back without its dynamics
        and domain.

    Raises:
        TypeError: no path.
        ValueError: a file that is missing, damaged, was not written by `save`, or by a later
            version.
    """
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f'path must be a path, not {errors.shown(path)}. For example "run.npz".')
    place = Path(path).expanduser()
    if not place.is_file():
        raise ValueError(f"path = {str(path)!r} is no file. Give one that result.save(path) wrote.")
    try:
        # np.load leaves a damaged file open that it was given by name
        with open(place, "rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        description = json.loads(str(arrays[_DESCRIPTION]))
        written = description["format"]
    except (ValueError, OSError, EOFError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"path = {str(path)!r} is no result that save wrote, or is damaged "
            f"({errors.described(error)}). Save the result again."
        ) from None
    if written != _FORMAT:
        raise ValueError(
            f"{str(path)!r} has format {written}, and this version reads {_FORMAT}. Read it with "
            "the version of levysde that wrote it."
        )
    return _unpacked(description["result"], arrays)


def _packed(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    """What JSON holds of a value; arrays go into `arrays`."""
    if isinstance(value, np.generic | np.ndarray | jax.Array):
        array = np.asarray(value)
        if array.dtype == object:
            return None
        name = f"array{len(arrays)}"
        arrays[name] = array
        return {"array": name, "number": isinstance(value, np.generic)}
    if isinstance(value, Tabled) and is_dataclass(value):
        kept = [f.name for f in fields(value) if f.init and _is_kept(getattr(value, f.name))]
        for field in fields(value):
            needed = field.default is MISSING and field.default_factory is MISSING
            if field.init and needed and field.name not in kept:
                raise TypeError(
                    f"{type(value).__name__} cannot be saved: its {field.name} is "
                    f"{errors.shown(getattr(value, field.name))}, no number, word or array. Save "
                    "the results that it holds."
                )
        return {
            "class": f"{type(value).__module__}:{type(value).__name__}",
            "fields": {name: _packed(getattr(value, name), arrays) for name in kept},
        }
    if isinstance(value, tuple | list):
        kind = "tuple" if isinstance(value, tuple) else "list"
        return {kind: [_packed(item, arrays) for item in value]}
    if isinstance(value, dict):
        return {"dict": [[_packed(k, arrays), _packed(v, arrays)] for k, v in value.items()]}
    return value if isinstance(value, _PLAIN) else None


def _is_kept(value: Any) -> bool:
    """Whether a value is numbers, words and results of this package throughout."""
    if isinstance(value, dict):
        return all(map(_is_kept, (*value, *value.values())))
    if isinstance(value, tuple | list):
        return all(map(_is_kept, value))
    return isinstance(value, (*_PLAIN, np.generic, np.ndarray, jax.Array, Tabled))


def _unpacked(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    if not isinstance(value, dict):
        return value
    if "array" in value:
        array = arrays[value["array"]]
        return array[()] if value["number"] else array
    for kind, make in (("tuple", tuple), ("list", list)):
        if kind in value:
            return make(_unpacked(item, arrays) for item in value[kind])
    if "dict" in value:
        return {_unpacked(k, arrays): _unpacked(v, arrays) for k, v in value["dict"]}
    module, name = value["class"].split(":")
    made: Any = None
    if module.split(".")[0] == __name__.split(".")[0]:
        with contextlib.suppress(ImportError):
            made = getattr(importlib.import_module(module), name, None)
    if not (isinstance(made, type) and issubclass(made, Tabled) and is_dataclass(made)):
        raise ValueError(
            f"the file holds a {name} of {module}, which this version of levysde does not have. "
            "Read it with the version that wrote it."
        )
    given = {name: _unpacked(item, arrays) for name, item in value["fields"].items()}
    return made(**given)


def _values(result: Any) -> list[tuple[str, Any]]:
    names = [field.name for field in fields(result)]
    if "mean" not in names and isinstance(getattr(type(result), "mean", None), property):
        names.insert(0, "mean")
    return [(name, getattr(result, name)) for name in names]


def _scalars(result: Any) -> dict[str, Any]:
    """Numbers and words of a result by name, an interval as three."""
    found: dict[str, Any] = {}
    for name, value in _values(result):
        if isinstance(value, (*_PLAIN, np.generic)):
            found[name] = value
        elif all(hasattr(value, end) for end in ("value", "low", "high")):
            ends = value.value, value.low, value.high
            found |= dict(zip((name, f"{name}_low", f"{name}_high"), ends, strict=True))
    return found
