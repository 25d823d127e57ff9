"""Named sizes of the transformer."""

from collections.abc import Callable
from dataclasses import replace

from models.motion import MOTION_DIM
from models.sizes import VSSFlowConfig


def tiny() -> VSSFlowConfig:
    """Ten narrow layers: a demonstration that trains in about two minutes on two CPU cores."""
    return VSSFlowConfig(
        layers=10,
        width=128,
        heads=4,
        context_heads=2,
        context_width=128,
        ffn_width=384,
        audio_channels=64,
        visual_dim=1280,
        motion_dim=MOTION_DIM,
        speaker_dim=256,
        cells_blocks=2,
    )


def mini() -> VSSFlowConfig:
    """Ten layers of 192: twice the parameters of `tiny`."""
    return replace(tiny(), width=192, heads=6, ffn_width=576)


def small() -> VSSFlowConfig:
    """Ten layers of 384: 24 million parameters, for a few hours of data on one GPU."""
    return replace(tiny(), width=384, heads=6, context_heads=3, context_width=384, ffn_width=1152)


def vssflow_m() -> VSSFlowConfig:
    """The published size: 463,565,184 trainable parameters and 128 frozen Fourier weights.

    The channels are 128 of audio, 32 of phonemes, 768 of sync and 1024 of lips: 1952.

    | part | parameters |
    |---|---|
    | 10 blocks of 43,670,016 | 436,700,160 |
    | in and out: 2 · 1952² of the residual 1x1 convolutions, 2 · 1952 · 1536 | 13,617,152 |
    | time: 256 · 1536 + 1536, 1536² + 1536 | 2,755,584 |
    | context tokens: 2 · 768² | 1,179,648 |
    | sync 768 → 2048 → 768 and lips 1024 → 2048 → 1024, no biases | 7,340,032 |
    | what is seen 768 → 768 → 768, no biases | 1,179,648 |
    | who speaks 256 → 768 → 768, one bias of 768 | 787,200 |
    | nulls of 3 · 768 + 1024; 71 phoneme ids and their null of 32 | 5,632 |
    | offset of the audio channels | 128 |

    A block is self-attention 4 · 1536², cross-attention 2 · 1536² + 768 · 2 · 12 · 64, SwiGLU
    1536 · 12288 + 12288 + 6144 · 1536 + 1536, and three LayerNorms of 2 · 1536. The first four rows
    follow from what is published of the transformer. What the other 9,312,640 parameters are is
    not: the last five rows are our choice of condition networks that comes to the published number.
    """
    return VSSFlowConfig(
        audio_channels=128,
        visual_dim=768,
        motion_dim=0,
        phoneme_count=71,  # 69 stressed ARPAbet phones, the blank and "nothing is said"
        sync_dim=768,
        lips_dim=1024,
        aligned_hidden=2048,
        deep_context=True,
        full_output=True,
        velocity_offset=True,
        context_positions=False,
    )


def vssflow_v1() -> VSSFlowConfig:
    """The paper's first versions: phonemes with durations, no sync, no lips; 443 M parameters."""
    return replace(vssflow_m(), sync_dim=0, lips_dim=0)


def vssflow_s() -> VSSFlowConfig:
    """Five layers of the published width: 245 M parameters."""
    return replace(vssflow_m(), layers=5)


def vssflow_l() -> VSSFlowConfig:
    """Fifteen layers of the published width: 682 M parameters."""
    return replace(vssflow_m(), layers=15)


PRESETS: dict[str, Callable[[], VSSFlowConfig]] = {
    "tiny": tiny,
    "mini": mini,
    "small": small,
    "vssflow_s": vssflow_s,
    "vssflow_m": vssflow_m,
    "vssflow_l": vssflow_l,
    "vssflow_v1": vssflow_v1,
}
"""Every preset by the name that `talkies train --preset` takes."""
