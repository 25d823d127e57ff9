"""When each phone of an English text is spoken: forced alignment by PocketSphinx.

For each word the aligner is given CMUdict's pronunciations and espeak-ng's in ARPAbet, and takes
the one that fits the sound best; so a word that no dictionary has is aligned like any other. What
is stored are espeak-ng's symbols, because the inventory, the scripts of soundtracks and all other
languages are espeak-ng's too. They take their times from the phones that they match, by
`models.phone_distance`.

A decoder is made anew for each clip (2 ms): PocketSphinx carries the cepstral mean, the noise
estimate and the dictionary from one utterance to the next.
"""

import functools
import math
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.arpabet import ipa_of, phone_of
from models.phone_distance import matched
from models.timeline import AUDIO_HZ
from tasks.espeak import Phoneme
from tasks.weights import fingerprint, locate

if TYPE_CHECKING:
    from pocketsphinx import AlignmentEntry, Decoder

Pronunciation = str
"""ARPAbet phones without stress and with single spaces: "HH EH L OW"."""

FRAME_S = 0.01
EDGE_S = 0.0078
"""Where a border between two frames lies behind the frame's number: the analysis windows of 25.6 ms
begin every 10 ms, and the border is halfway between the middles of the two windows."""
NATS = 1024 * math.log(1.0001)
"""A unit of PocketSphinx's scores: logarithms to the base of 1.0001, shifted right by ten bits."""
BEAMS = dict.fromkeys(("beam", "pbeam", "wbeam"), 1e-200)
"""Wider than PocketSphinx's own, which lose the only path in noise; one text is little search."""
PAD_FRAMES = 20
"""Silence that is put around the clip, so that a word cut by its edge still has an end."""
WEIGHTS = ("cmudict", "acoustic_model_en")


class HeardPhone(NamedTuple):
    """A phone where the aligner found it, in seconds from the clip's start.

    `score` is its log-likelihood per frame in nats, below the best of the states that the search
    had open: about -1 where the text fits, about -6 where it is another text.
    """

    phone: str
    start_s: float
    end_s: float
    score: float


def force_align(
    audio16: NDArray[np.float32], words: Sequence[Sequence[Pronunciation]]
) -> list[list[HeardPhone]] | None:
    """The phones of each word in 16 kHz audio (T,), or None where the text cannot be in it.

    Args:
        audio16: the clip, in [-1, 1].
        words: for each word in order its pronunciations, at least one.
    """
    from pocketsphinx import Decoder

    names = {tuple(variants): f"w{n}" for n, variants in enumerate(words)}
    decoder = Decoder(
        hmm=str(locate("acoustic_model_en")),
        dict=os.devnull,
        lm=None,
        samprate=AUDIO_HZ,
        # The lattice may keep a phone shorter than its three states, which fails the second pass.
        bestpath=False,
        **BEAMS,
        loglevel="FATAL",
    )
    for variants, name in names.items():
        for place, pronunciation in enumerate(variants, start=1):
            decoder.add_word(name if place == 1 else f"{name}({place})", pronunciation)
    padded = np.pad(audio16, round(PAD_FRAMES * FRAME_S * AUDIO_HZ))
    pcm = np.clip(np.rint(padded * 32768.0), -32768, 32767).astype("<i2").tobytes()
    try:
        decoder.set_align_text(" ".join(names[tuple(variants)] for variants in words))
        _decode(decoder, pcm)
        if decoder.hyp() is None:
            return None
        decoder.set_alignment()
        _decode(decoder, pcm)
    except RuntimeError:
        # So PocketSphinx says that the search reached no end, or that there is too little sound.
        return None
    duration_s = len(audio16) / AUDIO_HZ
    # A word is valid only until the next one is asked for, so its phones are read at once.
    found = [
        [_heard(phone, duration_s) for phone in word]
        for word in decoder.get_alignment()
        if not word.name.startswith("<")
    ]
    return found if len(found) == len(words) else None


def _decode(decoder: "Decoder", pcm: bytes) -> None:
    decoder.start_utt()
    decoder.process_raw(pcm, full_utt=True)
    decoder.end_utt()


def _heard(phone: "AlignmentEntry", duration_s: float) -> HeardPhone:
    start, end = (
        min(max((frame - PAD_FRAMES) * FRAME_S + EDGE_S, 0.0), duration_s)
        for frame in (phone.start, phone.start + phone.duration)
    )
    return HeardPhone(phone.name, start, end, phone.score * NATS / phone.duration)


def pronunciations_of(word: str, phonemes: Sequence[Phoneme]) -> tuple[Pronunciation, ...]:
    """What the aligner may hear for a spoken word: CMUdict's variants, then espeak-ng's.

    Empty where CMUdict lacks the word and espeak-ng says nothing that ARPAbet can write.
    """
    phones = [phone for p in phonemes if (phone := phone_of(p.symbol)) is not None]
    said = [" ".join(phones)] if phones else []
    return tuple(dict.fromkeys([*load_cmudict().get(word.lower(), ()), *said]))


def carried_times(
    phonemes: Sequence[Phoneme], heard: Sequence[HeardPhone], shares: Sequence[float]
) -> list[tuple[float, float, float]] | None:
    """Start, end and score of each phoneme of a word, from the phones that were heard for it.

    A phoneme that stands for several phones takes their time; several that stand for one phone
    share its time by `shares`. None where the two can not be matched, or where a phone lies outside
    the clip.
    """
    if any(phone.end_s <= phone.start_s for phone in heard):
        return None
    groups = matched([p.symbol for p in phonemes], [ipa_of(h.phone) for h in heard])
    if groups is None:
        return None
    times: list[tuple[float, float, float]] = []
    for own, theirs in groups:
        phones = [heard[place] for place in theirs]
        start_s, end_s = phones[0].start_s, phones[-1].end_s
        length_s = end_s - start_s
        score = sum(p.score * (p.end_s - p.start_s) for p in phones) / length_s
        whole = sum(shares[place] for place in own)
        edge_s, passed = start_s, 0.0
        for place in own:
            passed += shares[place]
            last = place == own[-1]
            next_s = end_s if last else start_s + length_s * passed / whole
            times.append((edge_s, next_s, score))
            edge_s = next_s
    return times


@functools.cache
def load_cmudict() -> dict[str, tuple[Pronunciation, ...]]:
    """CMUdict as PocketSphinx ships it: a word in lower case → its pronunciations."""
    words: dict[str, tuple[Pronunciation, ...]] = {}
    with locate("cmudict").open(encoding="utf-8") as lines:
        for line in lines:
            word, _, phones = line.strip().partition(" ")
            word = word.partition("(")[0]
            words[word] = (*words.get(word, ()), phones)
    return words


def weights() -> dict[str, str]:
    """The sha256 of the dictionary and of the acoustic model."""
    return {name: fingerprint(name) for name in WEIGHTS}
