"""The faces of a clip, how far their mouths are open, and what the lips of one do, at 25 Hz.

The decode pass has cut the faces out; here a mesh is laid on each of them.

Legend: F frames at 25 fps, K tracks, P = 468 points of the mesh.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from models.faces import mouth_opening
from models.timeline import MOTION_FPS, count
from storage.stage import Output, Rows, ShardRef, ShardResult, ShardTarget, Stage, run_items
from tasks.clip_encoders import (
    AV_HUBERT,
    LIP_ENCODERS,
    MOUTH_TRACK,
    NONE,
    Device,
    LipsName,
    av_hubert_file,
    load_lip_encoder,
    require_use,
)
from tasks.face_crops import BOX, Crop, read_crops
from tasks.mouths import mouth_pictures, mouth_track, values_on_grid
from tasks.weights import fingerprint

MOUTH_EXTRACTOR = "mouth"
VERSION = 1
OPENING, SEEN = 0, 1
"""Channels of the feature."""

LayMesh = Callable[[NDArray[np.uint8]], tuple[NDArray[np.float32], float]]
"""Points (P, 3) in shares of a square gray crop, and the probability that a face is in it."""


@dataclass(frozen=True, slots=True)
class FacesConfig:
    """What counts as a face that is followed."""

    min_mesh_score: Annotated[float, Field(ge=0, le=1)] = 0.5
    """The mesh network must be this sure that a crop holds a face."""
    min_track_s: Annotated[float, Field(ge=0)] = 0.5
    """A track that is seen for less is left out."""
    max_gap_s: Annotated[float, Field(gt=0)] = 0.2
    """A mouth is not guessed further than this from a picture of it."""
    lips: LipsName = "none"
    """What the model is told of the lips: av_hubert reads them from pictures of the mouth, for
    which `decode.face_px` of 256 keeps faces large enough; mouth_track says how open and how wide
    the mouth is, and needs no weights."""
    lips_weights: str = ""
    """The file of AV-HuBERT's weights."""
    lips_device: Device = "cpu"
    """Where AV-HuBERT runs."""

    def __post_init__(self) -> None:
        """Raises ValueError for weights that are not asked for."""
        require_use("faces.lips", self.lips, self.lips_weights, AV_HUBERT)


@dataclass(frozen=True, slots=True)
class Track:
    """A face that was followed through a clip."""

    row: dict[str, Any]
    """Its row of `faces` without clip_id and track."""
    mouth: NDArray[np.float32]
    """(F, 2): how far the mouth is open, and 1 where it is seen."""
    crops: list[Crop]
    """The pictures of it in which the mesh saw a face, in order of time."""
    meshes: list[NDArray[np.float32]]
    """(P, 3) for each of them."""


def faces_shard(shard: ShardRef, out: ShardTarget, config: FacesConfig) -> ShardResult:
    """Rows of `faces`, and of `features` for mouths and lips, for the clips of a shard."""

    def one_item(item: dict[str, Any]) -> Rows:
        start_s, end_s = item["start_s"], item["end_s"]
        tracks = []
        if item["faces_ref"] is not None:
            from tasks.face_networks import load_mesh

            crops = read_crops(out.workspace, item["faces_ref"], start_s, end_s)
            tracks = follow_faces(crops, end_s - start_s, load_mesh(), config)
        clip_id = item["item_id"]
        # A clip without faces has a feature without tracks: it was looked at.
        none = np.zeros((count(end_s - start_s, MOTION_FPS), 0, 2), np.float32)
        mouths = np.stack([track.mouth for track in tracks], axis=1) if tracks else none
        features = [{"extractor": MOUTH_EXTRACTOR, "version": VERSION, "_array": mouths}]
        if config.lips != NONE:
            lips = lips_of(tracks, end_s - start_s, config)
            features.append({"extractor": config.lips, "version": VERSION, "_array": lips})
        rows = [{"clip_id": clip_id, "track": at} | t.row for at, t in enumerate(tracks)]
        return {"faces": rows, "features": [{"clip_id": clip_id} | made for made in features]}

    return run_items(shard, out, one_item)


def follow_faces(
    crops: dict[int, list[Crop]], duration_s: float, mesh: LayMesh, config: FacesConfig
) -> list[Track]:
    """The tracks of a clip, the one that is seen longest first.

    Args:
        crops: of the decode pass, by its track, in order of time, times from the clip's start.
        duration_s: the clip's length.
        mesh: the mesh network.
        config: thresholds.
    """
    tracks = []
    for number, row in sorted(crops.items()):
        seen, points = [], []
        for crop in row:
            mesh_points, score = mesh(crop.picture())
            if score >= config.min_mesh_score:
                seen.append((crop, score))
                points.append(mesh_points)
        track = _track(seen, points, duration_s, config)
        if track is not None:
            tracks.append((-track.row["seen_s"], number, track))
    return [track for _, _, track in sorted(tracks, key=lambda entry: entry[:2])]


def _track(
    seen: list[tuple[Crop, float]],
    points: list[NDArray[np.float32]],
    duration_s: float,
    config: FacesConfig,
) -> Track | None:
    if not seen:
        return None
    times = np.array([crop.time_s for crop, _ in seen])
    openings = np.array([mouth_opening(mesh) for mesh in points])
    mouth = values_on_grid(times, openings[:, None], duration_s, config.max_gap_s)
    seen_s = float(mouth[:, SEEN].sum()) / MOTION_FPS
    if seen_s < config.min_track_s:
        return None
    box = np.mean([crop.box for crop, _ in seen], axis=0)
    row = dict(zip(BOX, box.tolist(), strict=True))
    row |= {
        "start_s": float(times[0]),
        "end_s": min((np.flatnonzero(mouth[:, SEEN])[-1] + 1) / MOTION_FPS, duration_s),
        "seen_s": seen_s,
        "size_px": float(np.mean([crop.size_px for crop, _ in seen])),
        "score": float(np.mean([crop.score for crop, _ in seen])),
        "mesh_score": float(np.mean([score for _, score in seen])),
        "mouth_opening": float(np.mean(openings)),
    }
    return Track(row, mouth, [crop for crop, _ in seen], points)


def lips_of(tracks: list[Track], duration_s: float, config: FacesConfig) -> NDArray[np.float32]:
    """What the lips of a clip do (F, D), of the face whose mouth moves most; (0, 0) without one.

    That face is found without sound, so that a silent film has the same as a talking one. Frames in
    which its mouth is not seen are 0.
    """
    if not tracks:
        return np.zeros((0, 0), np.float32)
    track = max(tracks, key=_movement)
    if config.lips == MOUTH_TRACK:
        times_s = np.array([crop.time_s for crop in track.crops])
        return mouth_track(times_s, track.meshes, duration_s, config.max_gap_s)
    mouths, seen = mouth_pictures(track.crops, track.meshes, duration_s, config.max_gap_s)
    if not seen.any():
        return np.zeros((0, 0), np.float32)
    shown = np.flatnonzero(seen)
    inside = slice(shown[0], shown[-1] + 1)
    read = load_lip_encoder(config.lips_weights, config.lips_device)(mouths[inside])
    lips = np.zeros((len(seen), read.shape[1]), np.float32)
    lips[inside] = read * seen[inside, None]
    return lips


def _movement(track: Track) -> float:
    """By how much a mouth moves while it is seen, the more the longer that is."""
    seen = track.mouth[:, SEEN] > 0
    return float(np.std(track.mouth[seen, OPENING]) * seen.sum())


def weights(config: FacesConfig) -> dict[str, str]:
    """The sha256 of the mesh network, and of AV-HuBERT where it is used."""
    used = {"face_mesh": fingerprint("face_mesh")}
    if config.lips == AV_HUBERT:
        used[AV_HUBERT] = av_hubert_file(config.lips_weights).fingerprint()
    return used


STAGE = Stage(
    name="faces",
    version=1,
    config=FacesConfig,
    items="""
        SELECT w.clip_id AS item_id, w.duration_s AS cost_s, w.start_s, w.end_s, d.faces_ref
        FROM windows w JOIN decodes d ON d.source_id = w.source_id
        WHERE w.has_picture AND d.faces_count IS NOT NULL
    """,
    outputs=(
        Output(
            "features",
            key="clip_id",
            only=(("extractor", (MOUTH_EXTRACTOR, *LIP_ENCODERS)),),
        ),
        Output("faces", key="clip_id"),
    ),
    run=faces_shard,
    weights=weights,
    later=("lips", "lips_weights", "lips_device"),
    title="follow faces",
)
