"""What is seen and said moves with the sound of the speech: by the same time, on every grid."""

from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.timeline import LATENT_HZ, MOTION_FPS, VISUAL_FPS, count
from tasks.mix_conditions import combined, phonemes_on_grid, rows_under
from tasks.mix_plan import MixConfig, plan_recipe
from tasks.mix_sound import lay
from tests.made_mixtures import RATE_HZ, item

STEPS_PER_S = 5
AMBIENCE_S = 12.0
BASE, SPEAKER = 1.0, 100.0


def placed(at_s: float, length_s: float, **changes: float | None) -> dict:
    part = {"clip_id": "c", "at_s": at_s, "length_s": length_s, "offset_s": 0.0, "loop_s": None}
    return part | changes


def speech_item(speech_s: float) -> dict:
    """Speech of a length over ambience of 12 s, both of them seen."""
    return item(
        speech_start_s=0.0,
        speech_end_s=speech_s,
        speech_spans=[{"start_s": 0.0, "end_s": speech_s}],
        speech_has_picture=True,
        ambience_end_s=AMBIENCE_S,
        ambience_has_picture=True,
        room_id=None,
    )


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    speech_cs=st.integers(50, 700),
    onset_ms=st.integers(1, 300),
    mode=st.sampled_from(["add", "insert"]),
)
def test_sound_phonemes_picture_and_motion_begin_at_the_same_time_wherever_the_speech_lies(
    seed: int, speech_cs: int, onset_ms: int, mode: Literal["add", "insert"]
) -> None:
    speech_s = speech_cs / 100
    config = MixConfig(
        seed=seed,
        regimes={"location": 1.0},
        modes={mode: 1.0},
        full_length_share=1.0,
        speech_devices={},
    )
    recipe = plan_recipe(speech_item(speech_s), config)
    at_s, length_s = recipe["speech"]["at_s"], recipe["duration_s"]
    steps = round(at_s * STEPS_PER_S)
    assert at_s == pytest.approx(steps / STEPS_PER_S, abs=1e-9)

    speech = np.zeros((1, count(speech_s, RATE_HZ)), np.float32)
    onset = round(onset_ms * RATE_HZ / 1000)
    speech[:, onset] = 0.5
    quiet = np.zeros((1, count(AMBIENCE_S, RATE_HZ)), np.float32)
    voice = lay(recipe, speech, quiet, None).voice
    assert np.flatnonzero(voice).tolist() == [onset + steps * RATE_HZ // STEPS_PER_S]

    said = [{"phoneme": "s", "start_s": onset_ms / 1000, "end_s": speech_s}]
    conditions = recipe["conditions"]
    assert conditions["phonemes"]["at_s"] == at_s and conditions["combine"] == recipe["mode"]
    ids = phonemes_on_grid(said, length_s, at_s)
    own = phonemes_on_grid(said, speech_s)
    shift = steps * LATENT_HZ // STEPS_PER_S
    assert np.array_equal(np.flatnonzero(ids), np.flatnonzero(own) + shift)

    for fps in (VISUAL_FPS, MOTION_FPS):
        clip = np.full((count(speech_s, fps), 1), SPEAKER, np.float32)
        room = np.full((count(AMBIENCE_S, fps), 1), BASE, np.float32)
        laid = combined(conditions["picture"], [room, clip], conditions["combine"], length_s, fps)
        assert laid is not None and len(laid) == count(length_s, fps)
        changed = np.flatnonzero(laid[:, 0] != BASE)
        first = steps * fps // STEPS_PER_S
        assert changed.tolist() == list(range(first, first + count(speech_s, fps)))
        assert set(laid[changed, 0]) == {SPEAKER + (BASE if mode == "add" else 0.0)}


def test_the_base_alone_is_the_rows_of_its_clip() -> None:
    feature = np.random.default_rng(0).standard_normal((100, 3)).astype(np.float32)
    for part, rows in (
        (placed(0.0, 4.0), np.arange(40)),
        (placed(0.0, 4.0, offset_s=0.6), np.arange(6, 46)),
        (placed(0.0, 4.0, loop_s=1.4), np.arange(40) % 14),
    ):
        assert np.array_equal(rows_under(part, 10), rows)
        for combine in ("add", "insert"):
            laid = combined([part], [feature], combine, 4.0, 10)
            assert laid is not None and np.array_equal(laid, feature[rows])


def test_a_clip_that_ends_a_frame_early_holds_its_last_row_and_a_part_ends_with_the_mixture() -> (
    None
):
    short = np.arange(9, dtype=np.float32)[:, None]
    laid = combined([placed(0.0, 1.0)], [short], "add", 1.0, 10)
    assert laid is not None and laid[:, 0].tolist() == [*range(9), 8]
    laid = combined([placed(0.4, 1.0)], [short], "insert", 1.0, 10)
    assert laid is not None and laid[:, 0].tolist() == [0, 0, 0, 0, *range(6)]


def test_where_an_inserted_picture_has_no_features_nothing_is_seen() -> None:
    base = np.ones((20, 2), np.float32)
    parts = [placed(0.0, 2.0), placed(0.4, 0.6)]
    inserted = combined(parts, [base, None], "insert", 2.0, 10)
    assert inserted is not None
    assert np.flatnonzero(inserted[:, 0] == 0).tolist() == [4, 5, 6, 7, 8, 9]
    added = combined(parts, [base, None], "add", 2.0, 10)
    assert added is not None and np.array_equal(added, base)
    assert combined(parts, [None, None], "add", 2.0, 10) is None
