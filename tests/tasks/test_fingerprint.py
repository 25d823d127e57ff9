"""Fingerprints stand a codec, a size, a level and an offset; what tells nothing has none."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import soundfile

from models.timeline import AUDIO_HZ
from tasks import fingerprint
from tasks.fingerprint import (
    NOTHING,
    PICTURE_BITS,
    PICTURE_EVERY,
    SOUND_BITS,
    FingerprintConfig,
    band_energies,
    picture_hashes,
    read_pictures,
    sound_bits,
)
from tasks.media import FrameWriter
from tests.made_sound import COPIES, encoded, scene, tune

CONFIG = FingerprintConfig()


def bits_of(path: Path, sound: np.ndarray) -> np.ndarray:
    soundfile.write(path, sound, AUDIO_HZ, subtype="PCM_16")
    return sound_bits(band_energies(path), CONFIG)


def distance(one: np.ndarray, other: np.ndarray, bits: int) -> float:
    """Mean share of differing bits where both tell something."""
    size = min(len(one), len(other))
    one, other = one[:size], other[:size]
    tells = (one != NOTHING) & (other != NOTHING)
    return float(np.bitwise_count(one ^ other)[tells].mean()) / bits


def hashes_of(pictures: list[np.ndarray]) -> np.ndarray:
    small = [cv2.resize(picture, (28, 28), interpolation=cv2.INTER_AREA) for picture in pictures]
    return picture_hashes(np.asarray(small, np.float32).mean(axis=3), CONFIG)


@pytest.mark.parametrize("copy", COPIES)
def test_a_trimmed_copy_of_another_codec_rate_and_level_sounds_the_same(
    tmp_path: Path, copy: str
) -> None:
    sound = tune(1, 8.0)
    original = bits_of(tmp_path / "a.flac", sound)
    copied = bits_of(tmp_path / "b.flac", 0.3 * encoded(sound, copy)[20_011:])
    best = min(distance(original[shift:], copied, SOUND_BITS) for shift in range(15, 27))
    assert best < 0.2


def test_other_sounds_differ_in_nearly_half_of_the_bits(tmp_path: Path) -> None:
    one, other = (bits_of(tmp_path / f"{seed}.flac", tune(seed, 6.0)) for seed in (1, 2))
    assert min(distance(one[k:], other, SOUND_BITS) for k in range(40)) > 0.4


def test_silence_a_hum_and_a_steady_tone_tell_nothing(tmp_path: Path) -> None:
    time_s = np.arange(3 * AUDIO_HZ) / AUDIO_HZ
    hiss = 1e-4 * np.random.default_rng(0).standard_normal(len(time_s))
    for sound in (0 * time_s, hiss, 0.3 * np.sin(2 * np.pi * 440 * time_s)):
        assert set(bits_of(tmp_path / "a.flac", sound)) == {NOTHING}


def test_a_sound_shorter_than_a_value_has_none(tmp_path: Path) -> None:
    assert len(bits_of(tmp_path / "a.flac", tune(1, 0.5))) == 0
    assert len(bits_of(tmp_path / "b.flac", tune(1, 0.63))) == 1


def test_a_sound_is_read_in_blocks_that_leave_no_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = bits_of(tmp_path / "a.flac", tune(3, 5.0))
    monkeypatch.setattr(fingerprint, "BLOCK_FRAMES", 7)
    monkeypatch.setattr(fingerprint, "BATCH_FRAMES", 3)
    assert bits_of(tmp_path / "a.flac", tune(3, 5.0)).tolist() == whole.tolist()


def test_band_energies_are_mean_squares(tmp_path: Path) -> None:
    time_s = np.arange(AUDIO_HZ) / AUDIO_HZ
    soundfile.write(tmp_path / "a.flac", 0.5 * np.sin(2 * np.pi * 1000 * time_s), AUDIO_HZ)
    assert band_energies(tmp_path / "a.flac").sum(axis=1) == pytest.approx(0.125, rel=0.02)


def test_a_picture_of_another_size_and_quality_has_nearly_the_same_hash() -> None:
    original = hashes_of(scene(1, 320, 240, 5))
    copies = []
    for picture in scene(1, 96, 72, 5):
        data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 30])[1]
        copies.append(cv2.imdecode(data, cv2.IMREAD_COLOR))
    assert (original != NOTHING).all()
    assert distance(original, hashes_of(copies), PICTURE_BITS) < 0.06


def test_frames_at_10_fps_have_nearly_the_hashes_of_those_at_25(tmp_path: Path) -> None:
    hashes = []
    for fps, side in ((25, 112), (10, 224)):
        writer = FrameWriter(tmp_path / f"{fps}.parquet")
        drawn = scene(1, side, side, 101)  # a film of 4 s of which each grid takes its frames
        for number in range(4 * fps):
            picture = drawn[number * 25 // fps]
            writer.add(number / fps, cv2.imencode(".jpg", picture)[1].tobytes())
        writer.close(4 * fps)
        hashes.append(picture_hashes(read_pictures(tmp_path / f"{fps}.parquet", fps), CONFIG))
    assert len(hashes[0]) == len(hashes[1]) == 10
    assert distance(hashes[0], hashes[1], PICTURE_BITS) < 0.06
    assert distance(hashes[0][::-1], hashes[1], PICTURE_BITS) > 0.1


def test_other_pictures_have_other_hashes() -> None:
    one, other = (hashes_of(scene(seed, 160, 120, 1)) for seed in (1, 2))
    assert distance(one, other, PICTURE_BITS) > 0.2


def test_black_flat_and_nearly_flat_pictures_have_no_hash() -> None:
    noise = np.random.default_rng(0).normal(120, 1, (120, 160, 3)).clip(0, 255).astype(np.uint8)
    ramp = np.repeat(np.linspace(0, 255, 160)[None], 120, axis=0)[:, :, None].repeat(3, axis=2)
    flat = [np.zeros((120, 160, 3), np.uint8), np.full((120, 160, 3), 200, np.uint8), noise]
    assert hashes_of(flat).tolist() == [NOTHING] * 3
    assert hashes_of([ramp.astype(np.uint8)]).tolist() == [NOTHING]


@pytest.mark.parametrize("side", [112, 56, 100])
def test_every_tenth_frame_is_read_over_the_borders_of_row_groups(
    tmp_path: Path, side: int
) -> None:
    writer = FrameWriter(tmp_path / "frames.parquet")
    for number in range(215):
        jpeg = cv2.imencode(".jpg", np.full((side, side), number, np.uint8))[1].tobytes()
        writer.add(number / 25, jpeg)
    writer.close(215)
    levels = read_pictures(tmp_path / "frames.parquet").mean(axis=(1, 2))
    assert levels == pytest.approx(np.arange(0, 215, PICTURE_EVERY), abs=1.5)
