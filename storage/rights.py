"""Taking a source out again: its rows, its files, its past, and a mark on what contains it.

What hangs on a source is found over the edges of `storage.lineage`. Rows go in one transaction;
files follow, and `storage.purge` then takes the rows out of older snapshots. A kill between these
steps leaves files without rows, never rows without files: the same command again finishes.
"""

import datetime
import json
import shutil
from dataclasses import dataclass, replace
from typing import Any

from storage.catalog import Catalog
from storage.purge import (
    first_snapshot,
    holds_any,
    purge,
    shard_without,
    write_shard,
)
from storage.schema import TABLES
from storage.takedown import Reach, conditions, find_source, hold_ids, reach_of
from storage.workspace import write_atomically

SHARED = ("shard_ref", "shard_refs")
LEFTOVERS = ("runs", "training")
JOURNAL = "scratch/forget"


@dataclass(frozen=True, slots=True)
class Takedown:
    """What a takedown removes and marks, or has removed and marked.

    Attributes:
        source_id: the source.
        uris: the files that hold its bytes; they themselves are their owner's to delete.
        ids: kind → ids that go.
        rows: table → number of rows that go.
        files: references, relative to the workspace, of files that go.
        rewritten: shards that hold other items too, and are written again without these.
        size_bytes: size of all `files` and of the shards before they are rewritten.
        marks: kind → ids that contain it and stay, marked.
        since: oldest snapshot that holds any of it; None where no snapshot does.
        expired: snapshots that were expired; empty in a dry run.
        applied: False for a dry run.
    """

    source_id: str
    uris: tuple[str, ...]
    ids: dict[str, tuple[str, ...]]
    rows: dict[str, int]
    files: tuple[str, ...]
    rewritten: tuple[str, ...]
    size_bytes: int
    marks: dict[str, tuple[str, ...]]
    since: int | None
    expired: tuple[int, ...] = ()
    applied: bool = False


def forget(
    catalog: Catalog, source: str, apply: bool = False, reason: str = "takedown", run_id: str = ""
) -> Takedown:
    """Lists what hangs on a source; with `apply`, removes it and leaves a tombstone.

    Args:
        catalog: the open catalog; open for writing, with the workspace's writer lock held, and
            without readers of older snapshots, to apply.
        source: source id or its beginning, or the uri of a file.
        apply: False lists only.
        reason: goes into the tombstone.
        run_id: goes into the rows of tombstone and marks.

    Raises UnknownSource, or PurgeIncomplete after everything but the metadata's own free pages
    was cleaned. Applied to a tombstoned source it finishes what a kill has left, if anything.
    """
    reach = reach_of(catalog, find_source(catalog, source))
    hold_ids(catalog, reach)
    moved = _moved_shards(catalog, reach)
    plan = _plan(catalog, reach, moved)
    if not apply:
        return plan
    journal = catalog.workspace.path(f"{JOURNAL}/{plan.source_id}.json")
    notes = {"files": [*plan.files, *plan.rewritten], "since": plan.since}
    write_atomically(journal, json.dumps(notes).encode())
    for ref, data in moved.values():
        if ref:
            write_shard(catalog.workspace, ref, data)
    _delete(catalog, reach, {old: new for old, (new, _) in moved.items()}, reason, run_id)
    _unlink(catalog, plan)
    expired: list[int] = []
    if plan.since is not None:
        expired = purge(catalog, TABLES, plan.since)
    journal.unlink()
    return replace(plan, applied=True, expired=tuple(expired))


def _moved_shards(catalog: Catalog, reach: Reach) -> dict[str, tuple[str, bytes]]:
    """Shard → the reference and bytes that take its place; empty where nothing of it stays."""
    picked = conditions()["features"]
    features = catalog.rows(
        f"SELECT DISTINCT shard_ref AS ref FROM lake.features WHERE {picked} ORDER BY 1"
    )
    frozen = catalog.rows(
        "SELECT DISTINCT unnest(shard_refs) AS ref FROM lake.datasets "
        "WHERE dataset_id IN (SELECT unnest(?::VARCHAR[])) ORDER BY 1",
        [reach.marks["dataset"]],
    )
    moved: dict[str, tuple[str, bytes]] = {}
    for rows, column in ((features, "clip_id"), (frozen, "item_id")):
        for row in rows:
            workspace = catalog.workspace
            if not (workspace.exists(row["ref"]) or workspace.path(row["ref"]).exists()):
                continue
            path = workspace.fetch(row["ref"])
            if holds_any(path, column, reach.item_ids):
                folder = row["ref"].rpartition("/")[0]
                moved[row["ref"]] = shard_without(path, column, reach.item_ids, folder)
    return moved


def _plan(catalog: Catalog, reach: Reach, moved: dict[str, tuple[str, bytes]]) -> Takedown:
    picked = conditions()
    counted = (
        f"SELECT '{table}' AS name, count(*) AS rows FROM lake.{table} WHERE {test}"
        for table, test in picked.items()
    )
    counts = catalog.connection.execute(
        f"SELECT name, rows FROM ({' UNION ALL '.join(counted)}) WHERE rows > 0 ORDER BY name"
    ).fetchall()
    left, left_since = _left_by_a_kill(catalog, reach)
    files = [
        *left,
        *_blobs(catalog, picked),
        *_orphan_shards(catalog, reach, moved),
        *(ref for ref, (new, _) in moved.items() if not new),
        *_reports(catalog, reach),
        *_heard(catalog, reach),
    ]
    rewritten = tuple(ref for ref, (new, _) in moved.items() if new)
    since = first_snapshot(
        catalog,
        [
            ("files", "source_id", [reach.source_id]),
            ("sources", "source_id", [reach.source_id]),
            ("windows", "source_id", [reach.source_id]),
            ("generations", "source_id", [reach.source_id]),
            ("dataset_items", "item_id", reach.item_ids),
        ],
    )
    return Takedown(
        source_id=reach.source_id,
        uris=tuple(reach.uris),
        ids={kind: tuple(ids) for kind, ids in reach.gone.items()},
        rows=dict(counts),
        files=tuple(dict.fromkeys(files)),
        rewritten=rewritten,
        size_bytes=_size_bytes(catalog, {*files, *rewritten}),
        marks={kind: tuple(ids) for kind, ids in reach.marks.items()},
        since=min((s for s in (since, left_since) if s is not None), default=None),
    )


def _size_bytes(catalog: Catalog, refs: set[str]) -> int:
    folders = {ref.partition("/")[0] for ref in refs}
    there = (entry for name in sorted(folders) for entry in catalog.workspace.listing(name))
    return sum(entry.size_bytes for entry in there if entry.ref in refs)


def _left_by_a_kill(catalog: Catalog, reach: Reach) -> tuple[list[str], int | None]:
    """Files that an earlier takedown of the source did not come to remove, and its `since`."""
    journal = catalog.workspace.path(f"{JOURNAL}/{reach.source_id}.json")
    if not journal.exists():
        return [], None
    notes = json.loads(journal.read_text("utf-8"))
    named = [
        f"SELECT {'unnest(' + column.name + ')' if column.name == 'shard_refs' else column.name} "
        f"AS ref FROM lake.{name}"
        for name, table in TABLES.items()
        for column in table.columns
        if _is_ref(column.name) or column.name in SHARED
    ]
    rows = catalog.rows(
        "SELECT ref FROM (SELECT unnest(?::VARCHAR[]) AS ref) WHERE ref NOT IN "
        f"(SELECT ref FROM ({' UNION ALL '.join(named)}) WHERE ref IS NOT NULL)",
        [notes["files"]],
    )
    return [row["ref"] for row in rows], notes["since"]


def _is_ref(column: str) -> bool:
    return (column == "ref" or column.endswith("_ref")) and column not in SHARED


def _blobs(catalog: Catalog, picked: dict[str, str]) -> list[str]:
    """References in rows that go and in no row that stays."""
    going, staying = [], []
    for name, table in TABLES.items():
        for column in table.columns:
            if not _is_ref(column.name):
                continue
            select = f"SELECT {column.name} AS ref FROM lake.{name}"
            if name in picked:
                going.append(f"{select} WHERE {picked[name]}")
                staying.append(f"{select} WHERE NOT ({picked[name]})")
            else:
                staying.append(select)
    rows = catalog.rows(
        f"SELECT DISTINCT ref FROM ({' UNION ALL '.join(going)}) WHERE ref IS NOT NULL "
        f"EXCEPT (SELECT ref FROM ({' UNION ALL '.join(staying)})) ORDER BY ref"
    )
    return [row["ref"] for row in rows]


def _orphan_shards(catalog: Catalog, reach: Reach, moved: dict[str, Any]) -> list[str]:
    """Shards that no row refers to, left by earlier versions of a stage, and that hold the ids."""
    rows = catalog.rows(
        "SELECT shard_ref AS ref FROM lake.features "
        "UNION SELECT unnest(shard_refs) FROM lake.datasets"
    )
    known = {row["ref"] for row in rows} | set(moved)
    workspace = catalog.workspace
    # A kill before the upload leaves a shard on this machine only.
    there = {
        entry.ref for name in (workspace.listing, workspace.copies) for entry in name("shards")
    }
    orphans = []
    for ref in sorted(there - known):
        if not ref.endswith(".parquet"):
            continue
        column = "item_id" if ref.startswith("shards/dataset/") else "clip_id"
        if holds_any(workspace.fetch(ref), column, reach.item_ids):
            orphans.append(ref)
    return orphans


def _reports(catalog: Catalog, reach: Reach) -> list[str]:
    """Pages about datasets that contain the source; they show and play its clips."""
    rows = catalog.rows(
        "SELECT DISTINCT name FROM lake.datasets WHERE dataset_id IN "
        "(SELECT unnest(?::VARCHAR[])) ORDER BY name",
        [reach.marks["dataset"]],
    )
    refs = [f"reports/{row['name']}.html" for row in rows]
    return [ref for ref in refs if catalog.workspace.exists(ref)]


def _heard(catalog: Catalog, reach: Reach) -> list[str]:
    """What evaluations of models that saw the source wrote of each item, with its words."""
    rows = catalog.rows(
        "SELECT DISTINCT ref FROM lake.checkpoints WHERE checkpoint_id IN "
        "(SELECT unnest(?::VARCHAR[])) ORDER BY ref",
        [reach.marks["checkpoint"]],
    )
    refs = [f"{row['ref']}/items.jsonl" for row in rows]
    return [ref for ref in refs if catalog.workspace.exists(ref)]


def _delete(
    catalog: Catalog, reach: Reach, moved: dict[str, str], reason: str, run_id: str
) -> None:
    connection = catalog.connection
    connection.execute("CREATE OR REPLACE TEMP TABLE moved (old VARCHAR, new VARCHAR)")
    for old, new in moved.items():
        connection.execute("INSERT INTO moved VALUES (?, ?)", [old, new])
    datasets = catalog.rows(
        "SELECT dataset_id, shard_refs FROM lake.datasets "
        "WHERE dataset_id IN (SELECT unnest(?::VARCHAR[]))",
        [reach.marks["dataset"]],
    )

    def write() -> None:
        for table, test in conditions().items():
            connection.execute(f"DELETE FROM lake.{table} WHERE {test}")
        if moved:
            connection.execute(
                "UPDATE lake.features SET shard_ref = moved.new FROM moved "
                "WHERE features.shard_ref = moved.old"
            )
        for row in datasets:
            refs = [moved.get(ref, ref) for ref in row["shard_refs"]]
            _update_dataset(catalog, row["dataset_id"], [ref for ref in refs if ref])
        _leave_tombstone(catalog, reach, reason, run_id)

    catalog.write(write, f"the removal of source {reach.source_id}")


def _update_dataset(catalog: Catalog, dataset_id: str, shard_refs: list[str]) -> None:
    """Brings shards, counts and hours of a dataset to its members that stay."""
    train, validation, test, hours = catalog.connection.execute(
        "SELECT count(*) FILTER (split = 'train'), count(*) FILTER (split = 'validation'), "
        "count(*) FILTER (split = 'test'), coalesce(sum(duration_s), 0) / 3600 "
        "FROM lake.dataset_items WHERE dataset_id = ?",
        [dataset_id],
    ).fetchall()[0]
    catalog.connection.execute(
        "UPDATE lake.datasets SET shard_refs = ?, train_items = ?, validation_items = ?, "
        "test_items = ?, hours = ? WHERE dataset_id = ?",
        [shard_refs, train, validation, test, hours, dataset_id],
    )


def _leave_tombstone(catalog: Catalog, reach: Reach, reason: str, run_id: str) -> None:
    known = catalog.value(
        "SELECT count(*) FROM lake.tombstones WHERE source_id = ?", [reach.source_id]
    )
    if not known:
        now = datetime.datetime.now(datetime.UTC)
        catalog.connection.execute(
            "INSERT INTO lake.tombstones BY NAME SELECT ? AS source_id, ? AS uri, ? AS reason, "
            "?::TIMESTAMPTZ AS forgotten_at, ? AS run_id",
            [reach.source_id, reach.uris[0] if reach.uris else None, reason, now, run_id],
        )
    for kind, ids in reach.marks.items():
        catalog.connection.execute(
            "INSERT INTO lake.marks BY NAME SELECT $kind AS kind, id, $source AS source_id, "
            "$run AS run_id FROM (SELECT unnest($ids::VARCHAR[]) AS id) WHERE id NOT IN "
            "(SELECT id FROM lake.marks WHERE kind = $kind AND source_id = $source)",
            {"kind": kind, "source": reach.source_id, "run": run_id, "ids": ids},
        )


def _unlink(catalog: Catalog, plan: Takedown) -> None:
    for ref in (*plan.files, *plan.rewritten):
        catalog.workspace.delete(ref)
    # Shards that were cut for workers, and states of killed trainings, hold rows and samples.
    for name in LEFTOVERS:
        shutil.rmtree(catalog.workspace.path(f"scratch/{name}"), ignore_errors=True)
