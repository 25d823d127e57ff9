"""The voices of the staged world, from whichever synthesisers are here, behind one interface.

A synthesiser gives a sound and, from its own inside, when each phoneme of it is spoken: no aligner
stands between the sound and its truth.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class NoVoice(RuntimeError):
    """A synthesiser that is asked for is not here, or a voice is unknown."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A word, or a phoneme as an IPA symbol, and when it is spoken."""

    text: str
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class Spoken:
    """What a synthesiser says.

    Attributes:
        audio: (T,) mono.
        rate_hz: its sample rate.
        words: in order, as many as the text has.
        phones: in order, without pauses.
    """

    audio: NDArray[np.float32]
    rate_hz: int
    words: tuple[Mark, ...]
    phones: tuple[Mark, ...]


class Synthesiser(Protocol):
    """Says a text of known words without punctuation."""

    @property
    def voices(self) -> tuple[str, ...]:
        """Names of its voices."""
        ...

    def say(self, voice: str, text: str, stretch: float) -> Spoken:
        """What a voice makes of a text; `stretch` is by how much slower than by itself."""
        ...


def spoken(
    audio: NDArray[np.float32],
    rate_hz: int,
    text: str,
    phones: Sequence[tuple[int, Mark]],
    engine: str,
) -> Spoken:
    """What a synthesiser said, its words from the phonemes in them.

    Args:
        audio: (T,) mono.
        rate_hz: its sample rate.
        text: words with one space between.
        phones: each with the number of its word in the text.
        engine: for the message.

    Raises NoVoice where a word has no phoneme: then the numbers are of other words.
    """
    written, words = text.split(), []
    for number, word in enumerate(written):
        own = [mark for at, mark in phones if at == number]
        if not own:
            raise NoVoice(f"{engine} says nothing for {word!r} in {text!r}; leave out its voices")
        words.append(Mark(word, own[0].start_s, own[-1].end_s))
    return Spoken(audio, rate_hz, tuple(words), tuple(mark for _, mark in phones))


def _flite() -> Synthesiser:
    from tasks.world_flite import Flite

    return Flite()


def _espeak() -> Synthesiser:
    from tasks.world_espeak import Espeak

    return Espeak()


def _hibari() -> Synthesiser:
    from tasks.world_hibari import Hibari

    return Hibari()


ENGINES: dict[str, Callable[[], Synthesiser]] = {
    "flite": _flite,
    "espeak": _espeak,
    "hibari": _hibari,
}


@functools.cache
def load_engine(name: str) -> Synthesiser:
    """A synthesiser, loaded once per process; raises NoVoice where it is not here."""
    if name not in ENGINES:
        raise NoVoice(f"synthesiser {name!r}: choose from {', '.join(ENGINES)}")
    return ENGINES[name]()


def voices_here() -> tuple[tuple[str, ...], dict[str, str]]:
    """Every voice that is here as `engine:voice`, and why an engine is missing, by its name."""
    found: list[str] = []
    missing: dict[str, str] = {}
    for name in ENGINES:
        try:
            found += [f"{name}:{voice}" for voice in load_engine(name).voices]
        except NoVoice as error:
            missing[name] = str(error)
    return tuple(found), missing


def say(voice: str, text: str, stretch: float = 1.0) -> Spoken:
    """What a voice, `engine:voice`, makes of a text; raises NoVoice where it is not here."""
    engine, _, name = voice.partition(":")
    synthesiser = load_engine(engine)
    if name not in synthesiser.voices:
        known = ", ".join(f"{engine}:{each}" for each in synthesiser.voices)
        raise NoVoice(f"voice {voice!r}: choose from {known}")
    return synthesiser.say(name, text, stretch)
