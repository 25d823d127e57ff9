"""Numbers as English words: cardinals, ordinals, years, decimals, and digits one by one."""

from collections.abc import Iterable

_ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
    "fifteen sixteen seventeen eighteen nineteen"
)
_TENS = "zero ten twenty thirty forty fifty sixty seventy eighty ninety"
_SCALES = "one thousand million billion trillion quadrillion"
ONES, TENS, SCALES = (tuple(line.split()) for line in (_ONES, _TENS, _SCALES))
ORDINALS = {
    "one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth",
    "nine": "ninth", "twelve": "twelfth",
}  # fmt: skip
LARGEST = 10 ** (3 * len(SCALES)) - 1
"""Anything greater is read digit by digit."""


def cardinal(number: int) -> list[str]:
    """How a number is said: 1984 is "one thousand nine hundred eighty four".

    Raises ValueError for a negative number.
    """
    if number < 0:
        raise ValueError(f"{number} is negative; say minus before the cardinal")
    if number > LARGEST:
        return digits(str(number))
    if number == 0:
        return ["zero"]
    words: list[str] = []
    for power in range(len(SCALES) - 1, -1, -1):
        part = number // 1000**power % 1000
        if part:
            words += _below_thousand(part) + ([SCALES[power]] if power else [])
    return words


def _below_thousand(number: int) -> list[str]:
    words: list[str] = []
    if number >= 100:
        words += [ONES[number // 100], "hundred"]
        number %= 100
    if number >= 20:
        words.append(TENS[number // 10])
        number %= 10
    return words + ([ONES[number]] if number else [])


def ordinal(number: int) -> list[str]:
    """How a place in a row is said: 21 is "twenty first"."""
    *rest, last = cardinal(number)
    if last in ORDINALS:
        return [*rest, ORDINALS[last]]
    return [*rest, (last[:-1] + "ieth") if last.endswith("y") else last + "th"]


def year(number: int) -> list[str]:
    """How a year from 1000 to 9999 is said: 1905 is "nineteen oh five", 2007 "two thousand seven".

    Another number is said as a cardinal.
    """
    century, rest = divmod(number, 100)
    if not 10 <= century <= 99 or (century % 10 == 0 and rest < 10):
        return cardinal(number)
    if rest == 0:
        return [*cardinal(century), "hundred"]
    return [*cardinal(century), *(["oh", ONES[rest]] if rest < 10 else cardinal(rest))]


def plural(words: Iterable[str]) -> list[str]:
    """The words with the last one in the plural: "nineteen eighty" gives "nineteen eighties"."""
    *rest, last = words
    if last.endswith("y"):
        return [*rest, last[:-1] + "ies"]
    return [*rest, last + ("es" if last.endswith("x") else "s")]


def digits(text: str) -> list[str]:
    """The digits of a text, one word each; "-" and anything else is left out."""
    return [ONES[int(char)] for char in text if char in "0123456789"]


def decimal(text: str) -> list[str]:
    """How a number as it is written is said: "1,234.50" is "… thirty four point five zero".

    Raises ValueError for a text that is not digits with commas and at most one point.
    """
    whole, point, rest = text.replace(",", "").partition(".")
    if not (whole or rest).isdecimal() or (rest and not rest.isdecimal()):
        raise ValueError(f"{text!r} is no number; write digits, commas and one point")
    leading_zero = len(whole) > 1 and whole.startswith("0")
    said = digits(whole) if leading_zero else cardinal(int(whole or 0))
    return [*said, "point", *digits(rest)] if point and rest else said
