"""Windows tile their scenes: no overlap, none too long, times whole microseconds."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.rejects import Rejected
from tasks.clips import ClipsConfig, clip_source, cut_windows

CUTS = st.lists(st.floats(0, 200, allow_nan=False), max_size=8)
LENGTHS = st.floats(0.1, 10)


@given(st.floats(0.001, 200), CUTS, LENGTHS, st.floats(0.01, 1))
def test_windows_tile_every_scene_that_is_long_enough(
    duration_s: float, cuts_s: list[float], max_s: float, min_s: float
) -> None:
    config = ClipsConfig(max_length_s=max_s, min_length_s=min_s)
    windows = cut_windows(duration_s, cuts_s, config)
    edges = [0.0, *sorted(cut for cut in cuts_s if 0 < cut < duration_s), duration_s]
    scenes: dict[int, list[tuple[float, float]]] = {}
    for scene, start_s, end_s in windows:
        scenes.setdefault(scene, []).append((start_s, end_s))
        assert start_s < end_s <= start_s + max_s + 1.1e-6
    for scene, left, right in zip(range(len(edges)), edges, edges[1:], strict=False):
        parts = scenes.get(scene, [])
        assert bool(parts) == (right - left >= min_s)
        if parts:
            assert [end for _, end in parts[:-1]] == [start for start, _ in parts[1:]]
            assert parts[0][0] == pytest.approx(left, abs=1e-6)
            assert parts[-1][1] == pytest.approx(right, abs=1e-6)
            # The fewest that fit: one fewer would be too long.
            assert (len(parts) - 1) * max_s < right - left
    assert windows == sorted(windows)


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
    return item | {"audio_s": duration_s, "frames10_count": round(duration_s * 10)} | changes


def test_a_long_scene_is_cut_into_the_fewest_equal_windows() -> None:
    assert cut_windows(25.0, [5.0], ClipsConfig()) == [
        (0, 0.0, 5.0),
        (1, 5.0, 15.0),
        (1, 15.0, 25.0),
    ]
    thirds = cut_windows(20.1, [], ClipsConfig())
    assert [end - start for _, start, end in thirds] == pytest.approx([6.7, 6.7, 6.7])


def test_rounding_noise_does_not_make_another_window() -> None:
    assert len(cut_windows(0.1 + 0.2 + 9.7, [], ClipsConfig())) == 1
    assert len(cut_windows(30.000000000000004, [], ClipsConfig())) == 3


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
