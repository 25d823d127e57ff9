"""Mixes jobs with ours: planned, rendered, measured and checked as the stage `mix` does."""

import os
import sys
from pathlib import Path

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

RATE_HZ = 48_000
CONFIG = MixConfig(regimes={"location": 1.0}, colour_probability=0.0)


def ours(job: Job, out: Path) -> None:
    """Makes one mixture; of one that is rejected, the reason is printed and nothing written."""
    if "room" in os.environ.get("WITH", ""):
        raise SystemExit("ours renders no room yet")
    recipe = plan_recipe(job["item"], CONFIG, RATE_HZ)
    speech, ambience = (
        read(job[parent], job[f"{parent}_start_s"], recipe["duration_s"])
        for parent in ("speech", "ambience")
    )
    try:
        rendered = render(recipe, speech, ambience, CONFIG.max_ambience_gain_db)
        require_levels(rendered.measures, recipe, CONFIG)
    except Rejected as rejected:
        print(rejected)
        return
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
    time_jobs(ours, sys.argv[1:])
