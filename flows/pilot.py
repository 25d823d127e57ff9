"""The pilot of `talkies plan`: works excerpts of a few files in a workspace that is thrown away."""

import csv
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.progress import Progress
from flows.workers import Workers
from storage.catalog import Catalog
from storage.queries import pilot_rows
from storage.rejects import Rejected
from storage.stage import ShardTarget, Stage
from storage.workspace import Workspace
from tasks.codecs import LEARNED
from tasks.excerpt import excerpt
from tasks.forecast import Tried, tried_of
from tasks.manifest import MANIFEST_COLUMNS
from tasks.pipeline import BUILD, DATASET
from tasks.recipe import Recipe, with_folder

EXCERPT_S = 20.0
# A round carries so much more than the one before that planning it costs little beside it.
GROWTH = 2
NOT_FOR_A_PART = ("transcript",)  # the words of a whole film do not fit an excerpt

Drawn = Sequence[tuple[str, Mapping[str, Any]]]


@dataclass(slots=True)
class _Room:
    """A workspace that is thrown away, with the excerpts that it is a build of."""

    workspace: Workspace
    folder: Path
    recipe: Recipe
    excerpts: dict[str, tuple[str, Mapping[str, Any], dict[str, Any]]]
    rejected: list[Tried]

    def take(self, drawn: Drawn, length_s: float) -> None:
        """Cuts an excerpt of each file; what cannot be opened is a reject already."""
        for stratum, row in drawn:
            number = len(self.excerpts) + len(self.rejected)
            place = (number * 0.618034) % 1.0  # spread over the films, the same at every plan
            try:
                cut = excerpt(row["uri"], self.folder, f"{number:06d}", length_s, place)
            except Rejected as reject:
                self.rejected.append(Tried(stratum, row["size_bytes"], reason=reject.reason))
                continue
            self.excerpts[cut["path"]] = (stratum, row, cut)
        kept = [name for name in MANIFEST_COLUMNS if name not in NOT_FOR_A_PART]
        with (self.folder / "manifest.csv").open("w", newline="") as stream:
            writer = csv.DictWriter(stream, ["path", *kept])
            writer.writeheader()
            for path, (_, row, _) in self.excerpts.items():
                writer.writerow({"path": Path(path).name} | {name: row[name] for name in kept})

    def build(self, workers: Workers, stages: tuple[Stage, ...], slots: int) -> None:
        """Works what is pending of some stages, as a build does, without a flow engine."""
        if not self.excerpts:
            return
        with Catalog(self.workspace) as catalog, ThreadPoolExecutor(slots) as pool:
            for stage in stages:
                config = self.recipe.configs[stage.name]
                plan = catalog.plan(stage, config)
                shards = list(catalog.cut(plan, self.workspace.scratch(stage.name), "pilot"))
                outs = [
                    ShardTarget(
                        str(self.workspace.root),
                        str(self.workspace.scratch(stage.name, str(shard.index))),
                    )
                    for shard in shards
                ]
                configs = [config] * len(shards)
                for result in pool.map(workers.run, shards, outs, configs):
                    catalog.commit(stage, result, plan.again)

    def tried(self) -> list[Tried]:
        """What was measured on each file."""
        if not self.excerpts:
            return self.rejected
        with Catalog(self.workspace, read_only=True) as catalog:
            rows = pilot_rows(catalog)
        return [*self.rejected, *tried_of(rows, self.excerpts, self.workspace)]


def run_pilot(
    recipe: Recipe, drawn: Drawn, budget_s: float, slots: int, progress: Progress
) -> list[Tried]:
    """What the stages of a build cost on excerpts of the drawn files, as many as the time allows.

    A first round in a workspace of its own loads the networks into the workers and is not counted.
    Nothing is written outside temporary folders.
    """
    workers = Workers(slots)
    bar = progress.add("try a sample", budget_s)
    per_part = tuple(stage for stage in BUILD if stage not in DATASET)
    try:
        with _room(recipe) as warm:
            warm.take(drawn[:slots], EXCERPT_S / 4)
            warm.build(workers, BUILD, slots)
        began = time.monotonic()
        with _room(recipe) as room:
            at, size, spent_s = 0, max(slots, 4), 0.0
            while at < len(drawn) and (not at or time.monotonic() - began + spent_s < budget_s):
                started = time.monotonic()
                room.take(drawn[at : at + size], EXCERPT_S)
                room.build(workers, per_part, slots)
                at, size = at + size, size * GROWTH
                spent_s = GROWTH * (time.monotonic() - started)
                progress.show(bar, min(time.monotonic() - began, budget_s))
            room.build(workers, DATASET, slots)
            found = room.tried()
    finally:
        workers.close()
    progress.end(bar, f"  try a sample: {len(found)} files")
    return found


def hardly_trained(recipe: Recipe) -> Recipe:
    """The recipe with one step of training for a codec that is learned.

    A training takes as long for a few files as for many, so that a forecast leaves it out.
    """
    if recipe.configs["fit_codec"].codec != LEARNED:
        return recipe
    return recipe.with_config("fit_codec", steps=1)


@contextmanager
def _room(recipe: Recipe) -> Iterator[_Room]:
    with tempfile.TemporaryDirectory(prefix="talkies-pilot-") as folder:
        excerpts = Path(folder).resolve() / "excerpts"
        excerpts.mkdir()
        workspace = Workspace.at(Path(folder) / "workspace").make()
        own = with_folder(
            hardly_trained(recipe).with_config("scan", manifest="manifest.csv", globs=(), files=()),
            excerpts,
        )
        yield _Room(workspace, excerpts, own, {}, [])
