"""First phases for magnitudes: each peak of a frame goes on as the sinusoid that it is taken for.

Single-pass spectrogram inversion (Beauregard, Harish and Wyse 2015). Voices come out of it far
clearer than out of random phases, which Griffin-Lim leaves with a rough sound.

Legend: B batch, M frames, K frequency bins.
"""

import math

import torch
from torch import Tensor

from models.mel import MelConfig


def propagated_phases(magnitudes: Tensor, config: MelConfig) -> Tensor:
    """Unit phasors (B, M, K) for magnitudes (B, M, K).

    A bin belongs to the nearest peak of its frame. A peak's frequency is that of the parabola
    through its bin and the two beside it; its phase is what that bin had in the frame before, moved
    on by that frequency. The bins of a peak alternate in sign, as those of a windowed sinusoid do.
    """
    own = _nearest_peaks(magnitudes)  # (B, M, K)
    bins = torch.arange(magnitudes.shape[2], device=magnitudes.device)
    lower = magnitudes.gather(2, (own - 1).clamp_min(0))
    peak = magnitudes.gather(2, own)
    upper = magnitudes.gather(2, (own + 1).clamp_max(len(bins) - 1))
    beside = (lower - upper) / (2 * (lower - 2 * peak + upper)).clamp(max=-1e-9)
    frequency = own + beside.clamp(-0.5, 0.5)  # in bins
    moved = frequency * (2 * math.pi * config.hop_samples / config.n_fft) + math.pi * (bins - own)
    phase = torch.zeros_like(magnitudes[:, 0])
    phases = []
    for frame in range(magnitudes.shape[1]):
        phase = (phase.gather(1, own[:, frame]) + moved[:, frame]) % (2 * math.pi)
        phases.append(phase)
    turns = torch.stack(phases, 1)
    return torch.polar(torch.ones_like(turns), turns)


def _nearest_peaks(magnitudes: Tensor) -> Tensor:
    """For each bin the nearest peak of its frame, (B, M, K); the bin itself where there is none."""
    size = magnitudes.shape[2]
    bins = torch.arange(size, device=magnitudes.device).expand_as(magnitudes)
    is_peak = torch.zeros_like(magnitudes, dtype=torch.bool)
    middle = magnitudes[..., 1:-1]
    is_peak[..., 1:-1] = (middle > magnitudes[..., :-2]) & (middle >= magnitudes[..., 2:])
    far = 2 * size
    below = torch.where(is_peak, bins, -far).cummax(2).values
    above = torch.where(is_peak, bins, far).flip(2).cummin(2).values.flip(2)
    nearest = torch.where(bins - below <= above - bins, below, above)
    return torch.where((nearest >= 0) & (nearest < size), nearest, bins)
