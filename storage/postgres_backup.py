"""The metadata in PostgreSQL copied into a SQLite file, and put back in one transaction.

The file holds DuckLake's tables row by row, as a backup of metadata in SQLite does, so the same
checks read it; a table of its own says how PostgreSQL is to make the tables again.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from storage.postgres import Database, has_lake

MADE_BY = "talkies_made_by"
NUMBERS = ("bigint", "integer", "smallint", "boolean")
BATCH_ROWS = 10_000


def dump(database: Database, path: Path) -> None:
    """Writes all tables of the catalog's schema, as of one moment, into a new SQLite file."""
    with closing(sqlite3.connect(path)) as copy, database.connect() as connection:
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        copy.execute(f"CREATE TABLE {MADE_BY} (name TEXT PRIMARY KEY, sql TEXT)")
        for table in _tables(connection, database.schema):
            columns = _columns(connection, database.schema, table)
            made = _definition(connection, database.schema, table, columns)
            copy.execute(f"INSERT INTO {MADE_BY} VALUES (?, ?)", [table, made])
            listed = ", ".join(_named(name) for name, _ in columns)
            copy.execute(f"CREATE TABLE {_named(table)} ({listed})")
            marks = ", ".join("?" for _ in columns)
            copy.executemany(
                f"INSERT INTO {_named(table)} VALUES ({marks})",
                _rows(connection, database.schema, table, columns),
            )
        connection.execute("COMMIT")
        copy.commit()


def is_dump(copy: sqlite3.Connection) -> bool:
    """Whether a SQLite file was made of metadata in PostgreSQL."""
    found = copy.execute("SELECT 1 FROM sqlite_master WHERE name = ?", [MADE_BY]).fetchone()
    return found is not None


def load(database: Database, path: Path) -> None:
    """Puts the tables of a dump in place of the catalog's, all or none."""
    database.make_schema()
    with (
        closing(sqlite3.connect(path)) as copy,
        database.connect() as connection,
        connection.transaction(),
    ):
        for table in _tables(connection, database.schema):
            gone = sql.Identifier(database.schema, table)
            connection.execute(sql.SQL("DROP TABLE {}").format(gone))
        made = copy.execute(f"SELECT name, sql FROM {MADE_BY} ORDER BY name").fetchall()
        place = sql.Identifier(database.schema)
        connection.execute(sql.SQL("SET LOCAL search_path TO {}").format(place))
        for table, definition in made:
            connection.execute(definition.encode())
            into = sql.SQL("COPY {} FROM STDIN").format(sql.Identifier(table))
            with connection.cursor().copy(into) as rows:
                for row in copy.execute(f"SELECT * FROM {_named(table)}"):
                    rows.write_row([None if v is None else str(v) for v in row])


def identity(database: Database) -> tuple[str, int] | None:
    """The catalog's uuid and newest snapshot, or None where there is none."""
    with database.connect() as connection:
        if not has_lake(connection, database.schema):
            return None
        schema = sql.Identifier(database.schema)
        row = connection.execute(
            sql.SQL(
                "SELECT (SELECT schema_uuid::text FROM {0}.ducklake_schema ORDER BY schema_id "
                "LIMIT 1), (SELECT max(snapshot_id) FROM {0}.ducklake_snapshot)"
            ).format(schema)
        ).fetchone()
    return (str(row[0] or ""), int(row[1] or 0)) if row else None


def _tables(connection: psycopg.Connection[Any], schema: str) -> list[str]:
    rows = connection.execute(
        "SELECT tablename FROM pg_tables WHERE schemaname = %s "
        "AND starts_with(tablename, 'ducklake_') ORDER BY tablename",
        [schema],
    ).fetchall()
    return [str(row[0]) for row in rows]


def _columns(connection: psycopg.Connection[Any], schema: str, table: str) -> list[tuple[str, str]]:
    """The columns of a table with their types, in order."""
    rows = connection.execute(
        "SELECT a.attname, format_type(a.atttypid, a.atttypmod) FROM pg_attribute a "
        "JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE n.nspname = %s AND c.relname = %s AND a.attnum > 0 AND NOT a.attisdropped "
        "ORDER BY a.attnum",
        [schema, table],
    ).fetchall()
    return [(str(name), str(kind)) for name, kind in rows]


def _definition(
    connection: psycopg.Connection[Any],
    schema: str,
    table: str,
    columns: list[tuple[str, str]],
) -> str:
    """The CREATE TABLE of a table, with its keys."""
    rows = connection.execute(
        "SELECT pg_get_constraintdef(k.oid) FROM pg_constraint k "
        "JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE n.nspname = %s AND c.relname = %s AND k.contype IN ('p', 'u') ORDER BY 1",
        [schema, table],
    ).fetchall()
    parts = [f"{_named(name)} {kind}" for name, kind in columns] + [str(row[0]) for row in rows]
    return f"CREATE TABLE {_named(table)} ({', '.join(parts)})"


def _rows(
    connection: psycopg.Connection[Any],
    schema: str,
    table: str,
    columns: list[tuple[str, str]],
) -> Iterator[tuple[Any, ...]]:
    """The rows of a table: numbers and truth as integers, all else as PostgreSQL writes it."""
    picked = [
        sql.SQL("{}" if kind in NUMBERS else "{}::text").format(sql.Identifier(name))
        for name, kind in columns
    ]
    query = sql.SQL("SELECT {} FROM {}").format(
        sql.SQL(", ").join(picked), sql.Identifier(schema, table)
    )
    with connection.cursor(name="talkies_backup") as cursor:
        cursor.itersize = BATCH_ROWS
        cursor.execute(query)
        for row in cursor:
            yield tuple(int(value) if isinstance(value, bool) else value for value in row)


def _named(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
