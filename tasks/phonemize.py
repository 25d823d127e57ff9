"""How a transcript sounds: IPA phonemes by espeak-ng, each with times inside its word.

espeak-ng has no times, so phonemes share their word's time in proportion to typical lengths
(method "proportional"). Words are spoken together where possible, because the neighbours matter
("a" alone is the letter's name), and apart where espeak-ng merges ("of the") or expands ("25").
"""

import functools
import itertools
import logging
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from models.phoneme_ids import INVENTORY, normalise
from storage.rejects import Rejected
from storage.stage import Output, Rows, ShardRef, ShardResult, ShardTarget, Stage, run_items
from tasks.weights import fingerprint, locate

if TYPE_CHECKING:
    from phonemizer.backend import EspeakBackend

METHOD = "proportional"
STRESS_MARKS = "ˈˌ"
SYLLABIC_MARK = "\N{COMBINING VERTICAL LINE BELOW}"
VOWELS = frozenset("aeiouyæøœɐɑɒɔɘəɚɛɜɝɞɤɨɪɯɵɶʉʊʌʏᵻᵿ")
ATTACHED_CATEGORIES = frozenset({"Mn", "Lm", "Sk", "Nd"})
"""Unicode categories of diacritics, length and aspiration marks, and tones."""
VOICES: dict[str, str] = {
    "en": "en-us",
    "fr": "fr-fr",
    "zh": "cmn",
    "no": "nb",
    "nn": "nb",
}
"""Whisper's language codes whose espeak-ng voice has another name."""

Phone = str
"""One phone as espeak-ng writes it, with its stress mark: "ˈɔːɹ"."""
Speak = Callable[[str], tuple[tuple[Phone, ...], ...]]
"""Says a text: its words, each a tuple of phones."""


@dataclass(frozen=True, slots=True)
class PhonemizeConfig:
    """The voice, and how a word's time is shared.

    The default weights follow Klatt (J. Acoust. Soc. Am. 59, 1976): in connected English a stressed
    vowel lasts about 130 ms, an unstressed vowel or a consonant about 70 ms.
    """

    english_voice: str = "en-us"
    """espeak-ng voice for English."""
    consonant_weight: Annotated[float, Field(gt=0)] = 1.0
    """Share of a consonant."""
    vowel_weight: Annotated[float, Field(gt=0)] = 1.2
    """Share of an unstressed vowel."""
    stressed_vowel_weight: Annotated[float, Field(gt=0)] = 1.9
    """Share of a vowel with primary or secondary stress."""
    long_vowel_bonus: Annotated[float, Field(ge=0)] = 0.4
    """Added to the share of a long vowel or diphthong."""


@dataclass(frozen=True, slots=True)
class Phoneme:
    """One IPA symbol of a word."""

    symbol: str
    stressed: bool


def phonemize_shard(shard: ShardRef, out: ShardTarget, config: PhonemizeConfig) -> ShardResult:
    """Rows of `phonemes` for the clips of a shard."""

    def one_item(item: dict[str, Any]) -> Rows:
        clip_id, language = item["item_id"], item["language"]
        voice = voice_of(language, config)
        if voice is None:
            raise Rejected(
                "no_phonemes",
                f"clip {clip_id}: espeak-ng has no voice for language {language!r}; "
                "set transcribe.language if it was detected wrongly",
            )
        rows = phoneme_rows(item["words"], functools.partial(speak, voice), config)
        if not rows:
            raise Rejected("no_phonemes", f"clip {clip_id}: no word can be pronounced by {voice}")
        model_id = f"espeak-ng/{voice}"
        return {
            "phonemes": [
                {"clip_id": clip_id, "method": METHOD, "model_id": model_id, **row} for row in rows
            ]
        }

    return run_items(shard, out, one_item)


def phoneme_rows(
    words: Sequence[dict[str, Any]], speak_text: Speak, config: PhonemizeConfig
) -> list[dict[str, Any]]:
    """Rows of `phonemes` for a clip's rows of `words`, without clip_id, method and model_id.

    The phonemes of a word tile its time exactly. A word that is not spoken, such as a dash, has
    none.
    """
    rows: list[dict[str, Any]] = []
    spoken = pronounced([word["word"] for word in words], speak_text)
    for word, phones in zip(words, spoken, strict=True):
        phonemes = [phoneme for phone in phones for phoneme in phonemes_of(phone)]
        times = shared_times(phonemes, word["start_s"], word["end_s"], config)
        for phoneme, (start_s, end_s) in zip(phonemes, times, strict=True):
            rows.append(
                {
                    "position": len(rows),
                    "word_position": word["position"],
                    "phoneme": phoneme.symbol,
                    "start_s": start_s,
                    "end_s": end_s,
                    "stressed": phoneme.stressed,
                }
            )
    return rows


def pronounced(words: Sequence[str], speak_text: Speak) -> list[tuple[Phone, ...]]:
    """The phones of each word, spoken in as long a phrase as keeps the words apart.

    A phrase counts when it gives as many spoken words as were written and none of its words expands
    alone ("25", "U.S."): then nothing can have merged. Otherwise its halves are spoken separately.
    """
    if not words:
        return []
    spoken = speak_text(" ".join(words))
    if len(words) == 1:
        return [tuple(phone for part in spoken for phone in part)]
    if len(spoken) == len(words) and all(len(speak_text(word)) == 1 for word in words):
        return list(spoken)
    middle = len(words) // 2
    return [*pronounced(words[:middle], speak_text), *pronounced(words[middle:], speak_text)]


def phonemes_of(phone: Phone) -> list[Phoneme]:
    """The IPA symbols of one phone of espeak-ng: "ˈɔːɹ" is a stressed "ɔː" and a plain "ɹ"."""
    symbols = split_phone(phone.translate({ord(mark): None for mark in STRESS_MARKS}))
    stressed = any(mark in phone for mark in STRESS_MARKS)
    first_vowel = next((i for i, symbol in enumerate(symbols) if is_vowel(symbol)), None)
    return [Phoneme(symbol, stressed and i == first_vowel) for i, symbol in enumerate(symbols)]


def split_phone(phone: Phone) -> list[str]:
    """The IPA symbols of an unstressed phone, each with its diacritics and length mark.

    Each is one symbol for `models.phoneme_ids`: "aɪɚ" is "aɪ", "ɚ"; "dʒ" and "oʊ" stay whole.
    """
    symbols: list[str] = []
    for char in unicodedata.normalize("NFC", phone):
        attached = unicodedata.category(char) in ATTACHED_CATEGORIES
        if symbols and (attached or normalise(symbols[-1]) + char in INVENTORY):
            symbols[-1] += char
        else:
            symbols.append(char)
    return symbols


def is_vowel(symbol: str) -> bool:
    """Whether an IPA symbol is a vowel, a diphthong or a syllabic consonant."""
    return symbol[0] in VOWELS or SYLLABIC_MARK in symbol


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


def voice_of(language: str, config: PhonemizeConfig) -> str | None:
    """The espeak-ng voice for a language code of Whisper; None where there is none."""
    if language == "en":
        return config.english_voice
    voice = VOICES.get(language, language)
    return voice if voice in espeak_languages() else None


@functools.lru_cache(maxsize=1 << 16)
def speak(voice: str, text: str) -> tuple[tuple[Phone, ...], ...]:
    """What espeak-ng says for a text: its words, each a tuple of phones with stress marks."""
    from phonemizer.separator import Separator

    line = text.replace("\n", " ")
    separator = Separator(phone=" ", word="|", syllable="")
    (said,) = load_voice(voice).phonemize([line], separator=separator, strip=True)
    # espeak-ng writes a hyphen after French schwas, and none of our symbols holds one.
    parts = [tuple(part.replace("-", "").split()) for part in said.split("|")]
    return tuple(part for part in parts if part)


@functools.cache
def load_voice(voice: str) -> "EspeakBackend":
    """An espeak-ng voice, loaded once per process.

    Raises RuntimeError for a voice that espeak-ng does not know.
    """
    use_packaged_espeak()
    from phonemizer.backend import EspeakBackend

    quiet = logging.getLogger("phonemizer")
    quiet.setLevel(logging.ERROR)
    return EspeakBackend(voice, with_stress=True, language_switch="remove-flags", logger=quiet)


@functools.cache
def espeak_languages() -> frozenset[str]:
    """Names of the voices that espeak-ng has."""
    use_packaged_espeak()
    from phonemizer.backend import EspeakBackend

    return frozenset(EspeakBackend.supported_languages())


def use_packaged_espeak() -> None:
    """Points phonemizer to the packaged library and to its data: with one alone it aborts."""
    from phonemizer.backend.espeak.wrapper import EspeakWrapper

    EspeakWrapper.set_library(str(locate("espeak_library")))
    EspeakWrapper.set_data_path(str(locate("espeak_data")))


def weights(config: PhonemizeConfig) -> dict[str, str]:
    """The sha256 of espeak-ng's library and data."""
    return {name: fingerprint(name) for name in ("espeak_library", "espeak_data")}


STAGE = Stage(
    name="phonemize",
    version=1,
    config=PhonemizeConfig,
    items="""
        SELECT t.clip_id AS item_id, w.duration_s AS cost_s, t.language, said.words
        FROM transcripts t
        JOIN windows w ON w.clip_id = t.clip_id
        JOIN (
            SELECT clip_id,
                   list({'position': "position", 'word': word,
                         'start_s': start_s, 'end_s': end_s}
                        ORDER BY "position") AS words
            FROM words GROUP BY clip_id
        ) said ON said.clip_id = t.clip_id
    """,
    outputs=(Output("phonemes", key="clip_id"),),
    run=phonemize_shard,
    weights=weights,
    title="find phonemes",
)
