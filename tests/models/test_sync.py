"""Offsets of curves: the lag that was put in comes out, and chance passes as seldom as it says."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.sync import (
    CURVE_HZ,
    NO_ALIGNMENT,
    UNSURE,
    Curve,
    align,
    curve_times,
    detrended,
    onset_curve,
    smoothed,
    sound_onsets,
    speech_envelope,
)

RATE_HZ = 16_000
REACH_S = 0.8


def wander(seed: int, duration_s: float = 8.0) -> Curve:
    """A smooth random curve, longer than asked by a second on both sides."""
    count = round((duration_s + 2) * CURVE_HZ)
    return detrended(np.random.default_rng(seed).standard_normal(count))


def events(seed: int, duration_s: float) -> Curve:
    """A smooth curve of some twelve events at random times."""
    rng = np.random.default_rng(seed)
    times = rng.uniform(0, duration_s, 12)
    return smoothed(onset_curve(times, rng.exponential(1, 12), duration_s))


@settings(max_examples=10, deadline=None)
@given(offset_s=st.floats(-0.7, 0.7), seed=st.integers(0, 1000))
def test_a_curve_that_is_late_has_that_positive_offset_between_the_points_too(
    offset_s: float, seed: int
) -> None:
    long = wander(seed)
    times = np.arange(CURVE_HZ, len(long) - CURVE_HZ, dtype=float)
    seen = np.interp(times, np.arange(len(long)), long)
    heard = np.interp(times - offset_s * CURVE_HZ, np.arange(len(long)), long)
    found = align(seen, heard, REACH_S)
    assert found.offset_s == pytest.approx(offset_s, abs=0.003)
    assert found.correlation > 0.95
    assert found.confidence > 0.9


def test_turning_the_sides_turns_the_sign() -> None:
    long = wander(3)
    early, late = long[100:900], long[80:880]
    assert align(early, late, REACH_S).offset_s == pytest.approx(0.2, abs=0.001)
    assert align(late, early, REACH_S).offset_s == pytest.approx(-0.2, abs=0.001)


@pytest.mark.parametrize("kind", ["smooth", "events"])
def test_confidence_is_passed_by_chance_no_more_often_than_it_says(kind: str) -> None:
    def curve(seed: int) -> Curve:
        return events(seed, 5.0) if kind == "events" else wander(seed, 5.0)[CURVE_HZ:-CURVE_HZ]

    pairs = 80
    sure = np.array(
        [align(curve(2 * k), curve(2 * k + 1), REACH_S).confidence for k in range(pairs)]
    )
    # Three binomial standard deviations of 80 draws are 0.13 at 0.8 and 0.07 at 0.95.
    assert 0.03 <= np.mean(sure > 0.8) <= 0.2 + 0.13
    assert np.mean(sure > 0.95) <= 0.05 + 0.07


def test_an_even_beat_is_unsure_because_every_beat_fits() -> None:
    beat = smoothed(onset_curve(np.arange(0.25, 8, 0.5), np.ones(16), 8.0))
    assert align(beat, beat, REACH_S).confidence <= UNSURE


@pytest.mark.parametrize(
    ("seen", "heard"),
    [
        (np.zeros(800), np.ones(800)),
        (wander(1)[:800], detrended(np.full(800, 0.3))),
        (wander(1)[:150], wander(1)[:150]),
        (np.zeros(0), np.zeros(0)),
    ],
    ids=["still", "silent", "short", "empty"],
)
def test_what_is_still_silent_or_short_says_nothing(seen: Curve, heard: Curve) -> None:
    assert align(seen, heard, REACH_S) is NO_ALIGNMENT


def test_curves_of_two_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="800 and 799 points"):
        align(np.zeros(800), np.zeros(799), REACH_S)


def test_the_envelope_follows_the_syllables_and_ignores_what_is_no_speech() -> None:
    times = np.arange(4 * RATE_HZ) / RATE_HZ
    syllables = 0.5 - 0.5 * np.cos(2 * np.pi * 3 * times)
    voice = syllables * np.sin(2 * np.pi * 500 * times)
    rumble = np.sin(2 * np.pi * 50 * times)
    envelope = speech_envelope((0.3 * voice + 0.6 * rumble).astype(np.float32), RATE_HZ)
    at = curve_times(4.0)
    assert len(envelope) == len(at)
    expected = (0.5 - 0.5 * np.cos(2 * np.pi * 3 * at)) ** 0.25
    assert np.corrcoef(envelope, expected)[0, 1] > 0.95


def test_sound_begins_where_its_onset_is() -> None:
    audio = np.zeros(2 * RATE_HZ, np.float32)
    audio[round(0.705 * RATE_HZ) :] = 0.3 * np.random.default_rng(0).standard_normal(20_720)
    onsets = sound_onsets(audio, RATE_HZ)
    assert curve_times(2.0)[np.argmax(onsets)] == pytest.approx(0.705, abs=0.01)
    assert onsets.max() > 4 * np.sort(onsets)[-2]
    assert not sound_onsets(np.zeros(RATE_HZ, np.float32), RATE_HZ).any()


def test_an_onset_lies_at_its_time_and_keeps_its_strength() -> None:
    curve = onset_curve(np.array([0.5025, 1.0]), np.array([2.0, 1.0]), 2.0)
    at = curve_times(2.0)
    assert curve.sum() == pytest.approx(3.0)
    early = at < 0.75
    assert (curve[early] @ at[early]) / 2.0 == pytest.approx(0.5025)
