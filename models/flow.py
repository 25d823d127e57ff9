"""Flow matching: the straight path from noise to data, its loss, and generation along it.

Legend: B batch, N latents, C channels. x_0 is noise, x_1 is data, t in [0, 1] runs noise → data.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from models.conditions import Conditions
from models.guidance import Guidance, guided_field
from models.precision import computing_in
from models.solvers import dopri5, euler, midpoint
from models.transformer import VSSFlow

Solver = Literal["euler", "midpoint", "dopri5"]
Times = Literal["uniform", "logit_normal", "early"]
Padding = Literal["masked", "signal"]


class PathSample(NamedTuple):
    """A point of a path and the velocity that a model should give there."""

    x_t: Tensor
    v: Tensor


class FlowLoss(NamedTuple):
    """A batch's loss (scalar, mean over valid numbers) and every sample's own (B,)."""

    loss: Tensor
    per_sample: Tensor


def path(x_0: Tensor, x_1: Tensor, t: Tensor) -> PathSample:
    """The straight path from x_0 to x_1 (B, N, C) at times t (B,): (1 - t) x_0 + t x_1."""
    along = t[:, None, None]
    return PathSample((1 - along) * x_0 + along * x_1, x_1 - x_0)


@dataclass(frozen=True, slots=True)
class DropoutConfig:
    """Probabilities that a sample loses a condition in training, drawn per sample and condition."""

    visual: float = 0.1
    motion: float = 0.1
    phonemes: float = 0.1
    speaker: float = 0.1
    everything: float = 0.1
    """Probability that a sample loses all at once: guidance needs the model without conditions,
    which independent draws alone would show it once in ten thousand samples."""
    sync: float = 0.1
    lips: float = 0.1
    per_batch: bool = False
    """Whether all samples of a batch share their draws."""

    def draw(
        self, batch: int, given: Collection[str], generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Which samples keep a condition, (B,) bool by its name; ``generator`` is a CPU one.

        Sync and lips are drawn only where ``given`` names them.
        """
        drawn = 1 if self.per_batch else batch
        draws = torch.rand(5, drawn, generator=generator)
        stays = draws[4] >= self.everything
        rates = {
            "visual": self.visual,
            "motion": self.motion,
            "phonemes": self.phonemes,
            "speaker": self.speaker,
        }
        keep = {name: draws[row] >= rate for row, (name, rate) in enumerate(rates.items())}
        for name, rate in (("sync", self.sync), ("lips", self.lips)):
            # Drawn only where given, so that the draws of models without them stay as they were.
            if name in given:
                keep[name] = torch.rand(drawn, generator=generator) >= rate
        return {name: (kept & stays).expand(batch) for name, kept in keep.items()}

    def apply(self, conditions: Conditions, generator: torch.Generator) -> Conditions:
        """The conditions with what the draws took away; ``generator`` is a CPU one."""
        return conditions.dropped(self.draw(conditions.batch, conditions.given, generator))


NO_DROPOUT = DropoutConfig(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
"""Every condition is kept, as in evaluation."""
PAPER_DROPOUT = DropoutConfig(0.0, 0.0, 0.0, 0.0, 0.1, 0.0, 0.0, per_batch=True)
"""One draw per batch takes all conditions together, as the paper's code does."""


def draw_times(batch: int, times: Times, generator: torch.Generator) -> Tensor:
    """Times t (B,) in [0, 1): uniform, logit-normal(0, 1) (arXiv 2403.03206), or early, on the CPU.

    Early is the square of uniform: there is more noise in what the model sees, so more depends on
    the conditions.
    """
    if times == "logit_normal":
        return torch.randn(batch, generator=generator).sigmoid()
    if times == "uniform":
        return torch.rand(batch, generator=generator)
    if times == "early":
        return torch.rand(batch, generator=generator).square()
    raise ValueError(
        f"times={times!r} is not a distribution; choose one of {', '.join(get_args(Times))}"
    )


@dataclass(frozen=True, slots=True, eq=False)
class FlowDraws:
    """All that chance decides about the loss of a batch."""

    t: Tensor
    """(B,), times on the path."""
    keep: dict[str, Tensor]
    """(B,) bool by the name of a condition, False where a sample loses it."""
    x_0: Tensor
    """(B, N, C), noise."""

    def part(self, rows: slice) -> "FlowDraws":
        """The draws of some of the samples."""
        keep = {name: kept[rows] for name, kept in self.keep.items()}
        return FlowDraws(self.t[rows], keep, self.x_0[rows])

    def to(self, device: torch.device | str) -> "FlowDraws":
        """The same draws on ``device``."""
        keep = {name: kept.to(device) for name, kept in self.keep.items()}
        return FlowDraws(self.t.to(device), keep, self.x_0.to(device))


def draw_flow(
    shape: tuple[int, int, int],
    given: Collection[str],
    *,
    generator: torch.Generator,
    dropout: DropoutConfig | None = None,
    times: Times = "uniform",
) -> FlowDraws:
    """The draws of a batch of latents of ``shape`` (B, N, C), of whose conditions some are given.

    ``generator`` is a CPU one: times, dropout and noise are drawn in this order and follow from its
    state alone, on any device. ``dropout`` defaults to `DropoutConfig()`.
    """
    t = draw_times(shape[0], times, generator)
    dropout = DropoutConfig() if dropout is None else dropout
    keep = dropout.draw(shape[0], given, generator)
    return FlowDraws(t, keep, torch.randn(shape, generator=generator))


def drawn_loss(
    model: Callable[[Tensor, Tensor, Conditions], Tensor],
    x_1: Tensor,
    conditions: Conditions,
    draws: FlowDraws,
    *,
    padding: Padding = "masked",
    valid: int | None = None,
    weights: Tensor | None = None,
) -> FlowLoss:
    """Mean squared error of the velocity over the valid latents of x_1 (B, N, C).

    ``padding`` "masked" leaves it out of loss and attention; "signal" trains on it as on latents of
    0, as the paper's code does. Where x_1 is a part of a batch, ``valid`` counts the latents of the
    whole: the parts' losses, and gradients, then add up to those of the batch. ``weights`` (C,), of
    mean 1, say how much the error of each channel counts; None counts all alike.
    """
    x_1 = x_1.masked_fill(~conditions.mask[..., None], 0)
    if padding == "signal":
        conditions = conditions.unpadded()
    x_t, v = path(draws.x_0.to(x_1), x_1, draws.t.to(x_1))
    error = model(x_t, draws.t.to(x_1), conditions.dropped(draws.keep)) - v
    if weights is not None:
        error = error * weights.sqrt()
    return mean_square(error, conditions.mask, valid)


def flow_loss(
    model: VSSFlow,
    x_1: Tensor,
    conditions: Conditions,
    *,
    generator: torch.Generator,
    dropout: DropoutConfig | None = None,
    times: Times = "uniform",
    padding: Padding = "masked",
    t: Tensor | None = None,
) -> FlowLoss:
    """The loss of a whole batch: `draw_flow`, then `drawn_loss`.

    Evaluation passes `NO_DROPOUT`, and may pass times ``t`` (B,) of its own.
    """
    shape = (x_1.shape[0], x_1.shape[1], x_1.shape[2])
    draws = draw_flow(shape, conditions.given, generator=generator, dropout=dropout, times=times)
    if t is not None:
        draws = replace(draws, t=t)
    return drawn_loss(model, x_1, conditions, draws, padding=padding)


def mean_square(error: Tensor, mask: Tensor, valid: int | None = None) -> FlowLoss:
    """The mean square of an error (B, N, C) over the latents that the mask (B, N) has.

    ``valid`` is the number of latents that the loss is a mean of, where those are of a larger
    batch.
    """
    squares = error.square().mean(-1).masked_fill(~mask, 0)
    own = mask.sum(1)
    whole = own.sum().clamp_min(1) if valid is None else max(valid, 1)
    return FlowLoss(squares.sum() / whole, squares.sum(1) / own.clamp_min(1))


@torch.no_grad()
def sample(
    model: VSSFlow,
    conditions: Conditions,
    *,
    steps: int = 25,
    guidance: float | Guidance = 3.0,
    generator: torch.Generator,
    solver: Solver = "euler",
    tolerance: float = 1e-5,
    temperature: float = 1.0,
    precision: torch.dtype = torch.float32,
) -> Tensor:
    """Latents (B, N, C) that fit the conditions; zero at padding.

    One number as ``guidance`` is the scale of sound and speech alike. ``steps`` is read by Euler
    and midpoint, ``tolerance`` (absolute and relative, per step) by dopri5. ``generator`` is a CPU
    one: equal seeds give equal latents. ``precision`` is what the model computes in. Raises as
    `dopri5` does. ``temperature`` is as in `draw_noise`.
    """
    if solver not in get_args(Solver):
        raise ValueError(
            f"solver={solver!r} does not exist; choose one of {', '.join(get_args(Solver))}"
        )
    x_0 = draw_noise(model, conditions, generator, temperature)
    scales = guidance if isinstance(guidance, Guidance) else Guidance(guidance, guidance)
    valid = conditions.mask[..., None]
    with computing_in(precision, x_0.device):
        field = guided_field(model, conditions, scales)
        if solver == "euler":
            x_1 = euler(field, x_0, steps)
        elif solver == "midpoint":
            x_1 = midpoint(field, x_0, steps)
        else:
            x_1 = dopri5(field, x_0, rtol=tolerance, atol=tolerance, valid=valid).x
    return x_1 * valid


def draw_noise(
    model: VSSFlow,
    conditions: Conditions,
    generator: torch.Generator,
    temperature: float = 1.0,
) -> Tensor:
    """Noise x_0 (B, N, C) where a generation begins; the draws are made on the CPU.

    ``temperature`` is its standard deviation. A model is trained at 1; below it a generation is
    likelier and less varied (as in Glow-TTS, arXiv 2005.11129, and Matcha-TTS, arXiv 2309.03199).
    """
    shape = (*conditions.mask.shape, model.config.audio_channels)
    noise = torch.randn(shape, generator=generator) * temperature
    return noise.to(conditions.mask.device)
