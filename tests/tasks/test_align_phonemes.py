"""Forced alignment: true to the sound, the same whatever came before, never at a clip's cost."""

import functools
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from models.timeline import AUDIO_HZ
from tasks.align_phonemes import (
    HeardPhone,
    carried_times,
    force_align,
    load_cmudict,
    pronunciations_of,
)
from tasks.espeak import Phoneme, speak
from tasks.phoneme_times import PhonemizeConfig, Placed, without_overlap
from tasks.phonemize import phoneme_rows

SAY = functools.partial(speak, "en-us")
CONFIG = PhonemizeConfig()
TEXT = "he was not an ill disposed young man"
LINE = ("librivox/0880.wav", TEXT)
OTHER = ("librivox/0930.wav", "he might even have been made amiable himself")


def sound(corpus: Path, name: str) -> NDArray[np.float32]:
    audio, rate_hz = soundfile.read(str(corpus / name), dtype="float32")
    assert rate_hz == AUDIO_HZ
    return audio.astype(np.float32)


def guessed(text: str, length_s: float) -> list[dict[str, Any]]:
    """Rows of `words` that share the time evenly and are known to be guesses."""
    words = text.split()
    step_s = length_s / len(words)
    return [
        {"position": n, "word": word, "start_s": n * step_s, "end_s": (n + 1) * step_s}
        | {"score": None}
        for n, word in enumerate(words)
    ]


def rows_of(audio: NDArray[np.float32], text: str) -> list[dict[str, Any]]:
    words = guessed(text, len(audio) / AUDIO_HZ)
    return phoneme_rows(words, SAY, CONFIG, align=functools.partial(force_align, audio))


def test_a_line_is_aligned_whole_in_order_and_inside_the_clip(demo_corpus: Path) -> None:
    audio = sound(demo_corpus, LINE[0])
    rows = rows_of(audio, TEXT)
    assert {row["method"] for row in rows} == {"aligned"}
    assert all(row["score"] > -8.0 for row in rows)
    assert rows[0]["start_s"] >= 0.0 and rows[-1]["end_s"] <= len(audio) / AUDIO_HZ
    for left, right in itertools.pairwise(rows):
        assert left["start_s"] < left["end_s"] <= right["start_s"]
        if left["word_position"] == right["word_position"]:
            assert left["end_s"] == right["start_s"]


def test_moving_the_sound_moves_the_phonemes_as_far(demo_corpus: Path) -> None:
    audio = sound(demo_corpus, LINE[0])
    later = rows_of(np.pad(audio, (AUDIO_HZ // 2, 0)), TEXT)
    for row, moved in zip(rows_of(audio, TEXT), later, strict=True):
        assert moved["start_s"] - row["start_s"] == pytest.approx(0.5, abs=0.03)


def test_a_clip_gives_the_same_bytes_whatever_was_aligned_before(demo_corpus: Path) -> None:
    audio, other = sound(demo_corpus, LINE[0]), sound(demo_corpus, OTHER[0])
    first = rows_of(audio, TEXT)
    loud = np.clip(other * 4, -1, 1).astype(np.float32)
    assert rows_of(loud, OTHER[1]) != first
    assert rows_of(np.zeros(AUDIO_HZ, np.float32), TEXT)
    assert rows_of(audio, TEXT) == first


def test_a_text_that_is_not_in_the_sound_falls_back_and_is_flagged(demo_corpus: Path) -> None:
    audio = sound(demo_corpus, LINE[0])
    for text in (OTHER[1], "unless to be rather cold hearted and rather selfish is to be disposed"):
        rows = rows_of(audio, text)
        assert {row["method"] for row in rows} == {"proportional_clip"}
        plain = phoneme_rows(guessed(text, len(audio) / AUDIO_HZ), SAY, CONFIG)
        assert [row | {"method": "proportional"} for row in rows] == plain


@pytest.mark.parametrize("length_s", [0.0, 0.01, 0.3])
def test_no_sound_or_hardly_any_is_not_aligned_and_loses_nothing(length_s: float) -> None:
    audio = np.zeros(round(length_s * AUDIO_HZ), np.float32)
    words = guessed(TEXT, 2.0)
    rows = phoneme_rows(words, SAY, CONFIG, align=functools.partial(force_align, audio))
    assert {row["method"] for row in rows} == {"proportional_clip"}
    assert [r["phoneme"] for r in rows] == [r["phoneme"] for r in phoneme_rows(words, SAY, CONFIG)]


def test_a_word_that_no_dictionary_has_is_aligned_by_its_spelling(demo_corpus: Path) -> None:
    assert "dispozed" not in load_cmudict()
    audio = sound(demo_corpus, LINE[0])
    known = [row for row in rows_of(audio, TEXT) if row["spoken"] == "disposed"]
    rows = rows_of(audio, TEXT.replace("disposed", "dispozed"))
    own = [row for row in rows if row["spoken"] == "dispozed"]
    assert {row["method"] for row in own} == {"aligned"}
    assert {row["in_dictionary"] for row in own} == {False}
    assert own[0]["start_s"] == pytest.approx(known[0]["start_s"], abs=0.03)
    assert own[-1]["end_s"] == pytest.approx(known[-1]["end_s"], abs=0.03)


def test_the_aligner_hears_cmudicts_variants_and_espeaks() -> None:
    assert pronunciations_of("The", [Phoneme("ð", False), Phoneme("ə", False)]) == (
        "DH AH",
        "DH IY",
    )
    assert pronunciations_of("zzyzx", [Phoneme("z", False), Phoneme("ɪ", True)]) == ("Z IH",)
    assert pronunciations_of("zzyzx", [Phoneme("ǂ", False)]) == ()


def heard(*phones: tuple[str, float, float]) -> list[HeardPhone]:
    return [HeardPhone(name, start, end, -1.0) for name, start, end in phones]


def test_two_symbols_of_one_phone_share_its_time_and_one_of_two_takes_both() -> None:
    yew = [Phoneme("j", False), Phoneme("uː", True)]
    assert carried_times(yew, heard(("UW", 0.0, 0.3)), [1.0, 2.0]) == [
        (0.0, pytest.approx(0.1), -1.0),
        (pytest.approx(0.1), 0.3, -1.0),
    ]
    fire = [Phoneme("f", False), Phoneme("aɪ", True)]
    times = carried_times(
        fire, heard(("F", 0.0, 0.1), ("AY", 0.1, 0.2), ("AH", 0.2, 0.3)), [1.0, 1.0]
    )
    assert times == [(0.0, 0.1, -1.0), (0.1, 0.3, pytest.approx(-1.0))]


def test_a_word_beyond_the_limit_keeps_the_time_of_the_transcript() -> None:
    words = [
        {"position": 0, "word": "see", "start_s": 0.0, "end_s": 0.5, "score": 0.9},
        {"position": 1, "word": "sea", "start_s": 2.0, "end_s": 2.5, "score": 0.9},
        {"position": 2, "word": "sea", "start_s": 2.6, "end_s": 2.8, "score": 0.9},
    ]

    def align(_: object) -> list[list[HeardPhone]]:
        return [
            heard(("S", 0.1, 0.2), ("IY", 0.2, 0.6)),
            heard(("S", 0.8, 0.9), ("IY", 0.9, 1.2)),
            heard(("S", 2.6, 2.7), ("IY", 2.7, 2.9)),
        ]

    rows = phoneme_rows(words, SAY, CONFIG, align=align)
    told = {row["word_position"]: (row["method"], row["end_s"]) for row in rows}
    assert told == {0: ("aligned", 0.6), 1: ("proportional_word", 2.5), 2: ("aligned", 2.9)}
    guess = [words[0], words[1] | {"score": None}, words[2]]
    assert {row["method"] for row in phoneme_rows(guess, SAY, CONFIG, align=align)} == {"aligned"}


def test_an_aligned_word_gives_way_to_a_neighbour_that_keeps_its_own_time() -> None:
    words = [{"start_s": n, "end_s": n + 1.0} for n in range(3)]
    early = {0: [(0.0, 1.2, None)], 2: [(1.9, 3.0, None)]}
    found = {word: [Placed(*span) for span in spans] for word, spans in early.items()}
    assert without_overlap(found, [0, 1, 2], words) == {}
    assert without_overlap(found, [0, 2], words) == found
