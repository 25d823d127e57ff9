"""State dicts of tiny networks under the names of the published ones, with random weights."""

from collections.abc import Mapping

import torch
from torch import Tensor

SYNC_WIDTH, LIPS_WIDTH = 128, 64
PIXELS, PATCH, MOMENTS = 32, 16, 8


def _filled(shapes: Mapping[str, tuple[int, ...]], seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        name: 0.2 * torch.randn(shape, generator=generator) + (1.0 if _is_scale(name) else 0.0)
        for name, shape in shapes.items()
    }


def _is_scale(name: str) -> bool:
    """Scales of normalisations lie around 1, as trained ones do."""
    return name.endswith(".weight") and ("norm" in name or "bn" in name or ".1.weight" in name)


def _linear(name: str, before: int, after: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (after, before), f"{name}.bias": (after,)}


def _norm(name: str, width: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def published_synchformer(layers: int = 2, width: int = SYNC_WIDTH, hidden: int = 96) -> dict:
    """The visual branch's tensors by their names in the published file, without a prefix."""
    places = (PIXELS // PATCH) ** 2
    shapes: dict[str, tuple[int, ...]] = {
        "cls_token": (1, 1, width),
        "pos_embed": (1, 1 + places, width),
        "temp_embed": (1, MOMENTS, width),
        "patch_embed.proj.weight": (width, 3, PATCH, PATCH),  # it has no use
        "patch_embed.proj.bias": (width,),
        "patch_embed_3d.proj.weight": (width, 3, 2, PATCH, PATCH),
        "patch_embed_3d.proj.bias": (width,),
        **_norm("norm", width),
        "spatial_attn_agg.cls_token": (1, 1, width),
        "spatial_attn_agg.self_attn.in_proj_weight": (3 * width, width),
        "spatial_attn_agg.self_attn.in_proj_bias": (3 * width,),
        **_linear("spatial_attn_agg.self_attn.out_proj", width, width),
        **_linear("spatial_attn_agg.linear1", width, hidden),
        **_linear("spatial_attn_agg.linear2", hidden, width),
        **_norm("spatial_attn_agg.norm1", width),
        **_norm("spatial_attn_agg.norm2", width),
    }
    for layer in range(layers):
        block = f"blocks.{layer}"
        for attention in ("attn", "timeattn"):
            shapes |= _linear(f"{block}.{attention}.qkv", width, 3 * width)
            shapes |= _linear(f"{block}.{attention}.proj", width, width)
        for number in (1, 2, 3):
            shapes |= _norm(f"{block}.norm{number}", width)
        shapes |= _linear(f"{block}.mlp.fc1", width, hidden)
        shapes |= _linear(f"{block}.mlp.fc2", hidden, width)
    return _filled(shapes, seed=1)


def published_av_hubert(
    layers: int = 2, width: int = LIPS_WIDTH, trunk: tuple[int, ...] = (4, 6, 8, 10)
) -> dict[str, Tensor]:
    """The tensors of a pretrained checkpoint by their published names, the audio's among them."""
    video = "feature_extractor_video"
    front = f"{video}.resnet.frontend3D"
    shapes: dict[str, tuple[int, ...]] = {
        f"{front}.0.weight": (trunk[0], 1, 5, 7, 7),
        **_norm(f"{front}.1", trunk[0]),
        f"{front}.2.weight": (trunk[0],),
        **_linear("feature_extractor_audio.proj", 104, width),
        **_linear(f"{video}.proj", trunk[-1], width),
        **_norm("layer_norm", 2 * width),
        **_linear("post_extract_proj", 2 * width, width),
        "mask_emb": (104,),
        "encoder.pos_conv.0.bias": (width,),
        "encoder.pos_conv.0.weight_g": (1, 1, 8),
        "encoder.pos_conv.0.weight_v": (width, width // 4, 8),
        **_norm("encoder.layer_norm", width),
    }
    for layer in range(layers):
        block = f"encoder.layers.{layer}"
        for name in ("k_proj", "v_proj", "q_proj", "out_proj"):
            shapes |= _linear(f"{block}.self_attn.{name}", width, width)
        shapes |= _norm(f"{block}.self_attn_layer_norm", width)
        shapes |= _linear(f"{block}.fc1", width, 2 * width)
        shapes |= _linear(f"{block}.fc2", 2 * width, width)
        shapes |= _norm(f"{block}.final_layer_norm", width)
    before = trunk[0]
    for stage, channels in enumerate(trunk, 1):
        for half in (0, 1):
            block = f"{video}.resnet.trunk.layer{stage}.{half}"
            shapes |= {
                f"{block}.conv1.weight": (channels, channels if half else before, 3, 3),
                **_norm(f"{block}.bn1", channels),
                f"{block}.relu1.weight": (channels,),
                f"{block}.conv2.weight": (channels, channels, 3, 3),
                **_norm(f"{block}.bn2", channels),
                f"{block}.relu2.weight": (channels,),
            }
        if stage > 1:
            shapes[f"{video}.resnet.trunk.layer{stage}.0.downsample.0.weight"] = (
                *(channels, before),
                *(1, 1),
            )
            shapes |= _norm(f"{video}.resnet.trunk.layer{stage}.0.downsample.1", channels)
        before = channels
    state = _filled(shapes, seed=2)
    return state | _running(state)


def _running(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What batch normalisation has seen, for each that the trunk holds."""
    seen: dict[str, Tensor] = {}
    for name, value in state.items():
        base = name.removesuffix(".bias")
        if base != name and ".resnet." in name:
            seen[f"{base}.running_mean"] = 0.3 * value
            seen[f"{base}.running_var"] = 1.0 + value.abs()
            seen[f"{base}.num_batches_tracked"] = torch.tensor(7)
    return seen
