"""Faces in numbers: boxes out of BlazeFace's raw output, tracks by overlap, the mouth of a mesh.

BlazeFace (Bazarevsky et al. 2019) answers with an offset from each of 896 fixed anchors; the face
mesh (Kartynnik et al. 2019) with 468 points in a square crop. Neither network stands here, only
what their outputs mean.

Legend: A = 896 anchors, N boxes, a box is (left, top, right, bottom).
"""

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

DETECTOR_PX = 256
"""Side of the detector's square input."""
MESH_PX = 192
"""Side of the mesh network's square input."""
MESH_POINTS = 468
ANCHOR_LAYERS = ((16, 2), (32, 6))
"""Pixels from one anchor to the next, and anchors in one place, for each layer."""
KEYPOINTS = 6
SAME_FACE_IOU = 0.3
"""Boxes that overlap more are one face, within a frame (BlazeFace) and from frame to frame."""
LIP_TOP, LIP_BOTTOM = 13, 14
EYE_LEFT, EYE_RIGHT = 33, 263
"""Points of the mesh: the inner lips' middle, and the outer corners of the eyes."""
CORNER_LEFT, CORNER_RIGHT = 61, 291
"""Points of the mesh: the corners of the mouth."""
MOUTH_RING = (61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181)
MOUTH_RING += (78, 81, 13, 311, 308, 402, 14, 178)
"""Points of the mesh: around the outer and the inner lips, where the 68-point face has them."""
STEADY_POINTS = (2, EYE_LEFT, 133, 362, EYE_RIGHT)
"""Points of the mesh that no speech moves: under the nose, and the corners of both eyes."""
STEADY_MEAN = np.array(
    [[128.9, 137.3], [92.5, 94.4], [112.8, 94.9], [145.5, 94.5], [166.7, 93.6]], np.float64
)
"""Where they lie in the mean face of 256 pixels to which lip readers' faces are turned."""

Boxes = NDArray[np.float32]


@functools.cache
def anchors() -> NDArray[np.float32]:
    """Centres (A, 2) of the anchors as shares of the input's side, x before y."""
    layers = []
    for stride_px, repeats in ANCHOR_LAYERS:
        cells = DETECTOR_PX // stride_px
        places = (np.arange(cells, dtype=np.float32) + 0.5) / cells
        y, x = np.meshgrid(places, places, indexing="ij")
        layers.append(np.repeat(np.stack([x.ravel(), y.ravel()], axis=1), repeats, axis=0))
    return np.concatenate(layers)


def decode_boxes(
    raw: NDArray[np.float32], logits: NDArray[np.float32], min_score: float
) -> tuple[Boxes, NDArray[np.float32]]:
    """Boxes (N, 4) as shares of the input's side, and their scores (N,), the highest first.

    Boxes that overlap become one, their average weighted by score, as BlazeFace wants it.

    Args:
        raw: (A, 16) centre, size and six points of each anchor, in pixels from the anchor.
        logits: (A,) before the logistic function.
        min_score: boxes with a lower score are left out.
    """
    scores = (1.0 / (1.0 + np.exp(-np.clip(logits, -80, 80)))).astype(np.float32)
    chosen = scores >= min_score
    scores, values = scores[chosen], raw[chosen, :4] / DETECTOR_PX
    centre, half = values[:, :2] + anchors()[chosen], np.abs(values[:, 2:]) / 2
    boxes = np.concatenate([centre - half, centre + half], axis=1, dtype=np.float32)  # (N, 4)
    order = np.argsort(-scores, kind="stable")
    boxes, scores = boxes[order], scores[order]
    merged: list[NDArray[np.float32]] = []
    best: list[np.float32] = []
    while len(boxes):
        same = overlap(boxes[:1], boxes)[0] > SAME_FACE_IOU
        same[0] = True
        merged.append(np.average(boxes[same], axis=0, weights=scores[same]).astype(np.float32))
        best.append(scores[0])
        boxes, scores = boxes[~same], scores[~same]
    if not merged:
        return np.zeros((0, 4), np.float32), np.zeros(0, np.float32)
    return np.stack(merged), np.array(best, np.float32)


def overlap(first: Boxes, second: Boxes) -> NDArray[np.float32]:
    """Intersection over union (N, M) of boxes (N, 4) with boxes (M, 4); 0 for empty ones."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    shared = np.prod(np.clip(high - low, 0, None), axis=2)
    areas = [np.prod(np.clip(b[:, 2:] - b[:, :2], 0, None), axis=1) for b in (first, second)]
    union = areas[0][:, None] + areas[1][None] - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def match_boxes(known: Boxes, found: Boxes) -> dict[int, int]:
    """Which found box (M, 4) continues which known one (N, 4), the best overlaps first."""
    pairs: dict[int, int] = {}
    if not len(known) or not len(found):
        return pairs
    shares = overlap(known, found)
    for flat in np.argsort(-shares, axis=None, kind="stable"):
        old, new = divmod(int(flat), len(found))
        if shares[old, new] <= SAME_FACE_IOU:
            break
        if old not in pairs and new not in pairs.values():
            pairs[old] = new
    return pairs


def mouth_opening(mesh: NDArray[np.float32]) -> float:
    """How far the lips are apart over how far the eyes are: 0 closed, about 0.1 to 0.4 in speech.

    Args:
        mesh: (468, 2 or 3) the points of a face, in any unit.

    The distance of the eyes' outer corners makes it free of the face's size; 0 where they meet.
    """
    eyes = float(np.linalg.norm(mesh[EYE_LEFT, :2] - mesh[EYE_RIGHT, :2]))
    lips = float(np.linalg.norm(mesh[LIP_TOP, :2] - mesh[LIP_BOTTOM, :2]))
    return lips / eyes if eyes > 0 else 0.0


def mouth_width(mesh: NDArray[np.float32]) -> float:
    """How far the mouth's corners are apart over how far the eyes are, as `mouth_opening`."""
    eyes = float(np.linalg.norm(mesh[EYE_LEFT, :2] - mesh[EYE_RIGHT, :2]))
    corners = float(np.linalg.norm(mesh[CORNER_LEFT, :2] - mesh[CORNER_RIGHT, :2]))
    return corners / eyes if eyes > 0 else 0.0


def similarity(points: NDArray[Any], onto: NDArray[Any]) -> NDArray[np.float64]:
    """The turn, scale and shift (2, 3) that brings points (N, 2) nearest to others (N, 2).

    Nearest by the sum of squares; points that all lie in one place are shifted alone.
    """
    middle, goal = points.mean(axis=0), onto.mean(axis=0)
    x, y = (points - middle).astype(np.float64).T
    u, v = (onto - goal).astype(np.float64).T
    spread = float(x @ x + y @ y)
    along, across = (x @ u + y @ v, x @ v - y @ u) if spread > 0 else (1.0, 0.0)
    turn = np.array([[along, -across], [across, along]]) / (spread or 1.0)
    return np.column_stack([turn, goal - turn @ middle])
