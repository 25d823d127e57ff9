"""CPU-seconds of decoding: our stage beside one ffmpeg pass and video2dataset.

    .venv/bin/python -m tests.benchmarks.decode_peers --media FOLDER --clips 40

All are asked for 10 fps at 224 x 224 and 48 kHz mono sound. Ours with `decode.motion: false`, here
"plain", yields 16 kHz sound and loudness besides; as it comes 25 fps gray pictures, faces and cuts
too, as "ffmpeg (b)" does but for the faces. video2dataset writes its frames as a film. What starts
costs once, one clip alone shows, and is subtracted as "less one": that clip's work goes with it.
How video2dataset was mended so that it runs, peers/video2dataset_clips.py says.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.benchmarks.decode import (
    NO_FACES,
    PLAIN,
    bunny,
    ffmpeg_a,
    ffmpeg_b,
    load,
    made_clips,
    measured,
    ours,
)
from tests.benchmarks.peer_environments import environment

MADE = 200
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


def compare(paths: list[Path], first: Path, repeats: int, folder: Path) -> None:
    """Interleaved runs over files, and over one short clip for the start; prints medians."""
    environment("video2dataset")
    ways: dict[str, Callable[[list[Path]], None]] = {
        "plain": lambda given: ours(given, 1, PLAIN),
        "talkies": lambda given: ours(given, 1, {}),
        "no faces": lambda given: ours(given, 1, NO_FACES),
        "ffmpeg (a)": lambda given: ffmpeg_a(given, folder),
        "ffmpeg (b)": lambda given: ffmpeg_b(given, folder),
        "video2dataset": partial(video2dataset, folder),
    }
    print(f"{len(paths)} files, median of {repeats} interleaved runs, {load()}", flush=True)
    costs_s: dict[str, list[float]] = {way: [] for way in ways}
    ones_s: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(repeats):
        for way, call in ways.items():
            costs_s[way].append(measured(partial(call, paths))[0])
            ones_s[way].append(measured(partial(call, [first]))[0])
    figures = {
        way: (cost_s, cost_s - statistics.median(ones_s[way]))
        for way, runs in costs_s.items()
        if (cost_s := statistics.median(runs))
    }
    plain_s, plain_less_s = figures["plain"]
    print(f"{'':<16}{'CPU s':>9}{'x plain':>9}{'less one':>10}{'x plain':>9}   all runs")
    for way, (cost_s, less_s) in figures.items():
        runs = " ".join(f"{one:.1f}" for one in costs_s[way])
        print(
            f"{way:<16}{cost_s:>9.1f}{cost_s / plain_s:>9.2f}"
            f"{less_s:>10.1f}{less_s / plain_less_s:>9.2f}   {runs}"
        )
    print(f"{load()} on {os.cpu_count()} cores", flush=True)


def main() -> None:
    """Compares all on the same files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--media", type=Path, help="folder that keeps the made clips")
    parser.add_argument("--clips", type=int, default=40, help="made clips, evenly of 200")
    parser.add_argument("--film", action="store_true", help="measure on Big Buck Bunny too")
    parser.add_argument("--repeats", type=int, default=3, help="interleaved runs")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        media = options.media or folder / "media"
        media.mkdir(parents=True, exist_ok=True)
        clips = made_clips(bunny(media), media / "clips", MADE)
        chosen = clips[:: MADE // options.clips][: options.clips]
        compare(chosen, clips[0], options.repeats, folder)
        if options.film:
            compare([bunny(media)], clips[0], options.repeats, folder)


if __name__ == "__main__":
    main()
