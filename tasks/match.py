"""Match fingerprints: which sources show or sound the same somewhere.

A source is looked up when it is new, when its fingerprint changed or when a source that it matched
is gone; the pairs of all others stay as they are. A pair stands in `relations` once for each of its
two sources, so that each side's rows are its own item's, and a kill between the two loses nothing.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

import pyarrow as pa
from pydantic import Field

from storage.stage import Output, Rows, ShardRef, ShardResult, ShardTarget, Stage, run_items
from tasks.match_pairs import find_pairs, picture_sense, sound_sense

if TYPE_CHECKING:
    from storage.catalog import Catalog

KINDS = ("same_picture", "same_sound")
MATCHES = pa.schema(
    [
        ("source_id", pa.string()),
        ("other_id", pa.string()),
        ("kind", pa.string()),
        ("score", pa.float64()),
        ("shift_s", pa.float64()),
        ("matched_s", pa.float64()),
    ]
)


@dataclass(frozen=True, slots=True)
class MatchConfig:
    """When two sources count as near-duplicates.

    Attributes:
        picture_distance: largest mean share of differing bits. Re-encoding at half the size and a
            tenth of the rate gives 0.01 to 0.06, unrelated films 0.27 and more.
        picture_stretch_s: over which the pictures must agree, in seconds that are not flat.
        sound_distance: the same for sound. AAC, MP3 and Opus at 24 to 48 kbit/s give 0.1 in the
            mean, unrelated sounds 0.39 and more.
        sound_stretch_s: over which the sounds must agree, in seconds that are not silent.
        max_sources: what more sources than this have in common, a jingle or a logo, tells nothing.
    """

    picture_distance: Annotated[float, Field(ge=0, lt=0.5)] = 0.13
    picture_stretch_s: Annotated[float, Field(ge=0.8)] = 2.0
    sound_distance: Annotated[float, Field(ge=0, lt=0.5)] = 0.3
    sound_stretch_s: Annotated[float, Field(ge=1)] = 3.0
    max_sources: Annotated[int, Field(ge=2)] = 1000


def matches(catalog: "Catalog", config: MatchConfig) -> dict[str, pa.Table]:
    """All pairs of the catalog as the table `matches`, both ways round.

    The pairs of sources that are not pending stay; those of pending ones are looked for.
    """
    connection = catalog.connection
    recorded = connection.execute(
        f"SELECT {', '.join(MATCHES.names)} FROM lake.relations r WHERE kind IN {KINDS} "
        "AND source_id IN (SELECT source_id FROM lake.fingerprints) "
        "AND other_id IN (SELECT source_id FROM lake.fingerprints)"
    ).to_arrow_table()
    connection.register("matches", _both_ways(recorded))
    plan = catalog.plan(replace(STAGE, given=None), config)
    if not plan.items:
        return {"matches": _both_ways(recorded)}
    connection.execute(
        """CREATE OR REPLACE TEMP TABLE numbered AS
           SELECT (row_number() OVER (ORDER BY item_id) - 1)::INTEGER AS n,
                  item_id AS source_id, _pending AS is_fresh FROM keyed"""
    )
    found = [
        pair
        for sense in (
            picture_sense(config.picture_stretch_s, config.picture_distance),
            sound_sense(config.sound_stretch_s, config.sound_distance),
        )
        for pair in find_pairs(connection, sense, config.max_sources)
    ]
    names = dict(connection.execute("SELECT n, source_id FROM numbered").fetchall())
    fresh = {n for (n,) in connection.execute("SELECT n FROM numbered WHERE is_fresh").fetchall()}
    fresh_ids = {names[n] for n in fresh}
    stay = [
        row for row in recorded.to_pylist() if not {row["source_id"], row["other_id"]} & fresh_ids
    ]
    new = [
        {"source_id": names[pair["a"]], "other_id": names[pair["b"]]}
        | {name: pair[name] for name in MATCHES.names[2:]}
        for pair in found
    ]
    return {"matches": _both_ways(pa.Table.from_pylist([*stay, *new], schema=MATCHES))}


def _both_ways(pairs: pa.Table) -> pa.Table:
    """Each pair once in either direction; where the other begins changes its sign."""
    rows = {}
    for row in pairs.to_pylist():
        back = None if row["shift_s"] is None else -row["shift_s"] + 0.0
        turned = row | {
            "source_id": row["other_id"],
            "other_id": row["source_id"],
            "shift_s": back,
        }
        for one in (row, turned):
            rows[one["source_id"], one["other_id"], one["kind"]] = one
    return pa.Table.from_pylist([rows[key] for key in sorted(rows)], schema=MATCHES)


def match_shard(shard: ShardRef, out: ShardTarget, config: MatchConfig) -> ShardResult:
    """Writes the pairs of each source."""

    def match(item: dict[str, Any]) -> Rows:
        return {"relations": [{"source_id": item["item_id"], **pair} for pair in item["pairs"]]}

    return run_items(shard, out, match)


STAGE = Stage(
    name="match",
    title="find near-duplicates",
    version=1,
    config=MatchConfig,
    items="""
        SELECT f.source_id AS item_id, f.content_hash, coalesce(m.pairs, []) AS pairs,
               1.0 AS cost_s
        FROM fingerprints f LEFT JOIN (
            SELECT source_id, list(struct_pack(other_id, kind, score, shift_s, matched_s)
                                   ORDER BY other_id, kind) AS pairs
            FROM matches GROUP BY source_id
        ) AS m USING (source_id)
    """,
    outputs=(Output("relations", key="source_id", only=(("kind", KINDS),)),),
    run=match_shard,
    shard_s=100_000.0,
    given=matches,
)
