"""A small variational autoencoder of log-mels that starts as their principal components.

Each latent stands for `stack` mel frames. Encoder and decoder are the projection of mel-PCA and its
inverse, plus convolutions whose last map starts at zero: before any training the autoencoder is
mel-PCA, and training can only move on from there.

Legend: B batch, N latents, S stacked mel bands (bands x stack), C channels, D width.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.codec import MelPCA
from models.convnext import ConvNeXtBlock


@dataclass(frozen=True, slots=True)
class MelVAEConfig:
    """Sizes of the autoencoder."""

    stacked: int = 320
    channels: int = 64
    width: int = 256
    encoder_blocks: int = 2
    decoder_blocks: int = 3
    kernel: int = 5
    least_log_variance: float = -8.0
    """Of the posterior, whose prior has the log variance 0."""


class MelVAE(nn.Module):
    """Stacked log-mels to a Gaussian over latents, and latents to stacked log-mels.

    Buffers: ``mean`` (S,) and ``deviation`` (S,) of the stacked log-mels. The linear maps
    ``project`` and ``restore`` are those of the PCA that it starts as, beside which ``encoder`` and
    ``decoder`` add what they learn.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, config: MelVAEConfig | None = None) -> None:
        """An autoencoder whose linear maps are still to be set by `start_as`."""
        super().__init__()
        self.config = config = config or MelVAEConfig()
        self.register_buffer("mean", torch.zeros(config.stacked))
        self.register_buffer("deviation", torch.ones(config.stacked))
        self.project = nn.Linear(config.stacked, config.channels)
        self.restore = nn.Linear(config.channels, config.stacked)
        self.encoder = _residual(config.stacked, 2 * config.channels, config, config.encoder_blocks)
        self.decoder = _residual(config.channels, config.stacked, config, config.decoder_blocks)

    def start_as(self, pca: MelPCA) -> None:
        """Makes the untrained autoencoder equal to a fitted mel-PCA of as many channels."""
        basis = pca.components * pca.scale[:, None]  # (C, S)
        with torch.no_grad():
            self.mean.copy_(pca.mean)
            spread = basis.square().sum(0).sqrt()
            self.deviation.copy_(spread.clamp_min(1e-3))
            self.project.weight.copy_(pca.components / pca.scale[:, None] * self.deviation)
            self.project.bias.zero_()
            self.restore.weight.copy_(basis.T / self.deviation[:, None])
            self.restore.bias.zero_()

    def posterior(self, stacked: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance, each (B, N, C), of the latents of stacked log-mels (B, N, S)."""
        standard = (stacked - self.mean) / self.deviation
        shift, log_variance = self.encoder(standard).float().chunk(2, dim=-1)
        # -4: an untrained posterior is narrow, so that the decoder first learns from the means.
        spread = (log_variance - 4).clamp(self.config.least_log_variance, 0)
        return self.project(standard).float() + shift, spread

    def decode(self, latents: Tensor) -> Tensor:
        """Stacked log-mels (B, N, S) of latents (B, N, C)."""
        standard = self.restore(latents) + self.decoder(latents)
        return standard.float() * self.deviation + self.mean


def kl_divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """The mean divergence, per latent number, of a Gaussian from N(0, 1); both (B, N, C)."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()


def _residual(size_in: int, size_out: int, config: MelVAEConfig, blocks: int) -> nn.Sequential:
    """Convolutions over time, (B, N, in) to (B, N, out), whose output is zero at first."""
    last = nn.Linear(config.width, size_out)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(
        nn.Linear(size_in, config.width),
        *(ConvNeXtBlock(config.width, config.kernel) for _ in range(blocks)),
        nn.LayerNorm(config.width),
        last,
    )
