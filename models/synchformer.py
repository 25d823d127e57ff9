"""Synchformer's visual branch: when things happen in a picture, 8 tokens for every 16 frames.

A video transformer with divided space-time attention (MotionFormer, Patrick et al. 2021) over short
overlapping segments, and one transformer layer that gathers each moment's patches (Iashin et al.
2024). Heads have 64 channels in every published size.

Legend: F frames (25 per second), S segments, T = 8 moments of a segment, P patches of a moment,
H height, W width, D channels, B batch.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

HEAD_DIM = 64
STRIDE_FRAMES = 8
"""From one segment's start to the next's: segments of 16 frames overlap by half."""
_EPS = 1e-6
_PREFIXES = ("", "vfeat_extractor.", "module.v_encoder.", "v_encoder.")
_NAMES = (  # published, ours; a name's longest match counts
    ("patch_embed_3d.proj", "patches"),
    ("cls_token", "summary"),
    ("pos_embed", "places"),
    ("temp_embed", "moments"),
    ("timeattn.qkv", "over_time.qkv"),
    ("timeattn.proj", "over_time.out"),
    ("attn.qkv", "over_space.qkv"),
    ("attn.proj", "over_space.out"),
    ("norm3", "time_norm"),
    ("norm1", "space_norm"),
    ("norm2", "widen_norm"),
    ("mlp.fc1", "widen.0"),
    ("mlp.fc2", "widen.2"),
)
_POOL, _POOL_TOKEN = "spatial_attn_agg.", "spatial_attn_agg.cls_token"


@dataclass(frozen=True, slots=True)
class SynchformerConfig:
    """Sizes of the visual branch; the defaults are the published ones."""

    width: int = 768
    layers: int = 12
    hidden: int = 3072
    pixels: int = 224
    patch: int = 16
    moments: int = 8
    frames_per_moment: int = 2

    @property
    def segment_frames(self) -> int:
        """Frames of a segment."""
        return self.moments * self.frames_per_moment

    @property
    def places(self) -> int:
        """Patches of one moment."""
        return (self.pixels // self.patch) ** 2


class Synchformer(nn.Module):
    """Segments of frames in, one vector a moment out."""

    def __init__(self, config: SynchformerConfig) -> None:
        """Random weights."""
        super().__init__()
        self.config, width = config, config.width
        kernel = (config.frames_per_moment, config.patch, config.patch)
        self.patches = nn.Conv3d(3, width, kernel, stride=kernel)
        self.summary = nn.Parameter(0.02 * torch.randn(1, 1, width))
        self.places = nn.Parameter(0.02 * torch.randn(1, 1 + config.places, width))
        self.moments = nn.Parameter(0.02 * torch.randn(1, config.moments, width))
        self.blocks = nn.ModuleList(_Block(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(width, eps=_EPS)
        self.pool_token = nn.Parameter(0.02 * torch.randn(1, 1, width))
        self.pool = nn.TransformerEncoderLayer(
            width,
            width // HEAD_DIM,
            config.hidden,
            dropout=0.0,
            activation="gelu",
            layer_norm_eps=_EPS,
            batch_first=True,
            norm_first=True,
        )

    def forward(self, segments: Tensor) -> Tensor:
        """Vectors (B, T, D) of segments (B, 3, frames, H, W) of colours from -1 to 1."""
        batch, moments, places = len(segments), self.config.moments, self.config.places
        tokens = self.patches(segments).flatten(2).transpose(1, 2)  # (B, T * P, D)
        where = self.places[:, 1:].repeat(1, moments, 1)
        when = self.moments.repeat_interleave(places, 1)
        summary = (self.summary + self.places[:, :1]).expand(batch, -1, -1)
        tokens = torch.cat([summary, tokens + where + when], 1)
        for block in self.blocks:
            tokens = block(tokens)
        gathered = self.norm(tokens[:, 1:]).reshape(batch * moments, places, -1)
        token = self.pool_token.expand(batch * moments, -1, -1)
        pooled = self.pool(torch.cat([token, gathered], 1))[:, 0]
        return pooled.reshape(batch, moments, -1)

    @torch.no_grad()
    def embed(self, frames: Tensor, batch_segments: int = 1) -> Tensor:
        """Features (F, D), float32, of RGB frames (F, 3, H, H), uint8, at 25 fps.

        Frames of another size than the network's are resized. The moments of all segments, laid end
        to end, are stretched over the clip as in VSSFlow: of 10 s, 240 moments to 250 rows. A clip
        that is shorter than a segment holds its last frame.
        """
        size = (self.config.pixels, self.config.pixels)
        length = self.config.segment_frames
        starts = segment_starts(len(frames), length)
        weight = self.patches.weight
        parts = []
        for first in range(0, len(starts), batch_segments):
            rows = torch.tensor(starts[first : first + batch_segments])[:, None]
            rows = (rows + torch.arange(length)).clamp(max=len(frames) - 1)  # (B, frames)
            images = frames[rows.flatten()].to(weight.device, torch.float32)
            if tuple(images.shape[-2:]) != size:
                images = F.interpolate(images, size, mode="bicubic", antialias=True).clamp(0, 255)
            segments = (images / 127.5 - 1).unflatten(0, tuple(rows.shape)).transpose(1, 2)
            parts.append(self(segments.to(weight.dtype)).float())
        return stretched(torch.cat(parts).flatten(0, 1), len(frames))


class _Block(nn.Module):
    """Attention over time, then over space, then a widening layer; each is added to its input."""

    def __init__(self, config: SynchformerConfig) -> None:
        super().__init__()
        width = config.width
        self.moments = config.moments
        self.time_norm = nn.LayerNorm(width, eps=_EPS)
        self.over_time = _DividedAttention(width)
        self.space_norm = nn.LayerNorm(width, eps=_EPS)
        self.over_space = _DividedAttention(width)
        self.widen_norm = nn.LayerNorm(width, eps=_EPS)
        self.widen = nn.Sequential(
            nn.Linear(width, config.hidden), nn.GELU(), nn.Linear(config.hidden, width)
        )

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = tokens + self.over_time(self.time_norm(tokens), self.moments, across_time=True)
        tokens = tokens + self.over_space(self.space_norm(tokens), self.moments, across_time=False)
        return tokens + self.widen(self.widen_norm(tokens))


class _DividedAttention(nn.Module):
    """Each patch reads its place at all moments, or its moment at all places, and the summary.

    The summary reads everything.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, tokens: Tensor, moments: int, *, across_time: bool) -> Tensor:
        qkv = self.qkv(tokens).unflatten(-1, (3, -1, HEAD_DIM)).permute(2, 0, 3, 1, 4)
        q, k, v = qkv  # (B, heads, 1 + T * P, 64)
        summary = F.scaled_dot_product_attention(q[:, :, :1], k, v)
        q, k_own, v_own = (part[:, :, 1:].unflatten(2, (moments, -1)) for part in (q, k, v))
        if across_time:
            q, k_own, v_own = (part.transpose(2, 3) for part in (q, k_own, v_own))
        groups = (-1, -1, q.shape[2], -1, -1)
        k_all, v_all = (
            torch.cat([every[:, :, None, :1].expand(groups), own], 3)
            for every, own in ((k, k_own), (v, v_own))
        )
        read = F.scaled_dot_product_attention(q, k_all, v_all)
        if across_time:
            read = read.transpose(2, 3)
        read = torch.cat([summary, read.flatten(2, 3)], 2)
        return self.out(read.transpose(1, 2).flatten(2))


def segment_starts(frames: int, segment_frames: int = 16) -> list[int]:
    """The first frames of a clip's segments: those that lie in it whole, and at least one."""
    count = (frames - segment_frames) // STRIDE_FRAMES + 1
    return [STRIDE_FRAMES * number for number in range(max(1, count))]


def stretched(tokens: Tensor, frames: int) -> Tensor:
    """Rows (F, D) on the grid of 25 Hz, each the nearest of the tokens (K, D) laid evenly on it."""
    places = (torch.arange(frames, device=tokens.device) + 0.5) * (len(tokens) / frames)
    return tokens[places.long().clamp(max=len(tokens) - 1)]


def build_synchformer(published: Mapping[str, Tensor]) -> Synchformer:
    """The network of a published state dict, whole or of the visual branch alone, in eval mode.

    Its sizes are those of the weights. Raises ValueError for weights of another network.
    """
    state = _renamed(published)
    try:
        model = Synchformer(_sizes(state))
        model.load_state_dict(state)
    except (KeyError, RuntimeError, ZeroDivisionError) as error:
        why = " ".join(str(error).split())
        raise ValueError(f"not the weights of Synchformer's visual branch: {why}") from error
    return model.eval().requires_grad_(False)


def _renamed(published: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights that the branch has, under our names: the one place that knows theirs."""
    prefixes = [prefix for prefix in _PREFIXES if f"{prefix}temp_embed" in published]
    prefix = prefixes[0] if prefixes else ""
    state = {}
    for name, value in published.items():
        own = name.removeprefix(prefix)
        if not name.startswith(prefix):
            continue
        if own == _POOL_TOKEN:
            state["pool_token"] = value
        elif own.startswith(_POOL):
            state[f"pool.{own.removeprefix(_POOL)}"] = value
        elif own in ("cls_token", "pos_embed", "temp_embed") or own.startswith(
            ("patch_embed_3d.", "blocks.", "norm.")
        ):
            for theirs, ours in _NAMES:
                if theirs in own:
                    own = own.replace(theirs, ours)
                    break
            state[own] = value
    return state


def _sizes(state: Mapping[str, Tensor]) -> SynchformerConfig:
    width, _, frames, patch, _ = state["patches.weight"].shape
    return SynchformerConfig(
        width=width,
        layers=len({name.split(".")[1] for name in state if name.startswith("blocks.")}),
        hidden=state["blocks.0.widen.0.weight"].shape[0],
        pixels=math.isqrt(state["places"].shape[1] - 1) * patch,
        patch=patch,
        moments=state["moments"].shape[1],
        frames_per_moment=frames,
    )
