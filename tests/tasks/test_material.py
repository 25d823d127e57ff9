"""What strikes sound to be made of, against the staged world's bodies and tones of known kinds."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from models.timeline import AUDIO_HZ
from tasks.decay import decay_s
from tasks.hear import strike_pitch_hz
from tasks.held_out import Strike
from tasks.material import heard_material
from tasks.world_content import MATERIALS, RADII_M
from tasks.world_motion import Body, Event
from tasks.world_sound import struck

TIME_S = 0.5
NAMES = [material.name for material in MATERIALS]


def told(sound: NDArray[np.float32]) -> str:
    pitch_hz = strike_pitch_hz(sound, TIME_S)
    strike = Strike(TIME_S, pitch_hz, 1.5)
    return heard_material(sound, TIME_S, pitch_hz, decay_s(sound, strike, pitch_hz))


def placed(sound: NDArray[np.floating], level: float = 0.3) -> NDArray[np.float32]:
    """Three seconds of faint noise (T,) with a sound in it."""
    whole = np.random.default_rng(0).standard_normal(3 * AUDIO_HZ) * 1e-4
    at = round(TIME_S * AUDIO_HZ)
    sound = sound[: len(whole) - at]
    whole[at : at + len(sound)] += level * sound
    return whole.astype(np.float32)


def tone(t60_s: float, overtone_db: float) -> NDArray[np.float64]:
    """A mode of 600 Hz (T,) and one of 1,500 Hz beside it that falls as fast."""
    seconds = np.arange(2 * AUDIO_HZ) / AUDIO_HZ
    fall = np.exp(-math.log(1000) / t60_s * seconds)
    second = 10 ** (overtone_db / 20) * np.sin(2 * math.pi * 1500 * seconds)
    return fall * (np.sin(2 * math.pi * 600 * seconds) + second)


@pytest.mark.parametrize("material", NAMES)
@pytest.mark.parametrize("size", [0, 4])
def test_every_material_of_the_world_is_told_from_its_sound(material: str, size: int) -> None:
    body = Body(0, "ball", size, RADII_M[size], material)
    event = Event("impact", TIME_S, TIME_S, 0, 3.0, 0.0)
    sound = struck(body, event, np.random.default_rng(0))
    low = np.pad(sound, (0, -len(sound) % 3)).reshape(-1, 3).mean(axis=1)
    assert told(placed(low)) == material


def test_what_rings_as_long_is_told_by_its_brightness_and_what_is_as_bright_by_its_time() -> None:
    assert told(placed(tone(0.085, -2.4))) == "stone"
    assert told(placed(tone(0.085, -17.7))) == "rubber"
    assert told(placed(tone(0.07, -0.7))) == "stone"
    assert told(placed(tone(0.6, -0.7))) == "glass"
    assert told(placed(tone(1.4, -0.7))) == "metal"


def test_a_material_is_told_at_any_level_and_none_in_silence() -> None:
    assert told(placed(tone(0.16, -7.0), level=0.02)) == "wood"
    assert told(np.zeros(3 * AUDIO_HZ, np.float32)) == ""
