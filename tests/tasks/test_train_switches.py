"""Each switch of training reaches what it is named for, and resumes to the bit."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import models.flow
from models.flow import PAPER_DROPOUT
from models.presets import PRESETS
from tasks.snapshot import read_samples
from tasks.train import Trainer
from tasks.train_config import TrainConfig
from tests.made_model import made_dataset, tiny_sizes
from tests.tasks.test_train import killed_at, target, train, weights

SHORT: dict[str, Any] = {"joint_steps": 4, "mixture_steps": 0, "batch_size": 2, "crop_s": 0.8}


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PRESETS, "tiny", tiny_sizes)


def trainer(tmp_path: Path, **changes: Any) -> Trainer:
    samples = read_samples(str(tmp_path), made_dataset(tmp_path), "train")
    return Trainer(TrainConfig(**SHORT, threads=1, **changes), samples)


def test_the_papers_dropout_times_and_padding_reach_the_loss(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, Any]] = []
    whole = models.flow.flow_loss

    def noted(*arguments: Any, **named: Any) -> Any:
        asked.append(named)
        return whole(*arguments, **named)

    monkeypatch.setattr(models.flow, "flow_loss", noted)
    trainer(tmp_path).train_step()
    trainer(tmp_path, dropout="batch", times="logit_normal", padding="signal").train_step()
    ours, other = asked
    assert (ours["dropout"], ours["times"], ours["padding"]) == (None, "uniform", "masked")
    assert (other["dropout"], other["times"]) == (PAPER_DROPOUT, "logit_normal")
    assert other["padding"] == "signal"


@pytest.mark.parametrize(("switch", "known"), [("preset", True), ("on", True), ("off", False)])
def test_context_positions_are_the_presets_unless_they_are_switched(
    tmp_path: Path, switch: str, known: bool
) -> None:
    assert trainer(tmp_path, context_positions=switch).model.config.context_positions is known


def test_the_averaged_weights_are_the_exponential_average_of_every_step(tmp_path: Path) -> None:
    made = trainer(tmp_path, ema=0.9)
    expected: torch.Tensor | None = None
    for _ in range(4):
        made.train_step()
        now = made.model.project_in.weight.detach().clone()
        expected = now if expected is None else 0.9 * expected + 0.1 * now
    assert made.trained is not made.model
    torch.testing.assert_close(made.trained.project_in.weight.detach(), expected)
    assert not torch.equal(made.trained.project_in.weight, made.model.project_in.weight)


def test_a_killed_training_that_averages_ends_in_the_same_averaged_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = TrainConfig(**SHORT, threads=1, save_every=2, ema=0.5)
    undisturbed = target(tmp_path, "undisturbed")
    expected = train(undisturbed, config)
    killed = target(tmp_path, "killed")
    killed_at(killed, 3, monkeypatch, config)
    assert weights(killed, train(killed, config)) == weights(undisturbed, expected)
    plain = target(tmp_path, "plain")
    last = train(plain, TrainConfig(**SHORT, threads=1))
    assert weights(plain, last) != weights(undisturbed, expected)
    saved = load_file(Path(undisturbed.workspace) / expected["ref"] / "model.safetensors")
    assert "project_in.weight" in saved


def test_a_preset_that_knows_no_motion_trains_on_data_that_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = dataclasses.replace(tiny_sizes(), motion_dim=0, sync_dim=3, lips_dim=2)
    monkeypatch.setitem(PRESETS, "tiny", lambda: sizes)
    made = trainer(tmp_path)
    assert all(made.train_step() > 0 for _ in range(3))
