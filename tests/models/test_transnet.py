"""TransNetV2: its parts against their definitions, and weights by their published names."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from models.transnet import (
    DILATIONS,
    FRAME_HEIGHT,
    FRAME_WIDTH,
    TransNet,
    TransNetConfig,
    build_transnet,
    colour_histograms,
    neighbours,
)

# One stage sees 16 frames to each side and compares with 9 more: 25 in all, the context of windows.
TINY = TransNetConfig(filters=2, stages=1, compared=19, similarity=16, hidden=64)
SEEN = 25


def noise(frames: int, clips: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(frames)
    shape = (clips, frames, FRAME_HEIGHT, FRAME_WIDTH, 3)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


def tiny_network() -> TransNet:
    torch.manual_seed(0)
    return TransNet(TINY).eval().requires_grad_(False)


def test_each_frame_of_each_clip_has_two_logits_and_clips_do_not_mix() -> None:
    network, frames = tiny_network(), noise(30, clips=2)
    single, many = network(frames)
    assert single.shape == many.shape == (2, 30)
    assert not torch.equal(single, many)
    for alone, together in zip(network(frames[1:]), (single, many), strict=True):
        torch.testing.assert_close(alone[0], together[1])


def test_a_frame_sees_as_far_as_its_convolutions_and_comparisons_reach() -> None:
    network, frames = tiny_network().double(), noise(54)
    changed = frames.clone()
    changed[:, 27] = 255 - changed[:, 27]
    differs = (network(frames)[0] - network(changed)[0]).abs()[0] > 0
    assert differs.nonzero().flatten().tolist() == list(range(27 - SEEN, 27 + SEEN + 1))


def test_frames_of_another_shape_or_kind_are_a_callers_mistake() -> None:
    with pytest.raises(ValueError, match=r"expected uint8 \(B, T, 27, 48, 3\)"):
        tiny_network()(noise(5).float())
    with pytest.raises(ValueError, match=r"\(1, 5, 48, 27, 3\)"):
        tiny_network()(noise(5).transpose(2, 3))


def test_neighbours_are_dot_products_with_the_frames_around_and_0_beyond() -> None:
    features = torch.arange(1.0, 5.0)[None, :, None]  # frame t holds t + 1
    assert neighbours(features, 5)[0].tolist() == [
        [0, 0, 1, 2, 3],
        [0, 2, 4, 6, 8],
        [3, 6, 9, 12, 0],
        [8, 12, 16, 0, 0],
    ]


def test_a_histogram_counts_eight_levels_of_each_colour_and_has_length_1() -> None:
    frames = torch.zeros(1, 2, FRAME_HEIGHT, FRAME_WIDTH, 3, dtype=torch.uint8)
    frames[0, 1, :, : FRAME_WIDTH // 2] = torch.tensor([255, 32, 31], dtype=torch.uint8)
    first, second = colour_histograms(frames)[0]
    assert first.nonzero().flatten().tolist() == [0]
    assert second.nonzero().flatten().tolist() == [0, 7 * 64 + 1 * 8]
    assert second[second > 0].tolist() == pytest.approx([0.5**0.5] * 2)


def published_weights() -> dict[str, Tensor]:
    """Random weights under the published names, in the published shapes."""
    generator = torch.Generator().manual_seed(1)

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator) / max(sum(shape[1:]), 1) ** 0.5

    weights = {}
    for stage, block in [(stage, block) for stage in range(3) for block in range(2)]:
        out = 64 << stage
        into = out if block else (3 if stage == 0 else out // 2)
        name = f"SDDCNN.{stage}.DDCNN.{block}"
        for dilation in DILATIONS:
            layers = f"{name}.Conv3D_{dilation}.layers"
            weights[f"{layers}.0.weight"] = random(out // 2, into, 1, 3, 3)
            weights[f"{layers}.1.weight"] = random(out // 4, out // 2, 3, 1, 1)
        for kind in ("weight", "bias", "running_mean"):
            weights[f"{name}.bn.{kind}"] = random(out)
        weights[f"{name}.bn.running_var"] = random(out).abs() + 0.1
        weights[f"{name}.bn.num_batches_tracked"] = torch.tensor(7)
    linear = {"frame_sim_layer.projection": (128, 448), "fc1": (1024, 4864)}
    linear |= dict.fromkeys(("frame_sim_layer.fc", "color_hist_layer.fc"), (128, 101))
    linear |= dict.fromkeys(("cls_layer1", "cls_layer2"), (1, 1024))
    for name, (out, into) in linear.items():
        weights |= {f"{name}.weight": random(out, into), f"{name}.bias": random(out)}
    return weights


def block_by_definition(weights: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    """A block of (B, C, T, H, W) in three dimensions, its batch norm apart."""
    parts = []
    for dilation in DILATIONS:
        layers = f"{name}.Conv3D_{dilation}.layers"
        part = F.conv3d(x, weights[f"{layers}.0.weight"], padding=(0, 1, 1))
        temporal, far = weights[f"{layers}.1.weight"], (dilation, 0, 0)
        parts.append(F.conv3d(part, temporal, padding=far, dilation=(dilation, 1, 1)))
    kinds = ("running_mean", "running_var", "weight", "bias")
    mean, variance, weight, bias = (weights[f"{name}.bn.{k}"][:, None, None, None] for k in kinds)
    return F.relu((torch.cat(parts, 1) - mean) / (variance + 1e-3).sqrt() * weight + bias)


def test_published_weights_give_what_the_definition_gives() -> None:
    weights, frames = published_weights(), noise(12)
    x, means = frames.permute(0, 4, 1, 2, 3) / 255, []
    for stage in range(3):
        shortcut = block_by_definition(weights, f"SDDCNN.{stage}.DDCNN.0", x)
        x = shortcut + block_by_definition(weights, f"SDDCNN.{stage}.DDCNN.1", shortcut)
        x = F.avg_pool3d(x, (1, 2, 2))
        means.append(x.mean((3, 4)))

    def linear(name: str, values: Tensor) -> Tensor:
        return values @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    features = F.normalize(linear("frame_sim_layer.projection", torch.cat(means, 1).mT), dim=2)
    hidden = torch.cat(
        [
            linear("color_hist_layer.fc", neighbours(colour_histograms(frames), 101)).relu(),
            linear("frame_sim_layer.fc", neighbours(features, 101)).relu(),
            x.permute(0, 2, 3, 4, 1).flatten(2),
        ],
        2,
    )
    hidden = linear("fc1", hidden).relu()
    single, many = build_transnet(weights)(frames)
    torch.testing.assert_close(single, linear("cls_layer1", hidden)[..., 0], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(many, linear("cls_layer2", hidden)[..., 0], rtol=1e-4, atol=1e-4)


def test_weights_that_do_not_fit_are_named() -> None:
    weights = published_weights()
    with pytest.raises(ValueError, match="hold 1 unknown names: more"):
        build_transnet(weights | {"more": torch.zeros(1)})
    with pytest.raises(ValueError, match=r"(?s)other shapes.*single"):
        build_transnet(weights | {"cls_layer1.weight": torch.zeros(1, 3)})
    del weights["fc1.bias"]
    with pytest.raises(ValueError, match=r"lack fc1\.bias"):
        build_transnet(weights)
