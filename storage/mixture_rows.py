"""What the catalog says of mixtures and of what they are made of: the queries of an export."""

from typing import Any

from storage.catalog import Catalog
from storage.snapshots import as_of
from storage.versions import resolve

Rows = list[dict[str, Any]]


def mixture_ids(catalog: Catalog, dataset: str | None) -> tuple[list[str], int]:
    """The mixtures of a dataset version, or all, in order; and the snapshot that holds them.

    A dataset is given as NAME, NAME@VERSION or the start of its id. Raises UnknownVersion where
    there is none, or its snapshot is no longer kept.
    """
    if dataset is None:
        rows = catalog.rows("SELECT mix_id FROM mixtures ORDER BY mix_id")
        return [row["mix_id"] for row in rows], catalog.snapshot()
    version = resolve(catalog, dataset)
    rows = catalog.rows(
        "SELECT item_id FROM dataset_items WHERE dataset_id = ? AND task = 'mixture' "
        "ORDER BY item_id",
        [version["dataset_id"]],
    )
    snapshot = as_of(catalog, str(version["catalog_snapshot"]))
    return [row["item_id"] for row in rows], snapshot


def mixtures(catalog: Catalog, ids: list[str], snapshot: int) -> Rows:
    """The rows of mixtures by their ids, in order, as they were in a snapshot."""
    return catalog.rows(
        f"SELECT * FROM lake.mixtures AT (VERSION => {snapshot}) "
        "WHERE mix_id IN (SELECT unnest(?::VARCHAR[])) ORDER BY mix_id",
        [ids],
    )


def parent_clips(catalog: Catalog, clip_ids: list[str], snapshot: int) -> Rows:
    """What was known of clips: source, rights, sound at both rates, loudest class, words."""
    at = f"AT (VERSION => {snapshot})"
    return catalog.rows(
        f"""WITH wanted AS (SELECT unnest(?::VARCHAR[]) AS clip_id),
            said AS (
                SELECT clip_id, list({{'word': word, 'start_s': start_s, 'end_s': end_s,
                                       'score': score}} ORDER BY position) AS words
                FROM lake.words {at} SEMI JOIN wanted USING (clip_id) GROUP BY clip_id
            )
            SELECT w.clip_id, s.uri, s.licence, s.attribution, d.audio16_ref, d.audio48_ref,
                   l.top_tag AS label, coalesce(said.words, []) AS words
            FROM wanted
            JOIN lake.windows w {at} ON w.clip_id = wanted.clip_id
            JOIN lake.sources s {at} ON s.source_id = w.source_id
            LEFT JOIN lake.decodes d {at} ON d.source_id = w.source_id
            LEFT JOIN lake.listens l {at} ON l.clip_id = w.clip_id
            LEFT JOIN said ON said.clip_id = w.clip_id
            ORDER BY w.clip_id""",
        [clip_ids],
    )


def sounds_named(catalog: Catalog, uri: str, name: str) -> Rows:
    """The decoded sources under a uri; where there is none, those whose file has a name."""
    return catalog.rows(
        """WITH found AS (
               SELECT source_id, min(uri) AS uri, bool_or(uri = $uri) AS exact
               FROM files WHERE uri = $uri OR ends_with(uri, '/' || $name) GROUP BY source_id)
           SELECT source_id, found.uri, audio16_ref, audio48_ref, audio_s, split
           FROM found JOIN decodes USING (source_id) LEFT JOIN splits USING (source_id)
           WHERE exact OR NOT (SELECT coalesce(bool_or(exact), false) FROM found)
           ORDER BY found.uri""",
        {"uri": uri, "name": name},
    )


def spoken_in(catalog: Catalog, source_id: str, start_s: float, end_s: float) -> Rows:
    """Spans of speech that were found in a stretch of a source, in seconds of the source."""
    return catalog.rows(
        """SELECT DISTINCT greatest(start_s + span.start_s, $from_s) AS start_s,
                  least(start_s + span.end_s, $to_s) AS end_s
           FROM (SELECT w.start_s, unnest(l.speech_spans) AS span
                 FROM windows w JOIN listens l USING (clip_id) WHERE w.source_id = $source_id)
           WHERE start_s + span.start_s < $to_s AND start_s + span.end_s > $from_s
           ORDER BY ALL""",
        {"source_id": source_id, "from_s": start_s, "to_s": end_s},
    )
