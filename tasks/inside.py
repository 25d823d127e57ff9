"""What lies inside a larger file: where the bytes of each source begin and end.

Sources are read by offset: nothing is unpacked, and nothing is written under a name that the file
gives.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

from storage.rejects import Rejected


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why something that is listed cannot be read: a reason code and a message."""

    reason: str
    message: str

    def rejected(self, where: str) -> Rejected:
        """The refusal as an exception that names where it lies."""
        return Rejected(self.reason, f"{where}: {self.message}")


@dataclass(frozen=True, slots=True)
class Slice:
    """A stretch of a file.

    Attributes:
        offset: of the first byte.
        size_bytes: its length.
        said: what the file itself says of it, by the names of a manifest.
    """

    offset: int
    size_bytes: int
    said: Mapping[str, Any] | None = None

    def read(self, stream: BinaryIO, limit_bytes: int) -> bytes:
        """The bytes; none where there are more than the limit."""
        if self.size_bytes > limit_bytes:
            return b""
        stream.seek(self.offset)
        return stream.read(self.size_bytes)


@dataclass(frozen=True, slots=True)
class Contents:
    """What a file holds.

    Attributes:
        held: what can be read and what cannot, by name.
        damage: why nothing behind these could be read, or None.
    """

    held: Mapping[str, Slice | Refusal]
    damage: Refusal | None = None
