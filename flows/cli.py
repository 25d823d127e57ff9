"""The command line. Commands that need no flow do not import Prefect."""

import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer
from typer.exceptions import TyperException

from flows import console
from flows.cli_care import care
from flows.cli_catalog import catalog
from flows.cli_codec import train_codec
from flows.cli_export import export
from flows.cli_lineage import lineage_commands
from flows.cli_mixtures import mixtures
from flows.cli_model import model
from flows.cli_world import stage_world
from flows.console import CatalogOption, JsonOption, WorkersOption, WorkspaceOption
from tasks.shipped_model import SHIPPED

DEMO_RECIPE = Path(__file__).parent / "demo.yaml"

# By name: importing their modules would cost every command its start.
USAGE_ERRORS = frozenset(
    [
        "RecipeError",
        "Refused",
        "ManifestError",
        "UnknownFormat",
        "UnknownId",
        "UnknownVersion",
        "UnknownSource",
        "UnknownName",
        "NothingRejected",
        "NoVoice",
        "UnknownVoice",
        "WorldError",
        "PackageError",
    ]
)

app = console.Commands(
    name="talkies",
    cls=console.WordPairs,
    help="Turn video archives into training data, train on it, give silent films their sound.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
catalog.add_typer(lineage_commands)
catalog.add_typer(care)
catalog.command(epilog="Example: talkies catalog export /data/plain")(export)
app.add_typer(catalog, name="catalog")
app.add_typer(mixtures, name="mixtures")
app.add_typer(model, name="model")
app.command("stage-world", epilog="Example: talkies stage-world world --clips 25000")(stage_world)


@app.callback()
def main_options(
    workspace: WorkspaceOption = None,
    catalog: CatalogOption = None,
    as_json: JsonOption = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Options that every command takes, before or after its name."""
    console.Given.workspace, console.Given.catalog = workspace, catalog
    console.Given.json, console.Given.debug = as_json, debug


@app.command(epilog="Example: talkies demo --workspace /data/demo")
def demo(
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
    workers: WorkersOption = None,
) -> None:
    """Run the whole story on a small real corpus: build, train, evaluate, sonify, report."""
    from flows.commands import run_demo

    run_demo(workspace, as_json, workers)


@app.command(epilog="Example: talkies doctor --json")
def doctor(workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """Say what is installed, what is missing, and how to mend it."""
    from tasks.doctor import checks

    found = checks(console.workspace_of(workspace))
    rows = [{"check": c.name, "state": c.state, "found": c.found, "mend": c.mend} for c in found]
    console.say_rows(rows, as_json=console.wants_json(as_json))
    if any(c.state == "missing" for c in found):
        raise typer.Exit(console.FAILED)


RecipeArgument = Annotated[Path, typer.Argument(help="Recipe, a YAML file.")]
OptionalRecipe = Annotated[Path | None, typer.Argument(help="Recipe, a YAML file.")]
SettingsOption = Annotated[
    Path | None,
    typer.Option(
        "--recipe",
        help="Recipe whose section of the command's name counts, not the dataset's or the model's.",
    ),
]
SourceOption = Annotated[
    Path | None, typer.Option("--source", help="Source folder or tar in place of a recipe.")
]
NameOption = Annotated[str | None, typer.Option("--name", help="Name of the dataset.")]


@app.command(epilog="Example: talkies plan recipe.yaml --pilot-seconds 60 --core-hour-price 0.04")
def plan(
    recipe: RecipeArgument,
    pilot_seconds: Annotated[
        float, typer.Option(help="Time for a sample of the files; 0 tries none.", min=0)
    ] = 30.0,
    core_hour_price: Annotated[
        float | None, typer.Option(help="Price of a core for an hour.", min=0, show_default=False)
    ] = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
    workers: WorkersOption = None,
) -> None:
    """Show what a build would do now, and forecast its time, disk and cost from a short pilot.

    Nothing is written.
    """
    from flows.plan import show_plan

    show_plan(recipe, workspace, as_json, workers, pilot_seconds, core_hour_price)


@app.command(
    epilog="Examples: talkies build recipe.yaml · talkies build --source films --name films"
)
def build(
    recipe: OptionalRecipe = None,
    source: SourceOption = None,
    name: NameOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
    workers: WorkersOption = None,
    max_rejects: Annotated[
        int | None, typer.Option(help="Exit with 3 when more items are rejected.", min=0)
    ] = None,
) -> None:
    """Build or update a dataset."""
    from flows.commands import run_build

    run_build(recipe, source, name, workspace, as_json, workers, max_rejects)


@app.command(epilog="Example: talkies train recipe.yaml --preset tiny")
def train(
    recipe: OptionalRecipe = None,
    dataset: Annotated[
        str | None, typer.Option(metavar="NAME[@VERSION]", help="Dataset in place of a recipe.")
    ] = None,
    preset: Annotated[str | None, typer.Option(help="Size of the model.")] = None,
    init_from: Annotated[
        Path | None,
        typer.Option(
            "--init-from",
            help="Weights to begin with, safetensors: Stable Audio's transformer, or a checkpoint; "
            "`shipped`: those of the model that comes with talkies.",
        ),
    ] = None,
    ranks: Annotated[
        int | None, typer.Option(help="Processes that train together, each on a GPU.", min=1)
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Tell parameters, memory and time; needs no dataset."),
    ] = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train a model on a version of a dataset, the newest one by default, unless that was done."""
    from flows.commands import run_train

    init = str(init_from) if init_from else None
    if init_from and init != SHIPPED:
        init = str(init_from.expanduser().resolve())
    given = {"preset": preset, "init_from": init, "ranks": ranks}
    changes = tuple(("train", name, value) for name, value in given.items() if value is not None)
    run_train(recipe, dataset, changes, dry_run, workspace, as_json)


app.command("train codec", epilog="Example: talkies train codec recipe.yaml --steps 8000")(
    train_codec
)


@app.command(epilog="Example: talkies evaluate 3f9a21c0 --dataset demo")
def evaluate(
    checkpoint: Annotated[str, typer.Argument(help="Checkpoint id, or the start of one.")],
    dataset: Annotated[str, typer.Option(metavar="NAME[@VERSION]", help="Dataset.")],
    generate: Annotated[
        int | None,
        typer.Option(
            help="Most items of each held-out split to generate and hear; else the recipe's.",
            min=0,
        ),
    ] = None,
    recipe: SettingsOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Evaluate a model on the held-out items of its dataset, unless that was done."""
    from flows.commands import run_evaluate

    changes = () if generate is None else (("evaluate", "generate", generate),)
    run_evaluate(checkpoint, dataset, recipe, changes, workspace, as_json)


@app.command(epilog="Example: talkies sonify reel.mp4 --script reel.srt --out sounded")
def sonify(
    sources: Annotated[list[Path], typer.Argument(help="Silent films.")],
    out: Annotated[Path, typer.Option(help="Folder for the films with sound.")],
    model: Annotated[
        str | None,
        typer.Option(
            help="Checkpoint id; the newest if left out. `shipped`: what comes with talkies."
        ),
    ] = None,
    script: Annotated[Path | None, typer.Option(help="Words to speak: srt, vtt or txt.")] = None,
    voice: Annotated[
        str | None,
        typer.Option(help="Who speaks: a name that the model's card lists, or a recording."),
    ] = None,
    takes: Annotated[int, typer.Option(help="Soundtracks for each film.", min=1, max=16)] = 1,
    recipe: SettingsOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
    workers: WorkersOption = None,
) -> None:
    """Give silent films their sound; the picture is copied untouched."""
    from flows.commands import run_sonify

    run_sonify(sources, out, model, script, voice, takes, recipe, workspace, as_json, workers)


@app.command(epilog="Example: talkies report demo")
def report(
    name: Annotated[str, typer.Argument(help="Dataset.")],
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a page to look at and listen to."""
    from tasks.report import write_report

    path = write_report(console.workspace_of(workspace), name)
    if console.wants_json(as_json):
        console.say_json({"report": str(path)})
    else:
        console.say_lines([str(path)])


def main() -> None:
    """Runs the command line; an error is one line and a code, a traceback only with --debug."""
    signal.signal(signal.SIGINT, _interrupt)
    sys.exit(guarded(lambda: app(prog_name="talkies", standalone_mode=False)))


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Remembers a Ctrl-C: libraries that it passes through may raise something else instead."""
    console.Given.interrupted = True
    signal.default_int_handler(number, frame)


def guarded(run: Callable[[], Any]) -> int:
    """The exit code of a command, with what went wrong printed as one line."""
    try:
        code = run()
    except typer.Exit as stop:
        code = stop.exit_code
    except typer.Abort:
        code = console.FAILED
    except TyperException as error:
        return _misused(error)
    except KeyboardInterrupt:
        code = console.INTERRUPTED
    except Exception as error:
        if console.Given.debug:
            raise
        if console.Given.interrupted:
            return _stopped()
        notes = "; ".join(getattr(error, "__notes__", []))
        usage = type(error).__name__ in USAGE_ERRORS
        text = _summary(error)
        console.fail(f"{text} ({notes})" if notes else text)
        return console.USAGE if usage else console.FAILED
    if code == console.INTERRUPTED or console.Given.interrupted:
        return _stopped()
    return code if isinstance(code, int) else console.DONE


def _stopped() -> int:
    console.fail("stopped; what was committed stays, run the same command to go on")
    return console.INTERRUPTED


def _summary(error: Exception) -> str:
    """What an exception says, without the traceback that one from a child process carries."""
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[-1] if text.startswith("Traceback") else text


def _misused(error: TyperException) -> int:
    """Says what is wrong with the command line; without a command, its help."""
    context = getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError":
        return console.USAGE
    where = context.command_path if context else "talkies"
    console.fail(f"{error.format_message()} (see `{where} --help`)")
    return console.USAGE
