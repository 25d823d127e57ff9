"""`talkies catalog lineage`, `diff`, `snapshots` and `forget`: descent, versions, takedowns."""

import dataclasses
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows import console
from flows.console import JsonOption, WorkspaceOption

if TYPE_CHECKING:
    from storage.rights import Takedown
    from storage.workspace import Workspace

lineage_commands = console.Commands()

SHOWN = 20


@lineage_commands.command(epilog="Example: talkies catalog lineage 3f9a21c0 --mermaid")
def lineage(
    node: Annotated[str, typer.Argument(metavar="ID", help="An id's first characters, or a uri.")],
    mermaid: Annotated[bool, typer.Option("--mermaid", help="Print a Mermaid graph.")] = False,
    depth: Annotated[int, typer.Option(help="Most steps up and down.", min=1)] = 8,
    limit: Annotated[int, typer.Option(help="Most neighbours of a kind to show.", min=1)] = 10,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what something was made of, and what was made of it."""
    from storage import lineage_text
    from storage.catalog import Catalog
    from storage.lineage import find, trace

    with Catalog(console.workspace_of(workspace), read_only=True) as opened:
        found = trace(opened, find(opened, node), depth, limit)
    if console.wants_json(as_json):
        graph = {"mermaid": lineage_text.mermaid(found)} if mermaid else {}
        console.say_json(lineage_text.as_data(found) | graph)
    elif mermaid:
        typer.echo(lineage_text.mermaid(found), nl=False)
    else:
        typer.echo("\n".join(lineage_text.tree(found)))


@lineage_commands.command(epilog="Example: talkies catalog diff demo@1 demo@2")
def diff(
    a: Annotated[str, typer.Argument(help="Version: NAME@VERSION, or start of a dataset id.")],
    b: Annotated[str, typer.Argument(help="The other version.")],
    limit: Annotated[int, typer.Option(help="Most items to list.", min=0)] = SHOWN,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say which items came, went or changed between two dataset versions, and why."""
    from storage.catalog import Catalog
    from storage.versions import diff as compared

    with Catalog(console.workspace_of(workspace), read_only=True) as opened:
        found = compared(opened, a, b)
    rows = [
        {
            "change": item.change,
            "item_id": item.item_id,
            "task": item.task,
            "split": item.split,
            "why": [str(reason) for reason in item.reasons],
        }
        for item in found.items
    ]
    if console.wants_json(as_json):
        console.say_json({"counts": found.counts(), "reasons": found.by_reason(), "items": rows})
        return
    counts = ", ".join(f"{count:,} {change}" for change, count in found.counts().items())
    console.say_lines([f"{a} → {b}: {counts}"])
    if rows:
        console.say_rows(found.by_reason(), title="reasons")
        shown = [row | {"why": "; ".join(row["why"])} for row in rows[:limit]]
        console.say_rows(shown, title="items")
    if len(rows) > limit:
        console.say_lines([f"… and {len(rows) - limit:,} more; see --limit or --json"])


@lineage_commands.command(epilog="Example: talkies catalog snapshots --before 118")
def snapshots(
    limit: Annotated[int, typer.Option(help="Most snapshots to list.", min=1)] = SHOWN,
    before: Annotated[int | None, typer.Option(help="Only older than this one.")] = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the catalog's snapshots, newest first, with the dataset versions that pin them."""
    from storage.catalog import Catalog
    from storage.queries import dataset_versions
    from storage.snapshots import snapshots as page_of

    with Catalog(console.workspace_of(workspace), read_only=True) as opened:
        rows = page_of(opened, limit, before)
        versions = dataset_versions(opened)
    if console.wants_json(as_json):
        console.say_json({"datasets": versions, "snapshots": rows})
        return
    console.say_rows(versions, title="datasets")
    console.say_rows(rows, title="snapshots")
    if len(rows) == limit:
        console.say_lines([f"older ones: --before {rows[-1]['snapshot']}"])


@lineage_commands.command(epilog="Example: talkies catalog forget 91028f9d --apply")
def forget(
    source: Annotated[str, typer.Argument(help="Source id or its start, or a file's uri.")],
    apply: Annotated[bool, typer.Option("--apply", help="Remove it, not only list.")] = False,
    reason: Annotated[str, typer.Option(help="Why, for the tombstone.")] = "takedown",
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """List, or remove, all that was made of a source, and mark what contains it."""
    from storage.catalog import Catalog
    from storage.rights import forget as taken_down

    where = console.workspace_of(workspace)
    if apply:
        found = _applied(where, source, reason)
    else:
        with Catalog(where, read_only=True) as opened:
            found = taken_down(opened, source)
    if console.wants_json(as_json):
        console.say_json(dataclasses.asdict(found))
    else:
        _say_takedown(found)


def _applied(where: "Workspace", source: str, reason: str) -> "Takedown":
    from storage.catalog import Catalog
    from storage.ids import canonical_json
    from storage.lake import require_there
    from storage.rights import forget as taken_down
    from storage.runs import begin_run, end_run

    require_there(where)
    with Catalog(where) as opened, opened.gate.alone():
        run = begin_run(opened, "talkies catalog forget", canonical_json({"reason": reason}))
        status = "failed"
        try:
            found = taken_down(opened, source, apply=True, reason=reason, run_id=run.run_id)
            status = "done"
        finally:
            end_run(opened, run, status)
    return found


def _say_takedown(found: "Takedown") -> None:
    from tasks.source_uri import told

    done = found.applied
    rows: list[dict[str, Any]] = [
        {"table": table, "rows": count} for table, count in found.rows.items()
    ]
    console.say_rows(rows, title="rows removed" if done else "rows to remove")
    marks = [{"contains it": kind, "id": i} for kind, ids in found.marks.items() for i in ids]
    console.say_rows(marks, title="marked" if done else "to mark")
    verb = "removed" if done else "to remove"
    lines = [
        f"{len(found.files)} files {verb}, {len(found.rewritten)} shards "
        f"{'rewritten' if done else 'to rewrite'}, {found.size_bytes / 1e6:.1f} MB"
    ]
    lines += [f"the file itself is yours to delete: {told(uri)}" for uri in found.uris]
    if done:
        lines.append(f"{len(found.expired)} older snapshots expired; a tombstone keeps it out")
    elif found.since is not None:
        lines.append(f"snapshots from {found.since} on will expire; add --apply to remove")
    console.say_lines(lines)
