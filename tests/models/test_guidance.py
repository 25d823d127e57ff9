from typing import Any

import pytest
import torch
from torch import Tensor

from models.conditions import Conditions
from models.flow import sample
from models.guidance import Guidance, guided_field
from models.transformer import VSSFlow
from tests.models.test_flow import conditions, model, rng

T = torch.tensor([0.3, 0.8])


def without(given: Conditions, *names: str) -> Conditions:
    return given.dropped({name: torch.tensor([False, False]) for name in names})


def parts(net: VSSFlow, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The velocities without conditions, under what is seen, and under all, one by one."""
    given = conditions()
    sight = without(given, "phonemes", "speaker")
    none = without(sight, "visual", "motion")
    return net(x, T, none), net(x, T, sight), net(x, T, given)


@torch.no_grad()
@pytest.mark.parametrize(("sound", "speech"), [(4.0, 1.5), (1.0, 2.0), (2.0, 1.0), (3.0, 0.0)])
def test_sound_and_speech_are_guided_by_their_own_scales(sound: float, speech: float) -> None:
    net, x = model(), torch.randn(2, 10, 6, generator=rng())
    none, sight, everything = parts(net, x)
    expected = none + sound * (sight - none) + speech * (everything - sight)
    found = guided_field(net, conditions(), Guidance(sound, speech))(x, T)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_one_number_is_both_scales() -> None:
    net = model()
    one, both = (
        sample(net, conditions(), steps=2, guidance=scale, generator=rng())
        for scale in (2.5, Guidance(2.5, 2.5))
    )
    assert torch.equal(one, both)


@torch.no_grad()
def test_without_speech_its_scale_changes_nothing() -> None:
    net, x = model(), torch.randn(2, 10, 6, generator=rng())
    mute = without(conditions(), "phonemes", "speaker")
    one, other = (guided_field(net, mute, Guidance(3.0, s))(x, T) for s in (1.0, 5.0))
    torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("guidance", "copies"),
    [
        (Guidance(1, 1), 1),
        (Guidance(0, 0), 1),
        (Guidance(3, 3), 2),
        (Guidance(1, 3), 2),
        (Guidance(3, 0), 2),
        (Guidance(3, 1.5), 3),
    ],
)
def test_parts_without_a_share_are_skipped_and_the_rest_is_one_batch_prepared_once(
    guidance: Guidance, copies: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    net, batches, prepared = model(), [], []
    velocity, prepare = net.velocity, net.prepare

    def counted(x: Tensor, t: Tensor, context: Any) -> Tensor:
        batches.append(len(x))
        return velocity(x, t, context)

    def noted(given: Conditions) -> Any:
        prepared.append(given.batch)
        return prepare(given)

    monkeypatch.setattr(net, "velocity", counted)
    monkeypatch.setattr(net, "prepare", noted)
    sample(net, conditions(), steps=3, guidance=guidance, generator=rng())
    assert batches == [2 * copies] * 3
    assert prepared == [2 * copies]


def test_lower_precision_moves_latents_a_little_and_keeps_their_type() -> None:
    net = model()
    exact, coarse = (
        sample(net, conditions(), steps=4, generator=rng(), precision=precision)
        for precision in (torch.float32, torch.bfloat16)
    )
    assert coarse.dtype == torch.float32
    moved = float((coarse - exact).norm() / exact.norm())
    assert 0 < moved < 0.02
