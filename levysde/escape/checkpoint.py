"""Checkpoints: finished rows and living lanes in one file, replaced whole, so that a killed run
resumes where it was.

The file is an npz archive (each member with its own checksum) whose header names the run: seed,
number of trajectories, limit, versions, and a fingerprint of the traced program, its numbers and
the starts. A trajectory is a pure function of (seed, id, step), so a resumed run gives the bits of
an undisturbed one.
"""

import functools
import hashlib
import json
import os
import re
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from levysde import errors
from levysde.escape.block import Limits, Problem, advance_stack, empty_queue, empty_stack
from levysde.escape.ledger import Flight, Ledger, Rows
from levysde.escape.worker import SMALLEST, Run
from levysde.types import Arg, PathLike

_FORMAT = 1


@dataclass(frozen=True)
class Checkpoint:
    """Where and how often to save.

    Args:
        path: the file, written by NumPy as an archive; its folder is made when missing.
        checkpoint_every: seconds between saves, stretched so that saving costs at most 5%.
        final: whether a finished run is saved too; False for one whose rows are stored elsewhere as
            soon as it returns.
        on_save: called with the path after each save, for example to copy the file off the machine;
            None by default.

    Raises:
        ValueError, TypeError: a path of another kind, seconds that are not positive, an `on_save`
            that is no function.
    """

    path: Arg[PathLike]
    checkpoint_every: Arg[float] = 5.0
    final: Arg[bool] = True
    on_save: Arg[Callable[[Path], Any] | None] = None

    def __post_init__(self):
        errors.instance("path", self.path, str | os.PathLike, '"run.npz"')
        seconds = errors.positive_real("checkpoint_every", self.checkpoint_every)
        object.__setattr__(self, "checkpoint_every", seconds)
        errors.flag("final", self.final)
        if self.on_save is not None:
            errors.function("on_save", self.on_save)


def fingerprint(run: Run) -> str:
    """A hash of everything the results depend on: the traced program, its numbers, the starts, the
    limit."""
    stack = jax.eval_shape(lambda: empty_stack(run.problem[0], 1, SMALLEST, run.starts.dtype))
    program = jax.make_jaxpr(advance_stack)(
        Problem(*run.problem), stack, empty_queue(run.starts, 1), Limits(0, 0, 0, 0, 0)
    )
    digest = hashlib.sha256(re.sub(r" at 0x[0-9a-f]+", "", str(program)).encode())
    for leaf in [*jax.tree.leaves(run.problem), run.starts]:
        array = np.asarray(leaf)
        digest.update(f"{array.shape}{array.dtype}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def header(run: Run) -> dict[str, Any]:
    lanes = 0 if run.lane_invariant else run.width
    return {
        "format": _FORMAT,
        "seed": run.seed,
        "num": run.num,
        "limit": run.limit,
        "jax": jax.__version__,
        "device": run.devices[0].device_kind,
        "lanes": lanes,
        "fingerprint": fingerprint(run),
    }


def save(path: Path, head: dict[str, Any], ledger: Ledger) -> None:
    """Write to a new file, then put it in the place of the old one in one move."""
    flight = ledger.in_flight()
    with ledger.lock:
        arrays: dict[str, Any] = {
            f"row_{name}": values.copy() for name, values in ledger.rows.arrays().items()
        }
    if flight is not None:
        arrays |= {
            "flight_ids": flight.ids,
            "flight_step": flight.step,
            "flight_before": flight.before,
        }
        arrays |= {f"flight_leaf_{i}": leaf for i, leaf in enumerate(flight.leaves)}
    fresh = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        with open(fresh, "wb") as file:
            np.savez(file, header=np.asarray(json.dumps(head)), **arrays)
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, path)
    finally:
        fresh.unlink(missing_ok=True)


def load(path: Path, head: dict[str, Any], rows: Rows) -> Flight | None:
    """Fill `rows` from the file and return the living lanes. Raises CheckpointError for another run
    or a damaged file."""
    advice = f"Delete {str(path)!r} to start over, or give another checkpoint path."
    try:
        with open(path, "rb") as handle, np.load(handle, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        saved = json.loads(str(arrays.pop("header")))
        stored = {name[4:]: arrays[name] for name in arrays if name.startswith("row_")}
        if not isinstance(saved, dict):
            raise ValueError("its header is no table")
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise errors.CheckpointError(
            f"the checkpoint {str(path)!r} is damaged or no checkpoint ({error}). {advice}"
        ) from None
    words = {
        "fingerprint": "another run (its kernel, domain or start differs)",
        "seed": "another seed",
    }
    for name in (
        "format",
        "seed",
        "num",
        "limit",
        "jax",
        "device",
        "lanes",
        "record",
        "fingerprint",
    ):
        if saved.get(name) != head[name]:
            what = words.get(name, f"a run with another {name}")
            detail = (
                ""
                if name == "fingerprint"
                else f": {saved.get(name)!r} in the file, {head[name]!r} asked for"
            )
            raise errors.CheckpointError(
                f"the checkpoint {str(path)!r} is of {what}{detail}. {advice}"
            )
    for name, values in rows.arrays().items():
        if (
            name not in stored
            or stored[name].shape != values.shape
            or stored[name].dtype != values.dtype
        ):
            raise errors.CheckpointError(
                f"the checkpoint {str(path)!r} is damaged (its column {name!r} does not fit). "
                f"{advice}"
            )
        values[...] = stored[name]
    if "flight_ids" not in arrays:
        return None
    count = sum(name.startswith("flight_leaf_") for name in arrays)
    leaves = [arrays[f"flight_leaf_{i}"] for i in range(count)]
    return Flight(arrays["flight_ids"], arrays["flight_step"], arrays["flight_before"], leaves)


@dataclass(frozen=True)
class Saver:
    """The checkpoint of one run. Its header is made when first asked for: tracing the program takes
    longer than a short run."""

    path: Path
    every: float
    final: bool
    on_save: Callable[[Path], Any] | None
    make_header: Callable[[], dict[str, Any]]

    @functools.cached_property
    def header(self) -> dict[str, Any]:
        return self.make_header()

    def load(self, rows: Rows) -> Flight | None:
        return load(self.path, self.header, rows) if self.path.exists() else None

    def save(self, ledger: Ledger) -> None:
        save(self.path, self.header, ledger)
        if self.on_save is not None:
            self.on_save(self.path)


def as_checkpoint(value: Any) -> Checkpoint | None:
    """What the user gave as a `Checkpoint` with a checked path, which is probed for writing."""
    if value is None:
        return None
    given = value if isinstance(value, Checkpoint) else None
    path = errors.writable("checkpoint", value if given is None else given.path)
    return replace(given or Checkpoint(path), path=path)


def saver(checkpoint: Checkpoint, run: Run, record: str, part: tuple[int, int]) -> Saver:
    """What saves `run`, under a name of its own for each of several shards."""
    path = Path(checkpoint.path)
    if part[1] > 1:
        path = path.with_name(f"{path.name}.{part[0]}-of-{part[1]}")
    make = lambda: header(run) | {"record": record}  # noqa: E731
    return Saver(path, checkpoint.checkpoint_every, checkpoint.final, checkpoint.on_save, make)
