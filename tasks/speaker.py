"""Who speaks in a sound, as a vector that two sounds of one voice have nearly in common.

The stage makes it of each clip with speech, for the model to be told whose voice it shall speak in.

Legend: T samples at 16 kHz, W windows, E = 256 numbers.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from models.timeline import AUDIO_HZ, count, index
from storage.rejects import Rejected
from storage.stage import Output, Rows, ShardRef, ShardResult, ShardTarget, Stage, run_items
from tasks.align_words import Span
from tasks.media import read_audio
from tasks.weights import MissingWeight, fingerprint, locate

if TYPE_CHECKING:
    from models.speaker import SpeakerNet

SpeakerName = Literal["none", "ge2e"]
NONE, GE2E = "none", "ge2e"
VERSION = 1
WEIGHTS = "speaker_net"

WINDOW_S, EVERY_S = 1.6, 0.8
"""Of what the network hears at once, as it was trained; the voices of all windows are averaged."""
LEVEL_DBFS = -30.0
"""RMS of the speech that it hears, so that a voice does not depend on its level."""
SHORTEST_S = 0.4
"""Less speech has no voice to be told."""


@dataclass(frozen=True, slots=True)
class SpeakerConfig:
    """What the model is told of who speaks."""

    network: SpeakerName = "none"
    """ge2e makes a vector of the voice of each clip with speech, by Resemblyzer's network (17 MB,
    fetched when it is first needed); none makes none, and the model has to guess who speaks."""


def speaker_shard(shard: ShardRef, out: ShardTarget, config: SpeakerConfig) -> ShardResult:
    """Rows of `features` for the voices of a shard's clips; a clip of too little speech has none.

    Without the network's weights each clip is a reject that says so, and the build goes on: its
    dataset has no voices then.
    """

    def one_item(item: dict[str, Any]) -> Rows:
        if why := missing_network():
            raise Rejected("missing_weights", f"speaker.network={config.network}: {why}")
        place = item["audio16_ref"], item["start_s"], item["end_s"]
        voice = voice_vector(read_audio(out.workspace, *place, AUDIO_HZ)[0], item["speech_spans"])
        if voice is None:
            return {}
        row = {"clip_id": item["item_id"], "extractor": config.network, "version": VERSION}
        return {"features": [row | {"_array": voice[None]}]}

    return run_items(shard, out, one_item)


@functools.cache
def missing_network() -> str:
    """Why the network cannot be had; empty where it is here. Found out once a process."""
    try:
        locate(WEIGHTS)
    except MissingWeight as error:
        return str(error)
    return ""


def speaker_name(source_id: str) -> str:
    """SQL: who speaks in a source, given as an expression, by the truth or the manifest."""
    return f"""coalesce(
        (SELECT voice FROM truths WHERE truths.source_id = {source_id}),
        (SELECT min(name) FROM named_sources
         WHERE named_sources.source_id = {source_id} AND kind = 'speaker'))"""


def voice_vector(audio16: NDArray[np.float32], spans: Sequence[Span]) -> NDArray[np.float32] | None:
    """The voice (E,), of unit length, of a sound (T,); None where there is too little speech.

    Args:
        audio16: the sound.
        spans: where somebody speaks in it; nothing else is heard.
    """
    import torch

    parts = [audio16[index(s["start_s"], AUDIO_HZ) : index(s["end_s"], AUDIO_HZ)] for s in spans]
    speech = np.concatenate([np.zeros(0, np.float32), *parts])
    power = float(np.mean(np.square(speech, dtype=np.float64))) if len(speech) else 0.0
    if len(speech) < count(SHORTEST_S, AUDIO_HZ) or not power:
        return None
    levelled = speech * np.float32(10 ** (LEVEL_DBFS / 20) / np.sqrt(power))
    with torch.inference_mode():
        voices = load_speaker_net()(torch.from_numpy(windows_of(levelled))).numpy()
    voice = voices.mean(axis=0)
    return voice / np.linalg.norm(voice)


def windows_of(speech: NDArray[np.float32]) -> NDArray[np.float32]:
    """Windows (W, WINDOW_S) of speech (T,), which is repeated where it is shorter than one."""
    size, every = count(WINDOW_S, AUDIO_HZ), count(EVERY_S, AUDIO_HZ)
    filled = np.resize(speech, max(len(speech), size))
    return np.stack([filled[at : at + size] for at in range(0, len(filled) - size + 1, every)])


def similarity(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    """The cosine of two voices (E,) of unit length."""
    return float(first @ second)


@functools.cache
def load_speaker_net() -> "SpeakerNet":
    """The network, loaded once per process."""
    import torch

    from models.speaker import SpeakerNet

    network = SpeakerNet().eval()
    held = torch.load(locate(WEIGHTS), map_location="cpu", weights_only=True)["model_state"]
    # What training scaled cosines with is no part of the network.
    network.load_state_dict({k: v for k, v in held.items() if not k.startswith("similarity")})
    return network


def weights(config: SpeakerConfig) -> dict[str, str]:
    """The sha256 of the network."""
    return {} if config.network == NONE else {WEIGHTS: fingerprint(WEIGHTS)}


STAGE = Stage(
    name="speaker",
    title="hear who speaks",
    version=1,
    config=SpeakerConfig,
    items="""
        SELECT l.clip_id AS item_id, w.duration_s AS cost_s, w.start_s, w.end_s, l.speech_spans,
               d.audio16_ref
        FROM listens l JOIN windows w USING (clip_id) JOIN decodes d USING (source_id)
        WHERE l.has_speech AND $network <> 'none'
    """,
    outputs=(Output("features", key="clip_id", only=(("extractor", (GE2E,)),)),),
    run=speaker_shard,
    weights=weights,
)
