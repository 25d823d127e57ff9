"""Runs `talkies` as a person does, on small made sources, and reads what it left."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import yaml

from storage.catalog import Catalog
from storage.schema import TABLES
from storage.stage import Output, Stage
from storage.workspace import Workspace
from tests.made_media import Track, even_times, sine, write_media

TALKIES = [sys.executable, "-c", "from flows.cli import main; main()"]
# Most sources are like no other: an item of these stages may well give no row.
SEEK_PAIRS = ("match", "relate")
BAD_FILES = ("truncated.mp4", "notes.mp4")


@dataclass(frozen=True)
class Built:
    """A finished build: its workspace, recipe and sources, and what the command said."""

    workspace: Path
    recipe: Path
    sources: Path
    said: subprocess.CompletedProcess[str]


def environment() -> dict[str, str]:
    """This process's environment without settings of talkies, except the cache of weights."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("TALKIES_") or name == "TALKIES_CACHE"
    }


def run_talkies(
    *arguments: object, env: dict[str, str] | None = None, timeout_s: float = 200.0
) -> subprocess.CompletedProcess[str]:
    """What a command printed, and its exit code."""
    return subprocess.run(
        [*TALKIES, *map(str, arguments)],
        env=env or environment(),
        capture_output=True,
        text=True,
        timeout=timeout_s,
    )


def hiss(duration_s: float, rate_hz: int = 48_000, seed: int = 0) -> np.ndarray:
    """Soft noise, float32 (1, samples)."""
    noise = np.random.default_rng(seed).standard_normal(round(duration_s * rate_hz))
    return (0.05 * noise).astype(np.float32)[None]


def made_sources(folder: Path, corpus: Path) -> Path:
    """A read line with its text, ambience, two films with sound, a silent one, two bad files."""
    line = folder / "line.wav"
    shutil.copyfile(corpus / "librivox" / "0880.wav", line)
    line.with_suffix(".txt").write_text("he was not an ill disposed young man")
    soundfile.write(folder / "hiss.wav", hiss(4.0)[0], 48_000)
    for number, hz in enumerate((440.0, 997.0)):
        track = Track(sine(1.0, 48_000, hz) + hiss(1.0, seed=number))
        write_media(folder / f"tone-{number}.mkv", even_times(25, 1.0), track=track)
    write_media(folder / "mute.mkv", even_times(10, 1.0))
    for name in BAD_FILES:
        shutil.copyfile(corpus / name, folder / name)
    return folder


def made_recipe(path: Path, sources: Path, **sections: dict[str, Any]) -> Path:
    """A recipe over a source folder that puts every source into the training split."""
    recipe: dict[str, Any] = {
        "name": "small",
        "scan": {"folder": str(sources)},
        "split": {"test": 0.0, "validation": 0.0},
    }
    path.write_text(yaml.safe_dump(recipe | sections))
    return path


def opened(workspace: Path) -> Catalog:
    """The catalog of a workspace, for reading."""
    return Catalog(Workspace.at(workspace), read_only=True)


def stable_tables(workspace: Path) -> dict[str, list[str]]:
    """Every table's rows as sorted text, without the columns that may differ between runs."""
    found = {}
    with opened(workspace) as catalog:
        for table in TABLES.values():
            if columns := ", ".join(f'"{name}"' for name in table.stable_columns):
                rows = catalog.rows(f"SELECT {columns} FROM lake.{table.name}")
                found[table.name] = sorted(repr(row) for row in rows)
    return found


def broken_promises(workspace: Path, stages: tuple[Stage, ...]) -> list[str]:
    """Rows without their item's progress, and finished items without rows; none if all is whole."""
    with opened(workspace) as catalog:
        return [problem for stage in stages for problem in _broken(catalog, stage)]


def _broken(catalog: Catalog, stage: Stage) -> Iterator[str]:
    done = _items(catalog, stage, "progress", "status = 'done'")
    rejected = _items(catalog, stage, "progress", "status = 'rejected'")
    if (told := _items(catalog, stage, "rejects", "true")) != rejected:
        yield f"{stage.name}: rejects {told} beside progress {rejected}"
    for place, output in enumerate(stage.outputs):
        there = _owned(catalog, output)
        if there - done:
            yield f"{stage.name}: rows of {output.table} without progress: {there - done}"
        if place == 0 and done - there and stage.name not in SEEK_PAIRS:
            yield f"{stage.name}: done without rows in {output.table}: {done - there}"


def _items(catalog: Catalog, stage: Stage, table: str, where: str) -> set[str]:
    sql = f"SELECT item_id FROM lake.{table} WHERE stage = ? AND {where}"
    return {row["item_id"] for row in catalog.rows(sql, [stage.name])}


def _owned(catalog: Catalog, output: Output) -> set[str]:
    where = " AND ".join(f"{column} IN {_tuple(values)}" for column, values in output.only)
    sql = f"SELECT DISTINCT {output.key} AS item FROM lake.{output.table} WHERE {where or 'true'}"
    return {row["item"] for row in catalog.rows(sql)}


def _tuple(values: tuple[str, ...]) -> str:
    return "(" + ", ".join(f"'{value}'" for value in values) + ")"


def worked_by(workspace: Path) -> dict[tuple[str, str], str]:
    """The run that last worked each item: (stage, item_id) → run_id."""
    with opened(workspace) as catalog:
        rows = catalog.rows("SELECT stage, item_id, run_id FROM progress")
    return {(row["stage"], row["item_id"]): row["run_id"] for row in rows}


def processes_with(mark: str) -> list[str]:
    """The command lines of living processes that have a text in their environment."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state = (folder / "stat").read_text().rsplit(")", 1)[1].split()[0]
            if state != "Z" and mark.encode() in (folder / "environ").read_bytes():
                found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return found


def wait_until_gone(mark: str, patience_s: float = 30.0) -> list[str]:
    """The processes with a mark that are still alive after some patience."""
    deadline = time.monotonic() + patience_s
    while (left := processes_with(mark)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return left
