"""Scores against counting by hand and the statistics of known laws."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.scores import drawn_score, mean_score, rank_correlation, ratio_score, side_by_side
from tasks.word_errors import compared_words, word_errors

WORDS = st.lists(st.sampled_from("abc"), max_size=6)


def test_a_ratio_is_that_of_the_sums_and_not_the_mean_of_ratios() -> None:
    score = ratio_score([1, 3], [10, 4])
    assert score.value == 4 / 14
    # Two items are drawn as (1, 1), (1, 2), (2, 1) or (2, 2).
    assert (score.low, score.high) == pytest.approx((1 / 10, 3 / 4))


@given(st.lists(st.floats(-1e6, 1e6, allow_nan=False), min_size=1, max_size=40))
def test_an_interval_contains_its_mean_and_is_the_same_each_time(values: list[float]) -> None:
    score = mean_score(values, draws=100)
    tolerance = 1e-9 * (1 + max(map(abs, values)))
    assert score.value == pytest.approx(np.mean(values), abs=tolerance)
    assert score.low - tolerance <= score.value <= score.high + tolerance
    assert min(values) - tolerance <= score.low <= score.high <= max(values) + tolerance
    assert mean_score(values, draws=100) == score


def test_another_seed_draws_another_interval() -> None:
    values = list(range(20))
    assert mean_score(values, draws=100) != mean_score(values, draws=100, seed=1)


def test_a_mean_has_the_interval_that_statistics_gives() -> None:
    values = np.random.default_rng(0).normal(5, 2, 400)
    half = 1.96 * values.std() / 20
    score = mean_score(values.tolist(), draws=4000)
    assert (score.low, score.high) == pytest.approx(
        (values.mean() - half, values.mean() + half), abs=0.03
    )


def test_no_items_and_no_words_have_no_ratio() -> None:
    for over, under in (([], []), ([1.0], [0.0])):
        with pytest.raises(ValueError, match="there is no ratio"):
            ratio_score(over, under)


def test_a_statistic_without_a_value_in_any_draw_has_no_interval() -> None:
    score = drawn_score(lambda picks: np.full(len(picks), np.nan), 3)
    assert np.isnan([score.value, score.low, score.high]).all()


def test_rank_correlation_asks_for_order_alone() -> None:
    size = np.array([1.0, 2.0, 3.0, 4.0])
    assert rank_correlation(size, np.exp(size)) == pytest.approx(1.0)
    assert rank_correlation(size, 1 / size) == pytest.approx(-1.0)
    # d = (0, 1, 1, 0) in ranks: 1 - 6 * 2 / (4 * 15).
    assert rank_correlation(size, np.array([1.0, 3.0, 2.0, 4.0])) == pytest.approx(0.8)
    # Equal values share rank 1.5: the covariance of (1, 2, 3) and (1.5, 1.5, 3) by their spreads.
    tied = rank_correlation(np.array([1.0, 2.0, 3.0]), np.array([7.0, 7.0, 9.0]))
    assert tied == pytest.approx(1.5 / np.sqrt(2 * 1.5))
    assert np.isnan(rank_correlation(size, np.ones(4)))


def test_word_errors_are_the_fewest_edits() -> None:
    said = ["the", "red", "dog", "sings"]
    assert word_errors(said, said) == 0
    assert word_errors(said, ["the", "dog", "sings", "again"]) == 2
    assert word_errors(said, []) == 4
    assert word_errors([], said) == 4


@given(WORDS, WORDS, WORDS)
def test_word_errors_are_a_distance(first: list[str], second: list[str], third: list[str]) -> None:
    there = word_errors(first, second)
    assert there == word_errors(second, first)
    assert (there == 0) == (first == second)
    assert word_errors(first, third) <= there + word_errors(second, third)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("The 2 Dogs, again!", "the two dogs again"),
        (
            "On the 21st, 1,000 of 1984",
            "on the twenty first one zero zero zero of one nine eight four",
        ),
        ("It's 5 p.m. [music]", "its five pm"),
        ("well-known & 50%", "well known and fifty percent"),
    ],
)
def test_texts_are_compared_as_they_are_said(text: str, words: str) -> None:
    assert compared_words(text) == words.split()


def test_each_score_stands_beside_its_ceiling_and_control() -> None:
    def row(metric: str, role: str, value: float) -> dict[str, object]:
        return {"metric": metric, "task": "all", "split": "test", "role": role, "value": value}

    rows = [row("f1", role, value) for role, value in (("control", 0.1), ("score", 0.8))]
    rows += [row("f1", "ceiling", 0.9), row("loss", "score", 2.0)]
    first, second = side_by_side(rows)
    assert (first["value"], first["truth"], first["ceiling"], first["control"]) == (
        0.8,
        None,
        0.9,
        0.1,
    )
    assert (second["metric"], second["ceiling"]) == ("loss", None)
