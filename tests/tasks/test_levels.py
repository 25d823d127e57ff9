import math
from fractions import Fraction

import av
import numpy as np
import pytest
from av.error import BlockingIOError, EOFError
from av.filter import Graph
from hypothesis import given
from hypothesis import strategies as st

from tasks.levels import (
    active_mask,
    cross_fade,
    fade,
    gain,
    loop,
    loudness_lufs,
    pad_or_trim,
    snr_db,
    true_peak_dbtp,
)


def sine(frequency_hz, level_dbfs, seconds=3.0, rate_hz=16_000, phase=0.0):
    times = np.arange(round(seconds * rate_hz)) / rate_hz
    wave = np.sin(2 * math.pi * frequency_hz * times + phase)
    return (gain(level_dbfs) * wave).astype(np.float32)[None]


def ebur128(audio, rate_hz):
    """Integrated loudness and true peak by libav's meter, which shares nothing with ours."""
    graph = Graph()
    source = graph.add_abuffer(
        format="flt", sample_rate=rate_hz, layout="mono", time_base=Fraction(1, rate_hz)
    )
    meter = graph.add("ebur128", "peak=true:metadata=1:framelog=quiet")
    sink = graph.add("abuffersink")
    source.link_to(meter)
    meter.link_to(sink)
    graph.configure()
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(audio), format="flt", layout="mono")
    frame.sample_rate, frame.pts = rate_hz, 0
    graph.push(frame)
    graph.push(None)
    told: dict[str, float] = {}
    while True:
        try:
            frame = graph.pull()
        except (BlockingIOError, EOFError):
            break
        assert isinstance(frame, av.AudioFrame)
        # A last frame shorter than 100 ms has no measures.
        told |= {key: float(value) for key, value in frame.metadata.items()}
    return told["lavfi.r128.I"], 20 * math.log10(told["lavfi.r128.true_peaks_ch0"])


@pytest.mark.parametrize("rate_hz", [16_000, 48_000])
def test_a_997_hz_sine_at_minus_20_dbfs_is_minus_23_lufs(rate_hz):
    # BS.1770-4: a 997 Hz sine of 0 dBFS in one channel measures -3.01 LKFS.
    tone = sine(997, -20.0, rate_hz=rate_hz)
    assert loudness_lufs(tone, rate_hz) == pytest.approx(-23.01, abs=0.05)


def test_two_equal_channels_are_three_decibels_louder_than_one():
    mono = sine(997, -30.0)
    stereo = np.repeat(mono, 2, axis=0)
    louder, quieter = loudness_lufs(stereo, 16_000), loudness_lufs(mono, 16_000)
    assert louder is not None and quieter is not None
    assert louder - quieter == pytest.approx(3.01, abs=1e-3)


def test_loudness_agrees_with_libav_s_meter_on_noise():
    noise = np.random.default_rng(1).standard_normal((1, 160_000)).astype(np.float32) * 0.05
    integrated_lufs, _ = ebur128(noise, 16_000)
    assert loudness_lufs(noise, 16_000) == pytest.approx(integrated_lufs, abs=0.02)


def test_sound_shorter_than_a_block_is_repeated_and_silence_has_no_loudness():
    whole = loudness_lufs(sine(1000, -20.0, seconds=0.4), 16_000)
    assert loudness_lufs(sine(1000, -20.0, seconds=0.1), 16_000) == pytest.approx(whole, abs=0.01)
    assert loudness_lufs(np.zeros((1, 16_000), np.float32), 16_000) is None
    assert loudness_lufs(np.zeros((1, 0), np.float32), 16_000) is None


def test_a_last_block_that_is_not_whole_does_not_lower_the_loudness():
    steady = loudness_lufs(sine(1000, -20.0, seconds=1.0), 16_000)
    assert loudness_lufs(sine(1000, -20.0, seconds=1.06), 16_000) == pytest.approx(steady, abs=0.01)


def test_the_true_peak_of_a_quarter_rate_sine_lies_3_db_above_its_samples():
    # Samples at 45, 135, 225 and 315 degrees never touch the crest.
    wave = sine(4000, 0.0, phase=math.pi / 4)
    assert 20 * math.log10(np.abs(wave).max()) == pytest.approx(-3.01, abs=0.01)
    middle = fade(wave, 1600)
    assert true_peak_dbtp(middle, 16_000) == pytest.approx(0.0, abs=0.1)
    assert true_peak_dbtp(np.zeros((1, 99), np.float32), 16_000) is None


def test_the_true_peak_agrees_with_libav_s_meter():
    noise = np.random.default_rng(2).standard_normal((1, 80_000)).astype(np.float32) * 0.1
    _, peak_dbtp = ebur128(noise, 16_000)
    assert true_peak_dbtp(noise, 16_000) == pytest.approx(peak_dbtp, abs=0.15)


def test_snr_counts_only_the_frames_with_speech():
    speech = np.concatenate([sine(500, -20.0, 1.0), np.zeros((1, 16_000), np.float32)], axis=1)
    ambience = np.concatenate([sine(900, -30.0, 1.0), sine(900, 0.0, 1.0)], axis=1)
    mask = active_mask([(0.0, 1.0)], 32_000, 16_000)
    # The 34th frame holds speech for a third of its length only, so it is not active.
    assert mask.sum() == 33 * 480
    assert snr_db(speech, ambience, mask) == pytest.approx(10.0, abs=0.01)


def test_snr_of_silent_stems_is_infinite_or_refused():
    tone, silence = sine(500, -20.0), np.zeros((1, 48_000), np.float32)
    everywhere = np.ones(48_000, bool)
    assert snr_db(tone, silence, everywhere) == math.inf
    assert snr_db(silence, tone, everywhere) == -math.inf
    with pytest.raises(ValueError, match="silent"):
        snr_db(silence, silence, everywhere)
    with pytest.raises(ValueError, match="shape"):
        snr_db(tone, tone[:, 1:], everywhere)


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
