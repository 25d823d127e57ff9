"""SQL for people: read-only, fenced into the workspace, with limits.

Two fences stand one behind the other. DuckDB's own settings keep its file system inside the
workspace and its configuration locked. They do not bind functions of extensions with a file access
of their own (`sqlite_scan` opens any file) nor what EXPLAIN ANALYZE runs, so a statement is parsed
first, by DuckDB itself, and passes only as one SELECT that calls no table function but those of
ALLOWED_FUNCTIONS. Quotes, comments and case make no difference to a parsed name.
"""

import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa

from storage.catalog import Catalog
from storage.lake import SETTINGS, data_path
from storage.workspace import Workspace

ALLOWED_FUNCTIONS = frozenset(
    {
        "unnest",
        "range",
        "generate_series",
        "json_each",
        "json_tree",
        "duckdb_columns",
        "duckdb_functions",
        "duckdb_tables",
        "duckdb_types",
        "duckdb_views",
        "snapshots",
        "table_info",
    }
)
# DuckLake's own tables are no place to read from, in SQLite or in PostgreSQL, and DuckDB's own
# views tell of databases, files and settings.
PLACES = {"lake", "main", "information_schema"}
SYSTEM_NAMES = ("duckdb_", "pragma_", "pg_", "sqlite_", "ducklake_")
EXPLAIN = re.compile(r"\s*EXPLAIN\s+(ANALYZE\s+)?", re.IGNORECASE)
BATCH_ROWS = 10_000


class Refused(ValueError):
    """A statement that the fence does not let through."""


@dataclass(frozen=True, slots=True)
class SqlLimits:
    """What one query may use.

    Attributes:
        memory: of DuckDB's buffers; text that is built within one row is not counted by it.
        timeout_s: wall seconds.
        threads: of DuckDB.
        result_bytes: size of the result as an Arrow table.
    """

    memory: str = "2GB"
    timeout_s: float = 60.0
    threads: int = 2
    result_bytes: int = 1 << 30


def read_only_query(
    sql: str,
    workspace: Workspace,
    limits: SqlLimits | None = None,
    snapshot: int | None = None,
) -> pa.Table:
    """The rows of one SELECT over the catalog, as it is or as it was at a snapshot.

    Raises Refused for anything that is not a single SELECT over the catalog's tables, or that
    takes too long or too much memory; CatalogMissing where there is no catalog; and Refused with
    DuckDB's own words for SQL that it does not understand.
    """
    limits = limits or SqlLimits()
    with duckdb.connect(config=dict(SETTINGS)) as parser:
        _check(parser, sql)
    with Catalog(workspace, read_only=True, snapshot=snapshot) as catalog:
        _fence(catalog.connection, workspace, limits)
        return _timed(catalog.connection, sql, limits)


def _check(parser: duckdb.DuckDBPyConnection, sql: str) -> None:
    try:
        statements = parser.extract_statements(sql)
    except duckdb.Error as error:
        raise Refused(_one_line(error)) from None
    if len(statements) != 1:
        raise Refused(f"{len(statements)} statements; give one SELECT")
    kind = statements[0].type
    # The text itself is parsed again: a PRAGMA comes out of the statement as the SELECT behind it.
    query = EXPLAIN.sub("", sql, count=1) if kind == duckdb.StatementType.EXPLAIN else sql
    if kind not in (duckdb.StatementType.EXPLAIN, duckdb.StatementType.SELECT):
        raise Refused(f"{kind.name} is not allowed; the catalog is read-only here")
    answer = parser.execute("SELECT json_serialize_sql(?)", [query]).fetchall()[0][0]
    try:
        parsed = json.loads(answer)
    except RecursionError:
        raise Refused("the query is nested too deeply; make it flatter") from None
    if parsed["error"] or len(parsed["statements"]) != 1:
        raise Refused("only a SELECT, or EXPLAIN SELECT, is allowed; the catalog is read-only here")
    for name in _table_functions(parsed):
        if name not in ALLOWED_FUNCTIONS:
            raise Refused(f"{name}() is not allowed; query the catalog's tables")
    for place, name in _tables(parsed):
        hidden = name.startswith(SYSTEM_NAMES) and name not in ALLOWED_FUNCTIONS
        # DuckDB resolves such a path on a disk; what stands before a store may do so after it.
        hidden = hidden or ".." in re.split(r"[/\\]", name)
        if hidden or not place <= PLACES:
            whole = ".".join([*sorted(place - PLACES), name])
            raise Refused(f"{whole} is not allowed; query the catalog's tables")


def _tables(parsed: dict[str, Any]) -> Iterator[tuple[set[str], str]]:
    """What a parsed statement reads: the names of catalog and schema, and of the table."""
    for node in _nodes(parsed):
        if node.get("type") == "BASE_TABLE":
            parts = (str(node.get(key, "")).lower() for key in ("catalog_name", "schema_name"))
            yield {part for part in parts if part}, str(node["table_name"]).lower()


def _table_functions(parsed: dict[str, Any]) -> Iterator[str]:
    """The names of the table functions that a parsed statement calls, at any depth."""
    for node in _nodes(parsed):
        if node.get("type") == "TABLE_FUNCTION":
            yield str(node["function"]["function_name"]).lower()


def _nodes(parsed: dict[str, Any]) -> Iterator[dict[str, Any]]:
    left: list[Any] = [parsed]
    while left:
        node = left.pop()
        if isinstance(node, dict):
            yield node
            left += node.values()
        elif isinstance(node, list):
            left += node


def _fence(connection: duckdb.DuckDBPyConnection, workspace: Workspace, limits: SqlLimits) -> None:
    catalog = str(workspace.catalog_path)
    endings = () if workspace.catalog_url else ("", "-wal", "-shm", "-journal")
    paths = [f"{catalog}{ending}" for ending in endings]
    settings = (
        ("SET allowed_directories = ?", [[data_path(workspace)]]),
        ("SET allowed_paths = ?", [paths]),
        ("SET memory_limit = ?", [limits.memory]),
        ("SET threads = ?", [limits.threads]),
        ("SET temp_directory = ''", []),
        ("SET enable_external_access = false", []),
        ("SET lock_configuration = true", []),
    )
    for statement, values in settings:
        connection.execute(statement, values)


def _timed(connection: duckdb.DuckDBPyConnection, sql: str, limits: SqlLimits) -> pa.Table:
    late = threading.Event()

    def stop() -> None:
        late.set()
        connection.interrupt()

    timer = threading.Timer(limits.timeout_s, stop)
    timer.start()
    try:
        return _collected(connection.execute(sql).to_arrow_reader(BATCH_ROWS), limits)
    # Behind the first batch Arrow carries DuckDB's errors, as OSError with their text.
    except (duckdb.Error, pa.ArrowException, OSError) as error:
        text = _one_line(error)
        if late.is_set():
            text = f"stopped after {limits.timeout_s:g} s; narrow the query"
        elif text.startswith("Out of Memory"):
            text = f"needs more than {limits.memory} of memory; narrow the query"
        raise Refused(text) from None
    finally:
        timer.cancel()


def _collected(reader: pa.RecordBatchReader, limits: SqlLimits) -> pa.Table:
    batches: list[pa.RecordBatch] = []
    size_bytes = 0
    for batch in reader:
        size_bytes += batch.nbytes
        if size_bytes > limits.result_bytes:
            size = f"{limits.result_bytes >> 20} MiB"
            raise Refused(f"the result is larger than {size}; narrow the query or aggregate")
        batches.append(batch)
    return pa.Table.from_batches(batches, reader.schema)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split("\n\n")[0].split())
