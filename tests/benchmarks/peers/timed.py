"""The clock of every contender: each makes all mixtures of a list, and says what that cost.

Runs under each peer's own Python, so it imports nothing but the standard library.
"""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Job = dict[str, Any]


def time_jobs(mix: Callable[[Job, Path], None], arguments: list[str]) -> None:
    """Makes one mixture outside the clock, then all; prints the cost as the last line.

    Args:
        mix: makes the mixture of a job and writes its three files into a folder.
        arguments: the list of jobs as JSON and the folder.
    """
    listed, out = Path(arguments[0]), Path(arguments[1])
    jobs = json.loads(listed.read_text(encoding="utf-8"))
    mix(jobs[0], out)
    began_cpu_s, began_s = cpu_s(), time.perf_counter()
    for job in jobs:
        mix(job, out)
    spent = {
        "cpu_s": cpu_s() - began_cpu_s,
        "wall_s": time.perf_counter() - began_s,
        "start_cpu_s": began_cpu_s,
    }
    print(json.dumps(spent), flush=True)


def cpu_s() -> float:
    """CPU seconds of this process and of its children that have ended."""
    return sum(os.times()[:4])


def paths(job: Job, out: Path) -> tuple[str, str, str]:
    """Where the mix, the stem of speech and the stem of ambience of a job are written."""
    mix, speech, ambience = (
        str(out / f"{job['number']:04d}.{part}.wav") for part in ("mix", "speech", "ambience")
    )
    return mix, speech, ambience
