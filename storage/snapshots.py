"""The catalog's snapshots: what each changed, and which one a moment names."""

import datetime
from typing import Any

from storage.catalog import Catalog
from storage.versions import UnknownVersion, resolve

NAMED = 6
VERBS = {
    "tables_inserted_into": "insert",
    "inlined_insert": "insert",
    "tables_deleted_from": "delete",
    "inlined_delete": "delete",
}


def snapshots(catalog: Catalog, limit: int = 50, before: int | None = None) -> list[dict[str, Any]]:
    """A page of the catalog's snapshots, newest first: id, time, what changed, pinned datasets.

    Args:
        catalog: the open catalog.
        limit: most snapshots in the page.
        before: only snapshots older than this one; the last of a page gives the next page.
    """
    rows = catalog.rows(
        "SELECT snapshot_id, snapshot_time, changes FROM lake.snapshots() "
        "WHERE $before IS NULL OR snapshot_id < $before ORDER BY snapshot_id DESC LIMIT $limit",
        {"before": before, "limit": limit},
    )
    tables = dict(
        catalog.connection.execute(
            "SELECT table_id::VARCHAR, table_name FROM ducklake_table_info('lake')"
        ).fetchall()
    )
    pinned: dict[int, list[str]] = {}
    if any(row["snapshot_id"] > 0 for row in rows):
        versions = catalog.rows("SELECT name, version, catalog_snapshot FROM lake.datasets")
        for row in sorted(versions, key=lambda row: (row["name"], row["version"])):
            name = f"{row['name']}@{row['version']}"
            pinned.setdefault(row["catalog_snapshot"], []).append(name)
    return [
        {
            "snapshot": row["snapshot_id"],
            "time": f"{row['snapshot_time'].astimezone(datetime.UTC):%Y-%m-%d %H:%M:%S}Z",
            "changes": _changes(dict(row["changes"] or {}), tables),
            "datasets": ", ".join(pinned.get(row["snapshot_id"], [])),
        }
        for row in rows
    ]


def _changes(changes: dict[str, list[str]], tables: dict[str, str]) -> str:
    found: dict[str, set[str]] = {}
    for key, ids in changes.items():
        names = {tables.get(name, name) for name in ids}
        found.setdefault(VERBS.get(key, key.replace("_", " ")), set()).update(names)
    return "; ".join(
        f"{verb} {', '.join(sorted(names))}"
        if len(names) <= NAMED
        else f"{verb} {len(names)} of them"
        for verb, names in sorted(found.items())
    )


def as_of(catalog: Catalog, moment: str) -> int:
    """The snapshot that a moment names: a snapshot id, a time, or a dataset version as demo@1.

    A time is ISO 8601 and in UTC unless it says otherwise; it names the newest snapshot of then.
    Raises UnknownVersion for a moment before the first snapshot, an id that is not kept, and what
    is none of the three.
    """
    if "@" in moment:
        wanted = int(resolve(catalog, moment)["catalog_snapshot"])
    elif moment.isdigit():
        wanted = int(moment)
    else:
        return _snapshot_at(catalog, moment)
    kept, first, last = catalog.connection.execute(
        "SELECT coalesce(bool_or(snapshot_id = ?), false), min(snapshot_id), max(snapshot_id) "
        "FROM lake.snapshots()",
        [wanted],
    ).fetchall()[0]
    # Snapshot 0 is the lake before its tables were made.
    if not kept or wanted == 0:
        raise UnknownVersion(
            f"snapshot {wanted} is not kept; the catalog holds {max(first, 1)} to {last}: "
            "see `talkies catalog snapshots`"
        )
    return wanted


def _snapshot_at(catalog: Catalog, moment: str) -> int:
    try:
        time = datetime.datetime.fromisoformat(moment)
    except ValueError:
        raise UnknownVersion(
            f"{moment!r}: give a snapshot id, a time as 2026-11-23T04:00, or NAME@VERSION"
        ) from None
    time = time if time.tzinfo else time.replace(tzinfo=datetime.UTC)
    found = catalog.value(
        "SELECT max(snapshot_id) FROM lake.snapshots() WHERE snapshot_time <= ?", [time]
    )
    if not found:
        raise UnknownVersion(f"{moment}: the catalog has no snapshot of that time or before")
    return int(found)
