"""Where a sweep is stored, a folder or a URL: its files, and locks on who may write.

Files that are no part of the data are in `.run/`: locks, checkpoints of unfinished points, and a
note of what each driver is doing. A folder is locked by the operating system, which releases the
lock when the process dies; a bucket is locked by a lease that its holder renews.
"""

import contextlib
import json
import os
import shutil
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec.core

from levysde import errors
from levysde.types import Arg, PathLike

_EXTRAS = {"s3": ("s3fs", "s3"), "gs": ("gcsfs", "gcs"), "gcs": ("gcsfs", "gcs")}
_RENEW, _EXPIRE = 15.0, 60.0  # seconds between renewals of a lease, and until it has lapsed


class BusyError(ValueError):
    """Another driver is writing to the store."""


class Place:
    """A folder or URL, with the few file operations that a sweep needs.

    Args:
        out: path of a folder, which need not exist, or a URL (`s3://`, `gs://`, `memory://`).

    Raises:
        ValueError: neither a folder nor a URL of a known kind.
        ImportError: the extra of the URL is not installed.
    """

    def __init__(self, out: Arg[PathLike]):
        if not isinstance(out, str | os.PathLike) or not str(out) or "\0" in str(out):
            raise ValueError(
                f"out must be a folder or a URL, not {errors.shown(out)}. For example "
                '"runs/first" or "s3://bucket/first".'
            )
        scheme, separator, _ = str(out).partition("://")
        try:
            # other processes write here too, so listings are not cached
            fresh = {"use_listings_cache": False} if separator else {}
            self.fs, root = fsspec.core.url_to_fs(os.path.expanduser(str(out)), **fresh)
        except ImportError:
            package, extra = _EXTRAS.get(scheme, (scheme, "s3"))
            raise errors.missing_extra(package, extra, f"a store at {scheme}://") from None
        except ValueError as error:
            raise ValueError(
                f"out = {str(out)!r} is no folder and no URL that is known ({error})."
            ) from None
        self.root: str = str(root).rstrip("/")
        self.is_local = not separator or scheme in ("file", "local")
        self.url = self.root if self.is_local else str(out).rstrip("/")

    def __repr__(self) -> str:
        return f"Place({self.url!r})"

    def path(self, *parts: str) -> str:
        """Path of a file below the place."""
        return "/".join((self.root, *parts))

    @contextlib.contextmanager
    def reached(self) -> Iterator[None]:
        """Turn whatever a file system or a network raises into an OSError, except missing files
        and wrong input."""
        try:
            yield
        except (OSError, ValueError):
            raise
        except Exception as error:
            raise OSError(
                f"{self.url} cannot be reached ({type(error).__name__}: {error})"
            ) from error

    def read(self, *parts: str) -> bytes | None:
        """The content of a file, None if there is none."""
        try:
            with self.reached():
                return self.fs.cat_file(self.path(*parts))
        except (FileNotFoundError, NotADirectoryError):
            return None

    def write(self, data: bytes, *parts: str) -> None:
        """Replace a file as a whole."""
        target = self.path(*parts)
        if not self.is_local:
            with self.reached():
                self.fs.pipe_file(target, data)
            return
        os.makedirs(os.path.dirname(target), exist_ok=True)
        fresh = f"{target}.{uuid.uuid4().hex}.new"
        try:
            Path(fresh).write_bytes(data)
            os.replace(fresh, target)
        finally:
            Path(fresh).unlink(missing_ok=True)

    def remove(self, *parts: str) -> None:
        """Remove a file, if it exists."""
        with contextlib.suppress(FileNotFoundError), self.reached():
            self.fs.rm_file(self.path(*parts))

    def files(self, *parts: str) -> list[str]:
        """Paths of the files below a folder, relative to it."""
        top = self.path(*parts)
        if self.is_local:
            return [str(p.relative_to(top)) for p in Path(top).rglob("*") if p.is_file()]
        try:
            with self.reached():
                return [str(p)[len(top) :].lstrip("/") for p in self.fs.find(top)]
        except FileNotFoundError:
            return []

    def entries(self) -> list[str]:
        """Names of the files and folders directly in the place."""
        try:
            found = [str(entry).rstrip("/") for entry in self.fs.ls(self.root, detail=False)]
        except FileNotFoundError:
            return []
        return [entry.rsplit("/", 1)[-1] for entry in found if entry != self.root]

    def free_bytes(self) -> int:
        """Free disk space of a local place, which need not exist yet."""
        return shutil.disk_usage(self.existing_folder()).free

    def existing_folder(self) -> Path:
        """The folder of a local place, or the nearest folder above it that exists."""
        folder = Path(self.root).absolute()
        return next(path for path in (folder, *folder.parents) if path.exists())

    @contextlib.contextmanager
    def locked(self, shard: tuple[int, int]) -> Iterator[None]:
        """Hold the store for one driver, or for one shard among several. Raises BusyError when it
        is held."""
        with contextlib.ExitStack() as held:
            if self.is_local:
                held.enter_context(self._flock("lock", shared=shard[1] > 1))
            else:
                for other in self.files(".run"):
                    if other.startswith("lock-") and not other.endswith(f"-of-{shard[1]}"):
                        self._refuse_if_held(other)
            held.enter_context(self._lock(f"lock-{shard[0]}-of-{shard[1]}"))
            yield

    @contextlib.contextmanager
    def waiting_for(self, name: str) -> Iterator[None]:
        """Hold the lock `name`, once nobody else does."""
        with contextlib.ExitStack() as held:
            while True:
                try:
                    held.enter_context(self._lock(name))
                    break
                except BusyError:
                    time.sleep(0.2)
            yield

    def _lock(self, name: str) -> contextlib.AbstractContextManager[None]:
        return self._flock(name) if self.is_local else self._lease(name)

    @contextlib.contextmanager
    def _flock(self, name: str, *, shared: bool = False) -> Iterator[None]:
        import fcntl  # not on Windows

        path = Path(self.path(".run", name))
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "a+", encoding="utf-8") as file:
            try:
                fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                raise BusyError(_busy(self.url, json.loads(file.read() or "{}"))) from None
            file.truncate(0)
            file.write("" if shared else json.dumps(_holder()))
            file.flush()
            yield

    def _refuse_if_held(self, name: str) -> None:
        holder = json.loads(self.read(".run", name) or b"{}")
        if time.time() - holder.get("renewed", 0) < _EXPIRE:
            raise BusyError(_busy(self.url, holder))

    @contextlib.contextmanager
    def _lease(self, name: str) -> Iterator[None]:
        mark = {"token": uuid.uuid4().hex, **_holder()}
        self._refuse_if_held(name)
        self.remove(".run", name)

        def renewed() -> bytes:
            return json.dumps(mark | {"renewed": time.time()}).encode()

        try:  # of two that see a lapsed lease, the store lets one create the new one
            self.fs.pipe_file(self.path(".run", name), renewed(), mode="create")
        except (FileExistsError, OSError) as error:
            if not isinstance(error, FileExistsError) and "PreconditionFailed" not in str(error):
                raise
            raise BusyError(_busy(self.url, json.loads(self.read(".run", name) or b"{}"))) from None
        stop = threading.Event()

        def keep() -> None:
            while not stop.wait(_RENEW):
                # the place may be unreachable for a moment
                with contextlib.suppress(Exception):
                    self.write(renewed(), ".run", name)

        thread = threading.Thread(target=keep, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
            self.remove(".run", name)


def _holder() -> dict[str, Any]:
    return {"host": socket.gethostname(), "pid": os.getpid()}


def _busy(place: str, holder: dict[str, Any]) -> str:
    who = f"process {holder['pid']} on {holder['host']}" if "pid" in holder else "other shards"
    return (
        f"{place} is being written by {who}. Wait for it, or stop it; to share a sweep between "
        "processes start each with --shard i/n. Look at it with: levysde status"
    )
