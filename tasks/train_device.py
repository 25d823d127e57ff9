"""Where a training runs."""

from typing import TYPE_CHECKING

from tasks.train_config import TrainConfig

if TYPE_CHECKING:
    import torch


def device_of(config: TrainConfig, rank: int = 0) -> "torch.device":
    """The device on which a rank trains.

    Raises ValueError where the configuration asks for CUDA and there is none, or for more ranks
    than there are devices.
    """
    import torch

    there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if config.device == "cpu" or (config.device == "auto" and not there):
        return torch.device("cpu")
    if not there:
        raise ValueError(
            "train.device=cuda: torch finds no CUDA device here; set train.device: cpu"
        )
    if config.ranks > there:
        raise ValueError(
            f"train.ranks={config.ranks}: there are {there} CUDA devices here and each rank takes "
            f"one; set train.ranks: {there}, or train.device: cpu"
        )
    return torch.device("cuda", rank)


def name_of(device: "torch.device", threads: int) -> str:
    """What a device is called in tables and messages."""
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU, {threads} threads"
