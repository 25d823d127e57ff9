"""State dicts of published networks that a recipe names by their file.

Nothing but tensors is read: safetensors, or a pickle of tensors alone.
"""

import functools
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING

from storage.ids import sha256_file
from tasks.weights import MissingWeight

if TYPE_CHECKING:
    from torch import Tensor

SAFETENSORS = ".safetensors"
PICKLE, ZIP = b"\x80", b"PK"
"""What a checkpoint of torch begins with, of old and now."""
_INSIDE = ("model", "state_dict")
"""Where checkpoints of training hold the weights, beside what else they remember."""


@dataclass(frozen=True, slots=True)
class StateFile:
    """The weights of one network in one file.

    Attributes:
        path: where a recipe says that the file is; empty where it says nothing.
        setting: the recipe's setting, for what an error proposes.
        network: what the weights are of.
        expected: the name of the published file.
        origin: where it is published.
    """

    path: str
    setting: str
    network: str
    expected: str
    origin: str

    def load(self) -> "dict[str, Tensor]":
        """The tensors by their published names, on the CPU.

        Raises MissingWeight where the file is not there, and ValueError where it holds no weights
        or more than tensors.
        """
        path = self._existing()
        if path.suffix == SAFETENSORS:
            return read_safetensors(path, self._named(path))
        return self._unpickled(path)

    def fingerprint(self) -> str:
        """The sha256 of the file; raises MissingWeight."""
        return sha256_of(self._existing())

    def _existing(self) -> Path:
        wanted = f"weights of {self.network}: expected {self.expected} of {self.origin}"
        mend = f"download it there and name it in {self.setting}"
        if not self.path:
            raise MissingWeight(f"{wanted}, and {self.setting} names no file; {mend}")
        path = Path(self.path).expanduser().absolute()
        if not path.is_file():
            raise MissingWeight(f"{wanted}, looked for at {path}: no such file; {mend}")
        return path

    def _unpickled(self, path: Path) -> "dict[str, Tensor]":
        import torch

        with path.open("rb") as stream:
            begins = stream.read(2)
        if begins[:1] != PICKLE and begins != ZIP:
            raise ValueError(
                f"{self._named(path)} is no checkpoint of torch, but perhaps a web page or a "
                f"pointer to a large file; get {self.expected} of {self.origin} again"
            )
        try:
            held = torch.load(path, map_location="cpu", weights_only=True)
        except UnpicklingError as error:
            # What torch says here tells how to run the pickle all the same.
            raise ValueError(
                f"{self._named(path)} is a pickle of more than tensors, which may run code and is "
                f"not loaded; {_conversion(path)}"
            ) from error
        except (RuntimeError, EOFError, ValueError) as error:
            raise ValueError(f"{self._named(path)} holds no weights: {error}") from error
        for name in _INSIDE:
            if isinstance(held, dict) and isinstance(held.get(name), dict):
                held = held[name]
        tensors = held.items() if isinstance(held, dict) else ()
        state = {name: value for name, value in tensors if isinstance(value, torch.Tensor)}
        if not state:
            raise ValueError(f"{self._named(path)} holds no tensors; name {self.expected}")
        return state

    def _named(self, path: Path) -> str:
        return f"{self.setting}={str(path)!r}"


def read_safetensors(path: Path, named: str) -> "dict[str, Tensor]":
    """The tensors of a safetensors file, on the CPU.

    Raises ValueError for a damaged one, which is called what `named` says.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(
            f"{named}: not readable as safetensors: {error}; get a whole copy"
        ) from error


def _conversion(path: Path) -> str:
    """How to take the tensors out of a checkpoint where its own library is installed."""
    code = (
        "import sys, torch; from safetensors.torch import save_file; "
        "held = torch.load(sys.argv[1], map_location='cpu', weights_only=False); "
        "save_file({name: value.clone() for name, value in held['model'].items()}, sys.argv[2])"
    )
    return (
        "if you trust who made it, take the tensors out of it where the library that wrote it (for "
        f'AV-HuBERT: fairseq) and safetensors are installed: `python -c "{code}" {path.name} '
        f"{path.stem}{SAFETENSORS}`, and name that file"
    )


def sha256_of(path: Path) -> str:
    """The sha256 of a file of weights, which are large: read again only where it was changed."""
    stat = path.stat()
    return _sha256(path, stat.st_size, stat.st_mtime_ns)


@functools.lru_cache(maxsize=8)
def _sha256(path: Path, _size_bytes: int, _changed_ns: int) -> str:
    return sha256_file(path)
