"""Pair finding on made fingerprints: all of many sources, then one more.

    python -m tests.benchmarks.match_sources --sources 100000

Values are drawn at random, as unrelated material has them after a stretch; every hundredth source
is an excerpt of another one, a tenth of its bits wrong. It prints what was found and the seconds.
"""

import argparse
import resource
import time
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from tasks.fingerprint import PICTURE_BITS, PICTURE_STEP_S, SOUND_BITS, SOUND_STEP_S
from tasks.match import MatchConfig
from tasks.match_pairs import find_pairs, picture_sense, sound_sense

EXCERPT_EVERY = 100
WRONG = 0.1


def made(sources: int, seconds: float, seed: int = 0) -> tuple[pa.Table, int]:
    """Fingerprints of sources, and how many of them are excerpts of another."""
    generator = np.random.default_rng(seed)
    columns: dict[str, Any] = {"source_id": [f"{n:064x}" for n in range(sources)]}
    excerpts = np.arange(EXCERPT_EVERY - 1, sources, EXCERPT_EVERY)
    for name, bits, step_s, kind in (
        ("picture", PICTURE_BITS, PICTURE_STEP_S, np.int64),
        ("sound", SOUND_BITS, SOUND_STEP_S, np.int32),
    ):
        length = round(seconds / step_s)
        values = generator.integers(0, 1 << bits, (sources, length), dtype=kind)
        half = length // 2
        for n in excerpts:
            shift = int(generator.integers(0, length - half))
            flips = generator.random((half, bits)) < WRONG * (0.3 if name == "picture" else 1)
            wrong = flips @ (np.int64(1) << np.arange(bits, dtype=np.int64))
            values[n, :half] = values[n - 1, shift : shift + half] ^ wrong.astype(kind)
        offsets = np.arange(0, sources * length + 1, length, dtype=np.int32)
        columns[name] = pa.ListArray.from_arrays(offsets, values.reshape(-1))
    return pa.table(columns), len(excerpts)


def find(connection: duckdb.DuckDBPyConnection, fresh: str) -> dict[str, tuple[int, float, float]]:
    """Kind → pairs found, wall seconds, CPU seconds, where `fresh` is SQL for the new sources."""
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE numbered AS SELECT (row_number() OVER (ORDER BY source_id)"
        f" - 1)::INTEGER AS n, source_id, n {fresh} AS is_fresh FROM fingerprints"
    )
    config = MatchConfig()
    found = {}
    for sense in (
        picture_sense(config.picture_stretch_s, config.picture_distance),
        sound_sense(config.sound_stretch_s, config.sound_distance),
    ):
        wall, cpu = time.perf_counter(), time.process_time()
        pairs = find_pairs(connection, sense, config.max_sources)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        found[sense.kind] = (len(pairs), wall, cpu)
    return found


def main() -> None:
    """Prints a line a run and kind."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sources", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=30.0, help="length of a source")
    parser.add_argument("--memory", default="4GB", help="DuckDB's memory limit")
    options = parser.parse_args()
    fingerprints, excerpts = made(options.sources, options.seconds)
    config = {"memory_limit": options.memory, "threads": "2"}
    connection = duckdb.connect(config=config)
    connection.register("made", fingerprints)
    connection.execute("CREATE TABLE fingerprints AS FROM made")
    connection.unregister("made")
    del fingerprints
    for name, fresh in (("all are new", ">= 0"), ("one is new", f"= {options.sources - 1}")):
        for kind, (pairs, wall, cpu) in find(connection, fresh).items():
            print(f"{name}: {kind}: {pairs} pairs, {excerpts} made; {wall:.1f} s, CPU {cpu:.1f} s")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"peak memory {peak:.1f} GB, made values included")


if __name__ == "__main__":
    main()
