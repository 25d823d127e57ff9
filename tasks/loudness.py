"""Loudness and true peak of sound after ITU-R BS.1770-4, fast enough to measure every mixture.

The K-weighting runs as two biquads in one pass that sums squares over hops of 100 ms; everything
else (gating, what a gain changes, the loudness of a sum) follows from those sums. Coefficients at
any rate after De Man, "Evaluation of implementations of the EBU R128 loudness measurement" (2014).

Audio is float32 in [-1, 1], shape (C, T): C channels, T samples, with its rate beside it.
"""

import functools
import math
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from models.timeline import AUDIO_HZ, index

Audio = NDArray[np.float32]
HOP_S = 0.1
BLOCK_HOPS = 4
OFFSET_LUFS = -0.691
ABSOLUTE_GATE_LUFS = -70.0
RELATIVE_GATE_LU = -10.0
TRUE_PEAK_FACTOR = 4
TRUE_PEAK_RATE_HZ = 192_000
HALF_TAPS = 10  # samples on each side of a point that is interpolated
PEAK_RUN = 64
NOTHING = 1e-60


def loudness_lufs(audio: Audio, rate_hz: int) -> float | None:
    """Integrated loudness in LUFS, or None where all of it is gated.

    Sound (C, T) shorter than one 400 ms block is repeated until it fills one. A last block that
    is not whole is left out, as the recommendation says.
    """
    if audio.shape[1] == 0:
        return None
    return gated_lufs(hop_sums(audio, audio, rate_hz)[0], rate_hz)


def hop_sums(first: Audio, second: Audio, rate_hz: int) -> NDArray[np.float64]:
    """K-weighted sums over the hops of two sounds (C, T): first², second², first · second.

    (3, hops). The sum of both at gains a and b has the energies a² · first² + 2ab · first · second
    + b² · second², so that one pass tells the loudness of any mix of the two. Sounds shorter than
    a block of 400 ms are repeated until they fill it.
    """
    hop, weighting = index(HOP_S, rate_hz), _k_weighting(rate_hz)
    block = BLOCK_HOPS * hop
    if first.shape[1] < block:
        turns = -(-block // first.shape[1])
        first, second = (np.tile(one, turns)[:, :block] for one in (first, second))
    channels = zip(
        np.ascontiguousarray(first, np.float32),
        np.ascontiguousarray(second, np.float32),
        strict=True,
    )
    return np.sum([_hop_sums(a, b, hop, *weighting) for a, b in channels], axis=0)


def gated_lufs(hops: NDArray[np.float64], rate_hz: int) -> float | None:
    """Integrated loudness in LUFS of the hops' energies; None where every block is gated.

    Blocks of four hops overlap by three; those under -70 LUFS, and then those 10 LU under the mean
    of the rest, do not count.
    """
    if len(hops) < BLOCK_HOPS:
        return None
    running = np.concatenate(([0.0], np.cumsum(hops)))
    block = (running[BLOCK_HOPS:] - running[:-BLOCK_HOPS]) / (BLOCK_HOPS * index(HOP_S, rate_hz))
    loud = block[block > _power(ABSOLUTE_GATE_LUFS)]
    if not len(loud):
        return None
    kept = loud[loud > loud.mean() * 10.0 ** (RELATIVE_GATE_LU / 10.0)]
    return OFFSET_LUFS + 10.0 * math.log10(float(kept.mean()))


def _power(lufs: float) -> float:
    return 10.0 ** ((lufs - OFFSET_LUFS) / 10.0)


@functools.cache
def _k_weighting(rate_hz: int) -> tuple[float, ...]:
    """Shelf b0 b1 b2 a1 a2, then the a1 a2 of the high-pass whose numerator is 1 -2 1."""
    tangent = math.tan(math.pi * 1681.9744509555319 / rate_hz)
    high = 10.0 ** (3.99984385397 / 20.0)
    band = high**0.499666774155
    width = tangent / 0.7071752369554193
    scale = 1.0 + width + tangent**2
    shelf = (
        (high + band * width + tangent**2) / scale,
        2.0 * (tangent**2 - high) / scale,
        (high - band * width + tangent**2) / scale,
        2.0 * (tangent**2 - 1.0) / scale,
        (1.0 - width + tangent**2) / scale,
    )
    tangent = math.tan(math.pi * 38.13547087613982 / rate_hz)
    width = tangent / 0.5003270373253953
    scale = 1.0 + width + tangent**2
    return (*shelf, 2.0 * (tangent**2 - 1.0) / scale, (1.0 - width + tangent**2) / scale)


@numba.njit(cache=True, nogil=True)
def _hop_sums(  # pragma: no cover - compiled
    first: Any,
    second: Any,
    hop: int,
    b0: float,
    b1: float,
    b2: float,
    a1: float,
    a2: float,
    c1: float,
    c2: float,
) -> Any:
    hops = len(first) // hop
    sums = np.zeros((3, hops))
    p1 = p2 = q1 = q2 = 0.0
    r1 = r2 = s1 = s2 = 0.0
    for number in range(hops):
        pp = qq = pq = 0.0
        for place in range(number * hop, (number + 1) * hop):
            value = np.float64(first[place])
            shelved = b0 * value + p1
            p1 = b1 * value - a1 * shelved + p2
            p2 = b2 * value - a2 * shelved
            one = shelved + q1
            q1 = -2.0 * shelved - c1 * one + q2
            q2 = shelved - c2 * one
            value = np.float64(second[place])
            shelved = b0 * value + r1
            r1 = b1 * value - a1 * shelved + r2
            r2 = b2 * value - a2 * shelved
            other = shelved + s1
            s1 = -2.0 * shelved - c1 * other + s2
            s2 = shelved - c2 * other
            pp += one * one
            qq += other * other
            pq += one * other
            # In digital silence the shelf's state falls into denormal numbers within 70 ms, which
            # take ten times as long.
            if place % 256 == 0:
                if abs(p1) + abs(p2) < NOTHING:
                    p1 = p2 = 0.0
                if abs(r1) + abs(r2) < NOTHING:
                    r1 = r2 = 0.0
                if abs(q1) + abs(q2) < NOTHING:
                    q1 = q2 = 0.0
                if abs(s1) + abs(s2) < NOTHING:
                    s1 = s2 = 0.0
        sums[0, number], sums[1, number], sums[2, number] = pp, qq, pq
    return sums


def true_peak_dbtp(audio: Audio, rate_hz: int = AUDIO_HZ) -> float | None:
    """Largest peak of sound (C, T) between its samples in dBTP; None in digital silence.

    Oversampled four times, and to 192 kHz where that is more, after ITU-R BS.1770-4 annex 2: at
    16 kHz four times alone would miss up to 0.7 dB of a tone near the Nyquist frequency.
    """
    peak = float(np.max(np.abs(audio), initial=0.0))
    if peak == 0.0:
        return None
    taps = _interpolation(max(TRUE_PEAK_FACTOR, math.ceil(TRUE_PEAK_RATE_HZ / rate_hz)))
    between = max(_peak_between(np.ascontiguousarray(one, np.float32), taps) for one in audio)
    return 20.0 * math.log10(max(peak, between))


@functools.cache
def _interpolation(factor: int) -> Audio:
    """Taps (factor - 1, 2 * HALF_TAPS) of the points between samples: a Kaiser-windowed sinc."""
    between = np.arange(1, factor) / factor
    places = np.arange(-HALF_TAPS + 1, HALF_TAPS + 1)[None] - between[:, None]
    window = np.i0(5.0 * np.sqrt(1.0 - (places / HALF_TAPS) ** 2)) / np.i0(5.0)
    taps = np.sinc(places) * window
    return (taps / taps.sum(axis=1, keepdims=True)).astype(np.float32)


@numba.njit(cache=True, nogil=True)
def _peak_between(audio: Any, taps: Any) -> float:  # pragma: no cover - compiled
    # A run of places is worked at once, tap by tap, with comparisons instead of `max`: only so
    # does the compiler vectorise it.
    phases, width = taps.shape
    padded = np.zeros(len(audio) + width + PEAK_RUN, np.float32)
    padded[width // 2 - 1 : width // 2 - 1 + len(audio)] = audio
    values, highest = np.zeros(PEAK_RUN, np.float32), np.zeros(PEAK_RUN, np.float32)
    for first in range(0, len(audio), PEAK_RUN):
        for phase in range(phases):
            values[:] = np.float32(0)
            for tap in range(width):
                weight, near = taps[phase, tap], padded[first + tap : first + tap + PEAK_RUN]
                for place in range(PEAK_RUN):
                    values[place] += weight * near[place]
            for place in range(PEAK_RUN):
                value = abs(values[place])
                highest[place] = value if value > highest[place] else highest[place]
    return highest.max()
