"""Ways along a velocity field from noise at t = 0 to data at t = 1.

Legend: B batch. States have any shape that begins with B; one t holds for the whole batch.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

Field = Callable[[Tensor, float], Tensor]
"""A velocity field: (x, t) to dx/dt, of x's shape."""

# Dormand and Prince, J. Comp. Appl. Math. 6 (1980), RK5(4)7M: times and stages after the first,
# and the fifth-order end less the embedded fourth-order one. The last stage is the end itself.
_TIMES = (1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0, 1.0)
_STAGES = (
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
)
_ERROR = (71 / 57600, 0.0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40)


class Solution(NamedTuple):
    """Where `dopri5` ended and what that took."""

    x: Tensor
    evaluations: int
    steps: int
    """Steps taken."""
    rejected: int
    """Steps tried that missed the tolerance and were tried again shorter."""


def euler(field: Field, x_0: Tensor, steps: int) -> Tensor:
    """The end at t = 1 by ``steps`` equal straight steps; exact for a constant velocity."""
    _check_steps(steps)
    x = x_0
    for step in range(steps):
        x = x + field(x, step / steps) / steps
    return x


def midpoint(field: Field, x_0: Tensor, steps: int) -> Tensor:
    """The end at t = 1 by the midpoint rule: second order, two evaluations a step."""
    _check_steps(steps)
    x = x_0
    for step in range(steps):
        half = x + field(x, step / steps) / (2 * steps)
        x = x + field(half, (step + 0.5) / steps) / steps
    return x


def dopri5(
    field: Field,
    x_0: Tensor,
    *,
    rtol: float = 1e-5,
    atol: float = 1e-5,
    max_steps: int = 1000,
    valid: Tensor | None = None,
) -> Solution:
    """The end at t = 1 by Dormand and Prince's fifth-order steps, as long as the tolerance allows.

    A step holds when in every sample the root mean square of error / (atol + rtol |x|) is at most
    1: a hard sample is not averaged away by easy ones beside it. ``valid``, of a shape that
    broadcasts to x_0's, leaves numbers (padding) out of that mean. Steps follow Hairer, Nørsett and
    Wanner, Solving Ordinary Differential Equations I, II.4 (PI control, beta = 0.04).

    Raises ValueError for tolerances that are not positive, RuntimeError when the velocity is not
    finite or ``max_steps`` steps, rejected ones among them, do not reach t = 1.
    """
    _check_steps(max_steps)
    if min(rtol, atol) <= 0:
        raise ValueError(f"rtol={rtol} and atol={atol} must be greater than 0")
    t, x, slope = 0.0, x_0, field(x_0, 0.0)
    step_size, evaluations = _first_step(field, x, slope, rtol, atol, valid), 2
    steps = rejected = 0
    previous, grows = 1e-4, 10.0
    while t < 1:
        if steps + rejected == max_steps:
            raise RuntimeError(
                f"dopri5 stands at t={t:.4g} after max_steps={max_steps} steps ({rejected} of them "
                "rejected); raise max_steps or the tolerance"
            )
        last = step_size >= 1 - t
        step_size = min(step_size, 1 - t)
        slopes, end = [slope], x
        for time, weights in zip(_TIMES, _STAGES, strict=True):
            end = x + step_size * _weighted(weights, slopes)
            slopes.append(field(end, t + time * step_size))
        evaluations += len(_STAGES)
        scale = atol + rtol * torch.maximum(x.abs(), end.abs())
        error = _norm(step_size * _weighted(_ERROR, slopes) / scale, valid)
        if error > 1:
            rejected, grows = rejected + 1, 1.0
            step_size *= max(0.2, 0.9 * error**-0.17)
            continue
        steps += 1
        t, x, slope = 1.0 if last else t + step_size, end, slopes[-1]
        factor = 0.9 * max(error, 1e-8) ** -0.17 * previous**0.04
        step_size *= min(grows, max(0.2, factor))
        previous, grows = max(error, 1e-4), 10.0
    return Solution(x, evaluations, steps, rejected)


def _first_step(
    field: Field, x: Tensor, slope: Tensor, rtol: float, atol: float, valid: Tensor | None
) -> float:
    """A first step of about the right size, by one evaluation (Hairer et al., II.4)."""
    scale = atol + rtol * x.abs()
    size, speed = _norm(x / scale, valid), _norm(slope / scale, valid)
    guess = 1e-6 if min(size, speed) < 1e-5 else 0.01 * size / speed
    guess = min(guess, 1.0)
    turn = _norm((field(x + guess * slope, guess) - slope) / scale, valid) / guess
    fastest = max(speed, turn)
    longest = max(1e-6, guess * 1e-3) if fastest <= 1e-15 else (0.01 / fastest) ** 0.2
    return min(100 * guess, longest, 1.0)


def _weighted(weights: tuple[float, ...], slopes: list[Tensor]) -> Tensor:
    total = weights[0] * slopes[0]
    for weight, slope in zip(weights[1:], slopes[1:], strict=True):
        if weight:
            total = total + weight * slope
    return total


def _norm(x: Tensor, valid: Tensor | None) -> float:
    """The largest root mean square of a sample of x (B, ...) over its valid numbers."""
    squares = x.square()
    if valid is None:
        means = squares.flatten(1).mean(1) if x.ndim > 1 else squares
    else:
        counts = valid.expand_as(x).flatten(1).sum(1)
        means = squares.masked_fill(~valid, 0).flatten(1).sum(1) / counts.clamp_min(1)
    largest = float(means.max()) ** 0.5
    if not math.isfinite(largest):
        raise RuntimeError("dopri5 met a velocity that is not finite; look at weights and inputs")
    return largest


def _check_steps(steps: int) -> None:
    if steps < 1:
        raise ValueError(f"steps={steps} must be at least 1")
