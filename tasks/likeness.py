"""What in the sounds of an item is held against that of the true one: timbre, voice, material."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tasks.cepstra import Frames, mel_cepstra, warped_distance_db
from tasks.decay import decay_s
from tasks.hear import Heard
from tasks.held_out import Facts
from tasks.material import heard_material
from tasks.scores import MADE, TRUTH, Row
from tasks.speaker import similarity, voice_vector

Voice = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Alike:
    """What is heard in a sound that a true one shall be like.

    Attributes:
        cepstra: of its frames; None without a text.
        voice: who speaks in it; None without a text, and where too little is spoken.
        decays_s: how long each of the item's strikes rings.
        materials: what each sounds to be made of.
    """

    cepstra: Frames | None
    voice: Voice | None
    decays_s: tuple[float, ...]
    materials: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class AlikeItem:
    """An item and what is heard in its sounds, by role."""

    facts: Facts
    heard: Mapping[str, Alike]


def alike_item(
    facts: Facts, sounds: Mapping[str, NDArray[np.float32]], heard: Mapping[str, Heard]
) -> AlikeItem:
    """What an item's sounds (T,) by role have of the true one, with what is heard in each."""
    alike = {role: _alike(facts, sound, heard[role]) for role, sound in sounds.items()}
    return AlikeItem(facts, alike)


def _alike(facts: Facts, audio16: NDArray[np.float32], heard: Heard) -> Alike:
    pairs = list(zip(facts.strikes, heard.pitches_hz, strict=True))
    decays_s = tuple(decay_s(audio16, strike, pitch_hz) for strike, pitch_hz in pairs)
    materials = tuple(
        heard_material(audio16, strike.time_s, pitch_hz, rings_s)
        for (strike, pitch_hz), rings_s in zip(pairs, decays_s, strict=True)
    )
    if not facts.is_told:
        return Alike(None, None, decays_s, materials)
    voice = voice_vector(audio16, heard.spans)
    return Alike(mel_cepstra(audio16), voice, decays_s, materials)


def cepstral_distance_db(first: Alike, second: Alike) -> float:
    """MCD-DTW of two sounds with a text."""
    assert first.cepstra is not None and second.cepstra is not None
    return warped_distance_db(first.cepstra, second.cepstra)


def voice_similarity(first: Alike, second: Alike) -> float:
    """The cosine of two voices; 0, as of strangers at most, where one of them is not there."""
    if first.voice is None or second.voice is None:
        return 0.0
    return similarity(first.voice, second.voice)


def likeness_record(item: AlikeItem) -> Row:
    """What was heard of an item, as JSON keeps it."""
    record: Row = {}
    for role in MADE:
        heard, true = item.heard[role], item.heard[TRUTH]
        record[role] = {"decays_s": heard.decays_s, "materials": heard.materials}
        if role != TRUTH and item.facts.is_told:
            record[role]["mcd_dtw_db"] = cepstral_distance_db(heard, true)
            record[role]["speaker_similarity"] = voice_similarity(heard, true)
    return record
