"""The result store: one zarr v3 group that `xarray.open_zarr` reads. It is created before any point
is run.

Every array has the sweep's axes as its first dimensions and one chunk per point, so that workers
never write to the same file. A point is finished if its chunk of `done` exists, which is written
last; it has failed if its chunk of `failure` exists. Listing the names of files shows both. Numbers
of which a point has one float share the array `summary`, along `quantity`, because a file for each
would cost more than a short point.
"""

import contextlib
import datetime
import functools
import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import uuid
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr

from levysde import errors
from levysde.sweeps.experiment import Variable
from levysde.sweeps.place import Place
from levysde.sweeps.plan import Plan
from levysde.sweeps.spec import Spec, as_spec
from levysde.tables import Table, Tabled

FORMAT = 2
_LAYING_OUT = "laying-out"  # a file that exists while a new store is moved to its place
_BLOCK = 4096  # bytes that a small file takes on a disk
_SAFETY = 0.95  # of the free disk that a sweep may plan to fill


class StoreError(ValueError):
    """The place holds something other than a store of this sweep."""


class Store(Tabled):
    """An existing store, open for reading and for writing points."""

    def __init__(self, place: Place, group: Any):
        self.place = place
        self.group = group
        self.attributes: dict[str, Any] = dict(group.attrs)
        self.spec: Spec = as_spec(json.loads(self.attributes["spec"]))
        self.arrays = {name: group[name] for name in group.array_keys()}
        self.quantities: list[str] = list(self.attributes["quantities"])
        self.shape: tuple[int, ...] = self.arrays["done"].shape

    def finished(self) -> set[tuple[int, ...]]:
        """Indices of the points that are done."""
        return _chunks(self.place, "done")

    def failed(self) -> set[tuple[int, ...]]:
        """Indices of the points that failed."""
        return _chunks(self.place, "failure")

    def write(
        self,
        index: tuple[int, ...],
        columns: dict[str, Any],
        how: dict[str, Any],
        *,
        failed: bool = False,
    ) -> None:
        """Store a point and then mark it as done; `failed` says whether it had failed before."""
        with self.place.reached():
            self._write_columns(index, columns, how)
            if failed:
                self.arrays["failure"][index] = ""
            self.arrays["done"][index] = True

    def fail(
        self, index: tuple[int, ...], message: str, columns: dict[str, Any], how: dict[str, Any]
    ) -> None:
        """Store why a point failed, and the columns that it has."""
        with self.place.reached():
            self._write_columns(index, columns, how)
            self.arrays["failure"][index] = message

    def _write_columns(
        self, index: tuple[int, ...], columns: dict[str, Any], how: dict[str, Any]
    ) -> None:
        if self.quantities:
            numbers = [columns.get(name, np.nan) for name in self.quantities]
            self.arrays["summary"][index] = np.array(numbers, float)
        for name in [name for name in columns if name not in self.quantities]:
            array, values = self.arrays[name], columns[name]
            if array.ndim > len(index):
                whole = np.full(array.shape[len(index) :], array.fill_value, array.dtype)
                whole[tuple(slice(0, n) for n in np.shape(values))] = values
                values = whole
            array[index] = values
        self.group["log/how"][index] = json.dumps(how)

    def how(self) -> dict[tuple[int, ...], dict[str, Any]]:
        """How each point was run: seconds, device, versions, host."""
        texts = self.group["log/how"][...]
        return {
            index: json.loads(str(texts[index])) for index in np.ndindex(self.shape) if texts[index]
        }

    def _table(self) -> Table:
        return Table(
            f"Store: {self.attributes['title']}",
            [
                ("at", self.place.url),
                ("shape", " x ".join(map(str, self.shape))),
                ("arrays", ", ".join(self.arrays)),
            ],
        )


def lay_out(plan: Plan, place: Place, device: str) -> Store:
    """Create the store of a plan, or open it if it exists. Raises StoreError if the place holds
    something else."""
    if exists(place):
        store = open_store(place)
        _check_same(store, plan)
        return store
    variables = plan.experiment.variables([point.settings for point in plan.points])
    if not place.is_local:
        _make(plan, place.url, variables, device)
        return open_store(place)
    fresh = Path(place.path(".run", f"new-{uuid.uuid4().hex}"))
    try:
        _make(plan, str(fresh), variables, device)
        _settle(fresh, Path(place.root))
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return open_store(place)


def _settle(fresh: Path, target: Path) -> None:
    """Move a new store to its place, where other shards may wait already. The file that makes it a
    store comes last."""
    marker = target / ".run" / _LAYING_OUT
    marker.touch()
    for name in os.listdir(target):
        if name != ".run":  # of a move that was cut short, see `exists`
            shutil.rmtree(target / name)
    for name in sorted(os.listdir(fresh), key=lambda name: name == "zarr.json"):
        os.rename(fresh / name, target / name)
    marker.unlink()


def check_place(plan: Plan, place: Place) -> None:
    """Raise StoreError if the place holds something other than this sweep, or has no room for it.
    Nothing is written."""
    if exists(place):
        _check_same(open_store(place), plan)
    elif place.is_local:
        _check_disk(
            plan, place, plan.experiment.variables([point.settings for point in plan.points])
        )


def exists(place: Place) -> bool:
    """Whether the place holds a complete store. Raises StoreError if it holds something else."""
    if place.is_local and os.path.isfile(place.root):
        raise StoreError(f"{place.url} is a file. Give a folder.")
    head = place.read("zarr.json")
    if head is None:
        others = [name for name in place.entries() if name != ".run"]
        if others and place.read(".run", _LAYING_OUT) is None:
            raise StoreError(
                f"{place.url} already exists and is no sweep's store (it holds "
                f"{', '.join(sorted(others)[:3])}). Give a new folder."
            )
        return False
    return bool(_attributes(head, place).get("levysde_complete"))


def open_store(place: Place) -> Store:
    """The store at a place. Raises StoreError if there is none, or one of another version."""
    head = place.read("zarr.json")
    if head is None:
        raise StoreError(
            f"there is no sweep at {place.url}. Start one with: levysde sweep SPEC "
            f"--out {place.url}"
        )
    if not _attributes(head, place).get("levysde_complete"):
        raise StoreError(f"the sweep at {place.url} is incomplete. Start it again.")
    return Store(place, zarr.open_group(place.url, mode="r+", use_consolidated=True))


def _attributes(head: bytes, place: Place) -> dict[str, Any]:
    try:
        attributes = json.loads(head)["attributes"]
        version = attributes["levysde_sweep"]
    except (ValueError, KeyError, TypeError):
        raise StoreError(
            f"{place.url} is a zarr store, but not of a sweep. Give a new folder."
        ) from None
    if version != FORMAT:
        raise StoreError(
            f"{place.url} is a sweep's store of version {version!r}; this levysde writes version "
            f"{FORMAT}. Read it with the levysde that made it, or give a new folder."
        )
    return attributes


def _make(plan: Plan, url: str, variables: tuple[Variable, ...], device: str) -> None:
    """Write coordinates by xarray, then empty arrays by zarr, since xarray would write their
    chunks."""
    shape, dims = plan.shape, plan.dims
    scalars = [v for v in variables if v.dtype == "float64" and not v.dims]
    coordinates: dict[str, Any] = {}
    for axis in plan.axes:
        about = {"long_name": ".".join(axis.path)}
        labels = _words(axis.labels) if isinstance(axis.labels[0], str) else np.array(axis.labels)
        coordinates[axis.name] = (("point",) if plan.spec.list else (axis.name,), labels, about)
    seeds = np.array([point.seed for point in plan.points], np.uint64).reshape(shape)
    coordinates["seed"] = (dims, seeds, {"long_name": "seed of the point"})
    if scalars:
        coordinates["quantity"] = ("quantity", _words(v.name for v in scalars))
        coordinates["quantity_units"] = ("quantity", _words(v.units for v in scalars))
        coordinates["quantity_long_name"] = ("quantity", _words(v.long_name for v in scalars))
    attributes = {
        "levysde_sweep": FORMAT,
        "levysde_complete": False,
        "title": plan.spec.title or "sweep",
        "spec": plan.spec.canonical(),
        "quantities": [v.name for v in scalars],
        "axes": [axis.name for axis in plan.axes],
        "points": len(plan.points),
        "versions": versions(),
        "device": device,
        "commit": commit(),
        "folder": str(plan.folder) if plan.folder else "",
    }
    frame = xr.Dataset(coords=coordinates, attrs=attributes)
    with _quiet():
        # "w" would take the lock away
        frame.to_zarr(url, mode="a", zarr_format=3, consolidated=False)
        group = zarr.open_group(url, mode="r+")
        packed = Variable(
            "summary",
            "float64",
            "numbers of the point",
            "see quantity_units",
            ("quantity",),
            (len(scalars),),
        )
        done = Variable("done", "bool", "whether the point is finished")
        failure = Variable("failure", "str", "why the point failed")
        how = Variable("log/how", "str", "seconds, device and versions of the run, as JSON")
        for v in (
            [v for v in variables if v not in scalars]
            + [packed] * bool(scalars)
            + [done, failure, how]
        ):
            group.create_array(
                v.name,
                overwrite=True,  # of a layout that was cut short
                shape=(*shape, *v.sizes),
                chunks=(*(1 for _ in shape), *(max(1, int(n)) for n in v.sizes)),
                dtype=str if v.dtype == "str" else v.dtype,
                fill_value=v.fill,
                compressors="auto" if v.sizes and v is not packed else None,
                dimension_names=(*dims, *v.dims),
                attributes={"long_name": v.long_name, "units": v.units, "coordinates": "seed"},
            )
        group.update_attributes(attributes | {"levysde_complete": True})
        zarr.consolidate_metadata(group.store)


def _words(words: Iterable[str]) -> np.ndarray:
    return np.array(list(words), dtype=np.dtypes.StringDType())


def _check_same(store: Store, plan: Plan) -> None:
    spec = plan.spec
    if store.spec.canonical() == spec.canonical():
        names = {
            v.name for v in plan.experiment.variables([point.settings for point in plan.points])
        }
        if missing := names - {*store.arrays, *store.quantities}:
            raise StoreError(
                f"{store.place.url} was begun by another levysde "
                f"({store.attributes['versions']['levysde']}), which stores no {min(missing)!r}. "
                "Finish it with that one, or give a new folder."
            )
        return
    old, new = _flat(store.spec.model_dump()), _flat(spec.model_dump())
    lines = [
        f"  {key}: {old.get(key, 'not there')} in the store, {new.get(key, 'not there')} in the "
        "spec"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key)
    ] or ["  its axes are in another order"]
    raise StoreError(
        "\n".join(
            [
                f"{store.place.url} holds another sweep:",
                *lines[:10],
                "Give a new folder, or the spec as it was.",
            ]
        )
    )


def _flat(value: Any, path: str = "") -> dict[str, str]:
    if isinstance(value, dict) and value:
        return {
            k: v
            for key, inner in value.items()
            for k, v in _flat(inner, f"{path}.{key}".lstrip(".")).items()
        }
    return {path: json.dumps(value)}


def disk_bytes(plan: Plan, variables: tuple[Variable, ...]) -> int:
    """Upper bound of the store's size on disk: uncompressed, in whole blocks of files."""
    scalars = sum(v.dtype == "float64" and not v.dims for v in variables)
    files = [v.nbytes for v in variables if v.dtype != "float64" or v.dims] + [8 * scalars, 1, 400]
    return len(plan.points) * sum(-(-size // _BLOCK) * _BLOCK for size in files)


def _check_disk(plan: Plan, place: Place, variables: tuple[Variable, ...]) -> None:
    folder = place.existing_folder()
    errors.writable("out", folder / "levysde.probe")
    need, free = disk_bytes(plan, variables), place.free_bytes()
    if need > _SAFETY * free:
        raise StoreError(
            f"{len(plan.points):,} points take up to {need / 1e9:.3g} GB, and {folder} has "
            f"{free / 1e9:.3g} GB free. Make an axis shorter, lower num, or give another folder."
        )
    files, spare = len(plan.points) * (len(variables) + 3), os.statvfs(folder).f_favail
    if 0 < spare < files:
        raise StoreError(
            f"{len(plan.points):,} points take {files:,} files, and {folder} has room for "
            f"{spare:,}."
        )


def _chunks(place: Place, array: str) -> set[tuple[int, ...]]:
    """Indices of the existing chunks of an array."""
    return {
        tuple(int(k) for k in name.split("/"))
        for name in place.files(array, "c")
        if name.replace("/", "").isdecimal()
    }


@functools.cache
def versions() -> dict[str, str]:
    """Versions of what a result depends on."""
    names = ("levysde", "jax", "jaxlib", "numpy", "equinox", "xarray", "zarr")
    return {"python": platform.python_version()} | {
        name: importlib.metadata.version(name) for name in names
    }


def commit() -> str:
    """The git commit of the source tree, marked if it has edits; "" for an installed package."""
    folder = Path(__file__).resolve().parents[2]
    if not (folder / ".git").exists():
        return ""
    try:
        answers = [
            subprocess.run(
                ["git", "-C", str(folder), *words],
                capture_output=True,
                text=True,
                timeout=10,
                check=True,
            )
            for words in (("rev-parse", "HEAD"), ("status", "--porcelain", "--untracked-files=no"))
        ]
    except (OSError, subprocess.SubprocessError):
        return ""
    return answers[0].stdout.strip() + (" and edits" if answers[1].stdout.strip() else "")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Ignore the warnings that consolidated metadata is not part of zarr v3 yet, and that `.run` is
    not an array."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Consolidated metadata", category=UserWarning)
        warnings.filterwarnings("ignore", message=r"Object at \.run", category=UserWarning)
        yield


def now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
