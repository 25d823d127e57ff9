"""Cuts a short excerpt out of a source without decoding it, in the sandbox.

A forecast tries the stages on excerpts, so that an hour-long film costs it no more than a short
one.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tasks.container import choose_streams, demuxed, naming, open_media
from tasks.probe import ProbeConfig
from tasks.sandbox import Limits, run_limited
from tasks.source_copy import local_source

SUFFIX = ".mkv"  # Matroska takes nearly every codec as it is
OUTPUT_LIMIT_MB = 512


def excerpt(uri: str, folder: Path, name: str, length_s: float, place: float) -> dict[str, Any]:
    """Cuts an excerpt of a source into a folder; the pictures begin at a key frame.

    Args:
        uri: the source's.
        folder: where the excerpt goes, and meanwhile a copy of a source that is no file.
        name: its name without suffix.
        length_s: its length at least, where the source is that long.
        place: where it lies in the source, from 0 (begin) to 1 (end).

    Returns `path`, `duration_s` of the source (None where it states none), and `excerpt_s`. Raises
    Rejected as a probe does.
    """
    limits = ProbeConfig()
    within = Limits(
        limits.wall_limit_s, limits.cpu_limit_s, limits.memory_limit_mb, OUTPUT_LIMIT_MB
    )
    arguments = {
        "target": str(folder / f"{name}{SUFFIX}"),
        "length_s": length_s,
        "place": place,
    }
    with local_source(uri, folder) as path, naming(path):
        return run_limited("tasks.excerpt:copy_packets", arguments | {"path": path}, within).value


# -- in the sandbox ----------------------------------------------------------------------------


def copy_packets(path: str, target: str, length_s: float, place: float) -> dict[str, Any]:
    """Copies the packets of a stretch of a file into a Matroska file, times beginning at zero."""
    import av

    from tasks.container import stated_duration_s

    with open_media(path) as source:
        streams = [stream for stream in choose_streams(source) if stream is not None]
        stated_s = stated_duration_s(source)
        if stated_s and stated_s > length_s:
            source.seek(round((source.start_time or 0) + place * (stated_s - length_s) * 1e6))
        with av.open(target, "w", format="matroska") as sink:
            copies: dict[int, Any] = {s.index: sink.add_stream_from_template(s) for s in streams}
            first_s: float | None = None
            last_s = 0.0
            for packet in _timed(demuxed(source, streams)):
                base = packet.time_base
                start_s = float(packet.dts * base)
                first_s = start_s if first_s is None else first_s
                if start_s - first_s >= length_s:
                    break
                last_s = max(last_s, start_s - first_s + float((packet.duration or 0) * base))
                shift = round(first_s / base)
                packet.dts, packet.pts = packet.dts - shift, packet.pts - shift
                packet.stream = copies[packet.stream.index]
                sink.mux(packet)
    return {"path": target, "duration_s": stated_s, "excerpt_s": last_s}


def _timed(packets: Iterator[Any]) -> Iterator[Any]:
    """The packets that have bytes and a time, each with a decoding time that grows.

    Matroska stores none: behind a seek libav knows it only from the reordered pictures' third on,
    and the key frame is among those before.
    """
    waiting: dict[int, list[Any]] = {}
    last: dict[int, int] = {}
    for packet in packets:
        if packet.pts is None or not packet.size:
            continue
        stream = packet.stream.index
        if stream in last:
            # What is damaged may lack a time, or have one that does not grow.
            packet.dts = max(packet.dts or 0, last[stream] + 1)
        elif packet.dts is None:
            waiting.setdefault(stream, []).append(packet)
            continue
        held = waiting.pop(stream, [])
        for place, early in enumerate(held):
            early.dts = packet.dts - (len(held) - place)
            yield early
        last[stream] = packet.dts
        yield packet
