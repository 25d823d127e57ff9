"""Two versions of a dataset: what came, went and changed, and the reason that the tables give."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from storage.catalog import Catalog
from storage.lake import connection_with
from storage.snapshots import as_of, snapshots
from storage.version_facts import Past
from storage.versions import REASONS, UnknownVersion, VersionDiff, _shared, diff, resolve
from storage.workspace import Workspace
from tests.conftest import Place
from tests.made_archive import add, add_dataset, full

CLIPS = (
    "same", "gone", "moved", "edited", "recut", "dropped", "relabelled", "retold", "respelt",
    "refeatured", "resplit", "parent", "ambience",
)  # fmt: skip


def window(catalog: Catalog, name: str, source: str | None = None) -> None:
    """A clip of a source of its own with labels, text, phonemes and two features."""
    source = source or f"src-{name}"
    clip_id = full(name)
    add(catalog, "windows", {"clip_id": clip_id, "source_id": source, "duration_s": 4.0})
    add(catalog, "kinds", {"clip_id": clip_id, "kind": "sound", "task": "v2s", "kept": True})
    add(catalog, "transcripts", {"clip_id": clip_id, "text": "as it was"})
    add(catalog, "phonemes", {"clip_id": clip_id, "phoneme": "a"})
    add(
        catalog,
        "features",
        {"clip_id": clip_id, "extractor": "mel_pca", "content_hash": "m" * 64},
        {"clip_id": clip_id, "extractor": "motion", "content_hash": "o" * 64},
    )


def source(catalog: Catalog, name: str, uri: str = "") -> None:
    uri = uri or f"/archive/{name}.mp4"
    add(catalog, "files", {"uri": uri, "source_id": f"src-{name}"})
    add(catalog, "sources", {"source_id": f"src-{name}", "uri": uri})
    add(catalog, "splits", {"source_id": f"src-{name}", "component_id": "c", "split": "train"})


def change(catalog: Catalog, *statements: str) -> None:
    with catalog.transaction():
        for statement in statements:
            catalog.connection.execute(statement)


def first_version(catalog: Catalog) -> None:
    for name in CLIPS:
        source(catalog, name)
        window(catalog, name)
    parents = {"speech_clip_id": full("parent"), "ambience_clip_id": full("ambience")}
    lost = {"speech_clip_id": full("gone"), "ambience_clip_id": full("ambience")}
    add(
        catalog,
        "mixtures",
        {"mix_id": full("mix-seen")} | parents,
        {"mix_id": full("mix-lost")} | lost,
        {"mix_id": full("mix-replanned")} | parents,
        {"mix_id": full("mix-alone"), "speech_clip_id": full("parent")},
    )
    mixed = {"extractor": "mel_pca", "content_hash": "x" * 64}
    for mix in ("mix-seen", "mix-alone"):
        add(catalog, "features", {"clip_id": full(mix)} | mixed)


def second_version(catalog: Catalog) -> None:
    """Changes one thing of each clip, as stages that run again would."""
    gone = f"clip_id = '{full('gone')}'"
    change(
        catalog,
        f"DELETE FROM windows WHERE {gone} OR clip_id = '{full('edited')}'",
        "DELETE FROM sources WHERE source_id IN ('src-gone', 'src-edited')",
        "DELETE FROM files WHERE source_id IN ('src-gone', 'src-edited')",
        "UPDATE files SET uri = '/else/moved.mp4' WHERE source_id = 'src-moved'",
        "UPDATE sources SET uri = '/else/moved.mp4' WHERE source_id = 'src-moved'",
        f"DELETE FROM windows WHERE clip_id = '{full('recut')}'",
        "UPDATE kinds SET kept = false, drop_reason = 'too_silent' "
        f"WHERE clip_id = '{full('dropped')}'",
        f"UPDATE kinds SET task = 'tts', kind = 'mixed' WHERE clip_id = '{full('relabelled')}'",
        f"UPDATE transcripts SET text = 'as it is' WHERE clip_id = '{full('retold')}'",
        f"UPDATE phonemes SET phoneme = 'e' WHERE clip_id = '{full('respelt')}'",
        f"UPDATE features SET content_hash = repeat('n', 64) WHERE extractor = 'motion' "
        f"AND clip_id IN ('{full('refeatured')}', '{full('parent')}')",
        "UPDATE splits SET split = 'test' WHERE source_id = 'src-resplit'",
        f"DELETE FROM mixtures WHERE mix_id = '{full('mix-replanned')}'",
    )
    with catalog.transaction():
        arrivals(catalog)


def arrivals(catalog: Catalog) -> None:
    source(catalog, "new")
    window(catalog, "new")
    add(catalog, "files", {"uri": "/archive/edited.mp4", "source_id": "src-edited-again"})
    edited = {"source_id": "src-edited-again", "uri": "/archive/edited.mp4"}
    add(catalog, "sources", edited)
    window(catalog, "edited-again", "src-edited-again")
    window(catalog, "recut-anew", "src-recut")


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory, place: Place) -> Iterator[Catalog]:
    with Catalog(Workspace.at(place(tmp_path_factory.mktemp("versions"))).make()) as opened:
        with opened.transaction():
            first_version(opened)
        mixes = ("mix-seen", "mix-lost", "mix-replanned", "mix-alone")
        old: dict[str, str] = dict.fromkeys((*CLIPS[:-1], *mixes), "1")
        snapshot = opened.snapshot()
        with opened.transaction():
            add_dataset(opened, "dataset-old", old, snapshot)
        second_version(opened)
        left = {"gone", "edited", "recut", "dropped", "mix-lost", "mix-replanned"}
        new = dict.fromkeys(set(old) - left, "2") | {"same": "1", "moved": "1"}
        new |= dict.fromkeys(("new", "edited-again", "recut-anew"), "2")
        add_dataset(opened, "dataset-new", new, opened.snapshot(), version=2)
        change(
            opened,
            f"UPDATE dataset_items SET split = 'test' WHERE item_id = '{full('resplit')}' "
            f"AND dataset_id = '{full('dataset-new')}'",
        )
        yield opened


@pytest.fixture(scope="module")
def found(catalog: Catalog) -> VersionDiff:
    return diff(catalog, "made@1", "made@2")


@pytest.mark.parametrize(
    ("item", "change", "reasons"),
    [
        ("new", "came", {"source_new": "/archive/new.mp4"}),
        ("edited-again", "came", {"source_changed": "/archive/edited.mp4"}),
        ("recut-anew", "came", {"clip_cut": "/archive/recut.mp4"}),
        ("gone", "went", {"source_gone": "/archive/gone.mp4"}),
        ("edited", "went", {"source_changed": "/archive/edited.mp4"}),
        ("recut", "went", {"clip_gone": "/archive/recut.mp4"}),
        ("dropped", "went", {"gate": "kept → too_silent"}),
        ("mix-lost", "went", {"source_gone": "speech gone0000 /archive/gone.mp4"}),
        ("mix-replanned", "went", {"recipe": ""}),
        ("retold", "changed", {"transcript": "as it was → as it is"}),
        ("respelt", "changed", {"phonemes": ""}),
        ("refeatured", "changed", {"features": "motion oooooooo → nnnnnnnn"}),
        ("resplit", "changed", {"split": "train → test"}),
        ("mix-seen", "changed", {"features": "speech parent00 motion oooooooo → nnnnnnnn"}),
        ("mix-alone", "changed", {"features": "speech parent00 motion oooooooo → nnnnnnnn"}),
    ],
)
def test_an_item_that_differs_has_the_reason_that_was_made(
    found: VersionDiff, item: str, change: str, reasons: dict[str, str]
) -> None:
    (of_item,) = (i for i in found.items if i.item_id == full(item))
    assert of_item.change == change
    assert {r.code: r.detail for r in of_item.reasons} == reasons


def test_a_changed_label_names_its_columns(found: VersionDiff) -> None:
    (item,) = (i for i in found.items if i.item_id == full("relabelled"))
    assert [str(reason) for reason in item.reasons] == [
        "a label changed: kinds.kind sound → mixed",
        "a label changed: kinds.task v2s → tts",
    ]


def test_what_is_equal_is_counted_and_not_listed(found: VersionDiff) -> None:
    assert found.counts() == {"came": 3, "went": 6, "changed": 8, "same": 2}
    assert not {full("same"), full("moved")} & {item.item_id for item in found.items}
    assert {row["reason"] for row in found.by_reason()} <= set(REASONS)


def test_backwards_what_came_went(catalog: Catalog, found: VersionDiff) -> None:
    back = diff(catalog, "made@2", "made@1")
    turned = {"came": "went", "went": "came", "changed": "changed"}
    assert {i.item_id: turned[i.change] for i in back.items} == {
        i.item_id: i.change for i in found.items
    }


def test_a_version_does_not_differ_from_itself(catalog: Catalog) -> None:
    same = diff(catalog, "made", full("dataset-new")[:11])
    assert (same.items, same.counts()["same"]) == ((), 13)


def test_another_codec_is_the_reason(catalog: Catalog) -> None:
    codec = {"codec_id": full("codec-two"), "version": 3}
    add_dataset(catalog, "dataset-codec", {"same": "9"}, catalog.snapshot(), **codec)
    item = next(i for i in diff(catalog, "made@1", "made@3").items if i.item_id == full("same"))
    assert [str(reason) for reason in item.reasons] == ["another codec: codec-on → codec-tw"]


def test_an_expired_snapshot_is_said_to_be_the_reason(catalog: Catalog) -> None:
    lost = {"version": 4}
    add_dataset(catalog, "dataset-lost", {"same": "8"}, 10_000_000, **lost)
    (reasons,) = {item.reasons for item in diff(catalog, "made@1", "made@4").items}
    assert [str(reason) for reason in reasons] == [
        "the snapshot is no longer kept: of the second version"
    ]


@pytest.mark.parametrize("name", ["made@99", "made@x", "other", "dataset-"])
def test_an_unknown_version_names_those_that_there_are(catalog: Catalog, name: str) -> None:
    with pytest.raises(UnknownVersion, match=r"made@1, made@2|NAME@VERSION"):
        resolve(catalog, name)


def test_snapshots_are_paged_newest_first_with_what_they_changed(catalog: Catalog) -> None:
    pages: list[dict[str, Any]] = []
    before = None
    while page := snapshots(catalog, limit=40, before=before):
        pages += page
        before = page[-1]["snapshot"]
    assert [row["snapshot"] for row in pages] == list(range(catalog.snapshot(), -1, -1))
    pinned = {row["datasets"]: row["snapshot"] for row in pages if row["datasets"]}
    assert pinned["made@1"] == resolve(catalog, "made@1")["catalog_snapshot"]
    changes = [row["changes"] for row in pages]
    assert "insert dataset_items, datasets" in changes
    assert "delete dataset_items; insert dataset_items" in changes


def test_a_moment_is_a_snapshot_a_time_or_a_version(catalog: Catalog) -> None:
    pinned = resolve(catalog, "made@1")["catalog_snapshot"]
    when = catalog.value(
        "SELECT snapshot_time::VARCHAR FROM lake.snapshots() WHERE snapshot_id = ?", [pinned]
    )
    assert as_of(catalog, "made@1") == as_of(catalog, str(pinned)) == as_of(catalog, when) == pinned


@pytest.mark.parametrize(
    ("moment", "message"),
    [
        ("0", "snapshot 0 is not kept; the catalog holds 1 to"),
        ("999999", "snapshot 999999 is not kept"),
        ("2020-01-01", "no snapshot of that time or before"),
        ("yesterday", "give a snapshot id, a time"),
        ("made@7", "is no dataset"),
    ],
)
def test_a_moment_that_is_none_is_refused(catalog: Catalog, moment: str, message: str) -> None:
    with pytest.raises(UnknownVersion, match=message):
        as_of(catalog, moment)


@pytest.fixture
def attached(catalog: Catalog) -> Iterator[Callable[[int], Any]]:
    """Opens the catalog read-only as of a snapshot, in a connection of its own."""
    connections = []

    def attach(snapshot: int) -> Any:
        connection = connection_with("ducklake", "sqlite_scanner")
        connections.append(connection)
        workspace = catalog.workspace
        connection.execute(
            f"ATTACH 'ducklake:sqlite:{workspace.catalog_path}' AS lake (READ_ONLY, "
            f"DATA_PATH '{workspace.tables_url}', SNAPSHOT_VERSION {snapshot})"
        )
        connection.execute("USE lake")
        return connection

    yield attach
    for connection in connections:
        connection.close()


def test_tables_and_views_are_read_as_they_were(
    catalog: Catalog, attached: Callable[[int], Any]
) -> None:
    sql = "SELECT task FROM clips WHERE clip_id = ?"
    for version, task in (("made@1", "v2s"), ("made@2", "tts")):
        connection = attached(as_of(catalog, version))
        assert connection.execute(sql, [full("relabelled")]).fetchall() == [(task,)]
        assert catalog.value("SELECT task FROM clips WHERE clip_id = ?", [full("relabelled")])


def test_another_table_of_phoneme_ids_is_a_reason() -> None:
    before, after = Past(True, "codec", "0123456789ab"), Past(True, "codec", "ba9876543210")
    (reason,) = _shared(before, after)
    assert str(reason) == "another table of phoneme ids: 0123456789ab → ba9876543210"
