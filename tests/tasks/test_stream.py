"""Training reads: every sample once an epoch, whoever reads it, and exactly so after a stop."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from tasks.batches import Sample
from tasks.sample_store import SampleError, SampleStore
from tasks.snapshot import ARRAYS, _write_samples, read_samples
from tasks.stream import Remainder, Step, StreamConfig, TrainingStream
from tests.made_model import TASKS, made_sample

SPLITS = ("train", "validation", "train", "test", "train")


class Numbers:
    """Stands for a store: a sample is its index, in row groups of the sizes given."""

    digest = "numbers"

    def __init__(self, group_sizes: list[int]) -> None:
        self.groups = np.split(np.arange(sum(group_sizes)), np.cumsum(group_sizes)[:-1])

    def __len__(self) -> int:
        return sum(len(group) for group in self.groups)

    def read(self, indices: Any) -> list[Sample]:
        return [{"index": index} for index in indices]


def indices(batch: list[Sample]) -> list[int]:
    return [sample["index"] for sample in batch]


def flat(batches: Iterable[list[Any]]) -> list[Any]:
    return list(chain.from_iterable(batches))


# Spawned, as training does it: a fork inherits the threads of whatever ran before, and where it
# ends badly for that, torch raises wherever this process happens to be.
SPAWNED: dict[str, Any] = {"batch_size": None, "multiprocessing_context": "spawn"}


def given_to(stream: TrainingStream, workers: int) -> list[Step]:
    """What a rank gets from a DataLoader, which takes one item of each worker in turn."""
    plans = [list(stream.plan())[worker::workers] for worker in range(workers)]
    turns = max((len(plan) for plan in plans), default=0)
    return [stream.read(plan[turn]) for turn in range(turns) for plan in plans if turn < len(plan)]


sizes = st.lists(st.integers(1, 9), min_size=1, max_size=8)


@settings(deadline=None, max_examples=150)
@given(
    group_sizes=sizes,
    batch_size=st.integers(1, 5),
    world_size=st.integers(1, 4),
    workers=st.integers(1, 4),
    remainder=st.sampled_from(["keep", "drop", "pad"]),
    seed=st.integers(0, 99),
    buffer_groups=st.integers(1, 4),
)
def test_ranks_and_workers_together_give_every_sample_once_an_epoch(
    group_sizes: list[int],
    batch_size: int,
    world_size: int,
    workers: int,
    remainder: Remainder,
    seed: int,
    buffer_groups: int,
) -> None:
    store, size = Numbers(group_sizes), batch_size * world_size
    if remainder == "drop" and len(store) < size:
        remainder = "pad"
    ranks = []
    for rank in range(world_size):
        config = StreamConfig(
            batch_size, seed, rank, world_size, buffer_groups, remainder, epochs=2
        )
        steps = given_to(TrainingStream(store, config), workers)
        alone = [step.batch for step in TrainingStream(store, config)]
        assert [step.batch for step in steps] == alone
        ranks.append(steps)
    for epoch in range(2):
        seen = Counter(
            sample["index"]
            for steps in ranks
            for step in steps
            for sample in step.batch
            if sample["epoch"] == epoch
        )
        if remainder == "keep":
            assert seen == Counter(range(len(store)))
        elif remainder == "drop":
            assert set(seen.values()) == {1}
            assert seen.total() == len(store) // size * size
        else:
            assert set(seen) == set(range(len(store)))
            assert seen.total() == -(-len(store) // size) * size
            extra = max(seen.values()) - min(seen.values())
            assert extra <= 1
    if remainder != "keep":
        assert {len(step.batch) for steps in ranks for step in steps} == {batch_size}
        assert len({len(steps) for steps in ranks}) == 1


@settings(deadline=None, max_examples=60)
@given(
    group_sizes=sizes,
    batch_size=st.integers(1, 5),
    world_size=st.integers(1, 3),
    workers=st.integers(1, 3),
    seed=st.integers(0, 99),
)
def test_a_resume_at_every_position_gives_exactly_the_samples_that_were_not_given(
    group_sizes: list[int], batch_size: int, world_size: int, workers: int, seed: int
) -> None:
    store = Numbers(group_sizes)
    alone = TrainingStream(store, StreamConfig(1, seed))
    whole = flat(indices(step.batch) for step in alone)
    for position in range(len(store)):
        rest = []
        for rank in range(world_size):
            stream = TrainingStream(store, StreamConfig(batch_size, seed, rank, world_size))
            stream.load_state_dict(alone.state_dict() | {"position": position})
            rest += flat(step.batch for step in given_to(stream, workers))
        in_order = sorted(rest, key=lambda sample: sample["position"])
        assert indices(in_order) == whole[position:]


@settings(deadline=None, max_examples=15)
@given(group_sizes=sizes, batch_size=st.integers(1, 4), workers=st.integers(1, 3))
def test_the_state_after_every_batch_continues_with_the_next_one(
    group_sizes: list[int], batch_size: int, workers: int
) -> None:
    store, config = Numbers(group_sizes), StreamConfig(batch_size, epochs=None)
    batches = TrainingStream(store, config).batches(workers)
    steps = 2 * -(-len(store) // batch_size)
    whole = [indices(next(batches)) for _ in range(steps + 1)]
    batches.close()
    stream = TrainingStream(store, config)
    for stop in range(steps):
        batches = stream.batches(workers)
        assert indices(next(batches)) == whole[stop]
        batches.close()
        resumed = TrainingStream(store, config)
        resumed.load_state_dict(stream.state_dict())
        assert indices(next(iter(resumed)).batch) == whole[stop + 1]


def test_resume_with_another_number_of_ranks_gives_the_rest_once() -> None:
    store = Numbers([7, 5, 9, 4])
    two = [TrainingStream(store, StreamConfig(2, rank=r, world_size=2)) for r in range(2)]
    heads = [stream.batches() for stream in two]
    seen = [i for _ in range(3) for head in heads for i in indices(next(head))]
    for head in heads:
        head.close()
    assert two[0].state_dict() == two[1].state_dict()
    for rank in range(3):
        stream = TrainingStream(store, StreamConfig(4, rank=rank, world_size=3))
        stream.load_state_dict(two[0].state_dict())
        seen += [i for step in stream for i in indices(step.batch)]
    assert Counter(seen) == Counter(range(25))


def order(seed: int, epochs: int = 1) -> list[int]:
    config = StreamConfig(4, seed, epochs=epochs)
    return [i for step in TrainingStream(Numbers([8] * 12), config) for i in indices(step.batch)]


def test_the_order_is_the_seeds_and_changes_with_the_epoch() -> None:
    both = order(3, epochs=2)
    assert both == order(3, epochs=2)
    assert both[:96] == order(3) != both[96:]
    assert order(3) != order(4)


def test_an_epoch_that_is_over_leaves_the_state_at_the_next_ones_start() -> None:
    stream = TrainingStream(Numbers([8] * 12), StreamConfig(4, 3))
    first = flat(indices(batch) for batch in stream.batches())
    assert (stream.epoch, stream.position) == (1, 0)
    assert first + flat(indices(batch) for batch in stream.batches()) == order(3, epochs=2)


def test_samples_of_different_row_groups_are_mixed() -> None:
    given_first = order(0)[:32]
    assert len({index // 8 for index in given_first}) > 4


def test_an_endless_stream_goes_on_into_the_next_epochs() -> None:
    batches = TrainingStream(Numbers([5]), StreamConfig(2, epochs=None)).batches()
    seen = flat(indices(next(batches)) for _ in range(9))
    batches.close()
    assert [sorted(seen[start : start + 5]) for start in (0, 5, 10)] == [list(range(5))] * 3


@pytest.fixture(scope="module")
def frozen(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A workspace with three shards of 150 samples of all splits and tasks."""
    folder = tmp_path_factory.mktemp("frozen")
    samples = [
        made_sample(number, TASKS[number % 4], SPLITS[number % 5], 20 + number % 7)
        for number in range(150)
    ]
    return folder, [_write_samples(str(folder), samples[s : s + 60]) for s in (0, 60, 120)]


@pytest.mark.parametrize("check_hashes", [False, True])
def test_a_sample_by_its_index_is_the_one_that_parquet_gives(
    frozen: tuple[Path, list[str]], check_hashes: bool
) -> None:
    store = SampleStore(*frozen, "train", check_hashes=check_hashes)
    expected = read_samples(*frozen, "train")
    assert len(store) == len(expected) == 90
    for index in np.random.default_rng(0).permutation(len(store)):
        found, sample = store[int(index)], expected[index]
        assert {n: found[n] for n in ("item_id", "task")} == {
            n: sample[n] for n in ("item_id", "task")
        }
        for name in ARRAYS:
            if sample[name] is None:
                assert found[name] is None
            else:
                np.testing.assert_array_equal(found[name], sample[name])
                assert found[name].ctypes.data % 64 == 0


def test_only_the_wanted_arrays_are_read(frozen: tuple[Path, list[str]]) -> None:
    sample = SampleStore(*frozen, "test", arrays=("latents",))[0]
    assert sample["latents"] is not None
    assert sample["phonemes"] is sample["visual"] is sample["motion"] is None


def as_tensors(samples: list[Sample]) -> dict[str, Any]:
    return {
        "item_ids": [sample["item_id"] for sample in samples],
        "latents": [torch.from_numpy(sample["latents"].copy()) for sample in samples],
    }


def test_two_worker_processes_give_the_batches_of_threads_and_resume_between_them(
    frozen: tuple[Path, list[str]],
) -> None:
    store, config = SampleStore(*frozen, "train"), StreamConfig(7, epochs=2)
    alone = [batch["item_ids"] for batch in TrainingStream(store, config, as_tensors).batches()]
    stream, seen = TrainingStream(store, config, as_tensors), []
    # To its end: workers that are ended while they read ahead may abort, and torch then raises
    # wherever this process happens to be.
    for number, step in enumerate(DataLoader(stream, num_workers=2, **SPAWNED)):
        if number < 5:
            seen.append(step.batch["item_ids"])
            stream.passed(step)
            assert step.batch["latents"][0].dtype == torch.float16
    assert stream.state_dict()["position"] == 35
    resumed = TrainingStream(store, config, as_tensors)
    resumed.load_state_dict(stream.state_dict())
    for step in DataLoader(resumed, num_workers=2, **SPAWNED):
        seen.append(step.batch["item_ids"])
    assert seen == alone
    assert Counter(flat(seen)) == Counter({store[i]["item_id"]: 2 for i in range(len(store))})


def damaged(folder: Path, change: Callable[[bytearray], object]) -> tuple[Path, list[str]]:
    samples = [made_sample(number, "v2s", "train") for number in range(10)]
    (ref,) = [_write_samples(str(folder), samples)]
    data = bytearray((folder / ref).read_bytes())
    change(data)
    (folder / ref).write_bytes(data)
    return folder, [ref]


def test_a_shard_from_before_sync_and_lips_is_read_as_one_without_them(workspace: Path) -> None:
    samples = [made_sample(number, "v2s", "train") for number in range(40)]
    (ref,) = [_write_samples(str(workspace), samples)]
    now = pq.read_table(workspace / ref)
    before = now.drop_columns([c for c in now.column_names if c.startswith(("sync", "lips"))])
    options = {"compression": "none", "use_dictionary": False, "write_statistics": False}
    path = workspace / "shards" / "dataset" / "before.parquet"
    pq.write_table(before, path, row_group_size=32, data_page_size=2**30, **options)
    old = SampleStore(workspace, ["shards/dataset/before.parquet"], "train", check_hashes=True)
    new = SampleStore(workspace, [ref], "train", check_hashes=True)
    for first, second in zip(old.read(range(40)), new.read(range(40)), strict=True):
        assert first["sync"] is first["lips"] is None
        assert first["item_id"] == second["item_id"]
        assert np.array_equal(first["latents"], second["latents"])
    read = read_samples(workspace, ["shards/dataset/before.parquet"], "train")
    assert [sample["lips"] for sample in read] == [None] * 40


def flip_in(item: int) -> Callable[[bytearray], None]:
    """Flips a bit within the latents of a sample."""
    latents = made_sample(item, "v2s", "train")["latents"]

    def change(data: bytearray) -> None:
        data[data.index(latents) + 5] ^= 1

    return change


def test_flipped_bytes_are_an_error_that_names_shard_and_item(workspace: Path) -> None:
    folder, refs = damaged(workspace, flip_in(4))
    stream = TrainingStream(SampleStore(folder, refs, "train", check_hashes=True), StreamConfig(1))
    with pytest.raises(SampleError, match=rf"{refs[0]}, item v2s-004: its bytes"):
        list(stream.batches())


def test_a_bad_sample_in_a_worker_process_is_named_in_the_training_process(
    workspace: Path,
) -> None:
    folder, refs = damaged(workspace, flip_in(7))
    store = SampleStore(folder, refs, "train", check_hashes=True)
    loader = DataLoader(TrainingStream(store, StreamConfig(2)), num_workers=1, **SPAWNED)
    with pytest.raises(SampleError, match=rf"{refs[0]}, item v2s-007"):
        list(loader)


def test_moved_or_cut_bytes_are_an_error_without_hashes_too(workspace: Path) -> None:
    folder, refs = damaged(workspace, lambda data: None)
    store = SampleStore(folder, refs, "train")
    path = folder / refs[0]
    whole = path.read_bytes()
    for broken in (b"xx" + whole, whole[: len(whole) // 3]):
        path.write_bytes(broken)
        with pytest.raises(SampleError, match=rf"shard {refs[0]}, item v2s-\d+: \w+ is not the"):
            store.read(range(len(store)))
    path.write_bytes(whole[: whole.index(made_sample(0, "v2s", "train")["latents"]) + 10])
    with pytest.raises(SampleError, match="item v2s-000: latents is not the 240 bytes"):
        store[0]


def test_a_shard_of_an_older_form_asks_for_a_new_build(workspace: Path) -> None:
    (ref,) = [_write_samples(str(workspace), [made_sample(0, "tts", "train")])]
    table = pq.read_table(workspace / ref)
    pq.write_table(table, workspace / ref)
    with pytest.raises(ValueError, match=rf"shard {ref}: latents is encoded: build"):
        SampleStore(workspace, [ref], "train")
    pq.write_table(table.drop_columns(["visual_bytes"]), workspace / ref)
    with pytest.raises(ValueError, match=rf"shard {ref} says no sizes, an older talkies"):
        SampleStore(workspace, [ref], "train")


def test_a_missing_shard_or_array_is_named(workspace: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        SampleStore(workspace, ["shards/dataset/nowhere.parquet"], "train")
    with pytest.raises(ValueError, match=r"arrays \['voice'\] are unknown"):
        SampleStore(workspace, [], "train", arrays=("voice",))


def test_the_hash_in_a_shard_is_that_of_the_arrays(frozen: tuple[Path, list[str]]) -> None:
    row = pq.read_table(frozen[0] / frozen[1][0]).slice(0, 1).to_pylist()[0]
    stored = b"".join(row[name] or b"" for name in ARRAYS)
    assert row["arrays_sha256"] == hashlib.sha256(stored).hexdigest()
    assert row["latents_bytes"] == len(row["latents"])
    assert pa.types.is_binary(pq.read_schema(frozen[0] / frozen[1][0]).field("latents").type)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (StreamConfig(0), "at least 1"),
        (StreamConfig(1, rank=2, world_size=2), "rank 2 is not below world_size 2"),
        (StreamConfig(4, remainder="drop"), "3 samples are less than one step of 4"),
    ],
)
def test_impossible_settings_are_refused(config: StreamConfig, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrainingStream(Numbers([3]), config)


def test_an_empty_split_is_refused() -> None:
    store = Numbers([1])
    store.groups = []
    with pytest.raises(ValueError, match="the split holds no sample"):
        TrainingStream(store, StreamConfig(1))


def test_a_state_of_another_order_is_refused() -> None:
    state = TrainingStream(Numbers([3]), StreamConfig(1, seed=1)).state_dict()
    with pytest.raises(ValueError, match="saved with seed 1, the stream has 2"):
        TrainingStream(Numbers([3]), StreamConfig(1, seed=2)).load_state_dict(state)
    with pytest.raises(ValueError, match="saved with digest other"):
        TrainingStream(Numbers([3]), StreamConfig(1, seed=1)).load_state_dict(
            state | {"digest": "other"}
        )
