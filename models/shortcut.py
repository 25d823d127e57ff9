"""Few-step generation: a student that is told how far to step and lands where the teacher would.

Legend: B batch, N latents, C channels, W width. d is the size of a step in t.

Source: shortcut models, arXiv 2410.12557, of which the self-consistency and its slow targets are
taken: one step of size d must land where two steps of d / 2 land. What the smallest step must do is
not learned from data as there, but from a trained teacher with its guidance folded in, as in arXiv
2210.03142: the student needs neither the unguided half nor a scale. One training serves every power
of two of steps, from 1 to ``finest_steps``.
"""

import copy
import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from models.conditions import Conditions
from models.flow import FlowLoss, draw_noise, mean_square, path
from models.guidance import Guidance, guided_field
from models.precision import computing_in
from models.sizes import VSSFlowConfig
from models.transformer import VelocityContext, VSSFlow

Velocity = Callable[[Tensor, Tensor], Tensor]
"""The teacher: (x, t) to dx/dt, of x's shape; t (B,)."""
MeanVelocity = Callable[[Tensor, Tensor, Tensor], Tensor]
"""The student: (x, t, d) to the mean velocity on the way from t to t + d; t and d (B,)."""
States = Literal["data", "teacher"]


@dataclass(frozen=True, slots=True)
class ShortcutConfig:
    """How a student learns from its teacher."""

    finest_steps: int = 16
    """Steps of the finest sampler, a power of two; the teacher shows steps of this size."""
    teacher_share: float = 0.5
    """Share of batches that the teacher shows; in the others the student learns to step twice as
    far from what it knows. One draw per batch: both kinds in one would cost the sum of both."""
    guidance: Guidance = field(default_factory=Guidance)
    """Of the teacher, for good: the student has it built in."""
    states: States = "data"
    """Where the student learns: "data" on the straight path to training data, as published;
    "teacher" where the guided teacher itself comes along, which guidance leads off that path, at
    the price of up to ``finest_steps`` - 1 more guided evaluations a batch."""

    def __post_init__(self) -> None:
        """Raises ValueError for a number of steps that halving does not reach."""
        if self.finest_steps < 2 or self.finest_steps & (self.finest_steps - 1):
            raise ValueError(f"finest_steps={self.finest_steps} must be a power of two from 2 on")

    @property
    def levels(self) -> int:
        """Step sizes: 1, 1/2, … 1/finest_steps."""
        return self.finest_steps.bit_length()


class Spans(NamedTuple):
    """The steps of a batch: from t (B,) to t + d (B,), and whether the teacher shows them."""

    t: Tensor
    d: Tensor
    taught: bool


def draw_spans(batch: int, config: ShortcutConfig, generator: torch.Generator) -> Spans:
    """Steps as a sampler takes them: d a power of two, t a multiple of d; drawn on the CPU."""
    taught = float(torch.rand((), generator=generator)) < config.teacher_share
    levels = torch.full((batch,), config.levels - 1)
    if not taught:
        levels = torch.randint(config.levels - 1, (batch,), generator=generator)
    steps = 2**levels
    places = (torch.rand(batch, generator=generator) * steps).floor()
    return Spans(places / steps, 1 / steps, taught)


@torch.no_grad()
def visited(teacher: Velocity, x_0: Tensor, t: Tensor, steps: int) -> Tensor:
    """Where the teacher's way from x_0 (B, ...) is at t (B,), multiples of 1 / ``steps``.

    The way is Euler's, in steps of that size.
    """
    places = (t * steps).round().long()
    x = states = x_0
    for step in range(1, int(places.max()) + 1):
        x = x + teacher(x, torch.full_like(t, (step - 1) / steps)) / steps
        here = (places == step).reshape(-1, *[1] * (x.ndim - 1))
        states = torch.where(here, x, states)
    return states


def shortcut_error(
    student: MeanVelocity,
    slow: MeanVelocity,
    teacher: Velocity | None,
    x_t: Tensor,
    spans: Spans,
) -> Tensor:
    """The student's mean velocity from x_t (B, ...) on, less what it should be; of x_t's shape.

    With a teacher it should be that of the teacher's midpoint step; without, that of two half steps
    of ``slow``, the student's own running mean (`follow`): a student that is its own target runs
    away from it. No gradient flows into what it should be.
    """
    t, half = spans.t, spans.d / 2
    along = half.reshape(-1, *[1] * (x_t.ndim - 1))
    with torch.no_grad():
        if teacher is not None:
            target = teacher(x_t + along * teacher(x_t, t), t + half)
        else:
            first = slow(x_t, t, half)
            target = (first + slow(x_t + along * first, t + half, half)) / 2
    return student(x_t, t, spans.d) - target


class ShortcutFlow(nn.Module):
    """A `VSSFlow` that is also told the size of its step and answers with the mean velocity."""

    def __init__(self, teacher: VSSFlow, finest_steps: int = ShortcutConfig().finest_steps) -> None:
        """Begins as a copy of its teacher: what the step size adds starts at zero."""
        super().__init__()
        levels = ShortcutConfig(finest_steps).levels
        self.finest_steps = finest_steps
        self.flow = copy.deepcopy(teacher)
        self.step_size = nn.Embedding(levels, teacher.config.width)
        nn.init.zeros_(self.step_size.weight)

    @property
    def config(self) -> VSSFlowConfig:
        """The sizes, which are the teacher's."""
        return self.flow.config

    def prepare(self, conditions: Conditions) -> VelocityContext:
        """Everything about the conditions that neither t nor d changes."""
        return self.flow.prepare(conditions)

    def velocity(self, x_t: Tensor, t: Tensor, d: Tensor, context: VelocityContext) -> Tensor:
        """Mean velocity (B, N, C) from latents x_t (B, N, C) at t (B,) over steps d (B,).

        d is a power of two from 1 down to 1/finest_steps.
        """
        size = self.step_size(-d.log2().round().long())  # (B, W)
        told = dataclasses.replace(context, aligned=context.aligned + size[:, None])
        return self.flow.velocity(x_t, t, told)


@dataclass(frozen=True, slots=True, eq=False)
class ShortcutDraws:
    """All that chance decides about the loss of a batch."""

    spans: Spans
    x_0: Tensor
    """(B, N, C), noise."""

    def part(self, rows: slice) -> "ShortcutDraws":
        """The draws of some of the samples."""
        t, d, taught = self.spans
        return ShortcutDraws(Spans(t[rows], d[rows], taught), self.x_0[rows])

    def to(self, device: torch.device | str) -> "ShortcutDraws":
        """The same draws on ``device``."""
        t, d, taught = self.spans
        return ShortcutDraws(Spans(t.to(device), d.to(device), taught), self.x_0.to(device))


def draw_shortcut(
    shape: tuple[int, int, int], config: ShortcutConfig, generator: torch.Generator
) -> ShortcutDraws:
    """The draws of a batch of latents of ``shape`` (B, N, C); ``generator`` is a CPU one."""
    spans = draw_spans(shape[0], config, generator)
    return ShortcutDraws(spans, torch.randn(shape, generator=generator))


def drawn_shortcut_loss(
    student: ShortcutFlow,
    slow: ShortcutFlow,
    teacher: VSSFlow,
    x_1: Tensor,
    conditions: Conditions,
    draws: ShortcutDraws,
    *,
    config: ShortcutConfig,
    valid: int | None = None,
    precision: torch.dtype = torch.float32,
) -> FlowLoss:
    """Mean squared error of the student's mean velocity over the valid latents of x_1 (B, N, C).

    Gradients reach the student alone; after each optimiser step `follow` moves ``slow``, which
    begins as the student's copy. Where x_1 is a part of a batch, ``valid`` counts the latents of
    the whole, as in `models.flow.drawn_loss`. ``precision`` is what all three compute in.
    Raises ValueError where student and config differ in their finest steps.
    """
    if student.finest_steps != config.finest_steps:
        raise ValueError(
            f"the student was built for finest_steps={student.finest_steps}; "
            f"finest_steps={config.finest_steps} cannot train it"
        )
    (t, d, taught), x_0 = draws.spans, draws.x_0.to(x_1)
    spans = Spans(t.to(x_1), d.to(x_1), taught)
    at_teacher = config.states == "teacher"
    with computing_in(precision, x_1.device):
        context = student.prepare(conditions)
        with torch.no_grad():
            asked = taught or at_teacher
            guided = guided_field(teacher, conditions, config.guidance) if asked else None
            slow_context = context if taught else slow.prepare(conditions)
        if guided is not None and at_teacher:
            x_t = visited(guided, x_0, spans.t, config.finest_steps)
        else:
            x_t = path(x_0, x_1.masked_fill(~conditions.mask[..., None], 0), spans.t).x_t
        error = shortcut_error(
            lambda x, t, d: student.velocity(x, t, d, context).to(x.dtype),
            lambda x, t, d: slow.velocity(x, t, d, slow_context).to(x.dtype),
            guided if taught else None,
            x_t,
            spans,
        )
    return mean_square(error, conditions.mask, valid)


def shortcut_loss(
    student: ShortcutFlow,
    slow: ShortcutFlow,
    teacher: VSSFlow,
    x_1: Tensor,
    conditions: Conditions,
    *,
    generator: torch.Generator,
    config: ShortcutConfig,
) -> FlowLoss:
    """The loss of a whole batch: `draw_shortcut`, then `drawn_shortcut_loss`."""
    shape = (x_1.shape[0], x_1.shape[1], x_1.shape[2])
    draws = draw_shortcut(shape, config, generator)
    return drawn_shortcut_loss(student, slow, teacher, x_1, conditions, draws, config=config)


@torch.no_grad()
def follow(slow: nn.Module, student: nn.Module, decay: float) -> None:
    """Moves the weights of ``slow`` towards the student's by 1 - decay of the way."""
    for mean, weight in zip(slow.parameters(), student.parameters(), strict=True):
        mean.lerp_(weight, 1 - decay)


@torch.no_grad()
def sample_shortcut(
    student: ShortcutFlow,
    conditions: Conditions,
    *,
    steps: int = 4,
    generator: torch.Generator,
    temperature: float = 1.0,
    precision: torch.dtype = torch.float32,
) -> Tensor:
    """Latents (B, N, C) in ``steps`` forward passes; zero at padding.

    Equal seeds and temperatures give the noise that `models.flow.sample` begins with. ``precision``
    is what the student computes in. Raises ValueError for steps that are no power of two or finer
    than the student learned.
    """
    if steps < 1 or steps & (steps - 1) or steps > student.finest_steps:
        raise ValueError(
            f"steps={steps} must be a power of two from 1 to {student.finest_steps}, "
            "the step sizes that this student learned"
        )
    x = draw_noise(student.flow, conditions, generator, temperature)
    d = x.new_full((conditions.batch,), 1 / steps)
    with computing_in(precision, x.device):
        context = student.prepare(conditions)
        for step in range(steps):
            x = x + student.velocity(x, step * d, d, context).to(x.dtype) / steps
    return x * conditions.mask[..., None]
