"""What a running flow holds: the open catalog, the checked recipe, the worker processes."""

import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flows.progress import Progress
from flows.workers import Workers
from storage.catalog import Catalog, Pending
from storage.evict import evict
from storage.lake import is_there
from storage.queries import freezes, pending_ids
from storage.runs import Run, begin_run, command_line, end_killed_runs, end_run
from storage.settings import Settings
from storage.stage import Stage
from storage.workspace import Workspace
from tasks.recipe import Recipe, load_recipe, parse_recipe, with_folder
from tasks.scan import STAGE as SCAN
from tasks.scan import list_folder


@dataclass(slots=True)
class Session:
    """One run of a command over one workspace."""

    workspace: Workspace
    recipe: Recipe
    catalog: Catalog
    workers: Workers
    run: Run
    progress: Progress
    worked: dict[str, int] = field(default_factory=dict)
    rejected: dict[str, int] = field(default_factory=dict)

    def config(self, stage: Stage) -> Any:
        """The configuration of a stage."""
        return self.recipe.configs[stage.name]

    def plan(self, stage: Stage, uris: Sequence[str] = ()) -> Pending:
        """What a stage has to do; given `uris`, with these files alone."""
        return self.catalog.plan(stage, self.config(stage), uris)

    def freezes(self) -> set[tuple[str, int]]:
        """The id of each dataset version, and its place among the freezes of its name."""
        return freezes(self.catalog)

    def scratch(self, *parts: str) -> Path:
        """A fresh folder of this run."""
        return self.workspace.scratch("runs", self.run.run_id, *parts)


@dataclass(frozen=True, slots=True)
class Job:
    """The parameters of a flow: what a deployment's schedule or the command line gives.

    Attributes:
        workspace: the workspace folder.
        recipe: the recipe's YAML file.
        stored: a recipe as JSON in place of a file, as a run's row holds it.
        folder: a source folder in place of the recipe's own.
        workers: worker processes.
        quiet: draw no progress bars.
        changes: fields to set over the recipe's own, as (stage, field, value).
    """

    workspace: str
    recipe: str = ""
    stored: str = ""
    folder: str | None = None
    workers: int = 2
    quiet: bool = False
    changes: tuple[tuple[str, str, Any], ...] = ()

    def load(self) -> Recipe:
        """The checked recipe with the job's changes; raises RecipeError."""
        if self.stored:
            recipe = parse_recipe(json.loads(self.stored), Path("stored recipe"))
        else:
            recipe = load_recipe(Path(self.recipe))
        if self.folder:
            recipe = with_folder(recipe, Path(self.folder))
        for stage, name, value in self.changes:
            recipe = recipe.with_config(stage, **{name: value})
        return recipe


CURRENT: ContextVar[Session | None] = ContextVar("session", default=None)


@contextmanager
def open_session(job: Job) -> Iterator[Session]:
    """A session that holds the workspace's writer lock and records its run.

    A flow that is called by another one shares its session. Raises WorkspaceBusy where another
    process writes the workspace, and RecipeError before anything is done.
    """
    if (current := CURRENT.get()) is not None:
        yield current
        return
    recipe, workspace = job.load(), Workspace.at(job.workspace)
    with Catalog(workspace.make()) as catalog, catalog.gate.building():
        _sweep(workspace, catalog)
        run = begin_run(catalog, command_line(), recipe.as_json())
        pool, status = Workers(job.workers), "failed"
        session = Session(workspace, recipe, catalog, pool, run, Progress(job.quiet))
        token = CURRENT.set(session)
        try:
            with session.progress, catalog.gate.running(run.run_id):
                yield session
            status = "done"
            evict(workspace, round(Settings().copies_gib * 2**30), apply=True)
        finally:
            CURRENT.reset(token)
            pool.close()
            end_run(catalog, run, status)
            shutil.rmtree(workspace.path(f"scratch/runs/{run.run_id}"), ignore_errors=True)


def _sweep(workspace: Workspace, catalog: Catalog) -> None:
    """Clears what killed runs left in the folder, whose only writer this is, and their rows."""
    shutil.rmtree(workspace.path("scratch/runs"), ignore_errors=True)
    end_killed_runs(catalog)


def unfinished(
    workspace: Workspace, recipe: Recipe, stages: tuple[Stage, ...], uris: Sequence[str] = ()
) -> list[Pending]:
    """The plans of the stages that have something to do; none means that all is done.

    Given `uris`, only these files are asked about. A stage whose inputs are still to be made shows
    only what is known so far.
    """
    if not is_there(workspace):
        Catalog(workspace.make()).close()
    with Catalog(workspace, read_only=True) as catalog:
        plans = [catalog.plan(stage, recipe.configs[stage.name], uris) for stage in stages]
    return [plan for plan in plans if not plan.is_idle]


def to_do(
    workspace: Workspace, recipe: Recipe, stages: tuple[Stage, ...]
) -> tuple[list[Pending], list[dict[str, Any]]]:
    """The plans of the stages that have something to do, and the listed files that are new.

    Writes nothing: a workspace without a catalog is taken for an empty one.
    """
    with ExitStack() as stack:
        if not is_there(workspace):
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="talkies-plan-"))
            workspace = Workspace.at(folder).make()
            Catalog(workspace).close()
        catalog = stack.enter_context(Catalog(workspace, read_only=True))
        plans, new = [], []
        for stage in stages:
            plans.append(catalog.plan(stage, recipe.configs[stage.name]))
            if stage is SCAN:
                pending = pending_ids(catalog)
                listing = list_folder(recipe.configs[SCAN.name]).to_pylist()
                new = [row for row in listing if row["uri"] in pending]
    return [plan for plan in plans if not plan.is_idle], new
