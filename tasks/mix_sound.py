"""Lay the sounds of a recipe in their places, before any level: the stems as they will be.

Audio is float32 in [-1, 1], shape (C, T): C channels, T samples.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.timeline import count, index
from storage.rejects import Rejected
from tasks.ducking import ducked, ducking_curve_db
from tasks.levels import Audio, active_mask, fade, loop, pad_or_trim, ramp
from tasks.mix_devices import apply_devices
from tasks.mix_plan import Recipe
from tasks.room_response import reverberant


@dataclass(frozen=True, slots=True)
class Stems:
    """Speech and ambience (C, T) in place, and where they are compared.

    Attributes:
        voice: speech with its room and devices; zeros where there is none.
        bed: ambience as it is laid; zeros where there is none.
        dry: speech without room and devices; None where it has neither.
        spoken: speech-active samples (T,).
        around: samples (T,) on which the ambience is compared with the speech.
    """

    voice: Audio
    bed: Audio
    dry: Audio | None
    spoken: NDArray[np.bool_]
    around: NDArray[np.bool_]


def lay(
    recipe: Recipe, speech: Audio | None, ambience: Audio | None, response: Audio | None
) -> Stems:
    """The stems of a recipe from its parents' sound (C, T), and its room's response (T,).

    Raises Rejected("no_speech") where no frame is active, and ValueError where a sound that the
    recipe names is not given.
    """
    samples = count(recipe["duration_s"], recipe["rate_hz"])
    empty = np.zeros((1, samples), np.float32)
    voice, dry, spoken = empty, None, np.zeros(samples, bool)
    if recipe["speech"]:
        voice, dry = _voice(recipe, _given(speech, "speech"), response, samples)
        spoken = active_mask(
            spans_in_mixture(recipe), samples, recipe["rate_hz"], recipe["frame_ms"]
        )
        if not spoken.any():
            clip_id = recipe["speech"]["clip_id"]
            raise Rejected("no_speech", f"clip {clip_id}: no speech-active frame")
    bed, around = empty, spoken
    if recipe["ambience"]:
        bed = _bed(recipe, _given(ambience, "ambience"), samples)
        if recipe["mode"] == "insert":
            gap = _gap(recipe, samples)
            bed, around = bed * gap, gap == 1.0
    return Stems(voice, bed, dry, spoken, around)


def _given(audio: Audio | None, name: str) -> Audio:
    if audio is None:
        raise ValueError(f"the recipe names {name} and its sound is not given")
    return audio


def spans_in_mixture(recipe: Recipe) -> list[tuple[float, float]]:
    """Speech spans in seconds of the mixture; none where there is no speech."""
    speech = recipe["speech"]
    if speech is None:
        return []
    return [
        (start_s + speech["at_s"], end_s + speech["at_s"]) for start_s, end_s in speech["spans_s"]
    ]


def _voice(
    recipe: Recipe, speech: Audio, response: Audio | None, samples: int
) -> tuple[Audio, Audio | None]:
    """Speech as heard (C, samples), and as it was said where that is another sound."""
    placed, rate_hz = recipe["speech"], recipe["rate_hz"]
    first = index(placed["at_s"], rate_hz)
    length = min(samples - first, count(placed["end_s"] - placed["start_s"], rate_hz))
    dry = np.zeros((speech.shape[0], samples), np.float32)
    edge = index(recipe["fade_ms"] / 1000, rate_hz)
    dry[:, first : first + length] = fade(pad_or_trim(speech, length), edge)
    voice = dry
    if placed["room"]:
        voice = reverberant(voice, _given(response, "a room"))
    if placed["devices"]:
        voice = apply_devices(voice, rate_hz, placed["devices"])
    return voice, None if voice is dry else dry


def _bed(recipe: Recipe, ambience: Audio, samples: int) -> Audio:
    """The ambience (C, samples) from its offset or repeated, with devices, fades and ducking."""
    placed, rate_hz = recipe["ambience"], recipe["rate_hz"]
    edge = index(recipe["fade_ms"] / 1000, rate_hz)
    if placed["loop_s"] is not None:
        bed = loop(ambience, index(placed["loop_s"], rate_hz), samples, edge)
    else:
        first = index(placed["offset_s"], rate_hz)
        bed = pad_or_trim(ambience[:, first : first + samples], samples)
    if placed["devices"]:
        bed = apply_devices(bed, rate_hz, placed["devices"])
    bed = fade(bed, edge)
    if placed["ducking"]:
        spans_s = spans_in_mixture(recipe)
        curve_db = ducking_curve_db(spans_s, recipe["duration_s"], placed["ducking"])
        bed = ducked(bed, rate_hz, curve_db)
    return bed


def _gap(recipe: Recipe, samples: int) -> Audio:
    """Gains (samples,) that silence what lies under the speech clip, cross-faded at its edges."""
    placed, rate_hz = recipe["speech"], recipe["rate_hz"]
    first = index(placed["at_s"], rate_hz)
    last = min(samples, first + count(placed["end_s"] - placed["start_s"], rate_hz))
    edge = min(index(recipe["fade_ms"] / 1000, rate_hz), (last - first) // 2)
    gains = np.ones(samples, np.float32)
    gains[first:last] = 0.0
    if edge:
        rise = ramp(edge) ** 2
        if first:
            gains[first : first + edge] = rise[::-1]
        if last < samples:
            gains[last - edge : last] = rise
    return gains
