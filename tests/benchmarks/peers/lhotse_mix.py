"""Mixes jobs with lhotse: the energies of whole cuts in ratio. No fades, nothing is measured."""

import functools
import os
import sys
from pathlib import Path

import soundfile
from lhotse import MonoCut, Recording  # pyright: ignore[reportMissingImports]
from timed import Job, paths, time_jobs

LENGTH_S = 10.0


@functools.cache
def whole(path: str) -> MonoCut:
    """A parent's manifest, made once."""
    return Recording.from_file(path).to_cut()


def mix(job: Job, out: Path) -> None:
    """Makes one mixture lazily and loads its tracks, whose sum is the mix."""
    speech = whole(job["speech"]).truncate(offset=job["speech_start_s"], duration=LENGTH_S)
    ambience = whole(job["ambience"]).truncate(offset=job["ambience_start_s"], duration=LENGTH_S)
    if "room" in os.environ.get("WITH", ""):
        number = job["number"]
        speech = speech.reverb_rir(room_rng_seed=number, source_rng_seed=number)
    mixed = speech.mix(ambience, snr=job["snr_db"])
    tracks = mixed.load_audio(mixed=False)
    for path, audio in zip(paths(job, out), (tracks[0] + tracks[1], *tracks), strict=True):
        soundfile.write(path, audio.T, mixed.sampling_rate, subtype="PCM_16")


if __name__ == "__main__":
    time_jobs(mix, sys.argv[1:])
