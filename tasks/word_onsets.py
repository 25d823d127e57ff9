"""When the words of a text begin: as is known of a staged voice, and as an aligner hears it.

PocketSphinx aligns the true text with the sound, as the stage `phonemize` does, whose limits do not
hold here: words that are not in the sound are put somewhere, far from their true times.
"""

import functools
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks import align_phonemes
from tasks.align_phonemes import force_align, pronunciations_of
from tasks.espeak import VOICES, speak
from tasks.phonemize import ALIGNED_LANGUAGE, spoken_tokens
from tasks.weights import fingerprint
from tasks.word_errors import compared_words

Starts = tuple[float | None, ...]
"""When each word begins, in seconds from the item's start; None where that is not known."""


def true_word_starts(row: Mapping[str, Any], words: Sequence[str]) -> Starts:
    """When the words of an item begin, by its row of HELD_OUT_COLUMN; empty where that is unknown.

    Args:
        row: the item.
        words: what is said in it, as it is compared.

    A word that begins outside the item has no time, nor has what follows the first in a word that
    is compared as several, as "25" is.
    """
    from_s, to_s = row["voice_start_s"], row["voice_end_s"]
    at_s = _voice_at_s(row)
    said: list[str] = []
    starts: list[float | None] = []
    for word in row["words"] or []:
        if not from_s <= (word["start_s"] + word["end_s"]) / 2 < to_s:
            continue
        parts = compared_words(word["word"])
        start_s = word["start_s"] - from_s + at_s
        is_inside = word["start_s"] >= from_s and start_s < row["duration_s"]
        said += parts
        starts += ([start_s if is_inside else None] + [None] * (len(parts) - 1))[: len(parts)]
    return tuple(starts) if said == list(words) else ()


def _voice_at_s(row: Mapping[str, Any]) -> float:
    """Where the voice's clip lies in an item: at its start unless it is mixed."""
    if row["mixture"] is None:
        return 0.0
    said = json.loads(row["mixture"]["recipe"])["conditions"]["phonemes"]
    return float(said["at_s"]) if said else 0.0


def heard_word_starts(audio16: NDArray[np.float32], words: Sequence[str]) -> Starts:
    """When the words of a text begin in a sound (T,); None for those that are not found in it."""
    voice = functools.partial(speak, VOICES[ALIGNED_LANGUAGE])
    tokens = spoken_tokens([{"word": word} for word in words], voice, ALIGNED_LANGUAGE)
    told = [(token.word, pronunciations_of(token.text, token.phonemes)) for token in tokens]
    told = [(place, choices) for place, choices in told if choices]
    heard = force_align(audio16, [choices for _, choices in told]) if told else None
    starts: list[float | None] = [None] * len(words)
    for (place, _), phones in zip(told, heard or [], strict=False):
        # A phone that lies outside the sound has no length in it.
        if starts[place] is None and phones and phones[0].end_s > phones[0].start_s:
            starts[place] = phones[0].start_s
    return tuple(starts)


def word_start_errors(true: Starts, heard: Starts, lost_s: float) -> NDArray[np.float64]:
    """How far words are heard from where they begin, in s: (K,), one for each word of known time.

    A word that is not found is `lost_s` away. What one side has more words is left out.
    """
    return np.array(
        [
            lost_s if found is None else abs(found - start)
            for start, found in zip(true, heard, strict=False)
            if start is not None
        ],
        np.float64,
    )


def weights() -> dict[str, str]:
    """The sha256 of what decides where a word is heard."""
    espeak = {name: fingerprint(name) for name in ("espeak_library", "espeak_data")}
    return espeak | align_phonemes.weights()
