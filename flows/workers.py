"""The worker processes of this machine: they run shard functions and never import Prefect."""

import multiprocessing
import threading
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from storage.stage import ShardRef, ShardResult, ShardTarget
from tasks.pipeline import STAGES
from tasks.worker import begin_worker


class WorkerDied(RuntimeError):
    """A worker process ended in the middle of a shard; the shard may be tried again."""


class Workers:
    """A pool of spawned processes that is made anew after one of them died."""

    def __init__(self, size: int) -> None:
        """Starts no process yet."""
        self.size = size
        self._lock = threading.Lock()
        self._pool: ProcessPoolExecutor | None = None

    def run(self, shard: ShardRef, out: ShardTarget, config: Any) -> ShardResult:
        """Works a shard in one of the processes; raises WorkerDied, or what the shard raised."""
        pool, future = self._submit(shard, out, config)
        try:
            return future.result()
        except BrokenProcessPool as error:
            with self._lock:
                if self._pool is pool:
                    pool.shutdown(wait=False, cancel_futures=True)
                    self._pool = None
            raise WorkerDied(
                f"stage {shard.stage}, shard {shard.index}: a worker process died (out of memory?)"
            ) from error

    def _submit(
        self, shard: ShardRef, out: ShardTarget, config: Any
    ) -> tuple[ProcessPoolExecutor, Future[ShardResult]]:
        with self._lock:
            if self._pool is None:
                self._pool = ProcessPoolExecutor(
                    self.size,
                    mp_context=multiprocessing.get_context("spawn"),
                    initializer=begin_worker,
                )
            return self._pool, self._pool.submit(STAGES[shard.stage].run, shard, out, config)

    def close(self) -> None:
        """Ends the processes; shards that wait are dropped."""
        with self._lock:
            if self._pool is not None:
                self._pool.shutdown(wait=False, cancel_futures=True)
                self._pool = None
