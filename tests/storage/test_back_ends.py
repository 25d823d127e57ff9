"""The catalog's metadata in SQLite and in PostgreSQL: the same claims hold for both."""

import dataclasses
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest

from storage.backup import BackupRefused, backup, restore, safeguarded
from storage.catalog import Catalog, CatalogTooNew
from storage.compact import compact, table_files
from storage.export import export_catalog
from storage.gc import gc
from storage.lake import CatalogMissing
from storage.lineage import find, trace
from storage.lineage_text import tree
from storage.locks import Gate
from storage.rights import forget
from storage.runs import begin_run, end_killed_runs, end_run
from storage.schema import SCHEMA_VERSION
from storage.snapshots import as_of, snapshots
from storage.sql import Refused, read_only_query
from storage.verify import verify
from storage.versions import diff
from storage.workspace import Workspace, WorkspaceBusy, secret_of
from tests.made_archive import CHECKPOINT, DATASET, SECRET, add_archive, full, source_id
from tests.made_commits import CLIP_TABLES, STAGE, begin, made_shard, other_machine
from tests.made_server import PASSWORD, Server

ROOT = Path(__file__).parents[2]
OPEN = """
import sys
from storage.catalog import Catalog
from storage.workspace import Workspace
sys.stdin.readline()
with Catalog(Workspace.at(sys.argv[1])) as catalog:
    print(catalog.snapshot())
"""


@pytest.fixture
def archive(room: Workspace) -> Iterator[Catalog]:
    """An open catalog of two films, a dataset, a model and soundtracks."""
    with Catalog(room) as catalog:
        add_archive(catalog)
        yield catalog


def counts(catalog: Catalog) -> dict[str, tuple[int, int]]:
    """Rows and distinct items of every table that made shards write."""
    keys = {**dict.fromkeys(CLIP_TABLES, "clip_id"), "progress": "item_id"}
    return {
        table: catalog.connection.execute(
            f"SELECT count(*), count(DISTINCT {key}) FROM lake.{table}"
        ).fetchall()[0]
        for table, key in keys.items()
    }


# -- opening ---------------------------------------------------------------------------------------


def test_a_missing_catalog_is_said_and_not_made(room: Workspace) -> None:
    for _ in range(2):
        with pytest.raises(CatalogMissing, match="has no catalog; run `talkies demo`"):
            Catalog(room, read_only=True)


def test_a_newer_catalog_is_refused_with_its_place(room: Workspace) -> None:
    with Catalog(room) as catalog:
        catalog.connection.execute(f"INSERT INTO lake.schema_version VALUES ({SCHEMA_VERSION + 1})")
    for read_only in (True, False):
        with pytest.raises(CatalogTooNew, match=r"(catalog\.sqlite|schema w_\w+): catalog version"):
            Catalog(room, read_only=read_only)


def test_two_processes_that_make_one_catalog_make_it_once(room: Workspace) -> None:
    started = [
        subprocess.Popen(
            [sys.executable, "-c", OPEN, str(room.root)],
            cwd=ROOT,
            env=os.environ | {"PGPASSWORD": secret_of(room.catalog_url)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    answers = []
    for process in started:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    for process in started:
        answers.append(process.communicate(timeout=60)[0].strip())
    assert answers == ["1", "1"]


def test_a_reader_cannot_write_and_reads_as_of_a_snapshot(archive: Catalog) -> None:
    before = archive.snapshot()
    archive.connection.execute("DELETE FROM lake.tags")
    assert as_of(archive, str(before)) == before
    with Catalog(archive.workspace, snapshot=before) as old:
        assert old.value("SELECT count(*) FROM tags") == 10
        with pytest.raises(duckdb.Error):
            old.connection.execute("DELETE FROM lake.tags")


# -- commits ---------------------------------------------------------------------------------------


def test_a_shard_is_committed_once_and_replaced_when_it_is_done_again(room: Workspace) -> None:
    with Catalog(room) as catalog:
        begin(catalog)
        for number, clips in ((0, 20), (1, 3)):
            catalog.commit(STAGE, made_shard(room.scratch("made"), number, clips), False)
        assert set(counts(catalog).values()) == {(23, 23)}
        catalog.commit(STAGE, made_shard(room.scratch("made"), 0, 20), True)
        assert set(counts(catalog).values()) == {(23, 23)}
        assert verify(catalog, stages=(STAGE,)) == []


def test_two_builds_of_the_same_items_write_each_once(room: Workspace, tmp_path: Path) -> None:
    with Catalog(room) as one, Catalog(other_machine(room, tmp_path / "two")) as two:
        begin(one)
        for catalog in (one, two):
            catalog.commits.begin()
        for number in range(4):
            # Half of the second shard's clips are those of the first build.
            clips = 24 if number % 2 else 12
            for catalog in (one, two)[:: 1 if number < 2 else -1]:
                folder = catalog.workspace.scratch("made", str(number))
                catalog.commit(STAGE, made_shard(folder, number, clips), False)
                clips = 24
        assert set(counts(one).values()) == {(96, 96)}
        assert counts(one) == counts(two)
        assert verify(one, stages=(STAGE,)) == []


def test_a_commit_of_other_settings_replaces_what_was_written_meanwhile(
    room: Workspace, tmp_path: Path
) -> None:
    with Catalog(room) as one, Catalog(other_machine(room, tmp_path / "two")) as two:
        begin(one)
        two.commits.begin()
        one.commit(STAGE, made_shard(room.scratch("made"), 0, 20), False)
        other = made_shard(two.workspace.scratch("made"), 0, 20)
        path = other.tables["progress"]
        table = pq.read_table(path)
        place = table.schema.get_field_index("fingerprint")
        field = table.schema.field(place)
        pq.write_table(table.set_column(place, field, [["another"] * 20]), path)
        two.commit(STAGE, other, False)
        assert set(counts(one).values()) == {(20, 20)}
        assert one.rows("SELECT DISTINCT fingerprint FROM progress") == [{"fingerprint": "another"}]


def test_commits_of_several_writers_all_land(room: Workspace, tmp_path: Path) -> None:
    writers, each = 4, 4
    with Catalog(room) as catalog:
        begin(catalog)
    failures: list[BaseException] = []

    def write(writer: int) -> None:
        try:
            with Catalog(other_machine(room, tmp_path / f"m{writer}")) as own:
                for number in range(each):
                    shard = writer * each + number
                    folder = own.workspace.scratch("made", str(shard))
                    own.commit(STAGE, made_shard(folder, shard, 12), False)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(n,)) for n in range(writers)]
    if not room.catalog_url:
        # On one machine a workspace has one writer at a time.
        for thread in threads:
            thread.start()
            thread.join()
    else:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failures == []
    with Catalog(room, read_only=True) as catalog:
        assert set(counts(catalog).values()) == {(12 * writers * each, 12 * writers * each)}


# -- who writes ------------------------------------------------------------------------------------


def test_what_sweeps_waits_for_every_build_and_a_second_build_of_a_folder_too(
    room: Workspace, tmp_path: Path
) -> None:
    with Catalog(room) as one, Catalog(other_machine(room, tmp_path / "two")) as two:
        with one.gate.building():
            same = Gate(room)
            with pytest.raises(WorkspaceBusy, match="written by"), same.building():
                pytest.fail("two builds of one folder")
            if room.catalog_url:
                with two.gate.building():
                    pass
                for work in (gc, compact):
                    with pytest.raises(WorkspaceBusy, match=r"is being written by talkies .*wait"):
                        work(two, apply=True)
        compact(two, apply=True)


def test_a_run_of_another_machine_is_killed_only_when_it_is_dead(
    server: Server, workspace: Path, tmp_path: Path
) -> None:
    room = Workspace.at(workspace, server.new_url()).make()
    with Catalog(room) as one, Catalog(other_machine(room, tmp_path / "two")) as two:
        run = begin_run(one, "talkies build", "{}")
        with one.gate.running(run.run_id):
            end_killed_runs(two)
            assert two.value("SELECT status FROM runs") == "running"
        end_killed_runs(two)
        assert two.value("SELECT status FROM runs") == "killed"
        end_run(one, run, "done")
        assert two.value("SELECT status FROM runs") == "done"


# -- reading and care ------------------------------------------------------------------------------


def test_lineage_versions_and_snapshots_are_told(archive: Catalog) -> None:
    shown = "\n".join(tree(trace(archive, find(archive, full(CHECKPOINT)), 8, 10)))
    assert all(name in shown for name in (DATASET, "film-rain", "talk-one"))
    assert diff(archive, full(DATASET), full(DATASET)).items == ()
    page = snapshots(archive, limit=3)
    assert [row["snapshot"] for row in page] == sorted((r["snapshot"] for r in page), reverse=True)


@pytest.mark.parametrize(
    "statement",
    [
        "FROM postgres_query('__ducklake_metadata_lake', 'SELECT 1')",
        "FROM postgres_scan('dbname=talkies', 'pg_catalog', 'pg_authid')",
        "FROM postgres_scan_pushdown('dbname=talkies', 'pg_catalog', 'pg_authid')",
        "FROM postgres_execute('__ducklake_metadata_lake', 'DROP SCHEMA public')",
        "FROM __ducklake_metadata_lake.ducklake_metadata",
        'FROM "__DuckLake_Metadata_Lake".main.ducklake_metadata',
        "FROM duckdb_databases()",
        "FROM duckdb_databases",
        "FROM duckdb_secrets()",
        "FROM pragma_database_list",
        "FROM pg_catalog.pg_settings",
        "FROM pg_settings",
        "SELECT (SELECT value FROM __ducklake_metadata_lake.ducklake_metadata LIMIT 1)",
        "ATTACH 'dbname=talkies' AS other (TYPE postgres)",
        "CREATE SECRET s (TYPE postgres)",
    ],
)
def test_no_query_reaches_the_database_beside_the_catalog(
    statement: str, opened_room: Workspace
) -> None:
    with pytest.raises(Refused, match=r"not allowed|is allowed"):
        read_only_query(statement, opened_room)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def opened_room(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Workspace:
    """A workspace with an empty catalog, for tests that change nothing."""
    url = "" if request.param == "sqlite" else request.getfixturevalue("server").new_url()
    room = Workspace.at(tmp_path_factory.mktemp("opened"), url).make()
    Catalog(room).close()
    return room


def test_a_query_reads_files_and_inlined_rows(room: Workspace) -> None:
    with Catalog(room) as catalog:
        begin(catalog)
        for number, clips in enumerate((20, 3)):
            catalog.commit(STAGE, made_shard(room.scratch("made"), number, clips), False)
        before = catalog.snapshot()
        catalog.connection.execute("DELETE FROM lake.windows")
    assert read_only_query("SELECT count(*) AS n FROM windows", room).to_pylist() == [{"n": 0}]
    then = read_only_query("SELECT count(*) AS n FROM windows", room, snapshot=before)
    assert then.to_pylist() == [{"n": 23}]


def test_export_writes_what_the_catalog_holds(archive: Catalog, tmp_path: Path) -> None:
    exported = export_catalog(archive, tmp_path / "plain")
    assert exported.rows["sources"] == 3
    assert exported.snapshot == archive.snapshot()


def test_compaction_and_gc_keep_every_row(room: Workspace) -> None:
    with Catalog(room) as catalog:
        begin(catalog)
        for number in range(4):
            catalog.commit(STAGE, made_shard(room.scratch("made"), number, 20), False)
        before = counts(catalog)
        compact(catalog, apply=True)
        assert max(table.files for table in table_files(catalog)) == 1
        assert gc(catalog, grace_s=0, apply=True).is_applied
        assert counts(catalog) == before
        assert len(room.listing("tables/main/windows")) == 1
        assert verify(catalog, stages=(STAGE,)) == []


def test_a_backup_is_put_back_and_the_replaced_catalog_is_kept(
    archive: Catalog, tmp_path: Path
) -> None:
    room, path = archive.workspace, tmp_path / "monday.sqlite"
    manifest = backup(archive, path)
    assert manifest.snapshot == archive.snapshot()
    rows = archive.rows("FROM transcripts ORDER BY clip_id")
    archive.connection.execute("DELETE FROM lake.transcripts")
    newest = archive.snapshot()
    archive.close()
    assert not restore(room, path).is_applied
    done = restore(room, path, apply=True)
    assert (done.is_applied, done.replaces_snapshot) == (True, newest)
    with Catalog(room) as again:
        assert again.rows("FROM transcripts ORDER BY clip_id") == rows
        assert again.snapshot() == manifest.snapshot
        again.connection.execute("DELETE FROM lake.tags")
        assert again.snapshot() == manifest.snapshot + 1
    assert Path(done.kept_at).exists()


def test_maintenance_that_loses_its_new_files_is_undone(server: Server, workspace: Path) -> None:
    room = Workspace.at(workspace, server.new_url()).make()
    with Catalog(room) as catalog:
        begin(catalog)
        for number in range(3):
            catalog.commit(STAGE, made_shard(room.scratch("made"), number, 20), False)
        before = counts(catalog)
        there = {entry.ref for entry in room.listing("tables")}
        with pytest.raises(duckdb.Error, match="closed"), safeguarded(catalog):
            catalog.rows("CALL ducklake_merge_adjacent_files('lake')")
            for ref in {entry.ref for entry in room.listing("tables")} - there:
                room.delete(ref)
            raise duckdb.Error("server closed the connection unexpectedly")
    with Catalog(room) as catalog:
        assert counts(catalog) == before
        assert verify(catalog, stages=(STAGE,)) == []
        compact(catalog, apply=True)
        assert counts(catalog) == before
        assert not (room.root / "scratch" / "safeguard").exists()


def test_a_backup_of_the_other_kind_or_of_another_catalog_is_refused(
    server: Server, tmp_path: Path
) -> None:
    rooms = [
        Workspace.at(tmp_path / name, url).make()
        for name, url in (("a", server.new_url()), ("b", server.new_url()), ("c", ""))
    ]
    for room in rooms:
        with Catalog(room) as catalog:
            backup(catalog, tmp_path / f"{room.root.name}.sqlite")
    for name, room in (("c", rooms[0]), ("a", rooms[2])):
        with pytest.raises(BackupRefused, match=r"made of a catalog in \w+; this workspace's is"):
            restore(room, tmp_path / f"{name}.sqlite")
    with pytest.raises(BackupRefused, match="foreign"):
        restore(rooms[1], tmp_path / "a.sqlite")


def test_a_forgotten_sources_words_leave_the_metadata(archive: Catalog) -> None:
    with archive.gate.alone():
        done = forget(archive, source_id("rain"), apply=True)
    assert done.applied
    assert archive.value("SELECT count(*) FROM transcripts WHERE text LIKE 'rain%'") == 0
    assert archive.value("SELECT count(*) FROM transcripts") == 3
    words = f"rain-one {SECRET}".encode()
    for path in archive.workspace.root.rglob("*"):
        if path.is_file() and path.parent.name != "scratch":
            assert words not in path.read_bytes(), path


def test_postgresqls_own_files_do_not_keep_a_forgotten_sources_words(
    server: Server, workspace: Path
) -> None:
    # A database of its own: other tests' catalogs hold the same words.
    server.sql("CREATE DATABASE forgetful", "postgres")
    room = Workspace.at(workspace, server.url("forgetful", "films")).make()
    words = f"rain-one {SECRET}".encode()

    def asked(text: str) -> list[tuple[Any, ...]]:
        return server.sql(text, "forgetful")

    def holds_words() -> bool:
        ((oid,),) = asked("SELECT oid::text FROM pg_database WHERE datname = current_database()")
        asked("CHECKPOINT")
        files = (server.folder / "data" / "base" / oid).iterdir()
        return any(words in path.read_bytes() for path in files if path.is_file())

    with Catalog(room) as catalog:
        add_archive(catalog)
        for (table,) in asked("SELECT tablename FROM pg_tables WHERE schemaname = 'films'"):
            asked(f'ANALYZE films."{table}"')
        assert holds_words(), "the words lie in the server's files before"
        with catalog.gate.alone():
            forget(catalog, source_id("rain"), apply=True)
    asked("VACUUM FULL pg_statistic")
    assert not holds_words()


def test_the_password_is_in_no_message_row_or_file(server: Server, workspace: Path) -> None:
    room = Workspace.at(workspace, server.new_url()).make()
    with Catalog(room) as catalog:
        run = begin_run(catalog, "talkies build", "{}")
        end_run(catalog, run, "done")
        assert PASSWORD not in str(catalog.rows("FROM runs"))
        assert PASSWORD not in str(catalog.rows("SELECT * FROM duckdb_databases()"))
        assert PASSWORD not in str(catalog.rows("SELECT * FROM duckdb_secrets()"))
        assert PASSWORD not in f"{catalog.gate._server.__dict__}"
        backup(catalog, workspace / "copy.sqlite")
    for path in workspace.rglob("*"):
        assert not path.is_file() or PASSWORD.encode() not in path.read_bytes()


def test_a_folder_that_moves_keeps_its_catalog(room: Workspace, tmp_path: Path) -> None:
    with Catalog(room) as catalog:
        begin(catalog)
        catalog.commit(STAGE, made_shard(room.scratch("made"), 0, 20), False)
    shutil.move(room.root, tmp_path / "moved")
    moved = dataclasses.replace(room, root=tmp_path / "moved")
    with Catalog(moved, read_only=True) as catalog:
        assert set(counts(catalog).values()) == {(20, 20)}
