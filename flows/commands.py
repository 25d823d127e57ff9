"""The commands that write: each checks everything it can, then runs a flow."""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from flows import console
from flows.dry_run import show_cost
from flows.embedded import use_embedded_prefect
from flows.progress import Progress
from flows.session import Job, unfinished
from storage import queries
from storage.catalog import Catalog, Pending
from storage.lake import is_there
from storage.stage import Stage
from storage.workspace import Workspace
from tasks import torchrun
from tasks.codecs import LEARNED
from tasks.film_recipe import film_recipe
from tasks.listing import holds_sources
from tasks.pipeline import ALL, BUILD, CODEC, EVALUATE, TRAIN, film_stages
from tasks.recipe import Recipe, RecipeError, check_source, with_section
from tasks.shipped_model import SHIPPED, shipped_model

DEMO_RECIPE = Path(__file__).parent / "demo.yaml"
T = TypeVar("T")


def run_demo(option: str | None, as_json: bool, workers: int | None) -> None:
    """`talkies demo`."""
    from tasks.corpus import assemble_corpus

    workspace, as_json = console.workspace_of(option), console.wants_json(as_json)
    workspace.make()
    with Progress(as_json) as progress:
        bar = progress.add("fetch the demo corpus", 1)
        corpus = assemble_corpus(
            workspace.root / "corpus",
            lambda release, ready, total: progress.show(bar, ready, release, total),
        )
        progress.end(bar, "  demo corpus: ready")
    job = Job(
        str(workspace.root),
        recipe=str(DEMO_RECIPE),
        folder=str(corpus),
        workers=console.workers_of(workers),
        quiet=as_json,
    )
    page = workspace.root / "reports" / "demo.html"
    ran = _bring_up_to_date(job, ALL, "demo", force=not page.exists())
    _summarise(workspace, "demo", ran, as_json, page)


def run_build(
    recipe: Path | None,
    source: Path | None,
    name: str | None,
    option: str | None,
    as_json: bool,
    workers: int | None,
    max_rejects: int | None,
) -> None:
    """`talkies build`."""
    workspace, as_json = console.workspace_of(option), console.wants_json(as_json)
    if recipe is not None and source is not None:
        raise RecipeError("give a recipe or --source, not both")
    if recipe is None and (source is None or name is None):
        raise RecipeError("give a recipe, or --source DIR --name NAME")
    if source is not None and not (source.is_dir() or holds_sources(source)):
        raise RecipeError(f"--source {source}: not a folder, and no tar")
    job = Job(
        str(workspace.root),
        recipe=str(recipe or ""),
        stored="" if recipe else json.dumps({"name": name}),
        folder=str(source.resolve()) if source else None,
        workers=console.workers_of(workers),
        quiet=as_json,
    )
    check_source(job.load())
    # Remembers where its catalog and files lie: the flow opens it by its folder alone.
    workspace.make()
    ran = _bring_up_to_date(job, BUILD, "build")
    _summarise(workspace, job.load().name, ran, as_json, None)
    rejects = _asked(workspace, queries.reject_count)
    if max_rejects is not None and rejects > max_rejects:
        raise console.fail(
            f"{rejects} items are rejected, more than {max_rejects}; see `talkies catalog rejects`",
            console.REJECTS,
        )


def run_train(
    recipe: Path | None,
    dataset: str | None,
    changes: tuple[tuple[str, str, Any], ...],
    dry_run: bool,
    option: str | None,
    as_json: bool,
) -> None:
    """`talkies train`; `changes` are set over the recipe's own.

    Under torchrun rank 0 is the command, and the others train along.
    """
    if torchrun.is_launched() and not dry_run:
        if torchrun.own_rank().number:
            from tasks.train_ranks import follow

            follow()
            return
        changes = (*changes, ("train", "ranks", torchrun.own_rank().count))
    if dataset is not None:
        changes = (*changes, ("train", "dataset", dataset))
    workspace, as_json = console.workspace_of(option), console.wants_json(as_json)
    if (recipe is None) == (dataset is None) and not (dry_run and recipe is None):
        raise RecipeError("give either a recipe or --dataset NAME[@VERSION]")
    stored = json.dumps({"name": "defaults"}) if recipe is None else ""
    job = Job(
        str(workspace.root),
        recipe=str(recipe or ""),
        stored=_asked(workspace, queries.stored_recipe, dataset) if dataset else stored,
        workers=1,
        quiet=as_json,
        changes=changes,
    )
    if dry_run:
        show_cost(job, as_json)
        return
    name = job.load().configs["train"].dataset
    _asked(workspace, queries.stored_recipe, name)  # says so where there is none
    try:
        _bring_up_to_date(job, TRAIN, "train")
    finally:
        if torchrun.is_launched():
            torchrun.announce(None)
    console.say_rows(
        _asked(workspace, queries.checkpoints_on, name),
        title="checkpoints",
        as_json=as_json,
    )


def run_train_codec(
    recipe: Path | None,
    dataset: str | None,
    steps: int | None,
    option: str | None,
    as_json: bool,
    workers: int | None,
) -> None:
    """`talkies train codec`."""
    workspace, as_json = console.workspace_of(option), console.wants_json(as_json)
    if (recipe is None) == (dataset is None):
        raise RecipeError("give either a recipe or --dataset NAME")
    asked: dict[str, Any] = {"codec": LEARNED} | ({"steps": steps} if steps else {})
    job = Job(
        str(workspace.root),
        recipe=str(recipe or ""),
        stored=_asked(workspace, queries.stored_recipe, dataset) if dataset else "",
        workers=console.workers_of(workers),
        quiet=as_json,
        # What is pretrained or given is another codec.
        changes=tuple(
            ("fit_codec", name, value)
            for name, value in ({"pretrained": "", "file": ""} | asked).items()
        ),
    )
    check_source(job.load())
    workspace.make()
    _bring_up_to_date(job, CODEC, "codec")
    rows = _asked(workspace, queries.codecs)
    if not rows:
        raise console.fail("the training split holds no clip with sound; add sources")
    console.say_rows(rows, title="codec", as_json=as_json)
    if not as_json and (lines := how_to_keep(replace(job, changes=()).load(), asked)):
        console.say_lines(lines)


def how_to_keep(recipe: Recipe, asked: dict[str, Any]) -> list[str]:
    """What to write into a recipe that does not ask for what was trained; nothing where it does."""
    given = recipe.configs["fit_codec"]
    if all(getattr(given, name) == value for name, value in asked.items()):
        return []
    section = ", ".join(f"{name}: {value}" for name, value in asked.items())
    return [
        f"Write `fit_codec: {{{section}}}` into the recipe, so that builds use this codec;",
        f"a build of the recipe as it is puts {given.codec} back in its place.",
    ]


def run_evaluate(
    checkpoint: str,
    dataset: str,
    recipe: Path | None,
    changes: tuple[tuple[str, str, Any], ...],
    option: str | None,
    as_json: bool,
) -> None:
    """`talkies evaluate`; `changes` are set over the settings of `recipe`, or the dataset's."""
    workspace, as_json = console.workspace_of(option), console.wants_json(as_json)
    stored = with_section(_asked(workspace, queries.stored_recipe, dataset), "evaluate", recipe)
    full_id = _asked(workspace, queries.checkpoint_id, checkpoint)
    name, version = _asked(workspace, queries.dataset_of, full_id)
    if dataset not in (name, f"{name}@{version}"):
        raise RecipeError(
            f"checkpoint {full_id[:8]} was trained on dataset {name}@{version}, whose held-out "
            f"items it is measured on; give --dataset {name}"
        )
    chosen = (*changes, ("evaluate", "dataset", dataset), ("evaluate", "checkpoint", full_id))
    job = Job(str(workspace.root), stored=stored, workers=1, quiet=as_json, changes=chosen)
    _bring_up_to_date(job, EVALUATE, "evaluate")
    console.say_rows(
        _asked(workspace, queries.evaluations_of, full_id),
        title=f"evaluations of {full_id[:8]}",
        as_json=as_json,
    )


def run_sonify(
    sources: list[Path],
    out: Path,
    model: str | None,
    script: Path | None,
    voice: str | None,
    takes: int,
    recipe: Path | None,
    option: str | None,
    as_json: bool,
    workers: int | None,
) -> None:
    """`talkies sonify`: ingest the films, look at them, generate, and copy the results out."""
    from tasks.checkpoint import read_card
    from tasks.script import read_script
    from tasks.source_uri import uri_of
    from tasks.voice_choice import require_voice

    workspace, as_json = console.workspace_of(option), console.wants_json(as_json)
    if missing := [str(path) for path in sources if not path.is_file()]:
        raise console.fail(f"no such file: {', '.join(missing)}", console.USAGE)
    text = read_script(script) if script else ""
    checkpoint = _model_for(workspace, model or "", as_json)
    files = [uri_of(path.resolve()) for path in sources]
    targets = tuple({"file": file, "script": text} for file in files)
    looked = film_recipe(*_asked(workspace, queries.film_recipes, checkpoint))
    job = Job(
        str(workspace.root),
        stored=with_section(looked, "sonify", recipe),
        workers=console.workers_of(workers),
        quiet=as_json,
        changes=(
            ("scan", "files", tuple(files)),
            ("sonify", "targets", targets),
            ("sonify", "takes", takes),
            ("sonify", "checkpoint", checkpoint),
            *_voice_changes(voice),
        ),
    )
    sonify = job.load().configs["sonify"]
    if sonify.voice or sonify.voice_file:
        require_voice(read_card(workspace.fetch(f"checkpoints/{checkpoint}")), sonify)
    _bring_up_to_date(job, film_stages(job.load().configs["faces"].lips), "films", uris=files)
    made = _asked(workspace, queries.soundtracks, checkpoint, files, takes)
    out.mkdir(parents=True, exist_ok=True)
    for row in made:
        film = workspace.fetch(row["film"])
        row["film"] = str(shutil.copyfile(film, out / film.name))
    console.say_rows(made, title="soundtracks (AI-generated)", as_json=as_json)
    if len({row["source"] for row in made}) < len(set(files)):
        raise console.fail("some films got no soundtrack; see `talkies catalog rejects`")


def _voice_changes(voice: str | None) -> tuple[tuple[str, str, Any], ...]:
    """The settings of a voice that is asked for: a file where there is one, else a name."""
    if voice is None:
        return ()
    path = Path(voice).expanduser()
    name, value = ("voice_file", str(path.resolve())) if path.is_file() else ("voice", voice)
    # Both together are refused, so what the recipe asks for goes first.
    return (("sonify", "voice", ""), ("sonify", "voice_file", ""), ("sonify", name, value))


def _model_for(workspace: Workspace, asked: str, as_json: bool) -> str:
    """The id of the model that was asked for; the shipped one where nothing else is there.

    That is the one of this talkies, whatever came with an older one.
    """
    from tasks.model_package import PackageError, import_model

    if asked != SHIPPED and (asked or _has_own_models(workspace)):
        return _asked(workspace, queries.checkpoint_id, asked)
    if (folder := shipped_model()) is None:
        if asked:
            raise PackageError(
                f"--model {SHIPPED}: no model comes with this talkies; train one, or "
                "`talkies model import` one"
            )
        return _asked(workspace, queries.checkpoint_id, asked)

    def tell(package: object) -> None:
        if not as_json:
            console.say_lines([f"The model that comes with talkies: {package}."])

    return import_model(workspace, folder, tell)[0]


def _has_own_models(workspace: Workspace) -> bool:
    return is_there(workspace) and _asked(workspace, queries.has_own_checkpoints)


def _bring_up_to_date(
    job: Job,
    stages: tuple[Stage, ...],
    flow: str,
    force: bool = False,
    uris: Sequence[str] = (),
) -> bool:
    """Runs a flow where a stage has something to do, with `uris` if given; returns whether."""
    plans: list[Pending] = unfinished(Workspace.at(job.workspace), job.load(), stages, uris)
    if not plans and not force:
        if not job.quiet:
            console.say_lines(["Nothing to do: every stage is up to date."])
        return False
    with Progress(job.quiet) as progress:
        bar = progress.add("start the flow engine", 1)
        wait_for_server = use_embedded_prefect(Workspace.at(job.workspace), console.Given.debug)
        from flows import build

        wait_for_server()
        build.start_engine()
        progress.end(bar, "  start the flow engine: ready")
    run: Callable[[Job], Any] = build.embedded(getattr(build, flow), job.workers)
    run(job)
    return True


def _summarise(
    workspace: Workspace, name: str, ran: bool, as_json: bool, page: Path | None
) -> None:
    from tasks.report_data import EXAMPLE_QUERIES
    from tasks.report_speech import phoneme_warnings

    order = {stage.name: place for place, stage in enumerate(ALL)}
    rows = _asked(workspace, queries.stage_progress)
    rows.sort(key=lambda row: order[row["stage"]])
    with Catalog(workspace, read_only=True) as catalog:
        warnings = phoneme_warnings(catalog)
    if as_json:
        report = str(page) if page else None
        console.say_json(
            {"ran": ran, "dataset": name, "summary": rows, "warnings": warnings, "report": report}
        )
        return
    console.say_rows(rows, title=f"{name}: what each stage has finished")
    rejected = sum(row["rejected"] for row in rows)
    console.say_lines([f"{rejected} items rejected; `talkies catalog rejects` says why."])
    console.say_lines(warnings)
    if page is None:
        return
    console.say_lines([f"\nReport: {page}", "\nThree questions to the catalog:"])
    for query in EXAMPLE_QUERIES:
        sql = " ".join(query.sql.split())
        console.say_lines([f"  # {query.title}", f'  talkies catalog sql "{sql}"'])


def _asked(workspace: Workspace, question: Callable[..., T], *values: Any) -> T:
    """The catalog's answer to a question of storage/queries.py."""
    with Catalog(workspace, read_only=True) as catalog:
        return question(catalog, *values)
