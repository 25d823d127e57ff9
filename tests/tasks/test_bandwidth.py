"""Effective bandwidth of made sounds whose band limit is known."""

from io import BytesIO

import av
import numpy as np
import pytest
import soxr
from numpy.typing import NDArray
from scipy.signal import firwin, oaconvolve

from models.timeline import AUDIO48_HZ
from tasks.bandwidth import FLOOR_DB, bandwidth_hz, loud_spectrum
from tasks.media import FULL_SCALE, to_pcm16

Audio = NDArray[np.float32]


def noise(slope_db_per_octave: float, duration_s: float = 3.0, seed: int = 0) -> Audio:
    """Gaussian noise (T,) at -20 dBFS that falls by so many dB an octave."""
    samples = round(duration_s * AUDIO48_HZ)
    white = np.fft.rfft(np.random.default_rng(seed).standard_normal(samples))
    hz = np.maximum(np.fft.rfftfreq(samples, 1 / AUDIO48_HZ), 20.0)
    sound = np.fft.irfft(white * hz ** (-slope_db_per_octave / 6.0206), samples)
    return (0.1 * sound / np.std(sound)).astype(np.float32)


def stored(audio: Audio) -> Audio:
    """The sound as it is read back from 16-bit FLAC."""
    return (to_pcm16(audio) / FULL_SCALE).astype(np.float32)


def cut(audio: Audio, hz: float) -> Audio:
    """Through a brick wall of 90 dB."""
    taps = firwin(1023, hz, fs=AUDIO48_HZ, window="blackmanharris")
    return oaconvolve(audio, taps, mode="same").astype(np.float32)


@pytest.mark.parametrize("slope", [0.0, 3.0, 6.0], ids=["white", "pink", "brown"])
@pytest.mark.parametrize("limit_hz", [4000, 8000, 16_000])
def test_a_brick_wall_is_found_within_10_percent(slope: float, limit_hz: int) -> None:
    sound = stored(cut(noise(slope), limit_hz))
    assert bandwidth_hz(sound, AUDIO48_HZ) == pytest.approx(limit_hz, rel=0.10)


@pytest.mark.parametrize("rate_hz", [8000, 16_000, 32_000])
def test_what_was_sampled_at_a_lower_rate_has_half_of_it(rate_hz: int) -> None:
    low = soxr.resample(noise(3.0), AUDIO48_HZ, rate_hz)
    sound = stored(soxr.resample(low, rate_hz, AUDIO48_HZ).astype(np.float32))
    assert bandwidth_hz(sound, AUDIO48_HZ) == pytest.approx(rate_hz / 2, rel=0.10)


@pytest.mark.parametrize("limit_hz", [4000, 8000])
def test_hiss_over_a_narrow_sound_does_not_widen_it(limit_hz: int) -> None:
    hiss = 10 ** (-70 / 20) * np.random.default_rng(1).standard_normal(3 * AUDIO48_HZ)
    sound = stored(cut(noise(3.0), limit_hz) + hiss.astype(np.float32))
    assert bandwidth_hz(sound, AUDIO48_HZ) == pytest.approx(limit_hz, rel=0.10)


@pytest.mark.parametrize(("codec", "container"), [("libmp3lame", "mp3"), ("aac", "adts")])
def test_a_wall_is_found_through_a_lossy_codec(codec: str, container: str) -> None:
    sound, file = cut(noise(3.0), 8000), BytesIO()
    with av.open(file, "w", format=container) as out:
        stream = out.add_stream(codec, rate=AUDIO48_HZ, layout="mono")
        assert isinstance(stream, av.AudioStream)
        stream.bit_rate = 96_000
        frame = av.AudioFrame.from_ndarray(sound[None], format="fltp", layout="mono")
        frame.sample_rate = AUDIO48_HZ
        out.mux([*stream.encode(frame), *stream.encode(None)])
    file.seek(0)
    with av.open(file, "r") as back:
        heard = np.concatenate([f.to_ndarray()[0] for f in back.decode(audio=0)])
    assert bandwidth_hz(stored(heard), AUDIO48_HZ) == pytest.approx(8000, rel=0.10)


@pytest.mark.parametrize("slope", [0.0, 3.0, 6.0], ids=["white", "pink", "brown"])
def test_a_sound_without_a_limit_uses_the_whole_band(slope: float) -> None:
    assert bandwidth_hz(stored(noise(slope)), AUDIO48_HZ) == AUDIO48_HZ / 2


def test_a_hiss_of_a_tenth_of_a_second_in_two_counts_as_used() -> None:
    sound = cut(noise(3.0, 2.0), 4000)
    sound[40_000:50_000] += 0.2 * noise(0.0, 2.0, seed=2)[:10_000]
    assert bandwidth_hz(stored(sound), AUDIO48_HZ) == AUDIO48_HZ / 2


def test_a_tone_has_its_own_frequency() -> None:
    time_s = np.arange(2 * AUDIO48_HZ) / AUDIO48_HZ
    tone = (0.5 * np.sin(2 * np.pi * 5000.3 * time_s)).astype(np.float32)
    assert bandwidth_hz(stored(tone), AUDIO48_HZ) == pytest.approx(5000.3, rel=0.05)


@pytest.mark.parametrize("samples", [0, 1, 100, AUDIO48_HZ])
def test_silence_has_no_bandwidth(samples: int) -> None:
    assert bandwidth_hz(np.zeros(samples, np.float32), AUDIO48_HZ) is None


def test_the_rounding_of_16_bits_is_no_sound() -> None:
    rounding = np.random.default_rng(3).uniform(-0.5, 0.5, AUDIO48_HZ) / FULL_SCALE
    _, levels_db = loud_spectrum(rounding.astype(np.float32), AUDIO48_HZ)
    assert np.median(levels_db) == pytest.approx(FLOOR_DB + 2, abs=1.5)
    assert bandwidth_hz(rounding.astype(np.float32), AUDIO48_HZ) is None


def test_a_clip_of_half_a_second_is_enough() -> None:
    sound = stored(cut(noise(3.0), 8000)[AUDIO48_HZ : AUDIO48_HZ + 24_000])
    assert bandwidth_hz(sound, AUDIO48_HZ) == pytest.approx(8000, rel=0.10)
