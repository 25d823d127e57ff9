"""Faces of a clip: tracks and mouths at 25 Hz from crops at their own times."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from models.faces import EYE_RIGHT, LIP_BOTTOM, MESH_POINTS
from models.timeline import MOTION_FPS, count
from storage.blobs import Blobs
from storage.catalog import Catalog
from storage.features import read_feature
from storage.stage import ShardTarget
from storage.workspace import Workspace
from tasks.face_crops import BOX, Crop, CropWriter, read_crops
from tasks.face_networks import load_mesh
from tasks.faces import (
    MOUTH_EXTRACTOR,
    OPENING,
    SEEN,
    STAGE,
    FacesConfig,
    follow_faces,
)
from tasks.mouths import values_on_grid
from tests.made_rows import row as made_row

CONFIG = FacesConfig()


def gray_jpeg(level: int) -> bytes:
    return cv2.imencode(".jpg", np.full((128, 128), level, np.uint8))[1].tobytes()


def crop(time_s: float, level: int = 100, left: float = 0.1) -> Crop:
    box = np.array([left, 0.2, left + 0.2, 0.5], np.float32)
    return Crop(time_s, box, 90.0, 0.9, gray_jpeg(level))


def level_mesh(picture: NDArray[np.uint8]) -> tuple[NDArray[np.float32], float]:
    """A mouth that is open by the picture's level over 1000; black holds no face."""
    mesh = np.zeros((MESH_POINTS, 3), np.float32)
    mesh[EYE_RIGHT, 0] = 1.0
    mesh[LIP_BOTTOM, 1] = float(picture.mean()) / 1000
    return mesh, 0.0 if picture.mean() < 10 else 0.99


def test_a_mouth_is_where_its_pictures_are_at_low_and_odd_frame_rates() -> None:
    times = np.arange(0, 4, 1 / 11.94)
    mouth = values_on_grid(times, np.sin(2 * np.pi * times)[:, None], 4.0, max_gap_s=0.2)
    grid = np.arange(100) / MOTION_FPS
    assert mouth.shape == (100, 2)
    assert mouth[:, SEEN].all()
    inside = grid <= times[-1]
    expected = np.sin(2 * np.pi * grid)
    assert mouth[inside, OPENING] == pytest.approx(expected[inside], abs=0.05)


def test_a_mouth_is_not_guessed_across_a_gap() -> None:
    times = np.array([0.0, 0.04, 0.08, 2.0, 2.04])
    mouth = values_on_grid(times, np.full((5, 1), 0.3), 3.0, max_gap_s=0.2)
    seen = np.flatnonzero(mouth[:, SEEN]) / MOTION_FPS
    assert seen.min() == 0.0
    assert not ((seen > 0.29) & (seen < 1.79)).any()
    assert seen.max() <= 2.25
    assert not mouth[mouth[:, SEEN] == 0, OPENING].any()


def test_tracks_come_longest_first_with_their_box_and_what_is_no_face_is_left_out() -> None:
    crops = {
        4: [crop(k / 25, 50) for k in range(30)],
        7: [crop(k / 25, 200, left=0.6) for k in range(50)],
        8: [crop(k / 25, 0) for k in range(50)],
        9: [crop(k / 25) for k in range(3)],
    }
    first, second = follow_faces(crops, 2.0, level_mesh, CONFIG)
    assert first.row["box_left"] == pytest.approx(0.6)
    assert (first.row["start_s"], first.row["end_s"], first.row["seen_s"]) == (0.0, 2.0, 2.0)
    assert first.row["size_px"] == 90.0
    assert first.mouth[:, OPENING] == pytest.approx(0.2, abs=0.01)
    # Its last picture is at 1.16 s, and stands for max_gap_s more.
    assert second.row["end_s"] == pytest.approx(1.16 + CONFIG.max_gap_s, abs=0.05)
    assert second.row["mouth_opening"] == pytest.approx(0.05, abs=0.01)
    assert follow_faces({}, 2.0, level_mesh, CONFIG) == []


def write_crops(workspace: Path, folder: Path, crops: list[tuple[int, Crop]]) -> str:
    path = folder / "faces.parquet"
    writer = CropWriter(path)
    for track, face in crops:
        row = dict(zip(BOX, face.box.tolist(), strict=True)) | {"size_px": face.size_px}
        row |= {"time_s": face.time_s, "track": track, "score": face.score, "jpeg": face.jpeg}
        writer.add(row)
    writer.close()
    return Blobs(workspace).put_file(path, ".parquet")


def test_crops_are_read_back_for_a_span_by_track_with_times_from_its_start(
    workspace: Path, tmp_path: Path
) -> None:
    made = [(track, crop(k / 25, k % 200 + 20)) for k in range(300) for track in (0, 1)]
    ref = write_crops(workspace, tmp_path, made)
    read = read_crops(workspace, ref, 4.0, 6.0)
    assert sorted(read) == [0, 1]
    times = [face.time_s for face in read[1]]
    assert times == pytest.approx([k / 25 for k in range(50)])
    assert read[1][0].picture().mean() == pytest.approx(120, abs=1)
    assert read_crops(workspace, ref, 20.0, 30.0) == {}
    with pytest.raises(FileNotFoundError, match="blob is missing"):
        read_crops(workspace, "blobs/00/nothing.parquet", 0.0, 1.0)


def test_following_writes_faces_and_mouths_through_the_catalog_and_no_track_for_no_face(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.face_networks.load_mesh", lambda: level_mesh)
    ref = write_crops(workspace, tmp_path, [(3, crop(k / 25)) for k in range(50)])
    with Catalog(Workspace.at(workspace).make()) as catalog:
        decode = {"source_id": "s", "duration_s": 9.0, "faces_ref": ref, "faces_count": 50}
        catalog.insert("decodes", [made_row("decodes", **decode)])
        catalog.insert("decodes", [made_row("decodes", source_id="t", faces_count=0)])
        for clip, source, start_s in (("early", "s", 0.0), ("late", "s", 5.0), ("none", "t", 0.0)):
            window = {"clip_id": clip, "source_id": source, "start_s": start_s}
            window |= {"has_picture": True}
            window |= {"end_s": start_s + 2.0, "duration_s": 2.0}
            catalog.insert("windows", [made_row("windows", **window)])
        (shard,) = catalog.cut(catalog.plan(STAGE, CONFIG), tmp_path, "test")
        catalog.commit(STAGE, STAGE.run(shard, ShardTarget(str(workspace), str(tmp_path)), CONFIG))
        assert catalog.plan(STAGE, CONFIG).items == 0
        faces = catalog.rows("SELECT clip_id, track, seen_s FROM faces")
        features = catalog.rows("SELECT * FROM features ORDER BY clip_id")
    assert faces == [{"clip_id": "early", "track": 0, "seen_s": 2.0}]
    assert {feature["extractor"] for feature in features} == {MOUTH_EXTRACTOR}
    for feature, (clip, tracks) in zip(
        features, (("early", 1), ("late", 0), ("none", 0)), strict=True
    ):
        array = read_feature(workspace, feature["shard_ref"], clip, feature["content_hash"])
        assert list(array.shape) == feature["shape"] == [count(2.0, MOTION_FPS), tracks, 2]


@pytest.mark.weights
def test_the_mesh_finds_no_face_in_a_blank_picture() -> None:
    _, score = load_mesh()(np.full((128, 128), 120, np.uint8))
    assert score < 0.5
