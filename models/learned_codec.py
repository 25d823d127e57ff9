"""The codec that is learned on one's own data: a mel autoencoder with a neural vocoder.

Legend: B batch, N latents (25 per second), M mel frames (4 N), S stacked mel bands, C channels.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from models.codec import MelPCA, MelPCAConfig
from models.mel import MelConfig, log_mel
from models.mel_vae import MelVAE, MelVAEConfig
from models.vae_codecs import NetworkCodec
from models.vocoder import Vocoder, VocoderConfig


@dataclass(frozen=True, slots=True)
class LearnedCodecConfig:
    """Sizes of the learned codec; the front end is mel-PCA's."""

    channels: int = 64
    width: int = 256
    encoder_blocks: int = 2
    decoder_blocks: int = 3
    vocoder_blocks: int = 4

    @property
    def pca(self) -> MelPCAConfig:
        """The mel-PCA that it starts as."""
        return MelPCAConfig(channels=self.channels)

    @property
    def vae(self) -> MelVAEConfig:
        """Sizes of the autoencoder."""
        return MelVAEConfig(
            stacked=self.pca.stacked,
            channels=self.channels,
            width=self.width,
            encoder_blocks=self.encoder_blocks,
            decoder_blocks=self.decoder_blocks,
        )

    @property
    def vocoder(self) -> VocoderConfig:
        """Sizes of the vocoder."""
        return VocoderConfig(mel=self.pca.mel, width=self.width, blocks=self.vocoder_blocks)


class LearnedCodec(NetworkCodec):
    """Log-mel, autoencoder, and back through the autoencoder and the vocoder."""

    name = "learned"

    def __init__(self, config: LearnedCodecConfig | None = None) -> None:
        """A codec that has learned nothing; `start_as` gives it the linear maps of a mel-PCA."""
        config = config or LearnedCodecConfig()
        super().__init__(
            sample_rate_hz=config.pca.mel.sample_rate_hz,
            channels=config.channels,
            latent_samples=config.pca.latent_samples,
        )
        self.config = config
        self.vae = MelVAE(config.vae)
        self.vocoder = Vocoder(config.vocoder)

    @property
    def mel(self) -> MelConfig:
        """The front end."""
        return self.config.pca.mel

    def start_as(self, pca: MelPCA) -> None:
        """Makes the untrained autoencoder equal to a fitted mel-PCA of as many channels."""
        self.vae.start_as(pca)

    def stacked(self, audio: Tensor) -> Tensor:
        """Log-mel frames by fours, (B, N, S), of audio (B, samples) in whole latents."""
        return log_mel(audio, self.mel).unflatten(1, (-1, self.config.pca.stack)).flatten(2)

    def magnitudes(self, stacked: Tensor) -> Tensor:
        """Log magnitudes (B, M, K) of stacked log-mels (B, N, S)."""
        return self.vocoder(stacked.unflatten(2, (-1, self.mel.bands)).flatten(1, 2))

    def _encode(self, audio: Tensor) -> Tensor:
        return self.vae.posterior(self.stacked(audio))[0]

    def _decode(self, latents: Tensor) -> Tensor:
        return self.vocoder.waveform(self.magnitudes(self.vae.decode(latents)))


def seeded_codec(config: LearnedCodecConfig, seed: int) -> LearnedCodec:
    """A codec whose initial weights depend on the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LearnedCodec(config)
