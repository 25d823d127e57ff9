"""The commands that look after a catalog: what they say, what they do, how they exit."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from flows import console
from flows.cli_care import care
from storage.workspace import Workspace
from tests.made_workspace import make_workspace


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A whole workspace; not to be changed."""
    return make_workspace(tmp_path_factory.mktemp("whole"))


@pytest.fixture
def room(template: Workspace, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy that a test may change; nothing was given before the subcommand."""
    monkeypatch.setattr(console.Given, "json", False)
    shutil.copytree(template.root, workspace, dirs_exist_ok=True)
    return workspace


def say(room: Path, *arguments: str) -> Result:
    return CliRunner().invoke(care, [*arguments, "--workspace", str(room)])


def told(room: Path, *arguments: str) -> Any:
    answer = say(room, *arguments, "--json")
    assert answer.exit_code == 0, answer.output
    return json.loads(answer.stdout)


def test_verify_exits_with_1_where_something_is_wrong(room: Path) -> None:
    answer = say(room, "verify", "--shallow")
    assert (answer.exit_code, answer.stdout) == (0, "the catalog is whole\n")
    (room / "soundtracks" / "film.mp4").unlink()
    answer = say(room, "verify", "--shallow", "--json")
    assert answer.exit_code == console.FAILED
    assert [finding["table"] for finding in json.loads(answer.stdout)] == ["generations"]


def test_gc_says_first_and_deletes_when_told(room: Path) -> None:
    stray = room / "blobs" / "stray.flac"
    stray.write_bytes(b"stray")
    answer = say(room, "gc", "--grace-hours", "0")
    assert "blobs/stray.flac" in answer.stdout and "add --apply" in answer.stdout
    assert stray.exists()
    assert told(room, "gc", "--grace-hours", "0", "--apply")["is_applied"]
    assert not stray.exists()


def test_a_missing_workspace_is_not_made(tmp_path: Path) -> None:
    answer = say(tmp_path / "nothing", "gc")
    assert answer.exit_code != 0 and not (tmp_path / "nothing").exists()


def test_compact_says_first(room: Path) -> None:
    assert "would compact" in say(room, "compact", "--expire-days", "0").stdout
    assert not told(room, "compact")["is_applied"]


def test_what_backup_wrote_restore_takes(room: Path) -> None:
    written = told(room, "backup")
    assert Path(written["path"]).parent == room / "backups"
    assert "add --apply" in say(room, "restore", written["path"]).stdout
    assert told(room, "restore", written["path"], "--apply")["is_applied"]
    assert say(room, "verify", "--shallow").exit_code == 0
