"""What a shipped transcript says in one clip of its source: timed cues, or a passage of a text.

Each clip is answered alone, so its words do not depend on what else is worked.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

import numpy as np

from tasks.align_words import (
    Span,
    Word,
    aligned_words,
    match_ratio,
    matched_places,
    normalised,
    ordered_words,
)

EDGE_S = 0.75
"""Subtitles may be this far off: a word so near to the edge of a clip is where it was heard."""
MIN_COVER = 0.5
"""Fewer cue words than this share of what was heard: the subtitles leave out what is said here."""
MATCH, MISS, GAP = 2, -1, -1
"""Scores of a word that agrees, of one that differs, and of one that the other side lacks."""


@dataclass(frozen=True, slots=True)
class Shipped:
    """Words that came with the source, how they were placed, and how well they were recognised.

    Attributes:
        words: with times from the clip's start.
        method: shipped (a text, aligned) or shipped_cues (subtitles).
        match: share of the words that were recognised as they are, in order; of a passage, of all
            that was heard too.
        language: of the subtitles, or None where nothing says it.
        is_certain: belongs to the clip whatever was heard.
    """

    words: tuple[Word, ...]
    method: str
    match: float
    language: str | None
    is_certain: bool


def cue_words(
    cues: Sequence[dict[str, Any]], start_s: float, end_s: float, language: str
) -> tuple[list[Word], str]:
    """Words of a source's cues whose middle lies in [start_s, end_s), from the clip's start.

    Cues in the spoken language are taken, else those that name none; the second result is the
    language that they name. The words of a cue share its time by their letters, so a word at the
    edge of two clips belongs to exactly one.
    """
    named = language if any(cue["language"] == language for cue in cues) else ""
    words: list[Word] = []
    for cue in cues:
        if cue["language"] != named:
            continue
        tokens = cue["text"].split()
        edges = list(accumulate((len(token) + 1 for token in tokens), initial=0))
        length_s = cue["end_s"] - cue["start_s"]
        times = [cue["start_s"] + length_s * edge / edges[-1] for edge in edges]
        for token, (begin_s, stop_s) in zip(tokens, pairwise(times), strict=True):
            if start_s <= (begin_s + stop_s) / 2 < end_s:
                words.append(Word(token, begin_s - start_s, stop_s - start_s, None))
    words.sort(key=lambda word: word.start_s)
    return ordered_words(words, end_s - start_s), named


def placed_cues(
    cues: Sequence[dict[str, Any]],
    window: tuple[float, float],
    heard: Sequence[Word],
    language: str,
    min_match: float,
) -> Shipped | None:
    """The words of a source's cues in a clip; None where they are in another language or too few.

    Words that were recognised take the time at which they were heard, and a word near the edge of
    the clip belongs to it where it was heard; the others share what lies between. Where too few
    agree, all keep the times of their cues.
    """
    length_s = window[1] - window[0]
    wide, named = cue_words(cues, window[0] - EDGE_S, window[1] + EDGE_S, language)
    near = [Word(w.word, w.start_s - EDGE_S, w.end_s - EDGE_S, None) for w in wide]
    inside = [place for place, word in enumerate(near) if 0 <= _middle_s(word) < length_s]
    words = [near[place] for place in inside]
    if not words or len(words) < MIN_COVER * len(heard):
        return None
    match = match_ratio([word.word for word in words], heard)
    if match > 0 and match >= min_match:
        words = _heard_here(near, inside, heard, length_s)
        tokens = [word.word for word in words]
        ends: list[Span] = [{"start_s": words[0].start_s, "end_s": words[-1].end_s}]
        match = match_ratio(tokens, heard)
        words = aligned_words(tokens, heard, ends)
    placed = tuple(ordered_words(words, length_s))
    return Shipped(placed, "shipped_cues", match, named or None, is_certain=True)


def _heard_here(
    near: Sequence[Word], inside: Sequence[int], heard: Sequence[Word], length_s: float
) -> list[Word]:
    """The words inside a clip, with those at its edges that were heard in it and no others."""
    agreeing = matched_places([word.word for word in near], heard)
    first, last = agreeing[0], agreeing[-1]
    while len(inside) > 1 and inside[0] < first and _middle_s(near[inside[0]]) < EDGE_S:
        inside = inside[1:]
    while len(inside) > 1 and inside[-1] > last and _middle_s(near[inside[-1]]) > length_s - EDGE_S:
        inside = inside[:-1]
    return list(near[min(first, inside[0]) : max(last, inside[-1]) + 1])


def _middle_s(word: Word) -> float:
    return (word.start_s + word.end_s) / 2


def placed_text(
    text: str, covers: bool, share: float, heard: Sequence[Word], spans: Sequence[Span]
) -> Shipped | None:
    """The words of a source's text in a clip; None where the text is longer and nothing was heard.

    Args:
        text: the whole text of the source.
        covers: whether the clip is the whole source, so that all of the text is its own.
        share: where the clip begins, as a share of the source, to choose between equal passages.
        heard: recognised words.
        spans: speech of the clip.
    """
    tokens = text.split()
    if not covers:
        first, last = passage([normalised(t) for t in tokens], heard, share)
        tokens = tokens[first:last]
    if not tokens:
        return None
    words = tuple(aligned_words(tokens, heard, spans))
    match = match_ratio(tokens, heard)
    if not covers:
        match *= min(1.0, len(tokens) / len(heard))
    return Shipped(words, "shipped", match, None, is_certain=covers)


def passage(tokens: Sequence[str], heard: Sequence[Word], share: float) -> tuple[int, int]:
    """The half-open range of a text's normalised tokens that fits the recognised words best.

    A semi-global alignment: all of the recognised words, any stretch of the text. Of equal
    stretches the one that begins nearest to `share` of the text is taken.
    """
    total = len(tokens)
    place = np.arange(total + 1)
    score = np.zeros(total + 1, dtype=np.int64)
    start = place.copy()
    text = np.array(tokens, dtype=object)
    for word in heard:
        agrees = np.where(text == normalised(word.word), MATCH, MISS)
        best, begun = score + GAP, start.copy()
        diagonal = score[:-1] + agrees
        better = diagonal >= best[1:]
        best[1:] = np.where(better, diagonal, best[1:])
        begun[1:] = np.where(better, start[:-1], begun[1:])
        reached = np.maximum.accumulate(best - GAP * place)
        source = np.maximum.accumulate(np.where(best - GAP * place == reached, place, 0))
        score, start = reached + GAP * place, begun[source]
    if not heard or score.max() <= 0:
        return 0, 0
    ends = np.flatnonzero(score == score.max())
    last = min(ends, key=lambda end: (abs(int(start[end]) - share * total), int(end)))
    return int(start[last]), int(last)
