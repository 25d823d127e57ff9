"""What decoding survives: damaged and hostile files beside good ones, and films of hours."""

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.rejects import Rejected
from storage.workspace import Workspace
from tasks.decode import DecodeConfig, decode_item
from tasks.sandbox import Limits, SandboxResult, close_zygotes, run_limited
from tests.benchmarks.damage import run_all
from tests.made_damage import damaged_copies, endless_picture, hostile_files, sparse_film
from tests.made_media import Track, even_times, sine, write_media
from tests.tasks.test_decode import decode, item_of


@pytest.fixture(scope="module", autouse=True)
def _end_zygotes() -> Iterator[None]:
    yield
    close_zygotes()


def test_damaged_and_hostile_files_are_named_and_good_ones_arrive_unchanged(
    tmp_path: Path, workspace: Path
) -> None:
    sources, bad = tmp_path / "sources", tmp_path / "bad"
    sources.mkdir()
    bad.mkdir()
    times_s = even_times(25, 2)
    wholes = [
        write_media(
            sources / "made.mp4", times_s, track=Track(sine(2, 44_100), 44_100, codec="aac")
        ),
        write_media(sources / "made.mkv", times_s, track=Track(sine(2, 48_000))),
        write_media(sources / "made.ts", times_s),
        write_media(sources / "made.wav", track=Track(sine(2, 48_000))),
    ]
    harmful = damaged_copies(wholes, bad, 35) + hostile_files(bad, few=True)
    config = DecodeConfig(max_faces=0, floor_limit_s=5.0, wall_limit_s=0.5)
    found = run_all(Workspace.at(workspace), wholes[:2], harmful, 25, config)
    assert max(found.shards_s) < 60
    reasons = {found.rejects[one.path.name]["reason"] for one in harmful if one.how != "pipe"
               and one.path.name in found.rejects}  # fmt: skip
    assert {"empty", "truncated"} <= reasons


def decoded(path: Path, folder: Path) -> SandboxResult:
    folder.mkdir()
    arguments = {"path": str(path), "folder": str(folder)}
    arguments |= {"config": dataclasses.asdict(DecodeConfig(max_faces=0))}
    return run_limited("tasks.decode_pass:decode_source", arguments, Limits(90, 90, 1536, 32_768))


def test_memory_does_not_grow_with_the_length_of_a_film(tmp_path: Path) -> None:
    peaks = []
    for minutes in (5, 50):
        times_ms = list(range(0, minutes * 60_000, 1000))
        path = sparse_film(tmp_path / f"{minutes}.mkv", times_ms)
        result = decoded(path, tmp_path / str(minutes))
        assert result.value["duration_s"] == pytest.approx(minutes * 60, abs=1)
        frames = result.value["frames25_count"]
        assert frames == pytest.approx(minutes * 60 * 25, abs=25)
        peaks.append(result.peak_rss_bytes)
    assert peaks[1] - peaks[0] < 8 << 20
    assert peaks[1] < 600e6


def test_a_false_duration_does_not_lift_the_limits(tmp_path: Path, workspace: Path) -> None:
    path = endless_picture(tmp_path / "endless.mkv")
    item = item_of(path, cost_s=300 * 86_400.0)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with pytest.raises(Rejected) as caught:
        decode_item(
            item, DecodeConfig(max_faces=0, floor_limit_s=1.0, wall_limit_s=0.2), workspace, scratch
        )
    assert caught.value.reason in ("timeout", "cpu_limit", "out_of_memory")
    assert os.listdir(scratch) == []


def test_a_stream_of_which_much_does_not_decode_is_damaged(tmp_path: Path, workspace: Path) -> None:
    path = write_media(tmp_path / "made.avi", even_times(25, 4), options={"g": "1", "bf": "0"})
    data = bytearray(path.read_bytes())
    packets, at = [], data.find(b"00dc")
    while 0 <= at < data.find(b"idx1"):
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        if length:  # an empty chunk repeats a picture
            packets.append((at + 8, length))
        at = data.find(b"00dc", at + 8 + length)
    lost = packets[1::3]
    for start, length in lost:
        data[start : start + length] = bytes(length)
    path.write_bytes(bytes(data))
    with pytest.raises(Rejected, match="video packets do not decode whole") as caught:
        decode(path, workspace)
    assert caught.value.reason == "damaged"
    row = decode(path, workspace, min_decoded_share=0.5)
    assert row["bad_frames"] == len(lost)
