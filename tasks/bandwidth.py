"""Effective bandwidth: the highest frequency that a sound really uses, whatever its sample rate.

A file at 48 kHz may hold a telephone call. Two signs are asked, because each misses what the other
sees. Nothing above the frequency rises over the noise that 16-bit samples have anyway: that finds
what a codec or a resampler cut, however faint the last band was. Or a wall stands there, with all
above it far below all under it: that finds a narrow voice that somebody laid hiss over, or whose
decoder left ripples. A natural roll-off, however dark, is no wall.

Legend: T samples, F frames, K frequency bands, float32 audio in [-1, 1].
"""

import functools
import math

import numpy as np
from numpy.typing import NDArray

FFT_SAMPLES = 2048
HOP_SAMPLES = 1024
SMOOTH_BINS = 9
"""Bins of one band, about 210 Hz at 48 kHz: noise becomes smooth and a cut-off stays sharp."""
LOUD_QUANTILE = 0.95
"""A band counts as used when one frame in twenty uses it: s and t last no longer in speech."""
FLOOR_DB = 10 * math.log10(1 / 12 / 32768**2)
"""Level of a band that holds only the rounding of 16-bit samples, in dB."""
FLOOR_MARGIN_DB = 10.0
"""A band this far above the rounding noise is used; its own loudest frames lie 3 dB above it."""
WINDOW_BETA = 18.0
"""Of a Kaiser window whose side lobes lie 130 dB down, so that bass leaks into no treble."""
WALL_DB = 15.0
"""Drop over a tenth of the frequency that only a filter makes: more than 100 dB an octave."""
WALL_LOW_HZ = 2500.0
"""Below the telephone's 3.4 kHz a wall is the end of a tone's partials, no filter."""


def bandwidth_hz(audio: NDArray[np.float32], rate_hz: int) -> float | None:
    """The effective bandwidth of audio (T,) in Hz; None where nothing rises over rounding noise."""
    bands_hz, levels_db = loud_spectrum(audio, rate_hz)
    used = np.flatnonzero(levels_db > FLOOR_DB + FLOOR_MARGIN_DB)
    if not len(used):
        return None
    top = int(used[-1])
    edge = _lowest_wall(bands_hz[: top + 1], levels_db[: top + 1])
    if edge is None and top == len(bands_hz) - 1:
        return rate_hz / 2
    return float(bands_hz[top if edge is None else edge])


def loud_spectrum(
    audio: NDArray[np.float32], rate_hz: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Centres of the bands in Hz (K,), and their levels in dB (K,) in the loudest frames.

    White noise has in every band the level of its variance. Sound shorter than one frame is
    padded with silence.
    """
    padded = np.pad(audio, (0, max(0, FFT_SAMPLES - len(audio))))
    frames = np.lib.stride_tricks.sliding_window_view(padded, FFT_SAMPLES)[::HOP_SAMPLES]
    window = _window()
    spectra = np.fft.rfft(frames * window, axis=1)  # (F, 1025)
    powers = (spectra.real**2 + spectra.imag**2) / np.sum(window**2, dtype=np.float64)
    sums = np.cumsum(np.pad(powers, ((0, 0), (1, 0))), axis=1)
    bands = (sums[:, SMOOTH_BINS:] - sums[:, :-SMOOTH_BINS]) / SMOOTH_BINS  # (F, K)
    loud = np.quantile(bands, LOUD_QUANTILE, axis=0)
    centres = np.arange(len(loud)) + (SMOOTH_BINS - 1) / 2
    return centres * rate_hz / FFT_SAMPLES, 10 * np.log10(np.maximum(loud, 1e-20))


def _lowest_wall(bands_hz: NDArray[np.float64], levels_db: NDArray[np.float64]) -> int | None:
    """The last band before a wall: all above is WALL_DB below nearly all of the octave under it.

    Of several walls the lowest; None where there is none.
    """
    above_db = np.maximum.accumulate(levels_db[::-1])[::-1]  # loudest of this band and all above
    last_hz = bands_hz[-1]
    for wall in range(int(np.searchsorted(bands_hz, WALL_LOW_HZ)), len(bands_hz)):
        hz = bands_hz[wall]
        if hz * 1.05 >= last_hz:
            return None
        low, high = np.searchsorted(bands_hz, (hz / 2, hz * 0.95))
        over = int(np.searchsorted(bands_hz, hz * 1.05))
        # Cheap first: nothing above may be as loud as the band just under the wall.
        if levels_db[high] - above_db[over] < WALL_DB:
            continue
        if np.quantile(levels_db[low:high], 0.1) - above_db[over] >= WALL_DB:
            at_foot = levels_db[high:over] >= above_db[over] + WALL_DB / 2
            return high + int(np.flatnonzero(at_foot)[-1])
    return None


@functools.cache
def _window() -> NDArray[np.float32]:
    return np.kaiser(FFT_SAMPLES, WINDOW_BETA).astype(np.float32)
