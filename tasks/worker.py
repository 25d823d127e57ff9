"""What a worker process does before its first shard; it never imports Prefect."""

import os
import signal
import threading
from multiprocessing import connection, parent_process, util


def begin_worker(leash: "connection.Connection[bytes, bytes]") -> None:
    """Holds libraries to one thread, and ends the worker when its parent is gone or lets go.

    A worker whose parent was killed would otherwise wait for work for ever. A Ctrl-C in the
    terminal reaches the whole process group, and is the parent's to handle.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    # Threads that wait for each other spin by default: eight times the time where others compute.
    # To spin a little costs nothing where nobody does; not to spin at all costs half as much again.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    watch = threading.Thread(target=_end_with_parent, args=(leash,), daemon=True)
    watch.name = "parent-watch"
    watch.start()


def _end_with_parent(leash: "connection.Connection[bytes, bytes]") -> None:
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel, leash])
        try:
            # Libraries hold named semaphores (tqdm does), of which their tracker would complain.
            util._run_finalizers(0)  # pyright: ignore[reportAttributeAccessIssue]
        finally:
            os._exit(1)
