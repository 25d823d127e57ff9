"""Runs probe and decode over damaged and hostile files beside good ones, in shards.

None may hang or end a shard; each must be named with a reason or be decoded; each good file must
arrive as it does alone. Run it as `.venv/bin/python -m tests.benchmarks.damage --help`.
"""

import argparse
import os
import shutil
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from storage.rejects import REASONS
from storage.stage import ShardRef, ShardResult, ShardTarget
from storage.workspace import Workspace
from tasks.corpus import CORPUS
from tasks.decode import DecodeConfig, decode_shard
from tasks.fetch import cached_path, is_cached
from tasks.probe import ProbeConfig, probe_shard
from tests.made_damage import Damaged, damaged_copies, hostile_files

LARGEST_BYTES = 1 << 20  # of a corpus file that is mutated: larger ones only take longer


@dataclass
class Found:
    """What became of files, by path."""

    done: dict[str, dict[str, Any]] = field(default_factory=dict)
    rejects: dict[str, dict[str, Any]] = field(default_factory=dict)
    shards_s: list[float] = field(default_factory=list)


def run_shard(workspace: Workspace, paths: list[Path], found: Found, config: DecodeConfig) -> None:
    """Probes a shard of files and decodes those that passed, as a build does."""
    started = time.monotonic()
    listed = [_item(path) for path in paths]
    probed = _worked(workspace, "probe", listed, ProbeConfig(), found)
    durations = {row["source_id"]: row["duration_s"] or 60.0 for row in probed}
    passed = [item | {"cost_s": durations[item["item_id"]]} for item in listed
              if item["item_id"] in durations]  # fmt: skip
    for row in _worked(workspace, "decode", passed, config, found):
        found.done[row["source_id"]] = row
    found.shards_s.append(time.monotonic() - started)


def _item(path: Path) -> dict[str, Any]:
    facts = os.lstat(path)
    item: dict[str, Any] = {"item_id": path.name, "source_id": path.name, "cost_s": 1.0}
    item |= {"uri": str(path), "size_bytes": facts.st_size, "transcript": None, "consent": None}
    item |= {"_uri": str(path), "_size_bytes": facts.st_size, "_mtime_ns": facts.st_mtime_ns}
    item |= {"licence": None, "attribution": None, "_fingerprint": "f", "_input_hash": "h"}
    return item | {"_limited_fingerprint": "l"}


def _worked(
    workspace: Workspace, stage: str, items: list[dict[str, Any]], config: Any, found: Found
) -> list[dict[str, Any]]:
    """The rows of a stage; checks that each item is accounted for and each reject has a reason."""
    if not items:
        return []
    folder = workspace.scratch(stage, str(len(found.shards_s)))
    pq.write_table(pa.Table.from_pylist(items), folder / "items.parquet")
    shard = ShardRef(stage, len(found.shards_s), str(folder / "items.parquet"), "r")
    target = ShardTarget(str(workspace.root), str(folder))
    run = probe_shard if stage == "probe" else decode_shard
    result: ShardResult = run(shard, target, config)
    progress = pq.read_table(result.tables["progress"]).to_pylist()
    assert [row["item_id"] for row in progress] == [item["item_id"] for item in items]
    table = "sources" if stage == "probe" else "decodes"
    rows = pq.read_table(result.tables[table]).to_pylist() if table in result.tables else []
    for reject in pq.read_table(result.tables["rejects"]).to_pylist() if result.rejected else []:
        assert reject["reason"] in REASONS
        assert reject["item_id"] in reject["message"], reject
        found.rejects[reject["item_id"]] = reject
    assert len(rows) + result.rejected == len(items)
    shutil.rmtree(folder)
    return rows


def run_all(
    workspace: Workspace, good: list[Path], bad: list[Damaged], per_shard: int, config: DecodeConfig
) -> Found:
    """Runs bad files in shards, the good ones beside them in each; checks that these arrive."""
    alone, found = Found(), Found()
    run_shard(workspace, good, alone, config)
    assert not alone.rejects, alone.rejects
    assert len(alone.done) == len(good)
    for start in range(0, len(bad), per_shard):
        found.done = {k: v for k, v in found.done.items() if k not in alone.done}
        paths = [one.path for one in bad[start : start + per_shard]] + good
        run_shard(workspace, sorted(paths, key=lambda path: path.name), found, config)
        for name, row in alone.done.items():
            changed = {k for k, v in row.items() if found.done[name][k] != v}
            assert changed <= {"decode_cpu_s"}, (name, changed)
    named = {one.path.name for one in bad}
    assert named == (found.done.keys() - alone.done.keys()) | found.rejects.keys()
    return found


def report(bad: list[Damaged], found: Found) -> None:
    """Prints how each kind of damage ended."""
    ends: dict[str, Counter[str]] = {}
    for one in bad:
        reject = found.rejects.get(one.path.name)
        end = reject["reason"] if reject else "decoded"
        ends.setdefault(one.how, Counter())[end] += 1
    for how, counts in ends.items():
        print(f"{how:<16}" + ", ".join(f"{end} {n}" for end, n in counts.most_common()))
    total = Counter(reject["reason"] for reject in found.rejects.values())
    print(f"\n{len(bad)} files: {len(bad) - len(found.rejects)} decoded in part or whole, "
          + ", ".join(f"{reason} {n}" for reason, n in total.most_common()))  # fmt: skip
    print(f"{len(found.shards_s)} shards, the slowest {max(found.shards_s):.0f} s; "
          f"load {os.getloadavg()[0]:.1f}")  # fmt: skip
    for name, reject in found.rejects.items():
        if reject["reason"] in ("crashed", "timeout", "cpu_limit", "out_of_memory"):
            print(f"  {name}: {reject['message']}\n    {reject['facts'][:300]}")


def main() -> None:
    """Mutates the cached corpus, and says how it went."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=1000, help="damaged files")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--shard", type=int, default=25, help="damaged files of one shard")
    parser.add_argument("--more", type=Path, help="a folder with more files to mutate")
    parser.add_argument("--keep", type=Path, help="a folder that keeps the damaged files")
    options = parser.parse_args()
    wholes = [cached_path(one.spec) for one in CORPUS if is_cached(one.spec)]
    wholes += sorted(options.more.iterdir()) if options.more else []
    wholes = [path for path in wholes if path.stat().st_size <= LARGEST_BYTES]
    if not wholes:
        raise SystemExit("the cache holds no corpus; `python -m tasks.corpus --fetch` fills it")
    with tempfile.TemporaryDirectory() as name:
        folder = options.keep or Path(name) / "damaged"
        folder.mkdir(parents=True, exist_ok=True)
        bad = damaged_copies(wholes, folder, options.files, options.seed) + hostile_files(folder)
        workspace = Workspace.at(Path(name) / "workspace").make()
        good = [Path(name) / f"good-{path.name}" for path in wholes[:2]]
        for path, copy in zip(wholes, good, strict=False):
            shutil.copy(path, copy)
        config = DecodeConfig(max_faces=0, floor_limit_s=30.0)
        report(bad, run_all(workspace, good, bad, options.shard, config))


if __name__ == "__main__":
    main()
