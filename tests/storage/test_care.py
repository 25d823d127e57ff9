"""Care of a catalog: what gc deletes and keeps, what compaction leaves as it was, backups."""

import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from storage.backup import BackupRefused, backup, manifest_path, restore
from storage.catalog import Catalog
from storage.compact import compact, expire, pinned_snapshots, table_files
from storage.gc import GRACE_S, gc, kept_refs
from storage.schema import TABLES
from storage.verify import verify
from storage.workspace import Workspace, WorkspaceBusy
from tasks.pipeline import ALL
from tests.conftest import Place
from tests.made_commits import STAGE, begin, made_row, made_shard
from tests.made_store import copied, stored
from tests.made_store import put as put_in
from tests.made_workspace import clip, make_workspace, source

STRAYS = (
    "blobs/ab/stray.flac",
    "blobs/ab/.half.flac.12-34.tmp",
    "shards/motion/stray.parquet",
    "shards/dataset/stray.parquet",
    "checkpoints/stray/model.safetensors",
    "soundtracks/stray.mp4",
    "scratch/runs/r-0/made/windows.parquet",
    "scratch/training/stray.pt",
    "scratch/made/0/windows.parquet",
    "tables/main/windows/stray.parquet",
)
BYSTANDERS = ("scratch/prefect/prefect.db", "reports/made.html", "corpus/film.mp4", "notes.txt")


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory, place: Place) -> Workspace:
    """A whole workspace; not to be changed."""
    return make_workspace(place(tmp_path_factory.mktemp("whole")))


@pytest.fixture
def own(template: Workspace, tmp_path: Path) -> Workspace:
    """A copy that a test may change."""
    return copied(template, tmp_path / "workspace")


@pytest.fixture
def catalog(own: Workspace) -> Iterator[Catalog]:
    with Catalog(own) as opened:
        yield opened


Put = Callable[[str, float], None]


@pytest.fixture
def put(own: Workspace, monkeypatch: pytest.MonkeyPatch) -> Put:
    """Puts a file that was last changed some seconds ago, into the copy."""
    now = time.time

    def aged(ref: str, age_s: float) -> None:
        put_in(own, ref, b"bytes")
        # Nobody can set back the clock of a store, so gc's own goes ahead.
        if own.data_url:
            monkeypatch.setattr(time, "time", lambda: now() + age_s)
        path, then = own.root / ref, now() - (0 if own.data_url else age_s)
        for touched in (path, *path.parents):
            if touched.is_relative_to(own.root) and touched.exists():
                os.utime(touched, (then, then))

    return aged


def files(workspace: Workspace) -> set[str]:
    return {ref for ref in stored(workspace) if not ref.startswith("catalog.sqlite")}


def states(catalog: Catalog, snapshots: range) -> dict[tuple[int, str], str]:
    """A digest of every table in every one of some snapshots."""
    return {
        (snapshot, table): catalog.value(
            f"SELECT sha256(coalesce(string_agg(t::VARCHAR, '|' ORDER BY t::VARCHAR), '')) "
            f"FROM lake.{table} AS t AT (VERSION => {snapshot})"
        )
        for snapshot in snapshots
        for table in ("kinds", "tags", "progress")
    }


# -- gc ----------------------------------------------------------------------------------------


@pytest.mark.everywhere
def test_gc_deletes_old_orphans_and_nothing_else(catalog: Catalog, put: Put) -> None:
    before = files(catalog.workspace)
    for ref in (*STRAYS, *BYSTANDERS):
        put(ref, 2 * GRACE_S)
    dry = gc(catalog)
    assert not dry.is_applied
    assert files(catalog.workspace) >= {*before, *STRAYS, *BYSTANDERS}
    done = gc(catalog, apply=True)
    assert [orphan.ref for orphan in done.orphans] == [orphan.ref for orphan in dry.orphans]
    assert done.size_bytes >= len(b"bytes") * len(STRAYS)
    left = files(catalog.workspace)
    assert left & set(STRAYS) == set()
    assert left - {"scratch/writer.lock"} >= {*before, *BYSTANDERS} - {"scratch/writer.lock"}
    assert verify(catalog, stages=ALL) == []
    assert gc(catalog).orphans == ()


def test_gc_keeps_what_is_younger_than_the_grace_period(catalog: Catalog, put: Put) -> None:
    for ref in STRAYS:
        put(ref, GRACE_S / 2)
    sweep = gc(catalog, apply=True)
    assert sweep.orphans == ()
    assert len(sweep.young) == len(STRAYS) - 1  # DuckLake does not list young data files.
    assert files(catalog.workspace) >= set(STRAYS)


def test_gc_waits_for_no_writer_and_deletes_nothing_beside_one(own: Workspace, put: Put) -> None:
    put(STRAYS[0], 2 * GRACE_S)
    with own.writing(), Catalog(own) as catalog:
        assert [orphan.ref for orphan in gc(catalog).orphans] == [STRAYS[0]]
        with pytest.raises(WorkspaceBusy):
            gc(catalog, apply=True)
    assert STRAYS[0] in files(own)


def test_gc_keeps_files_of_older_snapshots_until_they_are_let_go_of(catalog: Catalog) -> None:
    # The dataset pins a snapshot with this clip's source; the later one has no row of it.
    catalog.connection.execute(f"DELETE FROM lake.decodes WHERE source_id = '{source(0)}'")
    assert gc(catalog, grace_s=0).orphans == ()
    catalog.connection.execute("DELETE FROM lake.dataset_items")
    catalog.connection.execute("DELETE FROM lake.datasets")
    assert gc(catalog, grace_s=0).orphans == ()
    compact(catalog, apply=True, expire_older_than_s=0)
    gone = {orphan.kind for orphan in gc(catalog, grace_s=0, apply=True).orphans}
    assert {"blobs", "shards"} <= gone
    assert kept_refs(catalog) <= {
        *files(catalog.workspace),
        *catalog.arrow("SELECT ref FROM lake.checkpoints")["ref"].to_pylist(),
    }


def test_a_negative_grace_period_is_refused(catalog: Catalog) -> None:
    with pytest.raises(ValueError, match="grace period"):
        gc(catalog, grace_s=-1)


# -- compact -----------------------------------------------------------------------------------


def scatter(catalog: Catalog) -> None:
    begin_at = catalog.workspace.scratch
    for number in range(3):
        catalog.commit(STAGE, made_shard(begin_at("made", str(number)), number, 12))
    catalog.connection.execute("DELETE FROM lake.kinds WHERE clip_id LIKE '%3'")


def test_compaction_leaves_one_file_a_table_and_every_snapshot_as_it_was(catalog: Catalog) -> None:
    scatter(catalog)
    span = range(1, catalog.snapshot() + 1)
    before = states(catalog, span)
    plan = compact(catalog)
    assert {"windows", "kinds", "progress"} <= {table.table for table in plan.before}
    assert (plan.after, plan.expired) == ((), ())
    assert states(catalog, span) == before
    done = compact(catalog, apply=True)
    assert {table.files for table in done.after} == {1}
    assert {table.inlined_rows for table in done.after} == {0}
    assert gc(catalog, grace_s=0, apply=True).size_bytes > 0
    assert states(catalog, span) == before
    assert compact(catalog).before == ()


def test_old_snapshots_go_only_when_asked_and_never_a_pinned_one(catalog: Catalog) -> None:
    (pinned,) = pinned_snapshots(catalog)
    kept = states(catalog, range(pinned, pinned + 1))
    scatter(catalog)
    newest = catalog.snapshot()
    assert compact(catalog, expire_older_than_s=3600).expired == ()
    plan = compact(catalog, expire_older_than_s=0)
    assert pinned not in plan.expired and newest not in plan.expired
    compact(catalog, apply=True, expire_older_than_s=0)
    gc(catalog, grace_s=0, apply=True)
    left = {row["snapshot_id"] for row in catalog.rows("SELECT snapshot_id FROM lake.snapshots()")}
    assert pinned in left and left & set(plan.expired) == set()
    assert states(catalog, range(pinned, pinned + 1)) == kept
    with pytest.raises(ValueError, match="pinned"):
        expire(catalog, (pinned,))


def test_compaction_is_refused_beside_a_writer(own: Workspace) -> None:
    with own.writing(), Catalog(own) as catalog, pytest.raises(WorkspaceBusy):
        compact(catalog, apply=True)


# -- backup and restore --------------------------------------------------------------------------


@pytest.fixture
def saved(own: Workspace, tmp_path: Path) -> Path:
    """A backup of the copy, which has gone on since."""
    path = tmp_path / "saved.sqlite"
    with Catalog(own) as catalog:
        backup(catalog, path)
        catalog.insert("tags", [made_row("tags", clip_id=clip(0), rank=2)])
    return path


def tags(workspace: Workspace) -> int:
    with Catalog(workspace, read_only=True) as catalog:
        return catalog.value("SELECT count(*) FROM tags")


def test_a_restore_brings_back_the_catalog_and_keeps_the_replaced_one(
    own: Workspace, saved: Path
) -> None:
    plan = restore(own, saved)
    assert not plan.is_applied and tags(own) == 7
    assert plan.replaces_snapshot == plan.manifest.snapshot + 1
    done = restore(own, saved, apply=True)
    assert tags(own) == 6
    Path(done.kept_at).replace(own.catalog_path)
    assert tags(own) == 7


def test_a_restore_mends_a_catalog_that_is_damaged_or_lost(own: Workspace, saved: Path) -> None:
    own.catalog_path.write_bytes(b"no catalog")
    assert restore(own, saved).replaces_snapshot is None
    done = restore(own, saved, apply=True)
    assert tags(own) == 6
    assert Path(done.kept_at).read_bytes() == b"no catalog"
    own.catalog_path.unlink()
    assert restore(own, saved, apply=True).kept_at == ""
    assert tags(own) == 6


def test_a_backup_is_one_moment_and_replaces_no_other(own: Workspace, tmp_path: Path) -> None:
    with Catalog(own, read_only=True) as catalog:
        manifest = backup(catalog, tmp_path / "one.sqlite")
        assert manifest.snapshot == catalog.snapshot()
        assert manifest.size_bytes == (tmp_path / "one.sqlite").stat().st_size
        with pytest.raises(FileExistsError, match="give another"):
            backup(catalog, tmp_path / "one.sqlite")
    assert sorted(p.name for p in tmp_path.glob("*one*")) == ["one.sqlite", "one.sqlite.json"]


def spoil_bytes(own: Workspace, path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def spoil_manifest(own: Workspace, path: Path) -> None:
    facts = json.loads(manifest_path(path).read_text())
    manifest_path(path).write_text(json.dumps(facts | {"snapshot": 1}))


def newer(own: Workspace, path: Path) -> None:
    facts = json.loads(manifest_path(path).read_text())
    manifest_path(path).write_text(json.dumps(facts | {"schema_version": 999}))


def foreign(own: Workspace, path: Path) -> None:
    with sqlite3.connect(own.catalog_path) as connection:
        connection.execute("UPDATE ducklake_schema SET schema_uuid = 'another'")
    connection.close()


def without_data(own: Workspace, path: Path) -> None:
    for entry in own.listing("tables"):
        own.delete(entry.ref)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (spoil_bytes, "damaged"),
        (spoil_manifest, "damaged"),
        (newer, "upgrade talkies"),
        (foreign, "foreign"),
        (without_data, "data files are gone"),
    ],
)
def test_a_restore_refuses(own: Workspace, saved: Path, spoil: object, said: str) -> None:
    assert callable(spoil)
    saved.unlink()
    manifest_path(saved).unlink()
    with Catalog(own) as catalog:
        catalog.connection.execute("CALL ducklake_flush_inlined_data('lake')")
        backup(catalog, saved)
    spoil(own, saved)
    before = own.catalog_path.read_bytes()
    with pytest.raises(BackupRefused, match=said):
        restore(own, saved, apply=True)
    assert own.catalog_path.read_bytes() == before


def test_a_restore_needs_backup_and_manifest(own: Workspace, saved: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such backup"):
        restore(own, saved.with_name("other.sqlite"))
    manifest_path(saved).unlink()
    with pytest.raises(FileNotFoundError, match="manifest"):
        restore(own, saved)


def test_tables_of_a_fresh_catalog_are_not_scattered(tmp_path: Path) -> None:
    workspace = Workspace.at(tmp_path / "fresh").make()
    with Catalog(workspace) as catalog:
        begin(catalog)
        assert compact(catalog).before == ()
        assert {table.table for table in table_files(catalog)} >= set(TABLES)
