"""The pipeline's declarations: every stage can be planned, and reads only what it selects."""

import dataclasses
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.catalog import PARAMETER, Catalog
from storage.schema import TABLES
from storage.stage import Stage
from storage.workspace import Workspace
from tasks.pipeline import ALL, BUILD, FILMS, STAGES
from tasks.scan import LISTING, SEARCH
from tests.conftest import Place

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory, place: Place) -> Iterator[Catalog]:
    with Catalog(Workspace.at(place(tmp_path_factory.mktemp("pipeline"))).make()) as opened:
        opened.connection.register("listing", LISTING.empty_table())
        opened.connection.register("search", SEARCH.empty_table())
        yield opened


def test_stages_have_names_of_their_own_and_titles() -> None:
    assert len(STAGES) == len(ALL)
    assert all(stage.title for stage in ALL)
    assert set(FILMS) <= set(ALL)
    assert set(BUILD) <= set(ALL)


@pytest.mark.parametrize("stage", ALL, ids=lambda stage: stage.name)
def test_a_stage_on_an_empty_catalog_has_nothing_to_do(catalog: Catalog, stage: Stage) -> None:
    # A folder without media is refused, so the listing is an empty table here.
    given = None if stage is STAGES["scan"] else stage.given
    stage = dataclasses.replace(stage, weights=None, given=given)
    plan = catalog.plan(stage, stage.config())
    assert (plan.items, plan.total_items, plan.gone, plan.shards) == (0, 0, 0, ())
    columns = [row["column_name"] for row in catalog.rows("DESCRIBE keyed")]
    assert {"item_id", "cost_s"} <= set(columns)


@pytest.mark.parametrize("stage", ALL, ids=lambda stage: stage.name)
def test_a_stage_is_declared_of_things_that_exist(stage: Stage) -> None:
    fields = {field.name for field in dataclasses.fields(stage.config)}
    assert set(PARAMETER.findall(stage.items)) <= fields
    assert set(stage.selects) <= fields
    for output in stage.outputs:
        names = {column.name for column in TABLES[output.table].columns}
        assert output.key in names
        assert {column for column, _ in output.only} <= names
    config = stage.config()
    for name in fields:
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(config, name, None)


def test_only_one_stage_owns_a_table_or_a_part_of_it() -> None:
    owners: dict[object, str] = {}
    for stage in ALL:
        for output in stage.outputs:
            for part in [(output.table, v) for _, vs in output.only for v in vs] or [output.table]:
                assert part not in owners, f"{stage.name} and {owners[part]} write {part}"
                owners[part] = stage.name


def test_importing_the_pipeline_loads_no_network_and_no_prefect() -> None:
    heavy = (
        "prefect torch torchaudio av cv2 onnxruntime faster_whisper librosa audiomentations "
        "diffusers transformers"
    )
    code = f"import sys, tasks.pipeline; print([m for m in {heavy.split()!r} if m in sys.modules])"
    answer = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "[]"
