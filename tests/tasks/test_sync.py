"""Offsets against made truth: flashes with clicks, mouths with voices, and a real speaker."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from models.motion import motion_energy
from models.timeline import AUDIO_HZ, MOTION_FPS
from storage.catalog import Catalog
from storage.features import pack_features
from storage.ids import sha256_file
from storage.stage import ShardTarget
from storage.workspace import Workspace
from tasks.decode import DecodeConfig, decode_item
from tasks.face_crops import read_crops
from tasks.face_networks import load_mesh
from tasks.faces import FacesConfig, follow_faces
from tasks.media import read_audio, read_frame_times, read_frames
from tasks.sandbox import close_zygotes
from tasks.sync import (
    MOUTH_LEAD_S,
    STAGE,
    SyncConfig,
    align_onsets,
    find_speaker,
    sync,
)
from tests.made_media import Track, clicks, even_times, write_media
from tests.made_rows import row as made_row

CONFIG = SyncConfig()
FLASHES_S = (0.7, 1.3, 2.6, 3.1, 4.5, 5.7, 6.0)
FILM_S = 7.0


@pytest.fixture(scope="module", autouse=True)
def _end_zygotes() -> Iterator[None]:
    yield
    close_zygotes()


def decoded(path: Path, workspace: Path, **config: Any) -> dict[str, Any]:
    facts = path.stat()
    item = {"item_id": sha256_file(path), "_uri": str(path), "cost_s": 10.0}
    item |= {"_size_bytes": facts.st_size, "_mtime_ns": facts.st_mtime_ns}
    item["source_id"] = item["item_id"]
    (decode,) = decode_item(item, DecodeConfig(**config), workspace, path.parent)["decodes"]
    return decode


def flashing_film(path: Path, fps: float, offset_s: float) -> Path:
    """White flashes of two frames on noise-free gray; each has a click, `offset_s` later."""
    times = even_times(fps, FILM_S)
    shown = [next((t for t in times if t >= flash), 0.0) for flash in FLASHES_S]
    lit = [any(-1e-6 <= t - flash < 1.9 / fps for flash in shown) for t in times]
    gray, white = (np.full((64, 64, 3), level, np.uint8) for level in (90, 230))
    sound = clicks(FILM_S, 48_000, [flash + offset_s for flash in shown])
    return write_media(path, times, [white if is_lit else gray for is_lit in lit], Track(sound))


@pytest.mark.parametrize(
    ("fps", "offset_s"),
    [(25, 0.2), (25, -0.4), (30_000 / 1001, -0.08), (24_000 / 1001, 0.4), (12, 0.08)],
)
def test_the_offset_of_clicks_after_flashes_is_found_at_any_frame_rate(
    fps: float, offset_s: float, tmp_path: Path, workspace: Path
) -> None:
    film = flashing_film(tmp_path / "flashes.mkv", fps, offset_s)
    decode = decoded(film, workspace, max_faces=0)
    span = (0.0, FILM_S)
    frames = read_frames(workspace, decode["frames25_ref"], *span, MOTION_FPS)
    times = read_frame_times(workspace, decode["frames25_ref"], *span, MOTION_FPS)
    audio = read_audio(workspace, decode["audio16_ref"], *span, AUDIO_HZ)[0]
    motion = motion_energy(frames)[:, 0]
    found = sync([], motion, times, audio, CONFIG)
    assert found["method"] == "onset"
    assert found["offset_s"] == pytest.approx(offset_s, abs=0.02)
    assert found["confidence"] > 0.9


def test_clicks_that_have_no_flash_are_unsure() -> None:
    times = np.arange(round(FILM_S * MOTION_FPS)) / MOTION_FPS
    sure = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        motion = np.zeros(len(times), np.float32)
        motion[rng.integers(5, len(times), 7)] = rng.uniform(1, 4, 7)
        audio = clicks(FILM_S, AUDIO_HZ, list(rng.uniform(0.1, FILM_S - 0.1, 7)))[0]
        sure.append(align_onsets(motion, times, audio, 0.8).confidence)
    assert np.mean(np.array(sure) > 0.9) <= 0.25
    assert np.median(sure) < 0.85


def test_a_still_picture_has_no_offset() -> None:
    still, times = np.zeros(175, np.float32), np.zeros(175)
    found = sync([], still, times, clicks(FILM_S, AUDIO_HZ, FLASHES_S)[0], CONFIG)
    assert found == {
        "method": "onset",
        "offset_s": None,
        "correlation": 0.0,
        "confidence": 0.0,
        "track": None,
    }


def talk(seed: int, duration_s: float = 8.0) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """A mouth (F,) that opens with random syllables, and its voice (T,), later as voices are."""
    rng = np.random.default_rng(seed)
    at = np.arange(round(duration_s * AUDIO_HZ)) / AUDIO_HZ
    opening = np.zeros(len(at))
    start_s = 0.3
    while start_s < duration_s - 0.3:
        width_s = rng.uniform(0.05, 0.09)
        opening += rng.uniform(0.4, 1) * np.exp(-(((at - start_s) / width_s) ** 2))
        start_s += rng.uniform(0.18, 0.4) + (rng.random() < 0.2) * 0.5
    voice = opening * rng.standard_normal(len(at)) * 0.1
    frames = (np.arange(round(duration_s * MOTION_FPS)) * AUDIO_HZ / MOTION_FPS).astype(int)
    voice = np.roll(voice, round(MOUTH_LEAD_S * AUDIO_HZ))
    return 0.15 * opening[frames].astype(np.float32), voice.astype(np.float32)


def mouths_of(*openings: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.stack([np.stack([o, np.ones_like(o)], axis=1) for o in openings], axis=1)


WHOLE = [{"start_s": 0.0, "end_s": 8.0}]


@pytest.mark.parametrize("offset_s", [-0.4, -0.08, 0.0, 0.2])
def test_of_two_faces_the_one_whose_mouth_moves_with_the_voice_speaks(offset_s: float) -> None:
    opening, voice = talk(1)
    other, _ = talk(2)
    late = np.roll(voice, round(offset_s * AUDIO_HZ))
    rows = find_speaker(mouths_of(0.05 * other, opening), late, WHOLE, CONFIG)
    assert [row["track"] for row in rows] == [0, 1]
    assert [row["talks"] for row in rows] == [False, True]
    assert rows[1]["offset_s"] == pytest.approx(offset_s, abs=0.02)
    found = sync(rows, np.zeros(200, np.float32), np.zeros(200), late, CONFIG)
    assert (found["method"], found["track"]) == ("mouth", 1)
    assert found["offset_s"] == rows[1]["offset_s"]


def test_a_mouth_that_is_still_does_not_speak_however_well_it_agrees() -> None:
    opening, voice = talk(1)
    (row,) = find_speaker(mouths_of(0.02 * opening), voice, WHOLE, CONFIG)
    assert row["confidence"] > 0.95
    assert row["activity"] < CONFIG.min_activity
    assert not row["talks"]


def test_a_face_that_is_seen_for_a_part_is_judged_by_that_part() -> None:
    opening, voice = talk(1)
    mouths = mouths_of(opening)
    mouths[:100] = 0
    (row,) = find_speaker(mouths, voice, WHOLE, CONFIG)
    assert row["talks"]
    assert row["offset_s"] == pytest.approx(0, abs=0.03)


@pytest.fixture(scope="module")
def speech(demo_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The talking film: mouths (F, K, 2) and sound; the speaker stands right of the listener."""
    workspace = tmp_path_factory.mktemp("workspace")
    decode = decoded(demo_corpus / "obama_speech.mp4", workspace)
    duration_s = decode["duration_s"]
    crops = read_crops(workspace, decode["faces_ref"], 0.0, duration_s)
    tracks = follow_faces(crops, duration_s, load_mesh(), FacesConfig())
    audio = read_audio(workspace, decode["audio16_ref"], 0.0, duration_s, AUDIO_HZ)[0]
    return {"tracks": tracks, "audio": audio, "spans": [{"start_s": 1.0, "end_s": duration_s}]}


@pytest.mark.weights
def test_both_faces_of_the_talking_film_are_followed_through_it(speech: dict[str, Any]) -> None:
    tracks = speech["tracks"]
    assert len(tracks) == 2
    assert all(track.row["seen_s"] > 8.5 and track.row["mesh_score"] > 0.9 for track in tracks)
    listener, speaker = sorted(tracks, key=lambda track: track.row["box_left"])
    assert listener.row["box_right"] < 0.4
    assert speaker.row["box_left"] > 0.5
    assert speaker.mouth[:, 0].std() > 2 * listener.mouth[:, 0].std()


@pytest.mark.weights
def test_injected_offsets_are_found_on_the_speaker_and_the_listener_is_unsure(
    speech: dict[str, Any],
) -> None:
    tracks = sorted(speech["tracks"], key=lambda track: track.row["box_left"])
    mouths = np.stack([track.mouth for track in tracks], axis=1)
    errors_s = []
    for offset_s in (-0.4, -0.2, -0.08, 0.08, 0.2, 0.4):
        late = np.roll(speech["audio"], round(offset_s * AUDIO_HZ))
        listener, speaker = find_speaker(mouths, late, speech["spans"], CONFIG)
        assert speaker["talks"]
        assert speaker["confidence"] > 0.95
        assert not listener["talks"]
        assert listener["confidence"] < 0.8
        errors_s.append(speaker["offset_s"] - offset_s)
    assert np.median(np.abs(errors_s)) <= 0.06
    assert np.ptp(errors_s) < 0.03


@pytest.mark.weights
def test_a_voice_over_by_someone_else_is_seldom_taken_for_speech_on_screen(
    speech: dict[str, Any], demo_corpus: Path
) -> None:
    mouths = np.stack([track.mouth for track in speech["tracks"]], axis=1)
    taken = []
    for line in sorted(demo_corpus.glob("librivox/*.wav")):
        voice, rate_hz = soundfile.read(line, dtype="float32")
        assert rate_hz == AUDIO_HZ
        over = np.resize(np.asarray(voice, np.float32), len(speech["audio"]))
        rows = find_speaker(mouths, over, speech["spans"], CONFIG)
        taken.append(any(row["talks"] for row in rows))
    assert len(taken) == 5
    assert sum(taken) <= 1


def test_a_clip_of_speech_becomes_rows_of_talks_and_syncs_through_the_catalog(
    workspace: Path, tmp_path: Path
) -> None:
    opening, voice = talk(1)
    film = write_media(
        tmp_path / "talk.mkv",
        even_times(25, 8.0),
        track=Track(voice[None], rate_hz=AUDIO_HZ),
    )
    decode = decoded(film, workspace, max_faces=0) | {"faces_count": 200}
    with Catalog(Workspace.at(workspace).make()) as catalog:
        catalog.insert("decodes", [decode | {"run_id": "r"}])
        features = {"mouth": mouths_of(opening), "motion": np.zeros((200, 18))}
        rows = [
            {"clip_id": clip, "extractor": name, "version": 1, "_array": array}
            for clip in ("spoken", "sound")
            for name, array in features.items()
            if (clip, name) != ("sound", "mouth")
        ]
        packed = pack_features(workspace, rows)
        catalog.insert("features", [row | {"run_id": "r"} for row in packed])
        for clip in ("spoken", "sound"):
            window = {"clip_id": clip, "source_id": decode["source_id"], "end_s": 8.0}
            window |= {"duration_s": 8.0, "has_audio": True, "has_picture": True}
            heard = {"has_speech": clip == "spoken", "speech_spans": WHOLE}
            catalog.insert("windows", [made_row("windows", **window)])
            catalog.insert("listens", [made_row("listens", clip_id=clip, **heard)])
        (shard,) = catalog.cut(catalog.plan(STAGE, CONFIG), tmp_path, "test")
        catalog.commit(STAGE, STAGE.run(shard, ShardTarget(str(workspace), str(tmp_path)), CONFIG))
        assert catalog.plan(STAGE, CONFIG).items == 0
        talks = catalog.rows("SELECT clip_id, track, talks FROM talks")
        syncs = {row["clip_id"]: row for row in catalog.rows("SELECT * FROM syncs")}
    assert talks == [{"clip_id": "spoken", "track": 0, "talks": True}]
    assert (syncs["spoken"]["method"], syncs["spoken"]["on_screen"]) == ("mouth", True)
    assert syncs["spoken"]["offset_s"] == pytest.approx(0, abs=0.02)
    assert (syncs["sound"]["on_screen"], syncs["sound"]["offset_s"]) == (None, None)
