"""Scores of generations whose faults were put in, and what stands beside them."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tasks.generated_scores import Draws, Scored, item_record, score_rows
from tasks.hear import Heard
from tasks.held_out import Facts, Strike
from tasks.scores import partners

DRAWS = Draws(bootstraps=100, seed=0, whisper="base")
CLASSES, PATCHES = 6, 4


def heard(number: int = 0, **values: Any) -> Heard:
    made: dict[str, Any] = {
        "onsets_s": (), "words": None, "has_speech": False, "loudness_lufs": -30.0, "dnsmos": None,
        "pitches_hz": (),
        "logits": np.random.default_rng(number).normal(size=(PATCHES, CLASSES)),
    }  # fmt: skip
    return Heard(**(made | values))


def knock(number: int, made_s: float, split: str = "test") -> Scored:
    """An item with one event, whose generation sounds `made_s` late."""
    time_s, pitch_hz = 0.5 + 0.3 * number, 300.0 + 90 * number
    facts = Facts(f"v{number}", "v2s", split, (), (time_s,), (Strike(time_s, pitch_hz),), True)
    true = heard(number, onsets_s=(time_s,), pitches_hz=(pitch_hz,))
    late = heard(number, onsets_s=(time_s + made_s,), pitches_hz=(pitch_hz + 5,))
    return Scored(facts, {"score": late, "truth": true, "ceiling": true, "control": heard(900)})


def saying(number: int, said: str, made: str) -> Scored:
    words = tuple(said.split())
    facts = Facts(f"t{number}", "tts", "test", words, None, (), None)
    true = heard(number, words=words, has_speech=True, dnsmos=4.0)
    spoken = heard(
        number, words=tuple(made.split()), has_speech=True, dnsmos=3.0, loudness_lufs=-34
    )
    noise = heard(number, dnsmos=1.0)
    return Scored(facts, {"score": spoken, "truth": true, "ceiling": true, "control": noise})


def table(items: list[Scored]) -> dict[tuple[str, str, str], float]:
    rows, _ = score_rows(items, DRAWS)
    keys = {(row["metric"], row["task"], row["split"], row["role"]) for row in rows}
    assert len(keys) == len(rows)
    for row in rows:
        assert row["low"] <= row["value"] + 1e-9 and row["value"] <= row["high"] + 1e-9
    return {(row["metric"], row["task"], row["role"]): row["value"] for row in rows}


def test_onsets_in_time_score_and_those_of_another_item_do_not() -> None:
    found = table([knock(number, 0.02) for number in range(5)])
    assert found["onset_f1", "v2s", "score"] == 1.0
    assert found["onset_lag", "v2s", "score"] == pytest.approx(0.02)
    assert found["onset_f1", "v2s", "ceiling"] == found["onset_f1", "v2s", "truth"] == 1.0
    assert found["onset_f1", "v2s", "control"] == 0.0
    assert found["pitch_rank_correlation", "v2s", "score"] == pytest.approx(1.0)
    # In a ring each is held against the next: four follow in order and the last meets the first.
    assert found["pitch_rank_correlation", "v2s", "control"] == pytest.approx(0.0)


def test_onsets_too_late_are_wrong_and_have_no_lag() -> None:
    found = table([knock(number, 0.08) for number in range(3)])
    assert found["onset_precision", "all", "score"] == found["onset_recall", "all", "score"] == 0.0
    assert ("onset_lag", "all", "score") not in found


def test_wrong_words_are_counted_over_all_words_and_against_another_text() -> None:
    items = [saying(0, "red dog", "red dog"), saying(1, "a b c d", "a b x"), saying(2, "up", "up")]
    found = table(items)
    assert found["wer_whisper_base", "tts", "score"] == pytest.approx(2 / 7)
    assert found["wer_whisper_base", "tts", "truth"] == 0.0
    # "red dog" for "a b x" is 3 wrong, "a b c d" for "up" 4, "up" for "red dog" 2.
    assert found["wer_whisper_base", "tts", "control"] == pytest.approx(9 / 7)
    assert found["dnsmos_overall", "tts", "score"] == 3.0
    assert found["dnsmos_overall", "tts", "control"] == 1.0
    assert found["loudness_error", "tts", "score"] == 4.0
    assert found["loudness_error", "tts", "ceiling"] == 0.0


def test_a_voice_that_the_model_is_not_told_of_is_neither_a_text_nor_a_phantom() -> None:
    voice = saying(0, "red dog", "")
    facts = replace(voice.facts, task="v2s")
    found = table([Scored(facts, voice.heard), knock(0, 0.0)])
    metrics = {metric for metric, _, _ in found}
    assert not {"wer_whisper_base", "dnsmos_overall"} & metrics
    assert found["phantom_speech_rate", "all", "score"] == 0.0
    rows, absent = score_rows([Scored(facts, voice.heard)], DRAWS)
    assert "phantom_speech_rate" not in {row["metric"] for row in rows}
    assert "phantom_speech_rate (test): every item has a text" in absent


def test_phantoms_are_counted_where_nothing_should_be_and_beside_where_something_should() -> None:
    def silent(number: int, **made: Any) -> Scored:
        true = heard(number, loudness_lufs=-66.0)
        roles = {"truth": true, "ceiling": true, "control": true}
        facts = Facts(f"s{number}", "v2s", "test", (), None, (), False)
        return Scored(facts, roles | {"score": heard(number, **made)})

    items = [silent(0, has_speech=True), silent(1, loudness_lufs=-60.0), saying(0, "red", "red")]
    found = table([*items, knock(0, 0.0), knock(1, 0.0)])
    assert found["phantom_speech_rate", "all", "score"] == 1 / 4
    assert found["phantom_speech_rate", "all", "control"] == 1.0
    assert found["phantom_sound_rate", "all", "score"] == 1 / 2
    assert found["phantom_sound_rate", "all", "truth"] == 0.0
    assert found["phantom_sound_rate", "all", "control"] == 1.0


def test_distances_of_sets_need_clips_and_say_so() -> None:
    few, absent = score_rows([knock(number, 0.0) for number in range(19)], DRAWS)
    metrics = {row["metric"] for row in few}
    assert not {"kernel_yamnet_scores", "frechet_yamnet_scores"} & metrics
    assert "kernel_yamnet_scores (test): 19 items are fewer than 20" in absent
    assert "wer (test): no item has a text" in absent
    found = table([knock(number, 0.0) for number in range(24)])
    assert found["frechet_yamnet_scores", "all", "ceiling"] == pytest.approx(0, abs=1e-4)
    # The noise is the same in every clip, and far from what is not.
    for metric in ("kernel_yamnet_scores", "frechet_yamnet_scores"):
        assert found[metric, "all", "control"] > found[metric, "all", "ceiling"] + 0.1


def test_splits_are_scored_apart() -> None:
    rows, _ = score_rows([knock(0, 0.0), knock(1, 0.3, "validation"), knock(2, 0.0)], DRAWS)
    f1 = {
        (row["split"], row["items"]): row["value"]
        for row in rows
        if (row["metric"], row["task"], row["role"]) == ("onset_f1", "all", "score")
    }
    assert f1 == {("test", 2): 1.0, ("validation", 1): 0.0}


def test_a_partner_is_the_next_item_whose_truth_differs() -> None:
    facts = [saying(n, said, "").facts for n, said in enumerate(("a", "a", "b", "b"))]
    assert partners(facts, lambda a, b: a.words != b.words) == [2, 2, 0, 0]
    assert partners(facts[:2], lambda a, b: a.words != b.words) == [None, None]


def test_what_was_heard_of_an_item_is_a_line_of_json() -> None:
    record = json.loads(json.dumps(item_record(knock(1, 0.2))))
    assert record["score"]["onset_pairs"] == 0 and record["truth"]["onset_pairs"] == 1
    record = json.loads(json.dumps(item_record(saying(0, "red dog", "red"))))
    assert record["score"]["word_errors"] == 1 and record["score"]["words"] == ["red"]
