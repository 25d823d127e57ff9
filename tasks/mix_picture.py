"""The composed picture of a mixture: the speaker cut in, or laid into a corner, while they speak.

Legend: N frames of the mixture, M frames of the speaker in it, H height, W width. Frames are uint8,
(H, W, 3) RGB at 10 fps and (H, W) gray at 25 fps.
"""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.timeline import VISUAL_FPS, count
from storage.catalog import Catalog
from tasks.media import read_frames
from tasks.mix_conditions import IS_COMPOSED, PICTURE, span_of, taken

Frames = NDArray[np.uint8]

# Each composed mixture with its two pictures; one of which either has no frames is left out.
PICTURES = f"""
    SELECT mix_id AS item_id, mixed_s AS duration_s, mixed_s AS cost_s, compose,
           list(struct_pack(clip_id := part.clip_id, at_s := part.at_s,
                length_s := part.length_s, offset_s := part.offset_s, loop_s := part.loop_s,
                start_s := w.start_s, end_s := w.end_s, frames10_ref := d.frames10_ref,
                frames25_ref := d.frames25_ref) ORDER BY place) AS parts,
           list(d.colour25_ref ORDER BY place) FILTER (d.colour25_ref IS NOT NULL)
               AS _colour25_refs
    FROM (
        SELECT mix_id, duration_s AS mixed_s, recipe->>'$.conditions.compose' AS compose,
               unnest({PICTURE}) AS part, generate_subscripts({PICTURE}, 1) AS place
        FROM mixtures WHERE {IS_COMPOSED}
    )
    JOIN windows w ON w.clip_id = part.clip_id
    JOIN decodes d USING (source_id)
    WHERE d.frames10_ref IS NOT NULL
    GROUP BY mix_id, mixed_s, compose HAVING count(*) = 2
"""


def picture_of(catalog: Catalog, mix_id: str, fps: int) -> Frames:
    """The frames (N, H, W[, 3]) of a mixture's composed picture at 10 or 25 fps.

    Raises LookupError where the mixture has none, or its parents' frames are gone or were not kept.
    """
    found = catalog.rows(f"FROM ({PICTURES}) WHERE item_id = ?", [mix_id])
    if not found:
        raise LookupError(
            f"mixture {mix_id} has no composed picture; set mix.compose to cut or inset and build"
        )
    if fps != VISUAL_FPS and not has_motion(found[0]):
        raise LookupError(
            f"mixture {mix_id}: frames at {fps} fps were not kept; set decode.motion and build"
        )
    return composed_frames(str(catalog.workspace.root), found[0], fps)


def has_motion(item: Mapping[str, Any]) -> bool:
    """Whether the frames at 25 fps were kept of both pictures of a row of PICTURES."""
    return all(part["frames25_ref"] for part in item["parts"])


def composed_frames(
    workspace_root: str, item: Mapping[str, Any], fps: int, *, colour: bool = False
) -> Frames:
    """The frames (N, H, W[, 3]) at 10 or 25 fps of a row of PICTURES; `colour` for those at 25."""
    name = "frames10_ref" if fps == VISUAL_FPS else "frames25_ref"
    refs = item["_colour25_refs"] if colour else [part[name] for part in item["parts"]]
    base, over = (
        taken(
            part,
            read_frames(workspace_root, ref, part["start_s"], part["end_s"], fps),
            item["duration_s"],
            fps,
        )
        for part, ref in zip(item["parts"], refs, strict=True)
    )
    spans = [span_of(part, item["duration_s"], fps) for part in item["parts"]]
    frames = np.zeros((count(item["duration_s"], fps), *base.shape[1:]), np.uint8)
    frames[spans[0]] = base
    overlay(frames[spans[1]], over, json.loads(item["compose"]))
    return frames


def overlay(frames: Frames, over: Frames, compose: Mapping[str, Any]) -> None:
    """Lays frames (M, H, W[, 3]) over others (M, H, W[, 3]), in place.

    Args:
        frames: the base; what is not covered stays.
        over: the speaker's.
        compose: kind cut covers all of it; kind inset a `corner` of it, `share` of its width wide
            and of its height high.

    Raises ValueError for another kind.
    """
    if compose["kind"] == "cut":
        frames[:] = over
    elif compose["kind"] == "inset":
        height, width = (max(1, round(compose["share"] * side)) for side in frames.shape[1:3])
        vertical, horizontal = compose["corner"].split("_")
        rows = slice(0, height) if vertical == "top" else slice(-height, None)
        columns = slice(0, width) if horizontal == "left" else slice(-width, None)
        frames[:, rows, columns] = _scaled(over, height, width)
    else:
        raise ValueError(f"compose.kind={compose['kind']!r} is neither cut nor inset")


def _scaled(frames: Frames, height: int, width: int) -> Frames:
    import cv2

    small = np.zeros((len(frames), height, width, *frames.shape[3:]), np.uint8)
    for number, frame in enumerate(frames):
        small[number] = cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)
    return small
