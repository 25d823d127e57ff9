"""Conditions as numbers: what the transformer concatenates, and what it reads by cross-attention.

Legend: B batch, N latents (25 per second), K context tokens, D channels.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from models.cells import CellNetwork
from models.conditions import Conditions
from models.sizes import VSSFlowConfig


class ConditionEmbedding(nn.Module):
    """The concatenated channels and the cross-attention tokens.

    What is absent in a sample is replaced by a learned null, so that any mixture of present and
    absent conditions fits in one batch.
    """

    def __init__(self, config: VSSFlowConfig) -> None:
        """Layers of the sizes in ``config``, with random weights."""
        super().__init__()
        self.config = config
        width = config.context_width
        self.phonemes = nn.Embedding(config.phoneme_count, config.phoneme_dim)
        self.null_phoneme = _null(config.phoneme_dim)
        self.null_motion = _null(config.motion_dim)
        self.visual = _into_context(config.visual_dim, width, config.deep_context, bias=False)
        self.null_visual = _null(width)
        # The bias of the deep one sets the speaker's token apart from the frames'.
        self.speaker = _into_context(config.speaker_dim, width, config.deep_context, bias=True)
        self.null_speaker = _null(width)
        self.tokens = nn.Sequential(
            nn.Linear(width, width, bias=False), nn.SiLU(), nn.Linear(width, width, bias=False)
        )
        if config.sync_dim:
            self.sync = (
                CellNetwork(
                    config.sync_cells, config.cells_width, config.cells_blocks, config.sync_kinds
                )
                if config.sync_cells
                else _aligned_network(config.sync_dim, config.aligned_hidden)
            )
            self.null_sync = _null(config.sync_channels)
        if config.lips_dim:
            self.lips = _aligned_network(config.lips_dim, config.aligned_hidden)
            self.null_lips = _null(config.lips_dim)

    def aligned(self, conditions: Conditions) -> Tensor:
        """The concatenated conditions (B, N, D), zero at padding.

        In the order motion, phonemes, sync, lips.
        """
        config, mask = self.config, conditions.mask
        motion = self.null_motion.expand(*mask.shape, -1)
        if conditions.motion is not None and config.motion_dim:
            _check_dim("motion", conditions.motion, config.motion_dim)
            motion = _where_present(conditions, "motion", conditions.motion, motion)
        said = self.null_phoneme.expand(*mask.shape, -1)
        if conditions.phonemes is not None:
            said = _where_present(conditions, "phonemes", self.phonemes(conditions.phonemes), said)
        parts = [motion, said]
        if config.sync_dim:
            read = partial(self.sync, mask=mask) if config.sync_cells else self.sync
            parts.append(self._features(conditions, "sync", read, self.null_sync))
        if config.lips_dim:
            parts.append(self._features(conditions, "lips", self.lips, self.null_lips))
        # Filled, not multiplied: padding may hold anything, and NaN times zero is still NaN.
        return torch.cat(parts, -1).masked_fill(~mask[..., None], 0)

    def context(self, conditions: Conditions) -> tuple[Tensor, Tensor]:
        """Cross-attention tokens (B, K, context width) and which of them count (B, K).

        K = 2 + F: the speaker (or its null), the null of the visual (read only where there is no
        visual), and the visual frames in order of time.
        """
        batch = conditions.batch
        speaker = self.null_speaker.expand(batch, -1)
        if conditions.speaker is not None:
            _check_dim("speaker", conditions.speaker, self.config.speaker_dim)
            voice = self.speaker(conditions.speaker)
            speaker = torch.where(
                conditions.present("speaker")[:, None], voice, speaker.to(voice.dtype)
            )
        tokens = [speaker[:, None], self.null_visual.expand(batch, 1, -1).to(speaker.dtype)]
        seen = conditions.present("visual")[:, None]
        masks = [torch.ones_like(seen), ~seen]
        if conditions.visual is not None and conditions.visual_mask is not None:
            _check_dim("visual", conditions.visual, self.config.visual_dim)
            # A token with NaN would spoil attention even where it is masked.
            frames = conditions.visual.masked_fill(~conditions.visual_mask[..., None], 0)
            tokens.append(self.visual(frames))
            masks.append(seen & conditions.visual_mask)
        return self.tokens(torch.cat(tokens, 1)), torch.cat(masks, 1)

    def _features(
        self, conditions: Conditions, name: str, network: Callable[[Tensor], Tensor], null: Tensor
    ) -> Tensor:
        """An aligned condition's channels (B, N, D), its null where it is absent."""
        absent = null.expand(*conditions.mask.shape, -1)
        given: Tensor | None = getattr(conditions, name)
        if given is None:
            return absent
        _check_dim(name, given, getattr(self.config, f"{name}_dim"))
        # NaN in padding would reach the weights' gradients through the network.
        return _where_present(
            conditions, name, network(given.masked_fill(~conditions.mask[..., None], 0)), absent
        )


def _null(channels: int) -> nn.Parameter:
    return nn.Parameter(0.02 * torch.randn(channels))


def _into_context(channels: int, width: int, deep: bool, bias: bool) -> nn.Module:
    if not deep:
        return nn.Linear(channels, width)
    return nn.Sequential(
        nn.Linear(channels, width, bias=bias), nn.SiLU(), nn.Linear(width, width, bias=False)
    )


def _aligned_network(channels: int, hidden: int) -> nn.Module:
    if not hidden:
        return nn.Identity()
    return nn.Sequential(
        nn.Linear(channels, hidden, bias=False), nn.SiLU(), nn.Linear(hidden, channels, bias=False)
    )


def _where_present(conditions: Conditions, name: str, given: Tensor, absent: Tensor) -> Tensor:
    return torch.where(conditions.present(name)[:, None, None], given.to(absent.dtype), absent)


def _check_dim(name: str, value: Tensor, expected: int) -> None:
    if value.shape[-1] != expected:
        raise ValueError(
            f"{name} has {value.shape[-1]} channels; this model was built for {name}_dim={expected}"
        )
