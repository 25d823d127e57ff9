"""Checkpoints: what is read is what was written, or is refused."""

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from models.durations import DurationConfig, DurationPredictor
from models.phoneme_ids import TABLE_ID
from models.shortcut import ShortcutFlow
from models.speaker import VoiceTable
from models.transformer import seeded
from storage.rejects import Rejected
from storage.workspace import Workspace
from tasks.checkpoint import (
    CARD,
    CODEC,
    DURATIONS,
    FEW_STEPS,
    VOICES,
    WEIGHTS,
    Extras,
    load_checkpoint,
    save_checkpoint,
)
from tests.made_model import made_checkpoint, tiny_codec, tiny_sizes


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    root = tmp_path_factory.mktemp("checkpoint")
    checkpoint_id, ref = made_checkpoint(root, root / "scratch" / "made")
    return root / ref, checkpoint_id


@pytest.fixture
def stored(template: tuple[Path, str], tmp_path: Path) -> tuple[Path, str]:
    folder = tmp_path / template[1]
    shutil.copytree(template[0], folder)
    return folder, template[1]


def test_a_checkpoint_comes_back_as_it_was_written(stored: tuple[Path, str]) -> None:
    folder, checkpoint_id = stored
    loaded = load_checkpoint(folder, checkpoint_id)
    assert loaded.checkpoint_id == checkpoint_id
    assert loaded.model.config == tiny_sizes()
    assert not loaded.model.training
    codec = tiny_codec().state_dict()
    for name, value in loaded.codec.state_dict().items():
        assert torch.equal(value, codec[name])
    assert load_checkpoint(folder).checkpoint_id == folder.name


def test_what_predicts_durations_comes_back_and_belongs_to_the_checkpoint(tmp_path: Path) -> None:
    torch.manual_seed(3)
    predictor = DurationPredictor(DurationConfig(width=8))
    model, codec = seeded(tiny_sizes(), 0), tiny_codec()
    workspace, extras = Workspace.at(tmp_path).make(), Extras(predictor)
    checkpoint_id, ref = save_checkpoint(workspace, tmp_path / "made", model, codec, {}, extras)
    folder = workspace.path(ref)
    loaded = load_checkpoint(folder, checkpoint_id).durations
    assert loaded is not None and loaded.config == predictor.config
    for name, value in loaded.state_dict().items():
        assert torch.equal(value, predictor.state_dict()[name])
    without, _ = save_checkpoint(workspace, tmp_path / "other", model, codec, {})
    assert without != checkpoint_id
    (folder / DURATIONS).write_bytes((folder / DURATIONS).read_bytes()[:-4] + b"\0\0\0\1")
    with pytest.raises(Rejected, match=f"{DURATIONS} was changed"):
        load_checkpoint(folder, checkpoint_id)
    (folder / DURATIONS).unlink()
    with pytest.raises(FileNotFoundError, match=f"{DURATIONS} is missing"):
        load_checkpoint(folder, checkpoint_id)


def test_the_network_for_few_steps_comes_back_and_belongs_to_the_checkpoint(tmp_path: Path) -> None:
    model, codec = seeded(tiny_sizes(), 0), tiny_codec()
    student = ShortcutFlow(seeded(tiny_sizes(), 1), finest_steps=8)
    torch.nn.init.ones_(student.step_size.weight)
    workspace = Workspace.at(tmp_path).make()
    extras = Extras(few_steps=student)
    checkpoint_id, ref = save_checkpoint(workspace, tmp_path / "made", model, codec, {}, extras)
    folder = workspace.path(ref)
    read = load_checkpoint(folder, checkpoint_id)
    assert read.few_steps is not None and read.durations is None
    assert read.few_steps.finest_steps == 8 and not read.few_steps.training
    for name, value in read.few_steps.state_dict().items():
        assert torch.equal(value, student.state_dict()[name])
    for name, value in read.model.state_dict().items():
        assert torch.equal(value, model.state_dict()[name])
    (folder / FEW_STEPS).write_bytes((folder / FEW_STEPS).read_bytes()[:-4] + b"\0\0\0\1")
    with pytest.raises(Rejected, match=f"{FEW_STEPS} was changed"):
        load_checkpoint(folder, checkpoint_id)


@pytest.mark.parametrize("names", [("anna", "bob"), ()])
def test_the_voices_that_it_knows_come_back_and_belong_to_the_checkpoint(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    model, codec, table = seeded(tiny_sizes(), 0), tiny_codec(), VoiceTable(names, 8)
    table.vectors += torch.arange(8.0)
    workspace, extras = Workspace.at(tmp_path).make(), Extras(voices=table)
    checkpoint_id, ref = save_checkpoint(workspace, tmp_path / "made", model, codec, {}, extras)
    read = load_checkpoint(workspace.path(ref), checkpoint_id).voices
    assert read is not None and read.names == names
    assert torch.equal(read.vectors, table.vectors)
    (workspace.path(ref) / VOICES).write_bytes(b"")
    with pytest.raises(Rejected, match=f"{VOICES} was changed"):
        load_checkpoint(workspace.path(ref), checkpoint_id)


def test_a_checkpoint_from_before_lips_and_sync_loads(stored: tuple[Path, str]) -> None:
    folder, _ = stored
    card = json.loads((folder / CARD).read_text("utf-8"))
    for later in ("sync_dim", "lips_dim", "aligned_hidden", "deep_context", "full_output"):
        del card["model"][later]
    del card["model"]["velocity_offset"]
    (folder / CARD).write_text(json.dumps(card), "utf-8")
    assert load_checkpoint(folder).model.config == tiny_sizes()


def test_the_same_checkpoint_twice_is_one_folder(tmp_path: Path) -> None:
    made = [made_checkpoint(tmp_path, tmp_path / "scratch" / name) for name in ("one", "two")]
    assert made[0] == made[1]
    folders = list(Workspace.at(tmp_path).path("checkpoints").iterdir())
    assert [folder.name for folder in folders] == [made[0][0]]
    assert list((tmp_path / "scratch").iterdir()) == []


@pytest.mark.parametrize("name", [WEIGHTS, CODEC])
def test_a_file_that_was_changed_is_refused(stored: tuple[Path, str], name: str) -> None:
    path = stored[0] / name
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(Rejected, match=f"{name} was changed") as caught:
        load_checkpoint(stored[0])
    assert caught.value.reason == "content_hash"


@pytest.mark.parametrize("changes", [{"first_loss": 0.0}, {"sha256": {}}])
def test_a_card_that_was_changed_is_refused(
    stored: tuple[Path, str], changes: dict[str, Any]
) -> None:
    folder, checkpoint_id = stored
    card = json.loads((folder / CARD).read_text())
    (folder / CARD).write_text(json.dumps(card | changes))
    with pytest.raises(Rejected, match="was changed"):
        load_checkpoint(folder, checkpoint_id)


@pytest.mark.parametrize("name", [WEIGHTS, CODEC, CARD])
def test_a_missing_file_is_named(stored: tuple[Path, str], name: str) -> None:
    (stored[0] / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"{name} is missing; train again"):
        load_checkpoint(stored[0])


def test_a_card_of_another_format_is_refused(stored: tuple[Path, str]) -> None:
    card = json.loads((stored[0] / CARD).read_text())
    (stored[0] / CARD).write_text(json.dumps(card | {"format": 99}))
    with pytest.raises(ValueError, match="format 99 is not 1"):
        load_checkpoint(stored[0])


@pytest.mark.parametrize("table", ["0123456789ab", None])
def test_a_model_of_another_phoneme_table_is_refused_with_both_named(
    stored: tuple[Path, str], table: str | None
) -> None:
    card = json.loads((stored[0] / CARD).read_text())
    assert card["phoneme_table"] == TABLE_ID
    (stored[0] / CARD).write_text(json.dumps(card | {"phoneme_table": table}))
    words = f"of table {table or 'unknown'}, and this talkies writes table {TABLE_ID}"
    with pytest.raises(Rejected, match=words) as caught:
        load_checkpoint(stored[0])
    assert caught.value.reason == "phoneme_table"


def test_a_pickle_in_place_of_weights_is_refused_and_not_run(
    stored: tuple[Path, str], tmp_path: Path
) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "ran",))

    (stored[0] / WEIGHTS).write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(Rejected):
        load_checkpoint(stored[0])
    assert not (tmp_path / "ran").exists()


def test_no_file_of_a_checkpoint_is_a_pickle(stored: tuple[Path, str]) -> None:
    for path in stored[0].iterdir():
        assert path.suffix in (".safetensors", ".json")
        assert b"\x80\x04" not in path.read_bytes()[:2]
