import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from models.timeline import AUDIO48_HZ, AUDIO_HZ, MOTION_FPS, VISUAL_FPS, count
from storage.blobs import Blobs
from storage.ids import sha256_file
from storage.rejects import Rejected
from storage.stage import ShardRef, ShardTarget
from tasks.decode import STAGE, DecodeConfig, decode_item, decode_shard, weights
from tasks.media import read_audio, read_frames
from tasks.sandbox import close_zygotes
from tests.made_media import (
    Track,
    clicks,
    even_times,
    number_in,
    numbered_picture,
    sine,
    truncate,
    write_media,
)

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module", autouse=True)
def _end_zygotes() -> Iterator[None]:
    yield
    close_zygotes()


def item_of(path: Path, **changed: Any) -> dict[str, Any]:
    facts = path.stat()
    item = {
        "item_id": sha256_file(path),
        "source_id": sha256_file(path),
        "_uri": str(path),
        "_size_bytes": facts.st_size,
        "_mtime_ns": facts.st_mtime_ns,
        "cost_s": 10.0,
    }
    return item | changed


def decode(path: Path, workspace: Path, **config: Any) -> dict[str, Any]:
    """The `decodes` row of a file, its counts checked against its durations."""
    config = {"max_faces": 0} | config  # faces have tests of their own, and need weights
    rows = decode_item(item_of(path), DecodeConfig(**config), workspace, path.parent)
    row = rows["decodes"][0]
    assert not (path.parent / row["source_id"]).exists()
    for column, fps in (("frames10", VISUAL_FPS), ("frames25", MOTION_FPS)):
        if row[f"{column}_ref"] is not None:
            assert row[f"{column}_count"] == count(row["duration_s"], fps)
    for column, rate_hz in (("audio48", AUDIO48_HZ), ("audio16", AUDIO_HZ)):
        if row[f"{column}_ref"] is not None:
            assert samples_in(workspace, row[f"{column}_ref"]) == count(row["audio_s"], rate_hz)
    return row


def samples_in(workspace: Path, ref: str) -> int:
    import soundfile

    return soundfile.info(str(Blobs(workspace).path(ref))).frames


def pictures(workspace: Path, row: dict[str, Any], fps: int) -> np.ndarray:
    ref = row["frames10_ref"] if fps == VISUAL_FPS else row["frames25_ref"]
    return read_frames(workspace, ref, 0.0, row["duration_s"], fps)


def sound(workspace: Path, row: dict[str, Any], rate_hz: int = AUDIO48_HZ) -> np.ndarray:
    ref = row["audio48_ref"] if rate_hz == AUDIO48_HZ else row["audio16_ref"]
    return read_audio(workspace, ref, 0.0, row["audio_s"], rate_hz)[0]


def shown_at(times_s: list[float], fps: int, frames: int) -> list[int]:
    """The number of the last picture shown at each time of a grid, by the definition."""
    clock = [round(t * 90_000) for t in times_s]
    grid = [k * 90_000 // fps for k in range(frames)]
    return [max((n for n, at in enumerate(clock) if at <= g), default=0) for g in grid]


UNEVEN = [0.0, 0.03, 0.1, 0.35, 0.4, 0.9, 0.91, 1.5, 1.62, 2.0]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize(
    "times_s",
    [
        even_times(25, 3),
        even_times(11.94, 3),
        even_times(Fraction(30_000, 1001), 3),
        even_times(Fraction(24_000, 1001), 3),
        even_times(60, 2),
        UNEVEN,
    ],
    ids=["25", "11.94", "29.97", "23.976", "60", "vfr"],
)
def test_frame_k_is_the_last_picture_shown_at_its_time(
    times_s: list[float], suffix: str, tmp_path: Path, workspace: Path
) -> None:
    if suffix == ".mkv":
        times_s = [round(t, 3) for t in times_s]  # Matroska's clock ticks in milliseconds
    path = write_media(tmp_path / f"made{suffix}", times_s)
    row = decode(path, workspace)
    assert row["audio48_ref"] is row["audio_s"] is row["loudness_lufs"] is None
    for fps in (VISUAL_FPS, MOTION_FPS):
        frames = pictures(workspace, row, fps)
        assert [number_in(f) for f in frames] == shown_at(times_s, fps, len(frames))


def test_flash_and_click_stay_together(tmp_path: Path, workspace: Path) -> None:
    times_s = even_times(25, 4)
    flash = [np.full((64, 64, 3), 255 if t in (1.0, 2.6) else 16, np.uint8) for t in times_s]
    track = Track(clicks(4, 44_100, (1.0, 2.6)), 44_100)
    row = decode(write_media(tmp_path / "sync.mov", times_s, flash, track), workspace)
    bright = [k / MOTION_FPS for k, f in enumerate(pictures(workspace, row, 25)) if f.mean() > 128]
    assert bright == [1.0, 2.6]
    for rate_hz in (AUDIO48_HZ, AUDIO_HZ):
        audio = sound(workspace, row, rate_hz)
        loud = np.flatnonzero(np.abs(audio) > 0.6 * np.abs(audio).max()) / rate_hz
        assert {round(t, 3) for t in loud} == {1.0, 2.6}


@pytest.mark.parametrize("codec", ["pcm_s16le", "aac"])
def test_sound_that_starts_late_is_padded_with_silence(
    codec: str, tmp_path: Path, workspace: Path
) -> None:
    track = Track(sine(2, 48_000), start_s=0.5, codec=codec)
    row = decode(write_media(tmp_path / "late.mov", even_times(25, 3), track=track), workspace)
    audio = sound(workspace, row)
    assert row["audio_s"] == pytest.approx(2.5, abs=0.03)
    assert np.abs(audio[: int(0.49 * 48_000)]).max() < 0.01
    loud = np.flatnonzero(np.abs(audio) > 0.1)
    assert loud[0] / 48_000 == pytest.approx(0.5, abs=0.001)


def test_pictures_that_start_late_hold_the_first_one(tmp_path: Path, workspace: Path) -> None:
    times_s = [0.5 + t for t in even_times(25, 1.5)]
    track = Track(clicks(2, 48_000, (1.0,)))
    row = decode(write_media(tmp_path / "late.mkv", times_s, track=track), workspace)
    numbers = [number_in(f) for f in pictures(workspace, row, 10)]
    assert numbers == shown_at(times_s, 10, 20)
    assert np.argmax(sound(workspace, row)) == 48_000


def test_sound_shorter_than_the_picture_is_not_stretched(tmp_path: Path, workspace: Path) -> None:
    track = Track(clicks(1, 48_000, (0.75,)))
    row = decode(write_media(tmp_path / "short.mov", even_times(25, 3), track=track), workspace)
    assert (row["duration_s"], row["audio_s"]) == (3.0, 1.0)
    assert np.argmax(sound(workspace, row)) == 36_000
    assert not read_audio(workspace, row["audio48_ref"], 1.0, 3.0, AUDIO48_HZ).any()


def test_a_gap_in_the_sound_is_filled_with_silence(tmp_path: Path, workspace: Path) -> None:
    track = Track(clicks(2, 48_000, (0.5, 1.5)), gap_at_s=1.0, gap_s=0.3)
    row = decode(write_media(tmp_path / "gap.mkv", even_times(25, 3), track=track), workspace)
    found = np.flatnonzero(np.abs(sound(workspace, row)) > 0.5) / 48_000
    assert found == pytest.approx([0.5, 1.8], abs=0.001)


def test_sound_alone_has_no_frames_and_a_sine_has_its_loudness(
    tmp_path: Path, workspace: Path
) -> None:
    track = Track(sine(5, 48_000, 997.0, 1.0))
    row = decode(write_media(tmp_path / "sine.wav", track=track), workspace)
    assert row["frames10_ref"] is row["frames10_count"] is row["frames25_ref"] is None
    assert row["loudness_lufs"] == pytest.approx(-3.01, abs=0.05)
    assert row["duration_s"] == row["audio_s"] == 5.0
    expected = np.rint(track.audio[0] * 32768).clip(-32768, 32767) / 32768
    assert np.array_equal(sound(workspace, row), expected.astype(np.float32))


def test_silence_has_no_loudness(tmp_path: Path, workspace: Path) -> None:
    path = write_media(tmp_path / "silence.wav", track=Track(np.zeros((1, 96_000), np.float32)))
    assert decode(path, workspace)["loudness_lufs"] is None


def test_six_channels_mix_down_without_bass_and_without_clipping(
    tmp_path: Path, workspace: Path
) -> None:
    channels = np.concatenate([sine(1, 48_000, 400.0, 0.9)] * 6)
    path = write_media(tmp_path / "all.wav", track=Track(channels))
    assert np.abs(sound(workspace, decode(path, workspace))).max() == pytest.approx(0.9, abs=0.01)
    only_bass = channels * np.array([0, 0, 0, 1, 0, 0], np.float32)[:, None]
    path = write_media(tmp_path / "bass.wav", track=Track(only_bass))
    assert not sound(workspace, decode(path, workspace)).any()


@pytest.mark.parametrize("rate_hz", [8_000, 22_050, 44_100, 96_000])
def test_every_rate_gives_the_same_duration_and_pitch(
    rate_hz: int, tmp_path: Path, workspace: Path
) -> None:
    path = write_media(tmp_path / "tone.wav", track=Track(sine(1.2345, rate_hz, 1000.0), rate_hz))
    row = decode(path, workspace)
    assert row["audio_s"] == pytest.approx(1.2345, abs=1 / rate_hz)
    for rate in (AUDIO48_HZ, AUDIO_HZ):
        audio = sound(workspace, row, rate)
        peak = np.argmax(np.abs(np.fft.rfft(audio))) * rate / len(audio)
        assert peak == pytest.approx(1000, abs=1)


def test_a_cut_is_found_at_its_time(tmp_path: Path, workspace: Path) -> None:
    rng = np.random.default_rng(0)
    scenes = rng.integers(0, 255, (3, 8, 8, 3), dtype=np.uint8).repeat(12, 1).repeat(12, 2)
    times_s = even_times(25, 6)
    path = write_media(tmp_path / "cuts.mp4", times_s, [scenes[int(t // 2)] for t in times_s])
    assert decode(path, workspace)["cuts_s"] == [2.0, 4.0]
    assert decode(path, workspace, scene_threshold=200.0)["cuts_s"] == []


@pytest.mark.parametrize("rotation_deg", [90, 180, -90])
def test_rotation_is_undone(rotation_deg: int, tmp_path: Path, workspace: Path) -> None:
    upright = numbered_picture(0b0001_0011_0111_1001)
    stored = np.rot90(upright, -rotation_deg // 90)
    path = write_media(tmp_path / "r.mp4", [0, 0.5], [stored] * 2, rotation_deg=rotation_deg)
    row = decode(path, workspace)
    assert number_in(pictures(workspace, row, 10)[0]) == number_in(upright)


def test_wide_pixels_and_wide_pictures_show_the_square_centre(
    tmp_path: Path, workspace: Path
) -> None:
    picture = numbered_picture(0b1010_0101_1100_0011, 192, 96)
    path = write_media(tmp_path / "wide.mp4", [0, 0.5], [picture] * 2)
    frames = pictures(workspace, decode(path, workspace), 10)
    assert frames.shape[1:] == (224, 224, 3)
    assert number_in(frames[0]) == 0b1010_0101_1100_0011
    narrow = picture[:, ::2]  # the same picture stored with pixels twice as wide as high
    path = write_media(
        tmp_path / "wide-pixels.mp4", [0, 0.5], [narrow] * 2, sample_aspect=Fraction(2)
    )
    frames = pictures(workspace, decode(path, workspace), 10)
    assert number_in(frames[0]) == 0b1010_0101_1100_0011


def test_one_field_of_interlaced_pictures_is_taken(tmp_path: Path, workspace: Path) -> None:
    picture = np.zeros((240, 320, 3), np.uint8)
    picture[0::2] = 220  # what the first field saw; the second saw the dark
    path = write_media(
        tmp_path / "fields.mp4",
        even_times(25, 1),
        [picture] * 25,
        options={"x264-params": "tff=1", "crf": "4"},
    )
    frame = pictures(workspace, decode(path, workspace), 10)[5]
    assert frame.min() > 200


def test_frame_sizes_follow_the_configuration(tmp_path: Path, workspace: Path) -> None:
    path = write_media(tmp_path / "made.mp4", even_times(25, 1))
    row = decode(path, workspace, visual_px=64, motion_px=96)
    assert pictures(workspace, row, 10).shape == (10, 64, 64, 3)
    assert pictures(workspace, row, 25).shape == (25, 96, 96)


def test_colour_frames_at_25_fps_are_kept_where_they_are_asked_for(
    tmp_path: Path, workspace: Path
) -> None:
    path = write_media(tmp_path / "made.mp4", even_times(10, 1))
    assert decode(path, workspace)["colour25_ref"] is None
    row = decode(path, workspace, visual_px=64, colour25=True)
    often = read_frames(workspace, row["colour25_ref"], 0.0, row["duration_s"], MOTION_FPS)
    assert often.shape == (25, 64, 64, 3)
    # The frame of 10 fps that was last shown at each time, to the bit.
    assert np.array_equal(often, pictures(workspace, row, 10)[np.arange(25) * 2 // 5])
    for motion in (True, False):
        row = decode(path, workspace, colour25=True, colour25_px=96, motion=motion, motion_px=96)
        often = read_frames(workspace, row["colour25_ref"], 0.0, row["duration_s"], MOTION_FPS)
        assert often.shape == (25, 96, 96, 3)


def test_without_motion_the_10_fps_frames_and_the_sound_are_the_same_and_all_that_there_is(
    tmp_path: Path, workspace: Path
) -> None:
    times_s = even_times(25, 4)
    scenes = np.random.default_rng(0).integers(0, 255, (2, 8, 8, 3), dtype=np.uint8)
    pictures = [scenes[int(t // 2)].repeat(12, 0).repeat(12, 1) for t in times_s]
    path = write_media(tmp_path / "made.mov", times_s, pictures, Track(sine(4, 48_000)))
    whole = decode(path, workspace)
    plain = decode(path, workspace, motion=False, max_faces=4)
    assert (whole["cuts_s"], plain["cuts_s"]) == ([2.0], [])
    assert whole["frames25_count"] == 100
    for name in ("frames25_ref", "frames25_count", "faces_ref", "faces_count"):
        assert plain[name] is None
    left_out = {"cuts_s", "frames25_ref", "frames25_count", "decode_cpu_s"}
    assert {k: v for k, v in plain.items() if k not in left_out} == {
        k: v for k, v in whole.items() if k not in left_out
    }
    often = decode(path, workspace, motion=False, colour25=True)
    assert often["colour25_ref"] and often["frames25_count"] is None
    assert weights(DecodeConfig(motion=False)) == {}
    assert "motion" not in STAGE.chosen(DecodeConfig())


def test_red_stays_red(tmp_path: Path, workspace: Path) -> None:
    red = np.zeros((64, 64, 3), np.uint8)
    red[:, :, 0] = 230
    path = write_media(tmp_path / "red.mp4", [0, 0.5], [red] * 2)
    frame = pictures(workspace, decode(path, workspace), 10)[0]
    assert frame[112, 112].astype(int) == pytest.approx([230, 0, 0], abs=12)


@pytest.mark.parametrize("suffix", [".mkv", ".mov", ".avi"])
def test_a_file_that_ends_early_is_truncated(suffix: str, tmp_path: Path, workspace: Path) -> None:
    track = Track(sine(8, 48_000), codec="pcm_s16le")
    whole = write_media(
        tmp_path / f"whole{suffix}", even_times(25, 8), track=track, index_first=True
    )
    with pytest.raises(Rejected, match=r"decodes for|ends early") as caught:
        decode(truncate(whole, 0.6), workspace)
    assert caught.value.reason == "truncated"
    assert caught.value.facts["decoded_s"]["video"] < 7
    assert not list(tmp_path.glob("*/frames10.parquet"))


def test_a_stream_that_appears_midway_is_passed_over(tmp_path: Path, workspace: Path) -> None:
    first = write_media(tmp_path / "first.ts", even_times(25, 8), options={"g": "25"})
    track = Track(sine(2, 48_000), codec="aac")
    second = write_media(tmp_path / "second.ts", even_times(25, 2), track=track)
    both = tmp_path / "both.ts"
    both.write_bytes(first.read_bytes() + second.read_bytes())
    row = decode(both, workspace)
    assert (row["frames10_count"], row["audio_s"]) == (80, None)


def test_a_few_bad_packets_are_bridged(tmp_path: Path, workspace: Path) -> None:
    path = write_media(tmp_path / "made.mkv", even_times(25, 4), options={"g": "10"})
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 40] = bytes(40)
    path.write_bytes(bytes(data))
    row = decode(path, workspace)
    assert row["frames10_count"] == 40


def test_a_shard_gives_rows_and_rejects_and_leaves_no_scratch(
    tmp_path: Path, workspace: Path
) -> None:
    good = write_media(tmp_path / "good.mp4", even_times(25, 1))
    bad = write_media(tmp_path / "bad.mkv", even_times(25, 4))
    bad.write_bytes(bad.read_bytes()[:2000])
    table = [
        item_of(path, _fingerprint="f", _input_hash=str(number))
        for number, path in enumerate((bad, good))
    ]
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    pq.write_table(pa.Table.from_pylist(table), tmp_path / "items.parquet")
    shard = ShardRef("decode", 0, str(tmp_path / "items.parquet"), "run-1")
    target = ShardTarget(str(workspace), str(scratch))
    result = decode_shard(shard, target, DecodeConfig(max_faces=0))
    assert (result.done, result.rejected) == (1, 1)
    assert set(result.tables) == {"progress", "rejects", "decodes"}
    reject = pq.read_table(result.tables["rejects"]).to_pylist()[0]
    assert reject["reason"] in ("truncated", "damaged")
    assert {path.suffix for path in scratch.iterdir()} <= {".parquet", ".json"}


def test_only_what_a_source_is_made_of_makes_it_pending_again() -> None:
    connection = duckdb.connect()
    connection.execute(
        "CREATE TABLE files AS SELECT * FROM (VALUES ('/b.mp4', 's1', 9, 1),"
        " ('/a.mp4', 's1', 9, 2), ('/c.mp4', 's2', 5, 3))"
        " AS f(uri, source_id, size_bytes, mtime_ns)"
    )
    connection.execute(
        "CREATE TABLE sources AS SELECT * FROM (VALUES ('s1', '/a.mp4', 3.5),"
        " ('s2', '/c.mp4', NULL)) AS s(source_id, uri, duration_s)"
    )
    items = connection.execute(f"SELECT * FROM ({STAGE.items}) ORDER BY item_id").fetchall()
    assert items == [("s1", "s1", "/a.mp4", 9, 2, 3.5), ("s2", "s2", "/c.mp4", 5, 3, 60.0)]
    names = [column[0] for column in connection.description or ()]
    hashed = {name for name in names if not name.startswith("_")} - {"cost_s"}
    assert hashed == {"item_id", "source_id"}


def test_a_file_that_changed_or_went_is_rejected(tmp_path: Path, workspace: Path) -> None:
    path = write_media(tmp_path / "made.mp4", even_times(25, 1))
    item = item_of(path)
    for changed in ({"_size_bytes": 1}, {"_mtime_ns": 1}):
        with pytest.raises(Rejected) as caught:
            decode_item(item | changed, DecodeConfig(max_faces=0), workspace, tmp_path)
        assert caught.value.reason == "changed"
    path.unlink()
    with pytest.raises(Rejected) as caught:
        decode_item(item, DecodeConfig(max_faces=0), workspace, tmp_path)
    assert caught.value.reason == "missing"


def test_limits_end_a_pass_with_their_reason(tmp_path: Path, workspace: Path) -> None:
    path = write_media(tmp_path / "made.mp4", even_times(25, 8))
    config = DecodeConfig(wall_limit_s=1e-9, floor_limit_s=0.02, max_faces=0)
    with pytest.raises(Rejected) as caught:
        decode_item(item_of(path), config, workspace, tmp_path)
    assert caught.value.reason == "timeout"
    assert caught.value.message.startswith(f"{path}: not done after 0.02 s")
    assert not (tmp_path / item_of(path)["source_id"]).exists()


def test_the_same_file_gives_the_same_bytes_in_another_process(
    tmp_path: Path, workspace: Path
) -> None:
    track = Track(sine(2, 44_100), 44_100, codec="aac")
    path = write_media(tmp_path / "made.mp4", even_times(Fraction(30_000, 1001), 2), track=track)
    row = decode(path, workspace)
    code = (
        "import json, sys\n"
        "from pathlib import Path\n"
        "from tests.tasks.test_decode import decode\n"
        "print(json.dumps(decode(Path(sys.argv[1]), Path(sys.argv[2]))))"
    )
    other = tmp_path / "other"
    other.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", code, str(path), str(other)],
        capture_output=True,
        check=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONHASHSEED": "7"},
    )
    import json

    again = json.loads(done.stdout)
    del row["decode_cpu_s"], again["decode_cpu_s"]
    assert row == again
    for name in ("audio48_ref", "audio16_ref", "frames10_ref", "frames25_ref"):
        data = Blobs(workspace).path(row[name]).read_bytes()
        assert hashlib.sha256(data).hexdigest()[2:] in row[name]
