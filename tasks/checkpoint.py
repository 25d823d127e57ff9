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
    from models.shortcut import ShortcutFlow
    from models.speaker import VoiceTable
    from models.transformer import VSSFlow

FORMAT = 1
WEIGHTS, CODEC, CARD = "model.safetensors", "codec.safetensors", "config.json"
DURATIONS, FEW_STEPS = "durations.safetensors", "few_steps.safetensors"
VOICES = "voices.safetensors"


@dataclass(frozen=True, slots=True, eq=False)
class Extras:
    """Networks that a checkpoint may hold beside the model, each in a file of its field's name.

    `durations` is None for a model that was trained without speech, or by an older talkies;
    `few_steps` for one that was trained without `train.few_steps`; `voices` for one that was not
    told who speaks.
    """

    durations: "DurationPredictor | None" = None
    few_steps: "ShortcutFlow | None" = None
    voices: "VoiceTable | None" = None

    def described(self) -> dict[str, dict[str, Any]]:
        """What the card says of those that there are: what it takes to build them again."""
        told: dict[str, dict[str, Any]] = {}
        if self.durations is not None:
            told["durations"] = dataclasses.asdict(self.durations.config)
        if self.few_steps is not None:
            told["few_steps"] = {"finest_steps": self.few_steps.finest_steps}
        if self.voices is not None:
            size = self.voices.vectors.shape[1]
            told["voices"] = {"names": list(self.voices.names), "size": size}
        return told

    @classmethod
    def built(cls, card: dict[str, Any], model: "VSSFlow") -> "Extras":
        """Those that a card describes, with weights that are still to be loaded."""
        from models.durations import DurationConfig, DurationPredictor
        from models.shortcut import ShortcutFlow
        from models.speaker import VoiceTable

        durations, few_steps = card.get("durations"), card.get("few_steps")
        voices = card.get("voices")
        return cls(
            DurationPredictor(DurationConfig(**durations)) if durations else None,
            ShortcutFlow(model, **few_steps) if few_steps else None,
            VoiceTable(**voices) if voices else None,
        )

    def files(self) -> "dict[str, torch.nn.Module]":
        """Those that there are, by the name of their file."""
        found = {DURATIONS: self.durations, FEW_STEPS: self.few_steps, VOICES: self.voices}
        return {name: network for name, network in found.items() if network is not None}


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """A model with its codec, its card and the networks beside it, ready to generate."""

    checkpoint_id: str
    model: "VSSFlow"
    codec: "Codec"
    card: dict[str, Any]
    extras: Extras = Extras()

    @property
    def durations(self) -> "DurationPredictor | None":
        """What predicts how long phonemes last."""
        return self.extras.durations

    @property
    def few_steps(self) -> "ShortcutFlow | None":
        """What generates in few steps."""
        return self.extras.few_steps

    @property
    def voices(self) -> "VoiceTable | None":
        """The voices that it knows by name; None where it was not told who speaks."""
        return self.extras.voices


def save_checkpoint(
    workspace: Workspace,
    folder: Path,
    model: "VSSFlow",
    codec: "Codec",
    card: dict[str, Any],
    extras: Extras = Extras(),
) -> tuple[str, str]:
    """Writes a checkpoint and returns its (id, reference).

    Everything is written into `folder` (scratch) first and renamed into place as one folder. The
    id is the hash of the weights' bytes and the card, so equal training gives an equal id.
    """
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    networks: dict[str, torch.nn.Module] = {WEIGHTS: model} | extras.files()
    for name, network in networks.items():
        state = {key: value.detach().contiguous() for key, value in network.state_dict().items()}
        save_file(state, folder / name)
    (folder / CODEC).write_bytes(codec_bytes(codec))
    card = card | extras.described()
    card |= {
        "format": FORMAT,
        "model": dataclasses.asdict(model.config),
        "phoneme_table": TABLE_ID,
    }
    card["sha256"] = {name: sha256_file(folder / name) for name in (*networks, CODEC)}
    write_json(folder / CARD, card)
    checkpoint_id = id_of(card)
    ref = f"checkpoints/{checkpoint_id}"
    target = workspace.path(ref)
    is_new = not target.exists()
    if not is_new:
        shutil.rmtree(folder)
    else:
        folder.rename(target)
    workspace.publish(ref, is_new)
    return checkpoint_id, ref


def id_of(card: dict[str, Any]) -> str:
    """The id of the checkpoint with a card: a hash of it, and so of its files' hashes."""
    return hash_of("checkpoint", card["sha256"], canonical_json(card))


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Writes a card as JSON that people can read."""
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", "utf-8")


def read_card(folder: Path) -> dict[str, Any]:
    """The card of a checkpoint folder: everything but the weights."""
    return json.loads((folder / CARD).read_text("utf-8"))


def checked_card(folder: Path, checkpoint_id: str = "") -> dict[str, Any]:
    """The card of a checkpoint folder, with the hashes of all its files checked.

    Raises FileNotFoundError naming a missing file, ValueError for a card that this version cannot
    read, Rejected("content_hash") where weights, or a card whose `checkpoint_id` is given, were
    changed after they were written, and Rejected("phoneme_table") for a model of other phoneme ids.
    """
    _require_files(folder, WEIGHTS, CODEC, CARD)
    card = read_card(folder)
    if card.get("format") != FORMAT:
        raise ValueError(f"checkpoint {folder}: format {card.get('format')} is not {FORMAT}")
    kept = [WEIGHTS, CODEC]
    kept += [name for name in (DURATIONS, FEW_STEPS, VOICES) if Path(name).stem in card]
    _require_files(folder, *kept)
    for name in kept:
        if sha256_file(folder / name) != card["sha256"].get(name):
            raise Rejected("content_hash", f"checkpoint {folder}: {name} was changed")
    if checkpoint_id and checkpoint_id != id_of(card):
        raise Rejected("content_hash", f"checkpoint {folder}: {CARD} was changed")
    require_table(card.get("phoneme_table"), f"checkpoint {folder}")
    return card


def load_checkpoint(folder: Path, checkpoint_id: str = "") -> Checkpoint:
    """The model, codec and card of a checkpoint folder; checked, and raises, as `checked_card`."""
    from safetensors.torch import load_file

    from models.transformer import VSSFlow, VSSFlowConfig

    card = checked_card(folder, checkpoint_id)
    model = VSSFlow(VSSFlowConfig(**card["model"]))
    model.load_state_dict(load_file(folder / WEIGHTS))
    codec = codec_from((folder / CODEC).read_bytes())
    extras = Extras.built(card, model)
    for name, network in extras.files().items():
        network.load_state_dict(load_file(folder / name))
        network.eval()
    return Checkpoint(checkpoint_id or folder.name, model.eval(), codec, card, extras)


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
