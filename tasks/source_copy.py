"""The one seam between a uri and a path: whoever needs a source's bytes in a file asks here."""

import hashlib
import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from storage.rejects import Rejected
from tasks.arrow_index import arrow_contents
from tasks.container import local_path
from tasks.inside import Contents, Refusal, Slice
from tasks.objects import S3, object_chunks, object_facts
from tasks.source_uri import ARROW, TAR, name_of, scheme_of, split_inside, told
from tasks.tar_index import tar_contents

CHUNK_BYTES = 4 << 20
SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,8}")
INDEXES: dict[str, Callable[[str], Contents]] = {TAR: tar_contents, ARROW: arrow_contents}
SCHEME_OF_SUFFIX = {".tar": TAR, ".arrow": ARROW}


@contextmanager
def local_source(uri: str, folder: str | Path, source_id: str | None = None) -> Iterator[str]:
    """A path whose bytes are the source's: a local file is itself, anything else a copy.

    The copy has the modification time of what it was taken from and lies in `folder` until the
    block ends. A reject inside the block names the uri in place of the copy.

    Args:
        uri: the source's.
        folder: a scratch folder of this worker.
        source_id: the sha256 that a copy must have, where it is known.

    Raises Rejected: `changed` where the copy holds other bytes, `output_too_large` where it does
    not fit the disk, or as `source_facts`.
    """
    if scheme_of(uri) == "file":
        yield local_path(uri)
        return
    suffix = PurePosixPath(name_of(uri)).suffix
    suffix = suffix if SUFFIX.fullmatch(suffix) else ""
    # The name has nothing of the source's, which may be anything.
    path = Path(folder) / f"source-{uuid.uuid4().hex}{suffix}"
    try:
        _copy(uri, path, source_id)
        yield str(path)
    except Rejected as reject:
        message = reject.message.replace(str(path), told(uri))
        raise Rejected(reject.reason, message, reject.facts) from None
    finally:
        path.unlink(missing_ok=True)


def source_facts(uri: str) -> tuple[int, int]:
    """Size in bytes and modification time in ns of a source that is no file of its own.

    The time is the object's, or that of the file it lies in. Raises Rejected: `missing`,
    `unreadable`, `unsupported`, or as the file is damaged.
    """
    if scheme_of(uri) == S3:
        return object_facts(uri)
    path, found = _found(uri)
    return found.size_bytes, os.stat(path).st_mtime_ns


def source_chunks(uri: str) -> Iterator[bytes]:
    """The bytes of a source that is no file of its own, from its begin to its end.

    Raises Rejected as `source_facts`, and `changed` where the bytes end early.
    """
    if scheme_of(uri) == S3:
        yield from object_chunks(uri)
        return
    path, found = _found(uri)
    left = found.size_bytes
    with open(path, "rb") as stream:
        stream.seek(found.offset)
        while left:
            chunk = stream.read(min(left, CHUNK_BYTES))
            if not chunk:
                raise Rejected("changed", f"{told(uri)}: it was cut while it was read; build again")
            left -= len(chunk)
            yield chunk


def sha256_source(uri: str) -> str:
    """The sha256 of the bytes of a source that is no file of its own, read as a stream."""
    digest = hashlib.sha256()
    for chunk in source_chunks(uri):
        digest.update(chunk)
    return digest.hexdigest()


def contents_of(scheme: str, path: str) -> Contents:
    """What lies inside a file; raises Rejected where it is missing, empty or cannot be opened."""
    try:
        return INDEXES[scheme](path)
    except OSError as error:
        raise Rejected("unreadable", f"{path}: {error.strerror}; check the disk") from None


def _found(uri: str) -> tuple[str, Slice]:
    if scheme_of(uri) not in INDEXES:
        raise Rejected("unreadable", f"{uri}: {scheme_of(uri)}:// cannot be opened")
    path, name = split_inside(uri)
    contents = contents_of(scheme_of(uri), path)
    found = contents.held.get(name)
    if found is None and contents.damage:
        raise contents.damage.rejected(path)
    if found is None:
        raise Rejected("missing", f"{told(uri)}: it is not there; put it back or build again")
    if isinstance(found, Refusal):
        raise found.rejected(told(uri))
    return path, found


def _copy(uri: str, path: Path, source_id: str | None) -> None:
    size_bytes, mtime_ns = source_facts(uri)
    free_bytes = shutil.disk_usage(path.parent).free
    if size_bytes > free_bytes:
        raise Rejected(
            "output_too_large",
            f"{told(uri)}: its copy of {size_bytes} bytes does not fit the {free_bytes} free bytes "
            f"of {path.parent}; make room there",
        )
    digest = hashlib.sha256()
    with path.open("xb") as stream:
        for chunk in source_chunks(uri):
            digest.update(chunk)
            stream.write(chunk)
    os.utime(path, ns=(mtime_ns, mtime_ns))
    if source_id is not None and digest.hexdigest() != source_id:
        raise Rejected("changed", f"{told(uri)}: it changed since it was listed; build again")
