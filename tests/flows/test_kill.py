"""A build that is killed, again and again, ends with the catalog of an undisturbed one."""

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest

from tasks.pipeline import BUILD
from tests.flows.command import (
    TALKIES,
    Built,
    broken_promises,
    opened,
    run_talkies,
    stable_tables,
    wait_until_gone,
)

pytestmark = [pytest.mark.flow, pytest.mark.slow, pytest.mark.weights]
PATIENCE_S = 150.0
Build: TypeAlias = "subprocess.Popen[bytes]"
Moment = Callable[[Path, Path], bool]


def at_work(stage: str) -> Moment:
    """While a stage has shards at work."""
    return lambda workspace, run: any(run.glob(f"{stage}/*/"))


def committing(stage: str) -> Moment:
    """When the catalog's log is written after a shard of a stage has given its rows."""
    seen: list[object] = []

    def is_now(workspace: Path, run: Path) -> bool:
        if not any(run.glob(f"{stage}/*/progress.parquet")):
            return False
        log = workspace / "catalog.sqlite-wal"
        seen.append((log.stat().st_size, log.stat().st_mtime_ns) if log.exists() else None)
        return seen[-1] != seen[0]

    return is_now


def runs(workspace: Path) -> set[Path]:
    """The folders of runs; none at the moment when a build that begins sweeps all away."""
    try:
        return set(workspace.glob("scratch/runs/*"))
    except FileNotFoundError:  # before Python 3.13 a glob trips over a folder that goes meanwhile
        return set()


def build_until(moment: Moment, workspace: Path, recipe: Path, env: dict[str, str]) -> Build:
    """The build command, alone in its session as under a terminal, when the moment has come."""
    earlier = runs(workspace)
    command = [*TALKIES, "build", str(recipe), "--workspace", str(workspace), "--workers", "2"]
    quiet = subprocess.DEVNULL
    build = subprocess.Popen(command, env=env, stdout=quiet, stderr=quiet, start_new_session=True)
    deadline = time.monotonic() + PATIENCE_S
    while not any(moment(workspace, run) for run in runs(workspace) - earlier):
        assert build.poll() is None, "the build ended before the moment came"
        assert time.monotonic() < deadline, "the moment did not come"
        time.sleep(0.002)
    return build


def own_server(engine: dict[str, str]) -> dict[str, str]:
    """An environment in which the command starts a Prefect server of its own."""
    return {name: value for name, value in engine.items() if name != "PREFECT_API_URL"}


@pytest.mark.timeout(600)
def test_a_build_killed_at_five_moments_ends_with_the_same_catalog_and_no_process_left(
    built: Built, engine: dict[str, str], tmp_path: Path
) -> None:
    workspace, mark = tmp_path / "workspace", {"TALKIES_TEST": str(tmp_path)}
    rng = random.Random(7)
    moments = [
        (at_work("scan"), 0.0),
        (committing("probe"), 0.0),
        (committing("listen"), rng.uniform(0.0, 0.02)),
        (at_work("look"), rng.uniform(0.0, 0.5)),
        (at_work("mix"), rng.uniform(0.0, 0.2)),
    ]
    for number, (moment, later_s) in enumerate(moments):
        env = mark | (engine if number else own_server(engine))
        build = build_until(moment, workspace, built.recipe, env)
        time.sleep(later_s)
        build.kill()
        assert build.wait(30) == -signal.SIGKILL
        assert wait_until_gone(f"TALKIES_TEST={tmp_path}") == []
        assert broken_promises(workspace, BUILD) == []
    done = run_talkies("build", built.recipe, "--workspace", workspace, env=engine | mark)
    assert done.returncode == 0, done.stderr
    assert stable_tables(workspace) == stable_tables(built.workspace)
    with opened(workspace) as catalog:
        runs = catalog.rows("SELECT status, count(*) AS runs FROM runs GROUP BY ALL ORDER BY ALL")
    assert runs == [{"status": "done", "runs": 1}, {"status": "killed", "runs": len(moments)}]


@pytest.mark.timeout(300)
def test_ctrl_c_ends_a_build_within_seconds_and_leaves_no_process(
    built: Built, engine: dict[str, str], tmp_path: Path
) -> None:
    workspace, mark = tmp_path / "workspace", {"TALKIES_TEST": str(tmp_path)}
    build = build_until(at_work("probe"), workspace, built.recipe, own_server(engine) | mark)
    stopped = time.monotonic()
    os.killpg(build.pid, signal.SIGINT)  # as a terminal does it: the whole process group
    assert build.wait(60) == 130
    assert time.monotonic() - stopped < 30
    assert wait_until_gone(f"TALKIES_TEST={tmp_path}") == []
    with opened(workspace) as catalog:
        assert catalog.value("SELECT status FROM runs") == "failed"
    assert broken_promises(workspace, BUILD) == []
