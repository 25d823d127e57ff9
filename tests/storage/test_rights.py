"""Takedowns: everything of a source goes, on disk too; everything else stays; a mark remains."""

import hashlib
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from storage import purge, rights
from storage.blobs import Blobs
from storage.catalog import Catalog
from storage.features import read_feature
from storage.purge import PurgeIncomplete
from storage.rights import Takedown, forget
from storage.takedown import UnknownSource, find_source
from storage.workspace import Workspace
from tests.conftest import Place
from tests.made_archive import (
    CHECKPOINT,
    CLIPS,
    DATASET,
    SECRET,
    add,
    add_archive,
    add_features,
    array_of,
    full,
    source_id,
)
from tests.made_store import content, copied, stored

TALK = source_id("talk")
# What a takedown of `talk` may leave no byte of; its source id and uri stay in the tombstone.
TRACES = (
    f"talk-one {SECRET}",
    f"talk {SECRET}",
    full("talk-one"),
    full("talk-two"),
    full("mix-one"),
)
NOTHING: dict[str, list[str]] = {trace: [] for trace in TRACES}


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory, place: Place) -> Workspace:
    workspace = Workspace.at(place(tmp_path_factory.mktemp("template"))).make()
    with Catalog(workspace) as catalog:
        add_archive(catalog)
    return workspace


@pytest.fixture(scope="module")
def forgotten(
    template: Workspace, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Catalog, Takedown, list[str]]]:
    """A catalog without `talk`, what was done, and the shards that there were before."""
    root = tmp_path_factory.mktemp("forgotten") / "archive"
    with Catalog(copied(template, root)) as catalog:
        rows = catalog.rows("SELECT DISTINCT shard_ref FROM features")
        assert all(holding(catalog, trace) for trace in TRACES)
        done = forget(catalog, "src-talk", apply=True, reason="the speaker asked", run_id="r-7")
        yield catalog, done, [row["shard_ref"] for row in rows]


@pytest.fixture
def archive(template: Workspace, tmp_path: Path) -> Iterator[Catalog]:
    with Catalog(copied(template, tmp_path / "archive")) as catalog:
        yield catalog


def test_relations_and_fingerprints_of_a_source_go_on_either_side(archive: Catalog) -> None:
    rain, wind = source_id("rain"), source_id("wind")
    print_of = {"picture": [], "sound": [1], "content_hash": "h"}
    add(archive, "fingerprints", *({"source_id": s} | print_of for s in (TALK, rain)))
    for one, other in ((TALK, rain), (rain, TALK), (wind, rain)):
        edge = {"source_id": one, "other_id": other, "kind": "same_sound", "name": SECRET}
        add(archive, "relations", edge)
    planned = forget(archive, "src-talk")
    assert (planned.rows["relations"], planned.rows["fingerprints"]) == (2, 1)
    forget(archive, "src-talk", apply=True)
    left = archive.rows("SELECT source_id, other_id FROM relations")
    assert left == [{"source_id": wind, "other_id": rain}]
    assert archive.rows("SELECT source_id FROM fingerprints") == [{"source_id": rain}]


def files_of(catalog: Catalog) -> set[str]:
    """Every file of the workspace but those of the catalog itself."""
    refs = stored(catalog.workspace)
    return {ref for ref in refs if not ref.startswith(("tables/", "catalog."))}


def holding(catalog: Catalog, text: str) -> list[str]:
    """The files of the workspace in which a text stands, in plain bytes or in a Parquet value."""
    workspace, found = catalog.workspace, []
    on_disk = {
        entry.ref: (workspace.root / entry.ref).read_bytes() for entry in workspace.copies("")
    }
    in_store = (
        {ref: content(workspace, ref) for ref in stored(workspace) - set(on_disk)}
        if workspace.data_url
        else {}
    )
    for ref, data in (on_disk | in_store).items():
        values = ""
        if ref.endswith(".parquet"):
            values = str(pq.read_table(pa.BufferReader(data)).to_pylist())
        if text.encode() in data or text in values:
            found.append(ref)
    return found


def counts(catalog: Catalog) -> dict[str, int]:
    names = ("files", "sources", "windows", "transcripts", "features", "progress", "generations")
    return {name: catalog.value(f"SELECT count(*) FROM {name}") for name in names}


def test_a_dry_run_lists_everything_and_changes_nothing(archive: Catalog) -> None:
    before = (archive.snapshot(), files_of(archive), counts(archive))
    plan = forget(archive, TALK)
    assert (archive.snapshot(), files_of(archive), counts(archive)) == before
    assert plan.ids == {
        "source": (TALK,),
        "clip": (full("talk-one"), full("talk-two")),
        "mixture": (full("mix-one"),),
        "soundtrack": (full("film-talk"),),
    }
    assert plan.rows == {
        "files": 1, "sources": 1, "decodes": 1, "splits": 1, "windows": 2, "listens": 2,
        "tags": 4, "kinds": 2, "transcripts": 2, "phonemes": 2, "features": 4, "mixtures": 1,
        "dataset_items": 2, "generations": 1, "progress": 5,
    }  # fmt: skip
    assert plan.uris == ("/archive/talk.mp4",)
    assert not plan.applied
    assert plan.expired == ()


def test_a_catalog_that_is_open_for_reading_can_be_asked(archive: Catalog) -> None:
    with Catalog(archive.workspace, read_only=True) as readonly:
        assert forget(readonly, "/archive/talk.mp4").source_id == TALK


@pytest.mark.everywhere
def test_no_byte_of_a_forgotten_source_stays_and_the_others_are_whole(
    forgotten: tuple[Catalog, Takedown, list[str]],
) -> None:
    archive, done, _ = forgotten
    kept = {clip: f"{clip} {SECRET}" for clip in ("rain-one", "rain-two", "wind-one")}
    assert done.applied
    assert {trace: holding(archive, trace) for trace in TRACES} == NOTHING
    left = {Path(ref).parts[2] for ref in holding(archive, TALK) if ref.startswith("tables/")}
    assert left <= {"tombstones", "marks"}
    rows = archive.rows("SELECT clip_id, text FROM clips")
    assert {row["clip_id"]: row["text"] for row in rows} == {full(c): t for c, t in kept.items()}


def test_a_shared_shard_is_written_again_without_the_clip(
    forgotten: tuple[Catalog, Takedown, list[str]],
) -> None:
    archive, done, before = forgotten
    rows = archive.rows("SELECT * FROM features WHERE extractor = 'mel_pca'")
    names = {row["clip_id"].rstrip("0") for row in rows}
    assert names == {"rain-one", "rain-two", "wind-one"}
    for row in rows:
        name = row["clip_id"].rstrip("0")
        args = (row["shard_ref"], row["clip_id"], row["content_hash"])
        assert (read_feature(archive.workspace.root, *args) == array_of(name)).all()
        assert row["shard_ref"] not in before
    assert sum(ref.startswith("shards/mel_pca") for ref in done.rewritten) == 1
    assert not any(archive.workspace.exists(ref) for ref in before)


def test_blobs_go_unless_another_source_has_the_same_bytes(
    forgotten: tuple[Catalog, Takedown, list[str]],
) -> None:
    archive, done, _ = forgotten
    blobs = Blobs(archive.workspace.root)
    own, shared = (
        [
            f"blobs/{h[:2]}/{h[2:]}.flac"
            for h in (hashlib.sha256(data).hexdigest() for data in group)
        ]
        for group in ((b"sound of talk", b"mix"), (b"silence", b"sound of rain"))
    )
    assert set(own) <= set(done.files)
    assert not any(archive.workspace.exists(ref) for ref in own)
    assert all(blobs.read(ref) for ref in shared)
    assert not archive.workspace.exists("soundtracks/talk.mp4")
    assert archive.workspace.exists("soundtracks/rain.mp4")


def test_what_contains_it_is_marked_and_a_tombstone_stays(
    forgotten: tuple[Catalog, Takedown, list[str]],
) -> None:
    archive, _, _ = forgotten
    marks = archive.rows("SELECT kind, id, source_id, run_id FROM marks ORDER BY kind")
    assert [(m["kind"], m["id"].rstrip("0")) for m in marks] == [
        ("checkpoint", CHECKPOINT),
        ("codec", "codec-one"),
        ("dataset", DATASET),
        ("soundtrack", "film-rain"),
    ]
    assert {(m["source_id"], m["run_id"]) for m in marks} == {(TALK, "r-7")}
    (stone,) = archive.rows("SELECT source_id, uri, reason FROM tombstones")
    assert stone == {"source_id": TALK, "uri": "/archive/talk.mp4", "reason": "the speaker asked"}
    assert find_source(archive, "src-talk") == TALK


def test_a_dataset_is_what_its_remaining_members_say(
    forgotten: tuple[Catalog, Takedown, list[str]],
) -> None:
    archive, _, _ = forgotten
    (dataset,) = archive.rows("SELECT train_items, hours, shard_refs FROM datasets")
    assert dataset["train_items"] == 2
    assert dataset["hours"] == pytest.approx(8 / 3600)
    (ref,) = dataset["shard_refs"]
    members = pq.read_table(archive.workspace.fetch(ref))["item_id"].to_pylist()
    assert members == [full("rain-one"), full("rain-two")]


def test_snapshots_from_before_the_source_came_stay(
    forgotten: tuple[Catalog, Takedown, list[str]],
) -> None:
    archive, done, _ = forgotten
    assert done.since is not None
    kept = [row["snapshot_id"] for row in archive.rows("SELECT snapshot_id FROM lake.snapshots()")]
    assert kept[-1] == archive.snapshot()
    assert kept[:-1] == list(range(done.since))
    before = f"SELECT count(*) FROM windows AT (VERSION => {done.since - 1})"
    assert archive.value(before) == len(CLIPS["wind"]) + len(CLIPS["rain"])
    assert done.expired


def test_a_file_merged_over_the_border_costs_the_older_snapshots(archive: Catalog) -> None:
    clips = [{"clip_id": full(f"many-{k}"), "text": "-"} for k in range(30)]
    for _ in range(2):
        add(archive, "transcripts", *clips)
    for call in ("flush_inlined_data", "merge_adjacent_files"):
        archive.connection.execute(f"FROM ducklake_{call}('lake')").fetchall()
    done = forget(archive, TALK, apply=True)
    assert done.since is not None
    assert min(done.expired) < done.since
    assert {trace: holding(archive, trace) for trace in TRACES} == NOTHING
    assert archive.value("SELECT count(*) FROM transcripts") == 63
    # The statistics are wider now than what is there: no row may be missed for it.
    add(archive, "transcripts", *({"clip_id": full(f"n-{k}"), "text": "mm"} for k in range(30)))
    for clip in ("rain-one", "wind-one"):
        sql = "SELECT count(*) FROM transcripts WHERE text = ? AND clip_id = ?"
        assert archive.value(sql, [f"{clip} {SECRET}", full(clip)]) == 1
    ends = archive.connection.execute("SELECT min(text), max(text) FROM transcripts").fetchall()
    assert ends == [("-", f"wind-one {SECRET}")]


def test_an_orphan_shard_that_holds_the_clip_goes_too(archive: Catalog) -> None:
    orphan = add_features(archive, "talk-one", "rain-one", extractor="look")
    archive.connection.execute("DELETE FROM features WHERE extractor = 'look'")
    assert orphan in forget(archive, TALK, apply=True).files
    assert not archive.workspace.exists(orphan)


def test_a_source_that_only_an_old_dataset_remembers_is_forgotten_there(archive: Catalog) -> None:
    archive.connection.execute("UPDATE datasets SET catalog_snapshot = ?", [archive.snapshot()])
    for table in ("files", "sources", "windows"):
        archive.connection.execute(f"DELETE FROM {table} WHERE source_id = '{TALK}'")
    archive.connection.execute("DELETE FROM mixtures")
    done = forget(archive, "src-talk", apply=True)
    assert done.rows["dataset_items"] == 2
    assert {trace: holding(archive, trace) for trace in TRACES} == NOTHING


def test_a_mixture_planned_for_a_forgotten_clip_goes_and_one_without_a_parent_keeps_its_file(
    archive: Catalog,
) -> None:
    mix_ref = archive.value(f"SELECT mix_ref FROM mixtures WHERE mix_id = '{full('mix-one')}'")
    alone = {"ambience_clip_id": full("rain-one"), "regime": "ambience_only", "mix_ref": mix_ref}
    for name, clip in (("mix-talk", "talk-one"), ("mix-rain", "rain-two")):
        item = {"mix_id": full(name), "item_id": f"{full(clip)}:1"}
        add(archive, "mixtures", item | alone)
        add(archive, "progress", {"stage": "mix", "item_id": item["item_id"]})
    add_features(archive, "mix-talk", "mix-rain")
    done = forget(archive, TALK, apply=True)
    assert done.ids["mixture"] == (full("mix-one"), full("mix-talk"))
    assert {trace: holding(archive, trace) for trace in (*TRACES, full("mix-talk"))} == {
        trace: [] for trace in (*TRACES, full("mix-talk"))
    }
    assert archive.rows("SELECT mix_id, mix_ref FROM mixtures") == [
        {"mix_id": full("mix-rain"), "mix_ref": mix_ref}
    ]
    assert archive.workspace.exists(mix_ref)


@pytest.mark.parametrize("step", ["_unlink", "purge"])
def test_a_takedown_that_was_killed_is_finished_by_the_same_command(
    archive: Catalog, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    whole = forget(archive, TALK)

    def killed(*arguments: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(rights, step, killed)
        with suppress(KeyboardInterrupt):
            forget(archive, TALK, apply=True)
    forget(archive, TALK, apply=True)
    assert {trace: holding(archive, trace) for trace in TRACES} == NOTHING
    assert not set(whole.files) & files_of(archive)
    assert archive.value("SELECT count(*) FROM tombstones") == 1
    assert archive.value("SELECT count(*) FROM marks") == 4


def test_nothing_is_left_to_forget(forgotten: tuple[Catalog, Takedown, list[str]]) -> None:
    again = forget(forgotten[0], TALK)
    assert (again.rows, again.files, again.rewritten, again.since) == ({}, (), (), None)


READ = """
import sqlite3, sys
reader = sqlite3.connect(sys.argv[1], isolation_level=None)
reader.execute("BEGIN")
reader.execute("SELECT count(*) FROM ducklake_table").fetchall()
print("reading", flush=True)
sys.stdin.read()
"""


def test_metadata_that_another_process_reads_is_not_said_to_be_clean(
    template: Workspace, tmp_path: Path
) -> None:
    workspace = copied(template, tmp_path / "read")
    command = [sys.executable, "-c", READ, str(workspace.catalog_path)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "reading\n"
        with pytest.raises(PurgeIncomplete, match="close all readers and run the same command"):
            purge.shrink(workspace, wait_s=0.1)
        reader.communicate("")
    purge.shrink(workspace)


def test_a_source_with_many_clips_is_one_transaction(archive: Catalog) -> None:
    windows = [{"clip_id": full(f"w-{k:04d}-"), "source_id": TALK} for k in range(1000)]
    add(archive, "windows", *windows)
    before = archive.snapshot()
    purged: list[int] = []

    def stop(catalog: Catalog, *arguments: Any) -> list[int]:
        purged.append(catalog.snapshot())
        return []

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rights, "purge", stop)
        assert forget(archive, TALK, apply=True).rows["windows"] == 1002
    assert purged == [before + 1]


@pytest.mark.parametrize("name", ["src-none", "src", "", "/archive/none.mp4"])
def test_an_unknown_source_is_refused(archive: Catalog, name: str) -> None:
    with pytest.raises(UnknownSource, match="no source or file is"):
        forget(archive, name)


def test_an_ambiguous_source_names_the_candidates(archive: Catalog) -> None:
    add(archive, "sources", *({"source_id": full(f"src-twin-{k}", 64)} for k in "ab"))
    with pytest.raises(UnknownSource, match=f"{full('src-twin-a', 64)}, .*give more of it"):
        forget(archive, "src-twin")
