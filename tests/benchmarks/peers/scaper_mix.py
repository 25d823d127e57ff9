"""Mixes jobs with Scaper: loudness difference, fades on the speech, its sound in memory.

Scaper writes 32-bit files and can be told no other; so it is asked for arrays, which are written
here as 16-bit files as everybody's. No JAMS file is written, though Scaper builds its content.
"""

import os
import sys
import warnings
from pathlib import Path

import scaper  # pyright: ignore[reportMissingImports]
import soundfile
from timed import Job, paths, time_jobs

RATE_HZ = 48_000
LENGTH_S = 10.0
FADE_S = 0.015
BACKGROUND_LUFS = -37.0
"""So that even speech 20 LU above it does not clip."""
REVERB = 0.3


def mix(job: Job, out: Path) -> None:
    """Makes one mixture as Scaper's documentation does, with everything given."""
    speech, ambience = Path(job["speech"]), Path(job["ambience"])
    scape = scaper.Scaper(
        LENGTH_S, str(speech.parent.parent), str(ambience.parent.parent), random_state=0
    )
    scape.sr, scape.n_channels, scape.ref_db = RATE_HZ, 1, BACKGROUND_LUFS
    scape.fade_in_len = scape.fade_out_len = FADE_S
    scape.add_background(
        label=("const", ambience.parent.name),
        source_file=("const", str(ambience)),
        source_time=("const", job["ambience_start_s"]),
    )
    scape.add_event(
        label=("const", speech.parent.name),
        source_file=("const", str(speech)),
        source_time=("const", job["speech_start_s"]),
        event_time=("const", 0),
        event_duration=("const", LENGTH_S),
        snr=("const", job["snr_db"]),
        pitch_shift=None,
        time_stretch=None,
    )
    sound, _, _, events = scape.generate(
        fix_clipping=True, reverb=REVERB if "room" in os.environ.get("WITH", "") else None
    )
    background, foreground = events
    for path, audio in zip(paths(job, out), (sound, foreground, background), strict=True):
        soundfile.write(path, audio, RATE_HZ, subtype="PCM_16")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    time_jobs(mix, sys.argv[1:])
