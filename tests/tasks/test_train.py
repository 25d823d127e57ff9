"""Training: it learns, and a training that was killed ends in the same weights to the bit."""

import dataclasses
import pickle
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

import duckdb
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from models.phoneme_ids import TABLE_ID
from models.presets import PRESETS
from models.transformer import seeded
from storage.rejects import Rejected
from storage.stage import ShardTarget
from tasks.batches import Batch
from tasks.checkpoint import load_checkpoint
from tasks.clip_encoders import SYNC_ENCODERS
from tasks.train import CELLS, train_dataset
from tasks.train_config import Preset, TrainConfig
from tasks.trainer import Trainer
from tasks.training_data import TrainingData
from tests.made_model import VISUAL_DIM, codec_ref, made_dataset, tiny_sizes

CONFIG = TrainConfig(
    joint_steps=8,
    mixture_steps=4,
    batch_size=4,
    crop_s=0.8,
    warmup_steps=2,
    threads=1,
    log_every=3,
    save_every=5,
)


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PRESETS, "tiny", tiny_sizes)


def target(tmp_path: Path, name: str) -> ShardTarget:
    workspace = tmp_path / name
    for folder in ("scratch", "checkpoints", "out"):
        (workspace / folder).mkdir(parents=True)
    return ShardTarget(str(workspace), str(workspace / "out"))


def made_item(out: ShardTarget, cells: int | None = None) -> dict[str, Any]:
    """A dataset to train on; its sync is coarse pixels of so many cells per side, if any."""
    workspace = Path(out.workspace)
    return {
        "item_id": "d" * 32,
        "shard_refs": made_dataset(workspace, sync_dim=2 * (cells or 0) ** 2),
        "phoneme_table": TABLE_ID,
        "codec_ref": codec_ref(workspace),
        "_name": "made",
        "cells": cells,
        "_fingerprint": "f" * 32,
        "_input_hash": "h" * 64,
    }


def train(
    out: ShardTarget, config: TrainConfig = CONFIG, cells: int | None = None
) -> dict[str, Any]:
    rows = train_dataset(made_item(out, cells), out, config)
    (row,) = rows["checkpoints"]
    return row | {"curve": rows["losses"]}


def data(out: ShardTarget, config: TrainConfig = CONFIG, **made: Any) -> TrainingData:
    return TrainingData(out.workspace, made_dataset(Path(out.workspace), **made), config)


def weights(out: ShardTarget, row: dict[str, Any]) -> bytes:
    return (Path(out.workspace) / row["ref"] / "model.safetensors").read_bytes()


def test_cells_are_those_of_the_pixels_that_a_dataset_has() -> None:
    names = ", ".join(f"('{name}')" for name in (*SYNC_ENCODERS, "none"))
    told = duckdb.sql(f"SELECT name, CASE name {CELLS} END FROM (VALUES {names}) AS all_(name)")
    cells = {
        "pixels": 16,
        "fine_pixels": 28,
        "colour_pixels": 28,
        "synchformer": None,
        "none": None,
    }
    assert dict(told.fetchall()) == cells


class Killed(BaseException):
    """Stands for SIGKILL: nothing in the code catches it, only what is on disk stays."""


def killed_at(
    out: ShardTarget, step: int, monkeypatch: pytest.MonkeyPatch, config: TrainConfig = CONFIG
) -> None:
    """Trains until a step and dies there."""

    def report(_self: ShardTarget, done: float, _total: float, _note: str = "") -> None:
        if done == step:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(ShardTarget, "report", report)
        with pytest.raises(Killed):
            train(out, config)


def test_the_presets_of_the_recipe_are_those_of_the_model() -> None:
    assert set(get_args(Preset)) == set(PRESETS)


def test_a_training_that_was_killed_goes_on_and_does_not_begin_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = target(tmp_path, "killed")
    killed_at(out, 7, monkeypatch)
    steps = []
    one_step = Trainer.train_step

    def counted(self: Trainer) -> torch.Tensor:
        steps.append(self.step)
        return one_step(self)

    monkeypatch.setattr(Trainer, "train_step", counted)
    train(out)
    assert steps == list(range(5, 12))


def test_a_model_takes_features_as_wide_as_they_are(tmp_path: Path) -> None:
    out = target(tmp_path, "wide")
    made = data(out, visual_dim=2 * VISUAL_DIM, lips_dim=9)
    trainer = Trainer(made)
    sizes = trainer.model.config
    assert sizes.visual_dim == 2 * tiny_sizes().visual_dim
    assert (sizes.sync_dim, sizes.lips_dim) == (0, 9)
    step = next(step for step in range(20) if "visual_tts" in made.plan(step).tasks)
    assert made.plan(step).given == ("visual", "motion", "phonemes", "lips")
    lips = trainer.batch(step).conditions.lips
    assert lips is not None and lips.shape[-1] == 9
    assert trainer.train_step().isfinite()


def test_a_model_that_is_told_who_speaks_learns_it_and_knows_them_by_name(tmp_path: Path) -> None:
    out = target(tmp_path, "voices")
    refs = made_dataset(Path(out.workspace), speaker_dim=5)
    config = dataclasses.replace(CONFIG, joint_steps=3, mixture_steps=0)
    (row,) = train_dataset(made_item(out) | {"shard_refs": refs}, out, config)["checkpoints"]
    trained = load_checkpoint(Path(out.workspace) / row["ref"], row["checkpoint_id"])
    assert trained.voices is not None and trained.voices.names == ("speaker 0", "speaker 1")
    assert torch.equal(trained.voices.vectors, torch.eye(5)[:2])
    assert trained.card["voices"] == {"names": ["speaker 0", "speaker 1"], "size": 5}
    begun = seeded(trained.model.config, config.seed).embedding.speaker
    weights = trained.model.embedding.speaker.state_dict()
    assert weights and not any(torch.equal(w, begun.state_dict()[n]) for n, w in weights.items())


def test_another_seed_gives_other_weights(tmp_path: Path) -> None:
    one, two = target(tmp_path, "one"), target(tmp_path, "two")
    other = TrainConfig(joint_steps=1, mixture_steps=0, batch_size=2, threads=1, seed=1)
    first = train(one, TrainConfig(joint_steps=1, mixture_steps=0, batch_size=2, threads=1))
    assert weights(one, first) != weights(two, train(two, other))


def test_the_time_of_a_training_is_that_of_all_its_starts(tmp_path: Path) -> None:
    out = target(tmp_path, "a")
    before = Trainer(data(out))
    before.train_step()
    before.spent_s = 3_600.0
    before.save(tmp_path / "state.pt")
    after = Trainer(data(out))
    after.resume(tmp_path / "state.pt")
    assert (after.step, after.spent_s) == (1, 3_600.0)


def test_a_state_of_another_size_is_not_gone_on_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = target(tmp_path, "a")
    trainer = Trainer(data(out))
    trainer.train_step()
    trainer.save(tmp_path / "state.pt")
    wider = tiny_sizes()
    monkeypatch.setitem(PRESETS, "tiny", lambda: type(wider)(**{**_fields(wider), "layers": 3}))
    other = Trainer(data(out))
    other.resume(tmp_path / "state.pt")
    assert other.step == 0


def _fields(sizes: Any) -> dict[str, Any]:
    return {name: getattr(sizes, name) for name in sizes.__dataclass_fields__}


def test_a_pickle_in_place_of_a_state_is_refused_and_not_run(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "ran",))

    (tmp_path / "state.pt").write_bytes(pickle.dumps(Bomb(), protocol=2))
    out = target(tmp_path, "a")
    with pytest.raises(pickle.UnpicklingError):
        Trainer(data(out)).resume(tmp_path / "state.pt")
    assert not (tmp_path / "ran").exists()


def samples_of(batch: Batch) -> list[torch.Tensor]:
    c = batch.conditions
    assert c.visual is not None and c.motion is not None and c.phonemes is not None
    return [batch.latents, c.mask, c.visual, c.motion, c.phonemes, c.present("visual")]


def test_the_batch_of_a_step_does_not_depend_on_the_steps_before(tmp_path: Path) -> None:
    out = target(tmp_path, "a")
    made = data(out)
    fresh, worked = Trainer(made), Trainer(made)
    for _ in range(3):
        worked.train_step()
    np.random.seed(7)
    for step in (10, 2, 0):
        one, two = fresh.batch(step), worked.batch(step)
        assert one.tasks == two.tasks
        for left, right in zip(samples_of(one), samples_of(two), strict=True):
            assert torch.equal(left, right)
    assert not torch.equal(fresh.batch(0).latents, fresh.batch(1).latents)


def test_mixtures_come_in_the_second_phase_with_their_share(tmp_path: Path) -> None:
    out = target(tmp_path, "a")
    trainer = Trainer(data(out))
    for step in range(CONFIG.steps):
        mixtures = trainer.batch(step).tasks.count("mixture")
        assert mixtures == (0 if CONFIG.phase(step) == "joint" else 2)
    without = Trainer(data(target(tmp_path, "b"), tasks=("v2s", "tts")))
    assert "mixture" not in without.batch(CONFIG.steps - 1).tasks


def test_the_loss_falls_on_made_data_and_the_curve_tells_it(tmp_path: Path) -> None:
    config = TrainConfig(
        joint_steps=60, mixture_steps=20, batch_size=6, crop_s=0.8, threads=1, learning_rate=5e-3
    )
    row = train(target(tmp_path, "a"), config)
    assert row["last_loss"] < 0.7 * row["first_loss"]
    curve = row["curve"]
    whole = [point for point in curve if (point["task"], point["t_bucket"]) == ("all", "all")]
    assert [point["step"] for point in whole] == list(range(10, 81, 10))
    assert [point["phase"] for point in whole] == ["joint"] * 6 + ["mixtures"] * 2
    assert {p["task"] for p in curve if p["phase"] == "joint"} == {
        "all",
        "v2s",
        "visual_tts",
        "tts",
    }
    keys = [(point["step"], point["task"], point["t_bucket"]) for point in curve]
    assert len(set(keys)) == len(keys)


def test_every_latent_of_a_checkpoint_is_finite_and_counted(tmp_path: Path) -> None:
    out = target(tmp_path, "a")
    row = train(out)
    state = load_file(Path(out.workspace) / row["ref"] / "model.safetensors")
    assert all(value.isfinite().all() for value in state.values())
    assert 0 < row["parameters"] <= sum(value.numel() for value in state.values())


def test_a_dataset_without_training_clips_is_a_reject(tmp_path: Path) -> None:
    out = target(tmp_path, "a")
    item = made_item(out) | {"shard_refs": []}
    with pytest.raises(Rejected, match=r"dataset made: .*lower split.test") as caught:
        train_dataset(item, out, CONFIG)
    assert caught.value.reason == "no_training_data"


def test_the_learning_rate_warms_up_and_falls_by_a_cosine_in_each_phase() -> None:
    config = TrainConfig(joint_steps=100, mixture_steps=50, warmup_steps=10, learning_rate=1.0)
    rates = [config.rate(step) for step in range(config.steps)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9] == max(rates)
    assert rates[99] == pytest.approx(0.1, abs=1e-3)
    assert rates[100] == pytest.approx(1 / 3)
    assert rates[149] == pytest.approx(1 / 30, abs=1e-3)
    assert all(left > right for left, right in pairwise(rates[9:100]))


def test_a_dataset_of_another_phoneme_table_is_refused_with_both_tables_named(
    tmp_path: Path,
) -> None:
    item = {"phoneme_table": "0123456789ab", "_name": "films"}
    with pytest.raises(Rejected, match="dataset films: its phoneme ids are of table 0123456789ab"):
        train_dataset(item, ShardTarget(str(tmp_path), str(tmp_path)), TrainConfig())
