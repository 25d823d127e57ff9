"""Lay the conditions of a mixture exactly under its sounds: features of pictures, and phonemes.

A part of the picture is `{clip_id, at_s, length_s, offset_s, loop_s}`: the clip's rows from
`offset_s` on, repeated every `loop_s` unless that is None, lie under [at_s, at_s + length_s) of the
mixture. What begins and repeats on the grid of 0.2 s lies equally on both frame grids.

Legend: N frames of the mixture, F frames of a clip, M frames of a part.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.phoneme_ids import ids_on_grid
from models.timeline import LATENT_HZ, count, index

Part = Mapping[str, Any]

# SQL over a row of `mixtures`: the parts of its picture, the base first.
PICTURE = """from_json(recipe->'$.conditions.picture', '[{"clip_id": "VARCHAR", "at_s": "DOUBLE",
    "length_s": "DOUBLE", "offset_s": "DOUBLE", "loop_s": "DOUBLE"}]')"""
IS_COMPOSED = "recipe->>'$.conditions.compose' IS NOT NULL"


def whole(clip_id: str, duration_s: str) -> str:
    """SQL: the parts of a picture that is the clip's own from end to end, given as expressions."""
    return f"""[struct_pack(clip_id := {clip_id}, at_s := 0.0::DOUBLE, length_s := {duration_s},
        offset_s := 0.0::DOUBLE, loop_s := NULL::DOUBLE)]"""


def rows_under(part: Part, fps: float) -> NDArray[np.int64]:
    """Rows (M,) of the part's clip that lie under its span, one for each frame of it.

    A row may lie past the clip's last where its length is not a whole number of frames.
    """
    rows = np.arange(count(part["length_s"], fps))
    if part["loop_s"] is not None:
        rows %= max(1, count(part["loop_s"], fps))
    return rows + index(part["offset_s"], fps)


def span_of(part: Part, duration_s: float, fps: float) -> slice:
    """The frames of a mixture of this duration under which the part lies."""
    first = index(part["at_s"], fps)
    return slice(
        first, max(first, min(first + count(part["length_s"], fps), count(duration_s, fps)))
    )


def taken(part: Part, array: NDArray[Any], duration_s: float, fps: float) -> NDArray[Any]:
    """What the part gives of its clip's array (F, ...): one row for each frame of `span_of`.

    The clip's last row is held where it ends early.
    """
    span = span_of(part, duration_s, fps)
    rows = rows_under(part, fps)[: span.stop - span.start]
    return array[np.minimum(rows, len(array) - 1)]


def combined(
    parts: Sequence[Part],
    arrays: Sequence[NDArray[np.float32] | None],
    combine: str,
    duration_s: float,
    fps: float,
) -> NDArray[np.float32] | None:
    """The feature of a mixture (N, D) from those of its picture's parts; None where all lack it.

    Args:
        parts: the base first, then what lies over it.
        arrays: the feature (F, D) of each part's clip; None where it has none.
        combine: add sums rows where parts overlap; insert puts the later one's in their place.
        duration_s: of the mixture.
        fps: of the feature.

    Frames that no part covers are zeros.
    """
    there = [array for array in arrays if array is not None]
    if not there:
        return None
    laid = np.zeros((count(duration_s, fps), *there[0].shape[1:]), np.float32)
    for part, array in zip(parts, arrays, strict=True):
        span = span_of(part, duration_s, fps)
        rows = 0.0 if array is None else taken(part, array, duration_s, fps)
        if combine == "insert":
            laid[span] = rows
        else:
            laid[span] += rows
    return laid


def phonemes_on_grid(
    phonemes: Sequence[Mapping[str, Any]], duration_s: float, at_s: float = 0.0
) -> NDArray[np.int16]:
    """Phoneme ids (N,) on the 25 Hz grid; 0 where nothing is said.

    A clip that begins at `at_s` of a mixture has its own ids there, shifted by whole frames: its
    rounding is the same wherever it lies.
    """
    spans = [(p["phoneme"], p["start_s"], p["end_s"]) for p in phonemes]
    ids = np.zeros(count(duration_s, LATENT_HZ), np.int16)
    first = index(at_s, LATENT_HZ)
    ids[first:] = ids_on_grid(spans, duration_s)[: max(0, len(ids) - first)]
    return ids
