"""The one decode pass over a source, run in the sandbox: pictures, sound, cuts and loudness.

Everything streams, so memory does not grow with the length of a source. Times are whole
microseconds on the source's timeline, whose zero is the earliest decoded frame of its two streams,
after libav has applied edit lists and codec delays. Frame k of a grid is the last picture shown at
its time; before the first picture the first one stands, after the last the last.

This module is imported by the sandbox alone, so the decoders are loaded at its top.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
import av.logging
import cv2
from av.container import InputContainer
from av.error import FFmpegError

from models.timeline import VISUAL_FPS
from storage.rejects import Rejected
from tasks.container import (
    choose_streams,
    demuxed,
    first_bytes,
    microseconds,
    open_media,
    stated_bytes,
    stated_duration_s,
)
from tasks.decode import DecodeConfig
from tasks.decode_picture import Picture
from tasks.decode_sound import Sound
from tasks.decode_unshown import TELLS_REFERENCES, Unshown

WAITING_PICTURES = 8  # decoded while the other stream's first frame is awaited
FAR_S = 600.0  # a frame this far beyond twice the stated duration has a false time
# Containers that store their duration; elsewhere libav guesses it from the bit rate.
STATES_DURATION = ("mp4", "matroska", "avi", "flv", "asf", "wav", "flac", "aiff", "caf", "w64")

av.logging.restore_default_callback()  # errors go to stderr, of which the sandbox keeps the tail
av.logging.set_libav_level(av.logging.ERROR)
cv2.setNumThreads(1)


class Shown(NamedTuple):
    """A decoded frame with its place on the timeline, in microseconds."""

    kind: str
    frame: Any
    start_us: int
    length_us: int


def decode_source(
    path: str, folder: str, config: dict[str, Any], detector: str = ""
) -> dict[str, Any]:
    """Decodes a file into a folder: `audio48.flac`, `audio16.flac`, `frames10.parquet`, ….

    Returns the columns of `decodes` that are measured, and `facts` of the pass; no cuts where
    TransNetV2 is to find them in `thumbnails.rgb`. Raises Rejected: what opening says, `damaged`
    where nothing decodes, `truncated` where a stream breaks off.
    """
    settings = DecodeConfig(**config)
    with open_media(path) as container:
        video, audio = choose_streams(container)
        stated_s = _stated(container, video, audio)
        facts = Facts()
        picture: Picture | None = None
        sound: Sound | None = None
        unshown = None
        if video is not None and video.name in TELLS_REFERENCES and settings.is_sparse:
            unshown = Unshown(video, VISUAL_FPS)
        for shown in _on_timeline(container, video, audio, facts, unshown):
            if shown.kind == "video":
                picture = picture or Picture(Path(folder), settings, video, detector)
                picture.show(shown.frame, shown.start_us, shown.length_us)
            else:
                sound = sound or Sound(Path(folder))
                sound.add(shown.frame, shown.start_us)
    picture_us = picture.end_us if picture else 0
    audio_us = sound.finish() if sound else 0
    decoded = {"video": picture_us / 1e6, "audio": audio_us / 1e6}
    _check_coverage(path, decoded, stated_s, settings.min_decoded_share, facts)
    duration_s = max(picture_us, audio_us) / 1e6
    counts = picture.finish(duration_s) if picture else (None, None)
    return {
        "duration_s": duration_s,
        "audio_s": audio_us / 1e6 if sound else None,
        "frames10_count": counts[0],
        "frames25_count": counts[1],
        "faces_count": picture.faces_count if picture else None,
        "cuts_s": picture.cuts_s if picture else [],
        "loudness_lufs": sound.loudness_lufs() if sound else None,
        "bad_frames": sum(facts.bad.values()),
        "facts": facts.as_dict(),
    }


@dataclass(slots=True)
class Facts:
    """What went wrong on the way and was bridged; counts are by kind of stream.

    A bad frame is a packet that does not decode, or a picture that the decoder had to conceal.
    """

    bad: dict[str, int] = field(default_factory=dict)
    false_times: int = 0
    packets: dict[str, int] = field(default_factory=dict)
    frames: dict[str, int] = field(default_factory=dict)
    broke_off: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """The facts as JSON holds them."""
        return {
            "bad_frames": self.bad,
            "false_times": self.false_times,
            "decoded_frames": self.frames,
            "broke_off": self.broke_off,
        }


def _stated(container: InputContainer, video: Any, audio: Any) -> dict[str, float | None]:
    """The duration that each stream states, by kind; None where the container stores none."""
    name = container.format.name
    stated: dict[str, float | None] = {"video": None, "audio": None, "both": None}
    if not any(known in name for known in STATES_DURATION):
        return stated
    for kind, stream in (("video", video), ("audio", audio)):
        if stream is not None and stream.duration and stream.time_base:
            stated[kind] = float(stream.duration * stream.time_base)
    stated["both"] = stated_duration_s(container)
    return stated


def _check_coverage(
    path: str,
    decoded: dict[str, float],
    stated_s: dict[str, float | None],
    share: float,
    facts: Facts,
) -> None:
    found = facts.as_dict() | {"decoded_s": decoded, "stated_s": stated_s}
    # A stream without a single packet is an empty track, which is no damage.
    silent = [kind for kind, n in facts.packets.items() if n and not facts.frames.get(kind)]
    if silent or not facts.frames:
        what = f"its {silent[0]}" if silent else "it"
        raise Rejected("damaged", f"{path}: {what} does not decode; get another copy", found)
    for kind, packets in facts.packets.items():
        bad = facts.bad.get(kind, 0)
        if bad > (1 - share) * packets:
            raise Rejected(
                "damaged",
                f"{path}: {bad} of its {packets} {kind} packets do not decode whole; "
                "get another copy or lower min_decoded_share",
                found,
            )
    for kind in ("video", "audio", "both"):
        stated = stated_s[kind]
        have = max(decoded.values()) if kind == "both" else decoded[kind]
        if stated and have < share * stated - 0.5 / VISUAL_FPS:
            what = "it" if kind == "both" else f"its {kind}"
            raise Rejected(
                "truncated",
                f"{path}: {what} decodes for {have:.2f} s of the stated {stated:.2f} s; "
                "get a complete copy",
                found,
            )
    size, stated = Path(path).stat().st_size, stated_bytes(path, first_bytes(path))[1]
    if size < share * stated:
        raise Rejected(
            "truncated",
            f"{path}: the file ends early, at {size} of {stated} bytes; get a complete copy",
            found | {"size_bytes": size, "stated_bytes": stated},
        )


# -- frames on the timeline --------------------------------------------------------------------


def _on_timeline(
    container: InputContainer, video: Any, audio: Any, facts: Facts, unshown: Unshown | None
) -> Iterator[Shown]:
    """Every decoded frame with its start counted from the timeline's zero."""
    awaited = {s.type: s for s in (video, audio) if s is not None}
    far_us = _far_us(container)
    waiting: list[Shown] = []
    firsts: dict[str, int] = {}
    zero_us: int | None = None
    for shown in _decoded(container, list(awaited.values()), facts, unshown):
        if zero_us is None:
            waiting.append(shown)
            firsts.setdefault(shown.kind, shown.start_us)
            pictures = sum(one.kind == "video" for one in waiting)
            if len(firsts) < len(awaited) and pictures < WAITING_PICTURES:
                continue
            zero_us = _zero_us(firsts, awaited)
            if unshown is not None:
                unshown.zero_us = zero_us
        else:
            waiting = [shown]
        for one in waiting:
            start_us = one.start_us - zero_us
            if start_us > far_us:
                facts.false_times += 1
                continue
            yield Shown(one.kind, one.frame, start_us, one.length_us)
    if zero_us is None and waiting:
        zero_us = _zero_us(firsts, {})
        for one in waiting:
            yield Shown(one.kind, one.frame, one.start_us - zero_us, one.length_us)


def _far_us(container: InputContainer) -> int:
    stated_s = stated_duration_s(container) or 86_400.0
    return round((2 * stated_s + FAR_S) * 1_000_000)


def _zero_us(firsts: dict[str, int], awaited: dict[str, Any]) -> int:
    """The earliest start: decoded where it is known, else as the stream declares it."""
    declared = [
        microseconds(stream.start_time, stream.time_base)
        for kind, stream in awaited.items()
        if kind not in firsts and stream.start_time is not None and stream.time_base
    ]
    return min([*firsts.values(), *declared])


def _decoded(
    container: InputContainer, streams: list[Any], facts: Facts, unshown: Unshown | None
) -> Iterator[Shown]:
    """Frames of the streams as they come, with their start in the container's time.

    A packet that does not decode is counted and left out.
    """
    ends_us: dict[str, int] = {}
    kinds = {s.index: s.type for s in streams}  # a damaged file may change a stream's type midway
    for stream in streams:
        stream.thread_count = 1  # workers are the parallelism; a thread more costs CPU
    packets = _packets(container, streams, facts)
    for packet in packets if unshown is None else unshown.told(packets):
        kind = kinds[packet.stream.index]
        facts.packets[kind] = facts.packets.get(kind, 0) + (packet.size > 0)
        try:
            frames = packet.decode()
        except MemoryError:
            raise
        except FFmpegError:
            facts.bad[kind] = facts.bad.get(kind, 0) + 1
            continue
        for frame in frames:
            base = frame.time_base  # PyAV makes a Fraction at each look
            stamp = frame.pts if frame.pts is not None else frame.dts
            start_us = ends_us.get(kind, 0)
            if stamp is not None and base:
                start_us = microseconds(stamp, base)
            length_us = _length_us(frame, base, packet.stream)
            ends_us[kind] = start_us + length_us
            facts.frames[kind] = facts.frames.get(kind, 0) + 1
            if frame.is_corrupt:
                facts.bad[kind] = facts.bad.get(kind, 0) + 1
            yield Shown(kind, frame, start_us, length_us)


def _packets(container: InputContainer, streams: list[Any], facts: Facts) -> Iterator[Any]:
    try:
        yield from demuxed(container, streams)
    except MemoryError:
        raise
    except FFmpegError as error:
        facts.broke_off = error.strerror
        for stream in streams:
            packet = av.Packet()
            packet.stream = stream
            yield packet  # an empty packet makes the decoder give what it still holds


def _length_us(frame: Any, base: Fraction | None, stream: Any) -> int:
    if isinstance(frame, av.AudioFrame):
        return round(frame.samples * 1_000_000 / frame.sample_rate)
    if frame.duration and base:
        return microseconds(frame.duration, base)
    rate = stream.guessed_rate or stream.average_rate
    return round(1_000_000 / rate) if rate else 40_000
