"""An older catalog brought forward: what the schema has and the catalog lacks is added.

Nothing is taken away and no row is rewritten, so snapshots from before stay readable as they were,
and a table or view that talkies does not know stays. All of it is one transaction: a kill leaves
the old version or the new one. An empty catalog is version 0 and comes forward in the same way.
"""

from collections.abc import Iterator, Mapping

import duckdb

from storage.columns import Column, Table, View
from storage.schema import SCHEMA_VERSION, TABLES, VIEWS

TWIN = "talkies_view_as_it_should_be"


class CannotMigrate(RuntimeError):
    """The catalog has something that adding cannot turn into what the schema says."""


def version_of(connection: duckdb.DuckDBPyConnection) -> int:
    """The schema's version that the attached catalog `lake` has; 0 for an empty one."""
    # Asked for itself: a list of the tables counts the rows of each, and every opening would wait.
    try:
        row = connection.execute("SELECT max(version) FROM lake.schema_version").fetchone()
    except duckdb.CatalogException:
        return 0
    return int(row[0]) if row and row[0] is not None else 0


def migrate(
    connection: duckdb.DuckDBPyConnection,
    version: int,
    tables: Mapping[str, Table] = TABLES,
    views: Mapping[str, View] = VIEWS,
    to: int = SCHEMA_VERSION,
) -> list[str]:
    """Brings the attached catalog `lake` forward to version `to`; returns what was done, by line.

    The connection must use `lake`, write it, and be in no transaction. Does nothing where another
    process was faster. Raises CannotMigrate for a column of another type, and for a new column
    without a value for the rows that are there; nothing is changed then.
    """
    connection.execute("BEGIN")
    try:
        done = list(_steps(connection, version, tables, views, to))
        connection.execute("COMMIT")
    # COMMIT after a failed statement would roll back without a word.
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    return done


def _steps(
    connection: duckdb.DuckDBPyConnection,
    version: int,
    tables: Mapping[str, Table],
    views: Mapping[str, View],
    to: int,
) -> Iterator[str]:
    if version_of(connection) != version:
        return
    if not version:
        connection.execute("CREATE TABLE lake.schema_version (version INTEGER)")
    real = _real_columns(connection)
    missing = {
        name: _missing(connection, tables[name], real[name]) for name in tables if name in real
    }
    for name, table in tables.items():
        if name not in real:
            _make_table(connection, table)
            yield f"table {name} added"
        for column, kind in missing.get(name, {}).items():
            _add_column(connection, name, column, kind)
            yield f"column {name}.{column.name} added"
    _comment(connection, tables)
    bodies = _bodies(connection, "lake")
    for view in views.values():
        if _place_view(connection, view, bodies.get(view.name)):
            yield f"view {view.name} {'replaced' if view.name in bodies else 'added'}"
    connection.execute("INSERT INTO lake.schema_version VALUES (?)", [to])


def _real_columns(connection: duckdb.DuckDBPyConnection) -> dict[str, dict[str, str]]:
    rows = connection.execute(
        "SELECT table_name, column_name, data_type FROM duckdb_columns() SEMI JOIN duckdb_tables() "
        "USING (database_name, table_name) WHERE database_name = 'lake'"
    ).fetchall()
    real: dict[str, dict[str, str]] = {}
    for table, column, kind in rows:
        real.setdefault(table, {})[column] = kind
    return real


def _missing(
    connection: duckdb.DuckDBPyConnection, table: Table, real: Mapping[str, str]
) -> dict[Column, str]:
    """The columns that the catalog lacks, with their DuckDB types."""
    connection.register("empty_rows", table.arrow().empty_table())
    wanted = connection.execute("DESCRIBE FROM empty_rows").fetchall()
    connection.unregister("empty_rows")
    missing = {}
    for column, (name, kind, *_) in zip(table.columns, wanted, strict=True):
        if name in real and real[name] != kind:
            raise CannotMigrate(
                f"table {table.name}, column {name}: the catalog has {real[name]}, the schema "
                f"{kind}; give the column of another type another name"
            )
        if name not in real:
            if not column.nullable and column.default is None:
                raise CannotMigrate(
                    f"table {table.name}, column {name}: rows that are there have no value for "
                    "it; declare it nullable or with a default"
                )
            missing[column] = kind
    return missing


def _make_table(connection: duckdb.DuckDBPyConnection, table: Table) -> None:
    connection.register("empty_rows", table.arrow().empty_table())
    connection.execute(f"CREATE TABLE lake.{table.name} AS FROM empty_rows")
    connection.unregister("empty_rows")


def _add_column(
    connection: duckdb.DuckDBPyConnection, table: str, column: Column, kind: str
) -> None:
    added = f"ALTER TABLE lake.{table} ADD COLUMN {column.name} {kind}"
    if column.default is None:
        connection.execute(added)
        return
    connection.execute(f"{added} DEFAULT {_literal(column.default)}")
    # The default is for the rows from before; new ones bring their own value.
    connection.execute(f"ALTER TABLE lake.{table} ALTER COLUMN {column.name} DROP DEFAULT")


def _comment(connection: duckdb.DuckDBPyConnection, tables: Mapping[str, Table]) -> None:
    """Writes the descriptions that are missing or have changed."""
    told_tables = dict(
        connection.execute(
            "SELECT table_name, comment FROM duckdb_tables() WHERE database_name = 'lake'"
        ).fetchall()
    )
    rows = connection.execute(
        "SELECT table_name, column_name, comment FROM duckdb_columns() WHERE database_name = 'lake'"
    ).fetchall()
    told = {(table, column): comment for table, column, comment in rows}
    for table in tables.values():
        if told_tables[table.name] != table.text:
            connection.execute(f"COMMENT ON TABLE lake.{table.name} IS {_literal(table.text)}")
        for column in table.columns:
            if told[table.name, column.name] != column.comment:
                connection.execute(
                    f"COMMENT ON COLUMN lake.{table.name}.{column.name} "
                    f"IS {_literal(column.comment)}"
                )


def _place_view(connection: duckdb.DuckDBPyConnection, view: View, there: str | None) -> bool:
    """Makes a view, or replaces it where its SQL is another; says whether it did."""
    if there is not None:
        connection.execute(f"CREATE OR REPLACE TEMP VIEW {TWIN} AS {view.sql}")
        wanted = _bodies(connection, "temp")[TWIN]
        connection.execute(f"DROP VIEW temp.{TWIN}")
        if there == wanted:
            return False
    connection.execute(f"CREATE OR REPLACE VIEW lake.{view.name} AS {view.sql}")
    connection.execute(f"COMMENT ON VIEW lake.{view.name} IS {_literal(view.text)}")
    return True


def _bodies(connection: duckdb.DuckDBPyConnection, database: str) -> dict[str, str]:
    """The views' queries as DuckDB writes them down; no view of ours names its columns."""
    rows = connection.execute(
        "SELECT view_name, sql FROM duckdb_views() WHERE database_name = ?", [database]
    ).fetchall()
    return {name: sql.partition(" AS ")[2] for name, sql in rows}


def _literal(value: str | float | bool) -> str:
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return str(value).lower()
