"""Training by several processes of one machine, each on its part of every batch.

The process that was asked to train is rank 0: it alone reports, saves and writes the checkpoint.
The others keep step with it and end with it. Gradients are averaged by torch's distributed data
parallel, over gloo on CPUs and NCCL on GPUs.
"""

import contextlib
import multiprocessing
import os
import sys
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.train_config import TrainConfig
from tasks.train_device import device_of
from tasks.trainer import Rank, Trainer, sizes_of
from tasks.training_data import TrainingData
from tasks.worker import begin_worker

LOOPBACK = "lo"
PRELOADED = ("torch", "torch._dynamo", "torch.distributed", "models.flow", "models.presets")
MEETING, TOLD = "meeting", "rank-{}.txt"

if TYPE_CHECKING:
    from models.sizes import VSSFlowConfig


@dataclass(frozen=True, slots=True)
class RankJob:
    """What every rank trains: plain values, for processes that share nothing.

    `folder` is where the ranks meet, `saved` the state to go on from.
    """

    workspace: str
    shard_refs: list[str]
    config: TrainConfig
    sizes: "VSSFlowConfig"
    saved: str
    folder: str


class RankFailed(RuntimeError):
    """A rank that failed, and with it the training; says what it told."""


@contextlib.contextmanager
def trainer_of(
    data: TrainingData, workspace: str, shard_refs: list[str], saved: Path, folder: str
) -> Iterator[Trainer]:
    """The trainer of rank 0 at its saved state, with the other ranks at work beside it."""
    config = data.config
    if config.ranks == 1:
        with contextlib.closing(Trainer(data)) as trainer:
            trainer.resume(saved)
            yield trainer
        return
    device_of(config)  # says what is missing before processes are started
    with tempfile.TemporaryDirectory(dir=folder) as meeting:
        job = RankJob(workspace, list(shard_refs), config, sizes_of(data), str(saved), meeting)
        with _beside(job), _joined(job, Rank(0, config.ranks), data) as trainer:
            yield trainer


@contextlib.contextmanager
def _joined(job: RankJob, rank: Rank, data: TrainingData) -> Iterator[Trainer]:
    """A rank's trainer in the group of all ranks."""
    import torch
    from torch import distributed

    device = device_of(job.config, rank.number)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    elif sys.platform == "linux":
        # All ranks are on this machine, whose name need not resolve.
        os.environ.setdefault("GLOO_SOCKET_IFNAME", LOOPBACK)
    distributed.init_process_group(
        "nccl" if device.type == "cuda" else "gloo",
        init_method=f"file://{job.folder}/{MEETING}",
        rank=rank.number,
        world_size=rank.count,
    )
    try:
        with contextlib.closing(Trainer(data, rank, job.sizes)) as trainer:
            trainer.resume(Path(job.saved))
            yield trainer
    finally:
        distributed.destroy_process_group()


@contextlib.contextmanager
def _beside(job: RankJob) -> Iterator[None]:
    """Runs the other ranks; they end with this block. Raises RankFailed where one made it fail."""
    # One clean process loads torch, and every rank is its copy: a start takes no second import.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*PRELOADED, __name__])
    leash_end, leash = context.Pipe(duplex=False)
    others = [
        context.Process(target=train_rank, args=(job, number, leash_end), daemon=True)
        for number in range(1, job.config.ranks)
    ]
    try:
        for process in others:
            process.start()
        yield
        for process in others:
            process.join()
    except Exception as error:
        if told := _told(job, others):
            raise RankFailed(told) from error
        raise
    finally:
        leash.close()
        for process in others:
            if process.pid is not None:
                process.join()
        leash_end.close()


def _told(job: RankJob, others: Sequence[BaseProcess]) -> str:
    """What the first rank that failed by itself said, or how it ended."""
    for number, process in enumerate(others, 1):
        told = Path(job.folder, TOLD.format(number))
        if told.exists():
            return f"rank {number}: {told.read_text('utf-8')}"
        if process.exitcode:
            return f"rank {number} ended with code {process.exitcode}"
    return ""


def train_rank(job: RankJob, number: int, leash: "connection.Connection[bytes, bytes]") -> None:
    """Trains as one of the other ranks, in a process of its own."""
    import torch

    from tasks.train_memory import guarded_step

    begin_worker(leash)
    torch.set_num_threads(job.config.threads)
    try:
        data = TrainingData(job.workspace, job.shard_refs, job.config)
        with _joined(job, Rank(number, job.config.ranks), data) as trainer:
            while trainer.step < job.config.steps:
                guarded_step(trainer)
    except Exception as error:
        traceback.print_exc()
        Path(job.folder, TOLD.format(number)).write_text(str(error), "utf-8")
        sys.exit(1)
