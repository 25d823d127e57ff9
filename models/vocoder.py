"""A neural vocoder: log-mels to the magnitudes of every frequency bin, and those to a waveform.

ConvNeXt blocks at the mel frames' own rate, as in Vocos (Siuzdak 2023), give each bin's log
magnitude. They start as the mel bands spread over their bins, so that the network learns only what
the bands do not tell. Phases are not learned: each peak goes on as a sinusoid, and a few turns of
Griffin-Lim bring the frames into agreement.

Legend: B batch, M mel frames, K frequency bins (n_fft / 2 + 1), D width.
"""

from dataclasses import dataclass, field

from torch import Tensor, nn

from models.convnext import ConvNeXtBlock
from models.mel import MelConfig, band_spread, log_mel_range, settle_phases
from models.phases import propagated_phases

_LOUDEST = 8.0
"""Log magnitude that no sound in [-1, 1] exceeds; an untrained model's must not overflow."""


@dataclass(frozen=True, slots=True)
class VocoderConfig:
    """Sizes of the vocoder."""

    mel: MelConfig = field(default_factory=MelConfig)
    width: int = 256
    blocks: int = 4
    kernel: int = 7
    settling: int = 4
    """Turns of Griffin-Lim: each lowers the spectrogram's error and makes voices rougher."""

    @property
    def bins(self) -> int:
        """Frequency bins of a frame, K (513)."""
        return self.mel.n_fft // 2 + 1


class Vocoder(nn.Module):
    """Log-mel spectrograms to magnitudes, and magnitudes to audio."""

    def __init__(self, config: VocoderConfig | None = None) -> None:
        """An untrained vocoder; its magnitudes are those of the mel bands."""
        super().__init__()
        self.config = config = config or VocoderConfig()
        self.enter = nn.Conv1d(config.mel.bands, config.width, config.kernel, padding="same")
        self.blocks = nn.Sequential(
            *(ConvNeXtBlock(config.width, config.kernel) for _ in range(config.blocks))
        )
        self.norm = nn.LayerNorm(config.width)
        self.head = nn.Linear(config.width, config.bins)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, log_mels: Tensor) -> Tensor:
        """Log magnitudes (B, M, K) of log-mels (B, M, bands)."""
        log_mels = log_mels.clamp(*log_mel_range(self.config.mel))
        # Log-mels lie between -11.5 and 4, and most of what is heard around -5.
        x = self.enter((log_mels.transpose(1, 2) + 5) / 3).transpose(1, 2)
        start = band_spread(log_mels.exp(), self.config.mel).clamp_min(1e-5).log()
        return start + self.head(self.norm(self.blocks(x))).float()

    def waveform(self, log_magnitudes: Tensor) -> Tensor:
        """Audio (B, M * hop) of log magnitudes (B, M, K)."""
        mel, magnitudes = self.config.mel, log_magnitudes.clamp(max=_LOUDEST).exp()
        phasors = propagated_phases(magnitudes, mel)
        return settle_phases(magnitudes, phasors, mel, self.config.settling, momentum=0)
