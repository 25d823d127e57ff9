"""The sound files of a mixture: which there are, and their bytes as WAV or FLAC."""

import hashlib
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from storage.blobs import Blobs
from storage.ids import mix_id, sha256_file
from storage.workspace import write_atomically
from tasks.media import to_pcm16
from tasks.mix import render_again
from tasks.mix_plan import Recipe
from tasks.mix_render import Rendered, flac_bytes

AudioFormat = Literal["wav", "flac"]
FORMATS: tuple[str, ...] = get_args(AudioFormat)
SPLITS = ("train", "validation", "test")  # the later, the stricter
MIX, SPEECH, DRY, AMBIENCE = "mix", "speech", "dry", "ambience"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is written of each mixture.

    Attributes:
        out: folder that all files lie below.
        stems: the stems too, not the mix alone.
        rate_hz: sample rate; None keeps each mixture's own.
        audio_format: of the sound files.
        jams: a JAMS document beside the sound.
    """

    out: Path
    stems: bool = False
    rate_hz: int | None = None
    audio_format: AudioFormat = "flac"
    jams: bool = False


def parts_of(recipe: Recipe, stems: bool) -> tuple[str, ...]:
    """The sounds that a mixture has: the mix, and with stems those that are not silent."""
    speech = recipe["speech"]
    if not stems:
        return (MIX,)
    has = {
        SPEECH: speech is not None,
        DRY: speech is not None and bool(speech["room"] or speech["devices"]),
        AMBIENCE: recipe["ambience"] is not None,
    }
    return (MIX, *(part for part, is_there in has.items() if is_there))


def name_of(recipe: Recipe, split: str) -> str:
    """The name of a mixture's files below the folder of all, without what tells them apart.

    It is made of the recipe's hash: nothing that a file from elsewhere says gets into it.
    """
    return f"{split if split in SPLITS else 'other'}/{mix_id(recipe)}"


def places_of(recipe: Recipe, split: str, wanted: Wanted) -> dict[str, str]:
    """Part → where its file lies below the folder of all."""
    name = name_of(recipe, split)
    return {
        part: f"{name}{'' if part == MIX else f'.{part}'}.{wanted.audio_format}"
        for part in parts_of(recipe, wanted.stems)
    }


def write_unless_there(path: Path, data: bytes) -> tuple[str, bool]:
    """Writes a file unless it has these bytes; returns their sha256, and whether it wrote."""
    digest = hashlib.sha256(data).hexdigest()
    if path.is_file() and sha256_file(path) == digest:
        return digest, False
    write_atomically(path, data)
    return digest, True


def stored_or_rendered(
    workspace_root: str, row: dict[str, Any], parts: tuple[str, ...], audio_format: str
) -> dict[str, bytes]:
    """Part → bytes of its file, of a row of `mixtures`.

    What is stored is copied; where a part is not, all are rendered from the recipe. Raises Rejected
    as `render_again`, and FileNotFoundError where a blob is gone.
    """
    refs = [row.get(f"{part}_ref") for part in parts]
    if not all(refs):
        done = render_again(workspace_root, row)
        return files_of(done, json.loads(row["recipe"])["rate_hz"], parts, audio_format)
    blobs = Blobs(workspace_root)
    found = {part: blobs.read(str(ref)) for part, ref in zip(parts, refs, strict=True)}
    if audio_format == "flac":
        return found
    return {part: _wav_of(data) for part, data in found.items()}


def files_of(
    done: Rendered, rate_hz: int, parts: tuple[str, ...], audio_format: str
) -> dict[str, bytes]:
    """Part → bytes of its file, of a rendered mixture."""
    sounds = {
        MIX: done.mix,
        SPEECH: done.speech_stem,
        DRY: done.dry_stem,
        AMBIENCE: done.ambience_stem,
    }
    made: dict[str, bytes] = {}
    for part in parts:
        audio = sounds[part]
        if audio is None:
            raise ValueError(f"part {part}: this mixture has none")
        if audio_format == "flac":
            made[part] = flac_bytes(audio, rate_hz)
        else:
            made[part] = _wav(to_pcm16(audio.T), rate_hz)
    return made


def _wav_of(flac: bytes) -> bytes:
    import soundfile

    samples, rate_hz = soundfile.read(io.BytesIO(flac), dtype="int16", always_2d=True)
    return _wav(samples, rate_hz)


def _wav(samples: np.ndarray, rate_hz: int) -> bytes:
    import soundfile

    sink = io.BytesIO()
    soundfile.write(sink, samples, rate_hz, format="WAV", subtype="PCM_16")
    return sink.getvalue()
