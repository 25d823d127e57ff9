"""The picture of a file as its packets tell it, and whether a finished file still holds it."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from storage.ids import sha256_file
from storage.rejects import Rejected
from tasks.container import demuxed

if TYPE_CHECKING:
    from av import Packet
    from av.container import InputContainer
    from av.video.stream import VideoStream


@dataclass(frozen=True, slots=True)
class MuxResult:
    """What was read back from the finished file.

    Attributes:
        path: the file; its suffix follows the container.
        video_s: how long the picture is shown.
        audio_s: how long the soundtrack sounds.
        picture_untouched: the coded pictures and their times equal those of the source.
        output_hash: sha256 of the file.
    """

    path: str
    video_s: float
    audio_s: float
    picture_untouched: bool
    output_hash: str


@dataclass(frozen=True, slots=True)
class Picture:
    """A video stream as its packets tell it, with times in seconds.

    Attributes:
        start_s: when its first picture is shown.
        duration_s: how long it is shown from then on.
        digest: sha256 of the content of its packets in stored order.
        times_s: when each packet is shown, in stored order, also those that are hidden.
        tick_s: its time base.
    """

    start_s: float
    duration_s: float
    digest: str
    times_s: list[float]
    tick_s: float


def is_mp4(source: "InputContainer") -> bool:
    """Whether a file is MP4 or QuickTime, whose tracks have edit lists."""
    return "mp4" in source.format.name.split(",")


def video_packets(source: "InputContainer", video: "VideoStream") -> "Iterator[Packet]":
    """The packets of the picture in stored order.

    Raises Rejected("unsupported") for one without a time, and Rejected("damaged") where the file
    cannot be read on.
    """
    from av.container import Flags
    from av.error import FFmpegError

    source.flags |= Flags.gen_pts.value
    try:
        for packet in demuxed(source, [video]):
            if packet.size == 0:
                continue
            if packet.pts is None:
                raise Rejected(
                    "unsupported", f"{source.name}: a picture has no time stamp; convert the file"
                )
            yield packet
    except MemoryError:
        raise
    except FFmpegError as error:
        raise Rejected(
            "damaged",
            f"{source.name}: its picture cannot be read on ({error.strerror}); get another copy",
        ) from error


def scan_picture(source: "InputContainer", video: "VideoStream") -> Picture:
    """What the packets of a picture hold and when they are shown."""
    tick_s = float(video.time_base or 0)
    digest = hashlib.sha256()
    times: list[int] = []
    hidden: list[bool] = []
    last_end = 0
    for packet in video_packets(source, video):
        for part in _parts(bytes(packet), video):
            digest.update(len(part).to_bytes(8, "big") + part)
        times.append(packet.pts or 0)
        hidden.append(packet.is_discard)
        if not packet.is_discard:
            last_end = max(last_end, times[-1] + (packet.duration or 0))
    shown = sorted(t for t, h in zip(times, hidden, strict=True) if not h)
    if not shown:
        raise Rejected("damaged", f"{source.name}: no picture is shown; get another copy")
    steps = sorted(b - a for a, b in pairwise(shown))
    usual = steps[len(steps) // 2] if steps else 0
    length = max(last_end, shown[-1] + usual) - shown[0]
    # A track's own duration knows its edit list; where the file ends early it states too much.
    # Elsewhere it is libav's estimate: for MPEG program streams up to a second too short.
    if is_mp4(source) and video.duration:
        length = min(length, video.duration)
    return Picture(
        start_s=shown[0] * tick_s,
        duration_s=length * tick_s,
        digest=digest.hexdigest(),
        times_s=[time * tick_s for time in times],
        tick_s=tick_s,
    )


def _parts(data: bytes, video: "VideoStream") -> list[bytes]:
    """A packet's content, for H.264 and HEVC as NAL units without the framing around them."""
    codec = video.codec_context.name
    if codec not in ("h264", "hevc"):
        return [data]
    configuration = video.codec_context.extradata or b""
    if configuration[:1] != b"\x01":
        units = [unit.rstrip(b"\0") for unit in data.split(b"\0\0\x01")]
        return [unit for unit in units if unit]
    width = (configuration[4 if codec == "h264" else 21] & 3) + 1
    units, at = [], 0
    while at + width <= len(data):
        end = at + width + int.from_bytes(data[at : at + width], "big")
        units.append(data[at + width : end].rstrip(b"\0"))
        at = end
    return [unit for unit in units if unit] if at == len(data) else [data]


def read_back(path: Path, output_path: Path, wanted: Picture, zero_s: float) -> MuxResult:
    """Measures the finished file by reading it again."""
    import av

    with av.open(str(path)) as container:
        found = scan_picture(container, container.streams.video[0])
    with av.open(str(path)) as container:
        sound = container.streams.audio[0]
        packets = [(p.pts or 0, p.duration or 0) for p in container.demux(sound) if p.size]
        base = float(sound.time_base or 0)
    first_s = min(start for start, _ in packets) * base
    last_s = max(start + duration for start, duration in packets) * base
    tolerance_s = (wanted.tick_s + found.tick_s) / 2 + 1e-9
    same_times = len(found.times_s) == len(wanted.times_s) and all(
        abs(a - b) <= tolerance_s for a, b in zip(found.times_s, wanted.times_s, strict=True)
    )
    return MuxResult(
        path=str(output_path),
        video_s=found.duration_s,
        audio_s=last_s - max(first_s, zero_s),
        picture_untouched=found.digest == wanted.digest and same_times,
        output_hash=sha256_file(path),
    )
