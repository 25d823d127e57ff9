import errno
import hashlib
from fractions import Fraction
from typing import Any

import av
import av.error
import numpy as np
import pytest
import soundfile

from storage.rejects import Rejected
from tasks.mark import Mark, mark_text, read_mark
from tasks.mux import mux
from tasks.sandbox import Limits, close_zygotes, run_limited

RATE_HZ = 16_000
MARK = Mark('tiny "ab<12>" & more', 7)


def film(path, fps=Fraction(25), frames=75, codec="libx264", start_s=0.0, uneven=False, sound=()):
    """A picture that changes with every frame; H.264 with B-frames, so that it has an edit list."""
    tick = {"mpeg4": 65_535, "mpeg2video": int(fps)}.get(codec, 90_000)
    with av.open(str(path), "w") as out:
        video: Any = out.add_stream(codec, rate=fps)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        video.codec_context.time_base = Fraction(1, tick)
        if codec == "libx264":
            video.codec_context.max_b_frames = 2
        tone = out.add_stream("aac", rate=48_000) if len(sound) else None
        for number in range(frames):
            picture = np.full((48, 64, 3), number * 7 % 256, np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            late_s = number % 3 * 0.007 if uneven else 0.0
            frame.pts = round((start_s + number / fps + late_s) * tick)
            frame.time_base = Fraction(1, tick)
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
        if tone is not None:
            heard = av.AudioFrame.from_ndarray(np.asarray(sound, np.float32), "fltp", "mono")
            heard.sample_rate, heard.pts = 48_000, 0
            out.mux([*tone.encode(heard), *tone.encode(None)])
    return path


def click(seconds=20.0, at_s=1.0, rate_hz=RATE_HZ):
    audio = 1e-4 * np.random.default_rng(0).standard_normal((1, round(seconds * rate_hz)))
    audio[0, round(at_s * rate_hz)] = 0.9
    return audio.astype(np.float32)


def packets(path):
    """Bytes and time in seconds of each packet of the picture."""
    with av.open(str(path)) as container:
        found: list[Any] = [p for p in container.demux(container.streams.video[0]) if p.size]
        return [(bytes(packet), float(packet.pts * packet.time_base)) for packet in found]


def heard(path):
    """The decoded soundtrack (channels, samples) and the time of its first sample."""
    with av.open(str(path)) as container:
        frames = list(container.decode(audio=0))
    assert frames[0].sample_rate == 48_000
    return np.concatenate([frame.to_ndarray() for frame in frames], axis=1), frames[0].time


def shown(path):
    with av.open(str(path)) as container:
        return [(float(frame.time), frame.rotation) for frame in container.decode(video=0)]


@pytest.mark.parametrize("fps", [Fraction(25), Fraction(4500, 377)], ids=["25 fps", "11.94 fps"])
def test_the_picture_is_untouched_and_the_sound_is_as_long_within_a_frame(tmp_path, fps):
    source = film(tmp_path / "source.mp4", fps)
    result = mux(source, click(), RATE_HZ, tmp_path / "out.mp4", MARK)
    assert result.picture_untouched
    assert packets(result.path) == packets(source)
    assert shown(result.path) == shown(source)
    picture_s = float(75 / fps)
    assert result.video_s == pytest.approx(picture_s, abs=0.001)
    assert result.audio_s == pytest.approx(picture_s, abs=0.001)
    sound, _ = heard(result.path)
    assert sound.shape[1] / 48_000 == pytest.approx(picture_s, abs=float(1 / fps))
    assert result.output_hash == hashlib.sha256((tmp_path / "out.mp4").read_bytes()).hexdigest()


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_a_click_at_one_second_is_heard_at_one_second(tmp_path, name):
    source = film(tmp_path / name)
    result = mux(source, click(), RATE_HZ, tmp_path / "out.mp4", MARK)
    sound, first_s = heard(result.path)
    assert first_s + np.abs(sound[0]).argmax() / 48_000 == pytest.approx(1.0, abs=0.005)


@pytest.mark.parametrize(
    ("name", "codec", "suffix"),
    [
        ("a.mov", "libx264", ".mp4"),
        ("a.mkv", "libx264", ".mkv"),
        ("a.webm", "libvpx", ".mkv"),
        ("a.ts", "libx264", ".mkv"),
        ("a.avi", "mpeg4", ".mkv"),
        ("a.mp4", "libsvtav1", ".mp4"),
        ("a.mpg", "mpeg2video", ".mkv"),
    ],
)
def test_the_container_follows_the_source_and_keeps_its_picture(tmp_path, name, codec, suffix):
    source = film(tmp_path / name, frames=30, codec=codec)
    result = mux(source, click(), RATE_HZ, tmp_path / "v1.2-take.mp4", MARK)
    assert result.path == str(tmp_path / f"v1.2-take{suffix}")
    assert result.picture_untouched and len(shown(result.path)) == 30
    assert result.video_s == pytest.approx(1.2, abs=0.04)
    assert result.audio_s == pytest.approx(1.2, abs=0.04)
    assert read_mark(result.path)["digital_source_type"] == "trainedAlgorithmicMedia"


def test_uneven_frame_times_and_rotation_are_kept(tmp_path):
    source = film(tmp_path / "source.mp4", uneven=True)
    data = bytearray(source.read_bytes())
    matrix = data.index(b"tkhd") + 44
    turned = (0, 1 << 16, 0, -(1 << 16), 0, 0, 48 << 16, 0, 1 << 30)
    data[matrix : matrix + 36] = b"".join(n.to_bytes(4, "big", signed=True) for n in turned)
    source.write_bytes(data)
    assert abs(shown(source)[0][1]) == 90
    result = mux(source, click(), RATE_HZ, tmp_path / "out.mp4", MARK)
    assert shown(result.path) == shown(source) and result.picture_untouched


def test_the_source_s_own_sound_is_replaced_and_sets_the_zero_of_the_timeline(tmp_path):
    source = film(tmp_path / "source.mkv", start_s=0.4, sound=np.full((1, 96_000), 0.5))
    result = mux(source, click(), RATE_HZ, tmp_path / "out.mp4", MARK)
    sound, first_s = heard(result.path)
    assert sound.shape[0] == 1 and np.abs(sound[0, 60_000:]).max() < 0.01
    assert first_s + np.abs(sound[0]).argmax() / 48_000 == pytest.approx(1.0, abs=0.005)
    # The picture is shown from 0.4 s to 3.4 s, and the sound runs from 0 to its end.
    assert result.audio_s == pytest.approx(3.4, abs=0.04)
    silent = film(tmp_path / "silent.mkv", start_s=0.4)
    result = mux(silent, click(), RATE_HZ, tmp_path / "out.mp4", MARK)
    sound, first_s = heard(result.path)
    assert first_s + np.abs(sound[0]).argmax() / 48_000 == pytest.approx(1.4, abs=0.005)
    assert result.audio_s == pytest.approx(3.0, abs=0.04)


def test_what_an_edit_list_hides_at_the_end_stays_hidden(tmp_path):
    source = film(tmp_path / "source.mp4")
    data = bytearray(source.read_bytes())
    edit = data.index(b"elst") + 12
    data[edit : edit + 4] = (2_470).to_bytes(4, "big")
    source.write_bytes(data)
    assert len(shown(source)) < 75
    result = mux(source, click(), RATE_HZ, tmp_path / "out.mp4", MARK)
    assert result.picture_untouched and shown(result.path) == shown(source)
    assert result.video_s == pytest.approx(2.47, abs=0.001)
    assert result.audio_s == pytest.approx(2.47, abs=0.001)


def test_a_picture_that_was_changed_is_measured_as_changed(tmp_path, monkeypatch):
    source = film(tmp_path / "source.mp4")
    picture, _ = packets(source)[10]

    def damage(path, shown_s):
        path.write_bytes(path.read_bytes().replace(picture, picture[:-1] + b"\x55"))

    monkeypatch.setattr("tasks.mux._hide_end", damage)
    assert not mux(source, click(), RATE_HZ, tmp_path / "out.mp4", MARK).picture_untouched


def test_a_source_that_ends_early_gets_sound_for_the_picture_that_is_there(tmp_path):
    whole = film(tmp_path / "whole.mp4")
    copy = mux(whole, click(), RATE_HZ, tmp_path / "fast.mp4", MARK)
    data = (tmp_path / "fast.mp4").read_bytes()
    with av.open(copy.path) as container:
        places = [packet.pos for packet in container.demux(video=0) if packet.size]
    (tmp_path / "cut.mp4").write_bytes(data[: places[40]])
    result = mux(tmp_path / "cut.mp4", click(), RATE_HZ, tmp_path / "out.mp4", MARK)
    assert result.picture_untouched and result.video_s == pytest.approx(40 / 25, abs=0.2)
    assert result.audio_s == pytest.approx(result.video_s, abs=0.04)


def test_short_sound_is_followed_by_silence_to_the_end_of_the_picture(tmp_path):
    source = film(tmp_path / "source.mp4")
    tone = np.repeat(0.3 * np.sin(np.arange(48_000) * 0.05), 2).reshape(-1, 2).T
    result = mux(source, tone.astype(np.float32), 48_000, tmp_path / "out.mp4", MARK)
    sound, _ = heard(result.path)
    assert sound.shape[0] == 2 and result.audio_s == pytest.approx(3.0, abs=0.001)
    assert np.abs(sound[:, :40_000]).max() > 0.2 and np.abs(sound[:, 60_000:]).max() < 0.01


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_the_file_says_that_its_sound_was_generated_and_by_what(tmp_path, name):
    source = film(tmp_path / name, frames=20)
    with av.open(str(source)) as given, av.open(str(tmp_path / f"t-{name}"), "w") as out:
        out.metadata.update({"title": "Reel 7", "comment": "damaged leader"})
        copy = out.add_stream_from_template(given.streams.video[0])
        for packet in given.demux(given.streams.video[0]):
            if packet.size:
                packet.stream = copy
                out.mux(packet)
    result = mux(tmp_path / f"t-{name}", click(), RATE_HZ, tmp_path / "out.mp4", MARK)
    told = read_mark(result.path)
    assert told == {
        "comment": mark_text(MARK) + " | damaged leader",
        "description": mark_text(MARK),
        "digital_source_type": "trainedAlgorithmicMedia",
        "model_id": MARK.model_id,
        "seed": "7",
    }
    assert "artificial intelligence" in told["comment"] and MARK.model_id in told["comment"]
    with av.open(result.path) as container:
        title = {key.lower(): value for key, value in container.metadata.items()}["title"]
        assert title == "Reel 7" and "creation_time" not in container.metadata


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_the_same_inputs_give_the_same_bytes_and_leave_no_temporary_file(tmp_path, name):
    source = film(tmp_path / name)
    hashes = {
        mux(source, click(), RATE_HZ, tmp_path / f"{take}.mp4", MARK).output_hash
        for take in ("one", "two")
    }
    assert len(hashes) == 1
    assert len(list(tmp_path.iterdir())) == 3


def test_a_source_without_picture_or_that_is_no_media_is_rejected(tmp_path):
    soundfile.write(tmp_path / "song.wav", click()[0], RATE_HZ)
    (tmp_path / "notes.mp4").write_text("not a film\n" * 50)
    for name, reason in (("song.wav", "no_streams"), ("notes.mp4", "not_media")):
        with pytest.raises(Rejected) as caught:
            mux(tmp_path / name, click(), RATE_HZ, tmp_path / "out.mp4", MARK)
        assert caught.value.reason == reason
    assert not (tmp_path / "out.mp4").exists()


def test_a_picture_that_no_container_here_takes_is_rejected_by_its_codec(tmp_path):
    source = film(tmp_path / "a.asf", frames=10, codec="wmv2")
    with pytest.raises(Rejected, match=r"a\.asf: its wmv2 picture cannot be copied") as caught:
        mux(source, click(), RATE_HZ, tmp_path / "out.mp4", MARK)
    assert caught.value.reason == "unsupported"
    assert list(tmp_path.iterdir()) == [source]


def test_a_file_that_cannot_be_read_on_is_rejected_as_damaged(tmp_path, monkeypatch):
    def break_off(container, streams):
        yield from list(container.demux(*streams))[:5]
        raise av.error.InvalidDataError(1094995529, "Invalid data found")

    source = film(tmp_path / "source.mp4")
    monkeypatch.setattr("tasks.mux_check.demuxed", break_off)
    with pytest.raises(Rejected, match=r"source\.mp4: its picture cannot be read on") as caught:
        mux(source, click(), RATE_HZ, tmp_path / "out.mp4", MARK)
    assert caught.value.reason == "damaged"


@pytest.mark.parametrize(
    "error",
    [
        av.error.OSError(errno.ENOSPC, "No space left on device"),
        av.error.MemoryError(errno.ENOMEM, "Cannot allocate memory"),
    ],
)
def test_a_full_disk_or_memory_is_not_the_film_s_fault(tmp_path, monkeypatch, error):
    def fail(*_):
        raise error

    monkeypatch.setattr("tasks.mux._write", fail)
    with pytest.raises(type(error)):
        mux(film(tmp_path / "source.mp4"), click(), RATE_HZ, tmp_path / "out.mp4", MARK)


def test_a_soundtrack_that_cannot_be_one_is_a_caller_s_mistake(tmp_path):
    source = film(tmp_path / "source.mp4", frames=5)
    for audio in (np.zeros((3, 99)), np.zeros(99), np.zeros((1, 0)), np.full((1, 9), np.nan)):
        with pytest.raises(ValueError, match="audio"):
            mux(source, audio.astype(np.float32), RATE_HZ, tmp_path / "out.mp4", MARK)
    with pytest.raises(ValueError, match="is the source"):
        mux(source, click(), RATE_HZ, source, MARK)


def test_muxing_runs_in_the_sandbox_on_files(tmp_path):
    source = film(tmp_path / "source.mp4")
    soundfile.write(tmp_path / "sound.flac", click(5.0)[0], RATE_HZ)
    arguments = {
        "video_path": str(source),
        "audio_path": str(tmp_path / "sound.flac"),
        "output_folder": str(tmp_path),
        "name": "film-take1",
        "model_id": "tiny",
        "seed": 3,
    }
    try:
        made = run_limited("tasks.mux:mux_file", arguments, Limits(60, 60, 2048, 64)).value
    finally:
        close_zygotes()
    assert made["picture_untouched"] and made["path"] == str(tmp_path / "film-take1.mp4")
    assert read_mark(made["path"])["seed"] == "3"
