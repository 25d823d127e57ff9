"""Onsets against sounds whose beginnings are known, and their scores against counting by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tasks.onsets import Agreement, agreement, merged, onset_scores, onset_times

RATE_HZ = 48_000
TIMES = st.lists(st.integers(0, 400).map(lambda step: step / 100), max_size=7)


def struck(times_s: list[float], fall_per_s: float = 30.0) -> NDArray[np.float32]:
    """Decaying tones over a quiet noise, three seconds long (T,)."""
    noise = np.random.default_rng(0).standard_normal(3 * RATE_HZ) * 5e-4
    seconds = np.arange(3 * RATE_HZ) / RATE_HZ
    for number, time_s in enumerate(times_s):
        after = np.maximum(seconds - time_s, 0)
        tone = np.sin(2 * math.pi * (500 + 137 * number) * after)
        knock = np.random.default_rng(number).standard_normal(len(after)) * np.exp(-after * 900)
        noise += 0.2 * (seconds >= time_s) * (tone * np.exp(-fall_per_s * after) + 0.5 * knock)
    return noise.astype(np.float32)


@pytest.mark.parametrize("rate_hz", [48_000, 16_000])
def test_onsets_are_found_where_sounds_begin_and_nowhere_else(rate_hz: int) -> None:
    times_s = [0.2, 0.613, 0.75, 1.5, 2.222]
    audio = struck(times_s)[:: RATE_HZ // rate_hz]
    assert onset_times(audio, rate_hz) == pytest.approx(times_s, abs=0.008)


def test_what_rings_long_hides_no_later_onset() -> None:
    times_s = [0.3, 0.9, 1.6]
    assert onset_times(struck(times_s, fall_per_s=3.0), RATE_HZ) == pytest.approx(
        times_s, abs=0.008
    )


def test_silence_noise_and_what_swells_slowly_have_no_onset() -> None:
    seconds = np.arange(3 * RATE_HZ) / RATE_HZ
    noise = np.random.default_rng(1).standard_normal(len(seconds)) * 1e-3
    swell = 0.2 * np.sin(2 * math.pi * 440 * seconds) * np.minimum(seconds / 2.5, 1)
    for audio in (np.zeros(len(seconds)), noise, noise + swell, noise[:100]):
        assert not len(onset_times(audio.astype(np.float32), RATE_HZ))


def test_true_times_too_close_to_be_told_apart_are_one() -> None:
    assert merged([1.0, 0.2, 1.03, 1.049, 1.06, 0.2]) == [0.2, 1.0, 1.06]


def most_pairs(found: list[float], true: list[float], tolerance_s: float) -> int:
    """The size of a largest matching, by trying every partner of the first true onset."""
    if not true:
        return 0
    best = most_pairs(found, true[1:], tolerance_s)
    for place, time_s in enumerate(found):
        if abs(time_s - true[0]) <= tolerance_s + 1e-9:
            rest = found[:place] + found[place + 1 :]
            best = max(best, 1 + most_pairs(rest, true[1:], tolerance_s))
    return best


@given(TIMES, TIMES)
def test_as_many_onsets_are_paired_as_can_be(found: list[float], true: list[float]) -> None:
    paired = agreement(found, true, 0.3)
    assert (paired.found, paired.true) == (len(found), len(true))
    assert paired.pairs == most_pairs(found, true, 0.3)
    assert all(abs(lag_s) <= 0.3 + 1e-9 for lag_s in paired.lags_s)


def test_scores_are_those_counted_by_hand_over_all_clips() -> None:
    clips = [agreement([0.51, 2.0], [0.5, 1.0]), agreement([1.03], [1.0]), agreement([], [])]
    scores = onset_scores(clips)
    assert scores["precision"].value == pytest.approx(2 / 3)
    assert scores["recall"].value == pytest.approx(2 / 3)
    assert scores["f1"].value == pytest.approx(2 / 3)
    assert scores["lag_s"].value == pytest.approx(0.02)
    assert all(score.low <= score.value <= score.high for score in scores.values())
    assert onset_scores(clips) == scores


def test_a_shift_is_the_lag_and_a_perfect_answer_has_no_interval() -> None:
    clips = [agreement([k + 0.04, k + 0.54], [k, k + 0.5]) for k in range(1, 9)]
    scores = onset_scores(clips)
    assert [scores[name].value for name in ("precision", "recall", "f1")] == [1, 1, 1]
    assert (scores["f1"].low, scores["f1"].high) == (1, 1)
    assert scores["lag_s"].value == pytest.approx(0.04)


def test_the_interval_of_a_share_is_that_of_the_binomial() -> None:
    share, clips = 0.8, 400
    made = [Agreement(1, 1, (0.0,) if k < share * clips else ()) for k in range(clips)]
    recall = onset_scores(made, draws=4000)["recall"]
    half = 1.96 * math.sqrt(share * (1 - share) / clips)
    assert (recall.low, recall.high) == pytest.approx((share - half, share + half), abs=0.008)


def test_nothing_to_count_is_not_a_number_and_no_clips_are_refused() -> None:
    scores = onset_scores([Agreement(0, 3, ())])
    assert math.isnan(scores["precision"].value) and scores["recall"].value == 0
    assert math.isnan(scores["lag_s"].value)
    with pytest.raises(ValueError, match="no clip to score"):
        onset_scores([])
