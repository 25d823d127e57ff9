"""The transformer's layers: attention with partly rotary positions, and SwiGLU.

Legend: B batch, T tokens, K context tokens, W width, H heads, D head size, R rotated dimensions.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Rotary(NamedTuple):
    """The turns of a row of tokens, each (T, R): ``x * cos + swap_halves(x) * sin``.

    The first half of ``sin`` is negative.
    """

    cos: Tensor
    sin: Tensor


def rotary(positions: Tensor, dim: int, longest: float = 10_000.0) -> Rotary:
    """The turns of tokens at ``positions`` (T,), in any unit, over ``dim`` dimensions.

    Source: RoFormer, arXiv 2104.09864.
    """
    halves = torch.arange(0, dim, 2, device=positions.device, dtype=torch.float32) / max(dim, 1)
    angles = positions.float()[:, None] * longest**-halves  # (T, R / 2)
    cos, sin = angles.cos(), angles.sin()
    return Rotary(torch.cat([cos, cos], -1), torch.cat([-sin, sin], -1))


def turn(x: Tensor, positions: Rotary | None) -> Tensor:
    """Heads (B, H, T, D) with their first R dimensions turned to their positions."""
    if positions is None or positions.cos.shape[-1] == 0:
        return x
    dim = positions.cos.shape[-1]
    turned, rest = x[..., :dim], x[..., dim:]
    first, second = turned.chunk(2, -1)
    swapped = torch.cat([second, first], -1)
    turned = turned * positions.cos.to(x.dtype)
    return torch.cat([turned.addcmul(swapped, positions.sin.to(x.dtype)), rest], -1)


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
    """What queries (B, H, T, D) read of keys and values (B, H, K, D): (B, H, T, D).

    ``mask`` (B, 1, 1, K) is True where one may be read; each sample has at least one.
    """
    if query.device.type == "cpu" and query.requires_grad:
        # Backwards, the fused kernel of the CPU takes half of a training step in bfloat16.
        heads = query.shape[:2]
        barred = query.new_zeros(mask.shape).masked_fill_(~mask, -torch.inf)
        scores = torch.baddbmm(
            barred.expand(*heads, -1, -1).flatten(0, 1),
            (query * query.shape[-1] ** -0.5).flatten(0, 1),
            key.flatten(0, 1).transpose(-1, -2),
        )
        with torch.autocast("cpu", enabled=False):  # it would only copy them to float32 and back
            weights = scores.softmax(-1)
        return weights.unflatten(0, heads) @ value
    return F.scaled_dot_product_attention(query, key, value, attn_mask=mask)


class SelfAttention(nn.Module):
    """Every token reads every token that ``mask`` allows; no biases."""

    def __init__(self, width: int, heads: int) -> None:
        """Layers for tokens of ``width``; the output starts at zero, so a block starts idle."""
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        nn.init.zeros_(self.out.weight)

    def forward(self, x: Tensor, positions: Rotary, mask: Tensor) -> Tensor:
        """Tokens (B, T, W) to (B, T, W); ``mask`` (B, 1, 1, T) is True where one may be read."""
        query, key, value = (_split(part, self.heads) for part in self.qkv(x).chunk(3, -1))
        read = attend(turn(query, positions), turn(key, positions), value, mask)
        return self.out(_join(read))


class CrossAttention(nn.Module):
    """Every token reads the context; groups of query heads share a key-value head; no biases."""

    def __init__(self, width: int, context_width: int, heads: int, context_heads: int) -> None:
        """Layers for tokens of ``width`` that read a context; the output starts at zero."""
        super().__init__()
        self.heads, self.context_heads = heads, context_heads
        self.query = nn.Linear(width, width, bias=False)
        self.key_value = nn.Linear(context_width, 2 * context_heads * (width // heads), bias=False)
        self.out = nn.Linear(width, width, bias=False)
        nn.init.zeros_(self.out.weight)

    def project(self, context: Tensor, positions: Rotary | None) -> tuple[Tensor, Tensor]:
        """Keys and values (B, H, K, D) of context tokens (B, K, context width)."""
        key, value = (
            _split(part, self.context_heads) for part in self.key_value(context).chunk(2, -1)
        )
        # Repeated here, once, because fused attention kernels refuse groups together with a mask.
        group = self.heads // self.context_heads
        key = turn(key, positions).repeat_interleave(group, 1)
        return key, value.repeat_interleave(group, 1)

    def forward(
        self, x: Tensor, key: Tensor, value: Tensor, positions: Rotary | None, mask: Tensor
    ) -> Tensor:
        """Tokens (B, T, W) to (B, T, W); ``mask`` (B, 1, 1, K) is True where one may be read."""
        query = turn(_split(self.query(x), self.heads), positions)
        return self.out(_join(attend(query, key, value, mask)))


class SwiGLU(nn.Module):
    """The gated feed-forward network of arXiv 2002.05202, with biases."""

    def __init__(self, width: int, inner: int) -> None:
        """Layers of inner width ``inner``; the output starts at zero."""
        super().__init__()
        self.into = nn.Linear(width, 2 * inner)
        self.out = nn.Linear(inner, width)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (B, T, W) to (B, T, W)."""
        value, gate = self.into(x).chunk(2, -1)
        return self.out(value * F.silu(gate))


def _split(x: Tensor, heads: int) -> Tensor:
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)  # (B, H, T, D)


def _join(x: Tensor) -> Tensor:
    return x.transpose(1, 2).flatten(2)  # (B, T, W)
