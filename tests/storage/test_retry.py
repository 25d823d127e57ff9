"""A commit that fails on the way: at each statement, at its COMMIT, behind its COMMIT."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pytest

from storage import retry
from storage.catalog import Catalog
from storage.lake import require_there
from storage.postgres import CatalogUnreachable, Database, problem_of
from storage.retry import CommitFailed, is_passing, retried, said
from storage.verify import verify
from storage.workspace import Workspace, redacted
from tests.made_commits import CLIP_TABLES, STAGE, begin, made_shard
from tests.made_server import PASSWORD, Server

BUSY = duckdb.TransactionException("TransactionContext Error: Failed to commit: database is locked")
CLIPS = 12


class Faltering:
    """A connection that fails at one statement, before it or behind it."""

    def __init__(self, real: Any, fails_at: int, behind: bool = False) -> None:
        self.real, self.left, self.behind = real, fails_at, behind
        self.seen = 0

    def execute(self, *arguments: Any) -> Any:
        self.left -= 1
        self.seen += 1
        if self.left == 0 and not self.behind:
            raise BUSY
        answer = self.real.execute(*arguments)
        if self.left == 0:
            raise BUSY
        return answer

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "FIRST_WAIT_S", 0.001)


@pytest.fixture
def catalog(room: Workspace) -> Iterator[Catalog]:
    with Catalog(room) as opened:
        begin(opened)
        yield opened


def rows_of(catalog: Catalog) -> set[int]:
    """The row counts of the made shards' tables, which are one number while all is whole."""
    return {
        int(catalog.value(f"SELECT count(*) FROM lake.{table}"))
        for table in (*CLIP_TABLES, "progress")
    }


@pytest.mark.parametrize("behind", [False, True])
def test_a_commit_that_fails_at_any_statement_is_made_once(catalog: Catalog, behind: bool) -> None:
    real: Any = catalog.connection
    statement, shards = 1, 0
    while True:
        faltering: Any = Faltering(real, statement, behind)
        catalog.connection = faltering
        result = made_shard(catalog.workspace.scratch("made"), shards, CLIPS)
        catalog.commit(STAGE, result, False)
        catalog.connection = real
        shards += 1
        assert rows_of(catalog) == {shards * CLIPS}
        if faltering.left > 0:
            break
        # The statements of a commit are alike; the first, the last and some between are enough.
        statement += 1 if statement < 4 else 3
    assert statement > 10
    assert verify(catalog, stages=(STAGE,)) == []


def test_what_does_not_pass_is_raised_at_once_and_leaves_nothing(catalog: Catalog) -> None:
    tries = []

    def work() -> None:
        tries.append(1)
        catalog.connection.execute("INSERT INTO lake.schema_version VALUES (7)")
        catalog.connection.execute("SELECT no_such_column FROM lake.tags")

    with pytest.raises(duckdb.BinderException, match="no_such_column"):
        catalog.write(work, "a test")
    assert len(tries) == 1
    assert catalog.value("SELECT count(*) FROM schema_version WHERE version = 7") == 0


def test_after_the_set_time_one_line_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TALKIES_COMMIT_WAIT_S", "0.05")

    def fail() -> None:
        raise BUSY

    with pytest.raises(CommitFailed) as failed:
        retried(fail, "stage listen, shard 3")
    told = str(failed.value)
    assert told.startswith("stage listen, shard 3 was not committed after ")
    assert "database is locked" in told
    assert "run the same command again" in told
    assert "\n" not in told


def test_waits_grow_and_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    clock = [0.0]

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        clock[0] += seconds

    monkeypatch.setattr(retry, "FIRST_WAIT_S", 0.05)
    monkeypatch.setattr(retry.time, "sleep", sleep)
    monkeypatch.setattr(retry.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(retry.random, "uniform", random.Random(3).uniform)

    def fail() -> None:
        raise BUSY

    with pytest.raises(CommitFailed):
        retried(fail, "a test")
    limits = [min(0.05 * 2**number, 5.0) for number in range(len(waits))]
    assert all(most / 2 <= wait <= most for wait, most in zip(waits, limits, strict=True))
    assert 50 < sum(waits) <= 60
    assert len(set(waits)) == len(waits)


@pytest.mark.parametrize(
    ("text", "passes"),
    [
        ('Failed to execute query "COMMIT": server closed the connection unexpectedly', True),
        ('Key (snapshot_id)=(2) already exists; "ducklake_snapshot_pkey"', True),
        ("Transaction conflict - attempting to insert into table", True),
        ("FATAL: the database system is shutting down", True),
        ("Binder Error: column x not found", False),
        ("Conversion Error: could not convert", False),
        ("IO Error: No space left on device", False),
    ],
)
def test_what_passes_is_told_from_what_does_not(text: str, passes: bool) -> None:
    assert is_passing(duckdb.Error(text)) is passes


def test_an_error_is_told_without_the_sql_that_it_quotes() -> None:
    error = duckdb.Error('Failed to execute query "INSERT INTO t\nVALUES (1)": ERROR: too\nbad')
    assert said(error) == "Failed to execute ERROR: too bad"


# -- a server that goes away ---------------------------------------------------------------------


def cut(server: Server) -> None:
    server.sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = 'talkies' AND pid <> pg_backend_pid()"
    )


def test_a_connection_that_is_cut_anywhere_is_opened_again(server: Server, workspace: Path) -> None:
    room = Workspace.at(workspace, server.new_url()).make()
    with Catalog(room) as catalog, catalog.gate.building():
        begin(catalog)
        real: Any = catalog.connection

        class Cut(Faltering):
            def execute(self, *arguments: Any) -> Any:
                self.left -= 1
                if self.left == 0:
                    cut(server)
                return self.real.execute(*arguments)

        for shards, statement in enumerate((1, 2, 5, 9, 12, 14)):
            cutting: Any = Cut(real, statement)
            catalog.connection = cutting
            result = made_shard(room.scratch("made"), shards, CLIPS)
            catalog.commit(STAGE, result, False)
            catalog.connection = real
            assert rows_of(catalog) == {(shards + 1) * CLIPS}
        # The build's own lock was taken again with the connection.
        assert server.sql("SELECT count(*) > 0 FROM pg_locks WHERE locktype = 'advisory'") == [
            (True,)
        ]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda url: url.replace(PASSWORD, "wrong"), r"user postgres.*~/\.pgpass"),
        (lambda url: url.replace("/talkies?", "/nothing?"), "database nothing.*createdb"),
        (lambda url: url.replace("host=/", "host=/nowhere/"), "does not answer.*start the server"),
    ],
)
def test_a_server_that_lets_nobody_in_is_one_line_without_the_password(
    server: Server, workspace: Path, change: Callable[[str], str], told: str
) -> None:
    room = Workspace(workspace, "", change(server.new_url()))
    for attempt in (lambda: Catalog(room), lambda: Catalog(room, read_only=True)):
        with pytest.raises(CatalogUnreachable, match=told) as refused:
            attempt()
        text = f"{refused.value!r} {refused.value.__cause__!r} {refused.value.__context__!r}"
        assert PASSWORD not in text
        assert "wrong" not in text
        assert "\n" not in str(refused.value)


def test_a_catalog_that_was_never_made_is_missing_not_unreachable(
    server: Server, workspace: Path
) -> None:
    with pytest.raises(FileNotFoundError, match=r"database talkies, schema w_\w+ has no catalog"):
        require_there(Workspace(workspace, "", server.new_url()))


def test_an_address_names_its_schema_and_hides_its_password() -> None:
    database = Database.at("postgresql://me:hunter2@db.example:5433/films?schema=alpha")
    assert str(database) == "PostgreSQL at db.example:5433, database films, schema alpha"
    assert "hunter2" not in repr(database) + database.conninfo
    assert database.password == "hunter2"
    assert Database.at("postgresql:///films").schema == "talkies"
    with pytest.raises(ValueError, match="schema 'a-b'"):
        Database.at("postgresql:///films?schema=a-b")


@pytest.mark.parametrize(
    "text",
    [
        "talkies build --catalog postgresql://me:hunter2@db/films",
        "talkies --catalog=postgres://me:hunter2@db/films?schema=a build",
        "postgresql://db/films?user=me&password=hunter2&schema=a",
    ],
)
def test_no_password_of_a_command_line_is_told(text: str) -> None:
    assert "hunter2" not in redacted(text)
    assert "films" in redacted(text)
    assert redacted(redacted(text)) == redacted(text)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("Connection refused", "unanswered"),
        ("connection timeout expired", "unanswered"),
        ('password authentication failed for user "x"', "password"),
        ("fe_sendauth: no password supplied", "password"),
        ('database "x" does not exist', "database"),
        ("something else", "other"),
    ],
)
def test_each_failure_to_connect_has_its_mend(text: str, problem: str) -> None:
    assert problem_of(text) == problem
    assert problem_of(str(psycopg.OperationalError(text))) == problem
