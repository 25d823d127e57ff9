"""Where a scene is cut into windows, so that no border falls into a word where that can be had.

Candidates are points in pauses, the weakest points of the speech, and the marks of equal windows.
A dynamic programme takes the chain of them with the fewest borders inside speech, then the fewest
windows, then the longest pauses and weakest points, then the evenest lengths. It depends on the
scene and its speech alone. All times are whole microseconds, as ids hold them.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

CLEAR_US = 250_000
"""A border keeps so far from speech, or stands in the middle of a shorter pause."""
BESIDE_US = 100_000
"""A trimmed border stands so far behind the speech that it leaves out, at most."""
STEP_US = 500_000
"""Longest step between the candidates in a long pause."""
CERTAIN = 1000
"""Cost of a border in speech where nothing is known of the point; weaker points cost less."""
NARROW = 100
"""Cost of a border in a pause of no length; one in a pause of 2 CLEAR_US costs nothing."""
US_PER_MS = 1000


@dataclass(frozen=True, slots=True)
class Lengths:
    """What windows may measure, in microseconds.

    Attributes:
        longest: of a window, with what was trimmed beside it.
        shortest: of a window; at most half of the longest, so that every scene can be cut.
        shortest_scene: scenes between this and `shortest` are one window.
        trim: the most that a window leaves out at a scene's start or end.
    """

    longest: int
    shortest: int
    shortest_scene: int
    trim: int


@dataclass(frozen=True, slots=True)
class Window:
    """A window of a scene, in microseconds of the source.

    Attributes:
        start: its start.
        end: its end.
        trim_start: what lies between the scene's start and the window's.
        trim_end: what lies between the window's end and the scene's.
        cuts_start: its start lies inside speech.
        cuts_end: its end lies inside speech.
    """

    start: int
    end: int
    trim_start: int = 0
    trim_end: int = 0
    cuts_start: bool = False
    cuts_end: bool = False


class Speech:
    """The speech of a source: its spans, and the weakest points in them."""

    def __init__(
        self, spans: Sequence[tuple[int, int]], weak_points: Sequence[tuple[int, float]] = ()
    ) -> None:
        """Takes spans (start, end) and points (time, probability of speech), both in order."""
        self._spans = list(spans)
        self._starts = [start for start, _ in spans]
        self._ends = [end for _, end in spans]
        self._weak = list(weak_points)
        self._weak_times = [time for time, _ in weak_points]

    def within(self, start: int, end: int) -> list[tuple[int, int]]:
        """The spans of a stretch, clipped to it."""
        first, last = bisect_right(self._ends, start), bisect_left(self._starts, end)
        return [(max(s, start), min(e, end)) for s, e in self._spans[first:last]]

    def around(self, time: int) -> tuple[int, int] | None:
        """The span that a border at this time would cut, if any."""
        at = bisect_left(self._starts, time) - 1
        return self._spans[at] if at >= 0 and time < self._ends[at] else None

    def room_after(self, span: tuple[int, int]) -> int:
        """How long the pause behind a span is, as far as 2 BESIDE_US."""
        at = bisect_left(self._starts, span[1])
        following = self._starts[at] if at < len(self._starts) else span[1] + 2 * BESIDE_US
        return min(following - span[1], 2 * BESIDE_US)

    def room_before(self, span: tuple[int, int]) -> int:
        """How long the pause before a span is, as far as 2 BESIDE_US."""
        at = bisect_right(self._ends, span[0]) - 1
        return min(span[0] - (self._ends[at] if at >= 0 else 0), 2 * BESIDE_US)

    def pauses(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """What lies between the spans of a stretch, from its start to its end."""
        at = start
        for left, right in self.within(start, end):
            if left > at:
                yield at, left
            at = right
        if end > at:
            yield at, end

    def weak(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """The weak points of a stretch as (time, cost up to CERTAIN)."""
        first, last = bisect_left(self._weak_times, start), bisect_right(self._weak_times, end)
        for time, probability in self._weak[first:last]:
            yield time, round(CERTAIN * probability)


@dataclass(frozen=True, slots=True)
class _Border:
    """A border that a window may have: `time`, or `place` with what is trimmed beside it."""

    time: int
    place: int
    cuts: bool
    cost: int


_Cost = tuple[int, int, int, int]
"""Borders inside speech, windows, cost of their borders, sum of squared lengths in ms²."""


def cut_scene(start: int, end: int, speech: Speech, lengths: Lengths) -> list[Window]:
    """The windows of a scene, in order; each begins where the one before it ends.

    Only at the scene's own start and end something may be trimmed. Without speech the windows are
    the fewest equal ones.
    """
    marks = equal_marks(start, end, lengths.longest)
    if not speech.within(start, end):
        return [Window(a, b) for a, b in pairwise(marks)]
    is_short = end - start < lengths.shortest
    floor = lengths.shortest_scene if is_short else lengths.shortest
    inner = [] if is_short else _inner(start, end, marks[1:-1], speech, floor)
    borders = [*_starts(start, speech, lengths.trim), *inner, *_ends(end, speech, lengths.trim)]
    path = _cheapest(borders, start, end, floor, lengths.longest)
    return [
        Window(a.time, b.time, a.time - a.place, b.place - b.time, a.cuts, b.cuts)
        for a, b in pairwise(path)
    ]


def equal_marks(start: int, end: int, longest: int) -> list[int]:
    """The borders of the fewest equal windows that fit, with both ends."""
    parts = max(1, -(-(end - start) // longest))
    return [start + (2 * (end - start) * i + parts) // (2 * parts) for i in range(parts + 1)]


def _starts(start: int, speech: Speech, trim: int) -> Iterator[_Border]:
    """The scene's start, and behind the speech that it cuts."""
    span = speech.around(start)
    yield _Border(start, start, span is not None, CERTAIN if span else 0)
    if span and (most := start + trim - span[1]) >= 0:
        yield _Border(span[1] + min(speech.room_after(span) // 2, most), start, False, 0)


def _ends(end: int, speech: Speech, trim: int) -> Iterator[_Border]:
    """Before the speech that the scene's end cuts, and that end."""
    span = speech.around(end)
    if span and (most := span[0] - (end - trim)) >= 0:
        yield _Border(span[0] - min(speech.room_before(span) // 2, most), end, False, 0)
    yield _Border(end, end, span is not None, CERTAIN if span else 0)


def _inner(start: int, end: int, marks: Sequence[int], speech: Speech, floor: int) -> list[_Border]:
    """The borders that may part a scene, by time."""
    first, last = start + floor, end - floor
    found: dict[int, int] = {}
    for left, right in speech.pauses(start, end):
        cost = max(0, NARROW - NARROW * (right - left) // (2 * CLEAR_US))
        found |= {time: cost for time in _points(left, right) if first <= time <= last}
    for time, cost in speech.weak(first, last):
        found.setdefault(time, cost)
    for time in marks:
        is_clear = not speech.within(time - CLEAR_US, time + CLEAR_US)
        found.setdefault(time, 0 if is_clear else CERTAIN)
    return [
        _Border(time, time, speech.around(time) is not None, cost)
        for time, cost in sorted(found.items())
    ]


def _points(left: int, right: int) -> list[int]:
    """Candidates in a pause: its middle, or several evenly where it is long."""
    room = right - left - 2 * CLEAR_US
    if room <= 0:
        return [(left + right) // 2]
    steps = -(-room // STEP_US)
    return [left + CLEAR_US + room * i // steps for i in range(steps + 1)]


def _cheapest(
    borders: Sequence[_Border], start: int, end: int, floor: int, longest: int
) -> list[_Border]:
    """The chain of borders from the scene's start to its end that costs least.

    There is one: the scene's own ends with its equal marks are always allowed.
    """
    best: dict[int, tuple[_Cost, int]] = {}  # border → cost of the chain up to it, border before it
    for at, border in enumerate(borders):
        if border.place == start:
            best[at] = ((int(border.cuts), 0, border.cost, 0), at)
            continue
        for other in range(at - 1, -1, -1):
            length = border.time - borders[other].time
            if border.place - borders[other].place > longest:
                break
            if length < floor or other not in best:
                continue
            (cuts, windows, costs, squares), _ = best[other]
            reached = (
                cuts + border.cuts,
                windows + 1,
                costs + border.cost,
                squares + (length // US_PER_MS) ** 2,
            )
            if at not in best or reached < best[at][0]:
                best[at] = (reached, other)
    at = min((at for at in best if borders[at].place == end), key=lambda at: best[at][0])
    path = [borders[at]]
    while best[at][1] != at:
        at = best[at][1]
        path.append(borders[at])
    return path[::-1]
