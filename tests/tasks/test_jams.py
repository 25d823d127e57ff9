"""JAMS documents: the structure that JAMS and Scaper read, and the recipe that comes back."""

import json
from typing import Any

import pytest

from storage.ids import canonical_json, mix_id
from tasks.jams import BadJams, Document, Parent, document_of, encoded, is_ours, parsed, read
from tasks.mix_devices import DEFAULT_DEVICES
from tasks.mix_form import BadRecipe, checked_recipe
from tasks.mix_plan import MixConfig, plan_recipe
from tests.made_mixtures import item

SOUNDS = {"speech_audio_ref": f"blobs/aa/{'a' * 62}.flac"}
SOUNDS |= {"ambience_audio_ref": f"blobs/bb/{'b' * 62}.flac"}
ROOM = {"room_id": "hall", "room_ref": f"blobs/cc/{'c' * 62}.flac", "t60_s": 0.3}
WORDS = (
    {"word": "good", "start_s": 0.6, "end_s": 1.0, "score": 0.9},
    {"word": "evening", "start_s": 1.2, "end_s": 1.8, "score": None},
)
PARENTS = {
    "speech": Parent("/films/talk.wav", "Speech", "CC0-1.0", "Anna", WORDS),
    "ambience": Parent("/films/rain.wav", "Rain"),
}
# What the schema of JAMS 0.3.5 and its namespace `scaper` ask of each part: name → types.
NUMBER, TEXT, NONE = (int, float), (str,), (type(None),)
OBSERVATION = {"time": NUMBER, "duration": NUMBER, "value": (dict, str), "confidence": (object,)}
EVENT = {
    "label": TEXT,
    "source_file": TEXT,
    "source_time": NUMBER,
    "event_time": NUMBER,
    "event_duration": NUMBER,
    "snr": NUMBER,
    "role": TEXT,
    "pitch_shift": NONE,
    "time_stretch": NONE,
}


def planned(regime: str = "broadcast", **changes: Any) -> dict[str, Any]:
    config = MixConfig(regimes={regime: 1.0}, full_length_share=1.0, room_probability=1.0)
    return plan_recipe(item(**SOUNDS, **ROOM, **changes), config)


def row_for(recipe: dict[str, Any]) -> dict[str, Any]:
    both = recipe["speech"] is not None and recipe["ambience"] is not None
    return {
        "mix_id": mix_id(recipe),
        "item_id": "speech:0",
        "split": "train",
        "achieved_snr_db": 4.5 if both else None,
        "achieved_difference_lu": 14.25 if both else None,
        "speech_lufs": -27.1 if recipe["speech"] else None,
        "ambience_lufs": -41.35 if recipe["ambience"] else None,
        "loudness_lufs": -27.0,
        "true_peak_dbtp": -6.0,
        "sum_error": 0.0,
        "output_sha256": "0" * 64,
        "rendered_by": "recipe 2; numpy 2.4.6",
        "recipe": canonical_json(recipe),
    }


def made(recipe: dict[str, Any]) -> Document:
    known = {name: PARENTS[name] for name in ("speech", "ambience") if recipe[name]}
    return document_of(row_for(recipe), known)


def require(values: dict[str, Any], types: dict[str, tuple[type, ...]]) -> None:
    assert set(values) == set(types)
    for name, kinds in types.items():
        assert isinstance(values[name], kinds), (name, values[name])


@pytest.mark.parametrize(
    "regime", ["broadcast", "location", "hard", "speech_only", "ambience_only"]
)
def test_a_document_has_the_structure_that_jams_and_scaper_prescribe(regime: str) -> None:
    recipe = planned(regime)
    document = parsed(encoded(made(recipe)))
    assert set(document) == {"file_metadata", "annotations", "sandbox"}
    assert document["file_metadata"]["duration"] == recipe["duration_s"]
    assert document["file_metadata"]["jams_version"] == "0.3.5"
    roles = []
    for annotation in document["annotations"]:
        assert annotation["namespace"] in ("scaper", "lyrics")
        assert isinstance(annotation["annotation_metadata"], dict)
        for seen in annotation["data"]:
            require(seen, OBSERVATION)
            assert seen["time"] >= 0 and seen["time"] + seen["duration"] <= recipe["duration_s"]
            if annotation["namespace"] == "scaper":
                require(seen["value"], EVENT)
                assert seen["value"]["event_duration"] > 0
                roles.append(seen["value"]["role"])
    assert roles == [
        role
        for role, name in (("background", "ambience"), ("foreground", "speech"))
        if recipe[name]
    ]


def test_events_say_where_each_sound_is_from_where_it_lies_and_how_loud_it_is() -> None:
    recipe = planned()
    speech, ambience = recipe["speech"], recipe["ambience"]
    assert speech["at_s"] > 0
    background, foreground = (seen["value"] for seen in made(recipe)["annotations"][0]["data"])
    assert background == {
        "label": "Rain",
        "source_file": "/films/rain.wav",
        "source_time": ambience["offset_s"],
        "event_time": 0.0,
        "event_duration": 8.0,
        "snr": 0.0,
        "role": "background",
        "pitch_shift": None,
        "time_stretch": None,
    }
    assert foreground["source_file"] == "/films/talk.wav" and foreground["source_time"] == 1.0
    assert (foreground["event_time"], foreground["event_duration"]) == (speech["at_s"], 4.0)
    assert foreground["snr"] == 14.25


def test_words_are_laid_where_they_are_heard_in_the_mixture() -> None:
    recipe = planned()
    _, lyrics = made(recipe)["annotations"]
    at_s = recipe["speech"]["at_s"]
    assert [seen["value"] for seen in lyrics["data"]] == ["good", "evening"]
    assert [seen["time"] for seen in lyrics["data"]] == pytest.approx([at_s + 0.6, at_s + 1.2])
    assert [seen["duration"] for seen in lyrics["data"]] == pytest.approx([0.4, 0.6])
    assert [seen["confidence"] for seen in lyrics["data"]] == [0.9, None]


def test_the_recipe_comes_back_even_where_a_tool_wrote_whole_seconds_without_a_point() -> None:
    recipe = planned()
    document = parsed(encoded(made(recipe)))
    assert is_ours(document)
    said = document["sandbox"]["talkies"]
    said["recipe"]["duration_s"] = int(said["recipe"]["duration_s"])
    found = read(document)
    assert canonical_json(found.recipe) == canonical_json(recipe)
    assert (found.output_sha256, found.split) == ("0" * 64, "train")
    assert found.uris == {"speech": "/films/talk.wav", "ambience": "/films/rain.wav"}


def test_a_recipe_that_was_changed_after_its_export_is_refused_by_its_id() -> None:
    document = made(planned())
    document["sandbox"]["talkies"]["recipe"]["requested"]["loudness_difference_lu"] = 3.0
    with pytest.raises(BadJams, match="one of them was changed; export the mixture again"):
        read(document)
    del document["sandbox"]["talkies"]["output_sha256"]
    with pytest.raises(BadJams, match=r"sandbox.talkies lacks 'output_sha256'"):
        read(document)


@pytest.mark.parametrize("data", [b"no json", b"[]", b'{"annotations": 3}'])
def test_what_is_no_jams_is_refused(data: bytes) -> None:
    with pytest.raises(BadJams, match=r"not JSON|not a JAMS document"):
        parsed(data)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"version": 1}, "recipe.version=1: this is version 2; build the mixture again"),
        ({"rate_hz": 44_100}, "recipe.rate_hz=44100"),
        ({"duration_s": 1e9}, "recipe.duration_s=1000000000.0"),
        ({"duration_s": float("nan")}, "recipe.duration_s=nan"),
        ({"tempo": 2}, "recipe.tempo=2"),
        ({"speech": {"audio_sha256": "../../x"}}, r"recipe.speech.audio_sha256='../../x'"),
        ({"speech": {"end_s": 0.5}}, "recipe.speech: it ends at 0.5 s, before it begins"),
        ({"speech": {"at_s": 99.0}}, "recipe.speech.at_s=99.0: it lies outside"),
        ({"speech": {"spans_s": [[1.0]]}}, "recipe.speech.spans_s.0"),
        ({"ambience": None}, "1 levels for 1 sounds"),
        ({"speech": {"devices": [{"kind": "vocoder"}]}}, "recipe.speech.devices.0.*'vocoder'"),
        ({"speech": {"devices": [{"kind": "codec", "codec": "mp3"}]}}, "devices.0.codec.kbps"),
        ({"requested": {"snr_db": 3.0}}, "2 levels for 2 sounds"),
    ],
)
def test_a_recipe_from_outside_is_refused_by_the_name_of_its_field(
    change: dict[str, Any], said: str
) -> None:
    recipe = json.loads(canonical_json(planned()))
    for name, value in change.items():
        nested = isinstance(value, dict) and isinstance(recipe.get(name), dict)
        recipe[name] = recipe[name] | value if nested else value
    with pytest.raises(BadRecipe, match=said):
        checked_recipe(recipe)


def test_every_planned_recipe_is_of_the_form() -> None:
    seen = {"speech_has_picture": True, "ambience_has_picture": True}
    every = dict.fromkeys(DEFAULT_DEVICES, 0.5)
    for compose in ("features", "cut", "inset"):
        config = MixConfig(compose=compose, speech_devices=every, ambience_devices=every)
        for take in range(60):
            recipe = plan_recipe(item(take=take, **SOUNDS, **ROOM, **seen), config)
            assert canonical_json(checked_recipe(recipe)) == canonical_json(recipe)


def test_documents_are_text_that_git_and_people_can_compare() -> None:
    document = made(planned())
    assert encoded(document) == encoded(json.loads(encoded(document)))
    assert b"\n" in encoded(document)[:-1]
