"""What is seen in a clip: image features at 10 fps, motion energy and sync features at 25 fps.

Legend: F frames, H height, W width, D channels.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from models.timeline import MOTION_FPS, VISUAL_FPS
from storage.rejects import Rejected
from storage.stage import Output, Rows, ShardRef, ShardResult, ShardTarget, Stage, run_items
from tasks.clip_encoders import (
    PIXEL_GRIDS,
    SYNC_ENCODERS,
    SYNCHFORMER,
    Device,
    SyncName,
    load_sync_encoder,
    require_use,
    synchformer_file,
)
from tasks.encoders import EFFICIENTNET, ENCODERS, EncoderName, encoder_fingerprint, load_encoder
from tasks.media import read_frames

IMAGE_EXTRACTOR = EFFICIENTNET
MOTION_EXTRACTOR = "motion"
# Before an extractor's name: what it made of the composed picture of a mixture.
COMPOSED = "composed_"
LOOKS = (*ENCODERS, MOTION_EXTRACTOR, *SYNC_ENCODERS)
"""Every extractor of this stage."""
LATER = ("extractor", "pretrained", "precision", "sync", "sync_weights", "sync_device")
VERSION = 1

Embed = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""Image features (F, D) of RGB frames (F, H, W, 3)."""


@dataclass(frozen=True, slots=True)
class LookConfig:
    """Which networks look.

    Attributes:
        extractor: efficientnet_lite0 comes with the requirements; clip_vit_b16 and siglip_b16 are
            had from the hub, or from a folder.
        pretrained: hub name or folder of other weights of clip_vit_b16 or siglip_b16; empty takes
            the published ones.
        precision: of the extractor's products; bfloat16 takes less than half the time on processors
            with instructions for it, and moves features by a few in a hundred.
        sync: what tells when things happen, at 25 fps: synchformer from colour frames, which the
            decode pass then keeps; pixels are the coarse picture itself in 16 x 16 cells, without
            any weights, and fine_pixels in 28 x 28; none leaves that to motion energy.
        sync_weights: the file of Synchformer's weights.
        sync_device: where Synchformer runs; a core takes 100 s for a clip of 10 s.
    """

    extractor: EncoderName = "efficientnet_lite0"
    pretrained: str = ""
    precision: Literal["float32", "bfloat16"] = "float32"
    sync: SyncName = "none"
    sync_weights: str = ""
    sync_device: Device = "cpu"

    def __post_init__(self) -> None:
        """Raises ValueError for weights of a network that has its own, or is not asked for."""
        if self.extractor == EFFICIENTNET and self.pretrained:
            raise ValueError(
                f"look.pretrained={self.pretrained!r}: {EFFICIENTNET} has its own weights; name "
                "look.extractor too, or leave it out"
            )
        require_use("look.sync", self.sync, self.sync_weights, SYNCHFORMER)


def look_shard(shard: ShardRef, out: ShardTarget, config: LookConfig) -> ShardResult:
    """Rows of `features`, of all that looks, for the clips of a shard."""

    def one_item(item: dict[str, Any]) -> Rows:
        start_s, end_s = item["start_s"], item["end_s"]
        frames10 = read_frames(out.workspace, item["frames10_ref"], start_s, end_s, VISUAL_FPS)
        frames25 = colour25 = None
        if item["frames25_ref"] is not None:
            frames25 = read_frames(out.workspace, item["frames25_ref"], start_s, end_s, MOTION_FPS)
        if config.sync == SYNCHFORMER:
            ref = item["_colour25_ref"]
            colour25 = read_frames(out.workspace, ref, start_s, end_s, MOTION_FPS)
        return feature_rows(item["item_id"], frames10, frames25, config, colour25=colour25)

    return run_items(shard, out, one_item)


def feature_rows(
    item_id: str,
    frames10: NDArray[np.uint8],
    frames25: NDArray[np.uint8] | None,
    config: LookConfig,
    prefix: str = "",
    colour25: NDArray[np.uint8] | None = None,
) -> Rows:
    """Rows of `features` with the arrays of `look`; `prefix` goes before the extractors' names.

    `colour25` (F25, H, W, 3) is what Synchformer looks at.

    Raises Rejected("too_short") where one of the grids has no frame.
    """
    import torch

    from models.pixels import coarse_pixels

    grids = {"frames10": frames10, "frames25": frames25}
    frames = {name: len(grid) for name, grid in grids.items() if grid is not None}
    if not all(frames.values()):
        raise Rejected("too_short", f"{item_id}: its picture has no frame: {frames}", frames)
    dtype = getattr(torch, config.precision)
    embed = load_encoder(config.extractor, config.pretrained, dtype=dtype)
    arrays = look(frames10, frames25, embed, config.extractor)
    if (grid := PIXEL_GRIDS.get(config.sync)) and frames25 is not None:
        arrays[config.sync] = coarse_pixels(frames25, grid)
    elif colour25 is not None:
        arrays[config.sync] = load_sync_encoder(config.sync_weights, config.sync_device)(colour25)
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
    frames10: NDArray[np.uint8],
    frames25: NDArray[np.uint8] | None,
    embed: Embed,
    extractor: str = IMAGE_EXTRACTOR,
) -> dict[str, NDArray[np.float32]]:
    """Feature arrays of a clip by extractor.

    Args:
        frames10: (F10, H, W, 3) RGB at 10 fps.
        frames25: (F25, H, W) gray at 25 fps; None where the decode pass kept none.
        embed: the image network.
        extractor: what its features are called.

    Returns those features (F10, D) and, of frames at 25 fps, motion (F25, Dm).
    """
    from models.motion import motion_energy

    arrays = {extractor: embed(frames10)}
    if frames25 is not None:
        arrays[MOTION_EXTRACTOR] = np.asarray(motion_energy(frames25), dtype=np.float32)
    return arrays


def weights(config: LookConfig) -> dict[str, str]:
    """What identifies the networks."""
    used = encoder_fingerprint(config.extractor, config.pretrained)
    if config.sync == SYNCHFORMER:
        used[config.sync] = synchformer_file(config.sync_weights).fingerprint()
    return used


STAGE = Stage(
    name="look",
    version=1,
    config=LookConfig,
    items="""
        SELECT w.clip_id AS item_id, w.duration_s AS cost_s,
               w.start_s, w.end_s, d.frames10_ref, d.frames25_ref,
               d.colour25_ref AS _colour25_ref
        FROM windows w JOIN decodes d ON d.source_id = w.source_id
        WHERE w.has_picture AND d.frames10_ref IS NOT NULL
          AND ($sync <> 'synchformer' OR d.colour25_ref IS NOT NULL)
    """,
    outputs=(
        Output(
            "features",
            key="clip_id",
            only=(("extractor", LOOKS),),
        ),
    ),
    run=look_shard,
    weights=weights,
    later=LATER,
    title="look at the picture",
)
