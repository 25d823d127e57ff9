"""Phonemes of a text in time: learned from a dataset's speech, used where only the text is known.

Legend: B batch, N latents (25 Hz), P phonemes of an utterance.
"""

import itertools
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from models.phoneme_ids import NONE_ID, phoneme_id, split
from models.timeline import LATENT_HZ

if TYPE_CHECKING:
    import torch

    from models.durations import DurationPredictor

Utterance = tuple[NDArray[np.int64], NDArray[np.float32]]
STEPS, BATCH, LEARNING_RATE = 400, 16, 3e-3
MOST_UTTERANCES = 10_000
LONGEST_PHONEMES = 256


def utterance_of(grid: NDArray[np.integer[Any]]) -> Utterance:
    """The phonemes of a clip's grid (N,) in order: ids (P,) and the seconds (P,) that each lasts.

    What is not speech lies between them and has no part.
    """
    edges = np.flatnonzero(np.diff(grid, prepend=-1, append=-1))
    ids, seconds = grid[edges[:-1]], np.diff(edges) / LATENT_HZ
    spoken = ids != NONE_ID
    return ids[spoken].astype(np.int64), seconds[spoken].astype(np.float32)


def fit_durations(
    grids: Iterable[NDArray[np.integer[Any]]], seed: int, steps: int = STEPS
) -> "DurationPredictor | None":
    """A predictor that was trained on the phonemes of clips; None where nobody speaks.

    Args:
        grids: phoneme ids (N,) of each clip at 25 Hz; the first ten thousand with speech are used.
        seed: of its initial weights and batches.
        steps: optimiser steps; some seconds of one core.
    """
    import torch

    from models.durations import DurationPredictor, duration_loss

    spoken = ((ids[:LONGEST_PHONEMES], s[:LONGEST_PHONEMES]) for ids, s in map(utterance_of, grids))
    utterances = list(itertools.islice((u for u in spoken if len(u[0])), MOST_UTTERANCES))
    if not utterances:
        return None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = DurationPredictor()
    optimiser = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE)
    generator = np.random.Generator(np.random.Philox(seed))
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = LEARNING_RATE * (1 - step / steps)
        picks = generator.integers(0, len(utterances), BATCH)
        loss = duration_loss(model, *_batch([utterances[pick] for pick in picks]))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
    model.match_rate(*_batch(utterances[: 16 * BATCH]))
    return model.eval()


def _batch(utterances: "Sequence[Utterance]") -> "tuple[torch.Tensor, torch.Tensor, torch.Tensor]":
    """Ids, seconds and mask (B, P), filled up at the end."""
    import torch

    longest = max(len(ids) for ids, _ in utterances)
    ids = torch.zeros(len(utterances), longest, dtype=torch.long)
    seconds = torch.ones(len(utterances), longest)
    mask = torch.zeros(len(utterances), longest, dtype=torch.bool)
    for row, (own, own_s) in enumerate(utterances):
        ids[row, : len(own)] = torch.from_numpy(own)
        seconds[row, : len(own)] = torch.from_numpy(own_s)
        mask[row, : len(own)] = True
    return ids, seconds, mask


def predicted_s(symbols: Sequence[str], model: "DurationPredictor") -> list[float]:
    """The seconds that each phoneme of an utterance lasts; a compound has the sum of its parts."""
    import torch

    parts = [[phoneme_id(part) for part in split(symbol)] for symbol in symbols]
    ids = torch.tensor([[one for own in parts for one in own]])
    with torch.inference_mode():
        seconds = iter(model(ids, torch.ones_like(ids, dtype=torch.bool))[0].exp().tolist())
    return [sum(itertools.islice(seconds, len(own))) for own in parts]


def spoken_at_pace(
    rows: Sequence[dict[str, Any]], words: Sequence[dict[str, Any]], model: "DurationPredictor"
) -> list[dict[str, Any]]:
    """Rows of phonemes of a script's words, at the pace that was learned.

    Speech begins with its cue. Where it would not end within, it is hurried as much as is needed;
    what is left of the cue is silent.
    """
    spans = {
        cue: (own[0]["start_s"], own[-1]["end_s"])
        for cue, own in ((c, list(o)) for c, o in itertools.groupby(words, lambda w: w["cue"]))
    }
    timed: list[dict[str, Any]] = []
    for cue, own in itertools.groupby(rows, lambda row: words[row["word_position"]]["cue"]):
        group, (start_s, end_s) = list(own), spans[cue]
        seconds = predicted_s([row["phoneme"] for row in group], model)
        pace = min(1.0, (end_s - start_s) / sum(seconds))
        edges = itertools.accumulate((pace * s for s in seconds), initial=start_s)
        timed += [
            row | {"start_s": begin, "end_s": min(end, end_s)}
            for row, (begin, end) in zip(group, itertools.pairwise(edges), strict=True)
        ]
    return timed
