"""The schema: everything is described, and what is described is what is there and enforced."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from storage.catalog import Catalog
from storage.schema import TABLES, VIEWS, Column, Table, describe
from storage.stage import ShardTarget, write_rows
from storage.workspace import Workspace

COLUMNS = [(table, column) for table in TABLES.values() for column in table.columns]
REQUIRED = [(t, c) for t, c in COLUMNS if not c.nullable and c.name != "run_id"]
TEXT = {
    "string": "x",
    "double": 1.5,
    "int64": 3,
    "int32": 3,
    "bool": True,
    "timestamp[us, tz=UTC]": 0,
}


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Catalog]:
    with Catalog(Workspace.at(tmp_path_factory.mktemp("schema")).make()) as opened:
        yield opened


def name_of(value: Any) -> str:
    return value.name if isinstance(value, Table | Column) else str(value)


def full_row(table: Table) -> dict[str, Any]:
    """A row with a value in every column that needs one."""
    return {
        c.name: [] if pa.types.is_list(c.type) else TEXT[str(c.type)]
        for c in table.columns
        if not c.nullable
    }


@pytest.fixture
def out(workspace: Path, tmp_path: Path) -> ShardTarget:
    return ShardTarget(str(workspace), str(tmp_path))


@pytest.mark.parametrize("table", TABLES.values(), ids=name_of)
def test_a_table_is_described_and_has_a_key_of_its_own_columns(table: Table) -> None:
    assert table.text.endswith(".")
    names = [column.name for column in table.columns]
    assert len(set(names)) == len(names)
    assert table.key
    assert set(table.key) <= set(names)
    assert not any(column.nullable for column in table.columns if column.name in table.key)
    assert "run_id" in names
    assert "run_id" not in table.stable_columns


@pytest.mark.parametrize(("table", "column"), COLUMNS, ids=name_of)
def test_a_column_says_what_it_means_and_in_which_unit(table: Table, column: Column) -> None:
    assert len(column.text) > 3
    assert column.text[-1] in ".)|…"
    units = {
        "_s": "s",
        "_hz": "Hz",
        "_db": "dB",
        "_dbfs": "dBFS",
        "_lufs": "LUFS",
        "_dbtp": "dBTP",
        "_bytes": "bytes",
        "_deg": "degrees",
        "_ns": "ns",
    }
    unit = units.get("_" + column.name.rsplit("_", 1)[-1])
    if unit and "_" in column.name:
        assert column.unit == unit


@pytest.mark.parametrize("table", TABLES.values(), ids=name_of)
def test_a_full_row_is_written_and_a_column_that_does_not_exist_is_refused(
    table: Table, out: ShardTarget
) -> None:
    path = write_rows(out, {table.name: [full_row(table)]}, "r-1")[table.name]
    assert pq.read_schema(path).names == [column.name for column in table.columns]
    with pytest.raises(ValueError, match=rf"table {table.name} has no column \['odd'\]"):
        write_rows(out, {table.name: [full_row(table) | {"odd": 1}]}, "r-1")


@pytest.mark.parametrize(("table", "column"), REQUIRED, ids=name_of)
def test_a_required_value_that_is_missing_is_refused_by_its_name(
    table: Table, column: Column, out: ShardTarget
) -> None:
    row = {name: value for name, value in full_row(table).items() if name != column.name}
    with pytest.raises(ValueError, match=f"table {table.name}, column {column.name}: a value is"):
        write_rows(out, {table.name: [row]}, "r-1")


@pytest.mark.parametrize(
    ("table", "changes"),
    [
        ("splits", {"split": 3}),
        ("tags", {"rank": "first"}),
        ("tags", {"rank": 2**40}),
        ("features", {"shape": "wide"}),
    ],
)
def test_a_value_of_another_type_is_refused_by_its_table(
    table: str, changes: dict[str, Any], out: ShardTarget
) -> None:
    with pytest.raises(ValueError, match=f"rows do not fit table {table}"):
        write_rows(out, {table: [full_row(TABLES[table]) | changes]}, "r-1")


@pytest.mark.parametrize("name", [*TABLES, *VIEWS])
def test_the_catalog_has_the_columns_that_are_described(catalog: Catalog, name: str) -> None:
    real = [row["column_name"] for row in catalog.rows(f"DESCRIBE {name}")]
    described = describe(name)
    assert [row["column"] for row in described] == real
    assert all(row["text"] for row in described)


@pytest.mark.parametrize("view", VIEWS.values(), ids=lambda view: view.name)
def test_a_view_is_described_and_can_be_read(catalog: Catalog, view: Any) -> None:
    assert view.text.endswith(".")
    assert catalog.rows(f"FROM {view.name}") == []


def test_descriptions_are_in_the_catalog_too(catalog: Catalog) -> None:
    rows = catalog.rows(
        "SELECT table_name, column_name, comment FROM duckdb_columns() WHERE database_name = 'lake'"
    )
    told = {(row["table_name"], row["column_name"]): row["comment"] for row in rows}
    for table, column in COLUMNS:
        assert told[table.name, column.name].startswith(column.text)


def test_an_unknown_name_is_not_described() -> None:
    with pytest.raises(KeyError):
        describe("clip")


@pytest.mark.parametrize("table", TABLES.values(), ids=name_of)
def test_arrow_types_come_through_the_catalog_unchanged(catalog: Catalog, table: Table) -> None:
    stored = catalog.arrow(f"FROM {table.name}").schema
    for column in table.columns:
        own, read = column.type, stored.field(column.name).type
        assert str(read).replace("Etc/UTC", "UTC").replace("l: ", "item: ") in (
            str(own),
            str(own).replace("item: ", "l: "),
        ) or read.equals(own)
