"""Whether lips say when words are said: words without times, with their own picture or another's.

The other's is all that is seen, not its lips alone: a coarse picture shows the mouth as well.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.timeline import LATENT_HZ, count
from tasks.batches import Sample
from tasks.held_out import facts_of
from tasks.scores import CONTROL, SCORE, partners
from tasks.shifted import SEEN
from tasks.uniform_phonemes import UNCUED, stretched
from tasks.word_onsets import true_word_starts


def samples_by_lips(sample: Sample, other: Sample) -> dict[str, Sample]:
    """A sample with its words spread over all its time, by role: the control sees the other's."""
    told = sample | {"phonemes": stretched(sample["phonemes"], UNCUED)}
    seconds = len(sample["latents"]) / LATENT_HZ
    seen = {name: _fitted(other.get(name), count(seconds, hz)) for name, hz in SEEN.items()}
    return {SCORE: told, CONTROL: told | seen}


def _fitted(values: NDArray[np.float32] | None, rows: int) -> NDArray[np.float32] | None:
    """So many rows: what is more is cut, and the last one is held for what is missing."""
    if values is None:
        return None
    return np.pad(values, ((0, max(0, rows - len(values))), (0, 0)), mode="edge")[:rows]


def lips_partners(
    rows: Sequence[Mapping[str, Any]], samples: Mapping[str, Sample], at_most: int
) -> dict[str, str]:
    """The first items of each split, at most so many, whose words lips can time, each with another.

    They are seen to speak, alone, and have words of known times. The other is the next of its split
    that has other words; where there is none, nothing can be told.
    """
    chosen: dict[str, str] = {}
    facts = {row["item_id"]: facts_of(row) for row in rows}
    for split in sorted({one.split for one in facts.values()}):
        own = [row for row in rows if row["split"] == split]
        spoken = [
            facts[row["item_id"]]
            for row in own
            if row["task"] == "visual_tts"
            and samples[row["item_id"]].get("lips") is not None
            and any(s is not None for s in true_word_starts(row, facts[row["item_id"]].words))
        ]
        others = partners(spoken, lambda a, b: a.words != b.words)
        pairs = [
            (one.item_id, spoken[other].item_id)
            for one, other in zip(spoken, others, strict=True)
            if other is not None
        ]
        chosen |= dict(pairs[:at_most])
    return chosen
