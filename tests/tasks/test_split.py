"""Splits: they never move when sources are added, and their shares are right in the large."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.split import SplitConfig, split_of

SOURCES = [hashlib.sha256(bytes([k % 256, k // 256])).hexdigest() for k in range(20_000)]


def test_shares_are_right_in_the_large() -> None:
    config = SplitConfig(test=0.1, validation=0.05)
    splits = [split_of(source, config) for source in SOURCES]
    assert splits.count("test") / len(splits) == pytest.approx(0.1, abs=0.01)
    assert splits.count("validation") / len(splits) == pytest.approx(0.05, abs=0.01)
    assert splits.count("train") / len(splits) == pytest.approx(0.85, abs=0.015)


@given(st.sampled_from(SOURCES))
def test_a_larger_test_share_only_adds_to_the_test_split(source: str) -> None:
    small, large = SplitConfig(test=0.1), SplitConfig(test=0.2)
    assert split_of(source, small) == split_of(source, SplitConfig(test=0.1))
    if split_of(source, small) == "test":
        assert split_of(source, large) == "test"


def test_another_salt_draws_anew() -> None:
    one, two = SplitConfig(), SplitConfig(salt="other")
    assert any(split_of(source, one) != split_of(source, two) for source in SOURCES[:100])


def test_a_share_of_nothing_is_nothing() -> None:
    config = SplitConfig(test=0.0, validation=0.0)
    assert {split_of(source, config) for source in SOURCES[:1000]} == {"train"}


@pytest.mark.parametrize(("test", "validation"), [(0.5, 0.5), (0.9, 0.2)])
def test_shares_that_leave_nothing_to_train_on_are_refused(test: float, validation: float) -> None:
    with pytest.raises(ValueError, match="leave no training split; lower them"):
        SplitConfig(test=test, validation=validation)
