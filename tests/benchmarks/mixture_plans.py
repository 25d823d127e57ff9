"""Plan many mixtures without rendering them, and look for leaks between splits with SQL.

    .venv/bin/python -m tests.benchmarks.mixture_plans --recipes 100000

A catalog is made of rows alone: sources of five clips in three splits, speech of three languages,
ambience of fifty classes. What is timed is what a build does before it renders: the stage's query
with its hashes, the items read, the recipes drawn, and their ids. The leak check does not use the
planner's own query: it asks the catalog for the splits and components of each recipe's parents.
"""

import argparse
import multiprocessing
import os
import tempfile
import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from storage.catalog import Catalog
from storage.ids import hash_of, mix_id
from storage.schema import TABLES
from storage.stage import ShardRef
from storage.workspace import Workspace
from tasks.mix import STAGE
from tasks.mix_plan import MixConfig, plan_recipe
from tests.benchmarks.decode import load

CLIPS_PER_SOURCE = 5
CLASSES = 50
SPLITS = ("train",) * 8 + ("validation", "test")
LANGUAGES = ("en", "en", "en", "en", "en", "en", "de", "de", "de", "fr")


def made_rows(speech: int, ambience: int) -> dict[str, list[dict[str, Any]]]:
    """The rows of the tables that the stage reads; the first `speech` clips are spoken."""
    rows: dict[str, list[dict[str, Any]]] = {
        name: []
        for name in ("windows", "kinds", "listens", "transcripts", "decodes", "splits", "rooms")
    }
    for number in range(0, speech + ambience, CLIPS_PER_SOURCE):
        source = hash_of("source", number)
        split = SPLITS[(number // CLIPS_PER_SOURCE) % len(SPLITS)]
        audio = f"blobs/{source[:2]}/{source[2:]}.flac"
        rows["decodes"].append(
            {"source_id": source, "duration_s": 60.0, "audio16_ref": audio, "audio48_ref": audio}
            | {"audio_s": 60.0, "cuts_s": [], "decode_cpu_s": 0.0}
        )
        rows["splits"].append({"source_id": source, "component_id": source, "split": split})
        for turn in range(CLIPS_PER_SOURCE):
            is_speech = number + turn < speech
            length_s = 3.0 + (number + turn) % 60 / 10
            clip = {"clip_id": hash_of("clip", number + turn)}
            rows["windows"].append(
                clip
                | {"source_id": source, "start_s": 10.0 * turn, "end_s": 10.0 * turn + length_s}
                | {"duration_s": length_s, "scene": 0, "has_audio": True}
                | {"has_picture": number % 3 == 0}
            )
            kind = "speech_on_screen" if is_speech else "sound"
            rows["kinds"].append(clip | {"kind": kind, "kept": True, "evidence": "{}"})
            spans = [{"start_s": 0.4, "end_s": 1.3}, {"start_s": 1.6, "end_s": length_s - 0.3}]
            rows["listens"].append(
                clip
                | {"silence_ratio": 0.1, "speech_s": length_s - 1.0 if is_speech else 0.0}
                | {"speech_spans": spans if is_speech else [], "has_speech": is_speech}
                | {"speech_score": 0.9 if is_speech else 0.0}
                | {"top_tag": f"class {number % CLASSES}"}
            )
            if is_speech:
                language = LANGUAGES[number // CLIPS_PER_SOURCE % len(LANGUAGES)]
                said = {"text": "", "flags": [], "method": "whisper", "model_id": "tiny"}
                rows["transcripts"].append(clip | said | {"language": language})
    return rows


def add_rows(catalog: Catalog, rows: dict[str, list[dict[str, Any]]]) -> None:
    """Inserts the rows, with values for the columns that the planner does not read."""
    for name, made in rows.items():
        schema = TABLES[name].arrow()
        plain = {
            field.name: _plain(field.type)
            for field in schema
            if not field.nullable and made and field.name not in made[0]
        }
        if made:
            catalog.insert(name, [plain | row for row in made])


def _plain(kind: pa.DataType) -> Any:
    if pa.types.is_list(kind):
        return []
    if pa.types.is_string(kind):
        return ""
    return False if pa.types.is_boolean(kind) else 0


LEAKS = """
    WITH parents AS (
        SELECT mix_id, split, unnest([speech, ambience]) AS clip_id FROM planned
    ),
    placed AS (
        SELECT p.mix_id, p.split, s.split AS source_split, s.component_id
        FROM parents p JOIN lake.windows w USING (clip_id) JOIN lake.splits s USING (source_id)
    )
    SELECT count(*) FILTER (split <> source_split) AS mixtures_beside_a_parent_s_split,
           (SELECT count(*) FROM (SELECT component_id FROM placed GROUP BY component_id
                                  HAVING count(DISTINCT split) > 1)) AS components_in_two_splits,
           count(DISTINCT mix_id) AS mixtures
    FROM placed
"""


def main() -> None:
    """Plans the recipes, prints the rate, the shares and the leaks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipes", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    takes = 2
    config = MixConfig(mixtures_per_clip=takes, language_balance=0.0)
    with (
        tempfile.TemporaryDirectory() as folder,
        Catalog(Workspace(Path(folder)).make()) as catalog,
    ):
        add_rows(catalog, made_rows(options.recipes // takes, options.recipes // 20))
        planned = [timed_plan(catalog, config) for _ in range(options.repeats)]
        report(catalog, planned[-1])


def timed_plan(catalog: Catalog, config: MixConfig) -> list[dict[str, Any]]:
    """What is planned, a small row a recipe; prints CPU and wall seconds of each part.

    As in a build, the query runs once, and two workers read, draw and name the recipes of shards.
    """
    with tempfile.TemporaryDirectory() as folder, workers(2) as pool:
        began = clock()
        pending = catalog.plan(STAGE, config)
        asked = clock()
        # A shard is worked while the next is cut, as a build does.
        working = pool.imap(partial(planned_shard, config), catalog.cut(pending, Path(folder), "r"))
        done = list(working)
        ended = clock()
    rows = [row for made, _ in done for row in made]
    drawn_s = sum(cpu_s for _, cpu_s in done)
    wall_s, cpu_s = ended[1] - began[1], ended[0] - began[0] + drawn_s
    print(
        f"{len(rows)} recipes: {len(rows) / wall_s:,.0f}/s wall with two workers, "
        f"{len(rows) / cpu_s:,.0f} a CPU second; CPU s: query {asked[0] - began[0]:.2f}, "
        f"cut {ended[0] - asked[0]:.2f}, recipes {drawn_s:.2f}; {os.cpu_count()} cores, {load()}"
    )
    return rows


def clock() -> tuple[float, float]:
    """CPU seconds of this process, and wall seconds."""
    return time.process_time(), time.perf_counter()


def workers(number: int) -> Any:
    """Processes that have loaded the planner."""
    pool = multiprocessing.get_context("spawn").Pool(number)
    pool.map(abs, range(number), chunksize=1)
    return pool


def planned_shard(config: MixConfig, shard: ShardRef) -> tuple[list[dict[str, Any]], float]:
    """The planned rows of a shard, and the CPU seconds that they took."""
    began_s = time.process_time()
    rows = []
    for item in shard.items():
        recipe = plan_recipe(item, config)
        speech, ambience = recipe["speech"], recipe["ambience"]
        rows.append(
            {
                "mix_id": mix_id(recipe),
                "split": item["split"],
                "regime": recipe["regime"],
                "speech": speech and speech["clip_id"],
                "ambience": ambience and ambience["clip_id"],
            }
        )
    return rows, time.process_time() - began_s


def report(catalog: Catalog, rows: list[dict[str, Any]]) -> None:
    """Prints the shares of regimes and classes, and the leaks that SQL finds."""
    catalog.connection.register("planned", pa.Table.from_pylist(rows))
    [leaks] = catalog.rows(LEAKS)
    print("leaks:", leaks)
    regimes = Counter(row["regime"] for row in rows)
    print("regimes:", {name: round(n / len(rows), 4) for name, n in regimes.most_common()})
    classes = [
        row["n"]
        for row in catalog.rows(
            "SELECT count(*) AS n FROM planned JOIN lake.listens l ON l.clip_id = ambience "
            "WHERE split = 'train' GROUP BY top_tag ORDER BY n"
        )
    ]
    print(f"mixtures of a class in training: {classes[0]} to {classes[-1]}, {len(classes)} classes")


if __name__ == "__main__":
    main()
