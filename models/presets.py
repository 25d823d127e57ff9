"""Named sizes of the transformer."""

from collections.abc import Callable

from models.motion import MOTION_DIM
from models.transformer import VSSFlowConfig


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
    )


PRESETS: dict[str, Callable[[], VSSFlowConfig]] = {"tiny": tiny}
"""Every preset by the name that `talkies train --preset` takes."""
