"""A run's row in the catalog: what ran, with which recipe and versions, for how long."""

import datetime
import json
import os
import platform
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from storage.catalog import Catalog
from storage.workspace import redacted

PACKAGES = ("torch", "torchaudio", "prefect", "duckdb", "av", "numpy", "faster-whisper")


@dataclass(frozen=True, slots=True)
class Run:
    """A run that has begun: its id, and the clocks when it began."""

    run_id: str
    started: float
    cpu_started: float


def begin_run(catalog: Catalog, command: str, recipe: str) -> Run:
    """Writes the row of a run that begins now."""
    row = _begun(command, recipe)
    run = Run(row["run_id"], time.monotonic(), _cpu_s())

    def write() -> None:
        if not catalog.value("SELECT count(*) FROM lake.runs WHERE run_id = ?", [run.run_id]):
            catalog.insert("runs", [row])

    catalog.write(write, f"run {run.run_id}: its begin")
    return run


def command_line() -> str:
    """The command of this process as it was typed, without passwords."""
    return redacted(" ".join(["talkies", *sys.argv[1:]]))


def whole_run(command: str, recipe: str) -> dict[str, Any]:
    """The row of a run that begins and ends with the transaction that writes it."""
    row = _begun(command, recipe)
    return row | {"finished_at": row["started_at"], "status": "done", "wall_s": 0.0, "cpu_s": 0.0}


def _begun(command: str, recipe: str) -> dict[str, Any]:
    now = datetime.datetime.now(datetime.UTC)
    return {
        "run_id": f"r-{now:%Y%m%d-%H%M%S}-{uuid.uuid4().hex[:6]}",
        "command": command,
        "recipe": recipe,
        "code_commit": _commit(),
        "versions": json.dumps(_versions(), sort_keys=True),
        "started_at": now,
        "status": "running",
    }


def end_run(catalog: Catalog, run: Run, status: str) -> None:
    """Completes the row of a run with how it ended; its processes must have ended before."""
    values = [
        datetime.datetime.now(datetime.UTC),
        status,
        time.monotonic() - run.started,
        _cpu_s() - run.cpu_started,
        run.run_id,
    ]
    sql = "UPDATE lake.runs SET finished_at = ?, status = ?, wall_s = ?, cpu_s = ? WHERE run_id = ?"
    catalog.write(lambda: catalog.connection.execute(sql, values), f"run {run.run_id}: its end")


def end_killed_runs(catalog: Catalog) -> None:
    """Says of runs that never ended that they were killed; for whoever holds the writer lock.

    Runs that another machine has under way are left.
    """
    rows = catalog.rows("SELECT run_id FROM lake.runs WHERE status = 'running'")
    killed = [row["run_id"] for row in rows if not catalog.gate.is_running(row["run_id"])]
    if killed:
        sql = (
            "UPDATE lake.runs SET status = 'killed' "
            "WHERE status = 'running' AND run_id IN (SELECT unnest(?::VARCHAR[]))"
        )
        catalog.write(lambda: catalog.connection.execute(sql, [killed]), "the end of killed runs")


def _cpu_s() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _versions() -> dict[str, str]:
    found = {
        "python": platform.python_version(),
        "platform": sys.platform,
        "cores": str(len(os.sched_getaffinity(0))),
    }
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "missing"
    return found


def _commit() -> str | None:
    root = Path(__file__).parent.parent
    if not (root / ".git").exists():
        return None
    try:
        answer = subprocess.run(
            ["git", "-C", str(root), "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()
