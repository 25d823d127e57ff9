"""What the commands print: tables, JSON, errors, progress."""

import json
from pathlib import Path

import pyarrow as pa
import pytest

from flows import console
from flows.progress import Progress, reported, warned
from storage.stage import ShardTarget


def test_the_workspace_comes_from_the_option_before_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TALKIES_WORKSPACE", str(tmp_path / "environment"))
    assert console.workspace_of(None).root == tmp_path / "environment"
    monkeypatch.setattr(console.Given, "workspace", str(tmp_path / "before"))
    assert console.workspace_of(None).root == tmp_path / "before"
    assert console.workspace_of(str(tmp_path / "after")).root == tmp_path / "after"


def test_an_error_is_one_line_however_long_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert console.fail("word " * 100 + "\nand [more]", 2).exit_code == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.count("\n") == 1
    assert shown.err.endswith("and [more]\n")


def test_columns_of_one_name_are_numbered(capsys: pytest.CaptureFixture[str]) -> None:
    table = pa.table([pa.array([1]), pa.array([2])], names=["kind", "kind"])
    console.say_table(table, as_json=True)
    assert json.loads(capsys.readouterr().out) == [{"kind": 1, "kind_2": 2}]


def test_text_in_brackets_is_printed_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    console.say_rows([{"text": "[laughs] no", "score": 0.51234, "none": None}])
    shown = capsys.readouterr().out
    assert "[laughs] no" in shown
    assert "0.5123" in shown


def test_no_rows_are_said_in_words_and_as_an_empty_list(capsys: pytest.CaptureFixture[str]) -> None:
    console.say_rows([], title="rejects")
    console.say_rows([], as_json=True)
    assert capsys.readouterr().out == "rejects: none\n[]\n"


def test_progress_goes_to_the_error_stream_and_not_at_all_when_quiet(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for quiet in (False, True):
        with Progress(quiet) as progress:
            bar = progress.add("listen", 2)
            progress.show(bar, 1, "half")
            progress.end(bar, "  listen: 2 items")
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("  listen: 2 items, ")
    assert shown.err.count("\n") == 1


def test_what_shards_report_is_summed_and_a_silent_one_counts_nothing(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("one", "two", "silent")]
    for number, folder in enumerate(folders[:2]):
        folder.mkdir()
        ShardTarget(str(tmp_path), str(folder)).report(number + 1, 4, f"note {number}")
    assert reported(folders) == (3, 8, "note 1")


def test_what_shards_warn_of_is_shown_as_it_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ShardTarget(str(tmp_path), str(tmp_path))
    assert warned([tmp_path]) == []
    for line in ("not the [same] codec", "nor the same pace"):
        out.warn(line)
    assert warned([tmp_path]) == ["not the [same] codec", "nor the same pace"]
    with Progress() as progress:
        progress.warn("train", warned([tmp_path])[0])
    assert "  train: not the [same] codec\n" in capsys.readouterr().err
