"""Phonemes stretched over their utterances: by hand, and in the batches that a training reads."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from models.phoneme_ids import NONE_ID, PAUSE_ID
from tasks.train_config import TrainConfig
from tasks.training_data import TrainingData
from tasks.uniform_phonemes import PAUSE_S, UNCUED, Stretch, drawn_stretches, stretched
from tests.made_model import made_dataset, tiny_sizes

TIGHT = Stretch(0, 0)
CONFIG = TrainConfig(joint_steps=4, mixture_steps=4, batch_size=12, crop_s=0.4, threads=1)


def grid(*runs: tuple[int, int]) -> np.ndarray:
    """Ids, each so many latents long."""
    return np.repeat([one for one, _ in runs], [size for _, size in runs]).astype(np.int16)


def test_phonemes_of_an_utterance_last_equally_long_and_longer_pauses_stay() -> None:
    found = stretched(
        grid((0, 4), (5, 1), (6, 5), (0, 3), (7, 3), (0, 8), (8, 1), (9, 3), (0, 2)), TIGHT
    )
    even = grid((0, 4), (5, 4), (6, 4), (7, 4), (0, 8), (8, 2), (9, 2), (0, 2))
    assert np.array_equal(found, even) and found.dtype == even.dtype
    assert np.array_equal(stretched(even, TIGHT), even)


def test_a_pause_is_no_phoneme_and_a_phoneme_after_one_is_said_again() -> None:
    assert np.array_equal(stretched(grid((5, 1), (PAUSE_ID, 2), (5, 3), (6, 3)), TIGHT),
                          grid((5, 6), (6, 3)))  # fmt: skip


def test_an_utterance_takes_of_the_silence_around_it_as_far_as_the_middle_of_a_pause() -> None:
    said = grid((0, 4), (5, 1), (6, 3), (0, 10), (7, 4), (0, 6))
    assert np.array_equal(stretched(said, Stretch(1, 1)), grid((5, 7), (6, 6), (7, 15)))
    assert np.array_equal(stretched(said, UNCUED), grid((5, 10), (6, 9), (7, 9)))
    assert np.array_equal(
        stretched(said, Stretch(0.5, 0)), grid((0, 2), (5, 3), (6, 3), (0, 8), (7, 6), (0, 6))
    )
    assert np.array_equal(
        stretched(said, Stretch(0, 0.5)), grid((0, 4), (5, 3), (6, 3), (0, 8), (7, 7), (0, 3))
    )


def test_where_nobody_speaks_nothing_is_stretched() -> None:
    for one in (grid((NONE_ID, 7)), grid((NONE_ID, 2), (PAUSE_ID, 3)), grid()):
        assert np.array_equal(stretched(one, UNCUED), np.zeros(len(one)))


@pytest.mark.parametrize("share", [0.25, 1.0])
def test_a_share_of_samples_is_stretched_by_draws_of_its_own(share: float) -> None:
    drawn = drawn_stretches(4000, share, np.random.default_rng(0))
    found = np.array([one for one in drawn if one is not None])
    assert len(found) == pytest.approx(4000 * share, abs=100)
    cued = found[found[:, 2] == PAUSE_S]
    assert len(cued) / len(found) == pytest.approx(0.5, abs=0.05)
    assert cued[:, :2].mean(axis=0) == pytest.approx([0.5, 0.5], abs=0.05)
    assert abs(np.corrcoef(cued[:, :2].T)[0, 1]) < 0.1
    assert {one for one in drawn if one and one.pause_s != PAUSE_S} == {UNCUED}


def test_a_share_of_nothing_draws_nothing() -> None:
    generator = np.random.default_rng(0)
    assert drawn_stretches(3, 0.0, generator) == (None, None, None)
    assert generator.random() == np.random.default_rng(0).random()


def test_a_training_reads_its_words_stretched_in_its_cuts_and_all_else_as_before(
    tmp_path: Path,
) -> None:
    refs, sizes = made_dataset(tmp_path), tiny_sizes()
    exact = TrainingData(tmp_path, refs, CONFIG)
    even = TrainingData(tmp_path, refs, dataclasses.replace(CONFIG, uniform_phonemes=0.5))
    seen: set[tuple[bool, str]] = set()
    for step in (0, 5):
        plan, other = exact.plan(step), even.plan(step)
        assert plan.stretches == (None,) * 12
        assert (plan.picks, plan.starts) == (other.picks, other.starts)
        one, two = exact.read(plan, sizes), even.read(other, sizes)
        given = two.conditions.phonemes
        assert given is not None and torch.equal(one.latents, two.latents)
        for row, (pick, start, stretch) in enumerate(
            zip(other.picks, other.starts, other.stretches, strict=True)
        ):
            known = exact.store[pick]["phonemes"][start : start + 10]
            told = known if stretch is None else stretched(known, stretch)
            assert np.array_equal(given[row].numpy(), told)
            seen.add((isinstance(stretch, Stretch), exact.tasks[pick]))
        part = even.read(other, sizes, slice(3, 7)).conditions.phonemes
        assert part is not None and torch.equal(part, given[3:7])
    assert {(drawn, task) for drawn in (True, False) for task in ("tts", "mixture")} <= seen
