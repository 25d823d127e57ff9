"""Kinds: each from its evidence, and what the stage writes of a clip."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from storage.stage import ShardRef, ShardTarget
from tasks.gates import GATES
from tasks.label import STAGE, LabelConfig, kind_of, label_shard, task_of
from tests.made_clips import SOUND, SPEECH


@pytest.mark.parametrize(
    ("item", "kind", "task"),
    [
        (SPEECH, "speech_on_screen", "visual_tts"),
        (SPEECH | {"on_screen": False}, "speech_off_screen", "tts"),
        (SPEECH | {"on_screen": None}, "speech_on_screen", "visual_tts"),
        (SPEECH | {"has_picture": False, "on_screen": None}, "speech_off_screen", "tts"),
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


def test_without_a_least_loudness_only_digital_silence_is_silent() -> None:
    config = LabelConfig(min_loudness_lufs=None)
    assert kind_of(SOUND | {"loudness_lufs": -90.0}, config) == "sound"
    assert kind_of(SOUND | {"loudness_lufs": None}, config) == "silent"


def test_a_row_holds_the_first_failed_gate_all_of_them_and_every_verdict(tmp_path: Path) -> None:
    item = SPEECH | {"silence_ratio": 0.4, "dnsmos_overall": 2.0}
    keys = {"item_id": "c-1", "_fingerprint": "f", "_input_hash": "h"}
    pq.write_table(pa.Table.from_pylist([item | keys]), tmp_path / "items.parquet")
    shard = ShardRef("label", 0, str(tmp_path / "items.parquet"))
    result = label_shard(shard, ShardTarget(str(tmp_path), str(tmp_path)), LabelConfig())
    (row,) = pq.read_table(result.tables["kinds"]).to_pylist()
    assert not row["kept"]
    assert row["drop_reason"] == "silent_speech"
    assert row["failed_gates"] == ["silent_speech", "poor_speech"]
    by_name = {verdict["gate"]: verdict for verdict in row["gates"]}
    assert by_name["poor_speech"] == {
        "position": 10, "gate": "poor_speech", "value": 2.0, "threshold": 3.0, "passed": False,
    }  # fmt: skip
    assert by_name["music_in_speech"]["passed"] is None


def test_the_stage_selects_every_measure_that_a_gate_asks_for() -> None:
    assert all(gate.measure in STAGE.items for gate in GATES)
