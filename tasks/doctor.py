"""What is installed, what is missing, and how to mend it."""

import importlib.util
import os
import shutil
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from storage.lake import EXTENSIONS, extension_path
from storage.postgres import SUPPORTED, CatalogUnreachable, Database
from storage.rejects import Rejected
from storage.workspace import Workspace
from tasks.model_package import PackageError, read_package
from tasks.shipped_model import shipped_model
from tasks.weights import missing_weights

State = Literal["ok", "missing", "absent"]
PACKAGES = {
    "torch": "2.11.",
    "torchaudio": "2.11.",
    "prefect": "3.8.",
    "duckdb": "1.5.5",
    "pyarrow": "",
    "av": "18.",
    "faster-whisper": "1.2.",
    "ai-edge-litert": "2.3.",
    "phonemizer": "3.4.",
    "espeakng-loader": "",
    "pocketsphinx": "5.1.",
    "audiomentations": "0.43.",
    "diffusers": "0.42.",
    "transformers": "5.",
}
NEEDED_GIB = 2.0
SETUP = "run `make setup`"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that talkies needs or can use: `absent` is what it does without."""

    name: str
    state: State
    found: str
    mend: str = ""


def checks(workspace: Workspace) -> list[Check]:
    """Every check, in the order in which a person would mend them."""
    parts: tuple[Callable[[], Iterator[Check]], ...] = (
        _python,
        _packages,
        _extensions,
        _weights,
        _model,
        lambda: _disk(workspace),
        lambda: _catalog(workspace),
        lambda: _store(workspace),
        _server,
        _gpu,
        _chromium,
    )
    return [check for part in parts for check in part()]


def _python() -> Iterator[Check]:
    found = ".".join(str(part) for part in sys.version_info[:3])
    fits = sys.version_info[:2] == (3, 11)
    yield Check("python", "ok" if fits else "missing", found, "" if fits else "use Python 3.11")


def _packages() -> Iterator[Check]:
    for name, wanted in PACKAGES.items():
        try:
            found = version(name)
        except PackageNotFoundError:
            yield Check(name, "missing", "not installed", SETUP)
            continue
        fits = found.startswith(wanted)
        mend = "" if fits else f"{SETUP}: {wanted}x is pinned"
        yield Check(name, "ok" if fits else "missing", found, mend)


def _extensions() -> Iterator[Check]:
    for name in EXTENSIONS:
        try:
            extension_path(name)
            yield Check(f"duckdb extension {name}", "ok", "in its package")
        except ModuleNotFoundError as error:
            yield Check(f"duckdb extension {name}", "missing", str(error), SETUP)


def _weights() -> Iterator[Check]:
    missing = list(missing_weights())
    for weight in missing:
        yield Check("weights", "missing", str(weight), "run `.venv/bin/python -m tasks.corpus`")
    if not missing:
        yield Check(
            "weights",
            "ok",
            "Whisper, VAD, YAMNet, EfficientNet-Lite0, faces, espeak-ng, CMUdict and its aligner",
        )


def _model() -> Iterator[Check]:
    """Which model comes with talkies, and whether it is whole."""
    if (folder := shipped_model()) is None:
        mend = "nothing: `talkies sonify` needs a model that was trained or imported"
        yield Check("model", "absent", "none comes with this talkies", mend)
        return
    try:
        package = read_package(folder)
    except (PackageError, Rejected) as error:
        yield Check("model", "missing", str(error), "install talkies again")
        return
    yield Check("model", "ok", f"{folder.name} {package}")


def _disk(workspace: Workspace) -> Iterator[Check]:
    folder = workspace.root
    while not folder.exists():
        folder = folder.parent
    free_gib = shutil.disk_usage(folder).free / 2**30
    writable = os.access(folder, os.W_OK)
    found = f"{free_gib:.1f} GiB free at {folder}"
    if not writable:
        yield Check("disk", "missing", f"{folder} cannot be written", "give --workspace a folder")
    elif free_gib < NEEDED_GIB:
        yield Check("disk", "missing", found, f"free {NEEDED_GIB:g} GiB, or give --workspace")
    else:
        yield Check("disk", "ok", found)


def _catalog(workspace: Workspace) -> Iterator[Check]:
    if not workspace.catalog_url:
        yield Check("catalog", "ok", "in SQLite, below the workspace")
        return
    database = Database.at(workspace.catalog_url)
    try:
        number, name = database.version()
    except CatalogUnreachable as error:
        found, _, mend = str(error).partition("; ")
        yield Check("catalog", "missing", found, mend or "mend --catalog")
        return
    if number < SUPPORTED:
        mend = f"upgrade it: {SUPPORTED} is the oldest that works"
        yield Check("catalog", "missing", f"{database}: version {name}", mend)
    else:
        yield Check("catalog", "ok", f"{database}: answers, version {name}")


def _store(workspace: Workspace) -> Iterator[Check]:
    """Whether the object store of the workspace's files answers and takes, gives and deletes."""
    if not workspace.data_url:
        return
    store, ref = workspace.store, f"scratch/doctor-{os.getpid()}"
    try:
        store.check()
        store.upload_bytes(b"talkies", ref)
        with store.open(ref) as file:
            is_same = bytes(file.read()) == b"talkies"
        store.delete(ref)
    except (OSError, ValueError) as error:
        said, _, mend = str(error).partition("; ")
        yield Check("object store", "missing", said, mend)
        return
    if not is_same:
        yield Check("object store", "missing", f"{store.url} gives other bytes back", "mend it")
        return
    yield Check("object store", "ok", f"{store.url} can be written and read")


def _server() -> Iterator[Check]:
    url = os.environ.get("PREFECT_API_URL")
    if not url:
        yield Check("prefect server", "ok", "embedded: started for each run, none is needed")
        return
    try:
        with urllib.request.urlopen(f"{url.rstrip('/')}/health", timeout=5) as answer:
            yield Check("prefect server", "ok", f"{url} answers {answer.status}")
    except (OSError, ValueError, urllib.error.URLError) as error:
        mend = "start it with `prefect server start`, or unset PREFECT_API_URL"
        yield Check("prefect server", "missing", f"{url}: {error}", mend)


def _gpu() -> Iterator[Check]:
    if importlib.util.find_spec("torch") is None:
        yield Check("gpu", "absent", "torch is not installed", SETUP)
        return
    import torch

    if torch.cuda.is_available():
        yield Check("gpu", "ok", torch.cuda.get_device_name(0))
    else:
        mend = "nothing: training and generation run on the CPU, only slower"
        yield Check("gpu", "absent", "no CUDA device", mend)


def _chromium() -> Iterator[Check]:
    found = shutil.which("chromium") or shutil.which("google-chrome")
    if found:
        yield Check("chromium", "ok", str(Path(found)))
    else:
        mend = "only the report's browser tests need it: `apt-get install chromium`"
        yield Check("chromium", "absent", "not found", mend)
