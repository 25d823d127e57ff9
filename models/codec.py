"""Waveforms as latents: what a codec is, and the one that needs no download.

Legend: B batch, N latents (25 per second), C channels.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.mel import MelConfig, griffin_lim, log_mel, log_mel_range
from models.metrics import log_mel_l1_db, multi_resolution_stft_db


class Codec(Protocol):
    """Audio to latents and back, with everything it has learned in its state dict."""

    @property
    def name(self) -> str:
        """What kind of codec it is, as the features that it makes are called."""
        ...

    @property
    def sample_rate_hz(self) -> int:
        """Samples per second of the audio."""
        ...

    @property
    def channels(self) -> int:
        """Numbers per latent, C."""
        ...

    @property
    def latent_hz(self) -> float:
        """Latents per second."""
        ...

    @property
    def deviations(self) -> Tensor:
        """What each channel was divided by to vary by 1, (C,): how much of the sound it carries."""
        ...

    def encode(self, audio: Tensor) -> Tensor:
        """Latents (B, N, C) of audio (B, samples)."""
        ...

    def decode(self, latents: Tensor) -> Tensor:
        """Audio (B, samples) of latents (B, N, C)."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Everything that was learned, as tensors by name."""
        ...


@dataclass(frozen=True, slots=True)
class MelPCAConfig:
    """Sizes of the mel-PCA codec."""

    mel: MelConfig = field(default_factory=MelConfig)
    stack: int = 4
    """Mel frames per latent: 100 Hz / 4 = 25 Hz."""
    channels: int = 64
    griffin_lim_iterations: int = 32
    seed: int = 0
    """Seed of the first phase in `MelPCA.decode`."""

    @property
    def stacked(self) -> int:
        """Numbers that one latent is projected from (320)."""
        return self.mel.bands * self.stack

    @property
    def latent_samples(self) -> int:
        """Audio samples per latent (640)."""
        return self.mel.hop_samples * self.stack


class MelPCA(nn.Module):
    """Log-mel frames stacked by four and projected on principal components of unit variance.

    Loudness is kept: the first component is mostly level. Decoding is the inverse projection and
    Griffin-Lim. Buffers, with S = stacked size: ``mean`` (S,), ``components`` (C, S) orthonormal
    rows, ``scale`` (C,) standard deviations, ``explained_variance`` (C,) shares of the whole.
    """

    name: str = "mel_pca"
    mean: Tensor
    components: Tensor
    scale: Tensor
    explained_variance: Tensor

    def __init__(self, config: MelPCAConfig | None = None) -> None:
        """A codec that has learned nothing: fill it by `fit`, `from_state` or its state dict."""
        super().__init__()
        self.config = config or MelPCAConfig()
        stacked, channels = self.config.stacked, self.config.channels
        if not 1 <= channels <= stacked:
            raise ValueError(f"channels={channels} must lie in 1..{stacked} (bands x stack)")
        self.register_buffer("mean", torch.zeros(stacked))
        self.register_buffer("components", torch.eye(channels, stacked))
        self.register_buffer("scale", torch.ones(channels))
        self.register_buffer("explained_variance", torch.zeros(channels))

    @property
    def sample_rate_hz(self) -> int:
        """Samples per second of the audio (16,000)."""
        return self.config.mel.sample_rate_hz

    @property
    def channels(self) -> int:
        """Numbers per latent (64)."""
        return self.config.channels

    @property
    def deviations(self) -> Tensor:
        """Standard deviations of the components (C,), in logarithms of mel magnitudes."""
        return self.scale

    @property
    def latent_hz(self) -> float:
        """Latents per second (25)."""
        return self.sample_rate_hz / self.config.latent_samples

    @torch.no_grad()
    def encode(self, audio: Tensor) -> Tensor:
        """Latents (B, N, C) of audio (B, samples), N = ceil(samples / 640); padded by zeros."""
        stacked = _stacked_log_mel(audio, self.config)  # (B, N, S)
        return (stacked - self.mean) @ self.components.T / self.scale

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Audio (B, N * 640) of latents (B, N, C); equal latents give equal audio."""
        generator = torch.Generator().manual_seed(self.config.seed)
        return griffin_lim(
            self.log_mel(latents), self.config.mel, self.config.griffin_lim_iterations, generator
        )

    @torch.no_grad()
    def log_mel(self, latents: Tensor) -> Tensor:
        """The log-mel spectrogram (B, 4 N, bands) that latents (B, N, C) stand for.

        Values are held between the floor and what full-scale audio can reach, so that latents of an
        untrained model cannot overflow the exponential.
        """
        stacked = (latents.float() * self.scale) @ self.components + self.mean
        mels = stacked.reshape(latents.shape[0], -1, self.config.mel.bands)
        return mels.clamp(*log_mel_range(self.config.mel))

    @classmethod
    def fit(cls, audios: Iterable[Tensor], config: MelPCAConfig | None = None) -> Self:
        """A codec whose components are those of ``audios``, each (samples,) at 16 kHz, in one pass.

        Mean and scatter are merged in float64 (Chan, Golub and LeVeque 1979), so the order of the
        audios does not matter beyond rounding. Each component's largest entry is made positive.
        Raises ValueError when there are fewer than two latents to learn from.
        """
        codec = cls(config)
        size = codec.config.stacked
        count, mean = 0, torch.zeros(size, dtype=torch.float64)
        scatter = torch.zeros(size, size, dtype=torch.float64)
        for audio in audios:
            rows = _stacked_log_mel(audio[None], codec.config)[0].double().cpu()  # (N, S)
            row_mean = rows.mean(0)
            centred, shift = rows - row_mean, row_mean - mean
            total = count + rows.shape[0]
            scatter += centred.T @ centred + shift.outer(shift) * (count * rows.shape[0] / total)
            mean += shift * (rows.shape[0] / total)
            count = total
        if count < 2:
            raise ValueError(
                f"{count} latents are too few to fit a codec; give it at least 0.08 s of audio"
            )
        codec._set_components(mean, scatter / (count - 1))
        return codec

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor], config: MelPCAConfig | None = None) -> Self:
        """The codec that a state dict describes; without ``config``, its channels are counted."""
        if config is None:
            config = MelPCAConfig(channels=state["components"].shape[0])
        codec = cls(config)
        codec.load_state_dict(dict(state))
        return codec

    def _set_components(self, mean: Tensor, covariance: Tensor) -> None:
        values, vectors = torch.linalg.eigh(covariance)  # ascending
        values, vectors = values.flip(0).clamp_min(0), vectors.flip(1).T
        kept, components = values[: self.channels], vectors[: self.channels]
        largest = components.gather(1, components.abs().argmax(1, keepdim=True))
        # Components without variance (silence, too few clips) would amplify rounding noise.
        variances = kept.clamp_min(max(1e-8 * float(values[0]), 1e-12))
        self.mean.copy_(mean)
        self.components.copy_(components * largest.sign())
        self.scale.copy_(variances.sqrt())
        self.explained_variance.copy_(kept / values.sum().clamp_min(1e-12))


def round_trip_score(codec: Codec, audio: Tensor) -> dict[str, float]:
    """How far decode(encode(audio)) lies from audio (B, samples), in dB; 0 is perfect.

    Keys: ``multi_resolution_stft_db`` and ``log_mel_l1_db``, means over the batch.
    """
    decoded = codec.decode(codec.encode(audio))[:, : audio.shape[1]]
    decoded = F.pad(decoded, (0, audio.shape[1] - decoded.shape[1]))
    return {
        "multi_resolution_stft_db": float(multi_resolution_stft_db(decoded, audio).mean()),
        "log_mel_l1_db": float(log_mel_l1_db(decoded, audio).mean()),
    }


def _stacked_log_mel(audio: Tensor, config: MelPCAConfig) -> Tensor:
    """Log-mel frames of audio (B, samples) by fours: (B, N, bands * stack)."""
    if audio.shape[1] == 0:
        raise ValueError("audio without samples cannot be encoded")
    padded = F.pad(audio, (0, -audio.shape[1] % config.latent_samples))
    return log_mel(padded, config.mel).reshape(audio.shape[0], -1, config.stacked)
