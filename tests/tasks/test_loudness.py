import math

import numpy as np
import pytest
from pyloudnorm import Meter

from tasks.levels import fade, gain
from tasks.loudness import gated_lufs, hop_sums, loudness_lufs, true_peak_dbtp
from tests.made_meter import ebur128


def sine(frequency_hz, level_dbfs, seconds=3.0, rate_hz=16_000, phase=0.0):
    times = np.arange(round(seconds * rate_hz)) / rate_hz
    wave = np.sin(2 * math.pi * frequency_hz * times + phase)
    return (gain(level_dbfs) * wave).astype(np.float32)[None]


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


@pytest.mark.parametrize("rate_hz", [16_000, 44_100, 48_000])
def test_loudness_agrees_with_pyloudnorm_s_meter_on_sound_that_is_partly_gated(rate_hz):
    generator = np.random.default_rng(4)
    steps = np.repeat(gain(-10.0) ** generator.uniform(0, 6, 40), rate_hz // 10)
    sound = (0.3 * steps * generator.standard_normal(len(steps))).astype(np.float32)[None]
    meter = Meter(rate_hz, "DeMan", block_size=0.4)
    known = meter.integrated_loudness(sound.T.astype(np.float64))
    assert loudness_lufs(sound, rate_hz) == pytest.approx(known, abs=1e-4)


def test_the_loudness_of_any_mix_of_two_sounds_follows_from_their_sums():
    generator = np.random.default_rng(5)
    first, second = generator.standard_normal((2, 1, 48_000)).astype(np.float32) * 0.05
    second = 0.7 * first + 0.3 * second
    sums = hop_sums(first, second, 16_000)
    mixed = gain(-3.0) ** 2 * sums[0] + 2 * gain(-3.0) * gain(2.0) * sums[2]
    mixed += gain(2.0) ** 2 * sums[1]
    heard = loudness_lufs(gain(-3.0) * first + gain(2.0) * second, 16_000)
    assert gated_lufs(mixed, 16_000) == pytest.approx(heard, abs=1e-4)
