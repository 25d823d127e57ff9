"""What the catalog's tables said of items when a dataset version was made."""

from dataclasses import dataclass, field
from typing import Any

from storage.catalog import Catalog


@dataclass(slots=True)
class Past:
    """What the tables said of some items when a version was made.

    Attributes:
        known: the version's snapshot is still kept; otherwise everything else is empty.
        codec: codec of the version.
        phoneme_table: id table of the version's phonemes; None where it was not recorded.
        clips: clip or mixture id → its labels, texts and hashes of features; None where missing.
        mixtures: mix id → its parents; None for one that it has not.
        sources: source id → uri.
        bytes_at: uri → source id.
    """

    known: bool
    codec: str
    phoneme_table: str | None
    clips: dict[str, dict[str, Any]] = field(default_factory=dict)
    mixtures: dict[str, dict[str, Any]] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    bytes_at: dict[str, str] = field(default_factory=dict)


def past_of(catalog: Catalog, dataset: dict[str, Any], ids: list[str]) -> Past:
    """What the tables said of the items in the snapshot that a `datasets` row pins."""
    snapshot = int(dataset["catalog_snapshot"])
    known = catalog.value("SELECT count(*) FROM lake.snapshots() WHERE snapshot_id = ?", [snapshot])
    past = Past(bool(known), dataset["codec_id"], dataset["phoneme_table"])
    if known:
        at = f"AT (VERSION => {snapshot})"
        mixtures = catalog.rows(
            f"SELECT mix_id, speech_clip_id, ambience_clip_id FROM lake.mixtures {at} "
            "WHERE mix_id IN (SELECT unnest(?::VARCHAR[]))",
            [ids],
        )
        past.mixtures = {row["mix_id"]: row for row in mixtures}
        past.clips = _clips(catalog, at, ids)
    return past


def _clips(catalog: Catalog, at: str, ids: list[str]) -> dict[str, dict[str, Any]]:
    rows = catalog.rows(
        f"""WITH items AS (SELECT unnest(?::VARCHAR[]) AS clip_id),
            said AS (
                SELECT clip_id, md5(string_agg(concat_ws(' ', phoneme, start_s, end_s), ','
                                               ORDER BY position)) AS phonemes
                FROM lake.phonemes {at} SEMI JOIN items USING (clip_id) GROUP BY clip_id
            ),
            made AS (
                SELECT clip_id, list(extractor ORDER BY extractor) AS extractors,
                       list(content_hash ORDER BY extractor) AS hashes
                FROM lake.features {at} SEMI JOIN items USING (clip_id) GROUP BY clip_id
            )
            SELECT i.clip_id, w.source_id, k.kind, k.task, k.kept, k.drop_reason, p.split,
                   t.text, said.phonemes, made.extractors, made.hashes
            FROM items i
            LEFT JOIN lake.windows w {at} ON w.clip_id = i.clip_id
            LEFT JOIN lake.kinds k {at} ON k.clip_id = i.clip_id
            LEFT JOIN lake.splits p {at} ON p.source_id = w.source_id
            LEFT JOIN lake.transcripts t {at} ON t.clip_id = i.clip_id
            LEFT JOIN said ON said.clip_id = i.clip_id
            LEFT JOIN made ON made.clip_id = i.clip_id""",
        [ids],
    )
    for row in rows:
        row["features"] = dict(zip(row["extractors"] or [], row["hashes"] or [], strict=True))
    return {row["clip_id"]: row for row in rows}


def add_parents(
    catalog: Catalog, old: dict[str, Any], new: dict[str, Any], before: Past, after: Past
) -> None:
    """Adds the parents of mixtures, and the sources of all clips, to both sides."""
    mixtures = [*before.mixtures.values(), *after.mixtures.values()]
    parents = {m[c] for m in mixtures for c in ("speech_clip_id", "ambience_clip_id")} - {None}
    sides = [(s, d) for s, d in ((before, old), (after, new)) if s.known]
    for side, dataset in sides:
        at = f"AT (VERSION => {dataset['catalog_snapshot']})"
        side.clips |= _clips(catalog, at, sorted(parents - set(side.clips)))
    clips = [*before.clips.values(), *after.clips.values()]
    source_ids = sorted({clip["source_id"] for clip in clips if clip["source_id"]})
    for side, dataset in sides:
        at = f"AT (VERSION => {dataset['catalog_snapshot']})"
        side.sources = _pairs(
            catalog,
            f"SELECT source_id, uri FROM lake.sources {at} "
            "WHERE source_id IN (SELECT unnest(?::VARCHAR[]))",
            source_ids,
        )
    uris = sorted({*before.sources.values(), *after.sources.values()})
    for side, dataset in sides:
        at = f"AT (VERSION => {dataset['catalog_snapshot']})"
        side.bytes_at = _pairs(
            catalog,
            f"SELECT uri, source_id FROM lake.files {at} "
            "WHERE uri IN (SELECT unnest(?::VARCHAR[]))",
            uris,
        )


def _pairs(catalog: Catalog, sql: str, ids: list[str]) -> dict[str, str]:
    return dict(catalog.connection.execute(sql, [ids]).fetchall())
