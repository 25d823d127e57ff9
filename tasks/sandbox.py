"""Runs a function on hostile input in a child process that can be killed.

A worker keeps a *zygote*: a light process with one thread that has the decoders loaded. For each
call the zygote forks once. The fork takes limits on wall time, CPU, memory and file size, runs
`module:function` on JSON arguments and answers with JSON, never with pickle: what ran on hostile
bytes is not trusted. Arrays travel as files. A hang, a crash or a bomb therefore costs one call.

The zygote (`tasks/zygote.py`) ends when the worker does, its fork dies with it, and a zygote that
was killed is started again by the next call.
"""

import atexit
import json
import math
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from typing import Any

from storage.rejects import Rejected

GRACE_S = 5.0  # how much longer than a limit the next process up waits before it kills
HEARTBEAT_MS = 1_000
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}


class SandboxError(RuntimeError):
    """The function itself failed with something other than `Rejected`: a programming error."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one call may use.

    Attributes:
        wall_s: seconds from start to end.
        cpu_s: CPU seconds, rounded up to whole ones.
        memory_mb: address space that the call may add to what the zygote has loaded, in MiB.
        output_mb: size of the largest file that the call may write, in MiB.
    """

    wall_s: float
    cpu_s: float
    memory_mb: int
    output_mb: int


@dataclass(frozen=True, slots=True)
class SandboxResult:
    """What a call returned and what it used; `peak_rss_bytes` includes the loaded libraries."""

    value: dict[str, Any]
    cpu_s: float
    wall_s: float
    peak_rss_bytes: int


# -- the worker's side -------------------------------------------------------------------------


def run_limited(function: str, arguments: dict[str, Any], limits: Limits) -> SandboxResult:
    """Runs `module:function(**arguments)` in a fresh fork and returns its value.

    The function takes and returns what JSON holds. Raises Rejected with the reason that the
    function raised itself, or `timeout`, `cpu_limit`, `out_of_memory`, `output_too_large`,
    `crashed`; SandboxError, with the child's traceback, where it raised anything else.
    """
    request = {"function": function, "arguments": arguments, "limits": asdict(limits)}
    for _ in range(2):
        with _borrowed_zygote() as zygote:
            report = zygote.ask(request, limits.wall_s + 2 * GRACE_S)
        if report is not None:
            return _judge(report, limits)
        if (zygote.exit_code or 0) > 0:
            raise SandboxError(f"{function}: the process that runs it failed; see its traceback")
    raise Rejected("crashed", f"{function}: the process that runs it died twice; drop the file")


def _judge(report: dict[str, Any], limits: Limits) -> SandboxResult:
    facts = {"log": report["log"]} if report["log"] else {}
    killed = _limit_hit(report, limits)
    if killed:
        raise Rejected(killed[0], killed[1], facts)
    try:
        answer = json.loads(report["answer"])
        kind, content = answer["kind"], answer["content"]
    except (ValueError, TypeError, KeyError):
        code = report["exit_code"]
        raise Rejected("crashed", f"the child gave no answer, exit code {code}", facts) from None
    if kind == "rejected":
        raise Rejected(content["reason"], content["message"], content["facts"] | facts)
    if kind == "error":
        raise SandboxError(content)
    used = (report["cpu_s"], report["wall_s"], report["peak_rss_bytes"])
    return SandboxResult(content, *used)


def _limit_hit(report: dict[str, Any], limits: Limits) -> tuple[str, str] | None:
    """The reason and message where a limit or a signal ended the child, else None."""
    number = report["signal"]
    if report["overdue"] or number == signal.SIGALRM:
        return "timeout", f"not done after {limits.wall_s:g} s; raise wall_limit_s or drop the file"
    if number == signal.SIGXCPU:
        cpu_s = math.ceil(limits.cpu_s)
        return "cpu_limit", f"used {cpu_s} CPU seconds; raise cpu_limit_s or drop the file"
    if number == signal.SIGXFSZ or report["flooded"]:
        size = f"{limits.output_mb} MiB"
        return "output_too_large", f"wrote more than {size}; raise output_limit_mb or drop the file"
    if number is None:
        return None
    # A C library that does not check its allocations dies of the limit by one of these signals.
    fatal = (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGTRAP)
    starved = report["added_bytes"] > 0.9 * (limits.memory_mb << 20) or "bad_alloc" in report["log"]
    if number in fatal and starved:
        return "out_of_memory", memory_message(limits.memory_mb)
    name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
    return "crashed", f"the child was ended by {name}; get another copy or drop the file"


def memory_message(memory_mb: int) -> str:
    """What a person reads where decoding ran out of memory."""
    return f"needed more than {memory_mb} MiB; raise memory_limit_mb or drop the file"


class _Zygote:
    """The worker's handle of one zygote process."""

    def __init__(self) -> None:
        request, self._requests = os.pipe()
        self._answers, answer = os.pipe()
        folders = [os.path.abspath(path) for path in sys.path]
        environment = os.environ | ONE_THREAD | {"PYTHONPATH": os.pathsep.join(folders)}
        # A session of its own: a Ctrl-C in the terminal is the worker's to handle.
        self.is_sound = True  # false once an answer failed to come: a late one must not be read
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "tasks.zygote", str(request), str(answer)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=(request, answer),
            env=environment,
            start_new_session=True,
        )
        os.close(request)
        os.close(answer)

    def ask(self, request: dict[str, Any], limit_s: float) -> dict[str, Any] | None:
        """The zygote's report of a call, or None where the zygote is dead or hangs."""
        self.is_sound = False
        try:
            write_all(self._requests, json.dumps(request).encode() + b"\n")
            line = read_line(self._answers, time.monotonic() + limit_s)
        except OSError:
            return None
        self.is_sound = bool(line)
        return json.loads(line) if line else None

    @property
    def exit_code(self) -> int | None:
        return self._process.returncode

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def close(self) -> None:
        """Ends the zygote: it leaves by itself when its request pipe closes, else it is killed."""
        for descriptor in (self._requests, self._answers):
            with suppress(OSError):
                os.close(descriptor)
        try:
            self._process.wait(timeout=GRACE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


_idle: dict[int, list[_Zygote]] = {}  # by the process that started them: a fork has its own
_lock = threading.Lock()


@contextmanager
def _borrowed_zygote() -> Iterator[_Zygote]:
    """A zygote that no other thread uses; an idle one where there is one."""
    owner = os.getpid()
    with _lock:
        mine = _idle.get(owner, [])
        zygote = mine.pop() if mine else None
    if zygote is not None and not zygote.is_alive():
        zygote.close()
        zygote = None
    zygote = zygote or _Zygote()
    try:
        yield zygote
    finally:
        if zygote.is_sound:
            with _lock:
                _idle.setdefault(owner, []).append(zygote)
        else:
            zygote.close()


@atexit.register
def close_zygotes() -> None:
    """Ends the idle zygotes of this process; the next call starts a new one."""
    with _lock:
        mine = _idle.pop(os.getpid(), [])
    for zygote in mine:
        zygote.close()


# -- pipes, used by both sides -----------------------------------------------------------------


def write_all(descriptor: int, data: bytes) -> None:
    """Writes all of the data to a pipe."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def read_line(
    descriptor: int, deadline: float | None, goes_on: Callable[[], bool] = lambda: True
) -> bytes:
    """One line, or nothing where the pipe ends, the deadline passes or `goes_on` turns false."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    line = bytearray()
    while not line.endswith(b"\n"):
        if not goes_on() or (deadline is not None and time.monotonic() > deadline):
            return b""
        if not poll.poll(HEARTBEAT_MS):
            continue
        chunk = os.read(descriptor, 1 << 16)
        if not chunk:
            return b""
        line += chunk
    return bytes(line)
