"""The regimes of mixtures: what is mixed, and by which law its level is drawn.

Listeners want at least 10 LU of speech over music and 15 LU over ambience (Torcoli et al., JAES
67(12), 2019); training wants the whole range down to speech that drowns. Both are right for their
purpose, so each has a name, and a mixture says which one it used.
"""

import bisect
import functools
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

Level = Literal["snr_db", "loudness_difference_lu"]


@dataclass(frozen=True, slots=True)
class Regime:
    """One way to mix.

    Attributes:
        name: as recipes and rows say it.
        law: what is drawn, in words.
        level: what is asked of the mixture; None where there is nothing to compare.
        low: least level that is drawn.
        high: greatest.
        mean: of the normal law; None draws evenly between `low` and `high`.
        deviation: standard deviation of the normal law.
        has_speech: whether speech is in it.
        has_ambience: whether ambience is in it.
        ducks: whether the ambience gives way to the speech.
    """

    name: str
    law: str
    level: Level | None = None
    low: float = 0.0
    high: float = 0.0
    mean: float | None = None
    deviation: float = 1.0
    has_speech: bool = True
    has_ambience: bool = True
    ducks: bool = False

    def draw(self, uniform: float) -> float:
        """The level at a place in [0, 1) of the law, in dB or LU; one number makes one level."""
        if self.mean is None:
            return self.low + (self.high - self.low) * uniform
        law, below, above = _truncated(self.mean, self.deviation, self.low, self.high)
        level = law.inv_cdf(below + (above - below) * uniform)
        return min(max(level, self.low), self.high)


@functools.cache
def _truncated(
    mean: float, deviation: float, low: float, high: float
) -> tuple[NormalDist, float, float]:
    law = NormalDist(mean, deviation)
    return law, law.cdf(low), law.cdf(high)


REGIMES: dict[str, Regime] = {
    regime.name: regime
    for regime in (
        Regime(
            "broadcast",
            "loudness difference ~ N(15, 4) LU within [8, 25], ambience ducked",
            "loudness_difference_lu",
            low=8.0,
            high=25.0,
            mean=15.0,
            deviation=4.0,
            ducks=True,
        ),
        Regime(
            "location",
            "SNR ~ N(7, 5) dB within [-3, 20]",
            "snr_db",
            low=-3.0,
            high=20.0,
            mean=7.0,
            deviation=5.0,
        ),
        Regime("hard", "SNR ~ U(-5, 5) dB", "snr_db", low=-5.0, high=5.0),
        Regime("speech_only", "speech alone", has_ambience=False),
        Regime("ambience_only", "ambience alone", has_speech=False),
    )
}

WEIGHTS: dict[str, float] = {
    "broadcast": 0.5,
    "location": 0.3,
    "hard": 0.1,
    "speech_only": 0.05,
    "ambience_only": 0.05,
}
"""Share of each regime where a recipe file says nothing else."""


def drawn_name(uniform: float, weights: Mapping[str, float]) -> str:
    """The name at a place in [0, 1) of weights that need not sum to one; names in their order."""
    names, ends = _shares(tuple(weights.items()))
    return names[min(bisect.bisect_right(ends, uniform * ends[-1]), len(names) - 1)]


@functools.cache
def _shares(weights: tuple[tuple[str, float], ...]) -> tuple[list[str], list[float]]:
    """The names that have a weight, in their order, and the sum of weights up to each."""
    kept = sorted((name, weight) for name, weight in weights if weight > 0)
    return [name for name, _ in kept], list(itertools.accumulate(weight for _, weight in kept))
