"""Log-mel spectrograms and the way back to a waveform.

Legend: B batch, M mel frames (100 per second), K frequency bins (n_fft / 2 + 1).
Settings follow the AudioLDM2 front end (n_fft 1024, hop 160, not centred, Slaney mels).
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor
from torchaudio.functional import melscale_fbanks


@dataclass(frozen=True, slots=True)
class MelConfig:
    """A log-mel spectrogram: Hann window, magnitude, Slaney mels, natural logarithm."""

    sample_rate_hz: int = 16_000
    n_fft: int = 1024
    hop_samples: int = 160
    bands: int = 80
    low_hz: float = 0.0
    high_hz: float = 8_000.0
    floor: float = 1e-5
    """Smallest band magnitude: the logarithm is taken of ``max(magnitude, floor)``."""

    @property
    def pad_samples(self) -> int:
        """Reflected samples per side (432), chosen so that there is one frame per hop."""
        return (self.n_fft - self.hop_samples) // 2

    @property
    def frames_hz(self) -> float:
        """Mel frames per second."""
        return self.sample_rate_hz / self.hop_samples


def log_mel(audio: Tensor, config: MelConfig) -> Tensor:
    """The natural logarithm of mel magnitudes, (B, M, bands), of audio (B, samples) in [-1, 1].

    M is ``samples // hop_samples``. Raises ValueError when the audio is too short to be reflected.
    """
    magnitude = spectra(audio, config).abs()  # (B, M, K)
    bands = magnitude @ _filter_bank(config, audio.device, magnitude.dtype)
    return bands.clamp_min(config.floor).log()


def log_mel_range(config: MelConfig) -> tuple[float, float]:
    """The lowest and the highest value of `log_mel` for audio in [-1, 1].

    The highest belongs to a window whose samples all add up in every bin of the heaviest filter.
    """
    bank = _filter_bank(config, torch.device("cpu"), torch.float32)
    return math.log(config.floor), math.log(config.n_fft / 2 * float(bank.sum(0).max()))


def griffin_lim(
    log_mels: Tensor,
    config: MelConfig,
    iterations: int = 32,
    generator: torch.Generator | None = None,
    *,
    momentum: float = 0.99,
) -> Tensor:
    """Audio (B, M * hop_samples) whose log-mel spectrogram is close to ``log_mels`` (B, M, bands).

    Fast Griffin-Lim (Perraudin, Balazs and Sondergaard 2013), with one change: after a quarter of
    the iterations the magnitudes are no longer held at a smooth guess, but follow the waveform
    found so far, corrected to the wanted bands. This halves the mel error. The first phase comes
    from ``generator`` (a CPU one; seed 0 when absent): equal input and seed give equal audio.
    """
    bands = log_mels.float().exp()
    magnitude = mel_to_magnitude(bands, config)  # (B, M, K)
    if generator is None:
        generator = torch.Generator().manual_seed(0)
    turns = torch.rand(magnitude.shape, generator=generator).to(magnitude.device)
    phasors = torch.polar(torch.ones_like(turns), 2 * math.pi * turns)
    return settle_phases(magnitude, phasors, config, iterations, bands=bands, momentum=momentum)


def settle_phases(
    magnitude: Tensor,
    phasors: Tensor,
    config: MelConfig,
    iterations: int,
    *,
    bands: Tensor | None = None,
    momentum: float = 0.99,
) -> Tensor:
    """Audio (B, M * hop_samples) of magnitudes and unit phasors, each (B, M, K).

    Fast Griffin-Lim from these phasors; 0 iterations only add the frames up. With ``bands``
    (B, M, bands) the magnitudes are not held, but follow the waveform as `griffin_lim` says.
    """
    previous = torch.zeros_like(phasors)
    for iteration in range(iterations):
        consistent = _stft(_overlap_add(magnitude * phasors, config), config)
        ahead = consistent + momentum * (consistent - previous)
        previous = consistent
        phasors = ahead / ahead.abs().clamp_min(1e-12)
        if bands is not None and iteration >= iterations // 4:
            magnitude = _corrected(consistent.abs(), bands, config)
    padded = _overlap_add(magnitude * phasors, config)
    return padded[:, config.pad_samples : padded.shape[1] - config.pad_samples]


def _corrected(magnitude: Tensor, bands: Tensor, config: MelConfig) -> Tensor:
    """Magnitudes (B, M, K) scaled, smoothly over frequency, towards the mel bands ``bands``."""
    bank = _filter_bank(config, bands.device, bands.dtype)
    heard = bank.sum(1) > 0
    rows = bank.sum(1).clamp_min(1e-12)
    # The least magnitude lets a bin rise again that the waveform left empty.
    magnitude = magnitude.clamp_min(1e-7) * heard
    for _ in range(2):
        ratio = bands / (magnitude @ bank).clamp_min(1e-8)
        magnitude = magnitude * (ratio @ bank.T / rows)
    return magnitude


def mel_to_magnitude(bands: Tensor, config: MelConfig, *, iterations: int = 30) -> Tensor:
    """Non-negative magnitudes (B, M, K) whose mel bands are ``bands`` (B, M, bands), linear scale.

    Non-negative least squares by multiplicative updates (Lee and Seung 2001) from a smooth start,
    which spreads each band evenly over its bins; bins outside every band stay silent.
    """
    bank = _filter_bank(config, bands.device, bands.dtype)  # (K, bands)
    start = band_spread(bands, config)
    gram = bank @ bank.T
    target = bands @ bank.T
    magnitude = start
    for _ in range(iterations):
        magnitude = magnitude * target / (magnitude @ gram).clamp_min(1e-20)
    return magnitude


def band_spread(bands: Tensor, config: MelConfig) -> Tensor:
    """Magnitudes (B, M, K) that spread mel bands (B, M, bands), linear scale, evenly over bins."""
    bank = _filter_bank(config, bands.device, bands.dtype)
    return (bands / bank.sum(0)) @ bank.T / bank.sum(1).clamp_min(1e-12)


def spectra(audio: Tensor, config: MelConfig) -> Tensor:
    """Complex spectra (B, M, K) of audio (B, samples), whose bands `log_mel` takes.

    M is ``samples // hop_samples``. Raises ValueError when the audio is too short to be reflected.
    """
    if audio.dim() != 2:
        raise ValueError(f"audio has shape {tuple(audio.shape)}; expected (batch, samples)")
    if audio.shape[1] <= config.pad_samples:
        raise ValueError(
            f"{audio.shape[1]} samples are too few for a spectrogram; "
            f"at least {config.pad_samples + 1} are needed, so pad the audio"
        )
    padded = F.pad(audio[:, None], (config.pad_samples, config.pad_samples), mode="reflect")[:, 0]
    return _stft(padded, config)


def _stft(padded: Tensor, config: MelConfig) -> Tensor:
    """Complex spectra (B, M, K) of audio that already carries its padding on both sides."""
    frames = padded.unfold(1, config.n_fft, config.hop_samples)
    return torch.fft.rfft(frames * _window(config.n_fft, padded.device, padded.dtype))


def _overlap_add(spectrum: Tensor, config: MelConfig) -> Tensor:
    """The least-squares waveform (B, M * hop + 2 * pad) of spectra (B, M, K)."""
    window = _window(config.n_fft, spectrum.device, torch.float32)
    frames = torch.fft.irfft(spectrum, n=config.n_fft) * window  # (B, M, n_fft)
    weight = (window * window).expand(1, frames.shape[1], -1)
    total = _fold(frames, config.hop_samples)
    # The first and last samples meet only the window's foot: without a floor they would blow up.
    return total / _fold(weight, config.hop_samples).clamp_min(1e-2)


def _fold(frames: Tensor, hop_samples: int) -> Tensor:
    """Frames (B, M, n_fft) added up at their places: (B, (M - 1) * hop + n_fft)."""
    _, count, length = frames.shape
    total = (count - 1) * hop_samples + length
    folded = F.fold(frames.transpose(1, 2), (1, total), (1, length), stride=(1, hop_samples))
    return folded[:, 0, 0]


# What is kept serves training too, which takes no tensors that were made to infer alone.
@lru_cache(maxsize=8)
@torch.inference_mode(False)
def _window(length: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    return torch.hann_window(length, device=device, dtype=dtype)


@lru_cache(maxsize=8)
@torch.inference_mode(False)
def _filter_bank(config: MelConfig, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Slaney-normalised mel filters (K, bands)."""
    bank = melscale_fbanks(
        n_freqs=config.n_fft // 2 + 1,
        f_min=config.low_hz,
        f_max=config.high_hz,
        n_mels=config.bands,
        sample_rate=config.sample_rate_hz,
        norm="slaney",
        mel_scale="slaney",
    )
    return bank.to(device=device, dtype=dtype)
