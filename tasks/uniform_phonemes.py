"""Phonemes as they are known of a text without times: stretched evenly over each utterance.

Legend: N latents (25 Hz).
"""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.phoneme_ids import NONE_ID, PAUSE_ID
from models.timeline import LATENT_HZ

PAUSE_S = 0.3
"""A longer pause ends an utterance, as it ends a cue of subtitles."""
CUED = 0.5
"""Share of stretched samples whose utterances are told apart; of the others no time is known."""

Grid = NDArray[np.integer[Any]]


class Stretch(NamedTuple):
    """What is known of the time of an utterance.

    Attributes:
        early: how much earlier than its first phoneme it begins, as a share of what is free: up to
            the middle of the pause before, or to the grid's start.
        late: how much later than its last phoneme it ends, likewise.
        pause_s: the pauses that are longer lie between utterances.
    """

    early: float
    late: float
    pause_s: float = PAUSE_S


UNCUED = Stretch(1.0, 1.0, math.inf)
"""Of a text without cues it is only known that it is said: it is one utterance from end to end."""


def drawn_stretches(
    samples: int, share: float, generator: np.random.Generator
) -> tuple[Stretch | None, ...]:
    """How the phonemes of samples are stretched, None for those that are not; a share of them is.

    Cues begin before what is said in them and end after it, by more or less. A share of 0 draws
    nothing.
    """
    if not share:
        return (None,) * samples
    drawn = generator.random((samples, 4)).tolist()
    return tuple(
        (Stretch(early, late) if kind < CUED else UNCUED) if one < share else None
        for one, kind, early, late in drawn
    )


def stretched(grid: Grid, stretch: Stretch) -> Grid:
    """The phonemes of a grid (N,), each as long as the others of its utterance.

    They fill its time and its shorter pauses, as words fill a cue where `sonify.durations` is
    `uniform`. The same phoneme twice without a pause is one, as in the grid.
    """
    even = np.full_like(grid, NONE_ID)
    places = np.flatnonzero((grid != NONE_ID) & (grid != PAUSE_ID))
    if not len(places):
        return even
    pauses = np.flatnonzero(np.diff(places) - 1 > stretch.pause_s * LATENT_HZ)
    utterances = np.split(places, pauses + 1)
    borders = [0, *((places[pauses] + 1 + places[pauses + 1]) // 2), len(grid)]
    for own, free_from, free_to in zip(utterances, borders, borders[1:], strict=False):
        phonemes = _phonemes(grid[own[0] : own[-1] + 1])
        first = own[0] - int(stretch.early * (own[0] - free_from))
        end = own[-1] + 1 + int(stretch.late * (free_to - own[-1] - 1))
        even[first:end] = phonemes[np.arange(end - first) * len(phonemes) // (end - first)]
    return even


def _phonemes(grid: Grid) -> Grid:
    """The phonemes of a grid in order."""
    ids = grid[np.diff(grid, prepend=NONE_ID) != 0]
    return ids[(ids != NONE_ID) & (ids != PAUSE_ID)]
