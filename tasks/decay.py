"""How long what was struck rings, which tells what it is made of.

Legend: T samples at 16 kHz, N frames, K bins.
"""

import numpy as np
from numpy.typing import NDArray

from models.timeline import AUDIO_HZ, index
from tasks.held_out import Strike

FRAME, HOP = 192, 48
"""12 ms, so that what rings for 70 ms is seen to fall, each 3 ms."""
HALF_BAND_HZ = 150.0
"""Of the band around the pitch that is heard: higher modes fall faster."""
PEAK_FRAMES = 12
"""A strike is at its loudest within so many."""
FALL_DB = 25.0
"""From its peak, a strike is followed this far down,"""
OVER_BEFORE_DB = 6.0
"""or until it is so near to what sounded before it."""
SILENT_DB = -100.0
"""What is so quiet is no sound: dither of 16 bits has about -70 dB in a band."""
SLOWEST_DB_PER_S = 6.0
"""What falls more slowly, or not at all, is said to ring 10 s."""


def decay_s(audio16: NDArray[np.float32], strike: Strike, pitch_hz: float) -> float:
    """The time in which a strike in a sound (T,) falls by 60 dB; 0 where nothing sounds.

    The line of its level in dB is followed until another event may begin.

    Args:
        audio16: the sound.
        strike: when something is struck, and how long nothing else is.
        pitch_hz: the frequency that is followed.
    """
    at, before = index(max(strike.time_s, 0.0), AUDIO_HZ), 3 * FRAME
    padded = np.pad(audio16.astype(np.float64), (before, 0))  # sample k is at k + before
    heard = padded[at : at + before + index(strike.free_s, AUDIO_HZ)]
    if len(heard) < before + 2 * FRAME:
        return 0.0
    power = _band_power(heard, pitch_hz)
    first = before // HOP
    level_db = 10 * np.log10(power[first:] + 1e-12)
    peak = int(np.argmax(level_db[:PEAK_FRAMES]))
    if level_db[peak] < SILENT_DB:
        return 0.0
    quiet_db = 10 * np.log10(power[: first - FRAME // HOP + 1].mean() + 1e-12)
    lowest_db = max(level_db[peak] - FALL_DB, quiet_db + OVER_BEFORE_DB)
    fallen = np.flatnonzero(level_db[peak:] < lowest_db)
    followed = level_db[peak : peak + max(2, fallen[0] if len(fallen) else len(level_db))]
    if len(followed) < 2:
        return 0.0
    fall_db_per_s = -np.polyfit(np.arange(len(followed)) * HOP / AUDIO_HZ, followed, 1)[0]
    return float(60 / max(fall_db_per_s, SLOWEST_DB_PER_S))


def _band_power(sound: NDArray[np.float64], pitch_hz: float) -> NDArray[np.float64]:
    """The power (N,) in the band around a frequency of the whole frames of a sound."""
    frames = np.lib.stride_tricks.sliding_window_view(sound, FRAME)[::HOP] * np.hanning(FRAME)
    bins_hz = np.fft.rfftfreq(FRAME, 1 / AUDIO_HZ)
    near = np.abs(bins_hz - pitch_hz) < HALF_BAND_HZ
    return np.sum(np.abs(np.fft.rfft(frames, axis=1)[:, near]) ** 2, axis=1)
