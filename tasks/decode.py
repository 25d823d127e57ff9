"""Decodes a source once: everything that later stages see and hear comes from this pass.

The pass itself runs in the sandbox (`tasks/decode_pass.py`). Here stand its configuration, the
checks that the file is still the one that was listed, and the move of its output into blobs. Cuts
by TransNetV2 are found here too, so that the sandbox loads no torch.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from storage.blobs import Blobs
from storage.rejects import Rejected
from storage.stage import Output, Rows, ShardRef, ShardResult, ShardTarget, Stage, run_items
from tasks.container import check_file, naming
from tasks.sandbox import Limits, run_limited
from tasks.scenes import THUMBNAILS, TRANSNET, find_cuts, load_transnet, weights_sha256
from tasks.source_copy import local_source
from tasks.weights import fingerprint, locate

# What the pass writes: file name, column of `decodes`.
FILES = (
    ("audio48.flac", "audio48_ref"),
    ("audio16.flac", "audio16_ref"),
    ("frames10.parquet", "frames10_ref"),
    ("frames25.parquet", "frames25_ref"),
    ("colour25.parquet", "colour25_ref"),
    ("faces.parquet", "faces_ref"),
)
FACE_DETECTOR = "face_detector"
MEASURED = (
    "duration_s",
    "audio_s",
    "frames10_count",
    "frames25_count",
    "faces_count",
    "cuts_s",
    "loudness_lufs",
    "bad_frames",
)
# A stated duration raises the limits and may be false: no more counts than the bytes can hold.
LEAST_BYTES_PER_S = 100


@dataclass(frozen=True, slots=True)
class DecodeConfig:
    """What the pass makes, and what one source may use."""

    visual_px: Annotated[int, Field(ge=32, le=1024)] = 224
    """Side of the square colour frames at 10 fps."""
    motion: bool = True
    """Keep gray frames at 25 fps too, and look for faces and cuts among them. Without, a source
    gives 10 fps frames and its sound: nothing tells motion, how far sound and picture are apart or
    who speaks on screen, and clips are cut by length and speech alone. Pictures of H.264 that
    neither a frame shows nor another refers to are then left undecoded: damage in them is not
    counted."""
    motion_px: Annotated[int, Field(ge=32, le=1024)] = 112
    """Side of the square gray frames at 25 fps."""
    colour25: bool = False
    """Keep colour frames at 25 fps too, for what of `look.sync` reads them; a recipe that sets that
    sets it."""
    colour25_px: Annotated[int, Field(ge=0, le=1024)] = 0
    """Side of these, 0 for `visual_px`, as Synchformer wants them; for `colour_pixels` a recipe
    sets `motion_px`."""
    jpeg_quality: Annotated[int, Field(ge=30, le=100)] = 90
    """JPEG quality of all pictures."""
    max_faces: Annotated[int, Field(ge=0, le=16)] = 4
    """Faces cut out of one picture, the largest first; 0 looks for none."""
    face_px: Annotated[int, Field(ge=64, le=384)] = 128
    """Side of the square gray crops of faces."""
    face_min_px: Annotated[float, Field(ge=16)] = 32.0
    """Smaller faces are left out: longer side of their box, in a frame of at most 1280 pixels."""
    face_min_score: Annotated[float, Field(ge=0.3, le=1)] = 0.6
    """The detector must be this sure of a face."""
    scene_detector: Literal["content", "transnetv2"] = "content"
    """What finds cuts: PySceneDetect's ContentDetector, or the network TransNetV2, which finds slow
    transitions too and costs five times what the rest of the pass does."""
    scene_threshold: Annotated[float, Field(gt=0)] = 27.0
    """Change between two frames that makes a cut for the content detector."""
    transition_threshold: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Probability that makes a cut for TransNetV2."""
    scene_weights: str = ""
    """A file with the weights of TransNetV2; empty for the published ones, fetched on first use."""
    min_scene_s: Annotated[float, Field(ge=0)] = 0.6
    """Cuts that follow each other faster than this count as one."""
    min_decoded_share: Annotated[float, Field(ge=0, le=1)] = 0.9
    """A stream that decodes less of its stated duration than this is rejected as truncated, and
    one that decodes less of its packets as damaged."""
    wall_limit_s: Annotated[float, Field(gt=0)] = 4.0
    """Wall seconds for each media second, beside `floor_limit_s`."""
    cpu_limit_s: Annotated[float, Field(gt=0)] = 2.0
    """CPU seconds for each media second, beside `floor_limit_s`."""
    floor_limit_s: Annotated[float, Field(gt=0)] = 60.0
    """Seconds, of wall and of CPU, that every source may use however short it is."""
    memory_limit_mb: Annotated[int, Field(ge=128)] = 1536
    """Memory for one source, in MiB beyond the loaded decoders."""
    output_limit_mb: Annotated[int, Field(ge=1)] = 32_768
    """Size of the largest file that one source may give, in MiB."""

    def __post_init__(self) -> None:
        """Raises ValueError for a detector of cuts that has nothing to look at."""
        if self.scene_detector == TRANSNET and not self.motion:
            raise ValueError(
                f"decode.scene_detector={TRANSNET!r} looks at 25 frames a second, which "
                "decode.motion=False leaves out; leave one of both out"
            )

    @property
    def is_sparse(self) -> bool:
        """Whether nothing is made but frames at 10 fps."""
        return not self.motion and not self.colour25

    @property
    def finds_faces(self) -> bool:
        """Whether faces are looked for."""
        return self.motion and self.max_faces > 0


def decode_item(
    item: dict[str, Any], config: DecodeConfig, workspace: str | Path, folder: str | Path
) -> Rows:
    """The `decodes` row of one item, as `_decode_file`, wherever the source lies."""
    with local_source(item["_uri"], folder, item["source_id"]) as path:
        return _decode_file(path, item, config, workspace, folder)


def _decode_file(
    path: str, item: dict[str, Any], config: DecodeConfig, workspace: str | Path, folder: str | Path
) -> Rows:
    """The `decodes` row of one item; moves its sound and pictures into the workspace's blobs.

    Raises Rejected: `missing` or `changed` where the file is no longer the one that was listed,
    or what the pass or a limit of it says.
    """
    _check_unchanged(path, item)
    own = Path(folder) / item["source_id"]
    own.mkdir(exist_ok=True)
    try:
        media_s = min(item["cost_s"], item["_size_bytes"] / LEAST_BYTES_PER_S)
        limits = Limits(
            wall_s=config.floor_limit_s + config.wall_limit_s * media_s,
            cpu_s=config.floor_limit_s + config.cpu_limit_s * media_s,
            memory_mb=config.memory_limit_mb,
            output_mb=config.output_limit_mb,
        )
        arguments = {"path": path, "folder": str(own), "config": dataclasses.asdict(config)}
        if config.finds_faces:
            arguments["detector"] = str(locate(FACE_DETECTOR))
        # Before the pass, so that weights that are missing are so at once.
        network = load_transnet(config.scene_weights) if config.scene_detector == TRANSNET else None
        with naming(path):
            result = run_limited("tasks.decode_pass:decode_source", arguments, limits)
        _check_unchanged(path, item)
        row = _stored(result.value, own, Blobs(workspace))
        if network is not None:
            limit = (config.transition_threshold, config.min_scene_s)
            row["cuts_s"] = find_cuts(own / THUMBNAILS, network, *limit)
    finally:
        for left in own.iterdir():
            left.unlink()
        own.rmdir()
    row |= {"source_id": item["source_id"], "decode_cpu_s": result.cpu_s}
    return {"decodes": [row]}


def decode_shard(shard: ShardRef, out: ShardTarget, config: DecodeConfig) -> ShardResult:
    """Decodes the sources of a shard."""
    return run_items(shard, out, lambda item: decode_item(item, config, out.workspace, out.folder))


def _check_unchanged(path: str, item: dict[str, Any]) -> None:
    now = check_file(path)
    listed = (item["_size_bytes"], item["_mtime_ns"])
    if (now.st_size, now.st_mtime_ns) != listed:
        raise Rejected(
            "changed",
            f"{path}: it changed since it was listed ({listed[0]} bytes then, {now.st_size} now); "
            "build again when it is complete",
        )


def _stored(value: dict[str, Any], folder: Path, blobs: Blobs) -> dict[str, Any]:
    row = {name: value[name] for name in MEASURED}
    for name, column in FILES:
        path = folder / name
        row[column] = blobs.put_file(path, path.suffix) if path.exists() else None
    return row


def weights(config: DecodeConfig) -> dict[str, str]:
    """The sha256 of the face detector and of TransNetV2, each where it is used."""
    used = {FACE_DETECTOR: fingerprint(FACE_DETECTOR)} if config.finds_faces else {}
    if config.scene_detector == TRANSNET:
        used[TRANSNET] = weights_sha256(config.scene_weights)
    return used


STAGE = Stage(
    name="decode",
    version=3,
    config=DecodeConfig,
    # The bytes are the identity: a file that moved or was touched is not decoded again.
    items="""
        SELECT s.source_id AS item_id, s.source_id, f.uri AS _uri, f.size_bytes AS _size_bytes,
               f.mtime_ns AS _mtime_ns, coalesce(s.duration_s, 60.0) AS cost_s
        FROM sources AS s JOIN files AS f ON f.uri = s.uri AND f.source_id = s.source_id
    """,
    outputs=(Output("decodes", key="source_id"),),
    run=decode_shard,
    later=(
        "scene_detector",
        "transition_threshold",
        "scene_weights",
        "colour25",
        "colour25_px",
        "motion",
    ),
    weights=weights,
    limits=(
        "wall_limit_s",
        "cpu_limit_s",
        "floor_limit_s",
        "memory_limit_mb",
        "output_limit_mb",
    ),
    title="decode once",
)
