"""Codecs around pretrained autoencoders: a mel VAE with a vocoder, and a waveform VAE.

The networks are handed in (AudioLDM2's, Stable Audio's, or any of the same call), so that nothing
here needs the libraries that they come from. Latents are the means of the posteriors.

Legend: B batch, N latents, C channels, M mel frames, Z channels of the VAE, K mel rows of its grid.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.mel import MelConfig, log_mel

AUDIOLDM2_MEL = MelConfig(bands=64)
"""The front end of AudioLDM2: 64 mels, the rest as in `MelConfig`."""
_LEAST_DEVIATION = 1e-4


class NetworkCodec(nn.Module, ABC):
    """What codecs made of networks share: lengths, dtype, device, and the scale of the latents.

    Latents are ``(raw - latent_mean) / latent_deviation``; without `fit_scale` these are 0 and 1,
    so that latents are the network's own, as in the paper. Networks run in the dtype and on the
    device of their weights; audio and latents come and go as float32, on the codec's device.
    """

    name: str
    """What kind of codec it is, as the features that it makes are called."""
    latent_mean: Tensor
    latent_deviation: Tensor

    def __init__(self, *, sample_rate_hz: int, channels: int, latent_samples: int) -> None:
        """A codec of these sizes; a subclass brings the networks."""
        super().__init__()
        self._sample_rate_hz, self._channels = sample_rate_hz, channels
        self.latent_samples = latent_samples
        self.register_buffer("latent_mean", torch.zeros(channels))
        self.register_buffer("latent_deviation", torch.ones(channels))

    @property
    def sample_rate_hz(self) -> int:
        """Samples per second of the audio."""
        return self._sample_rate_hz

    @property
    def channels(self) -> int:
        """Numbers per latent, C."""
        return self._channels

    @property
    def latent_hz(self) -> float:
        """Latents per second."""
        return self.sample_rate_hz / self.latent_samples

    @torch.no_grad()
    def encode(self, audio: Tensor) -> Tensor:
        """Latents (B, N, C) of audio (B, samples), N = ceil(samples / latent_samples).

        The end is padded by zeros to whole latents. Raises ValueError for audio without samples.
        """
        if audio.dim() != 2 or audio.shape[1] == 0:
            raise ValueError(f"audio has shape {tuple(audio.shape)}; expected (batch, samples > 0)")
        audio = audio.to(self.latent_mean.device, torch.float32)
        padded = F.pad(audio, (0, -audio.shape[1] % self.latent_samples))
        return (self._encode(padded).float() - self.latent_mean) / self.latent_deviation

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Audio (B, N * latent_samples) of latents (B, N, C)."""
        if latents.dim() != 3 or latents.shape[2] != self.channels:
            raise ValueError(
                f"latents have shape {tuple(latents.shape)}; expected (B, N, {self.channels})"
            )
        latents = latents.to(self.latent_mean.device, torch.float32)
        audio = self._decode(latents * self.latent_deviation + self.latent_mean).float()
        wanted = latents.shape[1] * self.latent_samples
        return F.pad(audio, (0, max(0, wanted - audio.shape[1])))[:, :wanted]

    @property
    def deviations(self) -> Tensor:
        """What each channel was divided by (C,); ones without `fit_scale`."""
        return self.latent_deviation

    def fit_scale(self, audios: Iterable[Tensor]) -> None:
        """Makes each channel's latents of ``audios``, each (samples,), of mean 0 and variance 1.

        Raises ValueError where there are fewer than two latents to learn from.
        """
        self.latent_mean.zero_()
        self.latent_deviation.fill_(1)
        count = 0
        mean = square = torch.zeros(self.channels, dtype=torch.float64)
        for audio in audios:
            rows = self.encode(audio[None])[0].double().cpu()  # (N, C)
            total = count + len(rows)
            shift = rows.mean(0) - mean
            square = square + rows.var(0, correction=0) * len(rows)
            square = square + shift**2 * (count * len(rows) / total)
            mean = mean + shift * (len(rows) / total)
            count = total
        if count < 2:
            raise ValueError(f"{count} latents are too few to find their scale; give more audio")
        self.latent_mean.copy_(mean)
        self.latent_deviation.copy_((square / (count - 1)).sqrt().clamp_min(_LEAST_DEVIATION))

    @abstractmethod
    def _encode(self, audio: Tensor) -> Tensor:
        """The network's own latents (B, N, C) of audio (B, samples) in whole latents."""

    @abstractmethod
    def _decode(self, latents: Tensor) -> Tensor:
        """Audio (B, samples) of the network's own latents (B, N, C)."""


class MelVAECodec(NetworkCodec):
    """Log-mel, VAE, and back through the VAE and a vocoder: AudioLDM2's pair gives 128 at 25 Hz.

    A latent holds a time step of the VAE's grid: (Z, N, K) becomes (N, Z * K), Z first.
    """

    name = "audioldm2"

    def __init__(
        self,
        vae: Any,
        vocoder: Any,
        *,
        vae_channels: int,
        vae_stride: int,
        mel: MelConfig = AUDIOLDM2_MEL,
    ) -> None:
        """The codec of two networks.

        Args:
            vae: has `encode(mels).latent_dist.mode()` and `decode(latents).sample`, both
                (B, channels, time, frequency), as diffusers' AutoencoderKL.
            vocoder: gives audio (B, samples) of mels (B, M, bands), as transformers'
                SpeechT5HifiGan; what it gives beyond a hop a frame is cut off.
            vae_channels: Z.
            vae_stride: mel frames, and mel bands, that become one step of the grid.
            mel: the front end.

        Raises ValueError where the bands are no multiple of the stride.
        """
        if mel.bands % vae_stride:
            raise ValueError(f"{mel.bands} mel bands are no multiple of the stride {vae_stride}")
        super().__init__(
            sample_rate_hz=mel.sample_rate_hz,
            channels=vae_channels * mel.bands // vae_stride,
            latent_samples=mel.hop_samples * vae_stride,
        )
        self.vae, self.vocoder, self.mel = vae, vocoder, mel
        self._vae_channels = vae_channels

    def _encode(self, audio: Tensor) -> Tensor:
        mels = log_mel(audio, self.mel)[:, None].to(_dtype(self.vae))  # (B, 1, M, bands)
        grid = self.vae.encode(mels).latent_dist.mode()  # (B, Z, N, K)
        return grid.transpose(1, 2).flatten(2)

    def _decode(self, latents: Tensor) -> Tensor:
        grid = latents.unflatten(2, (self._vae_channels, -1)).transpose(1, 2)
        mels = self.vae.decode(grid.to(_dtype(self.vae))).sample[:, 0]  # (B, M, bands)
        return self.vocoder(mels.to(_dtype(self.vocoder)))


class WaveformVAECodec(NetworkCodec):
    """A VAE of the waveform, as Stable Audio's Oobleck; mono goes to every channel, and back."""

    name = "oobleck"

    def __init__(
        self,
        vae: Any,
        *,
        sample_rate_hz: int,
        channels: int,
        latent_samples: int,
        audio_channels: int,
    ) -> None:
        """The codec of one network.

        Args:
            vae: has `encode(audio).latent_dist.mode()` (B, C, N) of (B, audio channels, samples),
                and `decode(latents).sample`, as diffusers' AutoencoderOobleck.
            sample_rate_hz: its audio rate.
            channels: C.
            latent_samples: samples that become one latent.
            audio_channels: 1 or 2; the mean of what is decoded is kept.
        """
        super().__init__(
            sample_rate_hz=sample_rate_hz, channels=channels, latent_samples=latent_samples
        )
        self.vae, self._audio_channels = vae, audio_channels

    def _encode(self, audio: Tensor) -> Tensor:
        sound = audio[:, None].expand(-1, self._audio_channels, -1).to(_dtype(self.vae))
        return self.vae.encode(sound).latent_dist.mode().transpose(1, 2)

    def _decode(self, latents: Tensor) -> Tensor:
        sound = self.vae.decode(latents.transpose(1, 2).to(_dtype(self.vae))).sample
        return sound.float().mean(1)


def _dtype(network: nn.Module) -> torch.dtype:
    return next(network.parameters()).dtype
