"""A training that begins with given weights: which it takes, and what it refuses."""

import dataclasses
import hashlib
import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from models.codec import MelPCA, MelPCAConfig
from models.phoneme_ids import TABLE_ID
from models.presets import PRESETS
from models.transformer import seeded
from storage.ids import sha256_file
from storage.rejects import Rejected
from storage.stage import WARNINGS
from tasks import shipped_model
from tasks.checkpoint import CARD, CODEC, WEIGHTS, id_of
from tasks.codecs import codec_bytes
from tasks.init_weights import codec_warning, init_weights
from tasks.model_card import README
from tasks.recipe import parse_recipe
from tasks.train import STAGE
from tasks.train_config import TrainConfig
from tests.made_model import CHANNELS, made_checkpoint, tiny_codec, tiny_sizes
from tests.tasks.test_train import target, train
from tests.tasks.test_train_switches import trainer


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PRESETS, "tiny", tiny_sizes)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Weights of another seed, of which one has no place and one is missing."""
    state = {
        name: value.contiguous() for name, value in seeded(tiny_sizes(), 9).state_dict().items()
    }
    del state["mix_out.weight"]
    save_file(state | {"other.weight": torch.zeros(2)}, tmp_path / "begin.safetensors")
    return tmp_path / "begin.safetensors"


def test_a_training_begins_with_the_weights_of_the_file_and_tells_which(
    tmp_path: Path, file: Path
) -> None:
    made = trainer(tmp_path, init_from=str(file), ema=0.5)
    given = seeded(tiny_sizes(), 9)
    assert torch.equal(made.model.project_in.weight, given.project_in.weight)
    assert torch.equal(made.trained.project_in.weight, given.project_in.weight)
    out = target(tmp_path, "a")
    config = TrainConfig(
        joint_steps=1, mixture_steps=0, batch_size=2, threads=1, init_from=str(file)
    )
    file.with_name(CARD).write_text('{"_class_name": "StableAudioDiTModel"}')
    row = train(out, config)
    told = json.loads((Path(out.workspace) / row["ref"] / CARD).read_text())["init"]
    assert told["sha256"] == row["init_sha256"] == init_weights(config)["init_from"]
    assert "checkpoint" not in told
    assert told["left"] == ["mix_out.weight"] and told["unused"] == ["other.weight"]
    assert len(told["taken"]) == len(given.state_dict()) - 1


def test_weights_that_know_another_codecs_latents_are_told_of_in_the_run_and_in_the_card(
    tmp_path: Path,
) -> None:
    _, ref = made_checkpoint(tmp_path, tmp_path / "scratch" / "made")
    config = TrainConfig(
        joint_steps=1, mixture_steps=0, batch_size=2, threads=1,
        init_from=str(tmp_path / ref / WEIGHTS),
    )  # fmt: skip

    assert codec_warning(config, tiny_codec(), "made") == ""
    other = MelPCA.fit([torch.randn(32_000)], MelPCAConfig(channels=CHANNELS))
    (tmp_path / ref / CODEC).write_bytes(codec_bytes(other))
    out = target(tmp_path, "a")
    folder = Path(out.workspace) / train(out, config)["ref"]
    (line,) = json.loads((folder / CARD).read_text())["warnings"]
    assert json.loads(Path(out.folder, WARNINGS).read_text()) == [line]
    assert f"**Warning:** {line}." in (folder / README).read_text()
    known, own = (hashlib.sha256(codec_bytes(one)).hexdigest() for one in (other, tiny_codec()))
    assert f"a model of codec mel_pca {known[:12]}, and the latents of dataset made are" in line
    assert f"of codec mel_pca {own[:12]}" in line and str(tmp_path) not in line
    begun = id_of(json.loads((tmp_path / ref / CARD).read_text()))
    assert f"began with: model {begun}, weights of sha256" in (folder / README).read_text()


def test_the_same_weights_elsewhere_are_the_same_training_and_others_are_not(file: Path) -> None:
    def fingerprint(path: Path | str) -> str:
        return STAGE.fingerprint(TrainConfig(init_from=str(path)))

    moved = file.with_name("moved.safetensors")
    moved.write_bytes(file.read_bytes())
    assert fingerprint(file) == fingerprint(moved)
    save_file({"a": torch.zeros(1)}, moved)
    assert len({fingerprint(file), fingerprint(moved), fingerprint("")}) == 3


def test_the_settings_that_came_later_leave_what_was_trained_before_done() -> None:
    first = [
        "preset", "joint_steps", "mixture_steps", "mixture_share", "batch_size", "crop_s",
        "learning_rate", "warmup_steps", "weight_decay", "clip_norm", "balance", "seed", "threads",
        "log_every", "save_every",
    ]  # fmt: skip
    names = {field.name for field in dataclasses.fields(TrainConfig)}
    assert names - {*STAGE.later, *STAGE.selects} == set(first)


def pickled(path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (path.with_name("ran"),))

    path.write_bytes(pickle.dumps(Bomb()))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (None, FileNotFoundError, "no such file"),
        (pickled, ValueError, "a pickle .* can run code and is refused"),
        (lambda path: torch.save({}, path), ValueError, "a pickle .* can run code and is refused"),
        (lambda path: path.write_bytes(b"\x02" + bytes(7) + b"{]"), ValueError, "not readable"),
        (lambda path: save_file({"a": torch.zeros(1)}, path), ValueError, "none of its 1 weights"),
    ],
    ids=["missing", "pickle", "torch pickle", "damaged", "another network"],
)
def test_a_file_that_is_no_weights_of_this_model_is_refused(
    tmp_path: Path, make: Any, error: type[Exception], message: str
) -> None:
    path = tmp_path / "weights"
    if make is not None:
        make(path)
    with pytest.raises(error, match=rf"train.init_from={path}: .*{message}"):
        trainer(tmp_path, init_from=str(path))
    assert not (tmp_path / "ran").exists()


@pytest.fixture
def weights_that_ship(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model of another seed, in float16, as the one that comes with talkies."""
    folder = tmp_path / "weights" / "made"
    folder.mkdir(parents=True)
    state = {n: v.half().contiguous() for n, v in seeded(tiny_sizes(), 9).state_dict().items()}
    save_file(state, folder / WEIGHTS)
    card = {"model": dataclasses.asdict(tiny_sizes()), "phoneme_table": TABLE_ID}
    (folder / CARD).write_text(json.dumps(card))
    (folder / "package.json").touch()
    monkeypatch.setattr(shipped_model, "FOLDER", tmp_path / "weights")
    return folder


def test_a_training_begins_with_the_shipped_weights_as_float32(
    tmp_path: Path, weights_that_ship: Path
) -> None:
    made = trainer(tmp_path, init_from="shipped")
    for name, value in seeded(tiny_sizes(), 9).state_dict().items():
        own = made.model.state_dict()[name]
        assert own.dtype == torch.float32
        assert torch.equal(own, value.half().float())
    assert made.begun is not None and made.begun.left == ()
    assert init_weights(made.config) == {"init_from": sha256_file(weights_that_ship / WEIGHTS)}


def test_shipped_weights_of_other_sizes_and_of_other_phonemes_are_refused(
    tmp_path: Path, weights_that_ship: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = dataclasses.replace(tiny_sizes(), width=64)
    monkeypatch.setitem(PRESETS, "tiny", lambda: other)
    with pytest.raises(ValueError, match=r"of other sizes \(width 32 and not 64\); take its"):
        trainer(tmp_path, init_from="shipped")
    card = json.loads((weights_that_ship / CARD).read_text()) | {"phoneme_table": "0123456789ab"}
    (weights_that_ship / CARD).write_text(json.dumps(card))
    with pytest.raises(Rejected, match="of table 0123456789ab"):
        trainer(tmp_path, init_from="shipped")


def test_without_a_shipped_model_none_is_begun_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipped_model, "FOLDER", tmp_path / "nothing")
    with pytest.raises(FileNotFoundError, match="init_from=shipped: no model comes with this"):
        trainer(tmp_path, init_from="shipped")


def test_shipped_in_a_recipe_is_no_path() -> None:
    recipe = parse_recipe({"train": {"init_from": "shipped"}}, Path("/films/recipe.yaml"))
    assert recipe.configs["train"].init_from == "shipped"
