"""Signs of an invented text."""

import pytest

from tasks.align_words import Word
from tasks.hallucination import has_invented_phrase, outside_ratio, repeated_words


@pytest.mark.parametrize(
    ("text", "covered"),
    [
        ("", 0),
        ("no no", 0),
        ("no no no", 3),
        ("we go on and on and on and", 6),
        ("on and on and on", 0),
        ("a b c d a b c d a b c d", 12),
        ("that that is is", 0),
    ],
)
def test_repeated_words_counts_a_phrase_said_three_times_in_a_row(text: str, covered: int) -> None:
    assert repeated_words(text.split()) == covered


def test_outside_ratio_counts_words_whose_middle_is_far_from_speech() -> None:
    words = [Word("w", start_s, start_s + 0.3, 0.9) for start_s in (0.0, 0.4, 0.8, 1.2)]
    assert outside_ratio(words, [{"start_s": 0.0, "end_s": 0.8}]) == 0.25
    assert outside_ratio(words, []) == 1.0
    assert outside_ratio([], []) == 0.0


def test_an_invented_phrase_is_found_as_whole_words_only() -> None:
    assert has_invented_phrase(["well", "thanks", "for", "watching"])
    assert not has_invented_phrase(["thanks", "for", "watchingly"])
