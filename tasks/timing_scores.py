"""Scores of when things are heard: words beside their true times, lips, and a delayed picture."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from models.sync import CURVE_HZ, Curve
from tasks.lip_envelope import lips_agreement
from tasks.scores import (
    CEILING,
    CONTROL,
    SCORE,
    TRUTH,
    Found,
    Score,
    drawn_score,
    held_against,
    mean_score,
)
from tasks.timing import TimedItem
from tasks.word_onsets import Starts, word_start_errors

ABSENT = {
    "word_onset_error": "no item has a text whose words have true times (table true_words)",
    "lips_word_onset_error": "no item was generated without the times of its words: set "
    "evaluate.by_lips, for items of task visual_tts with lips whose words have true times",
    "lips_envelope_correlation": "of no item with a text it is known whose mouth speaks (syncs of "
    "method mouth)",
    "onset_shift": "no picture was delayed: set evaluate.shifted, for items with known sharp "
    "onsets, a picture and no text",
}
"""Why a metric of this module is missing."""


def timing_found(items: Sequence[TimedItem], draws: int, seed: int) -> Iterator[Found]:
    """The scores of some items."""
    yield from _word_onsets(items, draws, seed)
    yield from _by_lips(items, draws, seed)
    yield from _lips(items, draws, seed)
    yield from _shifts(items, draws, seed)


def _word_onsets(items: Sequence[TimedItem], draws: int, seed: int) -> Iterator[Found]:
    known = [item for item in items if item.has_times]
    against = held_against(
        known, lambda item: item.heard, lambda a, b: a.word_starts_s != b.word_starts_s
    )
    for role, pairs in against:
        errors = [_word_errors(i, h.word_starts_s, h.loudness) for i, h in pairs]
        if errors:
            yield "word_onset_error", "s", role, _median(errors, draws, seed), len(errors)


def _by_lips(items: Sequence[TimedItem], draws: int, seed: int) -> Iterator[Found]:
    timeless = [item for item in items if item.by_lips]
    for role in (SCORE, TRUTH, CEILING, CONTROL) if timeless else ():
        heard = [i.by_lips.get(role) or i.heard[role].word_starts_s for i in timeless]
        pairs = zip(timeless, heard, strict=True)
        errors = [_word_errors(i, starts, i.heard[SCORE].loudness) for i, starts in pairs]
        yield "lips_word_onset_error", "s", role, _median(errors, draws, seed), len(errors)


def _word_errors(item: TimedItem, heard: Starts, sound: Curve) -> NDArray[np.float64]:
    """How far words are heard from their times; what is not found, as far as a sound is long."""
    return word_start_errors(item.word_starts_s, heard, len(sound) / CURVE_HZ)


def _lips(items: Sequence[TimedItem], draws: int, seed: int) -> Iterator[Found]:
    seen = [item for item in items if item.mouth is not None]
    for role, pairs in held_against(seen, lambda i: i.heard, lambda a, b: a.words != b.words):
        found = [lips_agreement(i.mouth, h.loudness) for i, h in pairs if i.mouth is not None]
        found = [value for value in found if np.isfinite(value)]
        if found:
            score = mean_score(found, draws, seed)
            yield "lips_envelope_correlation", "", role, score, len(found)


def _shifts(items: Sequence[TimedItem], draws: int, seed: int) -> Iterator[Found]:
    shifted = [item.shifts_s for item in items if item.shifts_s]
    for role in shifted[0] if shifted else ():
        found = [np.array([shifts[role]]) for shifts in shifted]
        yield "onset_shift", "s", role, _median(found, draws, seed), len(found)


def _median(values: Sequence[NDArray[np.float64]], draws: int, seed: int) -> Score:
    """The median of all values (K,) of some items."""

    def medians(picks: NDArray[np.intp]) -> NDArray[np.float64]:
        drawn = (np.concatenate([values[at] for at in pick]) for pick in picks)
        return np.array([np.median(one) if len(one) else np.nan for one in drawn])

    return drawn_score(medians, len(values), draws, seed)
