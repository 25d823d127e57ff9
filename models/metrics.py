"""Distances between two waveforms, in decibels. Audio is (B, samples) in [-1, 1]."""

import torch
import torch.nn.functional as F
from torch import Tensor

from models.mel import MelConfig, log_mel

DB_PER_NEPER = 8.685889638065037
"""Decibels of one unit of natural-log magnitude: 20 / ln(10)."""

RESOLUTIONS = ((512, 128), (1024, 256), (2048, 512))
"""(FFT length, hop) in samples of the spectrograms that `multi_resolution_stft_db` compares."""


def multi_resolution_stft_db(ours: Tensor, theirs: Tensor, *, floor: float = 1e-4) -> Tensor:
    """Mean absolute difference of log-STFT magnitudes over three resolutions, in dB, (B,).

    Magnitudes are divided by the window's sum, so a full-scale sine reads 0.5; those below
    ``floor`` count as ``floor`` (-80 dB), so that inaudible noise does not weigh.
    """
    _check_same_shape(ours, theirs)
    distances = []
    for n_fft, hop in RESOLUTIONS:
        window = torch.hann_window(n_fft, device=ours.device)

        def log_stft(
            audio: Tensor, n_fft: int = n_fft, hop: int = hop, window: Tensor = window
        ) -> Tensor:
            padded = F.pad(audio, (n_fft // 2, n_fft // 2))
            spectrum = torch.fft.rfft(padded.unfold(1, n_fft, hop) * window)
            return (spectrum.abs() / window.sum()).clamp_min(floor).log()

        distances.append((log_stft(ours) - log_stft(theirs)).abs().mean((1, 2)))
    return torch.stack(distances).mean(0) * DB_PER_NEPER


def log_mel_l1_db(ours: Tensor, theirs: Tensor, config: MelConfig | None = None) -> Tensor:
    """Mean absolute difference of log-mel spectrograms in dB, (B,)."""
    _check_same_shape(ours, theirs)
    config = config or MelConfig()
    difference = log_mel(ours, config) - log_mel(theirs, config)
    return difference.abs().mean((1, 2)) * DB_PER_NEPER


def _check_same_shape(ours: Tensor, theirs: Tensor) -> None:
    if ours.shape != theirs.shape or ours.dim() != 2:
        raise ValueError(
            f"waveforms of shapes {tuple(ours.shape)} and {tuple(theirs.shape)} do not compare; "
            "both must be (batch, samples)"
        )
