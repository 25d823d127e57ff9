"""A frozen dataset: its id is its content, and a mixture sees the picture that it sounds like."""

import dataclasses
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.phoneme_ids import TABLE_ID
from storage.blobs import Blobs
from storage.catalog import Catalog
from storage.features import pack_features
from storage.rejects import Rejected
from storage.schema import TABLES
from storage.stage import ShardTarget
from storage.versions import PLACE, resolve
from storage.workspace import Workspace
from tasks.sample_store import SampleStore
from tasks.snapshot import STAGE, SnapshotConfig, read_samples, snapshot
from tests.conftest import Place
from tests.made_catalog import bring_up

CLIP_S = 2.0
CONFIG = SnapshotConfig(name="made", folder="/archive")
FILES = {"film": "/archive/film.mp4", "rain": "/archive/rain.mp4", "read": "/archive/read.wav"}
ELSEWHERE = "/other/film.mp4"
TEXT: dict[str, Any] = {
    "string": "x",
    "double": 1.0,
    "int64": 1,
    "int32": 1,
    "bool": True,
}
LOOPED = {"clip_id": "rain-clip", "at_s": 0.0, "length_s": 2.0, "offset_s": 0.4, "loop_s": 1.2}
CONDITIONS = {
    "combine": "add",
    "picture": [LOOPED],
    "compose": None,
    "phonemes": {"clip_id": "read-clip", "at_s": 0.0},
}
SPEAKER = {"clip_id": "film-clip", "at_s": 2.4, "length_s": 2.0, "offset_s": 0.0, "loop_s": None}


def row(table: str, **values: Any) -> dict[str, Any]:
    """A row with something in every column that needs a value."""
    filled = {c.name: TEXT.get(str(c.type), []) for c in TABLES[table].columns if not c.nullable}
    return filled | {"run_id": "r-0"} | values


def recipe(**changes: Any) -> str:
    return json.dumps({"conditions": CONDITIONS | changes})


def features(workspace: Path, clip_id: str, duration_s: float, seen: bool) -> list[dict[str, Any]]:
    """Feature rows whose every row holds its own place on its grid."""
    sizes = {"mel_pca": 25.0}
    if seen:
        sizes |= {"efficientnet_lite0": 10.0, "motion": 25.0}
    if clip_id == "mix":
        sizes = {"mel_pca": 25.0}
    rows = [
        {
            "clip_id": clip_id,
            "extractor": extractor,
            "version": 1,
            "_array": np.arange(round(duration_s * rate))[:, None] * [1.0, 2.0],
        }
        for extractor, rate in sizes.items()
    ]
    return [row("features", **made) for made in pack_features(workspace, rows)]


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory, place: Place) -> Iterator[Catalog]:
    """A film with speech, rain with picture, a read text, and a mixture of the last two."""
    workspace = Workspace.at(place(tmp_path_factory.mktemp("snapshot"))).make()
    with Catalog(workspace) as catalog:
        tasks = {"film": "visual_tts", "rain": "v2s", "read": "tts"}
        for name, task in tasks.items():
            seen, clip = task != "tts", f"{name}-clip"
            catalog.insert("files", [row("files", uri=FILES[name], source_id=name)])
            catalog.insert(
                "windows",
                [
                    row(
                        "windows",
                        clip_id=clip,
                        source_id=name,
                        duration_s=CLIP_S,
                        has_picture=seen,
                    )
                ],
            )
            catalog.insert("kinds", [row("kinds", clip_id=clip, kept=True, task=task)])
            split = "test" if name == "film" else "train"
            catalog.insert("splits", [row("splits", source_id=name, split=split)])
            catalog.insert("features", features(workspace.root, clip, CLIP_S, seen))
            if task != "v2s":
                said = row("phonemes", clip_id=clip, phoneme="s", start_s=0.4, end_s=0.8)
                catalog.insert("phonemes", [said])
        catalog.insert("codecs", [row("codecs", codec_id="codec", name="mel_pca")])
        mixture = row(
            "mixtures",
            mix_id="mix",
            speech_clip_id="read-clip",
            split="train",
            duration_s=CLIP_S,
            recipe=recipe(),
        )
        catalog.insert("mixtures", [mixture])
        catalog.insert("features", features(workspace.root, "mix", CLIP_S, False))
        yield catalog


@pytest.fixture
def catalog(opened: Catalog) -> Iterator[Catalog]:
    """The catalog, which forgets what a test does to it."""
    opened.connection.execute("BEGIN")
    yield opened
    opened.connection.execute("ROLLBACK")


def items(catalog: Catalog, config: SnapshotConfig = CONFIG) -> list[dict[str, Any]]:
    fields = {
        "name": config.name,
        "folder": config.folder,
        "licences": list(config.licences),
        "manifest": config.manifest,
        "sync": config.sync,
        "lips": config.lips,
        "speaker": config.speaker,
        "extractor": config.extractor,
    }
    return catalog.rows(STAGE.items, fields)


def dataset_id(catalog: Catalog, config: SnapshotConfig = CONFIG) -> str:
    (item,) = items(catalog, config)
    return item["item_id"]


def members(catalog: Catalog, config: SnapshotConfig = CONFIG) -> set[str]:
    return {m["item_id"] for item in items(catalog, config) for m in item["_members"]}


def test_another_phoneme_table_is_another_version(catalog: Catalog) -> None:
    other = STAGE.items.replace(TABLE_ID, "0123456789ab")
    (item,) = catalog.rows(other, dataclasses.asdict(CONFIG) | {"licences": []})
    assert item["item_id"] != dataset_id(catalog)


def test_kept_clips_and_mixtures_of_the_folder_are_members(catalog: Catalog) -> None:
    assert members(catalog) == {"film-clip", "rain-clip", "read-clip", "mix"}
    assert members(catalog, SnapshotConfig("made", "/arch")) == set()
    assert members(catalog, SnapshotConfig("made", "")) == members(catalog)
    catalog.connection.execute("UPDATE lake.kinds SET kept = false WHERE clip_id = 'film-clip'")
    catalog.connection.execute("UPDATE lake.kinds SET task = NULL WHERE clip_id = 'rain-clip'")
    assert members(catalog) == {"read-clip", "mix"}


STATED = {"film": "CC0-1.0", "rain": "CC-BY-3.0", "read": "CC0-1.0"}


@pytest.mark.parametrize(
    ("licences", "expected"),
    [
        (("CC0-1.0", "CC-BY-3.0"), {"film-clip", "rain-clip", "read-clip", "mix"}),
        # The mixture's ambience is under another licence.
        (("CC0-1.0",), {"film-clip", "read-clip"}),
        (("CC-BY-3.0",), {"rain-clip"}),
        (("cc0-1.0", "unknown"), set()),
    ],
    ids=["all", "speech alone", "ambience alone", "another spelling"],
)
def test_a_required_licence_leaves_out_what_is_not_under_it(
    catalog: Catalog, licences: tuple[str, ...], expected: set[str]
) -> None:
    catalog.connection.execute("UPDATE lake.mixtures SET ambience_clip_id = 'rain-clip'")
    for source, licence in STATED.items():
        update = "UPDATE lake.files SET licence = ? WHERE source_id = ?"
        catalog.connection.execute(update, [licence, source])
    config = SnapshotConfig("made", "", licences)
    assert members(catalog, config) == expected
    catalog.connection.execute("UPDATE lake.files SET licence = 'unknown'")
    assert members(catalog, config) == set()
    assert len(members(catalog, SnapshotConfig("made", ""))) == 4


@pytest.mark.parametrize(
    ("beside", "is_member"),
    [(None, True), ("unknown", True), ("CC0-1.0", True), ("CC-BY-NC-2.0", False)],
)
def test_files_of_equal_bytes_must_not_contradict_each_other(
    catalog: Catalog, beside: str | None, is_member: bool
) -> None:
    catalog.connection.execute("UPDATE lake.files SET licence = 'CC0-1.0'")
    copy = row("files", uri=ELSEWHERE, source_id="film", licence=beside)
    catalog.insert("files", [copy])
    allowed = members(catalog, SnapshotConfig("made", "/archive", ("CC0-1.0",)))
    assert ("film-clip" in allowed) == is_member


def test_a_source_elsewhere_is_a_member_only_while_a_copy_lies_in_the_folder(
    catalog: Catalog,
) -> None:
    catalog.insert("files", [row("files", uri=ELSEWHERE, source_id="film")])
    assert "film-clip" in members(catalog)
    catalog.connection.execute("DELETE FROM lake.files WHERE uri = ?", [FILES["film"]])
    assert "film-clip" not in members(catalog)


def test_a_file_whose_name_is_not_utf_8_lies_in_the_folder(catalog: Catalog) -> None:
    catalog.connection.execute(
        "UPDATE lake.files SET uri = 'file:///archive/%FF.mp4' WHERE source_id = 'film'"
    )
    assert "film-clip" in members(catalog)


@pytest.mark.parametrize(
    "uri", ["tar:///archive/a.tar#/film.mp4", "arrow:///archive/d/data-0.arrow#/video/0/film.mp4"]
)
def test_what_lies_in_a_tar_or_dataset_of_the_folder_is_a_member(
    catalog: Catalog, uri: str
) -> None:
    catalog.connection.execute("UPDATE lake.files SET uri = ? WHERE source_id = 'film'", [uri])
    assert "film-clip" in members(catalog)
    moved = uri.replace("/archive", "/archive-2")
    catalog.connection.execute("UPDATE lake.files SET uri = ? WHERE source_id = 'film'", [moved])
    assert "film-clip" not in members(catalog)


def test_where_a_manifest_lists_the_sources_only_these_are_members(catalog: Catalog) -> None:
    catalog.connection.execute(
        "UPDATE lake.files SET listed_in = '/m.csv', uri = ? WHERE source_id = 'film'", [ELSEWHERE]
    )
    found = members(catalog, SnapshotConfig("made", "/archive", manifest="/m.csv"))
    assert "film-clip" in found
    assert "read-clip" not in found
    assert "film-clip" not in members(catalog)


CHANGES = {
    "latents": "UPDATE lake.features SET content_hash = 'x' WHERE clip_id = 'mix'",
    "picture": "UPDATE lake.features SET content_hash = 'x' WHERE clip_id = 'rain-clip' "
    "AND extractor = 'efficientnet_lite0'",
    "motion": "UPDATE lake.features SET content_hash = 'x' WHERE clip_id = 'film-clip' "
    "AND extractor = 'motion'",
    "phonemes": "UPDATE lake.phonemes SET start_s = 0.5 WHERE clip_id = 'film-clip'",
    "split": "UPDATE lake.splits SET split = 'validation' WHERE source_id = 'rain'",
    "task": "UPDATE lake.kinds SET task = 'tts' WHERE clip_id = 'film-clip'",
    "codec": "UPDATE lake.codecs SET codec_id = 'other'",
    "member": "DELETE FROM lake.features WHERE clip_id = 'read-clip'",
    "offset": "UPDATE lake.mixtures SET recipe = replace(recipe, '0.4', '0.8')",
    "loop": "UPDATE lake.mixtures SET recipe = replace(recipe, '1.2', '1.6')",
    "combine": """UPDATE lake.mixtures SET recipe = replace(recipe, '"add"', '"insert"')""",
    "place": "UPDATE lake.mixtures SET recipe = replace(recipe, '0.0, \"len', '0.2, \"len')",
    "speech": "UPDATE lake.mixtures SET recipe = replace(recipe, '0.0}}', '0.2}}')",
    "composed": "UPDATE lake.mixtures SET "
    """recipe = replace(recipe, '"compose": null', '"compose": {"kind": "cut"}')""",
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_id_changes_with_the_content_of_any_member(catalog: Catalog, change: str) -> None:
    before = dataset_id(catalog)
    catalog.connection.execute(CHANGES[change])
    assert dataset_id(catalog) != before


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE lake.files SET mtime_ns = 7, licence = 'CC0'",
        "UPDATE lake.features SET run_id = 'r-9', shard_ref = 'shards/x/other.parquet'",
        "UPDATE lake.windows SET scene = 9",
        "UPDATE lake.mixtures SET item_id = 'other', run_id = 'r-9'",
        "UPDATE lake.codecs SET fitted_clips = 99",
        "DELETE FROM lake.phonemes WHERE clip_id = 'rain-clip'",
    ],
)
def test_the_id_does_not_change_with_anything_else(catalog: Catalog, sql: str) -> None:
    before = dataset_id(catalog)
    catalog.connection.execute(sql)
    assert dataset_id(catalog) == before


def test_the_id_does_not_depend_on_the_order_of_rows_but_on_the_name(catalog: Catalog) -> None:
    before = dataset_id(catalog)
    rows = catalog.rows("FROM lake.features ORDER BY clip_id DESC, extractor DESC")
    catalog.connection.execute("DELETE FROM lake.features")
    catalog.insert("features", rows)
    assert dataset_id(catalog) == before
    assert dataset_id(catalog, SnapshotConfig("other", "/archive")) != before


def samples(catalog: Catalog, split: str) -> dict[str, dict[str, Any]]:
    (refs,) = catalog.rows("SELECT shard_refs FROM datasets")
    found = read_samples(catalog.workspace.root, refs["shard_refs"], split)
    assert [s["item_id"] for s in found] == sorted(s["item_id"] for s in found)
    return {sample["item_id"]: sample for sample in found}


@pytest.fixture(scope="module")
def frozen(opened: Catalog) -> Catalog:
    bring_up(opened, STAGE, CONFIG)
    return opened


def speak(catalog: Catalog, clip: str, split: str, speaker: str | None, folder: str) -> None:
    """A clip of speech whose voice is its own number; `truth:` says that the truth names it."""
    number, said = int(clip.rpartition("-")[2]), (speaker or "").partition("truth:")[2]
    named = None if said else speaker
    catalog.insert("files", [row("files", uri=f"{folder}/{clip}", source_id=clip, speaker=named)])
    window = {"clip_id": clip, "source_id": clip, "duration_s": CLIP_S, "has_picture": False}
    catalog.insert("windows", [row("windows", **window)])
    catalog.insert("kinds", [row("kinds", clip_id=clip, kept=True, task="tts")])
    catalog.insert("splits", [row("splits", source_id=clip, split=split)])
    if said:
        catalog.insert("truths", [row("truths", source_id=clip, voice=said)])
    catalog.insert("features", features(catalog.workspace.root, clip, CLIP_S, False))
    voice = {"clip_id": clip, "extractor": "ge2e", "version": 1}
    packed = pack_features(catalog.workspace.root, [voice | {"_array": np.full((1, 4), number)}])
    catalog.insert("features", [row("features", **made) for made in packed])


SPOKEN = {
    "anna-1": ("train", "Anna", 2),
    "anna-2": ("train", " anna ", 3),
    "anna-3": ("train", "ANNA", 1),
    "anna-4": ("test", "Anna", 2),
    "anna-5": ("validation", "Anna", 2),
    "bob-6": ("test", "truth:bob", 7),
    "bob-7": ("test", "truth:bob", 6),
    "carl-8": ("train", "Carl", 8),
    "who-9": ("train", None, 9),
    "who-10": ("train", "unknown", 10),
}
"""Clips, their split, who speaks, and whose voice each is to be given."""


def test_a_sample_has_the_voice_of_another_clip_of_its_speaker_and_its_own_where_there_is_none(
    catalog: Catalog, tmp_path: Path
) -> None:
    for clip, (split, speaker, _) in SPOKEN.items():
        speak(catalog, clip, split, speaker, "/archive")
    speak(catalog, "anna-0", "train", "Anna", "/elsewhere")
    before = dataset_id(catalog)
    config = dataclasses.replace(CONFIG, speaker="ge2e")
    recipes = "UPDATE lake.mixtures SET speech_clip_id = 'anna-3'"
    catalog.connection.execute(recipes)
    assert dataset_id(catalog) == before != dataset_id(catalog, config)
    (item,) = items(catalog, config)
    rows = snapshot(item, ShardTarget(str(catalog.workspace.root), str(tmp_path)), config)
    refs = rows["datasets"][0]["shard_refs"]
    found: dict[str, Any] = {}
    for split in ("train", "validation", "test"):
        for sample in read_samples(catalog.workspace.root, refs, split):
            voice = sample["speaker"]
            found[sample["item_id"]] = None if voice is None else voice.tolist()
    expected: dict[str, Any] = {clip: [[whose] * 4] for clip, (_, _, whose) in SPOKEN.items()}
    others = dict.fromkeys(("film-clip", "rain-clip", "read-clip"))
    assert found == expected | others | {"mix": [[1] * 4]}
    store = SampleStore(catalog.workspace.root, refs, "train")
    names = dict(zip(store.column("item_id"), store.column("speaker_name"), strict=True))
    assert names["anna-1"] == names["mix"] == "anna" and names["carl-8"] == "carl"
    assert names["who-9"] is names["who-10"] is names["rain-clip"] is None
    by_index = {s["item_id"]: s["speaker"] for s in store.read(range(len(store)))}
    assert by_index["rain-clip"] is None and by_index["mix"].tolist() == [[1] * 4]
    # Who speaks is content, as what they sound like is.
    catalog.connection.execute("UPDATE lake.files SET speaker = 'D' WHERE source_id = 'carl-8'")
    assert dataset_id(catalog, config) != item["item_id"]


def test_freezing_writes_members_counts_and_hours(frozen: Catalog) -> None:
    (dataset,) = frozen.rows("FROM datasets")
    assert (dataset["name"], dataset["version"], dataset["codec_id"]) == ("made", 1, "codec")
    assert [dataset[f"{s}_items"] for s in ("train", "validation", "test")] == [3, 0, 1]
    assert dataset["phoneme_table"] == TABLE_ID
    assert dataset["hours"] == pytest.approx(4 * CLIP_S / 3600)
    assert frozen.value("SELECT count(*) FROM dataset_items") == 4
    assert frozen.plan(STAGE, CONFIG).is_idle


def test_samples_hold_the_arrays_of_their_clips(frozen: Catalog) -> None:
    train = samples(frozen, "train")
    assert set(train) == {"rain-clip", "read-clip", "mix"}
    rain = train["rain-clip"]
    assert np.array_equal(rain["latents"][:, 0], np.arange(50))
    assert np.array_equal(rain["visual"][:, 1], 2 * np.arange(20))
    assert np.array_equal(rain["motion"][:, 0], np.arange(50))
    assert not rain["phonemes"].any()
    read = train["read-clip"]
    assert read["visual"] is None and read["motion"] is None
    assert np.flatnonzero(read["phonemes"]).tolist() == list(range(10, 20))
    assert set(samples(frozen, "test")) == {"film-clip"}


def test_a_mixture_sees_the_looped_picture_of_its_ambience_from_its_offset_on(
    frozen: Catalog,
) -> None:
    mix = samples(frozen, "train")["mix"]
    at_10 = (np.arange(20) % 12) + 4  # 1.2 s of picture that repeats, from 0.4 s on
    at_25 = (np.arange(50) % 30) + 10
    assert np.array_equal(mix["visual"][:, 0], at_10)
    assert np.array_equal(mix["motion"][:, 0], at_25)
    assert np.flatnonzero(mix["phonemes"]).tolist() == list(range(10, 20))


MIX_S = 6.0
OVER = {"add": 1.0, "insert": 0.0}


@pytest.mark.parametrize("combine", OVER)
def test_conditions_change_on_the_frames_at_which_the_speech_begins_and_ends(
    catalog: Catalog, tmp_path: Path, combine: str
) -> None:
    base = LOOPED | {"length_s": MIX_S}
    said = {"clip_id": "read-clip", "at_s": 2.4}
    made = recipe(combine=combine, picture=[base, SPEAKER], phonemes=said)
    mix = mixed(catalog, tmp_path, made)
    for feature, fps, first, last in (("visual", 10, 24, 44), ("motion", 25, 60, 110)):
        loop = (np.arange(round(MIX_S * fps)) % round(1.2 * fps)) + round(0.4 * fps)
        over = np.arange(last - first) + OVER[combine] * loop[first:last]
        expected = np.concatenate([loop[:first], over, loop[last:]])
        assert np.array_equal(mix[feature][:, 0], expected), feature
    # The clip says something from 0.4 to 0.8 s.
    assert np.flatnonzero(mix["phonemes"]).tolist() == list(range(70, 80))


def test_frames_that_no_part_covers_are_zeros_and_no_part_is_no_picture(
    catalog: Catalog, tmp_path: Path
) -> None:
    mix = mixed(catalog, tmp_path, recipe(picture=[SPEAKER | {"at_s": 4.2}]))
    assert not mix["visual"][:42].any() and not mix["motion"][:105].any()
    assert np.array_equal(mix["motion"][105:, 0], np.arange(45))
    for picture in ([], [LOOPED | {"clip_id": "read-clip"}]):
        mix = mixed(catalog, tmp_path, recipe(picture=picture))
        assert mix["visual"] is None and mix["motion"] is None


def test_a_composed_mixture_sees_its_own_picture_or_none(catalog: Catalog, tmp_path: Path) -> None:
    made = recipe(picture=[LOOPED, SPEAKER], compose={"kind": "cut"})
    assert mixed(catalog, tmp_path, made)["visual"] is None
    row_of_mix = {"clip_id": "mix", "extractor": "composed_efficientnet_lite0", "version": 1}
    array = np.full((60, 2), 7.0)
    (packed,) = pack_features(catalog.workspace.root, [row_of_mix | {"_array": array}])
    catalog.insert("features", [row("features", **packed)])
    mix = mixed(catalog, tmp_path, made)
    assert np.array_equal(mix["visual"], array) and mix["motion"] is None


def test_a_dataset_takes_the_latents_of_its_codec_and_the_features_of_its_extractor(
    catalog: Catalog,
) -> None:
    seen = CONFIG.name, CONFIG.folder
    assert items(catalog, SnapshotConfig(*seen, extractor="clip_vit_b16")) != items(catalog)
    swap = "UPDATE lake.features SET extractor = ? WHERE extractor = ?"
    before = items(catalog)
    catalog.connection.execute(swap, ["clip_vit_b16", "efficientnet_lite0"])
    assert items(catalog, SnapshotConfig(*seen, extractor="clip_vit_b16")) == before
    catalog.connection.execute("UPDATE lake.codecs SET name = 'audioldm2'")
    assert items(catalog) == []
    catalog.connection.execute(swap, ["audioldm2", "mel_pca"])
    assert items(catalog, SnapshotConfig(*seen, extractor="clip_vit_b16")) == before


@pytest.mark.parametrize(
    ("parents", "expected"),
    [
        ({"ambience_clip_id": None}, {"CC0-1.0"}),
        ({"speech_clip_id": None, "ambience_clip_id": "rain-clip"}, {"CC-BY-3.0"}),
    ],
    ids=["speech only", "ambience only"],
)
def test_a_mixture_needs_the_licences_of_the_parents_that_it_has(
    catalog: Catalog, parents: dict[str, str | None], expected: set[str]
) -> None:
    for column, value in parents.items():
        catalog.connection.execute(f"UPDATE lake.mixtures SET {column} = ?", [value])
    for source, licence in STATED.items():
        update = "UPDATE lake.files SET licence = ? WHERE source_id = ?"
        catalog.connection.execute(update, [licence, source])
    for licences in ({"CC0-1.0"}, {"CC-BY-3.0"}):
        found = members(catalog, SnapshotConfig("made", "", tuple(sorted(licences))))
        assert ("mix" in found) == (expected == licences)


def mixed(catalog: Catalog, folder: Path, made: str) -> dict[str, Any]:
    """The sample of the mixture where it has this recipe and is six seconds long."""
    catalog.connection.execute("UPDATE lake.mixtures SET recipe = ?, duration_s = ?", [made, MIX_S])
    (item,) = items(catalog)
    root = str(catalog.workspace.root)
    rows = snapshot(item, ShardTarget(root, str(folder)), CONFIG)
    found = read_samples(root, rows["datasets"][0]["shard_refs"], "train")
    return next(sample for sample in found if sample["item_id"] == "mix")


def test_a_new_member_is_a_new_version_and_the_old_one_stays(frozen: Catalog) -> None:
    frozen.connection.execute("BEGIN")
    try:
        frozen.connection.execute(CHANGES["member"])
        (item,) = items(frozen)
        assert item["_version"] == 2
    finally:
        frozen.connection.execute("ROLLBACK")
    (item,) = items(frozen)
    assert item["_version"] == 1


def test_a_version_that_comes_back_is_frozen_again_and_is_the_newest(opened: Catalog) -> None:
    config = dataclasses.replace(CONFIG, name="returning")
    runs = iter(range(1, 11))

    def freeze() -> list[tuple[int, int | None, str]]:
        """The versions after a build, the newest first; the build after it has nothing to do."""
        bring_up(opened, STAGE, config, f"r-{next(runs)}")
        assert bring_up(opened, STAGE, config, f"r-{next(runs)}").items == 0
        rows = opened.rows(
            f"SELECT version, freeze_number, run_id FROM datasets d WHERE name = 'returning' "
            f"ORDER BY {PLACE} DESC"
        )
        found = [(row["version"], row["freeze_number"], row["run_id"]) for row in rows]
        assert resolve(opened, "returning")["version"] == found[0][0]
        newest = "SELECT version FROM newest_datasets WHERE name = 'returning'"
        assert opened.value(newest) == found[0][0]
        return found

    split = "UPDATE lake.splits SET split = '{}' WHERE source_id = 'rain'"
    assert freeze() == [(1, None, "r-1")]
    first = resolve(opened, "returning")
    try:
        opened.connection.execute(split.format("validation"))
        assert freeze() == [(2, None, "r-3"), (1, None, "r-1")]
        opened.connection.execute(split.format("train"))
        assert freeze() == [(1, 3, "r-5"), (2, None, "r-3")]
        again = {name for name, value in resolve(opened, "returning").items()
                 if value != first[name]}  # fmt: skip
        assert again == {"freeze_number", "catalog_snapshot", "run_id"}
        assert opened.value(
            "SELECT count(*) FROM dataset_items WHERE dataset_id = ?", [first["dataset_id"]]
        ) == len(members(opened))
        opened.connection.execute(split.format("validation"))
        assert freeze() == [(2, 4, "r-7"), (1, 3, "r-5")]
        opened.connection.execute(split.format("test"))
        assert freeze() == [(3, 5, "r-9"), (2, 4, "r-7"), (1, 3, "r-5")]
    finally:
        opened.connection.execute(split.format("train"))


def test_a_feature_whose_bytes_changed_stops_the_dataset(catalog: Catalog, tmp_path: Path) -> None:
    catalog.connection.execute(CHANGES["motion"])
    (item,) = items(catalog)
    with pytest.raises(Rejected, match="clip film-clip") as caught:
        snapshot(item, ShardTarget(str(catalog.workspace.root), str(tmp_path)), CONFIG)
    assert caught.value.reason == "content_hash"


def test_nothing_to_freeze_is_no_item(catalog: Catalog) -> None:
    catalog.connection.execute("DELETE FROM lake.windows")
    assert items(catalog) == []


def test_shards_are_named_by_their_content(frozen: Catalog) -> None:
    root = frozen.workspace.root
    (refs,) = frozen.rows("SELECT shard_refs FROM datasets WHERE name = 'made'")
    for ref in refs["shard_refs"]:
        assert Path(ref).stem == hashlib.sha256((root / ref).read_bytes()).hexdigest()
    assert Blobs(root).path("blobs/x").is_relative_to(root)
