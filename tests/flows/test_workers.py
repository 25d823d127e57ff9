"""Shards whose worker dies, shards that raise, and what stays of a flow that they end."""

import signal
import traceback
from pathlib import Path

import pytest

from tests.flows.command import opened
from tests.flows.faltering import STAGE, FalterConfig, falter_shard

pytestmark = [pytest.mark.flow, pytest.mark.usefixtures("engine"), pytest.mark.timeout(120)]


@pytest.fixture(autouse=True)
def falter_is_a_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    from tasks import recipe
    from tasks.pipeline import STAGES

    monkeypatch.setitem(STAGES, STAGE.name, STAGE)
    monkeypatch.setattr(recipe, "TOP", (*recipe.TOP, STAGE.name))


def run_falter(workspace: Path, tmp_path: Path, **config: object) -> None:
    """Runs the faltering stage alone, as a flow with two workers."""
    import yaml
    from prefect import flow

    from flows import build
    from flows.session import Job, open_session
    from flows.stages import run_stage

    @flow(name="falter", validate_parameters=False)
    def falter(job: Job) -> None:
        with open_session(job) as session:
            run_stage(session, STAGE)

    recipe = tmp_path / "falter.yaml"
    recipe.write_text(yaml.safe_dump({"name": "falter", "falter": config}))
    build.embedded(falter, 2)(Job(str(workspace), recipe=str(recipe), quiet=True))


def finished(workspace: Path) -> list[str]:
    with opened(workspace) as catalog:
        rows = catalog.rows("SELECT item_id FROM progress JOIN splits ON item_id = source_id")
    return sorted(row["item_id"] for row in rows)


def test_a_shard_whose_worker_dies_is_worked_again(workspace: Path, tmp_path: Path) -> None:
    run_falter(workspace, tmp_path, victim="b", deaths=1)
    assert finished(workspace) == ["a", "b", "c", "d"]
    assert (workspace / "deaths").read_text() == "x"


def test_a_shard_that_always_kills_its_worker_fails_by_name_and_the_others_stay(
    workspace: Path, tmp_path: Path
) -> None:
    from flows.workers import WorkerDied

    with pytest.raises(WorkerDied, match="stage falter, shard 1: the worker process died"):
        run_falter(workspace, tmp_path, victim="b", deaths=9)
    assert (workspace / "deaths").read_text() == "xxx"
    assert finished(workspace) == ["a", "c", "d"]
    with opened(workspace) as catalog:
        assert catalog.value("SELECT status FROM runs") == "failed"


def test_a_programming_error_names_item_shard_and_stage_and_is_not_tried_again(
    workspace: Path, tmp_path: Path
) -> None:
    with pytest.raises(KeyError) as caught:
        run_falter(workspace, tmp_path, victim="c", error=True)
    assert "stage falter, shard 2, item c" in caught.value.__notes__
    assert "in _falter" in "".join(traceback.format_exception(caught.value))
    assert finished(workspace) == ["a", "b", "d"]


@pytest.mark.timeout(120, method="thread")  # the other method has set an alarm of its own
def test_no_alarm_interrupts_the_thread_that_waits_for_shards(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_s: list[float] = []
    monkeypatch.setattr(signal, "setitimer", lambda _which, seconds: set_s.append(seconds))
    run_falter(workspace, tmp_path)
    assert finished(workspace) == ["a", "b", "c", "d"]
    assert set_s == []


def test_the_fake_stage_works_like_a_real_one() -> None:
    assert STAGE.config is FalterConfig
    assert STAGE.run is falter_shard
