"""What is seen in mixtures whose picture is composed, by the same networks as in clips."""

from dataclasses import dataclass
from typing import Any

from models.timeline import MOTION_FPS, VISUAL_FPS
from storage.stage import Output, Rows, ShardRef, ShardResult, ShardTarget, Stage, run_items
from tasks.clip_encoders import SYNCHFORMER
from tasks.look import COMPOSED, LATER, LOOKS, LookConfig, feature_rows, weights
from tasks.mix_picture import PICTURES, composed_frames, has_motion


@dataclass(frozen=True, slots=True)
class LookMixturesConfig(LookConfig):
    """Which networks look: those of `look`, from which a recipe sets this."""


def look_mixtures_shard(
    shard: ShardRef, out: ShardTarget, config: LookMixturesConfig
) -> ShardResult:
    """Rows of `features` for the composed pictures of a shard of mixtures."""

    def one_item(item: dict[str, Any]) -> Rows:
        frames10 = composed_frames(out.workspace, item, VISUAL_FPS)
        frames25 = colour25 = None
        if has_motion(item):
            frames25 = composed_frames(out.workspace, item, MOTION_FPS)
        if config.sync == SYNCHFORMER:
            colour25 = composed_frames(out.workspace, item, MOTION_FPS, colour=True)
        return feature_rows(item["item_id"], frames10, frames25, config, COMPOSED, colour25)

    return run_items(shard, out, one_item)


STAGE = Stage(
    name="look_mixtures",
    title="look at composed pictures",
    version=1,
    config=LookMixturesConfig,
    items=f"""
        SELECT * FROM ({PICTURES}) WHERE $sync <> 'synchformer' OR len(_colour25_refs) = 2
    """,
    outputs=(
        Output(
            "features",
            key="clip_id",
            only=(("extractor", tuple(COMPOSED + name for name in LOOKS)),),
        ),
    ),
    run=look_mixtures_shard,
    weights=weights,
    later=LATER,
)
