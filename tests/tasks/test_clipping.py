"""Clipping of sounds that were clipped by a known amount, and of peaks that only look like it."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from models.timeline import AUDIO48_HZ
from tasks.clipping import clipping_ratio, dc_offset
from tasks.media import FULL_SCALE, to_pcm16

Audio = NDArray[np.float32]


def sine(hz: float, peak: float, duration_s: float = 1.0) -> Audio:
    time_s = np.arange(round(duration_s * AUDIO48_HZ)) / AUDIO48_HZ
    return (peak * np.sin(2 * np.pi * hz * time_s)).astype(np.float32)


def stored(audio: Audio) -> Audio:
    """The sound as it is read back from 16-bit FLAC."""
    return (to_pcm16(audio) / FULL_SCALE).astype(np.float32)


def clipped_share(overdrive: float) -> float:
    """Share of a sine over 1 / overdrive of its peak."""
    return 2 * math.acos(1 / overdrive) / math.pi


@pytest.mark.parametrize("attenuation", [1.0, 0.5, 0.1])
@pytest.mark.parametrize("hz", [50.0, 301.0])
@pytest.mark.parametrize("overdrive", [1.02, 1.1, 1.5, 3.0])
def test_a_clipped_sine_has_the_share_that_was_cut_also_when_turned_down(
    overdrive: float, hz: float, attenuation: float
) -> None:
    sound = stored(attenuation * np.clip(sine(hz, overdrive), -1, 1))
    assert clipping_ratio(sound) == pytest.approx(clipped_share(overdrive), rel=0.10)


@pytest.mark.parametrize("hz", [20.0, 50.0, 100.0, 440.0, 5000.0])
@pytest.mark.parametrize("peak", [0.05, 0.3, 1.0])
def test_a_round_peak_is_not_clipped_however_slow_and_loud(hz: float, peak: float) -> None:
    assert clipping_ratio(stored(sine(hz, peak, 0.5))) == 0.0


def test_noise_clipped_at_one_side_counts_that_side() -> None:
    rng = np.random.default_rng(0)
    smooth = np.convolve(rng.standard_normal(2 * AUDIO48_HZ), np.hanning(48), "same")
    sound = (0.9 * smooth / np.abs(smooth).max()).astype(np.float32)
    found = clipping_ratio(stored(np.minimum(sound, 0.4)))
    assert found == pytest.approx(np.mean(sound >= 0.4), rel=0.15)
    assert clipping_ratio(stored(sound)) == 0.0


def test_music_normalised_to_full_scale_is_not_clipped() -> None:
    chord = sum(sine(hz, 0.2) for hz in (220.0, 277.2, 329.6, 440.0))
    assert clipping_ratio(stored(chord / np.abs(chord).max())) == 0.0


@pytest.mark.parametrize("samples", [0, 1, 2, 4800])
def test_silence_and_a_constant_are_not_clipped(samples: int) -> None:
    assert clipping_ratio(np.zeros(samples, np.float32)) == 0.0
    assert clipping_ratio(np.full(samples, 0.5, np.float32)) == 0.0


def test_a_flat_top_at_the_sounds_edge_counts() -> None:
    sound = np.concatenate([np.ones(100), np.zeros(900)]).astype(np.float32)
    assert clipping_ratio(sound) == 0.1
    assert clipping_ratio(sound[::-1].copy()) == 0.1


def test_dc_offset_is_the_mean() -> None:
    assert dc_offset(sine(100.0, 0.3) + np.float32(0.02)) == pytest.approx(0.02, abs=1e-6)
    assert dc_offset(np.zeros(0, np.float32)) == 0.0
