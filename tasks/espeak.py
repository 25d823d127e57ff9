"""The phones of a text by espeak-ng, in any of its languages, as IPA symbols with stress.

Words are spoken together where possible, because the neighbours matter ("a" alone is the letter's
name), and apart where espeak-ng merges ("of the") or expands ("25").
"""

import functools
import logging
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from models.phoneme_ids import INVENTORY, normalise
from tasks.weights import locate

if TYPE_CHECKING:
    from phonemizer.backend import EspeakBackend

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
class Phoneme:
    """One IPA symbol of a word."""

    symbol: str
    stressed: bool


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


def voice_of(language: str, english_voice: str = VOICES["en"]) -> str | None:
    """The espeak-ng voice for a language code of Whisper; None where there is none."""
    if language == "en":
        return english_voice
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
