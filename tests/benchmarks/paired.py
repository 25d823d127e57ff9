"""How much better one model is than another on the same held-out items, over several seeds.

    python -m tests.benchmarks.paired LINES [LINES ...]

LINES is what `tests.benchmarks.proving_ground --lines` writes: for each arm, seed, question and
item what was right (or wrong) in its generation, as a pair of numbers whose sums make the ratio
that is asked for: F1 is twice the pairs by all onsets, found and true; a word error rate is wrong
words by words. Two arms generate an item from the same noise. An interval draws items anew, each
with all its seeds and both arms: it tells what other items would have said of these trainings.
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
from tasks.hear import words_in
from tasks.held_out import Facts, facts_of
from tasks.onsets import agreement, onset_times
from tasks.scores import Score, drawn_score
from tasks.word_errors import word_errors

Maker = Callable[[Sample], NDArray[np.float32]]
"""What makes a sound (T,) of a sample's conditions, at 16 kHz."""
SOUND, SPEECH, MIXTURE = ("v2s",), ("visual_tts", "tts"), ("mixture",)


def onset_pair(facts: Facts, sound: NDArray[np.float32]) -> tuple[int, int]:
    """Twice the pairs of onsets, and all onsets: their ratio of sums is F1 at ±50 ms."""
    found = agreement(onset_times(sound, AUDIO_HZ).tolist(), facts.onsets_s or ())
    return 2 * found.pairs, found.found + found.true


def word_pair(facts: Facts, sound: NDArray[np.float32], whisper: str) -> tuple[int, int]:
    """Wrong words, and words."""
    return word_errors(facts.words, words_in(sound, whisper)), len(facts.words)


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of the generations of some tasks."""

    metric: str
    tasks: tuple[str, ...]

    def asks(self, facts: Facts) -> bool:
        """Whether an item can tell."""
        known = bool(facts.onsets_s) if self.metric == "onset_f1" else facts.is_told
        return facts.task in self.tasks and known


QUESTIONS = {
    "sound onset_f1": Question("onset_f1", SOUND),
    "speech wer": Question("wer", SPEECH),
    "mixture onset_f1": Question("onset_f1", MIXTURE),
    "mixture wer": Question("wer", MIXTURE),
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
            if QUESTIONS[name].metric == "wer":
                pair = word_pair(facts, sound, whisper)
            else:
                pair = onset_pair(facts, sound)
            told = {"question": name, "item_id": facts.item_id, "split": facts.split}
            yield told | {"pair": list(pair)}


def table_of(lines: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], dict[int, dict]]:
    """The pairs of numbers by question and arm, then seed, then item.

    A question of words stands there twice: as a word error rate, and with no more wrong words of an
    item than it has. Whisper now and then says blurred speech again and again, and a single such
    item of fifteen words can have two hundred wrong ones.
    """
    table: dict[tuple[str, str], dict[int, dict[str, list[int]]]] = {}
    for line in lines:
        wrong, words = line["pair"]
        pairs = {line["question"]: [wrong, words]}
        if QUESTIONS[line["question"]].metric == "wer":
            pairs[f"{line['question']}{CAPPED}"] = [min(wrong, words), words]
        for question, pair in pairs.items():
            seeds = table.setdefault((question, line["arm"]), {})
            seeds.setdefault(line["seed"], {})[line["item_id"]] = pair
    return table


def ratios(pairs: NDArray[np.float64], picks: NDArray[np.intp]) -> NDArray[np.float64]:
    """For picks (K, C) of items the ratio of sums of pairs (S, C, 2) as a mean over seeds: (K,)."""
    sums = pairs[:, picks].sum(axis=2)  # (S, K, 2)
    return (sums[..., 0] / sums[..., 1]).mean(axis=0)


def difference(
    first: Mapping[int, Mapping[str, Sequence[int]]],
    second: Mapping[int, Mapping[str, Sequence[int]]],
    seeds: Sequence[int],
) -> tuple[float, float, Score, int]:
    """What both come to, their difference with its 95 % interval, and of how many items.

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
    both = [
        np.array([[arm[seed][item] for item in items] for seed in seeds], np.float64)
        for arm in (first, second)
    ]
    whole = np.arange(len(items))[None]
    values = [float(ratios(pairs, whole)[0]) for pairs in both]
    apart = drawn_score(lambda picks: ratios(both[0], picks) - ratios(both[1], picks), len(items))
    return values[0], values[1], apart, len(items)


def differences(lines: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Every two arms in each question that both answered, by seed and for all seeds of both."""
    table = table_of(lines)
    for (name, one), (question, other) in itertools.combinations(table, 2):
        first, second = table[name, one], table[question, other]
        seeds = sorted(first.keys() & second.keys()) if name == question else []
        for chosen in [[seed] for seed in seeds] + ([seeds] if len(seeds) > 1 else []):
            own, its, apart, items = difference(first, second, chosen)
            yield {
                "question": name,
                "arms": f"{one} - {other}",
                "seeds": chosen,
                one: round(own, 3),
                other: round(its, 3),
                "difference": round(apart.value, 3),
                "low": round(apart.low, 3),
                "high": round(apart.high, 3),
                "items": items,
            }


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
