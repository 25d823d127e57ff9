"""Find and delete files of a workspace that nothing refers to.

A file stays while any snapshot that is still there refers to it, the newest one and all older
ones: a dataset version can always be read again. `talkies catalog compact --expire-days` lets go of
old snapshots. What is younger than the grace period stays in any case.
"""

import datetime
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from storage.catalog import Catalog
from storage.keys import FILE_COLUMNS, FileColumn
from storage.store import Entry
from storage.workspace import Workspace

GRACE_S = 24 * 3600.0
FILE_FOLDERS = ("blobs", "shards", "soundtracks")
# The engine's own state, the locks, and nothing else outlive the commands that write scratch.
SCRATCH_STAYS = ("prefect", "writer.lock", "commit.lock")
SCRATCH_PARENTS = ("runs", "training")


@dataclass(frozen=True, slots=True)
class Orphan:
    """A file or folder that nothing refers to.

    Attributes:
        kind: the folder of the workspace that it lies in.
        ref: its path relative to the workspace.
        size_bytes: size, for a folder of all its files.
        age_s: seconds since the newest change in it.
    """

    kind: str
    ref: str
    size_bytes: int
    age_s: float


@dataclass(frozen=True, slots=True)
class Sweep:
    """What a sweep found.

    Attributes:
        orphans: what is deleted, or would be.
        young: orphans that stay until their grace period is over.
        is_applied: they were deleted.
    """

    orphans: tuple[Orphan, ...]
    young: tuple[Orphan, ...]
    is_applied: bool

    @property
    def size_bytes(self) -> int:
        """The size of all that is deleted, or would be."""
        return sum(orphan.size_bytes for orphan in self.orphans)


def gc(catalog: Catalog, grace_s: float = GRACE_S, apply: bool = False) -> Sweep:
    """Finds orphan files; with apply, holds the writer lock and deletes them.

    Args:
        catalog: open for writing: DuckLake lists its own orphans on no other connection.
        grace_s: age under which a file stays: whoever wrote it may commit it yet.
        apply: delete.

    Raises ValueError for a negative grace period, and WorkspaceBusy where another process writes.
    """
    if not grace_s >= 0:
        raise ValueError(f"a grace period of {grace_s} s: give 0 or more")
    if not apply:
        return _sweep(catalog, grace_s, apply=False)
    with catalog.gate.alone():
        sweep = _sweep(catalog, grace_s, apply=True)
        for orphan in sweep.orphans:
            _delete(catalog.workspace, orphan)
        return sweep


def _sweep(catalog: Catalog, grace_s: float, apply: bool) -> Sweep:
    # References are read after the folders, so that what is committed meanwhile is seen.
    there = list(_listed(catalog.workspace))
    kept = kept_refs(catalog)
    orphans = [orphan for orphan in there if orphan.ref not in kept]
    old = [orphan for orphan in orphans if orphan.age_s >= grace_s]
    young = [orphan for orphan in orphans if orphan.age_s < grace_s]
    tables = _data_files(catalog, grace_s, apply)
    return Sweep((*old, *tables), tuple(young), apply)


# -- what is referred to -----------------------------------------------------------------------


def kept_refs(catalog: Catalog) -> set[str]:
    """Every reference to a file in any snapshot that is still there."""
    return {ref for column in FILE_COLUMNS for ref in _refs(catalog, column)}


def _refs(catalog: Catalog, column: FileColumn) -> Iterator[str]:
    """The references of a column: its rows in the oldest snapshot, and every row since."""
    first, last = catalog.rows(
        f"""SELECT min(snapshot_id) AS id FROM lake.snapshots() WHERE snapshot_id >=
                (SELECT max(begin_snapshot) FROM __ducklake_metadata_lake.ducklake_table
                 WHERE table_name = '{column.table}' AND end_snapshot IS NULL)
            UNION ALL SELECT max(snapshot_id) FROM lake.snapshots() ORDER BY id"""
    )
    oldest = f"lake.{column.table} AT (VERSION => {first['id']})"
    since = (
        f"ducklake_table_insertions('lake', 'main', '{column.table}', {first['id']}, {last['id']})"
    )
    for rows in (oldest, since):
        # A column that a newer version added is not in the oldest snapshot.
        names = [row["column_name"] for row in catalog.rows(f"DESCRIBE FROM {rows}")]
        if column.column not in names:
            continue
        value = f"unnest({column.column})" if column.column.endswith("_refs") else column.column
        for batch in catalog.arrow(f"SELECT DISTINCT {value} AS ref FROM {rows}").to_batches():
            yield from (ref for ref in batch["ref"].to_pylist() if ref)


# -- what is there -----------------------------------------------------------------------------


def _listed(workspace: Workspace) -> Iterator[Orphan]:
    """What lies in the workspace; with an object store what lies there, and here only."""
    there: dict[str, Orphan] = {}
    if workspace.data_url:
        there = {found.ref: found for found in _stored(workspace)}
        yield from there.values()
    yield from (found for found in _on_disk(workspace) if found.ref not in there)


def _stored(workspace: Workspace) -> Iterator[Orphan]:
    now = time.time()
    for kind in FILE_FOLDERS:
        for entry in workspace.listing(kind):
            yield Orphan(kind, entry.ref, entry.size_bytes, now - entry.changed_s)
    checkpoints: dict[str, list[Entry]] = {}
    for entry in workspace.listing("checkpoints"):
        checkpoints.setdefault("/".join(entry.ref.split("/")[:2]), []).append(entry)
    for ref, entries in checkpoints.items():
        newest = max(entry.changed_s for entry in entries)
        size_bytes = sum(entry.size_bytes for entry in entries)
        yield Orphan("checkpoints", ref, size_bytes, now - newest)


def _on_disk(workspace: Workspace) -> Iterator[Orphan]:
    now = time.time()
    for kind in FILE_FOLDERS:
        for folder, _, names in os.walk(workspace.root / kind):
            for name in names:
                yield from _measured(workspace, Path(folder) / name, kind, now)
    for path in _children(workspace.root / "checkpoints"):
        yield from _measured(workspace, path, "checkpoints", now)
    for path in _children(workspace.root / "scratch"):
        if path.name in SCRATCH_PARENTS:
            for inner in _children(path):
                yield from _measured(workspace, inner, "scratch", now)
        elif path.name not in SCRATCH_STAYS:
            yield from _measured(workspace, path, "scratch", now)


def _children(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _measured(workspace: Workspace, path: Path, kind: str, now: float) -> Iterator[Orphan]:
    """The file or folder with its size and age; nothing where it is gone meanwhile."""
    try:
        stats = [path.lstat()]
        if path.is_dir() and not path.is_symlink():
            stats += [inner.lstat() for inner in path.rglob("*")]
    except FileNotFoundError:
        return
    size_bytes = sum(stat.st_size for stat in stats)
    newest = max(stat.st_mtime for stat in stats)
    yield Orphan(kind, path.relative_to(workspace.root).as_posix(), size_bytes, now - newest)


def _delete(workspace: Workspace, orphan: Orphan) -> None:
    # DuckLake has deleted its own files already.
    if not (workspace.data_url and orphan.kind == "tables"):
        workspace.delete(orphan.ref)


# -- the catalog's own files -------------------------------------------------------------------


def _data_files(catalog: Catalog, grace_s: float, apply: bool) -> list[Orphan]:
    """Parquet files of the tables: replaced by compaction or expired, or never committed."""
    before = datetime.datetime.fromtimestamp(time.time() - grace_s, datetime.UTC)
    found: dict[str, Orphan] = {}
    stored = _stored_tables(catalog.workspace)
    for function in ("ducklake_cleanup_old_files", "ducklake_delete_orphaned_files"):
        call = f"CALL {function}('lake', dry_run => $dry, older_than => $before)"
        for row in catalog.rows(call, {"dry": True, "before": before}):
            if orphan := stored.get(row["path"]):
                found[orphan.ref] = orphan
                continue
            for orphan in _measured(catalog.workspace, Path(row["path"]), "tables", time.time()):
                found[orphan.ref] = orphan
        if apply:
            catalog.rows(call, {"dry": False, "before": before})
    return sorted(found.values(), key=lambda orphan: orphan.ref)


def _stored_tables(workspace: Workspace) -> dict[str, Orphan]:
    """The data files in an object store by their full name."""
    if not workspace.data_url:
        return {}
    return {
        f"{workspace.data_url}/{entry.ref}": Orphan(
            "tables", entry.ref, entry.size_bytes, time.time() - entry.changed_s
        )
        for entry in workspace.listing("tables")
    }
