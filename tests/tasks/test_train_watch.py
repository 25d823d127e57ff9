"""What can be watched of a training: event files as TensorBoard reads them, and samples."""

import io
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from models.presets import PRESETS
from tasks.event_file import EventFile, crc32c, record
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


def records(data: bytes) -> Iterator[bytes]:
    """The records of an event file, with both sums of each checked."""
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        whole, data = data[: length + 16], data[length + 16 :]
        assert record(whole[12:-4]) == whole
        yield whole[12:-4]


def fields(message: bytes) -> dict[int, Any]:
    """The fields of a message: numbers, or bytes that may be a message."""
    found: dict[int, Any] = {}
    place = 0

    def varint() -> int:
        nonlocal place
        value = shift = 0
        while True:
            byte = message[place]
            place += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while place < len(message):
        key = varint()
        kind, size = key & 7, 0
        if kind == 0:
            found[key >> 3] = varint()
            continue
        size = {1: 8, 5: 4}.get(kind) or varint()
        value = message[place : place + size]
        place += size
        unpack = {1: "<d", 5: "<f"}.get(kind)
        found[key >> 3] = struct.unpack(unpack, value)[0] if unpack else value
    return found


def points(path: Path) -> list[tuple[str, int, Any]]:
    """Tag, step and value of every point of an event file; a sound is its fields."""
    events = [fields(data) for data in records(path.read_bytes())]
    assert events[0][3] == b"brain.Event:2"
    found = []
    for event in events[1:]:
        value = fields(fields(event[5])[1])
        what = value[2] if 2 in value else fields(value[6])
        found.append((value[1].decode(), event[2], what))
    return found


def test_the_sum_of_a_record_is_crc_32c() -> None:
    # RFC 3720, B.4: check values of the polynomial.
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(b"\xff" * 32) == 0x62A8AB43


def test_an_event_file_gives_back_what_was_written(tmp_path: Path) -> None:
    with EventFile(tmp_path / "events") as events:
        events.number("loss/all", 300, 0.25)
        events.sound("sample", 7, b"RIFF", 16_000, 5)
    number, sound = points(tmp_path / "events")
    assert number == ("loss/all", 300, 0.25)
    assert sound[:2] == ("sample", 7)
    assert sound[2] == {1: 16_000.0, 2: 1, 3: 5, 4: b"RIFF", 5: b"audio/wav"}


def watched_files(workspace: str) -> tuple[Path, list[tuple[str, int, Any]]]:
    (folder,) = Path(workspace, "reports", "training").iterdir()
    return folder, points(folder / "events.out.tfevents.0.talkies")


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
    heard, rate_hz = soundfile.read(io.BytesIO(sound[4]))
    assert rate_hz == sound[1] == 16_000 and len(heard) == sound[3] == 20 * 640
    assert np.abs(heard).max() > 0
