"""CPU-seconds a mixture: ours beside Scaper and lhotse, on the same parents at the same levels.

    .venv/bin/python -m tests.benchmarks.mixtures --number 1000 --peaks

Mixtures are of 10 s at 48 kHz, mono, of the regime location. Each contender reads the same pieces
of the same 16-bit files and writes mix and stems as 16-bit files, one after the other in one
process on one thread; its start and its first mixture lie outside the clock. What each one does:

    talkies  draws the recipe, fades both parents, sets the SNR on speech-active frames, masters to
             -27 LUFS under -2 dBTP; measures SNR, loudness, true peak and sum error of the
             finished stems, checks them, hashes them, and writes the recipe; with room, a response
             of its own bank on the speech, the ambience ducked, and a loudness difference for level
    Scaper   measures the loudness of both parents, sets the difference of loudness, fades the
             speech; measures nothing afterwards; with room, sox's reverb on the mix alone
    lhotse   sets the ratio of the energies of both whole pieces; no fades, no master, measures
             nothing; with room, a random impulse response on the speech

Speech is five read sentences in five orders, with pauses; ambience is the corpus's recordings and
sounds. Levels are measured afterwards on everybody's written stems by the same code.
"""

import argparse
import json
import math
import os
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from models.timeline import AUDIO_HZ, index
from tasks.corpus import CORPUS, TEST_MEDIA
from tasks.draws import rounded
from tasks.fetch import FetchSpec, fetch_members
from tasks.levels import Audio, active_mask, power
from tasks.mix_regimes import REGIMES
from tasks.voice import VoiceConfig, speech_spans
from tests.benchmarks.decode import ffmpeg, load
from tests.benchmarks.peer_environments import ONE_THREAD, environment

RATE_HZ = 48_000
LENGTH_S = 10.0
PAUSE_S = 0.4
PEERS = Path(__file__).parent / "peers"
Job = dict[str, Any]


@dataclass(slots=True)
class Contender:
    """One that makes mixtures.

    Attributes:
        name: as printed.
        tool: which environment and which script under peers/.
        room: whether with the response of a room.
        runs: what each repeat cost.
    """

    name: str
    tool: str
    room: bool = False
    runs: list[dict[str, float]] = field(default_factory=list)

    def make(self, jobs: Path, out: Path) -> None:
        """Makes all mixtures in a process of its own."""
        own = self.tool == "talkies"
        python = sys.executable if own else str(environment(self.tool) / "python")
        command = [python, str(PEERS / f"{self.tool}_mix.py"), str(jobs), str(out)]
        variables = os.environ | ONE_THREAD | {"WITH": "room" if self.room else ""}
        variables["PYTHONPATH"] = str(Path(__file__).parents[2]) if own else ""
        done = subprocess.run(command, env=variables, check=True, stdout=subprocess.PIPE, text=True)
        *said, spent = done.stdout.splitlines()
        self.runs.append(json.loads(spent))
        if said and len(self.runs) == 1:
            print(f"{self.name}: {len(said)} lines, the first: {said[0]}")


# -- parents ------------------------------------------------------------------------------------


def make_parents(folder: Path) -> dict[str, list[Path]]:
    """Speech and ambience as 48 kHz mono files, made once a folder."""
    readings = [file.spec for file in CORPUS if file.path.startswith("librivox/")]
    beds = [file.spec for file in CORPUS if file.path.startswith(("ambience/", "animals/"))]
    beds.append(TEST_MEDIA["applause"])
    # Scaper wants a folder for each label under one for each role.
    speech, ambience = folder / "foreground" / "speech", folder / "background" / "ambience"
    for made in (speech, ambience):
        made.mkdir(parents=True, exist_ok=True)
    sentences = [converted(spec, folder) for spec in readings]
    pause = np.zeros((index(PAUSE_S, RATE_HZ), 1), dtype=np.float32)
    for turn in range(len(sentences)):
        ordered = sentences[turn:] + sentences[:turn]
        sound = np.concatenate([part for one in ordered for part in (pause, one)])
        soundfile.write(speech / f"{turn}.wav", sound, RATE_HZ, subtype="PCM_16")
    for number, spec in enumerate(beds):
        sound = converted(spec, folder)
        # What is shorter is repeated here, since lhotse repeats nothing.
        times = math.ceil(LENGTH_S * RATE_HZ / len(sound))
        path = ambience / f"{number:02d}.wav"
        soundfile.write(path, np.tile(sound, (times, 1)), RATE_HZ, subtype="PCM_16")
    return {"speech": sorted(speech.iterdir()), "ambience": sorted(ambience.iterdir())}


def converted(spec: FetchSpec, folder: Path) -> Audio:
    """A recording as 48 kHz mono (T, 1)."""
    path = folder / "converted.wav"
    ffmpeg("-threads 1 -i", fetch_members([spec])[0], f"-ac 1 -ar {RATE_HZ}", path)
    return read(path)


def spans_of(path: Path, folder: Path) -> list[dict[str, float]]:
    """Where our voice detector hears speech in a parent."""
    low = folder / "low.wav"
    ffmpeg("-threads 1 -i", path, f"-ac 1 -ar {AUDIO_HZ}", low)
    return [dict(span) for span in speech_spans(read(low)[:, 0], VoiceConfig())]


def read(path: Path) -> Audio:
    """A whole file (T, C)."""
    return np.asarray(soundfile.read(path, dtype="float32", always_2d=True)[0], dtype=np.float32)


def draw_jobs(parents: dict[str, list[Path]], number: int, folder: Path) -> list[Job]:
    """Which pieces are mixed, and at which SNR: as our own plan draws it."""
    draw = random.Random(0)
    spans = {path: spans_of(path, folder) for path in parents["speech"]}
    lengths_s = {
        path: soundfile.info(path).duration for paths in parents.values() for path in paths
    }
    location = REGIMES["location"]
    jobs: list[Job] = []
    while len(jobs) < number:
        speech, ambience = draw.choice(parents["speech"]), draw.choice(parents["ambience"])
        # Quarters of a second are exact: of others Scaper may read a sample less, and then fails.
        starts_s = [
            math.floor(draw.uniform(0, lengths_s[path] - LENGTH_S) * 4) / 4
            for path in (speech, ambience)
        ]
        heard = within(spans[speech], starts_s[0])
        item = made_item(speech, ambience, starts_s, heard) | {"take": len(jobs)}
        jobs.append(
            {
                "number": len(jobs),
                "speech": str(speech),
                "speech_start_s": starts_s[0],
                "ambience": str(ambience),
                "ambience_start_s": starts_s[1],
                "snr_db": rounded(location.draw(draw.random())),
                "item": item,
            }
        )
    return jobs


def within(spans: list[dict[str, float]], start_s: float) -> list[dict[str, float]]:
    """The spans of a piece, from its start."""
    moved = [
        {
            "start_s": max(0.0, span["start_s"] - start_s),
            "end_s": min(LENGTH_S, span["end_s"] - start_s),
        }
        for span in spans
    ]
    return [span for span in moved if span["start_s"] < span["end_s"]]


def made_item(
    speech: Path, ambience: Path, starts_s: list[float], spans: list[dict[str, float]]
) -> Job:
    """An item of the stage `mix`, as its query would give it."""
    item: Job = {"speech_spans": spans, "room_id": None, "room_ref": None, "t60_s": None}
    for parent, path, start_s in zip(
        ("speech", "ambience"), (speech, ambience), starts_s, strict=True
    ):
        item |= {
            f"{parent}_clip_id": f"{path.stem}@{start_s}",
            f"{parent}_start_s": start_s,
            f"{parent}_end_s": start_s + LENGTH_S,
            f"{parent}_audio_ref": f"blobs/00/{path.stem}.wav",
            f"{parent}_has_picture": False,
        }
    return item


# -- what was made ------------------------------------------------------------------------------


def check_levels(contender: Contender, jobs: list[Job], out: Path, peaks: bool) -> None:
    """Prints how far the written stems are from what was asked for."""
    errors_db, sums, peaks_dbtp = [], [], []
    for job in jobs:
        files = [out / f"{job['number']:04d}.{part}.wav" for part in ("mix", "speech", "ambience")]
        if not files[0].exists():
            continue
        mix, speech, ambience = (read(file).T for file in files)
        heard = [(span["start_s"], span["end_s"]) for span in job["item"]["speech_spans"]]
        mask = active_mask(heard, mix.shape[1], RATE_HZ)
        ratio = power(speech, mask) / power(ambience, mask)
        errors_db.append(10 * math.log10(ratio) - job["snr_db"])
        sums.append(float(np.max(np.abs(mix - speech - ambience))))
        if peaks:
            peaks_dbtp.append(independent_peak_dbtp(files[0]))
    far_db = np.abs(errors_db)
    print(
        f"{contender.name}: {len(errors_db)} of {len(jobs)} mixtures; achieved - requested SNR "
        f"{np.mean(errors_db):+.3f} ± {np.std(errors_db):.3f} dB, |.| 95 % "
        f"{np.percentile(far_db, 95):.3f}, worst {far_db.max():.3f}; "
        f"mix - stems at most {max(sums):.1e}"
    )
    if peaks_dbtp:
        over = sum(peak > -2.0 for peak in peaks_dbtp)
        print(
            f"{contender.name}: highest true peak by ebur128 {max(peaks_dbtp):.1f} dBTP, "
            f"{over} of {len(peaks_dbtp)} above -2"
        )


def independent_peak_dbtp(path: Path) -> float:
    """The true peak of a file by ffmpeg's ebur128, which shares no code with ours."""
    command = ["ffmpeg", "-hide_banner", "-nostats", "-nostdin", "-threads", "1", "-i", str(path)]
    command += ["-af", "ebur128=peak=true:framelog=verbose", "-f", "null", "-"]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stderr
    return float(re.findall(r"True peak:\s+Peak:\s+(\S+) dBFS", said)[-1])


# -- the run ------------------------------------------------------------------------------------


def compare(
    contenders: list[Contender], jobs: list[Job], repeats: int, folder: Path, peaks: bool
) -> None:
    """Interleaved repeats; prints medians, and the levels of the last repeat."""
    listed = folder / "jobs.json"
    listed.write_text(json.dumps(jobs), encoding="utf-8")
    print(f"\n{len(jobs)} mixtures, median of {repeats} interleaved repeats, {load()}")
    for repeat in range(repeats):
        for contender in contenders:
            out = folder / "out"
            shutil.rmtree(out, ignore_errors=True)
            out.mkdir()
            contender.make(listed, out)
            if repeat == repeats - 1:
                check_levels(contender, jobs, out, peaks)
            shutil.rmtree(out)
    costs_s = {
        one.name: statistics.median(run["cpu_s"] for run in one.runs) / len(jobs)
        for one in contenders
    }
    print(f"{'':<14}{'CPU ms each':>12}{'least':>8}{'most':>8}{'start s':>9}{'it / ours':>11}")
    for one in contenders:
        runs_ms = [1000 * run["cpu_s"] / len(jobs) for run in one.runs]
        start_s = statistics.median(run["start_cpu_s"] for run in one.runs)
        ours_s = costs_s.get("talkies" + (" room" if one.room else ""), math.nan)
        print(
            f"{one.name:<14}{1000 * costs_s[one.name]:>12.2f}{min(runs_ms):>8.2f}"
            f"{max(runs_ms):>8.2f}{start_s:>9.2f}{costs_s[one.name] / ours_s:>11.2f}"
        )
    print(f"{load()} on {os.cpu_count()} cores, {time.strftime('%Y-%m-%d %H:%M')}")


def main() -> None:
    """Compares the contenders that are asked for."""
    sys.stdout.reconfigure(line_buffering=True)  # pyright: ignore[reportAttributeAccessIssue]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--number", type=int, default=1000, help="mixtures a repeat")
    parser.add_argument("--repeats", type=int, default=3, help="interleaved repeats")
    parser.add_argument("--room", action="store_true", help="with the response of a room too")
    parser.add_argument("--peaks", action="store_true", help="true peaks by ffmpeg's ebur128")
    parser.add_argument("--only", nargs="*", help="leave out the other contenders")
    options = parser.parse_args()
    contenders = [Contender(name, name.lower()) for name in ("talkies", "Scaper", "lhotse")]
    if options.room:
        contenders += [Contender(f"{one.name} room", one.tool, True) for one in contenders]
    if options.only:
        contenders = [one for one in contenders if one.name in options.only]
    for one in contenders:
        if one.tool != "talkies":
            environment(one.tool)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        jobs = draw_jobs(make_parents(folder), options.number, folder)
        compare(contenders, jobs, options.repeats, folder, options.peaks)


if __name__ == "__main__":
    main()
