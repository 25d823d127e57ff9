"""The switches of training that stand at the paper's position or at ours."""

from dataclasses import replace

import pytest
import torch

from models.conditions import Conditions
from models.flow import (
    PAPER_DROPOUT,
    DropoutConfig,
    draw_flow,
    draw_times,
    drawn_loss,
    flow_loss,
)
from tests.models.test_flow import conditions, model, rng


def test_the_papers_dropout_takes_everything_from_a_whole_batch_or_nothing() -> None:
    generator, given, dropped = rng(), conditions(batch=4), 0
    for _ in range(400):
        kept = PAPER_DROPOUT.apply(given, generator)
        present = {kept.present(name).all().item() for name in ("visual", "motion", "phonemes")}
        gone = {(~kept.present(name)).all().item() for name in ("visual", "motion", "phonemes")}
        assert present != gone and len(present) == 1
        dropped += gone == {True}
    assert 20 < dropped < 65  # 40 ± 4 standard deviations


def test_sync_and_lips_are_dropped_at_their_rates_and_move_no_other_draw() -> None:
    plain = conditions(batch=4000)
    given = replace(
        plain,
        sync=torch.zeros(4000, 10, 1),
        lips=torch.zeros(4000, 10, 1),
        has_sync=None,
        has_lips=None,
    )
    rates = DropoutConfig(everything=0.0, sync=0.2, lips=0.5)
    kept, before = rates.apply(given, rng()), rates.apply(plain, rng())
    assert float(kept.present("sync").float().mean()) == pytest.approx(0.8, abs=0.03)
    assert float(kept.present("lips").float().mean()) == pytest.approx(0.5, abs=0.03)
    assert torch.equal(kept.present("visual"), before.present("visual"))


def test_padding_as_signal_is_trained_on_as_latents_of_0() -> None:
    net, given = model(), conditions()
    given.mask[:, 6:] = False
    x = torch.randn(2, 10, 6, generator=rng(5))
    whole = replace(given, mask=torch.ones_like(given.mask))
    silent = x.masked_fill(~given.mask[..., None], 0)
    signal = flow_loss(net, x, given, generator=rng(), padding="signal").loss
    torch.testing.assert_close(signal, flow_loss(net, silent, whole, generator=rng()).loss)
    assert not torch.allclose(signal, flow_loss(net, x, given, generator=rng()).loss)


def test_early_times_are_squares_of_uniform_ones() -> None:
    uniform = draw_times(1000, "uniform", torch.Generator().manual_seed(1))
    early = draw_times(1000, "early", torch.Generator().manual_seed(1))
    torch.testing.assert_close(early, uniform.square())


def test_an_error_counts_by_the_weight_of_its_channel() -> None:
    draws = draw_flow((2, 3, 4), (), generator=torch.Generator().manual_seed(0))
    given = Conditions(mask=torch.ones(2, 3, dtype=torch.bool))
    x_1 = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(1))

    def still(x_t: torch.Tensor, t: torch.Tensor, told: Conditions) -> torch.Tensor:
        return torch.zeros_like(x_t)

    squares = (x_1 - draws.x_0).square()
    weights = torch.tensor([2.5, 1.0, 0.5, 0.0])
    weighted = drawn_loss(still, x_1, given, draws, weights=weights)
    torch.testing.assert_close(weighted.loss, (squares * weights).mean())
    even = drawn_loss(still, x_1, given, draws)
    torch.testing.assert_close(even.loss, squares.mean())
