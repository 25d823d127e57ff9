"""Stages that fail on purpose; a worker process finds them by their names."""

import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from storage.stage import Output, Rows, ShardRef, ShardResult, ShardTarget, Stage, run_items


@dataclass(frozen=True, slots=True)
class FalterConfig:
    """Which item goes wrong, and how often its worker dies before it works."""

    victim: str = ""
    deaths: int = 0
    error: bool = False


def falter_shard(shard: ShardRef, out: ShardTarget, config: FalterConfig) -> ShardResult:
    """Writes one row an item; dies or raises at the victim."""

    def one_item(item: dict[str, Any]) -> Rows:
        if item["item_id"] == config.victim:
            _falter(Path(out.workspace) / "deaths", config)
        row = {"source_id": item["item_id"], "component_id": "made", "split": "train"}
        return {"splits": [row]}

    return run_items(shard, out, one_item)


def _falter(deaths: Path, config: FalterConfig) -> None:
    if config.error:
        raise KeyError("no such column")
    died = len(deaths.read_text()) if deaths.exists() else 0
    if died < config.deaths:
        deaths.write_text("x" * (died + 1))
        os.kill(os.getpid(), signal.SIGKILL)


STAGE = Stage(
    name="falter",
    title="falter",
    version=1,
    config=FalterConfig,
    items="SELECT id AS item_id, 1.0 AS cost_s FROM (VALUES ('a'), ('b'), ('c'), ('d')) AS v(id)",
    outputs=(Output("splits", key="source_id"),),
    run=falter_shard,
    shard_s=1.0,
)
