"""A model in training: its weights, its optimiser, its loss curve, and the state to go on from."""

import contextlib
import dataclasses
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from tasks.batches import Batch
from tasks.init_weights import begin
from tasks.loss_curve import LossCurve, Point
from tasks.train_device import Rank, device_of, optimiser_of, readers_for, step_generator
from tasks.training_data import Ahead, Plan, TrainingData
from tasks.training_state import read_state, write_state

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from models.conditions import Conditions
    from models.flow import FlowDraws, FlowLoss
    from models.sizes import VSSFlowConfig
    from models.transformer import VSSFlow


STEPS, GUIDANCE = 25, 3.0
"""Of the samples that a training shows on the way."""
WEIGHTS = ("model", "average")


@dataclass(frozen=True, slots=True, eq=False)
class StepInput:
    """What a rank computes in a step: parts of the batch with what chance decides about each.

    `valid` counts the latents of the whole batch, that all ranks' losses are a mean of.
    """

    parts: tuple[tuple[Batch, "FlowDraws"], ...]
    valid: int


class Trainer:
    """A model in training: its weights, its optimiser and its loss curve.

    Every step draws its batch and its noise from generators that are keyed by the seed and the
    step, so that a training that goes on from a saved state is the one that was never stopped.
    Draws are made on the CPU for the whole batch: parts and ranks compute the same step.
    """

    def __init__(
        self,
        data: TrainingData,
        rank: Rank | None = None,
        sizes: "VSSFlowConfig | None" = None,
    ) -> None:
        """Makes the initial model, of the preset's sizes where none are given.

        With more ranks than one their group must have been joined.
        """
        import torch
        from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

        from models.transformer import seeded

        self.data, self.config, self.rank = data, data.config, rank or Rank()
        config = self.config
        self.device = device_of(config, self.rank)
        model = seeded(sizes or sizes_of(data), config.seed)
        # The other ranks get them from this one.
        self.begun = begin(model, config) if not self.rank.number else None
        self.model: VSSFlow = model.to(self.device)
        self.sharded = config.is_sharded
        self.average: AveragedModel | None = None
        if config.ema and (self.sharded or not self.rank.number):
            self.average = AveragedModel(self.model, multi_avg_fn=get_ema_multi_avg_fn(config.ema))
        if self.sharded:
            from models.sharding import share_out

            averages = [] if self.average is None else [cast("VSSFlow", self.average.module)]
            share_out([self.model, *averages], self.device, getattr(torch, config.precision))
        self.optimiser = optimiser_of(self.model, config)
        self._whole: dict[str, Any] = {}
        if self.sharded:
            self._gather(WEIGHTS)
        if config.compile:
            self.model.compile(dynamic=False)
        self.net: nn.Module = self.model
        if self.rank.count > 1 and not self.sharded:
            self.net = torch.nn.parallel.DistributedDataParallel(
                self.model,
                # A batch may lack a condition, whose weights then have no gradient.
                find_unused_parameters=True,
                broadcast_buffers=False,
            )
        self.weights: Tensor | None = None
        if data.weights:
            self.weights = torch.tensor(data.weights, device=self.device)
        self.step, self.end = 0, config.steps
        self.losses = LossCurve(config)
        self.spent_s = 0.0
        self._ahead = Ahead(self.input, config.steps, readers_for(self.device))

    @property
    def curve(self) -> list[Point]:
        """The points of the loss curve so far."""
        return self.losses.points

    def batch(self, step: int) -> Batch:
        """The whole batch of a step; the same for the same step, whatever came before."""
        return self.data.read(self.data.plan(step), self.model.config)

    def input(self, step: int) -> StepInput:
        """What this rank computes in a step, on its device."""
        config, plan = self.config, self.data.plan(step)
        draws = self._draws(plan, step)
        size = config.batch_size // config.parts
        first = self.rank.number * config.accumulate
        rows = [slice(n * size, (n + 1) * size) for n in range(first, first + config.accumulate)]
        parts = tuple(self._part(plan, draws, part) for part in rows)
        return StepInput(parts, plan.valid(config.padding))

    def _draws(self, plan: Plan, step: int) -> "FlowDraws":

        from models.flow import PAPER_DROPOUT, draw_flow

        return draw_flow(
            (len(plan.picks), plan.length, self.data.channels),
            plan.given,
            generator=step_generator(self.config.seed, step),
            dropout=PAPER_DROPOUT if self.config.dropout == "batch" else None,
            times=self.config.times,
        )

    def _part(self, plan: Plan, draws: "FlowDraws", rows: slice) -> tuple[Batch, "FlowDraws"]:
        batch = self.data.read(plan, self.model.config, rows)
        return batch.to(self.device), draws.part(rows).to(self.device)

    def train_step(self) -> "Tensor":
        """Takes one optimiser step and returns this rank's share of its loss, on the device."""
        import torch

        config, ranks, self._whole = self.config, self.rank.count, {}
        given = self._ahead.get(self.step)
        for group in self.optimiser.param_groups:
            group["lr"] = config.rate(self.step)
        self.optimiser.zero_grad(set_to_none=True)
        losses, each = [], []
        for number, (batch, draws) in enumerate(given.parts, 1):
            with self._gradients_meet(number == len(given.parts)):
                found = self._loss(self.net, batch, draws, given.valid)
                # The ranks' gradients are averaged, and the shares of a loss add up.
                (found.loss * ranks).backward()
            losses.append(found.loss.detach())
            each.append(found.per_sample.detach())
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), config.clip_norm)
        self.optimiser.step()
        if self.average is not None:
            self.average.update_parameters(self.model)
        plan = self.data.plan(self.step)
        t = torch.cat([draws.t for _, draws in given.parts])
        self.step += 1
        self.losses.add(self.step, plan.tasks, self._gathered(t), self._gathered(torch.cat(each)))
        # What rank 0 saves or samples after this step, all ranks must give it now.
        if self.sharded and config.is_saved(self.step):
            self._gather(self._parts)
        elif self.sharded and config.is_sampled(self.step):
            self._gather(WEIGHTS)
        return torch.stack(losses).sum()

    def backward(self, clips: int) -> None:
        """Computes the gradients of a part with so many clips of the next step, and drops them."""
        plan = self.data.plan(self.step)
        batch, draws = self._part(plan, self._draws(plan, self.step), slice(0, clips))
        self._loss(self.model, batch, draws, None).loss.backward()
        self.optimiser.zero_grad(set_to_none=True)

    def _loss(
        self, net: "nn.Module", batch: Batch, draws: "FlowDraws", valid: int | None
    ) -> "FlowLoss":
        import torch

        from models.flow import drawn_loss
        from models.precision import computing_in

        with computing_in(getattr(torch, self.config.precision), self.device):
            return drawn_loss(
                net,
                batch.latents,
                batch.conditions,
                draws,
                padding=self.config.padding,
                valid=valid,
                weights=self.weights,
            )

    @contextlib.contextmanager
    def _gradients_meet(self, now: bool) -> Iterator[None]:
        """Where ranks train together, gradients are exchanged after the last part alone."""
        from torch.nn.parallel import DistributedDataParallel

        waits = isinstance(self.net, DistributedDataParallel) and not now
        with cast(Any, self.net).no_sync() if waits else contextlib.nullcontext():
            yield

    def _gathered(self, own: "Tensor") -> "Tensor":
        """The numbers of all ranks' samples in the order of the batch."""
        import torch

        if self.rank.count == 1:
            return own
        found = [torch.empty_like(own) for _ in range(self.rank.count)]
        torch.distributed.all_gather(found, own)
        return torch.cat(found)

    @property
    def trained(self) -> "VSSFlow":
        """The model that training gives: the averaged one where weights are averaged.

        Of a shared model a copy, on rank 0 alone, and only after steps that save or sample.
        """
        if not self.sharded:
            return self.model if self.average is None else cast("VSSFlow", self.average.module)
        from models.sharding import assembled

        weights = self._held("model")
        if self.average is not None:
            average = self._held("average")
            weights = {name: average[f"module.{name}"] for name in weights}
        return assembled(self.model.config, weights).to(self.device)

    def sampled(self, conditions: "Conditions", generator: "torch.Generator") -> "Tensor":
        """Latents (B, N, C) that the model of now makes of conditions."""
        from models.flow import sample

        return sample(self.trained, conditions, steps=STEPS, guidance=GUIDANCE, generator=generator)

    def release(self) -> None:
        """Lets go of what only further steps would need, most of a trained model's memory."""
        self.optimiser.zero_grad(set_to_none=True)
        self.optimiser.state.clear()
        self._whole.pop("optimiser", None)

    def close(self) -> None:
        """Ends the threads that read ahead."""
        self._ahead.close()

    def save(self, path: Path) -> None:
        """Writes the state to go on from; whole or not at all."""
        state = {
            "sizes": dataclasses.asdict(self.model.config),
            "step": self.step,
            "spent_s": self.spent_s,
            "losses": self.losses.state(),
        }
        write_state(path, state | {name: self._held(name) for name in self._parts})

    def resume(self, path: Path) -> None:
        """Goes on from a saved state; without one of this model's sizes, from the beginning."""
        # Of a shared model each tensor is read when its turn comes: no rank has room for all.
        state = read_state(path, "cpu" if self.sharded else self.device, mapped=self.sharded)
        if state is None or "losses" not in state:
            return
        if state.get("sizes") != dataclasses.asdict(self.model.config):
            return
        for name, part in self._parts.items():
            self._load(part, state[name])
        if self.sharded and not self.rank.number:
            self._whole = {name: state[name] for name in self._parts}
        self.step, self.spent_s = state["step"], state["spent_s"]
        self.losses.restore(state["losses"])

    @property
    def _parts(self) -> "dict[str, nn.Module | torch.optim.Optimizer]":
        """What of the state to go on from is tensors, by its name there."""
        parts: dict[str, nn.Module | torch.optim.Optimizer] = {
            "model": self.model,
            "optimiser": self.optimiser,
        }
        return parts if self.average is None else parts | {"average": self.average}

    def _load(self, part: "nn.Module | torch.optim.Optimizer", state: dict[str, Any]) -> None:
        if not self.sharded:
            part.load_state_dict(state)
            return
        from models.sharding import load_share

        load_share(part, state)

    def _held(self, name: str) -> dict[str, Any]:
        """The whole state of a part; raises RuntimeError where this rank has none of now."""
        if not self.sharded:
            return self._parts[name].state_dict()
        if name not in self._whole:
            raise RuntimeError(f"rank {self.rank.number} has no whole {name} at step {self.step}")
        return self._whole[name]

    def _gather(self, names: Collection[str]) -> None:
        """Gives rank 0 whole what all ranks share; they must ask at once."""
        from models.sharding import whole

        first = not self.rank.number
        shares = {name: part.state_dict() for name, part in self._parts.items() if name in names}
        gathered = whole(shares, keep=first)
        self._whole = gathered if first else {}


def sizes_of(data: TrainingData) -> "VSSFlowConfig":
    """The sizes of a preset's model that fits a dataset's features."""
    from models.presets import PRESETS

    config = data.config
    sizes = dataclasses.replace(PRESETS[config.preset](), audio_channels=data.channels)
    # Features are as wide as they are in the data; without any the preset's size holds.
    widths = {f"{name}_dim": width for name, width in data.widths.items() if width}
    sizes = dataclasses.replace(sizes, **widths, sync_cells=data.cells)
    if config.context_positions != "preset":
        on = config.context_positions == "on"
        sizes = dataclasses.replace(sizes, context_positions=on)
    return sizes
