"""What hangs on a source: what goes with it, what contains it, and which rows those are."""

from dataclasses import dataclass, field

from storage.catalog import Catalog
from storage.lineage import EDGES, KINDS, Edge, Lineage, Node, walk

MIN_PREFIX = 6
GONE = ("source", "clip", "mixture", "soundtrack")
MARKED = ("codec", "dataset", "checkpoint", "soundtrack")
# A mixture without speech is planned for a speech clip all the same, and bears its id.
PLANNED = "split_part(item_id, ':', 1)"
DESCENT = (*EDGES, Edge("clip", "mixture", "mixtures", PLANNED, "mix_id"))


class UnknownSource(LookupError):
    """The catalog knows no such source, or several."""


@dataclass(slots=True)
class Reach:
    """What hangs on a source: what goes, and what contains it."""

    source_id: str
    uris: list[str]
    gone: dict[str, list[str]] = field(default_factory=dict)
    marks: dict[str, list[str]] = field(default_factory=dict)

    @property
    def item_ids(self) -> set[str]:
        """Ids under which clips and mixtures stand in datasets and shards."""
        return {*self.gone["clip"], *self.gone["mixture"]}


def find_source(catalog: Catalog, source: str) -> str:
    """The source id of an id's beginning, or of a file's uri; tombstoned sources are known too.

    Raises UnknownSource naming the candidates where there are several.
    """
    match = "source_id ^@ $source" if len(source) >= MIN_PREFIX else "false"
    tables = ["files", "sources", "windows", "generations"]
    named = ["files"]
    # A catalog of an older version that is open for reading has no tombstones yet.
    if catalog.value("SELECT count(*) FROM duckdb_tables() WHERE table_name = 'tombstones'"):
        tables, named = [*tables, "tombstones"], [*named, "tombstones"]
    searches = [f"SELECT source_id FROM lake.{table} WHERE {match}" for table in tables]
    searches += [f"SELECT source_id FROM lake.{table} WHERE uri = $source" for table in named]
    rows = catalog.rows(
        f"{' UNION '.join(searches)} ORDER BY 1 LIMIT 6",
        {"source": source},
    )
    if len(rows) == 1:
        return rows[0]["source_id"]
    if not rows:
        raise UnknownSource(
            f"no source or file is {source!r}; give at least {MIN_PREFIX} characters of its id, "
            "or its uri as in `files`"
        )
    names = ", ".join(row["source_id"] for row in rows)
    raise UnknownSource(f"{source!r} begins several sources: {names}; give more of it")


def reach_of(catalog: Catalog, source_id: str) -> Reach:
    """Walks the lineage from a source: its own things, and those that contain them."""
    uris = catalog.rows(
        "SELECT uri FROM lake.files WHERE source_id = $id UNION "
        "SELECT uri FROM lake.sources WHERE source_id = $id ORDER BY uri",
        {"id": source_id},
    )
    reach = Reach(source_id, [row["uri"] for row in uris])
    root = Node("source", source_id)
    derived = Lineage(root, {root: ""})
    roots = [root, *_frozen_nodes(catalog, source_id)]
    derived.texts |= dict.fromkeys(roots, "")
    ways = [edge for edge in DESCENT if not edge.contains and not edge.is_leaf]
    walk(catalog, derived, roots, "down", edges=ways)
    reach.gone = {kind: sorted(set(derived.nodes(kind))) for kind in GONE}
    containing = Lineage(root)
    members = [Node(kind, i) for kind in ("clip", "mixture") for i in reach.gone[kind]]
    ways = [edge for edge in EDGES if edge.contains and not edge.is_leaf]
    walk(catalog, containing, members, "down", edges=ways)
    reach.marks = {
        kind: sorted(set(containing.nodes(kind)) - set(reach.gone.get(kind, ()))) for kind in MARKED
    }
    reach.marks["codec"] = _codecs(catalog, reach)
    return reach


def _frozen_nodes(catalog: Catalog, source_id: str) -> list[Node]:
    """Clips and mixtures of the source that only a frozen dataset remembers."""
    rows = catalog.rows(
        "SELECT DISTINCT catalog_snapshot FROM lake.datasets WHERE catalog_snapshot IN "
        "(SELECT snapshot_id FROM lake.snapshots() WHERE snapshot_id > 0)"
    )
    nodes: set[Node] = set()
    for row in rows:
        at = f"AT (VERSION => {row['catalog_snapshot']})"
        found = catalog.connection.execute(
            f"""WITH own AS (SELECT clip_id FROM lake.windows {at} WHERE source_id = ?)
                SELECT 'clip', clip_id FROM own
                UNION
                SELECT 'mixture', mix_id FROM lake.mixtures {at}
                WHERE speech_clip_id IN (FROM own) OR ambience_clip_id IN (FROM own)
                   OR {PLANNED} IN (FROM own)""",
            [source_id],
        ).fetchall()
        nodes |= {Node(kind, node_id) for kind, node_id in found}
    return sorted(nodes)


def _codecs(catalog: Catalog, reach: Reach) -> list[str]:
    """Codecs of datasets that trained on the source: such a codec was fitted on it too."""
    rows = catalog.rows(
        """SELECT DISTINCT d.codec_id FROM lake.datasets d JOIN lake.dataset_items i
           USING (dataset_id) WHERE i.split = 'train'
           AND i.item_id IN (SELECT unnest(?::VARCHAR[])) ORDER BY 1""",
        [sorted(reach.item_ids)],
    )
    return [row["codec_id"] for row in rows]


def hold_ids(catalog: Catalog, reach: Reach) -> None:
    """Fills the temporary table `gone_ids` with all ids that go."""
    catalog.connection.execute("CREATE OR REPLACE TEMP TABLE gone_ids (kind VARCHAR, id VARCHAR)")
    held = [(kind, ids) for kind, ids in reach.gone.items()] + [("file", reach.uris)]
    for kind, ids in held:
        catalog.connection.execute(
            "INSERT INTO gone_ids SELECT ?, unnest(?::VARCHAR[])", [kind, ids]
        )


def conditions() -> dict[str, str]:
    """Table → SQL that picks its rows that go, from the lineage edges and the kinds' own keys."""
    picked: dict[str, list[str]] = {}

    def add(table: str, column: str, kind: str) -> None:
        test = f"{column} IN (SELECT id FROM gone_ids WHERE kind = '{kind}')"
        if test not in picked.setdefault(table, []):
            picked[table].append(test)

    for edge in DESCENT:
        if edge.parent in ("source", "clip", "mixture"):
            add(edge.table, edge.parent_column, edge.parent)
    for kind in GONE:
        add(KINDS[kind].table, KINDS[kind].key, kind)
    add("files", "source_id", "source")
    add("relations", "other_id", "source")
    # Items of mixtures and soundtracks are named `parent:take`, so that the parent is found.
    item = f"item_id IN (SELECT id FROM gone_ids) OR {PLANNED} IN "
    item += "(SELECT id FROM gone_ids WHERE kind <> 'file')"
    named = "EXISTS (FROM gone_ids g WHERE contains(message || facts, g.id))"
    picked["progress"] = [item]
    picked["rejects"] = [item, "uri IN (SELECT id FROM gone_ids WHERE kind = 'file')", named]
    # A row that lacks a parent stays: NULL would be neither true nor, behind NOT, false.
    return {table: f"({' OR '.join(tests)}) IS TRUE" for table, tests in picked.items()}
