"""What files a workspace has where they lie: asked of the disk, or listed once in a store.

A copy on this machine says nothing of the store, so nothing here reads one.
"""

import hashlib
import threading
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from storage.ids import sha256_file
from storage.workspace import Workspace

if TYPE_CHECKING:
    from pyarrow import NativeFile

CHUNK_BYTES = 4 << 20


class Shelf:
    """The files of a workspace, for looking at very many of them."""

    def __init__(self, workspace: Workspace) -> None:
        """Makes a shelf; a folder of a store is listed when it is first asked about."""
        self.workspace = workspace
        self._listed: dict[str, dict[str, int]] = {}
        self._lock = threading.Lock()

    def has(self, ref: str) -> bool:
        """Whether there is a file; raises ValueError for a reference that leaves the workspace."""
        return self.size_bytes(ref) is not None

    def size_bytes(self, ref: str) -> int | None:
        """The size of a file, or None where there is none; raises ValueError as `has` does."""
        path = self.workspace.path(ref)
        if not self.workspace.data_url:
            return path.stat().st_size if path.is_file() else None
        folder = ref.partition("/")[0]
        with self._lock:
            if folder not in self._listed:
                entries = self.workspace.listing(folder)
                self._listed[folder] = {entry.ref: entry.size_bytes for entry in entries}
        return self._listed[folder].get(ref)

    def data_file_bytes(self, name: str) -> int | None:
        """The size of one of the catalog's data files by DuckLake's name, or None."""
        own = self.workspace.tables_url
        if name.startswith(own):
            return self.size_bytes(f"tables/{name.removeprefix(own)}")
        path = Path(name)
        return path.stat().st_size if path.is_file() else None

    def open(self, ref: str) -> "BinaryIO | NativeFile":
        """The file, opened where it lies."""
        return self.workspace.open(ref)

    def read(self, ref: str) -> bytes:
        """The bytes of a small file."""
        with self.open(ref) as file:
            return bytes(file.read())

    def sha256(self, ref: str) -> str:
        """The hash of a file's bytes, read in pieces."""
        if not self.workspace.data_url:
            return sha256_file(self.workspace.path(ref))
        digest = hashlib.sha256()
        with self.open(ref) as file:
            while piece := file.read(CHUNK_BYTES):
                digest.update(piece)
        return digest.hexdigest()
