"""The loss curve of a training: means since the last point, by task and by time on the path."""

from typing import TYPE_CHECKING, Any

from tasks.batches import TASKS
from tasks.train_config import TrainConfig

if TYPE_CHECKING:
    from torch import Tensor

Point = dict[str, Any]
ALL = "all"
TIME_BUCKETS = ("0.00-0.25", "0.25-0.50", "0.50-0.75", "0.75-1.00")
"""Quarters of the path from noise (0) to data (1)."""


class LossCurve:
    """Points of a loss curve, and the losses of the samples since the last one.

    Losses stay on their device until a point is due, so that no step waits for them.
    """

    def __init__(self, config: TrainConfig) -> None:
        """A curve without a point."""
        self.config = config
        self.points: list[Point] = []
        self._tasks: list[str] = []
        self._times: list[Tensor] = []
        self._losses: list[Tensor] = []

    def add(self, step: int, tasks: tuple[str, ...], t: "Tensor", losses: "Tensor") -> None:
        """Notes the samples of a step, counted from 1: task, time (B,) and loss (B,) of each."""
        self._tasks += tasks
        self._times.append(t)
        self._losses.append(losses)
        if step % self.config.log_every == 0 or step in (self.config.steps, self.config.all_steps):
            self._close(step)

    def _close(self, step: int) -> None:
        tasks, times, losses = self._since()
        found: dict[tuple[str, str], list[float]] = {}
        for task, t, loss in zip(tasks, times, losses, strict=True):
            place = min(int(t * len(TIME_BUCKETS)), len(TIME_BUCKETS) - 1)
            for key in ((ALL, ALL), (task, ALL), (ALL, TIME_BUCKETS[place])):
                found.setdefault(key, []).append(loss)
        phase = self.config.phase(step - 1)
        order = [(task, ALL) for task in (ALL, *TASKS)] + [(ALL, part) for part in TIME_BUCKETS]
        for task, part in order:
            if values := found.get((task, part)):
                point = {"phase": phase, "step": step, "task": task, "t_bucket": part}
                self.points.append(point | {"loss": sum(values) / len(values)})
        self._tasks, self._times, self._losses = [], [], []

    def _since(self) -> tuple[list[str], list[float], list[float]]:
        times = [t for part in self._times for t in part.tolist()]
        return self._tasks, times, [loss for part in self._losses for loss in part.tolist()]

    def means(self) -> list[float]:
        """The model's losses of all tasks and times, a point each."""
        model = (p for p in self.points if p["phase"] != "few_steps")
        return [p["loss"] for p in model if (p["task"], p["t_bucket"]) == (ALL, ALL)]

    def state(self) -> dict[str, Any]:
        """What to save for a training that goes on; plain values."""
        tasks, times, losses = self._since()
        return {"points": self.points, "tasks": tasks, "times": times, "losses": losses}

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on from a saved state."""
        import torch

        self.points, self._tasks = list(state["points"]), list(state["tasks"])
        # As float64, which holds what was saved to the bit.
        self._times = [torch.tensor(state["times"], dtype=torch.float64)]
        self._losses = [torch.tensor(state["losses"], dtype=torch.float64)]
