"""How far sound and picture are apart: what is seen against what is heard, over all lags.

Both sides become a curve at 100 Hz: the opening of a mouth and the envelope of speech, or the
onsets of motion and of sound. The lag at which they agree best is the offset; **positive is sound
late**. How sure that is, chance says: the same is done with the heard curve's pieces shuffled.

Legend: T samples, N points at 100 Hz, L lags, S shuffled curves.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CURVE_HZ = 100
SPEECH_BAND_HZ = (200.0, 4000.0)
LOUDNESS_POWER = 0.125
"""Exponent of a signal's power: a vowel counts for more than a consonant, not for all."""
ENVELOPE_RANGE = 1e-4
"""Envelopes have a floor this far below their loud parts (−40 dB), so that silence is flat."""
SMOOTH_S = 0.05
TREND_S = 1.0
"""Slower changes than this are taken out of both curves: a smile, or the shape of a sentence."""
ONSET_BANDS = 16
MIN_CURVE_S = 2.0
"""Shorter curves say nothing."""
RIVAL_SHARE = 0.85
UNSURE = 0.5
"""Highest confidence where another lag agrees by this share of the best, as in an even beat."""
FLAT = 1e-9
"""A curve that deviates less is the rounding of one that does not move."""
SHUFFLES = 199
SHUFFLED_PIECE_S = 0.5
"""Mean length of the pieces: longer than a syllable or a blow, so that each stays whole."""

Curve = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Alignment:
    """Where two curves agree best.

    Attributes:
        offset_s: seconds by which the sound comes late; negative where it comes early.
        correlation: normalised correlation there, at most 1.
        confidence: probability that `heard` in another order of time agrees less well at the best
            of the same lags. 0.95 is passed by one in twenty pairs that have nothing in common.
    """

    offset_s: float
    correlation: float
    confidence: float


NO_ALIGNMENT = Alignment(0.0, 0.0, 0.0)


def align(seen: Curve, heard: Curve, max_offset_s: float) -> Alignment:
    """The lag of `heard` behind `seen` (N,) with the highest correlation, between the points too.

    The confidence is one minus the share of shuffled curves that agree with `seen` as well or
    better at the best of the same lags. Where another lag is nearly as good, as in an even beat, or
    the best is the last, it is at most `UNSURE`. Nothing that moves, or curves shorter than
    `MIN_CURVE_S`, give confidence 0.

    Raises ValueError for curves of different lengths.
    """
    if len(seen) != len(heard):
        raise ValueError(f"curves have {len(seen)} and {len(heard)} points; cut them alike")
    count = len(seen)
    if count < MIN_CURVE_S * CURVE_HZ or min(np.std(seen), np.std(heard)) <= FLAT:
        return NO_ALIGNMENT
    reach = min(round(max_offset_s * CURVE_HZ), count // 3)
    peaks = lagged_correlation(seen, heard, reach)  # (L,)
    best = int(np.argmax(peaks))
    offset_s = (best - reach + _between(peaks, best)) / CURVE_HZ
    confidence = _confidence(seen, heard, reach)
    if _has_rival(peaks, best):
        confidence = min(confidence, UNSURE)
    return Alignment(float(offset_s), float(peaks[best]), confidence)


def lagged_correlation(seen: Curve, heard: Curve, reach: int) -> Curve:
    """Correlation (2 reach + 1,) of `seen` with `heard` at lags −reach … reach, where they overlap.

    At lag l, `seen` at n stands beside `heard` at n + l.
    """
    count = len(seen)
    peaks = np.zeros(2 * reach + 1)
    for place in range(2 * reach + 1):
        lag = place - reach
        first = seen[max(0, -lag) : count - max(0, lag)]
        second = heard[max(0, lag) : count + min(0, lag)]
        first, second = first - first.mean(), second - second.mean()
        energy = np.sqrt((first @ first) * (second @ second))
        peaks[place] = (first @ second) / energy if energy > 0 else 0.0
    return peaks


def _between(peaks: Curve, best: int) -> float:
    """Where the parabola through the best point and its neighbours is highest, from that point."""
    if not 0 < best < len(peaks) - 1:
        return 0.0
    before, top, after = peaks[best - 1 : best + 2]
    bend = before - 2 * top + after
    return float(0.5 * (before - after) / bend) if bend < 0 else 0.0


def _has_rival(peaks: Curve, best: int) -> bool:
    """Whether another lag, beyond the hill of the best, agrees nearly as well or may do so."""
    if not 0 < best < len(peaks) - 1:
        return True
    falls = np.diff(peaks) < 0
    left = int(np.flatnonzero(falls[:best])[-1]) + 1 if falls[:best].any() else 0
    rises = ~falls[best:]
    right = best + int(np.flatnonzero(rises)[0]) if rises.any() else len(peaks) - 1
    others = np.concatenate([peaks[:left], peaks[right + 1 :]])
    return bool(others.max(initial=-1.0) >= RIVAL_SHARE * peaks[best])


def _confidence(seen: Curve, heard: Curve, reach: int) -> float:
    shuffled = np.stack(list(_shuffled(heard)))
    by_chance = _wrapped_correlation(seen, shuffled, reach).max(axis=1)
    peak = _wrapped_correlation(seen, heard[None], reach).max()
    return float(1.0 - (1 + np.sum(by_chance >= peak)) / (1 + SHUFFLES))


def _shuffled(heard: Curve) -> Iterator[Curve]:
    """The curve cut into pieces of half a second on average, which are put in another order.

    What happens within a piece stays, so a shuffled curve is as smooth, or as sparse, as the
    curve: that makes chance as good as it really is. The cuts are drawn alike for every curve.
    """
    rng = np.random.default_rng(0)
    count = len(heard)
    cuts_wanted = max(round(count / (SHUFFLED_PIECE_S * CURVE_HZ)), 2) - 1
    for _ in range(SHUFFLES):
        turned = np.roll(heard, rng.integers(count))
        cuts = np.sort(rng.choice(np.arange(1, count), cuts_wanted, replace=False))
        pieces = np.split(turned, cuts)
        yield np.concatenate([pieces[place] for place in rng.permutation(len(pieces))])


def _wrapped_correlation(seen: Curve, heard: Curve, reach: int) -> Curve:
    """Correlation (S, L) of `seen` (N,) with curves `heard` (S, N) at lags of at most ± reach.

    Ends are joined, so that every lag has as many points: only what is alike can be compared.
    """
    count = len(seen)
    ours = np.conj(np.fft.rfft(seen - seen.mean()))
    theirs = np.fft.rfft(heard - heard.mean(axis=1, keepdims=True))
    products = np.fft.irfft(ours * theirs, count)
    lags = np.concatenate([np.arange(reach + 1), np.arange(-reach, 0)])
    return products[:, lags] / (count * np.std(seen) * np.std(heard))


def smoothed(curve: Curve) -> Curve:
    """A curve (N,) without what is faster than 50 ms."""
    return _blurred(curve, SMOOTH_S)


def detrended(curve: Curve) -> Curve:
    """A curve (N,) without what is faster than 50 ms or slower than 1 s."""
    return _blurred(curve, SMOOTH_S) - _blurred(curve, TREND_S)


def _blurred(curve: Curve, sigma_s: float) -> Curve:
    sigma = sigma_s * CURVE_HZ
    half = round(4 * sigma)
    kernel = np.exp(-0.5 * (np.arange(-half, half + 1) / sigma) ** 2)
    padded = np.pad(curve, half, mode="reflect" if len(curve) > half else "edge")
    return np.asarray(np.convolve(padded, kernel / kernel.sum(), mode="valid"), np.float64)


def curve_times(duration_s: float) -> Curve:
    """The times (N,) of a curve's points: the middle of each 10 ms."""
    return (np.arange(int(duration_s * CURVE_HZ + 1e-6)) + 0.5) / CURVE_HZ


def speech_envelope(audio: NDArray[np.float32], rate_hz: int) -> Curve:
    """Loudness (N,) of audio (T,) in the band of speech, any unit, from 10 ms to 10 ms."""
    spectrum = np.fft.rfft(audio.astype(np.float64))
    hz = np.fft.rfftfreq(len(audio), 1 / rate_hz)
    spectrum[(hz < SPEECH_BAND_HZ[0]) | (hz > SPEECH_BAND_HZ[1])] = 0
    banded = np.asarray(np.fft.irfft(spectrum, len(audio)), np.float64)
    power = np.mean(_pieces(banded, rate_hz) ** 2, axis=1)
    if not len(power):
        return power
    floor = np.quantile(power, 0.95) * ENVELOPE_RANGE
    return np.maximum(power, floor) ** LOUDNESS_POWER


def sound_onsets(audio: NDArray[np.float32], rate_hz: int) -> Curve:
    """How much louder audio (T,) gets from one 10 ms to the next, summed over bands; (N,)."""
    pieces = _pieces(audio.astype(np.float64), rate_hz)
    if len(pieces) < 2:
        return np.zeros(len(pieces))
    power = np.abs(np.fft.rfft(pieces, axis=1)) ** 2
    edges = np.unique(np.geomspace(1, power.shape[1], ONSET_BANDS + 1).astype(int))
    bands = np.add.reduceat(power, edges[:-1], axis=1)
    floor = max(float(np.quantile(bands, 0.99)) * ENVELOPE_RANGE, 1e-12)
    level = np.log(np.maximum(bands, floor))
    return np.concatenate([[0.0], np.maximum(np.diff(level, axis=0), 0).sum(axis=1)])


def _pieces(audio: Curve, rate_hz: int) -> Curve:
    size = rate_hz // CURVE_HZ
    count = len(audio) // size
    return audio[: count * size].reshape(count, size)


def onset_curve(times_s: Curve, strengths: Curve, duration_s: float) -> Curve:
    """A curve (N,) with onsets of given strengths at given times, each shared by two points."""
    count = len(curve_times(duration_s))
    curve = np.zeros(count + 1)
    place = np.clip(times_s * CURVE_HZ - 0.5, 0, max(count - 1, 0))
    whole = place.astype(int)
    np.add.at(curve, whole, strengths * (1 - (place - whole)))
    np.add.at(curve, whole + 1, strengths * (place - whole))
    return curve[:count]
