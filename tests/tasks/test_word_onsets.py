"""When words begin: known from rows, heard in voices whose times the synthesiser tells."""

import itertools
import json
from typing import Any

import numpy as np
import pytest
import soxr

from models.timeline import AUDIO_HZ
from tasks.word_onsets import heard_word_starts, true_word_starts, word_start_errors
from tasks.world_voices import say


def item(words: list[tuple[str, float, float]], **values: Any) -> dict[str, Any]:
    rows = [{"word": word, "start_s": a, "end_s": b} for word, a, b in words]
    made = {"voice_start_s": 10.0, "voice_end_s": 15.0, "duration_s": 5.0, "mixture": None}
    return made | {"words": rows} | values


def test_words_are_heard_where_the_synthesiser_says_them() -> None:
    spoken = say("espeak:en-us", "this golden dog sings behind every garden", 1.0)
    voice = soxr.resample(spoken.audio, spoken.rate_hz, AUDIO_HZ)
    sound = np.pad(voice, (AUDIO_HZ // 2, AUDIO_HZ // 4)).astype(np.float32)
    true = tuple(word.start_s + 0.5 for word in spoken.words)
    heard = heard_word_starts(sound, [word.text for word in spoken.words])
    assert float(np.median(word_start_errors(true, heard, 9.0))) < 0.03
    assert all(a is not None and b is not None and a < b for a, b in itertools.pairwise(heard))


def test_in_silence_no_word_is_found() -> None:
    assert heard_word_starts(np.zeros(AUDIO_HZ, np.float32), ["dog", "sings"])[1:] == (None,)
    assert heard_word_starts(np.zeros(AUDIO_HZ, np.float32), []) == ()


def test_true_words_have_their_times_in_the_item() -> None:
    row = item([("too", 8.0, 8.4), ("at", 9.9, 10.3), ("25", 11.0, 11.5), ("dogs", 12.0, 12.4)])
    words = ("at", "twenty", "five", "dogs")
    # "at" begins before the item, and nothing says when "five" begins.
    assert true_word_starts(row, words) == pytest.approx((None, 1.0, None, 2.0))
    assert true_word_starts(row, ("another", "text")) == ()
    assert true_word_starts(row | {"words": None}, ("at",)) == ()


def test_true_words_of_a_mixture_lie_where_its_recipe_lays_the_voice() -> None:
    said = {"conditions": {"phonemes": {"clip_id": "a", "at_s": 1.4}}}
    mixed = {"mixture": {"recipe": json.dumps(said)}, "duration_s": 4.0}
    row = item([("red", 10.2, 10.6), ("dog", 13.0, 13.4)], **mixed)
    # The second would begin behind the end of the mixture.
    assert true_word_starts(row, ("red", "dog")) == pytest.approx((1.6, None))


def test_errors_are_of_words_with_times_and_words_that_are_not_found_are_far_away() -> None:
    errors = word_start_errors((0.5, None, 2.0, 3.0), (0.45, 1.0, None), lost_s=5.0)
    assert errors.tolist() == pytest.approx([0.05, 5.0])
