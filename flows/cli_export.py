"""`talkies catalog export`: the catalog as plain Parquet and a DuckDB file."""

from pathlib import Path
from typing import Annotated

import typer

from flows import console
from flows.console import JsonOption, WorkspaceOption


def export(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="New folder for the files.", show_default=False)
    ],
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write all tables as Parquet, with a catalog.duckdb of views that needs no extension."""
    from storage.catalog import Catalog
    from storage.export import export_catalog

    with Catalog(console.workspace_of(workspace), read_only=True) as opened:
        exported = export_catalog(opened, folder)
    if console.wants_json(as_json):
        console.say_json(
            {
                "folder": str(exported.folder),
                "snapshot": exported.snapshot,
                "size_bytes": exported.size_bytes,
                "rows": exported.rows,
            }
        )
        return
    console.say_lines(
        [
            f"{exported.folder}: snapshot {exported.snapshot}, {len(exported.rows)} tables, "
            f"{sum(exported.rows.values())} rows, {exported.size_bytes / 1e6:.1f} MB",
            f'try: cd {exported.folder} && duckdb -readonly catalog.duckdb "FROM funnel"',
        ]
    )
