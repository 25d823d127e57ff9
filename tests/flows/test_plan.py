"""`talkies plan` tries a sample, forecasts the build, and writes nothing."""

import json
from pathlib import Path

import pytest

from flows.pilot import hardly_trained
from tasks.recipe import parse_recipe
from tests.flows.command import made_recipe, made_sources, run_talkies


@pytest.mark.weights
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_plan_forecasts_a_build_without_writing(tmp_path: Path, demo_corpus: Path) -> None:
    (tmp_path / "sources").mkdir()
    sources = made_sources(tmp_path / "sources", demo_corpus)
    # Without speech no recogniser has to be loaded.
    for name in ("line.wav", "line.txt"):
        (sources / name).unlink()
    before = sorted(path.name for path in sources.iterdir())
    recipe = made_recipe(tmp_path / "small.yaml", sources)
    workspace = tmp_path / "workspace"
    said = run_talkies(
        "plan", recipe, "--workspace", workspace, "--json", "--pilot-seconds", 600,
        "--core-hour-price", 2,
    )  # fmt: skip
    assert said.returncode == 0, said.stderr
    told = json.loads(said.stdout)
    found = told["forecast"]
    assert told["to_do"][0] == {
        "stage": "scan", "to do": 6, "of": 6, "gone": 0, "media minutes": None,
    }  # fmt: skip
    # The hiss of 4.0 s, two tones of 1.0 s and a silent film of 1.0 s.
    assert found["media_hours"]["value"] * 3600 == pytest.approx(7.0, rel=0.1)
    assert sum(reason["value"] for reason in found["rejected_files"].values()) == pytest.approx(2)
    assert {"probe", "decode", "voice", "listen", "look"} <= set(found["worker_hours"])
    kept_s = {(row["kind"], row["kept"]): 3600 * row["value"] for row in found["clip_hours"]}
    assert kept_s["sound", True] == pytest.approx(6.0, rel=0.2)
    assert found["tried_files"] == 6
    total_h = sum(stage["value"] for stage in found["worker_hours"].values())
    assert found["cost"]["value"] == pytest.approx(2 * total_h)
    assert not workspace.exists()
    assert sorted(path.name for path in sources.iterdir()) == before


@pytest.mark.weights
def test_a_plan_without_a_pilot_lists_what_is_to_do(tmp_path: Path, demo_corpus: Path) -> None:
    (tmp_path / "sources").mkdir()
    recipe = made_recipe(tmp_path / "r.yaml", made_sources(tmp_path / "sources", demo_corpus))
    workspace = tmp_path / "workspace"
    said = run_talkies("plan", recipe, "--workspace", workspace, "--pilot-seconds", 0)
    assert said.returncode == 0, said.stderr
    assert "scan" in said.stdout
    assert "worker hours" not in said.stdout
    assert not workspace.exists()


def test_a_pilot_does_not_train_a_codec_to_its_end() -> None:
    learned = parse_recipe({"name": "a", "fit_codec": {"codec": "learned", "steps": 50}}, Path("r"))
    assert hardly_trained(learned).configs["fit_codec"].steps == 1
    fitted = parse_recipe({"name": "a"}, Path("r"))
    assert hardly_trained(fitted) is fitted
