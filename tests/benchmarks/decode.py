"""Measures the decode stage: CPU beside one ffmpeg pass, one worker beside two, memory over hours.

Run it as `.venv/bin/python -m tests.benchmarks.decode --help`. It needs the `ffmpeg` command, and
fetches Big Buck Bunny (CC-BY-3.0, out of moviepy's source archive) into the cache once.
"""

import argparse
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from storage.ids import sha256_file
from storage.stage import ShardRef, ShardTarget
from storage.workspace import Workspace
from tasks.decode import DecodeConfig, decode_shard
from tasks.fetch import FetchSpec, fetch_member

BUNNY = FetchSpec(
    "moviepy",
    "2.2.1",
    "sdist",
    "moviepy-2.2.1/docs/_static/medias/getting_started/moviepy_10_minutes/moviepy_10_minutes.zip",
    "8c22f41b158e40e1b5260f4a8610b05ad909fef9ffe8a375e54023631011f1c9",
    "c80cb56815ece94e5e3e2d361aa40070eeb30a09d23a24c4e684d03e16deacb1",
)
BUNNY_MEMBER = "moviepy_10_minutes/resources/bbb.mp4"
ONE_THREAD = "-threads 1 -filter_threads 1 -filter_complex_threads 1"
SQUARE = r"crop=min(iw\,ih):min(iw\,ih),scale=224:224:flags=area"
JPEG = "-q:v 3 -f mjpeg"
# (b): what our pass yields, scaled once. mono first, as ours, so that one resampling each is left.
GRAPH = (
    f"[0:v]{SQUARE},split[x][y];[x]fps=10[colour];"
    "[y]scale=112:112:flags=area,scdet=t=10,fps=25,format=gray[gray];"
    "[0:a]aformat=channel_layouts=mono,asplit[p][q];"
    "[p]aresample=48000,ebur128=framelog=verbose[a48];[q]aresample=16000[a16]"
)


def ffmpeg(*arguments: str | Path) -> None:
    """Runs ffmpeg; a text is split at its spaces, a path is taken whole."""
    split = [[str(a)] if isinstance(a, Path) else a.split() for a in arguments]
    command = ["ffmpeg", "-v", "error", "-y", "-nostdin", *(one for some in split for one in some)]
    subprocess.run(command, check=True)


# -- media --------------------------------------------------------------------------------------


def bunny(folder: Path) -> Path:
    """Big Buck Bunny: 596 s, 720p24, stereo."""
    path = folder / "bbb.mp4"
    if not path.exists():
        with zipfile.ZipFile(fetch_member(BUNNY)) as archive:
            path.write_bytes(archive.read(BUNNY_MEMBER))
    return path


def made_clips(film: Path, folder: Path, number: int) -> list[Path]:
    """Seeded cuts of a film as h264 and aac: 320 to 720 lines, 3 to 15 s; made once a folder."""
    draw = random.Random(0)
    folder.mkdir(exist_ok=True)
    paths = []
    for index in range(number):
        height = 2 * draw.randint(160, 360)
        start_s, length_s = draw.uniform(0, 570), draw.uniform(3, 15)
        rate_hz = draw.choice((44_100, 48_000))
        path = folder / f"{index:03d}.mp4"
        paths.append(path)
        if path.exists():
            continue
        ffmpeg(
            f"-threads 1 -ss {start_s:.3f} -i", film, f"-t {length_s:.3f} -vf scale=-2:{height}",
            f"-c:v libx264 -preset veryfast -crf 25 -threads 1 -c:a aac -ar {rate_hz}", path,
        )  # fmt: skip
    return paths


def long_film(folder: Path, hours: float, talking: Path | None) -> Path:
    """A film of many hours at one picture a second, made by repeating the packets of a minute.

    It shows what a talking film shows, or a test picture where none is given.
    """
    minute, path = folder / "minute.mkv", folder / f"{hours:g}h.mkv"
    made = "-c:v libx264 -preset ultrafast -c:a aac"
    if talking:
        ffmpeg("-stream_loop -1 -i", talking, f"-t 60 -r 1 {made}", minute)
    else:
        ffmpeg(
            "-f lavfi -i testsrc2=size=320x180:rate=1:duration=60",
            f"-f lavfi -i sine=frequency=440:sample_rate=16000:duration=60 {made} -shortest",
            minute,
        )
    ffmpeg(f"-stream_loop {round(hours * 60) - 1} -i", minute, "-c copy", path)
    return path


# -- what is measured ---------------------------------------------------------------------------


NO_FACES: dict[str, Any] = {"max_faces": 0}  # which no ffmpeg filter finds
PLAIN: dict[str, Any] = {"motion": False}  # 10 fps colour and sound alone


def work(paths: list[str], settings: dict[str, Any]) -> None:
    """Decodes files as one shard, in a workspace that is thrown away: the whole of a worker."""
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace.at(Path(folder) / "workspace").make()
        items = []
        for path in paths:
            facts = Path(path).stat()
            digest = sha256_file(Path(path))
            item = {"item_id": digest, "source_id": digest, "_uri": path}
            item |= {"_size_bytes": facts.st_size, "_mtime_ns": facts.st_mtime_ns}
            items.append(
                item
                | {
                    "cost_s": 600.0,
                    "_fingerprint": "",
                    "_input_hash": "",
                    "_limited_fingerprint": "",
                }
            )
        listed = Path(folder) / "items.parquet"
        pq.write_table(pa.Table.from_pylist(items), listed)
        scratch = workspace.scratch("decode")
        shard = ShardRef("decode", 0, str(listed), "benchmark")
        target = ShardTarget(str(workspace.root), str(scratch))
        result = decode_shard(shard, target, DecodeConfig(**settings))
        if result.rejected:
            raise SystemExit(pq.read_table(result.tables["rejects"]).to_pylist())


def start_worker(paths: list[Path], settings: dict[str, Any]) -> "subprocess.Popen[bytes]":
    """A worker in a process of its own, as the flow starts one."""
    code = f"import sys; from tests.benchmarks.decode import work; work(sys.argv[1:], {settings})"
    command = [sys.executable, "-c", code, *map(str, paths)]
    return subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "1"})


def ours(paths: list[Path], workers: int = 1, settings: dict[str, Any] = NO_FACES) -> None:
    """Our decode stage, with its start: interpreter, libraries, hashes, blobs."""
    running = [start_worker(paths[number::workers], settings) for number in range(workers)]
    if any(worker.wait() for worker in running):
        raise SystemExit("a worker failed")


def ffmpeg_a(paths: list[Path], folder: Path) -> None:
    """One ffmpeg pass a file: 10 fps colour and 48 kHz sound alone."""
    for path in paths:
        ffmpeg(ONE_THREAD, "-i", path, f"-map 0:v -vf fps=10,{SQUARE}", JPEG, folder / "colour",
               "-map 0:a -ac 1 -ar 48000", folder / "48.flac")  # fmt: skip


def ffmpeg_b(paths: list[Path], folder: Path) -> None:
    """One ffmpeg pass a file with all that ours yields."""
    for path in paths:
        ffmpeg(
            ONE_THREAD, "-i", path, f"-filter_complex {GRAPH}",
            "-map [colour]", JPEG, folder / "colour", "-map [gray]", JPEG, folder / "gray",
            "-map [a48]", folder / "48.flac", "-map [a16]", folder / "16.flac",
        )  # fmt: skip


def ffmpeg_nothing(paths: list[Path], folder: Path) -> None:
    """One ffmpeg pass a file that decodes and writes nothing: the floor of any of these."""
    for path in paths:
        ffmpeg(ONE_THREAD, "-i", path, "-f null", folder / "nothing")


def children_cpu_s() -> float:
    """CPU seconds of all children of this process that have ended, and of theirs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measured(call: Callable[[], None]) -> tuple[float, float]:
    """CPU seconds, children included, and wall seconds of a call."""
    cpu_s, wall_s = children_cpu_s(), time.perf_counter()
    call()
    return children_cpu_s() - cpu_s, time.perf_counter() - wall_s


def load() -> str:
    """The machine's load, for the record."""
    return "load " + " ".join(f"{one:.1f}" for one in os.getloadavg())


def measure_speed(name: str, paths: list[Path], repeats: int, folder: Path) -> None:
    """Interleaved runs of ours and of ffmpeg; prints medians of CPU seconds and their ratio."""
    ways = {
        "ours": partial(ours, paths),
        "ffmpeg (a)": partial(ffmpeg_a, paths, folder),
        "ffmpeg (b)": partial(ffmpeg_b, paths, folder),
        "ffmpeg null": partial(ffmpeg_nothing, paths, folder),
        "our start": partial(ours, []),
        "ours + faces": partial(ours, paths, 1, {}),
        "ours plain": partial(ours, paths, 1, PLAIN),
    }
    print(f"\n{name}: {len(paths)} files, median of {repeats} interleaved runs, {load()}")
    took: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    for _ in range(repeats):
        for way, call in ways.items():
            took[way].append(measured(call))
    own_s = statistics.median(cpu_s for cpu_s, _ in took["ours"])
    print(f"{'':<14}{'CPU s':>10}{'least':>10}{'wall s':>10}{'ours / it':>12}")
    for way, runs in took.items():
        cpu_s, wall_s = (statistics.median(column) for column in zip(*runs, strict=True))
        least_s = min(cpu_s for cpu_s, _ in runs)
        print(f"{way:<14}{cpu_s:>10.2f}{least_s:>10.2f}{wall_s:>10.1f}{own_s / cpu_s:>12.2f}")
    print(load())


def measure_workers(paths: list[Path], repeats: int) -> None:
    """Wall seconds of one and of two workers over the same files."""
    print(f"\nworkers over {len(paths)} files, median of {repeats} interleaved runs, {load()}")
    took: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(repeats):
        for workers, runs in took.items():
            runs.append(measured(partial(ours, paths, workers))[1])
    one_s, two_s = (statistics.median(runs) for runs in took.values())
    print(f"one {one_s:.1f} s, two {two_s:.1f} s: {one_s / two_s:.2f}x; {load()}")


def measure_memory(folder: Path, hours: float, talking: Path | None) -> None:
    """The peak memory of decoding a film of many hours; faces are cut out of a talking one."""
    from dataclasses import asdict

    from tasks.decode import FACE_DETECTOR
    from tasks.sandbox import Limits, run_limited
    from tasks.weights import locate

    path = long_film(folder, hours, talking)
    out = folder / "out"
    out.mkdir()
    config = DecodeConfig() if talking else DecodeConfig(max_faces=0)
    arguments = {"path": str(path), "folder": str(out), "config": asdict(config)}
    if talking:
        arguments["detector"] = str(locate(FACE_DETECTOR))
    limits = Limits(wall_s=86_400, cpu_s=86_400, memory_mb=1536, output_mb=32_768)
    result = run_limited("tasks.decode_pass:decode_source", arguments, limits)
    written = sum(file.stat().st_size for file in out.iterdir())
    print(f"\n{result.value['duration_s'] / 3600:.2f} h in {path.stat().st_size >> 20} MiB: "
          f"peak {result.peak_rss_bytes / 1e6:.0f} MB, {result.cpu_s:.0f} CPU s, "
          f"{result.wall_s:.0f} s, wrote {written >> 20} MiB, "
          f"{result.value.get('faces_count')} faces; {load()}")  # fmt: skip


def main() -> None:
    """Measures what the options say."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--media", type=Path, help="folder that keeps the made clips")
    parser.add_argument("--repeats", type=int, default=5, help="interleaved runs")
    parser.add_argument("--clips", type=int, default=200, help="made clips; 0 leaves them out")
    parser.add_argument("--film", action="store_true", help="measure on Big Buck Bunny too")
    parser.add_argument("--workers", action="store_true", help="one worker beside two")
    parser.add_argument("--hours", type=float, default=0.0, help="length of the film for memory")
    parser.add_argument("--talking", type=Path, help="a film whose faces that film shows")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        media = options.media or folder / "media"
        media.mkdir(parents=True, exist_ok=True)
        clips: list[Path] = []
        if options.clips:
            clips = made_clips(bunny(media), media / "clips", options.clips)
            measure_speed("made clips", clips, options.repeats, folder)
        if options.film:
            measure_speed("Big Buck Bunny", [bunny(media)], options.repeats, folder)
        if options.workers and clips:
            measure_workers(clips, options.repeats)
        if options.hours:
            measure_memory(folder, options.hours, options.talking)


if __name__ == "__main__":
    main()
