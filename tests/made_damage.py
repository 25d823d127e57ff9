"""Damaged files by seeded mutation of whole ones, and files that are made to harm."""

import os
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

HEAD_BYTES = 512
SPARSE_BYTES = 4 << 30


@dataclass(frozen=True, slots=True)
class Damaged:
    """A file and how it came about."""

    path: Path
    how: str


def truncated(data: bytearray, draw: random.Random, other: bytes) -> bytearray:
    """The file ends early."""
    return data[: draw.randrange(1, len(data))]


def flipped(data: bytearray, draw: random.Random, other: bytes) -> bytearray:
    """Single bytes anywhere are others."""
    for _ in range(draw.choice((1, 10, 100, 1000))):
        data[draw.randrange(len(data))] = draw.randrange(256)
    return data


def zeroed(data: bytearray, draw: random.Random, other: bytes) -> bytearray:
    """A run of zeros, as a lost disk block leaves."""
    start, length = draw.randrange(len(data)), draw.choice((64, 4096, 65_536))
    end = min(len(data), start + length)
    data[start:end] = bytes(end - start)
    return data


def spliced(data: bytearray, draw: random.Random, other: bytes) -> bytearray:
    """A part of another file in the middle."""
    at, taken = draw.randrange(len(data)), draw.randrange(len(other))
    data[at:at] = other[taken : taken + draw.choice((64, 4096, 65_536))]
    return data


def cut_out(data: bytearray, draw: random.Random, other: bytes) -> bytearray:
    """A part is missing, so that all behind it has moved."""
    start = draw.randrange(len(data))
    del data[start : start + draw.choice((1, 64, 4096, 65_536))]
    return data or bytearray(1)


def header_edited(data: bytearray, draw: random.Random, other: bytes) -> bytearray:
    """Numbers of the header are the largest there are, or nonsense."""
    for _ in range(draw.choice((1, 3, 10))):
        at = draw.randrange(4, min(HEAD_BYTES, len(data)))
        data[at : at + 4] = draw.choice((b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", bytes(4)))
    return data


def index_edited(data: bytearray, draw: random.Random, other: bytes) -> bytearray:
    """The same in an MP4's index, wherever it lies: durations, sizes and counts."""
    start = max(data.find(b"moov"), 0)
    for _ in range(draw.choice((1, 3, 10))):
        at = start + 4 + draw.randrange(min(2048, max(1, len(data) - start)))
        data[at : at + 4] = draw.choice((b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", bytes(4)))
    return data


MUTATIONS: tuple[Callable[[bytearray, random.Random, bytes], bytearray], ...] = (
    truncated,
    flipped,
    zeroed,
    spliced,
    cut_out,
    header_edited,
    index_edited,
)


def damaged_copies(
    wholes: Sequence[Path], folder: Path, number: int, seed: int = 0
) -> list[Damaged]:
    """Writes a number of mutated copies; the same seed and files give the same bytes."""
    made = []
    for index in range(number):
        draw = random.Random(f"{seed}-{index}")
        whole, other = draw.choice(wholes), draw.choice(wholes)
        mutate = MUTATIONS[index % len(MUTATIONS)]
        path = folder / f"{index:04d}-{mutate.__name__}{whole.suffix}"
        path.write_bytes(mutate(bytearray(whole.read_bytes()), draw, other.read_bytes()))
        made.append(Damaged(path, mutate.__name__))
    return made


def hostile_files(folder: Path, few: bool = False) -> list[Damaged]:
    """A pipe, an empty file, sparse ones, and small files that unfold without end; `few`: less."""
    pipe, empty = folder / "pipe.mp4", folder / "empty.mp4"
    sparse, behind = folder / "sparse.mp4", folder / "sparse-behind-a-head.mp4"
    os.mkfifo(pipe)
    empty.touch()
    sparse.touch()
    os.truncate(sparse, SPARSE_BYTES)
    behind.write_bytes(b"\0\0\0\x18ftypisom\0\0\2\0isomiso2")
    os.truncate(behind, SPARSE_BYTES)
    return [
        Damaged(pipe, "pipe"),
        Damaged(empty, "empty"),
        Damaged(sparse, "sparse"),
        Damaged(behind, "sparse"),
        Damaged(huge_picture(folder / "huge.avi", 16_000), "huge picture"),
        Damaged(huge_picture(folder / "impossible.avi", 65_000), "huge picture"),
        Damaged(endless_picture(folder / "endless.mkv"), "endless picture"),
        Damaged(
            endless_frames(folder / "frames.mkv", 20_000 if few else 400_000), "endless frames"
        ),
    ]


def huge_picture(path: Path, side: int) -> Path:
    """A small JPEG in an AVI that says of itself that it is many pixels wide and high."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=25)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuvj420p"
        picture = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), "rgb24")
        for packet in [*stream.encode(picture), *stream.encode(None)]:
            container.mux(packet)
    data = path.read_bytes()
    at = data.index(b"\xff\xc0") + 5  # height and width in the JPEG's frame header
    sides = side.to_bytes(2, "big") * 2
    path.write_bytes(data[:at] + sides + data[at + 4 :])
    return path


def endless_picture(path: Path, days: int = 300) -> Path:
    """Two pictures, the second of them many days after the first: all grids between are full."""
    return sparse_film(path, [0, days * 86_400_000])


def endless_frames(path: Path, number: int) -> Path:
    """Nothing but pictures that repeat the one before, ten bytes each, a thousand a second."""
    return sparse_film(path, list(range(number)))


def sparse_film(path: Path, times_ms: list[int]) -> Path:
    """One picture, then repetitions of it at times in milliseconds, by repeating a packet."""
    base = Fraction(1, 1000)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1" if len(times_ms) < 3 else "mpeg4", rate=25)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = base
        stream.options = {"g": "100000"}
        picture = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), "rgb24")
        packets = []
        for at_ms in (0, 1):
            frame = picture.reformat(format="yuv420p")
            frame.pts, frame.time_base = at_ms, base
            packets += [bytes(packet) for packet in stream.encode(frame)]
        packets += [bytes(packet) for packet in stream.encode(None)]
        for index, at_ms in enumerate(times_ms):
            packet = av.Packet(packets[min(index, 1)])
            packet.stream, packet.time_base = stream, base
            packet.pts = packet.dts = at_ms
            packet.is_keyframe = index == 0
            container.mux(packet)
    return path
