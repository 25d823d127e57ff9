"""The counted cost of a training step is the cost that PyTorch counts."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from models.conditions import Conditions
from models.flow import NO_DROPOUT, flow_loss
from models.footprint import StepShape, activation_numbers, flops_per_step
from models.presets import PRESETS
from models.sizes import VSSFlowConfig
from models.transformer import VSSFlow, seeded

SHAPE = StepShape(batch=3, latents=20, frames=8)
SMALL: VSSFlowConfig = replace(
    PRESETS["vssflow_m"](),
    layers=2,
    width=64,
    heads=4,
    context_heads=2,
    context_width=24,
    ffn_width=160,
    audio_channels=12,
    visual_dim=20,
    speaker_dim=9,
    sync_dim=6,
    lips_dim=10,
    aligned_hidden=14,
)


def given(config: VSSFlowConfig, shape: StepShape, device: str) -> tuple[Tensor, Conditions]:
    """Latents and every condition that the sizes know."""

    def made(*sizes: int) -> Tensor:
        return torch.ones(shape.batch, *sizes, device=device)

    aligned: dict[str, Any] = {
        name: made(shape.latents, channels)
        for name, channels in (
            ("motion", config.motion_dim),
            ("sync", config.sync_dim),
            ("lips", config.lips_dim),
        )
    }
    conditions = Conditions(
        mask=made(shape.latents).bool(),
        visual=made(shape.frames, config.visual_dim),
        phonemes=made(shape.latents).long(),
        speaker=made(config.speaker_dim),
        **aligned,
    )
    return made(shape.latents, config.audio_channels), conditions


@pytest.mark.parametrize("config", [PRESETS["tiny"](), SMALL], ids=["tiny", "published"])
def test_the_operations_of_a_step_are_those_that_pytorch_counts(config: VSSFlowConfig) -> None:
    with torch.device("meta"):
        net = VSSFlow(config)
    x, conditions = given(config, SHAPE, "meta")
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        net(x, torch.ones(SHAPE.batch, device="meta"), conditions).sum().backward()
    assert flops_per_step(config, SHAPE) == counter.get_total_flops()


@pytest.mark.parametrize("config", [PRESETS["tiny"](), SMALL], ids=["tiny", "published"])
def test_the_kept_numbers_are_those_that_autograd_keeps_within_3_percent(
    config: VSSFlowConfig,
) -> None:
    net = seeded(config, 0)
    weights = {weight.untyped_storage().data_ptr() for weight in net.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    x, conditions = given(config, SHAPE, "cpu")
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = flow_loss(net, x, conditions, generator=torch.Generator(), dropout=NO_DROPOUT)
    assert loss.loss.requires_grad
    counted = 4 * activation_numbers(config, SHAPE, fused=False)
    assert counted == pytest.approx(sum(kept.values()), rel=0.03)
