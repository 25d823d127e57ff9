"""A process killed while it commits leaves all of a shard or none of it."""

import os
import random
import signal
import subprocess
import sys
import time
from typing import Self

import pytest

from storage.catalog import Catalog
from storage.verify import verify
from storage.workspace import Workspace, secret_of
from tests.made_commits import CLIP_TABLES, RUN_ID, STAGE, begin

KILLS, SHARDS, CLIPS = 15, 400, 12
LONGEST_S = 1.0


class Committers:
    """Processes that commit to a workspace, one after the other."""

    def __init__(self, room: Workspace) -> None:
        command = [sys.executable, "-m", "tests.made_commits", str(room.root), str(CLIPS)]
        # The folder remembers the address without its password.
        environment = os.environ | {"PGPASSWORD": secret_of(room.catalog_url)}
        pipe = subprocess.PIPE
        self.parent = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.parent.kill()
        self.parent.communicate()

    def start(self, shards: int) -> int:
        """The id of a process that has opened the catalog and begins to commit."""
        assert self.parent.stdin is not None
        self.parent.stdin.write(f"{shards}\n")
        self.parent.stdin.flush()
        word, process = self.said().split()
        assert word == "ready"
        return int(process)

    def said(self) -> str:
        """What the process, or its parent, says next."""
        assert self.parent.stdout is not None
        return self.parent.stdout.readline().strip()


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
    with Committers(room) as committers:
        for _ in range(kills):
            process = committers.start(SHARDS)
            time.sleep(moments.uniform(0, LONGEST_S))
            os.kill(process, signal.SIGKILL)
            assert committers.said() == f"ended {-signal.SIGKILL}"
            counts.append(whole_shards(room))
        with Catalog(room) as catalog:
            assert verify(catalog, stages=(STAGE,)) == []
        committers.start(counts[-1] + 3)
        assert (committers.said(), committers.said()) == ("done", "ended 0")
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
