"""SQL for people: read-only, fenced into the workspace, with limits."""

import re
import threading
from dataclasses import dataclass

import duckdb
import pyarrow as pa

from storage.catalog import Catalog
from storage.workspace import Workspace

ALLOWED = {duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN}
OUTSIDE = re.compile(
    r"\b(read_\w+|parquet_\w+|glob|sniff_csv|query|query_table|getenv|duckdb_secrets|which_secret"
    r"|sqlite_\w+|ducklake_\w+|\w*_scan)\s*\(",
    re.IGNORECASE,
)


class Refused(ValueError):
    """A statement that the fence does not let through."""


@dataclass(frozen=True, slots=True)
class SqlLimits:
    """What one query may use."""

    memory: str = "2GB"
    timeout_s: float = 60.0
    threads: int = 2


def read_only_query(sql: str, workspace: Workspace, limits: SqlLimits | None = None) -> pa.Table:
    """The rows of one SELECT over the catalog.

    Raises Refused for anything that is not a single SELECT over the catalog's tables, or that
    takes too long or too much memory; CatalogMissing where there is no catalog; and Refused with
    DuckDB's own words for SQL that it does not understand.
    """
    limits = limits or SqlLimits()
    with Catalog(workspace, read_only=True) as catalog:
        _check(catalog.connection, sql)
        _fence(catalog.connection, workspace, limits)
        return _timed(catalog.connection, sql, limits)


def _check(connection: duckdb.DuckDBPyConnection, sql: str) -> None:
    try:
        statements = connection.extract_statements(sql)
    except duckdb.Error as error:
        raise Refused(_first_line(error)) from None
    if len(statements) != 1:
        raise Refused(f"{len(statements)} statements; give one SELECT")
    if statements[0].type not in ALLOWED:
        raise Refused(f"{statements[0].type.name} is not allowed; the catalog is read-only here")
    if match := OUTSIDE.search(sql):
        raise Refused(f"{match.group(1)}() is not allowed; query the catalog's tables")


def _fence(connection: duckdb.DuckDBPyConnection, workspace: Workspace, limits: SqlLimits) -> None:
    catalog = str(workspace.catalog_path)
    paths = [catalog, f"{catalog}-wal", f"{catalog}-shm", f"{catalog}-journal"]
    settings = (
        ("SET allowed_directories = ?", [[f"{workspace.tables_path}/"]]),
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
    timer = threading.Timer(limits.timeout_s, connection.interrupt)
    timer.start()
    try:
        return connection.execute(sql).to_arrow_table()
    except duckdb.InterruptException:
        raise Refused(f"stopped after {limits.timeout_s:g} s; narrow the query") from None
    except duckdb.OutOfMemoryException:
        raise Refused(f"needs more than {limits.memory} of memory; narrow the query") from None
    except duckdb.Error as error:
        raise Refused(_first_line(error)) from None
    finally:
        timer.cancel()


def _first_line(error: Exception) -> str:
    return " ".join(str(error).split("\n\n")[0].split())
