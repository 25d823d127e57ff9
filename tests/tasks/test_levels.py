import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.levels import (
    active_mask,
    cross_fade,
    fade,
    gain,
    loop,
    pad_or_trim,
    power,
)


def sine(frequency_hz, level_dbfs, seconds=3.0, rate_hz=16_000, phase=0.0):
    times = np.arange(round(seconds * rate_hz)) / rate_hz
    wave = np.sin(2 * math.pi * frequency_hz * times + phase)
    return (gain(level_dbfs) * wave).astype(np.float32)[None]


def test_power_counts_only_the_frames_with_speech():
    speech = np.concatenate([sine(500, -20.0, 1.0), np.zeros((1, 16_000), np.float32)], axis=1)
    ambience = np.concatenate([sine(900, -30.0, 1.0), sine(900, 0.0, 1.0)], axis=1)
    mask = active_mask([(0.0, 1.0)], 32_000, 16_000)
    # The 34th frame holds speech for a third of its length only, so it is not active.
    assert mask.sum() == 33 * 480
    assert power(speech, mask) == pytest.approx(gain(-20.0) ** 2 / 2, rel=1e-3)
    assert power(speech, mask) / power(ambience, mask) == pytest.approx(10.0, rel=2e-3)
    assert power(speech, np.zeros(32_000, bool)) == 0.0


def test_a_frame_is_active_where_half_of_it_is_speech():
    mask = active_mask([(0.015, 0.060), (0.074, 0.090)], 16 * 120, 16_000)
    assert mask.reshape(4, 480).all(axis=1).tolist() == [True, True, True, False]
    assert mask.reshape(4, 480).any(axis=1).tolist() == [True, True, True, False]


@given(
    st.lists(st.tuples(st.floats(-1, 4), st.floats(-1, 4)), max_size=6),
    st.integers(1, 40_000),
)
def test_every_span_inside_the_sound_makes_some_frame_active(spans, samples):
    spans = [(min(pair), max(pair)) for pair in spans]
    mask = active_mask(spans, samples, 16_000)
    assert mask.shape == (samples,)
    inside = any(
        max(0, math.floor(a * 16_000 + 0.5)) < min(samples, math.floor(b * 16_000 + 0.5))
        for a, b in spans
    )
    assert mask.any() == inside


@given(st.integers(0, 300), st.integers(0, 200))
def test_fades_start_and_end_near_silence_and_keep_the_length(samples, edge):
    faded = fade(np.ones((1, samples), np.float32), edge)
    assert faded.shape == (1, samples)
    assert np.all(faded <= 1.0) and np.allclose(faded, faded[:, ::-1])
    if min(edge, samples // 2) >= 20:
        assert faded[0, 0] < 0.01


def test_a_cross_fade_keeps_the_power_of_uncorrelated_sounds():
    generator = np.random.default_rng(3)
    before, after = generator.standard_normal((2, 1, 100_000)).astype(np.float32)
    power = np.square(cross_fade(before, after)).reshape(10, -1).mean(axis=1)
    assert np.allclose(power, 1.0, atol=0.05)


@given(st.integers(1, 50), st.integers(0, 50), st.integers(0, 400), st.integers(0, 9))
def test_a_loop_repeats_with_its_period_and_has_the_length_asked(period, overlap, samples, extra):
    overlap = min(overlap, period)
    audio = np.random.default_rng(0).standard_normal((1, period + overlap + extra))
    bed = loop(audio.astype(np.float32), period, samples, overlap)
    assert bed.shape == (1, samples)
    assert np.array_equal(bed[:, :period], audio.astype(np.float32)[:, : min(period, samples)])
    assert np.array_equal(bed[:, 2 * period :], bed[:, period : max(samples - period, period)])


def test_a_loop_has_no_step_at_its_joints():
    tone = sine(110, -6.0, seconds=1.0)
    bed = loop(tone, 15_000, 48_000, 240)
    assert np.abs(np.diff(bed)).max() < 2.0 * np.abs(np.diff(tone)).max()


def test_a_sound_too_short_to_loop_is_refused():
    with pytest.raises(ValueError, match="cannot loop"):
        loop(np.zeros((1, 100), np.float32), 90, 500, 20)


@given(st.integers(0, 50), st.integers(0, 100))
def test_padding_and_trimming_give_the_length_asked_and_keep_the_start(held, asked):
    audio = np.arange(held, dtype=np.float32)[None] + 1
    out = pad_or_trim(audio, asked)
    kept = min(held, asked)
    assert out.shape == (1, asked)
    assert np.array_equal(out[:, :kept], audio[:, :kept]) and not out[:, kept:].any()
