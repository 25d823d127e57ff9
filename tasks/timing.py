"""When things are heard in the sounds of an item, beside when they should be."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from models.sync import Curve
from tasks.held_out import Facts
from tasks.lip_envelope import Mouth, lips_agreement, loudness_curve
from tasks.scores import Row
from tasks.word_onsets import Starts, heard_word_starts


@dataclass(frozen=True, slots=True, eq=False)
class Timed:
    """When a voice is heard in a sound.

    Attributes:
        word_starts_s: of each word of the item's text; empty where none has a true time.
        loudness: how its loudness changes.
    """

    word_starts_s: Starts
    loudness: Curve


@dataclass(frozen=True, slots=True, eq=False)
class TimedItem:
    """When things should be heard in an item, and when they are.

    Attributes:
        words: what is said, as it is compared; empty where the model is told no text.
        word_starts_s: when each of them begins; empty where that is unknown.
        mouth: of who speaks; None where it is not seen.
        heard: its sounds by role; none without a text.
        shifts_s: by how much onsets come later with a delayed picture, by role; none where it was
            not delayed.
        by_lips: when its words are heard in what is generated without their times, by role: with
            the picture of who speaks, and, as the control, of another; none where it was not.
    """

    words: tuple[str, ...]
    word_starts_s: Starts
    mouth: Mouth | None
    heard: Mapping[str, Timed]
    shifts_s: Mapping[str, float]
    by_lips: Mapping[str, Starts] = field(default_factory=dict)

    @property
    def has_times(self) -> bool:
        """Whether it is known when words begin."""
        return any(start is not None for start in self.word_starts_s)


def timed_item(
    facts: Facts,
    starts: Starts,
    mouth: Mouth | None,
    sounds: Mapping[str, NDArray[np.float32]],
    shifts_s: Mapping[str, float],
    by_lips: Mapping[str, NDArray[np.float32]],
) -> TimedItem:
    """What is heard when in an item's sounds (T,); arguments as the fields of `TimedItem`."""
    if not facts.is_told:
        return TimedItem((), (), None, {}, shifts_s)
    asked = facts.words if any(start is not None for start in starts) else ()
    heard = {
        role: Timed(heard_word_starts(sound, asked), loudness_curve(sound))
        for role, sound in sounds.items()
    }
    timeless = {role: heard_word_starts(sound, asked) for role, sound in by_lips.items()}
    return TimedItem(facts.words, starts, mouth, heard, shifts_s, timeless)


def timing_record(item: TimedItem) -> Row:
    """What `TimedItem` holds, as JSON keeps it."""
    record: Row = {"word_starts_s": item.word_starts_s, "onset_shift_s": dict(item.shifts_s)}
    for role, heard in item.heard.items():
        record[role] = {"word_starts_s": heard.word_starts_s}
        if item.mouth is not None:
            record[role]["lips_envelope_correlation"] = lips_agreement(item.mouth, heard.loudness)
    if item.by_lips:
        record["by_lips_word_starts_s"] = dict(item.by_lips)
    return record
