"""Weights of Stable Audio's transformer as the beginning of ours.

The blocks are the same network: `of_stable_audio` gives the weights that diffusers'
`StableAudioDiTModel` holds the names of ours.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from models.transformer import VSSFlow

_WHOLE = {
    "time_proj.weight": "fourier",
    "timestep_proj.0.weight": "time.0.weight",
    "timestep_proj.0.bias": "time.0.bias",
    "timestep_proj.2.weight": "time.2.weight",
    "timestep_proj.2.bias": "time.2.bias",
    "cross_attention_proj.0.weight": "embedding.tokens.0.weight",
    "cross_attention_proj.2.weight": "embedding.tokens.2.weight",
    "preprocess_conv.weight": "mix_in.weight",
    "proj_in.weight": "project_in.weight",
    "proj_out.weight": "project_out.weight",
    "postprocess_conv.weight": "mix_out.weight",
}
_IN_BLOCK = {
    "attn1.to_out.0": "self_attention.out",
    "attn2.to_q": "cross_attention.query",
    "attn2.to_out.0": "cross_attention.out",
    "norm1": "self_norm",
    "norm2": "cross_norm",
    "norm3": "ffn_norm",
    "ff.net.0.proj": "ffn.into",
    "ff.net.2": "ffn.out",
}
_JOINED = {
    "self_attention.qkv": ("attn1.to_q", "attn1.to_k", "attn1.to_v"),
    "cross_attention.key_value": ("attn2.to_k", "attn2.to_v"),
}
_BLOCK = re.compile(r"transformer_blocks\.(\d+)\.(.+)\.(weight|bias)")


@dataclass(frozen=True, slots=True)
class Begun:
    """Which of a model's weights a state dict gave it, by their names in the model.

    Attributes:
        taken: those that it gave.
        left: those that stayed as they were, because it has none of that name and shape.
        unused: names in the state dict that nothing was taken from.
    """

    taken: tuple[str, ...]
    left: tuple[str, ...]
    unused: tuple[str, ...]


def place_of(theirs: str) -> str | None:
    """The weight of ours that one of diffusers' transformer is, or is a part of; None: no place."""
    if theirs in _WHOLE:
        return _WHOLE[theirs]
    if (match := _BLOCK.fullmatch(theirs)) is None:
        return None
    block, layer, kind = match.groups()
    name = _IN_BLOCK.get(layer) or next((n for n, parts in _JOINED.items() if layer in parts), None)
    return name and f"blocks.{block}.{name}.{kind}"


def of_stable_audio(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of diffusers' transformer that ours has a place for, by our names."""
    parts: dict[str, dict[str, Tensor]] = {}
    for theirs, value in state.items():
        if ours := place_of(theirs):
            parts.setdefault(ours, {})[theirs] = value
    found = {}
    for ours, given in parts.items():
        # Queries, keys and values in this order, which is not that of their names.
        order = next((layers for name, layers in _JOINED.items() if f".{name}." in ours), None)
        if order is None:
            (value,) = given.values()
            # The residual convolutions are of width 1.
            found[ours] = value.squeeze(-1) if ours.startswith("mix_") else value
        elif len(given) == len(order):
            stem = next(iter(given)).rpartition(".attn")[0]
            found[ours] = torch.cat([given[f"{stem}.{layer}.weight"] for layer in order])
    return found


@torch.no_grad()
def begin_from(model: VSSFlow, state: Mapping[str, Tensor]) -> Begun:
    """Gives a model the weights of a state dict that fit, under our names or Stable Audio's.

    Raises ValueError where none fits.
    """
    own = model.state_dict()
    is_ours = bool(own.keys() & state.keys())
    named = state if is_ours else of_stable_audio(state)
    fitting = {
        name: value
        for name, value in named.items()
        if name in own and own[name].shape == value.shape
    }
    if not fitting:
        raise ValueError(
            f"none of its {len(state)} weights has a name and a shape of this model's {len(own)}"
        )
    model.load_state_dict(fitting, strict=False)
    used = {name for name in state if (name if is_ours else place_of(name)) in fitting}
    return Begun(
        taken=tuple(sorted(fitting)),
        left=tuple(sorted(own.keys() - fitting.keys())),
        unused=tuple(sorted(state.keys() - used)),
    )
