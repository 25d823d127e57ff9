"""The file of weights that a training begins with: read, checked and told apart by its hash."""

from pathlib import Path
from typing import TYPE_CHECKING

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
    path = Path(config.init_from)
    if not path.is_file():
        raise FileNotFoundError(
            f"train.init_from={path}: no such file; name a safetensors file, or leave it out"
        )
    _require_safetensors(path)
    return {"init_from": sha256_of(path)}


def begin(model: "VSSFlow", config: TrainConfig) -> "Begun | None":
    """Gives a new model the weights that a training begins with, and says which; or None.

    Raises as `init_weights`, and ValueError where the file is damaged or none of its weights fits.
    """
    from models.stable_audio import begin_from

    if not init_weights(config):
        return None
    named = f"train.init_from={config.init_from}"
    state = read_safetensors(Path(config.init_from), named)
    try:
        return begin_from(model, state)
    except ValueError as error:
        raise ValueError(f"{named}: {error}") from error


def _require_safetensors(path: Path) -> None:
    """Raises ValueError for a file that does not begin as safetensors do: length, then JSON."""
    with path.open("rb") as stream:
        length, first = int.from_bytes(stream.read(8), "little"), stream.read(1)
    if first != b"{" or length > path.stat().st_size - 8:
        raise ValueError(
            f"train.init_from={path}: not a safetensors file; a pickle (.ckpt, .pt, .bin) can run "
            "code and is refused: save its state dict with safetensors.torch.save_file"
        )
