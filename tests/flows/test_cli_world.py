"""`talkies stage-world` as a person types it."""

import json
from pathlib import Path

import pytest

from flows import console
from flows.cli import app, guarded
from tasks.recipe import load_recipe
from tasks.world import Part, prepare, stage_part
from tasks.world_plan import WorldConfig

VOICE = "espeak:en-us"


@pytest.fixture(autouse=True)
def nothing_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test begins without options of another."""
    monkeypatch.setattr(console.Given, "json", False)


def talkies(*arguments: object) -> int:
    """The exit code of a command run in this process."""
    return guarded(lambda: app([str(word) for word in arguments], standalone_mode=False))


def test_a_world_is_staged_with_a_recipe_that_can_be_built(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "world"
    config = WorldConfig(2.0, 0, 64, (VOICE,))
    prepare(out, config, 1)
    stage_part(out, config, Part(0, 1))
    words = ("stage-world", out, "--clips", 1, "--seconds", 2, "--side", 64, "--voice", VOICE)
    assert talkies(*words, "--json") == console.DONE
    told = json.loads(capsys.readouterr().out)
    assert (told["clips"], told["made"], sum(told["kinds"].values())) == (1, 0, 1)
    assert talkies(*words, "--workspace", "/data/ws") == console.DONE
    shown = capsys.readouterr().out
    assert f"voices: {VOICE}" in shown
    assert f"next: talkies build {out / 'recipe.yaml'} --workspace /data/ws" in shown
    recipe = load_recipe(out / "recipe.yaml")
    assert recipe.name == "world"
    assert recipe.configs["scan"].folder == str(out)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--voice", "espeak:klingon"), "--voice espeak:klingon: not here; choose from"),
        (("--test", 0.6, "--validation", 0.4), "leave nothing to train on"),
        (("--side", 65), "--side 65: give an even number"),
        (("--seconds", 60), "less than or equal to 10"),
    ],
)
def test_a_world_that_cannot_be_staged_exits_with_2_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], more: tuple[object, ...], said: str
) -> None:
    assert talkies("stage-world", tmp_path / "world", *more) == console.USAGE
    shown = capsys.readouterr().err
    assert said in shown
    assert len(shown.strip().splitlines()) == 1
    assert not (tmp_path / "world").exists()


def test_a_folder_with_something_else_exits_with_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    assert talkies("stage-world", tmp_path, "--voice", VOICE) == console.USAGE
    assert "holds something that is no staged world; give a new folder" in capsys.readouterr().err
