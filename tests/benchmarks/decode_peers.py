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
from collections.abc import Callable, Mapping, Sequence
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


Costs = dict[str, list[float]]


WAYS: dict[str, Callable[[Path, list[Path]], None]] = {
    "plain": lambda _, given: ours(given, 1, PLAIN),
    "talkies": lambda _, given: ours(given, 1, {}),
    "no faces": lambda _, given: ours(given, 1, NO_FACES),
    "ffmpeg (a)": lambda folder, given: ffmpeg_a(given, folder),
    "ffmpeg (b)": lambda folder, given: ffmpeg_b(given, folder),
    "video2dataset": video2dataset,
}
"""All ways by what the table calls them: given a folder for what they make, and the files."""


def measure(
    groups: Mapping[str, list[Path]], names: Sequence[str], repeats: int, folder: Path
) -> dict[str, Costs]:
    """CPU seconds of each way by group of files, interleaved; prints each as it comes."""
    ways = {name: partial(WAYS[name], folder) for name in names}
    costs_s: dict[str, Costs] = {group: {way: [] for way in ways} for group in groups}
    for _ in range(repeats):
        for group, paths in groups.items():
            for way, call in ways.items():
                cost_s = measured(partial(call, paths))[0]
                costs_s[group][way].append(cost_s)
                print(f"{group}: {way} {cost_s:.2f} CPU s, {load()}", flush=True)
    return costs_s


def show(group: str, costs_s: Costs, ones_s: Costs) -> None:
    """Prints the medians of a group, and without what one clip costs, each over the plain pass."""
    print(f"\n{group:<16}{'CPU s':>9}{'x plain':>9}{'less one':>10}{'x plain':>9}")
    cost_s, one_s = (
        {way: statistics.median(runs) for way, runs in costs.items()} for costs in (costs_s, ones_s)
    )
    less_s = {way: cost - one_s[way] for way, cost in cost_s.items()}
    for way, cost in cost_s.items():
        print(
            f"{way:<16}{cost:>9.2f}{cost / cost_s['plain']:>9.2f}"
            f"{less_s[way]:>10.2f}{less_s[way] / less_s['plain']:>9.2f}"
        )


def main() -> None:
    """Compares all on the same files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--media", type=Path, help="folder that keeps the made clips")
    parser.add_argument("--clips", type=int, default=40, help="made clips, evenly of 200")
    parser.add_argument("--repeats", type=int, default=3, help="interleaved runs")
    parser.add_argument("--film", action="store_true", help="measure on Big Buck Bunny too")
    parser.add_argument(
        "--ways", nargs="+", choices=list(WAYS), default=list(WAYS), help="plain is always measured"
    )
    options = parser.parse_args()
    names = ["plain", *(name for name in options.ways if name != "plain")]
    if "video2dataset" in names:
        environment("video2dataset")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        media = options.media or folder / "media"
        media.mkdir(parents=True, exist_ok=True)
        clips = made_clips(bunny(media), media / "clips", MADE)
        chosen = clips[:: MADE // options.clips][: options.clips]
        groups = {"one clip": clips[:1], "clips": chosen}
        if options.film:
            groups["film"] = [bunny(media)]
        costs_s = measure(groups, names, options.repeats, folder)
        for group in list(groups)[1:]:
            show(f"{group} ({len(groups[group])})", costs_s[group], costs_s["one clip"])
    print(f"{load()} on {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
