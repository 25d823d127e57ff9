"""The learned codec before and without training: its claims about what it starts as."""

import math

import pytest
import torch
from torch import Tensor

from models.codec import MelPCA, MelPCAConfig
from models.codec_losses import magnitude_loss
from models.learned_codec import LearnedCodec, LearnedCodecConfig, seeded_codec
from models.mel import band_spread, log_mel, settle_phases, spectra
from models.mel_vae import kl_divergence

CHANNELS = 8
SIZES = LearnedCodecConfig(
    channels=CHANNELS, width=16, encoder_blocks=1, decoder_blocks=1, vocoder_blocks=1
)


def sounds(count: int = 4, samples: int = 9600) -> Tensor:
    """Tones that slide, with noise, (count, samples)."""
    generator = torch.Generator().manual_seed(0)
    time_s = torch.arange(samples) / 16_000
    hz = 200 + 130 * torch.arange(count)[:, None]
    tones = torch.sin(2 * math.pi * (hz * time_s + 200 * time_s**2))
    return 0.3 * tones + 0.03 * torch.randn(count, samples, generator=generator)


@pytest.fixture(scope="module")
def pca() -> MelPCA:
    return MelPCA.fit(list(sounds()), MelPCAConfig(channels=CHANNELS))


@pytest.fixture(scope="module")
def codec(pca: MelPCA) -> LearnedCodec:
    made = seeded_codec(SIZES, 0)
    made.start_as(pca)
    return made.eval()


def test_before_training_latents_are_those_of_mel_pca(codec: LearnedCodec, pca: MelPCA) -> None:
    torch.testing.assert_close(codec.encode(sounds()), pca.encode(sounds()), atol=1e-3, rtol=1e-3)


def test_before_training_the_decoded_mel_is_that_of_mel_pca(
    codec: LearnedCodec, pca: MelPCA
) -> None:
    latents = pca.encode(sounds())
    with torch.no_grad():
        decoded = codec.vae.decode(latents).unflatten(2, (-1, 80)).flatten(1, 2)
    torch.testing.assert_close(decoded, pca.log_mel(latents), atol=1e-3, rtol=1e-3)


def test_before_training_magnitudes_are_the_bands_spread_over_their_bins(
    codec: LearnedCodec,
) -> None:
    mels = log_mel(sounds(), codec.mel)
    with torch.no_grad():
        magnitudes = codec.vocoder(mels)
    spread = band_spread(mels.exp(), codec.mel).clamp_min(1e-5).log()
    torch.testing.assert_close(magnitudes, spread)


@pytest.mark.parametrize(("samples", "latents"), [(1, 1), (640, 1), (641, 2), (9600, 15)])
def test_there_are_as_many_latents_as_begun_blocks_of_640_samples(
    codec: LearnedCodec, samples: int, latents: int
) -> None:
    encoded = codec.encode(torch.zeros(2, samples))
    assert encoded.shape == (2, latents, CHANNELS)
    assert codec.decode(encoded).shape == (2, latents * 640)
    assert (codec.sample_rate_hz, codec.latent_hz, codec.channels) == (16_000, 25, CHANNELS)


def test_equal_latents_give_equal_audio_in_any_batch(codec: LearnedCodec) -> None:
    latents = codec.encode(sounds())
    together = codec.decode(latents)
    assert torch.equal(codec.decode(latents), together)
    torch.testing.assert_close(codec.decode(latents[2:3]), together[2:3], atol=1e-4, rtol=1e-3)


def test_weights_follow_from_the_seed_and_leave_the_global_generator_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    one, two, other = (seeded_codec(SIZES, seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(value, two[name]) for name, value in one.items())
    assert any(not torch.equal(value, other[name]) for name, value in one.items())


def test_the_true_spectrum_without_settling_is_the_recording(codec: LearnedCodec) -> None:
    audio = sounds()
    spectrum = spectra(audio, codec.mel)
    phasors = spectrum / spectrum.abs().clamp_min(1e-9)
    made = settle_phases(spectrum.abs(), phasors, codec.mel, 0)
    # The window's foot at both ends is weighed down.
    torch.testing.assert_close(made[:, 640:-640], audio[:, 640:-640], atol=1e-4, rtol=1e-3)


def test_the_divergence_is_that_of_the_closed_form() -> None:
    assert float(kl_divergence(torch.zeros(2), torch.zeros(2))) == 0
    assert float(kl_divergence(torch.full((2,), 3.0), torch.zeros(2))) == pytest.approx(4.5)
    narrow = torch.full((2,), -2.0)
    expected = 0.5 * (math.exp(-2) - 1 + 2)
    assert float(kl_divergence(torch.zeros(2), narrow)) == pytest.approx(expected)


def test_losses_of_the_same_sound_are_zero_and_grow_with_its_gain() -> None:
    spectrum = spectra(sounds(), SIZES.pca.mel)
    losses = []
    for gain in (1.0, 1.5, 3.0):
        magnitudes = (spectrum.abs() * gain).clamp_min(1e-6).log()
        losses.append(float(magnitude_loss(magnitudes, spectrum, 512.0)))
    assert losses[0] == pytest.approx(0, abs=1e-4)
    assert losses[0] < losses[1] < losses[2]
