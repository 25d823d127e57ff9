"""The network for few steps: trained after the model, by it, and to the bit again after a kill."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from models.presets import PRESETS
from models.shortcut import ShortcutConfig, ShortcutFlow
from storage.ids import sha256_file
from tasks.checkpoint import FEW_STEPS, load_checkpoint
from tasks.few_steps import FewStepTrainer
from tasks.sampling import FEW_STEPS as SAMPLED_STEPS
from tasks.train_config import TrainConfig
from tasks.train_memory import OutOfMemory, guarded_step
from tasks.trainer import Trainer
from tests.made_model import tiny_sizes
from tests.tasks.test_train import killed_at, target, train, weights
from tests.tasks.test_train_switches import trainer
from tests.tasks.test_train_watch import watched_files

CONFIG = TrainConfig(
    joint_steps=3,
    mixture_steps=2,
    few_steps=5,
    batch_size=2,
    crop_s=0.8,
    ema=0.5,
    threads=1,
    log_every=2,
    save_every=2,
    sample_every=4,
)


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PRESETS, "tiny", tiny_sizes)
    monkeypatch.setattr("tasks.train.fit_durations", lambda grids, seed: None)  # takes seconds


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The folder of a checkpoint that was trained without a stop, and its row with the curve."""
    out = target(tmp_path_factory.mktemp("few"), "undisturbed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PRESETS, "tiny", tiny_sizes)
        patch.setattr("tasks.train.fit_durations", lambda grids, seed: None)
        row = train(out, CONFIG)
    return Path(out.workspace) / row["ref"], row


def student_of(tmp_path: Path, **changes: Any) -> FewStepTrainer:
    """A student whose teacher has not learned anything."""
    made = trainer(tmp_path, **{"joint_steps": 1, "few_steps": 3, **changes})
    return FewStepTrainer(made.data, made.trained, made.losses, made.device)


def shown_by(workspace: str | Path) -> tuple[set[tuple[str, int]], dict[str, bytes]]:
    """What TensorBoard shows of a training, and the samples on the way."""
    folder, told = watched_files(str(workspace))
    sounds = {path.name: path.read_bytes() for path in folder.glob("*.flac")}
    return {(tag, step) for tag, step, _ in told}, sounds


@pytest.mark.parametrize("step", [5, 6, 9])
def test_a_training_killed_in_its_few_steps_ends_in_the_same_student_and_curve(
    tmp_path: Path,
    undisturbed: tuple[Path, dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    step: int,
) -> None:
    folder, expected = undisturbed
    out = target(tmp_path, "killed")
    killed_at(out, step, monkeypatch, CONFIG)
    steps: list[int] = []
    one_step = Trainer.train_step
    monkeypatch.setattr(Trainer, "train_step", lambda self: steps.append(1) or one_step(self))
    row = train(out, CONFIG)
    # A kill at step 5 comes before the model's last state is saved.
    assert len(steps) == (1 if step == 5 else 0)
    assert sha256_file(Path(out.workspace) / row["ref"] / FEW_STEPS) == sha256_file(
        folder / FEW_STEPS
    )
    assert row["curve"] == expected["curve"]
    assert row["checkpoint_id"] == expected["checkpoint_id"]
    # Until its rows are committed the state is all that is left of a training.
    taken = len(steps)
    assert train(out, CONFIG)["checkpoint_id"] == expected["checkpoint_id"]
    assert len(steps) == taken
    assert shown_by(out.workspace) == shown_by(folder.parent.parent)


def test_a_student_without_memory_is_told_before_the_model_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def limited(_self: FewStepTrainer, clips: int) -> None:
        if clips > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")

    steps: list[int] = []
    monkeypatch.setattr(FewStepTrainer, "backward", limited)
    monkeypatch.setattr(Trainer, "train_step", lambda _self: steps.append(1))
    with pytest.raises(OutOfMemory, match=r"train.batch_size=2: .* set train.accumulate: 2"):
        train(target(tmp_path, "tight"), CONFIG)
    assert steps == []


def test_the_student_is_kept_beside_a_model_that_it_leaves_as_it_was(
    tmp_path: Path, undisturbed: tuple[Path, dict[str, Any]]
) -> None:
    folder, row = undisturbed
    plain = target(tmp_path, "plain")
    without = train(plain, dataclasses.replace(CONFIG, few_steps=0))
    assert weights(plain, without) == (folder / "model.safetensors").read_bytes()
    assert (without["first_loss"], without["last_loss"]) == (row["first_loss"], row["last_loss"])
    assert load_checkpoint(Path(plain.workspace) / without["ref"]).few_steps is None
    teacher, student = load_file(folder / "model.safetensors"), load_file(folder / FEW_STEPS)
    assert {name.removeprefix("flow.") for name in student} == {*teacher, "step_size.weight"}
    assert not torch.equal(student["flow.project_in.weight"], teacher["project_in.weight"])
    assert "5 of a second network" in (folder / "README.md").read_text("utf-8")


def test_the_curve_shows_the_students_losses_in_a_phase_of_their_own(
    undisturbed: tuple[Path, dict[str, Any]],
) -> None:
    whole = [p for p in undisturbed[1]["curve"] if (p["task"], p["t_bucket"]) == ("all", "all")]
    assert [(p["phase"], p["step"]) for p in whole] == [
        ("joint", 2),
        ("mixtures", 4),
        ("mixtures", 5),
        ("few_steps", 6),
        ("few_steps", 8),
        ("few_steps", 10),
    ]
    told, sounds = shown_by(undisturbed[0].parent.parent)
    assert {step for tag, step in told if tag == "loss/all"} == {2, 4, 5}
    assert {step for tag, step in told if tag == "few_steps_loss/all"} == {6, 8, 10}
    assert sorted(sounds) == [f"step-{step:08d}.flac" for step in (4, 5, 8, 10)]


def test_the_student_learns_at_the_rate_of_fine_tuning() -> None:
    config = TrainConfig(
        joint_steps=10, mixture_steps=20, few_steps=20, warmup_steps=2, learning_rate=1.0
    )
    tuned = [config.rate(step) for step in range(10, 30)]
    assert [config.rate(step) for step in range(30, 50)] == pytest.approx(tuned)


@pytest.mark.parametrize(("mixture_steps", "mixtures"), [(1, 2), (0, 0)])
def test_batches_are_drawn_as_in_the_phase_before(
    tmp_path: Path, mixture_steps: int, mixtures: int
) -> None:
    made = student_of(tmp_path, batch_size=4, mixture_steps=mixture_steps)
    tasks = made.data.plan(made.step).tasks
    assert tasks.count("mixture") == mixtures


def test_a_new_student_is_further_from_a_teacher_with_more_guidance(tmp_path: Path) -> None:
    found = []
    for scale in (1.0, 3.0, 6.0):
        made = student_of(tmp_path, few_steps_guidance=scale)
        made.shortcut = dataclasses.replace(made.shortcut, teacher_share=1.0)
        found.append(float(made.train_step()))
    assert found == sorted(found) and found[0] < 0.1 * found[2]


def test_a_batch_in_parts_trains_the_student_as_the_whole_batch_within_rounding(
    tmp_path: Path,
) -> None:
    whole, parts = (student_of(tmp_path, batch_size=6, accumulate=n) for n in (1, 3))
    assert len(parts.input(parts.step)) == 3
    expected = [float(whole.train_step()) for _ in range(3)]
    assert [float(parts.train_step()) for _ in range(3)] == pytest.approx(expected, rel=1e-4)


def test_in_bfloat16_the_students_loss_is_the_same_within_its_rounding(tmp_path: Path) -> None:
    exact, rounded = (student_of(tmp_path, precision=name) for name in ("float32", "bfloat16"))
    expected, found = ([float(made.train_step()) for _ in range(3)] for made in (exact, rounded))
    assert found != expected and found == pytest.approx(expected, rel=0.1, abs=1e-3)


def test_a_student_without_memory_is_answered_with_the_batch_that_fits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = student_of(tmp_path, batch_size=8)
    velocity = ShortcutFlow.velocity

    def limited(self: ShortcutFlow, x_t: torch.Tensor, *given: Any) -> torch.Tensor:
        if len(x_t) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return velocity(self, x_t, *given)

    monkeypatch.setattr(ShortcutFlow, "velocity", limited)
    with pytest.raises(OutOfMemory, match=r"set train.batch_size: 3,"):
        guarded_step(made)


def test_the_steps_that_sonify_takes_are_those_that_a_student_learns() -> None:
    levels = range(ShortcutConfig().levels)
    assert tuple(2**level for level in levels) == SAMPLED_STEPS
