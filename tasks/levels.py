"""Levels of sound: loudness, true peak, signal-to-noise ratio, and the fades that hide an edit.

Audio is float32 in [-1, 1], shape (C, T): C channels, T samples, with its rate beside it. Sums run
in float64, so that a level does not depend on how long the sound is.
"""

import functools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from models.timeline import AUDIO_HZ, index

if TYPE_CHECKING:
    from pyloudnorm import Meter

Audio = NDArray[np.float32]

BLOCK_MS = 400
HOP_MS = 100
TRUE_PEAK_FACTOR = 4
TRUE_PEAK_RATE_HZ = 192_000


def loudness_lufs(audio: Audio, rate_hz: int) -> float | None:
    """Integrated loudness in LUFS after ITU-R BS.1770-4, or None where all of it is gated.

    Sound (C, T) shorter than one 400 ms block is repeated until it fills one. A last block that
    is not whole is left out, as the recommendation says; pyloudnorm would count it as too quiet.
    """
    block, hop = index(BLOCK_MS / 1000, rate_hz), index(HOP_MS / 1000, rate_hz)
    samples = audio.shape[1]
    if samples == 0:
        return None
    if samples < block:
        audio = np.tile(audio, -(-block // samples))[:, :block]
    whole = block + (audio.shape[1] - block) // hop * hop
    if not np.any(audio[:, :whole]):
        return None
    loudness = float(_meter(rate_hz).integrated_loudness(audio[:, :whole].T.astype(np.float64)))
    return loudness if math.isfinite(loudness) else None


@functools.cache
def _meter(rate_hz: int) -> "Meter":
    from pyloudnorm import Meter

    # These filters are the recommendation's own at every rate, and agree with libav's meter within
    # 0.01 LU; pyloudnorm's default K-weighting lies 0.04 LU off at 48 kHz and 0.12 at 16 kHz.
    return Meter(rate_hz, "DeMan", block_size=BLOCK_MS / 1000)


def true_peak_dbtp(audio: Audio, rate_hz: int = AUDIO_HZ) -> float | None:
    """Largest peak of sound (C, T) between its samples in dBTP; None in digital silence.

    Oversampled four times, and to 192 kHz where that is more, after ITU-R BS.1770-4 annex 2: at
    16 kHz four times alone would miss up to 0.7 dB of a tone near the Nyquist frequency.
    """
    from scipy.signal import resample_poly

    peak = float(np.max(np.abs(audio), initial=0.0))
    if peak == 0.0:
        return None
    factor = max(TRUE_PEAK_FACTOR, math.ceil(TRUE_PEAK_RATE_HZ / rate_hz))
    between = resample_poly(audio, factor, 1, axis=1)
    return db(max(peak, float(np.max(np.abs(between)))))


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


def energy(audio: Audio, mask: NDArray[np.bool_]) -> float:
    """Sum of squares of sound (C, T) over the samples of a mask (T,)."""
    return float(np.sum(np.square(audio[:, mask], dtype=np.float64)))


def snr_db(speech: Audio, ambience: Audio, mask: NDArray[np.bool_]) -> float:
    """Energy of speech over energy of ambience on the masked samples, in dB.

    Measured on the finished stems (C, T), so that whatever was done to them is in the figure.
    Infinite where the ambience is silent under the mask, minus infinite where the speech is.
    Raises ValueError where both are, or where the stems differ in shape.
    """
    if speech.shape != ambience.shape:
        raise ValueError(f"stems differ in shape: {speech.shape} and {ambience.shape}")
    spoken, around = energy(speech, mask), energy(ambience, mask)
    if spoken == 0.0 and around == 0.0:
        raise ValueError("both stems are silent under the mask; there is no ratio to measure")
    if around == 0.0:
        return math.inf
    return 10.0 * math.log10(spoken / around) if spoken else -math.inf


def fade(audio: Audio, samples: int) -> Audio:
    """Sound (C, T) with raised-cosine fades of that many samples at both ends.

    The fades are shortened where the sound is too short to hold both.
    """
    samples = min(samples, audio.shape[1] // 2)
    faded = audio.astype(np.float32, copy=True)
    if samples:
        ramp = _ramp(samples) ** 2
        faded[:, :samples] *= ramp
        faded[:, -samples:] *= ramp[::-1]
    return faded


def cross_fade(before: Audio, after: Audio) -> Audio:
    """A passage (C, T) from one sound to another at constant power.

    Right for sounds that are not correlated, such as two moments of one ambience; equal sounds
    would gain 3 dB in the middle.
    """
    ramp = _ramp(before.shape[1])
    passage: Audio = np.multiply(before, ramp[::-1], dtype=np.float32)
    passage += np.multiply(after, ramp, dtype=np.float32)
    return passage


def _ramp(samples: int) -> NDArray[np.float32]:
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
