"""Voices of flite (CMU), by its shared library; Debian's `libflite1` brings it.

The library speaks inside this process, a fifth of a second faster than its command does, and tells
of each phoneme when it ends and which word it belongs to.
"""

import ctypes
from ctypes import POINTER, c_char_p, c_float, c_int, c_short, c_void_p
from typing import Any

import numpy as np

from models.arpabet import ipa_of
from tasks.world_voices import Mark, NoVoice, Spoken, spoken

LIBRARIES = ("libflite.so.1", "libflite_usenglish.so.1", "libflite_cmulex.so.1")
VOICES = ("slt", "rms", "awb")
MEND = "install Debian's libflite1, or do without its voices"
PAUSE = "pau"
OWN_PHONES = {"ax": "ə", "axr": "ɚ"}
"""Phones of flite that CMUdict does not have."""
SIGNATURES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "flite_synth_text": (c_void_p, (c_char_p, c_void_p)),
    "delete_utterance": (None, (c_void_p,)),
    "utt_relation": (c_void_p, (c_void_p, c_char_p)),
    "relation_head": (c_void_p, (c_void_p,)),
    "item_next": (c_void_p, (c_void_p,)),
    "item_as": (c_void_p, (c_void_p, c_char_p)),
    "item_parent": (c_void_p, (c_void_p,)),
    "flite_ffeature_string": (c_char_p, (c_void_p, c_char_p)),
    "flite_ffeature_float": (c_float, (c_void_p, c_char_p)),
    "feat_set_float": (None, (c_void_p, c_char_p, c_float)),
}


class _Wave(ctypes.Structure):
    _fields_ = (
        ("type", c_char_p),
        ("rate_hz", c_int),
        ("count", c_int),
        ("channels", c_int),
        ("samples", POINTER(c_short)),
    )


class _Voice(ctypes.Structure):
    _fields_ = (("name", c_char_p), ("features", c_void_p))


class Flite:
    """flite's voices; raises NoVoice where its libraries are not here."""

    voices = VOICES

    def __init__(self) -> None:
        """Loads the libraries."""
        try:
            self._flite, *_ = [ctypes.CDLL(name, ctypes.RTLD_GLOBAL) for name in LIBRARIES]
            loaded = {name: ctypes.CDLL(f"libflite_cmu_us_{name}.so.1") for name in VOICES}
        except OSError as error:
            raise NoVoice(f"flite is not here ({error}); {MEND}") from None
        self._libc = ctypes.CDLL(None)
        self._flite.flite_init()
        self._flite.utt_wave.restype = POINTER(_Wave)
        self._flite.utt_wave.argtypes = (c_void_p,)
        for name, (result, arguments) in SIGNATURES.items():
            function = getattr(self._flite, name)
            function.restype, function.argtypes = result, arguments
        self._voices: dict[str, int] = {}
        for name, library in loaded.items():
            register = getattr(library, f"register_cmu_us_{name}")
            register.restype, register.argtypes = c_void_p, (c_char_p,)
            self._voices[name] = register(None)

    def say(self, voice: str, text: str, stretch: float) -> Spoken:
        """What a voice makes of a text."""
        pointer = self._voices[voice]
        features = ctypes.cast(pointer, POINTER(_Voice)).contents.features
        self._flite.feat_set_float(features, b"duration_stretch", stretch)
        # Its breath is drawn from the C library's numbers, which go on from what was said before.
        self._libc.srand(1)
        utterance = self._flite.flite_synth_text(text.encode(), pointer)
        try:
            wave = self._flite.utt_wave(utterance).contents
            samples = np.ctypeslib.as_array(wave.samples, (wave.count,))
            audio = samples.astype(np.float32) / np.float32(32_768)
            return spoken(audio, wave.rate_hz, text, self._phones(utterance), "flite")
        finally:
            self._flite.delete_utterance(utterance)

    def _phones(self, utterance: int) -> list[tuple[int, Mark]]:
        """The phonemes of an utterance with the numbers of their words."""
        flite, phones = self._flite, []
        segment = flite.relation_head(flite.utt_relation(utterance, b"Segment"))
        start_s, number, last = 0.0, -1, None
        while segment:
            name = flite.flite_ffeature_string(segment, b"name").decode()
            end_s = float(flite.flite_ffeature_float(segment, b"end"))
            if name != PAUSE:
                syllable = flite.item_parent(flite.item_as(segment, b"SylStructure"))
                word = flite.item_parent(syllable)
                number, last = number + (word != last), word
                ipa = OWN_PHONES.get(name) or ipa_of(name.upper())
                phones.append((number, Mark(ipa, start_s, end_s)))
            start_s, segment = end_s, flite.item_next(segment)
        return phones
