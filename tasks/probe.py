"""Probes a source: what its container and streams say, checked by decoding the first picture.

The file is opened in the sandbox only. What is not media, ends before its index, or holds nothing
that can be decoded becomes a reject that a person can act on.
"""

import json
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from storage.stage import Output, Rows, ShardRef, ShardResult, ShardTarget, Stage, run_items
from tasks.container import (
    check_file,
    choose_streams,
    demuxed,
    naming,
    open_media,
    stated_duration_s,
)
from tasks.sandbox import Limits, run_limited
from tasks.source_copy import local_source

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.stream import Stream as MediaStream

SAMPLED_PACKETS = 300
SPREAD = 0.02  # how far frame durations may lie apart in a constant rate


@dataclass(frozen=True, slots=True)
class ProbeConfig:
    """Limits of a probe."""

    wall_limit_s: Annotated[float, Field(gt=0)] = 60.0
    """Wall seconds that one file may take."""
    cpu_limit_s: Annotated[float, Field(gt=0)] = 20.0
    """CPU seconds that one file may take."""
    memory_limit_mb: Annotated[int, Field(ge=64)] = 1024
    """Memory that one file may take, in MiB beyond the loaded decoders."""


# -- in the worker -----------------------------------------------------------------------------


def probe_item(item: dict[str, Any], config: ProbeConfig, folder: str | Path) -> Rows:
    """The `sources` row of one item of the items query; a copy it needs goes into the folder."""
    limits = Limits(config.wall_limit_s, config.cpu_limit_s, config.memory_limit_mb, output_mb=1)
    with local_source(item["uri"], folder, item["source_id"]) as path, naming(path):
        check_file(path)
        row = run_limited("tasks.probe:probe_file", {"path": path}, limits).value
    row["streams"] = json.dumps(row["streams"], sort_keys=True)
    given = ("source_id", "uri", "size_bytes", "licence", "attribution", "consent", "transcript")
    return {"sources": [row | {name: item[name] for name in given}]}


def probe_shard(shard: ShardRef, out: ShardTarget, config: ProbeConfig) -> ShardResult:
    """Probes the items of a shard."""
    return run_items(shard, out, lambda item: probe_item(item, config, out.folder))


# -- in the sandbox ----------------------------------------------------------------------------


def probe_file(path: str) -> dict[str, Any]:
    """What a file's container and streams say; keys are columns of `sources`, `streams` a list.

    Raises Rejected: `not_media`, `truncated`, `no_streams`, `unsupported`, `damaged`.
    """
    with open_media(path) as container:
        video, audio = choose_streams(container)
        found = {
            "container": container.format.name,
            "duration_s": stated_duration_s(container),
            "has_audio": audio is not None,
            "has_video": video is not None,
            "streams": [_stream_facts(stream) for stream in container.streams],
        }
        if audio is not None:
            context: Any = audio.codec_context
            found |= {"audio_codec": context.name, "channels": context.layout.nb_channels}
            found |= {"sample_rate_hz": context.sample_rate}
        if video is not None:
            context = video.codec_context
            found |= {"video_codec": context.name, "width": context.width}
            found |= {"height": context.height, "fps": _ratio(video.average_rate)}
            found |= _first_packets(container, video)
        return found


def _ratio(value: Any) -> float | None:
    return float(value) if value else None


def _stream_facts(stream: "MediaStream") -> dict[str, Any]:
    context: Any = stream.codec_context
    base = stream.time_base
    facts: dict[str, Any] = {
        "index": stream.index,
        "type": stream.type,
        "codec": context.name if context is not None else None,
        "disposition": int(stream.disposition),
        "language": stream.language,
        "start_s": float(stream.start_time * base) if stream.start_time and base else 0.0,
        "duration_s": float(stream.duration * base) if stream.duration and base else None,
        "frames": stream.frames or None,
    }
    if context is None:
        return facts
    if stream.type == "video":
        facts |= {"width": context.width, "height": context.height, "pixels": context.pix_fmt}
        facts |= {"fps": _ratio(stream.average_rate), "profile": context.profile}
        facts |= {"sample_aspect": _ratio(context.sample_aspect_ratio)}
    elif stream.type == "audio":
        facts |= {"sample_rate_hz": context.sample_rate, "layout": context.layout.name}
        facts |= {"profile": context.profile}
    return facts


def _first_packets(container: "InputContainer", video: "MediaStream") -> dict[str, Any]:
    """Rotation of the first picture, and whether the first frames are unevenly spaced."""
    from av.error import FFmpegError

    times: list[int] = []
    rotation_deg = None
    try:
        for packet in demuxed(container, [video]):
            if packet.pts is not None:
                times.append(packet.pts)
            if rotation_deg is None:
                for frame in _frames(packet):
                    rotation_deg = -frame.rotation % 360
                    break
            if len(times) >= SAMPLED_PACKETS:
                break
    except MemoryError:
        raise
    except FFmpegError:
        pass  # the decode pass judges damage; a probe says what it could see
    uneven = _is_uneven(sorted(times), video)
    return {"is_vfr": uneven, "rotation_deg": rotation_deg or 0}


def _frames(packet: Any) -> list[Any]:
    from av.error import FFmpegError

    try:
        return packet.decode()
    except MemoryError:
        raise
    except FFmpegError:
        return []


def _is_uneven(times: list[int], video: "MediaStream") -> bool | None:
    """Whether frame times are unevenly spaced, beyond the rounding of the time base."""
    steps = [b - a for a, b in pairwise(times) if b > a]
    if len(steps) < 2 or not video.time_base:
        return None
    middle = sorted(steps)[len(steps) // 2]
    allowed = max(2, middle * SPREAD)
    if max(steps) - min(steps) > allowed:
        return True
    # Screen recordings begin evenly and drop frames later: the whole file's average tells.
    if not (video.frames and video.duration):
        return False
    return abs(video.duration / video.frames / (sum(steps) / len(steps)) - 1) > SPREAD


STAGE = Stage(
    name="probe",
    version=1,
    config=ProbeConfig,
    # A duplicate is probed once, under the path that comes first in the alphabet.
    items="""
        SELECT source_id AS item_id, source_id, min(uri) AS uri,
               min_by(size_bytes, uri) AS size_bytes,
               min_by(licence, uri) AS licence, min_by(attribution, uri) AS attribution,
               min_by(consent, uri) AS consent, min_by(transcript, uri) AS transcript,
               1.0::DOUBLE AS cost_s
        FROM files WHERE source_id NOT IN (SELECT source_id FROM tombstones)
        GROUP BY source_id
    """,
    outputs=(Output("sources", key="source_id"),),
    run=probe_shard,
    limits=("wall_limit_s", "cpu_limit_s", "memory_limit_mb"),
    title="probe sources",
)
