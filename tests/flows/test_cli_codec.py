"""`talkies train codec` beside `talkies train RECIPE`."""

from pathlib import Path

import pytest

from flows import console
from flows.cli import app, guarded
from flows.commands import how_to_keep
from tasks.recipe import parse_recipe


def talkies(*words: object) -> int:
    """The exit code of a command run in this process."""
    return guarded(lambda: app([str(word) for word in words], standalone_mode=False))


def test_two_words_name_their_own_command_and_other_words_stay_a_recipe(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert talkies("train", "codec", "--workspace", tmp_path / "w") == console.USAGE
    assert "give either a recipe or --dataset NAME" in capsys.readouterr().err
    assert talkies("train", "./codec", "--workspace", tmp_path / "w") == console.USAGE
    assert "recipe codec: No such file" in capsys.readouterr().err
    assert not (tmp_path / "w").exists()


@pytest.mark.parametrize(
    ("section", "asked", "written"),
    [
        ({}, {"codec": "learned"}, "fit_codec: {codec: learned}"),
        ({"codec": "learned"}, {"codec": "learned", "steps": 9}, "codec: learned, steps: 9}"),
        ({"codec": "learned", "steps": 9}, {"codec": "learned", "steps": 9}, ""),
    ],
)
def test_a_recipe_that_asks_for_another_codec_is_told_what_to_write(
    section: dict[str, object], asked: dict[str, object], written: str
) -> None:
    recipe = parse_recipe({"name": "a", "fit_codec": section}, Path("r"))
    told = " ".join(how_to_keep(recipe, asked))
    assert written in told
    assert bool(told) == bool(written)
