"""A stage of the pipeline: what its pending items are, and how one shard of them is worked.

A stage is declared once, beside its shard function. The items query says what the stage reads:
every column that it selects is hashed into the item's `input_hash`, except `cost_s` and names that
begin with an underscore. An item is pending while `progress` holds no row with the same stage
fingerprint and the same input hash, so a changed threshold or a changed label reruns what depends
on it and nothing else.

Limits (of time, memory, output) are the exception: they decide whether an item is done, not what is
made of it. They are left out of the fingerprint, and what a limit ended is kept under a fingerprint
with them: under other limits that item alone is pending again.
"""

import dataclasses
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from storage.features import pack_features
from storage.ids import hash_of
from storage.rejects import LIMIT_REASONS, Rejected
from storage.schema import TABLES
from storage.workspace import write_atomically

if TYPE_CHECKING:
    from storage.catalog import Catalog

WARNINGS = "warnings.json"
"""What a shard's folder holds of what the flow shall tell people."""
Rows = dict[str, list[dict[str, Any]]]
Weights = Callable[[Any], dict[str, str]]


@dataclass(frozen=True, slots=True)
class ShardRef:
    """A shard of pending items: a Parquet file with the rows of the stage's items query."""

    stage: str
    index: int
    items_path: str
    run_id: str = ""

    def items(self) -> list[dict[str, Any]]:
        """The items, ordered by item_id."""
        with pq.ParquetFile(self.items_path) as file:
            table = file.read(use_threads=False)
        # By columns: three times as quick as the table's own `to_pylist`.
        rows = zip(*(column.to_pylist() for column in table.columns), strict=True)
        return [dict(zip(table.column_names, row, strict=True)) for row in rows]


@dataclass(frozen=True, slots=True)
class ShardTarget:
    """Where a shard's output goes: the workspace, and a scratch folder of its own."""

    workspace: str
    folder: str

    def report(self, done: float, total: float, note: str = "") -> None:
        """Tells the flow how far the shard is, for its progress bar."""
        state = json.dumps({"done": done, "total": total, "note": note})
        write_atomically(Path(self.folder) / "progress.json", state.encode())

    def warn(self, line: str) -> None:
        """Has the flow tell people something that they may not expect and that stops nothing."""
        path = Path(self.folder) / WARNINGS
        lines = [*json.loads(path.read_text()), line] if path.exists() else [line]
        write_atomically(path, json.dumps(lines).encode())


@dataclass(frozen=True, slots=True)
class ShardResult:
    """References to what a shard wrote, ready to be committed in one transaction."""

    stage: str
    index: int
    tables: dict[str, str]
    done: int
    rejected: int
    wall_s: float
    cpu_s: float


ShardFunction = Callable[[ShardRef, ShardTarget, Any], ShardResult]
Given = Callable[["Catalog", Any], dict[str, pa.Table]]


@dataclass(frozen=True, slots=True)
class Output:
    """A table that a stage owns rows of.

    `key` is the column that holds the item's id, so that redoing an item replaces its rows.
    `only` narrows the ownership in a table that several stages write: column → values.
    """

    table: str
    key: str
    only: tuple[tuple[str, tuple[str, ...]], ...] = ()


@dataclass(frozen=True, slots=True)
class Stage:
    """One step of the pipeline.

    Attributes:
        name: the verb; also the section of the recipe with its configuration.
        version: raised when the same inputs would give other rows.
        config: the frozen dataclass of its configuration.
        items: SQL for its items; `$name` is bound to the configuration's field.
        outputs: tables that it owns.
        run: the shard function.
        weights: name → sha256 of the weights that a configuration uses.
        shard_s: media seconds that one shard carries.
        selects: fields of the configuration that choose items and do not change what is done to
            one; they are left out of the fingerprint.
        limits: fields of the configuration that bound what an item may use and do not change what
            is made of it; an item that one of them ended is tried again when one changes.
        later: fields that came after the stage was first used, whose default is what it did before;
            a default is left out of the fingerprint, so that what is done stays done.
        later_columns: columns of the items that came later; where an item has none of them, its
            input is what it was before.
        keeps_history: items that are gone keep their rows (datasets, models, soundtracks).
        title: what it does, for progress bars and plans.
        given: what the items query reads that no table holds, by name: files of a folder, groups
            that no SQL finds. It is asked at each plan, so it must be quick where nothing is new.
    """

    name: str
    version: int
    config: type
    items: str
    outputs: tuple[Output, ...]
    run: ShardFunction
    weights: Weights | None = None
    shard_s: float = 60.0
    title: str = ""
    selects: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()
    later: tuple[str, ...] = ()
    later_columns: tuple[str, ...] = ()
    keeps_history: bool = False
    given: Given | None = None

    def fingerprint(self, config: Any, limited: bool = False) -> str:
        """The hash of name, version, configuration and weights; its limits only if `limited`."""
        weights = self.weights(config) if self.weights else {}
        left_out = {*self.selects} if limited else {*self.selects, *self.limits}
        left_out |= set(self.later) - self.chosen(config).keys()
        fields = {k: v for k, v in dataclasses.asdict(config).items() if k not in left_out}
        return hash_of(self.name, self.version, fields, weights)

    def chosen(self, config: Any) -> dict[str, Any]:
        """The later fields that a configuration does not leave at their default."""
        defaults = {field.name: field.default for field in dataclasses.fields(config)}
        values = {name: getattr(config, name) for name in self.later}
        return {name: value for name, value in values.items() if value != defaults[name]}


def run_items(
    shard: ShardRef, out: ShardTarget, one_item: Callable[[dict[str, Any]], Rows]
) -> ShardResult:
    """Works the items of a shard one by one and writes their rows as Parquet.

    A `Rejected` becomes a row in `rejects` and the shard goes on. Any other exception is a
    programming error: it is raised with a note that names the stage, the shard and the item.
    """
    wall, cpu = time.perf_counter(), time.process_time()
    items = shard.items()
    rows: Rows = {"progress": [], "rejects": []}
    for number, item in enumerate(items):
        started = (time.process_time(), time.perf_counter())
        try:
            produced = one_item(item)
            reason = None
        except Rejected as reject:
            produced, reason = {"rejects": [_reject(shard.stage, item, reject)]}, reject.reason
        except Exception as error:
            error.add_note(f"stage {shard.stage}, shard {shard.index}, item {item['item_id']}")
            raise
        for table, new in produced.items():
            rows.setdefault(table, []).extend(new)
        rows["progress"].append(_progress(shard, item, reason, started))
        out.report(number + 1, len(items))
    rejected = sum(row["status"] == "rejected" for row in rows["progress"])
    if "features" in rows:
        rows["features"] = pack_features(out.workspace, rows["features"])
    return ShardResult(
        stage=shard.stage,
        index=shard.index,
        tables=write_rows(out, rows, shard.run_id),
        done=len(items) - rejected,
        rejected=rejected,
        wall_s=time.perf_counter() - wall,
        cpu_s=time.process_time() - cpu,
    )


def _progress(
    shard: ShardRef, item: dict[str, Any], reason: str | None, started: tuple[float, float]
) -> dict[str, Any]:
    return {
        "stage": shard.stage,
        "item_id": item["item_id"],
        "fingerprint": item["_limited_fingerprint" if reason in LIMIT_REASONS else "_fingerprint"],
        "input_hash": item["_input_hash"],
        "status": "rejected" if reason else "done",
        "cpu_s": time.process_time() - started[0],
        "wall_s": time.perf_counter() - started[1],
    }


def _reject(stage: str, item: dict[str, Any], reject: Rejected) -> dict[str, Any]:
    return {
        "stage": stage,
        "item_id": item["item_id"],
        "uri": item.get("uri") or item.get("_uri"),
        "reason": reject.reason,
        # A path that is not UTF-8 may stand in the message; a table holds UTF-8 only.
        "message": reject.message.encode("utf-8", "backslashreplace").decode(),
        "facts": json.dumps(reject.facts, sort_keys=True, default=str),
    }


def write_rows(out: ShardTarget, rows: Rows, run_id: str) -> dict[str, str]:
    """Writes rows as one Parquet file a table; returns table → path, without empty tables.

    Raises ValueError where a row does not fit its table, naming the table.
    """
    paths: dict[str, str] = {}
    for name, new in rows.items():
        if not new:
            continue
        schema = TABLES[name].arrow()
        known = set(schema.names)
        for row in new:
            if extra := set(row) - known:
                raise ValueError(f"table {name} has no column {sorted(extra)}")
            row.setdefault("run_id", run_id)
        try:
            table = pa.Table.from_pylist(new, schema=schema)
            table.validate(full=True)
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise ValueError(f"rows do not fit table {name}: {error}") from error
        _require_values(name, table)
        path = Path(out.folder) / f"{name}.parquet"
        pq.write_table(table, path)
        paths[name] = str(path)
    return paths


def _require_values(name: str, table: pa.Table) -> None:
    for column in table.schema:
        if not column.nullable and table[column.name].null_count:
            raise ValueError(f"table {name}, column {column.name}: a value is missing")
