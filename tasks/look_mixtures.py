"""What is seen in mixtures whose picture is composed, by the same networks as in clips."""

from dataclasses import dataclass
from typing import Any

from models.timeline import MOTION_FPS, VISUAL_FPS
from storage.stage import Output, Rows, ShardRef, ShardResult, ShardTarget, Stage, run_items
from tasks import look, watch
from tasks.clip_encoders import NONE, OF_COLOUR, SYNC_ENCODERS
from tasks.look import (
    COMPOSED,
    IMAGE_SETTINGS,
    LOOKS,
    SYNC_SETTINGS,
    LookConfig,
    feature_rows,
    seen,
)
from tasks.mix_picture import PICTURES, composed_frames, has_motion
from tasks.watch import watched


@dataclass(frozen=True, slots=True)
class LookMixturesConfig(LookConfig):
    """Which networks look: those of `look`, from which a recipe sets this."""


def look_mixtures_shard(
    shard: ShardRef, out: ShardTarget, config: LookMixturesConfig
) -> ShardResult:
    """Rows of `features` for the composed pictures of a shard of mixtures."""

    def one_item(item: dict[str, Any]) -> Rows:
        frames10 = composed_frames(out.workspace, item, VISUAL_FPS)
        frames25 = None
        if has_motion(item):
            frames25 = composed_frames(out.workspace, item, MOTION_FPS)
        arrays = seen(item["item_id"], frames10, frames25, config)
        if config.sync in OF_COLOUR:
            frames25 = composed_frames(out.workspace, item, MOTION_FPS, colour=True)
        if config.sync != NONE and frames25 is not None:
            arrays |= watched(item["item_id"], frames25, config)
        return feature_rows(item["item_id"], arrays, COMPOSED)

    return run_items(shard, out, one_item)


def weights(config: LookConfig) -> dict[str, str]:
    """What identifies the networks, of images and of sync."""
    return look.weights(config) | watch.weights(config)


STAGE = Stage(
    name="look_mixtures",
    title="look at composed pictures",
    version=1,
    config=LookMixturesConfig,
    items=f"""
        SELECT * FROM ({PICTURES}) WHERE $sync NOT IN {OF_COLOUR} OR len(_colour25_refs) = 2
    """,
    outputs=(
        Output(
            "features",
            key="clip_id",
            only=(("extractor", tuple(COMPOSED + name for name in (*LOOKS, *SYNC_ENCODERS))),),
        ),
    ),
    run=look_mixtures_shard,
    weights=weights,
    later=(*IMAGE_SETTINGS, *SYNC_SETTINGS),
)
