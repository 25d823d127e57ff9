"""Windows lie in their scenes: no overlap, none too long, times whole microseconds."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from models.timeline import AUDIO_HZ
from storage.rejects import Rejected
from tasks.borders import Speech
from tasks.clips import ClipsConfig, clip_source, cut_windows
from tasks.voice import VoiceConfig, voice

SILENT = Speech(())
CUTS = st.lists(st.floats(0, 200, allow_nan=False), max_size=8)
LENGTHS = st.floats(0.1, 10)


@given(st.floats(0.001, 200), CUTS, LENGTHS, st.floats(0.01, 1))
def test_windows_tile_every_silent_scene_that_is_long_enough(
    duration_s: float, cuts_s: list[float], max_s: float, min_s: float
) -> None:
    config = ClipsConfig(max_length_s=max_s, min_length_s=min_s)
    windows = cut_windows(duration_s, cuts_s, SILENT, config)
    end, longest = round(duration_s * 1e6), round(max_s * 1e6)
    edges = sorted({0, end, *(cut for c in cuts_s if 0 < (cut := round(c * 1e6)) < end)})
    scenes: dict[int, list[tuple[int, int]]] = {}
    for scene, window in windows:
        scenes.setdefault(scene, []).append((window.start, window.end))
        assert window.start < window.end <= window.start + longest
    for scene, left, right in zip(range(len(edges)), edges, edges[1:], strict=False):
        parts = scenes.get(scene, [])
        assert bool(parts) == (right - left >= round(min_s * 1e6))
        if parts:
            assert [end for _, end in parts[:-1]] == [start for start, _ in parts[1:]]
            assert (parts[0][0], parts[-1][1]) == (left, right)
            # The fewest that fit: one fewer would be too long.
            assert (len(parts) - 1) * longest < right - left
    assert [scene for scene, _ in windows] == sorted(scene for scene, _ in windows)


@given(st.floats(0.5, 100), CUTS)
def test_times_are_whole_microseconds_and_ids_are_unique(
    duration_s: float, cuts_s: list[float]
) -> None:
    item = made_item(duration_s, cuts_s)
    try:
        rows = clip_source(item, ClipsConfig())["windows"]
    except Rejected as reject:
        assert reject.reason == "too_short"
        return
    assert len({row["clip_id"] for row in rows}) == len(rows)
    for row in rows:
        for time_s in (row["start_s"], row["end_s"]):
            assert round(time_s * 1e6) / 1e6 == time_s
        assert row["duration_s"] == round(row["end_s"] - row["start_s"], 6)


def made_item(duration_s: float, cuts_s: list[float], **changes: Any) -> dict[str, Any]:
    item = {"item_id": "s" * 64, "duration_s": duration_s, "cuts_s": cuts_s}
    item |= {"speech_spans": None, "weak_points": None}
    return item | {"audio_s": duration_s, "frames10_count": round(duration_s * 10)} | changes


def test_rounding_noise_does_not_make_another_window() -> None:
    assert len(cut_windows(0.1 + 0.2 + 9.7, [], SILENT, ClipsConfig())) == 1
    assert len(cut_windows(30.000000000000004, [], SILENT, ClipsConfig())) == 3


def spans(*seconds: tuple[float, float]) -> list[dict[str, float]]:
    return [{"start_s": start, "end_s": end} for start, end in seconds]


def test_a_window_says_what_is_spoken_in_it_and_what_was_trimmed() -> None:
    spoken = spans((1.0, 3.0), (4.5, 5.5), (7.0, 9.0))
    before, after = clip_source(made_item(10.0, [5.2], speech_spans=spoken), ClipsConfig())[
        "windows"
    ]
    assert (before["start_s"], before["end_s"], before["trim_end_s"]) == (0.0, 4.4, 0.8)
    assert (after["start_s"], after["end_s"], after["trim_start_s"]) == (5.6, 10.0, 0.4)
    assert before["speech_spans"] == spans((1.0, 3.0))
    assert after["speech_spans"] == spans((1.4, 3.4))
    names = ("cuts_speech_start", "cuts_speech_end")
    assert [row[name] for row in (before, after) for name in names] == [False] * 4


def test_a_span_that_a_scene_cuts_is_parted_and_a_crumb_of_it_is_no_speech() -> None:
    config = ClipsConfig(max_trim_s=0)
    spoken = spans((0.0, 0.05), (2.0, 5.05), (5.2, 9.0))
    before, after = clip_source(made_item(9.0, [5.0], speech_spans=spoken), config)["windows"]
    assert before["speech_spans"] == spans((0.0, 0.05), (2.0, 5.0))
    assert after["speech_spans"] == spans((0.2, 4.0))
    assert (before["cuts_speech_end"], after["cuts_speech_start"]) == (True, True)
    assert (before["cuts_speech_start"], after["cuts_speech_end"]) == (False, False)


@pytest.fixture(scope="module")
def reading(demo_corpus: Path) -> tuple[dict[str, Any], list[float]]:
    """49 s of read lines, a second apart, as `voice` hears them; the middles of the rests."""
    rest = np.zeros(AUDIO_HZ, np.float32)
    parts, rests_s, at = [], [], 0
    for name in ("0870", "0880", "0890", "0920", "0930") * 2:
        line = soundfile.read(demo_corpus / f"librivox/{name}.wav")[0].astype(np.float32)
        parts += [line, rest]
        at += len(line) + len(rest)
        rests_s.append((at - len(rest) / 2) / AUDIO_HZ)
    audio = np.concatenate(parts)
    return made_item(len(audio) / AUDIO_HZ, []) | voice([audio], VoiceConfig()), rests_s


def is_between_lines(time_s: float, rests_s: list[float]) -> bool:
    """Whether a time lies in a rest or in the silence that each line begins and ends with."""
    return min(abs(time_s - rest_s) for rest_s in rests_s) < 0.7


@pytest.mark.weights
def test_no_border_falls_into_a_line_that_is_read(
    reading: tuple[dict[str, Any], list[float]],
) -> None:
    item, rests_s = reading
    deaf = {"speech_spans": None, "weak_points": None}
    inside = []
    for heard in (item, item | deaf):
        rows = clip_source(heard, ClipsConfig())["windows"]
        inside.append(sum(not is_between_lines(row["end_s"], rests_s) for row in rows[:-1]))
        assert all(3.0 <= row["duration_s"] <= 10.0 for row in rows)
        assert all(left["end_s"] == right["start_s"] for left, right in pairwise(rows))
    assert inside[0] == 0 < inside[1]


@pytest.mark.weights
def test_a_scene_cut_in_the_first_word_of_a_line_ends_the_window_before_that_line(
    reading: tuple[dict[str, Any], list[float]],
) -> None:
    item, rests_s = reading
    spoken_s = rests_s[2] + 0.5 + 0.32  # the line of 0920 begins with 0.32 s of silence
    cut_s = spoken_s + 0.4
    rows = clip_source(item | {"cuts_s": [cut_s]}, ClipsConfig())["windows"]
    (before,) = [row for row in rows if row["trim_end_s"]]
    (after,) = [row for row in rows if row["start_s"] == pytest.approx(cut_s)]
    assert rests_s[2] < before["end_s"] <= spoken_s
    assert before["end_s"] + before["trim_end_s"] == pytest.approx(cut_s)
    # The line goes on for seconds, so the scene that has most of it keeps it and says so.
    assert (before["cuts_speech_end"], after["cuts_speech_start"]) == (False, True)


def test_half_of_the_longest_bounds_the_shortest_window() -> None:
    rows = clip_source(made_item(4.2, [], speech_spans=spans((0.0, 4.2))), ClipsConfig(4.0))
    assert [row["duration_s"] for row in rows["windows"]] == [2.1, 2.1]


def test_a_source_without_a_long_enough_scene_is_a_reject_that_says_what_to_change() -> None:
    with pytest.raises(Rejected, match=r"clips.min_length_s=0.5; lower it") as caught:
        clip_source(made_item(0.9, [0.45]), ClipsConfig())
    assert caught.value.reason == "too_short"


def test_a_window_has_what_covers_it_but_less_than_the_shortest_clip() -> None:
    item = made_item(20.0, [], audio_s=15.0, frames10_count=96)
    first, second = clip_source(item, ClipsConfig())["windows"]
    assert (first["has_audio"], first["has_picture"]) == (True, True)
    assert (second["has_audio"], second["has_picture"]) == (False, False)
    silent = clip_source(made_item(2.0, [], audio_s=None, frames10_count=None), ClipsConfig())
    assert [(r["has_audio"], r["has_picture"]) for r in silent["windows"]] == [(False, False)]
