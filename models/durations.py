"""How long phonemes last: a small network for speech of which only the text is known.

After the duration predictor of FastSpeech (Ren et al., 2019, section 3.3): convolutions over the
phonemes of an utterance give the logarithm of each one's seconds.

Legend: B batch, P phonemes of an utterance.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.phoneme_ids import INVENTORY_SIZE


@dataclass(frozen=True, slots=True)
class DurationConfig:
    """The size of a predictor."""

    phoneme_count: int = INVENTORY_SIZE
    width: int = 64
    layers: int = 2
    kernel: int = 5
    """Phonemes that a layer sees at once; an odd number."""


class DurationPredictor(nn.Module):
    """Logarithms of the seconds (B, P) that phonemes last, from their ids (B, P)."""

    log_rate: Tensor

    def __init__(self, config: DurationConfig | None = None) -> None:
        """Makes a predictor of random weights."""
        super().__init__()
        self.config = config or DurationConfig()
        sizes = self.config
        self.embedding = nn.Embedding(sizes.phoneme_count, sizes.width)
        self.layers = nn.ModuleList(
            nn.Conv1d(sizes.width, sizes.width, sizes.kernel, padding=sizes.kernel // 2)
            for _ in range(sizes.layers)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(sizes.width) for _ in range(sizes.layers))
        self.out = nn.Linear(sizes.width, 1)
        # The mean of logarithms is less than the logarithm of the mean: speech would be too fast.
        self.register_buffer("log_rate", torch.zeros(()))

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Logarithms of seconds (B, P) of ids (B, P), where mask (B, P) is true; else anything."""
        here = mask[..., None]  # (B, P, 1)
        hidden = self.embedding(ids) * here  # (B, P, width)
        for layer, norm in zip(self.layers, self.norms, strict=True):
            seen = layer(hidden.transpose(1, 2)).transpose(1, 2)
            hidden = (hidden + norm(F.gelu(seen))) * here
        return self.out(hidden)[..., 0] + self.log_rate

    def match_rate(self, ids: Tensor, durations_s: Tensor, mask: Tensor) -> None:
        """Scales what is predicted of utterances (B, P) so that it lasts as long as they do."""
        with torch.no_grad():
            predicted_s = (self(ids, mask).exp() * mask).sum()
            self.log_rate += ((durations_s * mask).sum() / predicted_s).log()


def duration_loss(
    model: DurationPredictor, ids: Tensor, durations_s: Tensor, mask: Tensor
) -> Tensor:
    """Mean squared error of the logarithms of seconds (B, P), where mask (B, P) is true."""
    error = model(ids, mask) - durations_s.clamp_min(1e-3).log()
    return (error.square() * mask).sum() / mask.sum()
