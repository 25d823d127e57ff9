"""What of a recipe decides how films are looked at for a model, and how it follows the model."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from tasks.clip_encoders import NONE
from tasks.pipeline import FILMS_WITH_LIPS
from tasks.recipe import Recipe, followed, parse_recipe

OF_ONE_MACHINE: dict[str, tuple[str, ...]] = {
    "decode": ("scene_detector", "scene_weights"),
    # Not every processor has instructions for bfloat16, and without them it is slow.
    "look": ("precision", "sync_weights", "sync_device"),
    "faces": ("lips_weights", "lips_device"),
    "sonify": ("dataset", "checkpoint", "targets", "takes", "voice", "voice_file"),
}
"""Settings that mean nothing in another workspace, or are not good on every machine."""


def film_sections(recipe: dict[str, Any]) -> dict[str, Any]:
    """The recipe's name and the sections that decide how films are looked at and generated for.

    Raises ValueError for an image network that lies in a folder of this machine.
    """
    folder = recipe.get("look", {}).get("pretrained", "")
    if Path(folder).is_absolute():
        raise ValueError(
            f"look.pretrained={folder!r} is a folder of this machine, by which no other can look "
            "at films; train with a network of the hub, by its name there"
        )
    # Which films is asked elsewhere, and `watch` follows from `look`.
    wanted = [stage.name for stage in FILMS_WITH_LIPS if stage.name not in ("scan", "watch")]
    sections = {
        stage: {
            name: value
            for name, value in recipe[stage].items()
            if name not in OF_ONE_MACHINE.get(stage, ())
        }
        for stage in wanted
        if stage in recipe
    }
    return {"name": recipe["name"], **sections}


def film_recipe(came: str, own: str, is_of_here: bool = False) -> str:
    """The recipe, as JSON, by which a workspace looks at films for a model.

    Args:
        came: as it came with the model, or made the version of the dataset that it learned from.
        own: that of the workspace's own newest dataset; empty where there is none.
        is_of_here: whether the model was trained here: what is generated, and how, is then as the
            newest recipe says, and only what the model reads is as its own version's.

    The workspace's own settings stay where they give the model all that it reads: what was made by
    others would be made again. Raises RecipeError.
    """
    if not own or own == came:
        return came
    theirs, ours = (parse_recipe(json.loads(text), Path("stored recipe")) for text in (came, own))
    settings = ours if is_of_here else theirs
    taken = {stage: theirs.configs[stage] for stage in ("look", "faces")}
    if ours.configs["decode"].motion != theirs.configs["decode"].motion:
        # Motion that the model never saw would mislead it as much as motion that it misses.
        taken["decode"] = theirs.configs["decode"]
    else:
        if _shows(ours, theirs):
            taken["look"] = ours.configs["look"]
        if theirs.configs["faces"].lips in (NONE, ours.configs["faces"].lips):
            taken["faces"] = ours.configs["faces"]
    taken["sonify"] = dataclasses.replace(settings.configs["sonify"], dataset="")
    return followed(Recipe(ours.name, {**ours.configs, **taken})).as_json()


def _shows(ours: Recipe, theirs: Recipe) -> bool:
    """Whether what is seen by our recipe holds all that is seen by theirs."""
    own, wanted = ours.configs["look"], theirs.configs["look"]
    is_same = (own.extractor, own.pretrained) == (wanted.extractor, wanted.pretrained)
    return is_same and wanted.sync in (NONE, own.sync)
