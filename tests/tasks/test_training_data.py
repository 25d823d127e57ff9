"""What a training reads: batches that follow from the step alone, and no more than they need."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tasks.batches import collate, crop
from tasks.sample_store import SampleError, SampleStore
from tasks.snapshot import _packed, _write_samples, read_samples
from tasks.train_config import TrainConfig
from tasks.training_data import Ahead, NoTrainingClip, TrainingData, bucket
from tests.made_model import CHANNELS, made_dataset, made_sample, tiny_sizes

CONFIG = TrainConfig(joint_steps=4, mixture_steps=4, batch_size=6, crop_s=0.8, threads=1)


def test_a_planned_batch_is_that_of_all_samples_in_memory(tmp_path: Path) -> None:
    refs = made_dataset(tmp_path)
    data, samples = TrainingData(tmp_path, refs, CONFIG), read_samples(tmp_path, refs, "train")
    sizes = tiny_sizes()
    for step in (0, 5):
        plan = data.plan(step)
        cut = [
            crop(samples[pick], start, 20)
            for pick, start in zip(plan.picks, plan.starts, strict=True)
        ]
        expected = collate(cut, 20, sizes.motion_dim, sizes.visual_dim)
        found = data.read(plan, sizes)
        assert found.tasks == plan.tasks == expected.tasks
        assert plan.sizes == found.conditions.mask.sum(1).tolist()
        assert torch.equal(found.latents, expected.latents)
        for name in ("mask", "visual", "visual_mask", "motion", "phonemes", "has_visual"):
            one, other = (getattr(batch.conditions, name) for batch in (found, expected))
            assert torch.equal(one, other)
        part = data.read(plan, sizes, slice(2, 5))
        assert torch.equal(part.latents, expected.latents[2:5])


def test_a_part_without_lips_of_a_batch_with_lips_has_them_as_absent(tmp_path: Path) -> None:
    data = TrainingData(tmp_path, made_dataset(tmp_path, lips_dim=3), CONFIG)
    step = next(n for n in range(20) if 0 < data.plan(n).tasks.count("visual_tts") < 6)
    plan = data.plan(step)
    row = next(row for row, task in enumerate(plan.tasks) if task != "visual_tts")
    found = data.read(plan, tiny_sizes(), slice(row, row + 1)).conditions
    assert found.lips is not None and found.lips.shape == (1, 20, 3) and not found.lips.any()
    assert found.present("lips").tolist() == [False]


def test_a_model_of_one_task_sees_that_task_alone_until_mixtures_come(tmp_path: Path) -> None:
    refs = made_dataset(tmp_path)
    every = TrainingData(tmp_path, refs, CONFIG)
    assert {"v2s", "mixture"} < set(every.tasks)
    one = TrainingData(tmp_path, refs, dataclasses.replace(CONFIG, tasks=("v2s",)))
    assert {task for step in range(4) for task in one.plan(step).tasks} == {"v2s"}
    assert set(one.plan(5).tasks) == {"v2s", "mixture"}


def test_a_task_that_the_data_does_not_hold_is_named(tmp_path: Path) -> None:
    refs = made_dataset(tmp_path, tasks=("v2s",))
    with pytest.raises(NoTrainingClip, match=r"no clip of train\.tasks=tts; "):
        TrainingData(tmp_path, refs, dataclasses.replace(CONFIG, tasks=("tts",)))


def test_a_step_reads_its_own_samples_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = TrainingData(tmp_path, made_dataset(tmp_path), CONFIG)
    asked: list[int] = []
    read = SampleStore.read

    def noted(self: SampleStore, indices: Any) -> Any:
        asked.extend(indices)
        return read(self, indices)

    monkeypatch.setattr(SampleStore, "read", noted)
    plan = data.plan(3)
    assert asked == []
    data.read(plan, tiny_sizes(), slice(0, 2))
    assert asked == plan.picks[:2]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data.__setitem__(data.index(LATENTS) + 4, 7), "do not have the hash"),
        (None, "its latents hold a number that is not finite"),
    ],
    ids=["flipped", "infinite"],
)
def test_a_bad_sample_is_an_error_that_names_shard_and_item(
    tmp_path: Path, change: Any, message: str
) -> None:
    bad = np.full((30, CHANNELS), np.inf) if change is None else np.ones((30, CHANNELS))
    samples = [made_sample(number, "v2s", "train") for number in range(3)]
    samples[1] |= _packed("latents", "latent_channels", bad)
    (ref,) = [_write_samples(str(tmp_path), samples)]
    if change is not None:
        written = bytearray((tmp_path / ref).read_bytes())
        change(written)
        (tmp_path / ref).write_bytes(written)
    data = TrainingData(tmp_path, [ref], CONFIG)
    with pytest.raises(SampleError, match=rf"shard {ref}, item v2s-001: .*{message}"):
        for step in range(4):
            data.read(data.plan(step), tiny_sizes())


LATENTS = np.ones((30, CHANNELS), np.float16).tobytes()


@given(st.integers(1, 250), st.integers(5, 250), st.integers(1, 6))
def test_a_bucket_is_the_shortest_of_a_few_lengths_that_holds_the_batch(
    longest: int, crop_length: int, buckets: int
) -> None:
    longest = min(longest, crop_length)
    lengths = {bucket(size, crop_length, buckets) for size in range(1, crop_length + 1)}
    found = bucket(longest, crop_length, buckets)
    assert len(lengths) <= buckets and max(lengths) == crop_length
    assert found == min(length for length in lengths if length >= longest)
    assert all(length % 5 == 0 for length in lengths - {crop_length})


@pytest.mark.parametrize("threads", [1, 3])
def test_what_is_made_ahead_is_made_once_and_never_past_the_end(threads: int) -> None:
    made: list[int] = []

    def make(step: int) -> int:
        made.append(step)
        return 10 * step

    ahead = Ahead(make, end=6, threads=threads)
    assert [ahead.get(step) for step in (2, 3, 4, 5)] == [20, 30, 40, 50]
    ahead.close()
    assert sorted(made) == [2, 3, 4, 5]
