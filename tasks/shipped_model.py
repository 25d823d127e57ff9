"""The model that comes with the application: a folder that `talkies model export` wrote."""

from pathlib import Path

import models

SHIPPED = "shipped"
"""What stands for it where a model or a file of weights is named."""
FOLDER = Path(models.__file__).parent / "weights"


def named_file(setting: str, given: str, name: str) -> Path:
    """The safetensors file that a setting names; for `shipped` that of a name in the shipped model.

    Raises FileNotFoundError where there is none, and ValueError for what is not safetensors.
    """
    if given != SHIPPED:
        path = Path(given)
        if not path.is_file():
            raise FileNotFoundError(
                f"{setting}={path}: no such file; name a safetensors file, or leave it out"
            )
    elif (folder := shipped_model()) is None:
        raise FileNotFoundError(
            f"{setting}={SHIPPED}: no model comes with this talkies; name a safetensors file, or "
            "leave it out"
        )
    else:
        path = folder / name
    _require_safetensors(path, setting)
    return path


def _require_safetensors(path: Path, setting: str) -> None:
    """Raises ValueError for a file that does not begin as safetensors do: length, then JSON."""
    with path.open("rb") as stream:
        length, first = int.from_bytes(stream.read(8), "little"), stream.read(1)
    if first != b"{" or length > path.stat().st_size - 8:
        raise ValueError(
            f"{setting}={path}: not a safetensors file; a pickle (.ckpt, .pt, .bin) can run code "
            "and is refused: save its state dict with safetensors.torch.save_file"
        )


def shipped_model() -> Path | None:
    """The folder of the model that comes with the application; None where none does."""
    cards = sorted(FOLDER.glob("*/package.json"))
    return cards[0].parent if cards else None
