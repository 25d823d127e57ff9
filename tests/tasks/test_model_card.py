"""A checkpoint's card says what the catalog and the checkpoint know, and no more."""

import re
from pathlib import Path
from typing import Any

import pytest

from models.phoneme_ids import TABLE_ID
from models.presets import PRESETS
from storage import queries
from storage.catalog import Catalog
from storage.stage import ShardTarget
from storage.workspace import Workspace
from tasks import evaluate
from tasks.evaluate import EvaluateConfig, evaluate_checkpoint
from tasks.metric_meanings import MEANINGS, meaning_of
from tasks.model_card import MOST_NAMED, README, DataTold, model_card
from tasks.train import STAGE, train_dataset
from tasks.train_config import TrainConfig
from tests.made_model import tiny_sizes
from tests.made_rows import insert_all
from tests.tasks.test_train import made_item, target

DATA = [
    {"task": "tts", "split": "train", "members": 3, "hours": 0.5, "sources": 2,
     "licences": ["CC-BY-3.0", "none"]},
]  # fmt: skip
SOURCES = [
    {
        "licence": "CC-BY-3.0",
        "attribution": "Anna Example, Rain",
        "consent": "no_person",
        "sources": 2,
    },
    {"licence": "none", "attribution": None, "consent": None, "sources": 1},
]


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
    named = queries.model_facts(catalog, "k2")["sources"]
    assert expected and sum(row["sources"] for row in named) > 1
    plain = STAGE.items.replace("$dataset", "'demo'")
    (item,) = catalog.rows(plain)
    assert item["item_id"] == "d2" and item["_data"] == expected and item["_sources"] == named
    asked = {"dataset": "demo", "checkpoint": "", "generate": 0}
    items = catalog.rows(evaluate.STAGE.items, asked)
    told = [(item["_data"], item["_sources"]) for item in items if item["item_id"] == "k2"]
    assert told == [(expected, named)]


def test_a_card_is_written_by_training_and_gets_its_metrics_by_evaluation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PRESETS, "tiny", tiny_sizes)
    out = target(tmp_path, "a")
    config = TrainConfig(joint_steps=2, mixture_steps=0, batch_size=2, crop_s=0.8, threads=1)
    item = made_item(out) | {"_data": DATA, "_sources": SOURCES}
    (row,) = train_dataset(item, out, config)["checkpoints"]
    path = Path(out.workspace, row["ref"], README)
    first = path.read_text("utf-8")
    assert "| tts | train | 3 | 0.5 | 2 | CC-BY-3.0, none |" in first
    assert "Licences: CC-BY-3.0, none. Some sources state no licence" in first
    assert "| Anna Example, Rain | CC-BY-3.0 | no person | 2 |" in first
    assert "| nobody is named | none | unknown | 1 |" in first
    assert "by program" not in first and "staged" not in first
    assert "Not evaluated yet" in first and "2 joint, 0 on mixtures" in first
    asked = {
        "item_id": row["checkpoint_id"],
        "ref": row["ref"],
        "shard_refs": item["shard_refs"],
        "phoneme_table": TABLE_ID,
        "_held_out": None,
        "_data": DATA,
        "_sources": SOURCES,
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
    assert model_card("ab" * 32, {}, DataTold()).count("Not recorded.") == 2
    made = {"dataset": "demo", "dataset_id": "d1", "train": {}}
    text = model_card("ab" * 32, made, DataTold())
    assert "The catalog has no members of it." in text
    assert "unknown in the first tenth" in text


def test_a_card_of_staged_clips_says_what_they_are_and_what_their_figures_are_not() -> None:
    staged = SOURCES[0] | {"attribution": "talkies stage-world"}
    text = model_card("ab" * 32, {}, DataTold(DATA, [*SOURCES, staged]))
    assert "were made by program" in text and "not of natural films" in text


def test_a_card_names_no_more_than_a_reader_would_look_through() -> None:
    crowd = [SOURCES[0] | {"attribution": f"maker {n}"} for n in range(MOST_NAMED + 3)]
    text = model_card("ab" * 32, {}, DataTold(DATA, crowd))
    assert text.count("| maker ") == MOST_NAMED and "and 3 more, whom table `sources`" in text


def test_a_card_says_what_each_of_its_metrics_means() -> None:
    score = {"role": "score", "task": "all", "split": "test", "value": 0.5, "low": 0.4,
             "high": 0.6, "items": 9, "unit": ""}  # fmt: skip
    scores = [score | {"metric": metric} for metric in ("wer_whisper_base", "onset_f1")]
    text = model_card("ab" * 32, {}, DataTold(was_rounded=True), scores)
    for metric in ("wer_whisper_base", "onset_f1"):
        assert text.count(f"\n- `{metric}`: {meaning_of(metric)}") == 1
    assert "`dnsmos_overall`" not in text and "before the weights were rounded" in text


def test_every_documented_metric_has_a_meaning_and_no_other() -> None:
    page = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text("utf-8")
    rows = re.findall(r"^\| (`.*?) \|", page.partition("| metric | unit |")[2], re.MULTILINE)
    documented = {name.rstrip("_…") for row in rows for name in re.findall(r"`([^`]+)`", row)}
    unmet = {name for name in documented if meaning_of(name) is None}
    assert len(documented) > 20 and unmet == set()
    always = {name for name in MEANINGS if name.startswith(("flow_matching_", "codec_"))}
    assert {n for n in MEANINGS if not any(d.startswith(n) for d in documented)} == always
