"""Measures the catalog: commits, queries before and after compaction, a writer beside readers.

Run it as `.venv/bin/python -m tests.benchmarks.catalog_commits --help`.
"""

import argparse
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import duckdb

from storage.catalog import Catalog
from storage.compact import compact, table_files
from storage.workspace import Workspace
from tests.made_commits import CLIP_TABLES, STAGE, begin, made_shard

QUERIES = {
    "count": "SELECT count(*) FROM {windows}",
    "group by kind": "SELECT kind, kept, count(*) FROM {kinds} GROUP BY ALL ORDER BY ALL",
    "filter": "SELECT count(*), avg(speech_s) FROM {listens} WHERE speech_s > 50",
    "join": "SELECT k.kind, sum(w.duration_s) FROM {windows} w JOIN {kinds} k USING (clip_id) "
    "WHERE k.kept GROUP BY ALL",
    "anti-join": "SELECT count(*) FROM {windows} w ANTI JOIN {progress} p ON p.item_id = w.clip_id",
    "one clip": "SELECT * FROM {transcripts} WHERE clip_id = '00000010000000000000000000000010'",
}
WITNESSES = " UNION ALL ".join(f"SELECT count(*) AS rows FROM {name}" for name in CLIP_TABLES)


def median_s(work: Callable[[], Any], times: int) -> float:
    """The median wall seconds of some work."""
    took = []
    for _ in range(times):
        started = time.perf_counter()
        work()
        took.append(time.perf_counter() - started)
    return statistics.median(took)


def measure_commits(workspace: Workspace, shards: int, clips: int) -> None:
    """Commits shards one after the other; prints commits/s of the first and the last hundred."""
    took = []
    with Catalog(workspace) as catalog:
        begin(catalog)
        for number in range(shards):
            result = made_shard(workspace.scratch("made", str(number)), number, clips)
            started = time.perf_counter()
            catalog.commit(STAGE, result, False)
            took.append(time.perf_counter() - started)
    edge = min(100, max(1, shards // 2))
    first, last = statistics.median(took[:edge]), statistics.median(took[-edge:])
    print(f"\n{shards} commits of {clips} clips in {len(CLIP_TABLES) + 1} tables")
    print(f"{'':<24}{'median ms':>10}{'mean ms':>10}{'commits/s':>11}")
    for name, part in (("first", took[:edge]), ("last", took[-edge:]), ("all", took)):
        mean = statistics.fmean(part)
        label = f"{name} {len(part)}"
        print(f"{label:<24}{1e3 * statistics.median(part):>10.1f}{1e3 * mean:>10.1f}"
              f"{1 / mean:>11.2f}")  # fmt: skip
    print(f"last / first: {last / first:.2f}")


def query_times(run: Callable[[str], Any], name: Callable[[str], str], times: int) -> list[float]:
    """The median seconds of each query."""
    tables = {table: name(table) for table in (*CLIP_TABLES, "progress")}
    texts = [sql.format(**tables) for sql in QUERIES.values()]
    return [median_s(partial(run, text), times) for text in texts]


def measure_queries(workspace: Workspace, times: int) -> None:
    """Times queries before and after compaction, and on the same rows as one file a table."""
    names = (*CLIP_TABLES, "progress")
    with Catalog(workspace) as catalog:
        before = query_times(catalog.rows, lambda table: f"lake.{table}", times)
        files = sum(table.files for table in table_files(catalog))
        started = time.perf_counter()
        compact(catalog, apply=True)
        compact_s = time.perf_counter() - started
        fewer = sum(table.files for table in table_files(catalog))
    with tempfile.TemporaryDirectory() as folder:
        with Catalog(workspace, read_only=True) as catalog:
            after = query_times(catalog.rows, lambda table: f"lake.{table}", times)
            for table in names:
                catalog.connection.execute(f"COPY lake.{table} TO '{folder}/{table}.parquet'")
        with Catalog(Workspace.at(Path(folder) / "lake").make()) as lake:
            for table in names:
                lake.connection.execute(
                    f"INSERT INTO lake.{table} BY NAME FROM '{folder}/{table}.parquet'"
                )
            one_commit = query_times(lake.rows, lambda table: f"lake.{table}", times)
        with duckdb.connect() as plain:
            on_plain = query_times(
                lambda sql: plain.execute(sql).fetchall(),
                lambda table: f"read_parquet('{folder}/{table}.parquet')",
                times,
            )
    print(f"\nqueries, median of {times} (ms); compact: {compact_s:.1f} s, {files} → {fewer} files")
    heads = ("query", "before", "after", "one commit", "plain file", "after/one")
    print("".join(f"{head:>14}" for head in heads))
    for name, *took, plain_s in zip(QUERIES, before, after, one_commit, on_plain, strict=True):
        cells = "".join(f"{1e3 * seconds:>14.1f}" for seconds in (*took, plain_s))
        print(f"{name:>14}{cells}{took[1] / took[2]:>14.2f}")


def read_on(root: str, clips: int, stop: Event, answers: Any) -> None:
    """Reads until told to stop; answers (reads, inconsistent reads, errors, median seconds)."""
    reads, torn, errors, took = 0, 0, [], []
    try:
        with Catalog(Workspace.at(root), read_only=True) as catalog:
            while not stop.is_set():
                started = time.perf_counter()
                counts = {row["rows"] for row in catalog.rows(WITNESSES)}
                took.append(time.perf_counter() - started)
                reads += 1
                torn += len(counts) != 1 or any(count % clips for count in counts)
    except Exception as error:
        errors.append(repr(error))
    answers.put((reads, torn, errors, statistics.median(took or [0.0])))


def measure_readers(workspace: Workspace, readers: int, seconds: float, clips: int) -> None:
    """One writer that commits beside readers that compare the tables' row counts."""
    context = multiprocessing.get_context("spawn")
    stop, answers = context.Event(), context.Queue()
    with Catalog(workspace) as catalog:
        begin(catalog)
        started_readers = [
            context.Process(target=read_on, args=(str(workspace.root), clips, stop, answers))
            for _ in range(readers)
        ]
        for process in started_readers:
            process.start()
        commits, until = 0, time.monotonic() + seconds
        while time.monotonic() < until:
            folder = workspace.scratch("made", str(commits))
            catalog.commit(STAGE, made_shard(folder, commits, clips))
            commits += 1
        stop.set()
        found = [answers.get(timeout=60) for _ in started_readers]
        for process in started_readers:
            process.join()
    print(f"\none writer and {readers} readers for {seconds:g} s: {commits} commits")
    print(f"{'reader':<8}{'reads':>8}{'torn':>6}{'errors':>8}{'median ms':>11}")
    for number, (reads, torn, errors, read_s) in enumerate(found):
        print(f"{number:<8}{reads:>8}{torn:>6}{len(errors):>8}{1e3 * read_s:>11.1f}")
        for error in errors:
            print(f"  {error}")


def main() -> None:
    """Measures what the options say, in a temporary workspace."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shards", type=int, default=1000, help="commits")
    parser.add_argument("--clips", type=int, default=100, help="clips of one commit")
    parser.add_argument("--repeats", type=int, default=9, help="runs of each query")
    parser.add_argument("--readers", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=60.0, help="of writing beside readers")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        first = Workspace.at(Path(folder) / "commits").make()
        measure_commits(first, options.shards, options.clips)
        measure_queries(first, options.repeats)
        second = Workspace.at(Path(folder) / "readers").make()
        measure_readers(second, options.readers, options.seconds, options.clips)


if __name__ == "__main__":
    main()
