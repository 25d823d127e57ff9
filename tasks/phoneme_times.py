"""When the phonemes of a clip's words are spoken: as the aligner heard them, or proportionally."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

from pydantic import Field

from models.phoneme_ids import normalise
from tasks.align_phonemes import HeardPhone, Pronunciation, carried_times, pronunciations_of
from tasks.espeak import Phoneme, is_vowel

ALIGNED, PROPORTIONAL = "aligned", "proportional"
PROPORTIONAL_WORD, PROPORTIONAL_CLIP = "proportional_word", "proportional_clip"

Align = Callable[[Sequence[Sequence[Pronunciation]]], list[list[HeardPhone]] | None]
"""Finds the phones of words, each with its pronunciations, in a clip's sound."""


@dataclass(frozen=True, slots=True)
class PhonemizeConfig:
    """The voice, when an alignment is trusted, and how a word's time is shared without one.

    The limits were measured on read and public speech, clean and under noise: with its own text a
    clip fits at -3.7 or better and a clean word at -4.3; with another's text a clip fits at -4.6 at
    best, and words at -12. Whisper's times differ from the aligner's by up to 0.5 s.

    The default weights follow Klatt (J. Acoust. Soc. Am. 59, 1976): in connected English a stressed
    vowel lasts about 130 ms, an unstressed vowel or a consonant about 70 ms.
    """

    english_voice: str = "en-us"
    """espeak-ng voice for English."""
    align: bool = True
    """Whether English is aligned with the sound."""
    max_shift_s: Annotated[float, Field(ge=0)] = 0.5
    """A word's start and end may be corrected by this much at most, in seconds."""
    min_word_fit: Annotated[float, Field(le=0)] = -8.0
    """A word with a lower mean score is not taken as aligned, in nats per 10 ms frame."""
    min_clip_fit: Annotated[float, Field(le=0)] = -4.0
    """Below this mean score the text is not what is said in the clip, in nats per 10 ms frame."""
    min_aligned_ratio: Annotated[float, Field(ge=0, le=1)] = 0.5
    """With a smaller share of aligned words, none of the clip's is taken as aligned."""
    consonant_weight: Annotated[float, Field(gt=0)] = 1.0
    """Share of a consonant."""
    vowel_weight: Annotated[float, Field(gt=0)] = 1.2
    """Share of an unstressed vowel."""
    stressed_vowel_weight: Annotated[float, Field(gt=0)] = 1.9
    """Share of a vowel with primary or secondary stress."""
    long_vowel_bonus: Annotated[float, Field(ge=0)] = 0.4
    """Added to the share of a long vowel or diphthong."""


@dataclass(frozen=True, slots=True)
class Token:
    """A spoken word: the written word that it belongs to, its text and its phonemes."""

    word: int
    text: str
    phonemes: tuple[Phoneme, ...]


class Placed(NamedTuple):
    """Start, end and score of a phoneme, in seconds from the clip's start."""

    start_s: float
    end_s: float
    score: float | None


def aligned(
    tokens: Sequence[Token], words: Sequence[dict[str, Any]], align: Align, config: PhonemizeConfig
) -> tuple[dict[int, list[Placed]], str]:
    """Times of the phonemes of each written word that could be aligned, and the others' method."""
    variants = [pronunciations_of(token.text, token.phonemes) for token in tokens]
    known = [place for place, choices in enumerate(variants) if choices]
    heard = align([variants[place] for place in known]) if known else None
    if heard is None or mean_fit([p for phones in heard for p in phones]) < config.min_clip_fit:
        return {}, PROPORTIONAL_CLIP
    phones_of = dict(zip(known, heard, strict=True))
    found: dict[int, list[Placed]] = {}
    numbered = itertools.groupby(enumerate(tokens), key=lambda pair: pair[1].word)
    for word, own in numbered:
        placed = _placed_word([(t, phones_of.get(n, [])) for n, t in own], words[word], config)
        if placed:
            found[word] = placed
    spoken = sorted({token.word for token in tokens})
    found = without_overlap(found, spoken, words)
    if len(found) < config.min_aligned_ratio * len(spoken):
        return {}, PROPORTIONAL_CLIP
    return found, PROPORTIONAL_WORD


def _placed_word(
    parts: Sequence[tuple[Token, list[HeardPhone]]], word: dict[str, Any], config: PhonemizeConfig
) -> list[Placed] | None:
    """The phonemes of a written word where they were heard; None where that is not trusted."""
    placed: list[Placed] = []
    for token, phones in parts:
        shares = [share_of(phoneme, config) for phoneme in token.phonemes]
        times = carried_times(token.phonemes, phones, shares)
        if times is None:
            return None
        placed += [Placed(*time) for time in times]
    if mean_fit([phone for _, phones in parts for phone in phones]) < config.min_word_fit:
        return None
    shift_s = max(abs(placed[0].start_s - word["start_s"]), abs(placed[-1].end_s - word["end_s"]))
    is_guessed = "score" in word and word["score"] is None
    return placed if is_guessed or shift_s <= config.max_shift_s else None


def mean_fit(phones: Sequence[HeardPhone]) -> float:
    """The mean score per frame of phones."""
    frames = sum(phone.end_s - phone.start_s for phone in phones)
    return sum(p.score * (p.end_s - p.start_s) for p in phones) / frames if frames else 0.0


def without_overlap(
    found: dict[int, list[Placed]], spoken: Sequence[int], words: Sequence[dict[str, Any]]
) -> dict[int, list[Placed]]:
    """The aligned words without those that reach into a neighbour that keeps its own time.

    Aligned words do not overlap each other, and neither do words as transcribed. Where one of each
    meet and overlap, the aligned one gives way.
    """
    kept = dict(found)
    changed = True
    while changed:
        changed = False
        for left, right in itertools.pairwise(spoken):
            end_s = kept[left][-1].end_s if left in kept else words[left]["end_s"]
            start_s = kept[right][0].start_s if right in kept else words[right]["start_s"]
            if end_s > start_s and (left in kept) != (right in kept):
                del kept[left if left in kept else right]
                changed = True
    return kept


def proportional(
    tokens: Sequence[Token], word: dict[str, Any], config: PhonemizeConfig
) -> list[Placed]:
    """Times of the phonemes of a written word inside the time that the transcript gives it."""
    phonemes = [phoneme for token in tokens for phoneme in token.phonemes]
    times = shared_times(phonemes, word["start_s"], word["end_s"], config)
    return [Placed(start_s, end_s, None) for start_s, end_s in times]


def shared_times(
    phonemes: Sequence[Phoneme], start_s: float, end_s: float, config: PhonemizeConfig
) -> list[tuple[float, float]]:
    """Start and end of each phoneme of a word that lasts from `start_s` to `end_s`, gapless."""
    if not phonemes:
        return []
    shares = [share_of(phoneme, config) for phoneme in phonemes]
    edges, passed = [start_s], 0.0
    for share in shares:
        passed += share
        edges.append(start_s + (end_s - start_s) * passed / sum(shares))
    edges[-1] = end_s
    return list(itertools.pairwise(edges))


def share_of(phoneme: Phoneme, config: PhonemizeConfig) -> float:
    """The weight of a phoneme when its word's time is shared."""
    if not is_vowel(phoneme.symbol):
        return config.consonant_weight
    share = config.stressed_vowel_weight if phoneme.stressed else config.vowel_weight
    is_long = "ː" in phoneme.symbol or len(normalise(phoneme.symbol)) > 1
    return share + (config.long_vowel_bonus if is_long else 0.0)
