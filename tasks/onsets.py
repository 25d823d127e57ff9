"""When something begins in a sound, and how well such times agree with true ones.

Precision, recall and F1 count pairs of a found and a true onset within a tolerance, each in one
pair at most. They are sums over all clips; intervals come from drawing clips anew, because the
onsets of one clip are not independent. Rain and rolling are textures of many small contacts: score
clips without them, or a texture's own onsets count as found where there are none.

Legend: T samples, N blocks of 5 ms, B bands, C clips.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tasks.scores import Score, Statistic, drawn_score

BLOCKS_HZ = 200
BANDS, LOWEST_HZ = 12, 150.0
SPAN = 3
"""Blocks over which a rise is measured."""
FLOOR_DB = -50.0
"""What is so much quieter than the loudest of its band and clip is no event, nor is what hardly
stands out of the quietest fifth."""
OVER_QUIET = 8.0
MIN_RISE_DB = 2.5
"""Mean rise over the bands that makes an onset."""
APART_S = 0.05
TOLERANCE_S = 0.05


@dataclass(frozen=True, slots=True)
class Agreement:
    """How the onsets that were found in a clip agree with its true ones.

    Attributes:
        found: how many were found.
        true: how many there are.
        lags_s: found less true time of each pair.
    """

    found: int
    true: int
    lags_s: tuple[float, ...]

    @property
    def pairs(self) -> int:
        """How many were found that are there."""
        return len(self.lags_s)


def onset_times(audio: NDArray[np.float32], rate_hz: int) -> NDArray[np.float64]:
    """Times (K,) in seconds at which something begins in a sound (T,), to about 5 ms.

    An onset is where the bands rise together faster than what decays or swells does. The first
    15 ms hold none: nothing is known of what was before.
    """
    rise_db = rises(audio, rate_hz)
    reach = round(APART_S * BLOCKS_HZ)
    found: list[int] = []
    for block in np.flatnonzero(rise_db > MIN_RISE_DB):
        near = rise_db[max(block - reach, 0) : block + reach + 1]
        is_peak = rise_db[block] >= near.max()
        if is_peak and (not found or block - found[-1] > reach):
            found.append(int(block))
    # A rise is largest where the block begins with the onset, as sounds of known time show.
    return np.array(found, np.float64) / BLOCKS_HZ


def rises(audio: NDArray[np.float32], rate_hz: int) -> NDArray[np.float64]:
    """By how much a sound (T,) gets louder over 15 ms, in dB, as a mean over bands: (N,)."""
    size = rate_hz // BLOCKS_HZ
    # A block's window reaches half a block to both sides, and not beyond the end: that is no click.
    blocks = len(audio) // size - 1
    if blocks <= SPAN:
        return np.zeros(max(blocks, 0))
    padded = np.pad(audio.astype(np.float64), (size // 2, 0))
    starts = np.arange(blocks)[:, None] * size + np.arange(2 * size)
    windowed = padded[starts] * np.hanning(2 * size)
    power = np.abs(np.fft.rfft(windowed, axis=1)) ** 2
    lowest = max(round(LOWEST_HZ * 2 * size / rate_hz), 1)
    edges = np.unique(np.geomspace(lowest, power.shape[1] - 1, BANDS + 1).astype(int))
    bands = np.add.reduceat(power, edges[:-1], axis=1)  # (N, B)
    quiet = OVER_QUIET * np.quantile(bands, 0.2, axis=0)
    floor = np.maximum(quiet, bands.max() * 10 ** (FLOOR_DB / 10)) + 1e-12
    level_db = 10 * np.log10(bands + floor)
    rise = np.zeros(blocks)
    rise[SPAN:] = np.maximum(level_db[SPAN:] - level_db[:-SPAN], 0).mean(axis=1)
    return rise


def merged(times_s: Sequence[float], apart_s: float = APART_S) -> list[float]:
    """True times in order, without those that follow one that is kept too closely to be told."""
    kept: list[float] = []
    for time_s in sorted(times_s):
        if not kept or time_s - kept[-1] > apart_s:
            kept.append(float(time_s))
    return kept


def agreement(
    found_s: Sequence[float], true_s: Sequence[float], tolerance_s: float = TOLERANCE_S
) -> Agreement:
    """How found onsets agree with true ones: as many pairs within the tolerance as there can be."""
    found, true = sorted(map(float, found_s)), sorted(map(float, true_s))
    lags: list[float] = []
    first = 0
    for time_s in true:
        # Both are in order and all pairs may be equally far apart, so the first that fits is best.
        while first < len(found) and found[first] < time_s - tolerance_s - 1e-9:
            first += 1
        if first < len(found) and found[first] <= time_s + tolerance_s + 1e-9:
            lags.append(found[first] - time_s)
            first += 1
    return Agreement(len(found), len(true), tuple(lags))


def onset_scores(clips: Sequence[Agreement], draws: int = 1000, seed: int = 0) -> dict[str, Score]:
    """Precision, recall, F1 and the median lag in seconds of some clips, by name, with intervals.

    Raises ValueError without clips.
    """
    if not clips:
        raise ValueError("no clip to score; give at least one")
    counts = np.array([(clip.pairs, clip.found, clip.true) for clip in clips])  # (C, 3)
    lags = [np.array(clip.lags_s) for clip in clips]

    def shares(name: str) -> Score:
        return scored(lambda picks: _shares(name, counts[picks].sum(axis=1)))

    def scored(statistic: Statistic) -> Score:
        return drawn_score(statistic, len(clips), draws, seed)

    scores = {name: shares(name) for name in ("precision", "recall", "f1")}
    scores["lag_s"] = scored(
        lambda picks: np.array([_median(np.concatenate([lags[at] for at in p])) for p in picks])
    )
    return scores


def _shares(name: str, counts: NDArray[np.int64]) -> NDArray[np.float64]:
    pairs, found, true = counts.T.astype(np.float64)
    over = {"precision": found, "recall": true, "f1": (found + true) / 2}[name]
    return np.divide(pairs, over, out=np.full(len(pairs), np.nan), where=over > 0)


def _median(values: NDArray[np.float64]) -> float:
    return float(np.median(values)) if len(values) else float("nan")
