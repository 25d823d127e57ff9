import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.ids import canonical_json, mix_id
from tasks.mix_plan import REGIMES, MixConfig, picture_rows, plan_recipe
from tests.made_mixtures import item

PLAIN = MixConfig(colour_probability=0.0)


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**31),
    take=st.integers(0, 50),
    speech_s=st.floats(0.4, 10.0),
    ambience_s=st.floats(1.0, 30.0),
    fade_ms=st.floats(10, 20),
)
def test_a_recipe_lies_within_its_laws_and_survives_json(seed, take, speech_s, ambience_s, fade_ms):
    config = MixConfig(seed=seed, fade_ms=fade_ms, colour_probability=0.5)
    made = item(take=take, speech_end_s=1.0 + speech_s, ambience_end_s=ambience_s)
    recipe = plan_recipe(made, config)
    low, high = {"location": (-3, 20), "hard": (-5, 5)}[recipe["regime"]]
    assert low <= recipe["requested_snr_db"] <= high
    placed = recipe["ambience"]
    assert placed["offset_s"] * 5 == pytest.approx(round(placed["offset_s"] * 5))
    if placed["loop_s"] is None:
        assert 0 <= placed["offset_s"] <= ambience_s - speech_s + 1e-5
    else:
        assert placed["offset_s"] == 0 and ambience_s < speech_s + 1e-5
        assert placed["loop_s"] + fade_ms / 1000 <= ambience_s + 1e-5
    for band in recipe["speech"]["colour"] or []:
        assert abs(band["gain_db"]) <= config.colour_gain_db and 0.4 <= band["q"] <= 1.0
    assert json.loads(canonical_json(recipe)) == recipe
    assert mix_id(plan_recipe(made, config)) == mix_id(recipe)


def test_the_laws_of_the_regimes_are_those_that_are_documented():
    generator = np.random.Generator(np.random.Philox(key=1))
    location = np.array([REGIMES["location"](generator) for _ in range(4_000)])
    hard = np.array([REGIMES["hard"](generator) for _ in range(4_000)])
    assert location.mean() == pytest.approx(7.1, abs=0.3) and location.std() == pytest.approx(
        4.7, abs=0.3
    )
    assert location.min() >= -3 and location.max() <= 20
    assert hard.mean() == pytest.approx(0.0, abs=0.2) and hard.min() >= -5 and hard.max() <= 5


def test_regimes_come_by_their_weights_and_unknown_ones_are_refused():
    config = MixConfig(regimes={"location": 3.0, "hard": 1.0})
    drawn = [plan_recipe(item(take=take), config)["regime"] for take in range(1_000)]
    assert drawn.count("hard") == pytest.approx(250, abs=45)
    only = MixConfig(regimes={"location": 0.0, "hard": 1.0})
    assert {plan_recipe(item(take=take), only)["regime"] for take in range(50)} == {"hard"}
    with pytest.raises(ValueError, match="underwater"):
        MixConfig(regimes={"underwater": 1.0})
    with pytest.raises(ValueError, match="positive weight"):
        MixConfig(regimes={"hard": 0.0})


def test_another_seed_take_or_parent_gives_another_recipe_and_a_moved_file_does_not():
    known = mix_id(plan_recipe(item(), PLAIN))
    others = [
        mix_id(plan_recipe(item(take=1), PLAIN)),
        mix_id(plan_recipe(item(), MixConfig(seed=1, colour_probability=0.0))),
        mix_id(plan_recipe(item(ambience_clip_id="other"), PLAIN)),
        mix_id(plan_recipe(item(speech_audio_ref="blobs/aa/09.flac"), PLAIN)),
        mix_id(plan_recipe(item(speech_spans=[{"start_s": 0.6, "end_s": 1.7}]), PLAIN)),
    ]
    assert len({known, *others}) == 6
    assert mix_id(plan_recipe(item(split="test"), PLAIN)) == known


def test_the_picture_is_the_speaker_s_or_else_the_ambience_s_under_its_sound():
    speaker = plan_recipe(item(speech_has_picture=True, ambience_has_picture=True), PLAIN)
    assert speaker["picture_clip_id"] == "speech" and speaker["picture_offset_s"] == 0.0
    scenery = plan_recipe(item(ambience_has_picture=True), PLAIN)
    assert scenery["picture_clip_id"] == "ambience"
    assert scenery["picture_offset_s"] == scenery["ambience"]["offset_s"]
    neither = plan_recipe(item(), PLAIN)
    assert neither["picture_clip_id"] is None and neither["picture_offset_s"] == 0.0
    assert {r["phoneme_clip_id"] for r in (speaker, scenery, neither)} == {"speech"}


def test_picture_rows_follow_the_ambience_through_its_loop():
    recipe = plan_recipe(item(ambience_has_picture=True, ambience_end_s=1.5), PLAIN)
    assert recipe["picture_loop_s"] == 1.4
    rows = picture_rows(recipe, 10)
    assert len(rows) == 40 and rows[:16].tolist() == [*range(14), 0, 1]
    shifted = picture_rows(recipe | {"picture_loop_s": None, "picture_offset_s": 0.6}, 25)
    assert shifted.tolist() == list(range(15, 115))
