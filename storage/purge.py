"""Taking rows out of a catalog's past, and out of Parquet shards, so that no byte of them stays.

A DELETE hides rows; DuckLake keeps them for its older snapshots. They leave the disk only after
the files that hold them were rewritten and the snapshots that need the old files were expired.
"""

import hashlib
import io
import subprocess
import sys
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
from psycopg import sql

from storage.backup import safeguarded
from storage.catalog import Catalog
from storage.postgres import Database
from storage.workspace import Workspace

META = "__ducklake_metadata_lake"
# Bounds that no text lies outside of, and that say nothing of the rows that once set them.
WIDEST = ("", "\U0010ffff")
VACUUM = """
import sqlite3, sys
database = sqlite3.connect(sys.argv[1], timeout=float(sys.argv[2]), isolation_level=None)
database.execute("VACUUM")
busy, _, _ = database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
sys.exit(bool(busy))
"""


class PurgeIncomplete(RuntimeError):
    """Bytes of removed rows may still lie in the catalog's metadata."""


def kept_snapshots(catalog: Catalog) -> list[int]:
    """The ids of all snapshots in which tables exist, oldest first."""
    rows = catalog.rows(
        "SELECT snapshot_id FROM lake.snapshots() WHERE snapshot_id > 0 ORDER BY snapshot_id"
    )
    return [row["snapshot_id"] for row in rows]


def first_snapshot(
    catalog: Catalog, where: Iterable[tuple[str, str, Collection[str]]]
) -> int | None:
    """The oldest snapshot that holds any of the rows, or None where none does.

    Args:
        catalog: the open catalog.
        where: (table, column, values) of the rows.
    """
    kept = kept_snapshots(catalog)
    tests, values = [], []
    for table, column, ids in where:
        match = f"{column} IN (SELECT unnest(?::VARCHAR[]))"
        tests.append(
            f"SELECT {kept[0]} AS since FROM lake.{table} AT (VERSION => {kept[0]}) WHERE {match} "
            f"UNION ALL SELECT snapshot_id FROM ducklake_table_insertions('lake', 'main', "
            f"'{table}', {kept[0]}, {kept[-1]}) WHERE {match}"
        )
        values += [sorted(ids), sorted(ids)]
    since = catalog.value(f"SELECT min(since) FROM ({' UNION ALL '.join(tests)})", values)
    return None if since is None else int(since)


def purge(catalog: Catalog, tables: Collection[str], since: int) -> list[int]:
    """Removes from the disk what was deleted from `tables`; returns the expired snapshots.

    Snapshots before `since`, the first that held any of the rows, stay, unless a file that was
    merged over that border holds some of the rows; then no older snapshot stays. Readers of
    older snapshots must have ended, and nothing else may write. Raises PurgeIncomplete where
    another process keeps the metadata from being rewritten.
    """
    with safeguarded(catalog):
        expired = _rewrite(catalog, since)
    _all(catalog, "FROM ducklake_cleanup_old_files('lake', cleanup_all => true)")
    _widen_statistics(catalog, tables)
    shrink(catalog.workspace)
    return expired


def _rewrite(catalog: Catalog, since: int) -> list[int]:
    """Writes files without the deleted rows; returns the snapshots that it expired."""
    newest_file = catalog.value(
        f"SELECT coalesce(max(data_file_id), 0) FROM {META}.ducklake_data_file"
    )
    kept = kept_snapshots(catalog)
    expired = [snapshot for snapshot in kept[:-1] if snapshot >= since]
    _expire(catalog, expired)
    _drop_unseen_inlined(catalog)
    # DuckLake 1.0 cannot rewrite a table some of whose rows lie in SQLite ("isnan(VARCHAR)").
    for table in _tables_with_files(catalog):
        _all(catalog, f"FROM ducklake_flush_inlined_data('lake', table_name => '{table}')")
        _all(catalog, f"FROM ducklake_rewrite_data_files('lake', '{table}', delete_threshold => 0)")
    _expire(catalog, [s for s in kept_snapshots(catalog)[:-1] if s >= since])
    merged = (
        f"SELECT count(*) FROM {META}.ducklake_data_file WHERE end_snapshot > {since} "
        f"AND partial_max >= {since} AND data_file_id <= {newest_file}"
    )
    if catalog.value(merged):
        older = [snapshot for snapshot in kept if snapshot < since]
        _expire(catalog, older)
        expired = older + expired
    return expired


def _all(catalog: Catalog, sql: str) -> None:
    # A maintenance function works while its rows are fetched, and not before.
    catalog.connection.execute(sql).fetchall()


def _expire(catalog: Catalog, snapshots: list[int]) -> None:
    if snapshots:
        listed = ", ".join(map(str, snapshots))
        _all(catalog, f"FROM ducklake_expire_snapshots('lake', versions => [{listed}])")


def _tables_with_files(catalog: Catalog) -> list[str]:
    rows = catalog.rows(
        f"SELECT DISTINCT t.table_name FROM {META}.ducklake_data_file f "
        f"JOIN {META}.ducklake_table t USING (table_id) "
        "WHERE f.end_snapshot IS NULL AND t.end_snapshot IS NULL ORDER BY 1"
    )
    return [row["table_name"] for row in rows]


def _drop_unseen_inlined(catalog: Catalog) -> None:
    """Deletes small inserts that DuckLake keeps as metadata rows, where no snapshot sees them."""
    unseen = f"""end_snapshot IS NOT NULL AND NOT EXISTS (
                     FROM {META}.ducklake_snapshot AS s
                     WHERE s.snapshot_id >= begin_snapshot AND s.snapshot_id < end_snapshot)"""
    rows = catalog.rows(f"SELECT table_name FROM {META}.ducklake_inlined_data_tables")
    names = [row["table_name"] for row in rows]
    counts = [
        f"SELECT '{name}' AS name FROM {META}.{name} WHERE end_snapshot IS NOT NULL"
        for name in names
    ]
    if counts:
        for row in catalog.rows(f"SELECT DISTINCT name FROM ({' UNION ALL '.join(counts)})"):
            _all(catalog, f"DELETE FROM {META}.{row['name']} WHERE {unseen}")


def _widen_statistics(catalog: Catalog, tables: Collection[str]) -> None:
    """Overwrites the smallest and largest text of each column, which may be a removed one."""
    catalog.connection.execute(
        f"""UPDATE {META}.ducklake_table_column_stats AS stats SET min_value = ?, max_value = ?
            WHERE (min_value IS NOT NULL OR max_value IS NOT NULL) AND EXISTS (
                FROM {META}.ducklake_column AS c
                JOIN {META}.ducklake_table AS t ON t.table_id = c.table_id
                WHERE c.table_id = stats.table_id AND c.column_id = stats.column_id
                  AND c.column_type = 'varchar' AND c.parent_column IS NULL
                  AND t.table_name IN (SELECT unnest(?::VARCHAR[])))""",
        [*WIDEST, sorted(tables)],
    ).fetchall()


def shrink(workspace: Workspace, wait_s: float = 5.0) -> None:
    """Rewrites the metadata, whose free pages still hold what was deleted.

    Raises PurgeIncomplete where they are still being read after `wait_s`.
    """
    if workspace.catalog_url:
        _shrink_schema(Database.at(workspace.catalog_url), wait_s)
        return
    if not workspace.catalog_path.exists():
        return
    # Another process: SQLite's locks are per process, and closing the file here would drop those
    # that DuckDB's own SQLite holds.
    done = subprocess.run(
        [sys.executable, "-c", VACUUM, str(workspace.catalog_path), str(wait_s)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        said = done.stderr.strip().splitlines()[-1:] or ["it is being read"]
        raise PurgeIncomplete(
            f"{workspace.catalog_path}: deleted rows may still lie in it ({said[0]}); close all "
            "readers and run the same command again"
        )


def _shrink_schema(database: Database, wait_s: float) -> None:
    """Writes every table of the catalog's schema anew, with statistics of what it holds now.

    A plain VACUUM would leave the bytes of deleted rows in their pages.
    """
    try:
        with database.connect() as connection:
            connection.execute("SELECT set_config('lock_timeout', %s, false)", [f"{wait_s:g}s"])
            tables = connection.execute(
                "SELECT tablename FROM pg_tables WHERE schemaname = %s", [database.schema]
            ).fetchall()
            for (table,) in tables:
                name = sql.Identifier(database.schema, str(table))
                connection.execute(sql.SQL("VACUUM (FULL, ANALYZE) {}").format(name))
            _forget_statistics(connection, database.schema)
    except psycopg.errors.LockNotAvailable:
        raise PurgeIncomplete(
            f"{database}: deleted rows may still lie in it (it is being read); close all readers "
            "and run the same command again"
        ) from None


def _forget_statistics(connection: psycopg.Connection[Any], schema: str) -> None:
    """Drops PostgreSQL's most common values of tables that are empty: ANALYZE keeps those."""
    rows = connection.execute(
        "SELECT s.tablename, s.attname, format_type(a.atttypid, a.atttypmod) FROM pg_stats s "
        "JOIN pg_class c ON c.relname = s.tablename "
        "JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = s.schemaname "
        "JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = s.attname "
        "WHERE s.schemaname = %s AND c.reltuples <= 0",
        [schema],
    ).fetchall()
    for table, column, kind in rows:
        # A column that gets a type, its own too, loses its statistics.
        connection.execute(
            sql.SQL("ALTER TABLE {} ALTER COLUMN {} TYPE {}").format(
                sql.Identifier(schema, table), sql.Identifier(column), sql.SQL(kind)
            )
        )


def shard_without(path: Path, column: str, gone: Collection[str], folder: str) -> tuple[str, bytes]:
    """A Parquet shard without the rows of some ids, as (reference, bytes); empty when none stay.

    Row groups keep their length, which readers count on. The reference is `folder`/hash.parquet.
    """
    with pq.ParquetFile(path) as shard:
        group_rows = shard.metadata.row_group(0).num_rows if shard.num_row_groups else 1
        table = shard.read()
    gone = set(gone)
    table = table.filter(pa.array([value not in gone for value in table[column].to_pylist()]))
    if not table.num_rows:
        return "", b""
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="none", row_group_size=group_rows)
    data = sink.getvalue()
    return f"{folder}/{hashlib.sha256(data).hexdigest()}.parquet", data


def holds_any(path: Path, column: str, ids: Collection[str]) -> bool:
    """Whether a Parquet shard holds a row with one of the ids."""
    found = pq.read_table(path, columns=[column])[column].to_pylist()
    return not set(ids).isdisjoint(found)


def write_shard(workspace: Workspace, ref: str, data: bytes) -> None:
    """Stores a rewritten shard under its reference."""
    workspace.put(ref, data)
