"""A query's rows as csv, json, parquet or arrow: to bytes, or whole into a file.

| format | what it is | values |
|---|---|---|
| csv | header, quoted text, UTF-8 | lists and structs as JSON, NULL empty, "" quoted |
| json | a list of objects, one a line | times as ISO 8601, bytes as base64, NaN as null |
| parquet | zstd | as they are |
| arrow | the IPC file format, which pandas and polars call Feather | as they are |
"""

import base64
import datetime
import decimal
import io
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from storage.workspace import write_atomically

SUFFIXES = {
    ".csv": "csv",
    ".json": "json",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
}
BINARY = frozenset({"parquet", "arrow"})


class UnknownFormat(ValueError):
    """A format, or a file's suffix, that is none of FORMATS."""


def format_of(path: Path) -> str:
    """The format that a file's suffix names; raises UnknownFormat for another suffix."""
    if path.suffix.lower() not in SUFFIXES:
        raise UnknownFormat(
            f"{path.name}: the suffix names no format; use {', '.join(SUFFIXES)} or give --format"
        )
    return SUFFIXES[path.suffix.lower()]


def encode(table: pa.Table, name: str) -> bytes:
    """The rows in the named format; raises UnknownFormat for a name that is none of FORMATS."""
    if name not in FORMATS:
        raise UnknownFormat(f"there is no format {name}; there are {', '.join(FORMATS)}")
    return FORMATS[name](with_own_names(table))


def save(table: pa.Table, path: Path, name: str | None = None) -> int:
    """Writes the rows into a file, whole or not at all; returns its size in bytes.

    The format is the named one, else that of the suffix. Raises UnknownFormat, or OSError.
    """
    data = encode(table, name or format_of(path))
    write_atomically(path, data)
    return len(data)


def with_own_names(table: pa.Table) -> pa.Table:
    """The table with a number behind each column name that an earlier column has."""
    names: list[str] = []
    for name in table.column_names:
        own, number = name, 2
        while own in names:
            own, number = f"{name}_{number}", number + 1
        names.append(own)
    return table.rename_columns(names)


def _csv(table: pa.Table) -> bytes:
    out = io.BytesIO()
    pa_csv.write_csv(_with_text(table, _is_not_csv), out)
    return out.getvalue()


def _json(table: pa.Table) -> bytes:
    rows = [
        json.dumps(_plain(row), ensure_ascii=False, allow_nan=False) for row in table.to_pylist()
    ]
    return ("[\n" + ",\n".join(rows) + "\n]\n" if rows else "[]\n").encode()


def _parquet(table: pa.Table) -> bytes:
    out = io.BytesIO()
    pq.write_table(_with_text(table, _is_not_parquet), out, compression="zstd")
    return out.getvalue()


def _arrow(table: pa.Table) -> bytes:
    out = io.BytesIO()
    with pa.ipc.new_file(out, table.schema) as writer:
        # The file format allows one dictionary a column, and each batch of an enum brings its own.
        writer.write_table(table.unify_dictionaries())
    return out.getvalue()


FORMATS: dict[str, Callable[[pa.Table], bytes]] = {
    "csv": _csv,
    "json": _json,
    "parquet": _parquet,
    "arrow": _arrow,
}


def _is_not_csv(kind: pa.DataType) -> bool:
    return pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_interval(kind)


def _is_not_parquet(kind: pa.DataType) -> bool:
    return pa.types.is_union(kind) or pa.types.is_interval(kind)


def _with_text(table: pa.Table, is_text: Callable[[pa.DataType], bool]) -> pa.Table:
    """The table with columns of some types as text: strings as they are, the rest as JSON."""
    for index, field in enumerate(table.schema):
        if is_text(field.type):
            texts = [_text(value) for value in table.column(index).to_pylist()]
            table = table.set_column(index, field.name, pa.array(texts, pa.string()))
    return table


def _text(value: Any) -> str | None:
    plain = _plain(value)
    if plain is None or isinstance(plain, str):
        return plain
    return json.dumps(plain, ensure_ascii=False, allow_nan=False)


def _plain(value: Any) -> Any:
    """A value as JSON has it."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, decimal.Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, datetime.datetime | datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, pa.MonthDayNano):
        return f"P{value.months}M{value.days}DT{value.nanoseconds / 1e9:g}S"
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    # Arrow gives a map as a list of pairs.
    if isinstance(value, list) and value and isinstance(value[0], tuple):
        return {str(_plain(key)): _plain(item) for key, item in value}
    return [_plain(item) for item in value] if isinstance(value, list) else str(value)
