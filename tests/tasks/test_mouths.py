"""Mouths of a face that was followed: upright, in the middle, of their own time."""

from collections.abc import Sequence

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from models.faces import (
    CORNER_LEFT,
    CORNER_RIGHT,
    EYE_LEFT,
    EYE_RIGHT,
    LIP_BOTTOM,
    LIP_TOP,
    MESH_POINTS,
    MOUTH_RING,
    STEADY_MEAN,
    STEADY_POINTS,
)
from tasks.face_crops import Crop
from tasks.mouths import MOUTH_PX, mouth_pictures, mouth_track

SIDE = 256
MOUTH_XY = np.array([129.0, 158.0])
"""Where the mouth lies in the mean face."""


def placed(turn_degrees: float, scale: float, middle: Sequence[float]) -> NDArray[np.float64]:
    """The matrix (2, 3) that lays a mean face turned and scaled around a place of a picture."""
    angle = np.deg2rad(turn_degrees)
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return np.column_stack([turn, np.array(middle) - turn @ [128.0, 128.0]])


def onto(matrix: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.float64]:
    return points @ matrix[:, :2].T + matrix[:, 2]


def mesh_of(matrix: NDArray[np.float64]) -> NDArray[np.float32]:
    """A mesh whose eyes, nose and mouth are a mean face's, in shares of the picture's side."""
    mesh = np.zeros((MESH_POINTS, 3), np.float32)
    mesh[list(MOUTH_RING), :2] = (onto(matrix, MOUTH_XY[None]) + 0.5) / SIDE
    mesh[list(STEADY_POINTS), :2] = (onto(matrix, STEADY_MEAN) + 0.5) / SIDE
    return mesh


def crop_of(picture: NDArray[np.uint8], time_s: float) -> Crop:
    jpeg = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 100])[1].tobytes()
    return Crop(time_s, np.zeros(4, np.float32), 90.0, 0.9, jpeg)


def dots(matrix: NDArray[np.float64]) -> NDArray[np.uint8]:
    """A black picture with a bright dot on the mouth and one 30 px right of it in a mean face."""
    picture = np.zeros((SIDE, SIDE), np.uint8)
    for x, y in onto(matrix, np.array([[129.0, 158.0], [159.0, 158.0]])):
        cv2.circle(picture, (round(x), round(y)), 4, 255, -1)
    return picture


@pytest.mark.parametrize(("turn", "scale"), [(0.0, 1.0), (25.0, 0.8), (-40.0, 1.2)])
def test_a_mouth_is_upright_in_the_middle_and_as_large_as_in_a_mean_face(
    turn: float, scale: float
) -> None:
    matrix = placed(turn, scale, (120.0, 110.0))
    made, seen = mouth_pictures([crop_of(dots(matrix), 0.0)], [mesh_of(matrix)], 0.04, 0.2)
    assert made.shape == (1, MOUTH_PX, MOUTH_PX)
    assert seen.tolist() == [True]
    _, _, _, centres = cv2.connectedComponentsWithStats((made[0] > 128).astype(np.uint8))
    middle = (MOUTH_PX - 1) / 2
    found = sorted(centres[1:].tolist())
    assert found[0] == pytest.approx([middle, middle], abs=1.0)
    assert found[1] == pytest.approx([middle + 30, middle], abs=1.5)


def test_a_frame_shows_the_picture_nearest_in_time_and_none_far_from_any() -> None:
    matrix = placed(0.0, 1.0, (128.0, 128.0))
    levels = {0.0: 40, 0.1: 90, 0.6: 140}
    crops = [crop_of(np.full((SIDE, SIDE), level, np.uint8), at) for at, level in levels.items()]
    made, seen = mouth_pictures(crops, [mesh_of(matrix)] * 3, 1.0, 0.21)
    shown = made.reshape(25, -1).mean(1)
    assert shown[:5] == pytest.approx([40, 40, 90, 90, 90], abs=1)
    assert shown[13:18] == pytest.approx([140] * 5, abs=1)
    assert np.flatnonzero(~seen).tolist() == [8, 9, 21, 22, 23, 24]


def test_a_mouths_track_is_how_open_and_how_wide_it_is_over_the_distance_of_the_eyes() -> None:
    meshes = []
    for opening, width in ((0.1, 0.5), (0.3, 0.7)):
        mesh = np.zeros((MESH_POINTS, 3), np.float32)
        mesh[EYE_LEFT, 0], mesh[EYE_RIGHT, 0] = 0.2, 0.7
        mesh[LIP_TOP, 1], mesh[LIP_BOTTOM, 1] = 0.5, 0.5 + 0.5 * opening
        mesh[CORNER_LEFT, 0], mesh[CORNER_RIGHT, 0] = 0.1, 0.1 + 0.5 * width
        meshes.append(mesh)
    track = mouth_track(np.array([0.0, 0.08]), meshes, 0.4, 0.2)
    assert track.shape == (10, 3)
    assert track[:3] == pytest.approx(
        np.array([[0.1, 0.5, 1], [0.2, 0.6, 1], [0.3, 0.7, 1]]), abs=1e-6
    )
    assert track[8:].tolist() == [[0, 0, 0]] * 2
