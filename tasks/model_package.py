"""A model as a folder that leaves one workspace and serves in another.

Beside the checkpoint's own files, with the large weights in float16, it holds `package.json`: what
another catalog must know of the model, as facts that name no machine.
"""

import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from storage import queries
from storage.catalog import Catalog
from storage.ids import hash_of, sha256_file
from storage.imported import IMPORTED, ImportedModel, insert_model
from storage.workspace import Workspace
from tasks.checkpoint import (
    CARD,
    CODEC,
    DURATIONS,
    FEW_STEPS,
    VOICES,
    WEIGHTS,
    checked_card,
    id_of,
    read_card,
    require_table,
    write_json,
)
from tasks.film_recipe import film_sections
from tasks.model_card import README, DataTold, model_card

FORMAT = 1
PACKAGE = "package.json"
ROUNDED = (WEIGHTS, FEW_STEPS)
"""Files that are written in float16; the others are small, or bound the quality."""
FILES = (WEIGHTS, CODEC, DURATIONS, FEW_STEPS, VOICES, CARD, README)
"""All that a package may hold beside PACKAGE."""
OWN_COLUMNS = ("run_id", "ref", "catalog_snapshot", "shard_refs")
"""Columns whose values mean nothing in another catalog."""
AGAIN = "copy the whole folder again"


class PackageError(ValueError):
    """A model that cannot be packed, or a package that cannot be taken; says what to do."""


@dataclass(frozen=True, slots=True)
class ModelPackage:
    """A package whose every file was checked.

    Attributes:
        folder: where it lies.
        told: what PACKAGE says.
    """

    folder: Path
    told: dict[str, Any]

    @property
    def checkpoint_id(self) -> str:
        """The id of the model."""
        return self.told["checkpoint"]["checkpoint_id"]

    @property
    def size_bytes(self) -> int:
        """The size of all its files."""
        return sum((self.folder / name).stat().st_size for name in (*self.told["files"], PACKAGE))

    def __str__(self) -> str:
        """The model in words."""
        row, data = self.told["checkpoint"], self.told["dataset"]
        return (
            f"{self.checkpoint_id[:12]}, preset {row['preset']}, {row['parameters']:,} parameters, "
            f"trained on {data['name']}@{data['version']} ({data['hours']:.3g} h)"
        )


# -- out of a workspace ------------------------------------------------------------------------


def export_model(
    workspace: Workspace, checkpoint: str, out: Path, without_voices: Sequence[str] = ()
) -> ModelPackage:
    """Writes the package of a checkpoint, given by the start of its id, into a new folder.

    The model is not to be asked for `without_voices` by name: those of people who did not agree to
    that. Raises UnknownName, PackageError for a folder that holds something, for a voice that the
    model does not name and for what no other workspace could use, and as `checked_card` for a
    damaged checkpoint.
    """
    out = out.expanduser().resolve()
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise PackageError(f"{out}: it is there already and not empty; name a new folder")
    with Catalog(workspace, read_only=True) as catalog:
        checkpoint_id = queries.checkpoint_id(catalog, checkpoint)
        facts = queries.model_facts(catalog, checkpoint_id)
    source = workspace.fetch(facts["checkpoint"]["ref"])
    card = checked_card(source, checkpoint_id)
    out.parent.mkdir(parents=True, exist_ok=True)
    half_done = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    try:
        half_done.mkdir()
        if facts["dataset"]["name"].startswith(IMPORTED):
            if without_voices:
                raise PackageError(
                    f"checkpoint {checkpoint_id}: it was imported, and leaves as it came; leave "
                    "its voices in, or export it where it was trained"
                )
            _copy(source, half_done, (*read_package(source).told["files"], PACKAGE))
        else:
            _pack(source, half_done, card, facts, without_voices)
        half_done.rename(out)
    finally:
        shutil.rmtree(half_done, ignore_errors=True)
    return read_package(out)


def _pack(
    source: Path,
    out: Path,
    card: dict[str, Any],
    facts: dict[str, Any],
    without_voices: Sequence[str],
) -> None:
    card, names = dict(card), tuple(card["sha256"])
    if is_first := "rounded_from" not in card:
        card["rounded_from"] = facts["checkpoint"]["checkpoint_id"]
    for name in names:
        if name in ROUNDED:
            _round(source / name, out / name)
        else:
            shutil.copyfile(source / name, out / name)
    if without_voices:
        card["voices"] = _leave_out(out / VOICES, card.get("voices"), without_voices)
    card["sha256"] = {name: sha256_file(out / name) for name in names}
    write_json(out / CARD, card)
    checkpoint_id = id_of(card)
    data = DataTold(facts["data"], facts["sources"], facts["trained"], is_first)
    text = model_card(checkpoint_id, card, data, facts["evaluations"])
    (out / README).write_text(text, "utf-8")
    told: dict[str, Any] = {"format": FORMAT, **_facts(facts)}
    told["checkpoint"]["checkpoint_id"] = checkpoint_id
    told["files"] = {name: sha256_file(out / name) for name in (*names, CARD, README)}
    if (source / PACKAGE).is_file():  # it was imported, and its row is of that run
        told["trained"] = json.loads((source / PACKAGE).read_text("utf-8"))["trained"]
    write_json(out / PACKAGE, told | {"digest": hash_of("package", told)})


def _facts(facts: dict[str, Any]) -> dict[str, Any]:
    """What the catalog knows of a model, without what means nothing in another."""
    row = _portable(facts["checkpoint"])
    # Its path is of this machine; what lay there counts by its hash, which is a column.
    row["config"] = json.dumps(json.loads(row["config"]) | {"init_from": ""}, sort_keys=True)
    try:
        recipe = film_sections(json.loads(facts["recipe"]))
    except ValueError as error:
        raise PackageError(f"checkpoint {row['checkpoint_id']}: {error}") from error
    return facts | {
        "checkpoint": row,
        "dataset": _portable(facts["dataset"]),
        "evaluations": [_portable(score) for score in facts["evaluations"]],
        "recipe": recipe,
    }


def _portable(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in OWN_COLUMNS}


def _round(source: Path, target: Path) -> None:
    """Copies weights with what is float32 as float16; raises PackageError for what it has not."""
    import torch
    from safetensors.torch import load_file, save

    state = load_file(source)
    for name, value in state.items():
        if value.dtype == torch.float32:
            state[name] = value.half()
            if not torch.isfinite(state[name]).all():
                largest = float(value.abs().max())
                raise PackageError(
                    f"{source}: weight {name} reaches {largest:.4g}, which float16 does not hold; "
                    "train on, or with more train.weight_decay"
                )
    target.write_bytes(save(state))


def _leave_out(path: Path, told: dict[str, Any] | None, without: Sequence[str]) -> dict[str, Any]:
    """Takes voices out of a file of them, and returns what the card says of those that stay."""
    from safetensors.torch import load_file, save

    names = told["names"] if told else []
    if strange := sorted(set(without) - set(names)):
        known = ", ".join(names) or "none"
        raise PackageError(f"voice {strange[0]!r} is not one that the model names; those: {known}")
    kept = [place for place, name in enumerate(names) if name not in without]
    state = {name: rows[kept].contiguous() for name, rows in load_file(path).items()}
    path.write_bytes(save(state))
    return (told or {}) | {"names": [names[place] for place in kept]}


def _copy(source: Path, target: Path, names: tuple[str, ...]) -> None:
    for name in names:
        shutil.copyfile(source / name, target / name)


# -- into a workspace --------------------------------------------------------------------------


def read_package(folder: Path) -> ModelPackage:
    """The package in a folder, with every file checked against its hash.

    Raises PackageError for a missing or changed file and for another format, and
    Rejected("phoneme_table") for a model of other phoneme ids.
    """
    where = f"model package {folder}"
    told = _read_json(folder / PACKAGE, where)
    if told.get("format") != FORMAT:
        raise PackageError(
            f"{where}: its format is {told.get('format')}, and this talkies reads {FORMAT}; use "
            "the talkies that wrote it, or a newer one"
        )
    digest = told.pop("digest", None)
    if digest != hash_of("package", told):
        raise PackageError(f"{where}: {PACKAGE} was changed; {AGAIN}")
    if strange := sorted(told["files"].keys() - set(FILES)):
        raise PackageError(f"{where}: it lists {strange[0]!r}, which no model has; {AGAIN}")
    for name, sha256 in told["files"].items():
        if not (folder / name).is_file():
            raise PackageError(f"{where}: {name} is missing; {AGAIN}")
        if sha256_file(folder / name) != sha256:
            raise PackageError(f"{where}: {name} was changed; {AGAIN}")
    card = read_card(folder)
    require_table(card.get("phoneme_table"), where)
    package = ModelPackage(folder, told)
    checked_card(folder, package.checkpoint_id)
    return package


def _read_json(path: Path, where: str) -> dict[str, Any]:
    try:
        told = json.loads(path.read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise PackageError(
            f"{where}: {path.name} is missing; name a folder that `talkies model export` wrote"
        ) from None
    except ValueError as error:
        raise PackageError(f"{where}: {path.name} is not JSON: {error}; {AGAIN}") from error
    if not isinstance(told, dict):
        raise PackageError(f"{where}: {path.name} holds no facts; {AGAIN}")
    return told


def import_model(
    workspace: Workspace, folder: Path, tell: Callable[[ModelPackage], None] = lambda _: None
) -> tuple[str, bool]:
    """Brings a package into a workspace; returns the model's id and whether it was not there.

    `tell` is given the package before anything is written. Raises as `read_package`, and
    WorkspaceBusy where another process writes.
    """
    package = read_package(folder)
    tell(package)
    checkpoint_id = package.checkpoint_id
    with Catalog(workspace.make()) as catalog:
        known = "SELECT count(*) FROM checkpoints WHERE checkpoint_id = ?"
        if catalog.value(known, [checkpoint_id]):
            return checkpoint_id, False
        with catalog.gate.building():
            ref = _place(workspace, package)
            model = ImportedModel(
                package.told["checkpoint"] | {"ref": ref},
                package.told["dataset"],
                package.told["evaluations"],
                package.told["recipe"],
            )
            return checkpoint_id, insert_model(catalog, model)


def _place(workspace: Workspace, package: ModelPackage) -> str:
    """Brings the files into `checkpoints/`, in place of what a killed import left there."""
    ref = f"checkpoints/{package.checkpoint_id}"
    scratch = workspace.scratch(f"model-{package.checkpoint_id}")
    _copy(package.folder, scratch, (*package.told["files"], PACKAGE))
    workspace.delete(ref)
    scratch.rename(workspace.path(ref))
    workspace.publish(ref)
    return ref
