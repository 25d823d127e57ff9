"""Stages worked on a catalog without flows: planned, cut, run in this process, committed."""

from collections.abc import Callable, Sequence
from typing import Any

from storage.catalog import Catalog, Pending
from storage.stage import ShardResult, ShardTarget, Stage

Commit = Callable[[Stage, ShardResult], None]


def bring_up(
    catalog: Catalog,
    stage: Stage,
    config: Any = None,
    run_id: str = "r-1",
    commit: Commit | None = None,
    uris: Sequence[str] = (),
) -> Pending:
    """Brings a stage up to date as a flow does; returns its plan from before."""
    config = config or stage.config()
    plan = catalog.plan(stage, config, uris)
    if plan.gone:
        catalog.retire(stage)
    if plan.items:
        workspace = catalog.workspace
        for shard in catalog.cut(plan, workspace.scratch(stage.name), run_id):
            scratch = workspace.scratch(f"{stage.name}-{shard.index}")
            out = ShardTarget(str(workspace.root), str(scratch))
            (commit or catalog.commit)(stage, stage.run(shard, out, config))
    return plan
