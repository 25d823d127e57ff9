"""DuckDB's extensions: signed, and checked once a process."""

import shutil
from pathlib import Path

import duckdb
import pytest

from storage import lake
from storage.lake import connection_with, extension_path, one_thread


@pytest.fixture
def own_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of an extension's file, that this process has not seen."""
    path = tmp_path / "sqlite_scanner.duckdb_extension"
    shutil.copyfile(extension_path("sqlite_scanner"), path)
    monkeypatch.setattr(lake, "extension_path", lambda name: path)
    return path


def spoil(path: Path) -> None:
    """Turns a byte in the middle of a file, which keeps its place and size."""
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        (byte,) = file.read(1)
        file.seek(-1, 1)
        file.write(bytes([byte ^ 1]))


def test_an_extension_whose_signature_is_wrong_is_refused_at_every_try(own_file: Path) -> None:
    spoil(own_file)
    for _ in range(2):
        with pytest.raises(duckdb.IOException, match="signature is either missing or invalid"):
            connection_with("sqlite_scanner")


def test_an_extension_that_changed_after_it_was_checked_is_checked_again(own_file: Path) -> None:
    for _ in range(2):
        connection_with("sqlite_scanner").close()
    # Another file takes its place, as an upgrade does it: the loaded one's bytes stay as they are.
    changed = own_file.with_suffix(".new")
    shutil.copyfile(own_file, changed)
    spoil(changed)
    changed.replace(own_file)
    with pytest.raises(duckdb.IOException, match="signature is either missing or invalid"):
        connection_with("sqlite_scanner")


def test_a_file_is_checked_by_the_first_connection_only(
    own_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unchecked: list[str] = []
    connect = duckdb.connect

    def noted(config: dict[str, str]) -> duckdb.DuckDBPyConnection:
        unchecked.append(config["allow_unsigned_extensions"])
        return connect(config=dict(config))

    monkeypatch.setattr(duckdb, "connect", noted)
    for _ in range(3):
        connection_with("sqlite_scanner").close()
    assert unchecked == ["false", "true", "true"]


@pytest.mark.parametrize("times", [1, 2])
def test_no_connection_lets_a_statement_load_unsigned_code(times: int) -> None:
    for _ in range(times - 1):
        connection_with("sqlite_scanner").close()
    with connection_with("sqlite_scanner") as connection:
        setting = "SELECT current_setting('allow_unsigned_extensions')"
        assert connection.execute(setting).fetchone() == (False,)
        with pytest.raises(duckdb.InvalidInputException, match="while database is running"):
            connection.execute("SET allow_unsigned_extensions = true")
        connection.execute("RESET allow_unsigned_extensions")
        assert connection.execute(setting).fetchone() == (False,)


def threads_of(connection: duckdb.DuckDBPyConnection) -> int:
    row = connection.execute("SELECT current_setting('threads')").fetchone()
    assert row
    return row[0]


@pytest.mark.parametrize("threads", [1, 3])
def test_one_thread_works_while_asked_and_all_again_after_a_failure(threads: int) -> None:
    with duckdb.connect(config={"threads": str(threads)}) as connection:
        with one_thread(connection):
            assert threads_of(connection) == 1
        assert threads_of(connection) == threads
        with pytest.raises(duckdb.Error), one_thread(connection):
            connection.execute("SELECT no_such_column")
        assert threads_of(connection) == threads
