"""A reject: a documented reason, and a message that crosses process borders whole."""

import pickle
import re

import pytest

from storage.rejects import REASONS, Rejected


def test_an_undocumented_reason_is_a_programming_error() -> None:
    with pytest.raises(ValueError, match="unknown reason code 'odd'"):
        Rejected("odd", "x")


def test_a_reject_survives_pickling() -> None:
    reject = Rejected("truncated", "a.mp4: ends early", {"at_bytes": 7})
    again = pickle.loads(pickle.dumps(reject))
    assert isinstance(again, Rejected)
    assert (again.reason, again.message, again.facts, str(again)) == (
        "truncated",
        "a.mp4: ends early",
        {"at_bytes": 7},
        "a.mp4: ends early",
    )


@pytest.mark.parametrize("reason", REASONS)
def test_every_reason_is_a_code_with_a_sentence(reason: str) -> None:
    assert re.fullmatch(r"[a-z_]+", reason)
    assert re.fullmatch(r"[A-Z].+\.", REASONS[reason])
