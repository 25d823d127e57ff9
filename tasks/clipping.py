"""Clipping: how much of a sound has its peaks cut off flat.

A clipped peak is flat and has corners: the sound runs into its limit and leaves it at an angle. A
natural peak is round, however close it comes to full scale and however slow it is: seen from twice
as far, a parabola has fallen four times as much. So a run of samples at the limit counts only when
the sound has fallen steeply beside it. The limit is the sound's own highest (lowest) value, so that
a peak that was cut and turned down later is still seen. One that was resampled or encoded after it
was turned down is seen no more: both make its top wavy.

Legend: T samples, R runs, float32 audio in [-1, 1].
"""

import numpy as np
from numpy.typing import NDArray

FLAT = 0.001
"""Samples this close to the limit, as a share of it, are at the limit."""
MIN_RUN_SAMPLES = 3
"""Shorter runs are what a limiter or a normalised peak leaves."""
CORNER = 20.0
"""A run's own length beside it, a cut peak has fallen this often FLAT; a round one, 3 to 15."""
MIN_PEAK = 0.03
"""A quieter sound has too few 16-bit steps to tell flat from round."""


def clipping_ratio(audio: NDArray[np.float32]) -> float:
    """Share of the samples of audio (T,) that stand in flat runs at its limits; 0 for no audio."""
    if not len(audio):
        return 0.0
    return (_flat_samples(audio) + _flat_samples(-audio)) / len(audio)


def dc_offset(audio: NDArray[np.float32]) -> float:
    """Mean of audio (T,), full scale being 1; 0 for no audio."""
    return float(np.mean(audio, dtype=np.float64)) if len(audio) else 0.0


def _flat_samples(audio: NDArray[np.float32]) -> int:
    """How many samples of audio (T,) stand in flat runs at its highest value."""
    limit = float(audio.max())
    if limit < MIN_PEAK:
        return 0
    at_limit = np.concatenate([[False], audio >= limit * (1 - FLAT), [False]])
    edges = np.flatnonzero(np.diff(at_limit.view(np.int8)))
    starts, ends = edges[::2], edges[1::2]  # (R,) each: [start, end)
    lengths = ends - starts
    reach = np.maximum(lengths // 2, 1)
    before, after = starts - 1 - reach, ends + reach
    # A run at an end of the sound is judged by its other side; one that fills it, by none.
    floor = limit * (1 - CORNER * FLAT)
    falls_before = (before < 0) | (audio[np.maximum(before, 0)] <= floor)
    falls_after = (after >= len(audio)) | (audio[np.minimum(after, len(audio) - 1)] <= floor)
    has_side = (before >= 0) | (after < len(audio))
    cut = (lengths >= MIN_RUN_SAMPLES) & falls_before & falls_after & has_side
    return int(lengths[cut].sum())
