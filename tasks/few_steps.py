"""The network for few steps in training: a student of the trained model, after all of its steps."""

import copy
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.batches import Batch
from tasks.loss_curve import LossCurve, Point
from tasks.train_device import Rank, optimiser_of, readers_for, step_generator
from tasks.trainer import Trainer
from tasks.training_data import Ahead, TrainingData
from tasks.training_state import read_state, write_state

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from models.conditions import Conditions
    from models.shortcut import ShortcutDraws, ShortcutFlow
    from models.transformer import VSSFlow

SAMPLED_STEPS = 8
"""Of the samples that the training shows on the way."""
SLOW_DECAY = 0.99
"""Share of the student's running mean that a step keeps: it reaches back some hundred steps."""


class FewStepTrainer:
    """A student in training: its weights, their running mean, its optimiser, and the state.

    Its steps are counted on from the model's, and their draws keyed by seed and step in the same
    way. It trains on one process, in the parts that the batch has.
    """

    def __init__(
        self,
        data: TrainingData,
        teacher: "VSSFlow",
        losses: LossCurve,
        device: "torch.device",
    ) -> None:
        """Begins as a copy of the teacher, on its device; goes on with its loss curve."""
        from models.guidance import Guidance
        from models.shortcut import ShortcutConfig, ShortcutFlow

        self.data, self.config, self.device = data, data.config, device
        self.rank, self.losses, self.teacher = Rank(), losses, teacher
        self.sharded = False
        config = self.config
        scale = config.few_steps_guidance
        self.shortcut = ShortcutConfig(guidance=Guidance(scale, scale))
        self.model = ShortcutFlow(teacher).to(device)
        self.slow = copy.deepcopy(self.model)
        self.optimiser = optimiser_of(self.model, config)
        self.step, self.end = config.steps, config.all_steps
        self.spent_s = 0.0
        self._ahead = Ahead(self.input, self.end, readers_for(device))

    @property
    def curve(self) -> list[Point]:
        """The points of the loss curve so far, the teacher's among them."""
        return self.losses.points

    def input(self, step: int) -> "tuple[tuple[Batch, ShortcutDraws], ...]":
        """The parts of a step's batch with what chance decides about each, on the device."""
        size = self.config.batch_size // self.config.parts
        return tuple(
            self._part(step, slice(first, first + size))
            for first in range(0, self.config.batch_size, size)
        )

    def _part(self, step: int, rows: slice) -> "tuple[Batch, ShortcutDraws]":

        from models.shortcut import draw_shortcut

        plan = self.data.plan(step)
        batch = self.data.read(plan, self.model.config, rows)
        generator = step_generator(self.config.seed, step)
        shape = (len(plan.picks), plan.length, self.data.channels)
        draws = draw_shortcut(shape, self.shortcut, generator)
        return batch.to(self.device), draws.part(rows).to(self.device)

    def train_step(self) -> "Tensor":
        """Takes one optimiser step and returns its loss, on the device."""
        import torch

        from models.shortcut import follow

        config, plan = self.config, self.data.plan(self.step)
        parts = self._ahead.get(self.step)
        for group in self.optimiser.param_groups:
            group["lr"] = config.rate(self.step)
        self.optimiser.zero_grad(set_to_none=True)
        valid = plan.valid(config.padding)
        found = [self._backward(batch, draws, valid) for batch, draws in parts]
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), config.clip_norm)
        self.optimiser.step()
        follow(self.slow, self.model, SLOW_DECAY)
        self.step += 1
        t = torch.cat([draws.spans.t for _, draws in parts])
        self.losses.add(self.step, plan.tasks, t, torch.cat([each for _, each in found]))
        return torch.stack([loss for loss, _ in found]).sum()

    def _backward(
        self, batch: Batch, draws: "ShortcutDraws", valid: int | None
    ) -> "tuple[Tensor, Tensor]":
        """Adds a part's gradients; returns its loss and that of each of its samples."""
        import torch

        from models.shortcut import drawn_shortcut_loss

        conditions = batch.conditions
        found = drawn_shortcut_loss(
            self.model,
            self.slow,
            self.teacher,
            batch.latents,
            conditions.unpadded() if self.config.padding == "signal" else conditions,
            draws,
            config=self.shortcut,
            valid=valid,
            precision=getattr(torch, self.config.precision),
        )
        found.loss.backward()
        return found.loss.detach(), found.per_sample.detach()

    def backward(self, clips: int) -> None:
        """Computes the gradients of a part with so many clips of the next step, and drops them."""
        self._backward(*self._part(self.step, slice(0, clips)), None)
        self.optimiser.zero_grad(set_to_none=True)

    def sampled(self, conditions: "Conditions", generator: "torch.Generator") -> "Tensor":
        """Latents (B, N, C) that the student of now makes of conditions."""
        from models.shortcut import sample_shortcut

        return sample_shortcut(self.trained, conditions, steps=SAMPLED_STEPS, generator=generator)

    @property
    def trained(self) -> "ShortcutFlow":
        """What training gives."""
        return self.model

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
            "student": self.model.state_dict(),
            "slow": self.slow.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }
        write_state(path, state)

    def resume(self, path: Path) -> None:
        """Goes on from a saved state; without one of this model's sizes, from the beginning."""
        state = read_state(path, self.device)
        if state is None or state.get("sizes") != dataclasses.asdict(self.model.config):
            return
        self.model.load_state_dict(state["student"])
        self.slow.load_state_dict(state["slow"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step, self.spent_s = state["step"], state["spent_s"]
        self.losses.restore(state["losses"])


InTraining = Trainer | FewStepTrainer
"""What takes steps, is watched, and goes on from a saved state."""
