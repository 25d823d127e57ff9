"""First phases: a steady sinusoid comes back as itself, and silence does no harm."""

import math

import pytest
import torch
from torch import Tensor

from models.mel import MelConfig, settle_phases, spectra
from models.phases import propagated_phases

MEL = MelConfig()


def tone(hz: float, amplitude: float = 0.3, samples: int = 16_000) -> Tensor:
    return amplitude * torch.sin(2 * math.pi * hz / 16_000 * torch.arange(samples))[None]


def rebuilt(audio: Tensor) -> Tensor:
    """Audio of the magnitudes alone, its ends cut off."""
    magnitudes = spectra(audio, MEL).abs()
    return settle_phases(magnitudes, propagated_phases(magnitudes, MEL), MEL, 0)[0, 1600:-1600]


def strongest_hz(audio: Tensor) -> float:
    spectrum = torch.fft.rfft(audio * torch.hann_window(len(audio)), n=1 << 18).abs()
    return int(spectrum.argmax()) * 16_000 / (1 << 18)


@pytest.mark.parametrize("hz", [250.0, 1003.7, 3990.0, 6201.3])
def test_a_tone_comes_back_at_its_frequency_and_its_level(hz: float) -> None:
    made = rebuilt(tone(hz))
    assert strongest_hz(made) == pytest.approx(hz, abs=1.0)
    assert float(made.square().mean().sqrt()) == pytest.approx(0.3 / math.sqrt(2), rel=0.03)


def test_two_tones_keep_their_levels() -> None:
    made = rebuilt(tone(700) + tone(2400, 0.1))
    spectrum = torch.fft.rfft(made).abs()
    per_hz = len(made) / 16_000
    for hz, amplitude in ((700, 0.3), (2400, 0.1)):
        near = spectrum[round((hz - 20) * per_hz) : round((hz + 20) * per_hz)]
        power = float(near.square().sum()) * 2 / len(made) ** 2
        assert math.sqrt(2 * power) == pytest.approx(amplitude, rel=0.06)


def test_phases_of_silence_are_phases() -> None:
    phasors = propagated_phases(torch.zeros(2, 3, 513), MEL)
    torch.testing.assert_close(phasors.abs(), torch.ones(2, 3, 513))
