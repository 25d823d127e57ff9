"""A model with rows of its own, as one that was trained in a made workspace."""

from pathlib import Path
from typing import Any

import torch

from models.shortcut import ShortcutFlow
from models.speaker import VoiceTable
from models.transformer import seeded
from storage.catalog import Catalog
from storage.ids import canonical_json
from storage.workspace import Workspace
from tasks.checkpoint import Extras, save_checkpoint
from tasks.recipe import parse_recipe
from tests.made_commits import made_row
from tests.made_model import tiny_codec, tiny_sizes

INIT = {"init_from": "/mine/begin.safetensors", "batch_size": 8}


def trained(workspace: Workspace, look: dict[str, str] | None = None, **weights: float) -> str:
    """The id of an untrained model of a `make_workspace`, with a network for few steps and a voice.

    Args:
        workspace: as `make_workspace` made it.
        look: that section of the recipe by which its dataset was built.
        weights: values that fill a weight, as `mix_out__weight`.
    """
    model = seeded(tiny_sizes(), 0)
    with torch.no_grad():
        for name, value in weights.items():
            model.get_parameter(name.replace("__", ".")).fill_(value)
    student = ShortcutFlow(seeded(tiny_sizes(), 1), finest_steps=8)
    extras = Extras(few_steps=student, voices=VoiceTable(["anna"], 8))
    folder = workspace.scratch("made")
    made, ref = save_checkpoint(workspace, folder, model, tiny_codec(), {}, extras)
    recipe = parse_recipe({"name": "made", "look": look or {}}, Path("made")).as_json()
    with Catalog(workspace) as catalog, catalog.transaction():
        dataset_id = catalog.value("SELECT dataset_id FROM datasets")
        if look is not None:
            catalog.connection.execute("UPDATE lake.runs SET recipe = ?", [recipe])
        own: dict[str, Any] = {"checkpoint_id": made}
        row = own | {"dataset_id": dataset_id, "ref": ref, "config": canonical_json(INIT)}
        catalog.insert("checkpoints", [made_row("checkpoints", **row, steps=750)])
        score = {"metric": "onset_f1", "role": "score", "task": "all", "split": "test"}
        score |= {"value": 0.9, "low": 0.85, "high": 0.95, "items": 40}
        catalog.insert("evaluations", [made_row("evaluations", **own, **score)])
        done = {"stage": "evaluate", "item_id": made, "status": "done"}
        catalog.insert("progress", [made_row("progress", **done)])
    return made
