"""A checkpoint's card says what the catalog and the checkpoint know, and no more."""

from pathlib import Path
from typing import Any

import pytest

from models.phoneme_ids import TABLE_ID
from models.presets import PRESETS
from storage.catalog import Catalog
from storage.stage import ShardTarget
from storage.workspace import Workspace
from tasks import evaluate
from tasks.evaluate import EvaluateConfig, evaluate_checkpoint
from tasks.model_card import README, model_card
from tasks.train import STAGE, train_dataset
from tasks.train_config import TrainConfig
from tests.made_model import tiny_sizes
from tests.made_rows import insert_all
from tests.tasks.test_train import made_item, target

DATA = [
    {"task": "tts", "split": "train", "members": 3, "hours": 0.5, "sources": 2,
     "licences": ["CC-BY-3.0", "none"]},
]  # fmt: skip


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with Catalog(Workspace.at(tmp_path_factory.mktemp("card")).make()) as opened:
        insert_all(opened)
        yield opened


def test_training_and_evaluation_are_told_the_members_and_licences_of_their_dataset(
    catalog: Catalog,
) -> None:
    expected = catalog.rows(
        "SELECT task, split, members, hours, sources, licences FROM dataset_cards "
        "WHERE dataset_id = 'd2' ORDER BY task, split"
    )
    assert expected
    plain = STAGE.items.replace("$dataset", "'demo'")
    (item,) = catalog.rows(plain)
    assert item["item_id"] == "d2" and item["_data"] == expected
    asked = {"dataset": "demo", "checkpoint": "", "generate": 0}
    items = catalog.rows(evaluate.STAGE.items, asked)
    assert [item["_data"] for item in items if item["item_id"] == "k2"] == [expected]


def test_a_card_is_written_by_training_and_gets_its_metrics_by_evaluation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PRESETS, "tiny", tiny_sizes)
    out = target(tmp_path, "a")
    config = TrainConfig(joint_steps=2, mixture_steps=0, batch_size=2, crop_s=0.8, threads=1)
    item = made_item(out) | {"_data": DATA}
    (row,) = train_dataset(item, out, config)["checkpoints"]
    path = Path(out.workspace, row["ref"], README)
    first = path.read_text("utf-8")
    assert "| tts | train | 3 | 0.5 | 2 | CC-BY-3.0, none |" in first
    assert "Licences: CC-BY-3.0, none. Some sources state no licence" in first
    assert "Not evaluated yet" in first and "2 joint, 0 on mixtures" in first
    asked = {
        "item_id": row["checkpoint_id"],
        "ref": row["ref"],
        "shard_refs": item["shard_refs"],
        "phoneme_table": TABLE_ID,
        "_held_out": None,
        "_data": DATA,
    }
    scratch = ShardTarget(out.workspace, out.folder)
    scores = evaluate_checkpoint(asked, scratch, EvaluateConfig(times=1, bootstraps=100))
    second = path.read_text("utf-8")
    assert "Not evaluated yet" not in second
    for score in scores["evaluations"]:
        assert f"| {score['metric']} | {score['task']} | {score['split']} |" in second
    before, _, after = second.partition("## Metrics")
    assert first.startswith(before) and "## Limits" in after
    assert str(tmp_path) not in second


def test_what_is_not_known_is_said() -> None:
    assert model_card("ab" * 32, {}, []).count("Not recorded.") == 2
    made = {"dataset": "demo", "dataset_id": "d1", "train": {}}
    text = model_card("ab" * 32, made, [])
    assert "The catalog has no members of it." in text
    assert "unknown in the first tenth" in text
