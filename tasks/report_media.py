"""Sound and pictures for the report, inlined: nothing on the page comes from elsewhere.

Sound is MP3, the compressed format that Chromium, Firefox and Safari all play, at the rate that the
model hears. Films are the delivered files, byte for byte. Spectrograms are PNG, thumbnails JPEG.

Legend: T samples, M mel frames, audio float32 in [-1, 1].
"""

import base64
import io
import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from models.timeline import AUDIO_HZ, VISUAL_FPS
from storage.rejects import Rejected
from storage.workspace import Workspace
from tasks.media import read_audio, read_frames
from tasks.report_data import Row, file_name

MP3_BITS_PER_S = 48_000
PAGE_BYTES = 12_000_000
FILM_BYTES = 7_000_000
"""Of the page's bytes, how many films may take."""
DYNAMIC_RANGE_DB = 75.0
LOUDEST_FLOOR_DB = -40.0
"""A picture's brightest colour is its loudest band, but never a quieter one than this."""
LEVELS = 64
MAX_COLUMNS = 1200


def data_uri(data: bytes, kind: str) -> str:
    """Bytes as a data URI of a media type."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


@dataclass(slots=True)
class Inliner:
    """Reads media of a workspace for the page and keeps count of the page's bytes."""

    workspace: str
    left_bytes: int = PAGE_BYTES
    film_bytes: int = FILM_BYTES

    def take(self, data: bytes, kind: str) -> str | None:
        """A data URI, or None where the page has no room left for it."""
        uri = data_uri(data, kind)
        if len(uri) > self.left_bytes:
            return None
        self.left_bytes -= len(uri)
        return uri

    def sound(self, ref: str | None, start_s: float, end_s: float) -> Row:
        """A player's parts for a span of a sound blob, as `heard`; `why` says what is missing."""
        none: Row = {"audio": None, "player": None, "picture": None, "why": None}
        if ref is None:
            return none | {"why": "There is no sound track."}
        try:
            audio = read_audio(self.workspace, ref, start_s, end_s, AUDIO_HZ)[0]
        except (OSError, Rejected) as error:
            return none | {"why": f"The sound could not be read: {file_name(str(error))}"}
        return self.heard(audio)

    def heard(self, audio: NDArray[np.float32], columns: int = MAX_COLUMNS) -> Row:
        """A player's parts for samples (T,) at the page's rate.

        Keys: audio (samples,), player (data URI), picture (PNG data URI of at most that many
        columns), why.
        """
        picture = self.take(spectrogram_png(_log_mel(audio), columns), "image/png")
        player = self.take(encode_mp3(audio, AUDIO_HZ), "audio/mpeg")
        why = None if player else "Left out to keep the page small."
        return {"audio": audio, "player": player, "picture": picture, "why": why}

    def frames(self, ref: str | None, times_s: list[float]) -> list[Row]:
        """Thumbnails at times of a source, without those that are missing."""
        found = []
        for time_s in times_s if ref else []:
            try:
                frames = read_frames(
                    self.workspace, str(ref), time_s, time_s + 1 / VISUAL_FPS, VISUAL_FPS
                )
            except (OSError, Rejected):
                continue
            if len(frames):
                uri = self.take(thumbnail_jpeg(frames[0]), "image/jpeg")
                found += [{"src": uri, "time_s": time_s}] if uri else []
        return found

    def film(self, ref: str) -> tuple[str | None, str | None]:
        """A film file as delivered, as a data URI, or None and why."""
        try:
            path = Workspace.at(self.workspace).fetch(ref)
        except FileNotFoundError:
            return None, f"{ref} is missing from the workspace."
        if not path.is_file():
            return None, f"{ref} is missing from the workspace."
        size_bytes = path.stat().st_size * 4 // 3
        if size_bytes > self.film_bytes:
            return None, f"Too large to inline ({size_bytes * 3 / 4e6:.1f} MB): open {ref}."
        uri = self.take(path.read_bytes(), "video/mp4")
        self.film_bytes -= size_bytes
        return uri, None if uri else f"The page is full: open {ref}."


def encode_mp3(audio: NDArray[np.float32], rate_hz: int) -> bytes:
    """Samples (T,) in [-1, 1] as mono MP3 with a gapless header, the same bytes every time."""
    import av

    sink = io.BytesIO()
    with av.open(sink, "w", format="mp3", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("libmp3lame", rate=rate_hz, layout="mono")
        stream.bit_rate = MP3_BITS_PER_S
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(audio[None], dtype=np.float32), format="fltp", layout="mono"
        )
        frame.sample_rate = rate_hz
        frame.pts = 0
        for packet in (*stream.encode(frame), *stream.encode(None)):
            container.mux(packet)
    return sink.getvalue()


def _log_mel(audio: NDArray[np.float32]) -> NDArray[np.float32]:
    """The spectrogram (M, bands) that the codec sees of samples (T,)."""
    import torch

    from models.mel import MelConfig, log_mel

    config = MelConfig()
    short = config.pad_samples + 1 - len(audio)
    padded = np.pad(audio, (0, max(0, short)))
    return log_mel(torch.from_numpy(padded[None]), config)[0].numpy()


# -- pictures ------------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def colour_map() -> NDArray[np.uint8]:
    """256 colours (256, 3) from near black to pale yellow, lightness even in Oklab.

    Oklab: Ottosson 2020. Chroma is lowered where a colour would leave sRGB.
    """
    t = np.linspace(0.0, 1.0, 256)
    lightness = 0.10 + 0.87 * t
    hue = np.radians(np.interp(t, [0, 0.25, 0.5, 0.75, 1], [275, 300, 365, 415, 460]))
    chroma = np.interp(t, [0, 0.2, 0.45, 0.7, 0.88, 1], [0.03, 0.13, 0.19, 0.17, 0.13, 0.04])
    linear = _oklab_to_linear(lightness, chroma * np.cos(hue), chroma * np.sin(hue))
    for _ in range(80):
        outside = ((linear < 0) | (linear > 1)).any(axis=1)
        chroma = np.where(outside, chroma * 0.97, chroma)
        linear = _oklab_to_linear(lightness, chroma * np.cos(hue), chroma * np.sin(hue))
    linear = np.clip(linear, 0, 1)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.round(255 * encoded).astype(np.uint8)


def _oklab_to_linear(
    lightness: NDArray[np.float64], a: NDArray[np.float64], b: NDArray[np.float64]
) -> NDArray[np.float64]:
    to_cones = np.array(
        [
            [0.3963377774, 0.2158037573],
            [-0.1055613458, -0.0638541728],
            [-0.0894841775, -1.291485548],
        ]
    )
    to_rgb = np.array(
        [
            [4.0767416621, -3.3077115913, 0.2309699292],
            [-1.2684380046, 2.6097574011, -0.3413193965],
            [-0.0041960863, -0.7034186147, 1.707614701],
        ]
    )
    cones = (lightness[:, None] + np.stack([a, b], axis=1) @ to_cones.T) ** 3
    return cones @ to_rgb.T


def spectrogram_png(log_mels: NDArray[np.float32], columns: int = MAX_COLUMNS) -> bytes:
    """A PNG of log-mel magnitudes (M, bands), natural logarithm, low bands at the bottom."""
    from PIL import Image

    level_db = 20 / math.log(10) * _fewer_columns(log_mels, columns)
    top_db = max(float(level_db.max(initial=-200.0)), LOUDEST_FLOOR_DB)
    share = np.clip(1 + (level_db - top_db) / DYNAMIC_RANGE_DB, 0, 1)
    levels = np.round(share * (LEVELS - 1)).astype(np.uint8)
    picture = Image.fromarray(np.ascontiguousarray(levels.T[::-1]), mode=None)
    palette = colour_map()[np.linspace(0, 255, LEVELS).round().astype(int)]
    picture.putpalette(palette.tobytes())
    sink = io.BytesIO()
    picture.save(sink, "PNG", optimize=True)
    return sink.getvalue()


def _fewer_columns(values: NDArray[np.float32], limit: int) -> NDArray[np.float32]:
    """At most `limit` rows of (M, bands), each the loudest of those that it stands for."""
    if len(values) <= limit:
        return values
    starts = np.linspace(0, len(values), limit, endpoint=False).astype(int)
    return np.maximum.reduceat(values, starts, axis=0)


def colour_bar_png() -> bytes:
    """A strip of the colour map, quiet on the left."""
    from PIL import Image

    sink = io.BytesIO()
    Image.fromarray(colour_map()[None]).save(sink, "PNG", optimize=True)
    return sink.getvalue()


def thumbnail_jpeg(frame: NDArray[np.uint8], height_px: int = 132) -> bytes:
    """A JPEG of a frame (H, W, 3) or (H, W), not taller than asked."""
    from PIL import Image

    picture = Image.fromarray(frame).convert("RGB")
    if picture.height > height_px:
        picture = picture.resize(
            (max(1, round(picture.width * height_px / picture.height)), height_px)
        )
    sink = io.BytesIO()
    picture.save(sink, "JPEG", quality=82, optimize=True)
    return sink.getvalue()
