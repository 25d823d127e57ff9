"""How a transcript sounds: IPA phonemes by espeak-ng, each with times inside its word.

The text is spelled out first (`tasks.spell_out`). English is then aligned with the sound
(`tasks.align_phonemes`); elsewhere, and where the alignment can not be trusted, the phonemes of a
word share its time in proportion to typical lengths. The column `method` says which, and why:

- `aligned`: the aligner found the word, and its times are the aligner's. They may differ from the
  transcript's by `max_shift_s` at most; a word whose times the transcript itself only guessed may
  move further.
- `proportional`: the language has no aligner, or `align` is off.
- `proportional_word`: the aligner put this word too far away, or it does not fit there.
- `proportional_clip`: the clip's text does not fit its sound.
"""

import functools
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

from pydantic import Field

from models.phoneme_ids import TABLE_ID, UNKNOWN_ID, normalise, phoneme_id, split
from models.timeline import AUDIO_HZ
from storage.rejects import Rejected
from storage.stage import Output, Rows, ShardRef, ShardResult, ShardTarget, Stage, run_items
from tasks import align_phonemes
from tasks.align_phonemes import (
    HeardPhone,
    Pronunciation,
    carried_times,
    force_align,
    load_cmudict,
    pronunciations_of,
)
from tasks.espeak import Phoneme, Speak, is_vowel, phonemes_of, pronounced, speak, voice_of
from tasks.media import read_audio
from tasks.spell_out import spell_out
from tasks.weights import fingerprint

ALIGNED, PROPORTIONAL = "aligned", "proportional"
PROPORTIONAL_WORD, PROPORTIONAL_CLIP = "proportional_word", "proportional_clip"
ALIGNED_LANGUAGE = "en"

Align = Callable[[Sequence[Sequence[Pronunciation]]], list[list[HeardPhone]] | None]
"""Finds the phones of words, each with its pronunciations, in a clip's sound."""


@dataclass(frozen=True, slots=True)
class PhonemizeConfig:
    """The voice, when an alignment is trusted, and how a word's time is shared without one.

    The default weights follow Klatt (J. Acoust. Soc. Am. 59, 1976): in connected English a stressed
    vowel lasts about 130 ms, an unstressed vowel or a consonant about 70 ms.
    """

    english_voice: str = "en-us"
    """espeak-ng voice for English."""
    align: bool = True
    """Whether English is aligned with the sound."""
    max_shift_s: Annotated[float, Field(ge=0)] = 0.5
    """A word's start and end may be corrected by this much at most, in seconds."""
    min_word_fit: Annotated[float, Field(le=0)] = -6.0
    """A word with a lower mean score is not taken as aligned, in nats per 10 ms frame."""
    min_clip_fit: Annotated[float, Field(le=0)] = -3.0
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


def phonemize_shard(shard: ShardRef, out: ShardTarget, config: PhonemizeConfig) -> ShardResult:
    """Rows of `phonemes` for the clips of a shard."""

    def one_item(item: dict[str, Any]) -> Rows:
        clip_id, language = item["item_id"], item["language"]
        voice = voice_of(language, config.english_voice)
        if voice is None:
            raise Rejected(
                "no_phonemes",
                f"clip {clip_id}: espeak-ng has no voice for language {language!r}; "
                "set transcribe.language if it was detected wrongly",
            )
        align = None
        if item["audio16_ref"] is not None:
            audio = read_audio(
                out.workspace, item["audio16_ref"], item["start_s"], item["end_s"], AUDIO_HZ
            )
            align = functools.partial(force_align, audio[0])
        said = functools.partial(speak, voice)
        rows = phoneme_rows(item["words"], said, config, language, align)
        if not rows:
            raise Rejected("no_phonemes", f"clip {clip_id}: no word can be pronounced by {voice}")
        model_id = f"espeak-ng/{voice}"
        return {"phonemes": [{"clip_id": clip_id, "model_id": model_id, **row} for row in rows]}

    return run_items(shard, out, one_item)


def phoneme_rows(
    words: Sequence[dict[str, Any]],
    speak_text: Speak,
    config: PhonemizeConfig,
    language: str = ALIGNED_LANGUAGE,
    align: Align | None = None,
) -> list[dict[str, Any]]:
    """Rows of `phonemes` for a clip's rows of `words`, without clip_id and model_id.

    Phonemes never overlap, and those of a spoken word tile its time. A word that is not spoken,
    such as a dash, has none. Without `align` all times are proportional.
    """
    tokens = spoken_tokens(words, speak_text, language)
    found, otherwise = (
        ({}, PROPORTIONAL) if align is None else aligned(tokens, words, align, config)
    )
    in_dictionary = load_cmudict() if language == ALIGNED_LANGUAGE else None
    rows: list[dict[str, Any]] = []
    for word, own in itertools.groupby(tokens, key=lambda token: token.word):
        group = list(own)
        times = found.get(word) or _proportional(group, words[word], config)
        spans = iter(times)
        for place, token in enumerate(group):
            for phoneme in token.phonemes:
                span = next(spans)
                rows.append(
                    {
                        "position": len(rows),
                        "word_position": words[word]["position"],
                        "phoneme": phoneme.symbol,
                        "start_s": span.start_s,
                        "end_s": span.end_s,
                        "stressed": phoneme.stressed,
                        "method": ALIGNED if word in found else otherwise,
                        "spoken_position": place,
                        "spoken": token.text,
                        "score": span.score,
                        "in_table": is_in_table(phoneme.symbol),
                        "in_dictionary": None
                        if in_dictionary is None
                        else token.text.lower() in in_dictionary,
                    }
                )
    return rows


def spoken_tokens(words: Sequence[dict[str, Any]], speak_text: Speak, language: str) -> list[Token]:
    """The words that are spoken for rows of `words`, those without a phoneme left out."""
    spelled = spell_out([word["word"] for word in words], language)
    texts = [(place, text) for place, spoken in enumerate(spelled) for text in spoken]
    phones = pronounced([text for _, text in texts], speak_text)
    tokens = [
        Token(place, text, tuple(p for phone in spoken for p in phonemes_of(phone)))
        for (place, text), spoken in zip(texts, phones, strict=True)
    ]
    return [token for token in tokens if token.phonemes]


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


def _proportional(
    tokens: Sequence[Token], word: dict[str, Any], config: PhonemizeConfig
) -> list[Placed]:
    phonemes = [phoneme for token in tokens for phoneme in token.phonemes]
    times = shared_times(phonemes, word["start_s"], word["end_s"], config)
    return [Placed(start_s, end_s, None) for start_s, end_s in times]


def is_in_table(symbol: str) -> bool:
    """Whether the id table holds an IPA symbol, or all parts of a compound one."""
    return all(phoneme_id(part) != UNKNOWN_ID for part in split(symbol))


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


def weights(config: PhonemizeConfig) -> dict[str, str]:
    """The sha256 of all that decides about the rows, the id table among it."""
    espeak = {name: fingerprint(name) for name in ("espeak_library", "espeak_data")}
    return espeak | align_phonemes.weights() | {"phoneme_table": TABLE_ID}


STAGE = Stage(
    name="phonemize",
    version=2,
    config=PhonemizeConfig,
    items=f"""
        SELECT t.clip_id AS item_id, w.duration_s AS cost_s, t.language, said.words,
               CASE WHEN heard THEN d.audio16_ref END AS audio16_ref,
               CASE WHEN heard THEN w.start_s END AS start_s,
               CASE WHEN heard THEN w.end_s END AS end_s
        FROM (SELECT *, $align AND language = '{ALIGNED_LANGUAGE}' AS heard FROM transcripts) t
        JOIN windows w ON w.clip_id = t.clip_id
        LEFT JOIN decodes d ON d.source_id = w.source_id
        JOIN (
            SELECT clip_id,
                   list({{'position': "position", 'word': word, 'start_s': start_s,
                          'end_s': end_s, 'score': score}}
                        ORDER BY "position") AS words
            FROM words GROUP BY clip_id
        ) said ON said.clip_id = t.clip_id
    """,
    outputs=(Output("phonemes", key="clip_id"),),
    run=phonemize_shard,
    weights=weights,
    title="find phonemes",
)
