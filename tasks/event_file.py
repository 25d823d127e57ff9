"""Event files that TensorBoard reads, written without it: numbers and sounds by step.

Source: tensorflow's TFRecord framing (length, masked CRC-32C of it, data, masked CRC-32C of that)
and the messages Event, Summary and SessionLog of tensorboard/compat/proto, of which a few fields
suffice.
"""

import struct
import time
from pathlib import Path
from types import TracebackType
from typing import Self

VERSION = b"brain.Event:2"
_VARINT, _DOUBLE, _BYTES, _FLOAT = 0, 1, 2, 5
_POLYNOMIAL, _MASK = 0x82F63B78, 0xA282EAD8


def _crc_table() -> list[int]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = (value >> 1) ^ (_POLYNOMIAL if value & 1 else 0)
        table.append(value)
    return table


_TABLE = _crc_table()


def crc32c(data: bytes) -> int:
    """The CRC-32C (Castagnoli) of bytes."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def record(data: bytes) -> bytes:
    """Bytes as one record of an event file."""
    length = struct.pack("<Q", len(data))
    return length + _masked(length) + data + _masked(data)


def _masked(data: bytes) -> bytes:
    crc = crc32c(data)
    turned = (crc >> 15) | (crc << 17)
    return struct.pack("<I", (turned + _MASK) & 0xFFFFFFFF)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append((value & 0x7F) | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _field(number: int, value: bytes | str | int | float, single: bool = True) -> bytes:
    """A field of a protocol buffer message; floats are of single precision by default."""
    if isinstance(value, float):
        wire, packed = (_FLOAT, "<f") if single else (_DOUBLE, "<d")
        return _varint(number << 3 | wire) + struct.pack(packed, value)
    if isinstance(value, int):
        return _varint(number << 3 | _VARINT) + _varint(value)
    data = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | _BYTES) + _varint(len(data)) + data


class EventFile:
    """An event file that is written anew; every record is on disk when its method returns."""

    def __init__(self, path: Path) -> None:
        """Opens the file and writes its first record."""
        self._stream = path.open("wb")
        self._write(_field(3, VERSION))

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Closes the file."""
        self._stream.close()

    def number(self, tag: str, step: int, value: float) -> None:
        """Writes a point of the curve `tag`."""
        self._summary(step, _field(1, tag) + _field(2, float(value)))

    def sound(self, tag: str, step: int, wav: bytes, rate_hz: int, samples: int) -> None:
        """Writes a sound of one channel, as the bytes of a WAV file."""
        audio = (
            _field(1, float(rate_hz))
            + _field(2, 1)
            + _field(3, samples)
            + _field(4, wav)
            + _field(5, "audio/wav")
        )
        self._summary(step, _field(1, tag) + _field(6, audio))

    def _summary(self, step: int, value: bytes) -> None:
        self._write(_field(2, step) + _field(5, _field(1, value)))

    def _write(self, event: bytes) -> None:
        self._stream.write(record(_field(1, time.time(), single=False) + event))
        self._stream.flush()
