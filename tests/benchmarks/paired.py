"""How much better one model is than another on the same held-out items, over several seeds.

    python -m tests.benchmarks.paired LINES [LINES ...]

LINES is what `tests.benchmarks.proving_ground --lines` writes: for each arm, seed, question and
item what was right (or wrong) in its generation, as a pair of numbers whose sums make the ratio
that is asked for: F1 is twice the pairs by all onsets, found and true; a word error rate is wrong
words by words. Of pitch it holds each lone strike's true frequency and the heard one, of which
Spearman's correlation is asked. Two arms generate an item from the same noise. An interval draws
items anew, each with all its seeds and both arms: it tells what other items would have said of
these trainings.
"""

import argparse
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.timeline import AUDIO_HZ, count
from tasks.batches import Sample
from tasks.evaluate import EvaluateConfig
from tasks.hear import strike_pitch_hz, words_in
from tasks.held_out import Facts, facts_of
from tasks.onsets import agreement, onset_times
from tasks.scores import Score, drawn_score, rank_correlation
from tasks.word_errors import word_errors

Maker = Callable[[Sample], NDArray[np.float32]]
"""What makes a sound (T,) of a sample's conditions, at 16 kHz."""
Answer = tuple[int, int] | list[tuple[float, float]]
SOUND, SPEECH, MIXTURE = ("v2s",), ("visual_tts", "tts"), ("mixture",)
ONSETS, PITCH, WORDS = "onset_f1", "pitch_rank_correlation", "wer"


def onset_pair(facts: Facts, sound: NDArray[np.float32]) -> tuple[int, int]:
    """Twice the pairs of onsets, and all onsets: their ratio of sums is F1 at ±50 ms."""
    found = agreement(onset_times(sound, AUDIO_HZ).tolist(), facts.onsets_s or ())
    return 2 * found.pairs, found.found + found.true


def word_pair(facts: Facts, sound: NDArray[np.float32], whisper: str) -> tuple[int, int]:
    """Wrong words, and words."""
    return word_errors(facts.words, words_in(sound, whisper)), len(facts.words)


def strike_pairs(facts: Facts, sound: NDArray[np.float32]) -> list[tuple[float, float]]:
    """The true frequency of each lone strike and the heard one, in Hz."""
    return [(one.pitch_hz, strike_pitch_hz(sound, one.time_s)) for one in facts.strikes]


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of the generations of some tasks."""

    metric: str
    tasks: tuple[str, ...]

    def asks(self, facts: Facts) -> bool:
        """Whether an item can tell."""
        known = {ONSETS: bool(facts.onsets_s), PITCH: bool(facts.strikes), WORDS: facts.is_told}
        return facts.task in self.tasks and known[self.metric]

    def answer(self, facts: Facts, sound: NDArray[np.float32], whisper: str) -> Answer:
        """What an item's sound tells."""
        if self.metric == WORDS:
            return word_pair(facts, sound, whisper)
        return (onset_pair if self.metric == ONSETS else strike_pairs)(facts, sound)


QUESTIONS = {
    "sound onset_f1": Question(ONSETS, SOUND),
    "sound pitch": Question(PITCH, SOUND),
    "speech wer": Question(WORDS, SPEECH),
    "mixture onset_f1": Question(ONSETS, MIXTURE),
    "mixture wer": Question(WORDS, MIXTURE),
}
CAPPED = ", at most all words"


def item_lines(
    rows: Sequence[Mapping[str, Any]],
    samples: Mapping[str, Sample],
    make: Maker,
    names: Sequence[str],
) -> Iterator[dict[str, Any]]:
    """A line for each item and each question that it can answer; an item is generated once."""
    whisper = EvaluateConfig().whisper
    for row in rows:
        facts = facts_of(row)
        asked = [name for name in names if QUESTIONS[name].asks(facts)]
        if not asked:
            continue
        sound = make(samples[facts.item_id])[: count(row["duration_s"], AUDIO_HZ)]
        for name in asked:
            told = {"question": name, "item_id": facts.item_id, "split": facts.split}
            yield told | {"pair": QUESTIONS[name].answer(facts, sound, whisper)}


def table_of(lines: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], dict[int, dict]]:
    """The pair of numbers, or for pitch the pairs, by question and arm, then seed, then item.

    A question of words stands there twice: as a word error rate, and with no more wrong words of an
    item than it has. Whisper now and then says blurred speech again and again, and a single such
    item of fifteen words can have two hundred wrong ones.
    """
    table: dict[tuple[str, str], dict[int, dict[str, list[int]]]] = {}
    for line in lines:
        pairs = {line["question"]: line["pair"]}
        if QUESTIONS[line["question"]].metric == WORDS:
            wrong, words = line["pair"]
            pairs[f"{line['question']}{CAPPED}"] = [min(wrong, words), words]
        for question, pair in pairs.items():
            seeds = table.setdefault((question, line["arm"]), {})
            seeds.setdefault(line["seed"], {})[line["item_id"]] = pair
    return table


Told = Sequence[Sequence[NDArray[np.float64]]]
"""What each of S seeds says of each of C items: a pair (2,), or for pitch pairs (K, 2)."""


def ratios(told: Told, picks: NDArray[np.intp]) -> NDArray[np.float64]:
    """For picks (K, C) of items the ratio of the sums of their pairs as a mean over seeds: (K,)."""
    sums = np.array(told)[:, picks].sum(axis=2)  # (S, K, 2)
    return (sums[..., 0] / sums[..., 1]).mean(axis=0)


def correlations(told: Told, picks: NDArray[np.intp]) -> NDArray[np.float64]:
    """For picks (K, C) of items the rank correlation of their pairs as a mean over seeds: (K,)."""
    drawn = [[np.concatenate([one[at] for at in pick]) for pick in picks] for one in told]
    return np.array([[rank_correlation(*pairs.T) for pairs in one] for one in drawn]).mean(axis=0)


def difference(
    first: Mapping[int, Mapping[str, Any]],
    second: Mapping[int, Mapping[str, Any]],
    seeds: Sequence[int],
    statistic: Callable[[Told, NDArray[np.intp]], NDArray[np.float64]] = ratios,
) -> tuple[Score, Score, Score, int]:
    """What both come to and their difference, with 95 % intervals, and of how many items.

    Raises ValueError where the arms were measured on different items.
    """
    items = sorted(first[seeds[0]])
    for arm in (first, second):
        for seed in seeds:
            if sorted(arm[seed]) != items:
                raise ValueError(
                    f"seed {seed}: the arms were measured on different items; "
                    "measure them again, with --lines naming a new file"
                )
    own, its = (
        [[np.array(arm[seed][item], np.float64) for item in items] for seed in seeds]
        for arm in (first, second)
    )
    scores = [
        drawn_score(drawn, len(items))
        for drawn in (
            lambda picks: statistic(own, picks),
            lambda picks: statistic(its, picks),
            lambda picks: statistic(own, picks) - statistic(its, picks),
        )
    ]
    return scores[0], scores[1], scores[2], len(items)


def differences(lines: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Every two arms in each question that both answered, by seed and for all seeds of both."""
    table = table_of(lines)
    for (name, one), (question, other) in itertools.combinations(table, 2):
        first, second = table[name, one], table[question, other]
        seeds = sorted(first.keys() & second.keys()) if name == question else []
        is_pitch = name in QUESTIONS and QUESTIONS[name].metric == PITCH
        statistic = correlations if is_pitch else ratios
        for chosen in [[seed] for seed in seeds] + ([seeds] if len(seeds) > 1 else []):
            own, its, apart, items = difference(first, second, chosen, statistic)
            yield {
                "question": name,
                "arms": f"{one} - {other}",
                "seeds": chosen,
                one: told_score(own),
                other: told_score(its),
                "difference": told_score(apart),
                "items": items,
            }


def told_score(score: Score) -> list[float]:
    """A value and the ends of its interval, as they are printed."""
    return [round(number, 3) for number in (score.value, score.low, score.high)]


def main() -> None:
    """Prints the differences of what was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("lines", type=Path, nargs="+")
    options = parser.parse_args()
    texts = [path.read_text("utf-8") for path in options.lines]
    for row in differences(json.loads(line) for text in texts for line in text.splitlines()):
        print(json.dumps(row))


if __name__ == "__main__":
    main()
