"""Differences of two models on the same held-out items."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from tasks.held_out import Facts, Strike
from tests.benchmarks.paired import QUESTIONS, differences, onset_pair, strike_pairs
from tests.tasks.test_onsets import struck

QUESTION = "sound onset_f1"


def lines(
    arm: str, seed: int, pairs: Mapping[str, Sequence[Any]], question: str = QUESTION
) -> list[dict]:
    told = {"arm": arm, "seed": seed, "question": question}
    return [told | {"item_id": item, "pair": list(pair)} for item, pair in pairs.items()]


def test_a_difference_is_of_sums_over_items_and_a_mean_over_seeds() -> None:
    told = lines("joint", 0, {"a": (8, 10), "b": (1, 2)}) + lines(
        "sound", 0, {"a": (4, 10), "b": (2, 2)}
    )
    told += lines("joint", 1, {"a": (9, 10), "b": (2, 2)}) + lines(
        "sound", 1, {"a": (9, 10), "b": (2, 2)}
    )
    of_0, of_1, both = differences(told)
    assert (of_0["seeds"], of_0["joint"], of_0["sound"][0]) == ([0], [0.75, 0.5, 0.8], 0.5)
    assert of_1["difference"] == [0.0, 0.0, 0.0]
    assert (both["seeds"], both["items"]) == ([0, 1], 2)
    # Of item a alone the difference is +0.4 and 0, of b alone -0.5 and 0.
    assert both["difference"] == pytest.approx([0.125, -0.25, 0.2])


def test_words_are_also_told_with_no_more_wrong_ones_than_an_item_has() -> None:
    told = lines("joint", 0, {"a": (90, 10), "b": (2, 10)}, "speech wer")
    told += lines("speech", 0, {"a": (5, 10), "b": (2, 10)}, "speech wer")
    whole, capped = differences(told)
    assert (whole["joint"][0], whole["speech"][0]) == (4.6, 0.35)
    assert (capped["question"], capped["joint"][0]) == ("speech wer, at most all words", 0.6)
    assert capped["difference"][0] == 0.25


def test_pitches_of_all_strikes_are_ranked_in_each_draw() -> None:
    question = "sound pitch"
    rising = {"a": [(100, 210), (300, 650)], "b": [(200, 430)]}
    turned = {"a": [(100, 430), (300, 650)], "b": [(200, 210)]}  # ranks 2, 3, 1 for 1, 3, 2
    told = [
        line
        for seed, other in ((0, turned), (1, rising))
        for arm, pairs in (("right", rising), ("wrong", other))
        for line in lines(arm, seed, pairs, question)
    ]
    of_0, of_1, both = differences(told)
    assert (of_0["right"], of_0["wrong"][0]) == ([1.0, 1.0, 1.0], 0.5)
    assert of_1["difference"] == [0.0, 0.0, 0.0]
    assert (both["wrong"][0], both["difference"][0], both["items"]) == (0.75, 0.25, 2)


def test_a_lone_strike_is_heard_at_the_frequency_that_gains_most_there() -> None:
    strike = Strike(0.5, 700.0, 1.0, None, "")
    facts = Facts("a", "v2s", "test", (), (0.5,), (strike,), True)
    assert QUESTIONS["sound pitch"].asks(facts)
    at_s = np.arange(16_000) / 16_000
    sound = np.sin(2 * np.pi * 900.0 * at_s) * np.exp(-(at_s - 0.5) * 9) * (at_s >= 0.5)
    ((true_hz, heard_hz),) = strike_pairs(facts, sound.astype(np.float32))
    assert (true_hz, heard_hz) == (700.0, pytest.approx(900.0, abs=16))


def test_arms_that_were_measured_on_different_items_are_not_compared() -> None:
    told = lines("joint", 0, {"a": (8, 10)}) + lines("sound", 0, {"b": (8, 10)})
    with pytest.raises(ValueError, match="seed 0: the arms were measured on different items"):
        list(differences(told))


def test_an_onset_pair_counts_pairs_twice_among_all_onsets() -> None:
    facts = Facts("a", "v2s", "test", (), (0.5, 1.0, 1.7), (), True)
    assert QUESTIONS[QUESTION].asks(facts)
    assert onset_pair(facts, struck([0.5, 1.0, 1.3, 1.9])[::3]) == (4, 7)
