"""The transformer equals diffusers' Stable Audio transformer with the same weights."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from models.conditions import Conditions
from models.presets import PRESETS
from models.transformer import VSSFlow

LATENTS, FRAMES = 12, 5
STATED = (3, 4)
"""Latents and frames of the second sample that are padding."""


def of_diffusers(module: str) -> Any:
    return pytest.importorskip(
        f"diffusers.{module}",
        reason="diffusers, the reference, is not installed; run make setup",
    )


def transformer_of_diffusers(**sizes: int) -> Any:
    module = of_diffusers("models.transformers.stable_audio_transformer")
    return module.StableAudioDiTModel(**sizes)


def small_sizes() -> Any:
    """The published structure with narrow layers; diffusers' inner width is always 4x."""
    return replace(
        PRESETS["vssflow_m"](),
        layers=3,
        width=32,
        heads=4,
        context_heads=2,
        context_width=16,
        ffn_width=128,
        audio_channels=6,
        visual_dim=10,
        speaker_dim=5,
        phoneme_dim=4,
        sync_dim=7,
        lips_dim=9,
        aligned_hidden=11,
        fourier_features=8,
    )


def net() -> VSSFlow:
    """A model of which no weight is zero."""
    torch.manual_seed(0)
    made = VSSFlow(small_sizes()).eval()
    with torch.no_grad():
        for weight in made.parameters():
            scale = 0.5 if weight.ndim == 1 else 0.7 * weight.shape[-1] ** -0.5
            weight.copy_(scale * torch.randn(weight.shape))
    return made


def mapped(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Our weights under the names that diffusers gives them."""
    found = {
        "time_proj.weight": state["fourier"],
        "preprocess_conv.weight": state["mix_in.weight"][..., None],
        "proj_in.weight": state["project_in.weight"],
        "proj_out.weight": state["project_out.weight"],
        "postprocess_conv.weight": state["mix_out.weight"][..., None],
    }
    for layer in (0, 2):
        found[f"cross_attention_proj.{layer}.weight"] = state[f"embedding.tokens.{layer}.weight"]
        for kind in ("weight", "bias"):
            found[f"timestep_proj.{layer}.{kind}"] = state[f"time.{layer}.{kind}"]
    for block in range(3):
        ours, theirs = f"blocks.{block}", f"transformer_blocks.{block}"
        query, key, value = state[f"{ours}.self_attention.qkv.weight"].chunk(3)
        cross_key, cross_value = state[f"{ours}.cross_attention.key_value.weight"].chunk(2)
        found |= {
            f"{theirs}.attn1.to_q.weight": query,
            f"{theirs}.attn1.to_k.weight": key,
            f"{theirs}.attn1.to_v.weight": value,
            f"{theirs}.attn1.to_out.0.weight": state[f"{ours}.self_attention.out.weight"],
            f"{theirs}.attn2.to_q.weight": state[f"{ours}.cross_attention.query.weight"],
            f"{theirs}.attn2.to_k.weight": cross_key,
            f"{theirs}.attn2.to_v.weight": cross_value,
            f"{theirs}.attn2.to_out.0.weight": state[f"{ours}.cross_attention.out.weight"],
        }
        for kind in ("weight", "bias"):
            found |= {
                f"{theirs}.norm1.{kind}": state[f"{ours}.self_norm.{kind}"],
                f"{theirs}.norm2.{kind}": state[f"{ours}.cross_norm.{kind}"],
                f"{theirs}.norm3.{kind}": state[f"{ours}.ffn_norm.{kind}"],
                f"{theirs}.ff.net.0.proj.{kind}": state[f"{ours}.ffn.into.{kind}"],
                f"{theirs}.ff.net.2.{kind}": state[f"{ours}.ffn.out.{kind}"],
            }
    return found


def conditions() -> Conditions:
    mask, frames = torch.ones(2, LATENTS).bool(), torch.ones(2, FRAMES).bool()
    mask[1, -STATED[0] :] = False
    frames[1, -STATED[1] :] = False
    return Conditions(
        mask=mask,
        visual=torch.randn(2, FRAMES, 10),
        visual_mask=frames,
        phonemes=torch.randint(0, 71, (2, LATENTS)),
        speaker=torch.randn(2, 5),
        sync=torch.randn(2, LATENTS, 7),
        lips=torch.randn(2, LATENTS, 9),
        has_lips=torch.tensor([True, False]),
    )


def network(x: Tensor, state: dict[str, Tensor], name: str) -> Tensor:
    first, second = (state[f"embedding.{name}.{layer}.weight"] for layer in (0, 2))
    hidden = x @ first.T + state.get(f"embedding.{name}.0.bias", torch.tensor(0.0))
    return (hidden * hidden.sigmoid()) @ second.T


def reference(made: VSSFlow, x: Tensor, t: Tensor, given: Conditions) -> Tensor:
    """The velocity by diffusers' transformer, and the conditions' networks written out."""
    sizes, state = made.config, made.state_dict()
    channels = 6 + 4 + 7 + 9
    theirs = transformer_of_diffusers(
        in_channels=channels,
        out_channels=channels,
        num_layers=3,
        attention_head_dim=8,
        num_attention_heads=4,
        num_key_value_attention_heads=2,
        cross_attention_dim=16,
        time_proj_dim=16,
        global_states_input_dim=3,
        cross_attention_input_dim=16,
    ).eval()
    missing, unexpected = theirs.load_state_dict(mapped(state), strict=False)
    # The paper's model has no global conditions; zeros switch them off, for they have no bias.
    assert unexpected == [] and all(name.startswith("global_proj") for name in missing)
    assert given.visual is not None and given.phonemes is not None and given.speaker is not None
    assert given.sync is not None and given.lips is not None and given.visual_mask is not None
    lips = network(given.lips, state, "lips")
    lips[1] = state["embedding.null_lips"]
    aligned = torch.cat(
        [
            state["embedding.phonemes.weight"][given.phonemes],
            network(given.sync, state, "sync"),
            lips,
        ],
        -1,
    )
    joined = torch.cat([x, aligned], -1)
    speaker = network(given.speaker, state, "speaker")
    tokens = torch.cat([speaker[:, None], network(given.visual, state, "visual")], 1)
    turns = of_diffusers("models.embeddings").get_1d_rotary_pos_embed(
        sizes.rotary_dim, LATENTS + 1, use_real=True, repeat_interleave_real=False
    )
    out = theirs(
        joined.mT,
        t,
        encoder_hidden_states=tokens,
        global_hidden_states=torch.zeros(2, 1, 3),
        rotary_embedding=turns,
        attention_mask=given.mask,
        encoder_attention_mask=torch.cat([torch.ones(2, 1).bool(), given.visual_mask], 1),
        return_dict=False,
    )[0]
    return out.mT[..., :6] + state["offset"]


@torch.no_grad()
def test_the_forward_pass_equals_diffusers_stable_audio_with_the_same_weights() -> None:
    made, given = net(), conditions()
    x, t = torch.randn(2, LATENTS, 6), torch.tensor([0.2, 0.9])
    expected = reference(made, x, t, given).masked_fill(~given.mask[..., None], 0)
    assert float(expected.std()) > 0.3
    torch.testing.assert_close(made(x, t, given), expected, atol=1e-5, rtol=0)


def test_the_published_size_without_its_condition_networks_is_as_large_as_stable_audios() -> None:
    with torch.device("meta"):
        ours = VSSFlow(PRESETS["vssflow_m"]())
        theirs = transformer_of_diffusers(in_channels=1952, out_channels=1952, num_layers=10)
    own = sum(
        weight.numel()
        for name, weight in ours.named_parameters()
        if not name.startswith("embedding.") or name.startswith("embedding.tokens.")
    )
    others = sum(
        weight.numel()
        for name, weight in theirs.named_parameters()
        if not name.startswith("global_proj.")
    )
    assert own - 128 == others == 454_252_544 + 128  # ours has an offset, both have frozen weights
