"""A room adds what it should and moves nothing; what is measured on it is true."""

import io
import math

import numpy as np
import pytest
import soundfile
from scipy.signal import fftconvolve

from models.timeline import AUDIO48_HZ
from storage.blobs import Blobs
from storage.rejects import Rejected
from tasks.room_measures import drr_db, from_direct, t60_s, until_noise
from tasks.room_response import load_response, reverberant
from tests.made_mixtures import noise
from tests.made_rooms import decay

RATES_HZ = [16_000, 44_100, 48_000]


def stored(workspace, response):
    sink = io.BytesIO()
    soundfile.write(sink, response, AUDIO48_HZ, format="FLAC", subtype="PCM_24")
    return Blobs(workspace).put_bytes(sink.getvalue(), ".flac")


@pytest.mark.parametrize("rate_hz", RATES_HZ)
def test_a_delta_leaves_the_sound_as_it_is_at_every_rate_and_scale(tmp_path, rate_hz):
    delta = np.zeros(4800)
    delta[0] = 0.3
    response = load_response(str(tmp_path), stored(tmp_path, delta), rate_hz)
    assert response.dtype == np.float32 and not response.flags.writeable
    sound = noise(1, 1.0, 0.3)
    assert np.abs(reverberant(sound, response) - sound).max() <= 1e-6


@pytest.mark.parametrize("rate_hz", RATES_HZ)
def test_the_onset_of_a_click_stays_at_its_sample(tmp_path, rate_hz):
    response = load_response(str(tmp_path), stored(tmp_path, decay(0.4)), rate_hz)
    click = np.zeros((1, rate_hz), np.float32)
    click[0, 12_345] = 0.5
    heard = reverberant(click, response)
    assert np.abs(heard[0, :12_345]).max() < 1e-6
    assert int(np.argmax(np.abs(heard))) == 12_345
    assert heard[0, 12_345] == pytest.approx(0.5, abs=1e-4)
    assert np.sum(heard[0, 12_346:] ** 2) > 0.01


def test_a_response_keeps_its_reverberation_when_it_is_resampled(tmp_path):
    ref = stored(tmp_path, decay(0.5))
    whole = load_response(str(tmp_path), ref, 48_000)
    third = load_response(str(tmp_path), ref, 16_000)
    # Below 6 kHz both filter alike: their spectra are equal there.
    at = np.arange(100, 6000)
    spectra = [
        np.abs(np.fft.rfft(r.astype(np.float64), r_hz)[at])
        for r, r_hz in ((whole, 48_000), (third, 16_000))
    ]
    assert np.sqrt(np.mean((spectra[0] - spectra[1]) ** 2)) < 0.01 * np.mean(spectra[0])


@pytest.mark.parametrize("samples", [1, 100, 24_000, 200_001])
@pytest.mark.parametrize("length", [2, 3000, 48_000])
def test_convolution_in_blocks_equals_the_plain_one(samples, length):
    sound = np.stack([noise(n, 13.0, 0.2)[0, :samples] for n in (1, 2)])
    response = decay(0.5)[:length].astype(np.float32)
    plain = fftconvolve(sound.astype(np.float64), response[None].astype(np.float64), axes=1)
    heard = reverberant(sound, response)
    assert heard.dtype == np.float32 and heard.shape == sound.shape
    assert np.abs(heard - plain[:, :samples]).max() < 1e-6


@pytest.mark.parametrize("t60", [0.15, 0.3, 0.6, 1.0])
def test_an_exponential_decay_has_the_reverberation_time_it_was_made_with(t60):
    measured = [t60_s(decay(t60, 1.2 * t60, seed), AUDIO48_HZ) or 0.0 for seed in range(5)]
    assert np.mean(measured) == pytest.approx(t60, rel=0.04)
    assert measured == pytest.approx([t60] * 5, rel=0.12)


def test_what_does_not_die_away_has_no_reverberation_time():
    steady = np.random.default_rng(1).standard_normal(AUDIO48_HZ)
    delta = np.zeros(AUDIO48_HZ)
    delta[0] = 1.0
    assert t60_s(steady, AUDIO48_HZ) is None
    assert t60_s(delta, AUDIO48_HZ) is None
    assert t60_s(delta[:100], AUDIO48_HZ) is None


def test_direct_to_reverberant_energy_is_that_of_two_pulses():
    response = np.zeros(4800)
    response[0], response[1000] = 1.0, 0.5
    assert drr_db(response, AUDIO48_HZ) == pytest.approx(20 * math.log10(2))
    response[100] = 10.0  # within 2.5 ms it counts as direct
    assert drr_db(response, AUDIO48_HZ) == pytest.approx(10 * math.log10(101 / 0.25))


def test_a_response_is_cut_at_its_direct_sound_even_where_a_reflection_is_louder():
    response = np.zeros(9600)
    response[495:500] = [0.01, 0.02, -0.1, -0.2, -0.5]
    response[2000] = 0.8
    found = from_direct(response, AUDIO48_HZ)
    assert len(found) == 9600 - 499
    assert found[0] == 1.0 and found[2000 - 499] == pytest.approx(-1.6)
    with pytest.raises(Rejected, match="silent"):
        from_direct(np.zeros(100), AUDIO48_HZ)


def test_the_noise_that_a_response_was_recorded_in_is_cut_off():
    rng = np.random.default_rng(2)
    response = decay(0.5, 2.0) + 2e-5 * rng.standard_normal(2 * AUDIO48_HZ)
    kept = until_noise(response, AUDIO48_HZ)
    # The decay of 0.02 reaches the noise, 60 dB down, at 0.5 s.
    assert len(kept) / AUDIO48_HZ == pytest.approx(0.45, abs=0.06)
    assert t60_s(kept, AUDIO48_HZ) == pytest.approx(0.5, rel=0.1)
    with pytest.raises(Rejected, match="noise"):
        until_noise(rng.standard_normal(AUDIO48_HZ), AUDIO48_HZ)
