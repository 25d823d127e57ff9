"""The flows: build a dataset, train on it, evaluate the model, give films their sound, report."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.events import emit_event
from prefect.flows import Flow
from prefect.task_runners import ThreadPoolTaskRunner

from flows.session import Job, Session, open_session
from flows.stages import run_stage
from storage.stage import Stage
from tasks.pipeline import BUILD, CODEC, EVALUATE, SONIFY, TRAIN, film_stages
from tasks.report import write_report

SNAPSHOT_EVENT = "talkies.dataset.landed"
CHECKPOINT_EVENT = "talkies.checkpoint.landed"

report_task = task(name="write-report", cache_policy=NO_CACHE, persist_result=False)(write_report)


def _run(session: Session, stages: tuple[Stage, ...], uris: Sequence[str] = ()) -> None:
    for stage in stages:
        run_stage(session, stage, uris)


@flow(name="build", validate_parameters=False)
def build(job: Job) -> None:
    """Brings a dataset up to date and announces a version that is new, or that came back."""
    with open_session(job) as session:
        before = session.freezes()
        _run(session, BUILD)
        for dataset_id, _ in session.freezes() - before:
            _announce(SNAPSHOT_EVENT, "dataset", dataset_id)


@flow(name="train", validate_parameters=False)
def train(job: Job) -> None:
    """Trains a model on the newest version of the recipe's dataset, where none is yet."""
    with open_session(job) as session:
        _run(session, TRAIN)
        if session.worked.get(TRAIN[0].name):
            _announce(CHECKPOINT_EVENT, "dataset", session.recipe.name)


@flow(name="codec", validate_parameters=False)
def codec(job: Job) -> None:
    """Brings a codec up to date, and what its training split follows from."""
    with open_session(job) as session:
        _run(session, CODEC)


@flow(name="evaluate", validate_parameters=False)
def evaluate(job: Job) -> None:
    """Evaluates the recipe's models that were not yet evaluated."""
    with open_session(job) as session:
        _run(session, EVALUATE)


@flow(name="sonify", validate_parameters=False)
def sonify(job: Job) -> None:
    """Generates the soundtracks that the recipe asks for and that are not there yet."""
    with open_session(job) as session:
        _run(session, SONIFY)


@flow(name="films", validate_parameters=False)
def films(job: Job) -> None:
    """Takes films in, looks at them and at nothing else, and generates their soundtracks."""
    with open_session(job) as session:
        stages = film_stages(session.recipe.configs["faces"].lips)
        _run(session, stages, session.recipe.configs["scan"].files)


@flow(name="demo", validate_parameters=False)
def demo(job: Job) -> Path:
    """The whole road: build, then train as the new dataset asks for it, evaluate, sonify, report.

    On the embedded default the catalog itself is the trigger: a dataset version without a model
    is a pending item of the training stage. Deployments trigger on the events instead.
    """
    with open_session(job) as session:
        for step in (build, train, evaluate, sonify):
            embedded(step, job.workers)(job)
        return report_step(session)


def report_step(session: Session) -> Path:
    """Writes the report of the session's dataset, with a bar."""
    bar = session.progress.add("write the report", 1)
    path = report_task(session.workspace, session.recipe.name)
    session.progress.end(bar, f"  write the report: {path.name}")
    return path


def start_engine() -> None:
    """Reaches the Prefect server that the environment names, by hand or as the embedded one.

    Raises whatever Prefect raises where that server does not answer.
    """
    with get_client(sync_client=True) as client:
        client.hello()


def embedded(step: Flow[..., Any], workers: int) -> Flow[..., Any]:
    """The flow with as many threads as there are workers, each waiting for one process."""
    runner: Any = ThreadPoolTaskRunner(max_workers=workers)
    return step.with_options(task_runner=runner)


def _announce(event: str, kind: str, name: str) -> None:
    emit_event(event=event, resource={"prefect.resource.id": f"talkies.{kind}.{name}"})
