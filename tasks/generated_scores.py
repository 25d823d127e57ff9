"""Scores of what a model generated for held-out items, with what must stand beside each.

Every metric has its rows by role: the score of the generations; the same of the truth; the ceiling,
which is the truth through the codec; and a negative control. The control is the generation of
another item, held against this one's truth, where a metric asks whether a sound fits its item;
where it asks what a sound is like, it is noise as loud as the truth; for phantoms it is how often
the same is found where it should be.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tasks import likeness_scores, timing_scores
from tasks.frechet import (
    clip_kernels,
    frechet_distance,
    kernel_distances,
    kernel_width,
)
from tasks.hear import Heard
from tasks.held_out import Facts
from tasks.likeness import AlikeItem, likeness_record
from tasks.onsets import Agreement, agreement, onset_scores
from tasks.scores import (
    CEILING,
    CONTROL,
    MADE,
    SCORE,
    TRUTH,
    Found,
    Row,
    drawn_score,
    held_against,
    mean_score,
    rank_score,
    ratio_score,
    row_of,
)
from tasks.timing import TimedItem, timing_record
from tasks.word_errors import word_errors

FEWEST_CLIPS = 20
"""Sets of fewer clips have no kernel distance."""
PATCHES_PER_NUMBER = 2
"""A Fréchet distance needs so many patches for each number of a patch: from fewer it is bias."""
FRECHET_DRAWS = 100
"""Draws of its interval: each costs two matrix roots."""
ALL = "all"


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """An item, and what is heard in its sounds by their role; CONTROL is noise as loud."""

    facts: Facts
    heard: Mapping[str, Heard]
    timed: TimedItem | None = None
    """When it is heard."""
    alike: AlikeItem | None = None
    """What in its sounds shall be like the true one."""


@dataclass(frozen=True, slots=True)
class Draws:
    """How intervals are drawn, and which Whisper heard the words."""

    bootstraps: int
    seed: int
    whisper: str


Pairs = list[tuple[Facts, Heard]]


def score_rows(items: Sequence[Scored], draws: Draws) -> tuple[list[Row], list[str]]:
    """Rows of `evaluations` without checkpoint_id, and why what is missing is missing."""
    rows: list[Row] = []
    absent: list[str] = []
    for split in sorted({item.facts.split for item in items}):
        of_split = [item for item in items if item.facts.split == split]
        tasks = sorted({item.facts.task for item in of_split})
        for task in (ALL, *tasks):
            group = [item for item in of_split if task in (ALL, item.facts.task)]
            for metric, unit, role, score, count in _found(group, draws):
                if np.isfinite([score.value, score.low, score.high]).all():
                    rows.append(row_of((metric, role, task, split), score, count, unit))
        there = {row["metric"] for row in rows if row["split"] == split and row["role"] == SCORE}
        absent += why_absent(of_split, split, there)
    return rows, absent


def _found(group: Sequence[Scored], draws: Draws) -> Iterator[Found]:
    yield from _onsets(group, draws)
    yield from _pitches(group, draws)
    yield from _words(group, draws)
    yield from _phantoms(group, draws)
    yield from _loudness(group, draws)
    yield from _opinions(group, draws)
    yield from _distances(group, draws)
    timed = [item.timed for item in group if item.timed]
    yield from timing_scores.timing_found(timed, draws.bootstraps, draws.seed)
    alike = [item.alike for item in group if item.alike]
    yield from likeness_scores.likeness_found(alike, draws.bootstraps, draws.seed)


def _by_role(
    group: Sequence[Scored], differ: Callable[[Facts, Facts], bool]
) -> Iterator[tuple[str, Pairs]]:
    """The truth of each item with a sound that is held against it, by role."""
    against = held_against(group, lambda item: item.heard, lambda a, b: differ(a.facts, b.facts))
    for role, pairs in against:
        yield role, [(item.facts, heard) for item, heard in pairs]


def _onsets(group: Sequence[Scored], draws: Draws) -> Iterator[Found]:
    known = [item for item in group if item.facts.onsets_s]
    for role, pairs in _by_role(known, lambda a, b: a.onsets_s != b.onsets_s):
        clips = [onset_agreement(facts, heard) for facts, heard in pairs]
        if not clips:
            continue
        scores = onset_scores(clips, draws.bootstraps, draws.seed)
        for name in ("f1", "precision", "recall"):
            yield f"onset_{name}", "", role, scores[name], len(clips)
        yield "onset_lag", "s", role, scores["lag_s"], len(clips)


def onset_agreement(facts: Facts, heard: Heard) -> Agreement:
    """How the onsets heard in a sound agree with those of an item whose onsets are known."""
    return agreement(heard.onsets_s, facts.onsets_s or ())


def _pitches(group: Sequence[Scored], draws: Draws) -> Iterator[Found]:
    known = [item for item in group if item.facts.strikes]
    for role, pairs in _by_role(known, lambda a, b: a.strikes != b.strikes):
        clips = [
            # Another item's strikes may be fewer: those that have a partner are compared.
            np.array([(s.pitch_hz, p) for s, p in zip(f.strikes, h.pitches_hz, strict=False)])
            for f, h in pairs
        ]
        if len(clips) < 2:
            continue
        score = rank_score(clips, draws.bootstraps, draws.seed)
        yield "pitch_rank_correlation", "", role, score, len(clips)


def _words(group: Sequence[Scored], draws: Draws) -> Iterator[Found]:
    spoken = [item for item in group if item.facts.is_told]
    name = f"wer_whisper_{draws.whisper}"
    for role, pairs in _by_role(spoken, lambda a, b: a.words != b.words):
        wrong = [word_errors(facts.words, heard.words or ()) for facts, heard in pairs]
        said = [len(facts.words) for facts, _ in pairs]
        if said:
            score = ratio_score(wrong, said, draws.bootstraps, draws.seed)
            yield name, "", role, score, len(said)


def _phantoms(group: Sequence[Scored], draws: Draws) -> Iterator[Found]:
    mute = [item for item in group if not item.facts.words]
    spoken = [item for item in group if item.facts.is_told]
    silent = [item for item in group if item.facts.sounds is False]
    sounding = [item for item in group if item.facts.sounds]
    questions: tuple[tuple[str, list[Scored], list[Scored], Callable[[Heard], bool]], ...] = (
        ("phantom_speech_rate", mute, spoken, lambda heard: heard.has_speech),
        ("phantom_sound_rate", silent, sounding, lambda heard: heard.is_audible),
    )
    for metric, without, having, is_found in questions:
        if not without:
            continue
        for role in MADE:
            found = [float(is_found(item.heard[role])) for item in without]
            yield metric, "", role, mean_score(found, draws.bootstraps, draws.seed), len(found)
        if having:
            found = [float(is_found(item.heard[SCORE])) for item in having]
            yield metric, "", CONTROL, mean_score(found, draws.bootstraps, draws.seed), len(found)


def _loudness(group: Sequence[Scored], draws: Draws) -> Iterator[Found]:
    for role, pairs in _by_role([item for item in group], lambda a, b: a.item_id != b.item_id):
        if role == TRUTH or not pairs:
            continue
        true = {item.facts.item_id: item.heard[TRUTH].loudness_lufs for item in group}
        apart = [abs(heard.loudness_lufs - true[facts.item_id]) for facts, heard in pairs]
        score = mean_score(apart, draws.bootstraps, draws.seed)
        yield "loudness_error", "LU", role, score, len(apart)


def _opinions(group: Sequence[Scored], draws: Draws) -> Iterator[Found]:
    for role in (*MADE, CONTROL):
        values = [
            opinion
            for item in group
            if item.facts.is_told and (opinion := item.heard[role].dnsmos) is not None
        ]
        if values:
            score = mean_score(values, draws.bootstraps, draws.seed)
            yield "dnsmos_overall", "MOS", role, score, len(values)


def _distances(group: Sequence[Scored], draws: Draws) -> Iterator[Found]:
    if len(group) < FEWEST_CLIPS:
        return
    true = [item.heard[TRUTH].logits for item in group]
    width = kernel_width(np.concatenate(true))
    own = clip_kernels(true, true, width)
    for role in (SCORE, CEILING, CONTROL):
        made = [item.heard[role].logits for item in group]
        kernels = own, clip_kernels(made, made, width), clip_kernels(true, made, width)
        score = drawn_score(
            lambda picks, of=kernels: kernel_distances(*of, picks),
            len(group),
            draws.bootstraps,
            draws.seed,
        )
        yield "kernel_yamnet_scores", "", role, score, len(group)
        if enough_patches(group):

            def frechet(picks: np.ndarray, made: list[np.ndarray] = made) -> np.ndarray:
                sets = (
                    [np.concatenate([rows[at] for at in pick]) for rows in (true, made)]
                    for pick in picks
                )
                return np.array([frechet_distance(*two) for two in sets])

            score = drawn_score(frechet, len(group), FRECHET_DRAWS, draws.seed)
            yield "frechet_yamnet_scores", "", role, score, len(group)


def enough_patches(group: Sequence[Scored]) -> bool:
    """Whether a group's sounds have enough patches for a covariance."""
    return _patches(group) >= _patches_needed(group)


def _patches(group: Sequence[Scored]) -> int:
    return sum(len(item.heard[TRUTH].logits) for item in group)


def _patches_needed(group: Sequence[Scored]) -> int:
    return PATCHES_PER_NUMBER * group[0].heard[TRUTH].logits.shape[1]


def why_absent(of_split: Sequence[Scored], split: str, there: Collection[str]) -> list[str]:
    """Why metrics of a split are missing from those that are there, one sentence each."""
    unknown = "no item has known events with sharp onsets (tables truths and true_events)"
    reasons = {
        "onset": unknown,
        "pitch_rank_correlation": "fewer than two events of known pitch, or all alike, stand alone",
        "wer": "no item has a text",
        "dnsmos_overall": "no item has a text",
        "phantom_speech_rate": "every item has a text",
        "phantom_sound_rate": "of no item it is known that nothing sounds in it (table truths)",
        "kernel_yamnet_scores": f"{len(of_split)} items are fewer than {FEWEST_CLIPS}",
        "frechet_yamnet_scores": (
            f"{_patches(of_split)} patches of sound are fewer than {_patches_needed(of_split)}, "
            "from which on its bias is small; generate more items"
        ),
    }
    if "onset_f1" in there:
        reasons |= {"onset_precision": "no onset was found in what was generated",
                    "onset_lag": "no onset was found where there is one"}  # fmt: skip
    reasons |= timing_scores.ABSENT | likeness_scores.ABSENT
    return [
        f"{name} ({split}): {why}"
        for name, why in reasons.items()
        if not any(metric.startswith(name) for metric in there)
    ]


def item_record(item: Scored) -> Row:
    """What was found of one item, by role: to be kept as a line of JSON."""
    facts = item.facts
    record: Row = {
        "item_id": facts.item_id,
        "task": facts.task,
        "split": facts.split,
        "words": list(facts.words),
        "onsets_s": facts.onsets_s,
    }
    for role in MADE:
        heard = item.heard[role]
        record[role] = {
            "onsets_s": heard.onsets_s,
            "pitches_hz": heard.pitches_hz,
            "words": heard.words,
            "has_speech": heard.has_speech,
            "loudness_lufs": heard.loudness_lufs,
            "dnsmos_overall": heard.dnsmos,
        }
        if facts.onsets_s:
            record[role]["onset_pairs"] = onset_agreement(facts, heard).pairs
        if facts.words:
            record[role]["word_errors"] = word_errors(facts.words, heard.words or ())
    if item.timed:
        record["timing"] = timing_record(item.timed)
    if item.alike:
        record["likeness"] = likeness_record(item.alike)
    return record
