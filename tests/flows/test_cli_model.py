"""`talkies model`, and the model that `talkies sonify` takes where none is named."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flows import commands, console
from flows.cli import app, guarded
from flows.session import Job, unfinished
from storage.catalog import Catalog
from storage.workspace import Workspace
from tasks import shipped_model
from tasks.model_package import export_model
from tasks.pipeline import film_stages
from tests.made_package import trained
from tests.made_workspace import make_workspace


@pytest.fixture(autouse=True)
def nothing_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test begins without options of another, and without a model that ships."""
    for name, value in (("workspace", None), ("catalog", None), ("json", False)):
        monkeypatch.setattr(console.Given, name, value)
    monkeypatch.setattr(shipped_model, "FOLDER", Path("nowhere"))


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A workspace and its model."""
    workspace = make_workspace(tmp_path_factory.mktemp("origin") / "workspace")
    return workspace.root, trained(workspace, look={})


@pytest.fixture(scope="module")
def package(origin: tuple[Path, str]) -> tuple[Path, str]:
    """The package of the model, and its id."""
    out = origin[0].parent / "weights" / "made"
    return out, export_model(Workspace.at(origin[0]), origin[1], out).checkpoint_id


@pytest.fixture
def shipped(package: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> str:
    """The id of the model, which now comes with talkies."""
    monkeypatch.setattr(shipped_model, "FOLDER", package[0].parent)
    return package[1]


def talkies(*arguments: object) -> int:
    """The exit code of a command run in this process."""
    return guarded(lambda: app([str(word) for word in arguments], standalone_mode=False))


def test_a_model_is_exported_and_imported_as_a_person_types_it(
    origin: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, fresh = tmp_path / "out", tmp_path / "fresh"
    words = ("model", "export", origin[1][:8], out, "--workspace", origin[0])
    assert talkies(*words) == console.DONE
    assert "trained on made@1" in capsys.readouterr().out
    assert talkies(*words) == console.USAGE
    assert "not empty; name a new folder" in capsys.readouterr().err
    for is_new in (True, False):
        assert talkies("model", "import", out, "--workspace", fresh, "--json") == console.DONE
        assert json.loads(capsys.readouterr().out)["is_new"] is is_new
    assert talkies("model", "import", tmp_path, "--workspace", fresh) == console.USAGE
    shown = capsys.readouterr()
    assert "package.json is missing" in shown.err and shown.err.count("\n") == 1


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Job]]:
    """The flows that would have run."""
    asked: list[Job] = []

    def ran(job: Job, *_: Any, **__: Any) -> bool:
        asked.append(job)
        return True

    monkeypatch.setattr(commands, "_bring_up_to_date", ran)
    yield asked


def sonify(workspace: Path, folder: Path, *more: str) -> int:
    film = folder / "film.mp4"
    film.write_bytes(b"film")
    return talkies("sonify", film, "--out", folder / "out", "--workspace", workspace, *more)


def test_without_a_model_the_shipped_one_is_taken_and_told_in_one_line(
    shipped: str, jobs: list[Job], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):  # the second time it is there
        assert sonify(tmp_path / "fresh", tmp_path) == console.FAILED  # no flow ran
    shown = capsys.readouterr()
    assert shown.out.count("The model that comes with talkies: ") == 1
    assert f"comes with talkies: {shipped[:12]}, preset" in shown.out
    first, second = (job.load() for job in jobs)
    assert first == second and first.configs["sonify"].checkpoint == shipped
    plans = unfinished(Workspace.at(jobs[0].workspace), first, film_stages("none"))
    assert [(plan.stage, plan.items) for plan in plans] == [("scan", 1), ("sonify", 1)]


def test_a_workspaces_own_model_is_taken_before_the_shipped_one_unless_that_is_named(
    origin: tuple[Path, str], shipped: str, jobs: list[Job], tmp_path: Path
) -> None:
    sonify(origin[0], tmp_path)
    sonify(origin[0], tmp_path, "--model", "shipped")
    own, named = (job.load().configs["sonify"].checkpoint for job in jobs)
    assert own != shipped and named == shipped


def test_a_newer_shipped_model_replaces_the_one_before_but_none_that_a_person_brought(
    package: tuple[Path, str], jobs: list[Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    origin = make_workspace(tmp_path / "origin")
    with Catalog(origin) as catalog, catalog.transaction():
        catalog.connection.execute("UPDATE lake.datasets SET name = 'shipped'")
    expected: list[str] = []
    for folder, weight in (("older", 0.25), ("newer", 0.5)):
        out = tmp_path / folder / "world"
        given = trained(origin, look={}, mix_out__weight=weight)
        expected.append(export_model(origin, given, out).checkpoint_id)
        monkeypatch.setattr(shipped_model, "FOLDER", out.parent)
        sonify(tmp_path / "fresh", tmp_path)
    assert talkies("model", "import", package[0], "--workspace", tmp_path / "fresh") == console.DONE
    monkeypatch.setattr(shipped_model, "FOLDER", tmp_path / "older")
    for more in ((), ("--model", "shipped"), ()):
        sonify(tmp_path / "fresh", tmp_path, *more)
    taken = [job.load().configs["sonify"].checkpoint for job in jobs]
    assert taken == [*expected, package[1], expected[0], package[1]]


def test_a_recipe_that_is_given_says_how_films_get_sound_and_models_are_measured(
    origin: tuple[Path, str],
    shipped: str,
    jobs: list[Job],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    recipe = tmp_path / "cool.yaml"
    recipe.write_text(
        "{sonify: {temperature: 0.7, takes: 2}, evaluate: {temperature: 0.5, generate: 3}}"
    )
    given = ("--takes", "3", "--recipe", str(recipe))
    sonify(tmp_path / "fresh", tmp_path, *given)  # by a recipe that came with the model
    sonify(origin[0], tmp_path, "--model", origin[1], *given)  # and one of its own
    for taken in (job.load().configs["sonify"] for job in jobs):
        assert (taken.temperature, taken.takes, len(taken.targets)) == (0.7, 3, 1)
    assert [job.load().configs["sonify"].checkpoint for job in jobs] == [shipped, origin[1]]
    words = ("evaluate", origin[1][:8], "--dataset", "made", "--workspace", origin[0])
    assert talkies(*words, "--recipe", recipe) == console.DONE
    assert talkies(*words, "--recipe", recipe, "--generate", 4) == console.DONE
    plain, asked = (job.load().configs["evaluate"] for job in jobs[2:])
    assert (plain.temperature, plain.generate, asked.generate) == (0.5, 3, 4)
    assert (plain.dataset, plain.checkpoint) == ("made", origin[1])
    assert talkies(*words[:2], "--dataset", "made@1", *words[4:]) == console.DONE
    assert jobs[-1].load().configs["evaluate"].dataset == "made@1"
    capsys.readouterr()
    assert talkies(*words, "--recipe", tmp_path / "no.yaml") == console.USAGE
    assert "no.yaml: No such file" in capsys.readouterr().err


def test_a_voice_is_a_file_where_there_is_one_else_a_name_that_the_model_must_know(
    origin: tuple[Path, str],
    jobs: list[Job],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "voice.wav").write_bytes(b"voice")
    for voice in ("Anna", str(tmp_path / "voice.wav")):
        asked = ("--model", origin[1][:8], "--voice", voice)
        assert sonify(origin[0], tmp_path, *asked) == console.FAILED  # no flow ran
    named, recorded = (job.load().configs["sonify"] for job in jobs)
    assert (named.voice, named.voice_file) == ("Anna", "")
    assert (recorded.voice, recorded.voice_file) == ("", str(tmp_path / "voice.wav"))
    asked = ("--model", origin[1][:8], "--voice", "bob")
    assert sonify(origin[0], tmp_path, *asked) == console.USAGE
    assert "it knows anna" in capsys.readouterr().err and len(jobs) == 2


def test_where_no_model_ships_the_error_is_what_it_was(
    jobs: list[Job], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sonify(tmp_path / "fresh", tmp_path) == console.FAILED
    assert "has no catalog; run `talkies demo` or" in capsys.readouterr().err
    assert sonify(tmp_path / "fresh", tmp_path, "--model", "shipped") == console.USAGE
    assert "no model comes with this talkies; train one" in capsys.readouterr().err
    assert not (tmp_path / "fresh").exists() and jobs == []


def test_a_folder_without_a_package_ships_nothing(
    package: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipped_model, "FOLDER", tmp_path)
    (tmp_path / "a").mkdir()
    assert shipped_model.shipped_model() is None
    shutil.copytree(package[0], tmp_path / "b")
    assert shipped_model.shipped_model() == tmp_path / "b"
