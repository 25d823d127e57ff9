"""Voices of espeak-ng, by the library that phonemes are taken from too.

It calls back with its sound and with the sample at which each word and each phoneme begins.
"""

import _ctypes
import ctypes
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import POINTER, c_char, c_char_p, c_int, c_long, c_short, c_size_t, c_uint, c_void_p
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.phoneme_ids import split
from tasks.weights import MissingWeight, locate
from tasks.world_voices import Mark, NoVoice, Spoken, spoken

VOICES = ("en-us", "en-us+f2", "en-gb-x-rp+m3")
SYNCHRONOUS = 2
PHONEME_EVENTS, IPA, DO_NOT_EXIT = 1, 2, 0x8000
UTF8 = 1
LIST_END, WORD, PHONEME = 0, 1, 7
RATE_WPM = 165
RATE_PARAMETER = 1
SYNTH_ARGUMENTS = (
    c_char_p, c_size_t, c_uint, c_int, c_uint, c_uint, c_void_p, c_void_p,
)  # fmt: skip


class _Id(ctypes.Union):
    _fields_ = (("number", c_int), ("name", c_char_p), ("string", c_char * 8))


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", c_int),
        ("message", c_uint),
        ("text_position", c_int),
        ("length", c_int),
        ("time_ms", c_int),
        ("sample", c_int),
        ("user", c_void_p),
        ("id", _Id),
    )


_Callback = ctypes.CFUNCTYPE(c_int, POINTER(c_short), c_int, POINTER(_Event))


class Espeak:
    """espeak-ng's voices; raises NoVoice where the library is not here.

    The flutter of its pitch goes on from one text to the next in a variable that nothing resets,
    and its noise is drawn from the process's number. So the library is loaded anew for each text,
    with a seed: what a text sounds like depends on it alone. It is loaded from a copy of its own,
    because whoever else speaks by the same file in this process would keep it loaded.
    """

    voices = VOICES

    def __init__(self) -> None:
        """Finds the library and its data."""
        try:
            self._own = tempfile.TemporaryDirectory(prefix="talkies-espeak-")
            self._place = shutil.copy(locate("espeak_library"), self._own.name)
            self._data = str(locate("espeak_data")).encode()
            with self._loaded():
                pass
        except (OSError, MissingWeight) as error:
            raise NoVoice(f"espeak-ng is not here: {error}") from None

    def say(self, voice: str, text: str, stretch: float) -> Spoken:
        """What a voice makes of a text."""
        taken = _Taken()
        callback = _Callback(taken.take)  # lives as long as the library may call it
        with self._loaded() as (library, rate_hz):
            library.espeak_SetSynthCallback(callback)
            if library.espeak_SetVoiceByName(voice.encode()):
                raise NoVoice(f"espeak-ng has no voice {voice!r}")
            library.espeak_SetParameter(RATE_PARAMETER, round(RATE_WPM / stretch), 0)
            line = text.encode()
            library.espeak_Synth(line, len(line) + 1, 0, 0, 0, UTF8, None, None)
        audio = np.concatenate(taken.blocks).astype(np.float32) / np.float32(32_768)
        phones = phones_of(taken.events, rate_hz, len(audio))
        return spoken(audio, rate_hz, text, phones, "espeak-ng")

    @contextmanager
    def _loaded(self) -> Iterator[tuple[Any, int]]:
        """The library, just loaded, and its sample rate; it is unloaded at the end."""
        library: Any = ctypes.CDLL(self._place)
        try:
            library.espeak_Synth.argtypes = SYNTH_ARGUMENTS
            options = PHONEME_EVENTS | IPA | DO_NOT_EXIT
            rate_hz = library.espeak_Initialize(SYNCHRONOUS, 0, self._data, options)
            if rate_hz <= 0:
                raise NoVoice("espeak-ng is not here: its data cannot be read")
            library.espeak_ng_SetRandSeed(c_long(1))
            yield library, rate_hz
            library.espeak_Terminate()
        finally:
            _ctypes.dlclose(library._handle)


class _Taken:
    """The sound and the events that espeak-ng calls back with."""

    def __init__(self) -> None:
        self.blocks: list[NDArray[np.int16]] = []
        self.events: list[tuple[int, int, str]] = []

    def take(self, samples: Any, count: int, events: Any) -> int:
        """Takes the next block; the answer 0 asks for more."""
        if samples and count:
            self.blocks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        place = 0
        while (event := events[place]).type != LIST_END:
            if event.type in (WORD, PHONEME):
                symbol = event.id.string.decode() if event.type == PHONEME else ""
                self.events.append((event.type, event.sample, symbol))
            place += 1
        return 0


def phones_of(
    events: list[tuple[int, int, str]], rate_hz: int, samples: int
) -> list[tuple[int, Mark]]:
    """The phonemes among espeak-ng's events, with the numbers of their words.

    A phoneme lasts until the next begins; those that begin at one sample share the time until then
    evenly, and so do the symbols of a compound one.
    """
    begun: list[tuple[int, int, str]] = []
    number = -1
    for kind, sample, symbol in events:
        if kind == WORD:
            number += 1
        else:
            begun += [(number, sample, part) for part in (split(symbol) or [""])]
    phones, first = [], 0
    while first < len(begun):
        start = begun[first][1]
        last = first
        while last < len(begun) and begun[last][1] == start:
            last += 1
        end = begun[last][1] if last < len(begun) else samples
        each_s = (end - start) / rate_hz / (last - first)
        for place, (word, _, symbol) in enumerate(begun[first:last]):
            start_s = start / rate_hz + place * each_s
            if symbol:
                phones.append((word, Mark(symbol, start_s, start_s + each_s)))
        first = last
    return phones
