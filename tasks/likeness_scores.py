"""Scores of how like the true sound a generation is: its timbre, its voice, what rings in it."""

from collections.abc import Iterator, Sequence

import numpy as np

from tasks.likeness import AlikeItem, cepstral_distance_db, voice_similarity
from tasks.scores import (
    TRUTH,
    Found,
    held_against,
    mean_score,
    partners,
    rank_score,
    ratio_score,
)

ABSENT = {
    "mcd_dtw": "no item has a text",
    "speaker_similarity": "no item has a text, or nobody is heard to speak where one has",
    "decay_rank_correlation": "fewer than two strikes of known material (table true_events), or "
    "all alike, stand alone",
    "material_accuracy": "no strike of known material that rings undamped (table true_events) "
    "stands alone",
}
"""Why a metric of this module is missing."""


def likeness_found(items: Sequence[AlikeItem], draws: int, seed: int) -> Iterator[Found]:
    """The scores of some items."""
    yield from _cepstra(items, draws, seed)
    yield from _voices(items, draws, seed)
    yield from _decays(items, draws, seed)
    yield from _materials(items, draws, seed)


def _cepstra(items: Sequence[AlikeItem], draws: int, seed: int) -> Iterator[Found]:
    told = [item for item in items if item.facts.is_told]
    for role, pairs in held_against(told, lambda item: item.heard, _have_other_words):
        if role != TRUTH and pairs:
            apart = [cepstral_distance_db(heard, item.heard[TRUTH]) for item, heard in pairs]
            yield "mcd_dtw", "dB", role, mean_score(apart, draws, seed), len(apart)


def _voices(items: Sequence[AlikeItem], draws: int, seed: int) -> Iterator[Found]:
    voiced = [i for i in items if i.facts.is_told and i.heard[TRUTH].voice is not None]
    are_many = len({item.facts.voice for item in voiced}) > 1
    differ = _have_other_voices if are_many else _have_other_words
    found = [(role, p) for role, p in held_against(voiced, lambda i: i.heard, differ) if p]
    for role, pairs in found:
        if role != TRUTH:
            alike = [voice_similarity(heard, item.heard[TRUTH]) for item, heard in pairs]
            yield "speaker_similarity", "", role, mean_score(alike, draws, seed), len(alike)
    # The truth is like itself: beside it stands what else the same voice truly said.
    again = [
        voice_similarity(item.heard[TRUTH], voiced[other].heard[TRUTH])
        for item, other in zip(voiced, partners(voiced, _share_a_voice), strict=True)
        if other is not None
    ]
    if again:
        yield "speaker_similarity", "", TRUTH, mean_score(again, draws, seed), len(again)


def _have_other_words(first: AlikeItem, second: AlikeItem) -> bool:
    return first.facts.words != second.facts.words


def _have_other_voices(first: AlikeItem, second: AlikeItem) -> bool:
    return first.facts.voice != second.facts.voice


def _share_a_voice(first: AlikeItem, second: AlikeItem) -> bool:
    one, other = first.facts, second.facts
    return bool(one.voice) and one.voice == other.voice and one.words != other.words


def _decays(items: Sequence[AlikeItem], draws: int, seed: int) -> Iterator[Found]:
    known = [item for item in items if any(s.t60_s is not None for s in item.facts.strikes)]
    if len(known) < 2:
        return
    against = held_against(
        known, lambda item: item.heard, lambda a, b: a.facts.strikes != b.facts.strikes
    )
    for role, pairs in against:
        clips = [
            # Another item's strikes may be fewer: those that have a partner are compared.
            np.array(
                [
                    (strike.t60_s, decay)
                    for strike, decay in zip(item.facts.strikes, heard.decays_s, strict=False)
                    if strike.t60_s is not None
                ]
            ).reshape(-1, 2)
            for item, heard in pairs
        ]
        score = rank_score(clips, draws, seed)
        yield "decay_rank_correlation", "", role, score, len(clips)


def _materials(items: Sequence[AlikeItem], draws: int, seed: int) -> Iterator[Found]:
    known = [item for item in items if any(_made_of(item))]
    against = held_against(known, lambda i: i.heard, lambda a, b: _made_of(a) != _made_of(b))
    for role, pairs in against:
        told = [
            # As for the decays, another item's strikes may be fewer.
            [true == made for true, made in zip(_made_of(i), heard.materials, strict=False) if true]
            for i, heard in pairs
        ]
        if any(told):
            right, strikes = [sum(one) for one in told], [len(one) for one in told]
            score = ratio_score(right, strikes, draws, seed)
            yield "material_accuracy", "", role, score, len(told)


def _made_of(item: AlikeItem) -> tuple[str, ...]:
    return tuple(strike.material for strike in item.facts.strikes)
