import pytest
import torch
from torch.nn.functional import mse_loss

from models.conditions import Conditions
from models.flow import (
    NO_DROPOUT,
    DropoutConfig,
    draw_times,
    flow_loss,
    path,
    sample,
)
from models.solvers import euler
from models.transformer import VSSFlow, VSSFlowConfig, seeded

SMALL = VSSFlowConfig(
    layers=2,
    width=64,
    heads=2,
    context_heads=1,
    context_width=16,
    ffn_width=128,
    audio_channels=6,
    visual_dim=10,
    motion_dim=3,
    speaker_dim=5,
)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def conditions(batch: int = 2, latents: int = 10) -> Conditions:
    return Conditions(
        mask=torch.ones(batch, latents, dtype=torch.bool),
        visual=torch.randn(batch, 4, 10, generator=rng(1)),
        motion=torch.randn(batch, latents, 3, generator=rng(2)),
        phonemes=torch.randint(0, 20, (batch, latents), generator=rng(3)),
    )


def model() -> VSSFlow:
    made = seeded(SMALL, 0)
    with torch.no_grad():
        for weight in made.parameters():
            if not weight.any():
                weight.copy_(0.2 * torch.randn(weight.shape, generator=rng(4)))
    return made.eval()


def test_the_path_runs_from_noise_to_data_at_its_own_velocity() -> None:
    x_0, x_1 = torch.randn(2, 3, 4, generator=rng()), torch.randn(2, 3, 4, generator=rng(1))
    start, end = path(x_0, x_1, torch.zeros(2)), path(x_0, x_1, torch.ones(2))
    torch.testing.assert_close(start.x_t, x_0)
    torch.testing.assert_close(end.x_t, x_1)
    torch.testing.assert_close(start.x_t + start.v, x_1)


def test_the_loss_is_the_mean_squared_error_of_valid_latents() -> None:
    given = Conditions(mask=torch.tensor([[True] * 10, [True] * 4 + [False] * 6]))
    x_1, t = torch.randn(2, 10, 6, generator=rng(5)), torch.tensor([0.2, 0.7])
    net = model()
    found = flow_loss(net, x_1, given, generator=rng(), dropout=NO_DROPOUT, t=t)
    generator = rng()
    torch.rand(2, generator=generator)
    torch.rand(5, 2, generator=generator)
    x_t, v = path(torch.randn(x_1.shape, generator=generator), x_1, t)
    predicted = net(x_t, t, given)
    torch.testing.assert_close(found.loss, mse_loss(predicted[given.mask], v[given.mask]))
    torch.testing.assert_close(found.per_sample[1], mse_loss(predicted[1, :4], v[1, :4]))


def test_what_stands_in_the_padding_does_not_change_the_loss() -> None:
    given = Conditions(mask=torch.tensor([[True] * 6 + [False] * 4]))
    x_1 = torch.randn(1, 10, 6, generator=rng())
    other = x_1.clone()
    other[:, 6:] = float("nan")
    losses = [flow_loss(model(), x, given, generator=rng(7)).loss for x in (x_1, other)]
    torch.testing.assert_close(losses[0], losses[1])


def test_the_loss_repeats_under_its_seed() -> None:
    x_1 = torch.randn(2, 10, 6, generator=rng())
    one, same, other = (
        flow_loss(model(), x_1, conditions(), generator=rng(seed)).loss for seed in (1, 1, 2)
    )
    assert torch.equal(one, same) and not torch.equal(one, other)


def test_dropout_takes_each_condition_at_its_own_rate() -> None:
    given = Conditions(
        mask=torch.ones(20_000, 1, dtype=torch.bool),
        motion=torch.zeros(20_000, 1, 3),
        phonemes=torch.zeros(20_000, 1, dtype=torch.long),
    )
    kept = DropoutConfig(motion=0.1, phonemes=0.3, everything=0.0).apply(given, rng())
    motion, phonemes = kept.present("motion"), kept.present("phonemes")
    assert float(motion.float().mean()) == pytest.approx(0.9, abs=0.01)
    assert float(phonemes.float().mean()) == pytest.approx(0.7, abs=0.01)
    assert float((motion | phonemes).float().mean()) == pytest.approx(0.97, abs=0.01)


def test_dropping_everything_takes_all_conditions_of_a_sample_together() -> None:
    kept = DropoutConfig(0, 0, 0, 0, everything=0.5).apply(conditions(batch=64), rng())
    assert torch.equal(kept.present("motion"), kept.present("visual"))
    assert 0 < int(kept.present("motion").sum()) < 64


def test_no_dropout_drops_nothing() -> None:
    kept = NO_DROPOUT.apply(conditions(batch=64), rng())
    assert kept.present("motion").all() and kept.present("visual").all()


@pytest.mark.parametrize("times", ["uniform", "logit_normal"])
def test_times_lie_between_noise_and_data_around_the_middle(times: str) -> None:
    assert times in ("uniform", "logit_normal")
    drawn = draw_times(20_000, times, rng())  # pyright: ignore[reportArgumentType]
    assert float(drawn.min()) >= 0 and float(drawn.max()) < 1
    assert float(drawn.mean()) == pytest.approx(0.5, abs=0.01)


def test_guidance_of_one_equals_the_conditional_field() -> None:
    net, given = model(), conditions()
    x = torch.randn(2, 10, 6, generator=rng())
    with torch.no_grad():
        context = net.prepare(given)
        expected = euler(lambda x, t: net.velocity(x, torch.full((2,), t), context), x, 4)
    torch.testing.assert_close(sample(net, given, steps=4, guidance=1.0, generator=rng()), expected)


@pytest.mark.parametrize("guidance", [0.0, 1.0 + 1e-6, 3.0])
def test_guidance_moves_from_the_unconditional_along_the_difference(guidance: float) -> None:
    net, given = model(), conditions()
    x, t = torch.randn(2, 10, 6, generator=rng()), torch.zeros(2)
    with torch.no_grad():
        conditional, unconditional = net(x, t, given), net(x, t, given.null())
    expected = x + unconditional + guidance * (conditional - unconditional)
    found = sample(net, given, steps=1, guidance=guidance, generator=rng())
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_a_generation_begins_with_noise_of_its_temperature() -> None:
    net, given = model(), conditions()
    x = torch.randn(2, 10, 6, generator=rng()) / 4
    with torch.no_grad():
        context = net.prepare(given)
        expected = euler(lambda x, t: net.velocity(x, torch.full((2,), t), context), x, 4)
    found = sample(net, given, steps=4, guidance=1.0, generator=rng(), temperature=0.25)
    torch.testing.assert_close(found, expected)


def test_dopri5_ends_where_many_small_steps_end() -> None:
    net, given = model(), Conditions(mask=torch.tensor([[True] * 6 + [False] * 4]))
    fine = sample(net, given, steps=50, generator=rng(), solver="midpoint")
    found = sample(net, given, generator=rng(), solver="dopri5", tolerance=1e-4)
    torch.testing.assert_close(found, fine, atol=2e-3, rtol=0)


@pytest.mark.parametrize("solver", ["euler", "midpoint", "dopri5"])
def test_sampling_repeats_under_its_seed(solver: str) -> None:
    net = model()
    one, same, other = (
        sample(net, conditions(), steps=2, generator=rng(seed), solver=solver, tolerance=1e-2)  # pyright: ignore[reportArgumentType]
        for seed in (1, 1, 2)
    )
    assert torch.equal(one, same) and not torch.equal(one, other)


def test_sampled_padding_is_zero() -> None:
    given = Conditions(mask=torch.tensor([[True] * 6 + [False] * 4]))
    latents = sample(model(), given, steps=2, generator=rng())
    assert not latents[:, 6:].any() and latents[:, :6].any()


def test_a_solver_or_step_count_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="choose one of euler, midpoint, dopri5"):
        sample(model(), conditions(), generator=rng(), solver="rk9")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="steps=0"):
        sample(model(), conditions(), generator=rng(), steps=0)


def test_a_small_model_overfits_four_samples() -> None:
    given = conditions(batch=4)
    x_1 = torch.randn(4, 10, 6, generator=rng(8))
    net, generator = seeded(SMALL, 0), rng()
    optimiser = torch.optim.AdamW([w for w in net.parameters() if w.requires_grad], lr=3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 300)
    losses = []
    for _ in range(300):
        found = flow_loss(net, x_1, given, generator=generator, dropout=NO_DROPOUT)
        optimiser.zero_grad()
        found.loss.backward()
        optimiser.step()
        schedule.step()
        losses.append(found.loss.item())
    assert sum(losses[-20:]) / 20 < 0.2 * losses[0]
    made = sample(net.eval(), given, guidance=1.0, generator=rng(9))
    correlation = torch.corrcoef(torch.stack([made.flatten(), x_1.flatten()]))[0, 1]
    assert float(correlation) > 0.9
