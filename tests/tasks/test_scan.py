"""Listing a folder: odd names, odd files, manifests, and what is gone, doubled or elsewhere."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.catalog import Catalog
from storage.rejects import Rejected
from storage.workspace import Workspace
from tasks.container import local_path
from tasks.manifest import ManifestError
from tasks.scan import STAGE, ScanConfig, list_folder, scan_file
from tasks.source_uri import uri_of
from tests.made_archives import write_dataset, write_tar
from tests.made_catalog import bring_up

ODD_NAMES = (
    b"a b.mp4",
    b'it\'s "quoted".mp4',
    b"two\nlines\t.mp4",
    b"100%.mp4",
    b"a%FF.mp4",
    "ünï\N{SNOWMAN}.MP4".encode(),
    b"latin-\xe9.mp4",
    b"\xff\xfe?#.mp4",
    b"file:.mp4",
    b"$name;--.mp4",
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "archive"
    path.mkdir()
    return path


def put(path: Path, data: bytes = b"media") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def listed(folder: Path, **fields: Any) -> dict[str, dict[str, Any]]:
    """The listing of a folder by file name."""
    rows = list_folder(ScanConfig(folder=str(folder), **fields)).to_pylist()
    return {Path(local_path(row["uri"])).name: row for row in rows}


def why(row: dict[str, Any]) -> Rejected:
    with pytest.raises(Rejected) as caught:
        scan_file(row)
    return caught.value


def test_media_files_of_all_subfolders_are_listed_in_order_and_others_are_not(
    folder: Path,
) -> None:
    for name in ("b.MP4", "deep/er/a.wav", "notes.pdf", "a.mkv", ".mp4", "x.mp4.part"):
        put(folder / name)
    rows = list_folder(ScanConfig(folder=str(folder))).to_pylist()
    uris = [row["uri"] for row in rows]
    assert uris == [str(folder / name) for name in ("a.mkv", "b.MP4", "deep/er/a.wav")]
    assert uris == sorted(uris)


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_file_with_an_odd_name_is_listed_hashed_and_found_again(
    folder: Path, name: bytes
) -> None:
    path = Path(os.fsdecode(os.path.join(os.fsencode(folder), name)))
    put(path)
    (row,) = list_folder(ScanConfig(folder=str(folder))).to_pylist()
    assert row["uri"].encode("utf-8")
    assert local_path(row["uri"]) == str(path)
    (made,) = scan_file(row)["files"]
    assert made["uri"] == row["uri"]
    assert len(made["source_id"]) == 64


@given(st.binary(min_size=1, max_size=12).filter(lambda name: b"\0" not in name))
def test_every_path_can_be_a_uri_and_back(name: bytes) -> None:
    path = Path(os.fsdecode(b"/archive/" + name.replace(b"/", b"_")))
    uri = uri_of(path)
    assert uri.encode("utf-8")
    assert local_path(uri) == str(path)


def test_a_folder_whose_own_name_is_not_utf_8_is_refused(folder: Path) -> None:
    odd = Path(os.fsdecode(os.fsencode(folder) + b"/\xff"))
    put(odd / "a.mp4")
    with pytest.raises(ValueError, match=r"%FF: its name is not UTF-8; rename it"):
        list_folder(ScanConfig(folder=str(odd)))


def test_links_are_followed_to_files_but_not_out_of_the_folder(folder: Path) -> None:
    outside = put(folder.parent / "outside" / "secret.mp4")
    inside = put(folder / "deep" / "real.mp4")
    (folder / "to-file.mp4").symlink_to(outside)
    (folder / "to-folder").symlink_to(outside.parent)
    (folder / "inside.mp4").symlink_to(inside)
    (folder / "around.mp4").symlink_to("round.mp4")
    (folder / "round.mp4").symlink_to("around.mp4")
    rows = listed(folder)
    assert {"real.mp4", "inside.mp4"} <= set(rows)
    assert not {"to-file.mp4", "secret.mp4"} & set(rows)
    for name in {"around.mp4", "round.mp4"} & set(rows):
        assert why(rows[name]).reason == "unreadable"


def test_a_transcript_behind_a_link_out_of_the_folder_is_not_read(folder: Path) -> None:
    secret = folder.parent / "secret.txt"
    secret.write_text("secret")
    put(folder / "a.mp4")
    (folder / "a.txt").symlink_to(secret)
    assert listed(folder)["a.mp4"]["transcript"] is None


def test_what_is_no_regular_file_is_a_reject_and_is_never_opened(folder: Path) -> None:
    put(folder / "real.mp4")
    os.mkfifo(folder / "pipe.mp4")
    (folder / "dangling.mp4").symlink_to(folder / "gone.mp4")
    put(folder / "empty.mp4", b"")
    rows = listed(folder)
    reasons = {name: why(rows[name]).reason for name in ("pipe.mp4", "dangling.mp4", "empty.mp4")}
    assert reasons == {
        "pipe.mp4": "unreadable",
        "dangling.mp4": "unreadable",
        "empty.mp4": "empty",
    }
    assert "a link to nowhere, or a pipe" in why(rows["pipe.mp4"]).message


def test_a_file_that_changes_after_it_was_listed_is_a_reject(folder: Path) -> None:
    path = put(folder / "a.mp4")
    row = listed(folder)["a.mp4"]
    path.write_bytes(b"media that grows")
    assert why(row).reason == "changed"
    path.unlink()
    assert why(row).reason == "missing"
    os.mkfifo(path)
    assert why(row).reason == "changed"


def test_a_file_that_grows_while_it_is_read_is_a_reject(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(folder / "a.mp4")

    def grows(path: Path) -> str:
        path.write_bytes(b"media and more of it")
        return "0" * 64

    monkeypatch.setattr("tasks.scan.sha256_file", grows)
    assert why(listed(folder)["a.mp4"]).reason == "changed"


def test_a_file_that_may_not_be_read_is_a_reject(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(folder / "a.mp4")

    def denied(path: Path) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("tasks.scan.sha256_file", denied)
    assert why(listed(folder)["a.mp4"]).reason == "unreadable"


def test_a_manifest_says_licence_and_transcript_and_comes_before_a_sidecar(folder: Path) -> None:
    put(folder / "sub" / "a.mp4")
    put(folder / "b.mp4")
    (folder / "sub" / "a.txt").write_text("from the\n sidecar ")
    (folder / "b.txt").write_bytes(b"caf\xe9  \n au lait")
    # A spreadsheet begins its files with a byte order mark.
    (folder / "manifest.csv").write_text(
        '\ufeffpath,licence,transcript,extra\nsub/a.mp4,CC0,"said, ""so""",x\nnot/there.mp4,CC0,,\n'
    )
    rows = listed(folder)
    assert rows["a.mp4"]["licence"] == "CC0"
    assert rows["a.mp4"]["transcript"] == 'said, "so"'
    assert rows["a.mp4"]["attribution"] is None
    assert rows["b.mp4"]["transcript"] == "café au lait"


@pytest.mark.parametrize(
    ("data", "why_not"),
    [
        (b"file,licence\na.mp4,CC0\n", "the column `path` is missing"),
        (b"", "the column `path` is missing"),
        (b"path,licence\na.mp4,\xe9\n", "not CSV in UTF-8"),
        (b"path\n" + b"x" * 200_000, "not CSV in UTF-8"),
    ],
)
def test_a_manifest_that_cannot_be_used_is_named_with_what_is_wrong(
    folder: Path, data: bytes, why_not: str
) -> None:
    put(folder / "a.mp4")
    put(folder / "manifest.csv", data)
    with pytest.raises(ManifestError, match=rf"manifest .*manifest.csv: {why_not}"):
        list_folder(ScanConfig(folder=str(folder)))


def test_a_manifest_is_missed_only_where_it_was_asked_for(folder: Path) -> None:
    put(folder / "a.mp4")
    assert list(listed(folder)) == ["a.mp4"]
    with pytest.raises(ManifestError, match=r"mend `scan.manifest`"):
        listed(folder, manifest="mine.csv")


def test_a_missing_folder_is_named_with_the_field(folder: Path) -> None:
    with pytest.raises(NotADirectoryError, match=r"mend `scan.folder`"):
        list_folder(ScanConfig(folder=str(folder / "no")))


def test_named_files_are_listed_wherever_they_lie(folder: Path) -> None:
    path = put(folder / "film.mov")
    put(folder / "other.mp4")
    table = list_folder(ScanConfig(files=(str(path), str(path))))
    assert table["uri"].to_pylist() == [str(path)]
    with pytest.raises(FileNotFoundError):
        list_folder(ScanConfig(files=(str(folder / "no.mp4"),)))


def test_subtitles_beside_a_file_are_listed_with_their_language(folder: Path) -> None:
    put(folder / "film.mp4")
    put(folder / "film.de.srt", "1\n00:00:01,000 --> 00:00:02,000\nGrüße\n".encode("cp1252"))
    put(folder / "film.vtt", b"WEBVTT\n\n00:01.000 --> 00:02.000\nGreetings\n")
    put(folder / "film.txt", b"greetings")
    times = {"start_s": 1.0, "end_s": 2.0}
    row = listed(folder)["film.mp4"]
    assert row["cues"] == [
        times | {"text": "Greetings", "language": ""},
        times | {"text": "Grüße", "language": "de"},
    ]
    assert row["transcript"] == "greetings"
    (only,) = list_folder(ScanConfig(files=(str(folder / "film.mp4"),))).to_pylist()
    assert only["cues"] == row["cues"]


# -- in a catalog ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Catalog]:
    with Catalog(Workspace.at(tmp_path_factory.mktemp("scan")).make()) as catalog:
        yield catalog


@pytest.fixture
def catalog(opened: Catalog) -> Catalog:
    for table in ("files", "rejects", "progress"):
        opened.connection.execute(f"DELETE FROM lake.{table}")
    return opened


def scan(catalog: Catalog, folder: Path, **fields: Any) -> tuple[int, int]:
    """Scans a folder; returns how many items were pending and how many are gone."""
    config = ScanConfig(folder=str(folder), **fields)
    plan = bring_up(catalog, STAGE, config)
    assert catalog.plan(STAGE, config).is_idle
    return plan.items, plan.gone


def names(catalog: Catalog) -> list[str]:
    return sorted(
        Path(local_path(row["uri"])).name for row in catalog.rows("SELECT uri FROM files")
    )


def test_only_new_and_touched_files_are_hashed_and_removed_ones_leave(
    catalog: Catalog, folder: Path
) -> None:
    for name in ("a.mp4", "b.mp4", "c.mp4"):
        put(folder / name)
    put(folder / "empty.mp4", b"")
    assert scan(catalog, folder) == (4, 0)
    assert scan(catalog, folder) == (0, 0)
    os.utime(folder / "a.mp4", ns=(1, 1))
    put(folder / "d.mp4", b"new")
    (folder / "b.mp4").unlink()
    (folder / "empty.mp4").unlink()
    assert scan(catalog, folder) == (2, 2)
    assert names(catalog) == ["a.mp4", "c.mp4", "d.mp4"]
    assert catalog.value("SELECT count(*) FROM rejects") == 0


def test_a_rejected_file_is_tried_again_when_it_is_complete(catalog: Catalog, folder: Path) -> None:
    put(folder / "a.mp4", b"")
    scan(catalog, folder)
    assert catalog.value("SELECT reason FROM rejects") == "empty"
    put(folder / "a.mp4")
    assert scan(catalog, folder) == (1, 0)
    assert names(catalog) == ["a.mp4"]
    assert catalog.value("SELECT count(*) FROM rejects") == 0


def test_files_of_the_same_bytes_are_one_source(catalog: Catalog, folder: Path) -> None:
    for name in ("a.mp4", "b.mp4"):
        put(folder / name)
    scan(catalog, folder)
    assert catalog.value("SELECT count(*) FROM files") == 2
    assert catalog.value("SELECT count(DISTINCT source_id) FROM files") == 1


def test_files_of_another_folder_in_the_workspace_stay(catalog: Catalog, folder: Path) -> None:
    beside = folder.with_name("archive-2")
    put(folder / "a.mp4")
    put(beside / "b.mp4")
    scan(catalog, folder)
    assert scan(catalog, beside) == (1, 0)
    assert scan(catalog, folder / "..", files=(str(beside / "b.mp4"),)) == (0, 0)
    assert names(catalog) == ["a.mp4", "b.mp4"]


def test_files_with_odd_names_leave_and_stay_as_others_do(catalog: Catalog, folder: Path) -> None:
    odd = folder.with_name("arc hive%")
    for name in ODD_NAMES:
        put(Path(os.fsdecode(os.fsencode(odd) + b"/" + name)))
    put(folder / "a.mp4")
    scan(catalog, odd)
    scan(catalog, folder)
    assert len(names(catalog)) == len(ODD_NAMES) + 1
    for path in list(odd.iterdir())[1:]:
        path.unlink()
    assert scan(catalog, odd) == (0, len(ODD_NAMES) - 1)
    assert len(names(catalog)) == 2


def test_a_pipe_at_the_front_does_not_disturb_the_cut(catalog: Catalog, folder: Path) -> None:
    os.mkfifo(folder / "a.mp4")
    put(folder / "b.mp4")
    config = ScanConfig(folder=str(folder))
    assert catalog.plan(STAGE, config).shards == (0,)


def test_a_moved_folder_gives_the_same_sources(catalog: Catalog, folder: Path) -> None:
    put(folder / "a.mp4")
    scan(catalog, folder)
    before = catalog.rows("SELECT source_id FROM files")
    moved = folder.with_name("moved")
    shutil.move(folder, moved)
    put(folder / "other.mp4", b"other")
    scan(catalog, moved)
    assert catalog.rows("SELECT source_id FROM files WHERE uri LIKE '%/moved/%'") == before


def test_a_source_that_was_taken_down_is_not_taken_in_again(folder: Path) -> None:
    (folder / "reel.mp4").write_bytes(b"taken down")
    config = ScanConfig(str(folder))
    [listed] = list_folder(config).to_pylist()
    [row] = scan_file(listed | {"_forgotten": ["another"]})["files"]
    with pytest.raises(Rejected, match="was taken down") as caught:
        scan_file(listed | {"_forgotten": [row["source_id"]]})
    assert caught.value.reason == "forgotten"


def test_tombstones_reach_the_scan_and_are_no_reason_to_hash_again(
    catalog: Catalog, folder: Path
) -> None:
    put(folder / "reel.mp4")
    scan(catalog, folder)
    catalog.connection.execute(
        "INSERT INTO tombstones BY NAME SELECT 's-9' AS source_id, '/x.mp4' AS uri, "
        "'asked' AS reason, now() AS forgotten_at, 'r-1' AS run_id"
    )
    assert scan(catalog, folder) == (0, 0)
    assert catalog.rows("SELECT DISTINCT _forgotten FROM keyed") == [{"_forgotten": ["s-9"]}]
    catalog.connection.execute("DELETE FROM tombstones")


def test_a_changed_sidecar_is_taken_over_without_reading_the_film_again(
    catalog: Catalog, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(folder / "film.mp4")
    put(folder / "film.srt", b"1\n00:00:01,000 --> 00:00:02,000\nbefore\n")
    scan(catalog, folder)
    before = catalog.value("SELECT source_id FROM files")
    put(folder / "film.srt", b"1\n00:00:01,000 --> 00:00:02,000\nafter\n")
    monkeypatch.setattr("tasks.scan.sha256_file", lambda path: pytest.fail("it was read again"))
    assert scan(catalog, folder) == (1, 0)
    (row,) = catalog.rows("SELECT source_id, cues FROM files")
    assert (row["source_id"], row["cues"][0]["text"]) == (before, "after")


# -- other kinds of sources in a catalog -------------------------------------------------------


def test_what_a_manifest_said_of_a_file_holds_where_the_file_is_named_alone(
    catalog: Catalog, folder: Path
) -> None:
    for name in ("a.mp4", "b.mp4", "c.mp4"):
        put(folder / name, name.encode())
    put(folder / "a.txt", b"what a sidecar says")
    (folder / "manifest.csv").write_text(
        "path,licence,speaker,transcript,truth\n"
        'a.mp4,CC0-1.0,Anna,what she says,"{""kind"": ""speech""}"\n'
        "b.mp4,,,only this,\n"
    )
    assert scan(catalog, folder) == (3, 0)
    said = catalog.rows("SELECT * EXCLUDE (run_id) FROM files ORDER BY uri")
    assert scan(catalog, folder, files=tuple(str(path) for path in folder.glob("*.mp4"))) == (0, 0)
    assert catalog.rows("SELECT * EXCLUDE (run_id) FROM files ORDER BY uri") == said
    # Of what no manifest knows a sidecar says the newest.
    put(folder / "c.txt", b"and now this")
    assert scan(catalog, folder, files=(str(folder / "c.mp4"),)) == (1, 0)
    assert catalog.rows("SELECT transcript FROM files ORDER BY uri") == [
        {"transcript": text} for text in ("what she says", "only this", "and now this")
    ]


def uris(catalog: Catalog) -> list[str]:
    return [row["uri"] for row in catalog.rows("SELECT uri FROM files ORDER BY uri")]


def test_globs_choose_files_and_what_they_leave_out_leaves_the_catalog(
    catalog: Catalog, folder: Path
) -> None:
    for name in ("a.mp4", "talks/b.mp4", "talks/c.wav"):
        put(folder / name)
    scan(catalog, folder)
    assert scan(catalog, folder, globs=("**/*.wav", "*.mp4")) == (0, 1)
    assert names(catalog) == ["a.mp4", "c.wav"]
    with pytest.raises(ValueError, match=r"scan.globs: 'talk/\*' matches no media file"):
        list_folder(ScanConfig(folder=str(folder), globs=("*.mp4", "talk/*")))


@pytest.mark.parametrize("name", ["archive", "arc hive%"])
def test_members_of_a_tar_come_leave_and_stay_as_files_do(
    catalog: Catalog, folder: Path, name: str
) -> None:
    own = folder.with_name(name)
    tar = write_tar(own / "s.tar", {"a.mp4": b"media", "b.mp4": b"other"})
    put(own / "same.mp4")
    put(folder.with_name(f"{name}-2") / "x.mp4", b"x")
    assert scan(catalog, own) == (3, 0)
    assert catalog.value("SELECT count(DISTINCT source_id) FROM files") == 2
    assert scan(catalog, folder.with_name(f"{name}-2")) == (1, 0)
    assert len(uris(catalog)) == 4
    write_tar(tar, {"b.mp4": b"other", "c.mp4": b"third"})
    assert scan(catalog, own) == (2, 1)
    assert scan(catalog, tar) == (0, 0)
    tar.unlink()
    assert scan(catalog, own) == (0, 2)
    assert len(uris(catalog)) == 2


def test_a_tar_that_was_only_touched_gives_the_same_sources(catalog: Catalog, folder: Path) -> None:
    tar = write_tar(folder / "s.tar", {"a.mp4": b"media"})
    scan(catalog, folder)
    before = catalog.rows("SELECT uri, source_id FROM files")
    os.utime(tar, ns=(1, 1))
    assert scan(catalog, folder) == (1, 0)
    assert catalog.rows("SELECT uri, source_id FROM files") == before


def test_a_damaged_tar_is_a_reject_beside_its_good_members(catalog: Catalog, folder: Path) -> None:
    tar = write_tar(folder / "s.tar", {"a.mp4": bytes(600), "b.mp4": bytes(600)})
    whole = tar.read_bytes()
    tar.write_bytes(whole[:2200])
    scan(catalog, folder)
    assert [uri.rpartition("#")[2] for uri in uris(catalog)] == ["/a.mp4"]
    assert catalog.rows("SELECT uri, reason FROM rejects") == [
        {"uri": str(tar), "reason": "truncated"}
    ]
    tar.write_bytes(whole)
    scan(catalog, folder)
    assert len(uris(catalog)) == 2
    assert catalog.value("SELECT count(*) FROM rejects") == 0


def test_a_manifest_of_uris_owns_what_it_lists_and_nothing_else(
    catalog: Catalog, folder: Path
) -> None:
    far = folder.with_name("far")
    for path in (folder / "a.mp4", folder / "b.mp4", far / "c.mp4", far / "d.mp4"):
        put(path, path.name.encode())
    scan(catalog, folder)
    listing = folder / "list.csv"
    listing.write_text(f"uri\n{folder}/a.mp4\n{far}/c.mp4\n{far}/d.mp4\n")
    scan(catalog, folder, manifest="list.csv")
    assert names(catalog) == ["a.mp4", "b.mp4", "c.mp4", "d.mp4"]
    listing.write_text(f"uri\n{folder}/a.mp4\n{far}/c.mp4\n")
    assert scan(catalog, folder, manifest="list.csv") == (0, 1)
    assert names(catalog) == ["a.mp4", "b.mp4", "c.mp4"]
    own = "SELECT uri FROM files WHERE listed_in = ? ORDER BY uri"
    found = catalog.rows(own, [str(listing)])
    assert [row["uri"] for row in found] == [f"{folder}/a.mp4", f"{far}/c.mp4"]


def test_a_manifest_that_lists_no_longer_lets_go_of_what_it_listed(
    catalog: Catalog, folder: Path
) -> None:
    far = put(folder.with_name("far") / "c.mp4")
    put(folder / "a.mp4", b"a")
    put(folder / "list.csv", f"uri\n{far}\n".encode())
    scan(catalog, folder, manifest="list.csv")
    put(folder / "list.csv", b"path,licence\na.mp4,CC0\n")
    assert scan(catalog, folder, manifest="list.csv") == (1, 1)
    assert names(catalog) == ["a.mp4"]


def test_the_same_clip_in_a_folder_a_tar_and_a_dataset_is_one_source(
    catalog: Catalog, folder: Path
) -> None:
    put(folder / "a.wav")
    write_tar(folder / "s.tar", {"b.wav": b"media"})
    (path,) = write_dataset(folder / "set", {"audio": [("c.wav", b"media")]}, {"audio": "Audio"})
    assert scan(catalog, folder) == (3, 0)
    assert catalog.value("SELECT count(DISTINCT source_id) FROM files") == 1
    put(folder.with_name("other") / "x.mp4", b"x")
    assert scan(catalog, folder.with_name("other")) == (1, 0)
    assert scan(catalog, folder / "set") == (0, 0)
    os.utime(path, ns=(1, 1))
    assert scan(catalog, folder / "set") == (1, 0)
    assert len(uris(catalog)) == 4
