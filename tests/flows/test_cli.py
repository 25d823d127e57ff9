"""The command line: help, options before and after a command, JSON, errors, exit codes."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from flows import console
from flows.cli import app, guarded
from storage.catalog import Catalog
from tasks import train_cost
from tests.flows.command import Built, made_recipe, run_talkies
from tests.made_workspace import make_workspace

SLOW_IMPORTS = (
    *("torch", "prefect", "av", "cv2", "faster_whisper", "librosa", "onnxruntime"),
    *("diffusers", "transformers"),
)


def commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The words of every command and group below a group."""
    for name, command in group.commands.items():
        yield (*path, name)
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))


ALL_COMMANDS = list(commands(typer.main.get_command(app)))


@pytest.fixture(autouse=True)
def nothing_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test begins without options of another; help is not broken into narrow columns."""
    for name, value in (("workspace", None), ("catalog", None), ("json", False), ("debug", False)):
        monkeypatch.setattr(console.Given, name, value)
    monkeypatch.setenv("COLUMNS", "200")


def talkies(*arguments: object) -> int:
    """The exit code of a command run in this process."""
    return guarded(lambda: app([str(word) for word in arguments], standalone_mode=False))


@pytest.mark.parametrize("words", ALL_COMMANDS, ids=" ".join)
def test_every_commands_help_exits_with_0_and_shows_an_example(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert talkies(*words, "--help") == console.DONE
    shown = capsys.readouterr().out
    assert "Example" in shown
    assert f"talkies {' '.join(words)} " in shown.partition("Example")[2]


def test_every_command_takes_workspace_catalog_and_json_after_its_name(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for words in ALL_COMMANDS:
        if words not in (("catalog",), ("mixtures",), ("model",)):
            talkies(*words, "--help")
            shown = capsys.readouterr().out
            assert "--workspace" in shown, words
            assert "--json" in shown, words
            assert "--catalog" in shown, words


def test_the_command_line_starts_without_slow_imports() -> None:
    script = (
        f"import sys, flows.cli; print([m for m in {SLOW_IMPORTS!r} if m in sys.modules]);"
        "import flows.cli_catalog, flows.commands;"
        f"print([m for m in {SLOW_IMPORTS!r} if m in sys.modules])"
    )
    said = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    assert said.stdout.split("\n")[:2] == ["[]", "[]"]


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        ({"listenn": {}}, "no section `listenn`; did you mean `listen`?"),
        ({"voice": {"treshold": 0.5}}, "did you mean `threshold`?"),
        ({"voice": {"threshold": 7}}, "voice.threshold=7: Input should be less than 1"),
        ({"label": 3}, "`label:` must hold fields, not 3"),
        ({"split": {"test": 0.9, "validation": 0.2}}, "no training split"),
        ({"name": "a b"}, "name='a b' must be letters"),
        ({"scan": {"folder": "nowhere"}}, "nowhere: not a folder; mend `scan.folder`"),
        ("just text", "give `name:` and sections"),
    ],
)
def test_a_wrong_recipe_exits_with_2_in_one_line_and_makes_nothing(
    recipe: object, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, workspace = tmp_path / "recipe.yaml", tmp_path / "workspace"
    path.write_text(yaml.safe_dump(recipe))
    for command in ("plan", "build"):
        assert talkies(command, path, "--workspace", workspace) == console.USAGE
        shown = capsys.readouterr()
        assert said in shown.err
        assert shown.err.count("\n") == 1
        assert "Traceback" not in shown.err
        assert shown.out == ""
    assert not workspace.exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["build", "missing.yaml"], "missing.yaml: No such file or directory"),
        (["build", "--source", "missing", "--name", "x"], "--source missing: not a folder"),
        (["build", "r.yaml", "--source", "."], "a recipe or --source, not both"),
        (["build", "--source", "."], "--source DIR --name NAME"),
        (["build", "--max-rejects", "-1"], "--max-rejects"),
        (["buidl"], "Did you mean 'build'?"),
        (["build", "--wrokers", "2"], "No such option: --wrokers"),
        (["catalog", "sql"], "Missing argument 'query'"),
        (["catalog", "describe", "clip"], "did you mean clips?"),
    ],
)
def test_a_wrong_command_exits_with_2_in_one_line(
    words: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert talkies(*words) == console.USAGE
    shown = capsys.readouterr()
    assert said in shown.err
    assert shown.err.count("\n") == 1
    assert not (tmp_path / "workspace").exists()


def test_a_missing_catalog_is_one_line_and_a_traceback_with_debug(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert talkies("--workspace", tmp_path, "catalog", "tables") == console.FAILED
    shown = capsys.readouterr().err
    assert shown.count("\n") == 1
    assert "has no catalog; run `talkies demo`" in shown
    said = run_talkies("--debug", "--workspace", tmp_path, "catalog", "tables")
    assert said.returncode == 1
    assert "Traceback" in said.stderr
    assert "CatalogMissing" in said.stderr


def test_an_error_of_many_lines_is_printed_as_one(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        error = RuntimeError("Traceback (most recent call last):\n  File x\nKeyError: 'fps'")
        error.add_note("stage decode, shard 3, item 3f9a")
        raise error

    assert guarded(fail) == console.FAILED
    assert (
        capsys.readouterr().err == "talkies: KeyError: 'fps' (stage decode, shard 3, item 3f9a)\n"
    )


def test_doctor_prints_only_json_with_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    talkies("doctor", "--workspace", tmp_path, "--json")
    after = json.loads(capsys.readouterr().out)
    talkies("--json", "--workspace", tmp_path, "doctor")
    before = json.loads(capsys.readouterr().out)
    names = [check["check"] for check in before]
    assert names == [check["check"] for check in after]
    assert {"python", "weights", "disk", "prefect server", "gpu"} <= set(names)
    assert all(check["mend"] for check in before if check["state"] == "missing")


@pytest.mark.flow
@pytest.mark.timeout(120)
def test_doctor_asks_the_server_that_the_environment_names(
    engine: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    talkies("doctor", "--workspace", tmp_path, "--json")
    checks = {check["check"]: check for check in json.loads(capsys.readouterr().out)}
    assert checks["prefect server"]["state"] == "ok"
    assert checks["prefect server"]["found"] == f"{engine['PREFECT_API_URL']} answers 200"


# -- on a built catalog ------------------------------------------------------------------------

flow = [pytest.mark.flow, pytest.mark.slow, pytest.mark.weights, pytest.mark.timeout(300)]


def marked(test: Any) -> Any:
    for mark in flow:
        test = mark(test)
    return test


@marked
@pytest.mark.parametrize(
    "words",
    [
        ["catalog", "tables"],
        ["catalog", "describe"],
        ["catalog", "describe", "clips"],
        ["catalog", "rejects"],
        ["catalog", "rejects", "--reason", "not_media"],
        ["catalog", "snapshots"],
        ["catalog", "sql", "SELECT kind, count(*) AS clips FROM clips GROUP BY kind ORDER BY kind"],
    ],
    ids=" ".join,
)
def test_a_catalog_command_says_the_same_before_and_after_its_name_and_as_json(
    built: Built, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert talkies(*words, "--workspace", built.workspace, "--json") == console.DONE
    after = json.loads(capsys.readouterr().out)
    assert talkies("--json", "--workspace", built.workspace, *words) == console.DONE
    assert json.loads(capsys.readouterr().out) == after
    assert after
    assert talkies(*words, "--workspace", built.workspace) == console.DONE
    shown = capsys.readouterr()
    assert shown.err == ""
    assert len(shown.out.splitlines()) > 1


@marked
@pytest.mark.flow
def test_training_on_a_dataset_that_was_not_built_names_it_and_exits_with_2(
    built: Built, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "r.yaml"
    recipe.write_text(yaml.safe_dump({"name": "other"}))
    assert talkies("train", recipe, "--workspace", built.workspace) == console.USAGE
    assert "no dataset other, build it first; there are: small" in capsys.readouterr().err


@pytest.mark.parametrize("dataset", ["other", "made@2"])
def test_a_checkpoint_of_another_dataset_or_version_is_not_measured_on_this_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], dataset: str
) -> None:
    with Catalog(make_workspace(tmp_path)) as catalog:
        for changes in ("'other' AS name, 'o' AS dataset_id", "2 AS version, 'm' AS dataset_id"):
            catalog.connection.execute(
                f"INSERT INTO lake.datasets SELECT * REPLACE ({changes}) "
                "FROM lake.datasets WHERE name = 'made' AND version = 1"
            )
        (row,) = catalog.rows("SELECT checkpoint_id FROM lake.checkpoints")
    given = (row["checkpoint_id"], "--dataset", dataset, "--workspace", tmp_path)
    assert talkies("evaluate", *given) == console.USAGE
    assert "was trained on dataset made@1, whose held-out items" in capsys.readouterr().err


@pytest.mark.parametrize(
    "query",
    [
        "DELETE FROM clips",
        "DROP TABLE lake.sources",
        "CREATE TABLE lake.more AS SELECT 1",
        "COPY sources TO 'stolen.csv'",
        "SELECT 1; DROP TABLE lake.sources",
        "SELECT * FROM read_text('/etc/hostname')",
        "SELECT nothing FROM clips",
    ],
)
def test_a_statement_that_is_not_one_select_is_refused_with_2(
    built: Built, query: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert talkies("catalog", "sql", query, "--workspace", built.workspace) == console.USAGE
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.count("\n") == 1


@marked
def test_a_build_with_json_prints_only_json(built: Built, engine: dict[str, str]) -> None:
    at = ("--workspace", built.workspace, "--json", "build", built.recipe)
    said = run_talkies(*at, env=engine)
    assert said.returncode == 0
    assert said.stderr == ""
    told = json.loads(said.stdout)
    assert told["ran"] is False
    assert told["dataset"] == "small"
    assert sum(row["rejected"] for row in told["summary"]) == 2


@marked
def test_a_plan_of_a_changed_recipe_names_the_stage(
    built: Built, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = made_recipe(tmp_path / "small.yaml", built.sources, label={"max_silence_sound": 0.7})
    told = ("--workspace", built.workspace, "--json", "--pilot-seconds", 0)
    assert talkies("plan", recipe, *told) == console.DONE
    plans = json.loads(capsys.readouterr().out)["to_do"]
    assert [plan["stage"] for plan in plans] == ["label"]
    assert plans[0]["to do"] == plans[0]["of"]


def test_a_catalog_may_be_named_before_or_after_a_command_and_its_password_is_not_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPASSWORD", "")
    url = f"postgresql://me:hunter2@/films?host={tmp_path}/nowhere"
    room = ("--workspace", tmp_path)
    for words in (
        ("--catalog", url, "catalog", "tables", *room),
        ("catalog", "tables", *room, "--catalog", url),
        ("--catalog", "postgresql:///other", "catalog", "tables", *room, f"--catalog={url}"),
    ):
        assert talkies(*words) == console.FAILED
        said = capsys.readouterr().err
        assert "nowhere, database films, schema talkies does not answer" in said
        assert "hunter2" not in said
        assert said.count("\n") == 1
        # The flow and its workers find it where libpq looks.
        assert os.environ["PGPASSWORD"] == "hunter2"


@pytest.fixture
def known_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spares the measurement."""
    monkeypatch.setattr(train_cost, "matmul_rate", lambda device, precision: 1e12)


@pytest.mark.usefixtures("known_rate")
def test_a_dry_run_of_training_tells_its_cost_without_a_dataset_or_a_workspace(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    room = ("--workspace", tmp_path / "none")
    asked = ("train", "--preset", "tiny", "--dry-run", *room)
    assert talkies(*asked, "--json") == console.DONE
    told = json.loads(capsys.readouterr().out)
    assert told["trainable_parameters"] == 2_959_030
    for name in ("memory_bytes", "activations_bytes", "flops_per_step", "forecast_step_s"):
        assert told[name] > 0
    assert talkies(*asked) == console.DONE
    assert "2,959,030 trainable parameters" in capsys.readouterr().out
    assert not (tmp_path / "none").exists()


@pytest.mark.usefixtures("known_rate")
def test_a_dry_run_of_a_recipe_takes_its_own_training_section(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "large.yaml"
    recipe.write_text(yaml.safe_dump({"name": "large", "train": {"batch_size": 3, "crop_s": 2.0}}))
    assert talkies("train", recipe, "--dry-run", "--json") == console.DONE
    told = json.loads(capsys.readouterr().out)
    assert (told["preset"], told["batch_size"], told["crop_s"]) == ("tiny", 3, 2.0)


def test_a_dry_run_of_an_unknown_preset_names_those_there_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert talkies("train", "--preset", "huge", "--dry-run") == console.USAGE
    assert "vssflow_m" in capsys.readouterr().err
