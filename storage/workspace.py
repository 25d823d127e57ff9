"""A workspace folder: where the catalog, blobs, shards, checkpoints and reports lie."""

import fcntl
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

FOLDERS = ("tables", "blobs", "shards", "checkpoints", "soundtracks", "reports", "scratch")


class WorkspaceBusy(RuntimeError):
    """Another process is writing this workspace."""


@dataclass(frozen=True, slots=True)
class Workspace:
    """The layout below one root folder; every reference in the catalog is relative to it."""

    root: Path

    @classmethod
    def at(cls, root: str | Path) -> "Workspace":
        """A workspace with an absolute root; makes nothing."""
        return cls(Path(root).expanduser().resolve())

    def make(self) -> "Workspace":
        """Makes the folders that are missing, and returns itself.

        Raises ValueError where the root is a file, or OSError where it cannot be written.
        """
        if self.root.exists() and not self.root.is_dir():
            raise ValueError(f"workspace {self.root}: this is a file; name a folder")
        for name in FOLDERS:
            (self.root / name).mkdir(parents=True, exist_ok=True)
        return self

    @property
    def catalog_path(self) -> Path:
        """The SQLite file with the catalog's metadata."""
        return self.root / "catalog.sqlite"

    @property
    def tables_path(self) -> Path:
        """The folder of the catalog's Parquet data files."""
        return self.root / "tables"

    def path(self, ref: str) -> Path:
        """The file of a reference; raises ValueError for one that leaves the workspace."""
        path = (self.root / ref).resolve()
        if not path.is_relative_to(self.root):
            raise ValueError(f"reference {ref!r} leaves the workspace {self.root}")
        return path

    def scratch(self, *parts: str) -> Path:
        """A fresh empty scratch folder."""
        folder = self.path("/".join(("scratch", *parts)))
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Holds the workspace's one writer lock; the kernel frees it even after a kill.

        Raises WorkspaceBusy where another process holds it.
        """
        with (self.root / "scratch" / "writer.lock").open("a+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                lock.seek(0)
                raise WorkspaceBusy(
                    f"workspace {self.root} is being written by process {lock.read() or '?'}; "
                    "wait for it or stop it"
                ) from None
            lock.truncate(0)
            lock.write(str(os.getpid()))
            lock.flush()
            yield


def write_once(path: Path, data: bytes) -> None:
    """Writes a file that is named by its content, unless it is there.

    One that is there is touched, so that sweeping orphans takes it for as young as a new one.
    """
    if path.exists():
        os.utime(path)
    else:
        write_atomically(path, data)


def write_atomically(path: Path, data: bytes) -> None:
    """Writes a whole file or nothing: temporary name, fsync, rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.tmp")
    with temporary.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)
