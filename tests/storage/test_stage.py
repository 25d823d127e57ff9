"""Working a shard: a bad item is a row, a bad program is an exception, equal items equal bytes."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from storage.ids import hash_of
from storage.rejects import Rejected
from storage.schema import TABLES
from storage.stage import Rows, ShardRef, ShardResult, ShardTarget, Stage, run_items


@dataclass(frozen=True, slots=True)
class WorkConfig:
    level_db: float = -27.0
    network: str = "small"


def made_stage(**fields: Any) -> Stage:
    return Stage("made", 1, WorkConfig, "SELECT 1", (), lambda *_: pytest.fail("not run"), **fields)


def made_shard(folder: Path, names: str = "abc", run_id: str = "r-1") -> ShardRef:
    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        {"item_id": name, "uri": f"/archive/{name}.mp4", "_fingerprint": "f", "_input_hash": "h"}
        for name in names
    ]
    pq.write_table(pa.Table.from_pylist(rows), folder / "items.parquet")
    return ShardRef("made", 7, str(folder / "items.parquet"), run_id)


def rows_of(result: ShardResult, table: str) -> list[dict[str, Any]]:
    return pq.read_table(result.tables[table]).to_pylist() if table in result.tables else []


def work(item: dict[str, Any]) -> Rows:
    if item["item_id"] == "b":
        raise Rejected("truncated", "it ends early", {"at_bytes": 7})
    array = np.full((3, 2), ord(item["item_id"]) / 100)
    feature = {"clip_id": item["item_id"], "extractor": "made", "version": 1, "_array": array}
    split = {"source_id": item["item_id"], "component_id": "x", "split": "train"}
    return {"splits": [split], "features": [feature]}


@pytest.fixture
def out(workspace: Path, tmp_path: Path) -> ShardTarget:
    (tmp_path / "out").mkdir()
    return ShardTarget(str(workspace), str(tmp_path / "out"))


def test_a_rejected_item_is_a_row_and_the_shard_goes_on(out: ShardTarget, tmp_path: Path) -> None:
    result = run_items(made_shard(tmp_path), out, work)
    assert (result.stage, result.index, result.done, result.rejected) == ("made", 7, 2, 1)
    assert [row["source_id"] for row in rows_of(result, "splits")] == ["a", "c"]
    assert rows_of(result, "rejects") == [
        {
            "stage": "made",
            "item_id": "b",
            "uri": "/archive/b.mp4",
            "reason": "truncated",
            "message": "it ends early",
            "facts": '{"at_bytes": 7}',
            "run_id": "r-1",
        }
    ]
    progress = rows_of(result, "progress")
    assert [(row["item_id"], row["status"]) for row in progress] == [
        ("a", "done"),
        ("b", "rejected"),
        ("c", "done"),
    ]
    assert {(row["fingerprint"], row["input_hash"], row["run_id"]) for row in progress} == {
        ("f", "h", "r-1")
    }


def test_a_programming_error_is_raised_and_names_stage_shard_and_item(
    out: ShardTarget, tmp_path: Path
) -> None:
    def fails(item: dict[str, Any]) -> Rows:
        if item["item_id"] == "b":
            raise ZeroDivisionError("oops")
        return {}

    with pytest.raises(ZeroDivisionError, match="oops") as caught:
        run_items(made_shard(tmp_path), out, fails)
    assert caught.value.__notes__ == ["stage made, shard 7, item b"]


def test_a_row_that_does_not_fit_is_raised_with_its_table(out: ShardTarget, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="table splits has no column"):
        run_items(made_shard(tmp_path), out, lambda item: {"splits": [{"odd": 1}]})


def test_the_same_items_give_the_same_bytes(tmp_path: Path) -> None:
    results = []
    for name in ("one", "two"):
        out = ShardTarget(str(tmp_path / name / "workspace"), str(tmp_path / name))
        Path(out.workspace).mkdir(parents=True)
        results.append(run_items(made_shard(tmp_path / name), out, work))
    assert set(results[0].tables) == set(results[1].tables)
    for table, path in results[0].tables.items():
        other = results[1].tables[table]
        volatile = [c.name for c in TABLES[table].columns if c.volatile and c.name != "run_id"]
        if not volatile:
            assert Path(path).read_bytes() == Path(other).read_bytes()
        stable = TABLES[table].stable_columns
        assert pq.read_table(path).select(stable) == pq.read_table(other).select(stable)
    for row in rows_of(results[0], "features"):
        one, two = (tmp_path / name / "workspace" / row["shard_ref"] for name in ("one", "two"))
        assert one.read_bytes() == two.read_bytes()


def test_an_item_gives_the_same_row_whatever_shares_its_shard(tmp_path: Path) -> None:
    hashes = []
    for names in ("a", "ac", "abc"):
        out = ShardTarget(str(tmp_path / names / "workspace"), str(tmp_path / names))
        Path(out.workspace).mkdir(parents=True)
        result = run_items(made_shard(tmp_path / names, names), out, work)
        hashes += [r["content_hash"] for r in rows_of(result, "features") if r["clip_id"] == "a"]
    assert len(hashes) == 3
    assert len(set(hashes)) == 1


def test_a_path_that_is_not_utf_8_can_stand_in_a_reject(out: ShardTarget, tmp_path: Path) -> None:
    def fails(item: dict[str, Any]) -> Rows:
        raise Rejected("damaged", "b\udcff.mp4: damaged", {"path": "b\udcff.mp4"})

    (row,) = rows_of(run_items(made_shard(tmp_path, "b"), out, fails), "rejects")
    assert row["message"] == r"b\udcff.mp4: damaged"


def test_a_shard_tells_how_far_it_is(out: ShardTarget, tmp_path: Path) -> None:
    run_items(made_shard(tmp_path), out, work)
    told = json.loads((Path(out.folder) / "progress.json").read_text())
    assert told == {"done": 3, "total": 3, "note": ""}


def test_a_later_field_changes_the_fingerprint_only_where_it_is_not_its_default() -> None:
    stage = made_stage(later=("network",))
    before = hash_of("made", 1, {"level_db": -27.0}, {})
    assert stage.fingerprint(WorkConfig()) == before != made_stage().fingerprint(WorkConfig())
    large = WorkConfig(network="large")
    assert stage.fingerprint(large) == made_stage().fingerprint(large) != before
    assert stage.fingerprint(WorkConfig(level_db=-20.0)) != before
