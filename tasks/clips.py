"""Cut a decoded source into clips: scenes first, then windows of 3 to 10 s that cut no word.

A word is taken to be whole where a border lies in a pause of what `voice` heard. Where a scene has
no pause in time, the border stands at the weakest point of the speech; where a scene's own cut
falls into speech, the window ends at the pause before it, or begins at the one behind, if that is
near. What still cuts speech says so in its row.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Any

from pydantic import Field

from models.timeline import VISUAL_FPS
from storage.ids import clip_id
from storage.rejects import Rejected
from storage.stage import Output, Rows, ShardRef, ShardResult, ShardTarget, Stage, run_items
from tasks.align_words import Span
from tasks.borders import Lengths, Speech, Window, cut_scene

US_PER_S = 1e6
CRUMB_US = 100_000
"""A shorter piece of a span that a border cuts off is no speech of the clip."""


@dataclass(frozen=True, slots=True)
class ClipsConfig:
    """How long a clip may be.

    Attributes:
        max_length_s: longest clip; the model's window is 10 s.
        min_window_s: shortest part of a scene that is cut; half of `max_length_s` where that is
            less, since a scene that is a little too long must come apart in two.
        min_length_s: shorter scenes are left out.
        max_trim_s: the most that is left out at a scene's cut so that it cuts no speech.
    """

    max_length_s: Annotated[float, Field(gt=0, le=10)] = 10.0
    min_window_s: Annotated[float, Field(gt=0, le=10)] = 3.0
    min_length_s: Annotated[float, Field(gt=0, le=10)] = 0.5
    max_trim_s: Annotated[float, Field(ge=0, le=10)] = 1.0

    @property
    def lengths(self) -> Lengths:
        """The same in microseconds."""
        longest, shortest_scene = _us(self.max_length_s), _us(self.min_length_s)
        shortest = max(min(_us(self.min_window_s), longest // 2), 1)
        return Lengths(longest, shortest, shortest_scene, _us(self.max_trim_s))


def cut_windows(
    duration_s: float, cuts_s: list[float], speech: Speech, config: ClipsConfig
) -> list[tuple[int, Window]]:
    """The windows of a source with the number of their scene, in order, none overlapping."""
    end = _us(duration_s)
    edges = [0, *sorted({cut for cut in map(_us, cuts_s) if 0 < cut < end}), end]
    lengths = config.lengths
    return [
        (scene, window)
        for scene, (left, right) in enumerate(pairwise(edges))
        if right - left >= lengths.shortest_scene
        for window in cut_scene(left, right, speech, lengths)
    ]


def spans_in(window: Window, speech: Speech) -> list[Span]:
    """The speech inside a window in seconds from its start, without crumbs of cut spans."""
    spans = []
    for left, right in speech.within(window.start, window.end):
        is_cut = (window.cuts_start and left == window.start) or (
            window.cuts_end and right == window.end
        )
        if right - left >= CRUMB_US or not is_cut:
            times = (left - window.start, right - window.start)
            spans.append({"start_s": times[0] / US_PER_S, "end_s": times[1] / US_PER_S})
    return spans


def _us(time_s: float) -> int:
    return round(time_s * US_PER_S)


def _speech(item: dict[str, Any]) -> Speech:
    """The speech of a source, as far as its film goes: the film's end cuts nothing."""
    end = _us(item["duration_s"])
    spans = [(_us(s["start_s"]), min(end, _us(s["end_s"]))) for s in item["speech_spans"] or ()]
    points = [(_us(p["time_s"]), p["probability"]) for p in item["weak_points"] or ()]
    return Speech(spans, points)


def clips_shard(shard: ShardRef, out: ShardTarget, config: ClipsConfig) -> ShardResult:
    """Cuts the sources of a shard into rows of `windows`."""
    return run_items(shard, out, lambda item: clip_source(item, config))


def clip_source(item: dict[str, Any], config: ClipsConfig) -> Rows:
    """The `windows` rows of one source; raises Rejected("too_short") where none is long enough.

    A window has sound (picture) only where the source's sound (picture) covers all of it but
    less than the shortest clip.
    """
    speech = _speech(item)
    windows = cut_windows(item["duration_s"], item["cuts_s"], speech, config)
    if not windows:
        raise Rejected(
            "too_short",
            f"source {item['item_id'][:12]}: no scene of {item['duration_s']:.2f} s reaches "
            f"clips.min_length_s={config.min_length_s}; lower it or drop the source",
        )
    audio_s, picture_s = item["audio_s"] or 0.0, (item["frames10_count"] or 0) / VISUAL_FPS
    rows = []
    for scene, window in windows:
        start, end = window.start / US_PER_S, window.end / US_PER_S
        rows.append(
            {
                "clip_id": clip_id(item["item_id"], start, end),
                "source_id": item["item_id"],
                "start_s": start,
                "end_s": end,
                "duration_s": round(end - start, 6),
                "scene": scene,
                "has_audio": audio_s > end - config.min_length_s,
                "has_picture": picture_s > end - config.min_length_s,
                "speech_spans": spans_in(window, speech),
                "cuts_speech_start": window.cuts_start,
                "cuts_speech_end": window.cuts_end,
                "trim_start_s": window.trim_start / US_PER_S,
                "trim_end_s": window.trim_end / US_PER_S,
            }
        )
    return {"windows": rows}


STAGE = Stage(
    name="clips",
    title="cut clips",
    version=2,
    config=ClipsConfig,
    items="""
        SELECT source_id AS item_id, d.duration_s, d.cuts_s, d.audio_s, d.frames10_count,
               v.speech_spans, v.weak_points, d.duration_s AS cost_s
        FROM decodes d LEFT JOIN voices v USING (source_id)
    """,
    outputs=(Output("windows", key="source_id"),),
    run=clips_shard,
    shard_s=36_000.0,
)
