"""Pretrained networks of the Hugging Face hub, or of a folder that was copied from it.

Imports of diffusers and transformers cost seconds, so nothing imports them before it needs them.
"""

import functools
import hashlib
import importlib
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

from storage.ids import sha256_file
from tasks.weights import MissingWeight, as_folder

CONFIG = "config.json"
DIFFUSERS_FILE, TRANSFORMERS_FILE = "diffusion_pytorch_model.safetensors", "model.safetensors"
_READ = frozenset({".json", ".safetensors", ".bin"})
_WEIGHTS = frozenset({".safetensors", ".bin"})


@dataclass(frozen=True, slots=True)
class Pretrained:
    """One network of a hub repository.

    Attributes:
        source: the repository (`owner/name`), or a folder (absolute, or beginning with . or ~).
        part: its folder inside the source; empty for the source itself.
        file: the file that the hub has its weights in.
        setting: where a recipe names the source, for what an error proposes.
    """

    source: str
    part: str
    file: str
    setting: str

    def load(self, kind: Any, **options: Any) -> Any:
        """The network that `from_pretrained` of a library's class makes of it, in evaluation mode.

        The hub's own variables hold: HF_HOME, HF_HUB_OFFLINE, HF_TOKEN. Raises MissingWeight where
        its files are not here and cannot be had, and ValueError for weights of another network.
        """
        folder = self._folder()
        place = {"subfolder": self.part} if self.part and folder is None else {}
        source = self.source if folder is None else str(folder)
        try:
            with quiet():
                network, found = kind.from_pretrained(
                    source, output_loading_info=True, **place, **options
                )
        except UnpicklingError as error:
            # What torch says here tells how to run the pickle all the same.
            why = "they are a pickle of more than tensors, which is not loaded"
            raise ValueError(self._other(kind, why)) from error
        except OSError as error:
            raise MissingWeight(self._absent(str(error).strip().partition("\n")[0])) from error
        except (RuntimeError, ValueError) as error:
            raise ValueError(self._other(kind, str(error).strip().partition("\n")[0])) from error
        if lacking := sorted(found["missing_keys"]):
            raise ValueError(self._other(kind, f"{len(lacking)} are missing, as {lacking[0]}"))
        return network.eval().requires_grad_(False)

    def fingerprint(self) -> str:
        """What identifies it in a stage's fingerprint.

        Of a folder, the sha256 over its configuration and weights; "hub:" and its name for one of
        the hub, whose bytes are not known before they are downloaded. Raises MissingWeight.
        """
        if (folder := self._folder()) is not None:
            return _digest(folder)
        return f"hub:{'/'.join(filter(None, (self.source, self.part)))}"

    def _folder(self) -> Path | None:
        """Its folder on this machine, which holds what is needed; None for one of the hub."""
        root = as_folder(self.source)
        if root is None:
            return None
        folder = root / self.part
        if not (folder / CONFIG).is_file():
            raise MissingWeight(self._absent(f"{folder / CONFIG} is missing"))
        if not any(path.suffix in _WEIGHTS for path in folder.iterdir()):
            raise MissingWeight(self._absent(f"{folder / self.file} is missing"))
        return folder

    def _other(self, kind: Any, why: str) -> str:
        return (
            f"{self.setting} {self.source!r}: the weights of {self.part or 'the network'} are not "
            f"those of a {kind.__name__}: {why}; name a source that holds one"
        )

    def _absent(self, why: str) -> str:
        files = " and ".join("/".join(filter(None, (self.part, f))) for f in (CONFIG, self.file))
        wanted = f"--include '{self.part}/*' " if self.part else ""
        if as_folder(self.source) is not None:
            mend = f"put {files} of the hub's repository there, or name that repository"
        else:
            mend = f"run `hf download {self.source} {wanted}`".rstrip(" `") + "` with a network"
            if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
                mend += " and without HF_HUB_OFFLINE"
            mend += ", or name a folder that holds them"
        return f"{self.setting} {self.source!r}: expected {files}: {why}; {mend}"


def library_class(library: str, name: str) -> Any:
    """A class of diffusers or transformers, which is imported now: that costs seconds.

    It is imported by name because the type checker spends 15 seconds on these libraries' types.
    """
    with quiet():
        return getattr(importlib.import_module(library), name)


@contextmanager
def quiet() -> Iterator[None]:
    """Holds back what the libraries say of themselves, and of weights that are not used.

    CLIP's text half is such a weight: transformers prints a table of them.
    """
    loggers = [logging.getLogger(name) for name in ("transformers", "diffusers")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            # diffusers 0.42 passes it to every download, and huggingface-hub 2 no longer knows it.
            warnings.filterwarnings("ignore", message="The `local_dir_use_symlinks` argument")
            # Oobleck is made with it.
            warnings.filterwarnings("ignore", message="`torch.nn.utils.weight_norm` is deprecated")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@functools.cache
def _digest(folder: Path) -> str:
    files = sorted(path for path in folder.iterdir() if path.suffix in _READ)
    lines = [f"{path.name} {sha256_file(path)}\n" for path in files]
    return hashlib.sha256("".join(lines).encode()).hexdigest()
