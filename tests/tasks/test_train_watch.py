"""What can be watched of a training: event files as TensorBoard reads them, and samples."""

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from models.presets import PRESETS
from tasks.train_config import TrainConfig
from tests.made_model import tiny_sizes
from tests.tasks.test_train import killed_at, target, train

CONFIG = TrainConfig(
    joint_steps=6,
    mixture_steps=0,
    batch_size=2,
    crop_s=0.8,
    threads=1,
    log_every=2,
    save_every=2,
    sample_every=3,
)


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PRESETS, "tiny", tiny_sizes)


def points(path: Path) -> list[tuple[str, int, Any]]:
    """Tag, step and value of every point of an event file; a sound is its message."""
    from tensorboardX.proto.event_pb2 import Event  # pyright: ignore[reportAttributeAccessIssue]

    data, found = path.read_bytes(), []
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        event, data = Event.FromString(data[12 : 12 + length]), data[length + 16 :]
        for value in event.summary.value:
            is_sound = value.HasField("audio")
            found.append((value.tag, event.step, value.audio if is_sound else value.simple_value))
    return found


def watched_files(workspace: str) -> tuple[Path, list[tuple[str, int, Any]]]:
    (folder,) = Path(workspace, "reports", "training").iterdir()
    (events,) = folder.glob("events.out.tfevents.*")
    return folder, points(events)


def test_a_training_leaves_its_whole_curve_and_its_samples_though_it_was_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, undisturbed = target(tmp_path, "killed"), target(tmp_path, "undisturbed")
    train(undisturbed, CONFIG)
    killed_at(out, 5, monkeypatch, CONFIG)
    row = train(out, CONFIG)
    folder, told = watched_files(out.workspace)
    expected = {
        ("loss/" + p["task"] if p["t_bucket"] == "all" else "loss_by_time/" + p["t_bucket"],
         p["step"]): p["loss"]
        for p in row["curve"]
    }  # fmt: skip
    losses = {(tag, step): value for tag, step, value in told if tag.startswith("loss")}
    assert losses == pytest.approx(expected)
    assert [step for tag, step, _ in told if tag == "learning_rate"] == [2, 4, 6]
    assert {step for tag, step, _ in told if tag == "sample"} == {3, 6}
    assert sorted(path.name for path in folder.glob("*.flac")) == [
        "step-00000003.flac",
        "step-00000006.flac",
    ]
    other, _ = watched_files(undisturbed.workspace)
    for path in folder.glob("*.flac"):
        assert path.read_bytes() == (other / path.name).read_bytes()
    (sound,) = [value for tag, step, value in told if (tag, step) == ("sample", 6)]
    heard, rate_hz = soundfile.read(io.BytesIO(sound.encoded_audio_string))
    assert rate_hz == sound.sample_rate == 16_000 and len(heard) == 20 * 640
    assert np.abs(heard).max() > 0
