"""Encode clips and mixtures into latents."""

import functools
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from models.timeline import AUDIO_HZ, LATENT_HZ, count
from storage.blobs import Blobs
from storage.stage import Output, Rows, ShardRef, ShardResult, ShardTarget, Stage, run_items
from tasks.codecs import CODECS, codec_from
from tasks.media import read_audio
from tasks.mix import render_again

if TYPE_CHECKING:
    from models.codec import Codec

VERSION = 1
PEAK = 0.5
"""Of every sound whose loudness is not kept: what a codec adds to it stays below full scale."""
QUIETEST = 1e-5
"""The peak of what is no sound, in 16 bits, and is not made one."""


@dataclass(frozen=True, slots=True)
class EncodeConfig:
    """What the codec is given.

    Attributes:
        loudness: `kept` encodes a sound as loud as it is; `peak` brings each item's peak to half of
            full scale first, as the paper's data is brought to one peak, so that a model learns
            nothing of how loud things are. The codec is fitted on sounds as they are either way.
    """

    loudness: Literal["kept", "peak"] = "kept"


@functools.lru_cache(maxsize=2)
def load_codec(workspace_root: str, ref: str) -> "Codec":
    """The fitted codec of a blob, ready to encode and decode; once a process."""
    return codec_from(Blobs(workspace_root).read(ref))


def encode_shard(shard: ShardRef, out: ShardTarget, config: EncodeConfig) -> ShardResult:
    """Encodes clips and mixtures into latents at 25 Hz."""
    import torch

    torch.set_num_threads(1)

    def encode(item: dict[str, Any]) -> Rows:
        codec = load_codec(out.workspace, item["codec_ref"])
        duration_s = round(item["end_s"] - item["start_s"], 6)
        mixture = item.get("_mixture")
        sound = (
            mixture_audio(out.workspace, mixture) if mixture else _clip_audio(out.workspace, item)
        )
        latents = latents_of(sound, duration_s, codec, config)
        row = {"clip_id": item["item_id"], "extractor": codec.name, "version": VERSION}
        return {"features": [row | {"_array": latents}]}

    return run_items(shard, out, encode)


def latents_of(
    audio: np.ndarray, duration_s: float, codec: "Codec", config: EncodeConfig
) -> np.ndarray:
    """The latents (N, C) of audio (1, samples) at 16 kHz, as many as its duration says."""
    import torch

    audio = _whole_latents(audio, duration_s)
    if config.loudness == "peak":
        audio = _at_one_peak(audio)
    with torch.inference_mode():
        return codec.encode(torch.from_numpy(audio))[0].numpy()


def _at_one_peak(audio: np.ndarray) -> np.ndarray:
    """Audio with one gain that makes its peak PEAK; of what is quieter than QUIETEST less."""
    peak = float(np.abs(audio).max(initial=0.0))
    return audio * np.float32(PEAK / max(peak, QUIETEST))


def _whole_latents(audio: np.ndarray, duration_s: float) -> np.ndarray:
    """Audio (1, samples) cut or padded to the latents that its clip has by the rounding rule."""
    latents = max(1, count(duration_s, LATENT_HZ))
    samples = latents * (AUDIO_HZ // LATENT_HZ)
    return np.pad(audio[:, :samples], ((0, 0), (0, max(0, samples - audio.shape[1]))))


def _clip_audio(workspace_root: str, clip: dict[str, Any]) -> Any:
    return read_audio(workspace_root, clip["audio_ref"], clip["start_s"], clip["end_s"], AUDIO_HZ)


def mixture_audio(workspace_root: str, row: dict[str, Any]) -> np.ndarray:
    """The sound of a row of `mixtures` as the codec takes it: float32 (1, samples) at 16 kHz.

    It is read from the mixture's file, or rendered again where none is kept; see `render_again`.
    """
    rate_hz = json.loads(row["recipe"])["rate_hz"]
    if row["mix_ref"] is None:
        audio = render_again(workspace_root, row).mix
    else:
        audio = read_audio(workspace_root, row["mix_ref"], 0.0, row["duration_s"], rate_hz)
    if rate_hz == AUDIO_HZ:
        return audio
    import soxr

    return soxr.resample(audio.T, rate_hz, AUDIO_HZ).T


STAGE = Stage(
    name="encode",
    title="encode latents",
    version=1,
    config=EncodeConfig,
    # A mixture's samples decide its latents, whether they are stored or rendered again.
    items="""
        SELECT w.clip_id AS item_id, d.audio16_ref AS audio_ref, w.start_s, w.end_s,
               c.ref AS codec_ref, w.duration_s AS cost_s, NULL AS _mixture
        FROM windows w
        JOIN decodes d USING (source_id)
        JOIN kinds k USING (clip_id)
        CROSS JOIN codecs c
        WHERE k.kept AND k.task IS NOT NULL
        UNION ALL
        SELECT m.mix_id AS item_id, m.output_sha256 AS audio_ref, 0.0 AS start_s,
               m.duration_s AS end_s, c.ref AS codec_ref, m.duration_s AS cost_s,
               struct_pack(m.mix_id, m.duration_s, m.mix_ref, m.recipe, m.output_sha256,
                           m.rendered_by) AS _mixture
        FROM mixtures m CROSS JOIN codecs c
    """,
    outputs=(Output("features", key="clip_id", only=(("extractor", CODECS),)),),
    run=encode_shard,
    later=("loudness",),
)
