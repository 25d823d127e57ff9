"""What is spoken for a written word, and that every written word keeps its place."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.number_words import LARGEST, cardinal, decimal, ordinal, year
from tasks.spell_out import spell_out


@pytest.mark.parametrize(
    ("written", "spoken"),
    [
        ("25", "twenty five"),
        ("1,234,567", "one million two hundred thirty four thousand five hundred sixty seven"),
        ("3.14", "three point one four"),
        ("007", "zero zero seven"),
        ("1984.", "nineteen eighty four"),
        ("in 2005 and 2010", "in two thousand five and twenty ten"),
        ("1905", "nineteen oh five"),
        ("the 1980s, the '80s", "the nineteen eighties the eighties"),
        ("1st 2nd 21st 12th", "first second twenty first twelfth"),
        ("July 4, 1776", "July fourth seventeen seventy six"),
        ("may 4 come", "may four come"),
        ("12/25/2019", "december twenty fifth twenty nineteen"),
        ("2019-12-25", "december twenty fifth twenty nineteen"),
        ("at 5:30 p.m.", "at five thirty pee em"),
        ("7:00 sharp", "seven o'clock sharp"),
        ("5:05pm", "five oh five pee em"),
        ("$5.50", "five dollars and fifty cents"),
        ("$1", "one dollar"),
        ("£1.01", "one pound and one penny"),
        ("$0.99", "ninety nine cents"),
        ("$3.5 million", "three point five million dollars"),
        ("$3bn", "three billion dollars"),
        ("25% of it", "twenty five percent of it"),
        ("5 km at 60 mph", "five kilometers at sixty miles per hour"),
        ("1km 6ft", "one kilometer six feet"),
        ("-5°C", "minus five degrees celsius"),
        ("1/2 or 3/4, 9/11", "one half or three quarters nine eleven"),
        ("2-1/2", "two and a half"),
        ("10-20 $5-$10", "ten to twenty five dollars to ten dollars"),
        ("Dr. Smith's", "doctor Smith's"),
        ("Mr. and Mrs. Jones Jr.", "mister and missus Jones junior"),
        ("St. Louis, Main St.", "saint Louis Main street"),
        ("No. 5? No.", "number five No"),
        ("the U.S. e.g.", "the you ess ee gee"),
        ("AT&T MP3 FBI", "ay tee and tee em pee three FBI"),
        ("cold-hearted — rock 'n' roll", "cold hearted rock and roll"),
        ('it’s "quoted"', "it's quoted"),
        ("me@example.com", "me at example dot com"),
    ],
)
def test_a_written_phrase_is_spoken_so(written: str, spoken: str) -> None:
    assert " ".join(word for said in spell_out(written.split()) for word in said) == spoken


def test_every_written_word_keeps_its_own_spoken_words() -> None:
    assert spell_out(["$3", "million", "—", "Dr."]) == [
        ["three"],
        ["million", "dollars"],
        [],
        ["doctor"],
    ]


def test_another_language_is_left_to_its_own_reader() -> None:
    assert spell_out(["25", "€", "!", "Dr."], "de") == [["25"], [], [], ["Dr."]]


@given(st.lists(st.text(max_size=12), max_size=8))
def test_any_text_is_spoken_word_by_word_without_digits(words: list[str]) -> None:
    said = spell_out(words)
    assert len(said) == len(words)
    assert not any(char in "0123456789" for spoken in said for word in spoken for char in word)
    assert all(word and not word.isspace() for spoken in said for word in spoken)


@given(st.integers(0, LARGEST))
def test_a_cardinal_says_back_its_number(number: int) -> None:
    values = {" ".join(cardinal(n)): n for n in range(1000)}
    total, part = 0, []
    scales = {"thousand": 1, "million": 2, "billion": 3, "trillion": 4, "quadrillion": 5}
    for word in [*cardinal(number), "end"]:
        if word in scales or word == "end":
            total += values[" ".join(part)] * 1000 ** scales.get(word, 0) if part else 0
            part = []
        else:
            part.append(word)
    assert total == number


def test_numbers_at_their_borders() -> None:
    assert ordinal(100) == ["one", "hundredth"]
    assert year(2000) == ["two", "thousand"]
    assert year(1900) == ["nineteen", "hundred"]
    assert decimal(".5") == ["zero", "point", "five"]
    assert len(cardinal(LARGEST + 1)) == len(str(LARGEST + 1))
    with pytest.raises(ValueError, match="is no number"):
        decimal("1.2.3")
