"""Result formats: what is read back is what was written, for every type that a query gives."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from storage.formats import FORMATS, UnknownFormat, encode, format_of, save, with_own_names

PLAIN = """SELECT 1 AS number, 'x,"y"' AS text, NULL::VARCHAR AS nothing, '' AS empty,
                  TIMESTAMPTZ '2026-01-02 03:04:05.5+00' AS moment, true AS claim,
                  1.5::DECIMAL(5, 2) AS exact, sum(5)::HUGEINT AS total, 2.25 AS score"""
ODD = """SELECT [1, NULL] AS list, {'start_s': 0.5} AS span, MAP {'k': 2} AS map,
                'ab'::BLOB AS blob, INTERVAL 3 DAY AS wait, union_value(k := 1) AS either,
                'nan'::DOUBLE AS nan, [{'start_s': 'inf'::DOUBLE}] AS spans,
                'b'::ENUM('a', 'b') AS kind"""


def table(sql: str) -> pa.Table:
    with duckdb.connect() as connection:
        return connection.execute(sql).to_arrow_table()


def from_csv(data: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(data.decode())))


def test_json_keeps_numbers_texts_and_nulls_and_writes_times_as_iso_8601() -> None:
    assert json.loads(encode(table(PLAIN), "json")) == [
        {
            "number": 1,
            "text": 'x,"y"',
            "nothing": None,
            "empty": "",
            "moment": "2026-01-02T03:04:05.500000+00:00",
            "claim": True,
            "exact": 1.5,
            "total": 5,
            "score": 2.25,
        }
    ]


def test_json_has_a_form_for_every_other_type_and_none_for_nan() -> None:
    assert json.loads(encode(table(ODD), "json")) == [
        {
            "list": [1, None],
            "span": {"start_s": 0.5},
            "map": {"k": 2},
            "blob": "YWI=",
            "wait": "P0M3DT0S",
            "either": 1,
            "nan": None,
            "spans": [{"start_s": None}],
            "kind": "b",
        }
    ]


def test_json_has_one_row_a_line() -> None:
    data = encode(table("SELECT range AS n FROM range(3)"), "json")
    assert data == b'[\n{"n": 0},\n{"n": 1},\n{"n": 2}\n]\n'


def test_csv_quotes_texts_and_tells_null_from_empty() -> None:
    data = encode(table(PLAIN), "csv")
    assert b'"x,""y""",,"",' in data
    row = from_csv(data)[0]
    assert (row["number"], row["text"], row["claim"]) == ("1", 'x,"y"', "true")
    assert row["total"] == "5"


def test_csv_writes_lists_structs_and_maps_as_json() -> None:
    row = from_csv(encode(table(ODD), "csv"))[0]
    assert json.loads(row["list"]) == [1, None]
    assert json.loads(row["span"]) == {"start_s": 0.5}
    assert json.loads(row["map"]) == {"k": 2}
    assert (row["blob"], row["wait"], row["kind"]) == ("YWI=", "P0M3DT0S", "b")


def test_parquet_and_arrow_give_the_same_rows_back() -> None:
    rows = table(PLAIN).to_pylist()
    assert pq.read_table(io.BytesIO(encode(table(PLAIN), "parquet"))).to_pylist() == rows
    assert pa.ipc.open_file(encode(table(PLAIN), "arrow")).read_all().to_pylist() == rows


def test_parquet_writes_what_it_has_no_type_for_as_text() -> None:
    read = pq.read_table(io.BytesIO(encode(table(ODD), "parquet"))).to_pylist()[0]
    assert (read["wait"], read["either"]) == ("P0M3DT0S", "1")
    assert read["spans"] == [{"start_s": float("inf")}]


def test_arrow_takes_an_enum_whose_batches_have_dictionaries_of_their_own() -> None:
    batches = [
        pa.record_batch({"kind": pa.array(words).dictionary_encode()})
        for words in (["a", "b"], ["c"])
    ]
    data = encode(pa.Table.from_batches(batches), "arrow")
    read = pa.ipc.open_file(data).read_all().column("kind").to_pylist()
    assert read == ["a", "b", "c"]


@pytest.mark.parametrize("name", FORMATS)
def test_no_rows_are_a_file_too(name: str, tmp_path: Path) -> None:
    path = tmp_path / f"none.{name}"
    assert save(table(f"{PLAIN} HAVING false"), path) == path.stat().st_size > 0
    readers: dict[str, Any] = {
        "csv": lambda: from_csv(path.read_bytes()),
        "json": lambda: json.loads(path.read_text()),
        "parquet": lambda: pq.read_table(path).to_pylist(),
        "arrow": lambda: pa.ipc.open_file(path.read_bytes()).read_all().to_pylist(),
    }
    assert readers[name]() == []


def test_columns_of_one_name_get_names_of_their_own() -> None:
    twice = pa.table([[1], [2], [3]], names=["a", "a", "a_2"])
    assert with_own_names(twice).column_names == ["a", "a_2", "a_2_2"]
    assert json.loads(encode(twice, "json")) == [{"a": 1, "a_2": 2, "a_2_2": 3}]


def test_a_named_format_comes_before_the_suffix(tmp_path: Path) -> None:
    path = tmp_path / "rows.txt"
    save(table("SELECT 1 AS n"), path, "csv")
    assert path.read_text() == '"n"\n1\n'
    assert format_of(Path("ROWS.Feather")) == "arrow"


def test_an_unknown_format_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(UnknownFormat, match=r"rows.txt: the suffix names no format; use .csv"):
        save(table("SELECT 1"), tmp_path / "rows.txt")
    with pytest.raises(UnknownFormat, match="there is no format xml; there are csv, json"):
        encode(table("SELECT 1"), "xml")
    assert not list(tmp_path.iterdir())
