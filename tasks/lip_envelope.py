"""How a speaker's mouth agrees with the loudness of a voice, at the time at which it should.

The mouth is that of table `features`, extractor `mouth`, of the face that the stage `sync` found
speaking. Curves and lead are those of `sync` too.

Legend: T samples at 16 kHz, F frames at 25 fps, K tracks, N points at 100 Hz.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.sync import (
    CURVE_HZ,
    MIN_CURVE_S,
    Curve,
    curve_times,
    detrended,
    lagged_correlation,
    speech_envelope,
)
from models.timeline import AUDIO_HZ, MOTION_FPS
from storage.features import read_feature
from tasks.faces import MOUTH_EXTRACTOR, SEEN
from tasks.mix_conditions import combined
from tasks.sync import MOUTH_LEAD_S, mouth_curve

Row = Mapping[str, Any]
Mouth = NDArray[np.float32]
"""(F, 2): how far a mouth is open, and 1 where it is seen."""

MOUTH_COLUMN = f"""(
    SELECT struct_pack(track := ss.track, content_hash := mo.content_hash)
    FROM syncs ss JOIN features mo ON mo.clip_id = ss.clip_id AND mo.extractor = '{MOUTH_EXTRACTOR}'
    WHERE ss.clip_id = vw.clip_id AND ss.method = 'mouth' AND ss.track IS NOT NULL
)"""
"""SQL for the mouth of who speaks in a window `vw`: its track, and the hash of all mouths."""

MOUTH_REFS_COLUMN = f"""(
    SELECT list(struct_pack(mo.clip_id, mo.shard_ref) ORDER BY mo.clip_id)
    FROM dataset_items i
    LEFT JOIN mixtures m ON m.mix_id = i.item_id
    JOIN features mo ON mo.clip_id = coalesce(m.speech_clip_id, i.item_id)
    WHERE i.dataset_id = d.dataset_id AND i.split <> 'train'
      AND mo.extractor = '{MOUTH_EXTRACTOR}'
)"""
"""SQL for where the mouths of the held-out items of a dataset `d` lie, which may change alone."""


def with_mouth_refs(
    rows: Sequence[Row], refs: Sequence[Mapping[str, str]] | None
) -> list[dict[str, Any]]:
    """Items of HELD_OUT_COLUMN with `mouth_ref`: where the mouths of who speaks in it lie."""
    found = {ref["clip_id"]: ref["shard_ref"] for ref in refs or ()}
    return [{**row, "mouth_ref": found.get(row["voice_clip_id"])} for row in rows]


def mouth_of(workspace_root: str, row: Row) -> Mouth | None:
    """The mouth of who speaks in an item of `with_mouth_refs`.

    None where nobody is known to be seen speaking, or for less than `MIN_CURVE_S`.
    """
    clip_id, told, ref = row["voice_clip_id"], row["mouth"], row["mouth_ref"]
    if told is None or ref is None:
        return None
    mouths = read_feature(workspace_root, ref, clip_id, told["content_hash"])
    mouth = np.asarray(mouths[:, told["track"]], np.float32)
    if row["mixture"] is not None:
        parts = [part for part in row["picture"] or [] if part["clip_id"] == clip_id][:1]
        arrays = [mouth for _ in parts]
        laid = combined(parts, arrays, "insert", row["duration_s"], MOTION_FPS)
        if laid is None:
            return None
        mouth = laid
    return mouth if mouth[:, SEEN].sum() >= MIN_CURVE_S * MOTION_FPS else None


def loudness_curve(audio16: NDArray[np.float32]) -> Curve:
    """How the loudness of speech changes in a sound (T,): (N,)."""
    return detrended(speech_envelope(audio16, AUDIO_HZ))


def lips_agreement(mouth: Mouth, loudness: Curve) -> float:
    """The correlation of a mouth with a loudness (N,) that comes `MOUTH_LEAD_S` after it.

    So much a mouth leads its own voice. 0 where nothing moves or sounds, NaN where they share less
    than `MIN_CURVE_S`.
    """
    opening, seen = mouth_curve(mouth, curve_times(len(loudness) / CURVE_HZ))
    if seen.sum() < MIN_CURVE_S * CURVE_HZ:
        return float("nan")
    lead = round(MOUTH_LEAD_S * CURVE_HZ)
    return float(lagged_correlation(opening[seen], loudness[seen], lead)[-1])
