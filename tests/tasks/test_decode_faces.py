"""Faces of the decode pass: found anywhere in the frame, followed, and cut out where they are."""

from collections.abc import Callable
from pathlib import Path

import av
import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from models.faces import DETECTOR_PX, Boxes
from models.timeline import MOTION_FPS
from tasks.decode import DecodeConfig
from tasks.decode_faces import Faces, cut_square
from tasks.decode_picture import FrameGrid
from tasks.face_crops import BOX, MARGIN
from tests.made_media import write_media

WIDTH, HEIGHT = 640, 360
SIDE = 64
CONFIG = DecodeConfig(face_px=128, jpeg_quality=95)

Place = Callable[[float], tuple[float, float] | None]
"""Where the left upper corner of the "face" is at a time; None where there is none."""


class Spots:
    """A detector of bright squares that counts its looks and misses some of them on demand."""

    def __init__(self, misses: tuple[int, ...] = ()) -> None:
        self.misses = misses
        self.looks = 0

    def __call__(
        self, picture: NDArray[np.uint8], min_score: float
    ) -> tuple[Boxes, NDArray[np.float32]]:
        self.looks += 1
        height, width = picture.shape[:2]
        assert max(height, width) == DETECTOR_PX
        found = cv2.connectedComponentsWithStats((picture[..., 0] > 128).astype(np.uint8))
        rows = [stats[:4] for stats in found[2][1:] if stats[4] > 9]
        if self.looks in self.misses or not rows:
            return np.zeros((0, 4), np.float32), np.zeros(0, np.float32)
        corners = [
            (x / width, y / height, (x + w) / width, (y + h) / height) for x, y, w, h in rows
        ]
        return np.array(corners, np.float32), np.full(len(rows), 0.9, np.float32)


def frame_at(time_s: float, *places: Place) -> av.VideoFrame:
    """A dark frame with bright squares."""
    picture = np.full((HEIGHT, WIDTH, 3), 20, np.uint8)
    for place in places:
        corner = place(time_s)
        if corner is not None:
            x, y = (round(c) for c in corner)
            picture[y : y + SIDE, x : x + SIDE] = 235
    return av.VideoFrame.from_ndarray(picture, "rgb24").reformat(format="yuv420p")


def follow(
    folder: Path, *places: Place, fps: float = 25.0, duration_s: float = 2.0, detect: Spots
) -> list[dict]:
    """The rows that a film of moving squares gives."""
    path = folder / "faces.parquet"
    faces = Faces(path, CONFIG, detect, 1.0)
    grid: FrameGrid[av.VideoFrame, av.VideoFrame] = FrameGrid(MOTION_FPS, faces, lambda f: f)
    for number in range(round(duration_s * fps)):
        time_s = number / fps
        grid.show(round(time_s * 1e6), frame_at(time_s, *places))
    grid.finish(duration_s)
    rows = pq.read_table(path).to_pylist() if path.exists() else []
    assert faces.crops == len(rows)
    return rows


def beside(time_s: float) -> tuple[float, float]:
    """A face at the left edge, outside the centre square, that moves slowly."""
    return 20 + 20 * time_s, 100


@pytest.mark.parametrize("fps", [11.94, 25.0, 29.97])
def test_a_face_beside_the_centre_is_cut_out_of_every_picture_of_the_grid(
    tmp_path: Path, fps: float
) -> None:
    rows = follow(tmp_path, beside, fps=fps, detect=Spots())
    times = [row["time_s"] for row in rows]
    assert {row["track"] for row in rows} == {0}
    assert times == sorted(set(times))
    assert len(times) == pytest.approx(2.0 * min(fps, 25), abs=1)
    assert all(abs(t * fps - round(t * fps)) < 1e-3 for t in times)
    for row in rows[::7]:
        x, _ = beside(row["time_s"])
        assert row["box_left"] * WIDTH == pytest.approx(x, abs=3)
        assert row["size_px"] == pytest.approx(SIDE, abs=4)
        crop = cv2.imdecode(np.frombuffer(row["jpeg"], np.uint8), cv2.IMREAD_GRAYSCALE)
        assert crop is not None
        assert crop.shape == (128, 128)
        y_bright, x_bright = np.nonzero(crop > 128)
        assert x_bright.mean() == pytest.approx(64, abs=5)
        assert y_bright.mean() == pytest.approx(64, abs=5)
        assert np.ptp(x_bright) == pytest.approx(128 / MARGIN, rel=0.1)


def test_a_film_without_faces_makes_no_file_and_is_looked_at_once_a_second(tmp_path: Path) -> None:
    detect = Spots()
    assert follow(tmp_path, lambda _: None, duration_s=6.0, detect=detect) == []
    assert not (tmp_path / "faces.parquet").exists()
    assert detect.looks <= 7


def test_what_appears_between_two_looks_is_followed_back(tmp_path: Path) -> None:
    rows = follow(tmp_path, lambda t: (300, 200) if t >= 0.6 else None, detect=Spots())
    assert rows[0]["time_s"] <= 0.6
    assert rows[-1]["time_s"] == pytest.approx(1.96)


def test_one_missed_look_does_not_end_a_track_and_two_do(tmp_path: Path) -> None:
    one = follow(tmp_path, lambda _: (300, 200), duration_s=4.0, detect=Spots(misses=(3,)))
    assert {row["track"] for row in one} == {0}
    assert len(one) == 100
    (tmp_path / "faces.parquet").unlink()
    two = follow(tmp_path, lambda _: (300, 200), duration_s=4.0, detect=Spots(misses=(3, 4)))
    assert {row["track"] for row in two} == {0, 1}


def test_two_faces_are_two_tracks_also_while_they_move(tmp_path: Path) -> None:
    rows = follow(tmp_path, beside, lambda t: (500 - 20 * t, 100), detect=Spots())
    by_track = {n: [r for r in rows if r["track"] == n] for n in (0, 1)}
    assert len(by_track[0]) == len(by_track[1]) == 50
    assert all(a["box_left"] < b["box_left"] for a, b in zip(*by_track.values(), strict=True))


def test_the_largest_faces_are_taken_and_small_ones_are_not(tmp_path: Path) -> None:
    config = DecodeConfig(max_faces=1, face_min_px=80)
    faces = Faces(tmp_path / "none.parquet", config, Spots(), 1.0)
    faces.add(0.0, frame_at(0.0, beside))
    faces.close(1)
    assert faces.crops == 0
    config = DecodeConfig(max_faces=1)
    faces = Faces(tmp_path / "one.parquet", config, Spots(), 1.0)
    faces.add(0.0, frame_at(0.0, beside, lambda _: (60, 130), lambda _: (400, 20)))
    faces.close(1)
    (row,) = pq.read_table(tmp_path / "one.parquet").to_pylist()
    # The first two squares touch and count as one larger face.
    assert row["size_px"] > SIDE
    assert row["box_left"] * WIDTH == pytest.approx(20, abs=4)


def test_pixels_that_are_not_square_give_boxes_of_the_shown_frame(
    tmp_path: Path,
) -> None:
    faces = Faces(tmp_path / "faces.parquet", CONFIG, Spots(), 0.5)
    faces.add(0.0, frame_at(0.0, lambda _: (320, 100)))
    faces.close(1)
    (row,) = pq.read_table(tmp_path / "faces.parquet").to_pylist()
    assert [row[side] for side in BOX] == pytest.approx(
        [0.5, 100 / 360, 384 / 640, 164 / 360], abs=0.02
    )
    assert row["size_px"] == pytest.approx(SIDE, rel=0.1)


@pytest.mark.parametrize("rotation_deg", [90, 180, -90])
def test_a_turned_film_gives_boxes_of_the_upright_frame(rotation_deg: int, tmp_path: Path) -> None:
    upright = np.full((320, 240, 3), 20, np.uint8)
    upright[200:264, 40:104] = 235
    stored = np.ascontiguousarray(np.rot90(upright, -rotation_deg // 90))
    film = write_media(tmp_path / "r.mp4", [0, 0.5], [stored] * 2, rotation_deg=rotation_deg)
    faces = Faces(tmp_path / "faces.parquet", CONFIG, Spots(), 1.0)
    with av.open(str(film)) as container:
        faces.add(0.0, next(container.decode(video=0)))
    faces.close(1)
    (row,) = pq.read_table(tmp_path / "faces.parquet").to_pylist()
    assert [row[side] for side in BOX] == pytest.approx(
        [40 / 240, 200 / 320, 104 / 240, 264 / 320], abs=0.02
    )


@pytest.mark.parametrize("side", [30.0, 100.0, 700.0])
def test_a_square_is_cut_to_a_fraction_of_a_pixel_at_any_scale(side: float) -> None:
    y, x = np.mgrid[:900, :900]
    centre = (400.3, 420.7)
    blob = 235 * np.exp(-((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / (2 * (side / 8) ** 2))
    cut = cut_square(blob.astype(np.uint8), centre, side, 128).astype(float)
    assert cut.shape == (128, 128)
    rows, columns = np.mgrid[:128, :128]
    assert (cut * columns).sum() / cut.sum() == pytest.approx(64, abs=1.2)
    assert (cut * rows).sum() / cut.sum() == pytest.approx(64, abs=1.2)
    width = np.sqrt((cut * (columns - 64) ** 2).sum() / cut.sum())
    assert width == pytest.approx(16, rel=0.1)


def test_a_square_over_the_edge_repeats_the_edge() -> None:
    gray = np.full((100, 100), 77, np.uint8)
    assert (cut_square(gray, (2.0, 2.0), 80.0, 64) == 77).all()
    assert (cut_square(gray, (2.0, 98.0), 400.0, 64) == 77).all()
