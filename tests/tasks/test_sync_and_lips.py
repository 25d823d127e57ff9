"""Sync and lips the whole way: pictures and faces, features, a dataset, batches, a model, a film.

The networks are tiny checkpoints of the published architectures; the mesh of a face is made.
"""

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from models.conditions import Conditions
from models.faces import EYE_RIGHT, LIP_BOTTOM, MESH_POINTS, STEADY_MEAN, STEADY_POINTS
from models.pixels import colour_pixels
from models.timeline import MOTION_FPS, VISUAL_FPS, count
from models.transformer import seeded
from storage.blobs import Blobs
from storage.catalog import Catalog
from storage.features import pack_features, read_feature
from storage.workspace import Workspace
from tasks import faces, look, look_mixtures, snapshot, sonify, watch
from tasks.batches import collate
from tasks.clip_encoders import load_lip_encoder, load_sync_encoder
from tasks.face_crops import BOX, CropWriter
from tasks.faces import FacesConfig, Track, lips_of
from tasks.look import LookConfig
from tasks.look_mixtures import LookMixturesConfig
from tasks.media import FrameWriter, read_frames
from tasks.mix_picture import composed_frames
from tasks.sample_store import SampleStore
from tasks.snapshot import SnapshotConfig, read_samples
from tasks.sonify_config import SonifyConfig, Target
from tasks.soundtrack import _conditions
from tasks.watch import WatchConfig
from tests.made_catalog import bring_up
from tests.made_commits import made_row
from tests.made_model import tiny_sizes
from tests.made_networks import (
    LIPS_WIDTH,
    SYNC_WIDTH,
    published_av_hubert,
    published_synchformer,
)

SPEECH_S, SCENE_S, AT_S = 1.2, 2.4, 0.8
VISUAL, MOTION, CHANNELS = "efficientnet_lite0", "motion", 4
PARTS = [
    {"clip_id": "scene", "at_s": 0.0, "length_s": SCENE_S, "offset_s": 0.0, "loop_s": None},
    {"clip_id": "speech", "at_s": AT_S, "length_s": SPEECH_S, "offset_s": 0.0, "loop_s": None},
]
MIXTURES = {
    "add": {"combine": "add", "compose": None},
    "insert": {"combine": "insert", "compose": None},
    "cut": {"combine": "insert", "compose": {"kind": "cut"}},
}


def made_mesh(picture: NDArray[np.uint8]) -> tuple[NDArray[np.float32], float]:
    """A mean face whose mouth is open by the picture's level over 1000."""
    mesh = np.zeros((MESH_POINTS, 3), np.float32)
    mesh[list(STEADY_POINTS), :2] = STEADY_MEAN / 256
    level, eyes = float(picture.mean()) / 1000, STEADY_POINTS.index(EYE_RIGHT)
    mesh[LIP_BOTTOM, 1] = level * np.hypot(*(STEADY_MEAN[eyes] - STEADY_MEAN[1])) / 256
    return mesh, 0.99


def flat_embed(frames: NDArray[np.uint8]) -> NDArray[np.float32]:
    return frames.reshape(len(frames), -1).mean(axis=1, keepdims=True).astype(np.float32)


def put_frames(catalog: Catalog, folder: Path, name: str, fps: int, gray: bool) -> str:
    seconds = SPEECH_S if name == "speech" else SCENE_S
    shape = (count(seconds, fps), 32, 32, 3)
    frames = np.random.default_rng(len(name)).integers(0, 256, shape, dtype=np.uint8)
    writer = FrameWriter(folder / "frames.parquet")
    for number, frame in enumerate(frames[..., 0] if gray else frames):
        writer.add(number / fps, cv2.imencode(".png", frame)[1].tobytes())
    writer.close(len(frames))
    return Blobs(catalog.workspace.root).put_file(folder / "frames.parquet", ".parquet")


def put_faces(catalog: Catalog, folder: Path) -> str:
    """A face in the speech whose pictures get lighter and darker, at 25 fps."""
    writer = CropWriter(folder / "faces.parquet")
    box = dict(zip(BOX, (0.1, 0.2, 0.4, 0.6), strict=True))
    for number in range(count(SPEECH_S, MOTION_FPS)):
        picture = np.full((128, 128), 100 + 10 * (number % 8), np.uint8)
        row = {"time_s": number / MOTION_FPS, "track": 0, "size_px": 90.0, "score": 0.9}
        writer.add(row | box | {"jpeg": cv2.imencode(".jpg", picture)[1].tobytes()})
    writer.close()
    return Blobs(catalog.workspace.root).put_file(folder / "faces.parquet", ".parquet")


def insert(catalog: Catalog, table: str, **values: Any) -> None:
    catalog.insert(table, [made_row(table, **values)])


def put_source(catalog: Catalog, folder: Path, name: str, task: str) -> None:
    seconds = SPEECH_S if name == "speech" else SCENE_S
    refs = {
        "frames10_ref": put_frames(catalog, folder, name, VISUAL_FPS, gray=False),
        "frames25_ref": put_frames(catalog, folder, name, MOTION_FPS, gray=True),
        "colour25_ref": put_frames(catalog, folder, name, MOTION_FPS, gray=False),
        "faces_ref": put_faces(catalog, folder) if name == "speech" else None,
    }
    uri, decoded = f"/archive/{name}.mp4", {"duration_s": seconds, "faces_count": 0}
    insert(catalog, "files", uri=uri, source_id=name)
    insert(catalog, "sources", uri=uri, source_id=name)
    insert(catalog, "decodes", source_id=name, **decoded, **refs)
    window = {"start_s": 0.0, "end_s": seconds, "duration_s": seconds, "has_picture": True}
    insert(catalog, "windows", clip_id=name, source_id=name, **window)
    insert(catalog, "kinds", clip_id=name, kept=True, task=task)
    insert(catalog, "splits", source_id=name, split="train")


def put_mixtures(catalog: Catalog) -> None:
    for name, how in MIXTURES.items():
        conditions = {"picture": PARTS, "phonemes": {"clip_id": "speech", "at_s": AT_S}} | how
        recipe = json.dumps({"conditions": conditions})
        ids = {"speech_clip_id": "speech", "ambience_clip_id": "scene"}
        mixture = ids | {"duration_s": SCENE_S, "split": "train", "recipe": recipe}
        insert(catalog, "mixtures", mix_id=name, **mixture)


@dataclasses.dataclass(frozen=True)
class Made:
    """A catalog that was built with both networks, and their settings."""

    catalog: Catalog
    look: LookConfig
    faces: FacesConfig
    snapshot: SnapshotConfig

    def feature(self, clip_id: str, extractor: str) -> NDArray[np.float32]:
        """The feature of a clip as it was stored."""
        (row,) = self.catalog.rows(
            "FROM features WHERE clip_id = ? AND extractor = ?", [clip_id, extractor]
        )
        root = self.catalog.workspace.root
        return read_feature(root, row["shard_ref"], clip_id, row["content_hash"])

    def samples(self) -> dict[str, dict[str, Any]]:
        """The frozen samples by their ids."""
        ((refs,),) = self.catalog.connection.execute("SELECT shard_refs FROM datasets").fetchall()
        samples = read_samples(self.catalog.workspace.root, refs, "train")
        return {sample["item_id"]: sample for sample in samples}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    folder = tmp_path_factory.mktemp("whole")
    save_file(published_synchformer(layers=1), folder / "sync.safetensors")
    save_file(published_av_hubert(layers=1), folder / "lips.safetensors")
    seen = LookConfig(sync="synchformer", sync_weights=str(folder / "sync.safetensors"))
    read = FacesConfig(lips="av_hubert", lips_weights=str(folder / "lips.safetensors"))
    frozen = SnapshotConfig("made", folder="/archive", sync="synchformer", lips="av_hubert")
    with (
        pytest.MonkeyPatch.context() as patch,
        Catalog(Workspace.at(folder / "workspace").make()) as catalog,
    ):
        patch.setattr("tasks.look.load_encoder", lambda *_, **__: flat_embed)
        patch.setattr("tasks.face_networks.load_mesh", lambda: made_mesh)
        put_source(catalog, folder, "speech", "visual_tts")
        put_source(catalog, folder, "scene", "v2s")
        insert(catalog, "codecs", codec_id="codec", name="mel_pca")
        put_mixtures(catalog)
        lengths = {"speech": SPEECH_S} | dict.fromkeys(("scene", *MIXTURES), SCENE_S)
        latents = [
            {
                "clip_id": clip,
                "extractor": "mel_pca",
                "version": 1,
                "_array": np.ones((count(seconds, MOTION_FPS), CHANNELS)),
            }
            for clip, seconds in lengths.items()
        ]
        for row in pack_features(catalog.workspace.root, latents):
            insert(catalog, "features", **row)
        bring_up(catalog, look.STAGE, seen)
        bring_up(catalog, watch.STAGE, WatchConfig(**dataclasses.asdict(seen)))
        bring_up(catalog, faces.STAGE, read)
        bring_up(catalog, look_mixtures.STAGE, LookMixturesConfig(**dataclasses.asdict(seen)))
        bring_up(catalog, snapshot.STAGE, frozen)
        yield Made(catalog, seen, read, frozen)


def test_both_networks_give_a_row_a_frame_of_25_hz_and_no_face_gives_no_row(made: Made) -> None:
    frames = count(SPEECH_S, MOTION_FPS)
    assert made.feature("speech", "synchformer").shape == (frames, SYNC_WIDTH)
    assert made.feature("speech", "av_hubert").shape == (frames, LIPS_WIDTH)
    assert made.feature("scene", "synchformer").shape == (60, SYNC_WIDTH)
    assert made.feature("scene", "av_hubert").shape == (0, 0)
    catalog = made.catalog
    assert catalog.plan(look.STAGE, made.look).items == catalog.plan(faces.STAGE, made.faces).items
    assert catalog.plan(snapshot.STAGE, made.snapshot).items == 0
    (dataset,) = catalog.rows("SELECT sync_extractor, lips_extractor FROM datasets")
    assert dataset == {"sync_extractor": "synchformer", "lips_extractor": "av_hubert"}


def test_a_mixture_has_sync_added_or_replaced_under_the_speech_and_lips_shifted_there(
    made: Made,
) -> None:
    samples, first = made.samples(), round(AT_S * MOTION_FPS)
    under = slice(first, first + count(SPEECH_S, MOTION_FPS))
    speech, scene = made.feature("speech", "synchformer"), made.feature("scene", "synchformer")
    added, replaced = scene.copy(), scene.copy()
    added[under] += speech
    replaced[under] = speech
    assert np.allclose(samples["add"]["sync"], added.astype(np.float16), atol=1e-3)
    assert np.array_equal(samples["insert"]["sync"], replaced)
    for name in MIXTURES:
        lips = samples[name]["lips"]
        assert np.array_equal(lips[under], made.feature("speech", "av_hubert"))
        assert not lips[:first].any() and not lips[under.stop :].any()
    assert samples["scene"]["lips"] is None


def test_sync_of_a_composed_picture_is_that_of_its_colour_frames(made: Made) -> None:
    (item,) = made.catalog.rows(f"FROM ({look_mixtures.PICTURES}) WHERE item_id = 'cut'")
    root = str(made.catalog.workspace.root)
    frames = composed_frames(root, item, MOTION_FPS, colour=True)
    assert frames.shape == (60, 32, 32, 3)
    expected = load_sync_encoder(made.look.sync_weights)(frames)
    found = made.feature("cut", f"{look.COMPOSED}synchformer")
    assert np.allclose(found, expected, rtol=2e-3, atol=1e-2)
    assert np.array_equal(made.samples()["cut"]["sync"], found)


def test_pixels_with_colour_are_those_of_the_colour_frames_of_clips_and_composed_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.look.load_encoder", lambda *_, **__: flat_embed)
    seen = dataclasses.asdict(LookConfig(sync="colour_pixels"))
    with Catalog(Workspace.at(tmp_path / "workspace").make()) as catalog:
        put_source(catalog, tmp_path, "speech", "visual_tts")
        put_source(catalog, tmp_path, "scene", "v2s")
        put_mixtures(catalog)
        bring_up(catalog, watch.STAGE, WatchConfig(**seen))
        bring_up(catalog, look_mixtures.STAGE, LookMixturesConfig(**seen))
        built = Made(catalog, LookConfig(), FacesConfig(), SnapshotConfig("made"))
        (decoded,) = catalog.rows("SELECT colour25_ref FROM decodes WHERE source_id = 'scene'")
        root = str(catalog.workspace.root)
        frames = read_frames(root, decoded["colour25_ref"], 0.0, SCENE_S, MOTION_FPS)
        (item,) = catalog.rows(f"FROM ({look_mixtures.PICTURES}) WHERE item_id = 'cut'")
        composed = composed_frames(root, item, MOTION_FPS, colour=True)
        for clip_id, name, expected in (
            ("scene", "colour_pixels", frames),
            ("cut", f"{look.COMPOSED}colour_pixels", composed),
        ):
            found = built.feature(clip_id, name)
            assert np.array_equal(found, colour_pixels(expected).astype(np.float16))
            assert found[:, found.shape[1] // 3 :].any()


def test_a_batch_tells_the_model_of_sync_and_lips_where_there_are_any(made: Made) -> None:
    samples = list(made.samples().values())
    batch = collate(samples, 60, motion_dim=0, visual_dim=1)
    c = batch.conditions
    assert c.sync is not None and c.lips is not None
    assert c.sync.shape == (5, 60, SYNC_WIDTH) and c.lips.shape == (5, 60, LIPS_WIDTH)
    has_lips = dict(zip((s["item_id"] for s in samples), c.present("lips").tolist(), strict=True))
    assert has_lips == dict.fromkeys(("speech", *MIXTURES), True) | {"scene": False}
    sizes = dataclasses.replace(
        tiny_sizes(), visual_dim=1, motion_dim=0, sync_dim=SYNC_WIDTH, lips_dim=LIPS_WIDTH
    )
    model, times = seeded(sizes, 0).eval(), torch.full((5,), 0.5)
    with torch.no_grad():
        whole = model(batch.latents, times, c)
        for name in ("sync", "lips"):
            deaf = model(batch.latents, times, c.dropped({name: torch.zeros(5).bool()}))
            changed = (whole - deaf).abs().amax((1, 2)) > 1e-6
            assert changed.tolist() == c.present(name).tolist()


def test_a_shard_gives_sync_and_lips_by_index_as_parquet_does(made: Made) -> None:
    ((refs,),) = made.catalog.connection.execute("SELECT shard_refs FROM datasets").fetchall()
    store = SampleStore(made.catalog.workspace.root, refs, "train", check_hashes=True)
    frozen = made.samples()
    for sample in store.read(range(len(store))):
        for name in ("sync", "lips"):
            expected = frozen[sample["item_id"]][name]
            assert (sample[name] is None) == (expected is None)
            assert expected is None or np.array_equal(sample[name], expected)


def test_a_film_is_given_the_features_that_its_model_was_trained_with(made: Made) -> None:
    catalog = made.catalog
    (dataset,) = catalog.rows("SELECT dataset_id FROM datasets")
    insert(catalog, "checkpoints", checkpoint_id="k", **dataset)
    config = SonifyConfig(dataset="made", targets=(Target("speech.mp4"), Target("scene.mp4")))
    stage = dataclasses.replace(sonify.STAGE, weights=None)
    found: dict[str, Conditions] = {}
    catalog.plan(stage, config)
    for item in catalog.rows("SELECT * FROM keyed"):
        ((window,), (aligned,)) = item["windows"], item["aligned"]
        sizes = dataclasses.replace(tiny_sizes(), visual_dim=1, motion_dim=18)
        checkpoint: Any = type("Checkpoint", (), {"model": seeded(sizes, 0)})
        where = item | {"_workspace": str(catalog.workspace.root)}
        seconds = window["end_s"] - window["start_s"]
        both = window | aligned
        found[item["source_id"]] = _conditions(where, both, checkpoint, [], seconds)
    given = found["speech"]
    assert given.sync is not None and given.lips is not None
    assert np.array_equal(given.sync[0], made.feature("speech", "synchformer"))
    assert np.array_equal(given.lips[0], made.feature("speech", "av_hubert"))
    assert found["scene"].sync is not None and found["scene"].lips is None
    # Without the features that its model was trained with a film is not generated.
    catalog.connection.execute("UPDATE lake.datasets SET lips_extractor = 'mouth_track'")
    catalog.plan(stage, config)
    rows = catalog.rows("SELECT windows, _extractor FROM keyed")
    catalog.connection.execute("UPDATE lake.datasets SET lips_extractor = 'av_hubert'")
    assert [row["windows"] for row in rows] == [None, None]
    assert rows[0]["_extractor"] == f"{VISUAL}, synchformer, mouth_track"


def test_lips_are_those_of_the_mouth_that_moves_most_and_need_no_weights() -> None:
    def track(openings: list[float]) -> Track:
        pictures = [made_mesh(np.full((2, 2), round(1000 * o), np.uint8))[0] for o in openings]
        times = np.arange(len(openings)) / MOTION_FPS
        mouth = np.stack([openings, np.ones(len(openings))], axis=1).astype(np.float32)
        crops: Any = [type("Shown", (), {"time_s": at}) for at in times]
        return Track({}, mouth, crops, pictures)

    still, talking = track([0.1] * 40), track([0.05, 0.2] * 10)
    lips = lips_of([still, talking], 1.6, FacesConfig(lips="mouth_track"))
    assert lips.shape == (40, 3)
    assert lips[:4, 0] == pytest.approx([0.05, 0.2, 0.05, 0.2], abs=1e-3)
    # It is seen for 0.8 s, and its last picture stands for max_gap_s more.
    assert lips[:, 2].sum() == pytest.approx(25, abs=1)
    assert lips_of([], 1.6, FacesConfig(lips="mouth_track")).shape == (0, 0)


def test_lips_read_nothing_where_the_mouth_is_not_seen(made: Made) -> None:
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (20, 128, 128), dtype=np.uint8)
    writer_rows: Any = [
        type("Shown", (), {"time_s": 0.4 + n / MOTION_FPS, "picture": lambda _, n=n: pictures[n]})()
        for n in range(20)
    ]
    mouth = np.zeros((50, 2), np.float32)
    mouth[10:30] = [[0.1 * (n % 2), 1] for n in range(20)]
    meshes = [made_mesh(picture)[0] for picture in pictures]
    config = dataclasses.replace(made.faces, max_gap_s=0.03)
    lips = lips_of([Track({}, mouth, writer_rows, meshes)], 2.0, config)
    assert lips.shape == (50, LIPS_WIDTH)
    assert np.flatnonzero(lips.any(1)).tolist() == list(range(10, 30))
    assert load_lip_encoder(config.lips_weights).features == LIPS_WIDTH
