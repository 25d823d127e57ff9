"""The catalog: a DuckLake over Parquet files, with its metadata in SQLite.

The catalog is the state of the pipeline. One process writes it; any number read it.
"""

import dataclasses
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from storage.lake import (
    CatalogMissing,
    attach,
    open_connection,
    place_of,
    quoted,
    require_there,
)
from storage.migrate import CatalogTooOld, migrate, version_of
from storage.schema import SCHEMA_VERSION, TABLES
from storage.stage import Output, ShardRef, ShardResult, Stage
from storage.workspace import Workspace

PARAMETER = re.compile(r"\$([a-z_][a-z0-9_]*)")
GONE = (
    "SELECT item_id FROM lake.progress WHERE stage = ? "
    "AND item_id NOT IN (SELECT item_id FROM keyed)"
)


class CatalogTooNew(RuntimeError):
    """The catalog was written by a newer version of talkies."""


@dataclass(frozen=True, slots=True)
class Pending:
    """The pending items of a stage, cut into shards.

    `again` says that one of them was finished before, under another configuration or input.
    """

    stage: str
    items: int
    cost_s: float
    total_items: int
    gone: int
    again: bool
    shards: tuple[int, ...]

    @property
    def is_idle(self) -> bool:
        """Nothing is to be done: no item is new or changed, and none is gone."""
        return not self.items and not self.gone


class Catalog:
    """The catalog of one workspace, open for reading or for writing."""

    def __init__(
        self, workspace: Workspace, read_only: bool = False, snapshot: int | None = None
    ) -> None:
        """Opens the catalog, and makes it where it is missing unless read_only.

        An older catalog is brought forward first, also for a reader. With `snapshot` all tables and
        views are as they were then, for reading only. Raises CatalogMissing, CatalogTooNew, or
        ModuleNotFoundError for a missing extension.
        """
        read_only = read_only or snapshot is not None
        self.workspace = workspace
        if read_only:
            require_there(workspace)
        self.connection = open_connection(workspace)
        try:
            attach(self.connection, workspace, read_only, snapshot)
            try:
                if snapshot is None:
                    self._bring_up(read_only)
            except CatalogTooOld:
                self.connection.execute("USE memory")
                self.connection.execute("DETACH lake")
                with workspace.writing():
                    Catalog(workspace).close()
                attach(self.connection, workspace, read_only, snapshot)
        except BaseException:
            self.connection.close()
            raise

    def __enter__(self) -> Self:
        """The catalog itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Closes the connection."""
        self.close()

    def close(self) -> None:
        """Closes the connection."""
        self.connection.close()

    # -- reading -------------------------------------------------------------------------------

    def rows(self, sql: str, parameters: Any = None) -> list[dict[str, Any]]:
        """The rows of a query as dicts."""
        return self.arrow(sql, parameters).to_pylist()

    def arrow(self, sql: str, parameters: Any = None) -> pa.Table:
        """The rows of a query as an Arrow table."""
        return self.connection.execute(sql, parameters).to_arrow_table()

    def value(self, sql: str, parameters: Any = None) -> Any:
        """The first column of the first row, or None."""
        row = self.connection.execute(sql, parameters).fetchone()
        return row[0] if row else None

    def snapshot(self) -> int:
        """The newest snapshot id of all tables."""
        return int(self.value("SELECT max(snapshot_id) FROM lake.snapshots()"))

    # -- the state of a stage ------------------------------------------------------------------

    def plan(self, stage: Stage, config: Any) -> Pending:
        """What a stage still has to do; leaves its keyed items in the temporary table `keyed`.

        The cut into shards follows all items in order of their ids, so that a build that was
        killed and started again cuts the same shards.
        """
        for name, table in stage.given(self, config).items() if stage.given else ():
            self.connection.register(name, table)
        bound = _bind(stage.items, config)
        self.connection.execute(f"{_no_rows(stage.items)}", bound)
        columns = [column[0] for column in self.connection.description or ()]
        hashed = [c for c in columns if c != "cost_s" and not c.startswith("_")]
        packed = ", ".join(f'"{c}" := items."{c}"' for c in hashed)
        self.connection.execute(
            f"""CREATE OR REPLACE TEMP TABLE keyed AS
                WITH items AS ({stage.items}),
                hashed AS (SELECT items.*, sha256(to_json(struct_pack({packed}))::VARCHAR)
                                  AS _input_hash FROM items),
                cut AS (SELECT *, floor((sum(cost_s) OVER (ORDER BY item_id) - cost_s)
                                  / $_shard_s)::BIGINT AS _shard FROM hashed)
                SELECT cut.*, $_fingerprint AS _fingerprint,
                       done.item_id IS NULL AS _pending
                FROM cut LEFT JOIN lake.progress AS done
                  ON done.stage = $_stage AND done.item_id = cut.item_id
                 AND done.fingerprint = $_fingerprint AND done.input_hash = cut._input_hash""",
            bound
            | {
                "_stage": stage.name,
                "_fingerprint": stage.fingerprint(config),
                "_shard_s": stage.shard_s,
            },
        )
        items, cost_s, total = self.connection.execute(
            "SELECT count(*) FILTER (_pending), coalesce(sum(cost_s) FILTER (_pending), 0), "
            "count(*) FROM keyed"
        ).fetchall()[0]
        shards = self.connection.execute(
            "SELECT DISTINCT _shard FROM keyed WHERE _pending ORDER BY _shard"
        ).fetchall()
        gone = (
            0
            if stage.keeps_history
            else int(self.value(f"SELECT count(*) FROM ({GONE})", [stage.name]))
        )
        again = self.value(
            "SELECT count(*) > 0 FROM keyed SEMI JOIN "
            "(SELECT item_id FROM lake.progress WHERE stage = ?) USING (item_id) WHERE _pending",
            [stage.name],
        )
        cut = tuple(row[0] for row in shards)
        return Pending(stage.name, items, cost_s, total, gone, bool(again), cut)

    def cut(self, pending: Pending, folder: Path, run_id: str) -> list[ShardRef]:
        """Writes each shard of the planned items as Parquet below a folder."""
        refs = []
        for index in pending.shards:
            path = folder / f"{pending.stage}-{index:05d}.parquet"
            items = self.arrow(
                "SELECT * EXCLUDE (_pending, _shard) FROM keyed "
                "WHERE _pending AND _shard = ? ORDER BY item_id",
                [index],
            )
            pq.write_table(items, path)
            refs.append(ShardRef(pending.stage, index, str(path), run_id))
        return refs

    def retire(self, stage: Stage) -> None:
        """Drops what the stage wrote for items that are no longer there.

        Must follow `plan` of the same stage, and is for a plan whose `gone` is not 0.
        """
        self.connection.execute(f"CREATE OR REPLACE TEMP TABLE gone AS {GONE}", [stage.name])
        with self.transaction():
            self._forget(stage, "SELECT item_id FROM gone")

    # -- writing -------------------------------------------------------------------------------

    def transaction(self) -> "_Transaction":
        """A transaction as a context: it commits at the end, or rolls back on an exception."""
        return _Transaction(self.connection)

    def commit(self, stage: Stage, result: ShardResult, again: bool = True) -> None:
        """Commits all that a shard wrote in one transaction: rows, rejects and progress.

        Rows that the stage wrote earlier for the same items are replaced. Where the plan knows
        that there are none (`Pending.again`), not looking for them keeps commits equally fast
        however much is done already.
        """
        progress = result.tables.get("progress")
        if progress is None:
            return
        with self.transaction():
            worked = f"SELECT item_id FROM read_parquet({quoted(progress)})"
            if again:
                self._forget(stage, worked)
            for table, path in sorted(result.tables.items()):
                keys = ", ".join(TABLES[table].key)
                # A model or a dataset is the same row whenever it is made again.
                new = f"ANTI JOIN lake.{table} USING ({keys})" if stage.keeps_history else ""
                self.connection.execute(
                    f"INSERT INTO lake.{table} BY NAME "
                    f"SELECT made.* FROM read_parquet({quoted(path)}) AS made {new}"
                )

    def insert(self, table: str, rows: Iterable[dict[str, Any]]) -> None:
        """Inserts rows into a table; they must fit its schema."""
        new = pa.Table.from_pylist(list(rows), schema=TABLES[table].arrow())
        self.connection.register("new_rows", new)
        self.connection.execute(f"INSERT INTO lake.{table} BY NAME SELECT * FROM new_rows")
        self.connection.unregister("new_rows")

    def _forget(self, stage: Stage, item_ids: str) -> None:
        for output in stage.outputs:
            where, values = _owned(output)
            self.connection.execute(
                f"DELETE FROM lake.{output.table} WHERE {output.key} IN ({item_ids}){where}", values
            )
        for table in ("rejects", "progress"):
            self.connection.execute(
                f"DELETE FROM lake.{table} WHERE stage = ? AND item_id IN ({item_ids})",
                [stage.name],
            )

    # -- making --------------------------------------------------------------------------------

    def _bring_up(self, read_only: bool) -> None:
        version, path = version_of(self.connection), place_of(self.workspace)
        if version > SCHEMA_VERSION:
            raise CatalogTooNew(
                f"{path}: catalog version {version} is newer than {SCHEMA_VERSION}, "
                "which this talkies knows; upgrade talkies"
            )
        if version == SCHEMA_VERSION:
            return
        if read_only and not version:
            raise CatalogMissing(f"{path}: the catalog is empty")
        if read_only:
            raise CatalogTooOld(f"{path}: version {version} is older than {SCHEMA_VERSION}")
        migrate(self.connection, version)


class _Transaction:
    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self.connection = connection

    def __enter__(self) -> None:
        self.connection.execute("BEGIN")

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is None:
            self.connection.execute("COMMIT")
            return
        with suppress(duckdb.Error):
            self.connection.execute("ROLLBACK")


def _bind(sql: str, config: Any) -> dict[str, Any]:
    fields = dataclasses.asdict(config)
    return {name: _bindable(fields[name]) for name in set(PARAMETER.findall(sql))}


def _bindable(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _no_rows(sql: str) -> str:
    return f"SELECT * FROM ({sql}) LIMIT 0"


def _owned(output: Output) -> tuple[str, list[str]]:
    where, values = "", []
    for column, allowed in output.only:
        marks = ", ".join("?" for _ in allowed)
        where += f" AND {column} IN ({marks})"
        values += list(allowed)
    return where, values
