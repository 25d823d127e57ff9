"""The mouth of a face that was followed: upright pictures of it, and its shape, at 25 Hz.

The pictures are those that lip readers are trained on: 96 pixels square, gray, turned and scaled so
that eyes and nose lie where they lie in a mean face of 256 pixels, the mouth in the middle.

Legend: N pictures of a face, F frames at 25 fps, P = 468 points of the mesh.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models.faces import (
    MOUTH_RING,
    STEADY_MEAN,
    STEADY_POINTS,
    mouth_opening,
    mouth_width,
    similarity,
)
from models.timeline import MOTION_FPS, count
from tasks.face_crops import Crop

MOUTH_PX = 96
SMOOTH_PICTURES = 12
"""Pictures over which eyes and nose are averaged: a head turns slower than a mesh trembles."""

Mesh = NDArray[np.float32]


def mouth_pictures(
    crops: Sequence[Crop], meshes: Sequence[Mesh], duration_s: float, max_gap_s: float
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Mouths (F, 96, 96) on the grid of 25 fps, and the frames (F,) in which the mouth is seen.

    A frame takes the picture that is nearest in time; where none is near it is not seen.
    """
    times_s = np.array([crop.time_s for crop in crops])
    nearest, seen = nearest_pictures(times_s, duration_s, max_gap_s)
    steady = _smoothed(np.stack([mesh[list(STEADY_POINTS), :2] for mesh in meshes]))
    cut = np.stack(
        [
            _cut(crop.picture(), points, mesh[list(MOUTH_RING), :2])
            for crop, points, mesh in zip(crops, steady, meshes, strict=True)
        ]
    )
    return cut[nearest], seen


def mouth_track(
    times_s: NDArray[np.float64], meshes: Sequence[Mesh], duration_s: float, max_gap_s: float
) -> NDArray[np.float32]:
    """The mouth's shape (F, 3) at 25 Hz: how open, how wide, and 1 where it is seen, else 0."""
    shapes = np.array([[mouth_opening(mesh), mouth_width(mesh)] for mesh in meshes])
    return values_on_grid(times_s, shapes, duration_s, max_gap_s)


def values_on_grid(
    times_s: NDArray[np.float64],
    values: NDArray[np.float64],
    duration_s: float,
    max_gap_s: float,
) -> NDArray[np.float32]:
    """Values (F, D + 1) at 25 Hz from those (N, D) of pictures at their own times; then 1 if seen.

    Between two pictures a value goes in a straight line, so that a low or odd frame rate moves
    nothing in time. Frames that are further than `max_gap_s` from a picture are 0 and not seen.
    """
    grid = np.arange(count(duration_s, MOTION_FPS)) / MOTION_FPS
    _, seen = nearest_pictures(times_s, duration_s, max_gap_s)
    lines = [np.where(seen, np.interp(grid, times_s, column), 0.0) for column in values.T]
    return np.stack([*lines, seen], axis=1).astype(np.float32)


def nearest_pictures(
    times_s: NDArray[np.float64], duration_s: float, max_gap_s: float
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The picture (F,) nearest to each frame of 25 fps, and whether it is within `max_gap_s`."""
    grid = np.arange(count(duration_s, MOTION_FPS)) / MOTION_FPS
    after = np.clip(np.searchsorted(times_s, grid), 0, len(times_s) - 1)
    before = np.clip(after - 1, 0, None)
    to_after, to_before = np.abs(times_s[after] - grid), np.abs(times_s[before] - grid)
    nearest = np.where(to_before < to_after, before, after)
    return nearest, np.minimum(to_after, to_before) <= max_gap_s


def _smoothed(points: NDArray[np.float32]) -> NDArray[np.float32]:
    """The mean of each picture's points (N, K, 2) and those around it."""
    half = SMOOTH_PICTURES // 2
    spans = (points[max(0, at - half) : at + half + 1] for at in range(len(points)))
    return np.stack([span.mean(axis=0) for span in spans])


def _cut(
    picture: NDArray[np.uint8], steady: NDArray[np.float32], mouth: NDArray[np.float32]
) -> NDArray[np.uint8]:
    """The mouth (96, 96) of a face's picture, whose points are shares of its side."""
    import cv2

    # A share of the side lies between pixels' centres, which cv2 counts from 0.
    own = picture.shape[0]
    matrix = similarity(steady * own - 0.5, STEADY_MEAN)  # (2, 3)
    centre = matrix[:, :2] @ (mouth.mean(axis=0) * own - 0.5) + matrix[:, 2]
    matrix[:, 2] += (MOUTH_PX - 1) / 2 - centre
    cut = cv2.warpAffine(
        picture,
        matrix,
        (MOUTH_PX, MOUTH_PX),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return np.asarray(cut, np.uint8)
