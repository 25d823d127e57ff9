"""Writes a clip of the staged world: H.264 and FLAC in Matroska, the same bytes each time.

The first sound is the clip's; where it has stems they are the two behind it.
"""

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from models.timeline import AUDIO48_HZ, MOTION_FPS
from tasks.world_clip import Clip

if TYPE_CHECKING:
    from av.container import OutputContainer

SUFFIX = ".mkv"
PICTURE = {"preset": "ultrafast", "crf": "17", "threads": "1", "bf": "0"}
BLOCK = 4608
TITLES = ("mix", "speech", "sound")


def write_clip(clip: Clip, path: Path) -> None:
    """Writes a clip to a temporary name beside its own, and renames it."""
    import av
    from av.container import Flags

    tracks = clip.tracks
    sounds = [each for each in (tracks.mix, tracks.speech, tracks.sound) if each is not None]
    part = path.with_name(f".{path.name}.part")
    with av.open(str(part), "w", format="matroska") as out:
        out.flags |= Flags.bitexact.value
        picture = _picture_stream(out, clip)
        streams = [_sound_stream(out, title) for title, _ in zip(TITLES, sounds, strict=False)]
        for stream in streams[1:]:
            stream.disposition = 0
        for number, image in enumerate(clip.pictures):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, MOTION_FPS)
            out.mux(picture.encode(frame))
        out.mux(picture.encode(None))
        for stream, samples in zip(streams, sounds, strict=True):
            for frame in _sound_frames(samples):
                out.mux(stream.encode(frame))
            out.mux(stream.encode(None))
    part.replace(path)


def _picture_stream(out: "OutputContainer", clip: Clip) -> Any:
    from av.codec.context import Flags

    stream: Any = out.add_stream("libx264", rate=MOTION_FPS, options=PICTURE)
    stream.width = stream.height = clip.side_px
    stream.pix_fmt = "yuv420p"
    stream.codec_context.flags |= Flags.bitexact.value
    return stream


def _sound_stream(out: "OutputContainer", title: str) -> Any:
    from av.codec.context import Flags

    stream: Any = out.add_stream("flac", rate=AUDIO48_HZ, options={"compression_level": "2"})
    stream.layout, stream.format = "mono", "s16"
    stream.metadata["title"] = title
    stream.codec_context.flags |= Flags.bitexact.value
    return stream


def _sound_frames(samples: NDArray[np.int16]) -> Iterable[Any]:
    import av

    for start in range(0, len(samples), BLOCK):
        block = np.ascontiguousarray(samples[None, start : start + BLOCK])
        frame = av.AudioFrame.from_ndarray(block, format="s16", layout="mono")
        frame.sample_rate, frame.pts = AUDIO48_HZ, start
        frame.time_base = Fraction(1, AUDIO48_HZ)
        yield frame
