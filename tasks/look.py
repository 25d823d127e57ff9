"""What is seen in a clip: image features at 10 fps and motion energy at 25 fps.

Legend: F frames, H height, W width, D channels.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.timeline import MOTION_FPS, VISUAL_FPS
from storage.rejects import Rejected
from storage.stage import Output, Rows, ShardRef, ShardResult, ShardTarget, Stage, run_items
from tasks.media import read_frames
from tasks.weights import fingerprint, locate

IMAGE_EXTRACTOR = "efficientnet_lite0"
MOTION_EXTRACTOR = "motion"
# Before an extractor's name: what it made of the composed picture of a mixture.
COMPOSED = "composed_"
VERSION = 1

# Small batches of channels-last images stay in the cache: 12 ms a frame on one core, against 28 ms
# for batches of 32 planar ones.
BATCH_FRAMES = 4

Embed = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""Image features (F, D) of RGB frames (F, H, W, 3)."""


@dataclass(frozen=True, slots=True)
class LookConfig:
    """Looking has no settings: the networks decide all."""


def look_shard(shard: ShardRef, out: ShardTarget, config: LookConfig) -> ShardResult:
    """Rows of `features`, extractors efficientnet_lite0 and motion, for the clips of a shard."""

    def one_item(item: dict[str, Any]) -> Rows:
        start_s, end_s = item["start_s"], item["end_s"]
        frames10 = read_frames(out.workspace, item["frames10_ref"], start_s, end_s, VISUAL_FPS)
        frames25 = read_frames(out.workspace, item["frames25_ref"], start_s, end_s, MOTION_FPS)
        return feature_rows(item["item_id"], frames10, frames25)

    return run_items(shard, out, one_item)


def feature_rows(
    item_id: str, frames10: NDArray[np.uint8], frames25: NDArray[np.uint8], prefix: str = ""
) -> Rows:
    """Rows of `features` with the arrays of `look`; `prefix` goes before the extractors' names.

    Raises Rejected("too_short") where one of the grids has no frame.
    """
    if len(frames10) == 0 or len(frames25) == 0:
        frames = {"frames10": len(frames10), "frames25": len(frames25)}
        raise Rejected("too_short", f"{item_id}: its picture has no frame: {frames}", frames)
    arrays = look(frames10, frames25, load_embedder())
    return {
        "features": [
            {
                "clip_id": item_id,
                "extractor": f"{prefix}{extractor}",
                "version": VERSION,
                "_array": array,
            }
            for extractor, array in arrays.items()
        ]
    }


def look(
    frames10: NDArray[np.uint8], frames25: NDArray[np.uint8], embed: Embed
) -> dict[str, NDArray[np.float32]]:
    """Feature arrays of a clip by extractor.

    Args:
        frames10: (F10, H, W, 3) RGB at 10 fps.
        frames25: (F25, H, W) gray at 25 fps.
        embed: the image network.

    Returns efficientnet_lite0 (F10, 1280) and motion (F25, Dm).
    """
    from models.motion import motion_energy

    return {
        IMAGE_EXTRACTOR: embed(frames10),
        MOTION_EXTRACTOR: np.asarray(motion_energy(frames25), dtype=np.float32),
    }


@functools.cache
def load_embedder() -> Embed:
    """EfficientNet-Lite0 on the CPU, loaded once per process, on one thread.

    Batches hold frames of one clip only, so that a clip's features never depend on its neighbours.
    """
    import torch

    from models.efficientnet import build_efficientnet_lite0, embed

    torch.set_num_threads(1)
    state = torch.load(locate(IMAGE_EXTRACTOR), map_location="cpu", weights_only=True)
    # nn.Module.to takes memory_format too, but its stubs do not say so.
    model: Any = build_efficientnet_lite0(state)
    model = model.to(memory_format=torch.channels_last)

    def embed_frames(frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        parts = []
        with torch.inference_mode():
            for first in range(0, len(frames), BATCH_FRAMES):
                batch = np.ascontiguousarray(frames[first : first + BATCH_FRAMES])
                images = torch.from_numpy(batch).permute(0, 3, 1, 2)  # (B, 3, H, W)
                parts.append(embed(model, images).numpy())
        return np.concatenate(parts).astype(np.float32, copy=False)

    return embed_frames


def weights(config: LookConfig) -> dict[str, str]:
    """The sha256 of the image network."""
    return {IMAGE_EXTRACTOR: fingerprint(IMAGE_EXTRACTOR)}


STAGE = Stage(
    name="look",
    version=1,
    config=LookConfig,
    items="""
        SELECT w.clip_id AS item_id, w.duration_s AS cost_s,
               w.start_s, w.end_s, d.frames10_ref, d.frames25_ref
        FROM windows w JOIN decodes d ON d.source_id = w.source_id
        WHERE w.has_picture AND d.frames10_ref IS NOT NULL AND d.frames25_ref IS NOT NULL
    """,
    outputs=(
        Output(
            "features",
            key="clip_id",
            only=(("extractor", (IMAGE_EXTRACTOR, MOTION_EXTRACTOR)),),
        ),
    ),
    run=look_shard,
    weights=weights,
    title="look at the picture",
)
