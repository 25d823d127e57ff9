"""How alike two phonemes sound, and which phonemes of two transcriptions of a word are the same.

Places follow the IPA chart. The numbers only have to rank: a flap is nearer to a stop than to a
vowel, so that "ˈbʌɾɚ" and B AH T ER meet symbol by symbol.
"""

from collections.abc import Sequence

from models.phoneme_ids import normalise

# Consonants: place from the lips (0) to the glottis (1), manner, voicing.
_CONSONANTS: dict[str, tuple[float, str, bool]] = {
    "p": (0.0, "stop", False), "b": (0.0, "stop", True), "t": (0.3, "stop", False),
    "d": (0.3, "stop", True), "k": (0.8, "stop", False), "ɡ": (0.8, "stop", True),
    "ʔ": (0.6, "stop", False), "ɾ": (0.3, "tap", True), "tʃ": (0.45, "affricate", False),
    "dʒ": (0.45, "affricate", True), "f": (0.1, "fricative", False), "v": (0.1, "fricative", True),
    "θ": (0.2, "fricative", False), "ð": (0.2, "fricative", True), "s": (0.3, "fricative", False),
    "z": (0.3, "fricative", True), "ʃ": (0.45, "fricative", False), "ʒ": (0.45, "fricative", True),
    "x": (0.8, "fricative", False), "h": (1.0, "fricative", False), "ɬ": (0.3, "fricative", False),
    "m": (0.0, "nasal", True), "n": (0.3, "nasal", True), "ŋ": (0.8, "nasal", True),
    "l": (0.3, "approximant", True), "ɹ": (0.4, "approximant", True), "r": (0.3, "tap", True),
    "j": (0.6, "approximant", True), "w": (0.4, "approximant", True),
}  # fmt: skip
_RELATED = {
    frozenset(pair)
    for pair in (
        ("stop", "affricate"), ("fricative", "affricate"), ("stop", "tap"), ("tap", "approximant"),
        ("fricative", "approximant"),
    )
}  # fmt: skip
# Vowels: height and backness.
_VOWELS: dict[str, tuple[float, float]] = {
    "i": (1.0, 0.0), "ɪ": (0.85, 0.2), "ᵻ": (0.85, 0.4), "e": (0.7, 0.0), "ɛ": (0.45, 0.1),
    "æ": (0.2, 0.1), "a": (0.0, 0.3), "ɐ": (0.3, 0.5), "ə": (0.55, 0.5), "ɚ": (0.55, 0.55),
    "ɜ": (0.5, 0.55), "ʌ": (0.4, 0.7), "ɑ": (0.0, 0.9), "ɔ": (0.4, 1.0), "o": (0.7, 1.0),
    "ʊ": (0.85, 0.8), "u": (1.0, 1.0),
}  # fmt: skip
_GLIDES = {"j": "iɪ", "w": "uʊ", "ɹ": "ɚɜ", "l": "əʊ"}
_SPLIT_COST = 0.35
"""What each phoneme more on one side costs: more than a poor match, less than two."""
_MOST = 4
"""No phoneme stands for more than this many of the other transcription."""

Group = tuple[range, range]
"""Places in either transcription that stand for each other; one of the two has length 1."""


def distance(a: str, b: str) -> float:
    """How unlike two IPA symbols are: 0 for the same, 1 for a vowel and a stop."""
    a, b = normalise(a), normalise(b)
    if a == b:
        return 0.0
    if a in _CONSONANTS and b in _CONSONANTS:
        (place, manner, voiced), (other, other_manner, other_voiced) = (
            _CONSONANTS[a],
            _CONSONANTS[b],
        )
        related = 0.0 if manner == other_manner else 1.0
        if frozenset((manner, other_manner)) in _RELATED:
            related = 0.4
        return 0.4 * abs(place - other) + 0.4 * related + 0.2 * (voiced != other_voiced)
    points = [[_VOWELS.get(symbol[:1]), _VOWELS.get(symbol[-1:])] for symbol in (a, b)]
    if None not in points[0] and None not in points[1]:
        gaps = [
            abs(left[axis] - right[axis])
            for left, right in zip(*points, strict=True)
            if left and right
            for axis in (0, 1)
        ]
        return 0.8 * sum(gaps) / len(gaps)
    if b in _GLIDES:
        a, b = b, a
    return 0.5 if a in _GLIDES and b and b[-1] in _GLIDES[a] else 1.0


def matched(symbols: Sequence[str], phones: Sequence[str]) -> list[Group] | None:
    """The groups of two transcriptions of one word that stand for each other, in order.

    Both are IPA. Every place lies in one group; the sum of distances is least. None where one of
    them is empty or more than `_MOST` times as long as the other.
    """
    rows, columns = len(symbols), len(phones)
    steps = [(1, 1), *((1, n) for n in range(2, _MOST + 1)), *((n, 1) for n in range(2, _MOST + 1))]
    apart = [[distance(symbol, phone) for phone in phones] for symbol in symbols]
    best: dict[tuple[int, int], tuple[float, tuple[int, int]]] = {(0, 0): (0.0, (0, 0))}
    for i in range(rows):
        for j in range(columns):
            if (i, j) not in best:
                continue
            for down, right in steps:
                end = (i + down, j + right)
                if end[0] > rows or end[1] > columns:
                    continue
                pairs = [apart[y][x] for y in range(i, end[0]) for x in range(j, end[1])]
                extra = _SPLIT_COST * (max(down, right) - 1)
                cost = best[i, j][0] + sum(pairs) / len(pairs) + extra
                if end not in best or cost < best[end][0]:
                    best[end] = (cost, (i, j))
    if (rows, columns) not in best or not rows:
        return None
    groups: list[Group] = []
    end = (rows, columns)
    while end != (0, 0):
        start = best[end][1]
        groups.append((range(start[0], end[0]), range(start[1], end[1])))
        end = start
    return groups[::-1]
