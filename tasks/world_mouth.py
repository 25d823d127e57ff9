"""How a mouth stands at each time, from the phonemes that are spoken: aperture, width, rounding.

Each phoneme wants a viseme; which of its neighbours has a say, and how long before and after its
own time, follows dominance functions (Cohen and Massaro 1993). They rise more slowly than they
fall, and all stand a little early, because a mouth goes to its place before the sound begins: 20 ms
after it to 70 ms before it (Schwartz and Savariaux 2014).

Legend: F pictures, P phonemes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.phoneme_ids import normalise
from tasks.world_voices import Mark

LEAD_S = 0.04
REACH_BEFORE_S, REACH_AFTER_S = 0.075, 0.050
"""How far a phoneme's say reaches before its middle third and behind it."""
REST = (0.04, 0.0, 0.1)
REST_SAY = 0.12
"""A mouth that nobody claims goes back to rest."""


@dataclass(frozen=True, slots=True)
class Mouth:
    """How a mouth stands: aperture from 0 to 1, width from -1 to 1, rounding from 0 to 1."""

    aperture: float
    width: float
    rounding: float


@dataclass(frozen=True, slots=True)
class Viseme:
    """What a phoneme wants of the mouth, and how firmly."""

    aperture: float
    width: float
    rounding: float
    say: float


_CLOSED = Viseme(0.0, 0.0, 0.1, 6.0)
_TEETH = Viseme(0.10, 0.1, 0.0, 3.0)
_VISEMES: tuple[tuple[str, Viseme], ...] = (
    ("p b m", _CLOSED),
    ("f v", _TEETH),
    ("w", Viseme(0.16, -0.6, 1.0, 2.0)),
    ("ʃ ʒ tʃ dʒ", Viseme(0.22, -0.2, 0.65, 1.5)),
    ("ɹ r", Viseme(0.26, -0.2, 0.5, 0.9)),
    ("θ ð", Viseme(0.24, 0.1, 0.0, 0.9)),
    ("s z", Viseme(0.16, 0.4, 0.0, 1.2)),
    ("t d n l ɾ ɬ", Viseme(0.28, 0.2, 0.0, 0.6)),
    ("k ɡ ŋ h x ʔ j", Viseme(0.34, 0.1, 0.0, 0.4)),
    ("i ɪ ᵻ", Viseme(0.34, 0.9, 0.0, 1.2)),
    ("e eɪ ɛ", Viseme(0.55, 0.6, 0.0, 1.2)),
    ("æ a aɪ", Viseme(0.90, 0.4, 0.0, 1.4)),
    ("ɑ aʊ", Viseme(1.00, 0.0, 0.1, 1.4)),
    ("ʌ ɐ ə", Viseme(0.55, 0.0, 0.1, 0.8)),
    ("ɜ ɚ", Viseme(0.42, -0.1, 0.4, 1.0)),
    ("ɔ ɔɪ", Viseme(0.75, -0.4, 0.7, 1.3)),
    ("o oʊ", Viseme(0.52, -0.5, 0.9, 1.3)),
    ("u ʊ", Viseme(0.28, -0.6, 1.0, 1.3)),
)
VISEMES: dict[str, Viseme] = {s: viseme for group, viseme in _VISEMES for s in group.split()}
UNKNOWN = Viseme(0.35, 0.0, 0.1, 0.5)


def mouths(phones: Sequence[Mark], times_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """(F, 3) aperture, width and rounding at some times, as phonemes want them."""
    if not phones:
        return np.tile(REST, (len(times_s), 1))
    wanted = [VISEMES.get(normalise(mark.text), UNKNOWN) for mark in phones]
    targets = np.array([(v.aperture, v.width, v.rounding) for v in wanted])  # (P, 3)
    say = np.array([v.say for v in wanted])
    start = np.array([mark.start_s for mark in phones]) - LEAD_S
    third = np.array([mark.end_s - mark.start_s for mark in phones]) / 3
    before = np.maximum(start + third - times_s[:, None], 0) / REACH_BEFORE_S  # (F, P)
    behind = np.maximum(times_s[:, None] - start - 2 * third, 0) / REACH_AFTER_S
    weights = say * np.exp(-((before + behind) ** 2))
    total = weights.sum(axis=1, keepdims=True) + REST_SAY
    return (weights @ targets + REST_SAY * np.array(REST)) / total


def idle_mouths(
    times_s: NDArray[np.float64], generator: np.random.Generator
) -> NDArray[np.float64]:
    """(F, 3) of a mouth that moves and says nothing: it chews, yawns, smiles."""
    rate_hz, phase = generator.uniform(0.6, 2.8), generator.uniform(0, 2 * np.pi)
    depth = generator.uniform(0.25, 0.9)
    swell = 0.5 + 0.5 * np.sin(2 * np.pi * generator.uniform(0.1, 0.3) * times_s + phase)
    chew = 0.5 - 0.5 * np.cos(2 * np.pi * rate_hz * times_s + phase)
    smile = np.sin(2 * np.pi * generator.uniform(0.1, 0.4) * times_s + generator.uniform(0, 6))
    return np.stack([depth * chew * swell, 0.6 * smile, 0.2 + 0.2 * smile], axis=1)


def jittered(stands: NDArray[np.float64], generator: np.random.Generator) -> NDArray[np.float64]:
    """The same mouths as one person makes them: more or less wide, and never quite the same."""
    gain = generator.uniform(0.8, 1.15, size=3)
    noise = generator.standard_normal(stands.shape) * 0.02
    shaken = stands * gain + noise
    low, high = np.array([0.0, -1.0, 0.0]), np.array([1.0, 1.0, 1.0])
    return np.clip(shaken, low, high)
