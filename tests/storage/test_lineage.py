"""Lineage: every edge exists, every id is followed both ways, wide fan-outs are counted."""

import json
import re
from collections.abc import Iterator
from typing import Any, cast

import pytest

from storage.catalog import Catalog
from storage.lineage import EDGES, KINDS, Lineage, Node, UnknownId, find, trace
from storage.lineage_text import as_data, mermaid, tree
from storage.schema import TABLES
from storage.workspace import Workspace
from tests.conftest import Place
from tests.made_archive import (
    CHECKPOINT,
    DATASET,
    add,
    add_archive,
    add_dataset,
    add_source,
    full,
    source_id,
)

# What a takedown itself leaves, and what remembers runs, is no descent.
NO_DESCENT = {"marks", "tombstones", "runs", "progress", "rejects"}


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory, place: Place) -> Iterator[Catalog]:
    with Catalog(Workspace.at(place(tmp_path_factory.mktemp("archive"))).make()) as catalog:
        add_archive(catalog)
        yield catalog


def reached(lineage: Lineage) -> set[tuple[str, str]]:
    """The nodes that have an id of their own, without the padding."""
    return {(n.kind, n.id.rstrip("0")) for n in lineage.texts if n.kind in KINDS}


@pytest.mark.parametrize(
    ("regime", "levels", "text"),
    [
        ("hard", "requested_snr_db = -4, achieved_snr_db = -4.02", "hard -4.0 dB"),
        (
            "broadcast",
            "requested_difference_lu = 14, achieved_difference_lu = 14.2, achieved_snr_db = 5",
            "broadcast 14.2 LU",
        ),
        ("speech_only", "speech_lufs = -27", "speech_only"),
    ],
)
def test_a_mixture_is_called_by_its_regime_and_the_level_that_it_asks_for(
    archive: Catalog, regime: str, levels: str, text: str
) -> None:
    node = Node("mixture", full("mix-one"))
    archive.connection.execute("BEGIN")
    archive.connection.execute(f"UPDATE mixtures SET regime = '{regime}', {levels}")
    texts = trace(archive, node, depth=1).texts
    archive.connection.execute("ROLLBACK")
    assert texts[node] == text


@pytest.mark.parametrize("edge", EDGES, ids=lambda edge: f"{edge.parent}-{edge.child}")
def test_every_edge_is_a_query_over_the_schema(archive: Catalog, edge: Any) -> None:
    columns = f"{edge.parent_column}, {edge.child_column}"
    archive.rows(f"SELECT {columns} FROM lake.{edge.table} WHERE {edge.where} LIMIT 0")
    assert edge.parent in KINDS


@pytest.mark.parametrize("column", ["source_id", "clip_id", "dataset_id", "checkpoint_id"])
def test_every_table_that_names_a_parent_is_an_edge(column: str) -> None:
    named = {name for name, table in TABLES.items() if column in {c.name for c in table.columns}}
    own = {kind.table for kind in KINDS.values() if kind.key == column}
    tables = {edge.table for edge in EDGES} | {"codecs"}
    assert named - own - NO_DESCENT <= tables


def test_a_clip_is_followed_up_to_its_file_and_down_to_the_soundtracks(archive: Catalog) -> None:
    lineage = trace(archive, find(archive, full("talk-one")))
    assert reached(lineage) == {
        ("clip", "talk-one"),
        ("source", "src-talk"),
        ("file", "/archive/talk.mp4"),
        ("mixture", "mix-one"),
        ("dataset", DATASET),
        ("checkpoint", CHECKPOINT),
        ("soundtrack", "film-rain"),
        ("soundtrack", "film-talk"),
    }
    leaves = {(n.kind, count) for n, count in lineage.counts.items()}
    assert {("tags", 2), ("losses", 3), ("transcript", 1), ("evaluation", 1)} <= leaves


def test_a_checkpoint_comes_from_every_clip_source_and_file_of_its_dataset(
    archive: Catalog,
) -> None:
    lineage = trace(archive, find(archive, CHECKPOINT))
    assert {i for kind, i in reached(lineage) if kind == "source"} == {"src-rain", "src-talk"}
    assert ("codec", "codec-one") in reached(lineage)
    parents = {p.id for p, c in lineage.edges if c == Node("mixture", full("mix-one"))}
    assert parents == {full("talk-one"), full("rain-one")}


@pytest.mark.parametrize(
    ("prefix", "node"),
    [
        ("src-ra", Node("source", source_id("rain"))),
        ("mix-on", Node("mixture", full("mix-one"))),
        ("codec-", Node("codec", full("codec-one"))),
        ("dataset", Node("dataset", full(DATASET))),
        ("film-talk", Node("soundtrack", full("film-talk"))),
        ("/archive/rain.mp4", Node("file", "/archive/rain.mp4")),
    ],
)
def test_the_beginning_of_an_id_is_enough(archive: Catalog, prefix: str, node: Node) -> None:
    assert find(archive, prefix) == node


def test_an_ambiguous_beginning_names_its_candidates(archive: Catalog) -> None:
    names = f"soundtrack {full('film-twin-a')}, soundtrack {full('film-twin-b')}; give"
    for name in ("film-twin-a", "film-twin-b"):
        add(archive, "generations", {"generation_id": full(name)})
    with pytest.raises(UnknownId, match=names):
        find(archive, "film-twin")
    with pytest.raises(UnknownId, match="no id begins with 'nothing'"):
        find(archive, "nothing")
    with pytest.raises(ValueError, match="give at least its first 6 characters"):
        find(archive, "talk-")


def test_depth_ends_the_walk(archive: Catalog) -> None:
    lineage = trace(archive, find(archive, full("talk-one")), depth=1)
    kinds = {kind for kind, _ in reached(lineage)}
    assert kinds == {"clip", "source", "mixture", "dataset"}
    with pytest.raises(ValueError, match="depth=0"):
        trace(archive, Node("clip", full("talk-one")), depth=0)


def test_the_tree_opens_a_shared_node_once(archive: Catalog) -> None:
    lines = tree(trace(archive, find(archive, full("talk-one"))))
    assert lines[:4] == [
        f"clip {full('talk-one')}  0.00–4.00 s",
        "made of",
        "└─ source src-talk0000  /archive/talk.mp4",
        "   └─ file /archive/talk.mp4  no licence",
    ]
    datasets = [line for line in lines if "─ dataset" in line]
    assert [line.endswith("(see above)") for line in datasets] == [False, True]
    assert sum("─ checkpoint" in line for line in lines) == 1


def test_a_mermaid_graph_declares_every_node_that_its_arrows_use(archive: Catalog) -> None:
    lineage = trace(archive, find(archive, full("talk-one")))
    text = mermaid(lineage)
    declared = set(re.findall(r'^  (\w+)\["[^"]*"\]$', text, re.MULTILINE))
    used = set(re.findall(r"\b([nm]\d+)\b", re.sub(r'\["[^"]*"\]', "", text)))
    assert text.startswith("flowchart LR\n")
    assert len(declared) == len(lineage.texts)
    assert used <= declared


def test_the_data_are_json_and_hold_every_node_and_edge(archive: Catalog) -> None:
    lineage = trace(archive, find(archive, full("talk-one")))
    data = json.loads(json.dumps(as_data(lineage)))
    assert data["start"] == {"kind": "clip", "id": full("talk-one")}
    assert len(data["nodes"]) == len(lineage.texts)
    assert len(data["edges"]) == len(lineage.edges)
    known = {(node["kind"], node["id"]) for node in data["nodes"]}
    assert all((e["child"]["kind"], e["child"]["id"]) in known for e in data["edges"])


class Counted:
    """A catalog that counts its queries."""

    def __init__(self, catalog: Catalog) -> None:
        self.inner = catalog
        self.queries = 0
        self.connection = self

    def execute(self, *arguments: Any) -> Any:
        self.queries += 1
        return self.inner.connection.execute(*arguments)


def test_a_wide_dataset_is_summarised_with_as_many_queries_as_a_narrow_one(
    tmp_path_factory: pytest.TempPathFactory,
    place: Place,
) -> None:
    with Catalog(Workspace.at(place(tmp_path_factory.mktemp("wide"))).make()) as catalog:
        add_source(catalog, "wind")
        windows = [
            {"clip_id": full(f"clip-{k:05d}-"), "source_id": source_id("wind")} for k in range(5315)
        ]
        add(catalog, "windows", *windows)
        for size in (4, 5315):
            items = {f"clip-{k:05d}-": "h" for k in range(size)}
            add_dataset(catalog, f"dataset-{size}-", items, catalog.snapshot())
        queries = []
        for size in (4, 5315):
            counted = Counted(catalog)
            lineage = trace(
                cast(Catalog, counted), Node("dataset", full(f"dataset-{size}-")), limit=3
            )
            queries.append(counted.queries)
            assert len(lineage.nodes("clip")) == 3
        assert "… and 5,312 more of kind clip" in "\n".join(tree(lineage))
        assert "… 5,312 more of kind clip" in mermaid(lineage)
        assert as_data(lineage)["more"][0]["left_out"] == 5312
    assert queries[0] == queries[1]
