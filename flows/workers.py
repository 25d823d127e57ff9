"""The worker processes of this machine: they run shard functions and never import Prefect."""

import multiprocessing
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any

from storage.stage import ShardRef, ShardResult, ShardTarget
from tasks.pipeline import STAGES
from tasks.worker import begin_worker


class WorkerDied(RuntimeError):
    """A worker process ended in the middle of a shard; the shard may be tried again."""


class Stopped(RuntimeError):
    """The workers were closed while a shard was worked or waited."""


class Workers:
    """Spawned processes, each for one shard at a time.

    Each is a pool of its own, so that the death of one costs no other shard its work.
    """

    def __init__(self, size: int) -> None:
        """Starts no process yet."""
        self._slots = threading.BoundedSemaphore(size)
        self._lock = threading.Lock()
        self._idle: list[ProcessPoolExecutor] = []
        self._context = multiprocessing.get_context("spawn")
        self._leash_end, self._leash = self._context.Pipe(duplex=False)
        self._closed = False

    def run(self, shard: ShardRef, out: ShardTarget, config: Any) -> ShardResult:
        """Works a shard in a process.

        Raises WorkerDied, Stopped after `close`, or what the shard raised.
        """
        with self._slots, self._process() as process:
            try:
                return process.submit(STAGES[shard.stage].run, shard, out, config).result()
            except BrokenProcessPool as error:
                if self._closed:
                    raise Stopped(f"stage {shard.stage}, shard {shard.index}: stopped") from None
                raise WorkerDied(
                    f"stage {shard.stage}, shard {shard.index}: "
                    "the worker process died (out of memory?)"
                ) from error

    @contextmanager
    def _process(self) -> Iterator[ProcessPoolExecutor]:
        """The process that worked last, which has its networks loaded; else a new one."""
        with self._lock:
            if self._closed:
                raise Stopped("the worker processes are closed")
            process = self._idle.pop() if self._idle else self._new_process()
        died = False
        try:
            yield process
        except WorkerDied:
            died = True
            raise
        finally:
            with self._lock:
                keep = not died and not self._closed
                if keep:
                    self._idle.append(process)
            if not keep:
                process.shutdown(wait=False, cancel_futures=True)

    def _new_process(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(
            1, self._context, initializer=begin_worker, initargs=(self._leash_end,)
        )

    def close(self) -> None:
        """Ends the processes at once, also those in the middle of a shard."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        self._leash.close()
        for process in idle:
            process.shutdown()
        self._leash_end.close()
