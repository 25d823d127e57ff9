"""The blob store: files named by the sha256 of their bytes."""

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

from storage.ids import sha256_file
from storage.rejects import Rejected
from storage.workspace import Workspace

SUFFIX = re.compile(r"\.[a-z0-9]{1,12}")


@dataclass(frozen=True, slots=True)
class Blobs:
    """Content-addressed files of a workspace: `blobs/ab/cdef….flac`."""

    workspace_root: str | Path

    def put_bytes(self, data: bytes, suffix: str) -> str:
        """Stores bytes and returns their reference; the same bytes give the same reference."""
        ref = ref_of(hashlib.sha256(data).hexdigest(), suffix)
        self._workspace.put(ref, data)
        return ref

    def put_file(self, path: Path, suffix: str) -> str:
        """Moves a file of the same disk into the store and returns its reference."""
        ref = ref_of(sha256_file(path), suffix)
        workspace = self._workspace
        target = workspace.path(ref)
        is_new = not target.exists()
        if not is_new:
            os.utime(target)
            path.unlink()
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            with path.open("rb") as stream:
                os.fsync(stream.fileno())
            path.replace(target)
        workspace.publish(ref, is_new)
        return ref

    @property
    def _workspace(self) -> Workspace:
        return Workspace.at(self.workspace_root)

    def path(self, ref: str) -> Path:
        """The file of a reference on this machine; in a local workspace it may not exist."""
        return self._workspace.fetch(ref)

    def read(self, ref: str) -> bytes:
        """The bytes of a reference, checked against the hash in its name.

        Raises FileNotFoundError where the blob is missing and Rejected("content_hash") where its
        bytes are not those that were stored.
        """
        data = self.path(ref).read_bytes()
        if hashlib.sha256(data).hexdigest() != hash_in(ref):
            raise Rejected("content_hash", f"{ref}: its bytes do not match its name")
        return data


def hash_in(ref: str) -> str:
    """The sha256 that a blob reference names."""
    folder, name = ref.rsplit("/", 2)[-2:]
    return folder + name.split(".")[0]


def ref_of(digest: str, suffix: str) -> str:
    """The reference of a blob whose bytes have this sha256; raises ValueError for a bad suffix."""
    if not SUFFIX.fullmatch(suffix):
        raise ValueError(f"blob suffix {suffix!r}: give a short extension such as '.flac'")
    return f"blobs/{digest[:2]}/{digest[2:]}{suffix}"
