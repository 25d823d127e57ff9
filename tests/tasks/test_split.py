"""Splits: whole components, right shares, and no source that ever leaves test for train."""

import hashlib
import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.catalog import Catalog
from storage.keys import SPLITS
from storage.workspace import Workspace
from tasks import relate
from tasks.split import STAGE, SplitConfig, components, split_of, splits_of
from tests.made_catalog import bring_up
from tests.made_commits import made_row

SOURCES = [hashlib.sha256(bytes([k % 256, k // 256])).hexdigest() for k in range(20_000)]
FEW = SOURCES[:12]
THIRDS = SplitConfig(test=0.3, validation=0.3)


def split_all(
    sources: list[str],
    edges: list[tuple[str, str]],
    names: list[tuple[str, str]] | None = None,
    recorded: dict[str, str] | None = None,
    config: SplitConfig = THIRDS,
) -> dict[str, str]:
    """Source → split."""
    joined = components(sources, edges)
    splits = splits_of(joined, names or [], recorded or {}, config)
    return {source: splits[component] for source, component in joined.items()}


def test_shares_are_right_in_the_large() -> None:
    config = SplitConfig(test=0.1, validation=0.05)
    splits = [split_of(source, config) for source in SOURCES]
    assert splits.count("test") / len(splits) == pytest.approx(0.1, abs=0.01)
    assert splits.count("validation") / len(splits) == pytest.approx(0.05, abs=0.01)
    assert splits.count("train") / len(splits) == pytest.approx(0.85, abs=0.015)


@given(st.sampled_from(SOURCES))
def test_a_larger_test_share_only_adds_to_the_test_split(source: str) -> None:
    small, large = SplitConfig(test=0.1), SplitConfig(test=0.2)
    assert split_of(source, small) == split_of(source, SplitConfig(test=0.1))
    if split_of(source, small) == "test":
        assert split_of(source, large) == "test"


def test_another_salt_draws_anew() -> None:
    one, two = SplitConfig(), SplitConfig(salt="other")
    assert any(split_of(source, one) != split_of(source, two) for source in SOURCES[:100])
    assert one.drawing != two.drawing
    assert one.drawing == SplitConfig().drawing != SplitConfig(test=0.2).drawing


def test_a_share_of_nothing_is_nothing() -> None:
    config = SplitConfig(test=0.0, validation=0.0)
    assert {split_of(source, config) for source in SOURCES[:1000]} == {"train"}


@pytest.mark.parametrize(("test", "validation"), [(0.5, 0.5), (0.9, 0.2)])
def test_shares_that_leave_nothing_to_train_on_are_refused(test: float, validation: float) -> None:
    with pytest.raises(ValueError, match="leave no training split; lower them"):
        SplitConfig(test=test, validation=validation)


# -- components --------------------------------------------------------------------------------

pair_lists = st.lists(st.tuples(st.sampled_from(FEW), st.sampled_from(FEW)), max_size=15)


@given(pair_lists)
def test_a_component_is_what_edges_reach_and_is_named_by_its_first_id(
    edges: list[tuple[str, str]],
) -> None:
    reached = {source: {source} for source in FEW}
    for _ in FEW:
        for one, other in edges:
            both = reached[one] | reached[other]
            reached[one] = reached[other] = both
    assert components(FEW, edges) == {source: min(reached[source]) for source in FEW}


def test_an_edge_to_a_source_that_is_gone_joins_nothing() -> None:
    assert components(["a", "b"], [("a", "x"), ("x", "b")]) == {"a": "a", "b": "b"}


def test_a_chain_of_many_thousand_sources_is_one_component() -> None:
    ordered = sorted(SOURCES)
    chain = list(itertools.pairwise(SOURCES))
    assert set(components(SOURCES, chain).values()) == {ordered[0]}


# -- stability ---------------------------------------------------------------------------------

names_of = st.lists(
    st.tuples(st.sampled_from(FEW), st.sampled_from(["speaker:a", "speaker:b", "recording:c"])),
    max_size=8,
)


def related(names: list[tuple[str, str]], sources: list[str]) -> list[tuple[str, str]]:
    """The edges that names give, as the stage `relate` makes them."""
    groups: dict[str, list[str]] = {}
    for source, name in names:
        if source in sources:
            groups.setdefault(name, []).append(source)
    return [(one, min(group)) for group in groups.values() for one in group if one != min(group)]


@given(
    order=st.permutations(FEW),
    steps=st.lists(st.integers(1, 12), max_size=4),
    edges=pair_lists,
    names=names_of,
    with_memory=st.booleans(),
)
def test_growth_in_any_order_never_loosens_a_split_and_ends_as_from_scratch(
    order: list[str],
    steps: list[int],
    edges: list[tuple[str, str]],
    names: list[tuple[str, str]],
    with_memory: bool,
) -> None:
    before: dict[str, str] = {}
    for size in [*sorted(steps), len(order)]:
        here = order[:size]
        known = [(one, other) for one, other in edges if one in here and other in here]
        known += related(names, here)
        memory = before if with_memory else {}
        now = split_all(here, known, [n for n in names if n[0] in here], memory)
        for source, split in before.items():
            assert SPLITS.index(now[source]) >= SPLITS.index(split)
        for one, other in known:
            assert now[one] == now[other]
        before = now
    scratch = split_all(sorted(order), [*edges, *related(names, order)], names)
    assert before == scratch


@given(edges=pair_lists, stranger=st.sampled_from(SOURCES[100:]))
def test_an_unrelated_source_changes_nothing(edges: list[tuple[str, str]], stranger: str) -> None:
    before = split_all(FEW, edges)
    after = split_all([*FEW, stranger], edges)
    assert {source: after[source] for source in FEW} == before


@given(edges=pair_lists)
def test_a_relation_that_is_taken_back_sets_nothing_free(edges: list[tuple[str, str]]) -> None:
    before = split_all(FEW, edges)
    assert split_all(FEW, [], recorded=before) == before


def test_the_strictest_draw_wins() -> None:
    drawn = {split_of(source, THIRDS): source for source in FEW}
    train, validation, test = (drawn[split] for split in SPLITS)
    assert set(split_all([train, validation], [(train, validation)]).values()) == {"validation"}
    everyone = [train, validation, test]
    joined = split_all(everyone, [(train, validation), (validation, test)])
    assert set(joined.values()) == {"test"}


def test_a_split_that_the_manifest_names_is_the_draw_and_the_strictest_still_wins() -> None:
    alone = {source: source for source in FEW}
    for split in SPLITS:
        put = [(source, split) for source in FEW]
        assert set(splits_of(alone, [], {}, THIRDS, put).values()) == {split}
    one, other = FEW[:2]
    joined = components([one, other], [(one, other)])
    assert set(splits_of(joined, [], {}, THIRDS, [(one, "train"), (other, "test")]).values()) == {
        "test"
    }
    # What was recorded before stays as strict, and a name that is given is a draw beside it.
    assert splits_of({one: one}, [], {one: "validation"}, THIRDS, [(one, "train")]) == {
        one: "validation"
    }
    named = splits_of({one: one}, [(one, "speaker:a")], {}, THIRDS, [(one, "train")])
    assert named == {one: split_of("speaker:a", THIRDS)}


def test_unnamed_components_drift_to_test_as_the_docstring_says_and_named_ones_do_not() -> None:
    config = SplitConfig(test=0.1, validation=0.0)
    pairs = list(zip(SOURCES[::2], SOURCES[1::2], strict=True))
    splits = list(split_all(SOURCES, pairs, config=config).values())
    assert splits.count("test") / len(splits) == pytest.approx(0.19, abs=0.02)
    groups = [(source, f"speaker:{number // 20}") for number, source in enumerate(SOURCES)]
    splits = list(split_all(SOURCES, related(groups, SOURCES), groups, config=config).values())
    assert splits.count("test") / len(splits) == pytest.approx(0.1, abs=0.03)


# -- the stages --------------------------------------------------------------------------------


@pytest.fixture
def catalog(workspace: Path) -> Iterator[Catalog]:
    with Catalog(Workspace.at(workspace).make()) as opened:
        yield opened


def put(catalog: Catalog, source: str, **said: str) -> None:
    catalog.insert("files", [made_row("files", uri=f"/{source}", source_id=source, **said)])
    catalog.insert("sources", [made_row("sources", source_id=source, uri=f"/{source}")])


def build(catalog: Catalog, config: SplitConfig = THIRDS) -> dict[str, tuple[str, str]]:
    bring_up(catalog, relate.STAGE)
    bring_up(catalog, STAGE, config)
    assert catalog.plan(STAGE, config).is_idle
    rows = catalog.rows("SELECT source_id, component_id, split FROM splits")
    return {row["source_id"]: (row["component_id"], row["split"]) for row in rows}


def test_a_speaker_and_a_recording_join_their_sources_and_unknown_ones_do_not(
    catalog: Catalog,
) -> None:
    put(catalog, "a", speaker="Anna  Arendt")
    put(catalog, "b", speaker=" anna arendt", recording="rain")
    put(catalog, "c", recording="Rain")
    put(catalog, "d", speaker="unknown")
    put(catalog, "e", speaker="Unknown", recording="-")
    splits = build(catalog)
    assert {source: component for source, (component, _) in splits.items()} == {
        "a": "a",
        "b": "a",
        "c": "a",
        "d": "d",
        "e": "e",
    }
    edges = catalog.rows("SELECT source_id, other_id, kind, name FROM relations ORDER BY ALL")
    assert [tuple(edge.values()) for edge in edges] == [
        ("b", "a", "speaker", "anna arendt"),
        ("c", "b", "recording", "rain"),
    ]


def test_a_name_that_is_given_later_or_taken_back_never_sets_a_source_free(
    catalog: Catalog,
) -> None:
    drawn = {split_of(source, THIRDS): source for source in FEW}
    test, train = drawn["test"], drawn["train"]
    put(catalog, test)
    put(catalog, train)
    assert build(catalog)[train][1] == "train"
    name = next(n for n in "abcdefghij" if split_of(f"speaker:{n}", THIRDS) == "train")
    catalog.connection.execute("UPDATE lake.files SET speaker = ?", [name])
    assert {split for _, split in build(catalog).values()} == {"test"}
    catalog.connection.execute("UPDATE lake.files SET speaker = NULL")
    parted = build(catalog)
    assert {split for _, split in parted.values()} == {"test"}
    assert parted[train][0] == train
    salted = SplitConfig(test=0.0, validation=0.0)
    assert {split for _, split in build(catalog, salted).values()} == {"train"}
