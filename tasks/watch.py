"""When things happen in a clip: sync features at 25 fps, by `look.sync`.

Legend: F frames, H height, W width, D channels.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.timeline import MOTION_FPS
from storage.stage import Output, Rows, ShardRef, ShardResult, ShardTarget, Stage, run_items
from tasks.clip_encoders import (
    COLOUR_PIXELS,
    OF_COLOUR,
    PIXEL_GRIDS,
    SYNC_ENCODERS,
    SYNCHFORMER,
    load_sync_encoder,
    synchformer_file,
)
from tasks.look import IMAGE_SETTINGS, SYNC_SETTINGS, LookConfig, feature_rows, require_frames
from tasks.media import read_frames


@dataclass(frozen=True, slots=True)
class WatchConfig(LookConfig):
    """What watches: the sync settings of `look`, from which a recipe sets this."""


def watch_shard(shard: ShardRef, out: ShardTarget, config: WatchConfig) -> ShardResult:
    """Rows of `features` of what watches, for the clips of a shard."""

    def one_item(item: dict[str, Any]) -> Rows:
        place = item["start_s"], item["end_s"], MOTION_FPS
        frames = read_frames(out.workspace, item["frames_ref"], *place)
        return feature_rows(item["item_id"], watched(item["item_id"], frames, config))

    return run_items(shard, out, one_item)


def watched(
    item_id: str, frames: NDArray[np.uint8], config: LookConfig
) -> dict[str, NDArray[np.float32]]:
    """Sync features (F, D) by their extractor.

    `frames` are RGB (F, H, W, 3) for what is `OF_COLOUR`, gray (F, H, W) for other pixels.

    Raises Rejected("too_short") without frames.
    """
    from models.pixels import coarse_pixels, colour_pixels

    require_frames(item_id, frames25=frames)
    if config.sync == SYNCHFORMER:
        return {config.sync: load_sync_encoder(config.sync_weights, config.sync_device)(frames)}
    pixels = colour_pixels if config.sync == COLOUR_PIXELS else coarse_pixels
    return {config.sync: pixels(frames, PIXEL_GRIDS[config.sync])}


def weights(config: LookConfig) -> dict[str, str]:
    """What identifies the sync network, where one watches."""
    if config.sync != SYNCHFORMER:
        return {}
    return {config.sync: synchformer_file(config.sync_weights).fingerprint()}


STAGE = Stage(
    name="watch",
    title="watch when things happen",
    version=1,
    config=WatchConfig,
    items=f"""
        SELECT w.clip_id AS item_id, w.duration_s AS cost_s, w.start_s, w.end_s,
               CASE WHEN $sync IN {OF_COLOUR} THEN d.colour25_ref ELSE d.frames25_ref END
                   AS frames_ref
        FROM windows w JOIN decodes d ON d.source_id = w.source_id
        WHERE $sync <> 'none' AND w.has_picture AND frames_ref IS NOT NULL
    """,
    outputs=(Output("features", key="clip_id", only=(("extractor", SYNC_ENCODERS),)),),
    run=watch_shard,
    weights=weights,
    selects=IMAGE_SETTINGS,
    later=SYNC_SETTINGS,
)
