"""The doctor: each missing piece by its name, with what mends it."""

import os
import shutil
import socket
from collections import namedtuple
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from storage.workspace import Workspace
from tasks import doctor, shipped_model
from tasks.doctor import Check, checks
from tasks.weights import MissingWeight
from tests.made_server import PASSWORD, Server

Usage = namedtuple("Usage", "total used free")


@pytest.fixture(autouse=True)
def no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.setattr(doctor, "missing_weights", list)
    monkeypatch.setattr(doctor, "_gpu", lambda: iter(()))


def found(workspace: Path, name: str) -> Check:
    (check,) = (check for check in checks(Workspace.at(workspace)) if check.name == name)
    return check


def test_every_check_that_is_not_ok_says_how_to_mend_it(workspace: Path) -> None:
    made = checks(Workspace.at(workspace))
    assert {check.state for check in made} <= {"ok", "missing", "absent"}
    assert all(check.found for check in made)
    assert all(check.mend for check in made if check.state != "ok")
    assert [check.name for check in made if check.state == "missing"] == []


def test_a_missing_weight_is_named_with_the_command_that_fetches_it(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lacking = MissingWeight("whisper tiny.en: not fetched; looked in the cache")
    monkeypatch.setattr(doctor, "missing_weights", lambda: [lacking])
    check = found(workspace, "weights")
    assert check.state == "missing"
    assert "whisper tiny.en" in check.found
    assert "tasks.corpus" in check.mend


def test_the_model_that_ships_is_told_and_none_or_a_damaged_one_is_said(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as made:
        made.setattr(doctor, "shipped_model", lambda: workspace / "made")
        made.setattr(doctor, "read_package", lambda folder: f"is {folder.name}")
        check = found(workspace, "model")
    assert (check.state, check.found) == ("ok", "made is made")
    monkeypatch.setattr(shipped_model, "FOLDER", workspace)
    assert (found(workspace, "model").state, found(workspace, "disk").state) == ("absent", "ok")
    (workspace / "made").mkdir(parents=True)
    (workspace / "made" / "package.json").write_text('{"format": 0}')
    check = found(workspace, "model")
    assert check.state == "missing" and "its format is 0" in check.found and check.mend


def test_too_little_disk_is_said_with_how_much_is_wanted(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10, 9, 2**30))
    check = found(workspace / "not" / "yet", "disk")
    assert (check.state, check.found) == ("missing", f"1.0 GiB free at {workspace}")
    assert "free 2 GiB" in check.mend


def test_a_folder_that_cannot_be_written_is_named(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    check = found(workspace, "disk")
    assert check.state == "missing"
    assert str(workspace) in check.found


def test_without_a_server_address_none_is_needed(workspace: Path) -> None:
    assert found(workspace, "prefect server").state == "ok"


@pytest.mark.allow_hosts(["127.0.0.1"])
def test_a_server_that_does_not_answer_is_named_with_both_ways_out(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/api"
    monkeypatch.setenv("PREFECT_API_URL", url)
    check = found(workspace, "prefect server")
    assert check.state == "missing"
    assert check.found.startswith(url)
    assert "prefect server start" in check.mend
    assert "unset PREFECT_API_URL" in check.mend


def test_an_address_that_is_none_is_no_crash(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "not an address")
    assert found(workspace, "prefect server").state == "missing"


def test_a_missing_or_wrong_package_is_named_with_the_set_up_command(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def version(name: str) -> str:
        if name == "av":
            raise PackageNotFoundError(name)
        return "0.1"

    monkeypatch.setattr(doctor, "version", version)
    assert found(workspace, "av").mend == "run `make setup`"
    assert "2.11.x is pinned" in found(workspace, "torch").mend


def test_a_missing_extension_is_named(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def path(name: str) -> Path:
        raise ModuleNotFoundError(f"duckdb-extension-{name} is not installed; run `make setup`")

    monkeypatch.setattr(doctor, "extension_path", path)
    check = found(workspace, "duckdb extension ducklake")
    assert check.state == "missing"
    assert check.mend


def test_a_catalog_in_postgresql_is_asked_and_its_password_is_not_told(
    server: Server, workspace: Path
) -> None:
    for url, state, told in (
        (server.new_url(), "ok", "answers, version"),
        (server.url(password="wrong"), "missing", "does not let user postgres in"),
        (server.url("nothing"), "missing", "no such database"),
        (f"postgresql://me:{PASSWORD}@/x?host={workspace}", "missing", "does not answer"),
    ):
        (found,) = [c for c in checks(Workspace(workspace, "", url)) if c.name == "catalog"]
        assert found.state == state
        assert told in found.found
        assert bool(found.mend) == (state == "missing")
        assert PASSWORD not in f"{found}"
    assert [c.found for c in checks(Workspace.at(workspace)) if c.name == "catalog"] == [
        "in SQLite, below the workspace"
    ]
