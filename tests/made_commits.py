"""Made shards for the catalog: rows of any table with defaults, and a stage that commits clips."""

import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from storage.catalog import Catalog
from storage.lake import open_connection
from storage.schema import TABLES
from storage.stage import Output, ShardRef, ShardResult, ShardTarget, Stage, write_rows
from storage.workspace import ADDRESSES, Workspace

RUN_ID = "r-1"
SOURCE_ID = "0" * 64
CLIP_TABLES = ("windows", "listens", "kinds", "transcripts")
DEFAULTS: tuple[tuple[Callable[[pa.DataType], bool], Any], ...] = (
    (pa.types.is_boolean, False),
    (pa.types.is_integer, 0),
    (pa.types.is_floating, 1.0),
    (pa.types.is_list, []),
    (pa.types.is_string, "made"),
)


@dataclass(frozen=True, slots=True)
class CommitConfig:
    """Nothing to set."""


def _unused(shard: ShardRef, out: ShardTarget, config: CommitConfig) -> ShardResult:
    raise AssertionError("made shards are committed as they are")


STAGE = Stage(
    name="made",
    version=1,
    config=CommitConfig,
    items="SELECT clip_id AS item_id, 1.0 AS cost_s FROM windows",
    outputs=tuple(Output(table, key="clip_id") for table in CLIP_TABLES),
    run=_unused,
)


def made_row(name: str, /, **values: Any) -> dict[str, Any]:
    """A row of a table: the given values, and plain ones in every column that needs one."""
    row: dict[str, Any] = {"run_id": RUN_ID}
    for column in TABLES[name].columns:
        if not column.nullable and column.name not in row:
            row[column.name] = next((v for fits, v in DEFAULTS if fits(column.type)), None)
    return row | values


def clip_of(shard: int, number: int) -> str:
    """The id of a clip of a made shard."""
    return f"{shard:08x}{number:024x}"


def made_shard(folder: Path, shard: int, clips: int) -> ShardResult:
    """A worked shard of some clips, as Parquet of CLIP_TABLES and `progress`, to be committed."""
    folder.mkdir(parents=True, exist_ok=True)
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in (*CLIP_TABLES, "progress")}
    for number in range(clips):
        clip = clip_of(shard, number)
        start_s = float(shard * clips + number)
        rows["windows"].append(
            made_row("windows", clip_id=clip, source_id=SOURCE_ID, start_s=start_s)
        )
        rows["listens"].append(made_row("listens", clip_id=clip, speech_s=float(number)))
        rows["kinds"].append(made_row("kinds", clip_id=clip, kind="sound", kept=number % 2 == 0))
        rows["transcripts"].append(made_row("transcripts", clip_id=clip, text=f"clip {number}"))
        rows["progress"].append(made_row("progress", stage=STAGE.name, item_id=clip, status="done"))
    tables = write_rows(ShardTarget("", str(folder)), rows, RUN_ID)
    return ShardResult(STAGE.name, shard, tables, clips, 0, 0.0, 0.0)


def begin(catalog: Catalog) -> None:
    """Writes the rows that made clips refer to: their run, their file, their source."""
    import datetime

    started = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    with catalog.transaction():
        catalog.insert("runs", [made_row("runs", run_id=RUN_ID, started_at=started)])
        catalog.insert("files", [made_row("files", uri="made.wav", source_id=SOURCE_ID)])
        catalog.insert("sources", [made_row("sources", source_id=SOURCE_ID)])


def other_machine(room: Workspace, folder: Path) -> Workspace:
    """The same catalog, from a folder of another machine that shares the data files.

    A catalog in SQLite has no other machines; another connection stands in for one.
    """
    if not room.catalog_url:
        return room
    (folder / "scratch").mkdir(parents=True)
    if room.data_url:
        shutil.copy(room.root / ADDRESSES, folder)
    else:
        for name in ("tables", "blobs", "shards"):
            (folder / name).symlink_to(room.root / name)
    return Workspace.at(folder, room.catalog_url)


def commit_until_killed(root: Path, shards: int, clips: int) -> None:
    """Commits the shards that are not yet there, in order; says `ready` and its id at the start."""
    workspace = Workspace.at(root)
    with Catalog(workspace) as catalog, catalog.gate.building():
        done = {row["item_id"] for row in catalog.rows("SELECT item_id FROM progress")}
        print("ready", os.getpid(), flush=True)
        for number in range(shards):
            if clip_of(number, 0) not in done:
                folder = workspace.scratch("made", f"{os.getpid()}-{number}")
                catalog.commit(STAGE, made_shard(folder, number, clips), False)
    print("done", flush=True)


def raise_committers(root: Path, clips: int) -> None:
    """Forks a process that commits for each number of shards that it reads; says how each ended.

    Python, its modules and DuckDB's extensions are loaded once for all of them.
    """
    open_connection(Workspace.at(root)).close()
    for line in sys.stdin:
        child = os.fork()
        if not child:
            commit_until_killed(root, int(line), clips)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        print("ended", os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    raise_committers(Path(sys.argv[1]), int(sys.argv[2]))
