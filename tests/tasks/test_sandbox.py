import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from storage.rejects import Rejected
from tasks.sandbox import Limits, SandboxError, close_zygotes, run_limited

LIMITS = Limits(wall_s=20, cpu_s=10, memory_mb=512, output_mb=4)
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module", autouse=True)
def _end_zygotes() -> Iterator[None]:
    yield
    close_zygotes()


# What runs in the child.


def echo(**arguments: Any) -> dict[str, Any]:
    return arguments | {"pid": os.getpid(), "zygote": os.getppid()}


def sleep_on() -> dict[str, Any]:
    time.sleep(600)
    return {}


def burn() -> dict[str, Any]:
    while True:
        pass


def allocate() -> dict[str, Any]:
    return {"sum": int(np.ones(2 << 30, np.uint8).sum())}


def allocate_slowly() -> dict[str, Any]:
    kept = []
    while True:
        kept.append(bytearray(8 << 20))


def segfault() -> dict[str, Any]:
    os.write(2, b"[h264 @ 0x55d0c0ffee00] about to fall\n")
    os.kill(os.getpid(), signal.SIGSEGV)
    return {}


def starve() -> dict[str, Any]:
    os.write(2, b"terminate called after throwing an instance of 'std::bad_alloc'\n")
    os.abort()


def leave() -> dict[str, Any]:
    os._exit(3)


def write_much(path: str) -> dict[str, Any]:
    with open(path, "wb") as stream:
        for _ in range(16):
            stream.write(bytes(1 << 20))
    return {}


def make_noise() -> dict[str, Any]:
    for _ in range(20_000):
        os.write(1, b"noise on stdout {}\n")
        os.write(2, b"noise on stderr []\n")
    return {"kept": True}


def answer_much() -> dict[str, Any]:
    return {"text": "x" * (32 << 20)}


def reject() -> dict[str, Any]:
    raise Rejected("damaged", "clip 1: broken; get another copy", {"at_s": 1.5})


def mistake() -> dict[str, Any]:
    raise KeyError("no such thing")


def run(name: str, limits: Limits = LIMITS, **arguments: Any) -> dict[str, Any]:
    return run_limited(f"{__name__}:{name}", arguments, limits).value


def test_a_value_comes_back_and_each_call_has_a_fork_of_its_own() -> None:
    odd = 'a "quoted"\nname \udcff é'
    first, second = run("echo", text=odd), run("echo", text=odd)
    assert first["text"] == odd
    assert first["pid"] != second["pid"] != os.getpid()
    assert first["zygote"] == second["zygote"]


def test_cpu_wall_and_memory_of_a_call_are_measured() -> None:
    result = run_limited(f"{__name__}:echo", {}, LIMITS)
    assert 0 <= result.cpu_s < 5
    assert 0 < result.wall_s < 5
    assert 5 << 20 < result.peak_rss_bytes < 2 << 30


@pytest.mark.parametrize(
    ("name", "limits", "reason"),
    [
        ("sleep_on", Limits(0.3, 10, 512, 4), "timeout"),
        ("burn", Limits(20, 1, 512, 4), "cpu_limit"),
        ("allocate", LIMITS, "out_of_memory"),
        ("allocate_slowly", LIMITS, "out_of_memory"),
        ("starve", LIMITS, "out_of_memory"),
        ("segfault", LIMITS, "crashed"),
        ("leave", LIMITS, "crashed"),
        ("answer_much", LIMITS, "output_too_large"),
    ],
)
def test_what_ends_a_call_is_its_reason_and_the_next_call_works(
    name: str, limits: Limits, reason: str
) -> None:
    started = time.monotonic()
    with pytest.raises(Rejected) as caught:
        run(name, limits)
    assert caught.value.reason == reason
    assert time.monotonic() - started < 10
    assert run("echo", number=1)["number"] == 1


def test_a_file_larger_than_the_limit_is_output_too_large(tmp_path: Path) -> None:
    with pytest.raises(Rejected) as caught:
        run("write_much", path=str(tmp_path / "much"))
    assert caught.value.reason == "output_too_large"
    assert (tmp_path / "much").stat().st_size <= 4 << 20


def test_a_crash_names_its_signal_and_keeps_the_log_without_addresses() -> None:
    with pytest.raises(Rejected, match="SIGSEGV") as caught:
        run("segfault")
    assert caught.value.facts["log"] == "[h264] about to fall"


def test_noise_on_stdout_and_stderr_does_not_reach_the_answer(
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert run("make_noise") == {"kept": True}
    assert capfd.readouterr() == ("", "")


def test_a_reject_travels_with_its_reason_message_and_facts() -> None:
    with pytest.raises(Rejected) as caught:
        run("reject")
    assert (caught.value.reason, caught.value.facts) == ("damaged", {"at_s": 1.5})
    assert caught.value.message == "clip 1: broken; get another copy"


def test_a_mistake_in_the_function_raises_with_the_childs_traceback() -> None:
    with pytest.raises(SandboxError, match="no such thing"):
        run("mistake")
    with pytest.raises(SandboxError, match="nowhere"):
        run_limited("tasks.nowhere:nothing", {}, LIMITS)


def test_a_killed_zygote_is_started_again() -> None:
    before = run("echo")["zygote"]
    os.kill(before, signal.SIGKILL)
    assert run("echo")["zygote"] != before


def test_threads_run_beside_each_other() -> None:
    started = time.monotonic()
    threads = [threading.Thread(target=_time_out) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert time.monotonic() - started < 6


def _time_out() -> None:
    with pytest.raises(Rejected):
        run("sleep_on", Limits(1.0, 10, 512, 4))


def test_zygote_and_fork_end_when_the_worker_is_killed() -> None:
    code = (
        "import sys; from tasks.sandbox import *\n"
        f"L = Limits(60, 60, 512, 4); f = '{__name__}:'\n"
        "print(run_limited(f + 'echo', {}, L).value['zygote'], flush=True)\n"
        "run_limited(f + 'sleep_on', {}, L)"
    )
    worker = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=ROOT, text=True
    )
    assert worker.stdout is not None
    zygote = int(worker.stdout.readline())
    child = _wait_for(lambda: _children(zygote))[0]
    worker.kill()
    worker.wait()
    worker.stdout.close()
    _wait_for(lambda: not _runs(zygote) and not _runs(child))


def _children(process: int) -> list[int]:
    return [int(p) for p in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def _runs(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def _wait_for(claim: Any) -> Any:
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        if found := claim():
            return found
        time.sleep(0.05)
    raise AssertionError("it did not come true within 15 s")
