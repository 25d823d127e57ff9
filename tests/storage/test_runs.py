"""A run's row: what ran, on which versions, how it ended and for how long."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from storage import runs
from storage.catalog import Catalog
from storage.runs import PACKAGES, begin_run, end_killed_runs, end_run
from storage.workspace import Workspace
from tests.conftest import Place


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory, place: Place) -> Iterator[Catalog]:
    with Catalog(Workspace.at(place(tmp_path_factory.mktemp("runs"))).make()) as opened:
        yield opened


def row_of(catalog: Catalog, run_id: str) -> dict[str, Any]:
    (row,) = catalog.rows("SELECT * FROM runs WHERE run_id = ?", [run_id])
    return row


def test_a_run_is_seen_while_it_runs_and_completed_when_it_ends(catalog: Catalog) -> None:
    run = begin_run(catalog, "talkies build", '{"name":"a"}')
    row = row_of(catalog, run.run_id)
    assert (row["command"], row["recipe"], row["status"]) == (
        "talkies build",
        '{"name":"a"}',
        "running",
    )
    assert row["finished_at"] is None
    versions = json.loads(row["versions"])
    assert set(PACKAGES) < set(versions)
    assert versions["duckdb"] == "1.5.5"
    burn = "import time\nwhile time.process_time() < 0.3: pass"
    subprocess.run([sys.executable, "-c", burn], check=True)
    end_run(catalog, run, "done")
    row = row_of(catalog, run.run_id)
    assert row["status"] == "done"
    assert row["finished_at"] >= row["started_at"]
    assert row["wall_s"] >= 0
    # The child's seconds count once.
    assert 0.3 <= row["cpu_s"] < 0.6 + row["wall_s"]


def test_a_run_that_never_ended_is_said_to_be_killed_and_an_ended_one_is_left(
    catalog: Catalog,
) -> None:
    ended, killed = (begin_run(catalog, "talkies build", "{}") for _ in range(2))
    end_run(catalog, ended, "done")
    end_killed_runs(catalog)
    assert row_of(catalog, ended.run_id)["status"] == "done"
    assert row_of(catalog, killed.run_id)["status"] == "killed"


def test_two_runs_in_one_second_have_two_ids(catalog: Catalog) -> None:
    ids = {begin_run(catalog, "x", "{}").run_id for _ in range(3)}
    assert len(ids) == 3


def test_a_missing_package_is_said_and_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "PACKAGES", ("no-such-package",))
    assert runs._versions()["no-such-package"] == "missing"


def test_code_without_a_repository_has_no_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "__file__", str(tmp_path / "storage" / "runs.py"))
    assert runs._commit() is None
