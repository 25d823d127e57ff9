"""A workspace: where the catalog, blobs, shards, checkpoints and reports lie.

A workspace is a folder of this machine. Its files may lie in an object store instead, and its
catalog's metadata in PostgreSQL; the folder then holds this machine's copies and remembers the two
addresses, so that its path alone names the whole workspace.
"""

import fcntl
import hashlib
import json
import os
import re
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Self
from urllib.parse import parse_qs, unquote, urlsplit

from storage.settings import Settings
from storage.store import Entry, ObjectStore, remove

if TYPE_CHECKING:
    from pyarrow import NativeFile

ADDRESSES = "workspace.json"
SQLITE = "catalog.sqlite"
DATA_SCHEMES = ("s3",)
CATALOG_SCHEMES = ("postgresql", "postgres")
SECRETS = re.compile(r"(postgres(?:ql)?://[^\s:/@]*):[^\s@]*(@)|([?&]password=)[^\s&]*")
# A reference below these never comes to name other bytes.
NAMED_BY_CONTENT = ("blobs/", "shards/", "checkpoints/")
# An object this young is not taken for an orphan before what refers to it is committed.
FRESH_S = 3600.0
FOLDERS = ("tables", "blobs", "shards", "checkpoints", "soundtracks", "reports", "scratch")


class WorkspaceBusy(RuntimeError):
    """Another process is writing this workspace."""


@dataclass(frozen=True, slots=True)
class Workspace:
    """The layout below one root; every reference in the catalog is relative to it.

    Attributes:
        root: folder of this machine.
        data_url: `s3://bucket/prefix` where its files lie; empty where they lie in the folder.
        catalog_url: `postgresql://…` of the metadata; empty for SQLite in the folder.
    """

    root: Path
    data_url: str = ""
    catalog_url: str = ""

    @classmethod
    def at(cls, place: str | Path, catalog_url: str = "") -> Self:
        """The workspace of a folder or an object store's address; makes nothing.

        Args:
            place: a folder, or `s3://bucket/prefix`, whose copies lie below `TALKIES_STATE`.
            catalog_url: `postgresql://…`; else what the folder remembers.

        Raises ValueError for an address of another kind, and for one that differs from what the
        folder remembers.
        """
        data_url = str(place).rstrip("/") if "://" in str(place) else ""
        if data_url:
            _check_url("workspace", data_url, DATA_SCHEMES)
        if catalog_url:
            _check_url("catalog", catalog_url, CATALOG_SCHEMES)
        root = state_folder(data_url) if data_url else Path(place).expanduser().resolve()
        known = _remembered(root)
        if not known.get("catalog_url") and not (root / SQLITE).exists():
            # No catalog was made yet: where it will be is still open.
            known.pop("catalog_url", None)
        for field, given in (("data_url", data_url), ("catalog_url", without_secret(catalog_url))):
            if field in known and given and given != known[field]:
                raise ValueError(
                    f"{root / ADDRESSES}: the workspace was made with {field}="
                    f"{known[field] or 'a local one'}, not {given}; name another workspace"
                )
        return cls(
            root,
            data_url or known.get("data_url", ""),
            catalog_url or known.get("catalog_url", ""),
        )

    def __str__(self) -> str:
        """Its address, for messages."""
        return self.data_url or str(self.root)

    def make(self) -> Self:
        """Makes the folders that are missing, remembers the addresses, and returns itself.

        Raises ValueError where the root is a file, or holds a SQLite catalog while the metadata is
        said to be elsewhere, or OSError where it cannot be written.
        """
        if self.root.exists() and not self.root.is_dir():
            raise ValueError(f"workspace {self.root}: this is a file; name a folder")
        if self.data_url:
            self.store.check()
        for name in FOLDERS:
            (self.root / name).mkdir(parents=True, exist_ok=True)
        known = {"data_url": self.data_url, "catalog_url": without_secret(self.catalog_url)}
        if any(known.values()) and known != _remembered(self.root):
            if self.catalog_url and self.catalog_path.exists():
                raise ValueError(
                    f"workspace {self.root}: it has a catalog in SQLite; leave out --catalog, or "
                    "name another workspace"
                )
            write_atomically(self.root / ADDRESSES, json.dumps(known, indent=1).encode())
        return self

    @property
    def catalog_path(self) -> Path:
        """The SQLite file with the catalog's metadata."""
        return self.root / SQLITE

    @property
    def tables_url(self) -> str:
        """The folder of the catalog's Parquet data files, as DuckDB names it; ends with `/`."""
        return f"{self.data_url or self.root}/tables/"

    @property
    def store(self) -> ObjectStore:
        """The object store of its files; raises ValueError where they lie in the folder."""
        if not self.data_url:
            raise ValueError(f"workspace {self.root} is a folder, in no object store")
        return ObjectStore(self.data_url)

    def path(self, ref: str) -> Path:
        """The file of a reference; raises ValueError for one that leaves the workspace."""
        path = (self.root / ref).resolve()
        if not path.is_relative_to(self.root):
            raise ValueError(f"reference {ref!r} leaves the workspace {self.root}")
        return path

    # -- files, wherever they lie --------------------------------------------------------------

    def fetch(self, ref: str) -> Path:
        """The file or folder of a reference on this machine, brought from the store if need be.

        In a local workspace it is `path`, and may not exist. A copy's time of change is that of its
        last use. Raises FileNotFoundError where the store does not have it either.
        """
        path = self.path(ref)
        if self.data_url:
            if not self._has_copy(ref, path):
                self.store.download(ref, path)
            with suppress(OSError):
                os.utime(path)
        return path

    def _has_copy(self, ref: str, path: Path) -> bool:
        try:
            own = path.stat()
        except FileNotFoundError:
            return False
        if ref.startswith(NAMED_BY_CONTENT):
            return True
        there = self.store.look(ref)
        return there is None or (
            there.size_bytes == own.st_size and there.changed_s <= own.st_mtime
        )

    def publish(self, ref: str, is_new: bool = True) -> None:
        """Brings a file or folder that was written here into the store, before rows name it.

        Does nothing in a local workspace. Of what is not new, an object of the same size that lies
        there since less than FRESH_S is not sent again.
        """
        if not self.data_url:
            return
        path, store = self.path(ref), self.store
        if path.is_dir():
            for part in sorted(path.rglob("*")):
                if part.is_file():
                    self.publish(f"{ref}/{part.relative_to(path).as_posix()}", is_new)
            return
        if not is_new and (there := store.look(ref)) is not None:
            is_whole = there.size_bytes == path.stat().st_size
            if is_whole and time.time() - there.changed_s < FRESH_S:
                return
        store.upload(path, ref)

    def put(self, ref: str, data: bytes) -> None:
        """Writes a file that is named by its content, unless it is there; publishes it."""
        self.publish(ref, is_new=write_once(self.path(ref), data))

    def write(self, ref: str, data: bytes) -> None:
        """Writes a file in place of what is there; publishes it."""
        write_atomically(self.path(ref), data)
        self.publish(ref)

    def exists(self, ref: str) -> bool:
        """Whether there is a file under a reference, where the workspace's files lie."""
        path = self.path(ref)
        return self.store.look(ref) is not None if self.data_url else path.is_file()

    def open(self, ref: str) -> "BinaryIO | NativeFile":
        """A file to read where it lies, without a copy; raises FileNotFoundError."""
        path = self.path(ref)
        return self.store.open(ref) if self.data_url else path.open("rb")

    def listing(self, folder: str) -> list[Entry]:
        """All files below a folder where the workspace's files lie, by reference."""
        if self.data_url:
            return sorted(self.store.listing(folder), key=lambda entry: entry.ref)
        return self.copies(folder)

    def copies(self, folder: str) -> list[Entry]:
        """All files below a folder of this machine, by reference."""
        found = []
        for name in sorted(self.path(folder).rglob("*")):
            with suppress(FileNotFoundError):
                stat = name.lstat()
                if not name.is_dir():
                    ref = name.relative_to(self.root).as_posix()
                    found.append(Entry(ref, stat.st_size, stat.st_mtime))
        return found

    def delete(self, ref: str) -> None:
        """Deletes a file or folder, in the store and here; nothing where it is gone."""
        path = self.path(ref)
        if self.data_url and not ref.startswith("scratch/"):
            self.store.delete(ref)
        remove(path)

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


def state_folder(data_url: str) -> Path:
    """The folder of this machine for a workspace in an object store."""
    digest = hashlib.sha256(data_url.encode()).hexdigest()[:8]
    readable = re.sub(r"[^A-Za-z0-9.]+", "-", data_url.partition("://")[2])[:60].strip("-.")
    return (Settings().state.expanduser() / f"{readable}-{digest}").resolve()


def without_secret(url: str) -> str:
    """An address without its password, which belongs into PGPASSWORD or ~/.pgpass."""
    parts = urlsplit(url)
    query = [part for part in parts.query.split("&") if part[:9] not in ("", "password=")]
    if parts.password is None and "&".join(query) == parts.query:
        return url
    user = f"{parts.username}@" if parts.username else ""
    place = f"{user}{parts.netloc.rpartition('@')[2]}"
    asked = "?" + "&".join(query) if query else ""
    return f"{parts.scheme}://{place}{parts.path}{asked}"


def secret_of(url: str) -> str:
    """The password in an address, or an empty text."""
    parts = urlsplit(url)
    return parse_qs(parts.query).get("password", [unquote(parts.password or "")])[0]


def redacted(text: str) -> str:
    """A text, as a command line is one, without the passwords of addresses in it."""
    return SECRETS.sub(lambda found: f"{found[1] or ''}{found[2] or ''}{found[3] or ''}", text)


def _check_url(what: str, url: str, schemes: tuple[str, ...]) -> None:
    parts = urlsplit(url)
    # PostgreSQL's socket may stand in the query, or in PGHOST.
    has_place = bool(parts.netloc) or (schemes == CATALOG_SCHEMES and len(parts.path) > 1)
    if parts.scheme not in schemes or not has_place:
        wanted = " or ".join(f"{scheme}://…" for scheme in schemes)
        raise ValueError(f"{what} {without_secret(url)}: give {wanted}")


def _remembered(root: Path) -> dict[str, str]:
    try:
        return json.loads((root / ADDRESSES).read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except ValueError as error:
        raise ValueError(f"{root / ADDRESSES}: not JSON: {error}; restore or remove it") from None


def write_once(path: Path, data: bytes) -> bool:
    """Writes a file that is named by its content, unless it is there; returns whether it did.

    One that is there is touched, so that sweeping orphans takes it for as young as a new one.
    """
    if path.exists():
        os.utime(path)
        return False
    write_atomically(path, data)
    return True


def write_atomically(path: Path, data: bytes) -> None:
    """Writes a whole file or nothing: temporary name, fsync, rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.tmp")
    with temporary.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)
