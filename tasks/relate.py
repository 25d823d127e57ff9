"""Relate sources that the manifest says belong together: the same speaker, the same recording.

Names are compared in the whole workspace, whatever folder they come from: where two archives number
their speakers, give each a prefix in its manifest. All files with a source's bytes count.
"""

from dataclasses import dataclass
from typing import Any

from storage.stage import Output, Rows, ShardRef, ShardResult, ShardTarget, Stage, run_items

KINDS = ("speaker", "recording")


@dataclass(frozen=True, slots=True)
class RelateConfig:
    """Relating by name has no settings: names are compared without case and extra spaces."""


def relate_shard(shard: ShardRef, out: ShardTarget, config: RelateConfig) -> ShardResult:
    """Writes an edge from each source to the first of each of its groups."""

    def relate(item: dict[str, Any]) -> Rows:
        return {"relations": [{"source_id": item["item_id"], **edge} for edge in item["edges"]]}

    return run_items(shard, out, relate)


STAGE = Stage(
    name="relate",
    title="relate sources by name",
    version=1,
    config=RelateConfig,
    # A star for each name, not all pairs: a reader with a thousand files gives 999 edges.
    items="""
        WITH grouped AS (
            SELECT source_id, kind, name, min(source_id) OVER (PARTITION BY kind, name) AS other_id
            FROM named_sources SEMI JOIN sources USING (source_id)
        ),
        edges AS (
            SELECT source_id, other_id, kind, min(name) AS name FROM grouped
            WHERE source_id <> other_id GROUP BY ALL
        )
        SELECT source_id AS item_id, coalesce(own.edges, []) AS edges, 1.0 AS cost_s
        FROM sources LEFT JOIN (
            SELECT source_id, list(struct_pack(other_id, kind, name)
                                   ORDER BY other_id, kind) AS edges
            FROM edges GROUP BY source_id
        ) AS own USING (source_id)
    """,
    outputs=(Output("relations", key="source_id", only=(("kind", KINDS),)),),
    run=relate_shard,
    shard_s=1_000_000.0,
)
