"""Mixtures as files: what is written, what is left as it is, and what fails alone."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
import soundfile
from typer.testing import CliRunner, Result

from flows import console
from flows.cli_mixtures import mixtures
from storage.blobs import Blobs
from storage.ids import mix_id
from tasks.export_mixtures import JOURNAL, Exported, export_mixtures
from tasks.mix import render_parents
from tasks.mixture_files import Wanted
from tests.made_exports import RAIN, TALK, Room, make_room


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Room:
    """Not to be changed."""
    return make_room(tmp_path_factory.mktemp("export") / "workspace")


def run(room: Room, out: Path, dataset: str | None = None, **wanted: Any) -> Exported:
    return export_mixtures(room.workspace, dataset, Wanted(out, **wanted), lambda *_: None)


@pytest.fixture(scope="module")
def exported(template: Room, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset at its own rate; not to be changed."""
    out = tmp_path_factory.mktemp("own") / "out"
    assert run(template, out, "demo@1", jams=True).failures == []
    return out


@pytest.fixture(scope="module")
def exported48(template: Room, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset with its stems at 48 kHz; not to be changed."""
    out = tmp_path_factory.mktemp("high") / "out"
    assert run(template, out, "demo", rate_hz=48_000, stems=True, jams=True).failures == []
    return out


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> Any:
    for name, value in (("workspace", None), ("catalog", None), ("json", False), ("debug", False)):
        monkeypatch.setattr(console.Given, name, value)

    def command(room: Path, *words: object) -> Result:
        return CliRunner().invoke(mixtures, [*map(str, words), "--workspace", str(room)])

    return command


def manifest(out: Path) -> dict[str, dict[str, Any]]:
    return {row["regime"]: row for row in pq.read_table(out / "manifest.parquet").to_pylist()}


def test_a_mixture_that_fails_is_named_with_exit_code_3_and_the_others_arrive_whole(
    template: Room, tmp_path: Path, said: Any
) -> None:
    words = ("--all", "--out", tmp_path, "--stems", "--format", "wav", "--json")
    answer = said(template.workspace.root, "export", *words)
    assert answer.exit_code == console.REJECTS
    told = json.loads(answer.stdout)
    failed = {failure["item"]: failure for failure in told["failures"]}
    assert {name: failure["reason"] for name, failure in failed.items()} == {
        "0-changed": "content_hash",
        "0-damaged": "content_hash",
        "0-gone": "missing",
        "0-older": "changed",
    }
    assert "of version 1, this is 2; build again" in failed["0-older"]["message"]
    assert told["mixtures"] == 4 and "4 mixtures are left out" in answer.stderr
    rows = manifest(tmp_path)
    assert set(rows) == set(template.rows)
    for regime, row in rows.items():
        named = {
            "mix": True,
            "speech": "ambience" not in regime,
            "ambience": "speech" not in regime,
        }
        sounds = []
        for part, is_there in named.items():
            assert (row[f"{part}_file"] is not None) == is_there
            if is_there:
                samples, rate_hz = soundfile.read(tmp_path / row[f"{part}_file"], dtype="int16")
                assert (rate_hz, len(samples)) == (16_000, round(16_000 * row["duration_s"]))
                sounds.append(samples.astype(int))
        assert np.array_equal(sounds[0], sum(sounds[1:]))
        assert (row["dry_file"] is not None) == (regime != "ambience_only")
    assert {path.suffix for path in tmp_path.rglob("*.*") if path.parent != tmp_path} == {".wav"}


def test_a_stored_flac_is_copied_byte_for_byte(template: Room, exported: Path) -> None:
    stored = template.rows["broadcast"]
    written = exported / manifest(exported)["broadcast"]["mix_file"]
    assert written.read_bytes() == Blobs(template.workspace.root).read(stored["mix_ref"])


def test_the_manifest_holds_the_numbers_of_the_rows_and_the_rights_of_the_parents(
    template: Room, exported: Path
) -> None:
    rows = manifest(exported)
    assert set(rows) == {"broadcast", "hard", "speech_only"}
    for regime, row in rows.items():
        for name in set(row) & set(template.rows[regime]) - {"devices"}:
            assert row[name] == template.rows[regime][name], name
        assert (row["speech_uri"], row["speech_licence"]) == (TALK, "CC0-1.0")
        assert row["ambience_uri"] == (None if regime == "speech_only" else RAIN)
        document = json.loads((exported / row["jams_file"]).read_text())
        assert document["sandbox"]["talkies"]["output_sha256"] == row["output_sha256"]
        words = [seen["value"] for seen in document["annotations"][1]["data"]]
        assert words == ["good", "evening"]
    as_text = pyarrow.csv.read_csv(exported / "manifest.csv")
    assert as_text.column_names == list(rows["hard"]) and as_text.num_rows == 3


def test_at_another_rate_a_mixture_is_another_recipe_that_was_measured_there(
    template: Room, exported48: Path
) -> None:
    for regime, row in manifest(exported48).items():
        own = template.rows[regime]
        assert row["rate_hz"] == 48_000 and row["mix_id"] != own["mix_id"]
        samples, rate_hz = soundfile.read(exported48 / row["mix_file"], dtype="int16")
        assert (rate_hz, len(samples)) == (48_000, round(48_000 * row["duration_s"]))
        said = json.loads((exported48 / row["jams_file"]).read_text())["sandbox"]["talkies"]
        assert (
            mix_id(said["recipe"]) == said["mix_id"] == row["mix_id"] == Path(row["mix_file"]).stem
        )
        assert row["output_sha256"] != own["output_sha256"]
        if regime != "speech_only":
            asked = ("requested_snr_db", "requested_difference_lu")
            assert [row[name] for name in asked] == [own[name] for name in asked]
            name = "difference_lu" if regime == "broadcast" else "snr_db"
            assert row[f"achieved_{name}"] == pytest.approx(own[f"requested_{name}"], abs=0.1)


@pytest.mark.parametrize("rate_hz", [None, 48_000])
def test_an_export_that_was_stopped_goes_on_and_writes_only_what_is_not_right(
    template: Room, tmp_path: Path, request: pytest.FixtureRequest, rate_hz: int | None
) -> None:
    out = tmp_path / "out"
    shutil.copytree(request.getfixturevalue("exported48" if rate_hz else "exported"), out)
    before = {path: path.read_bytes() for path in out.rglob("*.*") if path.name != JOURNAL}
    rows = manifest(out)
    (out / rows["broadcast"]["mix_file"]).unlink()
    (out / rows["broadcast"]["jams_file"]).write_text("damaged")
    longer = out / rows["speech_only"]["mix_file"]
    longer.write_bytes(longer.read_bytes() + b"damaged")
    with (out / JOURNAL).open("a") as journal:
        journal.write('{"mix_id": "cut o')
    kept = out / rows["hard"]["mix_file"]
    inode = kept.stat().st_ino
    rendered: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        for place in ("tasks.export_mixtures.render_parents", "tasks.mix.render_parents"):
            patch.setattr(place, lambda root, recipe: counted(rendered, root, recipe))
        again = run(template, out, "demo", rate_hz=rate_hz, stems=bool(rate_hz), jams=True)
    # At its own rate broadcast is stored; hard is never rendered, because it is there.
    assert rendered == (["broadcast", "speech_only"] if rate_hz else ["speech_only"])
    assert (again.written, again.failures) == (3, [])
    assert again.kept == len(before) - 2 - 3
    assert kept.stat().st_ino == inode
    listed = [json.loads(line) for line in (out / JOURNAL).read_text().split("\n") if "}" in line]
    assert [entry["mix_id"] for entry in listed].count(rows["broadcast"]["mix_id"]) == 2
    assert {p: p.read_bytes() for p in out.rglob("*.*") if p.name != JOURNAL} == before


def counted(rendered: list[str], root: str, recipe: dict[str, Any]) -> Any:
    rendered.append(recipe["regime"])
    rendered.sort()
    return render_parents(root, recipe)


# -- the commands ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("export", "--out", "x"), "give either a dataset or --all"),
        (("export", "demo", "--all", "--out", "x"), "give either a dataset or --all"),
        (("export", "demo", "--out", "x", "--rate", "44100"), "mixtures have 16000 or 48000 Hz"),
        (("export", "demo"), "Missing option '--out'"),
        (("export", "demo", "--out", "x", "--format", "mp3"), "'mp3' is not one of 'wav', 'flac'"),
    ],
)
def test_a_wrong_command_exits_with_2_and_writes_nothing(
    template: Room,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    said: Any,
    words: tuple[str, ...],
    text: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    answer = said(template.workspace.root, *words)
    assert answer.exit_code == console.USAGE
    assert text in " ".join(answer.stderr.replace("│", " ").split())
    assert not list(tmp_path.iterdir())


def test_what_export_wrote_import_renders_again_to_the_same_samples(
    template: Room, exported48: Path, tmp_path: Path, said: Any
) -> None:
    files = sorted(exported48.rglob("*.jams"))
    room, back = template.workspace.root, tmp_path / "back"
    answer = said(room, "import", *files, "--out", back, "--stems", "--json")
    assert answer.exit_code == 0
    told = json.loads(answer.stdout)
    assert told["failures"] == [] and all(one["is_identical"] for one in told["mixtures"])
    rows = manifest(exported48).values()
    assert {one["output_sha256"] for one in told["mixtures"]} == {r["output_sha256"] for r in rows}
    made = sorted(path.relative_to(back) for path in back.rglob("*.*"))
    assert len(made) == 3 + (4 + 4 + 3)
    for path in made:
        assert (back / path).read_bytes() == (exported48 / path).read_bytes()
