"""A step without memory is answered with the batch that fits."""

from pathlib import Path
from typing import Any

import pytest
import torch

from models.presets import PRESETS
from models.transformer import VSSFlow
from tasks.train_memory import OutOfMemory, guarded_step
from tests.made_model import tiny_sizes
from tests.tasks.test_train_switches import trainer


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PRESETS, "tiny", tiny_sizes)


def with_room_for(clips: int, monkeypatch: pytest.MonkeyPatch, error: Exception) -> list[int]:
    """A device with memory for so many clips; returns the sizes that were tried."""
    tried: list[int] = []
    forward = VSSFlow.forward

    def limited(self: VSSFlow, x_t: torch.Tensor, *given: Any) -> torch.Tensor:
        tried.append(len(x_t))
        if len(x_t) > clips:
            raise error
        return forward(self, x_t, *given)

    monkeypatch.setattr(VSSFlow, "forward", limited)
    return tried


@pytest.mark.parametrize("room", [1, 5, 6, 15])
def test_the_message_names_the_batch_size_that_fits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    made = trainer(tmp_path, batch_size=16)
    tried = with_room_for(room, monkeypatch, torch.OutOfMemoryError("CUDA out of memory"))
    with pytest.raises(
        OutOfMemory, match=rf"train.batch_size=16: .* set train.batch_size: {room},"
    ):
        guarded_step(made)
    assert tried[0] == 16 and len(tried) <= 5


def test_parts_that_would_fit_are_named_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = trainer(tmp_path, batch_size=12, accumulate=2)
    no_memory = RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate")
    with_room_for(3, monkeypatch, no_memory)
    with pytest.raises(
        OutOfMemory, match=r"room for 3 clips at once; set train.batch_size: 6, .*accumulate: 4"
    ):
        guarded_step(made)


def test_where_no_clip_fits_the_size_of_the_model_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = trainer(tmp_path, batch_size=4)
    with_room_for(0, monkeypatch, torch.OutOfMemoryError("CUDA out of memory"))
    with pytest.raises(OutOfMemory, match=r"not even one clip fits; take a smaller train.preset"):
        guarded_step(made)


def test_another_error_passes_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = trainer(tmp_path)
    with_room_for(0, monkeypatch, RuntimeError("shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        guarded_step(made)
