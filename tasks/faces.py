"""The faces of a clip and how far their mouths are open, at 25 Hz.

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
from tasks.face_crops import BOX, Crop, read_crops
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


@dataclass(frozen=True, slots=True)
class Track:
    """A face that was followed through a clip."""

    row: dict[str, Any]
    """Its row of `faces` without clip_id and track."""
    mouth: NDArray[np.float32]
    """(F, 2): how far the mouth is open, and 1 where it is seen."""


def faces_shard(shard: ShardRef, out: ShardTarget, config: FacesConfig) -> ShardResult:
    """Rows of `faces`, and of `features` for extractor mouth, for the clips of a shard."""

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
        feature = {"clip_id": clip_id, "extractor": MOUTH_EXTRACTOR, "version": VERSION}
        rows = [{"clip_id": clip_id, "track": at} | t.row for at, t in enumerate(tracks)]
        return {"faces": rows, "features": [feature | {"_array": mouths}]}

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
    mouth = mouth_on_grid(times, openings, duration_s, config.max_gap_s)
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
    return Track(row, mouth)


def mouth_on_grid(
    times_s: NDArray[np.float64],
    openings: NDArray[np.float64],
    duration_s: float,
    max_gap_s: float,
) -> NDArray[np.float32]:
    """Mouth opening (F, 2) at 25 Hz from pictures (N,) at their own times.

    Between two pictures the opening goes in a straight line, so that a low or odd frame rate moves
    nothing in time. Frames that are further than `max_gap_s` from a picture are 0 and not seen.
    """
    grid = np.arange(count(duration_s, MOTION_FPS)) / MOTION_FPS
    after = np.clip(np.searchsorted(times_s, grid), 0, len(times_s) - 1)
    before = np.clip(after - 1, 0, None)
    nearest = np.minimum(np.abs(times_s[after] - grid), np.abs(times_s[before] - grid))
    seen = nearest <= max_gap_s
    opening = np.where(seen, np.interp(grid, times_s, openings), 0.0)
    return np.stack([opening, seen], axis=1).astype(np.float32)


def weights(config: FacesConfig) -> dict[str, str]:
    """The sha256 of the mesh network."""
    return {"face_mesh": fingerprint("face_mesh")}


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
        Output("features", key="clip_id", only=(("extractor", (MOUTH_EXTRACTOR,)),)),
        Output("faces", key="clip_id"),
    ),
    run=faces_shard,
    weights=weights,
    title="follow faces",
)
