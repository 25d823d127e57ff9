"""Samples of a frozen dataset as batches of tensors.

Legend: B batch, N latents (25 Hz), F visual frames (10 fps), D channels.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from models.timeline import LATENT_HZ, VISUAL_FPS, count

if TYPE_CHECKING:
    import torch

    from models.conditions import Conditions

Sample = dict[str, Any]
TASKS = ("v2s", "visual_tts", "tts", "mixture")
FEATURES = ("sync", "lips")
"""Aligned conditions (N, D) that a sample may hold besides motion and phonemes."""
SPEAKER = "speaker"
"""Who speaks (1, D), of samples that have a voice."""


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Latents (B, N, C) with the conditions that go with them, and each sample's task."""

    latents: "torch.Tensor"
    conditions: "Conditions"
    tasks: tuple[str, ...]

    def to(self, device: "torch.device | str") -> "Batch":
        """The same batch on a device."""
        return Batch(self.latents.to(device), self.conditions.to(device), self.tasks)


def crop_start(total: int, length: int, generator: np.random.Generator) -> int:
    """Where a crop of `length` latents begins in `total`; 0 without a draw where all fit.

    The start is drawn among the times where the grids of 10 fps and 25 Hz meet, every 0.2 s.
    """
    if total <= length:
        return 0
    meet = LATENT_HZ // 5
    return int(generator.integers(0, (total - length) // meet + 1)) * meet


def crop(sample: Sample, start: int, length: int) -> Sample:
    """At most `length` latents of a sample, with what is seen and said in the same span."""
    if sample["latents"].shape[0] <= length:
        return sample
    first = count(start / LATENT_HZ, VISUAL_FPS)
    frames = count(length / LATENT_HZ, VISUAL_FPS)
    cut = dict(sample)
    for name in ("latents", "motion", "phonemes", *FEATURES):
        if sample.get(name) is not None:
            cut[name] = sample[name][start : start + length]
    if sample["visual"] is not None:
        cut["visual"] = sample["visual"][first : first + frames]
    return cut


def collate(
    samples: list[Sample],
    length: int,
    motion_dim: int,
    visual_dim: int,
    widths: Mapping[str, int] | None = None,
) -> Batch:
    """A batch padded to `length` latents; padding is masked, a missing condition is flagged.

    A model whose `motion_dim` is 0 is not told about motion. `widths` names the features that the
    batch has even where no sample does: those of a larger batch that this is a part of.
    """
    import torch

    from models.conditions import Conditions

    batch, frames = len(samples), count(length / LATENT_HZ, VISUAL_FPS)
    channels = samples[0]["latents"].shape[1]
    latents, mask = torch.zeros(batch, length, channels), torch.zeros(batch, length).bool()
    phonemes = torch.zeros(batch, length, dtype=torch.long)
    visual, visual_mask = torch.zeros(batch, frames, visual_dim), torch.zeros(batch, frames).bool()
    motion = torch.zeros(batch, length, motion_dim)
    for row, sample in enumerate(samples):
        size = sample["latents"].shape[0]
        mask[row, :size] = True
        _place(latents[row], sample["latents"])
        _place(phonemes[row], sample["phonemes"])
        if sample["visual"] is not None:
            visual_mask[row, : min(frames, len(sample["visual"]))] = True
            _place(visual[row], sample["visual"])
        if sample["motion"] is not None and motion_dim:
            _place(motion[row], sample["motion"])
    conditions = Conditions(
        mask=mask,
        visual=visual,
        visual_mask=visual_mask,
        motion=motion,
        phonemes=phonemes,
        has_visual=torch.tensor([s["visual"] is not None for s in samples]),
        has_motion=torch.tensor([s["motion"] is not None for s in samples]),
        **_features(samples, length, widths or {}),
        **_speakers(samples, widths or {}),
    )
    return Batch(latents, conditions, tuple(sample["task"] for sample in samples))


def _features(
    samples: list[Sample], length: int, widths: Mapping[str, int]
) -> "dict[str, torch.Tensor]":
    """Sync and lips (B, N, D) where any sample has them or a width is given, and which do."""
    import torch

    found: dict[str, torch.Tensor] = {}
    for name in FEATURES:
        given = [sample.get(name) for sample in samples]
        dim = next((values.shape[1] for values in given if values is not None), widths.get(name))
        if dim is None:
            continue
        found[name] = torch.zeros(len(samples), length, dim)
        found[f"has_{name}"] = torch.tensor([values is not None for values in given])
        for row, values in enumerate(given):
            if values is not None:
                _place(found[name][row], values)
    return found


def _speakers(samples: list[Sample], widths: Mapping[str, int]) -> "dict[str, torch.Tensor]":
    """Voices (B, D) where any sample has one or a width is given, and which samples do."""
    import torch

    given = [sample.get(SPEAKER) for sample in samples]
    dim = next((v.shape[1] for v in given if v is not None), widths.get(SPEAKER))
    if dim is None:
        return {}
    nobody = np.zeros((1, dim), np.float32)
    voices = [nobody if voice is None else voice for voice in given]
    return {
        SPEAKER: torch.from_numpy(np.concatenate(voices)).float(),
        f"has_{SPEAKER}": torch.tensor([voice is not None for voice in given]),
    }


def _place(target: "torch.Tensor", values: np.ndarray) -> None:
    import torch

    size = min(len(target), len(values))
    target[:size] = torch.from_numpy(np.ascontiguousarray(values[:size]))


def chances(tasks: list[str], balance: float) -> np.ndarray:
    """The probability of each sample to be drawn (samples,), by the samples' tasks.

    `balance` 0 draws every sample alike; 1 draws every task alike, whatever its number of samples.
    """
    of_task = Counter(tasks)
    flat, even = 1 / len(tasks), 1 / len(of_task)
    weights = [(1 - balance) * flat + balance * even / of_task[task] for task in tasks]
    return np.array(weights) / sum(weights)
