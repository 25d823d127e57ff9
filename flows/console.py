"""What the command line shares: options, output as text or JSON, errors as one line."""

import functools
import inspect
import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, TypeVar

import pyarrow as pa
import typer
from rich.console import Console
from rich.table import Table
from typer.core import TyperGroup

from storage.settings import Settings
from storage.workspace import Workspace, redacted, secret_of, without_secret

CommandFunction = TypeVar("CommandFunction", bound=Callable[..., Any])
FILE_WIDTH = 10_000
DONE, FAILED, USAGE, REJECTS, INTERRUPTED = 0, 1, 2, 3, 130

WorkspaceOption = Annotated[
    str | None,
    typer.Option(
        "--workspace",
        metavar="DIR|URL",
        help="Workspace: a folder, or s3://bucket/prefix [TALKIES_WORKSPACE].",
        show_default=False,
    ),
]
CatalogOption = Annotated[
    str | None,
    typer.Option(
        "--catalog",
        metavar="URL",
        help="postgresql://… for the catalog's metadata [TALKIES_CATALOG].",
        show_default=False,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON only.")]
WorkersOption = Annotated[
    int | None, typer.Option(help="Worker processes [TALKIES_WORKERS].", min=1, show_default=False)
]


class Given:
    """What was given before the subcommand, and whether a Ctrl-C came since."""

    workspace: str | None = None
    catalog: str | None = None
    json: bool = False
    debug: bool = False
    interrupted: bool = False


class WordPairs(TyperGroup):
    """Commands whose names may be two words, such as `train codec` beside `train`."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command of the first two words where there is one, else of the first."""
        if (pair := " ".join(args[:2])) in self.commands:
            args = [pair, *args[2:]]
        return super().resolve_command(ctx, args)


class Commands(typer.Typer):
    """Commands that all take --catalog after their name, too."""

    def command(
        self, name: str | None = None, **options: Any
    ) -> Callable[[CommandFunction], CommandFunction]:
        """Registers a command with the options that it names, and --catalog."""
        register = super().command(name, **options)

        def registered(function: CommandFunction) -> CommandFunction:
            register(_with_catalog(function))
            return function

        return registered


def _with_catalog(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function with one option more, which it does not get."""

    @functools.wraps(function)
    def run(*arguments: Any, catalog_url: str | None, **named: Any) -> Any:
        Given.catalog = catalog_url or Given.catalog
        return function(*arguments, **named)

    signature = inspect.signature(function)
    more = inspect.Parameter(
        "catalog_url", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=CatalogOption
    )
    shown = signature.replace(parameters=[*signature.parameters.values(), more])
    run.__dict__["__signature__"] = shown
    run.__annotations__ = {**function.__annotations__, "catalog_url": CatalogOption}
    return run


def workspace_of(option: str | None) -> Workspace:
    """The workspace of the options, else of the environment."""
    settings = Settings()
    catalog_url = Given.catalog or settings.catalog
    # In the environment it reaches the flow and the workers too, and no row or message.
    if secret := secret_of(catalog_url):
        os.environ["PGPASSWORD"] = secret
    place = option or Given.workspace or settings.workspace
    return Workspace.at(place, without_secret(catalog_url))


def wants_json(option: bool) -> bool:
    """Whether JSON was asked for, before or after the subcommand."""
    return option or Given.json


def workers_of(option: int | None) -> int:
    """The number of worker processes of the option, else of the environment, else one a core."""
    return option or Settings().workers


def out() -> Console:
    """The console of the output stream; rows are not wrapped where nobody's terminal is."""
    return Console() if sys.stdout.isatty() else Console(width=FILE_WIDTH)


def say_json(value: Any) -> None:
    """Prints a value as JSON."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n")


def say_rows(rows: Sequence[Mapping[str, Any]], title: str = "", as_json: bool = False) -> None:
    """Prints rows as a table, or as JSON."""
    if as_json:
        say_json(list(rows))
        return
    if not rows:
        out().print(f"{title}: none" if title else "no rows")
        return
    table = Table(title=title or None, title_justify="left", header_style="bold", box=None)
    for name, value in rows[0].items():
        number = isinstance(value, int | float) and not isinstance(value, bool)
        table.add_column(str(name), justify="right" if number else "left", overflow="fold")
    for row in rows:
        table.add_row(*(_cell(value) for value in row.values()))
    out().print(table)


def say_table(table: pa.Table, as_json: bool) -> None:
    """Prints an Arrow table; where two columns have one name, the later gets a number."""
    names: list[str] = []
    for name in table.column_names:
        names.append(name if name not in names else f"{name}_{names.count(name) + 1}")
    say_rows(table.rename_columns(names).to_pylist(), as_json=as_json)


def say_lines(lines: Iterable[str]) -> None:
    """Prints lines as they are."""
    for line in lines:
        out().print(line, highlight=False, soft_wrap=True)


def _cell(value: Any) -> str:
    if value is None:
        return "[dim]-[/dim]"
    if isinstance(value, float):
        return f"{value:.4g}"
    text = json.dumps(value, default=str) if isinstance(value, list | dict) else str(value)
    return text.replace("[", r"\[")


def fail(message: str, code: int = FAILED) -> typer.Exit:
    """Prints one line on the error stream; returns the exit to raise."""
    line = f"talkies: {redacted(' '.join(message.split()))}"
    Console(stderr=True).print(line, style="red", highlight=False, markup=False, soft_wrap=True)
    return typer.Exit(code)
