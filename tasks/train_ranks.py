"""Training by several processes, each on its part of every batch.

The process that was asked to train is rank 0: it alone reports, saves and writes the checkpoint.
The others keep step with it and end with it. It starts them on its machine itself, or torchrun has
started them on any (`tasks.torchrun`). Gradients are averaged by torch's distributed data
parallel, over gloo on CPUs and NCCL on GPUs. With `train.sharding: full` each keeps a part of the
model in place of all of it (`models.sharding`); rank 0 has it whole, on the CPU, when it saves.
"""

import contextlib
import dataclasses
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
from typing import TYPE_CHECKING, Any

from tasks import torchrun
from tasks.train_config import TrainConfig
from tasks.train_device import Rank, device_of
from tasks.trainer import Trainer, sizes_of
from tasks.training_data import TrainingData
from tasks.worker import begin_worker

LOOPBACK = "lo"
PRELOADED = ("torch", "torch._dynamo", "torch.distributed", "models.flow", "models.presets")
BY_TORCHRUN = "env://"
GRACE_S = 10.0
"""How long the end of a rank that broke an exchange may take to be known."""
MEETING, TOLD = "meeting", "rank-{}.txt"

if TYPE_CHECKING:
    from models.sizes import VSSFlowConfig


@dataclass(frozen=True, slots=True)
class RankJob:
    """What every rank trains: plain values, for processes that share nothing.

    `saved` is the state to go on from, `meeting` where the ranks find each other, `weights` what
    the error of each latent channel counts.
    """

    workspace: str
    shard_refs: list[str]
    config: TrainConfig
    sizes: "VSSFlowConfig"
    saved: str
    meeting: str
    weights: tuple[float, ...] = ()


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
    told = workspace, list(shard_refs), config, sizes_of(data), str(saved)
    job = RankJob(*told, BY_TORCHRUN, data.weights)
    if torchrun.is_launched():
        torchrun.announce(job)
        with _joined(job, torchrun.own_rank(), data) as trainer:
            yield trainer
        return
    device_of(config, _spawned(0, config))  # says what is missing before processes are started
    with tempfile.TemporaryDirectory(dir=folder) as own:
        job = dataclasses.replace(job, meeting=f"file://{own}/{MEETING}")
        with _beside(job, Path(own)), _joined(job, _spawned(0, config), data) as trainer:
            yield trainer


def _spawned(number: int, config: TrainConfig) -> Rank:
    return Rank(number, config.ranks, number, config.ranks)


@contextlib.contextmanager
def _joined(job: RankJob, rank: Rank, data: TrainingData) -> Iterator[Trainer]:
    """A rank's trainer in the group of all ranks, at the saved state.

    Raises ValueError where not all ranks find the same state.
    """
    import torch
    from torch import distributed

    device = device_of(job.config, rank)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    elif sys.platform == "linux" and job.meeting != BY_TORCHRUN:
        # All ranks are on this machine, whose name need not resolve.
        os.environ.setdefault("GLOO_SOCKET_IFNAME", LOOPBACK)
    distributed.init_process_group(
        "nccl" if device.type == "cuda" else "gloo",
        init_method=job.meeting,
        rank=rank.number,
        world_size=rank.count,
    )
    try:
        with contextlib.closing(Trainer(data, rank, job.sizes)) as trainer:
            trainer.resume(Path(job.saved))
            steps: list[Any] = [None] * rank.count
            distributed.all_gather_object(steps, trainer.step)
            if len(set(steps)) > 1:
                raise ValueError(
                    f"the ranks go on from steps {steps}: all machines must share the workspace's "
                    "folder, where the state lies"
                )
            yield trainer
    finally:
        distributed.destroy_process_group()


@contextlib.contextmanager
def _beside(job: RankJob, folder: Path) -> Iterator[None]:
    """Runs the other ranks; they end with this block. Raises RankFailed where one made it fail."""
    from torch.distributed import DistError

    # One clean process loads torch, and every rank is its copy: a start takes no second import.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*PRELOADED, __name__])
    leash_end, leash = context.Pipe(duplex=False)
    others = [
        context.Process(target=train_rank, args=(job, number, str(folder), leash_end), daemon=True)
        for number in range(1, job.config.ranks)
    ]
    try:
        for process in others:
            process.start()
        yield
        for process in others:
            process.join()
    except RuntimeError as error:
        # Of another rank's end this one learns by an exchange that fails with a plain error.
        if type(error) is not RuntimeError and not isinstance(error, DistError):
            raise
        connection.wait([process.sentinel for process in others], GRACE_S)
        if told := _told(folder, others):
            raise RankFailed(told) from error
        raise
    finally:
        leash.close()
        for process in others:
            if process.pid is not None:
                process.join()
        leash_end.close()


def _told(folder: Path, others: Sequence[BaseProcess]) -> str:
    """What the rank that failed first said, or how it ended; the others failed for its sake."""
    for number, process in enumerate(others, 1):
        if (process.exitcode or 0) < 0:
            return f"rank {number} ended with code {process.exitcode}"
    told = sorted(folder.glob(TOLD.format("*")), key=lambda path: path.stat().st_mtime_ns)
    return f"{told[0].stem.replace('-', ' ')}: {told[0].read_text('utf-8')}" if told else ""


def train_rank(
    job: RankJob, number: int, folder: str, leash: "connection.Connection[bytes, bytes]"
) -> None:
    """Trains as one of the other ranks, in a process of its own."""
    begin_worker(leash)
    try:
        _train_along(job, _spawned(number, job.config))
    except Exception as error:
        traceback.print_exc()
        Path(folder, TOLD.format(number)).write_text(str(error), "utf-8")
        sys.exit(1)


def follow() -> None:
    """Trains along, as one of the other ranks that torchrun has started, what rank 0 trains."""
    if (job := torchrun.awaited()) is not None:
        _train_along(job, torchrun.own_rank())


def _train_along(job: RankJob, rank: Rank) -> None:
    import torch

    from tasks.train_memory import guarded_step

    torch.set_num_threads(job.config.threads)
    data = TrainingData(
        job.workspace,
        job.shard_refs,
        job.config,
        cells=job.sizes.sync_cells,
        weights=job.weights,
    )
    with _joined(job, rank, data) as trainer:
        while trainer.step < job.config.steps:
            guarded_step(trainer)
