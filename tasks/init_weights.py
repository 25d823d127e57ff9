"""The file of weights that a training begins with: read, checked and told apart by its hash."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.checkpoint import WEIGHTS, read_card, require_table
from tasks.shipped_model import SHIPPED, shipped_model
from tasks.state_dicts import read_safetensors, sha256_of
from tasks.train_config import TrainConfig

if TYPE_CHECKING:
    from models.stable_audio import Begun
    from models.transformer import VSSFlow


def init_weights(config: TrainConfig) -> dict[str, str]:
    """What identifies the weights that a training begins with; nothing where they are random.

    Raises FileNotFoundError, and ValueError for a file that is not safetensors.
    """
    if not config.init_from:
        return {}
    path = _file(config)
    _require_safetensors(path)
    return {"init_from": sha256_of(path)}


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


def _file(config: TrainConfig) -> Path:
    """The file of weights; raises FileNotFoundError where there is none."""
    if config.init_from != SHIPPED:
        path = Path(config.init_from)
        if not path.is_file():
            raise FileNotFoundError(
                f"train.init_from={path}: no such file; name a safetensors file, or leave it out"
            )
        return path
    if (folder := shipped_model()) is None:
        raise FileNotFoundError(
            f"train.init_from={SHIPPED}: no model comes with this talkies; name a safetensors "
            "file, or leave it out"
        )
    require_table(read_card(folder).get("phoneme_table"), f"train.init_from={SHIPPED}")
    return folder / WEIGHTS


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


def _require_safetensors(path: Path) -> None:
    """Raises ValueError for a file that does not begin as safetensors do: length, then JSON."""
    with path.open("rb") as stream:
        length, first = int.from_bytes(stream.read(8), "little"), stream.read(1)
    if first != b"{" or length > path.stat().st_size - 8:
        raise ValueError(
            f"train.init_from={path}: not a safetensors file; a pickle (.ckpt, .pt, .bin) can run "
            "code and is refused: save its state dict with safetensors.torch.save_file"
        )
