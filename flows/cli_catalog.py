"""`talkies catalog`: read-only looks at the catalog."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from flows import console
from flows.console import JsonOption, WorkspaceOption

catalog = console.Commands(
    help="Query the catalog with SQL, and see what its tables mean.",
    epilog="Example: talkies catalog tables",
    no_args_is_help=True,
)


@catalog.command(epilog="Example: talkies catalog tables")
def tables(workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """List tables and views with their number of rows."""
    from storage.catalog import Catalog
    from storage.queries import table_counts

    with Catalog(console.workspace_of(workspace), read_only=True) as opened:
        rows = table_counts(opened)
    console.say_rows(rows, as_json=console.wants_json(as_json))


@catalog.command(epilog="Example: talkies catalog describe clips")
def describe(
    table: Annotated[str | None, typer.Argument(help="Table or view; all if left out.")] = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say what each column of a table means."""
    import difflib

    from storage.schema import TABLES, VIEWS
    from storage.schema import describe as columns_of

    known = (*VIEWS, *TABLES)
    if table and table not in known:
        near = difflib.get_close_matches(table, known, n=1)
        hint = f"; did you mean {near[0]}?" if near else f"; there are {', '.join(known)}"
        raise console.fail(f"there is no table {table}{hint}", console.USAGE)
    names = (table,) if table else known
    if console.wants_json(as_json):
        console.say_json({name: columns_of(name) for name in names})
        return
    for name in names:
        text = (VIEWS.get(name) or TABLES[name]).text
        console.say_lines([f"[bold]{name}[/bold]  {text}"])
        console.say_rows(columns_of(name))


@catalog.command(
    epilog='Example: talkies catalog sql "SELECT kind, count(*) FROM clips GROUP BY 1"'
)
def sql(
    query: Annotated[str, typer.Argument(help="One SELECT.")],
    as_of: Annotated[
        str | None, typer.Option(help="Snapshot id, time, or NAME@VERSION of a dataset.")
    ] = None,
    format_: Annotated[
        str | None, typer.Option("--format", help="table, csv, json, parquet or arrow.")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="File in place of the screen.")] = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run one read-only SELECT, on the catalog as it is or as it was."""
    from storage.catalog import Catalog
    from storage.formats import BINARY, encode, save
    from storage.snapshots import as_of as snapshot_of
    from storage.sql import read_only_query

    where = console.workspace_of(workspace)
    snapshot = None
    if as_of is not None:
        with Catalog(where, read_only=True) as opened:
            snapshot = snapshot_of(opened, as_of)
    table = read_only_query(query, where, snapshot=snapshot)
    if output:
        save(table, output, format_)
    elif format_ in (None, "table"):
        console.say_table(table, console.wants_json(as_json))
    elif format_ in BINARY and sys.stdout.isatty():
        raise console.fail(f"{format_} is not text; give --output FILE", console.USAGE)
    else:
        sys.stdout.buffer.write(encode(table, format_))


@catalog.command(epilog="Example: talkies catalog rejects --reason truncated")
def rejects(
    reason: Annotated[str | None, typer.Option(help="Only this reason code.")] = None,
    reasons: Annotated[
        bool, typer.Option("--reasons", help="What each reason code means, and the mend.")
    ] = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the items that were left out, and why."""
    from storage.catalog import Catalog
    from storage.queries import rejects as left_out
    from storage.rejects import REASONS

    if reasons:
        known = [{"reason": code, "meaning": text} for code, text in REASONS.items()]
        console.say_rows(known, title="reasons", as_json=console.wants_json(as_json))
        return
    with Catalog(console.workspace_of(workspace), read_only=True) as opened:
        rows = left_out(opened, reason)
    console.say_rows(rows, title="rejects", as_json=console.wants_json(as_json))
