"""What of a recipe goes with a model, and what of it a workspace takes over."""

import json
from pathlib import Path
from typing import Any

import pytest

from tasks.film_recipe import film_recipe, film_sections
from tasks.recipe import parse_recipe

SYNC = {"sync": "synchformer", "sync_weights": "/mine/sync.pth", "sync_device": "cuda"}


def recipe(name: str, **sections: Any) -> str:
    return parse_recipe({"name": name, **sections}, Path("/mine/made")).as_json()


def came(**sections: Any) -> str:
    return json.dumps(film_sections(json.loads(recipe("theirs", **sections))))


def taken(text: str, stage: str, setting: str) -> Any:
    return getattr(parse_recipe(json.loads(text), Path("stored")).configs[stage], setting)


FILMS = {"steps": 7, "takes": 3, "voice_file": "/mine/voice.wav"}


def test_settings_of_one_machine_stay_behind_and_the_rest_reads_as_a_recipe() -> None:
    look = SYNC | {"extractor": "clip_vit_b16", "precision": "bfloat16"}
    text = came(look=look, decode={"face_px": 256}, sonify=FILMS)
    assert "/mine" not in text and "cuda" not in text
    assert taken(text, "look", "sync") == "synchformer"
    assert taken(text, "look", "precision") == "float32"
    assert taken(text, "look", "extractor") == "clip_vit_b16"
    assert taken(text, "decode", "face_px") == 256
    assert (taken(text, "sonify", "steps"), taken(text, "sonify", "takes")) == (7, 1)


def test_a_model_that_looks_by_a_folder_of_this_machine_is_refused() -> None:
    look = {"extractor": "clip_vit_b16", "pretrained": "/mine/clip"}
    with pytest.raises(ValueError, match="'/mine/clip' is a folder of this machine"):
        film_sections(json.loads(recipe("theirs", look=look)))


def test_a_workspace_without_a_dataset_takes_the_models_recipe_whole() -> None:
    text = came(decode={"face_px": 256})
    assert film_recipe(text, "") == text


def test_own_settings_stay_where_they_show_what_the_model_reads() -> None:
    own = recipe("ours", look=SYNC, faces={"lips": "mouth_track"}, clips={"max_length_s": 7.0})
    for look in ({}, {"sync": "synchformer"}):
        text = film_recipe(came(look=look, clips={"max_length_s": 9.0}), own)
        assert taken(text, "look", "sync_weights") == "/mine/sync.pth"
        assert taken(text, "faces", "lips") == "mouth_track"
        assert taken(text, "clips", "max_length_s") == 7.0


def test_the_models_settings_are_taken_where_own_ones_show_less_and_its_generation_always() -> None:
    theirs = came(look={"sync": "pixels"}, faces={"lips": "mouth_track"}, sonify={"steps": 9})
    text = film_recipe(theirs, recipe("ours", look=SYNC, sonify={"steps": 3}))
    assert taken(text, "look", "sync") == "pixels"
    assert taken(text, "faces", "lips") == "mouth_track"
    assert taken(text, "sonify", "steps") == 9
    assert taken(text, "sonify", "dataset") == json.loads(text)["name"] == "ours"
    colour = film_recipe(came(look={"sync": "colour_pixels"}), recipe("ours"))
    assert parse_recipe(json.loads(colour), Path("stored recipe")).configs["decode"].colour25
    other = film_recipe(came(look={"extractor": "clip_vit_b16"}), recipe("ours"))
    assert taken(other, "look", "extractor") == "clip_vit_b16"


def test_a_film_moves_for_a_model_where_its_training_clips_did() -> None:
    still, moving = {"decode": {"motion": False}}, {"decode": {"motion_px": 96}}
    lips = {"faces": {"lips": "mouth_track"}, "look": {"sync": "pixels"}}
    text = film_recipe(came(**still), recipe("ours", **moving, **lips))
    assert taken(text, "decode", "motion") is False
    assert (taken(text, "look", "sync"), taken(text, "faces", "lips")) == ("none", "none")
    text = film_recipe(came(**lips), recipe("ours", **still))
    assert taken(text, "decode", "motion") is True
    assert (taken(text, "look", "sync"), taken(text, "faces", "lips")) == ("pixels", "mouth_track")
    assert taken(film_recipe(came(), recipe("ours", **moving)), "decode", "motion_px") == 96


def test_a_model_of_here_reads_as_its_version_was_read_and_generates_as_is_asked_now() -> None:
    before = recipe("ours", look={"sync": "pixels"}, sonify={"steps": 9, "guidance": 2.0})
    now = recipe("ours", clips={"max_length_s": 7.0}, sonify=FILMS)
    text = film_recipe(before, now, True)
    assert taken(text, "look", "sync") == "pixels"
    assert taken(text, "clips", "max_length_s") == 7.0
    for setting, value in (FILMS | {"guidance": 3.0}).items():
        assert taken(text, "sonify", setting) == value
    assert taken(film_recipe(before, now), "sonify", "steps") == 9
