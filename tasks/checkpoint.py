"""Checkpoints on disk: safetensors for weights and codec, JSON for everything else."""

import dataclasses
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.phoneme_ids import TABLE_ID
from storage.ids import canonical_json, hash_of, sha256_file
from storage.rejects import Rejected
from storage.workspace import Workspace
from tasks.codecs import codec_bytes, codec_from

if TYPE_CHECKING:
    import torch

    from models.codec import Codec
    from models.durations import DurationPredictor
    from models.transformer import VSSFlow

FORMAT = 1
WEIGHTS, CODEC, CARD = "model.safetensors", "codec.safetensors", "config.json"
DURATIONS = "durations.safetensors"


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """A model with its codec and its card, ready to generate.

    `durations` is None for a model that was trained without speech, or by an older talkies.
    """

    checkpoint_id: str
    model: "VSSFlow"
    codec: "Codec"
    card: dict[str, Any]
    durations: "DurationPredictor | None" = None


def save_checkpoint(
    workspace: Workspace,
    folder: Path,
    model: "VSSFlow",
    codec: "Codec",
    card: dict[str, Any],
    durations: "DurationPredictor | None" = None,
) -> tuple[str, str]:
    """Writes a checkpoint and returns its (id, reference).

    Everything is written into `folder` (scratch) first and renamed into place as one folder. The
    id is the hash of the weights' bytes and the card, so equal training gives an equal id.
    """
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    networks: dict[str, torch.nn.Module] = {WEIGHTS: model}
    if durations is not None:
        networks[DURATIONS] = durations
        card = card | {"durations": dataclasses.asdict(durations.config)}
    for name, network in networks.items():
        state = {key: value.detach().contiguous() for key, value in network.state_dict().items()}
        save_file(state, folder / name)
    (folder / CODEC).write_bytes(codec_bytes(codec))
    card = card | {
        "format": FORMAT,
        "model": dataclasses.asdict(model.config),
        "phoneme_table": TABLE_ID,
    }
    card["sha256"] = {name: sha256_file(folder / name) for name in (*networks, CODEC)}
    (folder / CARD).write_text(json.dumps(card, indent=2, sort_keys=True) + "\n", "utf-8")
    checkpoint_id = _id_of(card)
    ref = f"checkpoints/{checkpoint_id}"
    target = workspace.path(ref)
    is_new = not target.exists()
    if not is_new:
        shutil.rmtree(folder)
    else:
        folder.rename(target)
    workspace.publish(ref, is_new)
    return checkpoint_id, ref


def _id_of(card: dict[str, Any]) -> str:
    return hash_of("checkpoint", card["sha256"], canonical_json(card))


def read_card(folder: Path) -> dict[str, Any]:
    """The card of a checkpoint folder: everything but the weights."""
    return json.loads((folder / CARD).read_text("utf-8"))


def load_checkpoint(folder: Path, checkpoint_id: str = "") -> Checkpoint:
    """The model, codec and card of a checkpoint folder, with hashes checked.

    Raises FileNotFoundError naming a missing file, ValueError for a card that this version cannot
    read, Rejected("content_hash") where weights, or a card whose `checkpoint_id` is given, were
    changed after they were written, and Rejected("phoneme_table") for a model of other phoneme ids.
    """
    from safetensors.torch import load_file

    from models.durations import DurationConfig, DurationPredictor
    from models.transformer import VSSFlow, VSSFlowConfig

    _require_files(folder, WEIGHTS, CODEC, CARD)
    card = read_card(folder)
    if card.get("format") != FORMAT:
        raise ValueError(f"checkpoint {folder}: format {card.get('format')} is not {FORMAT}")
    kept = (WEIGHTS, CODEC, DURATIONS) if "durations" in card else (WEIGHTS, CODEC)
    _require_files(folder, *kept)
    for name in kept:
        if sha256_file(folder / name) != card["sha256"].get(name):
            raise Rejected("content_hash", f"checkpoint {folder}: {name} was changed")
    if checkpoint_id and checkpoint_id != _id_of(card):
        raise Rejected("content_hash", f"checkpoint {folder}: {CARD} was changed")
    require_table(card.get("phoneme_table"), f"checkpoint {folder}")
    model = VSSFlow(VSSFlowConfig(**card["model"]))
    model.load_state_dict(load_file(folder / WEIGHTS))
    codec = codec_from((folder / CODEC).read_bytes())
    durations = None
    if DURATIONS in kept:
        durations = DurationPredictor(DurationConfig(**card["durations"])).eval()
        durations.load_state_dict(load_file(folder / DURATIONS))
    return Checkpoint(checkpoint_id or folder.name, model.eval(), codec, card, durations)


def _require_files(folder: Path, *names: str) -> None:
    for name in names:
        if not (folder / name).is_file():
            raise FileNotFoundError(f"checkpoint {folder}: {name} is missing; train again")


def require_table(table: str | None, owner: str) -> None:
    """Raises Rejected("phoneme_table") where something's phoneme ids are not of this table."""
    if table != TABLE_ID:
        raise Rejected(
            "phoneme_table",
            f"{owner}: its phoneme ids are of table {table or 'unknown'}, and this talkies writes "
            f"table {TABLE_ID}; build the dataset and train again, or use the talkies that made it",
            {"table": table, "this_table": TABLE_ID},
        )
