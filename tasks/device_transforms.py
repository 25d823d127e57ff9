"""Transforms of ours beside those of audiomentations: a lossy codec and an optical sound track.

Like those, they take float32 (T,) or (C, T) and a rate, and apply `parameters`, which are set and
frozen here: nothing is drawn from a global generator.
"""

import math
from fractions import Fraction
from typing import Any

import av
import numpy as np
from audiomentations.core.transforms_interface import BaseWaveformTransform
from numpy.typing import NDArray
from scipy.signal import butter, sosfilt

from tasks.draws import keyed_generator

Audio = NDArray[np.float32]

QUICK = "7"
"""LAME's quality setting: a third of the time of its default."""
LOW_RATE_HZ = 24_000
"""From here down MP3 is MPEG-2, made for half the bit rate."""
SPROCKET_HZ = 96.0
"""Four perforations a frame at 24 frames a second."""
SKIRT_ORDER = 2


class Mp3(BaseWaveformTransform):
    """Encodes to MP3 at `kbps` and decodes again; half of that at 24 kHz and below."""

    supports_multichannel = True

    def __init__(self, kbps: int) -> None:
        """Freezes the parameters."""
        super().__init__(p=1.0)
        self.parameters: dict[str, Any] = {"should_apply": True, "kbps": kbps}
        self.freeze_parameters()

    def apply(self, samples: Audio, sample_rate: int) -> Audio:
        """The sound with the codec's losses, as long as before: LAME states its own delay."""
        kbps = self.parameters["kbps"] / (2 if sample_rate <= LOW_RATE_HZ else 1)
        peak = max(1.0, float(np.abs(samples).max()))
        heard = [
            np.float32(peak) * _through_mp3(channel / np.float32(peak), sample_rate, kbps)
            for channel in np.atleast_2d(samples)
        ]
        return np.stack(heard).reshape(samples.shape)


def _through_mp3(samples: Audio, rate_hz: int, kbps: float) -> Audio:
    encoder: Any = av.CodecContext.create("libmp3lame", "w")
    encoder.sample_rate, encoder.layout, encoder.format = rate_hz, "mono", "fltp"
    encoder.bit_rate = round(1000 * kbps)
    encoder.options = {"compression_level": QUICK}
    encoder.open()
    decoder: Any = av.CodecContext.create("mp3float", "r")
    packets, step = [], encoder.frame_size
    for first in range(0, len(samples), step):
        block = np.ascontiguousarray(samples[None, first : first + step])
        frame = av.AudioFrame.from_ndarray(block, "fltp", "mono")
        frame.sample_rate, frame.pts, frame.time_base = rate_hz, first, Fraction(1, rate_hz)
        packets += encoder.encode(frame)
    packets += encoder.encode(None)
    decoded = [f.to_ndarray()[0] for packet in (*packets, None) for f in decoder.decode(packet)]
    made = np.zeros_like(samples)
    heard = np.concatenate([*decoded, made[:0]])[: len(made)]
    made[: len(heard)] = heard
    return made


class OpticalFilm(BaseWaveformTransform):
    """An old optical sound track: its band, flutter of the sprockets, hiss, and ticks of dust.

    Levels count from the sound's own peak, so that it may come at any level. The parameters are
    those of the kind "film" in `tasks/mix_devices.py`; `key` seeds the noise.
    """

    supports_multichannel = True

    def __init__(self, **parameters: Any) -> None:
        """Freezes the parameters."""
        super().__init__(p=1.0)
        self.parameters: dict[str, Any] = {"should_apply": True} | parameters
        self.freeze_parameters()

    def apply(self, samples: Audio, sample_rate: int) -> Audio:
        """The sound as the track gives it back; all channels share its noise."""
        p, total = self.parameters, samples.shape[-1]
        generator = keyed_generator("film", p["key"])
        band = [p["low_hz"], min(p["high_hz"], 0.45 * sample_rate)]
        sections = np.asarray(butter(SKIRT_ORDER, band, "bandpass", fs=sample_rate, output="sos"))
        turns = 2 * math.pi * SPROCKET_HZ / sample_rate * np.arange(total)
        ripple = np.sin(turns + generator.uniform(0, 2 * math.pi)).astype(np.float32)
        # The band takes part of the noise's power, and all but a little of a tick's height.
        hiss = _gain(p["hiss_db"]) / _noise_gain(sections, sample_rate)
        tick = _gain(p["tick_db"]) * sample_rate / (2 * band[1])
        dirt = np.float32(hiss) * generator.standard_normal(total, np.float32)
        dirt += np.float32(tick) * _ticks(generator, p["ticks_per_s"], total, sample_rate)
        peak = np.float32(np.abs(samples).max())
        lit = samples * (1 + np.float32(p["flutter"]) * ripple) + peak * dirt
        hum = peak * np.float32(math.sqrt(2) * _gain(p["hum_db"])) * ripple
        return np.asarray(sosfilt(sections, lit)).astype(np.float32) + hum


def _gain(level_db: float) -> float:
    return 10 ** (level_db / 20)


def _noise_gain(sections: NDArray[Any], rate_hz: int) -> float:
    """RMS of white noise behind a filter over that before it."""
    impulse = np.zeros(rate_hz // 4)
    impulse[0] = 1.0
    return float(np.linalg.norm(np.asarray(sosfilt(sections, impulse))))


def _ticks(
    generator: np.random.Generator, per_s: float, total: int, rate_hz: int
) -> NDArray[np.float32]:
    """Single samples of at most 1 at random places, float32 (T,); most of them are small."""
    made = np.zeros(total, np.float32)
    number = int(generator.poisson(per_s * total / rate_hz))
    places = generator.integers(0, total, number)
    np.add.at(made, places, generator.uniform(-1, 1, number).astype(np.float32))
    return made
