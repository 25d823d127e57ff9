"""Scripts: every word of a cue lies inside it, whatever the file's dialect."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.script import read_script, script_words

SRT = """1\r
00:00:01,000 --> 00:00:02,000\r
<i>Hello,</i> there\r
\r
2\r
00:00:03,500 --> 00:00:05,000\r
{\\an8}two\r
lines &amp; more\r
"""
VTT = """WEBVTT - a title

NOTE nobody says this

00:01.000 --> 00:02.000 align:start position:10%
<v Ann>Hello, there

01:00:00.000 --> 01:00:01.000
late
"""


def timed(script: str, duration_s: float) -> list[tuple[str, float, float]]:
    words = script_words(script, duration_s)
    assert [word["position"] for word in words] == list(range(len(words)))
    return [(w["word"], round(w["start_s"], 6), round(w["end_s"], 6)) for w in words]


def test_subrip_cues_give_words_in_proportion_to_their_letters() -> None:
    words = timed(SRT, 10.0)
    assert [word for word, _, _ in words] == ["Hello,", "there", "two", "lines", "&", "more"]
    assert words[0] == ("Hello,", 1.0, round(1 + 7 / 13, 6))
    assert words[1][1:] == (round(1 + 7 / 13, 6), 2.0)
    assert (words[2][1], words[-1][2]) == (3.5, 5.0)


def test_webvtt_headers_notes_and_settings_are_not_spoken_and_late_cues_are_cut() -> None:
    assert [word for word, _, _ in timed(VTT, 10.0)] == ["Hello,", "there"]
    assert timed(VTT, 3601.0)[-1] == ("late", 3600.0, 3601.0)
    assert timed(VTT, 1.5)[-1][2] == 1.5


@pytest.mark.parametrize("script", ["WEBVTT", "WEBVTT\n\nNOTE only a note\n", "", " \n "])
def test_a_script_without_a_cue_or_a_word_speaks_nothing(script: str) -> None:
    assert script_words(script, 10.0) == []


def test_plain_text_is_spread_over_the_whole_duration() -> None:
    words = timed("one two\n\nthree", 14.0)
    assert words == [("one", 0.0, 4.0), ("two", 4.0, 8.0), ("three", 8.0, 14.0)]


TEXT = st.text(st.characters(categories=["L", "N", "P"], exclude_characters="<>{}&"), min_size=1)


@given(
    st.lists(
        st.tuples(st.integers(0, 9_000_000), st.integers(0, 60_000), st.lists(TEXT, max_size=6)),
        max_size=6,
    ),
    st.floats(0, 9_000),
)
def test_every_word_lies_inside_its_cue_and_the_film(
    cues: list[tuple[int, int, list[str]]], duration_s: float
) -> None:
    blocks = [
        f"{stamp(start)} --> {stamp(start + length)}\n{' '.join(words)}"
        for start, length, words in cues
    ]
    words = script_words("\n\n".join(blocks), duration_s) if blocks else []
    bounds = [(start / 1000, (start + length) / 1000) for start, length, _ in cues]
    for word in words:
        assert 0 <= word["start_s"] <= word["end_s"] <= duration_s
        assert any(
            low - 1e-9 <= word["start_s"] and word["end_s"] <= high + 1e-9 for low, high in bounds
        )
    expected = sum(
        len(" ".join(said).split())
        for (low, high), (_, _, said) in zip(bounds, cues, strict=True)
        if min(high, duration_s) > low
    )
    assert len(words) == expected


def stamp(ms: int) -> str:
    seconds, ms = divmod(ms, 1000)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d},{ms:03d}"


def test_a_script_file_is_read_without_its_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "film.SRT"
    path.write_bytes(b"\xef\xbb\xbfhello")
    assert read_script(path) == "hello"


def test_a_script_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"film.doc: give a file that ends in .srt, .vtt, .txt"):
        read_script(tmp_path / "film.doc")
    path = tmp_path / "film.srt"
    path.write_bytes(b"caf\xe9")
    with pytest.raises(ValueError, match=r"film.srt: not UTF-8 .*save it as UTF-8"):
        read_script(path)
