"""What the staged world is made of: sizes, materials, words and sentences, and what is held out.

What is held out stands in no clip of training or validation and alone in those of test: a model
that learnt pitch from size and decay from material must put them together anew, and one that
learnt words must say sentences of forms that it never heard.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

Split = Literal["train", "validation", "test"]
RIGHTS = ("CC0-1.0", "talkies stage-world", "no_person")
"""Licence of every clip, whom it names as its maker, and the consent that it takes."""


@dataclass(frozen=True, slots=True)
class Material:
    """How a body of a material looks and rings.

    Attributes:
        name: of the material.
        colour: RGB.
        t60_s: time in which its lowest mode falls by 60 dB.
        ratios: its modes' frequencies as multiples of the lowest.
        tilt_db: level of each mode against the one below it.
        damping: by how much faster a mode falls for each octave above the lowest.
        knock: share of the noise of the contact itself.
        restitution: speed after a bounce over the speed before.
    """

    name: str
    colour: tuple[int, int, int]
    t60_s: float
    ratios: tuple[float, ...]
    tilt_db: float
    damping: float
    knock: float
    restitution: float


MATERIALS: tuple[Material, ...] = (
    Material("wood", (156, 102, 52), 0.16, (1.0, 2.57, 4.95, 7.9), -5.0, 0.9, 0.5, 0.50),
    Material("metal", (150, 160, 176), 1.4, (1.0, 2.76, 5.40, 8.93), -3.0, 0.25, 0.15, 0.62),
    Material("glass", (120, 200, 210), 0.6, (1.0, 2.32, 4.25, 6.63), -2.0, 0.45, 0.25, 0.58),
    Material("stone", (112, 108, 104), 0.07, (1.0, 2.1, 3.4, 5.2), -2.5, 0.6, 0.9, 0.42),
    Material("rubber", (196, 52, 56), 0.10, (1.0, 1.9, 2.8), -14.0, 1.6, 0.2, 0.74),
)
RADII_M: tuple[float, ...] = (0.06, 0.08, 0.107, 0.142, 0.19)
"""Classes of size: the radius of a ball, or half the side of a box."""
RADIUS_SPREAD = 0.06
"""A body's radius lies within this share of its class."""
PITCH_HZ_M = 84.0
"""Pitch times radius: 1.4 kHz for the smallest class and 440 Hz for the largest."""

ADJECTIVES = ("red", "blue", "green", "small", "large", "heavy", "quiet", "golden")
NOUNS = (
    "ball", "stone", "door", "bottle", "river", "garden",
    "window", "table", "bird", "dog", "child", "teacher",
)  # fmt: skip
VERBS = ("falls", "rolls", "opens", "breaks", "waits", "turns", "sings", "stops")
PLACES = ("near", "behind", "under", "over", "beside")
MANNERS = ("slowly", "again", "today", "quickly")
ARTICLES = ("the", "every", "this")
LEXICON = (*ADJECTIVES, *NOUNS, *VERBS, *PLACES, *MANNERS, *ARTICLES)
SLOTS = {"A": ADJECTIVES, "N": NOUNS, "V": VERBS, "P": PLACES, "R": MANNERS}

TEMPLATES: tuple[str, ...] = (
    "the A N V P the N",
    "this N V R",
    "every A N V R",
    "the N V P this A N",
    "R the A N V",
    "the A N V R P the N",
    "this A N V P every N",
    "the N P the A N V",
)
HELD_OUT_TEMPLATES: tuple[str, ...] = (
    "R this N V P the A N",
    "every N P this N V R",
    "the A A N V R",
)


def is_held_out(size: int, material: int) -> bool:
    """Whether a class of size and a material are put together in test clips alone.

    A Latin square: one in five pairs, and each size and each material once.
    """
    return size == (2 * material + 1) % len(RADII_M)


def pairs_for(split: Split) -> list[tuple[int, int]]:
    """The pairs (size, material), as indices, of the bodies in a split's clips."""
    every = [(size, which) for size in range(len(RADII_M)) for which in range(len(MATERIALS))]
    return [pair for pair in every if is_held_out(*pair) == (split == "test")]


def templates_for(split: Split) -> tuple[str, ...]:
    """The templates of the sentences in a split's clips."""
    return HELD_OUT_TEMPLATES if split == "test" else TEMPLATES


def sentence(template: str, generator: np.random.Generator) -> str:
    """A sentence of a template; no word of a kind stands in it twice."""
    words: list[str] = []
    for slot in template.split():
        choices = [word for word in SLOTS.get(slot, (slot,)) if word not in words or len(slot) > 1]
        words.append(choices[int(generator.integers(len(choices)))])
    return " ".join(words)
