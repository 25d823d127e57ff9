"""Run one stage: plan it, map its shards over the workers, commit each shard as it is done."""

from collections.abc import Sequence
from contextvars import ContextVar
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectFuture

from flows.progress import reported, warned
from flows.session import Session
from flows.workers import WorkerDied, Workers
from storage.catalog import Pending
from storage.stage import ShardRef, ShardResult, ShardTarget, Stage

POLL_S = 0.25
WORKERS: ContextVar[Workers] = ContextVar("workers")


def _worth_another_try(_task: Any, _run: Any, state: Any) -> bool:
    return isinstance(state.result(raise_on_failure=False), WorkerDied)


@task(
    name="work-shard",
    task_run_name="{shard.stage}-{shard.index}",
    retries=2,
    retry_delay_seconds=2,
    retry_condition_fn=_worth_another_try,
    cache_policy=NO_CACHE,
    persist_result=False,
    log_prints=False,
)
def work_shard(shard: ShardRef, out: ShardTarget, config: Any) -> ShardResult:
    """Works one shard in a worker process."""
    return WORKERS.get().run(shard, out, config)


def run_stage(session: Session, stage: Stage, uris: Sequence[str] = ()) -> None:
    """Brings one stage up to date, given `uris` for these files alone.

    Does nothing where nothing is pending.
    """
    plan = session.plan(stage, uris)
    if plan.gone:
        session.catalog.retire(stage)
        session.progress.say(f"  {stage.title}: {plan.gone} items are gone from the source")
    if not plan.items:
        return
    WORKERS.set(session.workers)
    folder = session.scratch(stage.name)
    running: dict[PrefectFuture[ShardResult], ShardTarget] = {}
    for shard in session.catalog.cut(plan, folder, session.run.run_id):
        out = ShardTarget(
            str(session.workspace.root), str(session.scratch(stage.name, str(shard.index)))
        )
        running[work_shard.submit(shard, out, session.config(stage))] = out
    _collect(session, stage, plan, running)


def _collect(
    session: Session,
    stage: Stage,
    plan: Pending,
    running: dict[PrefectFuture[ShardResult], ShardTarget],
) -> None:
    """Commits each shard when it is done; a failed shard ends the flow when the others are in."""
    bar = session.progress.add(stage.title, plan.items)
    ended: SimpleQueue[PrefectFuture[ShardResult]] = SimpleQueue()
    for future in running:
        future.add_done_callback(ended.put)
    finished = rejected = 0
    failure: BaseException | None = None
    told: set[str] = set()
    while running:
        ready = _taken(ended)
        for line in warned(Path(out.folder) for out in running.values()):
            if line not in told:
                told.add(line)
                session.progress.warn(stage.title, line)
        for future in ready:
            del running[future]
            try:
                result = future.result()
            except Exception as error:
                failure = failure or error
                continue
            session.catalog.commit(stage, result, plan.again)
            finished += result.done + result.rejected
            rejected += result.rejected
        done, total, note = reported(Path(out.folder) for out in running.values())
        single = plan.items == 1 and total > 1
        session.progress.show(
            bar, done if single else finished + done, note, total if single else plan.items
        )
    if failure:
        raise failure
    session.worked[stage.name] = finished
    session.rejected[stage.name] = rejected
    left_out = f", {rejected} rejected" if rejected else ""
    line = f"  {stage.title}: {finished} items{left_out}"
    session.progress.end(bar, line)


def _taken(ended: SimpleQueue[PrefectFuture[ShardResult]]) -> list[PrefectFuture[ShardResult]]:
    """The futures that have ended since; waits for the first no longer than POLL_S.

    Prefect's own `wait` ends at its timeout by raising from an alarm, wherever the thread is: now
    and then that is between a lock's taking and its release, and the build fails.
    """
    try:
        ready = [ended.get(timeout=POLL_S)]
    except Empty:
        return []
    while not ended.empty():
        ready.append(ended.get())
    return ready
