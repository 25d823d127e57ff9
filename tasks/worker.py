"""What a worker process does before its first shard; it never imports Prefect."""

import os
import threading
from multiprocessing import connection, parent_process


def begin_worker() -> None:
    """Holds libraries to one thread, and ends the worker when its parent is gone.

    A worker whose parent was killed would otherwise wait for work for ever.
    """
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    threading.Thread(target=_end_with_parent, daemon=True, name="parent-watch").start()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
