"""What a training reads: the batch of every step, planned by its number, read as far as needed.

A step's plan follows from the seed and the step alone and reads no sample, so a killed training
goes on with the batches that it would have had, and of several processes that train together each
reads its own part.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar, get_args

import numpy as np

from models.pixels import GREY_KINDS
from models.timeline import LATENT_HZ, count
from storage.features import DTYPE
from tasks.batches import (
    FEATURES,
    SPEAKER,
    Batch,
    Sample,
    chances,
    collate,
    crop,
    crop_start,
)
from tasks.reframe import (
    Reframing,
    drawn_greys,
    drawn_reframings,
    reframed,
    without_colour,
)
from tasks.sample_store import SampleError, SampleStore
from tasks.train_config import Task, TrainConfig
from tasks.uniform_phonemes import Stretch, drawn_stretches, stretched

if TYPE_CHECKING:
    from models.sizes import VSSFlowConfig

T = TypeVar("T")
ALWAYS = ("visual", "motion", "phonemes")
"""Conditions that every batch has a tensor for."""


class NoTrainingClip(ValueError):
    """A dataset whose training split cannot train a model."""


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """The batch of a step before anything of it is read.

    Attributes:
        picks: index of each sample in the store.
        starts: where its crop begins.
        sizes: its latents that the crop holds.
        tasks: its task.
        length: latents that all are padded to.
        given: conditions that any of the samples can have.
        stretches: how its phonemes are stretched; None where they have their times.
        reframings: how its picture is framed anew; None where it stays as it is.
        greys: whether its picture loses its colour.
    """

    picks: list[int]
    starts: list[int]
    sizes: list[int]
    tasks: tuple[str, ...]
    length: int
    given: tuple[str, ...]
    stretches: tuple[Stretch | None, ...]
    reframings: tuple[Reframing | None, ...]
    greys: tuple[bool, ...]

    def valid(self, padding: str) -> int:
        """Latents of the batch that its loss is a mean of, by `train.padding`."""
        return len(self.picks) * self.length if padding == "signal" else sum(self.sizes)


class TrainingData:
    """The training split of a dataset, its batches planned by step and read from the shards.

    In memory are the index and the small columns; every sample's bytes are checked against the
    hash that was frozen with them when they are read.
    """

    def __init__(
        self,
        workspace_root: str | Path,
        shard_refs: list[str],
        config: TrainConfig,
        *,
        cells: int = 0,
        weights: Sequence[float] = (),
    ) -> None:
        """Builds the index; raises NoTrainingClip where the split holds none, and as `SampleStore`.

        Mixtures alone do not count: training begins with single clips. Raises ValueError where
        pictures shall be framed anew that are not of cells, or lose a colour that they have not.

        Args:
            workspace_root: where the shards lie.
            shard_refs: the dataset's shards.
            config: of the training.
            cells: cells per side of the grids that its sync is; 0 where it is none of pixels.
            weights: how much the error of each latent channel counts; empty for all alike.
        """
        self.config, self.cells, self.weights = config, cells, tuple(weights)
        self.store = SampleStore(workspace_root, shard_refs, "train", check_hashes=True)
        store = self.store
        self.tasks = [str(task) for task in store.column("task")] if len(store) else []
        wanted = config.tasks or get_args(Task)
        self.single = [n for n, task in enumerate(self.tasks) if task in wanted]
        self.mixed = [n for n, task in enumerate(self.tasks) if task == "mixture"]
        if not self.single:
            which = f" of train.tasks={', '.join(config.tasks)}" if config.tasks else ""
            raise NoTrainingClip(
                f"the training split holds no clip{which}; lower split.test or add sources"
            )
        channels = store.column("latent_channels").astype(int)
        values = store.column("latents_bytes").astype(int) // np.dtype(DTYPE).itemsize
        self.latents = values // channels
        self.channels = int(channels[self.single[0]])
        # Features are as wide as their extractor makes them.
        self.widths = {
            name: int(store.column(f"{name}_channels").max())
            for name in ("visual", *FEATURES, SPEAKER)
        }
        self._pools = [
            (pool, chances([self.tasks[index] for index in pool], balance) if pool else None)
            for pool, balance in ((self.single, config.balance), (self.mixed, 0.0))
        ]
        if config.reframe and not cells:
            raise ValueError(
                f"train.reframe={config.reframe} frames coarse pixels anew, and this dataset has "
                "none; set look.sync: pixels, fine_pixels or colour_pixels and build it again, or "
                "train.reframe: 0"
            )
        if config.grey and (not cells or self.widths["sync"] <= GREY_KINDS * cells**2):
            raise ValueError(
                f"train.grey={config.grey} takes away the colour of coarse pixels, and this "
                "dataset's have none; set look.sync: colour_pixels and build it again, or "
                "train.grey: 0"
            )
        # Whether any sample has them decides what is drawn, so it is known before one is read.
        self._features = {name: store.has(name) for name in (*FEATURES, SPEAKER)}

    def plan(self, step: int) -> Plan:
        """The batch of a step; the same for the same step, whatever came before."""
        config = self.config
        generator = np.random.Generator(np.random.Philox(key=[config.seed, step]))
        crop_length = count(config.crop_s, LATENT_HZ)
        mixtures = 0
        if config.has_mixtures(step) and self.mixed:
            mixtures = round(config.batch_size * config.mixture_share)
        picks: list[int] = []
        starts: list[int] = []
        for (pool, chance), size in zip(
            self._pools, (config.batch_size - mixtures, mixtures), strict=True
        ):
            if not size:
                continue
            drawn = generator.choice(len(pool), size=size, p=chance)
            picks += [pool[place] for place in drawn]
            starts += [
                crop_start(int(self.latents[pool[place]]), crop_length, generator)
                for place in drawn
            ]
        sizes = [min(int(self.latents[pick]), crop_length) for pick in picks]
        return Plan(
            picks=picks,
            starts=starts,
            sizes=sizes,
            tasks=tuple(self.tasks[pick] for pick in picks),
            length=bucket(max(sizes), crop_length, config.length_buckets),
            given=(*ALWAYS, *(name for name, has in self._features.items() if has[picks].any())),
            # Drawn last: a share of 0 leaves every other draw as it is.
            stretches=drawn_stretches(len(picks), config.uniform_phonemes, generator),
            reframings=drawn_reframings(len(picks), config.reframe, generator),
            greys=drawn_greys(len(picks), config.grey, generator),
        )

    def read(self, plan: Plan, sizes: "VSSFlowConfig", rows: slice = slice(None)) -> Batch:
        """Some rows of a planned batch, read from the shards; all of them by default.

        Raises SampleError, naming shard and item, for bytes that are not those that were frozen
        and for latents that are not finite numbers; nothing takes their place.
        """
        samples = self.store.read(plan.picks[rows])
        for index, sample in zip(plan.picks[rows], samples, strict=True):
            self._check(index, sample)
        cut = [
            crop(sample, start, size)
            for sample, start, size in zip(
                samples, plan.starts[rows], plan.sizes[rows], strict=True
            )
        ]
        cut = [
            sample if how is None else reframed(sample, how, self.cells)
            for sample, how in zip(cut, plan.reframings[rows], strict=True)
        ]
        cut = [
            without_colour(sample, self.cells) if is_grey else sample
            for sample, is_grey in zip(cut, plan.greys[rows], strict=True)
        ]
        # After the cut: what is said in it must be among its words.
        for sample, stretch in zip(cut, plan.stretches[rows], strict=True):
            if stretch is not None:
                sample["phonemes"] = stretched(sample["phonemes"], stretch)
        # All parts of a batch use the same weights: ranks exchange the gradients of those.
        named = (*FEATURES, SPEAKER)
        widths = {name: self.widths[name] for name in named if name in plan.given}
        return collate(cut, plan.length, sizes.motion_dim, sizes.visual_dim, widths)

    def _check(self, index: int, sample: Sample) -> None:
        for name in ("latents", "visual", "motion", *FEATURES, SPEAKER):
            values = sample.get(name)
            if values is not None and not np.isfinite(values).all():
                shard = self.store.shards[self.store.places[index][0]]
                raise SampleError(
                    f"shard {shard.ref}, item {sample['item_id']}: its {name} hold a number that "
                    "is not finite; redo the stage that made them and build the dataset again"
                )


def bucket(longest: int, crop_length: int, buckets: int) -> int:
    """The shortest of a few lengths that holds `longest`; the longest of them is the crop's.

    Lengths are `buckets` even steps of the crop, each rounded up to the next 0.2 s.
    """
    meet = LATENT_HZ // 5
    for number in range(1, buckets):
        length = -(-crop_length * number // (buckets * meet)) * meet
        if longest <= length < crop_length:
            return length
    return crop_length


class Ahead(Generic[T]):
    """What is made of each step, by threads that begin before it is asked for.

    Without threads it is made when it is asked for.
    """

    def __init__(self, make: Callable[[int], T], end: int, threads: int = 1) -> None:
        """Makes nothing yet; never makes step `end` or later, or more than two a thread ahead."""
        self._make, self._end, self._steps = make, end, 2 * threads
        self._pool = ThreadPoolExecutor(max(1, threads), thread_name_prefix="training-data")
        self._made: dict[int, Future[T]] = {}

    def get(self, step: int) -> T:
        """What `make` returns for a step, or raises; the next steps are begun."""
        if not self._steps:
            return self._make(step)
        wanted = range(step, max(step + 1, min(self._end, step + 1 + self._steps)))
        made = {s: self._made[s] for s in wanted if s in self._made}
        made |= {s: self._pool.submit(self._make, s) for s in wanted if s not in made}
        self._made = made
        return made[step].result()

    def close(self) -> None:
        """Lets go of what was made and ends the threads."""
        self._made = {}
        self._pool.shutdown(wait=True, cancel_futures=True)
