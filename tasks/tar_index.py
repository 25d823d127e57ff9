"""The members of a tar: names, and where their bytes lie."""

import functools
import tarfile
from typing import BinaryIO, cast

from tasks.container import check_file
from tasks.inside import Contents, Refusal, Slice

LARGEST_HEADER_BYTES = 1 << 20
"""Extended headers are read whole: one that states more is no header."""
KEPT_INDEXES = 64
# What tarfile lets through where a header holds nonsense; RecursionError for a chain of headers.
NONSENSE = (tarfile.TarError, ValueError, IndexError, KeyError, OverflowError, RecursionError)
GZIP, XZ, ZSTD = b"\x1f\x8b", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd"


class _Headers:
    """A file as tarfile reads headers from it."""

    def __init__(self, stream: BinaryIO) -> None:
        self.tell, self.seek, self._stream = stream.tell, stream.seek, stream

    def read(self, size: int) -> bytes:
        """The next bytes; raises tarfile.ReadError for a header that is too large."""
        if not 0 <= size <= LARGEST_HEADER_BYTES:
            raise tarfile.ReadError(f"a header of {size} bytes")
        return self._stream.read(size)


def tar_contents(path: str) -> Contents:
    """The regular files in a tar by name, up to where it is damaged.

    Of several members with one name the last counts, as when a tar is unpacked. Links and devices
    are left out. Raises Rejected where the file is missing, empty or cannot be opened.
    """
    facts = check_file(path)
    return _contents(path, facts.st_size, facts.st_mtime_ns)


@functools.lru_cache(maxsize=KEPT_INDEXES)
def _contents(path: str, size_bytes: int, mtime_ns: int) -> Contents:
    held: dict[str, Slice | Refusal] = {}
    with open(path, "rb") as stream:
        if head := stream.read(6):
            stream.seek(0)
        if head.startswith((GZIP, XZ, ZSTD, b"BZh")):
            return Contents({}, Refusal("unsupported", "a compressed tar; decompress it"))
        try:
            return _walk(stream, size_bytes, held)
        except NONSENSE as error:
            return Contents(held, _damage(held, str(error) or type(error).__name__))


def _walk(stream: BinaryIO, size_bytes: int, held: dict[str, Slice | Refusal]) -> Contents:
    headers = cast("BinaryIO", _Headers(stream))
    with tarfile.open(fileobj=headers, mode="r:", encoding="utf-8") as tar:
        while (member := tar.next()) is not None:
            end = member.offset_data + member.size
            if member.size < 0 or (member.isreg() and not member.issparse() and end > size_bytes):
                return Contents(held, _damage(held, f"it ends inside its member {member.name!r}"))
            if member.issparse():
                why = "a sparse member; pack the tar again without --sparse"
                held[member.name] = Refusal("unsupported", why)
            elif member.isreg():
                held[member.name] = Slice(member.offset_data, member.size)
            # tarfile keeps every header for members that are looked up by name.
            tar.members = []  # pyright: ignore[reportAttributeAccessIssue]
        stream.seek(tar.offset)
        block = stream.read(tarfile.BLOCKSIZE)
    if not block:
        return Contents(held, _damage(held, "its end mark is missing"))
    if block.strip(b"\0"):
        return Contents(held, _damage(held, f"no header at byte {tar.offset}"))
    return Contents(held)


def _damage(held: dict[str, Slice | Refusal], said: str) -> Refusal:
    if not held:
        return Refusal("not_media", f"not a tar that can be read ({said}); get another copy")
    message = f"the tar is damaged behind its first {len(held)} files ({said}); get another copy"
    return Refusal("truncated", message)
