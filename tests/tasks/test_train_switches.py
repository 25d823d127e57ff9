"""Each switch of training reaches what it is named for, and resumes to the bit."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import models.flow
from models.flow import PAPER_DROPOUT
from models.presets import PRESETS
from tasks.train import channel_weights
from tasks.train_config import TrainConfig
from tasks.trainer import Trainer
from tasks.training_data import TrainingData
from tests.made_model import made_dataset, tiny_codec, tiny_sizes
from tests.tasks.test_train import killed_at, target, train, weights

SHORT: dict[str, Any] = {"joint_steps": 4, "mixture_steps": 0, "batch_size": 2, "crop_s": 0.8}


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PRESETS, "tiny", tiny_sizes)


def trainer(tmp_path: Path, **changes: Any) -> Trainer:
    settings: dict[str, Any] = SHORT | {"threads": 1} | changes
    config = TrainConfig(**settings)
    return Trainer(TrainingData(tmp_path, made_dataset(tmp_path), config))


def test_the_papers_dropout_times_and_padding_reach_the_loss(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, Any]] = []
    one: dict[str, Any] = {"joint_steps": 1, "batch_size": 5}  # of one step none is drawn ahead
    draw, loss = models.flow.draw_flow, models.flow.drawn_loss

    def drawn(shape: tuple[int, int, int], *arguments: Any, **named: Any) -> Any:
        if shape[0] == one["batch_size"]:  # not what a trainer of another test reads ahead
            asked.append(named)
        return draw(shape, *arguments, **named)

    def computed(*arguments: Any, **named: Any) -> Any:
        asked[-1] = named | asked[-1]
        return loss(*arguments, **named)

    monkeypatch.setattr(models.flow, "draw_flow", drawn)
    monkeypatch.setattr(models.flow, "drawn_loss", computed)
    trainer(tmp_path, **one).train_step()
    trainer(tmp_path, dropout="batch", times="uniform", padding="signal", **one).train_step()
    ours, other = asked
    assert (ours["dropout"], ours["times"], ours["padding"]) == (None, "early", "masked")
    assert (other["dropout"], other["times"]) == (PAPER_DROPOUT, "uniform")
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


def curve_of(made: Trainer, steps: int = 3) -> list[float]:
    return [float(made.train_step()) for _ in range(steps)]


@pytest.mark.parametrize("padding", ["masked", "signal"])
def test_a_batch_in_parts_trains_as_the_whole_batch_within_rounding(
    tmp_path: Path, padding: str
) -> None:
    plain: dict[str, Any] = {"batch_size": 6, "padding": padding, "clip_norm": 1e9}
    whole, parts = trainer(tmp_path, **plain), trainer(tmp_path, accumulate=3, **plain)
    assert len(parts.input(0).parts) == 3
    assert curve_of(parts) == pytest.approx(curve_of(whole), rel=1e-5)
    for one, other in zip(whole.model.parameters(), parts.model.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_a_batch_that_cannot_be_shared_out_is_refused() -> None:
    with pytest.raises(ValueError, match=r"batch_size=8 must be a multiple of .*accumulate=3"):
        TrainConfig(batch_size=8, accumulate=3)


def test_in_bfloat16_products_are_rounded_and_weights_and_their_sums_are_not(
    tmp_path: Path,
) -> None:
    exact, rounded = trainer(tmp_path), trainer(tmp_path, precision="bfloat16")
    kinds: list[torch.dtype] = []
    rounded.model.project_in.register_forward_hook(lambda *given: kinds.append(given[2].dtype))
    expected, found = curve_of(exact), curve_of(rounded)
    assert set(kinds) == {torch.bfloat16}
    assert found != expected and found == pytest.approx(expected, rel=0.02)
    held = [
        *rounded.model.parameters(),
        *(v for s in rounded.optimiser.state.values() for v in s.values()),
    ]
    assert {value.dtype for value in held} == {torch.float32}


def test_a_compiled_model_trains_as_a_plain_one_and_is_compiled_once_for_each_length(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torch._dynamo.testing import CompileCounter

    counter, plain = CompileCounter(), torch.nn.Module.compile
    monkeypatch.setattr(
        torch.nn.Module, "compile", lambda self, **given: plain(self, backend=counter, **given)
    )
    short: dict[str, Any] = {"joint_steps": 12, "batch_size": 1, "crop_s": 1.2, "length_buckets": 3}
    made, expected = trainer(tmp_path, compile=True, **short), trainer(tmp_path, **short)
    lengths = {made.data.plan(step).length for step in range(12)}
    assert lengths == {20, 30}
    assert curve_of(made, 12) == pytest.approx(curve_of(expected, 12), rel=1e-5)
    assert counter.frame_count == len(lengths)
    assert "project_in.weight" in made.model.state_dict()


def test_a_device_that_is_not_there_is_an_error_that_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert trainer(tmp_path).device == torch.device("cpu")
    with pytest.raises(ValueError, match=r"set train.device: cpu"):
        trainer(tmp_path, device="cuda")


def test_a_dataset_of_pixels_makes_a_model_that_reads_their_cells(tmp_path: Path) -> None:
    config = TrainConfig(**SHORT, threads=1)
    refs = made_dataset(tmp_path, sync_dim=2 * 6 * 6)
    trained = Trainer(TrainingData(tmp_path, refs, config, cells=6))
    assert (trained.model.config.sync_cells, trained.model.config.sync_dim) == (6, 72)
    before = {name: w.clone() for name, w in trained.model.embedding.sync.named_parameters()}
    for _ in range(2):
        trained.train_step()
    after = dict(trained.model.embedding.sync.named_parameters())
    assert before and all(not torch.equal(before[name], after[name]) for name in before)


def test_channels_by_their_deviation_weigh_the_error_and_have_a_mean_of_1(tmp_path: Path) -> None:
    codec = tiny_codec()
    even, weighed = (TrainConfig(**SHORT, threads=1, channels=c) for c in ("even", "deviation"))
    assert channel_weights(codec, even) == ()
    found = channel_weights(codec, weighed)
    np.testing.assert_allclose(found, codec.scale / codec.scale.mean(), rtol=1e-6)
    refs = made_dataset(tmp_path)
    first = [
        float(Trainer(TrainingData(tmp_path, refs, weighed, weights=w)).train_step())
        for w in ((), found, tuple(4 * one for one in found))
    ]
    assert first[1] != first[0] and first[2] == pytest.approx(4 * first[1], rel=1e-5)
