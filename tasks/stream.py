"""Shuffled batches of a frozen dataset for training, with an exact place to go on from.

Only training imports this module, so torch is imported at its top. An index is a sample's place in
the dataset's split; a position is a sample's place in one epoch's order, the same on every rank.
"""

import itertools
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from torch.utils.data import IterableDataset, get_worker_info

from tasks.batches import Sample

Remainder = Literal["keep", "drop", "pad"]


def epoch_order(
    groups: Sequence[np.ndarray], seed: int, epoch: int, buffer_groups: int
) -> np.ndarray:
    """The indices of all samples in the order of an epoch (samples,), a pure function of its input.

    Row groups of all shards are shuffled, then the samples within each run of `buffer_groups`
    of them: a shuffle buffer whose content is known without reading, so that going on from a
    position reads nothing that came before it.
    """
    generator = np.random.Generator(np.random.Philox(key=[seed, epoch]))
    shuffled = [groups[place] for place in generator.permutation(len(groups))]
    runs = [
        generator.permutation(np.concatenate(shuffled[start : start + buffer_groups]))
        for start in range(0, len(shuffled), buffer_groups)
    ]
    return np.concatenate(runs)


class Samples(Protocol):
    """What a stream reads from; `SampleStore` is one."""

    groups: list[np.ndarray]
    digest: str

    def __len__(self) -> int:
        """Number of samples."""
        ...

    def read(self, indices: Sequence[int]) -> list[Sample]:
        """The samples of these indices."""
        ...


@dataclass(frozen=True, slots=True)
class StreamConfig:
    """How samples are ordered, dealt out and cut into batches.

    Attributes:
        batch_size: samples in a batch of one rank.
        seed: of the order.
        rank: this process among the `world_size` that train together.
        world_size: processes that train together; a step takes `batch_size` samples for each.
        buffer_groups: row groups whose samples are shuffled together.
        remainder: what becomes of the samples that fill no whole step. "keep" shares them out, so
            that ranks' last batches may differ by one sample and some may be empty: for one rank or
            for evaluation. "drop" leaves them out, others in each epoch. "pad" fills the step with
            the epoch's first samples again.
        epochs: epochs in one iteration, the one under way included; None goes on without end.
    """

    batch_size: int
    seed: int = 0
    rank: int = 0
    world_size: int = 1
    buffer_groups: int = 8
    remainder: Remainder = "keep"
    epochs: int | None = 1


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One rank's batch, and the epoch and position to go on from once it has been used."""

    batch: Any
    epoch: int
    position: int


@dataclass(frozen=True, slots=True, eq=False)
class Planned:
    """A step that has not been read: indices and positions of this rank's samples, and its end."""

    indices: np.ndarray
    positions: np.ndarray
    epoch: int
    after: tuple[int, int]


class TrainingStream(IterableDataset):
    """Shuffled batches of a dataset, the same ones however many workers read them.

    Iterate `batches(workers)`, which reads with threads, and save `state_dict()` with the model: it
    says what comes after the batch that was given last. Under
    `DataLoader(stream, batch_size=None, num_workers=2)` the items are `Step`s in the same order;
    there, call `passed(step)` once a step has been used, and let `collate` make tensors.

    Every sample that `collate` gets carries `epoch` and `position`, from which a crop can be drawn.
    """

    def __init__(
        self,
        store: Samples,
        config: StreamConfig,
        collate: Callable[[list[Sample]], Any] | None = None,
    ) -> None:
        """Makes a stream at the start of epoch 0; without `collate` a batch is a list of samples.

        Raises ValueError where the store is empty or has less than one step and drops remainders.
        """
        step_samples = config.world_size * config.batch_size
        if min(config.batch_size, config.buffer_groups) < 1:
            raise ValueError("batch_size and buffer_groups are at least 1")
        if not 0 <= config.rank < config.world_size:
            raise ValueError(f"rank {config.rank} is not below world_size {config.world_size}")
        if not len(store):
            raise ValueError("the split holds no sample; lower split.test or add sources")
        if config.remainder == "drop" and len(store) < step_samples:
            raise ValueError(
                f"{len(store)} samples are less than one step of {step_samples}; "
                'lower batch_size or take remainder="pad"'
            )
        self.store = store
        self.config = config
        self.collate = collate or list
        self.epoch, self.position = 0, 0

    def state_dict(self) -> dict[str, Any]:
        """What to save for a training that goes on; plain values."""
        return {
            "epoch": self.epoch,
            "position": self.position,
            "seed": self.config.seed,
            "buffer_groups": self.config.buffer_groups,
            "digest": self.store.digest,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on after the last batch given; ranks, batch size and workers may have changed.

        Raises ValueError where the state is of another order: another dataset, split, seed or size
        of the shuffle buffer.
        """
        own = self.state_dict()
        for name in ("digest", "seed", "buffer_groups"):
            if state[name] != own[name]:
                raise ValueError(
                    f"this state was saved with {name} {state[name]}, the stream has {own[name]}; "
                    "resume with the same or start anew"
                )
        self.epoch, self.position = state["epoch"], state["position"]

    def passed(self, step: Step) -> None:
        """Notes that a step has been used: `state_dict` says what comes after it."""
        self.epoch, self.position = step.epoch, step.position

    def plan(self) -> Iterator[Planned]:
        """This rank's steps from the present state on, without reading a sample."""
        config, samples = self.config, len(self.store)
        size = config.world_size * config.batch_size
        epoch, first = self.epoch, self.position
        epochs = itertools.count(epoch) if config.epochs is None else range(config.epochs)
        for _ in epochs:
            order = epoch_order(self.store.groups, config.seed, epoch, config.buffer_groups)
            whole = (samples - first) // size * size
            padded = -(-(samples - first) // size) * size
            end = first + {"keep": samples - first, "drop": whole, "pad": padded}[config.remainder]
            for start in range(first, end, size):
                stop = min(start + size, end)
                positions = np.array_split(np.arange(start, stop), config.world_size)[config.rank]
                if len(positions):
                    after = (epoch, stop) if stop < end else (epoch + 1, 0)
                    yield Planned(order[positions % samples], positions, epoch, after)
            epoch, first = epoch + 1, 0

    def read(self, planned: Planned) -> Step:
        """Reads a planned step."""
        samples = self.store.read(planned.indices.tolist())
        for sample, position in zip(samples, planned.positions.tolist(), strict=True):
            sample |= {"epoch": planned.epoch, "position": position}
        return Step(self.collate(samples), *planned.after)

    def __iter__(self) -> Iterator[Step]:
        """Steps in order; in a DataLoader's worker every n-th of them, so that it restores it."""
        worker = get_worker_info()
        first, every = (worker.id, worker.num_workers) if worker else (0, 1)
        for planned in itertools.islice(self.plan(), first, None, every):
            yield self.read(planned)

    def batches(self, workers: int = 2, ahead: int = 2) -> Generator[Any]:
        """Batches in order, read by threads; `ahead` batches a thread wait to be taken.

        Threads hand over without a copy, where processes write each batch into fresh shared memory.
        """
        plan = self.plan()
        waiting: deque[Future[Step]] = deque()
        pool = ThreadPoolExecutor(workers, thread_name_prefix="training-stream")
        try:
            for planned in itertools.islice(plan, workers * ahead):
                waiting.append(pool.submit(self.read, planned))
            while waiting:
                step = waiting.popleft().result()
                waiting.extend(pool.submit(self.read, p) for p in itertools.islice(plan, 1))
                self.passed(step)
                yield step.batch
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
