"""Older catalogs come forward: `old_catalog` is one that version 1 made, with tests/made_rows.py.

Most of its rows lie in the SQLite file, where DuckLake keeps small inserts; `tags` is in Parquet.
"""

import hashlib
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest

from storage import migrate as migrating
from storage.catalog import Catalog
from storage.columns import DOUBLE, INT, LONG, STRING, Column, Table, optional, table, view
from storage.migrate import CannotMigrate, migrate, version_of
from storage.schema import SCHEMA_VERSION, TABLES, VIEWS
from storage.workspace import Workspace
from tests.made_rows import made_rows

OLD = Path(__file__).parent / "old_catalog"
NEXT = SCHEMA_VERSION + 1
PITCH = optional("pitch_hz", DOUBLE, "Median pitch of the speech.", "Hz", "121.5")
CHECKED = Column("checks", INT, "How often a person looked.", "", "0", default=0)
SPEAKERS = table(
    "speakers",
    "A voice that is heard in several clips.",
    "speaker_id",
    Column("speaker_id", STRING, "Hash of the voice's embedding.", "", "7c1e…"),
    Column("clips", LONG, "Clips with the voice.", "", "4"),
)
PITCHES = view(
    "pitches",
    "Clips with a pitch.",
    "FROM pitches",
    "SELECT clip_id, pitch_hz FROM listens WHERE pitch_hz IS NOT NULL",
    Column("clip_id", STRING, "Clip.", "", "3536e86549a6…"),
    PITCH,
)
REJECT_REASONS = replace(
    VIEWS["reject_reasons"],
    sql="SELECT stage, reason, count(*) AS items, min(item_id) AS example "
    "FROM rejects GROUP BY ALL ORDER BY ALL",
)


def with_columns(name: str, *columns: Column) -> Table:
    return replace(TABLES[name], columns=(*TABLES[name].columns, *columns))


NEXT_TABLES = TABLES | {
    "listens": with_columns("listens", PITCH),
    "tags": with_columns("tags", PITCH, CHECKED),
    "speakers": SPEAKERS,
}
NEXT_VIEWS = VIEWS | {"pitches": PITCHES, "reject_reasons": REJECT_REASONS}


@pytest.fixture
def old(tmp_path: Path) -> Iterator[Catalog]:
    shutil.copytree(OLD, tmp_path / "old")
    with Catalog(Workspace.at(tmp_path / "old")) as catalog:
        yield catalog


def bring_forward(catalog: Catalog) -> list[str]:
    return migrate(
        catalog.connection, version_of(catalog.connection), NEXT_TABLES, NEXT_VIEWS, NEXT
    )


def contents(
    catalog: Catalog, columns: dict[str, list[str]]
) -> dict[str, list[tuple[object, ...]]]:
    return {
        name: catalog.connection.execute(
            f"SELECT {', '.join(names)} FROM {name} ORDER BY ALL"
        ).fetchall()
        for name, names in columns.items()
    }


def names_of_columns(catalog: Catalog) -> dict[str, list[str]]:
    names: dict[str, list[str]] = {}
    rows = catalog.rows(
        "SELECT table_name, column_name FROM duckdb_columns() "
        "WHERE database_name = 'lake' ORDER BY table_name, column_index"
    )
    for row in rows:
        names.setdefault(row["table_name"], []).append(row["column_name"])
    return names


def test_a_catalog_of_version_1_comes_forward_to_todays_schema_with_all_its_rows(
    old: Catalog,
) -> None:
    done = migrate(old.connection, version_of(old.connection))
    # Where opening has brought it forward already, there is nothing left to do.
    assert not done or {"table tombstones added", "view funnel added"} <= set(done)
    assert version_of(old.connection) == SCHEMA_VERSION
    real = names_of_columns(old)
    for name, described in (TABLES | VIEWS).items():
        assert {column.name for column in described.columns} <= set(real[name])
    made = {name: len(rows) for name, rows in made_rows().items()}
    # One tag was deleted again, so that there is a delete over a Parquet file.
    made["tags"] -= 1
    counts = ", ".join(f"(SELECT count(*) FROM {name})" for name in made)
    assert old.connection.execute(f"SELECT {counts}").fetchone() == tuple(made.values())
    assert old.value("SELECT hours * 3600 FROM hours_by_kind WHERE kind = 'silent'") == 12


def test_the_next_version_adds_columns_tables_and_views_and_keeps_every_row(old: Catalog) -> None:
    migrate(old.connection, version_of(old.connection))
    columns = {name: names for name, names in names_of_columns(old).items() if name in TABLES}
    before, snapshot = contents(old, columns), old.snapshot()
    assert bring_forward(old) == [
        "column listens.pitch_hz added",
        "column tags.pitch_hz added",
        "column tags.checks added",
        "table speakers added",
        "view reject_reasons replaced",
        "view pitches added",
    ]
    assert version_of(old.connection) == NEXT
    assert contents(old, columns) == before
    assert old.rows("SELECT DISTINCT pitch_hz, checks FROM tags") == [
        {"pitch_hz": None, "checks": 0}
    ]
    assert old.rows("FROM speakers") == old.rows("FROM pitches") == []
    assert [row["example"] for row in old.rows("FROM reject_reasons")] == ["E", "D"]
    assert old.snapshot() == snapshot + 1, "one transaction is one snapshot"


def test_new_rows_bring_their_own_values_for_the_new_columns(old: Catalog) -> None:
    bring_forward(old)
    insert = "INSERT INTO lake.tags BY NAME SELECT 'z' AS clip_id, 1 AS rank, 3 AS checks"
    old.connection.execute(insert)
    assert old.value("SELECT checks FROM tags WHERE clip_id = 'z'") == 3


def test_a_snapshot_from_before_reads_as_it_was(old: Catalog) -> None:
    snapshot = old.snapshot()
    bring_forward(old)
    then = old.arrow(f"FROM lake.tags AT (VERSION => {snapshot})")
    assert "checks" not in then.column_names
    assert then.num_rows == 15


def test_the_catalog_describes_what_was_added(old: Catalog) -> None:
    bring_forward(old)
    told = {
        (row["table_name"], row["column_name"]): row["comment"]
        for row in old.rows("FROM duckdb_columns() WHERE database_name = 'lake'")
    }
    assert told["listens", "pitch_hz"] == "Median pitch of the speech. [Hz]"
    assert told["speakers", "clips"] == "Clips with the voice."


def test_coming_forward_twice_does_nothing(old: Catalog) -> None:
    bring_forward(old)
    snapshot = old.snapshot()
    # Another process had read the old version before this one brought it forward.
    assert migrate(old.connection, 1, NEXT_TABLES, NEXT_VIEWS, NEXT) == []
    assert old.snapshot() == snapshot
    assert version_of(old.connection) == NEXT


def test_an_empty_catalog_is_made_in_the_same_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Catalog, "_bring_up", lambda *_: None)
    with Catalog(Workspace.at(tmp_path).make()) as catalog:
        assert version_of(catalog.connection) == 0
        done = migrate(catalog.connection, 0)
        assert done == [
            *(f"table {name} added" for name in TABLES),
            *(f"view {name} added" for name in VIEWS),
        ]
        assert version_of(catalog.connection) == SCHEMA_VERSION
        real = names_of_columns(catalog)
        for name, described in (TABLES | VIEWS).items():
            assert real[name] == [column.name for column in described.columns]


@pytest.mark.parametrize("fails_at", ["_make_table", "_place_view"])
def test_a_failure_on_the_way_leaves_the_old_version_whole(
    old: Catalog, monkeypatch: pytest.MonkeyPatch, fails_at: str
) -> None:
    version, snapshot = version_of(old.connection), old.snapshot()

    def fail(*_: object) -> None:
        old.connection.execute("SELECT no_such_column FROM lake.tags")

    monkeypatch.setattr(migrating, fails_at, fail)
    with pytest.raises(duckdb.BinderException, match="no_such_column"):
        bring_forward(old)
    assert version_of(old.connection) == version
    assert old.snapshot() == snapshot
    assert "pitch_hz" not in names_of_columns(old)["listens"]


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (
            Column("required_s", DOUBLE, "A length.", "s", "1.0"),
            "table words, column required_s: rows that are there have no value for it; declare "
            "it nullable or with a default",
        ),
        (
            Column("word", INT, "The word's number.", "", "1"),
            "table words, column word: the catalog has VARCHAR, the schema INTEGER; give the "
            "column of another type another name",
        ),
    ],
    ids=lambda value: value.name if isinstance(value, Column) else "",
)
def test_what_adding_cannot_do_is_refused(old: Catalog, column: Column, message: str) -> None:
    others = tuple(c for c in TABLES["words"].columns if c.name != column.name)
    tables = TABLES | {"words": replace(TABLES["words"], columns=(*others, column))}
    version = version_of(old.connection)
    with pytest.raises(CannotMigrate) as refused:
        migrate(old.connection, version, tables, VIEWS, NEXT)
    assert str(refused.value) == message
    assert version_of(old.connection) == version


def test_a_default_may_hold_a_quote(old: Catalog) -> None:
    noted = Column("note", STRING, "A note.", "", "none", default="it's new")
    tables = TABLES | {"words": with_columns("words", noted)}
    migrate(old.connection, version_of(old.connection), tables, VIEWS, NEXT)
    assert old.rows("SELECT DISTINCT note FROM words") == [{"note": "it's new"}]


def test_the_old_catalog_names_no_folder_of_a_machine() -> None:
    files = [path for path in OLD.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 300_000
    for path in files:
        assert b"/tmp" not in path.read_bytes()
        assert b"/home" not in path.read_bytes()


def test_a_schema_that_changes_has_another_version() -> None:
    shape = [
        (name, [(c.name, str(c.type), c.nullable, c.default) for c in described.columns])
        for name, described in sorted((TABLES | VIEWS).items())
    ]
    queries = [(view.name, view.sql) for view in VIEWS.values()]
    digest = hashlib.sha256(repr((shape, queries)).encode()).hexdigest()[:12]
    assert (SCHEMA_VERSION, digest) == SCHEMA, (
        "the schema has changed: raise SCHEMA_VERSION unless it was never released, and put the "
        "new pair into SCHEMA"
    )


SCHEMA = (4, "4565c434c811")


@pytest.mark.parametrize("read_only", [False, True])
def test_opening_an_old_catalog_brings_it_forward_for_a_writer_and_for_a_reader(
    tmp_path: Path, read_only: bool
) -> None:
    shutil.copytree(OLD, tmp_path, dirs_exist_ok=True)
    workspace = Workspace.at(tmp_path).make()
    with Catalog(workspace, read_only=read_only) as catalog:
        assert version_of(catalog.connection) == SCHEMA_VERSION
        assert catalog.value("SELECT count(*) FROM tombstones") == 0
        assert catalog.value("SELECT count(*) FROM clips") > 0
