"""A codec that is another model's: the same latents, told apart by what it is."""

from pathlib import Path

import pytest

from models.codec import MelPCA
from storage.blobs import Blobs
from tasks import shipped_model
from tasks.checkpoint import CODEC
from tasks.codecs import codec_bytes
from tasks.fit_codec import STAGE, FitCodecConfig
from tasks.recipe import parse_recipe
from tests.made_model import tiny_codec
from tests.tasks.test_encode import run


@pytest.fixture
def beside_weights(tmp_path: Path) -> Path:
    """The codec of a model, in the model's folder."""
    folder = tmp_path / "weights" / "made"
    folder.mkdir(parents=True)
    (folder / CODEC).write_bytes(codec_bytes(tiny_codec()))
    (folder / "package.json").touch()
    return folder / CODEC


def test_a_given_codec_is_taken_as_it_is_by_its_path_and_as_the_shipped_models(
    tmp_path: Path, beside_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipped_model, "FOLDER", tmp_path / "weights")
    item = {"item_id": "mel_pca", "_clips": []}
    for name, file in (("path", str(beside_weights)), ("name", "shipped")):
        workspace = tmp_path / name
        workspace.mkdir()
        (row,) = run(STAGE, workspace, [item], FitCodecConfig(file=file))["codecs"]
        assert Blobs(workspace).read(row["ref"]) == beside_weights.read_bytes()
        assert (row["channels"], row["fitted_clips"]) == (tiny_codec().channels, 0)


def test_a_codec_counts_by_what_it_is_and_not_by_where_it_lies(beside_weights: Path) -> None:
    def fingerprint(path: Path | str) -> str:
        return STAGE.fingerprint(FitCodecConfig(file=str(path)))

    moved = beside_weights.with_name("moved.safetensors")
    moved.write_bytes(beside_weights.read_bytes())
    assert fingerprint(moved) == fingerprint(beside_weights) != fingerprint("")
    state = tiny_codec().state_dict()
    moved.write_bytes(codec_bytes(MelPCA.from_state({n: 2 * v for n, v in state.items()})))
    assert fingerprint(moved) != fingerprint(beside_weights)


def test_what_is_no_codec_of_the_name_is_refused(tmp_path: Path, beside_weights: Path) -> None:
    with pytest.raises(
        ValueError, match=r"it holds mel_pca, and fit_codec\.codec is learned; write"
    ):
        config = FitCodecConfig(file=str(beside_weights), codec="learned")
        run(STAGE, tmp_path, [{"item_id": "learned", "_clips": []}], config)
    with pytest.raises(FileNotFoundError, match=r"fit_codec\.file=/nowhere: no such file; name a"):
        STAGE.fingerprint(FitCodecConfig(file="/nowhere"))
    with pytest.raises(ValueError, match=r"fit_codec\.file says which weights"):
        FitCodecConfig(file="shipped", codec="audioldm2", pretrained="a/b")


def test_a_recipes_codec_counts_from_the_recipe() -> None:
    def file(given: str) -> str:
        recipe = parse_recipe({"fit_codec": {"file": given}}, Path("/films/recipe.yaml"))
        return recipe.configs["fit_codec"].file

    assert (file("old/codec.safetensors"), file("shipped")) == (
        "/films/old/codec.safetensors",
        "shipped",
    )
