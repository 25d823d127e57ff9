"""How many words of a text were heard wrongly, and which words of two texts are compared.

A recogniser writes numbers as it likes, and a transcript holds what nobody says: both are brought
to bare lower-case English words first. Numbers up to 999 become words, longer ones are read digit
by digit, ordinals whole; marks such as % and & get their names; brackets and what is in them are
left out.
"""

import re
from collections.abc import Sequence

from tasks.number_words import cardinal, digits, ordinal

UNSPOKEN = re.compile(r"\[[^\]]*\]|\([^)]*\)|<[^>]*>")
MARKS = {
    "*": "star",
    "#": "pound",
    "$": "dollar",
    "%": "percent",
    "&": "and",
    "@": "at",
}
LONGEST_NUMBER = 3


def compared_words(text: str) -> list[str]:
    """The words of a text as they are compared; the module says how."""
    text = UNSPOKEN.sub(" ", text.lower())
    for mark, name in MARKS.items():
        text = text.replace(mark, f" {name} ")
    text = re.sub(r"(\d),(?=\d{3}\b)", r"\1", text)
    text = re.sub(r"(\d+)(st|nd|rd|th)\b", lambda found: f" {_said(found[1], True)} ", text)
    text = re.sub(r"\d+", lambda found: f" {_said(found[0], False)} ", text)
    text = re.sub(r"\b([a-z])\.(?=[a-z]\b)", r"\1", text)
    return re.sub(r"[^a-z]+", " ", re.sub(r"['’]", "", text)).split()


def _said(number: str, is_ordinal: bool) -> str:
    if is_ordinal:
        return " ".join(ordinal(int(number)))
    is_long = len(number) > LONGEST_NUMBER
    return " ".join(digits(number) if is_long else cardinal(int(number)))


def word_errors(reference: Sequence[str], heard: Sequence[str]) -> int:
    """Words that must be replaced, left out or put in to make the reference of what was heard."""
    row = list(range(len(heard) + 1))
    for i, word in enumerate(reference, start=1):
        diagonal, row[0] = row[0], i
        for j, other in enumerate(heard, start=1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (word != other))
    return row[-1]
