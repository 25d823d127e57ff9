"""The file of weights that a training begins with: read, checked and told apart by its hash."""

import dataclasses
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from storage.ids import sha256_file
from tasks.checkpoint import CARD, CODEC, WEIGHTS, id_of, read_card, require_table
from tasks.codecs import codec_bytes, codec_from
from tasks.shipped_model import SHIPPED, named_file
from tasks.state_dicts import read_safetensors, sha256_of
from tasks.train_config import TrainConfig

if TYPE_CHECKING:
    from models.codec import Codec
    from models.stable_audio import Begun
    from models.transformer import VSSFlow


def init_weights(config: TrainConfig) -> dict[str, str]:
    """What identifies the weights that a training begins with; nothing where they are random.

    Raises FileNotFoundError, ValueError for a file that is not safetensors, and
    Rejected("phoneme_table") for a shipped model of other phoneme ids.
    """
    if not config.init_from:
        return {}
    return {"init_from": sha256_of(_file(config))}


def begin(model: "VSSFlow", config: TrainConfig) -> "Begun | None":
    """Gives a new model the weights that a training begins with, and says which; or None.

    Raises as `init_weights`, and ValueError where the file is damaged or none of its weights fits,
    or not all of the shipped model's.
    """
    from models.stable_audio import begin_from

    if not init_weights(config):
        return None
    named = f"train.init_from={config.init_from}"
    path = _file(config)
    state = read_safetensors(path, named)
    try:
        begun = begin_from(model, state)
    except ValueError as error:
        raise ValueError(f"{named}: {error}") from error
    if config.init_from == SHIPPED and (begun.left or begun.unused):
        raise ValueError(f"{named}: {_misfit(model, path.parent)}")
    return begun


def begun_with(config: TrainConfig) -> dict[str, str]:
    """The id of the model whose weights a training begins with, as `checkpoint`.

    Nothing where no card of ours lies beside them; diffusers puts a file of that name there too.
    """
    folder = _file(config).parent
    card = read_card(folder) if (folder / CARD).is_file() else {}
    return {"checkpoint": id_of(card)} if "sha256" in card else {}


def codec_warning(config: TrainConfig, codec: "Codec", dataset: str) -> str:
    """Why the weights that a training begins with know other latents than its dataset's.

    Empty where they know the same, where training begins at random, and where the weights are of
    no checkpoint of ours, beside which its codec lies.
    """
    beside = _file(config).with_name(CODEC) if config.init_from else None
    if beside is None or not beside.is_file():
        return ""
    known, own = sha256_file(beside), hashlib.sha256(codec_bytes(codec)).hexdigest()
    if known == own:
        return ""
    theirs = codec_from(beside.read_bytes()).name
    return (
        f"train.init_from begins with a model of codec {theirs} {known[:12]}, and the latents of "
        f"dataset {dataset} are of codec {codec.name} {own[:12]}: what the model knows of sound it "
        "learns anew in them; fit_codec.file gives a dataset the model's codec"
    )


def _file(config: TrainConfig) -> Path:
    """The file of weights; raises as `init_weights`."""
    path = named_file("train.init_from", config.init_from, WEIGHTS)
    if config.init_from == SHIPPED:
        require_table(read_card(path.parent).get("phoneme_table"), f"train.init_from={SHIPPED}")
    return path


def _misfit(model: "VSSFlow", folder: Path) -> str:
    """In which sizes the shipped model differs from one that is to be trained."""
    theirs = read_card(folder)["model"]
    ours = dataclasses.asdict(model.config)
    differing = [
        f"{name} {theirs[name]} and not {ours[name]}"
        for name in ours
        if name in theirs and theirs[name] != ours[name]
    ]
    return (
        f"the shipped model is of other sizes ({'; '.join(differing)}); take its train.preset, "
        "fit_codec.channels, look.extractor, look.sync and faces.lips, or leave init_from out"
    )
