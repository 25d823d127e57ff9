"""A process killed while it commits leaves all of a shard or none of it."""

import os
import random
import signal
import subprocess
import sys
import time

import pytest

from storage.catalog import Catalog
from storage.verify import verify
from storage.workspace import Workspace, secret_of
from tests.made_commits import CLIP_TABLES, RUN_ID, STAGE, begin

KILLS, SHARDS, CLIPS = 30, 400, 12
LONGEST_S = 1.0


def start(room: Workspace, shards: int) -> subprocess.Popen[str]:
    """A process that has opened the catalog and begins to commit."""
    command = [sys.executable, "-m", "tests.made_commits", str(room.root), str(shards), str(CLIPS)]
    # The folder remembers the address without its password.
    environment = os.environ | {"PGPASSWORD": secret_of(room.catalog_url)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def whole_shards(workspace: Workspace) -> int:
    """The number of shards that are there; each must be there with all its rows in all tables."""
    with Catalog(workspace) as catalog:
        rows = catalog.rows(
            " UNION ALL ".join(
                f"SELECT left({key}, 8) AS shard, '{table}' AS name, count(*) AS rows, "
                f"count(DISTINCT {key}) AS clips FROM lake.{table} GROUP BY shard"
                for table, key in (
                    (*((t, "clip_id") for t in CLIP_TABLES), ("progress", "item_id"))
                )
            )
        )
        assert all((row["rows"], row["clips"]) == (CLIPS, CLIPS) for row in rows), rows
        shards = {row["shard"] for row in rows}
        assert len(rows) == len(shards) * (len(CLIP_TABLES) + 1)
        return len(shards)


def kill_often(room: Workspace, kills: int) -> list[int]:
    """The number of whole shards after each of some kills, and of those of a last whole run."""
    with Catalog(room) as catalog:
        begin(catalog)
    moments = random.Random(7)
    counts = []
    for _ in range(kills):
        process = start(room, SHARDS)
        time.sleep(moments.uniform(0, LONGEST_S))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        counts.append(whole_shards(room))
    with Catalog(room) as catalog:
        assert verify(catalog, stages=(STAGE,)) == []
    last = start(room, counts[-1] + 3)
    said, _ = last.communicate(timeout=60)
    assert (said, last.returncode) == ("done\n", 0)
    return [*counts, whole_shards(room)]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_kill_at_any_moment_leaves_all_of_a_shard_or_none(room: Workspace) -> None:
    *counts, last = kill_often(room, KILLS)
    assert counts == sorted(counts)
    # Kills that all fell before the first commit or after the last would show nothing.
    assert len(set(counts)) > KILLS // 3
    assert counts[-1] < SHARDS
    assert last == counts[-1] + 3
    with Catalog(room) as catalog:
        assert verify(catalog, stages=(STAGE,)) == []
        assert catalog.value("SELECT count(*) FROM runs WHERE run_id = ?", [RUN_ID]) == 1
