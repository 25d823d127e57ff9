"""Committing a shard once, whoever else commits.

A transaction of DuckLake becomes the snapshot after the one that it read, or fails: retries of its
own are off. So what a commit saw of other builds' progress holds when it lands, and a shard that is
tried again after a COMMIT whose answer was lost finds its own rows and stops.

Rows go into Parquet files that are written first and then registered, not inserted: DuckLake
deletes the files that it wrote itself where a COMMIT fails, also where only its answer was lost and
the catalog refers to them. A file that is not registered in the end is an orphan, which gc sweeps.
"""

import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import pyarrow.parquet as pq

from storage.lake import data_path, quoted
from storage.schema import TABLES
from storage.stage import Output, ShardResult, Stage

if TYPE_CHECKING:
    from storage.catalog import Catalog

# As many rows DuckLake keeps in its metadata rather than in a file of their own.
INLINED_ROWS = 10
Item = tuple[str, str]
Mark = tuple[str, str]


class ShardCommits:
    """The commits of one open catalog, and what other builds have finished beside it."""

    def __init__(self, catalog: "Catalog") -> None:
        """Asks nothing."""
        self.catalog = catalog
        self._seen: int | None = None
        self._theirs: dict[Item, Mark] = {}

    def begin(self) -> None:
        """Forgets what others did: a plan that is made now knows it."""
        self._seen, self._theirs = self.catalog.snapshot(), {}

    def commit(self, stage: Stage, result: ShardResult, again: bool) -> None:
        """Commits a shard; raises CommitFailed."""
        marks = _marks_of(result)
        made: dict[str, str] = {}
        self._seen = self.catalog.write(
            lambda: self._attempt(stage, result, again, marks, made),
            f"stage {stage.name}, shard {result.index}",
            # What was written for the items before is sought in whole tables.
            is_small=not again,
        )

    def _attempt(
        self,
        stage: Stage,
        result: ShardResult,
        again: bool,
        marks: dict[Item, Mark],
        made: dict[str, str],
    ) -> int:
        """Writes what others have not; returns the newest snapshot then, its own."""
        seen = self._look()
        theirs = {item: self._theirs[item] for item in marks if item in self._theirs}
        settled = [item for item, mark in theirs.items() if mark == marks[item]]
        if len(settled) == len(marks):
            return seen
        connection = self.catalog.connection
        connection.execute("SET VARIABLE settled = ?", [[item_id for _, item_id in settled]])
        if again or len(settled) < len(theirs):
            progress = quoted(result.tables["progress"])
            worked = f"SELECT item_id FROM read_parquet({progress}) WHERE {_unsettled('item_id')}"
            forget_items(connection, stage, worked)
        for table, path in sorted(result.tables.items()):
            self._add(stage, table, path, made, bool(settled))
        return seen + 1

    def _look(self) -> int:
        """Takes in what others have finished since the plan was made, or since the last look."""
        now = self.catalog.snapshot()
        if self._seen is None:
            self._seen = now
        if now <= self._seen:
            return now
        rows = self.catalog.connection.execute(
            "SELECT stage, item_id, fingerprint, input_hash FROM "
            f"ducklake_table_insertions('lake', 'main', 'progress', {self._seen + 1}, {now})"
        ).fetchall()
        self._theirs |= {(stage, item): (mark, read) for stage, item, mark, read in rows}
        self._seen = now
        return now

    def _add(
        self, stage: Stage, table: str, path: str, made: dict[str, str], has_settled: bool
    ) -> None:
        connection = self.catalog.connection
        rows = f"SELECT made.* FROM read_parquet({quoted(path)}) AS made"
        key = _item_column(stage, table)
        if stage.keeps_history:
            # A model or a dataset is the same row whenever it is made again.
            rows += f" ANTI JOIN lake.{table} USING ({', '.join(TABLES[table].key)})"
        if has_settled and key:
            rows += f" WHERE {_unsettled(key)}"
        if pq.read_metadata(path).num_rows <= INLINED_ROWS:
            connection.execute(f"INSERT INTO lake.{table} BY NAME {rows}")
            return
        is_same = not (has_settled or stage.keeps_history)
        if not is_same or table not in made:
            made[table] = self._write(table, rows)
        if made[table]:
            connection.execute(
                f"CALL ducklake_add_data_files('lake', '{table}', {quoted(made[table])})"
            ).fetchall()

    def _write(self, table: str, rows: str) -> str:
        """The new data file with some rows; empty where there are none."""
        folder = f"{data_path(self.catalog.workspace)}main/{table}"
        if "://" not in folder:
            Path(folder).mkdir(parents=True, exist_ok=True)
        path = f"{folder}/shard-{uuid.uuid4().hex}.parquet"
        copied = self.catalog.connection.execute(f"COPY ({rows}) TO {quoted(path)}").fetchone()
        return path if copied and copied[0] else ""


def forget_items(connection: duckdb.DuckDBPyConnection, stage: Stage, item_ids: str) -> None:
    """Deletes all that a stage wrote for the items of a query."""
    for output in stage.outputs:
        where, values = _owned(output)
        connection.execute(
            f"DELETE FROM lake.{output.table} WHERE {output.key} IN ({item_ids}){where}", values
        )
    for table in ("rejects", "progress"):
        connection.execute(
            f"DELETE FROM lake.{table} WHERE stage = ? AND item_id IN ({item_ids})", [stage.name]
        )


def _marks_of(result: ShardResult) -> dict[Item, Mark]:
    columns = ["stage", "item_id", "fingerprint", "input_hash"]
    rows = pq.read_table(result.tables["progress"], columns=columns).to_pylist()
    return {(row["stage"], row["item_id"]): (row["fingerprint"], row["input_hash"]) for row in rows}


def _item_column(stage: Stage, table: str) -> str:
    """The column with the item's id; empty for a table whose rows no item owns."""
    if table in ("progress", "rejects"):
        return "item_id"
    return next((output.key for output in stage.outputs if output.table == table), "")


def _unsettled(column: str) -> str:
    return f"NOT list_contains(getvariable('settled')::VARCHAR[], {column})"


def _owned(output: Output) -> tuple[str, list[str]]:
    where, values = "", []
    for column, allowed in output.only:
        marks = ", ".join("?" for _ in allowed)
        where += f" AND {column} IN ({marks})"
        values += list(allowed)
    return where, values
