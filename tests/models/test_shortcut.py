import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from models.conditions import Conditions
from models.flow import path, sample
from models.guidance import Guidance, guided_field
from models.shortcut import (
    ShortcutConfig,
    ShortcutFlow,
    Spans,
    draw_spans,
    follow,
    sample_shortcut,
    shortcut_error,
    shortcut_loss,
    visited,
)
from models.solvers import euler
from tests.models.test_flow import conditions, model, rng

MODE, SPREAD = 2.0, 0.4
"""The toy's data: two equally likely bumps at -MODE and MODE."""
TOY = ShortcutConfig(finest_steps=8)


def two_bumps(x: Tensor, t: Tensor | float) -> Tensor:
    """The exact velocity E[x_1 - x_0 | x_t = x] of the path from N(0, 1) to the two bumps."""
    t = torch.as_tensor(t, dtype=x.dtype).expand(len(x))[:, None]
    variance = (1 - t) ** 2 + (t * SPREAD) ** 2
    right = torch.sigmoid(2 * t * MODE * x / variance)
    slope = (t * SPREAD**2 - (1 - t)) / variance
    return (2 * right - 1) * (MODE - slope * t * MODE) + slope * x


def toy_noise_and_ends() -> tuple[Tensor, Tensor]:
    """Quantiles of noise and data, each (200, 1): in one dimension a flow keeps their order."""
    shares = (torch.arange(200, dtype=torch.float64) + 0.5) / 200
    low, high = torch.full_like(shares, -9), torch.full_like(shares, 9)
    for _ in range(50):
        middle = (low + high) / 2
        bumps = [torch.special.ndtr((middle - at) / SPREAD) for at in (-MODE, MODE)]
        below = sum(bumps) / 2 < shares
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return torch.special.ndtri(shares)[:, None].float(), low[:, None].float()


class Toy(nn.Module):
    """A student of two hidden layers."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(2 + TOY.levels, 64),
            nn.SiLU(),
            nn.Linear(64, 64),
            nn.SiLU(),
            nn.Linear(64, 1),
        )

    def forward(self, x: Tensor, t: Tensor, d: Tensor) -> Tensor:
        level = torch.eye(TOY.levels)[-d.log2().round().long()]
        return self.layers(torch.cat([x, t[:, None], level], 1))


@pytest.fixture(scope="module")
def toy() -> Callable[[int], Tensor]:
    """Where the trained student lands from the toy's noise, by the number of steps."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        student = Toy()
    slow = copy.deepcopy(student)
    generator, total, batch = rng(), 500, 128
    optimiser = torch.optim.Adam(student.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, total)
    for _ in range(total):
        spans = draw_spans(batch, TOY, generator)
        noise = torch.randn(batch, 1, 1, generator=generator)
        side = torch.randint(0, 2, (batch, 1, 1), generator=generator) * 2 - 1
        data = side * MODE + SPREAD * torch.randn(batch, 1, 1, generator=generator)
        x_t = path(noise, data, spans.t).x_t[..., 0]
        error = shortcut_error(student, slow, two_bumps if spans.taught else None, x_t, spans)
        optimiser.zero_grad()
        error.square().mean().backward()
        nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        follow(slow, student, 0.9)

    @torch.no_grad()
    def land(steps: int) -> Tensor:
        def field(x: Tensor, t: float) -> Tensor:
            return student(x, torch.full((len(x),), t), torch.full((len(x),), 1 / steps))

        return euler(field, toy_noise_and_ends()[0], steps)

    return land


def test_the_toys_velocity_leads_to_its_quantiles() -> None:
    noise, ends = toy_noise_and_ends()
    torch.testing.assert_close(euler(two_bumps, noise, 1000), ends, atol=1e-2, rtol=0)


def test_four_steps_of_the_student_beat_four_and_eight_of_its_teacher(
    toy: Callable[[int], Tensor],
) -> None:
    noise, ends = toy_noise_and_ends()
    teacher4, teacher8 = (
        float((euler(two_bumps, noise, steps) - ends).abs().mean()) for steps in (4, 8)
    )
    student4 = float((toy(4) - ends).abs().mean())
    assert student4 < 0.45 * teacher4
    assert student4 < teacher8


@pytest.mark.parametrize("steps", [2, 8])
def test_one_step_of_the_student_lands_where_its_shorter_steps_do(
    toy: Callable[[int], Tensor], steps: int
) -> None:
    noise, _ = toy_noise_and_ends()
    apart = (euler(two_bumps, noise, 1) - euler(two_bumps, noise, steps)).abs().mean()
    assert float((toy(1) - toy(steps)).abs().mean()) < 0.25 * float(apart)


def still(x: Tensor, t: Tensor, d: Tensor) -> Tensor:
    return torch.zeros_like(x)


def test_a_taught_step_should_be_the_teachers_midpoint_step() -> None:
    spans = Spans(torch.tensor([0.25, 0.5]), torch.full((2,), 0.25), True)
    x = torch.tensor([[1.0], [2.0]])
    # dx/dt = 3 t: the midpoint rule is exact, and the mean over a step is its middle.
    error = shortcut_error(still, still, lambda x, t: 3 * t[:, None].expand_as(x), x, spans)
    torch.testing.assert_close(error, torch.tensor([[-3 * 0.375], [-3 * 0.625]]))


def test_a_student_that_knows_the_exact_flow_has_no_error_to_learn_from() -> None:
    def exact(x: Tensor, t: Tensor, d: Tensor) -> Tensor:
        return x * (d[:, None].exp() - 1) / d[:, None]  # dx/dt = x

    x = torch.randn(4, 3, dtype=torch.float64, generator=rng())
    d = torch.tensor([1.0, 0.5, 0.5, 0.25], dtype=torch.float64)
    spans = Spans(torch.zeros_like(d), d, False)
    error = shortcut_error(exact, exact, None, x, spans)
    torch.testing.assert_close(error, torch.zeros_like(x))
    wrong = shortcut_error(lambda x, t, d: x, lambda x, t, d: x, None, x, spans)
    assert float(wrong.abs().max()) > 0.1


def test_steps_are_drawn_as_a_sampler_takes_them() -> None:
    generator, config, shares = rng(), ShortcutConfig(finest_steps=8, teacher_share=0.3), []
    for _ in range(400):
        t, d, taught = draw_spans(16, config, generator)
        assert torch.equal((t / d).floor() * d, t) and float((t + d).max()) <= 1
        allowed = {1 / 8} if taught else {1.0, 1 / 2, 1 / 4}
        assert set(d.tolist()) <= allowed
        shares.append(taught)
    assert sum(shares) / 400 == pytest.approx(0.3, abs=0.07)


def sized(student: ShortcutFlow) -> ShortcutFlow:
    """The student with step sizes that count."""
    with torch.no_grad():
        student.step_size.weight.copy_(torch.randn(student.step_size.weight.shape, generator=rng()))
    return student


@torch.no_grad()
def test_a_new_student_is_its_teacher_at_every_step_size() -> None:
    teacher = model()
    student, given = ShortcutFlow(teacher, 8), conditions()
    for steps in (1, 8):
        expected = sample(teacher, given, steps=steps, guidance=1.0, generator=rng())
        found = sample_shortcut(student, given, steps=steps, generator=rng())
        torch.testing.assert_close(found, expected)


@torch.no_grad()
def test_the_step_size_changes_the_velocity_of_its_own_sample_only() -> None:
    student = sized(ShortcutFlow(model(), 8))
    x, t = torch.randn(2, 10, 6, generator=rng()), torch.ones(2)
    context = student.prepare(conditions())
    one = student.velocity(x, t, torch.tensor([1.0, 0.5]), context)
    other = student.velocity(x, t, torch.tensor([1.0, 0.125]), context)
    torch.testing.assert_close(one[0], other[0])
    assert float((one[1] - other[1]).abs().max()) > 1e-3


def test_the_first_loss_of_a_student_is_its_distance_from_the_guided_teacher() -> None:
    teacher, given, x_1 = model(), conditions(), torch.randn(2, 10, 6, generator=rng(5))
    config = ShortcutConfig(finest_steps=8, teacher_share=1.0, guidance=Guidance(4.0, 1.5))
    student = ShortcutFlow(teacher, 8)
    found = shortcut_loss(
        student, copy.deepcopy(student), teacher, x_1, given, generator=rng(), config=config
    )
    generator = rng()
    t, d, _ = draw_spans(2, config, generator)
    x_t = path(torch.randn(x_1.shape, generator=generator), x_1, t).x_t
    with torch.no_grad():
        field = guided_field(teacher, given, config.guidance)
        half = x_t + d[:, None, None] / 2 * field(x_t, t)
        expected = teacher(x_t, t, given) - field(half, t + d / 2)
    torch.testing.assert_close(found.loss, expected.square().mean())


@pytest.mark.parametrize("teacher_share", [0.0, 1.0])
def test_only_the_student_learns_and_padding_does_not_count(teacher_share: float) -> None:
    teacher = model()
    student, slow = (sized(ShortcutFlow(teacher, 8)) for _ in range(2))
    given = Conditions(mask=torch.tensor([[True] * 6 + [False] * 4] * 2))
    x_1 = torch.randn(2, 10, 6, generator=rng())
    other = x_1.masked_fill(~given.mask[..., None], float("nan"))
    config = ShortcutConfig(finest_steps=8, teacher_share=teacher_share)
    losses = [
        shortcut_loss(student, slow, teacher, x, given, generator=rng(7), config=config).loss
        for x in (x_1, other)
    ]
    assert torch.equal(losses[0], losses[1])
    losses[0].backward()
    assert all(weight.grad is None for net in (teacher, slow) for weight in net.parameters())
    assert student.step_size.weight.grad is not None and student.step_size.weight.grad.any()


def test_visited_states_are_eulers_along_the_teachers_way() -> None:
    x_0, t = torch.tensor([[1.0], [2.0], [4.0]]), torch.tensor([0.0, 0.5, 0.75])
    found = visited(lambda x, t: x, x_0, t, 4)  # dx/dt = x
    torch.testing.assert_close(found, x_0 * torch.tensor([[1.0], [1.25**2], [1.25**3]]))


@pytest.mark.parametrize("teacher_share", [0.0, 1.0])
def test_at_the_teachers_states_the_data_does_not_count(teacher_share: float) -> None:
    student, slow = (sized(ShortcutFlow(model(), 8)) for _ in range(2))
    config = ShortcutConfig(finest_steps=8, teacher_share=teacher_share, states="teacher")
    losses = [
        shortcut_loss(
            student, slow, model(), x_1, conditions(), generator=rng(), config=config
        ).loss
        for x_1 in (torch.zeros(2, 10, 6), torch.ones(2, 10, 6))
    ]
    assert torch.equal(losses[0], losses[1]) and losses[0] > 0


def test_the_slow_student_follows_by_the_share_that_decay_leaves() -> None:
    slow, student = nn.Linear(2, 1), nn.Linear(2, 1)
    expected = 0.9 * slow.weight.detach() + 0.1 * student.weight.detach()
    follow(slow, student, 0.9)
    torch.testing.assert_close(slow.weight.detach(), expected)


def test_steps_that_were_not_learned_are_refused() -> None:
    student = ShortcutFlow(model(), 8)
    for steps in (0, 3, 16):
        with pytest.raises(ValueError, match=f"steps={steps} must be a power of two from 1 to 8"):
            sample_shortcut(student, conditions(), steps=steps, generator=rng())
    with pytest.raises(ValueError, match="finest_steps=6"):
        ShortcutConfig(finest_steps=6)
    with pytest.raises(ValueError, match="built for finest_steps=8"):
        shortcut_loss(
            student,
            student,
            model(),
            torch.zeros(2, 10, 6),
            conditions(),
            generator=rng(),
            config=ShortcutConfig(finest_steps=16),
        )
