"""AV-HuBERT's visual branch against the parts that transformers has, with the same weights."""

import importlib
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from models.av_hubert import CROP_PX, build_av_hubert
from tests.made_networks import LIPS_WIDTH, published_av_hubert

TRUNK = (4, 6, 8, 10)
VIDEO = "feature_extractor_video.resnet."


def library(module: str, name: str) -> Any:
    """A class or function of transformers, whose types are none of the type checker's business."""
    return getattr(importlib.import_module(f"transformers.models.{module}"), name)


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def mouths(count: int, pixels: int = 96) -> Tensor:
    generator = torch.Generator().manual_seed(count)
    return torch.randint(0, 256, (count, pixels, pixels), generator=generator, dtype=torch.uint8)


def test_the_transformer_is_that_of_hubert_with_the_same_weights() -> None:
    published = published_av_hubert()
    config = library("hubert.configuration_hubert", "HubertConfig")(
        hidden_size=LIPS_WIDTH,
        num_hidden_layers=2,
        num_attention_heads=LIPS_WIDTH // 64,
        intermediate_size=2 * LIPS_WIDTH,
        num_conv_pos_embeddings=8,
        num_conv_pos_embedding_groups=4,
        do_stable_layer_norm=True,
    )
    theirs = library("hubert.modeling_hubert", "HubertEncoderStableLayerNorm")(config).eval()
    named = (
        ("encoder.", ""),
        ("pos_conv.0.weight_g", "pos_conv_embed.conv.parametrizations.weight.original0"),
        ("pos_conv.0.weight_v", "pos_conv_embed.conv.parametrizations.weight.original1"),
        ("pos_conv.0.bias", "pos_conv_embed.conv.bias"),
        ("self_attn.", "attention."),
        ("self_attn_layer_norm", "layer_norm"),
        ("fc1", "feed_forward.intermediate_dense"),
        ("fc2", "feed_forward.output_dense"),
    )
    state = {}
    for name, value in published.items():
        if name.startswith("encoder."):
            for old, new in named:
                name = name.replace(old, new)
            state[name] = value
    theirs.load_state_dict(state)
    values = noise(2, 21, LIPS_WIDTH)
    with torch.no_grad():
        expected = theirs(values).last_hidden_state
        made = build_av_hubert(published).encode(values)
    assert torch.allclose(made, expected, atol=1e-5)
    assert expected.std() > 0.1


def test_the_trunk_is_resnet_18_with_the_same_weights() -> None:
    published = published_av_hubert()
    # Theirs has no slope below zero.
    published |= {name: 0 * value for name, value in published.items() if ".relu" in name}
    config = library("resnet.configuration_resnet", "ResNetConfig")(
        embedding_size=TRUNK[0],
        hidden_sizes=list(TRUNK),
        depths=[2, 2, 2, 2],
        layer_type="basic",
        hidden_act="relu",
    )
    theirs = library("resnet.modeling_resnet", "ResNetEncoder")(config).eval()
    state = {}
    for name, value in published.items():
        if name.startswith(f"{VIDEO}trunk.layer"):
            stage, half, *rest = name.removeprefix(f"{VIDEO}trunk.layer").split(".")
            inner = ".".join(rest)
            for old, new in (
                ("conv1", "layer.0.convolution"),
                ("bn1", "layer.0.normalization"),
                ("conv2", "layer.1.convolution"),
                ("bn2", "layer.1.normalization"),
                ("downsample.0", "shortcut.convolution"),
                ("downsample.1", "shortcut.normalization"),
            ):
                inner = inner.replace(old, new)
            if "relu" not in inner:
                state[f"stages.{int(stage) - 1}.layers.{half}.{inner}"] = value
    theirs.load_state_dict(state)
    images = noise(3, TRUNK[0], 22, 22)
    model = build_av_hubert(published)
    with torch.no_grad():
        expected = theirs(images).last_hidden_state
        made = images
        for stage in model.trunk.values():
            made = stage(made)
    assert torch.allclose(made, expected, atol=1e-5)


def test_the_front_sees_five_pictures_and_quarters_their_size() -> None:
    published = published_av_hubert()
    video = noise(1, 1, 9, CROP_PX, CROP_PX)
    p = {name.removeprefix(f"{VIDEO}frontend3D."): v for name, v in published.items()}
    seen = F.conv3d(video, p["0.weight"], stride=(1, 2, 2), padding=(2, 3, 3))
    norm = (p["1.running_mean"], p["1.running_var"], p["1.weight"], p["1.bias"])
    seen = F.prelu(F.batch_norm(seen, *norm), p["2.weight"])
    expected = F.max_pool2d(seen[0].transpose(0, 1), 3, 2, 1)
    with torch.no_grad():
        made = build_av_hubert(published).front(video)[0].transpose(0, 1)
    assert made.shape == (9, TRUNK[0], CROP_PX // 4, CROP_PX // 4)
    assert torch.allclose(made, expected, atol=1e-5)


def test_features_are_one_a_picture_of_its_middle_alone() -> None:
    model = build_av_hubert(published_av_hubert())
    pictures = mouths(7)
    read = model.embed(pictures)
    assert read.shape == (7, LIPS_WIDTH)
    framed = pictures.clone()
    framed[:, :4] = framed[:, -4:] = framed[..., :4] = framed[..., -4:] = 0
    assert torch.equal(model.embed(framed), read)
    framed[:, 4] = 0
    assert not torch.equal(model.embed(framed), read)
    with pytest.raises(ValueError, match="80 x 80 are smaller than 88"):
        model.embed(mouths(2, 80))


def test_a_clip_has_the_same_features_alone_and_beside_another() -> None:
    model = build_av_hubert(published_av_hubert())
    both = noise(2, 6, CROP_PX, CROP_PX)
    with torch.no_grad():
        together = model(both)
        alone = torch.cat([model(both[:1]), model(both[1:])])
    assert torch.allclose(together, alone, atol=1e-5)


def test_a_fine_tuned_checkpoint_holds_the_network_inside_its_encoder() -> None:
    published = published_av_hubert(layers=1)
    tuned = {f"encoder.w2v_model.{name}": value for name, value in published.items()}
    tuned |= {"decoder.layers.0.fc1.bias": torch.zeros(1)}
    pictures = mouths(3)
    assert torch.equal(
        build_av_hubert(tuned).embed(pictures), build_av_hubert(published).embed(pictures)
    )


def test_weights_of_another_network_are_refused() -> None:
    published = published_av_hubert(layers=1)
    del published["encoder.layers.0.self_attn.k_proj.bias"]
    with pytest.raises(ValueError, match=r"AV-HuBERT.*layers.0.k_proj.bias"):
        build_av_hubert(published)
    with pytest.raises(ValueError, match="not the weights of AV-HuBERT"):
        build_av_hubert({"conv1.weight": torch.zeros(1)})
