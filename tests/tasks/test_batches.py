"""Batches: a crop keeps sound, picture and speech together; padding is masked."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tasks.batches import chances, collate, crop, crop_start


def sample(latents: int, task: str = "visual_tts", seen: bool = True) -> dict[str, Any]:
    """A sample whose every row holds its own time in seconds."""
    at_25, at_10 = np.arange(latents) / 25, np.arange(latents * 2 // 5) / 10
    return {
        "item_id": task,
        "task": task,
        "latents": at_25[:, None].astype(np.float32),
        "phonemes": np.arange(latents),
        "visual": at_10[:, None].astype(np.float32) if seen else None,
        "motion": at_25[:, None].astype(np.float32) if seen else None,
    }


@given(st.integers(1, 250), st.integers(5, 250), st.integers(0, 2**32))
def test_a_crop_keeps_what_is_heard_seen_and_said_at_the_same_time(
    total: int, length: int, seed: int
) -> None:
    start = crop_start(total, length, np.random.default_rng(seed))
    cut = crop(sample(total), start, length)
    assert len(cut["latents"]) == min(total, length)
    assert cut["latents"][0] == cut["motion"][0]
    assert cut["phonemes"][0] == round(float(cut["latents"][0, 0]) * 25)
    if len(cut["visual"]):
        assert cut["visual"][0, 0] == pytest.approx(cut["latents"][0, 0], abs=1e-5)


def test_a_crop_changes_nothing_else_and_one_that_holds_all_is_the_sample() -> None:
    whole = sample(100)
    cut = crop(whole, 0, 50)
    assert cut["latents"][0] == 0
    assert len(whole["latents"]) == 100
    assert crop(whole, 0, 100) is whole


def test_every_start_of_a_crop_is_drawn() -> None:
    generator = np.random.default_rng(0)
    assert {crop_start(70, 50, generator) for _ in range(200)} == {0, 5, 10, 15, 20}


def test_padding_is_masked_and_what_is_missing_is_flagged() -> None:
    batch = collate([sample(30), sample(50, "tts", seen=False)], 50, motion_dim=1, visual_dim=1)
    c = batch.conditions
    assert batch.latents.shape == (2, 50, 1)
    assert batch.tasks == ("visual_tts", "tts")
    assert c.mask.sum(1).tolist() == [30, 50]
    assert not batch.latents[0, 30:].any()
    assert c.visual is not None and c.visual_mask is not None
    assert c.visual.shape == (2, 20, 1)
    assert c.visual_mask.sum(1).tolist() == [12, 0]
    assert c.present("visual").tolist() == [True, False]
    assert c.present("motion").tolist() == [True, False]
    assert c.present("phonemes").tolist() == [True, True]
    assert c.present("speaker").tolist() == [False, False]


def test_a_sample_is_the_same_whatever_stands_beside_it() -> None:
    alone = collate([sample(30)], 50, 1, 1)
    beside = collate([sample(50), sample(30)], 50, 1, 1)
    assert torch.equal(alone.latents[0], beside.latents[1])
    assert torch.equal(alone.conditions.mask[0], beside.conditions.mask[1])


@pytest.mark.parametrize(("balance", "share"), [(0.0, 0.1), (1.0, 0.5), (0.5, 0.3)])
def test_balance_draws_clips_or_tasks_alike(balance: float, share: float) -> None:
    drawn = chances(["v2s"] + 9 * ["tts"], balance)
    assert drawn[0] == pytest.approx(share)
    assert drawn[1:] == pytest.approx(np.full(9, (1 - share) / 9))


def test_lips_and_sync_are_batched_where_a_sample_has_them_and_cropped_with_its_latents() -> None:
    steps = np.arange(60, dtype=np.float32)[:, None]
    told = sample(60) | {"lips": steps}
    part = crop(told, 15, 20)
    assert part["lips"].shape == (20, 1)
    conditions = collate([part, sample(20)], 25, 1, 1).conditions
    assert conditions.present("lips").tolist() == [True, False]
    assert conditions.lips is not None and conditions.lips.shape == (2, 25, 1)
    assert conditions.lips[0, :20, 0].tolist() == part["lips"][:, 0].tolist()
    assert not conditions.lips[0, 20:].any() and not conditions.lips[1].any()
    assert conditions.sync is None


def test_voices_are_batched_where_a_sample_has_one_and_are_not_cropped() -> None:
    voice = np.arange(5, dtype=np.float16)[None]
    told = sample(60) | {"speaker": voice}
    batch = collate([crop(told, 20, 20), sample(20)], 20, 1, 1).conditions
    assert batch.speaker is not None and batch.speaker.dtype == torch.float32
    assert batch.speaker.tolist() == [[0, 1, 2, 3, 4], [0, 0, 0, 0, 0]]
    assert batch.present("speaker").tolist() == [True, False]
    assert collate([sample(20)], 20, 1, 1).conditions.speaker is None
