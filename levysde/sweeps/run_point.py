"""Run and store one point of a sweep. Every engine calls this function, so all of them store the
same bytes."""

import logging
import os
import socket
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

from levysde import errors
from levysde.escape import Checkpoint
from levysde.sweeps.experiment import Job
from levysde.sweeps.place import Place
from levysde.sweeps.plan import Plan, Point
from levysde.sweeps.store import Store, now, versions

LOG = logging.getLogger("levysde.sweeps")


def run_point(
    plan: Plan,
    store: Store,
    point: Point,
    every: float,
    inside: Callable[[int, int], None] | None = None,
    *,
    was_failed: bool,
) -> str:
    """Run one point and store it.

    Args:
        plan, store, point: what to run, and where to.
        every: seconds between checkpoints.
        inside: called with (finished, all) as the point runs.
        was_failed: whether the point is stored as failed.

    Returns:
        The message of a point that failed, else "".

    Raises:
        OSError: of the store, which would fail the next point too.
        KeyboardInterrupt: Ctrl-C.
    """
    start = time.monotonic()
    outcome, message = _attempt(plan, store.place, point, every, inside)
    columns = (
        {} if outcome is None else plan.experiment.columns(point.settings, outcome, Job(point.seed))
    )
    conclude(store, point, columns, message, time.monotonic() - start, was_failed=was_failed)
    return message


def _attempt(
    plan: Plan, place: Place, point: Point, every: float, inside: Callable[[int, int], None] | None
) -> tuple[Any, str]:
    """What a point yielded, and why it failed, or ""."""
    try:
        try:
            return plan.experiment.run(
                point.settings, Job(point.seed, _checkpoint(place, point, every), inside)
            ), ""
        except errors.CheckpointError as stale:
            LOG.warning("%s starts over: %s", point.id, stale)
            forget_checkpoint(place, point)
            return plan.experiment.run(
                point.settings, Job(point.seed, _checkpoint(place, point, every), inside)
            ), ""
    except OSError:
        raise
    except errors.NonFiniteError as failure:
        return failure.result, str(failure)
    except Exception as failure:
        LOG.debug("point %s failed", point.id, exc_info=True)
        return None, f"{type(failure).__name__}: {failure}"


def conclude(
    store: Store,
    point: Point,
    columns: dict[str, Any],
    message: str,
    seconds: float,
    *,
    was_failed: bool,
) -> None:
    """Store the columns of a point, mark it as done or failed, and remove its checkpoint."""
    how = {
        "seconds": seconds,
        "ended": now(),
        "host": socket.gethostname(),
        "device": device_name(),
        "versions": versions(),
    }
    if message:
        store.fail(point.index, message, columns, how)
        LOG.warning("%s failed: %s", point.id, message)
    else:
        store.write(point.index, columns, how, failed=was_failed)
        LOG.info("%s: %.3g s", point.id, seconds)
    forget_checkpoint(store.place, point)


def _checkpoint(place: Place, point: Point, every: float) -> Checkpoint:
    """Where a point saves itself. In a bucket the file is kept on this machine and copied after
    each save."""
    name = _checkpoint_name(point)
    if place.is_local:
        return Checkpoint(
            place.path(".run", "checkpoints", name), checkpoint_every=every, final=False
        )
    folder = Path(tempfile.gettempdir()) / f"levysde-{os.getpid()}"
    folder.mkdir(exist_ok=True)
    file = folder / name
    file.unlink(missing_ok=True)
    saved = place.read(".run", "checkpoints", name)
    if saved is not None:
        file.write_bytes(saved)

    def copy(path: Path) -> None:
        place.write(path.read_bytes(), ".run", "checkpoints", path.name)

    return Checkpoint(file, checkpoint_every=every, final=False, on_save=copy)


def _checkpoint_name(point: Point) -> str:
    return "-".join(map(str, point.index)) + ".npz"


def forget_checkpoint(place: Place, point: Point) -> None:
    """Remove what a point has saved."""
    place.remove(".run", "checkpoints", _checkpoint_name(point))


def device_name() -> str:
    device = jax.local_devices()[0]
    return f"{device.platform} {device.device_kind}"
