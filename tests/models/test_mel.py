import math

import pytest
import torch
from torch import Tensor

from models.mel import MelConfig, griffin_lim, log_mel, log_mel_range, mel_to_magnitude

CONFIG = MelConfig()


def tone(hz: float, samples: int = 32_000, peak: float = 0.25) -> Tensor:
    return peak * torch.sin(2 * math.pi * hz * torch.arange(samples) / 16_000)[None]


def level_db(audio: Tensor) -> float:
    return 20 * math.log10(float(audio.square().mean().sqrt()))


@pytest.mark.parametrize("samples", [640, 1600, 16_000, 64_000])
def test_there_is_one_mel_frame_per_hop(samples: int) -> None:
    assert log_mel(torch.zeros(2, samples), CONFIG).shape == (2, samples // 160, 80)


def test_silence_reads_the_floor_everywhere() -> None:
    assert log_mel(torch.zeros(1, 1600), CONFIG).unique().item() == pytest.approx(math.log(1e-5))


def test_ten_decibels_more_raise_every_band_by_ten_decibels() -> None:
    noise = 0.01 * torch.randn(1, 16_000, generator=torch.Generator().manual_seed(0))
    rise = log_mel(noise * 10**0.5, CONFIG) - log_mel(noise, CONFIG)
    torch.testing.assert_close(rise, torch.full_like(rise, math.log(10**0.5)), atol=1e-3, rtol=0)


def test_a_tone_is_loudest_in_the_band_that_holds_it() -> None:
    bands = log_mel(tone(1000), CONFIG).mean(1)[0]
    slaney_1000_hz, slaney_8000_hz = 15.0, 15.0 + 27 * math.log(8) / math.log(6.4)
    expected = slaney_1000_hz / (slaney_8000_hz / 81) - 1
    assert abs(int(bands.argmax()) - expected) <= 1


def test_no_audio_exceeds_the_stated_range() -> None:
    lowest, highest = log_mel_range(CONFIG)
    noise = torch.randn(1, 16_000, generator=torch.Generator().manual_seed(0)).sign()
    for audio in (torch.ones(1, 3200), tone(300, 3200, 1.0), noise):
        mels = log_mel(audio, CONFIG)
        assert lowest - 1e-5 <= float(mels.min()) and float(mels.max()) <= highest + 1e-5


def test_magnitudes_found_from_bands_have_those_bands() -> None:
    noise = 0.1 * torch.randn(1, 8000, generator=torch.Generator().manual_seed(0))
    mels = log_mel(noise, CONFIG)
    magnitude = mel_to_magnitude(mels.exp(), CONFIG)
    assert float(magnitude.min()) >= 0
    spectrum_bands = magnitude @ _bank()
    assert float((spectrum_bands.log() - mels).abs().mean()) < 0.02


@pytest.mark.parametrize("hz", [220.0, 440.0, 1000.0])
def test_griffin_lim_gives_a_tone_back_at_its_frequency_and_level(hz: float) -> None:
    audio = tone(hz)
    rebuilt = griffin_lim(log_mel(audio, CONFIG), CONFIG)
    assert rebuilt.shape == audio.shape
    spectrum = torch.fft.rfft(rebuilt[0] * torch.hann_window(audio.shape[1])).abs()
    assert float(spectrum.argmax()) * 16_000 / audio.shape[1] == pytest.approx(hz, abs=8)
    assert level_db(rebuilt) == pytest.approx(level_db(audio), abs=1.5)


def test_griffin_lim_keeps_the_level_of_noise() -> None:
    noise = 0.1 * torch.randn(1, 32_000, generator=torch.Generator().manual_seed(0))
    assert level_db(griffin_lim(log_mel(noise, CONFIG), CONFIG)) == pytest.approx(-20, abs=1.5)


def test_griffin_lim_gives_silence_back_as_silence() -> None:
    silence = griffin_lim(log_mel(torch.zeros(1, 6400), CONFIG), CONFIG)
    assert level_db(silence) < -80


def test_griffin_lim_repeats_itself_and_follows_its_seed() -> None:
    mels = log_mel(tone(440, 6400), CONFIG)
    first, again = griffin_lim(mels, CONFIG), griffin_lim(mels, CONFIG)
    other = griffin_lim(mels, CONFIG, generator=torch.Generator().manual_seed(1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_audio_too_short_to_reflect_is_refused_with_the_needed_length() -> None:
    with pytest.raises(ValueError, match="at least 433"):
        log_mel(torch.zeros(1, 432), CONFIG)


def _bank() -> Tensor:
    from torchaudio.functional import melscale_fbanks

    return melscale_fbanks(513, 0.0, 8000.0, 80, 16_000, norm="slaney", mel_scale="slaney")
