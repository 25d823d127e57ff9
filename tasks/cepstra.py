"""Mel-cepstral distance between two sounds whose times are warped onto each other (MCD-DTW).

After Kubichek ("Mel-cepstral distance measure for objective speech quality assessment", 1993): the
distance of two frames is the RMS difference in dB of their smoothed spectra on the mel scale, level
apart. Frames are paired by dynamic time warping, and the mean is taken over the pairs.

Legend: T samples at 16 kHz, N and M frames of 10 ms, D coefficients.
"""

import functools
import math

import numpy as np
from numpy.typing import NDArray

Frames = NDArray[np.float64]

COEFFICIENTS = 13
"""From the first on: c0, the level, is left out."""
TO_DB = 10 * math.sqrt(2) / math.log(10)
LOUD_DB = 40.0
"""Frames that are so much quieter than the loudest are pauses, in which only hiss would differ."""
FLOOR_DB = 60.0
"""What is so far below the loudest band of the sound is not told apart."""


def mel_cepstra(audio16: NDArray[np.float32]) -> Frames:
    """The mel cepstra (N, D) of the frames of a sound (T,) that are no pauses.

    They are scaled so that ln |H| = c0 + sum of c_d cos(d w) over the mel-warped frequency w.
    """
    import torch

    from models.mel import MelConfig, log_mel

    config = MelConfig()
    long_enough = np.pad(audio16, (0, max(config.n_fft - len(audio16), 0)))
    bands = log_mel(torch.from_numpy(long_enough)[None], config)[0].double().numpy()
    bands = np.maximum(bands, bands.max() - FLOOR_DB * math.log(10) / 20)
    power_db = 10 * np.log10(np.exp(2 * bands).sum(axis=1))
    return bands[power_db > power_db.max() - LOUD_DB] @ _cosines(bands.shape[1])


@functools.cache
def _cosines(bands: int) -> Frames:
    """(bands, D) that turn logarithms of magnitudes into their cepstra."""
    turns = np.outer(np.arange(bands) + 0.5, np.arange(1, COEFFICIENTS + 1))
    return 2 / bands * np.cos(math.pi / bands * turns)


def warped_distance_db(first: Frames, second: Frames) -> float:
    """The mean distance in dB of two cepstra (N, D) and (M, D) along the best warped path."""
    squares = np.sum(first**2, axis=1)[:, None] + np.sum(second**2, axis=1)
    apart = np.sqrt(np.maximum(squares - 2 * first @ second.T, 0.0))
    total, steps = cheapest_path(apart)
    return TO_DB * total / steps


def cheapest_path(cost: Frames) -> tuple[float, int]:
    """The sum over the cheapest path through costs (N, M), and of how many cells it is.

    It leads from the first cell to the last; each step goes on by one in N, in M, or in both, which
    is taken first among equals. All cells of an antidiagonal are reckoned at once.
    """
    rows, columns = cost.shape
    flat = np.ascontiguousarray(cost).ravel()
    # Of row i stands at i + 1 what it costs to reach it; before the first row is no way.
    before = last = np.full(rows + 1, np.inf)
    steps_before = steps_last = np.zeros(rows + 1, np.int64)
    for diagonal in range(rows + columns - 1):
        low, high = max(0, diagonal - columns + 1), min(diagonal, rows - 1)
        cells = flat[diagonal + np.arange(low, high + 1) * (columns - 1)]
        here, steps = np.full(rows + 1, np.inf), np.zeros(rows + 1, np.int64)
        if diagonal == 0:
            here[1], steps[1] = cells[0], 1
        else:
            own, above = slice(low + 1, high + 2), slice(low, high + 1)
            best = np.minimum(np.minimum(before[above], last[above]), last[own])
            aside = np.where(best == last[above], steps_last[above], steps_last[own])
            here[own] = best + cells
            steps[own] = 1 + np.where(best == before[above], steps_before[above], aside)
        before, last, steps_before, steps_last = last, here, steps_last, steps
    return float(last[rows]), int(steps_last[rows])
