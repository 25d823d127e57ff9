"""Borders between clips: in pauses where there are some, else where speech is weakest."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.borders import Lengths, Speech, Window, cut_scene, equal_marks

S = 1_000_000
LENGTHS = Lengths(longest=10 * S, shortest=3 * S, shortest_scene=S // 2, trim=S)


def spans_of(*seconds: tuple[float, float]) -> list[tuple[int, int]]:
    return [(round(a * S), round(b * S)) for a, b in seconds]


def cut(
    start_s: float,
    end_s: float,
    *spans: tuple[float, float],
    weak: tuple[tuple[int, float], ...] = (),
) -> list[Window]:
    speech = Speech(spans_of(*spans), weak)
    return cut_scene(round(start_s * S), round(end_s * S), speech, LENGTHS)


@st.composite
def spoken(draw: st.DrawFn, longest_s: float) -> list[tuple[int, int]]:
    """Spans with pauses of 0.15 to 1 s between them."""
    spans, at = [], draw(st.integers(0, S))
    for _ in range(draw(st.integers(0, 40))):
        end = at + draw(st.integers(S // 20, round(longest_s * S)))
        spans.append((at, end))
        at = end + draw(st.integers(150_000, S))
    return spans


WEAK = st.lists(st.tuples(st.integers(0, 90 * S), st.floats(0, 1)), max_size=40)


@given(spoken(15.0), WEAK, st.integers(0, 20 * S), st.integers(S // 2, 60 * S))
def test_windows_are_in_order_within_their_lengths_and_fill_the_scene_but_for_its_trims(
    spans: list[tuple[int, int]], weak: list[tuple[int, float]], start: int, length: int
) -> None:
    end = start + length
    speech = Speech(spans, sorted(weak))
    windows = cut_scene(start, end, speech, LENGTHS)
    floor = LENGTHS.shortest if length >= LENGTHS.shortest else LENGTHS.shortest_scene
    assert windows[0].start - windows[0].trim_start == start
    assert windows[-1].end + windows[-1].trim_end == end
    assert all(left.end == right.start for left, right in pairwise(windows))
    for window in windows:
        assert floor <= window.end - window.start
        assert window.end + window.trim_end - (window.start - window.trim_start) <= 10 * S
        assert 0 <= window.trim_start <= S and 0 <= window.trim_end <= S
        assert window.cuts_start == any(a < window.start < b for a, b in spans)
        assert window.cuts_end == any(a < window.end < b for a, b in spans)
    assert not any(window.trim_start for window in windows[1:])
    assert not any(window.trim_end for window in windows[:-1])
    assert cut_scene(start, end, Speech(spans, sorted(weak)), LENGTHS) == windows


@given(spoken(2.5), st.integers(3 * S, 90 * S))
def test_no_border_cuts_speech_that_pauses_every_few_seconds(
    spans: list[tuple[int, int]], length: int
) -> None:
    windows = cut_scene(0, length, Speech(spans), LENGTHS)
    assert not any(window.cuts_end for window in windows[:-1])


@given(spoken(6.0), st.integers(S // 2, 60 * S))
def test_speech_after_a_scene_changes_nothing_in_it(
    spans: list[tuple[int, int]], length: int
) -> None:
    inside = [span for span in spans if span[1] <= length]
    later = [*inside, (length + 10 * S, length + 11 * S)]
    assert cut_scene(0, length, Speech(inside), LENGTHS) == cut_scene(
        0, length, Speech(later), LENGTHS
    )


def test_a_scene_without_speech_is_cut_into_the_fewest_equal_windows() -> None:
    assert [w.end - w.start for w in cut(5.0, 25.1, (0.0, 4.9))] == [6_700_000] * 3
    assert equal_marks(0, 30 * S, 10 * S) == [0, 10 * S, 20 * S, 30 * S]
    assert equal_marks(0, 30 * S + 1, 10 * S) == [0, 7_500_000, 15_000_001, 22_500_001, 30 * S + 1]


def test_a_border_stands_in_the_middle_of_a_short_pause() -> None:
    first, second = cut(0, 12, (0.5, 4.0), (4.4, 11.5))
    assert (first.end, second.start) == (4_200_000, 4_200_000)
    assert not (first.cuts_end or second.cuts_start)


def test_a_longer_pause_is_preferred_to_evener_windows() -> None:
    first, _ = cut(0, 12, (0.5, 4.0), (4.4, 6.0), (6.15, 11.5))
    assert first.end == 4_200_000


def test_fewer_windows_are_preferred_to_evener_ones() -> None:
    assert len(cut(0, 13, (0.5, 3.2), (3.8, 6.0), (6.5, 9.0), (9.4, 12.8))) == 2


def test_one_window_more_is_better_than_a_cut_in_speech() -> None:
    # Two windows would need a border between 8 and 10 s.
    windows = cut(0, 18, (0.2, 5.0), (5.3, 12.0), (12.3, 17.8))
    assert [w.end for w in windows] == [5_150_000, 12_150_000, 18 * S]


def test_a_span_too_long_is_cut_once_at_its_weakest_point() -> None:
    weak = ((2 * S, 0.1), (5 * S, 0.9), (6 * S, 0.6), (8 * S, 0.7), (10 * S, 0.2))
    first, second = cut(0, 12, (0.0, 12.0), weak=weak)
    # The points at 2 and 10 s are weaker, but a window of 2 s is too short.
    assert (first.end, second.start) == (6 * S, 6 * S)
    assert (first.cuts_start, first.cuts_end, second.cuts_start, second.cuts_end) == (
        (False, True, True, False)
    )


def test_a_span_too_long_of_which_nothing_is_known_is_cut_in_the_middle() -> None:
    assert [w.end for w in cut(0, 14, (0.0, 14.0))] == [7 * S, 14 * S]


def test_a_word_on_a_scene_cut_is_left_out_by_both_scenes() -> None:
    spans = ((1.0, 4.0), (4.7, 5.4), (6.0, 9.0))
    (before,), (after,) = cut(0, 5, *spans), cut(5, 10, *spans)
    assert (before.end, before.trim_end, before.cuts_end) == (4_600_000, 400_000, False)
    assert (after.start, after.trim_start, after.cuts_start) == (5_500_000, 500_000, False)


def test_a_trim_keeps_clear_of_the_next_word_in_a_short_pause() -> None:
    (after,) = cut(5, 10, (4.7, 5.4), (5.44, 9.0))
    assert after.start == 5_420_000


def test_a_word_that_reaches_too_far_over_a_scene_cut_is_cut_and_both_windows_say_so() -> None:
    spans = ((3.5, 6.2),)
    (before,), (after,) = cut(0, 5, *spans), cut(5, 10, *spans)
    assert (before.end, before.trim_end, before.cuts_end) == (5 * S, 0, True)
    assert (after.start, after.trim_start, after.cuts_start) == (5 * S, 0, True)


@pytest.mark.parametrize(
    ("scene_s", "trim_us"), [((5.0, 8.2), 0), ((5.0, 9.0), 500_000), ((5.0, 7.0), 500_000)]
)
def test_a_trim_makes_no_window_shorter_than_its_scene_allows(
    scene_s: tuple[float, float], trim_us: int
) -> None:
    # A scene of 3 s or more keeps 3 s; a shorter one keeps half a second.
    (window,) = cut(*scene_s, (4.7, 5.4))
    assert window.trim_start == trim_us
    assert window.cuts_start is (trim_us == 0)


def test_speech_over_the_whole_of_a_short_scene_stays() -> None:
    (window,) = cut(5.0, 5.9, (4.8, 6.1))
    assert (window.start, window.end) == (5 * S, 5_900_000)
    assert window.cuts_start and window.cuts_end
