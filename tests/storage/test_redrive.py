"""Rejected items that are queued again are pending again, and nothing else is."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from storage.catalog import Catalog
from storage.redrive import NothingRejected, redrive
from storage.rejects import Rejected
from storage.stage import Output, Rows, ShardRef, ShardResult, ShardTarget, Stage, run_items
from storage.workspace import Workspace, WorkspaceBusy
from tests.made_catalog import bring_up
from tests.made_commits import begin, made_row

REASONS = {"b": "truncated", "c": "truncated", "d": "timeout"}


@dataclass(frozen=True, slots=True)
class ReadConfig:
    """Nothing to set."""


def read_shard(shard: ShardRef, out: ShardTarget, config: ReadConfig) -> ShardResult:
    def read(item: dict[str, Any]) -> Rows:
        if reason := BROKEN.get(item["item_id"]):
            raise Rejected(reason, f"{item['item_id']}: cannot be read")
        return {"windows": [made_row("windows", clip_id=item["item_id"])]}

    return run_items(shard, out, read)


BROKEN: dict[str, str] = {}
STAGE = Stage(
    name="read",
    version=1,
    config=ReadConfig,
    items="SELECT unnest(['a', 'b', 'c', 'd']) AS item_id, 1.0 AS cost_s",
    outputs=(Output("windows", key="clip_id"),),
    run=read_shard,
)


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    """A catalog whose stage read `a` and rejected the others."""
    BROKEN.clear()
    BROKEN.update(REASONS)
    with Catalog(Workspace.at(tmp_path).make()) as opened:
        begin(opened)
        bring_up(opened, STAGE)
        yield opened


def pending(catalog: Catalog) -> set[str]:
    catalog.plan(STAGE, ReadConfig())
    return {row["item_id"] for row in catalog.rows("SELECT item_id FROM keyed WHERE _pending")}


@pytest.mark.parametrize(
    ("chosen", "items"),
    [
        ({}, {"b", "c", "d"}),
        ({"reason": "truncated"}, {"b", "c"}),
        ({"stage": "read", "item_id": "d"}, {"d"}),
    ],
)
def test_the_chosen_rejects_are_pending_again(
    catalog: Catalog, chosen: dict[str, str], items: set[str]
) -> None:
    assert pending(catalog) == set()
    assert redrive(catalog, **chosen, apply=True).items == len(items)
    assert pending(catalog) == items
    left = {row["item_id"] for row in catalog.rows("SELECT item_id FROM rejects")}
    assert left == set(REASONS) - items


def test_without_apply_nothing_changes(catalog: Catalog) -> None:
    found = redrive(catalog, reason="timeout")
    assert found.rows == ({"stage": "read", "reason": "timeout", "items": 1},)
    assert pending(catalog) == set()


def test_what_is_mended_meanwhile_is_read_and_the_rest_is_rejected_once(catalog: Catalog) -> None:
    redrive(catalog, apply=True)
    del BROKEN["b"]
    bring_up(catalog, STAGE)
    assert {row["clip_id"] for row in catalog.rows("FROM windows")} == {"a", "b"}
    left = catalog.rows("SELECT item_id, reason FROM rejects ORDER BY item_id")
    assert left == [
        {"item_id": "c", "reason": "truncated"},
        {"item_id": "d", "reason": "timeout"},
    ]
    assert catalog.value("SELECT count(*) FROM progress") == 4


def test_a_reason_that_no_reject_has_names_those_that_there_are(catalog: Catalog) -> None:
    with pytest.raises(NothingRejected, match=r"reason=truncted; there are: read timeout, read tr"):
        redrive(catalog, reason="truncted", apply=True)


def test_a_catalog_without_rejects_has_nothing_to_redrive(tmp_path: Path) -> None:
    with Catalog(Workspace.at(tmp_path).make()) as opened:
        assert redrive(opened, apply=True).items == 0


def test_redriving_waits_for_no_writer(catalog: Catalog) -> None:
    with catalog.workspace.writing(), pytest.raises(WorkspaceBusy):
        redrive(catalog, apply=True)
