"""Composed pictures: whose frames are seen where, by colours that tell where they come from."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from models.timeline import MOTION_FPS, VISUAL_FPS
from storage.blobs import Blobs
from storage.catalog import Catalog
from storage.features import read_feature
from storage.ids import canonical_json
from storage.workspace import Workspace
from tasks import look as look_module
from tasks.look_mixtures import STAGE as REAL_STAGE
from tasks.media import FrameWriter
from tasks.mix_conditions import combined
from tasks.mix_picture import overlay, picture_of
from tests.made_catalog import bring_up
from tests.made_commits import made_row

STAGE = replace(REAL_STAGE, weights=None)
SIDE = 40
SCENE_S, SPEAKER_S, MIX_S, AT_S = 4.0, 1.0, 3.0, 1.2
CUT = {"kind": "cut"}
INSET = {"kind": "inset", "corner": "top_right", "share": 0.35}
SCENE_RED, SPEAKER_RED = 0, 150
NEAR = 2  # JPEG moves a flat colour by less, and the next frame is further


def frames_of(red: int, duration_s: float, fps: int) -> NDArray[np.uint8]:
    """Frames whose red tells their clip, and whose green grows by 5 a frame; gray does both."""
    numbers = np.arange(round(duration_s * fps))[:, None, None]
    frames = np.zeros((len(numbers), SIDE, SIDE, 3), np.uint8)
    if fps == MOTION_FPS:
        frames[..., 0] = red + numbers
        return frames[..., 0]
    frames[..., 0] = red
    frames[..., 1] = 5 * numbers
    return frames


def put_frames(folder: Path, workspace: Workspace, frames: NDArray[np.uint8], fps: int) -> str:
    writer = FrameWriter(folder / "frames.parquet")
    for number, frame in enumerate(frames):
        coded = frame[..., ::-1] if frame.ndim == 3 else frame
        options = [cv2.IMWRITE_JPEG_QUALITY, 100]
        writer.add(
            number / fps, cv2.imencode(".jpg", np.ascontiguousarray(coded), options)[1].tobytes()
        )
    writer.close(len(frames))
    return Blobs(workspace.root).put_file(folder / "frames.parquet", ".parquet")


def add_clip(catalog: Catalog, folder: Path, name: str, red: int, duration_s: float) -> None:
    refs = {
        f"frames{fps}_ref": put_frames(
            folder, catalog.workspace, frames_of(red, duration_s, fps), fps
        )
        for fps in (VISUAL_FPS, MOTION_FPS)
    }
    catalog.insert("decodes", [made_row("decodes", source_id=name, **refs)])
    times = {"start_s": 0.0, "end_s": duration_s, "duration_s": duration_s}
    catalog.insert("windows", [made_row("windows", clip_id=name, source_id=name, **times)])


PARTS = [
    {"clip_id": "scene", "at_s": 0.0, "length_s": MIX_S, "offset_s": 0.6, "loop_s": None},
    {"clip_id": "speaker", "at_s": AT_S, "length_s": SPEAKER_S, "offset_s": 0.0, "loop_s": None},
]


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("pictures")
    with Catalog(Workspace.at(folder / "workspace").make()) as opened:
        add_clip(opened, folder, "scene", SCENE_RED, SCENE_S)
        add_clip(opened, folder, "speaker", SPEAKER_RED, SPEAKER_S)
        for name, compose in (("cut", CUT), ("inset", INSET), ("plain", None)):
            conditions = {"combine": "add", "picture": PARTS, "compose": compose}
            recipe = canonical_json({"conditions": conditions})
            mixture = made_row("mixtures", mix_id=name, duration_s=MIX_S, recipe=recipe)
            opened.insert("mixtures", [mixture])
        yield opened


def near(fps: int) -> int:
    return 0 if fps == MOTION_FPS else NEAR


def seen(catalog: Catalog, mix_id: str, fps: int, row: int, column: int) -> NDArray[np.int64]:
    """What a pixel shows in each frame: the clip's red, or the gray."""
    frames = picture_of(catalog, mix_id, fps)
    return frames[:, row, column].astype(int)


@pytest.mark.parametrize("fps", [VISUAL_FPS, MOTION_FPS])
def test_a_cut_shows_the_speaker_from_their_first_frame_to_their_last(
    catalog: Catalog, fps: int
) -> None:
    shown = seen(catalog, "cut", fps, SIDE // 2, SIDE // 2)
    first, last, offset = round(AT_S * fps), round((AT_S + SPEAKER_S) * fps), round(0.6 * fps)
    scene, speaker = frames_of(SCENE_RED, SCENE_S, fps), frames_of(SPEAKER_RED, SPEAKER_S, fps)
    expected = scene[offset : offset + round(MIX_S * fps), 0, 0].astype(int)
    expected[first:last] = speaker[:, 0, 0]
    assert np.abs(shown - expected).max() <= near(fps)


@pytest.mark.parametrize("fps", [VISUAL_FPS, MOTION_FPS])
def test_an_inset_lies_in_its_corner_over_exactly_the_span_of_the_speech(
    catalog: Catalog, fps: int
) -> None:
    side = round(INSET["share"] * SIDE)
    first, last = round(AT_S * fps), round((AT_S + SPEAKER_S) * fps)
    inside = [(0, SIDE - 1), (side - 3, SIDE - side + 2)]
    outside = [(side, SIDE - 1), (0, SIDE - side - 1), (0, 0), (SIDE - 1, SIDE - 1)]
    plain = frames_of(SCENE_RED, SCENE_S, fps)[round(0.6 * fps) :]
    over = frames_of(SPEAKER_RED, SPEAKER_S, fps)
    for row, column in inside + outside:
        expected = plain[: round(MIX_S * fps), 0, 0].astype(int)
        if (row, column) in inside:
            expected[first:last] = over[:, 0, 0]
        assert np.abs(seen(catalog, "inset", fps, row, column) - expected).max() <= near(fps), (
            row,
            column,
        )


@pytest.mark.parametrize(
    ("corner", "rows", "columns"),
    [
        ("top_left", slice(0, 3), slice(0, 6)),
        ("top_right", slice(0, 3), slice(14, 20)),
        ("bottom_left", slice(7, 10), slice(0, 6)),
        ("bottom_right", slice(7, 10), slice(14, 20)),
    ],
)
def test_an_inset_keeps_the_shape_of_the_picture(corner: str, rows: slice, columns: slice) -> None:
    frames, expected = np.zeros((2, 10, 20), np.uint8), np.zeros((2, 10, 20), np.uint8)
    overlay(frames, np.full((2, 10, 20), 9, np.uint8), {**INSET, "corner": corner, "share": 0.3})
    expected[:, rows, columns] = 9
    assert np.array_equal(frames, expected)


def test_an_unknown_way_to_compose_is_refused_and_a_plain_mixture_has_no_picture(
    catalog: Catalog,
) -> None:
    frames = np.zeros((1, 4, 4), np.uint8)
    with pytest.raises(ValueError, match="'wipe' is neither cut nor inset"):
        overlay(frames, frames, {"kind": "wipe"})
    with pytest.raises(LookupError, match=r"plain has no composed picture; set mix\.compose"):
        picture_of(catalog, "plain", VISUAL_FPS)


def test_composed_pictures_are_looked_at_as_clips_are(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    def embed(frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        return frames.reshape(len(frames), -1, 3).mean(axis=1).astype(np.float32)

    monkeypatch.setattr(look_module, "load_encoder", lambda *_, **__: embed)
    assert bring_up(catalog, STAGE).items == 2
    rows = catalog.rows("FROM features ORDER BY clip_id, extractor")
    assert [(row["clip_id"], row["extractor"]) for row in rows] == [
        (mix, f"composed_{name}")
        for mix in ("cut", "inset")
        for name in ("efficientnet_lite0", "motion")
    ]
    arrays = {
        (row["clip_id"], row["extractor"].removeprefix("composed_")): read_feature(
            catalog.workspace.root, row["shard_ref"], row["clip_id"], row["content_hash"]
        )
        for row in rows
    }
    # A cut picture is the speaker's own rows, inserted; an inset one moves the mean a little.
    own = [
        embed(frames_of(red, duration_s, VISUAL_FPS))
        for red, duration_s in ((SCENE_RED, SCENE_S), (SPEAKER_RED, SPEAKER_S))
    ]
    inserted = combined(PARTS, own, "insert", MIX_S, VISUAL_FPS)
    assert inserted is not None
    assert np.abs(arrays["cut", "efficientnet_lite0"] - inserted).max() <= NEAR
    red = arrays["inset", "efficientnet_lite0"][:, 0]
    assert np.flatnonzero(red > SCENE_RED + 10).tolist() == list(range(12, 22))
    # The picture jumps where the speaker comes and goes, on the 25 Hz grid.
    motion = arrays["cut", "motion"][:, 0]
    assert len(motion) == 75
    assert sorted(np.argsort(motion)[-2:].tolist()) == [30, 55]
    assert json.loads(catalog.value("SELECT to_json(shape) FROM features LIMIT 1")) == [30, 3]


def test_a_parent_that_is_decoded_anew_makes_the_picture_pending_again(catalog: Catalog) -> None:
    catalog.connection.execute("BEGIN")
    try:
        before = {row["item_id"]: row for row in keyed(catalog)}
        catalog.connection.execute("UPDATE lake.decodes SET duration_s = 9, run_id = 'other'")
        assert {row["item_id"]: row for row in keyed(catalog)} == before
        catalog.connection.execute(
            "UPDATE lake.decodes SET frames25_ref = 'blobs/aa/b.parquet' WHERE source_id = 'scene'"
        )
        changed = {row["item_id"]: row for row in keyed(catalog)}
        assert all(changed[name] != before[name] for name in ("cut", "inset"))
        catalog.connection.execute("UPDATE lake.decodes SET frames25_ref = NULL")
        assert {row["item_id"] for row in keyed(catalog)} == {"cut", "inset"}
        assert len(picture_of(catalog, "cut", VISUAL_FPS)) == MIX_S * VISUAL_FPS
        with pytest.raises(LookupError, match=r"cut: frames at 25 fps were not kept; set decode"):
            picture_of(catalog, "cut", MOTION_FPS)
        catalog.connection.execute("UPDATE lake.decodes SET frames10_ref = NULL")
        assert keyed(catalog) == []
    finally:
        catalog.connection.execute("ROLLBACK")


def keyed(catalog: Catalog) -> list[dict[str, Any]]:
    catalog.plan(STAGE, STAGE.config())
    return catalog.rows("SELECT item_id, _input_hash FROM keyed ORDER BY item_id")
