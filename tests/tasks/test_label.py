"""Kinds and gates: each kind from its evidence, each gate on its own side of its threshold."""

from typing import Any

import pytest

from tasks.label import LabelConfig, drop_reason, kind_of, task_of

SPEECH: dict[str, Any] = {
    "duration_s": 10.0,
    "has_audio": True,
    "has_picture": True,
    "loudness_lufs": -23.0,
    "silence_ratio": 0.1,
    "speech_s": 6.0,
    "has_speech": True,
    "avg_logprob": -0.3,
    "compression_ratio": 1.4,
    "phonemes": 40,
}
SOUND = SPEECH | {
    "speech_s": 0.0,
    "has_speech": False,
    "avg_logprob": None,
    "compression_ratio": None,
    "phonemes": 0,
}


@pytest.mark.parametrize(
    ("item", "kind", "task"),
    [
        (SPEECH, "speech_on_screen", "visual_tts"),
        (SPEECH | {"has_picture": False}, "speech_off_screen", "tts"),
        (SPEECH | {"speech_s": 3.0}, "speech_on_screen", "visual_tts"),
        (SPEECH | {"speech_s": 2.9}, "mixed", "visual_tts"),
        (SPEECH | {"speech_s": 2.9, "has_picture": False}, "mixed", "tts"),
        (SPEECH | {"speech_s": 1.0}, "sound", "v2s"),
        (SPEECH | {"has_speech": False}, "sound", "v2s"),
        (SOUND, "sound", "v2s"),
        (SOUND | {"has_picture": False}, "sound", None),
        (SOUND | {"has_audio": False}, "silent", None),
        (SOUND | {"loudness_lufs": None}, "silent", None),
        (SPEECH | {"loudness_lufs": -60.1}, "silent", None),
        (SOUND | {"loudness_lufs": -60.0}, "sound", "v2s"),
    ],
)
def test_a_kind_follows_from_its_evidence(
    item: dict[str, Any], kind: str, task: str | None
) -> None:
    assert kind_of(item, LabelConfig()) == kind
    assert task_of(kind, item["has_picture"]) == task


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        (SPEECH, None),
        (SOUND, None),
        (SOUND | {"has_audio": False, "silence_ratio": 1.0}, "no_sound"),
        (SOUND | {"silence_ratio": 0.81}, "too_silent"),
        (SOUND | {"silence_ratio": 0.8}, None),
        (SPEECH | {"silence_ratio": 0.36}, "too_silent"),
        (SPEECH | {"silence_ratio": 0.35}, None),
        (SPEECH | {"speech_s": 2.0, "silence_ratio": 0.36}, "too_silent"),
        (SPEECH | {"phonemes": 0}, "no_transcript"),
        (SPEECH | {"avg_logprob": -1.0}, "unsure_transcript"),
        (SPEECH | {"avg_logprob": -0.99}, None),
        (SPEECH | {"compression_ratio": 2.41}, "repeating_transcript"),
        (SPEECH | {"compression_ratio": 2.4}, None),
        (SPEECH | {"avg_logprob": None, "compression_ratio": None}, None),
        (SPEECH | {"silence_ratio": 0.9, "phonemes": 0}, "too_silent"),
    ],
)
def test_a_gate_drops_on_its_own_side_of_its_threshold(
    item: dict[str, Any], reason: str | None
) -> None:
    config = LabelConfig()
    assert drop_reason(kind_of(item, config), item, config) == reason


def test_a_moved_threshold_moves_the_gate() -> None:
    config = LabelConfig(max_silence_speech=0.5)
    item = SPEECH | {"silence_ratio": 0.45}
    assert drop_reason(kind_of(item, config), item, config) is None
