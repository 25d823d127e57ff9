"""Near-duplicates are found, also as excerpts; nothing else is; growth gives what scratch gives."""

import dataclasses
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.timeline import AUDIO_HZ
from storage.blobs import Blobs
from storage.catalog import Catalog
from storage.workspace import Workspace
from tasks import fingerprint
from tasks.decode import FILES, DecodeConfig
from tasks.decode_pass import decode_source
from tasks.fingerprint import NOTHING, SOUND_BITS, SOUND_STEP_S
from tasks.match import STAGE, MatchConfig
from tasks.match_pairs import find_pairs, picture_sense, sound_sense
from tests.made_catalog import bring_up
from tests.made_commits import made_row
from tests.made_media import Track, even_times, write_media
from tests.made_sound import encoded, scene, tune

SOUND = sound_sense(3.0, 0.3)
LONG = 200


def values(seed: int, count: int = LONG) -> list[int]:
    return np.random.default_rng(seed).integers(0, 1 << SOUND_BITS, count).tolist()


def spoiled(sound: list[int], share: float, seed: int = 9) -> list[int]:
    """The values with a share of their bits turned."""
    turned = np.random.default_rng(seed).random((len(sound), SOUND_BITS)) < share
    return (np.asarray(sound) ^ (turned @ (1 << np.arange(SOUND_BITS)))).tolist()


def pairs(
    sounds: dict[str, list[int]], fresh: set[str] | None = None, max_sources: int = 100
) -> list[dict[str, Any]]:
    """The pairs of made sounds by name; all are fresh unless some are named."""
    names = sorted(sounds)
    with duckdb.connect() as connection:
        table = pa.table(
            {
                "n": pa.array(range(len(names)), pa.int32()),
                "source_id": names,
                "is_fresh": [fresh is None or name in fresh for name in names],
                "sound": pa.array([sounds[name] for name in names], pa.list_(pa.int32())),
            }
        )
        connection.register("fingerprints", table.select(["source_id", "sound"]))
        connection.register("numbered", table.select(["n", "source_id", "is_fresh"]))
        found = find_pairs(connection, SOUND, max_sources)
    return [row | {"a": names[row["a"]], "b": names[row["b"]]} for row in found]


def test_an_excerpt_is_found_with_its_place_its_length_and_its_score() -> None:
    whole = values(1)
    found = pairs({"whole": whole, "excerpt": spoiled(whole[80:150], 0.05), "other": values(2)})
    (pair,) = found
    assert (pair["a"], pair["b"], pair["kind"]) == ("excerpt", "whole", "same_sound")
    assert pair["shift_s"] == pytest.approx(-80 * SOUND_STEP_S)
    assert pair["matched_s"] == pytest.approx(70 * SOUND_STEP_S)
    assert pair["score"] == pytest.approx(0.96, abs=0.01)


def test_a_shared_stretch_between_other_things_is_found() -> None:
    shared = values(3, 60)
    sounds = {"a": values(4) + shared + values(5), "b": shared + values(6)}
    (pair,) = pairs(sounds)
    assert pair["matched_s"] < 100 * SOUND_STEP_S


@pytest.mark.parametrize(
    "other",
    [values(2), spoiled(values(1), 0.42), [NOTHING] * LONG, values(1)[:15], [], values(1)[:1] * 90],
    ids=["unrelated", "too far", "silence", "too short", "empty", "one value again and again"],
)
def test_what_is_not_the_same_is_no_pair(other: list[int]) -> None:
    assert pairs({"a": values(1), "b": other}) == []


def test_silence_within_counts_for_neither_side() -> None:
    whole = values(1)
    holes = [NOTHING if k % 3 else value for k, value in enumerate(whole)]
    assert len(pairs({"a": whole, "b": holes})) == 1


def test_what_too_many_sources_share_tells_nothing() -> None:
    jingle = values(7, 60)
    sounds = {f"s{n}": jingle + values(10 + n) for n in range(6)}
    assert len(pairs(sounds, max_sources=6)) == 15
    assert pairs(sounds, max_sources=5) == []


@settings(max_examples=6, deadline=None)
@given(st.permutations(range(6)), st.integers(1, 5))
def test_growth_in_any_order_finds_the_pairs_of_scratch(order: list[int], first: int) -> None:
    base, other = values(1), values(2)
    sounds = {
        "s0": base,
        "s1": spoiled(base[20:], 0.08, 1),
        "s2": spoiled(base[:90] + other[:90], 0.08, 2),
        "s3": other,
        "s4": values(3),
        "s5": spoiled(other[10:100], 0.08, 3),
    }
    names = [f"s{n}" for n in order]
    early, late = names[:first], set(names[first:])
    grown = [*pairs({name: sounds[name] for name in early}), *pairs(sounds, fresh=late)]
    assert sorted(grown, key=lambda row: (row["a"], row["b"])) == pairs(sounds)


def test_pictures_are_found_by_any_of_three_parts_of_their_hash() -> None:
    hashes = np.random.default_rng(0).integers(1, 1 << 63, (3, 20))
    copy = hashes[0] ^ np.int64(1 << 50 | 1 << 30 | 1 << 22)
    with duckdb.connect() as connection:
        pictures = pa.array([*hashes.tolist(), copy[4:].tolist()], pa.list_(pa.int64()))
        table = pa.table({"source_id": list("abcd"), "picture": pictures})
        connection.register("fingerprints", table)
        connection.execute(
            "CREATE TABLE numbered AS SELECT (row_number() OVER (ORDER BY source_id) - 1)::INTEGER "
            "AS n, source_id, true AS is_fresh FROM fingerprints"
        )
        (found,) = find_pairs(connection, picture_sense(2.0, 0.13), 100)
    assert (found["a"], found["b"], found["shift_s"]) == (0, 3, 1.6)
    assert found["score"] == pytest.approx(1 - 3 / 63, abs=1e-4)


# -- the stage ---------------------------------------------------------------------------------


@pytest.fixture
def catalog(workspace: Path) -> Iterator[Catalog]:
    with Catalog(Workspace.at(workspace).make()) as opened:
        yield opened


def put(catalog: Catalog, **sounds: list[int]) -> None:
    """Sources with a made fingerprint."""
    for name, sound in sounds.items():
        digest = hashlib.sha256(repr(sound).encode()).hexdigest()
        row = {"source_id": name, "picture": [], "sound": sound, "content_hash": digest}
        catalog.insert("fingerprints", [made_row("fingerprints", **row)])


def edges(catalog: Catalog) -> list[tuple[str, str, float, float]]:
    rows = catalog.rows("SELECT * FROM relations ORDER BY source_id, other_id, kind")
    return [(r["source_id"], r["other_id"], r["score"], r["shift_s"]) for r in rows]


BASE = values(1)
SOUNDS = {"a": BASE, "b": spoiled(BASE[30:], 0.02, 1), "c": spoiled(BASE[:150], 0.02, 2)}


def test_sources_that_come_one_by_one_give_the_rows_of_scratch(
    catalog: Catalog,
) -> None:
    put(catalog, z=values(8))
    for name in "cab":
        put(catalog, **{name: SOUNDS[name]})
        bring_up(catalog, STAGE)
        assert catalog.plan(STAGE, MatchConfig()).is_idle
    grown = edges(catalog)
    assert [edge[:2] for edge in grown] == [
        (one, other) for one in "abc" for other in "abc" if one != other
    ]
    assert all((b, a, score, -shift) in grown for a, b, score, shift in grown)
    for table in ("relations", "progress"):
        catalog.connection.execute(f"DELETE FROM lake.{table}")
    bring_up(catalog, STAGE)
    assert edges(catalog) == grown


def test_a_new_source_is_looked_up_alone_and_rewrites_only_what_it_matches(
    catalog: Catalog,
) -> None:
    put(catalog, a=BASE, y=values(7), z=values(8))
    bring_up(catalog, STAGE)
    put(catalog, b=SOUNDS["b"])
    assert bring_up(catalog, STAGE).items == 2


def test_a_kill_between_the_two_sides_of_a_pair_loses_neither(catalog: Catalog) -> None:
    put(catalog, a=BASE, b=SOUNDS["b"])
    bring_up(catalog, STAGE)
    whole = edges(catalog)
    for left in ("a", "b"):
        catalog.connection.execute("DELETE FROM lake.relations WHERE source_id = ?", [left])
        catalog.connection.execute("DELETE FROM lake.progress WHERE item_id = ?", [left])
        assert bring_up(catalog, STAGE).items == 1
        assert edges(catalog) == whole


def test_a_source_that_is_gone_takes_both_sides_along(catalog: Catalog) -> None:
    put(catalog, **SOUNDS)
    bring_up(catalog, STAGE)
    catalog.connection.execute("DELETE FROM lake.fingerprints WHERE source_id = 'a'")
    bring_up(catalog, STAGE)
    assert {edge[:2] for edge in edges(catalog)} == {("b", "c"), ("c", "b")}
    assert catalog.plan(STAGE, MatchConfig()).is_idle


def test_a_stricter_threshold_takes_pairs_back(catalog: Catalog) -> None:
    put(catalog, a=BASE, b=spoiled(BASE, 0.08))
    bring_up(catalog, STAGE)
    assert len(edges(catalog)) == 2
    bring_up(catalog, STAGE, MatchConfig(sound_distance=0.04))
    assert edges(catalog) == []


# -- made media, from the decode pass on -------------------------------------------------------


def film(path: Path, seed: int, width: int, crf: str, first: int, sound: np.ndarray | None) -> Path:
    """A film of a scene from picture `first` on, at 5 fps, with a sound track if one is given."""
    pictures = scene(seed, width, width * 3 // 4, 40)[first:]
    track = None if sound is None else Track(sound[None], AUDIO_HZ)
    times = even_times(5, len(pictures) / 5)
    return write_media(path, times, pictures, track, options={"crf": crf})


def take_in(catalog: Catalog, path: Path, folder: Path) -> None:
    """Decodes a film in this process and puts what was decoded into the catalog."""
    folder.mkdir()
    facts = decode_source(str(path), str(folder), dataclasses.asdict(DecodeConfig(max_faces=0)))
    blobs, row = Blobs(catalog.workspace.root), {"duration_s": facts["duration_s"]}
    for name, column in FILES:
        if (folder / name).exists():
            row[column] = blobs.put_file(folder / name, Path(name).suffix)
    catalog.insert("decodes", [made_row("decodes", source_id=path.stem, **row)])


def test_re_encoded_and_trimmed_films_are_found_and_others_black_and_silent_ones_are_not(
    catalog: Catalog, tmp_path: Path
) -> None:
    sound = tune(1, 8.0)
    silence = np.zeros(8 * AUDIO_HZ, np.float32)
    black = [np.zeros((96, 128, 3), np.uint8)] * 40
    films = [
        film(tmp_path / "original.mp4", 1, 320, "20", 0, sound),
        film(tmp_path / "small.mp4", 1, 128, "36", 0, None),
        film(tmp_path / "excerpt.mp4", 1, 160, "30", 13, None),
        film(tmp_path / "dubbed.mp4", 2, 160, "23", 0, encoded(sound, "mp3")[17_000:]),
        film(tmp_path / "other.mp4", 3, 160, "23", 0, tune(5, 8.0)),
        write_media(tmp_path / "b1.mp4", even_times(5, 8), black, Track(silence[None], AUDIO_HZ)),
        write_media(tmp_path / "b2.mp4", even_times(5, 8), black, Track(silence[None], AUDIO_HZ)),
    ]
    for path in films:
        take_in(catalog, path, tmp_path / path.stem)
    bring_up(catalog, fingerprint.STAGE)
    bring_up(catalog, STAGE)
    rows = catalog.rows("SELECT * FROM relations WHERE source_id = 'original'")
    assert {(row["other_id"], row["kind"]) for row in rows} == {
        ("small", "same_picture"),
        ("excerpt", "same_picture"),
        ("dubbed", "same_sound"),
    }
    shifts = {row["other_id"]: row["shift_s"] for row in rows}
    assert shifts["small"] == pytest.approx(0, abs=0.41)
    assert shifts["excerpt"] == pytest.approx(2.6, abs=0.41)
    assert shifts["dubbed"] == pytest.approx(17_000 / AUDIO_HZ, abs=0.1)
    linked = {row["source_id"] for row in catalog.rows("SELECT source_id FROM relations")}
    assert linked == {"original", "small", "excerpt", "dubbed"}
    groups = "SELECT DISTINCT kind, group_id, source_id FROM duplicates ORDER BY ALL"
    for path in films:
        catalog.insert("files", [made_row("files", uri=str(path), source_id=path.stem)])
    assert [tuple(row.values()) for row in catalog.rows(groups)] == [
        ("picture", "excerpt", "excerpt"),
        ("picture", "excerpt", "original"),
        ("picture", "excerpt", "small"),
        ("sound", "dubbed", "dubbed"),
        ("sound", "dubbed", "original"),
    ]
