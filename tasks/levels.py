"""Levels of sound: signal-to-noise ratio on speech frames, and the fades that hide an edit.

Audio is float32 in [-1, 1], shape (C, T): C channels, T samples, with its rate beside it. Sums run
in float64, so that a level does not depend on how long the sound is.
"""

import math
from collections.abc import Sequence
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from models.timeline import index

Audio = NDArray[np.float32]


def db(ratio: float) -> float:
    """A positive amplitude ratio in decibels."""
    return 20.0 * math.log10(ratio)


def gain(decibels: float) -> float:
    """The amplitude ratio of a level difference in decibels."""
    return 10.0 ** (decibels / 20.0)


def active_mask(
    spans: Sequence[tuple[float, float]], samples: int, rate_hz: int, frame_ms: float = 30.0
) -> NDArray[np.bool_]:
    """Which of the samples lie in speech-active frames, as (T,) booleans.

    A frame is active where at least half of it lies in a span. A span too short to fill half a
    frame makes the frame of its middle active, so that no span is lost.

    Args:
        spans: starts and ends of speech in seconds; what lies outside the sound is cut off.
        samples: T.
        rate_hz: sample rate.
        frame_ms: length of a frame.
    """
    frame = max(1, index(frame_ms / 1000, rate_hz))
    spoken = np.zeros(-(-samples // frame) * frame, dtype=bool)
    middles = []
    for start_s, end_s in spans:
        first, last = max(0, index(start_s, rate_hz)), min(samples, index(end_s, rate_hz))
        if first < last:
            spoken[first:last] = True
            middles.append((first + last) // 2 // frame)
    active = spoken.reshape(-1, frame).mean(axis=1) >= 0.5
    active[middles] = True
    return np.repeat(active, frame)[:samples]


def power(audio: Audio, mask: NDArray[np.bool_]) -> float:
    """Mean square of sound (C, T) over the samples of a mask (T,); zero for an empty one."""
    count = int(np.count_nonzero(mask))
    total = sum(_masked_energy(np.ascontiguousarray(one, np.float32), mask) for one in audio)
    return total / max(1, count)


@numba.njit(cache=True, nogil=True)
def _masked_energy(audio: Any, mask: Any) -> float:  # pragma: no cover - compiled
    total = 0.0
    for place in range(len(audio)):
        if mask[place]:
            total += np.float64(audio[place]) * np.float64(audio[place])
    return total


def fade(audio: Audio, samples: int) -> Audio:
    """Sound (C, T) with raised-cosine fades of that many samples at both ends.

    The fades are shortened where the sound is too short to hold both.
    """
    samples = min(samples, audio.shape[1] // 2)
    faded = audio.astype(np.float32, copy=True)
    if samples:
        rise = ramp(samples) ** 2
        faded[:, :samples] *= rise
        faded[:, -samples:] *= rise[::-1]
    return faded


def cross_fade(before: Audio, after: Audio) -> Audio:
    """A passage (C, T) from one sound to another at constant power.

    Right for sounds that are not correlated, such as two moments of one ambience; equal sounds
    would gain 3 dB in the middle.
    """
    rise = ramp(before.shape[1])
    passage: Audio = np.multiply(before, rise[::-1], dtype=np.float32)
    passage += np.multiply(after, rise, dtype=np.float32)
    return passage


def ramp(samples: int) -> NDArray[np.float32]:
    """A quarter of a sine (T,) whose squares and mirrored squares sum to one."""
    return np.sin((np.arange(samples) + 0.5) * (math.pi / 2 / samples)).astype(np.float32)


def pad_or_trim(audio: Audio, samples: int) -> Audio:
    """Sound (C, T) cut, or padded with silence at its end, to exactly that many samples."""
    if audio.shape[1] >= samples:
        return audio[:, :samples]
    return np.pad(audio, ((0, 0), (0, samples - audio.shape[1])))


def loop(audio: Audio, period: int, samples: int, overlap: int) -> Audio:
    """Sound repeated every `period` samples, each joint cross-faded, cut to `samples`.

    Args:
        audio: (C, T) with T >= period + overlap.
        period: distance between repetitions in samples.
        samples: length of the result.
        overlap: length of the cross-fade at each joint in samples, at most `period`.

    Raises ValueError where the sound is too short for the period and its cross-fade.
    """
    if not 0 <= overlap <= period or period == 0 or audio.shape[1] < period + overlap:
        raise ValueError(
            f"{audio.shape[1]} samples cannot loop with period={period} and overlap={overlap}"
        )
    turn = audio[:, :period].astype(np.float32, copy=True)
    if overlap:
        turn[:, :overlap] = cross_fade(audio[:, period : period + overlap], turn[:, :overlap])
    bed = np.tile(turn, -(-samples // period))[:, :samples]
    bed[:, :overlap] = audio[:, : min(overlap, samples)]
    return bed
