import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.ids import canonical_json, mix_id
from tasks.draws import even_draws, keyed_generator
from tasks.mix_plan import MixConfig, plan_recipe
from tasks.mix_regimes import REGIMES
from tests.made_mixtures import item, only

ROOM = {"room_id": "hall", "room_ref": "blobs/cc/03.flac", "t60_s": 0.4}


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**31),
    take=st.integers(0, 50),
    speech_s=st.floats(0.4, 10.0),
    ambience_s=st.floats(1.0, 30.0),
    fade_ms=st.floats(10, 20),
)
def test_a_recipe_lies_within_its_laws_and_survives_json(seed, take, speech_s, ambience_s, fade_ms):
    config = MixConfig(seed=seed, fade_ms=fade_ms)
    made = item(take=take, speech_end_s=1.0 + speech_s, ambience_end_s=ambience_s, **ROOM)
    recipe = plan_recipe(made, config)
    regime = REGIMES[recipe["regime"]]
    asked = {name: level for name, level in recipe["requested"].items() if level is not None}
    assert set(asked) == ({regime.level} if regime.level else set())
    assert all(regime.low <= level <= regime.high for level in asked.values())
    assert (recipe["speech"] is None) != regime.has_speech
    assert (recipe["ambience"] is None) != regime.has_ambience
    assert recipe["duration_s"] <= 10.0
    if placed := recipe["ambience"]:
        assert placed["offset_s"] * 5 == pytest.approx(round(placed["offset_s"] * 5))
        assert bool(placed["ducking"]) == (regime.ducks and recipe["mode"] == "add")
        if placed["loop_s"] is None:
            assert 0 <= placed["offset_s"] <= ambience_s - recipe["duration_s"] + 1e-5
        else:
            assert placed["offset_s"] == 0 and ambience_s < recipe["duration_s"] + 1e-5
            assert placed["loop_s"] + fade_ms / 1000 <= ambience_s + 1e-5
    if placed := recipe["speech"]:
        assert placed["at_s"] * 5 == pytest.approx(round(placed["at_s"] * 5))
        assert placed["at_s"] + round(speech_s, 6) <= recipe["duration_s"] + 1e-5
    if recipe["mode"] == "insert":
        assert recipe["duration_s"] >= speech_s + 1.0 - 1e-5
    assert json.loads(canonical_json(recipe)) == recipe
    assert mix_id(plan_recipe(made, config)) == mix_id(recipe)


def test_regimes_come_by_their_weights_and_unknown_ones_are_refused():
    config = MixConfig(regimes={"location": 3.0, "hard": 1.0})
    drawn = [plan_recipe(item(take=take), config)["regime"] for take in range(1_000)]
    assert drawn.count("hard") == pytest.approx(250, abs=45)
    with pytest.raises(ValueError, match="underwater"):
        MixConfig(regimes={"underwater": 1.0})
    with pytest.raises(ValueError, match="positive weight"):
        MixConfig(regimes={"hard": 0.0})
    with pytest.raises(ValueError, match=r"mix\.modes"):
        MixConfig(modes={"add": 0.0})
    with pytest.raises(ValueError, match=r"mix\.ducking_depth_db"):
        MixConfig(ducking_depth_db=(12.0, 3.0))
    with pytest.raises(ValueError, match=r"mix\.speech_devices.*megaphone"):
        MixConfig(speech_devices={"megaphone": 0.1})


def test_another_seed_take_or_parent_gives_another_recipe_and_a_moved_file_does_not():
    plain = only("hard")
    known = mix_id(plan_recipe(item(), plain))
    others = [
        mix_id(plan_recipe(item(take=1), plain)),
        mix_id(plan_recipe(item(), only("hard", seed=1))),
        mix_id(plan_recipe(item(ambience_clip_id="other"), plain)),
        mix_id(plan_recipe(item(speech_audio_ref="blobs/aa/09.flac"), plain)),
        mix_id(plan_recipe(item(speech_spans=[{"start_s": 0.6, "end_s": 1.7}]), plain)),
    ]
    assert len({known, *others}) == 6
    assert mix_id(plan_recipe(item(split="test"), plain)) == known


def test_two_items_never_share_a_mixture_even_of_one_ambience_alone():
    config = only("ambience_only", full_length_share=1.0)
    items = [item(speech_clip_id=f"speech{n}", ambience_end_s=4.0) for n in range(5)]
    assert len({mix_id(plan_recipe(one, config)) for one in items}) == 5


def test_draws_are_the_same_in_any_order_and_for_any_thread():
    keys = range(40)
    known = [even_draws(7, "x", key) for key in keys]
    assert len(set(map(tuple, known))) == 40
    with ThreadPoolExecutor(4) as pool:
        backwards = list(pool.map(lambda key: even_draws(7, "x", key), reversed(keys)))
    assert backwards[::-1] == known
    assert known[3] == keyed_generator("x", 3).random(7).tolist()


def test_one_changed_setting_moves_nothing_else():
    def without(config, *names):
        recipe = plan_recipe(item(ambience_end_s=20.0, **ROOM), config)
        recipe["speech"] = {k: v for k, v in recipe["speech"].items() if k not in names}
        return {k: v for k, v in recipe.items() if k not in names}

    plain = only("location", full_length_share=1.0)
    for changed, names in (
        ({"room_probability": 1.0 if plain.room_probability < 1 else 0.0}, ["room"]),
        ({"room_probability": 0.0}, ["room"]),
        ({"speech_devices": {"clipping": 1.0}}, ["devices"]),
        ({"loudness_lufs": -30.0}, ["master"]),
    ):
        other = only("location", full_length_share=1.0, **changed)
        assert without(other, *names) == without(plain, *names)


def test_speech_is_heard_in_a_room_as_often_as_asked_and_never_without_rooms():
    config = only("location", room_probability=0.6)
    rooms = [plan_recipe(item(take=t, **ROOM), config)["speech"]["room"] for t in range(500)]
    assert sum(room is not None for room in rooms) == pytest.approx(300, abs=40)
    assert {"room_id": "hall", "response_sha256": "cc03", "t60_s": 0.4} in rooms
    assert plan_recipe(item(), config)["speech"]["room"] is None


def test_the_picture_follows_both_sounds():
    full = only("location", full_length_share=1.0)
    both = plan_recipe(item(speech_has_picture=True, ambience_has_picture=True), full)
    base, over = both["conditions"]["picture"]
    assert (base["clip_id"], over["clip_id"]) == ("ambience", "speech")
    assert both["duration_s"] == 8.0 and base["length_s"] == 8.0
    assert over["at_s"] == both["speech"]["at_s"] and over["length_s"] == 4.0
    assert base["offset_s"] == both["ambience"]["offset_s"]
    assert both["conditions"]["phonemes"] == {"clip_id": "speech", "at_s": over["at_s"]}
    scenery = plan_recipe(item(ambience_has_picture=True, ambience_end_s=1.5), full)
    assert [part["loop_s"] for part in scenery["conditions"]["picture"]] == [1.4]
    assert plan_recipe(item(), full)["conditions"]["picture"] == []


def test_a_speaker_seen_over_unseen_ambience_fills_the_mixture():
    full = only("location", full_length_share=1.0)
    recipe = plan_recipe(item(speech_has_picture=True), full)
    assert recipe["duration_s"] == 4.0 and recipe["speech"]["at_s"] == 0.0


def test_an_insert_leaves_ambience_around_it_or_becomes_an_add():
    insert = only("broadcast", modes={"insert": 1.0}, full_length_share=0.0)
    recipe = plan_recipe(item(), insert)
    assert recipe["mode"] == "insert" and recipe["duration_s"] == 8.0
    assert recipe["ambience"]["ducking"] is None
    short = plan_recipe(item(ambience_end_s=4.5), insert)
    assert short["mode"] == "add" and short["ambience"]["ducking"] is not None


def test_two_pictures_are_composed_only_where_there_are_two():
    inset = only("location", compose="inset")
    seen = {"ambience_has_picture": True}
    both = plan_recipe(item(speech_has_picture=True, **seen), inset)["conditions"]["compose"]
    assert both["kind"] == "inset" and 0.3 <= both["share"] <= 0.45
    assert plan_recipe(item(**seen), inset)["conditions"]["compose"] is None
    cut = only("location", compose="cut")
    composed = plan_recipe(item(speech_has_picture=True, **seen), cut)["conditions"]["compose"]
    assert composed == {"kind": "cut"}
