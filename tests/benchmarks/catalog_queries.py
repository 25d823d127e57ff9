"""Measures eight questions to a large catalog beside plain DuckDB on the same Parquet files.

Run it as `.venv/bin/python -m tests.benchmarks.catalog_queries --help`. Both sides run the same SQL
text: the catalog's tables and views on one side, views over `read_parquet` of the very files that
the catalog wrote on the other.
"""

import argparse
import itertools
import os
import statistics
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import duckdb
import pyarrow as pa

from storage.catalog import Catalog
from storage.lake import SETTINGS
from storage.schema import TABLES, VIEWS
from storage.workspace import Workspace
from tests.made_commits import RUN_ID

CLIPS_OF_A_SOURCE = 100
CLIP = "md5(n::VARCHAR)"
SOURCE = f"sha256((n // {CLIPS_OF_A_SOURCE})::VARCHAR)"
KINDS = "['sound', 'speech_on_screen', 'speech_off_screen', 'mixed', 'silent'][1 + n % 5]"
DROPPED = "n % 7 = 0"
# A share of [0, 1) that is equal wherever it is computed, and has no order in n.
DRAWN = "(hash(n) % 1000003) / 1000003.0"
MADE: dict[str, dict[str, str]] = {
    "windows": {
        "clip_id": CLIP,
        "source_id": SOURCE,
        "start_s": f"(n % {CLIPS_OF_A_SOURCE}) * 10.0",
        "end_s": f"(n % {CLIPS_OF_A_SOURCE}) * 10.0 + 3 + 7 * {DRAWN}",
        "duration_s": f"3 + 7 * {DRAWN}",
        "scene": f"(n % {CLIPS_OF_A_SOURCE})::INTEGER",
        "has_audio": "true",
        "has_picture": "n % 3 > 0",
    },
    "listens": {
        "clip_id": CLIP,
        "loudness_lufs": f"-50 + 40 * {DRAWN}",
        "peak_dbfs": f"-20 * {DRAWN}",
        "silence_ratio": DRAWN,
        "speech_s": f"10 * {DRAWN}",
        "speech_score": DRAWN,
        "top_tag": "'class ' || hash(n) % 521",
        "has_speech": f"{DRAWN} > 0.6",
    },
    "kinds": {
        "clip_id": CLIP,
        "kind": KINDS,
        "task": "['v2s', 'visual_tts', 'tts'][1 + n % 3]",
        "kept": f"NOT ({DROPPED})",
        "drop_reason": f"CASE WHEN {DROPPED} THEN ['silence', 'bandwidth'][1 + n % 2] END",
        "evidence": "'{\"speech_s\":' || n % 10 || '}'",
    },
    "sources": {
        "source_id": f"sha256((n // {CLIPS_OF_A_SOURCE})::VARCHAR)",
        "uri": f"'/archive/' || n // {CLIPS_OF_A_SOURCE} || '.mp4'",
        "duration_s": "1000.0",
    },
}
ONE = "md5('123456')"
QUERIES = {
    "funnel": "SELECT step, items, hours FROM funnel WHERE step IN ('cut', 'heard', 'kept')",
    "hours by kind": "FROM hours_by_kind",
    "drop reasons": "FROM drop_reasons",
    "one clip": f"FROM clips WHERE clip_id = {ONE}",
    "clips of a source": f"SELECT clip_id, kind, top_tag FROM clips "
    f"WHERE source_id = sha256({123456 // CLIPS_OF_A_SOURCE}::VARCHAR) ORDER BY start_s",
    "loudness histogram": "SELECT floor(loudness_lufs) AS lufs, count(*) AS clips "
    "FROM listens GROUP BY ALL ORDER BY ALL",
    "kept hours by tag": "SELECT top_tag, sum(duration_s) / 3600 AS hours FROM windows "
    "JOIN listens USING (clip_id) JOIN kinds USING (clip_id) WHERE kept AND kind = 'sound' "
    "GROUP BY ALL ORDER BY hours DESC, top_tag LIMIT 20",
    "loudest speech": "SELECT clip_id, loudness_lufs, speech_s FROM listens "
    "WHERE has_speech AND silence_ratio < 0.9 ORDER BY loudness_lufs DESC, clip_id LIMIT 20",
}


def made(table: str, first: int, last: int, step: int = 1) -> str:
    """SQL for made rows of a table; columns that MADE does not name get a plain value."""
    filled = {pa.types.is_boolean: "false", pa.types.is_integer: "0", pa.types.is_floating: "1.0"}
    columns = []
    for column in TABLES[table].columns:
        plain = next((text for fits, text in filled.items() if fits(column.type)), "'made'")
        if pa.types.is_list(column.type):
            plain = "[]"
        if column.name == "run_id":
            plain = f"'{RUN_ID}'"
        value = MADE[table].get(column.name, "NULL" if column.nullable else plain)
        columns.append(f"{value} AS {column.name}")
    return f"SELECT {', '.join(columns)} FROM range({first}, {last}, {step}) AS made(n)"


def fill(catalog: Catalog, clips: int, commits: int) -> None:
    """Inserts made rows in some commits, as a catalog that was compacted holds them."""
    edges = [clips * number // commits for number in range(commits + 1)]
    for first, last in itertools.pairwise(edges):
        with catalog.transaction():
            for table in MADE:
                step = CLIPS_OF_A_SOURCE if table == "sources" else 1
                rows = made(table, first, last, step)
                catalog.connection.execute(f"INSERT INTO lake.{table} BY NAME {rows}")


def data_files(catalog: Catalog) -> dict[str, list[str]]:
    """The Parquet files of each table."""
    return {
        table: [
            row["data_file"]
            for row in catalog.rows("SELECT data_file FROM ducklake_list_files('lake', ?)", [table])
        ]
        for table in TABLES
    }


def plain_views(files: Mapping[str, list[str]]) -> duckdb.DuckDBPyConnection:
    """A connection of plain DuckDB whose tables are views over the files."""
    plain = duckdb.connect(config=dict(SETTINGS))
    for table, paths in files.items():
        if paths:
            listed = ", ".join(f"'{path}'" for path in paths)
            plain.execute(f"CREATE VIEW {table} AS FROM read_parquet([{listed}])")
        else:
            plain.register("empty_rows", TABLES[table].arrow().empty_table())
            plain.execute(f"CREATE TABLE {table} AS FROM empty_rows")
            plain.unregister("empty_rows")
    for view in VIEWS.values():
        plain.execute(f"CREATE VIEW {view.name} AS {view.sql}")
    return plain


def measure(catalog: Catalog, plain: duckdb.DuckDBPyConnection, repeats: int) -> None:
    """Prints the median wall and CPU seconds of each query on both sides, turn by turn."""
    heads = ("catalog s", "plain s", "ratio", "cpu ratio")
    print(f"{'query':<20}" + "".join(f"{head:>11}" for head in heads))
    ratios = []
    for name, sql in QUERIES.items():
        answers: list[list[tuple]] = [[], []]
        walls: list[list[float]] = [[], []]
        cpus: list[list[float]] = [[], []]
        for turn in range(repeats + 1):
            for side, connection in enumerate((catalog.connection, plain)):
                wall, cpu = time.perf_counter(), time.process_time()
                answers[side] = connection.execute(sql).fetchall()
                if turn:  # the first turn warms both up
                    walls[side].append(time.perf_counter() - wall)
                    cpus[side].append(time.process_time() - cpu)
        # Sums of floats may differ in their last digits with the order of their parts.
        ours, theirs = (sorted(repr(_rounded(row)) for row in side) for side in answers)
        if ours != theirs:
            raise AssertionError(f"{name}: the two sides answer differently")
        wall_s = [statistics.median(side) for side in walls]
        cpu_s = [statistics.median(side) for side in cpus]
        ratios.append(wall_s[0] / wall_s[1])
        print(f"{name:<20}{wall_s[0]:>11.3f}{wall_s[1]:>11.3f}{ratios[-1]:>11.2f}"
              f"{cpu_s[0] / cpu_s[1]:>11.2f}")  # fmt: skip
    print(f"worst ratio {max(ratios):.2f}, median {statistics.median(ratios):.2f}; "
          f"load {os.getloadavg()[0]:.1f}")  # fmt: skip


def _rounded(row: tuple) -> tuple:
    return tuple(float(f"{value:.9g}") if isinstance(value, float) else value for value in row)


def main() -> None:
    """Measures what the options say, in a temporary workspace."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=10_000_000)
    parser.add_argument("--commits", type=int, default=10, help="commits that bring the clips")
    parser.add_argument("--repeats", type=int, default=5, help="runs of each query on each side")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace.at(Path(folder)).make()
        with Catalog(workspace) as catalog:
            started = time.perf_counter()
            fill(catalog, options.clips, options.commits)
            files = data_files(catalog)
            columns = sum(len(TABLES[table].columns) for table in MADE)
            size_gb = sum(Path(path).stat().st_size for paths in files.values() for path in paths)
            print(f"{options.clips:,} clips in {len(MADE)} tables of {columns} columns, "
                  f"{sum(map(len, files.values()))} files, {size_gb / 1e9:.2f} GB, "
                  f"made in {time.perf_counter() - started:.0f} s")  # fmt: skip
        with Catalog(workspace, read_only=True) as catalog, plain_views(files) as plain:
            measure(catalog, plain, options.repeats)


if __name__ == "__main__":
    main()
