"""What is seen in a clip: image features at 10 fps, and motion energy at 25 fps.

What tells when things happen, the sync features, is a stage of its own (`watch`): another choice of
it does not run the image network again.

Legend: F frames, H height, W width, D channels.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from models.timeline import MOTION_FPS, VISUAL_FPS
from storage.rejects import Rejected
from storage.stage import Output, Rows, ShardRef, ShardResult, ShardTarget, Stage, run_items
from tasks.clip_encoders import SYNCHFORMER, Device, SyncName, require_use
from tasks.encoders import EFFICIENTNET, ENCODERS, EncoderName, encoder_fingerprint, load_encoder
from tasks.media import read_frames

IMAGE_EXTRACTOR = EFFICIENTNET
MOTION_EXTRACTOR = "motion"
# Before an extractor's name: what it made of the composed picture of a mixture.
COMPOSED = "composed_"
LOOKS = (*ENCODERS, MOTION_EXTRACTOR)
"""Every extractor of this stage."""
IMAGE_SETTINGS = ("extractor", "pretrained", "precision")
SYNC_SETTINGS = ("sync", "sync_weights", "sync_device")
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
            any weights, and fine_pixels in 28 x 28; colour_pixels adds to these the
            colour of each cell, from colour frames too; none leaves that to motion energy.
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
        frames25 = None
        if item["frames25_ref"] is not None:
            frames25 = read_frames(out.workspace, item["frames25_ref"], start_s, end_s, MOTION_FPS)
        return feature_rows(item["item_id"], seen(item["item_id"], frames10, frames25, config))

    return run_items(shard, out, one_item)


def feature_rows(item_id: str, arrays: Mapping[str, NDArray[np.float32]], prefix: str = "") -> Rows:
    """Rows of `features` with arrays by extractor; `prefix` goes before the extractors' names."""
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


def require_frames(item_id: str, **grids: NDArray[np.uint8] | None) -> None:
    """Raises Rejected("too_short") where one of the grids that are there has no frame."""
    frames = {name: len(grid) for name, grid in grids.items() if grid is not None}
    if not all(frames.values()):
        raise Rejected("too_short", f"{item_id}: its picture has no frame: {frames}", frames)


def seen(
    item_id: str,
    frames10: NDArray[np.uint8],
    frames25: NDArray[np.uint8] | None,
    config: LookConfig,
) -> dict[str, NDArray[np.float32]]:
    """The arrays of `look` by the configured image network; raises as `require_frames`."""
    import torch

    require_frames(item_id, frames10=frames10, frames25=frames25)
    dtype = getattr(torch, config.precision)
    embed = load_encoder(config.extractor, config.pretrained, dtype=dtype)
    return look(frames10, frames25, embed, config.extractor)


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
    """What identifies the image network."""
    return encoder_fingerprint(config.extractor, config.pretrained)


STAGE = Stage(
    name="look",
    version=1,
    config=LookConfig,
    items="""
        SELECT w.clip_id AS item_id, w.duration_s AS cost_s,
               w.start_s, w.end_s, d.frames10_ref, d.frames25_ref
        FROM windows w JOIN decodes d ON d.source_id = w.source_id
        WHERE w.has_picture AND d.frames10_ref IS NOT NULL
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
    selects=SYNC_SETTINGS,
    later=IMAGE_SETTINGS,
    title="look at the picture",
)
