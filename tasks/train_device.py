"""Where a training runs: which of its processes this is, and on what device."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tasks.train_config import TrainConfig

if TYPE_CHECKING:
    import torch
    from torch import nn

GPU_READERS = 4


@dataclass(frozen=True, slots=True)
class Rank:
    """Which of the processes that train together this one is; alone by default.

    Attributes:
        number: of all, the first is 0.
        count: all of them.
        local: its number on its machine, which is that of its GPU.
        here: those on its machine.
    """

    number: int = 0
    count: int = 1
    local: int = 0
    here: int = 1


def device_of(config: TrainConfig, rank: Rank) -> "torch.device":
    """The device on which a rank trains.

    Raises ValueError where the configuration asks for CUDA and there is none, or where a machine
    has more ranks than devices.
    """
    import torch

    there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if config.device == "cpu" or (config.device == "auto" and not there):
        return torch.device("cpu")
    if not there:
        raise ValueError(
            "train.device=cuda: torch finds no CUDA device here; set train.device: cpu"
        )
    if rank.here > there:
        raise ValueError(
            f"train.ranks={config.ranks}: {rank.here} of them are here, each takes a CUDA device, "
            f"and there are {there}; lower train.ranks, or set train.device: cpu"
        )
    return torch.device("cuda", rank.local)


def readers_for(device: "torch.device") -> int:
    """Threads that read ahead for a device; a CPU's training reads itself.

    A second thread with a team of its own makes OpenMP stop spinning in both, and a step takes
    twice the time.
    """
    return GPU_READERS if device.type == "cuda" else 0


def optimiser_of(model: "nn.Module", config: TrainConfig) -> "torch.optim.AdamW":
    """AdamW over a model's weights, where they are."""
    import torch

    return torch.optim.AdamW(
        model.parameters(),
        lr=config.learning_rate,
        betas=(0.9, 0.95),
        weight_decay=config.weight_decay,
        fused=True,
    )


def step_generator(seed: int, step: int) -> "torch.Generator":
    """What decides by chance in a step: the same for the same step, whatever came before."""
    import torch

    return torch.Generator().manual_seed((seed << 32) + step)


def name_of(device: "torch.device", threads: int) -> str:
    """What a device is called in tables and messages."""
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU, {threads} threads"
