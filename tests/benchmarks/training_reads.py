"""Samples a second that reach the training process, from our shards and from others' formats.

    .venv/bin/python -m tests.benchmarks.training_reads

Every contender gives shuffled batches of stacked tensors, and every page of them is touched. Files
are made in --folder and read from the page cache. With the package `webdataset` in the environment
it takes part too; put it into one of its own, never into the project's.
"""

import argparse
import importlib.util
import io
import os
import random
import statistics
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from torch.utils.data import DataLoader, IterableDataset, default_collate, get_worker_info

from tasks.sample_store import SampleStore
from tasks.snapshot import SHARD_ITEMS, _packed, _write_samples
from tasks.stream import StreamConfig, TrainingStream

SHAPES = {"latents": (250, 128), "visual": (100, 1280), "motion": (250, 559)}
BUFFER_SAMPLES = 256
PAGE_BYTES = 4096
Read = Callable[[], Iterable[dict[str, torch.Tensor]]]


def made_samples(number: int) -> Iterator[dict[str, Any]]:
    """Samples of 0.6 MB: ten seconds of latents, frames and motion in fp16."""
    rng = np.random.default_rng(0)
    for place in range(number):
        arrays = {n: rng.standard_normal(s, np.float32) for n, s in SHAPES.items()}
        yield {
            "item_id": f"{place:032d}",
            "task": "v2s",
            "split": "train",
            **_packed("latents", "latent_channels", arrays["latents"]),
            **_packed("visual", "visual_channels", arrays["visual"]),
            **_packed("motion", "motion_channels", arrays["motion"]),
            **_packed("sync", "sync_channels", None),
            **_packed("lips", "lips_channels", None),
            **_packed("speaker", "speaker_channels", None),
            "phonemes": np.zeros(250, np.int16).tobytes(),
        }


def write(folder: Path, number: int) -> tuple[list[str], list[str]]:
    """Writes the samples as our shards and as tar shards; prints MB/s of each."""
    refs, tars = [], []
    seconds = {"ours": 0.0, "tar": 0.0}
    samples = made_samples(number)
    for start in range(0, number, SHARD_ITEMS):
        part = [next(samples) for _ in range(min(SHARD_ITEMS, number - start))]
        began = time.perf_counter()
        refs.append(_write_samples(str(folder), part))
        seconds["ours"] += time.perf_counter() - began
        began = time.perf_counter()
        tars.append(str(folder / f"{start:06d}.tar"))
        with tarfile.open(tars[-1], "w") as tar:
            for sample in part:
                for name in SHAPES:
                    info = tarfile.TarInfo(f"{sample['item_id']}.{name}")
                    info.size = len(sample[name])
                    tar.addfile(info, io.BytesIO(sample[name]))
        seconds["tar"] += time.perf_counter() - began
    total = sum(int(np.prod(s)) for s in SHAPES.values()) * 2 * number / 1e6
    print(f"{number} samples, {total / number:.2f} MB each; write MB/s: ", end="")
    print(", ".join(f"{name} {total / s:.0f}" for name, s in seconds.items()))
    return refs, tars


def array(name: str, data: bytes) -> np.ndarray:
    """A view of a sample's bytes."""
    return np.frombuffer(bytearray(data), np.float16).reshape(SHAPES[name])


def collate(samples: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    """Stacked tensors; in a worker of a DataLoader they are made in shared memory."""
    return default_collate([{name: sample[name] for name in SHAPES} for sample in samples])


def mixed(samples: Iterable[dict], rng: random.Random) -> Iterator[dict]:
    """The samples through a shuffle buffer."""
    buffer: list[dict] = []
    for sample in samples:
        buffer.append(sample)
        if len(buffer) >= BUFFER_SAMPLES:
            place = rng.randrange(len(buffer))
            buffer[place], buffer[-1] = buffer[-1], buffer[place]
            yield buffer.pop()
    rng.shuffle(buffer)
    yield from buffer


class Tar(IterableDataset):
    """WebDataset's format read with tarfile: shards dealt to workers, a shuffle buffer."""

    def __init__(self, tars: list[str]) -> None:
        self.tars = tars

    def __iter__(self) -> Iterator[dict]:
        worker = get_worker_info()
        mine = self.tars[worker.id :: worker.num_workers] if worker else list(self.tars)
        rng = random.Random()
        rng.shuffle(mine)
        yield from mixed((s for path in mine for s in self._shard(path)), rng)

    def _shard(self, path: str) -> Iterator[dict]:
        sample: dict[str, Any] = {}
        with tarfile.open(path, "r|", bufsize=1 << 20) as tar:
            for member in tar:
                key, name = member.name.split(".", 1)
                if sample and sample["key"] != key:
                    yield sample
                    sample = {}
                stream = tar.extractfile(member)
                assert stream is not None
                sample["key"] = key
                sample[name] = array(name, stream.read())
        yield sample


class NaiveParquet(IterableDataset):
    """Our shards by row groups and `to_pylist`, shuffled as ours are."""

    def __init__(self, paths: list[str]) -> None:
        self.paths = paths

    def __iter__(self) -> Iterator[dict]:
        worker = get_worker_info()
        files = [pq.ParquetFile(path) for path in self.paths]
        groups = [(f, g) for f in files for g in range(f.metadata.num_row_groups)]
        rng = random.Random(0)
        rng.shuffle(groups)
        mine = groups[worker.id :: worker.num_workers] if worker else groups
        rows = (row for f, g in mine for row in f.read_row_group(g).to_pylist())
        yield from mixed(({n: array(n, row[n]) for n in SHAPES} for row in rows), rng)


def contenders(
    folder: Path, refs: list[str], tars: list[str], workers: int, batch: int
) -> dict[str, Read]:
    """Each contender by its name, as a function that starts one epoch."""
    store = SampleStore(folder, refs, "train")

    def stream() -> TrainingStream:
        config = StreamConfig(batch, seed=random.randrange(1 << 30))
        return TrainingStream(store, config, collate)

    def loader(dataset: IterableDataset, workers: int = workers) -> DataLoader:
        return DataLoader(dataset, batch_size=batch, num_workers=workers, collate_fn=collate)

    def ours_in_processes() -> Iterator[dict[str, torch.Tensor]]:
        for step in DataLoader(stream(), batch_size=None, num_workers=workers):
            yield step.batch

    paths = [str(folder / ref) for ref in refs]
    found: dict[str, Read] = {
        "ours, threads": lambda: stream().batches(workers),
        "ours, DataLoader": ours_in_processes,
        "parquet, to_pylist": lambda: loader(NaiveParquet(paths)),
        "tar, tarfile": lambda: loader(Tar(tars)),
        "tar, in process": lambda: loader(Tar(tars), 0),
    }
    if importlib.util.find_spec("webdataset"):
        import webdataset  # pyright: ignore[reportMissingImports]

        def read_web(workers: int = workers) -> DataLoader:
            web = webdataset.WebDataset(tars, shardshuffle=100, empty_check=False)
            web = web.shuffle(BUFFER_SAMPLES)
            return loader(web.map(lambda s: {n: array(n, s[n]) for n in SHAPES}), workers)

        found[f"webdataset {webdataset.__version__}"] = read_web
        found["webdataset, in process"] = lambda: read_web(0)
    return found


def rate(read: Read, samples: int) -> float:
    """Samples a second of one epoch, started workers included."""
    began, seen = time.perf_counter(), 0
    for batch in read():
        for tensor in batch.values():
            tensor.flatten().view(torch.uint8)[::PAGE_BYTES].sum()
        seen += len(batch["latents"])
    if seen != samples:
        raise RuntimeError(f"an epoch gave {seen} of {samples} samples")
    return samples / (time.perf_counter() - began)


def print_random_access(folder: Path, refs: list[str]) -> None:
    """Times 1,000 samples by random index."""
    began = time.perf_counter()
    store = SampleStore(folder, refs, "train")
    built_ms = 1e3 * (time.perf_counter() - began)
    times_ms = []
    for index in random.choices(range(len(store)), k=1000):
        began = time.perf_counter()
        store[index]
        times_ms.append(1e3 * (time.perf_counter() - began))
    times_ms.sort()
    print(
        f"random access: median {times_ms[500]:.2f} ms, 99 % {times_ms[990]:.2f} ms, "
        f"most {times_ms[-1]:.2f} ms; index of {len(store)} samples built in {built_ms:.0f} ms"
    )


def main() -> None:
    """Makes the data, times every contender in turn and prints medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="where to make the data; else temporary")
    parser.add_argument("--samples", type=int, default=4000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        refs, tars = write(Path(folder), options.samples)
        print_random_access(Path(folder), refs)
        reads = contenders(Path(folder), refs, tars, options.workers, options.batch)
        rates: dict[str, list[float]] = {name: [] for name in reads}
        for _ in range(options.repeats + 1):
            for name, read in reads.items():
                rates[name].append(rate(read, options.samples))
        # The first epoch fills the page cache and counts for nobody.
        medians = {name: statistics.median(found[1:]) for name, found in rates.items()}
    tars = [n for n in medians if n.startswith(("tar", "webdataset")) and "in process" not in n]
    tar = max(medians[name] for name in tars)
    print(f"{options.workers} workers, batches of {options.batch}, {options.repeats} epochs")
    for name, value in medians.items():
        spread = f"{min(rates[name][1:]):.0f}-{max(rates[name][1:]):.0f}"
        print(f"{name:22} {value:6.0f} samples/s ({spread}), {value / tar:.2f} x tar with workers")
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
