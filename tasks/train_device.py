"""Where a training runs: which of its processes this is, and on what device."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tasks.train_config import TrainConfig

if TYPE_CHECKING:
    import torch


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


def name_of(device: "torch.device", threads: int) -> str:
    """What a device is called in tables and messages."""
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU, {threads} threads"
