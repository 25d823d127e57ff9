"""The transformer equals diffusers' Stable Audio transformer with the same weights."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from models.conditions import Conditions
from models.presets import PRESETS
from models.stable_audio import begin_from
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


def their_net(layers: int = 3) -> Any:
    """Diffusers' transformer of the same sizes, of which no weight is zero."""
    channels = 6 + 4 + 7 + 9
    theirs = transformer_of_diffusers(
        in_channels=channels,
        out_channels=channels,
        num_layers=layers,
        attention_head_dim=8,
        num_attention_heads=4,
        num_key_value_attention_heads=2,
        cross_attention_dim=16,
        time_proj_dim=16,
        global_states_input_dim=3,
        cross_attention_input_dim=16,
    ).eval()
    with torch.no_grad():
        for weight in theirs.parameters():
            scale = 0.5 if weight.ndim == 1 else 0.7 * weight.flatten(1).shape[1] ** -0.5
            weight.copy_(scale * torch.randn(weight.shape))
    return theirs


def reference(theirs: Any, made: VSSFlow, x: Tensor, t: Tensor, given: Conditions) -> Tensor:
    """The velocity by diffusers' transformer, and the conditions' networks written out."""
    sizes, state = made.config, made.state_dict()
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
        # The paper's model has no global conditions; zeros switch them off: they have no bias.
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
    theirs = their_net()
    begun = begin_from(made, theirs.state_dict())
    assert all(name == "offset" or name.startswith("embedding.") for name in begun.left)
    assert all(name.startswith("global_proj.") for name in begun.unused)
    x, t = torch.randn(2, LATENTS, 6), torch.tensor([0.2, 0.9])
    expected = reference(theirs, made, x, t, given).masked_fill(~given.mask[..., None], 0)
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


def test_a_model_of_fewer_layers_and_other_channels_takes_what_fits() -> None:
    sizes = replace(small_sizes(), layers=2, audio_channels=5, context_heads=4)
    torch.manual_seed(1)
    made, theirs = VSSFlow(sizes), their_net().state_dict()
    before = {name: value.clone() for name, value in made.state_dict().items()}
    begun = begin_from(made, theirs)
    after = made.state_dict()
    for name in begun.left:
        assert torch.equal(after[name], before[name])
    query = after["blocks.1.self_attention.qkv.weight"][:32]
    assert torch.equal(query, theirs["transformer_blocks.1.attn1.to_q.weight"])
    assert set(begun.left) >= {
        "mix_in.weight",
        "project_out.weight",
        "blocks.0.cross_attention.key_value.weight",
    }
    assert {"proj_in.weight", "transformer_blocks.0.attn2.to_k.weight"} <= set(begun.unused)
    assert "transformer_blocks.2.norm1.weight" in begun.unused
    assert len(begun.taken) + len(begun.left) == len(after)


def test_a_checkpoint_of_our_own_is_taken_by_its_names() -> None:
    made, other = VSSFlow(small_sizes()), net()
    begun = begin_from(made, other.state_dict())
    assert begun.left == begun.unused == ()
    assert all(
        torch.equal(w, o) for w, o in zip(made.parameters(), other.parameters(), strict=True)
    )


def test_weights_of_another_network_are_refused() -> None:
    with pytest.raises(ValueError, match="none of its 1 weights has a name and a shape"):
        begin_from(VSSFlow(small_sizes()), {"conv.weight": torch.zeros(3)})
