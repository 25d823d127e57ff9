"""What is seen in mixtures whose picture is composed, by the same networks as in clips."""

from dataclasses import dataclass
from typing import Any

from models.timeline import MOTION_FPS, VISUAL_FPS
from storage.stage import Output, Rows, ShardRef, ShardResult, ShardTarget, Stage, run_items
from tasks.encoders import ENCODERS
from tasks.look import COMPOSED, MOTION_EXTRACTOR, LookConfig, feature_rows, weights
from tasks.mix_picture import PICTURES, composed_frames


@dataclass(frozen=True, slots=True)
class LookMixturesConfig(LookConfig):
    """Which network looks: that of `look`, from which a recipe sets this."""


def look_mixtures_shard(
    shard: ShardRef, out: ShardTarget, config: LookMixturesConfig
) -> ShardResult:
    """Rows of `features` for the composed pictures of a shard of mixtures."""

    def one_item(item: dict[str, Any]) -> Rows:
        frames10, frames25 = (
            composed_frames(out.workspace, item, fps) for fps in (VISUAL_FPS, MOTION_FPS)
        )
        return feature_rows(item["item_id"], frames10, frames25, config, COMPOSED)

    return run_items(shard, out, one_item)


STAGE = Stage(
    name="look_mixtures",
    title="look at composed pictures",
    version=1,
    config=LookMixturesConfig,
    items=PICTURES,
    outputs=(
        Output(
            "features",
            key="clip_id",
            only=(("extractor", tuple(COMPOSED + name for name in (*ENCODERS, MOTION_EXTRACTOR))),),
        ),
    ),
    run=look_mixtures_shard,
    weights=weights,
    later=("extractor", "pretrained"),
)
