"""The voice that a soundtrack speaks in: of a speaker that the model knows, or of a recording.

Legend: T samples at 16 kHz, V speakers, E numbers of a voice.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from storage.rejects import Rejected
from tasks.batches import SPEAKER
from tasks.checkpoint import Checkpoint
from tasks.container import check_file, naming
from tasks.sample_store import SampleStore
from tasks.sandbox import Limits, run_limited
from tasks.sonify_config import SonifyConfig
from tasks.speaker import SHORTEST_S, WEIGHTS, missing_network, voice_vector
from tasks.state_dicts import sha256_of
from tasks.voice import VoiceConfig, speech_spans
from tasks.weights import fingerprint

if TYPE_CHECKING:
    from models.speaker import VoiceTable


class UnknownVoice(ValueError):
    """A voice in which a model cannot speak; says what to do."""


LONGEST_S = 60.0
"""How much of a recording is heard: a voice is told by less."""
LIMITS = Limits(wall_s=120, cpu_s=60, memory_mb=1024, output_mb=64)


def fit_voices(store: SampleStore, trained: Sequence[int]) -> "VoiceTable | None":
    """The mean voice of each speaker whom a training split names; None where no voice was told.

    Clips count alone: each gave its voice to one other of the same speaker, so that the voices that
    the samples were told are those of all of them.

    Args:
        store: the split's samples.
        trained: indices of those that the model was trained on.
    """
    import torch

    from models.speaker import VoiceTable

    if not store.has(SPEAKER)[list(trained)].any():
        return None
    only = SampleStore(store.workspace_root, [s.ref for s in store.shards], store.split, (SPEAKER,))
    is_clip = only.has(SPEAKER) & (only.column("task") != "mixture")
    names = only.column("speaker_name")
    known = sorted({name for name in names[is_clip] if name})
    table = VoiceTable(known, int(only.column("speaker_channels").max()))
    for row, name in enumerate(known):
        samples = only.read(np.flatnonzero(is_clip & (names == name)).tolist())
        mean = np.mean([sample[SPEAKER][0].astype(np.float32) for sample in samples], axis=0)
        table.vectors[row] = torch.from_numpy(mean / np.linalg.norm(mean))
    return table


def voice_weights(config: SonifyConfig) -> dict[str, str]:
    """What identifies a recorded voice and the network that hears it; nothing without one.

    Raises FileNotFoundError.
    """
    if not config.voice_file:
        return {}
    path = Path(config.voice_file)
    if not path.is_file():
        raise FileNotFoundError(
            f"sonify.voice_file={path}: no such file; name a recording, or leave it out"
        )
    return {"voice_file": sha256_of(path), WEIGHTS: fingerprint(WEIGHTS)}


def require_voice(card: Mapping[str, Any], config: SonifyConfig) -> None:
    """Raises UnknownVoice where the model with a card cannot speak in what is asked for."""
    if not (config.voice or config.voice_file):
        return
    asked = f"sonify.voice={config.voice!r}" if config.voice else "sonify.voice_file"
    if (voices := card.get("voices")) is None:
        raise UnknownVoice(
            f"{asked}: the model was not told who speaks, so it cannot be asked for a voice; leave "
            "it out, or build with speaker.network: ge2e and train again"
        )
    if config.voice and _plain(config.voice) not in [_plain(name) for name in voices["names"]]:
        known = ", ".join(voices["names"]) or "none by name"
        raise UnknownVoice(
            f"{asked}: no speaker of that name taught the model, and no file is called so; it "
            f"knows {known}; or name a recording as sonify.voice_file"
        )


def chosen_voice(
    checkpoint: Checkpoint, config: SonifyConfig, scratch: Path
) -> NDArray[np.float32] | None:
    """The voice (1, E) that is asked for; None where the model shall choose.

    Raises Rejected: `no_voice` where the model cannot speak in it, and as `recorded_voice`.
    """
    try:
        require_voice(checkpoint.card, config)
    except UnknownVoice as error:
        raise Rejected("no_voice", str(error)) from None
    if config.voice_file:
        return recorded_voice(config.voice_file, scratch)
    if not config.voice or checkpoint.voices is None:
        return None
    place = [_plain(name) for name in checkpoint.voices.names].index(_plain(config.voice))
    return checkpoint.voices.vectors[place][None].numpy()


def _plain(name: str) -> str:
    """A name without case and extra spaces, as the catalog keeps them."""
    return " ".join(name.split()).casefold()


def recorded_voice(path: str, scratch: Path) -> NDArray[np.float32]:
    """The voice (1, E) of a file with sound, which is read in the sandbox.

    Raises Rejected: `missing_weights` without the network, `no_voice` where too little speech is
    heard, and what reading says of a file that is no sound or damaged.
    """
    if why := missing_network():
        raise Rejected("missing_weights", f"sonify.voice_file={path}: {why}")
    check_file(path)
    target = scratch / "voice.f32"
    with naming(path):
        try:
            arguments = {"path": path, "target": str(target), "longest_s": LONGEST_S}
            run_limited("tasks.voice_read:read_voice", arguments, LIMITS)
            audio = np.fromfile(target, np.float32)
        finally:
            target.unlink(missing_ok=True)
        voice = voice_vector(audio, speech_spans(audio, VoiceConfig()))
        if voice is None:
            raise Rejected(
                "no_voice",
                f"less than {SHORTEST_S} s of speech are heard in its first {LONGEST_S:.0f} s; "
                "name a recording of the voice alone",
            )
        return voice[None]
