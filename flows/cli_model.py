"""`talkies model`: trained models out of a workspace, and into another."""

from pathlib import Path
from typing import Annotated

import typer

from flows import console
from flows.console import JsonOption, WorkspaceOption

model = console.Commands(
    help="Take a trained model out of a workspace, and into another.",
    epilog="Example: talkies model export 3f9a21c0 speech-and-sound",
    no_args_is_help=True,
)


@model.command(epilog="Example: talkies model export 3f9a21c0 speech-and-sound")
def export(
    checkpoint: Annotated[str, typer.Argument(help="Checkpoint id, or the start of one.")],
    out: Annotated[Path, typer.Argument(metavar="OUT_FOLDER", help="A new folder.")],
    without_voice: Annotated[
        list[str] | None,
        typer.Option(help="A named voice that the exported model does not offer."),
    ] = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a model as a folder that another workspace can import, its weights in float16."""
    from tasks.model_package import export_model

    package = export_model(console.workspace_of(workspace), checkpoint, out, without_voice or ())
    size_mb = package.size_bytes / 1e6
    if console.wants_json(as_json):
        told = {"checkpoint_id": package.checkpoint_id, "out": str(out), "size_mb": size_mb}
        console.say_json(told)
        return
    console.say_lines([f"{out}: model {package}, {size_mb:.1f} MB"])


@model.command("import", epilog="Example: talkies model import speech-and-sound")
def import_(
    folder: Annotated[Path, typer.Argument(help="What `talkies model export` wrote.")],
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Bring an exported model into a workspace, unless it is there."""
    from tasks.model_package import ModelPackage, import_model

    told: list[ModelPackage] = []
    checkpoint_id, is_new = import_model(console.workspace_of(workspace), folder, told.append)
    if console.wants_json(as_json):
        console.say_json({"checkpoint_id": checkpoint_id, "is_new": is_new})
        return
    state = "imported" if is_new else "there already"
    console.say_lines([f"{state}: model {told[0]}"])
