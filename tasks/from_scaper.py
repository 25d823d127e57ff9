"""A recipe of what Scaper wrote as JAMS: one background, and one foreground that is speech.

What lies where, and the difference of loudness that Scaper calls SNR, are taken. Fades, reference
level and repair of clipping are not: the mix is made like every other of ours. What a recipe cannot
say is refused.
"""

import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, ValidationError

from storage.blobs import hash_in
from storage.catalog import Catalog
from storage.ids import clip_id
from storage.mixture_rows import sounds_named, spoken_in
from tasks.jams import BadJams, Document, Parent
from tasks.mix_form import MAX_DURATION_S, checked_recipe
from tasks.mix_plan import GRID_S, RECIPE_VERSION, MixConfig, Recipe, rounded
from tasks.mixture_files import SPLITS
from tasks.source_uri import name_of

Seconds = Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)]


class _Event(BaseModel):
    """A value in namespace scaper."""

    role: Literal["background", "foreground"]
    label: str
    source_file: str
    source_time: Seconds
    event_time: Seconds
    event_duration: Seconds
    snr: Annotated[float, Field(ge=-100, le=100)]
    pitch_shift: None = None
    time_stretch: None = None


class _Settings(BaseModel):
    """What Scaper keeps in the annotation's sandbox, as far as it matters here."""

    duration: Annotated[float, Field(gt=0, le=MAX_DURATION_S)]
    sr: int = 44_100
    reverb: Annotated[float, Field(ge=0, le=0)] | None = None


@dataclass(frozen=True, slots=True)
class Mapped:
    """A recipe made from Scaper's.

    Attributes:
        recipe: what can be rendered.
        split: the strictest of both sources'.
        parents: speech and ambience, as the catalog knows them.
        notes: what had to be changed, in words.
    """

    recipe: Recipe
    split: str
    parents: dict[str, Parent]
    notes: tuple[str, ...]


def recipe_of(catalog: Catalog, document: Document) -> Mapped:
    """The recipe of a document that Scaper wrote, of sources that are in the catalog.

    Raises BadJams or BadRecipe for what cannot be mapped.
    """
    try:
        annotations = [a for a in document["annotations"] if a["namespace"] == "scaper"]
        events = [_Event(**seen["value"]) for a in annotations for seen in a["data"]]
        settings = [_Settings(**a["sandbox"]["scaper"]) for a in annotations]
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        raise BadJams(f"{name}={first['input']!r:.80}: {first['msg']}; a recipe has none") from None
    except (KeyError, TypeError) as error:
        raise BadJams(f"neither talkies nor Scaper wrote this: {error!r}") from None
    if len(settings) != 1 or sorted(event.role for event in events) != ["background", "foreground"]:
        raise BadJams(
            f"{len(events)} events in {len(settings)} annotations of Scaper's; a recipe has one "
            "foreground, of speech, over one background"
        )
    background, foreground = sorted(events, key=lambda event: event.role)
    sounds = [_source(catalog, event) for event in (background, foreground)]
    rate_hz = 16_000 if settings[0].sr == 16_000 else 48_000
    at_s = rounded(round(foreground.event_time / GRID_S) * GRID_S)
    moved = f"event_time {foreground.event_time:g} s → at_s {at_s:g} s, on the {GRID_S} s grid"
    notes = () if at_s == rounded(foreground.event_time) else (moved,)
    plain = MixConfig()
    recipe = {
        "version": RECIPE_VERSION,
        "mode": "add",
        "regime": "scaper",
        "seed": 0,
        "drawn_for": "scaper",
        "rate_hz": rate_hz,
        "duration_s": rounded(settings[0].duration),
        "requested": {"snr_db": None, "loudness_difference_lu": rounded(foreground.snr)},
        "speech": _speech(catalog, foreground, sounds[1], rate_hz) | {"at_s": at_s},
        "ambience": _ambience(background, sounds[0], rate_hz, settings[0].duration, plain.fade_ms),
        "fade_ms": plain.fade_ms,
        "frame_ms": plain.frame_ms,
        "master": {"loudness_lufs": plain.loudness_lufs, "true_peak_dbtp": plain.true_peak_dbtp},
        # A stretch of a source is no clip: it has no features and no phonemes of its own.
        "conditions": {"combine": "add", "picture": [], "compose": None, "phonemes": None},
    }
    known = [sound["split"] for sound in sounds if sound["split"] in SPLITS]
    parents = {
        "speech": Parent(sounds[1]["uri"], foreground.label),
        "ambience": Parent(sounds[0]["uri"], background.label),
    }
    return Mapped(checked_recipe(recipe), max(known, key=SPLITS.index, default=""), parents, notes)


def _source(catalog: Catalog, event: _Event) -> dict[str, Any]:
    name = name_of(event.source_file)
    sources = sounds_named(catalog, event.source_file, name)
    if not sources:
        raise BadJams(
            f"{event.role}: no decoded source is {event.source_file} or is named {name}; "
            "build with it first"
        )
    if len(sources) > 1:
        there = ", ".join(source["uri"] for source in sources[:3])
        raise BadJams(
            f"{event.role}: {len(sources)} sources are named {name}: {there}; write one of them as "
            "its source_file"
        )
    return sources[0]


def _sound(event: _Event, source: dict[str, Any], rate_hz: int, length_s: float) -> Recipe:
    ref = source["audio48_ref" if rate_hz == 48_000 else "audio16_ref"]
    start_s = rounded(event.source_time)
    end_s = rounded(min(start_s + length_s, source["audio_s"] or 0.0))
    if ref is None or end_s <= start_s:
        raise BadJams(f"{event.role}: {source['uri']} has no sound of {rate_hz} Hz at {start_s} s")
    return {
        "clip_id": clip_id(source["source_id"], start_s, end_s),
        "audio_sha256": hash_in(ref),
        "start_s": start_s,
        "end_s": end_s,
        "devices": [],
    }


def _speech(catalog: Catalog, event: _Event, source: dict[str, Any], rate_hz: int) -> Recipe:
    made = _sound(event, source, rate_hz, event.event_duration)
    spans = spoken_in(catalog, source["source_id"], made["start_s"], made["end_s"])
    if not spans:
        raise BadJams(f"foreground: no speech was found there in {source['uri']}")
    from_start = [
        [rounded(span[end] - made["start_s"]) for end in ("start_s", "end_s")] for span in spans
    ]
    return made | {"spans_s": from_start, "room": None}


def _ambience(
    event: _Event, source: dict[str, Any], rate_hz: int, duration_s: float, fade_ms: float
) -> Recipe:
    made = _sound(event, source, rate_hz, duration_s)
    length_s, loop_s = made["end_s"] - made["start_s"], None
    if length_s < duration_s - 1e-6:
        loop_s = rounded(math.floor((length_s - fade_ms / 1000) / GRID_S + 1e-6) * GRID_S)
        if loop_s <= 0:
            raise BadJams(f"background: {length_s:g} s are too short to repeat; give 0.3 s or more")
    return made | {"offset_s": 0.0, "loop_s": loop_s, "ducking": None}
