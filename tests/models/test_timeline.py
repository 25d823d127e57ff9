import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.timeline import (
    AUDIO48_HZ,
    AUDIO_HZ,
    LATENT_HZ,
    MEL_HZ,
    MOTION_FPS,
    VISUAL_FPS,
    count,
    index,
    seconds,
    span,
)

RATES = st.sampled_from([AUDIO_HZ, AUDIO48_HZ, MEL_HZ, LATENT_HZ, VISUAL_FPS, MOTION_FPS])
TIMES = st.floats(0, 86_400, allow_nan=False)


@given(st.integers(0, 10**9), RATES)
def test_index_takes_seconds_back_exactly(number: int, rate_hz: int) -> None:
    assert index(seconds(number, rate_hz), rate_hz) == number


@given(TIMES, RATES)
def test_index_lies_within_half_a_step_of_its_time(time_s: float, rate_hz: int) -> None:
    assert abs(seconds(index(time_s, rate_hz), rate_hz) - time_s) <= 0.5 / rate_hz + 1e-9


@given(TIMES, TIMES, RATES)
def test_index_never_falls_as_time_rises(one_s: float, other_s: float, rate_hz: int) -> None:
    early_s, late_s = sorted((one_s, other_s))
    assert index(early_s, rate_hz) <= index(late_s, rate_hz)


@given(TIMES, TIMES, RATES)
def test_span_is_as_long_as_its_duration_counts(one_s: float, other_s: float, rate_hz: int) -> None:
    start_s, end_s = sorted((one_s, other_s))
    first, last = span(start_s, end_s, rate_hz)
    assert last - first == count(end_s - start_s, rate_hz)
    assert first == index(start_s, rate_hz)


def test_halves_round_up() -> None:
    assert [count(0.5, 1), count(1.5, 1), count(2.5, 1)] == [1, 2, 3]
    assert index(-0.5, 1) == 0


def test_a_negative_duration_counts_nothing() -> None:
    assert count(-3.0, LATENT_HZ) == 0


def test_ten_seconds_are_250_latents_100_frames_and_160000_samples() -> None:
    assert [count(10.0, rate) for rate in (LATENT_HZ, VISUAL_FPS, AUDIO_HZ)] == [250, 100, 160_000]


@pytest.mark.parametrize("bad_s", [math.nan, math.inf])
def test_a_time_that_is_not_finite_is_refused(bad_s: float) -> None:
    with pytest.raises(ValueError, match="not a finite"):
        index(bad_s, LATENT_HZ)


def test_a_span_that_ends_before_it_starts_is_refused() -> None:
    with pytest.raises(ValueError, match="ends before it starts"):
        span(2.0, 1.0, LATENT_HZ)


def test_a_rate_of_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="positive rate"):
        seconds(1, 0)
