"""`talkies train codec`: a codec that is learned on one's own data."""

from pathlib import Path
from typing import Annotated

import typer

from flows.console import JsonOption, WorkersOption, WorkspaceOption


def train_codec(
    recipe: Annotated[Path | None, typer.Argument(help="Recipe, a YAML file.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Dataset in place of a recipe.")] = None,
    steps: Annotated[int | None, typer.Option(help="Optimiser steps.", min=1)] = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
    workers: WorkersOption = None,
) -> None:
    """Train an audio codec on the clips of the training split, unless that was done.

    What the split needs is built first. A killed training goes on where it stopped. Builds use the
    codec where the recipe says `fit_codec: {codec: learned}`.
    """
    from flows.commands import run_train_codec

    run_train_codec(recipe, dataset, steps, workspace, as_json, workers)
