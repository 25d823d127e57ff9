"""Rows of what was made elsewhere: models that were imported, and the datasets they learned from.

An imported dataset has no members here, no shards and no snapshot. Its name begins so that no
recipe can make another of that name, so that its versions never mix with those that are built here.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from storage.catalog import Catalog
from storage.ids import canonical_json, hash_of
from storage.runs import command_line, whole_run

IMPORTED = "imported/"
SHIPPED_DATA = f"{IMPORTED}shipped"
"""The dataset of the models that come with talkies: each newer one replaces the one before."""
NO_SNAPSHOT = -1
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ImportedModel:
    """What a catalog is told of a model that was trained elsewhere.

    Attributes:
        checkpoint: its row of `checkpoints`, with the reference of its folder here.
        dataset: the row of `datasets` that it had where it was trained.
        evaluations: its rows of `evaluations`.
        recipe: how films are looked at for it, as sections of a recipe.
    """

    checkpoint: Row
    dataset: Row
    evaluations: Sequence[Row]
    recipe: Row


def dataset_id_of(name: str, digest: str) -> str:
    """The id of a dataset: as the snapshot stage gives it."""
    return hashlib.sha256(f"{name}@{digest}".encode()).hexdigest()[:32]


def imported_dataset(dataset: Row) -> Row:
    """The row of a dataset that was made elsewhere."""
    name = f"{IMPORTED}{dataset['name']}"
    own = {"name": name, "dataset_id": dataset_id_of(name, dataset["digest"])}
    return dataset | own | {"catalog_snapshot": NO_SNAPSHOT, "shard_refs": []}


def insert_model(catalog: Catalog, model: ImportedModel) -> bool:
    """Adds a model's rows in one transaction; returns whether it was not there.

    Where the catalog holds the very dataset that it was trained on, the model belongs to that one.
    """
    checkpoint_id = model.checkpoint["checkpoint_id"]

    def write() -> bool:
        if _has(catalog, "checkpoints", checkpoint_id):
            return False
        run = whole_run(command_line(), canonical_json(model.recipe))
        dataset, done = model.dataset, []
        if not _has(catalog, "datasets", dataset["dataset_id"]):
            dataset = imported_dataset(dataset)
            if not _has(catalog, "datasets", dataset["dataset_id"]):
                catalog.insert("datasets", [dataset | {"run_id": run["run_id"]}])
                done.append(_done("snapshot", dataset["dataset_id"]))
        of_model = {"checkpoint_id": checkpoint_id, "run_id": run["run_id"]}
        own = {"dataset_id": dataset["dataset_id"]}
        catalog.insert("checkpoints", [model.checkpoint | of_model | own])
        if model.evaluations:
            catalog.insert("evaluations", [row | of_model for row in model.evaluations])
            done.append(_done("evaluate", checkpoint_id))
        if done:
            catalog.insert("progress", [row | {"run_id": run["run_id"]} for row in done])
        catalog.insert("runs", [run])
        return True

    return catalog.write(write, f"imported model {checkpoint_id}")


def _has(catalog: Catalog, table: str, key: str) -> bool:
    column = f"{table[:-1]}_id"
    return bool(catalog.value(f"SELECT count(*) FROM lake.{table} WHERE {column} = ?", [key]))


def _done(stage: str, item_id: str) -> Row:
    """That an item was worked, under a configuration that no stage here has."""
    mark = hash_of("imported", stage, item_id)
    return {
        "stage": stage,
        "item_id": item_id,
        "fingerprint": mark,
        "input_hash": mark,
        "status": "done",
        "cpu_s": 0.0,
    }
