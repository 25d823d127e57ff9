"""The model that comes with the application: whole, told, and fit for the demo."""

from pathlib import Path

import pytest

from storage.imported import SHIPPED_DATA, imported_dataset
from tasks import shipped_model
from tasks.checkpoint import CARD, Checkpoint, load_checkpoint
from tasks.model_card import README
from tasks.model_package import PACKAGE, ModelPackage, read_package
from tasks.recipe import load_recipe

DEMO = Path(__file__).parents[2] / "flows" / "demo.yaml"


@pytest.fixture(scope="module")
def package() -> ModelPackage:
    """The package in the checkout; what is changed in it is found here."""
    folder = shipped_model.shipped_model()
    assert folder is not None, "no model comes with this checkout, and the demo begins with it"
    return read_package(folder)


@pytest.fixture(scope="module")
def checkpoint(package: ModelPackage) -> Checkpoint:
    return load_checkpoint(package.folder, package.checkpoint_id)


def test_its_folder_holds_nothing_that_its_package_does_not_list(package: ModelPackage) -> None:
    held = {path.name for path in package.folder.iterdir()}
    assert held == {*package.told["files"], PACKAGE} and {CARD, README} < held


def test_it_is_told_from_models_that_a_person_brought_by_its_data(package: ModelPackage) -> None:
    assert imported_dataset(package.told["dataset"])["name"] == SHIPPED_DATA


def test_its_card_tells_data_rights_making_scores_and_limits(package: ModelPackage) -> None:
    card = (package.folder / README).read_text("utf-8")
    for row in package.told["sources"]:
        assert row["attribution"] and row["licence"] not in ("none", "unknown")
        assert f"| {row['attribution']} | {row['licence']} | " in card
    for said in ("trained by: talkies at commit", "| flow_matching_loss |", "| onset_f1 |",
                 "| wer_whisper_base |", "| ceiling | control |", "## Limits"):  # fmt: skip
        assert said in card


def test_the_demo_reads_what_it_reads_and_begins_with_all_of_it(
    package: ModelPackage, checkpoint: Checkpoint
) -> None:
    demo, theirs = load_recipe(DEMO).configs, package.told["dataset"]
    assert demo["train"].init_from == demo["fit_codec"].file == shipped_model.SHIPPED
    own = {
        "image_extractor": demo["look"].extractor,
        "sync_extractor": demo["look"].sync,
        "lips_extractor": demo["faces"].lips,
    }
    assert own == {name: theirs[name] for name in own}
    assert demo["train"].preset == package.told["checkpoint"]["preset"]
    assert demo["fit_codec"].codec == checkpoint.codec.name
    is_told_who_speaks = demo["speaker"].network != "none"
    assert is_told_who_speaks == (checkpoint.voices is not None)
