"""`talkies mixtures`: mixtures as sound files and JAMS documents, out and in."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from flows import console
from flows.console import JsonOption, WorkspaceOption

mixtures = console.Commands(
    help="Write mixtures as sound files with JAMS documents, and take them from such documents.",
    epilog="Example: talkies mixtures export demo --out mixtures --stems --jams",
    no_args_is_help=True,
)

StemsOption = Annotated[
    bool, typer.Option("--stems", help="Speech, ambience and dry speech too, not the mix alone.")
]
FormatOption = Annotated[
    Literal["wav", "flac"], typer.Option("--format", help="Of the sound files, 16 bits.")
]


@mixtures.command(epilog="Example: talkies mixtures export demo@1 --out mixtures --stems --jams")
def export(
    out: Annotated[Path, typer.Option(help="Folder for the files.", show_default=False)],
    dataset: Annotated[
        str | None,
        typer.Argument(metavar="NAME[@VERSION]", help="Dataset; its newest version by default."),
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="All mixtures in place of a dataset's.")
    ] = False,
    stems: StemsOption = False,
    rate: Annotated[
        int | None,
        typer.Option(
            metavar="16000|48000",
            help="Sample rate; each mixture's own by default. At another it is rendered again.",
        ),
    ] = None,
    audio_format: FormatOption = "flac",
    jams: Annotated[bool, typer.Option("--jams", help="A JAMS document of each.")] = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write the mixtures of a dataset as sound files, with a table of their levels.

    A mixture that cannot be written is named with its reason, and the exit code is 3. Run again, it
    goes on where it was stopped.
    """
    from flows.progress import Progress
    from tasks.export_mixtures import export_mixtures
    from tasks.mixture_files import Wanted

    if (dataset is None) != every:
        raise console.fail("give either a dataset or --all", console.USAGE)
    if rate not in (None, 16_000, 48_000):
        raise console.fail(f"--rate {rate}: mixtures have 16000 or 48000 Hz", console.USAGE)
    wanted = Wanted(out, stems, rate, audio_format, jams)
    room, as_json = console.workspace_of(workspace), console.wants_json(as_json)
    with Progress(as_json) as progress:
        bar = progress.add("export mixtures", 1)
        done = export_mixtures(
            room, dataset, wanted, lambda ready, total, name: progress.show(bar, ready, name, total)
        )
        progress.end(bar, f"  export mixtures: {done.mixtures} of {done.asked}")
    answer = {
        "out": str(done.out),
        "manifest": str(done.out / "manifest.parquet"),
        "mixtures": done.mixtures,
        "files_written": done.written,
        "files_kept": done.kept,
    }
    line = (
        f"{done.out}: {done.mixtures} mixtures, {done.written} files written, {done.kept} there "
        "before; manifest.parquet and manifest.csv say what each is"
    )
    _end(answer, [line], done.failures, as_json)


@mixtures.command("import", epilog="Example: talkies mixtures import scene.jams --out mixtures")
def import_(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE.jams…", help="Of talkies, or of Scaper.")
    ],
    out: Annotated[Path | None, typer.Option(help="Folder for what is rendered.")] = None,
    stems: StemsOption = False,
    audio_format: FormatOption = "flac",
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check mixtures that were exported as JAMS, and render them again to the same samples.

    What Scaper wrote is rendered as a new recipe, where its sources are in the catalog. Without
    --out nothing is written.
    """
    from flows.progress import Progress
    from tasks.import_mixtures import import_mixtures
    from tasks.mixture_files import Wanted

    wanted = Wanted(out, stems, None, audio_format, jams=True) if out else None
    room, as_json = console.workspace_of(workspace), console.wants_json(as_json)
    with Progress(as_json) as progress:
        bar = progress.add("import mixtures", 1)
        done = import_mixtures(
            room, files, wanted, lambda ready, total, name: progress.show(bar, ready, name, total)
        )
        progress.end(bar, f"  import mixtures: {len(done.taken)} of {len(files)}")
    lines = [
        f"{one.file}: {one.mix_id} {one.regime}, "
        + ("the same samples" if one.is_identical else "rendered as a new recipe")
        + "".join(f"; {note}" for note in one.notes)
        for one in done.taken
    ]
    _end({"mixtures": [_plain(one) for one in done.taken]}, lines, done.failures, as_json)


def _end(answer: dict[str, Any], lines: list[str], failures: list[Any], as_json: bool) -> None:
    """Says what was done and what failed; exits with 3 where something did."""
    if as_json:
        console.say_json(answer | {"failures": [_plain(failure) for failure in failures]})
    else:
        console.say_lines(lines)
        if failures:
            console.say_rows([_plain(failure) for failure in failures], title="left out")
    if failures:
        message = f"{len(failures)} mixtures are left out, the first: {failures[0].message}"
        raise console.fail(message, console.REJECTS)


def _plain(value: Any) -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(value)
