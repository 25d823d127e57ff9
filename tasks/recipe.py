"""A recipe: one YAML file that says what to build, with a section for each stage."""

import dataclasses
import difflib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from storage.ids import canonical_json
from tasks.clip_encoders import COLOUR_PIXELS, NONE, OF_COLOUR, PIXEL_GRIDS
from tasks.licences import check_licences
from tasks.look import LookConfig
from tasks.objects import S3
from tasks.pipeline import STAGES
from tasks.rooms import list_rooms
from tasks.scan import list_folder, manifest_path
from tasks.shipped_model import SHIPPED
from tasks.source_uri import scheme_of

TOP = ("name", *STAGES)


class RecipeError(ValueError):
    """A recipe that cannot be run; the message names the file, the field and the mend."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """A checked recipe: the dataset's name and a frozen configuration for each stage."""

    name: str
    configs: Mapping[str, Any]

    def as_json(self) -> str:
        """The recipe with every default filled in, as canonical JSON."""
        return canonical_json({"name": self.name, **self.configs})

    def with_config(self, stage: str, **changes: Any) -> "Recipe":
        """The recipe with fields of one stage changed; raises RecipeError as `parse_recipe`."""
        section = dataclasses.asdict(self.configs[stage]) | changes
        config = _section(stage, section, f"recipe {self.name}")
        return Recipe(self.name, {**self.configs, stage: config})


def load_recipe(path: Path) -> Recipe:
    """The recipe of a YAML file; raises RecipeError for anything that is wrong with it."""
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise RecipeError(f"recipe {path}: {error.strerror}; name a YAML file") from error
    except UnicodeDecodeError as error:
        raise RecipeError(f"recipe {path}: not YAML: {error}") from error
    try:
        fields = yaml.safe_load(text)
    except yaml.YAMLError as error:
        what = " ".join(str(error).split())
        raise RecipeError(f"recipe {path}: not YAML: {what}") from error
    if not isinstance(fields, dict):
        raise RecipeError(f"recipe {path}: give `name:` and sections such as `scan:`")
    return parse_recipe(fields, path)


def parse_recipe(fields: dict[str, Any], path: Path) -> Recipe:
    """The recipe of already parsed YAML; a relative folder counts from the recipe's folder."""
    where = f"recipe {path}"
    for key in fields:
        if key not in TOP:
            raise RecipeError(f"{where}: there is no section `{key}`{_nearest(key, TOP)}")
    name = fields.get("name", path.stem)
    if not isinstance(name, str) or not name.replace("-", "").replace("_", "").isalnum():
        raise RecipeError(f"{where}: name={name!r} must be letters, digits, - and _")
    configs = {stage: _section(stage, fields.get(stage), where) for stage in STAGES}
    _check_motion(configs, where)
    _check_following(fields, configs, where)
    return _bound(Recipe(name, configs), path.parent)


FILES = (
    ("rooms", "folder"),
    ("train", "init_from"),
    ("fit_codec", "file"),
    ("look", "sync_weights"),
    ("faces", "lips_weights"),
    ("sonify", "voice_file"),
)
"""Settings that name a file or a folder; where it is relative, it counts from the recipe."""

LOOKING = tuple(field.name for field in dataclasses.fields(LookConfig))
FOLLOWING: Mapping[str, Mapping[str, tuple[str, str]]] = {
    "watch": {name: ("look", name) for name in LOOKING},
    "look_mixtures": {name: ("look", name) for name in LOOKING},
    "snapshot": {
        "extractor": ("look", "extractor"),
        "sync": ("look", "sync"),
        "lips": ("faces", "lips"),
        "speaker": ("speaker", "network"),
    },
    "fit_codec": {"licences": ("snapshot", "licences")},
    "mix": {"licences": ("snapshot", "licences")},
}
"""Settings that are those of another section, by their stage and name."""


def _bound(recipe: Recipe, base: Path) -> Recipe:
    """The recipe with what follows from its name and place filled in."""
    scan = recipe.configs["scan"]
    folder = scan.folder.rstrip("/")
    if scheme_of(folder) != S3:
        folder = str((base / Path(scan.folder).expanduser()).resolve())
    recipe = recipe.with_config("scan", folder=folder)
    for stage, setting in FILES:
        given = getattr(recipe.configs[stage], setting)
        if given and given != SHIPPED:
            path = (base / Path(given).expanduser()).resolve()
            recipe = recipe.with_config(stage, **{setting: str(path)})
    manifest = manifest_path(recipe.configs["scan"])
    recipe = recipe.with_config("snapshot", name=recipe.name, folder=folder, manifest=manifest)
    recipe = followed(recipe)
    if (sync := recipe.configs["look"].sync) in OF_COLOUR:
        side = recipe.configs["decode"].motion_px if sync == COLOUR_PIXELS else 0
        recipe = recipe.with_config("decode", colour25=True, colour25_px=side)
    for stage in ("train", "evaluate", "sonify"):
        if not recipe.configs[stage].dataset:
            recipe = recipe.with_config(stage, dataset=recipe.name)
    return recipe


def followed(recipe: Recipe) -> Recipe:
    """The recipe with each setting that follows from another section as that has it now."""
    for stage, settings in FOLLOWING.items():
        told = {
            name: getattr(recipe.configs[section], setting)
            for name, (section, setting) in settings.items()
        }
        recipe = recipe.with_config(stage, **told)
    return recipe


def with_section(stored: str, stage: str, path: Path | None) -> str:
    """A stored recipe, as JSON, with the section of one stage as a recipe's file has it, if given.

    What the section is about stays that of the stored recipe: its dataset. Raises RecipeError.
    """
    if path is None:
        return stored
    recipe = parse_recipe(json.loads(stored), Path("stored recipe"))
    section = dataclasses.asdict(load_recipe(path).configs[stage])
    return recipe.with_config(
        stage, **section | {"dataset": recipe.configs[stage].dataset}
    ).as_json()


def _check_motion(configs: Mapping[str, Any], where: str) -> None:
    """Raises RecipeError where a stage is to read what `decode.motion` leaves out."""
    sync, lips = configs["look"].sync, configs["faces"].lips
    reads_grey = sync in PIXEL_GRIDS and sync not in OF_COLOUR
    readers = {f"look.sync={sync!r}": reads_grey, f"faces.lips={lips!r}": lips != NONE}
    for reader, reads in readers.items():
        if reads and not configs["decode"].motion:
            raise RecipeError(
                f"{where}: {reader} reads frames at 25 fps, which "
                "decode.motion=False leaves out; leave one of both out"
            )


def _check_following(fields: Mapping[str, Any], configs: Mapping[str, Any], where: str) -> None:
    """Raises RecipeError for a setting that follows from another section and is given otherwise."""
    for stage, settings in FOLLOWING.items():
        for name in (fields.get(stage) or {}).keys() & settings.keys():
            section, setting = settings[name]
            own, theirs = getattr(configs[stage], name), getattr(configs[section], setting)
            if own != theirs:
                raise RecipeError(
                    f"{where}: {stage}.{name}={own!r} follows from {section}.{setting}="
                    f"{theirs!r}; set it there alone"
                )


def with_folder(recipe: Recipe, folder: Path) -> Recipe:
    """The recipe with another source folder."""
    changed = recipe.with_config("scan", folder=str(folder))
    return _bound(changed, folder)


def check_source(recipe: Recipe) -> None:
    """Raises RecipeError for a source folder, a manifest or a folder of rooms that cannot be read.

    Raises it too for a required licence that the manifest spells otherwise, and where no file has a
    required one.
    """
    try:
        listing = list_folder(recipe.configs["scan"])
        list_rooms(recipe.configs["rooms"])
        check_licences(recipe.configs["snapshot"].licences, listing["licence"].to_pylist())
    except (OSError, ValueError) as error:
        raise RecipeError(f"recipe {recipe.name}: {error}") from error


def _section(stage: str, section: Any, where: str) -> Any:
    kind = STAGES[stage].config
    section = {} if section is None else section
    if not isinstance(section, dict):
        raise RecipeError(f"{where}: `{stage}:` must hold fields, not {section!r}")
    names = [field.name for field in dataclasses.fields(kind)]
    for key in section:
        if key not in names:
            raise RecipeError(f"{where}: there is no field `{stage}.{key}`{_nearest(key, names)}")
    try:
        return TypeAdapter(kind).validate_python(section)
    except ValidationError as error:
        first = error.errors()[0]
        said = first["msg"].removeprefix("Value error, ")
        if said.startswith(f"{stage}."):  # it names the fields itself, and what they are
            raise RecipeError(f"{where}: {said}") from error
        field = ".".join(str(part) for part in (stage, *first["loc"]))
        raise RecipeError(f"{where}: {field}={first['input']!r}: {first['msg']}") from error


def _nearest(word: Any, known: Collection[str]) -> str:
    near = difflib.get_close_matches(str(word), known, n=1, cutoff=0.4)
    if near:
        return f"; did you mean `{near[0]}`?"
    return f"; there are {', '.join(known)}" if known else "; the stage has no settings"
