"""Staging a world: the same bytes however it is made, growth, and what its manifest says."""

import csv
import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flows.world import stage_world
from storage.rejects import Rejected
from tasks.manifest import ManifestError
from tasks.scan import ScanConfig, list_folder
from tasks.truth import truth_rows
from tasks.world import Part, WorldError, clip_path, parts_of, prepare, stage_part
from tasks.world_clip import make_clip
from tasks.world_film import write_clip
from tasks.world_plan import WorldConfig, plan_clip

WORLD = WorldConfig(seconds=2.0, side_px=64, seed=1, voices=("espeak:en-us", "espeak:en-us+f2"))
PART = 4
CLIPS = PART + 2


@pytest.fixture(scope="module", autouse=True)
def _small_parts() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tasks.world.PART", PART)
        yield


@pytest.fixture(scope="module")
def staged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A world that two processes made."""
    out = tmp_path_factory.mktemp("worlds") / "world"
    told: list[tuple[int, int]] = []
    world = stage_world(out, WORLD, CLIPS, False, 2, lambda *state: told.append(state))
    assert (world.made, sum(world.kinds.values()), told[-1]) == (CLIPS, CLIPS, (CLIPS, CLIPS))
    return out


def rows_of(out: Path) -> list[dict[str, Any]]:
    with (out / "manifest.csv").open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def test_a_clip_is_the_same_bytes_whatever_made_it(staged: Path, tmp_path: Path) -> None:
    rows = rows_of(staged)
    spoken = [number for number in range(CLIPS) if plan_clip(WORLD, number).text]
    for number in (*reversed(spoken), 0):
        plan = plan_clip(WORLD, number)
        clip = make_clip(plan, WORLD)
        write_clip(clip, tmp_path / "clip.mkv")
        here, there = (
            hashlib.sha256(path.read_bytes()).hexdigest()
            for path in (tmp_path / "clip.mkv", staged / clip_path(number))
        )
        assert here == there
        assert json.loads(rows[number]["truth"]) == json.loads(json.dumps(clip.truth))
        assert rows[number]["split"] == plan.split


def test_another_seed_gives_other_clips() -> None:
    other = replace(WORLD, seed=4)
    assert [plan_clip(WORLD, k) for k in range(5)] != [plan_clip(other, k) for k in range(5)]
    assert WORLD.digest != other.digest != replace(WORLD, voices=("espeak:en-us",)).digest


def test_a_world_that_is_there_is_left_alone_and_grows(staged: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in staged.rglob("*.mkv")}
    recipe = staged / "recipe.yaml"
    recipe.write_text("name: mine\n")
    again = stage_world(staged, WORLD, CLIPS, True, 1, lambda *state: None)
    assert (again.made, again.rate_per_core) == (0, None)
    assert {path: path.stat().st_mtime_ns for path in staged.rglob("*.mkv")} == before
    assert recipe.read_text() == "name: mine\n"
    said = [row["transcript"] for row in rows_of(staged)]
    assert said == [json.loads(row["truth"])["text"] or "" for row in rows_of(staged)]
    assert any(said)
    # Parts are cut at the same numbers, so that a larger world makes its last part anew alone.
    kept = {part for part in parts_of(3 * PART) if part.rows_path(staged).is_file()}
    assert kept == {Part(0, PART)}


def test_a_part_that_was_stopped_is_made_again(tmp_path: Path) -> None:
    out = tmp_path / "world"
    prepare(out, WORLD, CLIPS)
    part = Part(0, 1)
    assert stage_part(out, WORLD, part).clips == 1
    made = (out / clip_path(0)).read_bytes()
    part.rows_path(out).unlink()
    (out / clip_path(0)).write_bytes(b"half")
    assert stage_part(out, WORLD, part).clips == 1
    assert (out / clip_path(0)).read_bytes() == made
    assert stage_part(out, WORLD, part).clips == 0


def test_a_folder_with_anything_else_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "world"
    prepare(out, WORLD, CLIPS)
    prepare(out, WORLD, CLIPS)
    with pytest.raises(WorldError, match="a world with another seed, voices"):
        prepare(out, replace(WORLD, seed=9, voices=("espeak:en-us",)), CLIPS)
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(WorldError, match="holds something that is no staged world"):
        prepare(tmp_path, WORLD, CLIPS)


def test_a_smaller_world_is_refused_and_a_growing_one_has_no_manifest(
    staged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(WorldError, match=f"holds {CLIPS} clips, more than 1; .*--clips {CLIPS}"):
        stage_world(staged, WORLD, 1, False, 1, lambda *state: None)
    out = tmp_path / "world"
    shutil.copytree(staged, out)
    config = ScanConfig(folder=str(out))
    assert len(list_folder(config)) == CLIPS

    def stopped(*_given: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("flows.world.as_completed", stopped)
    with pytest.raises(KeyboardInterrupt):
        stage_world(out, WORLD, 2 * CLIPS, False, 1, lambda *state: None)
    with pytest.raises(ManifestError, match="this world is not finished"):
        list_folder(config)


def test_a_listing_takes_split_and_truth_from_the_manifest(staged: Path) -> None:
    rows = list_folder(ScanConfig(folder=str(staged))).to_pylist()
    assert len(rows) == CLIPS
    told = {row["uri"].rpartition("/")[2]: row for row in rows}
    for number in (0, CLIPS - 1):
        row = told[f"{number:06d}.mkv"]
        assert row["split"] == plan_clip(WORLD, number).split
        assert row["licence"] == "CC0-1.0"
        tables = truth_rows("s", row["truth"])
        (truth,) = tables["truths"]
        assert truth["world_number"] == number
        assert truth["world_seed"] == WORLD.seed
        assert len(tables["true_words"]) == len((truth["text"] or "").split())


def test_truth_becomes_rows_and_unknown_names_are_left_alone() -> None:
    event = {"kind": "impact", "start_s": 1, "end_s": 1.0, "heard": True, "object": "ball"}
    truth = {
        "kind": "both",
        "words": [["dog", 0.1, 0.4]],
        "phones": [["d", 0.1, 0.2], ["ɑ", 0.2, 0.3]],
        "events": [event | {"body": 0, "size_m": 0.2, "mood": "fine"}],
        "weather": "dry",
    }
    rows = truth_rows("s", json.dumps(truth))
    assert [row["phoneme"] for row in rows["true_phonemes"]] == ["d", "ɑ"]
    (word,) = rows["true_words"]
    assert word == {"source_id": "s", "position": 0, "word": "dog", "start_s": 0.1, "end_s": 0.4}
    (happened,) = rows["true_events"]
    assert happened["start_s"] == 1.0 and happened["pitch_hz"] is None
    assert "mood" not in happened
    assert rows["truths"][0]["kind"] == "both"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "Expecting property name"),
        ("[]", "no attribute"),
        ('{"text": "x"}', "truths.kind is missing"),
        ('{"kind": "both", "snr_db": "loud"}', "truths.snr_db"),
        ('{"kind": "both", "words": [["x", 1]]}', "not enough values"),
        ('{"kind": "both", "events": [{"kind": "step"}]}', "true_events.start_s is missing"),
        (f'{{"kind": "both", "world_number": {2**70}}}', "too (large|big)|out of"),
        ('{"kind": "both", "words": [["x", 1, NaN]]}', "NaN is no number"),
        ("[" * 100_000, "recursion"),
    ],
)
def test_truth_that_cannot_be_read_costs_its_source_only(text: str, why: str) -> None:
    with pytest.raises(Rejected, match=why) as caught:
        truth_rows("s", text)
    assert caught.value.reason == "bad_truth"
    assert "mend `truth` in the manifest" in caught.value.message
