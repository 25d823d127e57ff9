"""What is true of held-out items, against a catalog and recipes whose truth is written down."""

import json
from pathlib import Path
from typing import Any

import pytest

from storage.catalog import Catalog
from storage.workspace import Workspace
from tasks.evaluate import STAGE
from tasks.held_out import LONGEST_S, Facts, Strike, chosen, facts_of, placed_times
from tests.made_rows import row


def event(kind: str, start_s: float, **values: Any) -> dict[str, Any]:
    made = {"kind": kind, "start_s": start_s, "end_s": start_s, "heard": True, "pitch_hz": None}
    return made | values


def clip(**values: Any) -> dict[str, Any]:
    made = {
        "item_id": "a", "task": "v2s", "split": "test", "mixture": None, "picture": None,
        "duration_s": 5.0, "text": None, "voice_start_s": 10.0, "voice_end_s": 15.0, "words": None,
        "sound_clip_id": "a", "sound_start_s": 10.0, "sound_end_s": 15.0, "true_kind": "sound",
        "events": None,
    }  # fmt: skip
    return made | values


def test_events_have_their_times_in_the_clip_and_silent_ones_and_others_are_left_out() -> None:
    events = [
        event("impact", 9.5),
        event("impact", 11.0, pitch_hz=700.0),
        event("drift", 12, heard=False),
        event("impact", 11.03),
        event("step", 14.2, pitch_hz=900.0, material="glass"),
        event("slam", 14.5, pitch_hz=900.0, material="ice"),
        event("slam", 14.8, pitch_hz=900.0, material="glass"),
        event("impact", 15.0),
    ]
    facts = facts_of(clip(events=events))
    # 11.03 follows too closely to be told from 11.0, or for either's pitch to be found.
    assert facts.onsets_s == pytest.approx((1.0, 4.2, 4.5, 4.8))
    step, slam, glass = facts.strikes
    assert (step.time_s, step.pitch_hz, step.free_s) == pytest.approx((4.2, 900.0, 0.3))
    # A shoe of glass is held by its foot and rings for 0.35 of glass's 0.6 s; of ice none is known.
    assert step.t60_s == pytest.approx(0.21)
    assert (slam.time_s, slam.free_s, slam.t60_s) == (4.5, pytest.approx(0.3), None)
    # What a foot damps does not sound of its material.
    assert (step.material, slam.material, glass.material) == ("", "", "glass")
    assert (glass.free_s, glass.t60_s) == (LONGEST_S, 0.6)
    assert facts.sounds is True


def test_textures_have_no_onsets_that_could_be_scored() -> None:
    events = [event("rain", 0.0, end_s=20.0), event("impact", 11.0)]
    facts = facts_of(clip(events=events))
    assert facts.onsets_s is None and facts.sounds is True


def test_where_nothing_happens_is_known_of_staged_sources_alone() -> None:
    silent = facts_of(clip(true_kind="nothing", events=[event("drift", 12.0, heard=False)]))
    assert (silent.sounds, silent.onsets_s) == (False, None)
    unknown = facts_of(clip(true_kind=None))
    assert (unknown.sounds, unknown.onsets_s) == (None, None)


def test_true_words_of_the_clip_are_taken_before_the_transcript() -> None:
    words = [
        {"word": word, "start_s": start_s, "end_s": start_s + 0.4}
        for word, start_s in (("before", 9.0), ("red", 10.2), ("dog", 14.5), ("after", 14.9))
    ]
    assert facts_of(clip(words=words, text="Read dock.")).words == ("red", "dog")
    assert facts_of(clip(text="The red dog!")).words == ("the", "red", "dog")


def test_a_clip_in_a_loop_is_met_again_in_each_turn_and_not_where_it_is_cut() -> None:
    part = {"at_s": 1.0, "length_s": 7.0, "offset_s": 0.5, "loop_s": 3.0}
    assert placed_times(1.5, 1.5, part) == [(2.0, True), (5.0, True)]
    assert placed_times(0.5, 0.5, part) == [(1.0, True), (4.0, True), (7.0, True)]
    assert placed_times(0.2, 0.2, part) == placed_times(3.6, 3.6, part) == []
    assert placed_times(7.0, 7.0, part | {"loop_s": None}) == [(7.5, True)]
    # What began before the cut sounds from the cut on and begins nowhere.
    assert placed_times(0.2, 0.9, part) == [(1.0, False), (4.0, False), (7.0, False)]


def test_a_mixture_has_the_events_of_its_ambience_where_its_recipe_places_them() -> None:
    base = {"at_s": 0.0, "length_s": 5.0, "loop_s": None, "offset_s": 2.0}
    picture = [base | {"clip_id": "rain"}, base | {"clip_id": "talk", "offset_s": 0.0}]
    events = [event("impact", 11.0), event("impact", 13.0)]
    mixed = clip(mixture={"mix_id": "m"}, picture=picture, sound_clip_id="rain", events=events)
    assert facts_of(mixed).onsets_s == pytest.approx((1.0,))
    # The rain began before the part is cut out, and still rains.
    raining = facts_of(mixed | {"events": [event("rain", 10.5, end_s=15.0), *events]})
    assert (raining.onsets_s, raining.strikes, raining.sounds) == (None, (), True)


def test_what_began_before_a_clip_sounds_in_it_and_begins_nowhere() -> None:
    facts = facts_of(clip(events=[event("break", 9.5, end_s=10.2, pitch_hz=700.0)]))
    assert (facts.onsets_s, facts.strikes, facts.sounds) == (None, (), True)


def test_the_first_of_each_task_are_chosen_in_turn() -> None:
    rows = [
        {"item_id": f"{task}{n}", "task": task, "split": split}
        for split in ("test", "validation")
        for task, count in (("tts", 2), ("v2s", 9))
        for n in range(count)
    ]
    ids = [one["item_id"] for one in chosen(rows, 5) if one["split"] == "test"]
    assert ids == ["tts0", "v2s0", "tts1", "v2s1", "v2s2"]
    assert len(chosen(rows, 5)) == 10
    assert chosen(rows[::-1], 5) == chosen(rows, 5)


def test_the_catalog_tells_of_held_out_items_alone_what_is_true_of_them(tmp_path: Path) -> None:
    part = {"clip_id": "hit", "at_s": 0.0, "length_s": 4.0, "offset_s": 0.0, "loop_s": None}
    recipe = json.dumps({"conditions": {"picture": [part]}})
    made = {
        "datasets": [row("datasets", dataset_id="d1", name="demo", hours=1.0)],
        "checkpoints": [
            row("checkpoints", checkpoint_id="k1", dataset_id="d1", ref="checkpoints/k1")
        ],
        "dataset_items": [
            row(
                "dataset_items",
                dataset_id="d1",
                item_id=item,
                task=task,
                split=split,
                duration_s=4.0,
            )
            for item, task, split in (
                ("hit", "v2s", "test"),
                ("talk", "tts", "train"),
                ("mix", "mixture", "test"),
            )
        ],
        "windows": [
            row(
                "windows",
                clip_id=name,
                source_id=f"of-{name}",
                start_s=1.0,
                end_s=5.0,
                duration_s=4.0,
            )
            for name in ("hit", "talk")
        ],
        "decodes": [row("decodes", source_id="of-hit", audio16_ref="blobs/hit.flac")],
        "mixtures": [
            row(
                "mixtures",
                mix_id="mix",
                speech_clip_id="talk",
                ambience_clip_id="hit",
                recipe=recipe,
            )
        ],
        "truths": [row("truths", source_id="of-hit", kind="sound")],
        "features": [
            row(
                "features",
                clip_id=name,
                extractor="mouth",
                shard_ref=f"shards/{name}",
                content_hash=f"{name}'s",
            )
            for name in ("hit", "talk")
        ],
        "syncs": [
            row("syncs", clip_id="hit", method="onset"),
            row("syncs", clip_id="talk", method="mouth", track=2),
        ],
        "files": [row("files", uri="talk.wav", source_id="of-talk", speaker="Elizabeth  Klett")],
        "true_events": [
            row(
                "true_events",
                source_id="of-hit",
                position=0,
                kind="impact",
                start_s=2.5,
                end_s=2.5,
                heard=True,
                pitch_hz=500.0,
                material="metal",
            )
        ],
        "true_words": [
            row(
                "true_words",
                source_id="of-talk",
                position=n,
                word=word,
                start_s=2.0 + n,
                end_s=2.4 + n,
            )
            for n, word in enumerate(("red", "dogs", "sing", "late"))
        ],
    }
    with Catalog(Workspace.at(tmp_path).make()) as catalog:
        with catalog.transaction():
            for table, rows in made.items():
                catalog.insert(table, rows)
        (item,) = catalog.rows(STAGE.items, {"dataset": "demo", "checkpoint": "", "generate": 1})
    hit, mix = (facts_of(one) for one in item["truths"])
    strike = (Strike(1.5, 500.0, 1.5, 1.4, "metal"),)
    assert hit == Facts("hit", "v2s", "test", (), (1.5,), strike, True)
    said, voice = ("red", "dogs", "sing"), "elizabeth klett"
    assert mix == Facts("mix", "mixture", "test", said, (1.5,), strike, True, voice)
    assert item["truths"][0]["audio_ref"] == "blobs/hit.flac"
    # The mouth of who speaks is known, with no change where it only lies elsewhere.
    assert [one["voice_clip_id"] for one in item["truths"]] == ["hit", "talk"]
    mouths = [one["mouth"] for one in item["truths"]]
    assert mouths == [None, {"track": 2, "content_hash": "talk's"}]
    assert item["_mouths"] == [
        {"clip_id": name, "shard_ref": f"shards/{name}"} for name in ("hit", "talk")
    ]
