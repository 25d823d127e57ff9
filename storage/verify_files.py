"""Verify the files that a catalog names: there, and with the bytes that were recorded."""

import hashlib
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from storage.blobs import hash_in
from storage.catalog import Catalog
from storage.features import DTYPE, ROW_GROUP_ROWS
from storage.ids import canonical_json, hash_of
from storage.keys import FILE_COLUMNS, FileColumn
from storage.schema import TABLES
from storage.shelf import Shelf
from storage.verify import Finding

PUT_BACK = "put the file back from a copy of the workspace"
CARD = "config.json"
BATCH = 4096
ITEM_BYTES = {DTYPE: 2}

Task = TypeVar("Task")


@dataclass(frozen=True, slots=True)
class Named:
    """A file that rows name: its reference, one of those rows, and what is recorded of it."""

    table: str
    id: str
    ref: str
    recorded: dict[str, Any]


def wrong_files(catalog: Catalog, deep: bool) -> Iterator[Iterator[Finding]]:
    """One check for each column that names files."""
    shelf = Shelf(catalog.workspace)
    for column in FILE_COLUMNS:
        yield _CHECKS[column.kind](catalog, shelf, column, deep)


def _wrong(named: Named, wrong: str) -> Finding:
    return Finding(named.table, named.id, wrong, PUT_BACK)


def _each(work: Callable[[Task], list[Finding]], tasks: Iterable[Task]) -> Iterator[Finding]:
    """The findings of many files; hashing leaves the interpreter's lock, so threads pay."""
    with ThreadPoolExecutor(max_workers=2 * len(os.sched_getaffinity(0))) as pool:
        batch: list[Task] = []
        for task in tasks:
            batch.append(task)
            if len(batch) == BATCH:
                for findings in pool.map(work, batch):
                    yield from findings
                batch.clear()
        for findings in pool.map(work, batch):
            yield from findings


def _named(catalog: Catalog, column: FileColumn, recorded: str = "NULL") -> Iterator[Named]:
    """Each file of a column once, with the first row that names it."""
    key = f"concat_ws('/', {', '.join(TABLES[column.table].key)})"
    rows = catalog.arrow(
        f"SELECT {column.column} AS ref, min({key}) AS id, arg_min({recorded}, {key}) AS recorded "
        f"FROM lake.{column.table} WHERE {column.column} IS NOT NULL GROUP BY ref ORDER BY ref"
    )
    for batch in rows.to_batches(BATCH):
        for row in batch.to_pylist():
            yield Named(column.table, row["id"], row["ref"], {"value": row["recorded"]})


def _file_finding(shelf: Shelf, named: Named, sha256: str, deep: bool) -> list[Finding]:
    """What is wrong with a whole file whose hash is known."""
    try:
        is_there = shelf.has(named.ref)
    except ValueError as error:
        return [_wrong(named, str(error))]
    if not is_there:
        return [_wrong(named, f"{named.ref} is missing")]
    if deep and shelf.sha256(named.ref) != sha256:
        return [_wrong(named, f"{named.ref}: its bytes do not match their sha256")]
    return []


def _blobs(catalog: Catalog, shelf: Shelf, column: FileColumn, deep: bool) -> Iterator[Finding]:
    def check(named: Named) -> list[Finding]:
        return _file_finding(shelf, named, hash_in(named.ref), deep)

    return _each(check, _named(catalog, column))


def _films(catalog: Catalog, shelf: Shelf, column: FileColumn, deep: bool) -> Iterator[Finding]:
    def check(named: Named) -> list[Finding]:
        return _file_finding(shelf, named, named.recorded["value"], deep)

    return _each(check, _named(catalog, column, "output_hash"))


# -- checkpoints -------------------------------------------------------------------------------


def _checkpoints(
    catalog: Catalog, shelf: Shelf, column: FileColumn, deep: bool
) -> Iterator[Finding]:
    def check(named: Named) -> list[Finding]:
        if not shelf.has(f"{named.ref}/{CARD}"):
            return [_wrong(named, f"{named.ref}/{CARD} is missing")]
        try:
            card = json.loads(shelf.read(f"{named.ref}/{CARD}").decode())
            hashes = dict(card["sha256"])
            own_id = hash_of("checkpoint", hashes, canonical_json(card))
        except (ValueError, KeyError, TypeError) as error:
            return [_wrong(named, f"{named.ref}/{CARD} is not a checkpoint's card: {error!r}")]
        findings = []
        if own_id != named.id:
            findings.append(_wrong(named, f"{named.ref}/{CARD} was changed"))
        for name, sha256 in sorted(hashes.items()):
            part = Named(named.table, named.id, f"{named.ref}/{name}", {})
            findings += _file_finding(shelf, part, sha256, deep)
        return findings

    return _each(check, _named(catalog, column))


# -- shards ------------------------------------------------------------------------------------


def _features(catalog: Catalog, shelf: Shelf, column: FileColumn, deep: bool) -> Iterator[Finding]:
    """Feature shards: the file, then each array against its row."""

    def check(row: dict[str, Any]) -> list[Finding]:
        arrays = {array.pop("clip_id"): array for array in row["arrays"]}
        clip_id = min(arrays)
        named = Named("features", f"{clip_id}/{row['extractor']}", row["ref"], arrays)
        findings = _file_finding(shelf, named, Path(named.ref).stem, deep)
        if findings or not deep:
            return findings
        return _read_safely(named, lambda: _wrong_arrays(shelf, named, row["extractor"]))

    shards = catalog.arrow(
        "SELECT shard_ref AS ref, extractor, list(struct_pack(clip_id, content_hash, shape, dtype))"
        " AS arrays FROM lake.features GROUP BY ALL ORDER BY ALL"
    )
    return _each(check, (row for batch in shards.to_batches(64) for row in batch.to_pylist()))


def _read_safely(named: Named, read: Callable[[], list[Finding]]) -> list[Finding]:
    try:
        return read()
    except (pa.ArrowException, OSError, KeyError) as error:
        return [_wrong(named, f"{named.ref} cannot be read: {error}")]


def _wrong_arrays(shelf: Shelf, named: Named, extractor: str) -> list[Finding]:
    left, findings = dict(named.recorded), []
    with shelf.open(named.ref) as file, pq.ParquetFile(file) as shard:
        for batch in shard.iter_batches(ROW_GROUP_ROWS, columns=["clip_id", "shape", "data"]):
            clip_ids, shapes = batch["clip_id"].to_pylist(), batch["shape"].to_pylist()
            for clip_id, shape, data in zip(clip_ids, shapes, batch["data"], strict=True):
                # A shard may hold arrays of rows that were replaced since.
                if (row := left.pop(clip_id, None)) is None:
                    continue
                if wrong := _wrong_array(row, shape, data.as_buffer()):
                    where = Named(named.table, f"{clip_id}/{extractor}", named.ref, {})
                    findings.append(_wrong(where, f"{named.ref}: {wrong}"))
    for clip_id in sorted(left):
        where = Named(named.table, f"{clip_id}/{extractor}", named.ref, {})
        findings.append(_wrong(where, f"{named.ref} does not hold the clip"))
    return findings


def _wrong_array(row: dict[str, Any], shape: list[int], data: pa.Buffer) -> str:
    if hashlib.sha256(data).hexdigest() != row["content_hash"]:
        return "the array does not match its content_hash"
    if shape != row["shape"] or math.prod(shape) * ITEM_BYTES.get(row["dtype"], 0) != data.size:
        return f"the array of {data.size} bytes is {shape}, its row says {row['shape']}"
    return ""


def _training(catalog: Catalog, shelf: Shelf, column: FileColumn, deep: bool) -> Iterator[Finding]:
    """Training shards: the file, its members, and each member's latents against their feature."""
    datasets = catalog.rows("SELECT * FROM lake.datasets ORDER BY dataset_id")
    members = _with_members(catalog, datasets)
    return _each(lambda dataset: _wrong_training(shelf, dataset, deep), members)


@dataclass(frozen=True, slots=True)
class _Dataset:
    dataset_id: str
    refs: list[str]
    members: dict[str, dict[str, Any]]


def _with_members(catalog: Catalog, datasets: list[dict[str, Any]]) -> Iterator[_Dataset]:
    known = {row["snapshot_id"] for row in catalog.rows("SELECT snapshot_id FROM lake.snapshots()")}
    for row in datasets:
        snapshot = int(row["catalog_snapshot"])
        # Without its snapshot nothing tells which latents a member had.
        at, compared = (
            (f"AT (VERSION => {snapshot})", "true") if snapshot in known else ("", "false")
        )
        members = catalog.rows(
            f"""SELECT i.item_id, i.task, i.split, f.content_hash
                FROM lake.dataset_items i
                LEFT JOIN lake.codecs AS c {at} ON c.codec_id = $codec
                LEFT JOIN lake.features AS f {at}
                     ON f.clip_id = i.item_id AND f.extractor = c.name AND {compared}
                WHERE i.dataset_id = $dataset""",
            {"codec": row["codec_id"], "dataset": row["dataset_id"]},
        )
        by_id = {member.pop("item_id"): member for member in members}
        yield _Dataset(row["dataset_id"], row["shard_refs"], by_id)


def _wrong_training(shelf: Shelf, dataset: _Dataset, deep: bool) -> list[Finding]:
    findings, left = [], dict(dataset.members)
    for ref in dataset.refs:
        named = Named("datasets", dataset.dataset_id, ref, {})
        wrong = _file_finding(shelf, named, Path(ref).stem, deep)
        if deep and not wrong:
            wrong = _read_safely(named, lambda n=named: _wrong_samples(shelf, n, left))
        findings += wrong
    if deep and not findings:
        named = Named("datasets", dataset.dataset_id, "", {})
        findings += [_wrong(named, f"no training shard holds member {name}") for name in left]
    return findings


def _wrong_samples(shelf: Shelf, named: Named, left: dict[str, dict[str, Any]]) -> list[Finding]:
    findings = []
    with shelf.open(named.ref) as file, pq.ParquetFile(file) as shard:
        columns = ["item_id", "task", "split", "latents"]
        for batch in shard.iter_batches(ROW_GROUP_ROWS, columns=columns):
            for row in batch.to_pylist():
                member = left.pop(row["item_id"], None)
                latents = hashlib.sha256(row["latents"] or b"").hexdigest()
                if member is None:
                    wrong = f"holds {row['item_id']}, which is not a member or is there twice"
                elif (row["task"], row["split"]) != (member["task"], member["split"]):
                    wrong = f"has another task or split for member {row['item_id']}"
                elif member["content_hash"] not in (None, latents):
                    wrong = f"has other latents for member {row['item_id']} than its feature"
                else:
                    continue
                findings.append(_wrong(named, f"{named.ref} {wrong}"))
    return findings


_CHECKS: dict[str, Callable[[Catalog, Shelf, FileColumn, bool], Iterator[Finding]]] = {
    "blob": _blobs,
    "film": _films,
    "checkpoint": _checkpoints,
    "features": _features,
    "training": _training,
}
