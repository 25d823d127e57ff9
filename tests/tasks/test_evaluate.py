"""Evaluation: intervals around their means, the same numbers each time, held-out items only."""

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from models.phoneme_ids import TABLE_ID
from storage.blobs import Blobs
from storage.catalog import Catalog
from storage.ids import hash_of
from storage.stage import ShardTarget
from tasks import evaluate_generated, likeness, timing
from tasks.av_benchmark import Exported
from tasks.checkpoint import load_checkpoint
from tasks.evaluate import STAGE, EvaluateConfig, evaluate_checkpoint, held_out_loss
from tasks.evaluate_generated import generated_sound
from tasks.hear import Heard
from tasks.scores import Score, row_of
from tasks.snapshot import read_samples
from tests.made_model import made_checkpoint, made_dataset
from tests.made_workspace import make_workspace

CONFIG = EvaluateConfig(times=2, bootstraps=100)


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> tuple[ShardTarget, dict[str, Any]]:
    root = tmp_path_factory.mktemp("evaluate")
    checkpoint_id, ref = made_checkpoint(root, root / "scratch" / "made")
    sink = io.BytesIO()
    noise = np.random.default_rng(0).normal(0, 0.1, 32_000)
    soundfile.write(sink, noise, 16_000, format="FLAC")
    clip = {
        "task": "tts",
        "split": "test",
        "audio_ref": Blobs(root).put_bytes(sink.getvalue(), ".flac"),
        "start_s": 0.0,
        "end_s": 1.0,
    }
    item = {
        "item_id": checkpoint_id,
        "ref": ref,
        "shard_refs": made_dataset(root, per_task=2),
        "phoneme_table": TABLE_ID,
        "_held_out": [clip, clip | {"start_s": 1.0, "end_s": 2.0, "task": "v2s"}],
    }
    return ShardTarget(str(root), str(root / "scratch")), item


def test_a_checkpoint_is_measured_on_each_held_out_split_and_task(
    evaluated: tuple[ShardTarget, dict[str, Any]],
) -> None:
    out, item = evaluated
    rows = evaluate_checkpoint(item, out, CONFIG)["evaluations"]
    table = {(r["metric"], r["role"], r["task"], r["split"]): r for r in rows}
    assert len(table) == len(rows)
    tasks = {"all", "v2s", "visual_tts", "tts", "mixture"}
    flow = {key[1:] for key in table if key[0] == "flow_matching_loss"}
    splits = ("validation", "test")
    # The control is a model that predicts nothing.
    expected = {(role, t, s) for role in ("score", "control") for t in tasks for s in splits}
    assert flow == expected
    assert table["flow_matching_loss", "score", "all", "test"]["items"] == 8
    codec = {key for key in table if key[0].startswith("codec_")}
    assert {key[1:] for key in codec} == {("score", t, "test") for t in ("all", "tts", "v2s")}
    assert {table[key]["unit"] for key in codec} == {"dB"}
    for row in rows:
        assert row["low"] <= row["value"] + 1e-9
        assert row["value"] <= row["high"] + 1e-9
    assert evaluate_checkpoint(item, out, CONFIG)["evaluations"] == rows


def test_an_untrained_model_loses_what_the_velocity_holds(
    evaluated: tuple[ShardTarget, dict[str, Any]],
) -> None:
    out, item = evaluated
    checkpoint = load_checkpoint(Path(out.workspace) / item["ref"])
    (sample, *_) = read_samples(out.workspace, item["shard_refs"], "test")
    loss = held_out_loss(checkpoint, sample, EvaluateConfig(times=8))
    # x_1 - x_0 has the variance of the noise plus the power of the latents, 1 + 5/9 here.
    assert loss == pytest.approx(1 + 5 / 9, rel=0.35)


def test_without_held_out_items_there_is_nothing_to_say(
    evaluated: tuple[ShardTarget, dict[str, Any]],
) -> None:
    out, item = evaluated
    nothing = item | {"shard_refs": [], "_held_out": None}
    assert evaluate_checkpoint(nothing, out, CONFIG) == {"evaluations": []}


def told(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_what_is_generated_is_scored_beside_what_the_codec_leaves_of_the_truth(
    evaluated: tuple[ShardTarget, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, bool, int]] = []

    def fake(sound: np.ndarray, *, whisper: str = "", opinion: bool = False, strikes: Any = ()):
        asked.append((whisper, opinion, len(sound)))
        lufs = 20 * float(np.log10(np.sqrt(np.mean(sound**2))))
        words = ("red", "dog") if whisper else None
        return Heard((0.5,), words, False, lufs, 3.0 if opinion else None, (), np.zeros((2, 3)))

    monkeypatch.setattr(evaluate_generated, "hear", fake)
    monkeypatch.setattr(likeness, "voice_vector", lambda sound, spans: np.ones(1, np.float32))
    monkeypatch.setattr(timing, "heard_word_starts", lambda _, words: (0.1,) * len(words))
    # Items of this length are too short to have their picture delayed.
    monkeypatch.setattr(evaluate_generated, "to_shift", lambda *_: {"v2s-200"})
    monkeypatch.setattr(evaluate_generated, "lips_partners", lambda *_: {"tts-200": "tts-201"})
    seen: list[tuple[str, float]] = []

    def generate(*given: Any) -> np.ndarray:
        motion = given[1]["motion"]
        seen.append((given[1]["item_id"], 0.0 if motion is None else float(motion[10, 0])))
        return generated_sound(*given)

    monkeypatch.setattr(evaluate_generated, "generated_sound", generate)
    out, item = evaluated
    sound = item["_held_out"][0] | {"duration_s": 0.8, "end_s": 0.8, "mixture": None}
    truth = sound | {
        "item_id": "tts-200", "text": None, "events": None, "sound_start_s": None,
        "true_kind": None, "voice_start_s": 0.0, "voice_end_s": 0.8, "voice_clip_id": "tts-200",
        "mouth": None, "words": [{"word": "Red", "start_s": 0.1, "end_s": 0.3},
                                 {"word": "dogs!", "start_s": 0.3, "end_s": 0.7}],
    }  # fmt: skip
    hit = {"kind": "impact", "start_s": 0.5, "end_s": 0.5, "heard": True, "pitch_hz": None}
    knock = truth | {
        "item_id": "v2s-200", "task": "v2s", "words": None, "events": [hit],
        "sound_start_s": 0.0, "sound_end_s": 0.8, "true_kind": "sound",
    }  # fmt: skip
    config = EvaluateConfig(times=1, bootstraps=100, generate=1, steps=2, whisper="/models/tiny/")
    given = item | {"truths": [truth, truth | {"item_id": "tts-201"}, knock]}
    rows = evaluate_checkpoint(given, out, replace(config, generate=2))["evaluations"]
    table = {(r["metric"], r["role"]): r for r in rows if r["task"] == "all"}
    assert table["wer_whisper_tiny", "score"]["value"] == 0.5
    assert table["onset_f1", "score"]["value"] == 1.0
    assert table["loudness_error", "score"]["items"] == 2
    assert table["mcd_dtw", "score"]["value"] > 1.0 and table["mcd_dtw", "score"]["unit"] == "dB"
    assert table["speaker_similarity", "ceiling"]["value"] == 1.0
    assert table["flow_matching_loss", "score"]["items"] == 8
    assert table["word_onset_error", "score"]["value"] == pytest.approx(0.1)
    assert table["onset_shift", "score"]["items"] == 1
    for role in ("score", "truth", "ceiling", "control"):
        assert table["lips_word_onset_error", role]["value"] == pytest.approx(0.1)
    (sample,) = (s for s in read_samples(out.workspace, item["shard_refs"], "test")
                 if s["item_id"] == "v2s-200")  # fmt: skip
    motion = [float(sample["motion"][frame, 0]) for frame in (10, 0)]
    # Words are said without times as well, by either picture; a picture is delayed as well.
    assert seen == [*[("tts-200", 0.0)] * 3, *[("v2s-200", value) for value in motion]]
    # Generation, truth and codec of the spoken item are asked for words, the noise is not; all of
    # an item's sounds are as long as the item.
    assert [len(one[0]) > 0 for one in asked] == [True, True, True, False] + [False] * 4
    assert {one[2] for one in asked} == {12_800}
    folder = Path(out.workspace) / item["ref"]
    assert [line["item_id"] for line in told(folder / "items.jsonl")] == ["tts-200", "v2s-200"]
    timing_told = told(folder / "items.jsonl")[0]["timing"]
    assert timing_told["by_lips_word_starts_s"] == {"score": [0.1, 0.1], "control": [0.1, 0.1]}
    assert "kernel_yamnet_scores (test): 2 items are fewer than 20" in (
        folder / "README.md"
    ).read_text("utf-8")
    # An item's sound follows from the item and the seed, whatever else is generated.
    before = told(folder / "items.jsonl")[0]
    # The benchmark is asked for each split, and only where one is named.
    assert "evaluate.benchmark names no folder" in (folder / "README.md").read_text("utf-8")
    monkeypatch.setattr(evaluate_generated, "require_tool", Path)
    monkeypatch.setattr(evaluate_generated, "benchmark_rows", benchmark_told)
    benched = replace(config, benchmark="/opt/av-benchmark")
    rows = evaluate_checkpoint(given, out, benched)["evaluations"]
    assert [(r["value"], r["items"]) for r in rows if r["metric"] == "avbench_desync"] == [(0.8, 1)]
    assert told(folder / "items.jsonl") == [before]


def benchmark_told(tool: Path, split: str, exported: Exported) -> list[dict[str, Any]]:
    """A row that says how long what was exported is, where its sounds are all there."""
    assert str(tool) == "/opt/av-benchmark"
    for role in ("truth", "score", "ceiling", "control"):
        (path,) = exported.sounds(role).iterdir()
        assert (path.name, soundfile.info(path).frames) == ("tts-200.wav", 12_800)
    return [
        row_of(
            ("avbench_desync", "score", "all", split),
            Score(exported.length_s, 0, 1),
            exported.items,
            "s",
        )
    ]


def test_settings_of_generating_ask_nothing_anew_of_those_who_generate_nothing() -> None:
    plain = STAGE.fingerprint(EvaluateConfig())
    assert plain == hash_of("evaluate", 6, {"times": 8, "bootstraps": 1000, "seed": 0}, {})
    heard = STAGE.fingerprint(EvaluateConfig(generate=8))
    assert plain != heard != STAGE.fingerprint(EvaluateConfig(generate=8, shifted=4))


def test_one_checkpoint_is_measured_where_one_is_named_and_all_of_a_dataset_otherwise(
    tmp_path: Path,
) -> None:
    with Catalog(make_workspace(tmp_path)) as catalog:
        catalog.connection.execute("DELETE FROM lake.progress WHERE stage = 'evaluate'")
        known = catalog.value("SELECT checkpoint_id FROM lake.checkpoints")
        found = {
            name: catalog.plan(STAGE, EvaluateConfig(dataset="made", checkpoint=name)).items
            for name in ("", known, "another")
        }
    assert found == {"": 1, known: 1, "another": 0}


def test_steps_that_the_network_for_few_steps_cannot_take_are_refused() -> None:
    with pytest.raises(ValueError, match=r"evaluate\.steps=25: .*set evaluate\.steps: 8"):
        EvaluateConfig(solver="few_steps")
    assert EvaluateConfig(solver="few_steps", steps=4).sampling.steps == 4
