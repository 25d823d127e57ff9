"""A workspace: references stay inside, one process writes, files are whole or absent."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from storage.store import ObjectStore
from storage.workspace import ADDRESSES, FOLDERS, Workspace, WorkspaceBusy, write_atomically

HOLD = """
import sys, time
from storage.store import ObjectStore
from storage.workspace import Workspace
with Workspace.at(sys.argv[1]).writing():
    print("held", flush=True)
    time.sleep(60)
"""


def test_making_a_workspace_twice_is_making_it_once(tmp_path: Path) -> None:
    workspace = Workspace.at(tmp_path / "a" / "b").make()
    (workspace.root / "blobs" / "kept").touch()
    workspace.make()
    assert {path.name for path in workspace.root.iterdir()} == set(FOLDERS)
    assert (workspace.root / "blobs" / "kept").exists()


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "notes"
    path.touch()
    with pytest.raises(ValueError, match="this is a file; name a folder"):
        Workspace.at(path).make()


@pytest.mark.parametrize(
    "ref", ["..", "../else", "/etc/passwd", "blobs/../../else", "out/passwd", "blobs/\0"]
)
def test_a_reference_that_leaves_the_workspace_is_refused(tmp_path: Path, ref: str) -> None:
    workspace = Workspace.at(tmp_path / "workspace").make()
    (workspace.root / "out").symlink_to("/etc")
    with pytest.raises(ValueError, match=r"leaves the workspace|null byte"):
        workspace.path(ref)


def test_a_workspace_behind_a_link_is_one_workspace(tmp_path: Path) -> None:
    real = Workspace.at(tmp_path / "real").make()
    (tmp_path / "link").symlink_to(real.root)
    linked = Workspace.at(tmp_path / "link")
    assert linked.path("blobs/x") == real.path("blobs/x")


def test_scratch_is_empty_every_time(tmp_path: Path) -> None:
    workspace = Workspace.at(tmp_path).make()
    (workspace.scratch("a", "b") / "left").touch()
    assert list(workspace.scratch("a", "b").iterdir()) == []


def test_the_writer_lock_keeps_out_a_second_process_until_the_first_is_killed(
    tmp_path: Path,
) -> None:
    workspace = Workspace.at(tmp_path).make()
    command = [sys.executable, "-c", HOLD, str(workspace.root)]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        busy = f"written by process {holder.pid}; wait for it"
        with pytest.raises(WorkspaceBusy, match=busy), workspace.writing():
            pytest.fail("two processes write")
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
    with workspace.writing():
        pass


def test_the_lock_is_free_after_an_exception(tmp_path: Path) -> None:
    workspace = Workspace.at(tmp_path).make()
    with pytest.raises(KeyError), workspace.writing():
        raise KeyError
    with workspace.writing(), pytest.raises(WorkspaceBusy), workspace.writing():
        pass


def test_a_write_that_fails_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "deep" / "file"
    write_atomically(path, b"old")

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"


def test_threads_that_write_one_file_leave_one_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    failed: list[BaseException] = []

    def write(letter: bytes) -> None:
        try:
            for _ in range(20):
                write_atomically(path, letter * 50_000)
        except OSError as error:
            failed.append(error)

    threads = [threading.Thread(target=write, args=(letter,)) for letter in (b"a", b"b", b"c")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert len(set(path.read_bytes())) == 1
    assert path.stat().st_size == 50_000
    assert list(tmp_path.iterdir()) == [path]


# -- addresses -----------------------------------------------------------------------------------

CATALOG_URL = "postgresql://builder@db.example/talkies"


def test_a_made_workspace_remembers_its_addresses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TALKIES_STATE", str(tmp_path))
    monkeypatch.setattr(ObjectStore, "check", lambda store: None)
    made = Workspace.at("s3://films/archive/", CATALOG_URL).make()
    assert made.root.parent == tmp_path
    assert Workspace.at(made.root) == made
    assert Workspace.at("s3://films/archive") == made
    assert made.data_url == "s3://films/archive"
    assert made.catalog_url == CATALOG_URL


def test_two_addresses_have_two_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TALKIES_STATE", str(tmp_path))
    places = ("s3://films/a-b", "s3://films/a/b", "s3://films/a/../../b")
    roots = {Workspace.at(place).root for place in places}
    assert len(roots) == 3
    assert all(root.parent == tmp_path for root in roots)


def test_no_password_is_remembered(tmp_path: Path) -> None:
    secret = "postgresql://builder:hunter2@db.example:5433/talkies?sslmode=require"
    Workspace.at(tmp_path, secret).make()
    assert "hunter2" not in (tmp_path / ADDRESSES).read_text()
    assert Workspace.at(tmp_path, secret).catalog_url == secret
    assert Workspace.at(tmp_path).catalog_url == secret.replace(":hunter2", "")


@pytest.mark.parametrize(
    ("place", "catalog_url", "told"),
    [
        ("gs://films", "", "workspace gs://films: give s3://"),
        ("s3:///films", "", "give s3://"),
        (".", "mysql://u:hunter2@h/db", r"catalog mysql://u@h/db: give postgresql://"),
    ],
)
def test_an_address_of_another_kind_is_refused(place: str, catalog_url: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Workspace.at(place, catalog_url)


def test_another_catalog_than_the_remembered_one_is_refused(tmp_path: Path) -> None:
    Workspace.at(tmp_path, CATALOG_URL).make()
    with pytest.raises(ValueError, match=r"was made with catalog_url=postgresql://builder@db\.ex"):
        Workspace.at(tmp_path, "postgresql://other/talkies")


def test_a_folder_with_a_sqlite_catalog_does_not_change_to_postgresql(tmp_path: Path) -> None:
    Workspace.at(tmp_path).make().catalog_path.touch()
    with pytest.raises(ValueError, match=r"has a catalog in SQLite; leave out --catalog"):
        Workspace.at(tmp_path, CATALOG_URL).make()


def test_damaged_addresses_are_named(tmp_path: Path) -> None:
    (tmp_path / ADDRESSES).write_text("{")
    with pytest.raises(ValueError, match=rf"{ADDRESSES}: not JSON"):
        Workspace.at(tmp_path)


def test_a_workspace_without_a_catalog_may_still_take_one_in_postgresql(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ADDRESSES).write_text('{"data_url": "s3://films/archive", "catalog_url": ""}')
    monkeypatch.setattr(ObjectStore, "check", lambda store: None)
    made = Workspace.at(tmp_path, CATALOG_URL).make()
    assert Workspace.at(tmp_path) == made
    assert (made.data_url, made.catalog_url) == ("s3://films/archive", CATALOG_URL)


def test_a_made_catalog_in_sqlite_keeps_a_workspace_in_a_store_from_postgresql(
    tmp_path: Path,
) -> None:
    (tmp_path / ADDRESSES).write_text('{"data_url": "s3://films/archive", "catalog_url": ""}')
    Workspace.at(tmp_path).catalog_path.touch()
    with pytest.raises(ValueError, match=r"made with catalog_url=a local one, not postgresql"):
        Workspace.at(tmp_path, CATALOG_URL)
