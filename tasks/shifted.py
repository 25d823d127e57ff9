"""Whether sound goes with the picture: the picture is delayed, and the sound should follow.

Legend: N rows of a condition, T samples at 16 kHz.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.sync import CURVE_HZ, MIN_CURVE_S, NO_ALIGNMENT, align, smoothed
from models.timeline import AUDIO_HZ, MOTION_FPS, VISUAL_FPS, count
from tasks.batches import Sample
from tasks.held_out import facts_of
from tasks.onsets import BLOCKS_HZ, rises
from tasks.scores import SCORE, TRUTH

SHIFT_S = 0.4
"""How much later everything is seen: whole frames of both grids."""
MAX_LAG_S = 0.8
"""Sound is looked for as far before as behind, so that one which does not follow has no bias."""
SEEN = {"visual": VISUAL_FPS, "motion": MOTION_FPS, "sync": MOTION_FPS, "lips": MOTION_FPS}
"""What a sample holds of the picture, and its rate."""


def delayed_sample(sample: Sample) -> Sample:
    """The sample with all that is seen `SHIFT_S` later; until then its first row is held."""
    late = {
        name: _held(sample[name], count(SHIFT_S, rate_hz))
        for name, rate_hz in SEEN.items()
        if sample.get(name) is not None
    }
    return sample | late


def _held(values: NDArray[np.float32], by: int) -> NDArray[np.float32]:
    return np.pad(values, ((by, 0), (0, 0)), mode="edge")[: len(values)]


def delayed_sound(audio16: NDArray[np.float32]) -> NDArray[np.float32]:
    """The sound (T,) `SHIFT_S` later, as long as before."""
    return np.pad(audio16, (count(SHIFT_S, AUDIO_HZ), 0))[: len(audio16)]


def onset_shift_s(audio16: NDArray[np.float32], later16: NDArray[np.float32]) -> float:
    """By how much the onsets of one sound (T,) come later in another.

    It is the lag at which the curves of their rises agree best; 0 where one of them has no onset.
    """
    found = align(_rises(audio16), _rises(later16), MAX_LAG_S)
    return 0.0 if found is NO_ALIGNMENT else found.offset_s


def shifts_s(
    made: NDArray[np.float32], late: NDArray[np.float32], true: NDArray[np.float32]
) -> dict[str, float]:
    """The shift of onsets by role.

    Args:
        made: (T,) what is generated from the picture.
        late: (T,) what is generated from the delayed picture.
        true: (T,) the recording, which is held against itself delayed.
    """
    return {SCORE: onset_shift_s(made, late), TRUTH: onset_shift_s(true, delayed_sound(true))}


def _rises(audio16: NDArray[np.float32]) -> NDArray[np.float64]:
    """Rises at the rate of the curves that can be aligned."""
    per_point = BLOCKS_HZ // CURVE_HZ
    rise_db = rises(audio16, AUDIO_HZ)
    whole = rise_db[: len(rise_db) // per_point * per_point]
    return smoothed(whole.reshape(-1, per_point).mean(axis=1))


def to_shift(
    rows: Sequence[Mapping[str, Any]], samples: Mapping[str, Sample], at_most: int
) -> set[str]:
    """The first items of each split, at most so many, whose picture is worth delaying.

    Their onsets are known and sharp, one of them at least stays in the item, they have a picture,
    and no text: words stay where they are said.
    """
    chosen: dict[str, list[str]] = {}
    for row in rows:
        facts, last_s = facts_of(row), row["duration_s"] - SHIFT_S
        stays = any(time_s < last_s for time_s in facts.onsets_s or ())
        is_seen = any(samples[facts.item_id].get(name) is not None for name in SEEN)
        if stays and is_seen and not facts.words and row["duration_s"] >= MIN_CURVE_S:
            chosen.setdefault(facts.split, []).append(facts.item_id)
    return {item_id for ids in chosen.values() for item_id in ids[:at_most]}
