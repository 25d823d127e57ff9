import json
import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

from storage.rejects import Rejected
from tasks.container import ASF, local_path
from tasks.probe import STAGE, ProbeConfig, probe_item
from tasks.sandbox import close_zygotes
from tests.made_media import Track, even_times, sine, truncate, write_media


@pytest.fixture(scope="module", autouse=True)
def _end_zygotes() -> Iterator[None]:
    yield
    close_zygotes()


def probe(path: Path, uri: str | None = None) -> dict[str, Any]:
    item = {
        "item_id": "a" * 64,
        "source_id": "a" * 64,
        "uri": uri or str(path),
        "size_bytes": 1,
        "licence": "CC0",
        "attribution": None,
        "consent": None,
        "transcript": "hello",
    }
    return probe_item(item, ProbeConfig(), path.parent)["sources"][0]


def rejected(path: Path) -> Rejected:
    with pytest.raises(Rejected) as caught:
        probe(path)
    return caught.value


def test_a_video_with_sound_is_described(tmp_path: Path) -> None:
    times_s = even_times(Fraction(30_000, 1001), 2)
    track = Track(np.repeat(sine(2, 44_100), 2, axis=0), 44_100, codec="aac")
    row = probe(write_media(tmp_path / "made.mp4", times_s, track=track, rotation_deg=90))
    expected = {
        "has_video": True,
        "has_audio": True,
        "video_codec": "h264",
        "width": 96,
        "height": 96,
        "is_vfr": False,
        "rotation_deg": 270,
        "audio_codec": "aac",
        "sample_rate_hz": 44_100,
        "channels": 2,
        "licence": "CC0",
        "transcript": "hello",
    }
    assert {name: row[name] for name in expected} == expected
    assert row["fps"] == pytest.approx(30_000 / 1001, abs=0.2)
    assert row["duration_s"] == pytest.approx(2, abs=0.1)
    assert [s["type"] for s in json.loads(row["streams"])] == ["video", "audio"]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_uneven_frame_times_are_vfr_and_rounded_ones_are_not(suffix: str, tmp_path: Path) -> None:
    even = write_media(tmp_path / f"even{suffix}", even_times(Fraction(24_000, 1001), 3))
    assert probe(even)["is_vfr"] is False
    uneven = write_media(tmp_path / f"uneven{suffix}", [0, 0.04, 0.1, 0.3, 0.34, 0.4, 1.0])
    assert probe(uneven)["is_vfr"] is True


def test_sound_with_cover_art_has_no_video(tmp_path: Path) -> None:
    import av
    from av.stream import Disposition

    path = tmp_path / "song.m4a"
    with av.open(str(path), "w", format="mp4") as container:
        sound: Any = container.add_stream("aac", rate=48_000, layout="mono")
        art: Any = container.add_stream("mjpeg", rate=1)
        art.width, art.height, art.pix_fmt = 32, 32, "yuvj420p"
        art.disposition = Disposition.attached_pic
        picture = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), "rgb24")
        for packet in [*art.encode(picture), *art.encode(None)]:
            container.mux(packet)
        frame = av.AudioFrame.from_ndarray(sine(1, 48_000), "fltp", "mono")
        frame.sample_rate = 48_000
        for packet in [*sound.encode(frame), *sound.encode(None)]:
            container.mux(packet)
    row = probe(path)
    assert (row["has_audio"], row["has_video"]) == (True, False)
    assert len(json.loads(row["streams"])) == 2


def test_a_text_file_called_mp4_is_not_media(tmp_path: Path) -> None:
    path = tmp_path / "notes.mp4"
    path.write_text("Notes of the meeting, naïve as they are.\n" * 200)
    reject = rejected(path)
    assert reject.reason == "not_media"
    assert reject.message == (
        f"{path}: not a media file (it begins with plain text); remove it or correct its name"
    )


@pytest.mark.parametrize(
    ("content", "reason", "says"),
    [
        (b"", "empty", "no bytes"),
        (b"%PDF-1.7\n\x00\x01", "not_media", "a PDF document"),
        (bytes(10_000), "not_media", "zero bytes"),
        (bytes(range(255, 0, -1)) * 9, "not_media", "begins with bytes ff fe fd"),
        (b"#EXTM3U\n#EXTINF:5,\n/etc/passwd\n", "not_media", "plain text"),
        ("Notes\n".encode("utf-16"), "not_media", "plain text"),
        (ASF + bytes(range(256)), "damaged", "its header is damaged"),
        (b"RIFF\x00\x10\x00\x00WAVEfmt \xff\xff", "truncated", "ends early"),
    ],
    ids=["empty", "pdf", "zeros", "bytes", "playlist", "utf16", "asf", "wav"],
)
def test_what_is_not_media_is_named(content: bytes, reason: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "odd.mp4"
    path.write_bytes(content)
    reject = rejected(path)
    assert (reject.reason, says in reject.message) == (reason, True), reject.message


def test_an_mp4_without_its_index_is_truncated(tmp_path: Path) -> None:
    cut = truncate(write_media(tmp_path / "made.mp4", even_times(25, 2)), 0.7)
    reject = rejected(cut)
    assert reject.reason == "truncated"
    assert f"moov atom) is missing: the file ends early, at {cut.stat().st_size}" in reject.message
    assert reject.facts["stated_bytes"] > reject.facts["size_bytes"]


def test_a_still_picture_is_not_a_video(tmp_path: Path) -> None:
    import cv2

    path = tmp_path / "still.bmp"
    cv2.imwrite(str(path), np.zeros((32, 32, 3), np.uint8))
    assert rejected(path).reason == "not_media"


def test_a_pipe_and_a_folder_are_never_opened(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.mp4"
    os.mkfifo(pipe)
    assert rejected(pipe).reason == "not_media"
    assert rejected(tmp_path).reason == "not_media"
    assert rejected(tmp_path / "gone.mp4").reason == "missing"


def test_subtitles_alone_have_no_streams_to_decode(tmp_path: Path) -> None:
    import av

    text, path = tmp_path / "titles.srt", tmp_path / "titles.mkv"
    text.write_text("1\n00:00:00,000 --> 00:00:01,000\nhello\n")
    with av.open(str(text)) as source, av.open(str(path), "w") as target:
        stream: Any = target.add_stream_from_template(source.streams[0])
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    reject = rejected(path)
    assert reject.reason == "no_streams"
    assert reject.message.startswith(str(path))
    assert "subtitle" in reject.message


def test_odd_names_and_file_addresses_are_opened(tmp_path: Path) -> None:
    path = tmp_path / 'odd "name"\n #1 é%20.mp4'
    write_media(tmp_path / "plain.mp4", even_times(25, 1)).rename(path)
    assert probe(path)["has_video"]
    assert probe(path, path.as_uri())["has_video"]
    with pytest.raises(Rejected) as caught:
        local_path("https://example.org/a.mp4")
    assert caught.value.reason == "unreadable"


def test_a_duplicate_is_probed_once_under_its_first_path() -> None:
    connection = duckdb.connect()
    connection.execute(
        "CREATE TABLE files AS SELECT * FROM (VALUES ('/b.mp4', 's1', 9, 'MIT'),"
        " ('/a.mp4', 's1', 9, 'CC0')) AS f(uri, source_id, size_bytes, licence)"
    )
    for column in ("attribution", "consent", "transcript"):
        connection.execute(f"ALTER TABLE files ADD COLUMN {column} VARCHAR")
    connection.execute("CREATE TABLE tombstones AS SELECT 's9' AS source_id")
    items = connection.execute(STAGE.items).fetchall()
    assert items == [("s1", "s1", "/a.mp4", 9, "CC0", None, None, None, 1.0)]
