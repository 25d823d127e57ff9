"""What a strike sounds to be made of: the staged world's material that it is most like.

Two numbers tell its materials apart: how long the lowest mode rings, and how loud the higher ones
are beside it. The first alone tells recordings; a codec whose latents are 40 ms apart blurs stone
(70 ms) and rubber (100 ms), of which the one is bright and the other dull.

Legend: T samples at 16 kHz.
"""

import functools
import math

import numpy as np
from numpy.typing import NDArray

from models.timeline import AUDIO_HZ
from tasks.decay import HALF_BAND_HZ
from tasks.hear import WINDOW, gained_power
from tasks.world_content import MATERIALS, Material

OVERTONES = 1.5
"""What is so many times the pitch and above is of the higher modes."""
OCTAVE_DB = 6.0
"""So many dB of brightness weigh as much as an octave of the time."""
LEAST = 1e-12
"""Power that keeps logarithms finite."""


def heard_material(
    audio16: NDArray[np.float32], time_s: float, pitch_hz: float, rings_s: float
) -> str:
    """The name of the material that a strike in a sound (T,) is most like; empty for no sound.

    Args:
        audio16: the sound.
        time_s: when something is struck.
        pitch_hz: its lowest mode, as it is heard.
        rings_s: how long that falls by 60 dB, as it is heard; 0 where nothing sounds.
    """
    if rings_s <= 0:
        return ""
    bins_hz, gained = gained_power(audio16, time_s)
    gained = np.maximum(gained, 0.0)
    lowest = gained[np.abs(bins_hz - pitch_hz) < HALF_BAND_HZ].sum()
    higher = gained[bins_hz > OVERTONES * pitch_hz].sum()
    bright_db = 10 * math.log10((higher + LEAST) / (lowest + LEAST))

    def apart(material: Material) -> float:
        octaves = math.log2(rings_s / material.t60_s)
        return octaves**2 + ((bright_db - brightness_db(material)) / OCTAVE_DB) ** 2

    return min(MATERIALS, key=apart).name


@functools.cache
def brightness_db(material: Material) -> float:
    """The power of a material's higher modes beside its lowest one's, as a strike's is heard."""
    times_s = np.arange(len(WINDOW)) / AUDIO_HZ
    powers = []
    for number, ratio in enumerate(material.ratios):
        fall = math.log(1e6) / material.t60_s * (1.0 + material.damping * math.log2(ratio))
        level = 10 ** (material.tilt_db * number / 10)
        powers.append(level * float(np.sum(np.exp(-fall * times_s) * WINDOW**2)))
    return 10 * math.log10(sum(powers[1:]) / powers[0])
