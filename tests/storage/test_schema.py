"""The schema: everything is described, and what is described is what is there and enforced."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from storage.catalog import Catalog
from storage.columns import View
from storage.schema import TABLES, VIEWS, Column, Table, describe
from storage.stage import ShardTarget, write_rows
from storage.workspace import Workspace
from tests.conftest import Place

COLUMNS = [(table, column) for table in TABLES.values() for column in table.columns]
DESCRIBED = [(d, column) for d in (*TABLES.values(), *VIEWS.values()) for column in d.columns]
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
def catalog(tmp_path_factory: pytest.TempPathFactory, place: Place) -> Iterator[Catalog]:
    with Catalog(Workspace.at(place(tmp_path_factory.mktemp("schema"))).make()) as opened:
        yield opened


def name_of(value: Any) -> str:
    return value.name if isinstance(value, Table | View | Column) else str(value)


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


@pytest.mark.parametrize(("table", "column"), DESCRIBED, ids=name_of)
def test_a_column_says_what_it_means_and_in_which_unit(table: Table | View, column: Column) -> None:
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
    if pa.types.is_floating(column.type):
        assert column.unit, "a measured number has a unit"


@pytest.mark.parametrize(("table", "column"), DESCRIBED, ids=name_of)
def test_a_columns_example_is_a_value_of_its_type(table: Table | View, column: Column) -> None:
    assert column.example
    if pa.types.is_list(column.type):
        values = json.loads(column.example)
        assert pa.array([values], column.type).to_pylist() == [values]
    elif not pa.types.is_string(column.type):
        assert pa.array([column.example]).cast(column.type)[0].is_valid
    elif column.example.startswith(("{", "[{")):
        assert json.loads(column.example)


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
    assert set(described[0]) == {"column", "type", "unit", "text", "example"}
    assert all(row["text"] and row["type"] and row["example"] for row in described)


@pytest.mark.parametrize("view", VIEWS.values(), ids=name_of)
def test_a_view_is_described_and_can_be_read(catalog: Catalog, view: View) -> None:
    assert view.text.endswith(".")
    rows = catalog.rows(f"FROM {view.name}")
    assert [row["items"] for row in rows] == ([0] * 9 if view.name == "funnel" else [])


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


@pytest.mark.parametrize("described", [*TABLES.values(), *VIEWS.values()], ids=name_of)
def test_arrow_types_come_through_the_catalog_unchanged(
    catalog: Catalog, described: Table | View
) -> None:
    stored = catalog.arrow(f"FROM {described.name}").schema
    for column in described.columns:
        own, read = column.type, stored.field(column.name).type
        assert str(read).replace("Etc/UTC", "UTC").replace("l: ", "item: ") in (
            str(own),
            str(own).replace("item: ", "l: "),
        ) or read.equals(own)


def test_no_example_names_a_folder_of_the_machine_that_it_was_made_on() -> None:
    for _, column in DESCRIBED:
        assert "/tmp" not in column.example
        assert not column.example.startswith("/") or column.example.startswith("/archive/")
