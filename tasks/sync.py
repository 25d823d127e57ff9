"""Whether a clip's sound and picture fit in time, and whether the one who speaks is seen.

For speech each face's mouth is held against the speech envelope; the face that agrees best and
surely is the speaker. Where no face speaks, onsets of motion are held against onsets of sound.

Legend: T samples at 16 kHz, F frames at 25 fps, K tracks.
"""

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from models.sync import (
    NO_ALIGNMENT,
    Alignment,
    align,
    curve_times,
    detrended,
    onset_curve,
    smoothed,
    sound_onsets,
    speech_envelope,
)
from models.timeline import AUDIO_HZ, MOTION_FPS
from storage.features import read_feature
from storage.stage import Output, Rows, ShardRef, ShardResult, ShardTarget, Stage, run_items
from tasks.faces import OPENING, SEEN
from tasks.media import read_audio, read_frame_times

Span = dict[str, float]

MOUTH_LEAD_S = 0.05
"""A mouth opens before its voice swells, from 20 ms after it to 70 ms before it for one syllable
after another (Schwartz and Savariaux 2014), and 50 and 100 ms before it on the two talking films
that this was measured on; so much counts as on time."""
CALM_S = 0.25
"""Motion begins where a picture moves more than all in this time before it."""


@dataclass(frozen=True, slots=True)
class SyncConfig:
    """How far apart sound and picture may be, and what makes a speaker."""

    max_offset_s: Annotated[float, Field(ge=0.1, le=3)] = 0.8
    """Offsets are looked for between minus and plus this."""
    min_talk_confidence: Annotated[float, Field(ge=0, le=1)] = 0.85
    """A face speaks when its mouth agrees with the sound with at least this confidence."""
    min_activity: Annotated[float, Field(ge=0)] = 0.006
    """A mouth whose opening deviates less while there is speech is still: a listener's."""


def sync_shard(shard: ShardRef, out: ShardTarget, config: SyncConfig) -> ShardResult:
    """Rows of `talks` and `syncs` for the clips of a shard."""

    def one_item(item: dict[str, Any]) -> Rows:
        clip_id, span = item["item_id"], (item["start_s"], item["end_s"])
        audio = read_audio(out.workspace, item["audio16_ref"], *span, AUDIO_HZ)[0]
        talks: list[dict[str, Any]] = []
        if item["has_speech"] and item["mouth_hash"]:
            mouths = read_feature(out.workspace, item["_mouth_ref"], clip_id, item["mouth_hash"])
            talks = find_speaker(mouths, audio, item["speech_spans"], config)
        motion = read_feature(out.workspace, item["_motion_ref"], clip_id, item["motion_hash"])
        times = read_frame_times(out.workspace, item["frames25_ref"], *span, MOTION_FPS)
        row = sync(talks, motion[:, 0], times, audio, config)
        looked_for = item["has_speech"] and item["faces_looked"]
        row["on_screen"] = any(talk["talks"] for talk in talks) if looked_for else None
        return {
            "talks": [{"clip_id": clip_id} | talk for talk in talks],
            "syncs": [{"clip_id": clip_id} | row],
        }

    return run_items(shard, out, one_item)


def find_speaker(
    mouths: NDArray[np.float32],
    audio: NDArray[np.float32],
    speech_spans: list[Span],
    config: SyncConfig,
) -> list[dict[str, Any]]:
    """Each face's agreement with the speech: rows of `talks` without clip_id, in track order.

    Args:
        mouths: (F, K, 2) opening, and 1 where it is seen.
        audio: (T,) the clip's sound.
        speech_spans: where the voice detector hears speech.
        config: thresholds.
    """
    envelope = detrended(speech_envelope(audio, AUDIO_HZ))
    times = curve_times(len(audio) / AUDIO_HZ)
    spoken = np.zeros(len(times), bool)
    for span in speech_spans:
        spoken |= (times >= span["start_s"]) & (times < span["end_s"])
    rows = []
    for track in range(mouths.shape[1]):
        if not mouths[:, track, SEEN].any():
            continue
        curve, seen = mouth_curve(mouths[:, track], times)
        found = align(curve[seen], envelope[seen], config.max_offset_s)
        both = seen & spoken
        activity = float(np.std(curve[both])) if both.any() else 0.0
        rows.append(
            {
                "track": track,
                "activity": activity,
                **_row(found, MOUTH_LEAD_S),
                "talks": found.confidence >= config.min_talk_confidence
                and activity >= config.min_activity,
            }
        )
    return rows


def mouth_curve(
    mouth: NDArray[np.float32], times_s: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """How the opening of a mouth changes (N,) at some times, and from when to when it is seen.

    Args:
        mouth: (F, 2) opening, and 1 where it is seen, which is somewhere.
        times_s: (N,) of a curve's points.
    """
    frames = np.flatnonzero(mouth[:, SEEN])
    opening = np.interp(times_s, frames / MOTION_FPS, mouth[frames, OPENING])
    seen = (times_s >= frames[0] / MOTION_FPS) & (times_s < (frames[-1] + 1) / MOTION_FPS)
    return detrended(opening), seen


def sync(
    talks: list[dict[str, Any]],
    motion: NDArray[np.float32],
    times_s: NDArray[np.float64],
    audio: NDArray[np.float32],
    config: SyncConfig,
) -> dict[str, Any]:
    """The offset of a clip: its row of `syncs` without clip_id and on_screen.

    Args:
        talks: what `find_speaker` gave.
        motion: (F,) energy of motion, channel 0 of the feature.
        times_s: (F,) when each frame's picture was first shown, from the clip's start.
        audio: (T,) the clip's sound.
        config: thresholds.
    """
    speakers = [talk for talk in talks if talk["talks"]]
    if speakers:
        best = max(speakers, key=lambda talk: talk["confidence"])
        names = ("offset_s", "correlation", "confidence", "track")
        return {"method": "mouth"} | {name: best[name] for name in names}
    found = align_onsets(motion, times_s, audio, config.max_offset_s)
    return {"method": "onset", **_row(found), "track": None}


def align_onsets(
    motion: NDArray[np.float32],
    times_s: NDArray[np.float64],
    audio: NDArray[np.float32],
    max_offset_s: float,
) -> Alignment:
    """How late the onsets of sound come after those of motion; arguments as of `sync`.

    Motion counts at the time at which its picture was shown first, not at the grid's, so that
    frame rates that do not divide 25 fps move nothing.
    """
    duration_s = len(audio) / AUDIO_HZ
    fresh = np.flatnonzero(np.diff(times_s, prepend=times_s[:1]) > 0)
    if not len(fresh):
        return NO_ALIGNMENT
    rises = rises_of(motion[fresh].astype(np.float64), times_s[fresh])
    seen = smoothed(onset_curve(times_s[fresh], rises, duration_s))
    heard = smoothed(sound_onsets(audio, AUDIO_HZ))
    return align(seen, heard, max_offset_s)


def rises_of(motion: NDArray[np.float64], times_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """By how much each picture (N,) moves more than any in the quarter of a second before it.

    So the end of a flash, which changes as much as its beginning, is none. The first is none
    either, because nothing is known of what was before.
    """
    rises = np.zeros(len(motion))
    for place in range(1, len(motion)):
        first = min(int(np.searchsorted(times_s, times_s[place] - CALM_S)), place - 1)
        rises[place] = max(motion[place] - motion[first:place].max(), 0.0)
    return rises


def _row(found: Alignment, lead_s: float = 0.0) -> dict[str, Any]:
    return {
        "offset_s": found.offset_s - lead_s if found is not NO_ALIGNMENT else None,
        "correlation": found.correlation,
        "confidence": found.confidence,
    }


STAGE = Stage(
    name="sync",
    version=1,
    config=SyncConfig,
    items="""
        SELECT w.clip_id AS item_id, w.duration_s AS cost_s, w.start_s, w.end_s,
               d.audio16_ref, d.frames25_ref, d.faces_count IS NOT NULL AS faces_looked,
               l.has_speech, l.speech_spans, m.content_hash AS mouth_hash,
               m.shard_ref AS _mouth_ref, n.content_hash AS motion_hash, n.shard_ref AS _motion_ref
        FROM windows w
        JOIN decodes d USING (source_id)
        JOIN listens l USING (clip_id)
        JOIN features n ON n.clip_id = w.clip_id AND n.extractor = 'motion'
        LEFT JOIN features m ON m.clip_id = w.clip_id AND m.extractor = 'mouth'
        WHERE w.has_audio AND w.has_picture AND d.audio16_ref IS NOT NULL
    """,
    outputs=(Output("syncs", key="clip_id"), Output("talks", key="clip_id")),
    run=sync_shard,
    shard_s=600.0,
    title="hold sound against picture",
)
