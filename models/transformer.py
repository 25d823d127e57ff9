"""The VSSFlow transformer: the velocity of the latents, given time and conditions.

Source: arXiv 2509.24773. Legend: B batch, N latents (25 per second), C audio channels, W width,
K context tokens, H heads, D head size. t runs from 0 (noise) to 1 (data).

Time-aligned conditions (motion, phonemes) are concatenated to the latents on channels and read by
self-attention; what is seen and who speaks is read by cross-attention. The forward pass has two
halves: `VSSFlow.prepare` computes what does not depend on t, `VSSFlow.velocity` the rest.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.attention import CrossAttention, Rotary, SelfAttention, SwiGLU, rotary
from models.conditions import Conditions
from models.phoneme_ids import INVENTORY_SIZE
from models.timeline import LATENT_HZ, VISUAL_FPS


@dataclass(frozen=True, slots=True)
class VSSFlowConfig:
    """Sizes and switches of a `VSSFlow`."""

    layers: int = 10
    width: int = 1536
    heads: int = 24
    context_heads: int = 12
    """Key and value heads of cross-attention, shared by groups of query heads."""
    context_width: int = 768
    ffn_width: int = 6144
    """Inner width of the SwiGLU feed-forward network."""
    audio_channels: int = 64
    visual_dim: int = 1280
    motion_dim: int = 18
    speaker_dim: int = 256
    phoneme_count: int = INVENTORY_SIZE
    phoneme_dim: int = 32
    fourier_features: int = 128
    rotary_share: float = 0.5
    """Share of each head's dimensions that rotary positions turn (32 of 64 in the paper)."""
    context_positions: bool = True
    """Whether cross-attention knows when a visual frame was seen; the paper's position is False."""

    def __post_init__(self) -> None:
        """Raises ValueError for sizes that do not divide."""
        if self.width % self.heads:
            raise ValueError(f"width={self.width} must be a multiple of heads={self.heads}")
        if self.heads % self.context_heads:
            raise ValueError(
                f"heads={self.heads} must be a multiple of context_heads={self.context_heads}"
            )
        if self.rotary_dim % 2 or not 0 <= self.rotary_dim <= self.head_dim:
            raise ValueError(
                f"rotary_share={self.rotary_share} of head size {self.head_dim} "
                "must be an even number of dimensions"
            )

    @property
    def head_dim(self) -> int:
        """Dimensions of one attention head."""
        return self.width // self.heads

    @property
    def rotary_dim(self) -> int:
        """Dimensions per head that positions turn."""
        return round(self.head_dim * self.rotary_share)

    @property
    def aligned_dim(self) -> int:
        """Channels of the concatenated conditions."""
        return self.motion_dim + self.phoneme_dim

    @property
    def input_dim(self) -> int:
        """Channels of the latents and the concatenated conditions together."""
        return self.audio_channels + self.aligned_dim


@dataclass(frozen=True, slots=True, eq=False)
class VelocityContext:
    """What `VSSFlow.prepare` makes of the conditions: everything that does not depend on t."""

    mask: Tensor
    """(B, N) bool, True = a real latent."""
    aligned: Tensor
    """(B, N, W), the concatenated conditions' share of the input projection."""
    audio_weight: Tensor
    """(W, C), the input projection of the latents, both of its layers in one."""
    keys: tuple[Tensor, ...]
    """Per layer (B, H, K, D), turned to their times."""
    values: tuple[Tensor, ...]
    """Per layer (B, H, K, D)."""
    self_mask: Tensor
    """(B, 1, 1, 1 + N) bool, which tokens self-attention may read; the first is the time token."""
    context_mask: Tensor
    """(B, 1, 1, K) bool, which context tokens cross-attention may read."""
    positions: Rotary
    """Turns of the 1 + N tokens in self-attention."""
    query_positions: Rotary | None
    """Turns of the 1 + N queries in cross-attention, in the same unit as the keys' times."""


class Block(nn.Module):
    """Self-attention, cross-attention, feed-forward network: each after a LayerNorm, each added."""

    def __init__(self, config: VSSFlowConfig) -> None:
        """Layers of the sizes in ``config``, with random weights."""
        super().__init__()
        self.self_norm = nn.LayerNorm(config.width)
        self.self_attention = SelfAttention(config.width, config.heads)
        self.cross_norm = nn.LayerNorm(config.width)
        self.cross_attention = CrossAttention(
            config.width, config.context_width, config.heads, config.context_heads
        )
        self.ffn_norm = nn.LayerNorm(config.width)
        self.ffn = SwiGLU(config.width, config.ffn_width)

    def forward(self, x: Tensor, context: VelocityContext, layer: int) -> Tensor:
        """Tokens (B, 1 + N, W) to tokens of the same shape."""
        x = x + self.self_attention(self.self_norm(x), context.positions, context.self_mask)
        x = x + self.cross_attention(
            self.cross_norm(x),
            context.keys[layer],
            context.values[layer],
            context.query_positions,
            context.context_mask,
        )
        return x + self.ffn(self.ffn_norm(x))


class ConditionEmbedding(nn.Module):
    """Conditions as numbers: the concatenated channels and the cross-attention tokens.

    What is absent in a sample is replaced by a learned null, so that any mixture of present and
    absent conditions fits in one batch.
    """

    def __init__(self, config: VSSFlowConfig) -> None:
        """Layers of the sizes in ``config``, with random weights."""
        super().__init__()
        self.config = config
        width = config.context_width
        self.phonemes = nn.Embedding(config.phoneme_count, config.phoneme_dim)
        self.null_phoneme = nn.Parameter(0.02 * torch.randn(config.phoneme_dim))
        self.null_motion = nn.Parameter(0.02 * torch.randn(config.motion_dim))
        self.visual = nn.Linear(config.visual_dim, width)
        self.null_visual = nn.Parameter(0.02 * torch.randn(width))
        self.speaker = nn.Linear(config.speaker_dim, width)
        self.null_speaker = nn.Parameter(0.02 * torch.randn(width))
        self.tokens = nn.Sequential(
            nn.Linear(width, width, bias=False), nn.SiLU(), nn.Linear(width, width, bias=False)
        )

    def aligned(self, conditions: Conditions) -> Tensor:
        """The concatenated conditions (B, N, motion + phoneme channels), zero at padding."""
        config, mask = self.config, conditions.mask
        parts = []
        motion = self.null_motion.expand(*mask.shape, -1)
        if conditions.motion is not None:
            _check_dim("motion", conditions.motion, config.motion_dim)
            motion = torch.where(
                _column(conditions, "motion"), conditions.motion.to(motion.dtype), motion
            )
        parts.append(motion)
        said = self.null_phoneme.expand(*mask.shape, -1)
        if conditions.phonemes is not None:
            said = torch.where(
                _column(conditions, "phonemes"), self.phonemes(conditions.phonemes), said
            )
        parts.append(said)
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


class VSSFlow(nn.Module):
    """The velocity field of the flow from noise to audio latents, given conditions."""

    def __init__(self, config: VSSFlowConfig) -> None:
        """Layers of the sizes in ``config``, with random weights."""
        super().__init__()
        self.config = config
        self.embedding = ConditionEmbedding(config)
        self.fourier = nn.Parameter(torch.randn(config.fourier_features), requires_grad=False)
        self.time = nn.Sequential(
            nn.Linear(2 * config.fourier_features, config.width),
            nn.SiLU(),
            nn.Linear(config.width, config.width),
        )
        self.mix_in = nn.Linear(config.input_dim, config.input_dim, bias=False)
        self.project_in = nn.Linear(config.input_dim, config.width, bias=False)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.project_out = nn.Linear(config.width, config.audio_channels, bias=False)
        self.mix_out = nn.Linear(config.audio_channels, config.audio_channels, bias=False)
        nn.init.zeros_(self.mix_in.weight)
        nn.init.zeros_(self.mix_out.weight)

    def forward(self, x_t: Tensor, t: Tensor, conditions: Conditions) -> Tensor:
        """Velocity (B, N, C) at latents x_t (B, N, C), times t (B,): `prepare`, then `velocity`."""
        return self.velocity(x_t, t, self.prepare(conditions))

    def prepare(self, conditions: Conditions) -> VelocityContext:
        """Everything about the conditions that no t changes, for any number of `velocity` calls."""
        config = self.config
        aligned = self.embedding.aligned(conditions)  # (B, N, motion + phonemes)
        mixed = F.linear(aligned, self.mix_in.weight[:, config.audio_channels :])
        mixed = mixed + F.pad(aligned, (config.audio_channels, 0))
        mix_audio = self.mix_in.weight[:, : config.audio_channels]
        eye = torch.eye(config.input_dim, config.audio_channels, device=mix_audio.device)
        tokens, token_mask = self.embedding.context(conditions)
        key_positions, query_positions = self._cross_positions(conditions, tokens.shape[1])
        projected = [
            block.cross_attention.project(tokens, key_positions) for block in self._blocks()
        ]
        always = token_mask.new_ones(conditions.batch, 1)  # the time token
        latents = conditions.mask.shape[1]
        places = torch.arange(1 + latents, device=aligned.device)
        return VelocityContext(
            mask=conditions.mask,
            aligned=self.project_in(mixed),
            audio_weight=self.project_in.weight @ (mix_audio + eye),
            keys=tuple(keys for keys, _ in projected),
            values=tuple(values for _, values in projected),
            self_mask=torch.cat([always, conditions.mask], 1)[:, None, None],
            context_mask=token_mask[:, None, None],
            positions=rotary(places, config.rotary_dim),
            query_positions=query_positions,
        )

    def velocity(self, x_t: Tensor, t: Tensor, context: VelocityContext) -> Tensor:
        """Velocity (B, N, C) at latents x_t (B, N, C) and times t (B,); zero at padding.

        Values of x_t at padding are not read.
        """
        x = F.linear(x_t.masked_fill(~context.mask[..., None], 0), context.audio_weight)
        x = x + context.aligned
        x = torch.cat([self._time_token(t)[:, None].to(x.dtype), x], 1)  # (B, 1 + N, W)
        for layer, block in enumerate(self._blocks()):
            x = block(x, context, layer)
        out = self.project_out(x[:, 1:])
        out = out + self.mix_out(out)
        return out.masked_fill(~context.mask[..., None], 0)

    def trainable_parameters(self) -> int:
        """How many numbers training changes."""
        return sum(weight.numel() for weight in self.parameters() if weight.requires_grad)

    def _blocks(self) -> list[Block]:
        return [block for block in self.blocks if isinstance(block, Block)]

    def _time_token(self, t: Tensor) -> Tensor:
        """Gaussian Fourier features of t (B,) through an MLP: (B, W)."""
        angles = 2 * math.pi * t.to(self.fourier.dtype)[:, None] * self.fourier
        return self.time(torch.cat([angles.cos(), angles.sin()], -1))

    def _cross_positions(
        self, conditions: Conditions, tokens: int
    ) -> tuple[Rotary | None, Rotary | None]:
        """Turns of the context tokens and of the queries, at real times in units of one latent."""
        if not self.config.context_positions:
            return None, None
        device = conditions.mask.device
        frames = torch.arange(tokens - 2, device=device) * (LATENT_HZ / VISUAL_FPS)
        # The tokens without a time stand at 0, as does the time token among the queries.
        keys = torch.cat([frames.new_zeros(2), frames])
        latents = torch.arange(conditions.mask.shape[1], device=device) + 0.5  # their middles
        queries = torch.cat([latents.new_zeros(1), latents])
        dim = self.config.rotary_dim
        return rotary(keys, dim), rotary(queries, dim)


def seeded(config: VSSFlowConfig, seed: int) -> VSSFlow:
    """A new model whose weights follow from ``seed``; the global generator stays as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return VSSFlow(config)


def _column(conditions: Conditions, name: str) -> Tensor:
    return conditions.present(name)[:, None, None]


def _check_dim(name: str, value: Tensor, expected: int) -> None:
    if value.shape[-1] != expected:
        raise ValueError(
            f"{name} has {value.shape[-1]} channels; this model was built for {name}_dim={expected}"
        )
