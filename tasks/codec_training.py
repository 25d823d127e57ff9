"""Train the learned codec: its autoencoder and its vocoder together, by one loss."""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from models.codec import MelPCA
from models.codec_losses import magnitude_loss
from models.learned_codec import LearnedCodec, LearnedCodecConfig, seeded_codec
from models.mel import spectra
from models.mel_vae import kl_divergence
from models.precision import computing_in
from tasks.train_device import step_generator
from tasks.training_state import read_state, write_state

if TYPE_CHECKING:
    from tasks.fit_codec import FitCodecConfig

WARMUP_STEPS = 50
CLIP_NORM = 1.0
GAIN_DB = (-6.0, 3.0)
"""Crops are made softer or louder at random, so that the codec knows more levels than the data."""
MEL_WEIGHT, KL_WEIGHT = 0.5, 1e-3


@dataclass(frozen=True, slots=True)
class Sounds:
    """The sounds that a codec learns from, at 16 kHz.

    Attributes:
        samples: how long each is.
        read: a part of one, (count,), by its index, first sample and count; silence beyond its end.
    """

    samples: tuple[int, ...]
    read: Callable[[int, int, int], torch.Tensor]

    def whole(self) -> Iterator[torch.Tensor]:
        """Each sound in full, (samples,)."""
        return (self.read(index, 0, count) for index, count in enumerate(self.samples))


class CodecTrainer:
    """A learned codec in training.

    Every step draws its crops and its noise from generators that are keyed by the seed and the
    step, so that a training that goes on from a saved state is the one that was never stopped.
    """

    def __init__(self, config: "FitCodecConfig", sounds: Sounds) -> None:
        """An untrained codec; `begin` or `resume` comes next."""
        self.config, self.sounds = config, sounds
        self.codec = seeded_codec(LearnedCodecConfig(channels=config.channels), config.seed)
        self.optimiser = torch.optim.AdamW(
            self.codec.parameters(), lr=config.learning_rate, betas=(0.9, 0.98), fused=True
        )
        self.step = 0

    def begin(self, audios: Iterable[torch.Tensor]) -> None:
        """Starts as the mel-PCA of audios, (samples,) each; ValueError for too few latents."""
        self.codec.start_as(MelPCA.fit(audios, self.codec.config.pca))

    def crops(self, step: int) -> torch.Tensor:
        """The batch of a step, (B, samples); the same for the same step, whatever came before."""
        config = self.config
        generator = np.random.Generator(np.random.Philox(key=[config.seed, step]))
        latents = max(2, round(config.crop_s * self.codec.latent_hz))
        count = latents * self.codec.latent_samples
        ends = np.cumsum(self.sounds.samples)
        batch = []
        for at in generator.integers(0, ends[-1], config.batch_size):
            index = int(np.searchsorted(ends, at, side="right"))
            start = int(generator.integers(0, max(1, self.sounds.samples[index] - count + 1)))
            gain = 10 ** (generator.uniform(*GAIN_DB) / 20)
            batch.append(self.sounds.read(index, start, count) * gain)
        return torch.stack(batch).clamp(-1, 1)

    def train_step(self) -> dict[str, float]:
        """Takes one step and returns its losses by name."""
        config, codec = self.config, self.codec
        audio = self.crops(self.step)
        noise = step_generator(config.seed, self.step)
        spectrum = spectra(audio, codec.mel)
        stacked = codec.stacked(audio)
        with computing_in(getattr(torch, config.precision), audio.device):
            mean, log_variance = codec.vae.posterior(stacked)
            drawn = torch.randn(mean.shape, generator=noise)
            decoded = codec.vae.decode(mean + drawn * (log_variance / 2).exp())
            magnitudes = codec.magnitudes(decoded)
        losses = {
            "mel": (decoded - stacked).abs().mean(),
            "kl": kl_divergence(mean, log_variance),
            "magnitude": magnitude_loss(magnitudes, spectrum, codec.mel.n_fft / 2),
        }
        total = MEL_WEIGHT * losses["mel"] + KL_WEIGHT * losses["kl"] + losses["magnitude"]
        self._descend(total)
        self.step += 1
        return {name: float(loss.detach()) for name, loss in losses.items()}

    def _descend(self, loss: torch.Tensor) -> None:
        done = self.step / self.config.steps
        warm = min(1.0, (self.step + 1) / WARMUP_STEPS)
        for group in self.optimiser.param_groups:
            falling = 0.505 + 0.495 * math.cos(math.pi * done)
            group["lr"] = self.config.learning_rate * warm * falling
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.codec.parameters(), CLIP_NORM)
        self.optimiser.step()

    def save(self, path: Path) -> None:
        """Writes the state to go on from; whole or not at all."""
        state = {
            "step": self.step,
            "codec": self.codec.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }
        write_state(path, state)

    def resume(self, path: Path) -> bool:
        """Goes on from a saved state; returns whether there is one."""
        state = read_state(path)
        if state is None:
            return False
        self.codec.load_state_dict(state["codec"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step = state["step"]
        return True

    def finish(self, audios: Iterable[torch.Tensor]) -> LearnedCodec:
        """The trained codec; normalised latents are so over audios, (samples,) each."""
        self.codec.eval().requires_grad_(False)
        if self.config.normalise:
            self.codec.fit_scale(audios)
        return self.codec
