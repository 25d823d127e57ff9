"""Fit the audio codec on the training split: principal components, or networks that are trained."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field

from models.timeline import AUDIO_HZ, count
from storage.blobs import Blobs
from storage.ids import hash_of
from storage.stage import Output, Rows, ShardRef, ShardResult, ShardTarget, Stage, run_items
from storage.workspace import Workspace
from tasks.checkpoint import CODEC
from tasks.codecs import (
    FITTED,
    LEARNED,
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
from tasks.shipped_model import named_file
from tasks.state_dicts import sha256_of

if TYPE_CHECKING:
    import torch

    from models.codec import Codec
    from tasks.codec_training import Sounds

TRAINING = (
    "steps",
    "batch_size",
    "crop_s",
    "learning_rate",
    "precision",
    "seed",
    "threads",
    "save_every",
)
"""The settings of a training, which only the learned codec has."""


@dataclass(frozen=True, slots=True)
class FitCodecConfig:
    """How the codec is fitted.

    Attributes:
        channels: latent channels of mel_pca; a pretrained codec has its own.
        generation: raise it to fit the codec anew; new clips alone never refit it, because that
            would make every latent of the workspace stale.
        licences: only sources under these teach it; set from `snapshot.licences`.
        codec: mel_pca needs no download; learned is a small mel autoencoder with a neural vocoder,
            trained here from mel_pca on; audioldm2 is AudioLDM2's VAE and HiFi-GAN; oobleck is
            Stable Audio's, in weights that were trained at 16 kHz and 25 latents a second.
        pretrained: hub name, or folder with the networks' folders, of another codec's weights;
            empty takes the published ones.
        normalise: latents are brought to mean 0 and variance 1, by channel, over the training
            split; without it they are the codec's own, as in the paper: projections of logarithms
            of mel magnitudes for mel_pca, whose first channels vary most.
        file: another model's codec, taken as it is and not fitted: the `codec.safetensors` beside
            its weights, or `shipped` for that of the model that comes with talkies. Latents are
            then those that its weights know (`train.init_from`).
        steps: optimiser steps of the learned codec.
        batch_size: crops in a step of it.
        crop_s: length of a crop.
        learning_rate: of AdamW; it falls by a cosine to a hundredth.
        precision: of the networks while it trains; bfloat16 is quicker where the processor has
            instructions for it, and slower elsewhere.
        seed: of its initial weights, crops and noise.
        threads: CPU threads that train it; part of the result, as sums depend on their order.
        save_every: steps between two states that a killed training goes on from.
    """

    channels: Annotated[int, Field(ge=4, le=320)] = 64
    generation: int = 1
    licences: tuple[str, ...] = ()
    codec: CodecName = "mel_pca"
    pretrained: str = ""
    normalise: bool = True
    file: str = ""
    steps: Annotated[int, Field(ge=1)] = 3000
    batch_size: Annotated[int, Field(ge=1)] = 16
    crop_s: Annotated[float, Field(ge=0.2, le=10)] = 1.28
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    precision: Literal["float32", "bfloat16"] = "float32"
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    threads: Annotated[int, Field(ge=1)] = 1
    save_every: Annotated[int, Field(ge=1)] = 200

    def __post_init__(self) -> None:
        """Raises ValueError for settings of another codec than the one that is named."""
        if self.file and self.pretrained:
            raise ValueError(
                f"fit_codec.pretrained={self.pretrained!r}: fit_codec.file says which weights the "
                "codec has; leave one of them out"
            )
        if self.codec in FITTED and self.pretrained:
            raise ValueError(
                f"fit_codec.pretrained={self.pretrained!r}: {self.codec} is fitted here and takes "
                "no weights; name another fit_codec.codec, or leave it out"
            )
        if self.codec == LEARNED:
            return
        defaults = {field.name: field.default for field in fields(self)}
        for name in TRAINING:
            if (value := getattr(self, name)) != defaults[name]:
                raise ValueError(
                    f"fit_codec.{name}={value!r}: {self.codec} is not trained here; write "
                    "fit_codec.codec: learned too, or leave it out"
                )


def fit_codec_shard(shard: ShardRef, out: ShardTarget, config: FitCodecConfig) -> ShardResult:
    """Fits the codec on the clips of the training split and stores its state as a blob."""
    import torch

    torch.set_num_threads(config.threads)

    def fit(item: dict[str, Any]) -> Rows:
        clips = item["_clips"]
        sounds = clip_sounds(out.workspace, clips)
        if config.file:
            codec, facts = given_codec(config), {"is_fitted": False, "explained_variance": None}
        elif config.codec == LEARNED:
            # Other clips make another codec: its training does not go on from theirs.
            key = f"{item['_fingerprint'][:16]}-{hash_of(clips)[:16]}"
            codec = trained_codec(sounds, out, config, f"scratch/training/{key}.pt")
            facts = {"is_fitted": True, "explained_variance": None}
        else:
            codec, facts = fitted_codec(_told(sounds, out, config), config)
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


def clip_sounds(workspace_root: str, clips: list[dict[str, Any]]) -> "Sounds":
    """The sounds of clips, each with `audio_ref`, `start_s` and `end_s`, read as they are asked."""
    import torch

    from tasks.codec_training import Sounds

    def read(index: int, start: int, samples: int) -> torch.Tensor:
        clip = clips[index]
        start_s = clip["start_s"] + start / AUDIO_HZ
        # Crops may reach over a clip's end, where the next clip of the film begins.
        known = min(samples, lengths[index] - start)
        end_s = start_s + (known + 0.5) / AUDIO_HZ
        audio = read_audio(workspace_root, clip["audio_ref"], start_s, end_s, AUDIO_HZ)[0, :known]
        return torch.from_numpy(np.pad(audio, (0, samples - len(audio))))

    lengths = tuple(count(clip["end_s"] - clip["start_s"], AUDIO_HZ) for clip in clips)
    return Sounds(lengths, read)


def _told(sounds: "Sounds", out: ShardTarget, config: FitCodecConfig) -> "Iterator[torch.Tensor]":
    for number, audio in enumerate(sounds.whole()):
        out.report(number, len(sounds.samples), f"{config.codec} statistics")
        yield audio


def trained_codec(
    sounds: "Sounds", out: ShardTarget, config: FitCodecConfig, saved: str
) -> "Codec":
    """The learned codec; goes on where a killed training of the same sounds stopped.

    `saved` is where in the workspace its state lies; `talkies catalog gc` sweeps it.
    """
    from tasks.codec_training import CodecTrainer

    path = Workspace.at(out.workspace).path(saved)
    path.parent.mkdir(exist_ok=True)
    trainer = CodecTrainer(config, sounds)
    if not trainer.resume(path):
        trainer.begin(_told(sounds, out, config))
    while trainer.step < config.steps:
        losses = trainer.train_step()
        note = ", ".join(f"{name} {loss:.3f}" for name, loss in losses.items())
        out.report(trainer.step, config.steps, note)
        # The last state too: until the codec's row is committed, nothing else holds the work.
        if trainer.step % config.save_every == 0 or trainer.step == config.steps:
            trainer.save(path)
    return trainer.finish(_told(sounds, out, config))


def fitted_codec(
    audios: "Iterable[torch.Tensor]", config: FitCodecConfig
) -> "tuple[Codec, dict[str, Any]]":
    """The codec that is not trained, with what it learned of audios, each (samples,).

    The facts: `is_fitted`, whether it learned anything of them, and `explained_variance`, which
    mel_pca alone has. Raises MissingWeight where a pretrained network cannot be had, and ValueError
    for one whose rates are not the pipeline's.
    """
    from models.codec import MelPCA, MelPCAConfig

    if config.codec == MEL_PCA:
        fitted = MelPCA.fit(audios, MelPCAConfig(channels=config.channels))
        if not config.normalise:
            fitted.scale.fill_(1)
        explained = float(fitted.explained_variance.sum())
        return fitted, {"is_fitted": True, "explained_variance": explained}
    codec = load_pretrained_codec(config.codec, config.pretrained)
    require_grid(codec, config.codec)
    if config.normalise:
        codec.fit_scale(audios)
    return codec, {"is_fitted": config.normalise, "explained_variance": None}


def given_codec(config: FitCodecConfig) -> "Codec":
    """The codec of `fit_codec.file`.

    Raises as `named_file`, and ValueError for another codec than the one that is named.
    """
    codec = codec_from(_file(config).read_bytes())
    if codec.name != config.codec:
        raise ValueError(
            f"fit_codec.file={config.file}: it holds {codec.name}, and fit_codec.codec is "
            f"{config.codec}; write fit_codec.codec: {codec.name}"
        )
    require_grid(codec, config.codec)
    return codec


def _file(config: FitCodecConfig) -> Path:
    return named_file("fit_codec.file", config.file, CODEC)


def codec_weights(config: FitCodecConfig) -> dict[str, str]:
    """What identifies the codec's file or pretrained networks; nothing where it is fitted here."""
    if config.file:
        return {"file": sha256_of(_file(config))}
    return codec_fingerprint(config.codec, config.pretrained)


STAGE = Stage(
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
    # A file counts by its hash, wherever it lies.
    selects=("file",),
    later=("codec", "pretrained", "normalise", *TRAINING),
)
