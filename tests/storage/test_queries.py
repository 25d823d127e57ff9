"""What the commands ask: names are found by their start, and unknown ones name what there is."""

from pathlib import Path

import pytest

from storage import queries
from storage.catalog import Catalog
from storage.queries import UnknownName
from storage.schema import TABLES, VIEWS
from storage.workspace import Workspace
from tasks.train import STAGE as TRAIN
from tests.made_commits import made_row
from tests.made_workspace import make_workspace


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory):
    """A whole workspace's catalog with two more checkpoints, not to be changed."""
    workspace = make_workspace(tmp_path_factory.mktemp("whole"))
    with Catalog(workspace) as opened:
        dataset = opened.value("SELECT dataset_id FROM datasets")
        for run, name in (("r-8", "ab12"), ("r-9", "ab34")):
            row = made_row("checkpoints", checkpoint_id=name, dataset_id=dataset, run_id=run)
            opened.insert("checkpoints", [row])
    with Catalog(workspace, read_only=True) as opened:
        yield opened


def test_every_table_and_view_is_counted(catalog: Catalog) -> None:
    rows = {row["table"]: row for row in queries.table_counts(catalog)}
    assert set(rows) == {*TABLES, *VIEWS}
    assert rows["windows"]["rows"] == catalog.value("SELECT count(*) FROM windows") > 0
    assert rows["clips"]["kind"] == "view"


def test_a_checkpoint_is_found_by_its_start_and_the_newest_without(catalog: Catalog) -> None:
    assert queries.checkpoint_id(catalog, "ab3") == "ab34"
    assert queries.checkpoint_id(catalog) == "ab34"


@pytest.mark.parametrize(
    ("start", "told"), [("ab", "2 checkpoints begin with 'ab'"), ("zz", "no checkpoint begins")]
)
def test_a_start_of_no_or_of_several_checkpoints_is_refused(
    catalog: Catalog, start: str, told: str
) -> None:
    with pytest.raises(UnknownName, match=told):
        queries.checkpoint_id(catalog, start)


def test_no_checkpoint_at_all_says_what_to_run(tmp_path: Path) -> None:
    with (
        Catalog(Workspace.at(tmp_path).make()) as opened,
        pytest.raises(UnknownName, match="there is no checkpoint; run `talkies train` first"),
    ):
        queries.checkpoint_id(opened)


def test_a_checkpoint_leads_to_its_dataset_and_back(catalog: Catalog) -> None:
    name, _ = queries.dataset_of(catalog, "ab34")
    found = [row["checkpoint_id"] for row in queries.checkpoints_on(catalog, name)]
    assert found[-2:] == ["ab12", "ab34"]


def test_an_unknown_dataset_names_those_that_there_are(catalog: Catalog) -> None:
    name = queries.dataset_versions(catalog)[0]["name"]
    with pytest.raises(UnknownName, match=f"no dataset nope, build it first; there are: {name}"):
        queries.stored_recipe(catalog, "nope")


def test_an_unknown_version_names_those_that_there_are(catalog: Catalog) -> None:
    name = queries.dataset_versions(catalog)[0]["name"]
    with pytest.raises(UnknownName, match=f"no dataset {name}@9, .* there are: {name}@1"):
        queries.stored_recipe(catalog, f"{name}@9")


def test_the_newest_version_is_the_one_that_was_frozen_last(tmp_path: Path) -> None:
    with Catalog(Workspace.at(tmp_path).make()) as opened:
        for version, freeze in ((1, 3), (2, None)):
            own = {"dataset_id": f"d{version}", "name": "made", "run_id": f"r-{freeze or version}"}
            more = {"version": version, "freeze_number": freeze, "codec_id": "c"}
            opened.insert("datasets", [made_row("datasets", **own, **more)])
            told = {"run_id": own["run_id"], "recipe": f"recipe {version}"}
            opened.insert("runs", [made_row("runs", **told)])
            row = {"checkpoint_id": f"c{version}", "dataset_id": f"d{version}"}
            opened.insert("checkpoints", [made_row("checkpoints", **row)])
        opened.insert("codecs", [made_row("codecs", codec_id="c")])
        for name, version in (("made", 1), ("made@1", 1), ("made@2", 2)):
            assert queries.stored_recipe(opened, name) == f"recipe {version}"
            (item,) = opened.rows(TRAIN.items, {"dataset": name})
            assert item["item_id"] == f"d{version}"
        of_first, of_all = ({"c1"}, {"c1", "c2"})
        for name, ids in (("made", of_all), ("made@1", of_first)):
            assert {row["checkpoint_id"] for row in queries.checkpoints_on(opened, name)} == ids
        assert queries.freezes(opened) == {("d1", 3), ("d2", 2)}


def test_a_model_of_an_older_version_looks_at_films_as_that_was_looked_at(tmp_path: Path) -> None:
    with Catalog(Workspace.at(tmp_path).make()) as opened:
        for version in (1, 2):
            told = {"run_id": f"r-{version}", "recipe": f"recipe {version}"}
            opened.insert("runs", [made_row("runs", **told)])
            own = {"dataset_id": f"d{version}", "name": "made", "version": version}
            opened.insert("datasets", [made_row("datasets", **own, run_id=told["run_id"])])
            row = {"checkpoint_id": f"c{version}", "dataset_id": f"d{version}", "run_id": "r-3"}
            opened.insert("checkpoints", [made_row("checkpoints", **row)])
        assert queries.film_recipes(opened, "c1") == ("recipe 1", "recipe 2", True)
        assert queries.film_recipes(opened, "c2") == ("recipe 2", "recipe 2", True)
