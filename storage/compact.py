"""Compact the catalog: few large data files in place of many small ones.

DuckLake keeps for each row of a merged file the snapshot that it came with, so every snapshot
reads as before. The files that were replaced stay until `gc` deletes them after its grace period,
because a query that runs now may still read them.
"""

import datetime
from dataclasses import dataclass

from storage.backup import safeguarded
from storage.catalog import Catalog

# Any deleted row keeps its file from being merged.
DELETED_SHARE = 0.0


@dataclass(frozen=True, slots=True)
class TableFiles:
    """How the rows of a table lie.

    Attributes:
        table: the table.
        files: its Parquet data files.
        size_bytes: their size.
        delete_files: files that say which of their rows are deleted.
        inlined_rows: rows that lie in the metadata because their commit had few of them.
    """

    table: str
    files: int
    size_bytes: int
    delete_files: int
    inlined_rows: int

    @property
    def is_scattered(self) -> bool:
        """Compaction can make fewer files of it."""
        return self.files + bool(self.inlined_rows) > 1 or self.delete_files > 0


@dataclass(frozen=True, slots=True)
class Compaction:
    """What a compaction found and did.

    Attributes:
        before: the tables that can be compacted.
        after: the same tables afterwards; empty where nothing was applied.
        expired: snapshots that are let go of, or would be.
        pinned: snapshots that stay because a dataset version pins them.
    """

    before: tuple[TableFiles, ...]
    after: tuple[TableFiles, ...]
    expired: tuple[int, ...]
    pinned: tuple[int, ...]


def compact(
    catalog: Catalog, apply: bool = False, expire_older_than_s: float | None = None
) -> Compaction:
    """Says which tables are scattered; with apply, holds the writer lock and compacts them.

    Args:
        catalog: open for writing where apply is set.
        apply: do it.
        expire_older_than_s: let go of snapshots older than this; never of the newest one and never
            of one that a dataset version pins. None keeps all.

    Raises ValueError for a negative age, and WorkspaceBusy where another process writes.
    """
    if expire_older_than_s is not None and not expire_older_than_s >= 0:
        raise ValueError(f"an age of {expire_older_than_s} s: give 0 or more")
    if not apply:
        return _planned(catalog, expire_older_than_s)
    with catalog.gate.alone(), safeguarded(catalog):
        plan = _planned(catalog, expire_older_than_s)
        if plan.expired:
            expire(catalog, plan.expired)
        if plan.before:
            catalog.rows("CALL ducklake_flush_inlined_data('lake')")
            share = f"delete_threshold => {DELETED_SHARE}"
            catalog.rows(f"CALL ducklake_rewrite_data_files('lake', {share})")
            catalog.rows("CALL ducklake_merge_adjacent_files('lake')")
        names = {table.table for table in plan.before}
        after = tuple(table for table in table_files(catalog) if table.table in names)
        return Compaction(plan.before, after, plan.expired, plan.pinned)


def _planned(catalog: Catalog, expire_older_than_s: float | None) -> Compaction:
    pinned = pinned_snapshots(catalog)
    expired: tuple[int, ...] = ()
    if expire_older_than_s is not None:
        age = datetime.timedelta(seconds=expire_older_than_s)
        before = datetime.datetime.now(datetime.UTC) - age
        rows = catalog.rows(
            "SELECT snapshot_id AS id FROM lake.snapshots() WHERE snapshot_time < ? "
            "AND snapshot_id < (SELECT max(snapshot_id) FROM lake.snapshots()) ORDER BY id",
            [before],
        )
        expired = tuple(row["id"] for row in rows if row["id"] not in pinned)
    scattered = tuple(table for table in table_files(catalog) if table.is_scattered)
    return Compaction(scattered, (), expired, tuple(sorted(pinned)))


def pinned_snapshots(catalog: Catalog) -> set[int]:
    """The snapshots that dataset versions are frozen at; an imported one is at none."""
    rows = catalog.rows(
        "SELECT DISTINCT catalog_snapshot AS id FROM lake.datasets WHERE catalog_snapshot >= 0"
    )
    return {int(row["id"]) for row in rows}


def expire(catalog: Catalog, snapshots: tuple[int, ...]) -> None:
    """Lets go of snapshots; raises ValueError for one that a dataset version pins."""
    if held := sorted(pinned_snapshots(catalog) & set(snapshots)):
        raise ValueError(f"snapshots {held} are pinned by dataset versions; keep them")
    versions = ", ".join(str(int(snapshot)) for snapshot in snapshots)
    catalog.rows(f"CALL ducklake_expire_snapshots('lake', versions => [{versions}])")


def table_files(catalog: Catalog) -> list[TableFiles]:
    """How the rows of every table lie now."""
    inlined = _inlined_rows(catalog)
    rows = catalog.rows("SELECT * FROM ducklake_table_info('lake') ORDER BY table_name")
    return [
        TableFiles(
            table=row["table_name"],
            files=int(row["file_count"]),
            size_bytes=int(row["file_size_bytes"]),
            delete_files=int(row["delete_file_count"]),
            inlined_rows=inlined.get(int(row["table_id"]), 0),
        )
        for row in rows
    ]


def _inlined_rows(catalog: Catalog) -> dict[int, int]:
    counts: dict[int, int] = {}
    for row in catalog.rows(
        "SELECT table_id, table_name FROM __ducklake_metadata_lake.ducklake_inlined_data_tables"
    ):
        rows = catalog.value(
            f'SELECT count(*) FROM __ducklake_metadata_lake."{row["table_name"]}" '
            "WHERE end_snapshot IS NULL"
        )
        counts[int(row["table_id"])] = counts.get(int(row["table_id"]), 0) + int(rows)
    return counts
