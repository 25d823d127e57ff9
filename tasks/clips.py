"""Cut a decoded source into clips: scenes first, then equal windows of at most ten seconds."""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Any

from pydantic import Field

from models.timeline import VISUAL_FPS
from storage.ids import clip_id
from storage.rejects import Rejected
from storage.stage import Output, Rows, ShardRef, ShardResult, ShardTarget, Stage, run_items

US_PER_S = 1e6


@dataclass(frozen=True, slots=True)
class ClipsConfig:
    """How long a clip may be.

    Attributes:
        max_length_s: longest clip; the model's window is 10 s.
        min_length_s: shorter scenes are left out.
    """

    max_length_s: Annotated[float, Field(gt=0, le=10)] = 10.0
    min_length_s: Annotated[float, Field(gt=0, le=10)] = 0.5


def cut_windows(
    duration_s: float, cuts_s: list[float], config: ClipsConfig
) -> list[tuple[int, float, float]]:
    """The windows of a source as (scene, start_s, end_s), in order, none overlapping.

    A scene longer than `max_length_s` is cut into the fewest equal windows that fit. Times are
    whole microseconds, because ids hold microseconds.
    """
    edges = [0.0, *sorted(c for c in cuts_s if 0 < c < duration_s), duration_s]
    windows = []
    for scene, (start, end) in enumerate(pairwise(edges)):
        if end - start < config.min_length_s:
            continue
        parts = math.ceil((end - start) / config.max_length_s - 1e-9)
        marks = [round((start + (end - start) * i / parts) * US_PER_S) for i in range(parts + 1)]
        windows += [(scene, a / US_PER_S, b / US_PER_S) for a, b in pairwise(marks)]
    return windows


def clips_shard(shard: ShardRef, out: ShardTarget, config: ClipsConfig) -> ShardResult:
    """Cuts the sources of a shard into rows of `windows`."""
    return run_items(shard, out, lambda item: clip_source(item, config))


def clip_source(item: dict[str, Any], config: ClipsConfig) -> Rows:
    """The `windows` rows of one source; raises Rejected("too_short") where none is long enough.

    A window has sound (picture) only where the source's sound (picture) covers all of it but
    less than the shortest clip.
    """
    windows = cut_windows(item["duration_s"], item["cuts_s"], config)
    if not windows:
        raise Rejected(
            "too_short",
            f"source {item['item_id'][:12]}: no scene of {item['duration_s']:.2f} s reaches "
            f"clips.min_length_s={config.min_length_s}; lower it or drop the source",
        )
    audio_s, picture_s = item["audio_s"] or 0.0, (item["frames10_count"] or 0) / VISUAL_FPS
    return {
        "windows": [
            {
                "clip_id": clip_id(item["item_id"], start, end),
                "source_id": item["item_id"],
                "start_s": start,
                "end_s": end,
                "duration_s": round(end - start, 6),
                "scene": scene,
                "has_audio": audio_s > end - config.min_length_s,
                "has_picture": picture_s > end - config.min_length_s,
            }
            for scene, start, end in windows
        ]
    }


STAGE = Stage(
    name="clips",
    title="cut clips",
    version=1,
    config=ClipsConfig,
    items="""
        SELECT source_id AS item_id, duration_s, cuts_s, audio_s, frames10_count,
               duration_s AS cost_s
        FROM decodes
    """,
    outputs=(Output("windows", key="source_id"),),
    run=clips_shard,
    shard_s=36_000.0,
)
