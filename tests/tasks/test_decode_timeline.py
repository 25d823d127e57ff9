"""Presentation times rule: edit lists, several streams, odd starts and ends, high frame rates."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.stream import Disposition
from scenedetect.common import FrameTimecode, Timecode
from scenedetect.detectors import ContentDetector

from models.timeline import AUDIO48_HZ, MOTION_FPS, VISUAL_FPS
from tasks.decode_picture import MICROSECOND, Cuts
from tasks.sandbox import close_zygotes
from tests.made_media import (
    Track,
    clicks,
    even_times,
    number_in,
    numbered_picture,
    sine,
    write_media,
)
from tests.tasks.test_decode import decode, pictures, shown_at, sound


@pytest.fixture(scope="module", autouse=True)
def _end_zygotes() -> Iterator[None]:
    yield
    close_zygotes()


def edited(path: Path, media_time: int, length_s: float) -> Path:
    """The same MP4 or MOV whose first edit list starts at a media time, in the track's ticks."""
    data = bytearray(path.read_bytes())
    at = data.index(b"elst")
    assert data[at + 4] == 0, "a version 0 edit list"
    assert int.from_bytes(data[at + 8 : at + 12], "big") == 1, "with one edit"
    movie = data.index(b"mvhd")
    scale = int.from_bytes(data[movie + 16 : movie + 20], "big")
    data[at + 12 : at + 16] = round(length_s * scale).to_bytes(4, "big")
    data[at + 16 : at + 20] = media_time.to_bytes(4, "big")
    path.write_bytes(bytes(data))
    return path


def test_an_edit_list_that_begins_later_shows_the_film_from_there(
    tmp_path: Path, workspace: Path
) -> None:
    path = write_media(tmp_path / "cut.mp4", even_times(25, 4), options={"bf": "0", "g": "25"})
    with av.open(str(path)) as container:
        ticks_s = container.streams.video[0].time_base
    assert ticks_s is not None
    row = decode(edited(path, round(1.0 / ticks_s), 3.0), workspace)
    assert row["duration_s"] == pytest.approx(3.0, abs=1 / 25)
    numbers = [number_in(frame) for frame in pictures(workspace, row, 25)]
    assert numbers[:75] == list(range(25, 100))


@pytest.mark.parametrize(
    "fps", [11.94, Fraction(24_000, 1001), Fraction(30_000, 1001), Fraction(60_000, 1001)]
)
def test_length_is_the_pictures_length_within_a_frame_and_a_sample(
    fps: float | Fraction, tmp_path: Path, workspace: Path
) -> None:
    times_s = even_times(fps, 3)
    track = Track(sine(3.2125, 48_000))
    row = decode(write_media(tmp_path / "made.mkv", times_s, track=track), workspace)
    assert row["audio_s"] == pytest.approx(3.2125, abs=1 / 48_000)
    assert row["duration_s"] == pytest.approx(3.2125, abs=1 / 48_000)
    silent = write_media(tmp_path / "silent.mp4", times_s)
    with av.open(str(silent)) as container:
        stated_s = (container.duration or 0) / 1e6  # the last picture's length is the muxer's guess
    assert decode(silent, workspace)["duration_s"] == pytest.approx(stated_s, abs=float(1 / fps))
    assert stated_s == pytest.approx(len(times_s) / fps, abs=max(0.04, float(1 / fps)))


def test_sound_that_ends_early_leaves_the_picture_whole(tmp_path: Path, workspace: Path) -> None:
    track = Track(sine(1.5, 44_100), 44_100, codec="aac")
    times_s = even_times(Fraction(30_000, 1001), 3)
    row = decode(write_media(tmp_path / "early.mp4", times_s, track=track), workspace)
    assert row["audio_s"] == pytest.approx(1.5, abs=0.05)
    assert row["duration_s"] == pytest.approx(3.0, abs=1 / 30)
    assert row["frames10_count"] == 30


def test_of_several_streams_the_default_ones_are_taken(tmp_path: Path, workspace: Path) -> None:
    path = tmp_path / "several.mkv"
    with av.open(str(path), "w") as container:
        small: Any = container.add_stream("libx264", rate=25)
        large: Any = container.add_stream("libx264", rate=25)
        for stream, side in ((small, 64), (large, 128)):
            stream.width = stream.height = side
            stream.pix_fmt = "yuv420p"
        first: Any = container.add_stream("pcm_s16le", rate=48_000, layout="mono")
        second: Any = container.add_stream("pcm_s16le", rate=48_000, layout="stereo")
        large.disposition = second.disposition = Disposition.default
        packets: list[Any] = []
        for stream, number, side in ((small, 0, 64), (large, 0b1001_0110_0000_1111, 128)):
            for k in range(50):
                picture = numbered_picture(number, side, side)
                frame = av.VideoFrame.from_ndarray(picture, "rgb24").reformat(format="yuv420p")
                frame.pts, frame.time_base = k, Fraction(1, 25)
                packets += stream.encode(frame)
            packets += stream.encode(None)
        for stream, hz, channels in ((first, 300.0, 1), (second, 2000.0, 2)):
            pcm = (sine(2, 48_000, hz) * 32767).astype(np.int16).repeat(channels, axis=1)
            frame = av.AudioFrame.from_ndarray(pcm, "s16", stream.layout.name)
            frame.sample_rate, frame.pts = 48_000, 0
            packets += [*stream.encode(frame), *stream.encode(None)]
        for packet in sorted(packets, key=lambda p: p.dts * p.time_base):
            container.mux(packet)
    row = decode(path, workspace)
    assert number_in(pictures(workspace, row, 10)[3]) == 0b1001_0110_0000_1111
    audio = sound(workspace, row)
    peak_hz = np.argmax(np.abs(np.fft.rfft(audio))) * AUDIO48_HZ / len(audio)
    assert peak_hz == pytest.approx(2000, abs=1)


@pytest.mark.parametrize("fps", [50, 60, 120])
def test_pictures_between_the_grid_are_left_out_and_a_cut_stands_where_the_grid_shows_it(
    fps: int, tmp_path: Path, workspace: Path
) -> None:
    times_s = even_times(fps, 3)
    shades = np.random.default_rng(0).integers(0, 255, (2, 4, 4, 3), np.uint8)
    scenes = shades.repeat(24, 1).repeat(24, 2)
    path = write_media(tmp_path / "fast.mp4", times_s, [scenes[int(t >= 1.2)] for t in times_s])
    assert decode(path, workspace)["cuts_s"] == pytest.approx([1.2], abs=1e-6)
    numbered = write_media(tmp_path / "numbered.mp4", times_s)
    row = decode(numbered, workspace)
    for rate in (VISUAL_FPS, MOTION_FPS):
        frames = pictures(workspace, row, rate)
        assert [number_in(f) for f in frames] == shown_at(times_s, rate, len(frames))


def test_a_click_keeps_its_time_beside_sound_of_six_channels(
    tmp_path: Path, workspace: Path
) -> None:
    track = Track(np.repeat(clicks(2, 44_100, (0.5, 1.25)), 6, axis=0), 44_100, start_s=0.2)
    row = decode(write_media(tmp_path / "six.mkv", even_times(11.94, 3), track=track), workspace)
    audio = np.abs(sound(workspace, row))
    found = np.flatnonzero(audio > 0.6 * audio.max()) / AUDIO48_HZ
    assert {round(t, 3) for t in found} == {0.7, 1.45}


@pytest.mark.parametrize("min_scene_s", [0.0, 0.6, 2.0])
def test_cuts_are_those_of_pyscenedetects_content_detector(min_scene_s: float) -> None:
    rng = np.random.default_rng(1)
    fps = Fraction(24)
    detector, cuts = ContentDetector(27.0, min_scene_s), Cuts(27.0, min_scene_s, fps)
    scene = rng.integers(0, 255, (112, 112, 3), np.uint8)
    expected, found = [], []
    for k in range(400):
        if rng.random() < 0.08:
            scene = rng.integers(0, 255, (7, 7, 3), np.uint8).repeat(16, 0).repeat(16, 1)
        noise = rng.integers(-9, 9, scene.shape)
        image = (scene.astype(int) + noise).clip(0, 255).astype(np.uint8)
        time_us = k * 41_667
        now = FrameTimecode(Timecode(time_us, MICROSECOND), fps)
        expected += [cut.seconds for cut in detector.process_frame(now, image)]
        found += cuts.look(time_us, image)
    assert expected
    assert found == expected
