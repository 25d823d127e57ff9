"""Gates: each on its own side of its threshold, off by null, and explicit about what is missing."""

import dataclasses
from typing import Any

import pytest

from tasks.gates import ALL, BY_NAME, GATES, SPOKEN, ask_gates, failed
from tasks.label import LabelConfig, kind_of
from tests.made_clips import SOUND, SPEECH

MIXED = SPEECH | {"speech_s": 2.0, "dnsmos_overall": 1.5}
SILENT = SOUND | {"has_audio": False, "loudness_lufs": None, "silence_ratio": 1.0}


def failures(item: dict[str, Any], **thresholds: Any) -> list[str]:
    config = LabelConfig(**thresholds)
    return failed(ask_gates(kind_of(item, config), item, config))


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        (SPEECH, []),
        (SOUND, []),
        (MIXED, []),
        (SILENT, ["no_sound"]),
        (SOUND | {"loudness_lufs": -60.1}, ["too_quiet"]),
        (SOUND | {"silence_ratio": 0.81}, ["silent_sound"]),
        (SOUND | {"silence_ratio": 0.8}, []),
        (SPEECH | {"silence_ratio": 0.36}, ["silent_speech"]),
        (SPEECH | {"silence_ratio": 0.35}, []),
        (MIXED | {"silence_ratio": 0.36}, ["silent_speech"]),
        (SOUND | {"bandwidth_hz": 3999.0}, ["narrow_sound"]),
        (SOUND | {"bandwidth_hz": 4000.0}, []),
        (SPEECH | {"bandwidth_hz": 6499.0}, ["narrow_speech"]),
        (SPEECH | {"bandwidth_hz": 6500.0}, []),
        (SOUND | {"clipping_ratio": 0.001}, ["clipped"]),
        (SOUND | {"clipping_ratio": 0.000999}, []),
        (SPEECH | {"dnsmos_overall": 2.99}, ["poor_speech"]),
        (SPEECH | {"dnsmos_overall": 3.0}, []),
        (SPEECH | {"phonemes": 0}, ["no_transcript"]),
        (SPEECH | {"avg_logprob": -1.0}, ["unsure_transcript"]),
        (SPEECH | {"avg_logprob": -0.99}, []),
        (SPEECH | {"compression_ratio": 2.41}, ["repeating_transcript"]),
        (SPEECH | {"compression_ratio": 2.4}, []),
        (SPEECH | {"text_flags": 2}, ["doubtful_transcript"]),
        (SPEECH | {"text_flags": 1}, []),
    ],
)
def test_a_gate_drops_on_its_own_side_of_its_threshold(
    item: dict[str, Any], expected: list[str]
) -> None:
    assert failures(item) == expected


def test_a_clip_names_every_gate_that_it_fails_in_order() -> None:
    item = SPEECH | {"silence_ratio": 0.9, "phonemes": 0, "dnsmos_overall": 1.0}
    assert failures(item) == ["silent_speech", "poor_speech", "no_transcript"]


@pytest.mark.parametrize(
    "measure",
    ["bandwidth_hz", "clipping_ratio", "dnsmos_overall", "avg_logprob", "compression_ratio",
     "text_flags", "music_score"],
)  # fmt: skip
def test_what_was_not_measured_passes(measure: str) -> None:
    assert failures(SPEECH | {measure: None}, max_music_speech=0.1) == []


def test_only_sound_itself_may_not_be_missing() -> None:
    verdicts = {v["gate"]: v for v in ask_gates("silent", SILENT, LabelConfig())}
    assert verdicts["no_sound"]["passed"] is False
    assert verdicts["too_quiet"] == {
        "position": 2, "gate": "too_quiet", "value": None, "threshold": -60.0, "passed": True,
    }  # fmt: skip


@pytest.mark.parametrize("gate", [gate for gate in GATES if gate.field], ids=lambda g: g.name)
def test_null_turns_a_gate_off_and_keeps_what_it_measured(gate: Any) -> None:
    worst = {"<": 1e9, "<=": 1e9, ">": -1e9, ">=": -1e9}[gate.comparison]
    item = SPEECH | {gate.measure: worst}
    on = LabelConfig(max_music_sound=0.5, max_music_speech=0.5)
    off = dataclasses.replace(on, **{gate.field: None})
    kind = gate.kinds[-1]
    place = GATES.index(gate)
    before = next(v for v in ask_gates(kind, item, on) if v["position"] == place + 1)
    after = next(v for v in ask_gates(kind, item, off) if v["position"] == place + 1)
    assert before["passed"] is False
    assert after == before | {"threshold": None, "passed": None}


def test_a_moved_threshold_moves_the_gate() -> None:
    assert failures(SPEECH | {"silence_ratio": 0.45}, max_silence_speech=0.5) == []
    assert failures(SOUND | {"music_score": 0.6}, max_music_sound=0.5) == ["music_in_sound"]


def test_every_gate_has_its_own_name_a_real_threshold_and_kinds() -> None:
    assert len(BY_NAME) == len(GATES)
    fields = {field.name for field in dataclasses.fields(LabelConfig)}
    for gate in GATES:
        assert set(gate.kinds) <= set(ALL)
        assert (gate.field in fields) is (gate.comparison != "is there")
    asked = {gate.field for gate in GATES} | {"min_speech_ratio", "max_speech_in_sound"}
    assert fields <= asked, "a threshold that no gate asks"


def test_speech_over_sound_is_not_asked_for_the_quality_of_speech() -> None:
    assert BY_NAME["poor_speech"].kinds == SPOKEN
