"""What is true of the held-out items of a dataset: their sound, their words, when something sounds.

Words are the catalog's true ones where it has any, else the transcript. When something sounds is
known of staged sources only (tables `truths` and `true_events`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from models.timeline import AUDIO_HZ
from tasks.encode import mixture_audio
from tasks.lip_envelope import MOUTH_COLUMN
from tasks.media import read_audio
from tasks.mix_conditions import PICTURE
from tasks.onsets import merged
from tasks.speaker import speaker_name
from tasks.word_errors import compared_words
from tasks.world_content import MATERIALS
from tasks.world_sound import ring_s

TEXTURES = ("rain", "roll")
"""Events that have no beginning which could be told to 50 ms."""
STRIKE_S = 0.12
"""How much of an event's sound its pitch is looked for in, and as far away is any other event.

With events that follow closer, pitches of the staged world's own sounds agree with the truth by a
rank correlation of 0.80 instead of 0.98.
"""
LONGEST_S = 1.5
"""How much of an event's sound is heard at most."""

HELD_OUT_COLUMN = f"""(
    SELECT list(struct_pack(
        item_id := i.item_id, task := i.task, split := i.split,
        audio_ref := de.audio16_ref, frames10_ref := de.frames10_ref,
        colour25_ref := de.colour25_ref, start_s := w.start_s, end_s := w.end_s,
        mixture := CASE WHEN m.mix_id IS NOT NULL THEN struct_pack(
            m.mix_id, m.duration_s, m.mix_ref, m.recipe, m.output_sha256, m.rendered_by) END,
        picture := CASE WHEN m.mix_id IS NOT NULL THEN {PICTURE} END,
        duration_s := i.duration_s,
        voice_clip_id := vw.clip_id, mouth := {MOUTH_COLUMN},
        voice := {speaker_name("vw.source_id")},
        text := tr.text, voice_start_s := vw.start_s, voice_end_s := vw.end_s,
        words := (SELECT list(struct_pack(word, start_s, end_s) ORDER BY position)
                  FROM true_words tw WHERE tw.source_id = vw.source_id),
        sound_clip_id := sw.clip_id, sound_start_s := sw.start_s, sound_end_s := sw.end_s,
        true_kind := st.kind,
        events := (SELECT list(struct_pack(kind, start_s, end_s, heard, size_m, material,
                                           pitch_hz)
                               ORDER BY position)
                   FROM true_events te WHERE te.source_id = sw.source_id)
    ) ORDER BY i.item_id)
    FROM dataset_items i
    LEFT JOIN windows w ON w.clip_id = i.item_id
    LEFT JOIN decodes de USING (source_id)
    LEFT JOIN mixtures m ON m.mix_id = i.item_id
    LEFT JOIN windows vw ON vw.clip_id = coalesce(m.speech_clip_id, i.item_id)
    LEFT JOIN transcripts tr ON tr.clip_id = vw.clip_id
    LEFT JOIN windows sw ON sw.clip_id = coalesce(m.ambience_clip_id, i.item_id)
    LEFT JOIN truths st ON st.source_id = sw.source_id
    WHERE i.dataset_id = d.dataset_id AND i.split <> 'train'
)"""
"""SQL for what is true of the held-out items of a dataset `d`."""


@dataclass(frozen=True, slots=True)
class Strike:
    """A single event of known pitch.

    Attributes:
        time_s: when it sounds in the item.
        pitch_hz: its lowest mode.
        free_s: how long nothing else begins to sound.
        t60_s: how long that mode truly falls by 60 dB; None where its material is unknown.
        material: the name of the material, where it rings undamped and can be told; else empty.
    """

    time_s: float
    pitch_hz: float
    free_s: float = STRIKE_S
    t60_s: float | None = None
    material: str = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is true of an item.

    Attributes:
        item_id: of the item.
        task: its task.
        split: its split.
        words: what is said, as it is compared; empty for nothing.
        onsets_s: when something begins to sound; None where that is unknown, or no use: of
            textures, and where nothing happens.
        strikes: its events that sound, have a pitch, and stand alone; none under textures.
        sounds: whether anything is to be heard at all; None where that is unknown.
        voice: who speaks, by the truth or the manifest; empty where that is unknown.
    """

    item_id: str
    task: str
    split: str
    words: tuple[str, ...]
    onsets_s: tuple[float, ...] | None
    strikes: tuple[Strike, ...]
    sounds: bool | None
    voice: str = ""

    @property
    def is_told(self) -> bool:
        """Whether the model is told what to say.

        Sound with video holds no text, even where the labels missed a voice in it.
        """
        return bool(self.words) and self.task != "v2s"


def facts_of(row: Mapping[str, Any]) -> Facts:
    """What is true of an item of HELD_OUT_COLUMN."""
    words = _words(row)
    sounding = _sounding_events(row)
    # What began before the item, or where a part of it is cut, sounds in it and begins nowhere.
    heard = [event for event in sounding if event["begins"]]
    has_texture = any(event["kind"] in TEXTURES for event in sounding)
    is_known = row["true_kind"] is not None
    return Facts(
        item_id=row["item_id"],
        task=row["task"],
        split=row["split"],
        words=tuple(words),
        onsets_s=tuple(merged([event["start_s"] for event in heard]))
        if is_known and heard and not has_texture
        else None,
        strikes=() if has_texture else _strikes(heard),
        sounds=bool(sounding or words) if is_known else None,
        voice=row.get("voice") or "",
    )


def _strikes(heard: Sequence[Mapping[str, Any]]) -> tuple[Strike, ...]:
    """Those events of known pitch that no other is near to."""
    times_s = np.array([event["start_s"] for event in heard])
    strikes = []
    for event in heard:
        apart_s = times_s - event["start_s"]
        if event["pitch_hz"] is None or np.sum(np.abs(apart_s) < STRIKE_S) != 1:
            continue
        free_s = float(np.min(apart_s[apart_s > 0], initial=LONGEST_S))
        strikes.append(Strike(event["start_s"], event["pitch_hz"], free_s, *_ring(event)))
    return tuple(strikes)


def _ring(event: Mapping[str, Any]) -> tuple[float | None, str]:
    """How long an event rings and, where nothing damps it, the material; nothing if unknown."""
    made_of = next((m for m in MATERIALS if m.name == event.get("material")), None)
    if made_of is None:
        return None, ""
    t60_s = ring_s(made_of, event["kind"])
    return t60_s, made_of.name if t60_s == made_of.t60_s else ""


def _words(row: Mapping[str, Any]) -> list[str]:
    if row["words"]:
        inside = [
            word["word"]
            for word in row["words"]
            if row["voice_start_s"] <= (word["start_s"] + word["end_s"]) / 2 < row["voice_end_s"]
        ]
        return compared_words(" ".join(inside))
    return compared_words(row["text"] or "")


def _sounding_events(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The events that sound in an item, with their times in it and whether they begin in it."""
    if row["sound_start_s"] is None:
        return []
    from_s = row["sound_start_s"]
    clip = [
        event | {"start_s": event["start_s"] - from_s, "end_s": event["end_s"] - from_s}
        for event in row["events"] or []
        if event["heard"]
    ]
    whole = {"at_s": 0.0, "offset_s": 0.0, "loop_s": None}
    parts = [whole | {"length_s": row["sound_end_s"] - from_s}]
    if row["mixture"] is not None:
        parts = [p for p in row["picture"] or [] if p["clip_id"] == row["sound_clip_id"]]
    placed = [
        event | {"start_s": start_s, "begins": begins}
        for event in clip
        for part in parts
        for start_s, begins in placed_times(event["start_s"], event["end_s"], part)
    ]
    return sorted(placed, key=lambda event: event["start_s"])


def placed_times(start_s: float, end_s: float, part: Mapping[str, Any]) -> list[tuple[float, bool]]:
    """When an event of a clip is met in what the clip is a part of, and whether it begins there.

    It is met again in each loop; where it began before the part's cut, it is met at the cut.
    """
    turn_s = part["loop_s"] or part["length_s"]
    first_s, last_s = start_s - part["offset_s"], end_s - part["offset_s"]
    begins = first_s >= 0
    if first_s >= turn_s or last_s < 0:
        return []
    turns = np.arange(max(first_s, 0.0), part["length_s"], turn_s)
    return [(float(part["at_s"] + turn), begins) for turn in turns]


def true_sound(workspace_root: str, row: Mapping[str, Any]) -> np.ndarray:
    """The sound (T,) of an item as it is, at 16 kHz."""
    if row["mixture"] is not None:
        return mixture_audio(workspace_root, row["mixture"])[0]
    found = read_audio(workspace_root, row["audio_ref"], row["start_s"], row["end_s"], AUDIO_HZ)
    return found[0]


def chosen(rows: Sequence[Mapping[str, Any]], at_most: int) -> list[Mapping[str, Any]]:
    """At most so many items of each held-out split, every task alike as far as there are items.

    Ids are hashes, so the first of a task are drawn by chance, and the same each time.
    """
    places: dict[tuple[str, str], int] = {}
    ranked = []
    for row in sorted(rows, key=lambda row: row["item_id"]):
        group = (row["split"], row["task"])
        places[group] = places.get(group, 0) + 1
        ranked.append((row["split"], places[group], row["task"], row))
    ranked.sort(key=lambda one: one[:3])
    kept: list[Mapping[str, Any]] = []
    for split in sorted({one[0] for one in ranked}):
        kept += [one[3] for one in ranked if one[0] == split][:at_most]
    return kept
