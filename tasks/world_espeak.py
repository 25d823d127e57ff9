"""Voices of espeak-ng, by the library that phonemes are taken from too.

It calls back with its sound and with the sample at which each word and each phoneme begins.
"""

import ctypes
from ctypes import POINTER, c_char, c_char_p, c_int, c_short, c_size_t, c_uint, c_void_p
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
    """espeak-ng's voices; raises NoVoice where the library is not here."""

    voices = VOICES

    def __init__(self) -> None:
        """Loads the library."""
        try:
            self._library: Any = ctypes.CDLL(str(locate("espeak_library")))
            data = str(locate("espeak_data")).encode()
        except (OSError, MissingWeight) as error:
            raise NoVoice(f"espeak-ng is not here: {error}") from None
        self._library.espeak_Synth.argtypes = (
            c_char_p, c_size_t, c_uint, c_int, c_uint, c_uint, c_void_p, c_void_p,
        )  # fmt: skip
        options = PHONEME_EVENTS | IPA | DO_NOT_EXIT
        self._rate_hz = self._library.espeak_Initialize(SYNCHRONOUS, 0, data, options)
        if self._rate_hz <= 0:
            raise NoVoice("espeak-ng is not here: its data cannot be read")
        self._blocks: list[NDArray[np.int16]] = []
        self._events: list[tuple[int, int, str]] = []
        self._callback = _Callback(self._take)  # kept, because the library calls it later
        self._library.espeak_SetSynthCallback(self._callback)

    def say(self, voice: str, text: str, stretch: float) -> Spoken:
        """What a voice makes of a text."""
        self._blocks, self._events = [], []
        if self._library.espeak_SetVoiceByName(voice.encode()):
            raise NoVoice(f"espeak-ng has no voice {voice!r}")
        self._library.espeak_SetParameter(RATE_PARAMETER, round(RATE_WPM / stretch), 0)
        line = text.encode()
        self._library.espeak_Synth(line, len(line) + 1, 0, 0, 0, UTF8, None, None)
        audio = np.concatenate(self._blocks).astype(np.float32) / np.float32(32_768)
        phones = phones_of(self._events, self._rate_hz, len(audio))
        return spoken(audio, self._rate_hz, text, phones, "espeak-ng")

    def _take(self, samples: Any, count: int, events: Any) -> int:
        if samples and count:
            self._blocks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        place = 0
        while (event := events[place]).type != LIST_END:
            if event.type in (WORD, PHONEME):
                symbol = event.id.string.decode() if event.type == PHONEME else ""
                self._events.append((event.type, event.sample, symbol))
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
