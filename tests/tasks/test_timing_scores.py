"""Scores of when things are heard, of items whose faults were put in."""

import json
from dataclasses import replace

import numpy as np
import pytest

from models.sync import CURVE_HZ, Curve
from models.timeline import MOTION_FPS
from tasks.held_out import Facts
from tasks.sync import MOUTH_LEAD_S
from tasks.timing import Timed, TimedItem, timed_item, timing_record
from tasks.timing_scores import timing_found
from tasks.word_onsets import Starts

SECONDS = 4


def moved(number: int, late_s: float, rate_hz: float) -> Curve:
    """A wave of a pace of its own, which both a mouth and a loudness have."""
    times_s = (np.arange(int(SECONDS * rate_hz)) + 0.5) / rate_hz
    return np.sin(2 * np.pi * (1.7 + 0.37 * number) * (times_s - late_s))


def spoken(number: int, late_s: float, shift_s: float | None = None) -> TimedItem:
    """An item whose generation says each word late, and moves as its mouth does."""
    true: Starts = (0.2 + 0.1 * number, 1.0 + 0.1 * number, None)
    late: Starts = tuple(None if start is None else start + late_s for start in true)
    opening = moved(number, 0.5 / MOTION_FPS, MOTION_FPS)
    mouth = np.stack([opening, np.ones(len(opening))], axis=1).astype(np.float32)
    own, other = (moved(number, lag, CURVE_HZ) for lag in (MOUTH_LEAD_S, 0.3))
    heard = {"score": Timed(late, own), "truth": Timed(true, own), "ceiling": Timed(true, other)}
    shifts = {} if shift_s is None else {"score": shift_s, "truth": 0.4}
    return TimedItem((f"word{number}", "and", "so"), true, mouth, heard, shifts)


def table(items: list[TimedItem]) -> dict[tuple[str, str], tuple[float, int]]:
    return {(metric, role): (s.value, n) for metric, _, role, s, n in timing_found(items, 100, 0)}


def test_word_onsets_are_as_late_as_they_were_made_and_anothers_are_further() -> None:
    found = table([spoken(number, 0.06) for number in range(5)])
    assert found["word_onset_error", "score"] == (pytest.approx(0.06), 5)
    assert found["word_onset_error", "truth"] == (0.0, 5)
    # The next one begins 0.1 s later and says it 0.06 s late; only the first follows the last.
    assert found["word_onset_error", "control"] == (pytest.approx(0.16), 5)


def test_words_that_are_not_found_are_as_far_as_the_sound_is_long() -> None:
    lost = spoken(1, 0.0)
    score = Timed((None, None, None), lost.heard["score"].loudness)
    lost = TimedItem(lost.words, lost.word_starts_s, None, {**lost.heard, "score": score}, {})
    assert table([lost])["word_onset_error", "score"] == (SECONDS, 1)
    found = table([spoken(0, 0.02), spoken(2, 0.04), lost])
    assert found["word_onset_error", "score"][0] == pytest.approx(0.04)


def test_lips_agree_with_their_own_sound_alone() -> None:
    found = table([spoken(number, 0.0) for number in range(4)])
    assert found["lips_envelope_correlation", "score"][0] > 0.95
    assert found["lips_envelope_correlation", "ceiling"][0] < 0.5
    assert abs(found["lips_envelope_correlation", "control"][0]) < 0.5


def test_words_without_times_are_held_against_their_own_true_times_with_either_picture() -> None:
    def timeless(number: int) -> TimedItem:
        item, first_s = spoken(number, 0.0), 0.2 + 0.1 * number
        made = {"score": (first_s + 0.05, None, 0.2), "control": (first_s - 0.4, None, 0.2)}
        return replace(item, by_lips=made)

    found = table([timeless(0), timeless(1), timeless(2), spoken(3, 0.0)])
    # One word is as late as it was made, and the other is lost; the third has no true time.
    assert found["lips_word_onset_error", "score"] == (pytest.approx((0.05 + SECONDS) / 2), 3)
    assert found["lips_word_onset_error", "control"] == (pytest.approx((0.4 + SECONDS) / 2), 3)
    assert found["lips_word_onset_error", "truth"] == found["lips_word_onset_error", "ceiling"]
    assert found["lips_word_onset_error", "truth"] == (0.0, 3)
    assert found["word_onset_error", "score"] == (0.0, 4)


def test_the_shift_is_the_median_of_those_items_that_were_delayed() -> None:
    found = table([spoken(n, 0.0, shift) for n, shift in enumerate((0.38, None, 0.41, 0.0))])
    assert found["onset_shift", "score"] == (pytest.approx(0.38), 3)
    assert found["onset_shift", "truth"] == (0.4, 3)
    assert ("onset_shift", "score") not in table([spoken(0, 0.0)])


def test_an_item_without_a_text_is_asked_for_no_words() -> None:
    facts = Facts("v", "v2s", "test", (), (0.5,), (), True)
    sounds = {"score": np.zeros(16_000, np.float32)}
    item = timed_item(facts, (), None, sounds, {"score": 0.4}, {})
    assert not item.heard and set(table([item])) == {("onset_shift", "score")}
    assert json.loads(json.dumps(timing_record(item)))["onset_shift_s"] == {"score": 0.4}
    record = json.loads(json.dumps(timing_record(spoken(0, 0.1))))
    assert record["score"]["word_starts_s"] == pytest.approx([0.3, 1.1, None])
    assert record["truth"]["lips_envelope_correlation"] > 0.95
