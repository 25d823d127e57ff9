"""ARPAbet, which CMUdict, English acoustic models and VSSFlow use, to the inventory's IPA and back.

Source: the CMU Pronouncing Dictionary, 39 phones, of which a vowel may carry stress 0, 1 or 2.
"""

from models.phoneme_ids import normalise, phoneme_id

VOWELS: dict[str, str] = {
    "AA": "ɑ", "AE": "æ", "AH": "ʌ", "AO": "ɔ", "AW": "aʊ", "AY": "aɪ", "EH": "ɛ", "ER": "ɜ",
    "EY": "eɪ", "IH": "ɪ", "IY": "i", "OW": "oʊ", "OY": "ɔɪ", "UH": "ʊ", "UW": "u",
}  # fmt: skip
CONSONANTS: dict[str, str] = {
    "B": "b", "CH": "tʃ", "D": "d", "DH": "ð", "F": "f", "G": "ɡ", "HH": "h", "JH": "dʒ",
    "K": "k", "L": "l", "M": "m", "N": "n", "NG": "ŋ", "P": "p", "R": "ɹ", "S": "s", "SH": "ʃ",
    "T": "t", "TH": "θ", "V": "v", "W": "w", "Y": "j", "Z": "z", "ZH": "ʒ",
}  # fmt: skip
REDUCED = {"AH0": "ə", "ER0": "ɚ"}
"""Unstressed vowels that the inventory writes otherwise than stressed ones."""

STRESSED: tuple[str, ...] = (
    *CONSONANTS,
    *(f"{vowel}{stress}" for vowel in VOWELS for stress in "012"),
)
"""The 69 phones that VSSFlow's phoneme conditions know beside its blank."""

_NEAREST = {
    "a": "AA", "e": "EY", "o": "OW", "r": "R", "x": "K", "ɐ": "AH", "ə": "AH", "ɚ": "ER",
    "ɬ": "L", "ɾ": "T", "ʔ": "T", "ᵻ": "IH",
}  # fmt: skip
"""Symbols of espeak-ng that no phone is written as: the phone that CMUdict has in their place."""

_PHONES = {symbol: phone for phone, symbol in (VOWELS | CONSONANTS).items()} | _NEAREST


def ipa_of(phone: str) -> str:
    """The inventory's symbol for a phone, with its stress digit or without: "AH0" is "ə".

    Raises ValueError for what is no phone.
    """
    symbol = REDUCED.get(phone) or (VOWELS | CONSONANTS).get(phone.rstrip("012"))
    if symbol is None or (phone[-1] in "012" and phone[:-1] not in VOWELS):
        raise ValueError(f"{phone!r} is no ARPAbet phone; give one of CMUdict, such as AH0 or NG")
    return symbol


def id_of(phone: str) -> int:
    """The id that the grid holds for a phone of VSSFlow's set."""
    return phoneme_id(ipa_of(phone))


def phone_of(symbol: str) -> str | None:
    """The phone, without stress, that is nearest to an IPA symbol of the inventory, or None."""
    return _PHONES.get(normalise(symbol))
