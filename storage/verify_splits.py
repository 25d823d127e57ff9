"""Verify in SQL that nothing leaks from one split into another, by what is known of relations."""

from collections.abc import Iterable, Iterator

from storage.catalog import Catalog
from storage.verify import RESPLIT, STRICTNESS, Finding, present_tables

REMIX = "build again; if it stays, the mix stage is at fault: do not train on this"
SEVERAL = "string_agg(DISTINCT split, ', ' ORDER BY split)"


def leaks(catalog: Catalog) -> Iterable[Iterator[Finding]]:
    """One check after the other over the tables as they are now."""
    yield _torn_components(catalog)
    yield _wrong_parents(catalog)
    yield _wrong_mixture_splits(catalog)
    if "relations" in present_tables(catalog):
        yield _crossing_relations(catalog)
        yield _crossing_names(catalog)


def _torn_components(catalog: Catalog) -> Iterator[Finding]:
    rows = catalog.rows(
        f"SELECT component_id AS id, {SEVERAL} AS splits FROM lake.splits "
        "GROUP BY component_id HAVING count(DISTINCT split) > 1 ORDER BY id"
    )
    for row in rows:
        wrong = f"the component is in several splits: {row['splits']}"
        yield Finding("splits", row["id"], wrong, RESPLIT)


def _crossing_relations(catalog: Catalog) -> Iterator[Finding]:
    """Edges whose ends are in two splits, or in two components."""
    rows = catalog.rows(
        """SELECT concat_ws('/', r.source_id, r.other_id, r.kind) AS id, a.split, b.split AS other,
                  a.split = b.split AS is_same
           FROM lake.relations r JOIN lake.splits a ON a.source_id = r.source_id
           JOIN lake.splits b ON b.source_id = r.other_id
           WHERE a.split <> b.split OR a.component_id <> b.component_id ORDER BY id"""
    )
    for row in rows:
        wrong = "its two sources are in different components"
        if not row["is_same"]:
            wrong = f"one of its two sources is in {row['split']}, the other in {row['other']}"
        yield Finding("relations", row["id"], wrong, RESPLIT)


def _crossing_names(catalog: Catalog) -> Iterator[Finding]:
    """Speakers and recordings that are heard in several splits, whatever edges there are."""
    rows = catalog.rows(
        f"SELECT kind || '/' || name AS id, {SEVERAL} AS splits "
        "FROM lake.named_sources JOIN lake.splits USING (source_id) "
        "GROUP BY id HAVING count(DISTINCT split) > 1 ORDER BY id"
    )
    for row in rows:
        wrong = f"sources of this name are in several splits: {row['splits']}"
        yield Finding("files", row["id"], wrong, RESPLIT)


def _wrong_parents(catalog: Catalog) -> Iterator[Finding]:
    """Mixtures whose columns do not name the parents of their recipes, by which splits are told."""
    rows = catalog.rows(
        """SELECT mix_id AS id, concat_ws(' and ', speech_clip_id, ambience_clip_id) AS named,
                  concat_ws(' and ', recipe->>'$.speech.clip_id', recipe->>'$.ambience.clip_id')
                  AS mixed
           FROM lake.mixtures WHERE named = '' OR named <> mixed ORDER BY id"""
    )
    for row in rows:
        wrong = f"its parents are {row['named'] or 'none'}, those of its recipe {row['mixed']}"
        yield Finding("mixtures", row["id"], wrong, REMIX)


def _wrong_mixture_splits(catalog: Catalog) -> Iterator[Finding]:
    rows = catalog.rows(
        f"""SELECT m.mix_id AS id, m.split,
                   {STRICTNESS}[max(list_position({STRICTNESS}, p.split))] AS strictest
            FROM (SELECT mix_id, split, unnest([speech_clip_id, ambience_clip_id]) AS clip_id
                  FROM lake.mixtures) m
            JOIN lake.windows w USING (clip_id) JOIN lake.splits p USING (source_id)
            GROUP BY m.mix_id, m.split HAVING m.split IS DISTINCT FROM strictest ORDER BY id"""
    )
    for row in rows:
        wrong = f"its split is {row['split']}, its parents' strictest is {row['strictest']}"
        yield Finding("mixtures", row["id"], wrong, RESPLIT)


def leaks_of_members(catalog: Catalog, dataset_id: str, snapshot: int) -> Iterator[Finding]:
    """Members of a dataset version that are related and in different splits of it.

    What counts is what was known when it was frozen. Reads the temporary table `origins`: item_id,
    split, source_id, component_id for every source of every member.
    """
    rows = catalog.rows(
        f"SELECT component_id AS id, {SEVERAL} AS splits, min(item_id) AS item FROM origins "
        "WHERE component_id IS NOT NULL GROUP BY component_id "
        "HAVING count(DISTINCT split) > 1 AND count(DISTINCT source_id) > 1 ORDER BY id"
    )
    for row in rows:
        wrong = f"its component {row['id']} is in several splits of the dataset: {row['splits']}"
        yield Finding("dataset_items", f"{dataset_id}/{row['item']}", wrong, RESPLIT)
    if not _was_there(catalog, "relations", snapshot):
        return
    rows = catalog.rows(
        f"""SELECT min(x.item_id) AS item, min(y.item_id) AS other, kind, x.split,
                   y.split AS other_split
            FROM (SELECT source_id, other_id, kind FROM lake.relations AT (VERSION => {snapshot})
                  UNION SELECT other_id, source_id, kind
                  FROM lake.relations AT (VERSION => {snapshot})) r
            JOIN origins x ON x.source_id = r.source_id JOIN origins y ON y.source_id = r.other_id
            WHERE x.split < y.split GROUP BY r.source_id, r.other_id, kind, x.split, y.split
            ORDER BY ALL"""
    )
    for row in rows:
        wrong = (
            f"it is in {row['split']} and its relative {row['other']} ({row['kind']}) in "
            f"{row['other_split']} of the dataset"
        )
        yield Finding("dataset_items", f"{dataset_id}/{row['item']}", wrong, RESPLIT)


def _was_there(catalog: Catalog, table: str, snapshot: int) -> bool:
    """Whether a snapshot has the table; one from before the table was added has not."""
    return bool(
        catalog.value(
            "SELECT count(*) FROM __ducklake_metadata_lake.ducklake_table "
            "WHERE table_name = ? AND begin_snapshot <= ? "
            "AND (end_snapshot IS NULL OR end_snapshot > ?)",
            [table, snapshot, snapshot],
        )
    )
