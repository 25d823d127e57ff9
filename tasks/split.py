"""Put every source into a split by a hash, so that it never moves when sources are added."""

import hashlib
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from storage.stage import Output, Rows, ShardRef, ShardResult, ShardTarget, Stage, run_items


@dataclass(frozen=True, slots=True)
class SplitConfig:
    """Shares of the splits.

    Attributes:
        test: share of components in the test split.
        validation: share of components in the validation split.
        salt: a change of salt draws all splits anew.
    """

    test: Annotated[float, Field(ge=0, lt=1)] = 0.1
    validation: Annotated[float, Field(ge=0, lt=1)] = 0.05
    salt: str = "talkies"

    def __post_init__(self) -> None:
        """Raises ValueError where nothing would be left to train on."""
        if self.test + self.validation >= 1:
            raise ValueError("split.test + split.validation leave no training split; lower them")


def split_of(component_id: str, config: SplitConfig) -> str:
    """The split of a component: its salted hash as a number in [0, 1) against the shares."""
    digest = hashlib.sha256(f"{config.salt}:{component_id}".encode()).digest()
    share = int.from_bytes(digest[:8], "big") / 2**64
    if share < config.test:
        return "test"
    return "validation" if share < config.test + config.validation else "train"


def split_shard(shard: ShardRef, out: ShardTarget, config: SplitConfig) -> ShardResult:
    """Writes the split of each source."""

    def split_source(item: dict[str, Any]) -> Rows:
        component = item["item_id"]
        row = {
            "source_id": item["item_id"],
            "component_id": component,
            "split": split_of(component, config),
        }
        return {"splits": [row]}

    return run_items(shard, out, split_source)


STAGE = Stage(
    name="split",
    title="split sources",
    version=1,
    config=SplitConfig,
    items="SELECT source_id AS item_id, 1.0 AS cost_s FROM sources",
    outputs=(Output("splits", key="source_id"),),
    run=split_shard,
    shard_s=1_000_000.0,
)
