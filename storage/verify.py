"""Verify a catalog: every key, reference, file and split is as the design promises.

Everything is read from one snapshot, so that a build may run meanwhile. Rows of a dataset version
are checked against the snapshot that the version pins.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import duckdb

from storage.catalog import Catalog
from storage.imported import IMPORTED, dataset_id_of
from storage.keys import FOREIGN_KEYS, RESTORE, SPLITS, ForeignKey
from storage.schema import TABLES
from storage.shelf import Shelf
from storage.stage import Stage
from storage.versions import PLACE

EXAMPLES = 100
UNREADABLE = (duckdb.IOException, duckdb.InvalidInputException, duckdb.SerializationException)
STRICTNESS = "[" + ", ".join(f"'{split}'" for split in SPLITS) + "]"
RELABEL = "build again; if it stays, the label stage is at fault"
RESPLIT = "build again; if it stays, the split stage is at fault: do not train on this"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        table: where it is.
        id: key of the row, its parts joined by `/`.
        wrong: what is wrong, with the value.
        mend: what to do.
    """

    table: str
    id: str
    wrong: str
    mend: str


def verify(catalog: Catalog, deep: bool = True, stages: Iterable[Stage] = ()) -> list[Finding]:
    """What is wrong with a catalog and the files that it names; an empty list if nothing is.

    Args:
        catalog: open for reading or writing.
        deep: read every file and compare its bytes with the recorded hashes; else only look
            whether it is there.
        stages: the stages whose rows must each have a `progress` row.

    A check reports at most EXAMPLES rows, and then how many more there are.
    """
    from storage.verify_files import wrong_files
    from storage.verify_splits import leaks

    # A catalog of an older version that is open for reading lacks the newest tables.
    there = present_tables(catalog)
    names = [name for name in TABLES if name in there]
    keys = [key for key in FOREIGN_KEYS if key.table in names and not key.is_frozen]
    if lost := list(_capped(_data_files(catalog, names))):
        return lost
    findings: list[Finding] = []
    try:
        with _one_snapshot(catalog):
            checks = (
                *(_repeated_keys(catalog, name) for name in names),
                *(_dangling(catalog, key) for key in keys),
                *(_orphans(catalog, stage) for stage in stages),
                _rejects_without_row(catalog),
                _wrong_verdicts(catalog),
                *leaks(catalog),
                *(_dataset(catalog, row) for row in catalog.rows("SELECT * FROM lake.datasets")),
                _shared_numbers(catalog),
                *wrong_files(catalog, deep),
            )
            for check in checks:
                findings += _capped(check)
    except UNREADABLE as error:
        text = str(error).split("\n")[0]
        findings.append(Finding("catalog", "", f"a table cannot be read: {text}", RESTORE))
    return findings


@contextmanager
def _one_snapshot(catalog: Catalog) -> Iterator[None]:
    catalog.connection.execute("BEGIN")
    try:
        yield
    finally:
        with suppress(duckdb.Error):
            catalog.connection.execute("ROLLBACK")


def _capped(findings: Iterable[Finding]) -> Iterator[Finding]:
    last, more = None, 0
    for number, finding in enumerate(findings):
        if number < EXAMPLES:
            yield finding
        else:
            last, more = finding, more + 1
    if last is not None:
        yield Finding(last.table, "…", f"and {more} more of this table and check", last.mend)


def present_tables(catalog: Catalog) -> set[str]:
    """The tables that the catalog has."""
    rows = catalog.rows("SELECT table_name FROM duckdb_tables() WHERE database_name = 'lake'")
    return {row["table_name"] for row in rows}


def _data_files(catalog: Catalog, names: Iterable[str]) -> Iterator[Finding]:
    """The catalog's own Parquet files: there, and as long as the metadata says."""
    shelf = Shelf(catalog.workspace)
    for name in names:
        rows = catalog.rows(
            "SELECT unnest([data_file, delete_file]) AS path, "
            "unnest([data_file_size_bytes, delete_file_size_bytes]) AS size_bytes "
            "FROM ducklake_list_files('lake', ?)",
            [name],
        )
        for row in rows:
            if row["path"] is None:
                continue
            path, file = row["path"], row["path"].rpartition("/")[2]
            size_bytes = shelf.data_file_bytes(path)
            if size_bytes is None:
                yield Finding(name, file, f"its data file {path} is missing", RESTORE)
            elif size_bytes != row["size_bytes"]:
                wrong = f"its data file {path} has {size_bytes} bytes, not {row['size_bytes']}"
                yield Finding(name, file, wrong, RESTORE)


def _repeated_keys(catalog: Catalog, name: str) -> Iterator[Finding]:
    keys = ", ".join(TABLES[name].key)
    rows = catalog.rows(
        f"SELECT concat_ws('/', {keys}) AS id, count(*) AS rows FROM lake.{name} "
        f"GROUP BY {keys} HAVING count(*) > 1 ORDER BY id"
    )
    for row in rows:
        yield Finding(name, row["id"], f"the key ({keys}) is there {row['rows']} times", RESTORE)


def _dangling(
    catalog: Catalog, key: ForeignKey, dataset_id: str = "", snapshot: int | None = None
) -> Iterator[Finding]:
    """Values of a key, or of a dataset's own row, that no target table holds, or held then."""
    columns = ", ".join(key.columns)
    present = " AND ".join(f"{column} IS NOT NULL" for column in key.columns)
    of_dataset = " AND dataset_id = $dataset" if dataset_id else ""
    version = "" if snapshot is None else f" AT (VERSION => {snapshot})"
    targets = " UNION ALL ".join(
        f"SELECT {', '.join(columns)} FROM lake.{table}{version}" for table, columns in key.targets
    )
    rows = catalog.rows(
        f"SELECT concat_ws('/', {columns}) AS id FROM "
        f"(SELECT DISTINCT {columns} FROM lake.{key.table} WHERE {present}{of_dataset} "
        f"EXCEPT ({targets})) ORDER BY id",
        {"dataset": dataset_id} if dataset_id else None,
    )
    for row in rows:
        yield Finding(key.table, row["id"], f"it names nothing: {key.text}", key.mend)


def _orphans(catalog: Catalog, stage: Stage) -> Iterator[Finding]:
    """Rows of a stage whose item it did not finish."""
    for output in stage.outputs:
        where = "".join(
            f" AND {column} IN ({', '.join('?' for _ in values)})" for column, values in output.only
        )
        rows = catalog.rows(
            f"SELECT DISTINCT {output.key} AS id FROM lake.{output.table} WHERE true{where} EXCEPT "
            "SELECT item_id FROM lake.progress WHERE stage = ? AND status = 'done' ORDER BY id",
            [value for _, values in output.only for value in values] + [stage.name],
        )
        for row in rows:
            wrong = f"stage {stage.name} has rows for it and no progress row that says done"
            yield Finding(output.table, row["id"], wrong, RESTORE)


def _rejects_without_row(catalog: Catalog) -> Iterator[Finding]:
    rows = catalog.rows(
        "SELECT concat_ws('/', stage, item_id) AS id FROM (SELECT stage, item_id "
        "FROM lake.progress WHERE status = 'rejected' EXCEPT SELECT stage, item_id "
        "FROM lake.rejects) ORDER BY id"
    )
    for row in rows:
        yield Finding("progress", row["id"], "rejected without a row in rejects", RESTORE)


def _wrong_verdicts(catalog: Catalog) -> Iterator[Finding]:
    rows = catalog.rows(
        """SELECT clip_id AS id, kept, drop_reason, failed_gates FROM lake.kinds
           WHERE failed_gates IS NOT NULL AND (
               kept <> (len(failed_gates) = 0) OR drop_reason IS DISTINCT FROM failed_gates[1]
               OR failed_gates <> [g.gate FOR g IN gates IF NOT g.passed]) ORDER BY id"""
    )
    for row in rows:
        gates = ", ".join(row["failed_gates"]) or "none"
        wrong = f"kept is {row['kept']}, drop_reason {row['drop_reason']}; failed gates: {gates}"
        yield Finding("kinds", row["id"], wrong, RELABEL)


# -- datasets ----------------------------------------------------------------------------------


def _dataset(catalog: Catalog, dataset: dict[str, Any]) -> Iterator[Finding]:
    """What is wrong with one dataset version: its digest, its members, their splits."""
    name, snapshot = f"{dataset['name']}@{dataset['version']}", int(dataset["catalog_snapshot"])
    if dataset["name"].startswith(IMPORTED):
        yield from _imported(catalog, dataset, name)
        return
    # A takedown leaves the digest of what was trained on, and expires the snapshots that hold it.
    is_marked = dataset["dataset_id"] in marked_datasets(catalog)
    yield from _digest(catalog, dataset, ("digest",) if is_marked else ())
    known = "SELECT count(*) FROM lake.snapshots() WHERE snapshot_id = ?"
    if not catalog.value(known, [snapshot]):
        if is_marked:
            return
        wrong = f"{name} pins snapshot {snapshot}, which is gone"
        yield Finding("datasets", dataset["dataset_id"], wrong, RESTORE)
        return
    yield from _members(catalog, dataset["dataset_id"], snapshot)


def _shared_numbers(catalog: Catalog) -> Iterator[Finding]:
    """Versions of one name of which NAME@VERSION, or the newest, could be several."""
    for what, number in (("version", "d.version"), ("place among its freezes", PLACE)):
        rows = catalog.rows(
            f"SELECT name, {number} AS number, count(*) AS rows FROM lake.datasets d "
            "WHERE NOT starts_with(name, ?) GROUP BY ALL HAVING rows > 1 ORDER BY ALL",
            [IMPORTED],
        )
        for row in rows:
            wrong = f"{row['rows']} rows have {what} {row['number']}"
            yield Finding("datasets", row["name"], wrong, RESTORE)


def marked_datasets(catalog: Catalog) -> set[str]:
    """Dataset versions that lost members to a takedown."""
    if "marks" not in present_tables(catalog):
        return set()
    return {row["id"] for row in catalog.rows("SELECT id FROM lake.marks WHERE kind = 'dataset'")}


def _digest(
    catalog: Catalog, dataset: dict[str, Any], beside: tuple[str, ...]
) -> Iterator[Finding]:
    counts = ", ".join(f"count(*) FILTER (split = '{name}') AS {name}_items" for name in SPLITS)
    found = catalog.rows(
        "SELECT sha256(string_agg(content_hash ORDER BY item_id)) AS digest, "
        f"{counts}, coalesce(sum(duration_s), 0) / 3600 AS hours "
        "FROM lake.dataset_items WHERE dataset_id = ?",
        [dataset["dataset_id"]],
    )[0]
    name = f"{dataset['name']}@{dataset['version']}"
    if abs(found.pop("hours") - dataset["hours"]) > 1e-9 * max(1.0, dataset["hours"]):
        yield Finding("datasets", dataset["dataset_id"], f"{name}: hours do not add up", RESTORE)
    for column, value in found.items():
        if column not in beside and value != dataset[column]:
            wrong = f"{name}: {column} is {dataset[column]}, its members give {value}"
            yield Finding("datasets", dataset["dataset_id"], wrong, RESTORE)
    yield from _own_id(dataset, name)


def _own_id(dataset: dict[str, Any], name: str) -> Iterator[Finding]:
    if dataset_id_of(dataset["name"], dataset["digest"]) != dataset["dataset_id"]:
        wrong = f"{name}: its id is not the hash of its name and digest"
        yield Finding("datasets", dataset["dataset_id"], wrong, RESTORE)


def _imported(catalog: Catalog, dataset: dict[str, Any], name: str) -> Iterator[Finding]:
    """What is wrong with the dataset of an imported model, whose members are elsewhere."""
    yield from _own_id(dataset, name)
    members = catalog.value(
        "SELECT count(*) FROM lake.dataset_items WHERE dataset_id = ?", [dataset["dataset_id"]]
    )
    if members or dataset["shard_refs"]:
        wrong = f"{name}: a model brought it from elsewhere, and it has members or shards here"
        yield Finding("datasets", dataset["dataset_id"], wrong, RESTORE)


def _members(catalog: Catalog, dataset_id: str, snapshot: int) -> Iterator[Finding]:
    """Members that name nothing, or that let a source, or related ones, into two splits."""
    from storage.verify_splits import leaks_of_members

    at = f"AT (VERSION => {snapshot})"
    catalog.connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE origins AS
            WITH items AS (SELECT item_id, split FROM lake.dataset_items WHERE dataset_id = ?),
            parents AS (
                SELECT item_id, item_id AS clip_id FROM items
                UNION ALL
                SELECT mix_id, unnest(list_filter([speech_clip_id, ambience_clip_id],
                                                  lambda id: id IS NOT NULL))
                FROM lake.mixtures {at}
            )
            SELECT items.item_id, items.split, w.source_id, p.split AS source_split,
                   p.component_id
            FROM items LEFT JOIN parents USING (item_id)
            LEFT JOIN lake.windows AS w {at} USING (clip_id)
            LEFT JOIN lake.splits AS p {at} USING (source_id)""",
        [dataset_id],
    )
    rows = catalog.rows(
        f"""SELECT item_id AS id, split, count(source_split) AS sources,
                   {STRICTNESS}[max(list_position({STRICTNESS}, source_split))] AS strictest
            FROM origins GROUP BY item_id, split
            HAVING split IS DISTINCT FROM strictest ORDER BY id"""
    )
    for row in rows:
        wrong = f"its split is {row['split']}, that of its sources is {row['strictest']}"
        if not row["sources"]:
            wrong = f"snapshot {snapshot} has no clip or mixture with a split for it"
        yield Finding("dataset_items", f"{dataset_id}/{row['id']}", wrong, RESPLIT)
    rows = catalog.rows(
        "SELECT source_id AS id, string_agg(DISTINCT split, ', ' ORDER BY split) AS splits, "
        "min(item_id) AS item FROM origins WHERE source_id IS NOT NULL "
        "GROUP BY source_id HAVING count(DISTINCT split) > 1 ORDER BY id"
    )
    for row in rows:
        wrong = f"its source {row['id']} is in several splits of the dataset: {row['splits']}"
        yield Finding("dataset_items", f"{dataset_id}/{row['item']}", wrong, RESPLIT)
    yield from leaks_of_members(catalog, dataset_id, snapshot)
    for key in FOREIGN_KEYS:
        if key.is_frozen and key.table == "datasets":
            yield from _dangling(catalog, key, dataset_id, snapshot)


def summary(findings: Sequence[Finding]) -> str:
    """One line: how many findings, in how many tables."""
    if not findings:
        return "the catalog is whole"
    tables = sorted({finding.table for finding in findings})
    return f"{len(findings)} findings in {', '.join(tables)}"
