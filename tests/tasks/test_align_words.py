"""Word times, and the alignment of shipped texts."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.align_words import (
    MIN_WORD_S,
    Word,
    aligned_words,
    joined_pieces,
    match_ratio,
    ordered_words,
    trimmed_words,
)

SPANS = [{"start_s": 0.0, "end_s": 10.0}]


def words_of(text: str, word_s: float = 0.3, gap_s: float = 0.1) -> list[Word]:
    """Recognised words of equal length with equal gaps."""
    step_s = word_s + gap_s
    return [Word(w, i * step_s, i * step_s + word_s, 0.9) for i, w in enumerate(text.split())]


def test_pieces_without_a_space_belong_to_the_word_before() -> None:
    pieces = [
        Word(" cold", 0.0, 0.4, 0.98),
        Word("-hearted", 0.4, 0.8, 0.79),
        Word(" and", 1, 1.2, 1),
    ]
    joined = joined_pieces(pieces, "en")
    assert joined == [Word("cold-hearted", 0.0, 0.8, 0.79), Word("and", 1, 1.2, 1)]
    assert [word.word for word in joined_pieces(pieces, "ja")] == ["cold", "-hearted", "and"]


def test_words_lose_the_silence_beside_them() -> None:
    spans = [{"start_s": 0.5, "end_s": 1.0}, {"start_s": 2.0, "end_s": 3.0}]
    words = [Word("a", 0.0, 0.8, 1), Word("b", 0.8, 1.5, 1), Word("c", 1.2, 1.8, 1)]
    trimmed = trimmed_words(words, spans)
    assert [(word.start_s, word.end_s) for word in trimmed] == [(0.5, 0.8), (0.8, 1.0), (1.2, 1.8)]


def test_a_word_without_length_takes_room_from_the_pause_before_it() -> None:
    words = [Word("negotiations", 3.1, 3.7, 1), Word("the", 4.5, 4.5, 1), Word("United", 4.5, 5, 1)]
    ordered = ordered_words(words, 8.0)
    assert ordered[1].start_s == pytest.approx(4.5 - MIN_WORD_S)
    assert ordered[1].end_s == ordered[2].start_s == pytest.approx(4.5)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 12), st.floats(0, 12)), max_size=40),
    st.floats(0.02, 10),
)
def test_ordered_words_lie_in_the_clip_without_overlap(
    times: list[tuple[float, float]], duration_s: float
) -> None:
    words = [Word("w", min(pair), max(pair), 1.0) for pair in times]
    ordered = ordered_words(words, duration_s)
    least_s = min(MIN_WORD_S, duration_s / max(1, len(words)))
    assert all(word.end_s - word.start_s >= least_s - 1e-9 for word in ordered)
    assert all(word.start_s >= 0 and word.end_s <= duration_s for word in ordered)
    for left, right in itertools.pairwise(ordered):
        assert left.end_s <= right.start_s


def test_a_shipped_word_that_was_recognised_keeps_its_time_and_score() -> None:
    heard = words_of("He was not an old man.")
    aligned = aligned_words(["he", "was", "not", "an", "old", "man"], heard, SPANS)
    assert [word.word for word in aligned] == ["he", "was", "not", "an", "old", "man"]
    assert [(w.start_s, w.end_s, w.score) for w in aligned] == [
        (w.start_s, w.end_s, w.score) for w in heard
    ]


def test_misheard_words_share_their_stretch_by_letters() -> None:
    heard = words_of("not an old-sposed young man")
    aligned = aligned_words(["not", "an", "ill", "disposed", "young", "man"], heard, SPANS)
    ill, disposed = aligned[2:4]
    assert (ill.start_s, disposed.end_s) == (heard[2].start_s, heard[2].end_s)
    assert ill.end_s == disposed.start_s
    assert (ill.end_s - ill.start_s) / 0.3 == pytest.approx(3 / 11)
    assert ill.score is None
    assert aligned[4] == heard[3]


def test_a_missed_word_fills_the_pause_or_shares_with_its_neighbour() -> None:
    heard = words_of("we went home", word_s=0.3, gap_s=0.3)
    aligned = aligned_words(["we", "all", "went", "home"], heard, SPANS)
    assert (aligned[1].start_s, aligned[1].end_s) == pytest.approx((0.3, 0.6))
    tight = words_of("we went home", word_s=0.3, gap_s=0.0)
    shared = aligned_words(["we", "all", "went", "home"], tight, SPANS)
    assert (shared[0].start_s, shared[1].end_s) == pytest.approx((0.0, 0.3))
    assert shared[0].end_s == shared[1].start_s


def test_missed_words_at_the_ends_reach_to_the_ends_of_speech() -> None:
    heard = [Word("middle", 1.0, 1.5, 0.9)]
    spans = [{"start_s": 0.5, "end_s": 2.5}]
    aligned = aligned_words(["first", "middle", "last"], heard, spans)
    assert [(w.start_s, w.end_s) for w in aligned] == [(0.5, 1.0), (1.0, 1.5), (1.5, 2.5)]


def test_a_shipped_text_without_any_recognised_word_fills_the_speech() -> None:
    aligned = aligned_words(["one", "three"], [], [{"start_s": 1.0, "end_s": 2.6}])
    assert [w.start_s for w in aligned] == pytest.approx([1.0, 1.6])
    assert [w.end_s for w in aligned] == pytest.approx([1.6, 2.6])


@settings(deadline=None)
@given(
    st.lists(st.sampled_from(["a", "bee", "cat", "dog", "elephant"]), min_size=1, max_size=12),
    st.lists(st.sampled_from(["a", "bee", "cat", "dog", "elephant"]), max_size=12),
)
def test_aligned_words_keep_the_text_and_run_forward(shipped: list[str], heard: list[str]) -> None:
    aligned = aligned_words(shipped, words_of(" ".join(heard)), SPANS)
    assert [word.word for word in aligned] == shipped
    for word in aligned:
        assert word.start_s < word.end_s
    for left, right in itertools.pairwise(aligned):
        assert left.end_s <= right.start_s + 1e-9


def test_match_ratio_ignores_case_and_punctuation() -> None:
    assert match_ratio(["It's,", "HE"], words_of("its he")) == 1.0
    assert match_ratio(["it’s", "he"], words_of("It's he")) == 1.0
    assert match_ratio(["alone"], []) == 0.0
