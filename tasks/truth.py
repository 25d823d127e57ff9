"""Read what a manifest says is true of a source into tables beside what the stages find out.

The manifest's column `truth` holds JSON: `talkies stage-world` writes it, and whoever else knows
exactly what is in a file may. Unknown names in it are left alone.
"""

import json
from dataclasses import dataclass
from typing import Any

from storage.rejects import Rejected
from storage.schema import TABLES
from storage.stage import Output, Rows, ShardRef, ShardResult, ShardTarget, Stage, run_items

SPELLINGS = {"seed": "world_seed", "number": "world_number"}
PLACES = ("source_id", "position", "run_id")


@dataclass(frozen=True, slots=True)
class TruthConfig:
    """Reading truth has no settings."""


def truth_shard(shard: ShardRef, out: ShardTarget, config: TruthConfig) -> ShardResult:
    """Rows of `truths`, `true_events`, `true_words` and `true_phonemes` for a shard's sources."""
    return run_items(shard, out, lambda item: truth_rows(item["item_id"], item["truth"]))


def truth_rows(source_id: str, text: str) -> Rows:
    """The rows that the truth of a source gives; raises Rejected("bad_truth") for other JSON."""
    try:
        truth = json.loads(text, parse_constant=_no_number)
        told = {SPELLINGS.get(str(name), str(name)): value for name, value in truth.items()}
        rows: Rows = {"truths": [{"source_id": source_id} | _known("truths", told)]}
        for table, name in (("true_words", "word"), ("true_phonemes", "phoneme")):
            marks = truth.get("phones" if name == "phoneme" else "words") or []
            rows[table] = [
                {"source_id": source_id, "position": position}
                | {name: str(said), "start_s": float(start_s), "end_s": float(end_s)}
                for position, (said, start_s, end_s) in enumerate(marks)
            ]
        rows["true_events"] = [
            {"source_id": source_id, "position": position} | _known("true_events", event)
            for position, event in enumerate(truth.get("events") or [])
        ]
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise Rejected(
            "bad_truth", f"source {source_id}: {error}; mend `truth` in the manifest"
        ) from None
    return rows


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no number that JSON has")


def _known(table: str, told: dict[str, Any]) -> dict[str, Any]:
    """What is told of a table's columns, each of its column's type; raises ValueError."""
    import pyarrow as pa

    known: dict[str, Any] = {}
    for column in TABLES[table].columns:
        if column.name in PLACES:
            continue
        value = told.get(column.name)
        if value is None and not column.nullable:
            raise ValueError(f"{table}.{column.name} is missing")
        try:
            known[column.name] = pa.scalar(value, column.type).as_py()
        except pa.ArrowException as error:
            raise ValueError(f"{table}.{column.name}: {error}") from None
    return known


STAGE = Stage(
    name="truth",
    title="read truth",
    version=1,
    config=TruthConfig,
    items="""
        SELECT source_id AS item_id, min_by(truth, uri) AS truth, 1.0::DOUBLE AS cost_s
        FROM files SEMI JOIN sources USING (source_id) WHERE truth IS NOT NULL GROUP BY source_id
    """,
    outputs=tuple(
        Output(name, key="source_id")
        for name in ("truths", "true_events", "true_words", "true_phonemes")
    ),
    run=truth_shard,
    shard_s=2_000.0,
)
