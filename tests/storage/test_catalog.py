"""The catalog as the state of the pipeline: what is pending, and all-or-nothing commits."""

import dataclasses
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storage.catalog import Catalog, CatalogTooNew, Pending
from storage.lake import CatalogMissing
from storage.rejects import Rejected
from storage.schema import SCHEMA_VERSION, TABLES
from storage.stage import (
    Output,
    Rows,
    ShardRef,
    ShardResult,
    ShardTarget,
    Stage,
    run_items,
    write_rows,
)
from storage.workspace import Workspace
from tests.conftest import Place
from tests.made_catalog import bring_up
from tests.made_commits import made_row
from tests.made_store import copied, stored

Thing = tuple[str, str, float, str]


@dataclass(frozen=True, slots=True)
class MadeConfig:
    """A threshold that decides, a folder that only selects, and a limit that only bounds."""

    threshold: float = 0.5
    folder: str = ""
    limit_s: float = 4.0


def made_shard(shard: ShardRef, out: ShardTarget, config: MadeConfig) -> ShardResult:
    def one_item(item: dict[str, Any]) -> Rows:
        if item["colour"] == "bad":
            raise Rejected("damaged", f"thing {item['item_id']} is bad; drop it")
        if item["colour"] == "slow" and config.limit_s < 10:
            raise Rejected("timeout", f"thing {item['item_id']} is slow; raise limit_s")
        row = {"source_id": item["item_id"], "component_id": item["colour"], "split": "train"}
        return {"splits": [row]}

    return run_items(shard, out, one_item)


STAGE = Stage(
    name="made",
    version=1,
    config=MadeConfig,
    items="SELECT name AS item_id, colour, seconds AS cost_s, place AS _place FROM things "
    "WHERE starts_with(name, $folder)",
    outputs=(Output("splits", key="source_id"),),
    run=made_shard,
    shard_s=2.0,
    selects=("folder",),
    limits=("limit_s",),
)
THINGS: tuple[Thing, ...] = (
    ("a", "red", 1.0, "here"),
    ("b", "blue", 1.0, "here"),
    ("c", "bad", 1.0, "here"),
)


WRITTEN = ("splits", "rejects", "progress")


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory, place: Place) -> Path:
    """A workspace with an empty catalog, to be copied: making one takes a while."""
    workspace = Workspace.at(place(tmp_path_factory.mktemp("template"))).make()
    Catalog(workspace).close()
    return workspace.root


@pytest.fixture(scope="module")
def opened(template: Path) -> Iterator[Catalog]:
    """The template's catalog, open for writing: opening takes a while, too."""
    with Catalog(Workspace.at(template)) as catalog:
        yield catalog


@pytest.fixture
def catalog(opened: Catalog) -> Catalog:
    """A catalog without rows in the tables that the made stage writes."""
    for table in WRITTEN:
        opened.connection.execute(f"DELETE FROM lake.{table}")
    return opened


@pytest.fixture
def own_catalog(catalog: Catalog, workspace: Path) -> Iterator[Catalog]:
    """A catalog that a test may close, move and spoil."""
    with Catalog(copied(catalog.workspace, workspace)) as own:
        yield own


def show(catalog: Catalog, things: tuple[Thing, ...]) -> None:
    columns = ("name", "colour", "seconds", "place")
    types = (pa.string(), pa.string(), pa.float64(), pa.string())
    schema = pa.schema(zip(columns, types, strict=True))
    rows = [dict(zip(columns, thing, strict=True)) for thing in things]
    catalog.connection.register("things", pa.Table.from_pylist(rows, schema=schema))


def work(catalog: Catalog, stage: Stage = STAGE, config: Any = None, **options: Any) -> Pending:
    return bring_up(catalog, stage, config, **options)


def splits(catalog: Catalog) -> dict[str, str]:
    rows = catalog.rows("SELECT source_id, component_id FROM splits")
    return {row["source_id"]: row["component_id"] for row in rows}


def test_new_items_are_pending_and_done_ones_are_not(catalog: Catalog) -> None:
    show(catalog, THINGS)
    first = work(catalog)
    assert (first.items, first.total_items, first.cost_s, first.is_idle) == (3, 3, 3.0, False)
    again = catalog.plan(STAGE, MadeConfig())
    assert (again.items, again.total_items, again.gone, again.is_idle) == (0, 3, 0, True)
    assert splits(catalog) == {"a": "red", "b": "blue"}


def test_a_rejected_item_is_a_row_with_its_reason_and_is_not_pending_again(
    catalog: Catalog,
) -> None:
    show(catalog, THINGS)
    work(catalog)
    rejects = catalog.rows("SELECT stage, item_id, reason, message FROM rejects")
    assert rejects == [
        {
            "stage": "made",
            "item_id": "c",
            "reason": "damaged",
            "message": "thing c is bad; drop it",
        }
    ]
    counts = catalog.rows("SELECT items, rejected FROM stage_progress")
    assert counts == [{"items": 3, "rejected": 1}]


def test_only_the_item_whose_input_changed_is_pending_and_its_rows_are_replaced(
    catalog: Catalog,
) -> None:
    show(catalog, THINGS)
    work(catalog)
    show(catalog, (("a", "green", 1.0, "here"), *THINGS[1:]))
    assert work(catalog).items == 1
    assert splits(catalog) == {"a": "green", "b": "blue"}
    assert catalog.value("SELECT count(*) FROM progress") == 3


def test_a_mended_item_leaves_the_rejects(catalog: Catalog) -> None:
    show(catalog, THINGS)
    work(catalog)
    show(catalog, (*THINGS[:2], ("c", "red", 1.0, "here")))
    assert work(catalog).items == 1
    assert catalog.value("SELECT count(*) FROM rejects") == 0
    assert splits(catalog)["c"] == "red"


def test_cost_and_columns_with_an_underscore_are_not_part_of_the_input(catalog: Catalog) -> None:
    show(catalog, THINGS)
    work(catalog)
    show(catalog, tuple((name, colour, 7.0, "there") for name, colour, _, _ in THINGS))
    assert catalog.plan(STAGE, MadeConfig()).is_idle


def test_a_later_column_changes_the_input_only_where_an_item_has_it(catalog: Catalog) -> None:
    show(catalog, THINGS)
    work(catalog)
    more = "CASE name WHEN 'a' THEN $told END AS told, colour"
    for told, pending in (("NULL", 0), ("'it'", 1)):
        items = STAGE.items.replace("colour", more.replace("$told", told), 1)
        stage = dataclasses.replace(STAGE, items=items, later_columns=("told",))
        assert catalog.plan(stage, MadeConfig()).items == pending
        assert catalog.plan(dataclasses.replace(stage, later_columns=()), MadeConfig()).items == 3


def test_a_changed_threshold_makes_every_item_pending(catalog: Catalog) -> None:
    show(catalog, THINGS)
    work(catalog)
    assert catalog.plan(STAGE, MadeConfig(threshold=0.6)).items == 3


def test_of_named_files_alone_other_items_stay_as_they_are(own_catalog: Catalog) -> None:
    files = {"s": "/one.mp4", "b": "/two.mp4", "c": "/three.mp4"}
    for source_id, uri in files.items():
        own_catalog.insert("files", [made_row("files", source_id=source_id, uri=uri)])
    own_catalog.insert("windows", [made_row("windows", source_id="s", clip_id="a")])
    show(own_catalog, THINGS)
    work(own_catalog)
    other = MadeConfig(threshold=0.6)
    one, two = "/one.mp4", "/two.mp4"
    for uris, items in (((one,), 1), ((one, two), 2), (("c",), 1), (("/none.mp4",), 0)):
        assert own_catalog.plan(STAGE, other, uris).items == items
    kept = dataclasses.replace(STAGE, keeps_history=True)
    assert own_catalog.plan(kept, other, (one,)).items == 3
    show(own_catalog, THINGS[:2])
    plan = work(own_catalog, config=other, uris=[one])
    # Item c is not there any more, which is no matter of that file.
    assert (plan.items, plan.gone) == (1, 0)
    assert own_catalog.plan(STAGE, MadeConfig()).items == 1
    assert own_catalog.plan(STAGE, MadeConfig()).gone == 1


def test_the_fingerprint_follows_version_configuration_and_weights_but_not_selections() -> None:
    config = MadeConfig()
    own = STAGE.fingerprint(config)
    assert STAGE.fingerprint(MadeConfig(folder="a")) == own
    changed = {
        STAGE.fingerprint(MadeConfig(threshold=0.6)),
        dataclasses.replace(STAGE, version=2).fingerprint(config),
        dataclasses.replace(STAGE, weights=lambda _: {"net": "ab"}).fingerprint(config),
        dataclasses.replace(STAGE, weights=lambda _: {"net": "cd"}).fingerprint(config),
        dataclasses.replace(STAGE, name="other").fingerprint(config),
        own,
    }
    assert len(changed) == 6


def test_a_null_and_an_empty_input_are_different_inputs(catalog: Catalog) -> None:
    show(catalog, (("a", "", 1.0, ""),))
    work(catalog)
    stage = dataclasses.replace(STAGE, items=STAGE.items.replace("colour", "NULL AS colour", 1))
    assert catalog.plan(stage, MadeConfig()).items == 1


def test_retiring_drops_the_rows_of_items_that_are_gone_and_only_those(catalog: Catalog) -> None:
    show(catalog, THINGS)
    work(catalog)
    others = {"component_id": "x", "split": "test", "run_id": "r-0"}
    catalog.insert("splits", [others | {"source_id": "not ours"}])
    show(catalog, THINGS[1:2])
    plan = work(catalog)
    assert (plan.items, plan.gone, plan.is_idle) == (0, 2, False)
    assert splits(catalog) == {"b": "blue", "not ours": "x"}
    assert catalog.rows("SELECT item_id FROM progress") == [{"item_id": "b"}]
    assert catalog.value("SELECT count(*) FROM rejects") == 0
    assert catalog.plan(STAGE, MadeConfig()).is_idle


def test_a_stage_owns_only_its_values_of_a_shared_table(catalog: Catalog) -> None:
    stage = dataclasses.replace(
        STAGE, outputs=(Output("splits", key="source_id", only=(("split", ("train",)),)),)
    )
    show(catalog, THINGS[:1])
    work(catalog, stage)
    other = {"source_id": "a", "component_id": "theirs", "split": "test", "run_id": "r-0"}
    catalog.insert("splits", [other])
    show(catalog, ())
    assert work(catalog, stage).gone == 1
    assert splits(catalog) == {"a": "theirs"}


def test_a_stage_that_keeps_history_keeps_rows_of_items_that_are_gone(catalog: Catalog) -> None:
    stage = dataclasses.replace(STAGE, keeps_history=True)
    show(catalog, THINGS[:2])
    work(catalog, stage)
    show(catalog, THINGS[:1])
    assert catalog.plan(stage, MadeConfig()).is_idle
    assert splits(catalog) == {"a": "red", "b": "blue"}


def test_history_that_is_made_again_is_one_row(catalog: Catalog) -> None:
    stage = dataclasses.replace(STAGE, keeps_history=True, outputs=())
    show(catalog, THINGS[:2])
    work(catalog, stage, MadeConfig(0.1))
    assert work(catalog, stage, MadeConfig(0.2)).items == 2
    assert catalog.value("SELECT count(*) FROM splits") == 2
    assert catalog.plan(stage, MadeConfig(0.2)).is_idle


def test_a_commit_that_fails_leaves_rows_rejects_and_progress_as_they_were(
    catalog: Catalog,
) -> None:
    show(catalog, THINGS)
    work(catalog)
    before = {name: catalog.rows(f"FROM {name} ORDER BY ALL") for name in WRITTEN}

    def broken(stage: Stage, result: ShardResult) -> None:
        # `words` comes last in the alphabet: everything else is already in when it fails.
        path = Path(result.tables["progress"]).with_name("words.parquet")
        pq.write_table(pa.table({"no_such_column": [1]}), path)
        tables = result.tables | {"words": str(path)}
        catalog.commit(stage, dataclasses.replace(result, tables=tables))

    show(catalog, tuple((name, "new", 1.0, "") for name in "abcd"))
    with pytest.raises(duckdb.Error, match="no_such_column"):
        work(catalog, commit=broken)
    assert {name: catalog.rows(f"FROM {name} ORDER BY ALL") for name in WRITTEN} == before
    assert catalog.value("SELECT count(*) FROM words") == 0
    assert work(catalog).items == 4
    assert splits(catalog) == dict.fromkeys("abcd", "new")


def test_a_shard_without_items_commits_nothing(catalog: Catalog) -> None:
    before = catalog.snapshot()
    catalog.commit(STAGE, ShardResult("made", 0, {}, 0, 0, 0.0, 0.0))
    assert catalog.snapshot() == before


@settings(
    max_examples=10,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    costs=st.lists(st.floats(0, 9, allow_nan=False), min_size=1, max_size=12),
    done=st.sets(st.integers(0, 11)),
)
def test_the_cut_into_shards_is_the_same_whatever_is_already_done(
    catalog: Catalog, costs: list[float], done: set[int]
) -> None:
    catalog.connection.execute("DELETE FROM lake.progress")
    things = tuple((f"t{n:02d}", "red", cost, "") for n, cost in enumerate(costs))
    show(catalog, things)
    catalog.plan(STAGE, MadeConfig())
    fresh = catalog.rows("SELECT item_id, _shard, _input_hash, _fingerprint FROM keyed")
    kept = [row for n, row in enumerate(sorted(fresh, key=lambda r: r["item_id"])) if n in done]
    if kept:
        catalog.insert(
            "progress",
            [
                {
                    "stage": "made",
                    "item_id": row["item_id"],
                    "fingerprint": row["_fingerprint"],
                    "input_hash": row["_input_hash"],
                    "status": "done",
                    "cpu_s": 0.0,
                    "run_id": "r-0",
                }
                for row in kept
            ],
        )
    plan = catalog.plan(STAGE, MadeConfig())
    later = catalog.rows("SELECT item_id, _shard FROM keyed")
    shard_of = {row["item_id"]: row["_shard"] for row in fresh}
    assert {row["item_id"]: row["_shard"] for row in later} == shard_of
    finished = {row["item_id"] for row in kept}
    assert set(plan.shards) == {shard_of[name] for name in shard_of if name not in finished}
    assert plan.items == len(costs) - len(finished)


def test_another_limit_redoes_only_what_a_limit_ended(catalog: Catalog) -> None:
    def worked(**config: Any) -> int:
        return work(catalog, config=MadeConfig(**config)).items

    show(catalog, (("a", "red", 1.0, ""), ("b", "bad", 1.0, ""), ("c", "slow", 1.0, "")))
    assert [worked(limit_s=limit_s) for limit_s in (4.0, 4.0, 8.0, 2.0)] == [3, 0, 1, 1]
    assert [row["item_id"] for row in catalog.rows("FROM rejects ORDER BY item_id")] == ["b", "c"]
    assert worked(limit_s=16.0) == 1
    assert [row["item_id"] for row in catalog.rows("FROM rejects")] == ["b"]
    assert set(splits(catalog)) == {"a", "c"}
    # What is done stays done under any limit.
    assert [worked(limit_s=limit_s) for limit_s in (16.0, 1.0)] == [0, 0]
    assert worked(limit_s=16.0, threshold=0.9) == 3


def test_shards_hold_their_share_of_seconds_and_every_item_once(catalog: Catalog) -> None:
    show(catalog, tuple((f"t{n}", "red", 1.0, "") for n in range(7)))
    plan = catalog.plan(STAGE, MadeConfig())
    shards = list(catalog.cut(plan, catalog.workspace.scratch("cut"), "r-1"))
    held = [[item["item_id"] for item in shard.items()] for shard in shards]
    assert held == [["t0", "t1"], ["t2", "t3"], ["t4", "t5"], ["t6"]]
    first = shards[0].items()[0]
    assert {"colour", "cost_s", "_place", "_fingerprint", "_input_hash"} <= set(first)


def test_a_stage_of_one_item_a_shard_can_have_days_of_media(catalog: Catalog) -> None:
    stage = dataclasses.replace(STAGE, shard_s=1e-6)
    show(catalog, tuple((name, "red", 360_000.0, "") for name in "abc"))
    assert len(catalog.plan(stage, MadeConfig()).shards) == 3


def test_two_catalogs_over_the_same_input_hold_the_same_stable_columns(
    catalog: Catalog, tmp_path: Path
) -> None:
    tables = []
    for name, order in (("one", THINGS), ("two", THINGS[::-1])):
        with Catalog(copied(catalog.workspace, tmp_path / name)) as own:
            show(own, order)
            work(own, run_id=f"r-{name}")
            tables.append(
                {
                    table.name: own.rows(
                        f"SELECT {', '.join(table.stable_columns)} FROM {table.name} ORDER BY ALL"
                    )
                    for table in map(TABLES.__getitem__, WRITTEN)
                }
            )
    assert tables[0] == tables[1]
    assert len(tables[0]["progress"]) == 3


def test_a_reader_sees_whole_shards_while_a_writer_commits(catalog: Catalog) -> None:
    show(catalog, tuple((f"t{n}", "bad" if n % 2 else "red", 1.0, "") for n in range(6)))
    seen = []

    def look_between(stage: Stage, result: ShardResult) -> None:
        catalog.connection.execute("BEGIN")
        catalog.connection.execute("INSERT INTO lake.schema_version VALUES (0)")
        with Catalog(catalog.workspace, read_only=True) as reader:
            counts = reader.rows(
                "SELECT (SELECT count(*) FROM splits) AS rows, (SELECT count(*) FROM rejects) AS "
                "rejects, (SELECT count(*) FROM progress) AS progress"
            )
            seen.append(tuple(counts[0].values()))
        catalog.connection.execute("ROLLBACK")
        catalog.commit(stage, result)

    work(catalog, commit=look_between)
    assert seen == [(0, 0, 0), (1, 1, 2), (2, 2, 4)]


def test_a_reader_that_is_open_sees_what_is_committed_later(catalog: Catalog) -> None:
    with Catalog(catalog.workspace, read_only=True) as reader:
        show(catalog, THINGS)
        work(catalog)
        assert reader.value("SELECT count(*) FROM splits") == 2


def test_a_reader_cannot_write(catalog: Catalog) -> None:
    with (
        Catalog(catalog.workspace, read_only=True) as reader,
        pytest.raises(duckdb.Error, match="read-only"),
    ):
        reader.connection.execute("DELETE FROM lake.splits")


def test_a_catalog_of_a_newer_version_is_refused_with_what_to_do(own_catalog: Catalog) -> None:
    own_catalog.connection.execute(f"INSERT INTO lake.schema_version VALUES ({SCHEMA_VERSION + 1})")
    for read_only in (True, False):
        with pytest.raises(CatalogTooNew, match=rf"version {SCHEMA_VERSION + 1}.*upgrade talkies"):
            Catalog(own_catalog.workspace, read_only=read_only)


@pytest.mark.parametrize("read_only", [True, False])
def test_a_workspace_that_was_moved_still_opens(
    own_catalog: Catalog, tmp_path: Path, read_only: bool
) -> None:
    show(own_catalog, tuple((f"t{n}", "red", 1.0, "") for n in range(6)))
    work(own_catalog)
    own_catalog.close()
    moved = tmp_path / "else where's"
    shutil.move(own_catalog.workspace.root, moved)
    with Catalog(Workspace.at(moved), read_only=read_only) as opened:
        assert opened.value("SELECT count(*) FROM splits") == 6


def test_reading_where_there_is_no_catalog_says_so_and_makes_nothing(workspace: Path) -> None:
    before = stored(Workspace.at(workspace))
    with pytest.raises(CatalogMissing, match="has no catalog; run `talkies"):
        Catalog(Workspace.at(workspace), read_only=True)
    assert stored(Workspace.at(workspace)) == before


def test_reading_a_catalog_that_was_never_begun_says_so(workspace: Path) -> None:
    (workspace / "catalog.sqlite").touch()
    with pytest.raises(CatalogMissing, match="empty"):
        Catalog(Workspace.at(workspace), read_only=True)


def test_an_old_catalog_of_rows_opens_for_writing_without_change(catalog: Catalog) -> None:
    before = catalog.snapshot()
    with Catalog(catalog.workspace) as again:
        assert again.snapshot() == before


def test_inserted_rows_must_fit_their_table(catalog: Catalog, tmp_path: Path) -> None:
    out = ShardTarget(str(catalog.workspace.root), str(tmp_path))
    with pytest.raises(ValueError, match="splits"):
        write_rows(out, {"splits": [{"source_id": 3, "component_id": "x", "split": "y"}]}, "r-1")


def test_a_plan_knows_whether_items_are_done_again(catalog: Catalog) -> None:
    show(catalog, THINGS)
    assert not work(catalog).again
    assert work(catalog, config=MadeConfig(threshold=0.9)).again
    assert not catalog.plan(STAGE, MadeConfig(threshold=0.9)).again


def test_a_catalog_opens_as_it_was_at_a_snapshot(catalog: Catalog) -> None:
    show(catalog, THINGS[:1])
    work(catalog)
    before = catalog.snapshot()
    show(catalog, THINGS)
    work(catalog)
    with Catalog(catalog.workspace, snapshot=before) as old:
        assert old.value("SELECT count(*) FROM progress") == 1
        with pytest.raises(duckdb.Error):
            old.connection.execute("DELETE FROM progress")
    assert catalog.value("SELECT count(*) FROM progress") == 3
