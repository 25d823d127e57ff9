"""Cuts by TransNetV2: windows, times, weights, and real cuts with the real network."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tasks.decode import DecodeConfig, weights
from tasks.fetch import is_cached
from tasks.sandbox import close_zygotes
from tasks.scenes import (
    CONTEXT,
    HEIGHT,
    STEP,
    THUMBNAILS,
    TRANSNET,
    WIDTH,
    WINDOW,
    ThumbnailWriter,
    find_cuts,
    load_transnet,
    pick_cuts,
    score_pictures,
)
from tasks.weights import WEIGHTS, MissingWeight, fingerprint
from tests.made_media import even_times, write_media
from tests.models.test_transnet import tiny_network
from tests.tasks.test_decode import UNEVEN, decode


@pytest.fixture(scope="module", autouse=True)
def _end_zygotes() -> Iterator[None]:
    yield
    close_zygotes()


def write_thumbnails(path: Path, pictures: NDArray[np.uint8]) -> Path:
    writer = ThumbnailWriter(path)
    for number, picture in enumerate(pictures):
        writer.add(number * 40_000, picture)
    writer.close()
    return path


@pytest.mark.parametrize("total", [1, 49, 50, 51, 100, 125, 126])
def test_each_picture_is_scored_once_with_its_neighbours_around_it(
    total: int, tmp_path: Path
) -> None:
    numbers = np.arange(total, dtype=np.uint8)
    pictures = np.broadcast_to(numbers[:, None, None, None], (total, HEIGHT, WIDTH, 3))
    windows: list[list[int]] = []

    def number(window: NDArray[np.uint8]) -> NDArray[np.float32]:
        windows.append(window[:, 0, 0, 0].tolist())
        return window.mean((1, 2, 3), dtype=np.float32)

    path = write_thumbnails(tmp_path / THUMBNAILS, pictures)
    times_us, scores = score_pictures(path, number)
    assert scores.tolist() == numbers.tolist()
    assert times_us.tolist() == [40_000 * n for n in range(total)]
    for at, window in enumerate(windows):
        first = at * STEP - CONTEXT
        expected = [min(max(n, 0), total - 1) for n in range(first, first + WINDOW)]
        assert window == expected


def test_windows_give_what_one_pass_gives_where_the_network_sees_no_end(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    network = tiny_network()

    def score(pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
        return network(torch.from_numpy(pictures)[None])[0][0].numpy()

    pictures = rng.integers(0, 256, (173, HEIGHT, WIDTH, 3), np.uint8)
    path = write_thumbnails(tmp_path / THUMBNAILS, pictures)
    inside = slice(CONTEXT, 173 - CONTEXT)
    _, scores = score_pictures(path, score)
    assert scores[inside] == pytest.approx(score(pictures)[inside], abs=1e-5)
    assert np.ptp(scores) > 1e-3


def test_a_cut_stands_after_the_most_probable_picture_of_a_transition() -> None:
    times_us = np.array([0, 40, 90, 130, 170, 200, 240, 900]) * 1000
    scores = np.array([0, 0.9, 0, 0.6, 0.8, 0.7, 0, 0.9], np.float32)
    assert pick_cuts(times_us, scores, 0.5, 0.0) == [0.09, 0.2]
    assert pick_cuts(times_us, scores, 0.5, 0.12) == [0.09]
    assert pick_cuts(times_us, scores, 0.95, 0.0) == []
    assert pick_cuts(times_us[:0], scores[:0], 0.5, 0.0) == []


def test_a_source_without_pictures_has_no_cuts(tmp_path: Path) -> None:
    assert find_cuts(tmp_path / THUMBNAILS, redder, 0.5, 0.0) == []


def test_weights_count_only_where_the_network_is_asked_for_and_by_their_bytes(
    tmp_path: Path,
) -> None:
    assert TRANSNET not in weights(DecodeConfig())
    asked = DecodeConfig(scene_detector="transnetv2")
    assert weights(asked)[TRANSNET] == fingerprint(TRANSNET)
    own = tmp_path / "own.pth"
    torch.save({"fc1.bias": torch.zeros(3)}, own)
    asked = DecodeConfig(scene_detector="transnetv2", scene_weights=str(own))
    first = weights(asked)[TRANSNET]
    own.write_bytes(own.read_bytes() + b"more")
    assert len({first, weights(asked)[TRANSNET], fingerprint(TRANSNET)}) == 3


@pytest.mark.parametrize("what", ["nothing", "text", "another network"])
def test_weights_that_are_not_those_are_named_with_file_hash_and_mend(
    what: str, tmp_path: Path
) -> None:
    path = tmp_path / "own.pth"
    if what == "text":
        path.write_text("no weights")
    elif what == "another network":
        torch.save({"SDDCNN.0.DDCNN.0.bn.weight": torch.zeros(3)}, path)
    with pytest.raises(MissingWeight) as caught:
        load_transnet(str(path))
    for part in (str(path), WEIGHTS[TRANSNET].sha256, "decode.scene_weights"):
        assert part in str(caught.value)


def redder(pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
    """1 for a picture after which the left edge turns from blue to red."""
    red = (pictures[:, :, 1, 0] > 128) & (pictures[:, :, 1, 2] < 128)
    turns = np.diff(red.all(1).astype(int), append=0) > 0
    return turns.astype(np.float32)


@pytest.mark.parametrize("times_s", [UNEVEN, even_times(60, 2)], ids=["vfr", "60"])
def test_the_network_sees_the_whole_frame_and_its_cuts_stand_where_pictures_are_shown(
    times_s: list[float], tmp_path: Path, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.decode.load_transnet", lambda weights: redder)
    pictures = []
    for time_s in times_s:
        picture = np.full((64, 256, 3), 128, np.uint8)
        picture[:, :32] = (250, 0, 0) if time_s >= 0.9 else (0, 0, 250)  # outside the square
        pictures.append(picture)
    path = write_media(tmp_path / "wide.mp4", times_s, pictures)
    row = decode(path, workspace, scene_detector="transnetv2", max_faces=0)
    shown = [time_s for time_s in times_s if time_s >= 0.9]
    assert row["cuts_s"][0] == pytest.approx(shown[0], abs=1 / 25 if len(times_s) > 10 else 1e-6)
    assert len(row["cuts_s"]) == 1
    assert decode(path, workspace, max_faces=0)["cuts_s"] == []


# -- the real network --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def _network() -> None:
    if not is_cached(WEIGHTS[TRANSNET].fetch_spec):
        pytest.skip("TransNetV2 is not cached: run `.venv/bin/python -m tasks.corpus --fetch`")


def cuts_of(path: Path, workspace: Path, detector: str) -> list[float]:
    return decode(path, workspace, scene_detector=detector, max_faces=0)["cuts_s"]


@pytest.mark.weights
@pytest.mark.usefixtures("_network")
@pytest.mark.parametrize(
    ("name", "true_cuts_s"), [("shot_change.mp4", [3.2032]), ("obama_speech.mp4", [])]
)
def test_the_network_finds_the_cut_of_a_film_and_none_in_a_single_shot(
    name: str, true_cuts_s: list[float], demo_corpus: Path, workspace: Path, tmp_path: Path
) -> None:
    # The picture at 3.2032 s is the first of the new scene; 25 fps show it or the next one.
    path = Path(shutil.copy(demo_corpus / name, tmp_path))
    assert cuts_of(path, workspace, "transnetv2") == pytest.approx(true_cuts_s, abs=1 / 25)


@pytest.mark.weights
@pytest.mark.usefixtures("_network")
def test_the_network_finds_a_dissolve_that_the_content_detector_misses(
    workspace: Path, tmp_path: Path, rng: np.random.Generator
) -> None:
    scenes = [
        cv2.resize(rng.integers(0, 255, (6, 12, 3), np.uint8), (144, 54)).astype(float)
        for _ in range(2)
    ]
    pictures = []
    for k in range(50):
        old, new = (scene[:, k // 3 : k // 3 + 96] for scene in scenes)  # the camera pans
        share = np.clip((k - 15) / 20, 0, 1)
        pictures.append(((1 - share) * old + share * new).astype(np.uint8))
    path = write_media(tmp_path / "dissolve.mp4", even_times(25, 2), pictures)
    assert cuts_of(path, workspace, "content") == []
    assert cuts_of(path, workspace, "transnetv2") == pytest.approx([1.0], abs=0.2)
