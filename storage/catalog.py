"""The catalog: a DuckLake over Parquet files, with its metadata in SQLite.

The catalog is the state of the pipeline. One process writes it; any number read it.
"""

import dataclasses
import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from storage.claim import check_claim, claim
from storage.lake import (
    CatalogMissing,
    attach,
    detach,
    one_thread,
    open_connection,
    place_of,
    require_there,
)
from storage.locks import Gate
from storage.migrate import migrate, version_of
from storage.retry import retried
from storage.schema import SCHEMA_VERSION, TABLES
from storage.shard_commits import ShardCommits, forget_items
from storage.stage import ShardRef, ShardResult, Stage
from storage.workspace import Workspace

Result = TypeVar("Result")
SHARDS_AT_ONCE = 256
PARAMETER = re.compile(r"\$([a-z_][a-z0-9_]*)")
GONE = (
    "SELECT item_id FROM lake.progress WHERE stage = ? "
    "AND item_id NOT IN (SELECT item_id FROM keyed)"
)


OF_FILES = """cut.item_id IN (
    SELECT unnest($_uris) UNION ALL
    SELECT unnest([source_id, clip_id]) FROM lake.files LEFT JOIN lake.windows USING (source_id)
    WHERE uri IN (SELECT unnest($_uris)))"""


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
        check_claim(workspace)
        if read_only:
            require_there(workspace)
        self.gate = Gate(workspace)
        self.connection = open_connection(workspace)
        self.commits = ShardCommits(self)
        try:
            with one_thread(self.connection):
                # Two processes that make one lake at the same moment would make its tables twice.
                with nullcontext() if read_only else self.gate.committing():
                    attach(self.connection, workspace, read_only, snapshot)
                if snapshot is None:
                    self._bring_up(read_only)
            if not read_only:
                claim(workspace)
        except BaseException:
            self.close()
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
        """Closes the connection and frees its locks."""
        self.connection.close()
        self.gate.close()

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
        return int(self.value("SELECT id FROM ducklake_current_snapshot('lake')"))

    # -- the state of a stage ------------------------------------------------------------------

    def plan(self, stage: Stage, config: Any, uris: Sequence[str] = ()) -> Pending:
        """What a stage still has to do; leaves its keyed items in the temporary table `keyed`.

        The cut into shards follows all items in order of their ids, so that a build that was
        killed and started again cuts the same shards. Given `uris`, only these files, their sources
        and their clips are pending, and nothing is gone: all else stays as another recipe has it. A
        stage that keeps history has items of its own, which its settings choose.
        """
        named = bool(uris) and not stage.keeps_history
        self.commits.begin()
        for name, table in stage.given(self, config).items() if stage.given else ():
            self.connection.register(name, table)
        bound = _bind(stage.items, config)
        self.connection.execute(f"{_no_rows(stage.items)}", bound)
        columns = [column[0] for column in self.connection.description or ()]
        hashed = [c for c in columns if c != "cost_s" and not c.startswith("_")]
        packed = _as_json(c for c in hashed if c not in stage.later_columns)
        if stage.later_columns:
            some = " OR ".join(f'items."{c}" IS NOT NULL' for c in stage.later_columns)
            later = _as_json(stage.later_columns)
            packed = f"{packed} || CASE WHEN {some} THEN {later} ELSE '' END"
        self.connection.execute(
            f"""CREATE OR REPLACE TEMP TABLE keyed AS
                WITH items AS ({stage.items}),
                hashed AS (SELECT items.*, sha256({packed}) AS _input_hash FROM items),
                cut AS (SELECT *, floor((sum(cost_s) OVER (ORDER BY item_id) - cost_s)
                                  / $_shard_s)::BIGINT AS _shard FROM hashed)
                SELECT cut.*, $_fingerprint AS _fingerprint,
                       $_limited_fingerprint AS _limited_fingerprint,
                       done.item_id IS NULL AND {OF_FILES if named else "true"} AS _pending
                FROM cut LEFT JOIN lake.progress AS done
                  ON done.stage = $_stage AND done.item_id = cut.item_id
                 AND done.fingerprint IN ($_fingerprint, $_limited_fingerprint)
                 AND done.input_hash = cut._input_hash""",
            bound
            | {
                "_stage": stage.name,
                "_fingerprint": stage.fingerprint(config),
                "_limited_fingerprint": stage.fingerprint(config, limited=True),
                "_shard_s": stage.shard_s,
            }
            | ({"_uris": list(uris)} if named else {}),
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
            if stage.keeps_history or named
            else int(self.value(f"SELECT count(*) FROM ({GONE})", [stage.name]))
        )
        again = self.value(
            "SELECT count(*) > 0 FROM keyed SEMI JOIN "
            "(SELECT item_id FROM lake.progress WHERE stage = ?) USING (item_id) WHERE _pending",
            [stage.name],
        )
        cut = tuple(row[0] for row in shards)
        return Pending(stage.name, items, cost_s, total, gone, bool(again), cut)

    def cut(self, pending: Pending, folder: Path, run_id: str) -> Iterator[ShardRef]:
        """Each shard of the planned items, written as Parquet below a folder.

        A shard is given when it is written, so that work begins before the last is cut.
        """
        # Many at a time, because each query reads all that was planned.
        for start in range(0, len(pending.shards), SHARDS_AT_ONCE):
            some = pending.shards[start : start + SHARDS_AT_ONCE]
            items = self.arrow(
                "SELECT * EXCLUDE (_pending) FROM keyed "
                "WHERE _pending AND _shard BETWEEN ? AND ? ORDER BY _shard, item_id",
                [some[0], some[-1]],
            )
            places = items["_shard"].to_pylist()
            bare = items.drop_columns("_shard")
            for index in some:
                first, last = bisect_left(places, index), bisect_right(places, index)
                path = folder / f"{pending.stage}-{index:05d}.parquet"
                pq.write_table(bare.slice(first, last - first), path)
                yield ShardRef(pending.stage, index, str(path), run_id)

    def retire(self, stage: Stage) -> None:
        """Drops what the stage wrote for items that are no longer there.

        Must follow `plan` of the same stage, and is for a plan whose `gone` is not 0.
        """
        self.connection.execute(f"CREATE OR REPLACE TEMP TABLE gone AS {GONE}", [stage.name])
        self.write(
            lambda: forget_items(self.connection, stage, "SELECT item_id FROM gone"),
            f"stage {stage.name}: the removal of items that are gone",
        )

    # -- writing -------------------------------------------------------------------------------

    def transaction(self) -> "_Transaction":
        """A transaction as a context: it commits at the end, or rolls back on an exception."""
        return _Transaction(self.connection)

    def write(self, work: Callable[[], Result], what: str, is_small: bool = False) -> Result:
        """The result of some work in one transaction, tried again after what passes.

        Small work reads no whole table, and is quickest on one thread.
        The work must look whether it was done already where doing it twice would differ: a commit
        whose answer was lost may have happened. Raises CommitFailed, naming `what`.
        """

        def attempt() -> Result:
            threads = one_thread(self.connection) if is_small else nullcontext()
            with threads, self.gate.committing(), self.transaction():
                return work()

        return retried(attempt, what)

    def commit(self, stage: Stage, result: ShardResult, again: bool = True) -> None:
        """Commits all that a shard wrote in one transaction: rows, rejects and progress.

        Rows that the stage wrote earlier for the same items are replaced. Where the plan knows
        that there are none (`Pending.again`), not looking for them keeps commits equally fast
        however much is done already. Items that another build has finished meanwhile, under the
        same fingerprint and for the same input, are left out. Raises CommitFailed.
        """
        if result.tables.get("progress") is not None:
            self.commits.commit(stage, result, again)

    def insert(self, table: str, rows: Iterable[dict[str, Any]]) -> None:
        """Inserts rows into a table; they must fit its schema."""
        new = pa.Table.from_pylist(list(rows), schema=TABLES[table].arrow())
        self.connection.register("new_rows", new)
        self.connection.execute(f"INSERT INTO lake.{table} BY NAME SELECT * FROM new_rows")
        self.connection.unregister("new_rows")

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
            detach(self.connection)
            Catalog(self.workspace).close()
            attach(self.connection, self.workspace, read_only)
            return
        retried(self._migrate, "the catalog's new version")

    def _migrate(self) -> None:
        """Brings the catalog forward, unless another process was faster."""
        with self.gate.committing():
            version = version_of(self.connection)
            if version < SCHEMA_VERSION:
                # Nobody works with an empty catalog; a build of an older version would go on
                # writing rows without the new columns.
                with self.gate.alone() if version else nullcontext():
                    migrate(self.connection, version)


class _Transaction:
    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self.connection = connection

    def __enter__(self) -> None:
        try:
            self.connection.execute("BEGIN")
        except BaseException:
            self._roll_back()
            raise

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        try:
            if kind is None:
                self.connection.execute("COMMIT")
                return
        except BaseException:
            self._roll_back()
            raise
        self._roll_back()

    def _roll_back(self) -> None:
        # A statement or a COMMIT that failed may have ended the transaction.
        with suppress(duckdb.Error):
            self.connection.execute("ROLLBACK")


def _bind(sql: str, config: Any) -> dict[str, Any]:
    fields = dataclasses.asdict(config)
    return {name: _bindable(fields[name]) for name in set(PARAMETER.findall(sql))}


def _bindable(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _as_json(columns: Iterable[str]) -> str:
    """SQL for some columns of an item as one text."""
    packed = ", ".join(f'"{column}" := items."{column}"' for column in columns)
    return f"to_json(struct_pack({packed}))::VARCHAR"


def _no_rows(sql: str) -> str:
    return f"SELECT * FROM ({sql}) LIMIT 0"
