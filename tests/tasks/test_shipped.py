"""A shipped transcript's words in one clip: each in exactly one, at the time that was heard."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.align_words import Word, normalised
from tasks.shipped import cue_words, passage, placed_cues, placed_text

SPANS = [{"start_s": 0.0, "end_s": 10.0}]


def cue(start_s: float, end_s: float, text: str, language: str = "") -> dict:
    return {"start_s": start_s, "end_s": end_s, "text": text, "language": language}


def heard(text: str, start_s: float = 0.0) -> list[Word]:
    return [
        Word(w, start_s + i * 0.4, start_s + i * 0.4 + 0.3, 0.9) for i, w in enumerate(text.split())
    ]


@given(
    st.lists(
        st.tuples(st.floats(0, 28), st.floats(0.5, 6), st.integers(1, 6)), min_size=1, max_size=6
    )
)
def test_every_word_of_a_cue_is_in_exactly_one_clip(made: list[tuple[float, float, int]]) -> None:
    cues = [
        cue(start_s, min(30.0, start_s + length_s), " ".join(f"w{i}.{j}" for j in range(count)))
        for i, (start_s, length_s, count) in enumerate(made)
    ]
    found = [
        word.word
        for start_s in (0.0, 10.0, 20.0)
        for word in cue_words(cues, start_s, start_s + 10, "en")[0]
    ]
    assert sorted(found) == sorted(word for c in cues for word in c["text"].split())


def test_overlapping_cues_give_words_in_order_that_do_not_overlap() -> None:
    words, _ = cue_words([cue(1, 3, "one three"), cue(1.4, 3, "two four")], 0, 10, "en")
    assert [word.word for word in words] == ["one", "two", "three", "four"]
    edges = [edge for word in words for edge in (word.start_s, word.end_s)]
    assert edges == sorted(edges)


def test_cues_in_the_spoken_language_come_before_those_that_name_none() -> None:
    cues = [cue(0, 1, "plain"), cue(0, 1, "deutsch", "de"), cue(0, 1, "english", "en")]
    assert [w.word for w in cue_words(cues, 0, 10, "de")[0]] == ["deutsch"]
    assert [w.word for w in cue_words(cues, 0, 10, "fr")[0]] == ["plain"]
    assert cue_words(cues[1:], 0, 10, "fr") == ([], "")


def test_a_cues_words_take_the_times_at_which_they_were_heard() -> None:
    cues = [cue(10.5, 13.0, "Had he, married.")]
    placed = placed_cues(cues, (10.0, 20.0), heard("had he married", 1.0), "en", 0.5)
    assert placed is not None
    assert [word.word for word in placed.words] == ["Had", "he,", "married."]
    assert [word.start_s for word in placed.words] == pytest.approx([1.0, 1.4, 1.8])
    assert placed.match == 1.0


def test_a_cue_that_was_not_heard_keeps_its_own_times() -> None:
    placed = placed_cues([cue(11, 13, "ab cd")], (10.0, 20.0), heard("other things"), "en", 0.5)
    assert placed is not None
    assert [(w.start_s, w.end_s, w.score) for w in placed.words] == [(1, 2, None), (2, 3, None)]
    assert (placed.method, placed.match) == ("shipped_cues", 0.0)


def test_a_cue_word_at_the_edge_of_two_clips_is_where_it_was_heard() -> None:
    cues = [cue(5, 9.5, "he was not ill"), cue(9.6, 12, "he might have been made amiable")]
    first = placed_cues(cues, (0.0, 10.0), heard("he was not ill", 5.0), "en", 0.5)
    second = placed_cues(cues, (10.0, 20.0), heard("he might have been made amiable"), "en", 0.5)
    assert first and [word.word for word in first.words] == ["he", "was", "not", "ill"]
    assert second and [w.word for w in second.words] == [
        "he",
        "might",
        "have",
        "been",
        "made",
        "amiable",
    ]
    assert second.words[0].start_s == 0.0


def test_cues_that_leave_out_most_of_what_is_said_are_not_taken() -> None:
    assert (
        placed_cues([cue(1, 2, "yes")], (0, 10), heard("yes I said yes I will"), "en", 0.5) is None
    )


TEXT = "you have one new message press two to hear you have no old message good bye"


@pytest.mark.parametrize(
    ("said", "share", "taken"),
    [
        ("one new message", 0.0, "one new message"),
        ("press too to hear", 0.5, "press two to hear"),
        ("have one message", 0.1, "have one new message"),
        ("you have", 0.0, "you have"),
        ("no old um message", 0.5, "no old message"),
        ("zebra", 0.5, ""),
        ("", 0.5, ""),
    ],
)
def test_a_passage_is_what_fits_the_words_that_were_heard(
    said: str, share: float, taken: str
) -> None:
    tokens = [normalised(token) for token in TEXT.split()]
    first, last = passage(tokens, heard(said), share)
    assert " ".join(tokens[first:last]) == taken


def test_of_equal_passages_the_one_near_the_clips_place_is_taken() -> None:
    tokens = TEXT.split()
    assert passage(tokens, heard("you have"), 0.0) == (0, 2)
    assert passage(tokens, heard("you have"), 0.6) == (9, 11)


@given(st.integers(0, 40), st.integers(2, 8))
def test_a_passage_heard_without_error_is_found_wherever_it_is(first: int, count: int) -> None:
    tokens = [f"w{place}" for place in range(50)]
    said = heard(" ".join(tokens[first : first + count]))
    assert passage(tokens, said, 0.0) == (first, first + count)


def test_clips_of_a_source_share_its_text_and_a_whole_one_takes_all() -> None:
    first = placed_text(TEXT, False, 0.0, heard("you have one knew message"), SPANS)
    second = placed_text(TEXT, False, 0.5, heard("no old message good bye"), SPANS)
    assert first and " ".join(w.word for w in first.words) == "you have one new message"
    assert second and " ".join(w.word for w in second.words) == "no old message good bye"
    assert not first.is_certain
    everything = placed_text(TEXT, True, 0.0, heard("good bye"), SPANS)
    assert everything and len(everything.words) == len(TEXT.split())
    assert everything.is_certain
