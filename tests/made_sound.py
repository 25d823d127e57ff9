"""Sound and pictures that are like nothing else, and their re-encoded copies."""

import io

import av
import numpy as np

from models.timeline import AUDIO_HZ

COPIES = {
    "aac": ("adts", "aac", 44_100, 48_000),
    "mp3": ("mp3", "libmp3lame", 22_050, 32_000),
    "opus": ("ogg", "libopus", 48_000, 24_000),
}


def tune(seed: int, seconds: float, level: float = 0.1) -> np.ndarray:
    """Chords of random notes over a little noise at 16 kHz, float32 (samples,)."""
    drawn = np.random.default_rng(seed)
    time_s = np.arange(round(seconds * AUDIO_HZ)) / AUDIO_HZ
    sound = 0.02 * drawn.standard_normal(len(time_s))
    for start in np.arange(0, seconds, 0.2):
        at = (time_s >= start) & (time_s < start + 0.2)
        for hz in drawn.uniform(200, 3000, 4):
            sound[at] += drawn.uniform(0.1, 1) * np.sin(2 * np.pi * hz * time_s[at])
    return (level * sound / np.abs(sound).max()).astype(np.float32)


def encoded(sound: np.ndarray, copy: str) -> np.ndarray:
    """A mono sound of 16 kHz after a codec of COPIES and back."""
    container, codec, rate_hz, bits = COPIES[copy]
    data = io.BytesIO()
    with av.open(data, "w", format=container) as out:
        stream = out.add_stream(codec, rate=rate_hz, layout="mono")
        assert isinstance(stream, av.AudioStream)
        stream.bit_rate = bits
        shape = "flt" if codec == "libopus" else "fltp"
        frame = av.AudioFrame.from_ndarray(sound[None], shape, "mono")
        frame.sample_rate = AUDIO_HZ
        size = stream.codec_context.frame_size or 1024
        resampler = av.AudioResampler(shape, "mono", rate_hz, frame_size=size)
        for part in (*resampler.resample(frame), *resampler.resample(None)):
            out.mux(stream.encode(part))
        out.mux(stream.encode(None))
    data.seek(0)
    back = av.AudioResampler("fltp", "mono", AUDIO_HZ)
    with av.open(data, "r") as made:
        parts = [
            part.to_ndarray()[0] for frame in made.decode(audio=0) for part in back.resample(frame)
        ]
    return np.concatenate(parts)


def scene(seed: int, width: int, height: int, frames: int) -> list[np.ndarray]:
    """Soft blobs that drift slowly: pictures (height, width, 3), the same at any size."""
    drawn = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:height, 0:width] / min(width, height)
    blobs = [(drawn.uniform(-0.2, 1.2, 2), drawn.normal(0, 0.02, 2), drawn.uniform(0.05, 0.3),
              drawn.uniform(-120, 120)) for _ in range(14)]  # fmt: skip
    pictures = []
    for frame in range(frames):
        gray = np.full((height, width), 128.0)
        for place, speed, size, depth in blobs:
            y, x = place + speed * frame / 5
            gray += depth * np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / (2 * size**2))
        pictures.append(np.repeat(gray.clip(0, 255).astype(np.uint8)[:, :, None], 3, axis=2))
    return pictures
