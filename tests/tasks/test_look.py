"""Features of pictures: shapes on the house's grids, and nothing of one clip in another."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from models.motion import MOTION_DIM
from models.pixels import COLOUR_KINDS, GREY_KINDS
from models.timeline import MOTION_FPS, VISUAL_FPS, count
from storage.blobs import Blobs
from storage.catalog import Catalog
from storage.features import read_feature
from storage.rejects import Rejected
from storage.workspace import Workspace
from tasks import look as look_module
from tasks import watch
from tasks.clip_encoders import OF_COLOUR, PIXEL_GRIDS, SyncName
from tasks.encoders import load_encoder
from tasks.look import IMAGE_EXTRACTOR, MOTION_EXTRACTOR, STAGE, LookConfig, look, seen
from tasks.media import FrameWriter
from tasks.watch import WatchConfig
from tests.made_catalog import bring_up

DURATION_S = 1.3


def flat_embed(frames: NDArray[np.uint8]) -> NDArray[np.float32]:
    """One number a frame: its mean."""
    return frames.reshape(len(frames), -1).mean(axis=1, keepdims=True).astype(np.float32)


def pictures(frames: int, seed: int = 0) -> NDArray[np.uint8]:
    """Frames (F, 224, 224, 3) of noise."""
    shape = (frames, 224, 224, 3)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def test_features_have_one_row_a_frame_of_each_grid() -> None:
    frames = pictures(5)
    arrays = look(frames, frames[:3, ..., 0], flat_embed)
    assert arrays[IMAGE_EXTRACTOR].shape == (5, 1)
    assert arrays[MOTION_EXTRACTOR].shape == (3, MOTION_DIM)
    assert all(array.dtype == np.float32 for array in arrays.values())


def test_without_frames_at_25_fps_the_image_network_looks_alone() -> None:
    frames = pictures(5)
    assert list(look(frames, None, flat_embed)) == [IMAGE_EXTRACTOR]


def test_a_still_picture_does_not_move_and_a_flash_does() -> None:
    still = np.full((6, 64, 64), 40, np.uint8)
    flash = still.copy()
    flash[3] = 240
    frames = pictures(1)
    assert not look(frames, still, flat_embed)[MOTION_EXTRACTOR].any()
    moved = look(frames, flash, flat_embed)[MOTION_EXTRACTOR][:, 0]
    assert np.flatnonzero(moved).tolist() == [3, 4]


@pytest.mark.weights
def test_image_features_in_bfloat16_are_nearly_those_in_float32() -> None:
    frames = pictures(3)
    frames[1:] //= 2
    plain, quick = (
        seen("clip", frames, frames[..., 0], LookConfig(precision=precision))
        for precision in ("float32", "bfloat16")
    )
    found, nearly = plain[IMAGE_EXTRACTOR], quick[IMAGE_EXTRACTOR]
    assert nearly.dtype == np.float32 and not np.array_equal(found, nearly)
    lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(nearly, axis=1)
    assert ((found * nearly).sum(1) / lengths > 0.995).all()


@pytest.mark.weights
def test_image_features_do_not_depend_on_other_clips_and_barely_on_batches() -> None:
    frames = pictures(5)
    embed = load_encoder()
    first = embed(frames)
    embed(pictures(7, seed=1))
    assert first.shape == (5, 1280)
    assert np.array_equal(embed(frames), first)
    assert np.allclose(load_encoder()(frames[:1]), first[:1], atol=1e-4)


@pytest.mark.weights
def test_frames_of_one_shot_are_nearer_than_frames_of_two(demo_corpus: Path) -> None:
    video = cv2.VideoCapture(str(demo_corpus / "shot_change.mp4"))
    ok, frames = True, []
    while ok:
        ok, frame = video.read()
        if ok:
            frames.append(cv2.resize(frame, (224, 224))[:, :, ::-1])
    # The cut is at 3.17 s of 4.8 s.
    chosen = np.stack([frames[int(len(frames) * part)] for part in (0.1, 0.5, 0.8)])
    a, b, c = load_encoder()(chosen)
    a, b, c = (vector / np.linalg.norm(vector) for vector in (a, b, c))
    assert a @ b > 0.8
    assert a @ c < 0.6


def frames_blob(workspace: Path, folder: Path, frames: NDArray[np.uint8]) -> str:
    """A blob of JPEG frames."""
    path = folder / "frames.parquet"
    writer = FrameWriter(path)
    for number, frame in enumerate(frames):
        writer.add(float(number), cv2.imencode(".jpg", frame)[1].tobytes())
    writer.close(len(frames))
    return Blobs(workspace).put_file(path, ".parquet")


@pytest.fixture
def catalog(workspace: Path) -> Iterator[Catalog]:
    with Catalog(Workspace.at(workspace).make()) as opened:
        yield opened


def two_sources(catalog: Catalog, folder: Path) -> None:
    """A clip `c` with frames at both rates, and `d` without those at 25 fps."""
    root = catalog.workspace.root
    run = {"source_id": "s", "run_id": "test", "duration_s": DURATION_S}
    refs = {
        "frames10_ref": frames_blob(root, folder, pictures(13)),
        "frames25_ref": frames_blob(root, folder, pictures(33)[..., 0]),
        "colour25_ref": frames_blob(root, folder, pictures(33)),
    }
    catalog.insert("decodes", [run | refs | {"cuts_s": [], "decode_cpu_s": 0.0}])
    shown = {"clip_id": "c", "has_audio": False, "has_picture": True, "scene": 0}
    catalog.insert("windows", [run | shown | {"start_s": 0.0, "end_s": DURATION_S}])
    still = run | {"source_id": "t"}
    refs = {"frames10_ref": refs["frames10_ref"]}
    catalog.insert("decodes", [still | refs | {"cuts_s": [], "decode_cpu_s": 0.0}])
    shown |= {"clip_id": "d", "start_s": 0.0, "end_s": DURATION_S}
    catalog.insert("windows", [still | shown])


@pytest.mark.weights
def test_looking_and_watching_write_every_feature_of_a_clip_through_the_catalog(
    catalog: Catalog, tmp_path: Path
) -> None:
    two_sources(catalog, tmp_path)
    assert bring_up(catalog, STAGE).items == 2
    for sync, grid in PIXEL_GRIDS.items():
        kinds = COLOUR_KINDS if sync in OF_COLOUR else GREY_KINDS
        assert bring_up(catalog, watch.STAGE, WatchConfig(sync=sync)).items == 1
        rows = catalog.rows("SELECT * FROM features ORDER BY clip_id, extractor")
        alone = rows.pop()
        assert (alone["clip_id"], alone["extractor"]) == ("d", IMAGE_EXTRACTOR)
        assert {row["extractor"]: row["shape"] for row in rows} == {
            IMAGE_EXTRACTOR: [count(DURATION_S, VISUAL_FPS), 1280],
            MOTION_EXTRACTOR: [count(DURATION_S, MOTION_FPS), MOTION_DIM],
            sync: [count(DURATION_S, MOTION_FPS), kinds * grid**2],
        }
        for row in rows:
            root = catalog.workspace.root
            array = read_feature(root, row["shard_ref"], "c", row["content_hash"])
            assert list(array.shape) == row["shape"]


def test_another_choice_of_sync_leaves_what_the_image_network_saw_as_it_is(
    catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(look_module, "load_encoder", lambda *_, **__: flat_embed)
    two_sources(catalog, tmp_path)
    bring_up(catalog, STAGE)
    plain = catalog.rows("FROM features ORDER BY ALL")
    choices: tuple[SyncName, ...] = (*PIXEL_GRIDS, "none")
    for sync in choices:
        assert catalog.plan(STAGE, LookConfig(sync=sync)).items == 0
        assert bring_up(catalog, watch.STAGE, WatchConfig(sync=sync)).items == (sync != "none")
        assert catalog.plan(watch.STAGE, WatchConfig(precision="bfloat16", sync=sync)).items == 0
    # What no recipe asks for any more is gone.
    assert catalog.rows("FROM features ORDER BY ALL") == plain


def test_a_clip_without_a_frame_to_watch_is_rejected() -> None:
    with pytest.raises(Rejected, match="its picture has no frame") as caught:
        watch.watched("c", pictures(0)[..., 0], WatchConfig(sync="pixels"))
    assert caught.value.reason == "too_short"
