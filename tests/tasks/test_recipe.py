"""Recipes: what is wrong is named with its field, its value and the nearest valid name."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tasks.pipeline import FILMS, STAGES, film_stages
from tasks.recipe import (
    RecipeError,
    check_source,
    load_recipe,
    parse_recipe,
    with_folder,
    with_section,
)
from tasks.sonify_config import SonifyConfig, Target

WHERE = Path("/archive/films.yaml")


def parse(text: str) -> Any:
    return parse_recipe(yaml.safe_load(text), WHERE)


def test_a_threshold_of_null_turns_its_gate_off() -> None:
    recipe = parse("label: {min_dnsmos: , max_silence_sound: null}")
    assert recipe.configs["label"].min_dnsmos is None
    assert recipe.configs["label"].max_silence_sound is None
    assert recipe.configs["label"].max_silence_speech == 0.35


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("labl: {}", r"there is no section `labl`; did you mean `label`\?"),
        ("transcribr: {}", r"did you mean `transcribe`\?"),
        ("zzzz: {}", r"there is no section `zzzz`; there are name, scan, probe"),
        ("1: {}", r"there is no section `1`"),
        ("label: {max_silence: 1}", r"no field `label.max_silence`; did you mean `max_silence_s"),
        ("label: {1: 1}", r"no field `label.1`; there are min_speech_ratio"),
        ("relate: {x: 1}", r"no field `relate.x`; the stage has no settings"),
        ("label: {max_silence_sound: loud}", r"label.max_silence_sound='loud': .*valid number"),
        ("label: {max_silence_sound: 2}", r"label.max_silence_sound=2: .*less than or equal to 1"),
        ("label: {min_speech_ratio: }", r"label.min_speech_ratio=None: .*valid number"),
        ("train: {joint_steps: 1.5}", r"train.joint_steps=1.5: .*valid integer"),
        ("train: {joint_steps: 0}", r"train.joint_steps=0: .*greater than or equal to 1"),
        ("train: {preset: huge}", r"train.preset='huge': .*'tiny'"),
        ("clips: {max_length_s: 11}", r"clips.max_length_s=11: .*less than or equal to 10"),
        ("clips: 3", r"`clips:` must hold fields, not 3"),
        ("clips: [a]", r"`clips:` must hold fields, not \['a'\]"),
        (
            "watch: {sync: pixels}",
            r"watch.sync='pixels' follows from look.sync='none'; set it there alone",
        ),
        ("{faces: {lips: none}, snapshot: {lips: mouth_track}}", r"follows from faces.lips='none'"),
        (
            "split: {test: 0.9, validation: 0.5}",
            r"split.test=0.9 \+ split.validation=0.5 leave no training split; lower them",
        ),
        ("sonify: {targets: [{scripts: x}]}", r"sonify.targets.0.file.*: .*required|argument"),
        ("sonify: {targets: [{file: a, scrip: x}]}", r"sonify.targets.0.scrip='x'"),
        ("sonify: {targets: [{file: a}, {file: a}]}", r"sonify.targets names a twice"),
        (
            "{decode: {motion: false}, look: {sync: fine_pixels}}",
            r"look.sync='fine_pixels' reads frames at 25 fps, which decode.motion=False leaves out",
        ),
        (
            "{decode: {motion: false}, look: {sync: pixels}}",
            r"look.sync='pixels' reads frames at 25 fps, which decode.motion=False leaves out",
        ),
        (
            "{decode: {motion: false}, faces: {lips: mouth_track}}",
            r"faces.lips='mouth_track' reads frames at 25 fps, which decode.motion=False leaves",
        ),
        (
            "decode: {motion: false, scene_detector: transnetv2}",
            r"decode.scene_detector='transnetv2' looks at 25 frames .* decode.motion=False leaves",
        ),
        ("name: a b", r"name='a b' must be letters, digits, - and _"),
        ("name: ../up", r"name='../up' must be"),
        ("name: 7", r"name=7 must be"),
    ],
)
def test_a_wrong_recipe_is_refused_with_its_file_and_what_to_change(text: str, why: str) -> None:
    with pytest.raises(RecipeError, match=why) as caught:
        parse(text)
    message = str(caught.value)
    assert message.startswith(f"recipe {WHERE}: ")
    assert "\n" not in message


@given(st.sampled_from(sorted(STAGES)), st.integers(0, 20), st.characters(categories=["Ll"]))
def test_a_section_with_one_letter_wrong_is_recognised(stage: str, place: int, letter: str) -> None:
    place %= len(stage)
    typo = stage[:place] + letter + stage[place + 1 :]
    if typo in STAGES or typo == "name" or len(stage) < 5:
        return
    with pytest.raises(RecipeError, match="did you mean"):
        parse_recipe({typo: {}}, WHERE)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"name: [", "not YAML"),
        (b"\xff\xfe\x00binary", "not YAML"),
        (b"- a\n- b\n", "give `name:` and sections"),
        (b"", "give `name:` and sections"),
        (b"name: !!python/object/apply:os.system [ls]", "not YAML"),
    ],
)
def test_a_file_that_is_no_recipe_is_named(tmp_path: Path, data: bytes, why: str) -> None:
    path = tmp_path / "films.yaml"
    path.write_bytes(data)
    with pytest.raises(RecipeError, match=why) as caught:
        load_recipe(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_recipe_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"no.yaml: No such file or directory; name a YAML file"):
        load_recipe(tmp_path / "no.yaml")


def test_a_relative_folder_counts_from_the_recipe_and_the_name_from_its_file(
    tmp_path: Path,
) -> None:
    path = tmp_path / "films.yaml"
    path.write_text("scan: {folder: sub/../reels}\n")
    recipe = load_recipe(path)
    assert recipe.name == "films"
    assert recipe.configs["scan"].folder == str(tmp_path / "reels")
    assert recipe.configs["snapshot"].folder == str(tmp_path / "reels")
    assert recipe.configs["snapshot"].name == "films"
    assert {recipe.configs[stage].dataset for stage in ("train", "evaluate", "sonify")} == {"films"}


def test_an_absolute_folder_and_a_named_dataset_are_kept() -> None:
    recipe = parse("{name: a, scan: {folder: /reels}, evaluate: {dataset: b}}")
    assert recipe.configs["scan"].folder == "/reels"
    assert recipe.configs["evaluate"].dataset == "b"
    assert recipe.configs["train"].dataset == "a"


def test_another_folder_reaches_every_stage_that_knows_it(tmp_path: Path) -> None:
    recipe = with_folder(parse("{name: a, scan: {folder: /reels}}"), tmp_path)
    assert recipe.configs["scan"].folder == str(tmp_path)
    assert recipe.configs["snapshot"].folder == str(tmp_path)


def test_a_recipe_that_was_stored_as_json_is_the_same_recipe() -> None:
    recipe = parse("{name: a, sonify: {targets: [{file: x, script: transcript}]}, split: {}}")
    again = parse_recipe(json.loads(recipe.as_json()), Path("stored recipe"))
    assert again == recipe
    assert again.configs["sonify"].targets == (Target("x", "transcript"),)


def test_a_files_section_counts_in_a_stored_recipe_and_nothing_else_of_the_file(
    tmp_path: Path,
) -> None:
    stored = parse("{name: a, look: {sync: pixels}, sonify: {steps: 3}, evaluate: {steps: 3}}")
    path = tmp_path / "b.yaml"
    path.write_text("{look: {sync: none}, sonify: {temperature: 0.7, voice_file: anna.wav}}")
    text = with_section(stored.as_json(), "sonify", path)
    made = parse_recipe(json.loads(text), Path("stored recipe"))
    taken = made.configs["sonify"]
    assert (taken.temperature, taken.steps, taken.dataset) == (0.7, SonifyConfig().steps, "a")
    assert taken.voice_file == str(tmp_path / "anna.wav")
    assert made.with_config("sonify", **asdict(stored.configs["sonify"])) == stored
    assert with_section(stored.as_json(), "sonify", None) == stored.as_json()
    path.write_text("{sonify: {temprature: 1}}")
    with pytest.raises(RecipeError, match=r"b\.yaml: .* `sonify\.temprature`; did you mean"):
        with_section(stored.as_json(), "sonify", path)


def test_mixtures_and_the_dataset_are_seen_by_the_network_that_looks_at_clips() -> None:
    recipe = parse("{name: a, look: {extractor: siglip_b16, pretrained: ./weights}}")
    mixtures = recipe.configs["look_mixtures"]
    assert (mixtures.extractor, mixtures.pretrained) == ("siglip_b16", "./weights")
    assert recipe.configs["snapshot"].extractor == "siglip_b16"
    with pytest.raises(RecipeError, match=r"look.extractor='clip'"):
        parse("{name: a, look: {extractor: clip}}")
    with pytest.raises(RecipeError, match=r"mel_pca is fitted here and takes no weights"):
        parse("{name: a, fit_codec: {pretrained: cvssp/audioldm2}}")


def test_sync_lips_and_voices_reach_the_stages_that_make_and_take_them() -> None:
    plain = parse("{}").configs
    assert plain["decode"].colour25 is False
    assert (plain["snapshot"].sync, plain["snapshot"].lips) == ("none", "none")
    configs = parse(
        "{look: {sync: synchformer, sync_weights: nets/sync.pth},"
        " faces: {lips: av_hubert, lips_weights: /nets/lips.pt}, speaker: {network: ge2e},"
        " sonify: {voice_file: voice.wav}}"
    ).configs
    assert (configs["decode"].colour25, configs["decode"].colour25_px) == (True, 0)
    assert configs["look"].sync_weights == "/archive/nets/sync.pth"
    assert configs["look_mixtures"].sync_weights == configs["look"].sync_weights
    assert configs["faces"].lips_weights == "/nets/lips.pt"
    assert configs["sonify"].voice_file == "/archive/voice.wav"
    assert configs["snapshot"].speaker == "ge2e"
    assert (configs["snapshot"].sync, configs["snapshot"].lips) == ("synchformer", "av_hubert")
    cells = parse("{look: {sync: colour_pixels}, decode: {motion: false, motion_px: 96}}").configs
    assert (cells["decode"].colour25, cells["decode"].colour25_px) == (True, 96)
    coarse = parse("{look: {sync: pixels}, faces: {lips: mouth_track}}").configs
    assert not coarse["decode"].colour25
    assert (coarse["snapshot"].sync, coarse["snapshot"].lips) == ("pixels", "mouth_track")


def test_films_are_followed_by_faces_only_where_lips_are_read() -> None:
    assert film_stages("none") == FILMS
    assert set(film_stages("mouth_track")) - set(FILMS) == {STAGES["faces"]}


def test_a_changed_field_is_checked_as_in_the_file() -> None:
    recipe = parse("name: a")
    assert recipe.with_config("train", joint_steps=7).configs["train"].joint_steps == 7
    with pytest.raises(RecipeError, match=r"train.preset='huge'"):
        recipe.with_config("train", preset="huge")
    with pytest.raises(RecipeError, match=r"did you mean `preset`"):
        recipe.with_config("train", preste="tiny")
    with pytest.raises(RecipeError, match=r"a: train.batch_size=3 must be a multiple of [^{]*$"):
        recipe.with_config("train", batch_size=3, ranks=2)


def test_a_source_folder_is_checked_before_any_work(tmp_path: Path) -> None:
    recipe = with_folder(parse("name: a"), tmp_path / "no")
    with pytest.raises(RecipeError, match=r"recipe a: .*not a folder; mend `scan.folder`"):
        check_source(recipe)
    (tmp_path / "manifest.csv").write_text("file\nx\n")
    with pytest.raises(RecipeError, match="the column `path` is missing"):
        check_source(with_folder(recipe, tmp_path))


MANIFEST = "path,licence\na.wav,CC-BY-3.0\nb.wav,cc0 1.0\nc.wav,unknown\nd.wav,\n"


@pytest.mark.parametrize(
    ("licences", "message"),
    [
        (["CC-BY-3.0"], ""),
        (["CC-BY-3.0", "MIT"], ""),
        (["cc0 1.0", "CC0-1.0"], ""),
        (["cc-by-3.0"], "'cc-by-3.0' is spelt 'CC-BY-3.0' in the manifest (1 files)"),
        ([" CC_BY 3.0"], "is spelt 'CC-BY-3.0'"),
        (["CC-BY-3.0", "CC0-1.0"], "'CC0-1.0' is spelt 'cc0 1.0'"),
        (["CC-BY-4.0"], "no file has one of ['CC-BY-4.0']; the manifest states 'CC-BY-3.0'"),
    ],
)
def test_a_licence_that_is_spelt_otherwise_is_named_before_any_work(
    tmp_path: Path, licences: list[str], message: str
) -> None:
    for name in "abcd":
        (tmp_path / f"{name}.wav").write_bytes(b"x")
    (tmp_path / "manifest.csv").write_text(MANIFEST)
    recipe = parse_recipe({"name": "a", "snapshot": {"licences": licences}}, tmp_path / "a.yaml")
    for stage in ("mix", "fit_codec"):
        assert recipe.configs[stage].licences == tuple(licences)
    if not message:
        check_source(recipe)
        return
    with pytest.raises(RecipeError) as refused:
        check_source(recipe)
    assert message in str(refused.value)


def test_the_demo_recipe_is_valid() -> None:
    recipe = load_recipe(Path(__file__).parents[2] / "flows" / "demo.yaml")
    assert recipe.name == "demo"
    assert set(recipe.configs) == set(STAGES)
