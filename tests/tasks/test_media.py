import io
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

from storage.blobs import Blobs
from tasks.media import (
    ROWS_PER_GROUP,
    FrameWriter,
    audio_blocks,
    read_audio,
    read_frames,
    to_pcm16,
)

RATE_HZ = 16_000


@pytest.fixture
def audio_ref(workspace: Path, rng: np.random.Generator) -> tuple[str, np.ndarray]:
    """A second of noise, and what the samples in its file are worth."""
    pcm = to_pcm16(rng.uniform(-1, 1, RATE_HZ).astype(np.float32))
    stream = io.BytesIO()
    soundfile.write(stream, pcm, RATE_HZ, format="FLAC")
    return Blobs(workspace).put_bytes(stream.getvalue(), ".flac"), pcm / np.float32(32768)


@pytest.fixture
def frames_ref(workspace: Path) -> str:
    """250 gray frames; frame k has the level k."""
    path = workspace / "frames.parquet"
    writer = FrameWriter(path)
    for level in range(250):
        picture = np.full((16, 16), level, np.uint8)
        writer.add(level / 25, cv2.imencode(".jpg", picture)[1].tobytes())
    writer.close(250)
    return Blobs(workspace).put_file(path, ".parquet")


def levels(frames: np.ndarray) -> list[int]:
    return [int(level) for level in np.rint(frames.mean(axis=(1, 2)))]


@pytest.mark.parametrize(
    ("start_s", "end_s", "samples"),
    [(0.0, 1.0, 16_000), (0.25, 0.5, 4_000), (0.1, 0.1, 0), (0.30001, 0.40004, 1_600)],
)
def test_audio_is_exactly_the_samples_of_the_span(
    start_s: float,
    end_s: float,
    samples: int,
    workspace: Path,
    audio_ref: tuple[str, np.ndarray],
) -> None:
    ref, expected = audio_ref
    audio = read_audio(workspace, ref, start_s, end_s, RATE_HZ)
    assert (audio.shape, audio.dtype) == ((1, samples), np.float32)
    first = int(np.floor(start_s * RATE_HZ + 0.5))
    assert np.array_equal(audio[0], expected[first : first + samples])


def test_sound_comes_in_blocks_of_which_only_the_last_is_shorter(
    workspace: Path, audio_ref: tuple[str, np.ndarray]
) -> None:
    ref, expected = audio_ref
    blocks = list(audio_blocks(workspace, ref, 6_000, RATE_HZ))
    assert [len(block) for block in blocks] == [6_000, 6_000, 4_000]
    assert np.array_equal(np.concatenate(blocks), expected)
    with pytest.raises(ValueError, match="has 16000 Hz, asked for 48000 Hz"):
        list(audio_blocks(workspace, ref, 6_000, 48_000))


def test_audio_beyond_the_end_is_silence(
    workspace: Path, audio_ref: tuple[str, np.ndarray]
) -> None:
    ref, expected = audio_ref
    audio = read_audio(workspace, ref, 0.9, 1.5, RATE_HZ)
    assert audio.shape == (1, 9_600)
    assert np.array_equal(audio[0, :1_600], expected[14_400:])
    assert not audio[0, 1_600:].any()
    assert not read_audio(workspace, ref, 2.0, 2.5, RATE_HZ).any()


def test_audio_of_another_rate_is_refused(
    workspace: Path, audio_ref: tuple[str, np.ndarray]
) -> None:
    with pytest.raises(ValueError, match="has 16000 Hz, asked for 48000 Hz"):
        read_audio(workspace, audio_ref[0], 0, 1, 48_000)
    with pytest.raises(FileNotFoundError, match="redo the stage"):
        read_audio(workspace, "blobs/ab/cd.flac", 0, 1, RATE_HZ)


@pytest.mark.parametrize(
    ("start_s", "end_s", "expected"),
    [
        (0.0, 0.2, [0, 1, 2, 3, 4]),
        (3.96, 4.08, [99, 100, 101]),
        (9.92, 10.08, [248, 249, 249, 249]),
        (20.0, 20.08, [249, 249]),
        (1.0, 1.0, []),
    ],
)
def test_frames_are_exactly_those_of_the_span(
    start_s: float, end_s: float, expected: list[int], workspace: Path, frames_ref: str
) -> None:
    frames = read_frames(workspace, frames_ref, start_s, end_s, 25)
    assert frames.shape == (len(expected), 16, 16)
    assert levels(frames) == expected


def test_only_the_row_groups_of_the_span_are_read(
    workspace: Path, frames_ref: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[int]] = []
    real = pq.ParquetFile.read_row_groups

    def spy(self: pq.ParquetFile, groups: list[int], columns: list[str]) -> object:
        asked.append(groups)
        return real(self, groups, columns=columns)

    monkeypatch.setattr(pq.ParquetFile, "read_row_groups", spy)
    read_frames(workspace, frames_ref, 4.4, 4.8, 25)
    read_frames(workspace, frames_ref, 3.96, 4.08, 25)
    assert asked == [[1], [0, 1]]


@pytest.mark.parametrize("frames", [1, 99, 100, 101, 200, 201])
@pytest.mark.parametrize("surplus", [0, 1])
def test_a_writer_ends_with_the_frames_asked_for(frames: int, surplus: int, tmp_path: Path) -> None:
    writer = FrameWriter(tmp_path / "f.parquet")
    for number in range(frames + surplus):
        writer.add(number / 10, bytes([number % 250]))
    writer.close(frames)
    with pq.ParquetFile(tmp_path / "f.parquet") as parquet:
        groups = parquet.metadata.num_row_groups
        assert groups == -(-frames // ROWS_PER_GROUP)
        assert parquet.read()["index"].to_pylist() == list(range(frames))


def test_a_writer_refuses_a_count_that_it_cannot_give(tmp_path: Path) -> None:
    writer = FrameWriter(tmp_path / "f.parquet")
    for number in range(5):
        writer.add(number / 10, b"x")
    with pytest.raises(ValueError, match="5 frames were added and 3"):
        writer.close(3)
    writer.close(5)


def test_a_held_picture_is_stored_once(tmp_path: Path, rng: np.random.Generator) -> None:
    writer = FrameWriter(tmp_path / "held.parquet")
    jpeg = rng.bytes(20_000)
    for number in range(100):
        writer.add(number / 10, jpeg)
    writer.close(100)
    assert (tmp_path / "held.parquet").stat().st_size < 60_000


def test_samples_are_rounded_and_clipped() -> None:
    audio = np.array([0, 1, -1, 2, -2, 0.5 / 32768, 1.6 / 32768], np.float32)
    assert to_pcm16(audio).tolist() == [0, 32767, -32768, 32767, -32768, 0, 2]
