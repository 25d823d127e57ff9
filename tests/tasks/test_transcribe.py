"""Word times, alignment of shipped texts, and the signs of an invented text."""

import itertools
import re
import wave
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.timeline import AUDIO_HZ
from tasks.listen import ListenConfig, speech_spans
from tasks.transcribe import (
    FLAGS,
    MIN_WORD_S,
    Heard,
    TranscribeConfig,
    Word,
    aligned_words,
    flags_of,
    joined_pieces,
    load_whisper,
    match_ratio,
    ordered_words,
    outside_ratio,
    recognise,
    repeated_words,
    transcript_of,
    trimmed_words,
)
from tasks.weights import MissingWeight

CONFIG = TranscribeConfig()
SPANS = [{"start_s": 0.0, "end_s": 10.0}]


def words_of(text: str, word_s: float = 0.3, gap_s: float = 0.1) -> list[Word]:
    """Recognised words of equal length with equal gaps."""
    step_s = word_s + gap_s
    return [Word(w, i * step_s, i * step_s + word_s, 0.9) for i, w in enumerate(text.split())]


def heard_of(text: str, word_s: float = 0.3) -> Heard:
    """A sound recognition of a text."""
    return Heard(tuple(words_of(text, word_s)), "en", 1.0, -0.3, 0.05, 1.2)


SOUND = heard_of("had he married a more amiable woman")


def test_a_sound_text_has_no_flag() -> None:
    assert flags_of(SOUND, SPANS, CONFIG) == []


@pytest.mark.parametrize(
    ("heard", "flag"),
    [
        (replace(SOUND, no_speech_score=0.7), "no_speech"),
        (replace(SOUND, avg_logprob=-1.1), "low_logprob"),
        (replace(SOUND, compression_ratio=2.5), "compression"),
        (heard_of("I know I know I know"), "repetition"),
        (heard_of("internationalisation notwithstanding", 0.2), "too_fast"),
        (heard_of("Thanks for watching!"), "phrase"),
    ],
)
def test_each_flag_fires_alone_on_its_own_defect(heard: Heard, flag: str) -> None:
    assert flags_of(heard, SPANS, CONFIG) == [flag]


def test_words_outside_speech_are_flagged() -> None:
    spans = [{"start_s": 0.0, "end_s": 0.8}]
    assert flags_of(SOUND, spans, CONFIG) == ["outside_speech"]
    assert outside_ratio(SOUND.words, spans) == pytest.approx(4 / 7)
    assert outside_ratio(SOUND.words, []) == 1.0


def test_flags_keep_the_order_of_their_list() -> None:
    bad = replace(SOUND, compression_ratio=9.0, no_speech_score=0.9, avg_logprob=-3.0)
    flags = flags_of(bad, [], CONFIG)
    assert flags == ["no_speech", "low_logprob", "compression", "outside_speech"]
    assert set(flags) <= set(FLAGS)


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


def test_a_shipped_text_is_preferred_and_judged_by_its_agreement() -> None:
    doubtful = replace(SOUND, avg_logprob=-2.0)
    row, words = transcript_of(doubtful, "Had he  married a more amiable woman.", SPANS, CONFIG)
    assert row["text"] == "Had he married a more amiable woman."
    assert row["method"] == "shipped"
    assert row["flags"] == []
    assert [word["position"] for word in words] == list(range(7))
    other, _ = transcript_of(SOUND, "Something else was read out here", SPANS, CONFIG)
    assert other["flags"] == ["differs"]


def test_match_ratio_ignores_case_and_punctuation() -> None:
    assert match_ratio(["It's,", "HE"], words_of("its he")) == 1.0
    assert match_ratio(["alone"], []) == 0.0


REFERENCES = {
    "0870": "and mister john dashwood had then leisure to consider how much there might be "
    "prudently in his power to do for them",
    "0880": "he was not an ill disposed young man",
    "0890": "unless to be rather cold hearted and rather selfish is to be ill disposed",
    "0920": "had he married a more a amiable woman he might have been made still more respectable "
    "than he was",
    "0930": "he might even have been made amiable himself",
}


def read_wav(path: Path) -> NDArray[np.float32]:
    """A 16 kHz WAV file (T,)."""
    with wave.open(str(path)) as file:
        assert file.getframerate() == AUDIO_HZ
        return np.frombuffer(file.readframes(-1), "<i2").astype(np.float32) / np.float32(32768)


def words_for_wer(text: str) -> list[str]:
    """Lower-case words; hyphens part them, "Mr." is read out, other marks are dropped."""
    plain = re.sub(r"[^a-z' ]", "", text.lower().replace("-", " ").replace("mr.", "mister"))
    return plain.split()


def word_errors(reference: list[str], hypothesis: list[str]) -> int:
    """Levenshtein distance in words."""
    row = list(range(len(hypothesis) + 1))
    for i, word in enumerate(reference, start=1):
        diagonal, row[0] = row[0], i
        for j, other in enumerate(hypothesis, start=1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (word != other))
    return row[-1]


@pytest.fixture(scope="module")
def heard_lines(demo_corpus: Path) -> dict[str, tuple[Heard, list[dict[str, float]], float]]:
    """Whisper's words, speech spans and length of each LibriVox line."""
    hear = partial(recognise, load_whisper("tiny.en", "cpu", "int8"))
    lines = {}
    for name in REFERENCES:
        audio = read_wav(demo_corpus / f"librivox/{name}.wav")
        spans = speech_spans(audio, ListenConfig())
        lines[name] = (hear(audio, spans, CONFIG), spans, len(audio) / AUDIO_HZ)
    return lines


@pytest.mark.weights
def test_librivox_lines_are_recognised_below_8_percent_wer(
    heard_lines: dict[str, tuple[Heard, list[dict[str, float]], float]],
) -> None:
    errors, total = 0, 0
    for name, text in REFERENCES.items():
        errors += word_errors(words_for_wer(text), words_for_wer(heard_lines[name][0].text))
        total += len(text.split())
    assert errors / total < 0.08


@pytest.mark.weights
def test_librivox_lines_have_no_flag_and_words_inside_speech(
    heard_lines: dict[str, tuple[Heard, list[dict[str, float]], float]],
) -> None:
    for heard, spans, duration_s in heard_lines.values():
        assert flags_of(heard, spans, CONFIG) == []
        assert heard.words[0].start_s >= spans[0]["start_s"]
        assert heard.words[-1].end_s <= duration_s
        assert heard.language == "en"


@pytest.mark.weights
def test_a_shipped_librivox_line_is_aligned_where_its_words_were_recognised(
    heard_lines: dict[str, tuple[Heard, list[dict[str, float]], float]],
) -> None:
    heard, spans, duration_s = heard_lines["0880"]
    row, words = transcript_of(heard, REFERENCES["0880"], spans, CONFIG)
    assert row["text"] == REFERENCES["0880"]
    assert row["flags"] == []
    young = next(word for word in words if word["word"] == "young")
    assert young["start_s"] == next(w.start_s for w in heard.words if w.word == "young")
    assert words[-1]["end_s"] <= duration_s


@pytest.mark.weights
def test_recognising_twice_gives_the_same_words(
    demo_corpus: Path, heard_lines: dict[str, tuple[Heard, list[dict[str, float]], float]]
) -> None:
    heard, spans, _ = heard_lines["0930"]
    audio = read_wav(demo_corpus / "librivox/0930.wav")
    assert recognise(load_whisper("tiny.en", "cpu", "int8"), audio, spans, CONFIG) == heard


def test_a_model_that_cannot_be_had_is_named_with_the_mend() -> None:
    with pytest.raises(MissingWeight, match=r"transcribe\.model 'enormous' does not load on cpu"):
        load_whisper("enormous", "cpu", "int8")


@pytest.mark.weights
def test_words_invented_on_noise_are_flagged_not_deleted() -> None:
    noise = np.random.default_rng(0).normal(0, 0.02, 5 * AUDIO_HZ).astype(np.float32)
    heard = recognise(load_whisper("tiny.en", "cpu", "int8"), noise, [], CONFIG)
    assert not heard.words or flags_of(heard, [], CONFIG)
