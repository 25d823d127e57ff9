"""Fit the audio codec on the training split, and encode clips and mixtures into latents."""

import functools
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import Field

from models.timeline import AUDIO_HZ, LATENT_HZ, count
from storage.blobs import Blobs
from storage.ids import hash_of
from storage.stage import Output, Rows, ShardRef, ShardResult, ShardTarget, Stage, run_items
from tasks.codecs import (
    CODECS,
    MEL_PCA,
    CodecName,
    codec_bytes,
    codec_fingerprint,
    codec_from,
    load_pretrained_codec,
    require_grid,
)
from tasks.licences import allowed
from tasks.media import read_audio
from tasks.mix import render_again

if TYPE_CHECKING:
    import torch

    from models.codec import Codec

VERSION = 1


@dataclass(frozen=True, slots=True)
class FitCodecConfig:
    """How the codec is fitted.

    Attributes:
        channels: latent channels of mel_pca; a pretrained codec has its own.
        generation: raise it to fit the codec anew; new clips alone never refit it, because that
            would make every latent of the workspace stale.
        licences: only sources under these teach it; set from `snapshot.licences`.
        codec: mel_pca needs no download; audioldm2 is AudioLDM2's VAE and HiFi-GAN; oobleck is
            Stable Audio's, in weights that were trained at 16 kHz and 25 latents a second.
        pretrained: hub name, or folder with the networks' folders, of another codec's weights;
            empty takes the published ones.
        normalise: a pretrained codec's latents are brought to mean 0 and variance 1, by channel,
            over the training split; without it they are the network's own, as in the paper.
    """

    channels: Annotated[int, Field(ge=4, le=320)] = 64
    generation: int = 1
    licences: tuple[str, ...] = ()
    codec: CodecName = "mel_pca"
    pretrained: str = ""
    normalise: bool = True

    def __post_init__(self) -> None:
        """Raises ValueError for pretrained weights of a codec that is fitted here."""
        if self.codec == MEL_PCA and self.pretrained:
            raise ValueError(
                f"fit_codec.pretrained={self.pretrained!r}: mel_pca is fitted here and takes no "
                "weights; name fit_codec.codec too, or leave it out"
            )


@dataclass(frozen=True, slots=True)
class EncodeConfig:
    """Encoding has no settings: the codec decides all."""


def fit_codec_shard(shard: ShardRef, out: ShardTarget, config: FitCodecConfig) -> ShardResult:
    """Fits the codec on the clips of the training split and stores its state as a blob."""
    import torch

    torch.set_num_threads(1)

    def fit(item: dict[str, Any]) -> Rows:
        clips = item["_clips"]

        def audios() -> Iterator[torch.Tensor]:
            for number, clip in enumerate(clips):
                out.report(number, len(clips), f"{config.codec} statistics")
                yield torch.from_numpy(_clip_audio(out.workspace, clip)[0])

        codec, facts = fitted_codec(audios(), config)
        ref = Blobs(out.workspace).put_bytes(codec_bytes(codec), ".safetensors")
        row = {
            "codec_id": hash_of("codec", ref),
            "name": item["item_id"],
            "ref": ref,
            "channels": codec.channels,
            "latent_hz": float(codec.latent_hz),
            "sample_rate_hz": codec.sample_rate_hz,
            "fitted_clips": len(clips) if facts["is_fitted"] else 0,
            "explained_variance": facts["explained_variance"],
        }
        return {"codecs": [row]}

    return run_items(shard, out, fit)


def fitted_codec(
    audios: "Iterable[torch.Tensor]", config: FitCodecConfig
) -> "tuple[Codec, dict[str, Any]]":
    """The codec that a configuration asks for, with what it learned of audios, each (samples,).

    The facts: `is_fitted`, whether it learned anything of them, and `explained_variance`, which
    mel_pca alone has. Raises MissingWeight where a pretrained network cannot be had, and ValueError
    for one whose rates are not the pipeline's.
    """
    from models.codec import MelPCA, MelPCAConfig

    if config.codec == MEL_PCA:
        fitted = MelPCA.fit(audios, MelPCAConfig(channels=config.channels))
        explained = float(fitted.explained_variance.sum())
        return fitted, {"is_fitted": True, "explained_variance": explained}
    codec = load_pretrained_codec(config.codec, config.pretrained)
    require_grid(codec, config.codec)
    if config.normalise:
        codec.fit_scale(audios)
    return codec, {"is_fitted": config.normalise, "explained_variance": None}


@functools.lru_cache(maxsize=2)
def load_codec(workspace_root: str, ref: str) -> "Codec":
    """The fitted codec of a blob, ready to encode and decode; once a process."""
    return codec_from(Blobs(workspace_root).read(ref))


def codec_weights(config: FitCodecConfig) -> dict[str, str]:
    """What identifies the pretrained networks of the codec; nothing where it is fitted here."""
    return codec_fingerprint(config.codec, config.pretrained)


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
        audio = _whole_latents(sound, duration_s)
        with torch.inference_mode():
            latents = codec.encode(torch.from_numpy(audio))[0].numpy()
        row = {"clip_id": item["item_id"], "extractor": codec.name, "version": VERSION}
        return {"features": [row | {"_array": latents}]}

    return run_items(shard, out, encode)


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


FIT_STAGE = Stage(
    name="fit_codec",
    title="fit the audio codec",
    version=1,
    config=FitCodecConfig,
    items=f"""
        SELECT $codec AS item_id, sum(w.duration_s) AS cost_s,
               list(struct_pack(audio_ref := d.audio16_ref, start_s := w.start_s,
                                end_s := w.end_s) ORDER BY w.clip_id) AS _clips
        FROM windows w
        JOIN decodes d USING (source_id)
        JOIN splits p USING (source_id)
        JOIN listens l USING (clip_id)
        WHERE w.has_audio AND p.split = 'train' AND l.loudness_lufs IS NOT NULL
          AND {allowed("w.source_id")}
        HAVING count(*) > 0
    """,
    outputs=(Output("codecs", key="name"),),
    run=fit_codec_shard,
    weights=codec_weights,
    later=("codec", "pretrained", "normalise"),
)

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
)
