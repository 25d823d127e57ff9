"""`talkies catalog`: what keeps a catalog sound: verify, gc, evict, compact, backup, restore."""

from pathlib import Path
from typing import Annotated, Any

import typer

from flows import console
from flows.console import JsonOption, WorkspaceOption

care = console.Commands(no_args_is_help=True)

ApplyOption = Annotated[
    bool, typer.Option("--apply", help="Do it; without it, only say what would be done.")
]
SHOWN = 50
DAY_S = 24 * 3600.0


@care.command(epilog="Example: talkies catalog verify --shallow")
def verify(
    shallow: Annotated[
        bool, typer.Option("--shallow", help="Look whether files are there; do not read them.")
    ] = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check every key, reference, file, split and digest; exit with 1 if anything is wrong."""
    from dataclasses import asdict

    from storage.catalog import Catalog
    from storage.verify import summary
    from storage.verify import verify as findings_of
    from tasks.pipeline import ALL

    with Catalog(console.workspace_of(workspace), read_only=True) as opened:
        findings = findings_of(opened, deep=not shallow, stages=ALL)
    if console.wants_json(as_json):
        console.say_json([asdict(finding) for finding in findings])
    else:
        if findings:
            console.say_rows([asdict(finding) for finding in findings])
        console.say_lines([summary(findings)])
    if findings:
        raise typer.Exit(console.FAILED)


@care.command(epilog="Example: talkies catalog gc --grace-hours 24 --apply")
def gc(
    grace_hours: Annotated[
        float, typer.Option(help="Keep what is younger than this.", min=0)
    ] = 24.0,
    apply: ApplyOption = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Delete files that no snapshot refers to; says which first."""
    from dataclasses import asdict

    from storage.catalog import Catalog
    from storage.gc import gc as swept

    room = console.workspace_of(workspace)
    # DuckLake lists its orphans on a writing connection only, which would make a missing catalog.
    Catalog(room, read_only=True).close()
    with Catalog(room) as opened:
        sweep = swept(opened, grace_hours * 3600, apply)
    rows = [asdict(orphan) for orphan in sweep.orphans]
    if console.wants_json(as_json):
        young = [asdict(orphan) for orphan in sweep.young]
        console.say_json({"orphans": rows, "young": young, "is_applied": apply})
        return
    _say_some(rows)
    verb = "deleted" if apply else "would delete"
    size = f"{sweep.size_bytes / 1e6:.1f} MB"
    line = f"{verb} {len(rows)} files and folders, {size}"
    if sweep.young:
        line += f"; {len(sweep.young)} are younger than {grace_hours:g} h and stay"
    console.say_lines([_with_hint(line, apply, rows)])


@care.command(epilog="Example: talkies catalog evict --keep-gib 20 --apply")
def evict(
    keep_gib: Annotated[
        float | None,
        typer.Option(
            help="Let the least recently used go until the rest is this small.",
            min=0,
            show_default=False,
        ),
    ] = None,
    unused_days: Annotated[
        float | None,
        typer.Option(help="Let go of what was not used for so long.", min=0, show_default=False),
    ] = None,
    apply: ApplyOption = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Delete this machine's copies of files that lie in the object store; says which first."""
    from dataclasses import asdict

    from storage.evict import evict as let_go

    keep_bytes = None if keep_gib is None else round(keep_gib * 2**30)
    unused_s = None if unused_days is None else unused_days * DAY_S
    done = let_go(console.workspace_of(workspace), keep_bytes, unused_s, apply)
    if console.wants_json(as_json):
        console.say_json(asdict(done))
        return
    verb = "deleted" if apply else "would delete"
    line = f"{verb} {len(done.refs)} copies, {done.size_bytes / 1e6:.1f} MB; "
    line += f"{done.kept_bytes / 1e6:.1f} MB stay"
    if done.waiting:
        line += f"; {len(done.waiting)} files are not in the store and stay"
    console.say_lines([_with_hint(line, apply, list(done.refs))])


@care.command(epilog="Example: talkies catalog compact --expire-days 30 --apply")
def compact(
    expire_days: Annotated[
        float | None,
        typer.Option(
            help="Let go of older snapshots; those of datasets stay.", min=0, show_default=False
        ),
    ] = None,
    apply: ApplyOption = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make few data files of many; says of which tables first."""
    from dataclasses import asdict

    from storage.catalog import Catalog
    from storage.compact import compact as compacted

    expire_s = None if expire_days is None else expire_days * DAY_S
    with Catalog(console.workspace_of(workspace), read_only=not apply) as opened:
        done = compacted(opened, apply, expire_s)
    if console.wants_json(as_json):
        console.say_json(asdict(done) | {"is_applied": apply})
        return
    after = {table.table: table.files for table in done.after}
    rows: list[dict[str, Any]] = [
        asdict(table) | ({"files_after": after.get(table.table)} if apply else {})
        for table in done.before
    ]
    _say_some(rows)
    lines = [f"{'compacted' if apply else 'would compact'} {len(rows)} tables"]
    if expire_days is not None:
        verb = "let go of" if apply else "would let go of"
        lines.append(
            f"{verb} {len(done.expired)} snapshots; dataset versions pin {len(done.pinned)}"
        )
    line = "; ".join(lines)
    if apply and rows:
        line += "; `talkies catalog gc` deletes the replaced files after its grace period"
    console.say_lines([_with_hint(line, apply, [*rows, *done.expired])])


@care.command(epilog="Example: talkies catalog redrive --reason truncated --apply")
def redrive(
    reason: Annotated[str | None, typer.Option(help="Only this reason code.")] = None,
    stage: Annotated[str | None, typer.Option(help="Only of this stage.")] = None,
    item: Annotated[str | None, typer.Option(help="Only this item id.")] = None,
    apply: ApplyOption = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Queue rejected items again, for the next build; says which first."""
    from dataclasses import asdict

    from storage.catalog import Catalog
    from storage.redrive import redrive as redriven

    room = console.workspace_of(workspace)
    # A writing connection would make a missing catalog.
    Catalog(room, read_only=True).close()
    with Catalog(room, read_only=not apply) as opened:
        done = redriven(opened, reason, stage, item, apply)
    if console.wants_json(as_json):
        console.say_json(asdict(done))
        return
    _say_some(list(done.rows))
    verb = "queued" if apply else "would queue"
    line = f"{verb} {done.items} rejected items again"
    line += "; `talkies build` tries them" if apply and done.items else ""
    console.say_lines([_with_hint(line, apply, list(done.rows))])


@care.command(epilog="Example: talkies catalog backup /backups/monday.sqlite")
def backup(
    to: Annotated[
        Path | None, typer.Argument(help="New file; below the workspace if left out.")
    ] = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Copy the catalog's metadata into a file with a manifest beside it."""
    from dataclasses import asdict

    from storage.backup import backup as backed_up
    from storage.backup import default_path
    from storage.catalog import Catalog
    from storage.lake import place_of

    room = console.workspace_of(workspace)
    path = to or default_path(room)
    as_json = console.wants_json(as_json)
    if not as_json:
        console.say_lines([f"copying {place_of(room)} to {path}"])
    with Catalog(room, read_only=True) as opened:
        manifest = backed_up(opened, path)
    if as_json:
        console.say_json({"path": str(path)} | asdict(manifest))
        return
    size = f"{manifest.size_bytes / 1e6:.1f} MB"
    console.say_lines([f"snapshot {manifest.snapshot}, {size}, sha256 {manifest.sha256}"])


@care.command(epilog="Example: talkies catalog restore /backups/monday.sqlite --apply")
def restore(
    path: Annotated[Path, typer.Argument(help="The backup file.")],
    apply: ApplyOption = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put a backup in place of the catalog, which is kept beside it; says what first."""
    from dataclasses import asdict

    from storage.backup import restore as restored

    done = restored(console.workspace_of(workspace), path, apply)
    if console.wants_json(as_json):
        console.say_json(asdict(done))
        return
    now = done.replaces_snapshot
    held = "no readable catalog" if now is None else f"the catalog at snapshot {now}"
    verb = "replaced" if apply else "would replace"
    line = f"{verb} {held} with snapshot {done.manifest.snapshot} of {done.manifest.made_at}"
    kept = f"; the replaced one {'is' if apply else 'would be'} kept at {done.kept_at}"
    console.say_lines([_with_hint(line + (kept if done.kept_at else ""), apply, [done])])


def _say_some(rows: list[dict[str, Any]]) -> None:
    if rows:
        console.say_rows(rows[:SHOWN])
    if len(rows) > SHOWN:
        console.say_lines([f"… and {len(rows) - SHOWN} more; --json lists all"])


def _with_hint(line: str, apply: bool, work: list[Any]) -> str:
    return line if apply or not work else f"{line}; add --apply to do it"
