"""Codecs around networks that are handed in: lengths, order, scale; the networks are toys."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from models.mel import log_mel
from models.vae_codecs import AUDIOLDM2_MEL, MelVAECodec, WaveformVAECodec

STRIDE, DEPTH = 4, 8


class Blocks(nn.Module):
    """A VAE without loss: squares of 4 x 4 become 16 channels, of which the first 8 are kept."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))

    def encode(self, mels: Tensor) -> Any:
        grid = nn.functional.pixel_unshuffle(mels, STRIDE)[:, :DEPTH]
        return SimpleNamespace(latent_dist=SimpleNamespace(mode=lambda: grid))

    def decode(self, grid: Tensor) -> Any:
        whole = nn.functional.pad(grid, (0, 0, 0, 0, 0, STRIDE**2 - DEPTH))
        return SimpleNamespace(sample=nn.functional.pixel_shuffle(whole, STRIDE))


class Levels(nn.Module):
    """A vocoder that holds each frame's mean for a hop, and gives 32 samples too many."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, mels: Tensor) -> Tensor:
        held = mels.mean(2).repeat_interleave(AUDIOLDM2_MEL.hop_samples, 1)
        return nn.functional.pad(held, (0, 32))


class Framed(nn.Module):
    """A waveform VAE: a latent is eight samples of the first channel."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))

    def encode(self, sound: Tensor) -> Any:
        frames = sound[:, 0].unflatten(1, (-1, 8)).transpose(1, 2)
        return SimpleNamespace(latent_dist=SimpleNamespace(mode=lambda: frames))

    def decode(self, latents: Tensor) -> Any:
        sound = latents.transpose(1, 2).flatten(1)
        return SimpleNamespace(sample=torch.stack([sound, 3 * sound], 1))


def mel_codec() -> MelVAECodec:
    return MelVAECodec(Blocks(), Levels(), vae_channels=DEPTH, vae_stride=STRIDE)


def framed() -> WaveformVAECodec:
    sizes = {"sample_rate_hz": 16_000, "channels": 8, "latent_samples": 8, "audio_channels": 2}
    return WaveformVAECodec(Framed(), **sizes)


def noise(batch: int, samples: int) -> Tensor:
    return 0.1 * torch.randn(batch, samples, generator=torch.Generator().manual_seed(samples))


def test_ten_seconds_are_250_latents_of_128_channels() -> None:
    codec = mel_codec()
    latents = codec.encode(noise(1, 160_000))
    assert latents.shape == (1, 250, 128)
    assert (codec.sample_rate_hz, codec.latent_hz, codec.channels) == (16_000, 25.0, 128)


@pytest.mark.parametrize("samples", [1, 639, 640, 641, 12_345])
def test_latents_cover_the_audio_and_decode_to_whole_hops(samples: int) -> None:
    codec = mel_codec()
    latents = codec.encode(noise(2, samples))
    wanted = -(-samples // 640)
    assert latents.shape == (2, wanted, 128)
    assert codec.decode(latents).shape == (2, wanted * 640)


def test_a_latent_holds_its_own_time_step_channel_by_channel() -> None:
    audio = noise(1, 640 * 5)
    mels = log_mel(audio, AUDIOLDM2_MEL)  # (1, 20, 64)
    latents = mel_codec().encode(audio)
    for step in range(5):
        block = mels[0, 4 * step : 4 * step + 4].unflatten(1, (16, 4))  # (4, 16, 4)
        wanted = block.permute(0, 2, 1).reshape(16, 16)[:DEPTH]  # the square's place, mel row
        assert torch.equal(latents[0, step], wanted.flatten())


def test_scaled_latents_have_mean_zero_and_variance_one_and_decode_to_the_same_audio() -> None:
    plain, scaled = framed(), framed()
    audios = [noise(1, samples)[0] * level for samples, level in ((640, 1.0), (168, 3.0))]
    scaled.fit_scale(audios)
    rows = torch.cat([scaled.encode(audio[None])[0] for audio in audios])
    assert torch.allclose(rows.mean(0), torch.zeros(8), atol=1e-5)
    assert torch.allclose(rows.var(0), torch.ones(8), atol=1e-4)
    ours, theirs = (codec.decode(codec.encode(audios[1][None])) for codec in (plain, scaled))
    assert torch.allclose(ours, theirs, atol=1e-6)
    assert torch.allclose(ours[0], 2 * audios[1], atol=1e-6)  # the mean of once and three times


def test_a_channel_that_never_changes_is_not_blown_up() -> None:
    codec = framed()
    codec.fit_scale([torch.full((64,), 0.25)])
    assert codec.encode(torch.full((1, 64), 0.25)).abs().max() < 1e-3
    assert codec.encode(torch.full((1, 64), 0.3)).isfinite().all()


def test_what_cannot_be_coded_is_refused_with_its_shape() -> None:
    codec = mel_codec()
    with pytest.raises(ValueError, match=r"\(2, 0\); expected \(batch, samples > 0\)"):
        codec.encode(torch.zeros(2, 0))
    with pytest.raises(ValueError, match=r"\(1, 3, 64\); expected \(B, N, 128\)"):
        codec.decode(torch.zeros(1, 3, 64))
    with pytest.raises(ValueError, match="0 latents are too few"):
        codec.fit_scale([])
    with pytest.raises(ValueError, match="64 mel bands are no multiple of the stride 6"):
        MelVAECodec(Blocks(), Levels(), vae_channels=8, vae_stride=6)
