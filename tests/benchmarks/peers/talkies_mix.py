"""Mixes jobs with ours: planned, rendered, measured and checked as the stage `mix` does."""

import functools
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from timed import Job, paths, time_jobs

from models.timeline import index
from storage.ids import canonical_json
from storage.rejects import Rejected
from tasks.levels import Audio
from tasks.media import to_pcm16
from tasks.mix import require_levels
from tasks.mix_plan import MixConfig, plan_recipe
from tasks.mix_render import render
from tasks.rooms import RoomsConfig, simulated

RATE_HZ = 48_000
ROOMS = RoomsConfig()
WITH_ROOM = "room" in os.environ.get("WITH", "")
PLAIN: dict[str, Any] = {"rate_hz": RATE_HZ, "modes": {"add": 1.0}, "speech_devices": {}}
CONFIG = (
    MixConfig(regimes={"broadcast": 1.0}, room_probability=1.0, **PLAIN)
    if WITH_ROOM
    else MixConfig(regimes={"location": 1.0}, **PLAIN)
)


@functools.cache
def room(number: int) -> Audio:
    """A response of the default bank, made once."""
    return simulated(number, ROOMS)[0].astype(np.float32)


def ours(job: Job, out: Path) -> None:
    """Makes one mixture; of one that is rejected, the reason is printed and nothing written."""
    item = job["item"]
    number = job["number"] % ROOMS.count
    if WITH_ROOM:
        item = item | {"room_id": str(number), "room_ref": f"blobs/00/{number}.flac", "t60_s": 0.5}
    recipe = plan_recipe(item, CONFIG)
    if not WITH_ROOM:
        # Everybody gets the levels of the list.
        recipe["requested"]["snr_db"] = job["snr_db"]
    speech, ambience = (
        read(job[parent], job[f"{parent}_start_s"], recipe["duration_s"])
        for parent in ("speech", "ambience")
    )
    try:
        response = room(number) if WITH_ROOM else None
        rendered = render(recipe, speech, ambience, response, CONFIG.max_ambience_gain_db)
        require_levels(rendered.measures, recipe, CONFIG)
    except Rejected as rejected:
        print(rejected)
        return
    rendered.sha256()
    sounds = (rendered.mix, rendered.speech_stem, rendered.ambience_stem)
    files = paths(job, out)
    for path, audio in zip(files, sounds, strict=True):
        soundfile.write(path, to_pcm16(audio.T), RATE_HZ, subtype="PCM_16")
    Path(files[0]).with_suffix(".json").write_text(canonical_json(recipe), encoding="utf-8")


def read(path: str, start_s: float, length_s: float) -> Audio:
    """A piece of a parent as float32 (1, T)."""
    start, stop = index(start_s, RATE_HZ), index(start_s + length_s, RATE_HZ)
    audio, _ = soundfile.read(path, start=start, stop=stop, dtype="float32", always_2d=True)
    return np.asarray(audio.T, dtype=np.float32)


if __name__ == "__main__":
    for number in range(ROOMS.count if WITH_ROOM else 0):
        room(number)
    time_jobs(ours, sys.argv[1:])
