"""An object store that holds a workspace's files: upload, download, look, list, delete.

An object appears whole or not at all, as a renamed file does. Large files go and come in parts, so
no file is held in memory. The SDK below tries again with growing pauses where the network or the
store falters; what stays wrong comes out as one line that names the address and the mend.
"""

import functools
import os
import shutil
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from storage.access import (
    SET_KEYS,
    Access,
    BucketMissing,
    StoreDenied,
    StoreError,
    StoreUnreachable,
    access,
)

if TYPE_CHECKING:
    from pyarrow import NativeFile
    from pyarrow.fs import S3FileSystem

ATTEMPTS = 6
CONNECT_TIMEOUT_S = 10.0
REQUEST_TIMEOUT_S = 60.0
CHUNK_BYTES = 8 << 20
THREADS = 8
UNREACHABLE = ("NETWORK_CONNECTION", "curlCode", "REQUEST_TIMEOUT", "SERVICE_UNAVAILABLE")
DENIED = (
    "ACCESS_DENIED",
    "SIGNATURE_DOES_NOT_MATCH",
    "INVALID_ACCESS_KEY_ID",
    "INVALID_CLIENT_TOKEN_ID",
    "EXPIRED",
    "UNRECOGNIZED_CLIENT",
    "HTTP status 403",
    "HTTP status 401",
)


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of a workspace: its reference, size and last change (seconds since 1970)."""

    ref: str
    size_bytes: int
    changed_s: float


@functools.lru_cache(maxsize=8)
def _file_system(known: Access, process: int) -> "S3FileSystem":
    """The client of a process; one that a fork took along must not be used."""
    from pyarrow.fs import AwsStandardS3RetryStrategy, S3FileSystem

    return S3FileSystem(
        access_key=known.key_id,
        secret_key=known.secret,
        session_token=known.session_token or None,
        region=known.region,
        scheme="https" if known.is_tls else "http",
        endpoint_override=known.host or None,
        tls_ca_file_path=known.ca_file or None,
        connect_timeout=CONNECT_TIMEOUT_S,
        request_timeout=REQUEST_TIMEOUT_S,
        retry_strategy=AwsStandardS3RetryStrategy(max_attempts=ATTEMPTS),
        # A small file is one request in place of three.
        allow_delayed_open=True,
    )


@dataclass(frozen=True, slots=True)
class ObjectStore:
    """The files of one workspace below `s3://bucket/prefix`; references are keys below it."""

    url: str

    @property
    def bucket(self) -> str:
        """The bucket's name."""
        return self.url.partition("://")[2].partition("/")[0]

    def check(self) -> None:
        """Raises a StoreError where the store does not answer, or has no such bucket."""
        self._list("", recursive=False)

    def upload(self, path: Path, ref: str) -> None:
        """Puts a file under a reference, in place of what is there."""
        with path.open("rb") as source, self._writing(ref) as stream:
            shutil.copyfileobj(source, stream, CHUNK_BYTES)

    def upload_bytes(self, data: bytes, ref: str) -> None:
        """Puts bytes under a reference, in place of what is there."""
        with self._writing(ref) as stream:
            stream.write(data)

    @contextmanager
    def _writing(self, ref: str) -> Iterator["NativeFile"]:
        """A stream whose bytes become an object when all of them are in it, or nothing."""
        with self._explained(ref):
            stream = self._files().open_output_stream(self._key(ref))
            try:
                yield stream
            except BaseException:
                # Arrow can only finish an upload, and has no word for giving it up.
                with suppress(OSError):
                    stream.close()
                with suppress(StoreError):
                    self._delete_one(ref)
                raise
            # A small file is sent here; left to the destructor, an error would be lost.
            stream.close()

    def download(self, ref: str, path: Path) -> None:
        """Copies a file, or a folder with all that is in it; it appears whole or not at all.

        Raises FileNotFoundError where there is nothing under the reference.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.tmp")
        try:
            if self.look(ref) is not None:
                self._copy_down(ref, temporary)
                temporary.replace(path)
                return
            inside = self.listing(ref)
            if not inside:
                raise self._missing(ref)
            for entry in inside:
                part = temporary / entry.ref.removeprefix(f"{ref}/")
                part.parent.mkdir(parents=True, exist_ok=True)
                self._copy_down(entry.ref, part)
            # Another process may have brought the same folder meanwhile.
            with suppress(FileExistsError, NotADirectoryError):
                temporary.rename(path)
        finally:
            remove(temporary)

    def open(self, ref: str) -> "NativeFile":
        """A file to read parts of, without a copy; raises FileNotFoundError."""
        with self._explained(ref):
            return self._files().open_input_file(self._key(ref))

    def look(self, ref: str) -> Entry | None:
        """The file of a reference, or None where there is none; a folder is none."""
        from pyarrow.fs import FileType

        with self._explained(ref):
            info = self._files().get_file_info(self._key(ref))
        return self._entry(info) if info.type == FileType.File else None

    def listing(self, folder: str) -> list[Entry]:
        """All files below a folder, at any depth; none where there is no such folder."""
        return self._list(folder, recursive=True)

    def _list(self, folder: str, recursive: bool) -> list[Entry]:
        from pyarrow.fs import FileSelector, FileType

        # With allow_not_found a missing bucket would be an empty folder.
        selector = FileSelector(self._key(folder), recursive=recursive)
        try:
            with self._explained(folder):
                found = self._files().get_file_info(selector)
        except FileNotFoundError:
            return []
        return [self._entry(info) for info in found if info.type == FileType.File]

    def delete(self, ref: str) -> None:
        """Deletes a file, or a folder with all that is in it; nothing where it is gone."""
        if self.look(ref) is not None:
            self.delete_files([ref])
        else:
            self.delete_files(entry.ref for entry in self.listing(ref))

    def delete_files(self, refs: Iterable[str]) -> None:
        """Deletes many files at once."""
        with ThreadPoolExecutor(THREADS) as pool:
            for _ in pool.map(self._delete_one, refs):
                pass

    def _delete_one(self, ref: str) -> None:
        with suppress(FileNotFoundError), self._explained(ref):
            self._files().delete_file(self._key(ref))

    def _copy_down(self, ref: str, path: Path) -> None:
        with self.open(ref) as source, path.open("wb") as stream:
            with self._explained(ref):
                shutil.copyfileobj(_Reader(source), stream, CHUNK_BYTES)
            stream.flush()
            os.fsync(stream.fileno())

    def _files(self) -> "S3FileSystem":
        return _file_system(access(), os.getpid())

    def _key(self, ref: str) -> str:
        return f"{self.url.partition('://')[2]}/{ref}".rstrip("/")

    def _entry(self, info: Any) -> Entry:
        ref = info.path.removeprefix(self._key("") + "/")
        return Entry(ref, int(info.size or 0), info.mtime.timestamp() if info.mtime else 0.0)

    def _missing(self, ref: str) -> FileNotFoundError:
        return FileNotFoundError(
            f"{self.url}/{ref} is missing; put it back, or redo the stage that made it"
        )

    @contextmanager
    def _explained(self, ref: str) -> Iterator[None]:
        """Turns what the SDK says into one line of ours."""
        try:
            yield
        except StoreError:
            raise
        except FileNotFoundError:
            raise self._missing(ref) from None
        except OSError as error:
            # What has a number is an error of this machine's own disk.
            if error.errno is not None:
                raise
            raise self._named(ref, " ".join(str(error).split())) from None

    def _named(self, ref: str, said: str) -> StoreError:
        where, address = f"{self.url}/{ref}".rstrip("/"), access().address
        if "NO_SUCH_BUCKET" in said:
            return BucketMissing(
                f"{where}: there is no bucket {self.bucket} at {address}; make it, or name another"
            )
        if any(mark in said for mark in DENIED):
            return StoreDenied(
                f"{where}: {address} denies access; {SET_KEYS}, and let the key read, write, list "
                "and delete below this address"
            )
        if any(mark in said for mark in UNREACHABLE):
            return StoreUnreachable(
                f"{where}: no answer from {address}; check AWS_ENDPOINT_URL_S3 and the network"
            )
        return StoreError(f"{where}: {address} says: {said.partition(' (Request ID')[0]}")


class _Reader:
    """An Arrow file as what shutil copies from."""

    def __init__(self, source: "NativeFile") -> None:
        self.read = source.read


def remove(path: Path) -> None:
    """Removes a file, or a folder with all that is in it; nothing where it is gone."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
