"""The VSSFlow transformer: the velocity of the latents, given time and conditions.

Source: arXiv 2509.24773. Legend: B batch, N latents (25 per second), C audio channels, W width,
K context tokens, H heads, D head size. t runs from 0 (noise) to 1 (data).

Time-aligned conditions (motion, phonemes, sync, lips) are concatenated to the latents on channels
and read by self-attention; what is seen and who speaks is read by cross-attention. The forward pass
has two halves: `VSSFlow.prepare` computes what does not depend on t, `VSSFlow.velocity` the rest.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.attention import CrossAttention, Rotary, SelfAttention, SwiGLU, rotary
from models.condition_embedding import ConditionEmbedding
from models.conditions import Conditions
from models.sizes import VSSFlowConfig
from models.timeline import LATENT_HZ, VISUAL_FPS


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
        self.project_out = nn.Linear(config.width, config.output_dim, bias=False)
        self.mix_out = nn.Linear(config.output_dim, config.output_dim, bias=False)
        nn.init.zeros_(self.mix_in.weight)
        nn.init.zeros_(self.mix_out.weight)
        if config.velocity_offset:
            self.offset = nn.Parameter(torch.zeros(config.audio_channels))

    def forward(self, x_t: Tensor, t: Tensor, conditions: Conditions) -> Tensor:
        """Velocity (B, N, C) at latents x_t (B, N, C), times t (B,): `prepare`, then `velocity`."""
        return self.velocity(x_t, t, self.prepare(conditions))

    def prepare(self, conditions: Conditions) -> VelocityContext:
        """Everything about the conditions that no t changes, for any number of `velocity` calls."""
        config = self.config
        aligned = self.embedding.aligned(conditions)  # (B, N, aligned channels)
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
        channels = self.config.audio_channels  # nothing reads the others, nor is trained on them
        out = out[..., :channels] + F.linear(out, self.mix_out.weight[:channels])
        if self.config.velocity_offset:
            out = out + self.offset
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
