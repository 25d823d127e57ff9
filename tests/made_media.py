"""Small media whose truth is known: pictures that carry their number, clicks, odd rates, damage."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

BITS = 16
CLOCK = Fraction(1, 90_000)


def numbered_picture(number: int, width: int = 96, height: int = 96) -> np.ndarray:
    """A picture (height, width, 3) with a number as 4x4 black and white cells in its centre."""
    side = min(width, height) // 4 * 4
    bits = [(number >> bit) & 1 for bit in range(BITS)]
    cells = np.array(bits, np.uint8).reshape(4, 4) * 200 + 28
    square = np.kron(cells, np.ones((side // 4, side // 4), np.uint8))
    picture = np.full((height, width), 128, np.uint8)
    top, left = (height - side) // 2, (width - side) // 2
    picture[top : top + side, left : left + side] = square
    return np.repeat(picture[:, :, None], 3, axis=2)


def number_in(picture: np.ndarray) -> int:
    """The number that a square picture carries."""
    gray = picture if picture.ndim == 2 else picture.mean(axis=2)
    cell = gray.shape[0] / 4
    at = [int(cell * (k + 0.5)) for k in range(4)]
    return sum(int(gray[at[bit // 4], at[bit % 4]] > 128) << bit for bit in range(BITS))


def even_times(fps: float | Fraction, duration_s: float) -> list[float]:
    """The times of a constant frame rate."""
    rate = Fraction(fps).limit_denominator(1_001_000)
    return [float(k / rate) for k in range(int(duration_s * rate))]


def sine(duration_s: float, rate_hz: int, hz: float = 997.0, level: float = 0.5) -> np.ndarray:
    """A sine, float32 (1, samples)."""
    time_s = np.arange(round(duration_s * rate_hz)) / rate_hz
    return (level * np.sin(2 * np.pi * hz * time_s)).astype(np.float32)[None]


def clicks(duration_s: float, rate_hz: int, times_s: Sequence[float]) -> np.ndarray:
    """Silence with one full sample at each time, float32 (1, samples)."""
    audio = np.zeros((1, round(duration_s * rate_hz)), np.float32)
    for time_s in times_s:
        audio[0, round(time_s * rate_hz)] = 0.9
    return audio


@dataclass(frozen=True)
class Track:
    """A sound track to be muxed: float32 (channels, samples) from `start_s` on."""

    audio: np.ndarray
    rate_hz: int = 48_000
    start_s: float = 0.0
    codec: str = "pcm_s16le"
    gap_at_s: float | None = None
    gap_s: float = 0.0


def write_media(
    path: Path,
    times_s: Sequence[float] = (),
    pictures: Sequence[np.ndarray] | None = None,
    track: Track | None = None,
    rotation_deg: int = 0,
    sample_aspect: Fraction | None = None,
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    index_first: bool = False,
) -> Path:
    """Writes pictures shown at given times, numbered ones by default, beside a sound track.

    `index_first` puts the moov atom of an MP4 or MOV before its media.
    """
    pictures = pictures or [numbered_picture(k) for k in range(len(times_s))]
    packets: list[Any] = []
    flags = {"movflags": "faststart"} if index_first and path.suffix in (".mp4", ".mov") else {}
    with av.open(str(path), "w", options=flags) as container:
        video: Any = None
        sound: Any = None
        if times_s:
            video = _video(container, codec, pictures[0], options)
            if rotation_deg:
                video.set_display_rotation(rotation_deg)
            if sample_aspect:
                video.codec_context.sample_aspect_ratio = sample_aspect
        if track is not None:
            layout = {1: "mono", 2: "stereo", 6: "5.1"}[len(track.audio)]
            sound = container.add_stream(track.codec, rate=track.rate_hz, layout=layout)
        if times_s:
            ends = [*times_s[1:], 2 * times_s[-1] - times_s[-2]] if len(times_s) > 1 else [0.04]
            for time_s, end_s, picture in zip(times_s, ends, pictures, strict=True):
                frame = av.VideoFrame.from_ndarray(picture, "rgb24").reformat(format="yuv420p")
                frame.pts, frame.time_base = round(time_s / CLOCK), CLOCK
                frame.duration = round((end_s - time_s) / CLOCK)
                packets += video.encode(frame)
            packets += video.encode(None)
        if track is not None:
            packets += _sound_packets(sound, track)
        packets.sort(key=lambda packet: packet.dts * packet.time_base)
        for packet in packets:
            container.mux(packet)
    return path


def _video(container: Any, codec: str, picture: np.ndarray, options: dict[str, str] | None) -> Any:
    stream = container.add_stream(codec, rate=25)
    stream.height, stream.width = picture.shape[:2]
    stream.pix_fmt = "yuv420p"
    stream.codec_context.time_base = CLOCK
    fast = {"preset": "ultrafast", "crf": "12", "bf": "2"} if codec == "libx264" else {}
    stream.options = fast | (options or {})
    return stream


def _sound_packets(stream: Any, track: Track) -> list[Any]:
    packets: list[Any] = []
    shape = "fltp" if track.codec == "aac" else "s16"
    step = 1024
    for at in range(0, track.audio.shape[1], step):
        block = track.audio[:, at : at + step]
        if shape == "s16":
            pcm = np.rint(block * 32768).clip(-32768, 32767).astype(np.int16)
            block = np.ascontiguousarray(pcm.T).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(block), shape, stream.layout.name)
        time_s = track.start_s
        if track.gap_at_s is not None and at >= track.gap_at_s * track.rate_hz:
            time_s += track.gap_s
        frame.sample_rate, frame.time_base = track.rate_hz, Fraction(1, track.rate_hz)
        frame.pts = at + round(time_s * track.rate_hz)
        packets += stream.encode(frame)
    return packets + stream.encode(None)


def truncate(path: Path, share: float) -> Path:
    """A copy of a file that ends after a share of its bytes."""
    cut = path.with_name(f"cut-{path.name}")
    data = path.read_bytes()
    cut.write_bytes(data[: int(len(data) * share)])
    return cut
