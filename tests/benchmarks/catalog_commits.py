"""Measures the catalog: commits, queries after compaction, writers and readers at once, kills.

Run it as `.venv/bin/python -m tests.benchmarks.catalog_commits --help`.
"""

import argparse
import multiprocessing
import os
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
from tests.made_commits import CLIP_TABLES, STAGE, begin, made_shard, other_machine
from tests.made_server import PASSWORD, running_server
from tests.storage.test_kill import kill_often

QUERIES = {
    "count": "SELECT count(*) FROM {windows}",
    "group by kind": "SELECT kind, kept, count(*) FROM {kinds} GROUP BY ALL ORDER BY ALL",
    "filter": "SELECT count(*), avg(speech_s) FROM {listens} WHERE speech_s > 50",
    "join": "SELECT k.kind, sum(w.duration_s) FROM {windows} w JOIN {kinds} k USING (clip_id) "
    "WHERE k.kept GROUP BY ALL",
    "anti-join": "SELECT count(*) FROM {windows} w ANTI JOIN {progress} p ON p.item_id = w.clip_id",
    "one clip": "SELECT * FROM {transcripts} WHERE clip_id = '00000010000000000000000000000010'",
}
ONLY = ["commits", "readers", "writers"]
WITNESSES = " UNION ALL ".join(f"SELECT count(*) AS rows FROM {name}" for name in CLIP_TABLES)


def kind(workspace: Workspace) -> str:
    """The kind of database that holds the metadata."""
    return "PostgreSQL" if workspace.catalog_url else "SQLite"


def median_s(work: Callable[[], Any], times: int) -> float:
    """The median wall seconds of some work."""
    took = []
    for _ in range(times):
        started = time.perf_counter()
        work()
        took.append(time.perf_counter() - started)
    return statistics.median(took)


def measure_commits(workspace: Workspace, shards: int, clips: int) -> None:
    """Commits shards one after the other; prints commits/s of the first and the last hundred.

    The CPU seconds are those of this process: on a busy machine they tell growth from waiting.
    """
    took: list[float] = []
    worked: list[float] = []
    with Catalog(workspace) as catalog:
        begin(catalog)
        for number in range(shards):
            result = made_shard(workspace.scratch("made", str(number)), number, clips)
            started, begun = time.perf_counter(), time.process_time()
            # As the flow does: the plan knows that none of the items was done before.
            catalog.commit(STAGE, result, again=False)
            took.append(time.perf_counter() - started)
            worked.append(time.process_time() - begun)
    edge = min(100, max(1, shards // 2))
    print(
        f"\n{kind(workspace)}: {shards} commits of {clips} clips in {len(CLIP_TABLES) + 1} tables"
    )
    print(f"{'':<24}{'median ms':>10}{'mean ms':>10}{'commits/s':>11}{'CPU ms':>9}")
    spans = (("first", slice(edge)), ("last", slice(-edge, None)), ("all", slice(None)))
    for name, span in spans:
        mean, label = statistics.fmean(took[span]), f"{name} {len(took[span])}"
        print(f"{label:<24}{1e3 * statistics.median(took[span]):>10.1f}{1e3 * mean:>10.1f}"
              f"{1 / mean:>11.2f}{1e3 * statistics.median(worked[span]):>9.1f}")  # fmt: skip
    grown = (
        statistics.median(times[-edge:]) / statistics.median(times[:edge])
        for times in (took, worked)
    )
    print("last / first: {:.2f}, of CPU time {:.2f}".format(*grown))


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


def write_on(room: Workspace, writer: int, commits: int, clips: int, answers: Any) -> None:
    """Commits shards of its own; answers (commits that succeeded, errors)."""
    done, errors = 0, []
    with Catalog(room) as catalog:
        for number in range(commits):
            shard = writer * commits + number
            try:
                result = made_shard(room.scratch("made", str(number)), shard, clips)
                catalog.commit(STAGE, result, again=False)
                done += 1
            except Exception as error:
                errors.append(repr(error))
    answers.put((done, errors))


def measure_writers(room: Workspace, writers: int, commits: int, clips: int) -> None:
    """Several machines' writers at once; prints what was acknowledged and what is there."""
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    with Catalog(room) as catalog:
        begin(catalog)
    folders = [other_machine(room, room.root / "machines" / str(n)) for n in range(writers)]
    started = time.perf_counter()
    processes = [
        context.Process(target=write_on, args=(folder, number, commits, clips, answers))
        for number, folder in enumerate(folders)
    ]
    for process in processes:
        process.start()
    found = [answers.get(timeout=1800) for _ in processes]
    took_s = time.perf_counter() - started
    for process in processes:
        process.join()
    keys = {**dict.fromkeys(CLIP_TABLES, "clip_id"), "progress": "item_id"}
    counted = " UNION ALL ".join(
        f"SELECT count(*) AS rows, count(DISTINCT {key}) AS items FROM lake.{table}"
        for table, key in keys.items()
    )
    with Catalog(room, read_only=True) as catalog:
        counts = {(row["rows"], row["items"]) for row in catalog.rows(counted)}
    done, wanted = sum(commits for commits, _ in found), writers * commits
    whole = counts == {(wanted * clips, wanted * clips)}
    print(f"\n{kind(room)}: {writers} writers, {commits} commits each: {done} of {wanted} in "
          f"{took_s:.1f} s, {done / took_s:.1f} commits/s")  # fmt: skip
    print("nothing lost, nothing twice" if whole else f"WRONG: (rows, items) are {counts}")
    for _, errors in found:
        for error in errors:
            print(f"  {error}")


def measure_kills(room: Workspace, kills: int) -> None:
    """Kills a committing process at random moments; raises AssertionError for a torn shard."""
    counts = kill_often(room, kills)
    print(f"\n{kind(room)}: {kills} kills while committing, {len(set(counts))} different states")
    print(f"all of a shard or none each time, verify clean, {counts[-1]} shards in the end")


def main() -> None:
    """Measures what the options say, in a temporary workspace."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shards", type=int, default=1000, help="commits")
    parser.add_argument("--clips", type=int, default=100, help="clips of one commit")
    parser.add_argument("--repeats", type=int, default=9, help="runs of each query")
    parser.add_argument("--readers", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=60.0, help="of writing beside readers")
    parser.add_argument("--writers", type=int, default=8, help="on PostgreSQL")
    parser.add_argument("--commits", type=int, default=50, help="of each writer")
    parser.add_argument("--kills", type=int, default=0, help="at random moments of committing")
    parser.add_argument("--only", choices=ONLY, nargs="*", default=ONLY)
    options = parser.parse_args()
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory() as folder, running_server() as server:
        os.environ["PGPASSWORD"] = PASSWORD

        def room(name: str, url: str = "") -> Workspace:
            return Workspace.at(Path(folder) / name, url).make()

        if "commits" in options.only:
            for number, url in enumerate(("", server.new_url())):
                first = room(f"commits{number}", url)
                measure_commits(first, options.shards, options.clips)
                measure_queries(first, options.repeats)
        if "readers" in options.only:
            measure_readers(room("readers"), options.readers, options.seconds, options.clips)
        if "writers" in options.only:
            shared = room("writers", server.new_url())
            measure_writers(shared, options.writers, options.commits, options.clips)
        if options.kills:
            for number, url in enumerate(("", server.new_url())):
                measure_kills(room(f"kills{number}", url), options.kills)


if __name__ == "__main__":
    main()
