"""The state that a killed training goes on from, as a file beside the workspace's scratch."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


def write_state(path: Path, state: dict[str, Any]) -> None:
    """Writes the state of a training; whole or not at all."""
    import torch

    temporary = path.with_suffix(".tmp")
    with temporary.open("wb") as stream:
        torch.save(state, stream)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(temporary, path)


def read_state(
    path: Path, device: "torch.device | str" = "cpu", mapped: bool = False
) -> dict[str, Any] | None:
    """The state that was written last, with its tensors on a device; None where there is none.

    `mapped` leaves them in the file until they are used.
    """
    import torch

    if not path.exists():
        return None
    return torch.load(path, weights_only=True, map_location=device, mmap=mapped)
