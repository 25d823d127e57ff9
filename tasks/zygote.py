"""The process that forks for `tasks/sandbox.py`: one fork a call, watched until it ends.

It has one thread, so a fork of it is sound, and it loads what a function's module imports before
the first call, so a fork costs milliseconds.
"""

import ctypes
import gc
import importlib
import json
import math
import os
import re
import resource
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any, NoReturn

from storage.rejects import Rejected
from tasks.sandbox import GRACE_S, HEARTBEAT_MS, Limits, memory_message, read_line, write_all

LOG_TAIL_BYTES = 2_048
MAX_ANSWER_BYTES = 16 << 20
ADDRESS = re.compile(r" @ 0x[0-9a-f]+")  # libav prints pointers, which differ at every run
PR_SET_PDEATHSIG = 1


def serve(requests: int, answers: int) -> None:
    """Works one request after another until the worker closes the pipe or dies."""
    worker = os.getppid()
    while True:
        line = read_line(requests, None, lambda: os.getppid() == worker)
        if not line:
            return
        report = _fork_and_watch(json.loads(line), requests, answers, worker)
        if report is None:
            return
        write_all(answers, json.dumps(report).encode() + b"\n")


def _fork_and_watch(
    request: dict[str, Any], requests: int, answers: int, worker: int
) -> dict[str, Any] | None:
    """Runs one call in a fork; returns its report, or None where the worker is gone."""
    limits = Limits(**request["limits"])
    report: dict[str, Any] = dict.fromkeys(("signal", "exit_code"))
    report |= {"overdue": False, "flooded": False, "log": "", "answer": ""}
    report |= {"cpu_s": 0.0, "wall_s": 0.0, "peak_rss_bytes": 0, "added_bytes": 0}
    try:
        module, _, name = request["function"].partition(":")
        function = getattr(importlib.import_module(module), name)
    except Exception:
        return report | {"answer": _answer("error", traceback.format_exc())}
    # What is loaded lives on: no collection in the fork walks it, and so copies its pages.
    gc.freeze()
    started = time.monotonic()
    pipe, child_pipe = os.pipe()
    log, child_log = os.pipe()
    child = os.fork()
    if child == 0:
        for descriptor in (requests, answers, pipe, log):
            os.close(descriptor)
        _be_the_child(function, request["arguments"], limits, child_pipe, child_log)
    os.close(child_pipe)
    os.close(child_log)
    watched = _watch(pipe, log, requests, worker, started + limits.wall_s + GRACE_S)
    if watched is None or watched["overdue"] or watched["flooded"]:
        os.kill(child, signal.SIGKILL)
    _, status, usage = os.wait4(child, 0)
    os.close(pipe)
    os.close(log)
    if watched is None:
        return None
    code = os.waitstatus_to_exitcode(status)
    baseline = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    peak = usage.ru_maxrss << 10
    used = {
        "signal": -code if code < 0 else None,
        "exit_code": code,
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "wall_s": time.monotonic() - started,
        "peak_rss_bytes": peak,
        "added_bytes": peak - baseline,
    }
    return report | watched | used


def _watch(
    pipe: int, log: int, requests: int, worker: int, deadline: float
) -> dict[str, Any] | None:
    """Reads the child's answer and the tail of its log until both end.

    Returns None where the worker is gone.
    """
    answer, tail = b"", b""
    poll = select.poll()
    for descriptor in (pipe, log, requests):
        poll.register(descriptor, select.POLLIN)
    open_ends = {pipe, log}
    while open_ends:
        ready = {descriptor for descriptor, _ in poll.poll(HEARTBEAT_MS)}
        # The worker sends nothing while it waits, so a readable request pipe is its end.
        if requests in ready or os.getppid() != worker:
            return None
        for descriptor in ready:
            chunk = os.read(descriptor, 1 << 16)
            if not chunk:
                poll.unregister(descriptor)
                open_ends.discard(descriptor)
            elif descriptor == pipe:
                answer += chunk
            else:
                tail = (tail + chunk)[-LOG_TAIL_BYTES:]
        flooded, overdue = len(answer) > MAX_ANSWER_BYTES, time.monotonic() > deadline
        if flooded or overdue:
            return {"flooded": flooded, "overdue": overdue}
    text = ADDRESS.sub("", tail.decode(errors="replace")).strip()
    whole = answer.decode(errors="replace")
    return {"answer": whole, "log": text, "flooded": False, "overdue": False}


# -- the child's side --------------------------------------------------------------------------


def _be_the_child(
    function: Callable[..., Any], arguments: dict[str, Any], limits: Limits, pipe: int, log: int
) -> NoReturn:
    try:
        os.dup2(log, 1)
        os.dup2(log, 2)
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        _take_limits(limits)
        write_all(pipe, _run(function, arguments, limits).encode())
    finally:
        os._exit(0)


def _take_limits(limits: Limits) -> None:
    for number in (signal.SIGALRM, signal.SIGXCPU, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)  # death by the signal, also inside C code
    signal.setitimer(signal.ITIMER_REAL, limits.wall_s)
    cpu_s, size = math.ceil(limits.cpu_s), limits.output_mb << 20
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s + 2))
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    memory = _address_space_bytes() + (limits.memory_mb << 20)
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))


def _address_space_bytes() -> int:
    try:
        with open("/proc/self/statm") as stream:
            return int(stream.read().split()[0]) * resource.getpagesize()
    except OSError:
        return 1 << 30


def _run(function: Callable[..., Any], arguments: dict[str, Any], limits: Limits) -> str:
    try:
        return _answer("value", function(**arguments))
    except Rejected as reject:
        content = {"reason": reject.reason, "message": reject.message, "facts": reject.facts}
        return _answer("rejected", content)
    except Exception as error:
        # OpenCV has an exception of its own for a failed allocation.
        if isinstance(error, MemoryError) or "Insufficient memory" in str(error):
            content = {"message": memory_message(limits.memory_mb), "facts": {}}
            return _answer("rejected", {"reason": "out_of_memory"} | content)
        return _answer("error", traceback.format_exc())


def _answer(kind: str, content: Any) -> str:
    return json.dumps({"kind": kind, "content": content})


if __name__ == "__main__":
    serve(int(sys.argv[1]), int(sys.argv[2]))
