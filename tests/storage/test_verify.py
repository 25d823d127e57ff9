"""Verify finds each thing that was spoiled, where it is, and nothing else."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from storage.catalog import Catalog
from storage.keys import FILE_COLUMNS, FOREIGN_KEYS
from storage.schema import TABLES
from storage.verify import EXAMPLES, Finding, summary, verify
from storage.verify_splits import leaks
from storage.workspace import Workspace
from tasks.pipeline import ALL
from tests.conftest import Place
from tests.made_commits import made_row
from tests.made_store import content, copied, put
from tests.made_workspace import clip, make_workspace, mix, source

# Ids that name something outside the catalog's tables, or rows that may be gone by design, and the
# id of a room's sound, which copies share.
FREE_IDS = {
    "files.source_id",
    "generations.source_id",
    "generations.item_id",
    "mixtures.item_id",
    "progress.item_id",
    "rooms.room_id",
    "transcripts.model_id",
    "phonemes.model_id",
    "tombstones.source_id",
    "marks.source_id",
}


@dataclass(frozen=True)
class Spoil:
    """Something to spoil, and the finding that must follow: table, part of the id, of the text."""

    name: str
    spoil: Callable[[Catalog], object]
    found: tuple[tuple[str, str, str], ...]


def sql(*statements: str) -> Callable[[Catalog], object]:
    def spoil(catalog: Catalog) -> None:
        for statement in statements:
            catalog.connection.execute(statement)

    return spoil


def file(
    column: str, where: str, change: Callable[[Workspace, str], object]
) -> Callable[[Catalog], object]:
    table, name = column.split(".")

    def spoil(catalog: Catalog) -> None:
        ref = catalog.value(f"SELECT {name} FROM lake.{table} WHERE {where}")
        change(catalog.workspace, ref)

    return spoil


def flip(workspace: Workspace, ref: str) -> None:
    data = bytearray(content(workspace, ref))
    data[len(data) // 2] ^= 1
    put(workspace, ref, bytes(data))


def related(one: str, other: str, kind: str) -> str:
    names = "source_id, other_id, kind, run_id"
    return f"INSERT INTO lake.relations ({names}) VALUES ('{one}', '{other}', '{kind}', 'r-1')"


def reject(catalog: Catalog) -> None:
    catalog.insert("rejects", [made_row("rejects", stage="probe", item_id="told")])
    known = made_row("progress", stage="probe", item_id="untold", status="rejected")
    catalog.insert("progress", [known])


SPOILS = (
    Spoil(
        "a blob is missing",
        file("decodes.audio48_ref", f"source_id = '{source(0)}'", Workspace.delete),
        (("decodes", source(0), "is missing"),),
    ),
    Spoil(
        "a blob has other bytes",
        file("decodes.audio16_ref", f"source_id = '{source(1)}'", flip),
        (("decodes", source(1), "do not match their sha256"),),
    ),
    Spoil(
        "a reference leaves the workspace",
        sql(f"UPDATE lake.mixtures SET mix_ref = '../x/y.flac' WHERE mix_id = '{mix(1)}'"),
        (("mixtures", mix(1), "leaves the workspace"),),
    ),
    Spoil(
        "an array is not the recorded one",
        sql(
            "UPDATE lake.features SET content_hash = 'other' "
            f"WHERE extractor = 'motion' AND clip_id = '{clip(2)}'"
        ),
        (("features", f"{clip(2)}/motion", "does not match its content_hash"),),
    ),
    Spoil(
        "an array has another shape",
        sql(
            "UPDATE lake.features SET shape = [4, 5] "
            f"WHERE extractor = 'motion' AND clip_id = '{clip(3)}'"
        ),
        (("features", f"{clip(3)}/motion", "its row says [4, 5]"),),
    ),
    Spoil(
        "a feature shard is damaged",
        file("features.shard_ref", "extractor = 'efficientnet_lite0'", flip),
        (("features", "efficientnet_lite0", "do not match their sha256"),),
    ),
    Spoil(
        "a key names nothing",
        sql(f"UPDATE lake.words SET position = 7 WHERE clip_id = '{clip(3)}'"),
        (("phonemes", f"{clip(3)}/0", "words.clip_id+position"),),
    ),
    Spoil(
        "a run is unknown",
        sql(f"UPDATE lake.kinds SET run_id = 'r-0' WHERE clip_id = '{clip(0)}'"),
        (("kinds", "r-0", "runs.run_id"),),
    ),
    Spoil(
        "a key is there twice",
        sql(f"INSERT INTO lake.kinds FROM lake.kinds WHERE clip_id = '{clip(4)}'"),
        (("kinds", clip(4), "there 2 times"),),
    ),
    Spoil(
        "an item has rows and no progress",
        sql(f"DELETE FROM lake.progress WHERE stage = 'transcribe' AND item_id = '{clip(1)}'"),
        (("transcripts", clip(1), "stage transcribe"), ("words", clip(1), "stage transcribe")),
    ),
    Spoil(
        "rejects and progress differ",
        reject,
        (
            ("rejects", "probe/told", "names nothing"),
            ("progress", "probe/untold", "without a row in rejects"),
        ),
    ),
    Spoil(
        "a component is in two splits",
        sql(
            f"UPDATE lake.splits SET component_id = '{source(4)}' WHERE source_id >= '{source(4)}'"
        ),
        (("splits", source(4), "several splits: test, train"),),
    ),
    Spoil(
        "an edge crosses splits",
        sql(related(source(2), source(5), "voice")),
        (("relations", f"{source(2)}/{source(5)}/voice", "is in train, the other in test"),),
    ),
    Spoil(
        "an edge joins sources of two components",
        sql(related(source(2), source(3), "face")),
        (("relations", f"{source(2)}/{source(3)}/face", "different components"),),
    ),
    Spoil(
        "a speaker is in two splits",
        sql(
            "UPDATE lake.files SET speaker = 'Anna' "
            f"WHERE source_id IN ('{source(3)}', '{source(5)}')"
        ),
        (("files", "speaker/anna", "several splits: test, train"),),
    ),
    Spoil(
        "a clip is kept although a gate failed",
        sql(
            f"UPDATE lake.kinds SET failed_gates = ['clipped'], gates = [{{'position': 7, "
            f"'gate': 'clipped', 'value': 0.2, 'threshold': 0.1, 'passed': false}}] "
            f"WHERE clip_id = '{clip(1)}'",
        ),
        (("kinds", clip(1), "kept is True, drop_reason None; failed gates: clipped"),),
    ),
    Spoil(
        "a clip's failed gates are not those of its verdicts",
        sql(
            f"UPDATE lake.kinds SET failed_gates = [], gates = [{{'position': 7, "
            f"'gate': 'clipped', 'value': 0.2, 'threshold': 0.1, 'passed': false}}] "
            f"WHERE clip_id = '{clip(2)}'",
        ),
        (("kinds", clip(2), "kept is True, drop_reason None; failed gates: none"),),
    ),
    Spoil(
        "a mixture is not in its parents' strictest split",
        sql(
            f"UPDATE lake.mixtures SET ambience_clip_id = '{clip(5)}', "
            f"recipe = replace(recipe, '{clip(3)}', '{clip(5)}') WHERE mix_id = '{mix(1)}'"
        ),
        (("mixtures", mix(1), "strictest is test"),),
    ),
    Spoil(
        "a training item shares its source with a test item",
        sql(f"UPDATE lake.dataset_items SET split = 'test' WHERE item_id = '{clip(1)}'"),
        (
            ("dataset_items", clip(1), "split is test, that of its sources is train"),
            ("dataset_items", clip(1), "several splits of the dataset: test, train"),
            ("datasets", "", "train_items is 3, its members give 2"),
            ("datasets", "", "test_items is 1, its members give 2"),
            ("datasets", "", "another task or split for member"),
        ),
    ),
    Spoil(
        "a member was changed",
        sql(f"UPDATE lake.dataset_items SET content_hash = 'x' WHERE item_id = '{clip(0)}'"),
        (("datasets", "", "digest is"),),
    ),
    Spoil(
        "weights were changed",
        file("checkpoints.ref", "true", lambda room, ref: flip(room, f"{ref}/model.safetensors")),
        (("checkpoints", "", "model.safetensors: its bytes"),),
    ),
    Spoil(
        "a film is gone",
        file("generations.file_ref", "true", Workspace.delete),
        (("generations", "generation", "film.mp4 is missing"),),
    ),
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, place: Place) -> Workspace:
    """A workspace with a row in every table and nothing wrong; not to be changed."""
    return make_workspace(place(tmp_path_factory.mktemp("whole")))


@pytest.fixture(scope="module")
def findings(whole: Workspace, tmp_path_factory: pytest.TempPathFactory) -> list[Finding]:
    """What verify says about a copy in which everything of SPOILS was spoiled."""
    with Catalog(copied(whole, tmp_path_factory.mktemp("spoiled"))) as catalog:
        for spoiled in SPOILS:
            spoiled.spoil(catalog)
        return verify(catalog, stages=ALL)


@pytest.mark.parametrize(
    ("change", "recipe", "wrong"),
    [
        (
            f"ambience_clip_id = '{clip(4)}'",
            {"speech": clip(2), "ambience": clip(3)},
            f"its parents are {clip(2)} and {clip(4)}, those of its recipe {clip(2)} and {clip(3)}",
        ),
        ("speech_clip_id = NULL, ambience_clip_id = NULL", {}, "its parents are none"),
        (
            "speech_clip_id = NULL, split = 'test'",
            {"ambience": clip(3)},
            "its split is test, its parents' strictest is train",
        ),
        ("ambience_clip_id = NULL", {"speech": clip(2)}, ""),
    ],
    ids=["another parent", "no parent", "another split", "whole"],
)
def test_a_mixture_has_the_parents_of_its_recipe_and_their_strictest_split(
    whole: Workspace, change: str, recipe: dict[str, str], wrong: str
) -> None:
    text = json.dumps({part: {"clip_id": clip_id} for part, clip_id in recipe.items()})
    with Catalog(whole) as catalog:
        catalog.connection.execute("BEGIN")
        catalog.connection.execute(
            f"UPDATE lake.mixtures SET {change}, recipe = ? WHERE mix_id = ?", [text, mix(1)]
        )
        found = [(f.table, f.id, f.wrong) for check in leaks(catalog) for f in check]
        catalog.connection.execute("ROLLBACK")
    assert [(table, name) for table, name, _ in found] == [("mixtures", mix(1))] * bool(wrong)
    assert all(wrong in text for _, _, text in found)


def is_found(expected: tuple[str, str, str], finding: Finding) -> bool:
    table, key, text = expected
    return finding.table == table and key in finding.id and text in finding.wrong


def test_a_whole_workspace_has_no_findings(whole: Workspace) -> None:
    with Catalog(whole, read_only=True) as catalog:
        found = verify(catalog, stages=ALL)
    assert (found, summary(found)) == ([], "the catalog is whole")


@pytest.mark.everywhere
@pytest.mark.parametrize("spoiled", SPOILS, ids=lambda spoiled: spoiled.name)
def test_verify_finds_what_was_spoiled(spoiled: Spoil, findings: list[Finding]) -> None:
    for expected in spoiled.found:
        found = [finding for finding in findings if is_found(expected, finding)]
        assert len(found) == 1, (expected, findings)
        assert found[0].mend


@pytest.mark.everywhere
def test_verify_finds_nothing_else(findings: list[Finding]) -> None:
    expected = [one for spoiled in SPOILS for one in spoiled.found]
    unexpected = [f for f in findings if not any(is_found(one, f) for one in expected)]
    assert unexpected == []


@pytest.mark.parametrize(
    ("version", "freeze", "wrong"),
    [
        (1, 2, "2 rows have version 1"),
        (2, 1, "2 rows have place among its freezes 1"),
        (2, None, None),
    ],
    ids=["the same version", "the same freeze", "its own"],
)
def test_two_versions_of_a_dataset_have_numbers_of_their_own(
    whole: Workspace, tmp_path: Path, version: int, freeze: int | None, wrong: str | None
) -> None:
    with Catalog(copied(whole, tmp_path)) as catalog:
        catalog.connection.execute(
            "INSERT INTO lake.datasets SELECT * REPLACE ('other' AS dataset_id, ? AS version, "
            "? AS freeze_number) FROM lake.datasets WHERE name = 'made'",
            [version, freeze],
        )
        found = verify(catalog, deep=False, stages=ALL)
    shared = [one.wrong for one in found if (one.table, one.id) == ("datasets", "made")]
    assert shared == ([wrong] if wrong else [])


def test_shallow_sees_missing_files_and_reads_none(whole: Workspace, tmp_path: Path) -> None:
    with Catalog(copied(whole, tmp_path / "copy"), read_only=True) as catalog:
        file("decodes.audio48_ref", f"source_id = '{source(0)}'", Workspace.delete)(catalog)
        file("decodes.audio16_ref", f"source_id = '{source(1)}'", flip)(catalog)
        found = verify(catalog, deep=False)
    assert [(f.table, f.id) for f in found] == [("decodes", source(0))]


def test_a_lost_data_file_is_named_before_any_query_fails(whole: Workspace, tmp_path: Path) -> None:
    with Catalog(copied(whole, tmp_path / "copy")) as catalog:
        catalog.connection.execute("CALL ducklake_flush_inlined_data('lake')")
        (lost,) = catalog.workspace.listing("tables/main/windows")
        catalog.workspace.delete(lost.ref)
        found = verify(catalog)
    assert [(f.table, f.id) for f in found] == [("windows", Path(lost.ref).name)]
    assert "restore" in found[0].mend


def test_many_findings_of_one_kind_are_counted(whole: Workspace, tmp_path: Path) -> None:
    with Catalog(copied(whole, tmp_path / "copy")) as catalog:
        rows = [made_row("tags", clip_id=f"n{n}", rank=1) for n in range(EXAMPLES + 3)]
        catalog.insert("tags", rows)
        found = verify(catalog, deep=False)
    assert len(found) == EXAMPLES + 1
    assert "3 more" in found[-1].wrong


def test_versions_of_a_dataset_have_the_codecs_of_their_own_time(
    whole: Workspace, tmp_path: Path
) -> None:
    with Catalog(copied(whole, tmp_path / "copy")) as catalog:
        sql("UPDATE lake.codecs SET codec_id = 'newer'")(catalog)
        sql(
            "INSERT INTO lake.datasets SELECT * REPLACE ('second' AS dataset_id, 2 AS version, "
            f"'newer' AS codec_id, {catalog.snapshot()} AS catalog_snapshot) FROM lake.datasets",
            "INSERT INTO lake.dataset_items SELECT * REPLACE ('second' AS dataset_id) "
            "FROM lake.dataset_items",
        )(catalog)
        found = [verify(catalog, deep=False)]
        sql("UPDATE lake.datasets SET codec_id = 'codec' WHERE version = 2")(catalog)
        found.append(verify(catalog, deep=False))
    nameless = [[f.id for f in some if "names nothing" in f.wrong] for some in found]
    assert nameless == [[], ["codec"]]


def test_relatives_in_two_splits_of_a_dataset_version_are_found(
    whole: Workspace, tmp_path: Path
) -> None:
    with Catalog(copied(whole, tmp_path / "copy")) as catalog:
        sql(
            related(source(0), source(5), "speaker"),
            f"UPDATE lake.splits SET component_id = '{source(0)}' "
            f"WHERE source_id IN ('{source(0)}', '{source(5)}')",
        )(catalog)
        # The version pins a snapshot: what was known then is what counts.
        assert [f.table for f in verify(catalog, deep=False)] == ["splits", "relations"]
        sql(f"UPDATE lake.datasets SET catalog_snapshot = {catalog.snapshot()}")(catalog)
        found = [f for f in verify(catalog, deep=False) if f.table == "dataset_items"]
    assert [f.id.rpartition("/")[2] for f in found] == [clip(0), clip(5)]
    assert (
        f"component {source(0)} is in several splits of the dataset: test, train" in found[0].wrong
    )
    assert f"in test and its relative {clip(0)} (speaker) in train" in found[1].wrong


def test_every_column_with_a_reference_is_declared() -> None:
    declared = {(column.table, column.column) for column in FILE_COLUMNS}
    there = {
        (table.name, column.name)
        for table in TABLES.values()
        for column in table.columns
        if column.name in ("ref", "refs") or column.name.endswith(("_ref", "_refs"))
    }
    assert there == declared


def test_every_id_of_another_table_is_a_declared_foreign_key() -> None:
    declared = {f"{key.table}.{column}" for key in FOREIGN_KEYS for column in key.columns}
    there = {
        f"{table.name}.{column.name}"
        for table in TABLES.values()
        for column in table.columns
        if column.name.endswith("_id") and table.key != (column.name,)
    }
    assert there - declared - FREE_IDS == set()


def test_foreign_keys_name_columns_that_are_there() -> None:
    for key in FOREIGN_KEYS:
        for table, columns in ((key.table, key.columns), *key.targets):
            names = {column.name for column in TABLES[table].columns}
            assert set(columns) <= names, key.text
