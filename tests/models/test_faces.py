"""Boxes out of raw answers, faces that are the same, and mouths: against truths made by hand."""

import numpy as np
import pytest

from models.faces import (
    CORNER_LEFT,
    CORNER_RIGHT,
    DETECTOR_PX,
    EYE_LEFT,
    EYE_RIGHT,
    LIP_BOTTOM,
    LIP_TOP,
    MESH_POINTS,
    Boxes,
    anchors,
    decode_boxes,
    match_boxes,
    mouth_opening,
    mouth_width,
    overlap,
    similarity,
)


def boxes(*rows: tuple[float, float, float, float]) -> Boxes:
    return np.array(rows, np.float32)


def test_there_are_896_anchors_in_the_middle_of_their_cells() -> None:
    made = anchors()
    assert made.shape == (896, 2)
    assert made[:3].tolist() == [[1 / 32, 1 / 32], [1 / 32, 1 / 32], [3 / 32, 1 / 32]]
    assert made[512].tolist() == [1 / 16, 1 / 16]
    assert made.min() > 0
    assert made.max() < 1


def answer(*faces: tuple[int, tuple[float, float, float, float], float]) -> tuple[Boxes, Boxes]:
    """Raw boxes and logits where some anchors see a face."""
    raw, logits = np.zeros((896, 16), np.float32), np.full(896, -9.0, np.float32)
    for anchor, box, logit in faces:
        low, high = np.array(box[:2]), np.array(box[2:])
        raw[anchor, :2] = ((low + high) / 2 - anchors()[anchor]) * DETECTOR_PX
        raw[anchor, 2:4] = (high - low) * DETECTOR_PX
        logits[anchor] = logit
    return raw, logits


def test_a_box_is_where_its_anchor_and_offset_say() -> None:
    box = (0.2, 0.3, 0.4, 0.6)
    found, scores = decode_boxes(*answer((40, box, 2.0)), min_score=0.5)
    assert found == pytest.approx(boxes(box), abs=1e-6)
    assert scores == pytest.approx([1 / (1 + np.exp(-2))])


def test_boxes_of_one_face_become_their_average_and_two_faces_stay_two() -> None:
    left, near, right = (0.1, 0.1, 0.3, 0.3), (0.12, 0.1, 0.32, 0.3), (0.6, 0.1, 0.8, 0.3)
    raw = answer((10, left, 2.0), (11, near, 2.0), (60, right, 3.0), (70, left, 0.1))
    found, scores = decode_boxes(*raw, min_score=0.6)
    assert found == pytest.approx(boxes(right, (0.11, 0.1, 0.31, 0.3)), abs=1e-6)
    assert scores[0] > scores[1]


def test_no_face_gives_no_box() -> None:
    found, scores = decode_boxes(*answer(), min_score=0.5)
    assert (found.shape, scores.shape) == ((0, 4), (0,))


def test_overlap_is_intersection_over_union() -> None:
    square = boxes((0, 0, 2, 2))
    others = boxes((0, 0, 2, 2), (1, 0, 3, 2), (2, 2, 3, 3), (5, 5, 5, 5))
    assert overlap(square, others)[0] == pytest.approx([1, 1 / 3, 0, 0])


def test_a_face_goes_on_in_the_box_that_it_overlaps_most() -> None:
    known = boxes((0.0, 0, 1, 1), (4, 0, 5, 1), (8, 0, 9, 1))
    found = boxes((4.1, 0, 5.1, 1), (0.2, 0, 1.2, 1), (0.1, 0, 1.1, 1))
    assert match_boxes(known, found) == {1: 0, 0: 2}
    assert match_boxes(known, boxes().reshape(0, 4)) == {}


@pytest.mark.parametrize("size", [1.0, 37.0])
def test_a_mouth_opens_in_widths_of_the_eyes_at_any_size_and_tilt(size: float) -> None:
    mesh = np.zeros((MESH_POINTS, 3), np.float32)
    turn = np.array([[0.8, -0.6], [0.6, 0.8]])
    for point, place in ((EYE_LEFT, (0, 0)), (EYE_RIGHT, (2, 0)), (LIP_TOP, (1, 2.0))):
        mesh[point, :2] = size * turn @ np.array(place)
    mesh[LIP_BOTTOM, :2] = size * turn @ np.array((1, 2.3))
    assert mouth_opening(mesh) == pytest.approx(0.15)
    assert mouth_opening(np.zeros((MESH_POINTS, 3), np.float32)) == 0.0


def test_a_mouths_width_is_the_distance_of_its_corners_in_distances_of_the_eyes() -> None:
    mesh = np.zeros((MESH_POINTS, 3), np.float32)
    mesh[EYE_RIGHT, :2] = [3.0, 4.0]
    mesh[CORNER_LEFT, :2], mesh[CORNER_RIGHT, :2] = [1.0, 1.0], [1.0, 4.0]
    assert mouth_width(mesh) == pytest.approx(3 / 5)
    mesh[EYE_RIGHT, :2] = 0.0
    assert mouth_width(mesh) == 0.0


def test_a_turn_a_scale_and_a_shift_are_found_back_and_a_mirror_is_not_made() -> None:
    points = np.random.default_rng(0).normal(size=(5, 2))
    angle = np.deg2rad(130)
    turn = 0.7 * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    made = similarity(points, points @ turn.T + [3.0, -8.0])
    assert made == pytest.approx(np.column_stack([turn, [3.0, -8.0]]))
    mirrored = similarity(points, points * [-1.0, 1.0])
    assert np.linalg.det(mirrored[:, :2]) >= 0
    assert similarity(np.ones((5, 2)), points)[:, :2].tolist() == [[1, 0], [0, 1]]
