"""A network that tells who speaks: speech to a vector of the voice, whatever is said.

The network is that of generalized end-to-end loss (Wan et al. 2018, arXiv 1710.10467) in the form
and with the front end of the weights published as Resemblyzer.

Legend: B windows, T samples at 16 kHz, F frames of 10 ms, E = 256 numbers of a voice.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchaudio.functional import melscale_fbanks

RATE_HZ = 16_000
WINDOW, HOP = 400, 160
MELS = 40
SIZE = 256
LAYERS = 3


class SpeakerNet(nn.Module):
    """Three LSTMs over mel powers; the last state, projected, is the voice."""

    bank: Tensor

    def __init__(self) -> None:
        """Random weights; those of the published network are loaded by its names."""
        super().__init__()
        self.lstm = nn.LSTM(MELS, SIZE, LAYERS, batch_first=True)
        self.linear = nn.Linear(SIZE, SIZE)
        bank = melscale_fbanks(
            WINDOW // 2 + 1, 0.0, RATE_HZ / 2, MELS, RATE_HZ, norm="slaney", mel_scale="slaney"
        )
        self.register_buffer("bank", bank, persistent=False)

    def forward(self, audio: Tensor) -> Tensor:
        """Voices (B, E) of unit length, without negative numbers, of speech (B, T)."""
        _, (states, _) = self.lstm(self.mel_powers(audio))  # (layers, B, E)
        return F.normalize(F.relu(self.linear(states[-1])), dim=-1)

    def mel_powers(self, audio: Tensor) -> Tensor:
        """Powers (B, F, MELS) of mel bands, not logarithms, of a sound (B, T); F = T // HOP + 1."""
        window = torch.hann_window(WINDOW, dtype=audio.dtype, device=audio.device)
        spectra = torch.stft(
            audio, WINDOW, HOP, window=window, pad_mode="constant", return_complex=True
        )
        return spectra.abs().square().transpose(1, 2) @ self.bank


class VoiceTable(nn.Module):
    """The voices that a model has heard and knows by name."""

    vectors: Tensor
    """(V, E), each of unit length, in the order of `names`."""

    def __init__(self, names: Sequence[str], size: int) -> None:
        """A table of these names, perhaps none, whose voices are still to be filled in."""
        super().__init__()
        self.names = tuple(names)
        self.register_buffer("vectors", torch.zeros(len(self.names), size))
