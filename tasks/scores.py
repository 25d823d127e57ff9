"""Scores of a set of items with their intervals, and rows of scores side by side.

A score here is a ratio of sums over items, such as wrong words over words or found items over
items; a mean is one with 1 below. Intervals come from drawing items anew (Efron, 1979).

Legend: C items.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Row = dict[str, Any]
Item = TypeVar("Item")
Heard = TypeVar("Heard")
SCORE, TRUTH, CEILING, CONTROL = "score", "truth", "ceiling", "control"
MADE = (SCORE, TRUTH, CEILING)
BESIDE = (TRUTH, CEILING, CONTROL)
"""Roles of the rows that stand beside a score of the same metric, task and split."""


Statistic = Callable[[NDArray[np.intp]], NDArray[np.float64]]
"""From picks of items (K, C) to a value of each pick (K,)."""


@dataclass(frozen=True, slots=True)
class Score:
    """A value with its 95 % interval; both NaN where nothing could be counted."""

    value: float
    low: float
    high: float


Found = tuple[str, str, str, Score, int]
"""Metric, unit, role, score, and of how many items."""


def ratio_score(
    over: Sequence[float], under: Sequence[float], draws: int = 1000, seed: int = 0
) -> Score:
    """The sum of `over` by the sum of `under`, (C,) each, with its 95 % interval.

    Raises ValueError without items, and where the sum below is 0.
    """
    if not len(over) or not sum(under):
        raise ValueError(f"{len(over)} items with a sum of {sum(under)} below; there is no ratio")
    pairs = np.stack([np.asarray(over, np.float64), np.asarray(under, np.float64)], axis=1)

    def ratios(picks: NDArray[np.intp]) -> NDArray[np.float64]:
        top, below = pairs[picks].sum(axis=1).T
        return np.divide(top, below, out=np.full(len(top), np.nan), where=below != 0)

    return drawn_score(ratios, len(pairs), draws, seed)


def mean_score(values: Sequence[float], draws: int = 1000, seed: int = 0) -> Score:
    """The mean of some values (C,) with its 95 % interval; ValueError for none."""
    return ratio_score(values, np.ones(len(values)).tolist(), draws, seed)


def drawn_score(
    statistic: Statistic,
    items: int,
    draws: int = 1000,
    seed: int = 0,
) -> Score:
    """A statistic of so many items with its 95 % interval, from values (K,) of picks (K, C).

    NaN of a draw is left out; the ends are NaN where no draw has a value.
    """
    (value,) = statistic(np.arange(items)[None])
    picks = np.random.Generator(np.random.Philox(seed)).integers(0, items, (draws, items))
    drawn = statistic(picks)
    known = drawn[np.isfinite(drawn)]
    low, high = np.quantile(known, [0.025, 0.975]) if len(known) else (np.nan, np.nan)
    return Score(float(value), float(low), float(high))


def row_of(place: tuple[str, str, str, str], score: Score, items: int, unit: str = "") -> Row:
    """A row of `evaluations` without its checkpoint; `place` is metric, role, task and split."""
    names = ("metric", "role", "task", "split")
    interval = {"value": score.value, "low": score.low, "high": score.high}
    return dict(zip(names, place, strict=True)) | interval | {"items": items, "unit": unit}


def partners(facts: Sequence[Item], differ: Callable[[Item, Item], bool]) -> list[int | None]:
    """For each item the next one, in a ring, whose truth is another; None where there is none."""
    found: list[int | None] = []
    for place, own in enumerate(facts):
        ring = [(place + step) % len(facts) for step in range(1, len(facts))]
        found.append(next((other for other in ring if differ(own, facts[other])), None))
    return found


def held_against(
    items: Sequence[Item],
    heard: Callable[[Item], Mapping[str, Heard]],
    differ: Callable[[Item, Item], bool],
) -> Iterator[tuple[str, list[tuple[Item, Heard]]]]:
    """Each item with what is heard in a sound that is held against it, by the sound's role.

    The control of an item is the score's sound of the next one that differs from it.
    """
    for role in MADE:
        yield role, [(item, heard(item)[role]) for item in items]
    control = [
        (item, heard(items[other])[SCORE])
        for item, other in zip(items, partners(items, differ), strict=True)
        if other is not None
    ]
    if control:
        yield CONTROL, control


def rank_correlation(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Spearman's correlation of two sequences; NaN where one of them has a single value.

    Equal values share their mean rank.
    """
    ranks = [_ranks(values) - (len(values) - 1) / 2 for values in (first, second)]
    power = np.sqrt(np.prod([float(one @ one) for one in ranks]))
    return float(ranks[0] @ ranks[1] / power) if power else float("nan")


def rank_score(clips: Sequence[NDArray[np.float64]], draws: int = 1000, seed: int = 0) -> Score:
    """Spearman's correlation of the pairs (K, 2) of all items, with its 95 % interval."""

    def correlations(picks: NDArray[np.intp]) -> NDArray[np.float64]:
        drawn = (np.concatenate([clips[at] for at in pick]) for pick in picks)
        return np.array([rank_correlation(*pairs.T) for pairs in drawn])

    return drawn_score(correlations, len(clips), draws, seed)


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts + 1) / 2)[places]


def side_by_side(rows: Sequence[Row]) -> list[Row]:
    """The scores among rows of `evaluations`, each with the values that stand beside it.

    Keys that are added: truth, ceiling and control; None where there is no such row.
    """
    beside = {_place(row): row["value"] for row in rows}
    return [
        row | {role: beside.get((*_place(row)[:3], role)) for role in BESIDE}
        for row in rows
        if row["role"] == SCORE
    ]


def _place(row: Row) -> tuple[str, str, str, str]:
    return row["metric"], row["task"], row["split"], row["role"]
