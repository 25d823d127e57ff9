"""CPU-seconds of decoding made clips: our stage beside video2dataset.

    .venv/bin/python -m tests.benchmarks.decode_peers --media FOLDER --clips 40

Both run one process over all clips and get the same cut of work asked: 10 fps at 224 x 224 and
48 kHz mono sound. Ours yields besides 25 fps grey pictures, 16 kHz sound, loudness and scene
scores; video2dataset writes its frames as a film. Each pays for its start, which is measured with
one clip alone too. How video2dataset was mended so that it runs, peers/video2dataset_clips.py says.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import tempfile
from functools import partial
from pathlib import Path

from tests.benchmarks.decode import bunny, load, made_clips, measured, ours
from tests.benchmarks.peer_environments import environment

SCRIPT = Path(__file__).parent / "peers" / "video2dataset_clips.py"


def video2dataset(folder: Path, paths: list[Path]) -> None:
    """Runs it over clips in a fresh folder; raises SystemExit where a clip is missing after."""
    out = folder / "out"
    shutil.rmtree(out, ignore_errors=True)
    variables = os.environ | {"PYTHONPATH": ""}
    command = [str(environment("video2dataset") / "python"), str(SCRIPT), str(out)]
    done = subprocess.run(
        [*command, *map(str, paths)], env=variables, check=True, capture_output=True, text=True
    )
    films, sounds = (len(list(out.rglob(f"*.{kind}"))) for kind in ("mp4", "wav"))
    if (films, sounds) != (len(paths), len(paths)):
        raise SystemExit(
            f"{films} films and {sounds} sounds of {len(paths)}: {done.stderr[-2000:]}"
        )


def compare(paths: list[Path], repeats: int, folder: Path) -> None:
    """Interleaved runs over all clips and over one; prints medians and ratios."""
    environment("video2dataset")
    ways = {"talkies": ours, "video2dataset": partial(video2dataset, folder)}
    print(f"{len(paths)} clips, median of {repeats} interleaved runs, {load()}", flush=True)
    costs_s: dict[str, list[float]] = {way: [] for way in ways}
    ones_s: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(repeats):
        for way, call in ways.items():
            costs_s[way].append(measured(partial(call, paths))[0])
            ones_s[way].append(measured(partial(call, paths[:1]))[0])
    own_s, own_each_s = figures(costs_s["talkies"], ones_s["talkies"], len(paths))
    print(f"{'':<16}{'CPU s':>9}{'a clip':>9}{'less start':>12}{'x ours':>9}{'less start':>12}")
    for way in ways:
        cost_s, each_s = figures(costs_s[way], ones_s[way], len(paths))
        print(
            f"{way:<16}{cost_s:>9.1f}{cost_s / len(paths):>9.3f}{each_s:>12.3f}"
            f"{cost_s / own_s:>9.2f}{each_s / own_each_s:>12.2f}"
        )
    print(f"{load()} on {os.cpu_count()} cores")


def figures(costs_s: list[float], ones_s: list[float], number: int) -> tuple[float, float]:
    """The median cost of all clips, and what each further one cost after the first."""
    cost_s = statistics.median(costs_s)
    return cost_s, (cost_s - statistics.median(ones_s)) / (number - 1)


def main() -> None:
    """Compares both on the same clips."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--media", type=Path, help="folder that keeps the made clips")
    parser.add_argument("--clips", type=int, default=40, help="made clips, two at least")
    parser.add_argument("--repeats", type=int, default=3, help="interleaved runs")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        media = options.media or folder / "media"
        media.mkdir(parents=True, exist_ok=True)
        clips = made_clips(bunny(media), media / "clips", options.clips)
        compare(clips, options.repeats, folder)


if __name__ == "__main__":
    main()
