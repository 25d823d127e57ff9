"""Lineage: what anything in the catalog was made of, and what was made of it.

The edges between tables are declared once, as data, beside the schema. Everything that follows the
descent of rows (`talkies catalog lineage`, taking a source out again) walks these edges breadth
first, with one query an edge and a level, whatever the number of rows.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from storage.catalog import Catalog
from storage.imported import IMPORTED

Direction = Literal["up", "down"]

MIN_PREFIX = 6
CANDIDATES = 5
ALL = 1 << 62


class Node(NamedTuple):
    """A thing in the catalog: its kind (a key of KINDS, or of a leaf's edge) and its id."""

    kind: str
    id: str


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of thing that has an id: its table, the column of the id, and what to call it."""

    table: str
    key: str
    text: str


@dataclass(frozen=True, slots=True)
class Edge:
    """A step of descent: rows of `table` lead from a parent to a child.

    Attributes:
        parent: kind of the parent.
        child: kind of the child; where it is no key of KINDS, the child is a leaf: rows without
            an id of their own, counted for each parent.
        table: table or view whose rows are the step.
        parent_column: its column with the parent's id.
        child_column: its column with the child's id; of a leaf, SQL that names a group of rows.
        contains: the child holds the parent among others, and stays when the parent goes.
        where: SQL that picks the rows of the table that are this step.
    """

    parent: str
    child: str
    table: str
    parent_column: str
    child_column: str
    contains: bool = False
    where: str = "true"

    @property
    def is_leaf(self) -> bool:
        """The child is rows without an id of their own."""
        return self.child not in KINDS


KINDS: dict[str, Kind] = {
    "file": Kind("files", "uri", "coalesce(licence, 'no licence')"),
    "source": Kind("sources", "source_id", "uri"),
    "clip": Kind("windows", "clip_id", "format('{:.2f}–{:.2f} s', start_s, end_s)"),
    "mixture": Kind(
        "mixtures",
        "mix_id",
        "regime || coalesce(CASE WHEN requested_difference_lu IS NULL "
        "THEN format(' {:.1f} dB', achieved_snr_db) "
        "ELSE format(' {:.1f} LU', achieved_difference_lu) END, '')",
    ),
    "codec": Kind("codecs", "codec_id", "name"),
    "dataset": Kind(
        "datasets",
        "dataset_id",
        "name || '@' || version || coalesce(' only ' || array_to_string(licences, ', '), '')",
    ),
    "checkpoint": Kind("checkpoints", "checkpoint_id", "format('{}, {} steps', preset, steps)"),
    "soundtrack": Kind("generations", "generation_id", "file_ref"),
}

EDGES: tuple[Edge, ...] = (
    Edge("file", "source", "files", "uri", "source_id"),
    Edge("source", "decode", "decodes", "source_id", "format('{:.2f} s', duration_s)"),
    Edge("source", "voice", "voices", "source_id", "format('{:.2f} s of speech', speech_s)"),
    Edge("source", "truth", "truths", "source_id", "kind"),
    Edge("source", "true events", "true_events", "source_id", "''"),
    Edge("source", "true words", "true_words", "source_id", "''"),
    Edge("source", "true phonemes", "true_phonemes", "source_id", "''"),
    Edge("source", "fingerprint", "fingerprints", "source_id", "''"),
    Edge("source", "related", "relations", "source_id", "kind || ' as ' || left(other_id, 12)"),
    Edge("source", "split", "splits", "source_id", "split"),
    Edge("source", "clip", "windows", "source_id", "clip_id"),
    Edge("source", "soundtrack", "generations", "source_id", "generation_id"),
    Edge("clip", "listen", "listens", "clip_id", "top_tag"),
    Edge("clip", "tags", "tags", "clip_id", "''"),
    Edge("clip", "faces", "faces", "clip_id", "''"),
    Edge("clip", "talks", "talks", "clip_id", "''"),
    Edge("clip", "sync", "syncs", "clip_id", "format('{} {:.2f} s', method, offset_s)"),
    Edge("clip", "kind", "kinds", "clip_id", "kind || coalesce(', dropped: ' || drop_reason, '')"),
    Edge("clip", "transcript", "transcripts", "clip_id", "left(text, 60)"),
    Edge("clip", "words", "words", "clip_id", "''"),
    Edge("clip", "phonemes", "phonemes", "clip_id", "''"),
    Edge("clip", "feature", "features", "clip_id", "extractor"),
    Edge("clip", "mixture", "mixtures", "speech_clip_id", "mix_id"),
    Edge("clip", "mixture", "mixtures", "ambience_clip_id", "mix_id"),
    Edge("mixture", "feature", "features", "clip_id", "extractor"),
    Edge("clip", "dataset", "dataset_items", "item_id", "dataset_id", True, "task <> 'mixture'"),
    Edge("mixture", "dataset", "dataset_items", "item_id", "dataset_id", True, "task = 'mixture'"),
    # An imported dataset's codec was never here: it lies beside the weights of its model.
    Edge(
        "codec",
        "dataset",
        "datasets",
        "codec_id",
        "dataset_id",
        True,
        f"NOT starts_with(name, '{IMPORTED}')",
    ),
    Edge("dataset", "checkpoint", "checkpoints", "dataset_id", "checkpoint_id", True),
    Edge("checkpoint", "losses", "losses", "checkpoint_id", "''"),
    Edge(
        "checkpoint",
        "evaluation",
        "evaluations",
        "checkpoint_id",
        "format('{} {} {} {:.3g} {}', metric, task, split, value, unit)",
    ),
    Edge("checkpoint", "soundtrack", "generations", "checkpoint_id", "generation_id", True),
)


class UnknownId(LookupError):
    """No id of the catalog, or more than one, begins with what was given."""


@dataclass(slots=True)
class Lineage:
    """A graph around one node.

    Attributes:
        start: the node that was asked for.
        texts: node → what to call it; holds every node, in the order in which it was reached.
        edges: (parent, child), each once.
        more: (node, direction, kind) → how many further neighbours were left out.
        counts: leaf → number of its rows.
    """

    start: Node
    texts: dict[Node, str] = field(default_factory=dict)
    edges: dict[tuple[Node, Node], None] = field(default_factory=dict)
    more: dict[tuple[Node, Direction, str], int] = field(default_factory=dict)
    counts: dict[Node, int] = field(default_factory=dict)

    def nodes(self, kind: str) -> list[str]:
        """The ids of all nodes of a kind."""
        return [node.id for node in self.texts if node.kind == kind]


def find(catalog: Catalog, prefix: str) -> Node:
    """The node whose id begins with `prefix`, or the file with exactly this uri.

    Raises ValueError for a prefix of under six characters, and UnknownId for one that no id, or
    more than one, begins with; the message names the candidates.
    """
    if len(prefix) < MIN_PREFIX:
        raise ValueError(f"id {prefix!r}: give at least its first {MIN_PREFIX} characters")
    found: list[Node] = []
    for kind, of in KINDS.items():
        match = "=" if kind == "file" else "^@"
        rows = catalog.connection.execute(
            f"SELECT DISTINCT {of.key} FROM lake.{of.table} WHERE {of.key} {match} ? "
            f"ORDER BY 1 LIMIT {CANDIDATES + 1}",
            [prefix],
        ).fetchall()
        found += [Node(kind, row[0]) for row in rows]
    if not found:
        found = _frozen(catalog, prefix)
    if not found:
        raise UnknownId(f"no id begins with {prefix!r}; see `talkies catalog tables`")
    if len(found) > 1:
        names = ", ".join(f"{node.kind} {node.id}" for node in found[:CANDIDATES])
        further = ", …" if len(found) > CANDIDATES else ""
        raise UnknownId(f"{prefix!r} begins several ids: {names}{further}; give more of it")
    return found[0]


def _frozen(catalog: Catalog, prefix: str) -> list[Node]:
    """Members of frozen datasets whose own rows are no longer there."""
    rows = catalog.connection.execute(
        "SELECT DISTINCT CASE WHEN task = 'mixture' THEN 'mixture' ELSE 'clip' END, item_id "
        f"FROM lake.dataset_items WHERE item_id ^@ ? ORDER BY 2 LIMIT {CANDIDATES + 1}",
        [prefix],
    ).fetchall()
    return [Node(kind, item_id) for kind, item_id in rows]


def trace(catalog: Catalog, start: Node, depth: int = 8, limit: int = 10) -> Lineage:
    """The lineage of a node, up and down.

    Args:
        catalog: the open catalog.
        start: the node, from `find`.
        depth: most steps away from it, in each direction.
        limit: most neighbours of one kind that are shown of one node; the rest is counted.

    Raises ValueError for a depth or a limit below 1.
    """
    if depth < 1 or limit < 1:
        raise ValueError(f"depth={depth}, limit={limit}: give at least 1")
    lineage = Lineage(start)
    lineage.texts[start] = ""
    for direction in ("up", "down"):
        walk(catalog, lineage, [start], direction, depth, limit)
    _name(catalog, lineage)
    return lineage


def walk(
    catalog: Catalog,
    lineage: Lineage,
    starts: Iterable[Node],
    direction: Direction,
    depth: int = ALL,
    limit: int = ALL,
    edges: Sequence[Edge] = EDGES,
) -> None:
    """Adds to a lineage what is reached from `starts`, breadth first, one query an edge a level."""
    seen = set(starts)
    frontier = seen
    while frontier and depth > 0:
        reached: dict[Node, None] = {}
        for edge in edges:
            near = edge.parent if direction == "down" else edge.child
            ids = sorted(node.id for node in frontier if node.kind == near)
            if ids and edge.is_leaf:
                _count_leaves(catalog, lineage, edge, ids, limit)
            elif ids:
                for node in _neighbours(catalog, lineage, edge, ids, direction, limit):
                    reached.setdefault(node)
        frontier = {node for node in reached if node not in seen}
        seen |= frontier
        depth -= 1


def _neighbours(
    catalog: Catalog,
    lineage: Lineage,
    edge: Edge,
    ids: list[str],
    direction: Direction,
    limit: int,
) -> list[Node]:
    down = direction == "down"
    near, far = (edge.parent_column, edge.child_column)[:: 1 if down else -1]
    kind, far_kind = (edge.parent, edge.child)[:: 1 if down else -1]
    rows = _ranked(catalog, edge, f"DISTINCT {near} AS near, {far} AS far", near, ids, limit)
    nodes = []
    for near_id, far_id, total, rank in rows:
        here, there = Node(kind, near_id), Node(far_kind, far_id)
        lineage.texts.setdefault(there, "")
        lineage.edges[(here, there) if down else (there, here)] = None
        nodes.append(there)
        if rank == 1 and total > limit:
            lineage.more[here, direction, far_kind] = total - limit
    return nodes


def _count_leaves(
    catalog: Catalog, lineage: Lineage, edge: Edge, ids: list[str], limit: int
) -> None:
    columns = f"{edge.parent_column} AS near, {edge.child_column} AS far, count(*) AS rows"
    rows = _ranked(catalog, edge, columns, edge.parent_column, ids, limit, "GROUP BY ALL")
    for near_id, name, count, total, rank in rows:
        here = Node(edge.parent, near_id)
        leaf = Node(edge.child, f"{near_id}:{name}" if name else near_id)
        lineage.texts[leaf] = name or f"{count:,} rows"
        lineage.counts[leaf] = count
        lineage.edges[here, leaf] = None
        if rank == 1 and total > limit:
            lineage.more[here, "down", edge.child] = total - limit


def _ranked(
    catalog: Catalog,
    edge: Edge,
    columns: str,
    near: str,
    ids: list[str],
    limit: int,
    group: str = "",
) -> list[tuple]:
    """The first `limit` rows of each id in order, each with how many there are and its rank."""
    return catalog.connection.execute(
        f"""WITH steps AS (SELECT {columns} FROM lake.{edge.table}
                           WHERE ({edge.where})
                             AND {near} IN (SELECT unnest(?::VARCHAR[])) {group})
            SELECT *, count(*) OVER (PARTITION BY near) AS total,
                   row_number() OVER (PARTITION BY near ORDER BY far) AS rank
            FROM steps WHERE near IS NOT NULL AND far IS NOT NULL
            QUALIFY rank <= ? ORDER BY near, rank""",
        [ids, limit],
    ).fetchall()


def _name(catalog: Catalog, lineage: Lineage) -> None:
    for kind, of in KINDS.items():
        ids = lineage.nodes(kind)
        if not ids:
            continue
        named = dict(
            catalog.connection.execute(
                f"SELECT {of.key}, any_value({of.text}) FROM lake.{of.table} "
                f"WHERE {of.key} IN (SELECT unnest(?::VARCHAR[])) GROUP BY 1",
                [ids],
            ).fetchall()
        )
        for node_id in ids:
            lineage.texts[Node(kind, node_id)] = named.get(node_id, "no longer in the catalog")
