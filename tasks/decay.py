"""How long what was struck rings, which tells what it is made of.

Legend: T samples at 16 kHz, N frames, R decay times, G levels.
"""

import math

import numpy as np
from numpy.typing import NDArray

from models.timeline import AUDIO_HZ, index
from tasks.held_out import Strike

FRAME, HOP = 256, 48
"""16 ms, so that what rings for 70 ms is seen to fall, each 3 ms."""
HALF_BAND_HZ = 150.0
"""Of the band around the pitch that is heard: higher modes fall faster."""
PEAK_FRAMES = 12
"""A strike is at its loudest within so many."""
FLOOR_DB = -30.0
"""What is so much quieter than its peak, or quieter than what sounded before, tells nothing."""
SILENT_DB = -100.0
"""What is so quiet is no sound: dither of 16 bits has about -70 dB in a band."""
TIMES_S = np.geomspace(0.01, 10.0, 121)
"""The decay times that a strike may have, 6 % apart."""
LEVELS_DB = np.arange(-6.0, 5.0, 2.0)
"""Of its decay where it begins, beside its peak."""


def decay_s(audio16: NDArray[np.float32], strike: Strike, pitch_hz: float) -> float:
    """The time in which a strike in a sound (T,) falls by 60 dB; 0 where nothing sounds.

    It is the time of that exponential decay over what sounded before whose level is nearest, in dB,
    to the sound's until something else may begin. A whole curve is held against it, since what a
    codec makes of a steady fall flutters, and a line down to the first dip would end there.

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
    quiet = _band_power(heard[:before], pitch_hz).mean()
    power = _band_power(heard[before:], pitch_hz)
    power = power[int(np.argmax(power[:PEAK_FRAMES])) :]
    if power[0] < _ratio(SILENT_DB):
        return 0.0
    floor = quiet + power[0] * _ratio(FLOOR_DB)
    seconds = np.arange(len(power)) * HOP / AUDIO_HZ
    falls = np.exp(-math.log(1e6) * seconds / TIMES_S[:, None])  # (R, N)
    expected = power[0] * _ratio(LEVELS_DB)[:, None, None] * falls + floor  # (G, R, N)
    apart = np.square(np.log(expected) - np.log(power + floor)).sum(axis=2)
    return float(TIMES_S[np.argmin(apart.min(axis=0))])


def _ratio(level_db: float | NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(10 ** (np.asarray(level_db) / 10))


def _band_power(sound: NDArray[np.float64], pitch_hz: float) -> NDArray[np.float64]:
    """The power (N,) in the band around a frequency of the whole frames of a sound."""
    frames = np.lib.stride_tricks.sliding_window_view(sound, FRAME)[::HOP] * np.hanning(FRAME)
    bins_hz = np.fft.rfftfreq(FRAME, 1 / AUDIO_HZ)
    near = np.abs(bins_hz - pitch_hz) < HALF_BAND_HZ
    return np.sum(np.abs(np.fft.rfft(frames, axis=1)[:, near]) ** 2, axis=1)
