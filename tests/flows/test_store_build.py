"""A build whose files lie in an object store: killed, gone on with, and read by another machine."""

import json
import os
import signal
from pathlib import Path

import pytest

from storage.workspace import Workspace
from tasks.pipeline import BUILD
from tests.flows.command import Built, broken_promises, run_talkies, stable_tables, wait_until_gone
from tests.flows.test_kill import at_work, build_until, committing
from tests.made_store import StoreServer, drop_copies, fresh_url, stored

pytestmark = [pytest.mark.flow, pytest.mark.slow, pytest.mark.weights, pytest.mark.store]


@pytest.mark.timeout(600)
def test_a_build_into_a_store_that_was_killed_ends_as_a_local_one(
    built: Built,
    engine: dict[str, str],
    store_server: StoreServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    state = {"TALKIES_STATE": str(tmp_path / "state"), "TALKIES_TEST": str(tmp_path)}
    env = engine | store_server.environment | state
    monkeypatch.setenv("TALKIES_STATE", state["TALKIES_STATE"])
    room = Workspace.at(fresh_url()).make()
    for moment in (committing("decode"), at_work("look")):
        build = build_until(moment, room.root, built.recipe, env)
        os.kill(build.pid, signal.SIGKILL)
        build.wait(30)
        assert wait_until_gone(f"TALKIES_TEST={tmp_path}") == []
        assert broken_promises(room.root, BUILD) == []
    done = run_talkies("build", built.recipe, "--workspace", room.data_url, env=env)
    assert done.returncode == 0, done.stderr
    assert stable_tables(room.root) == stable_tables(built.workspace)
    drop_copies(room)
    for command in (("catalog", "verify"), ("plan", built.recipe), ("doctor",)):
        said = run_talkies(*command, "--workspace", room.data_url, env=env)
        assert said.returncode == 0, (command, said.stdout, said.stderr)
    before = stored(room)
    swept = run_talkies("catalog", "gc", "--json", "--workspace", room.data_url, env=env)
    young = {orphan["ref"] for orphan in json.loads(swept.stdout)["young"]}
    assert young - {ref for ref in young if ref.startswith("scratch/")} <= before
    page = run_talkies("report", "small", "--workspace", room.data_url, env=env)
    assert page.returncode == 0, page.stderr
    assert room.exists("reports/small.html")
