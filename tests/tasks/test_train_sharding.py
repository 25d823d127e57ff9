"""Two ranks that share out a model train as one process does, and write the same states."""

import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.distributed import TCPStore  # pyright: ignore[reportPrivateImportUsage]
from torch.distributed.tensor import DTensor

from models.presets import PRESETS
from models.sizes import VSSFlowConfig
from models.transformer import seeded
from storage.stage import ShardTarget
from tasks.train import train_dataset
from tasks.train_config import TrainConfig
from tasks.train_memory import OutOfMemory, guarded_step
from tasks.trainer import Trainer
from tests.made_model import made_dataset, tiny_sizes
from tests.tasks.test_train import made_item, target, weights
from tests.tasks.test_train_memory import with_room_for
from tests.tasks.test_train_ranks import as_torchrun, followed, other_rank_killed_at
from tests.tasks.test_train_switches import curve_of, trainer

ALONE = TrainConfig(
    joint_steps=3,
    mixture_steps=1,
    batch_size=8,
    crop_s=0.8,
    clip_norm=1.45,  # of the gradients here one is shorter, and three are longer
    threads=1,
    log_every=1,
    save_every=2,
    sample_every=3,
    ema=0.5,
    accumulate=2,
    device="cpu",
)
SHARED = dataclasses.replace(ALONE, ranks=2, sharding="full")
STATE = f"scratch/training/{'f' * 16}-{'h' * 16}.pt"


def sizes_with_lips() -> VSSFlowConfig:
    """Lips pass a network, which a part of a batch without lips would not use."""
    return dataclasses.replace(tiny_sizes(), layers=1, lips_dim=3, aligned_hidden=5)


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PRESETS, "tiny", sizes_with_lips)
    monkeypatch.setattr("tasks.train.fit_durations", lambda grids, seed: None)  # takes seconds


class Trained(NamedTuple):
    """A training: its workspace, the row of its checkpoint, its curve, and its last state."""

    out: ShardTarget
    row: dict[str, Any]
    curve: list[dict[str, Any]]
    state: dict[str, Any]


def train(out: ShardTarget, config: TrainConfig) -> Trained:
    item = made_item(out) | {"shard_refs": made_dataset(Path(out.workspace), lips_dim=3)}
    rows = train_dataset(item, out, config)
    state = torch.load(Path(out.workspace) / STATE, weights_only=True)
    return Trained(out, rows["checkpoints"][0], rows["losses"], state)


def held(made: Trainer) -> tuple[int, int]:
    """How many numbers a rank holds of weights, averages, gradients and moments, and of how many.

    Between two steps.
    """
    assert made.average is not None
    tensors = [*made.model.parameters(), *made.average.parameters()]
    tensors += [weight.grad for weight in made.model.parameters() if weight.grad is not None]
    for moments in made.optimiser.state.values():
        tensors += [moments["exp_avg"], moments["exp_avg_sq"]]
    own = [value.to_local() if isinstance(value, DTensor) else value for value in tensors]
    return sum(value.numel() for value in own), sum(value.numel() for value in tensors)


@pytest.fixture(scope="module")
def begin(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Weights to begin with, which the other rank gets from rank 0."""
    path = tmp_path_factory.mktemp("begin") / "model.safetensors"
    save_file(seeded(sizes_with_lips(), 7).state_dict(), path)
    return {"init_from": str(path)}


@pytest.fixture(scope="module")
def shared(
    tmp_path_factory: pytest.TempPathFactory, begin: dict[str, str]
) -> Iterator[tuple[Trained, list[Any]]]:
    """A training by two ranks of torchrun's, and what rank 0 held after each step."""
    shares: list[tuple[int, int]] = []
    one_step = Trainer.train_step

    def watched(self: Trainer) -> Tensor:
        loss = one_step(self)
        shares.append(held(self))
        return loss

    agent = TCPStore("localhost", 0, is_master=True, wait_for_workers=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PRESETS, "tiny", sizes_with_lips)
        patch.setattr("tasks.train.fit_durations", lambda grids, seed: None)
        patch.setattr(Trainer, "train_step", watched)
        for name, value in as_torchrun(agent.port, 0).items():
            patch.setenv(name, value)
        other = followed(agent.port)
        out = target(tmp_path_factory.mktemp("shared"), "shared")
        found = train(out, dataclasses.replace(SHARED, **begin))
        other.join()
    assert other.exitcode == 0
    yield found, shares


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, begin: dict[str, str]) -> Trained:
    """The same training by one process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PRESETS, "tiny", sizes_with_lips)
        patch.setattr("tasks.train.fit_durations", lambda grids, seed: None)
        out = target(tmp_path_factory.mktemp("alone"), "alone")
        return train(out, dataclasses.replace(ALONE, **begin))


def losses_of(found: Trained) -> list[float]:
    return [point["loss"] for point in found.curve]


def samples_of(found: Trained) -> list[str]:
    """The files of audio that were made on the way."""
    folder = Path(found.out.workspace) / "reports" / "training"
    return sorted(path.name for path in folder.rglob("*.flac"))


def assert_near(one: Any, other: Any, place: str) -> None:
    """The same keys and shapes, and numbers that differ by rounding."""
    if isinstance(one, dict):
        assert list(one) == list(other), place
        for name in one:
            assert_near(one[name], other[name], f"{place}/{name}")
    elif isinstance(one, list):
        assert len(one) == len(other), place
        for number, (left, right) in enumerate(zip(one, other, strict=True)):
            assert_near(left, right, f"{place}/{number}")
    elif isinstance(one, float):
        assert one == pytest.approx(other, rel=1e-5), place
    elif isinstance(one, Tensor):
        torch.testing.assert_close(
            one, other, rtol=1e-3, atol=1e-6, msg=lambda text: f"{place}: {text}"
        )
    else:
        assert one == other, place


def test_two_ranks_that_share_a_model_have_the_losses_and_the_state_of_one_process(
    shared: tuple[Trained, list[Any]], alone: Trained
) -> None:
    found, _ = shared
    assert losses_of(found) == pytest.approx(losses_of(alone), rel=1e-5)
    for part in ("sizes", "step", "losses", "model", "optimiser", "average"):
        assert_near(found.state[part], alone.state[part], part)
    assert found.state.keys() == alone.state.keys()
    assert samples_of(found) == samples_of(alone) != []
    # The network of speakers, which no batch used, has no moments here as there.
    assert len(found.state["optimiser"]["state"]) < len(found.state["model"]) - 1


def test_a_rank_holds_its_half_of_weights_averages_gradients_and_moments(
    shared: tuple[Trained, list[Any]],
) -> None:
    _, shares = shared
    assert len(shares) == SHARED.steps
    for own, of_all in shares:
        assert own == pytest.approx(of_all / 2, rel=0.02)


def test_a_killed_rank_ends_a_shared_training_which_goes_on_shared_to_the_bit_or_by_one_process(
    shared: tuple[Trained, list[Any]],
    alone: Trained,
    begin: dict[str, str],
    tmp_path: Path,
) -> None:
    expected, _ = shared
    together = dataclasses.replace(SHARED, **begin)
    out, single = target(tmp_path, "killed"), target(tmp_path, "single")
    with other_rank_killed_at(3):
        train(out, together)
    (Path(single.workspace) / STATE).parent.mkdir()
    shutil.copy(Path(out.workspace) / STATE, Path(single.workspace) / STATE)
    found = train(out, together)
    assert weights(out, found.row) == weights(expected.out, expected.row)
    assert found.curve == expected.curve
    left = train(single, ALONE)
    assert losses_of(left) == pytest.approx(losses_of(alone), rel=1e-5)
    assert left.row["train_s"] > 0


def test_a_state_of_one_process_is_gone_on_from_by_ranks_that_share_it_and_round_products(
    alone: Trained, tmp_path: Path
) -> None:
    out = target(tmp_path, "whole")
    (Path(out.workspace) / STATE).parent.mkdir()
    shutil.copy(Path(alone.out.workspace) / STATE, Path(out.workspace) / STATE)
    longer: dict[str, Any] = {"mixture_steps": 2, "precision": "bfloat16"}
    found = train(out, dataclasses.replace(SHARED, **longer))
    expected = train(alone.out, dataclasses.replace(ALONE, **longer))
    assert losses_of(found) == pytest.approx(losses_of(expected), rel=1e-5)
    assert_near(found.state["average"], expected.state["average"], "average")


def test_one_rank_has_nothing_to_share(tmp_path: Path) -> None:
    one = trainer(tmp_path, sharding="full")
    assert not one.sharded
    assert curve_of(one) == curve_of(trainer(tmp_path))


def test_a_shared_model_that_shall_be_compiled_is_refused_with_the_settings_named() -> None:
    with pytest.raises(ValueError, match=r"train.compile=true .* set train.sharding: none, or"):
        TrainConfig(ranks=2, sharding="full", compile=True)


def test_without_memory_a_shared_training_names_the_settings_and_tries_no_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = trainer(tmp_path, batch_size=16)
    made.sharded = True  # alone no exchange could hang
    tried = with_room_for(3, monkeypatch, torch.OutOfMemoryError("CUDA out of memory"))
    with pytest.raises(OutOfMemory, match=r"batch_size=16: .* train.accumulate higher than 1, or"):
        guarded_step(made)
    assert tried == [16]
