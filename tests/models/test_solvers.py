import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from models.solvers import dopri5, euler, midpoint


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def exponential(x: Tensor, t: float) -> Tensor:
    return x


def adaptive(field: Callable[[Tensor, float], Tensor], x_0: Tensor, steps: int) -> Tensor:
    return dopri5(field, x_0, max_steps=10 * steps).x


def logistic(x: Tensor, t: float) -> Tensor:
    """Nonlinear in x and uneven in t; `logistic_end` is its closed form."""
    return 40 * t**3 * x * (1 - x)


def logistic_end(x_0: Tensor) -> Tensor:
    return 1 / (1 + (1 / x_0 - 1) * math.exp(-10))


@pytest.mark.parametrize("solver", [euler, midpoint, adaptive])
@pytest.mark.parametrize("steps", [1, 7])
def test_a_constant_velocity_is_followed_exactly(solver: Callable[..., Tensor], steps: int) -> None:
    x_0, velocity = torch.zeros(2, 3, 4), torch.randn(2, 3, 4, generator=rng())
    torch.testing.assert_close(solver(lambda x, t: velocity, x_0, steps), velocity)


@pytest.mark.parametrize("solver", [midpoint, adaptive])
def test_a_velocity_linear_in_time_is_followed_exactly(solver: Callable[..., Tensor]) -> None:
    end = solver(lambda x, t: torch.full_like(x, 2 * t), torch.zeros(1), 3)
    torch.testing.assert_close(end, torch.ones(1))


def test_dopri5_follows_a_quartic_velocity_exactly_at_any_tolerance() -> None:
    x_0 = torch.zeros(1, dtype=torch.float64)
    found = dopri5(lambda x, t: torch.full_like(x, 5 * t**4), x_0, rtol=1e3, atol=1e3)
    assert float(found.x) == pytest.approx(1, abs=1e-14)


@pytest.mark.parametrize(("solver", "order"), [(euler, 1), (midpoint, 2)])
def test_halving_the_step_divides_the_error_by_two_to_the_order(
    solver: Callable[..., Tensor], order: int
) -> None:
    x_0 = torch.ones(1, dtype=torch.float64)
    errors = [abs(float(solver(exponential, x_0, steps)) - math.e) for steps in (64, 128)]
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.05)


def test_one_dopri5_step_errs_at_the_sixth_power_of_its_size() -> None:
    def error(size: float) -> float:
        # A field stretched in time: one step from 0 to 1 is a step of `size` along exp.
        found = dopri5(lambda x, t: size * x, x_0, rtol=1e3, atol=1e3)
        assert found.steps == 1
        return abs(float(found.x) - math.exp(size))

    x_0 = torch.ones(1, dtype=torch.float64)
    assert math.log2(error(0.1) / error(0.05)) == pytest.approx(6, abs=0.1)


@pytest.mark.parametrize("tolerance", [1e-3, 1e-5, 1e-8])
def test_dopri5_stays_within_tolerance_of_a_nonlinear_closed_form(tolerance: float) -> None:
    x_0 = torch.tensor([[0.05, 0.2], [0.5, 0.9]], dtype=torch.float64)
    found = dopri5(logistic, x_0, rtol=tolerance, atol=tolerance)
    # The tolerance holds for each step; their sum, which the flow magnifies, may be larger.
    assert float((found.x - logistic_end(x_0)).abs().max()) < 10 * tolerance


def test_a_tighter_tolerance_takes_more_evaluations() -> None:
    x_0 = torch.full((1, 1), 1e-4, dtype=torch.float64)
    counts = [dopri5(logistic, x_0, rtol=e, atol=e).evaluations for e in (1e-3, 1e-6, 1e-9)]
    assert counts == sorted(set(counts))


def test_every_evaluation_is_counted_and_a_steps_last_is_the_next_ones_first() -> None:
    calls: list[float] = []

    def field(x: Tensor, t: float) -> Tensor:
        calls.append(t)
        return logistic(x, t)

    found = dopri5(field, torch.full((1, 1), 1e-4, dtype=torch.float64))
    assert found.rejected > 0
    assert len(calls) == found.evaluations == 2 + 6 * (found.steps + found.rejected)


def test_a_hard_sample_is_not_averaged_away_by_easy_ones_beside_it() -> None:
    speeds = torch.zeros(64, 5, dtype=torch.float64)
    speeds[7] = 20
    ends = dopri5(lambda x, t: speeds * t * x, torch.ones_like(speeds), rtol=1e-6, atol=1e-6).x
    assert torch.equal(ends[0], torch.ones(5, dtype=torch.float64))
    torch.testing.assert_close(ends[7], torch.full_like(ends[7], math.exp(10)), rtol=1e-5, atol=0)


def test_padding_neither_counts_in_the_error_nor_dilutes_it() -> None:
    valid = torch.tensor([[True] * 2 + [False] * 98])
    x_0 = torch.full((1, 2), 1e-4, dtype=torch.float64)
    alone = dopri5(logistic, x_0)
    padded = torch.cat([x_0, torch.full((1, 98), 0.3, dtype=torch.float64)], 1)
    beside = dopri5(logistic, padded, valid=valid)
    assert beside.evaluations == alone.evaluations
    torch.testing.assert_close(beside.x[:, :2], alone.x)


def test_running_out_of_steps_says_where_and_what_to_do() -> None:
    with pytest.raises(RuntimeError, match=r"at t=0\.\d+ after max_steps=3.*raise max_steps"):
        dopri5(lambda x, t: 100 * (math.cos(300 * t) - x), torch.ones(1, 1), max_steps=3)


def test_a_velocity_that_is_not_finite_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="not finite"):
        dopri5(lambda x, t: x / 0, torch.ones(1, 1))


def test_steps_and_tolerances_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="rtol=0"):
        dopri5(exponential, torch.ones(1), rtol=0)
    for solver in (euler, midpoint, adaptive):
        with pytest.raises(ValueError, match="0 must be at least 1"):
            solver(exponential, torch.ones(1), 0)
