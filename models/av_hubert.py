"""AV-HuBERT's visual branch: what the lips do, one vector a picture of a mouth at 25 fps.

A convolution over time and space, a ResNet-18 for each moment, and the transformer encoder of
wav2vec 2.0 with convolutional positions, whose audio half is left silent (Shi et al. 2022). Heads
have 64 channels in both published sizes, base (12 layers of 768) and large (24 of 1024).

Legend: B clips, N frames (25 per second), H height, W width, D channels.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

HEAD_DIM = 64
CROP_PX = 88
"""Side of the middle of a mouth's picture that the network sees."""
_MEAN, _DEVIATION = 0.421, 0.165
"""Of the gray of mouths, on a scale of 0 to 1, that it was trained on."""
_VIDEO = "feature_extractor_video."
_NAMES = (  # published, ours
    (f"{_VIDEO}resnet.frontend3D.", "front."),
    (f"{_VIDEO}resnet.trunk.layer", "trunk."),
    (f"{_VIDEO}proj.", "project."),
    ("layer_norm.", "fuse_norm."),
    ("post_extract_proj.", "fuse."),
    ("encoder.layer_norm.", "norm."),
    ("encoder.layers.", "layers."),
)
_IN_LAYER = (
    ("self_attn.", ""),
    ("self_attn_layer_norm.", "attention_norm."),
    ("final_layer_norm.", "widen_norm."),
    ("fc1.", "widen.0."),
    ("fc2.", "widen.2."),
)
_IN_TRUNK = (("downsample.", "shortcut."), ("relu", "act"), ("bn", "norm"))
_POSITIONS = "encoder.pos_conv.0."


@dataclass(frozen=True, slots=True)
class AVHubertConfig:
    """Sizes of the visual branch; the defaults are those of the published large one."""

    width: int = 1024
    layers: int = 24
    hidden: int = 4096
    position_kernel: int = 128
    position_groups: int = 16
    trunk: tuple[int, ...] = (64, 128, 256, 512)


class AVHubert(nn.Module):
    """Pictures of a mouth in, one vector each out."""

    def __init__(self, config: AVHubertConfig) -> None:
        """Random weights."""
        super().__init__()
        self.config, width = config, config.width
        front = config.trunk[0]
        self.front = nn.Sequential(
            nn.Conv3d(1, front, (5, 7, 7), stride=(1, 2, 2), padding=(2, 3, 3), bias=False),
            nn.BatchNorm3d(front),
            nn.PReLU(front),
            nn.MaxPool3d((1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1)),
        )
        self.trunk = nn.ModuleDict()
        before = front
        for number, channels in enumerate(config.trunk, 1):
            stride = 1 if number == 1 else 2
            self.trunk[str(number)] = nn.Sequential(
                _Residual(before, channels, stride), _Residual(channels, channels, 1)
            )
            before = channels
        self.project = nn.Linear(before, width)
        self.fuse_norm = nn.LayerNorm(2 * width)
        self.fuse = nn.Linear(2 * width, width)
        self.positions = nn.Conv1d(
            width,
            width,
            config.position_kernel,
            padding=config.position_kernel // 2,
            groups=config.position_groups,
        )
        self.layers = nn.ModuleList(_Layer(width, config.hidden) for _ in range(config.layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, mouths: Tensor) -> Tensor:
        """Vectors (B, N, D) of normalised gray mouths (B, N, H, W), all clips equally long."""
        seen = self.front(mouths[:, None]).transpose(1, 2)  # (B, N, C, H/4, W/4)
        images = seen.flatten(0, 1)
        for stage in self.trunk.values():
            images = stage(images)
        lips = self.project(images.mean((2, 3))).unflatten(0, mouths.shape[:2])  # (B, N, D)
        both = torch.cat([torch.zeros_like(lips), lips], 2)  # what is heard goes before
        return self.encode(self.fuse(self.fuse_norm(both)))

    def encode(self, values: Tensor) -> Tensor:
        """The transformer encoder alone: (B, N, D) to (B, N, D)."""
        # An even kernel gives one position too many.
        positions = self.positions(values.transpose(1, 2))[..., : values.shape[1]]
        values = values + F.gelu(positions).transpose(1, 2)
        for layer in self.layers:
            values = layer(values)
        return self.norm(values)

    @torch.no_grad()
    def embed(self, mouths: Tensor) -> Tensor:
        """Features (N, D), float32, of gray mouths (N, H, W), uint8, of which the middle counts.

        Raises ValueError for pictures smaller than `CROP_PX`.
        """
        height, width = mouths.shape[1:]
        if min(height, width) < CROP_PX:
            raise ValueError(f"mouths of {width} x {height} are smaller than {CROP_PX} pixels")
        top, left = (height - CROP_PX) // 2, (width - CROP_PX) // 2
        weight = self.project.weight
        middle = mouths[:, top : top + CROP_PX, left : left + CROP_PX].to(weight.device)
        normalised = (middle.float() / 255 - _MEAN) / _DEVIATION
        return self(normalised[None].to(weight.dtype))[0].float()


class _Residual(nn.Module):
    """Two convolutions, added to what came in."""

    def __init__(self, before: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, channels, 3, stride=stride, padding=1, bias=False)
        self.norm1, self.act1 = nn.BatchNorm2d(channels), nn.PReLU(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm2, self.act2 = nn.BatchNorm2d(channels), nn.PReLU(channels)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or before != channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(before, channels, 1, stride=stride, bias=False),
                nn.BatchNorm2d(channels),
            )

    def forward(self, images: Tensor) -> Tensor:
        made = self.norm2(self.conv2(self.act1(self.norm1(self.conv1(images)))))
        return self.act2(made + self.shortcut(images))


class _Layer(nn.Module):
    """Self-attention and a widening layer, each normalised before and added to its input."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.attention_norm, self.widen_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.q_proj, self.k_proj = nn.Linear(width, width), nn.Linear(width, width)
        self.v_proj, self.out_proj = nn.Linear(width, width), nn.Linear(width, width)
        self.widen = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))

    def forward(self, values: Tensor) -> Tensor:
        normed = self.attention_norm(values)
        q, k, v = (
            project(normed).unflatten(2, (-1, HEAD_DIM)).transpose(1, 2)
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        read = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        values = values + self.out_proj(read)
        return values + self.widen(self.widen_norm(values))


def build_av_hubert(published: Mapping[str, Tensor]) -> AVHubert:
    """The network of a published state dict, pretrained or fine-tuned, in evaluation mode.

    Its sizes are those of the weights; what is not the visual branch's is left out. Raises
    ValueError for weights of another network.
    """
    try:
        state = _renamed(published)
        model = AVHubert(_sizes(state))
        model.load_state_dict(state)
    except (KeyError, RuntimeError, ZeroDivisionError) as error:
        why = " ".join(str(error).split())
        raise ValueError(f"not the weights of AV-HuBERT: {why}") from error
    return model.eval().requires_grad_(False)


def _renamed(published: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights that the branch has, under our names: the one place that knows theirs."""
    anchor = f"{_VIDEO}proj.weight"
    # A fine-tuned checkpoint holds the network inside its encoder.
    prefix = next(name[: -len(anchor)] for name in [*published, anchor] if name.endswith(anchor))
    own = {
        name.removeprefix(prefix): value
        for name, value in published.items()
        if name.startswith(prefix)
    }
    state = {}
    for name, value in own.items():
        for theirs, ours in _NAMES:
            if name.startswith(theirs):
                inner = name.removeprefix(theirs)
                for old, new in {"layers.": _IN_LAYER, "trunk.": _IN_TRUNK}.get(ours, ()):
                    inner = inner.replace(f".{old}", f".{new}")
                state[ours + inner] = value
                break
    # Stored as a direction and, for each place of the kernel, a length.
    direction, length = own[f"{_POSITIONS}weight_v"], own[f"{_POSITIONS}weight_g"]
    norm = direction.float().pow(2).sum((0, 1), keepdim=True).sqrt()
    state["positions.weight"] = (direction.float() / norm * length).to(direction.dtype)
    state["positions.bias"] = own[f"{_POSITIONS}bias"]
    return state


def _sizes(state: Mapping[str, Tensor]) -> AVHubertConfig:
    width, per_group, kernel = state["positions.weight"].shape
    stages = sorted({name.split(".")[1] for name in state if name.startswith("trunk.")})
    return AVHubertConfig(
        width=width,
        layers=len({name.split(".")[1] for name in state if name.startswith("layers.")}),
        hidden=state["layers.0.widen.0.weight"].shape[0],
        position_kernel=kernel,
        position_groups=width // per_group,
        trunk=tuple(state[f"trunk.{stage}.0.conv1.weight"].shape[0] for stage in stages),
    )
