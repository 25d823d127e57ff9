"""A build through the command line, and builds again after something changed."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import soundfile

from tasks.pipeline import BUILD
from tests.flows.command import (
    BAD_FILES,
    Built,
    broken_promises,
    hiss,
    made_recipe,
    opened,
    run_talkies,
    worked_by,
)

pytestmark = [pytest.mark.flow, pytest.mark.slow, pytest.mark.weights, pytest.mark.timeout(300)]


NAMES = {stage.name for stage in BUILD}


def build_here(workspace: Path, recipe: Path) -> None:
    """Builds in this process, against the session's server."""
    from flows import build
    from flows.session import Job

    job = Job(str(workspace), recipe=str(recipe), workers=1, quiet=True)
    build.embedded(build.build, 1)(job)


def rows(workspace: Path, sql: str) -> list[dict[str, Any]]:
    with opened(workspace) as catalog:
        return catalog.rows(sql)


def test_every_stage_of_a_build_has_finished_items(built: Built) -> None:
    stages = {row["stage"] for row in rows(built.workspace, "SELECT stage FROM progress")}
    # Pictures of mixtures are looked at only where `mix.compose` asks for them, who speaks is heard
    # and what happens is watched only where `speaker.network` and `look.sync` do, and truth is read
    # only where a manifest tells it.
    unasked = {"look_mixtures", "speaker", "truth", "watch"}
    assert stages == {stage.name for stage in BUILD} - unasked
    assert broken_promises(built.workspace, BUILD) == []


def test_the_dataset_holds_sound_speech_and_mixtures(built: Built) -> None:
    found = rows(built.workspace, "SELECT DISTINCT task FROM dataset_items ORDER BY task")
    assert [row["task"] for row in found] == ["mixture", "tts", "v2s"]


def test_the_two_bad_files_are_rejected_with_a_reason_and_the_build_says_how_many(
    built: Built,
) -> None:
    rejects = rows(built.workspace, "SELECT uri, reason, message FROM rejects ORDER BY uri")
    assert {Path(row["uri"]).name: row["reason"] for row in rejects} == {
        "notes.mp4": "not_media",
        "truncated.mp4": "truncated",
    }
    assert all(len(row["message"]) > 20 for row in rejects)
    assert f"{len(BAD_FILES)} items rejected" in built.said.stdout


def test_a_second_build_finds_nothing_to_do_without_importing_prefect(built: Built) -> None:
    runs = len(rows(built.workspace, "FROM runs"))
    script = (
        "import sys; from flows.cli import app, guarded;"
        "code = guarded(lambda: app(sys.argv[1:], standalone_mode=False));"
        "print('prefect' in sys.modules, 'torch' in sys.modules); sys.exit(code)"
    )
    arguments = ["build", str(built.recipe), "--workspace", str(built.workspace)]
    said = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, timeout=200
    )
    assert said.returncode == 0, said.stderr
    assert "Nothing to do" in said.stdout
    assert said.stdout.splitlines()[-1] == "False False"
    assert len(rows(built.workspace, "FROM runs")) == runs


def test_more_rejects_than_allowed_exit_with_3_and_as_many_with_0(
    built: Built, engine: dict[str, str]
) -> None:
    at = (built.recipe, "--workspace", built.workspace, "--max-rejects")
    refused = run_talkies("build", *at, 0, env=engine)
    assert refused.returncode == 3
    assert refused.stderr.strip().count("\n") == 0
    assert "2 items are rejected, more than 0" in refused.stderr
    assert run_talkies("build", *at, 2, env=engine).returncode == 0


@pytest.mark.parametrize(
    ("section", "whole", "in_part", "untouched"),
    [
        ({"label": {"max_silence_sound": 0.79}}, {"label"}, set(), NAMES - {"label"}),
        (
            {"listen": {"silence_dbfs": -49.0}},
            {"listen"},
            set(),
            {"scan", "probe", "decode", "voice", "clips", "look", "split"},
        ),
        # Only the read line is longer than two seconds: the films' clips stay what they were.
        (
            {"clips": {"max_length_s": 2.0}},
            {"clips"},
            {"listen", "label", "snapshot"},
            {"scan", "probe", "decode", "voice", "split", "look"},
        ),
    ],
    ids=["label", "listen", "clips"],
)
def test_a_changed_threshold_reruns_only_what_depends_on_it(
    built: Built,
    tmp_path: Path,
    section: dict[str, Any],
    whole: set[str],
    in_part: set[str],
    untouched: set[str],
) -> None:
    workspace = shutil.copytree(built.workspace, tmp_path / "workspace")
    before = worked_by(workspace)
    build_here(workspace, made_recipe(tmp_path / "small.yaml", built.sources, **section))
    after = worked_by(workspace)
    again = {key for key, run_id in after.items() if before.get(key) != run_id}
    assert {key for key in after if key[0] in whole} <= again
    assert whole | in_part <= {stage for stage, _ in again}
    assert not {stage for stage, _ in again} & untouched
    assert broken_promises(workspace, BUILD) == []


def test_a_new_file_is_worked_alone_and_a_removed_one_takes_its_rows_along(
    tmp_path: Path, engine: dict[str, str]
) -> None:
    folder, workspace = tmp_path / "sources", tmp_path / "workspace"
    folder.mkdir()
    for seed in range(2):
        soundfile.write(folder / f"hiss-{seed}.wav", hiss(1.0, seed=seed)[0], 48_000)
    recipe = made_recipe(tmp_path / "hiss.yaml", folder)
    build_here(workspace, recipe)
    before = worked_by(workspace)

    (folder / "hiss-0.wav").unlink()
    soundfile.write(folder / "hiss-2.wav", hiss(1.0, seed=2)[0], 48_000)
    build_here(workspace, recipe)
    after = worked_by(workspace)
    for stage in ("scan", "probe", "decode", "voice", "clips", "listen"):
        here = {key for key in after if key[0] == stage}
        assert len(here) == 2
        assert len(here - set(before)) == 1, "the new item"
        assert {key for key in here if after[key] != before.get(key)} == here - set(before)
        assert len({key for key in before if key[0] == stage} - here) == 1, "the removed item"
    files = rows(workspace, "SELECT uri FROM files ORDER BY uri")
    assert [Path(row["uri"]).name for row in files] == ["hiss-1.wav", "hiss-2.wav"]
    kept = rows(workspace, "SELECT DISTINCT uri FROM clips ORDER BY uri")
    assert kept == files
    assert broken_promises(workspace, BUILD) == []
