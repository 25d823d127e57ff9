"""Phonemes as numbers: one versioned list of IPA symbols, and their ids on the 25 Hz latent grid.

The inventory holds what espeak-ng says in American English (en-us); 10,500 CMUdict words showed no
other symbol. Stress, length and tie marks are taken off: the grid says how long sounds last. It
covers the 69 ARPAbet phones of VSSFlow by `models.arpabet`.

An id never changes its meaning: new symbols are appended. Datasets and models carry `TABLE_ID`, and
one of another table is refused.
"""

import hashlib
import unicodedata
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models.timeline import LATENT_HZ, count, index

NONE_ID = 0
"""Nothing is said."""
UNKNOWN_ID = 1
"""Something is said that the inventory does not hold."""
PAUSE_ID = 2
"""A pause inside speech."""

PAUSE = "sil"
"""The symbol of a pause; `sp`, `|` and `_` mean the same."""

_SYMBOLS = (
    "a aɪ aʊ b d dʒ e eɪ f h i j k l m n o oʊ p r s t tʃ u v w x z "
    "æ ð ŋ ɐ ɑ ɔ ɔɪ ə ɚ ɛ ɜ ɡ ɪ ɬ ɹ ɾ ʃ ʊ ʌ ʒ ʔ θ ᵻ"
)
INVENTORY = tuple(_SYMBOLS.split())
"""Every symbol in the order of its id, from 3 on; another is appended, never put between."""

INVENTORY_SIZE = 3 + len(INVENTORY)
"""Number of ids, as an embedding needs it."""

_IDS = {symbol: number for number, symbol in enumerate(INVENTORY, start=3)}
_PAUSES = frozenset({PAUSE, "sp", "|", "_"})
_MARKS = frozenset("ˈˌːˑ'ˑ͜͡‿.")
_SAME = {"g": "ɡ", "ɝ": "ɚ", "ɫ": "l"}
_LONGEST = max(len(symbol) for symbol in INVENTORY)


def table_id(inventory: Sequence[str] = INVENTORY) -> str:
    """The hash of an id table: its symbols in order, and how others are written as one of them."""
    same = sorted(f"{left}={right}" for left, right in _SAME.items())
    lines = [*inventory, "", *sorted(_PAUSES), "", *sorted(_MARKS), "", *same]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:12]


TABLE_ID = table_id()
"""The version of the table in use."""


def normalise(symbol: str) -> str:
    """A symbol without stress, length, tie and combining marks, in the inventory's spelling.

    ``ˈɑːɹ`` becomes ``ɑɹ``, ``t͡ʃ`` becomes ``tʃ``, ASCII ``g`` becomes ``ɡ``.
    """
    plain = (char for char in unicodedata.normalize("NFD", symbol.strip()) if char not in _MARKS)
    return "".join(_SAME.get(char, char) for char in plain if not unicodedata.combining(char))


def split(symbol: str) -> list[str]:
    """The inventory's symbols that make up a compound one, longest first: ``aɪɚ`` → ``aɪ``, ``ɚ``.

    A character that the inventory does not hold stands for itself.
    """
    plain = normalise(symbol)
    if plain in _PAUSES:
        return [PAUSE]
    parts = []
    while plain:
        for length in range(min(_LONGEST, len(plain)), 0, -1):
            if plain[:length] in _IDS or length == 1:
                parts.append(plain[:length])
                plain = plain[length:]
                break
    return parts


def phoneme_id(symbol: str) -> int:
    """The id of one symbol; `UNKNOWN_ID` when the inventory holds no such symbol."""
    plain = normalise(symbol)
    return PAUSE_ID if plain in _PAUSES else _IDS.get(plain, UNKNOWN_ID)


def ids_on_grid(
    phonemes: Sequence[tuple[str, float, float]], duration_s: float
) -> NDArray[np.int64]:
    """Ids (N,) on the 25 Hz grid of a clip, of its phonemes (symbol, start_s, end_s).

    Times are relative to the clip; what lies outside it is cut off. Compound symbols share their
    time equally among their parts. A phoneme too short for a latent of its own takes the one it
    lies in when no longer one holds it. Raises ValueError for a phoneme that ends before it starts.
    """
    ids = np.full(count(duration_s, LATENT_HZ), NONE_ID, dtype=np.int64)
    short: list[tuple[int, int]] = []
    for symbol, start_s, end_s in phonemes:
        if end_s < start_s:
            raise ValueError(
                f"phoneme {symbol!r} ends at {end_s} s, before it starts at {start_s} s"
            )
        parts = split(symbol)
        edges = np.linspace(start_s, end_s, len(parts) + 1)
        for part, left_s, right_s in zip(parts, edges[:-1], edges[1:], strict=True):
            first, last = index(float(left_s), LATENT_HZ), index(float(right_s), LATENT_HZ)
            if first == last:
                middle = int((left_s + right_s) / 2 * LATENT_HZ)
                short.append((middle, phoneme_id(part)))
            ids[max(first, 0) : max(last, 0)] = phoneme_id(part)
    for place, number in short:
        if 0 <= place < len(ids) and ids[place] == NONE_ID:
            ids[place] = number
    return ids
