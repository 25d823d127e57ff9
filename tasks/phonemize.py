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
from collections.abc import Sequence
from typing import Any

from models.phoneme_ids import TABLE_ID, UNKNOWN_ID, phoneme_id, split
from models.timeline import AUDIO_HZ
from storage.rejects import Rejected
from storage.stage import Output, Rows, ShardRef, ShardResult, ShardTarget, Stage, run_items
from tasks import align_phonemes
from tasks.align_phonemes import force_align, load_cmudict
from tasks.espeak import Speak, phonemes_of, pronounced, speak, voice_of
from tasks.media import read_audio
from tasks.phoneme_times import (
    ALIGNED,
    PROPORTIONAL,
    Align,
    PhonemizeConfig,
    Token,
    aligned,
    proportional,
)
from tasks.spell_out import spell_out
from tasks.weights import fingerprint

ALIGNED_LANGUAGE = "en"


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
        times = found.get(word) or proportional(group, words[word], config)
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


def is_in_table(symbol: str) -> bool:
    """Whether the id table holds an IPA symbol, or all parts of a compound one."""
    return all(phoneme_id(part) != UNKNOWN_ID for part in split(symbol))


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
