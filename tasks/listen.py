"""What is heard in a clip: speech, music and sound, levels and silence, and how well it sounds.

A voice detector alone calls dog barks, pigs and drones speech, and a tagger alone has no times, so
`has_speech` asks both: `voice` has found the spans, in the whole source, and YAMNet must hear
speech inside them. DNSMOS, the dearest of the networks, is asked about clips with speech only: of
others it has no opinion.

Legend: T samples, P YAMNet patches, C = 521 classes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from models.timeline import AUDIO48_HZ, AUDIO_HZ
from storage.stage import Output, Rows, ShardRef, ShardResult, ShardTarget, Stage, run_items
from tasks.align_words import Span
from tasks.bandwidth import bandwidth_hz
from tasks.clipping import clipping_ratio, dc_offset
from tasks.dnsmos import Dnsmos, load_dnsmos
from tasks.loudness import loudness_lufs
from tasks.media import read_audio
from tasks.weights import fingerprint
from tasks.yamnet import (
    PATCH_HOP_S,
    PATCH_S,
    SPEECH_CLASSES,
    Yamnet,
    load_yamnet,
    music_columns,
    sound_columns,
)

SILENCE_FRAME_S = 0.02
NETWORKS = ("yamnet", "yamnet_classes", "dnsmos")


@dataclass(frozen=True, slots=True)
class ListenConfig:
    """Thresholds of listening.

    The defaults were measured on the demo corpus: inside VAD spans YAMNet gives clear speech at
    least 0.86, and animals, trains, rainforest and music at most 0.09.
    """

    min_speech_s: Annotated[float, Field(ge=0)] = 0.3
    """Less speech than this in the whole clip is not speech, in seconds."""
    min_speech_ratio: Annotated[float, Field(ge=0, le=1)] = 0.05
    """A smaller share of speech in the clip is not speech."""
    min_speech_score: Annotated[float, Field(ge=0, le=1)] = 0.3
    """YAMNet must hear speech inside the spans with at least this score."""
    silence_dbfs: Annotated[float, Field(le=0)] = -50.0
    """A 20 ms frame with an RMS level under this is silent, in dBFS."""
    top_k: Annotated[int, Field(ge=1, le=521)] = 10
    """Sound classes kept for each clip."""


def listen_shard(shard: ShardRef, out: ShardTarget, config: ListenConfig) -> ShardResult:
    """Rows of `listens` and `tags` for the clips of a shard."""

    def one_item(item: dict[str, Any]) -> Rows:
        start_s, end_s = item["start_s"], item["end_s"]
        audio16 = read_audio(out.workspace, item["audio16_ref"], start_s, end_s, AUDIO_HZ)
        audio48 = read_audio(out.workspace, item["audio48_ref"], start_s, end_s, AUDIO48_HZ)
        heard, tags = listen(
            audio16[0], audio48[0], item["speech_spans"], load_yamnet(), load_dnsmos(), config
        )
        clip_id = item["item_id"]
        return {
            "listens": [{"clip_id": clip_id, **heard}],
            "tags": [{"clip_id": clip_id, **tag} for tag in tags],
        }

    return run_items(shard, out, one_item)


def listen(
    audio16: NDArray[np.float32],
    audio48: NDArray[np.float32],
    spans: list[Span],
    yamnet: Yamnet,
    dnsmos: Dnsmos,
    config: ListenConfig,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What is heard in a clip, as a row of `listens` and its rows of `tags`, without clip_id.

    Args:
        audio16: (T16,) the clip at 16 kHz, for the networks.
        audio48: (T48,) the same at 48 kHz, for the levels.
        spans: where the voice detector hears speech in it.
        yamnet: the loaded tagger.
        dnsmos: the loaded judge of speech.
        config: thresholds.
    """
    scores = yamnet.scores(audio16)  # (P, C)
    tags = top_tags(scores, yamnet.class_names, config.top_k)
    speech_s = float(sum(span["end_s"] - span["start_s"] for span in spans))
    score = speech_score(scores, yamnet.class_names, spans)
    has_speech = is_speech(speech_s, len(audio16) / AUDIO_HZ, score, config)
    opinion = dnsmos.opinion(audio16) if has_speech else None
    heard = {
        "loudness_lufs": loudness_lufs(audio48[None], AUDIO48_HZ),
        "peak_dbfs": peak_dbfs(audio48),
        "silence_ratio": silence_ratio(audio48, AUDIO48_HZ, config.silence_dbfs),
        "speech_s": speech_s,
        "speech_spans": spans,
        "speech_score": score,
        "top_tag": tags[0]["label"],
        "has_speech": has_speech,
        "music_score": mean_score(scores, music_columns(yamnet.class_names)),
        "sound_score": mean_score(scores, sound_columns(yamnet.class_names)),
        "bandwidth_hz": bandwidth_hz(audio48, AUDIO48_HZ),
        "clipping_ratio": clipping_ratio(audio48),
        "dc_offset": dc_offset(audio48),
        "dnsmos_overall": opinion and opinion.overall,
        "dnsmos_signal": opinion and opinion.signal,
        "dnsmos_background": opinion and opinion.background,
    }
    return heard | {"heard_as": heard_as(heard)}, tags


def heard_as(heard: Mapping[str, Any]) -> str:
    """What a clip mainly is, by its row of `listens`: speech, music, sound or silence."""
    if heard["loudness_lufs"] is None:
        return "silence"
    if heard["has_speech"]:
        return "speech"
    return "music" if heard["music_score"] > heard["sound_score"] else "sound"


def is_speech(speech_s: float, duration_s: float, score: float, config: ListenConfig) -> bool:
    """Whether both the voice detector and the sound tags call the clip speech."""
    return (
        speech_s >= config.min_speech_s
        and speech_s >= config.min_speech_ratio * duration_s
        and score >= config.min_speech_score
    )


def speech_score(
    scores: NDArray[np.float32], class_names: tuple[str, ...], spans: list[Span]
) -> float:
    """Highest score of a speech class, averaged over the patches (P, C) that touch speech spans.

    Over all patches where there is no span, so that a missed voice still shows in the catalog. The
    spans matter: two spoken seconds in a ten-second clip would otherwise be averaged away.
    """
    columns = [class_names.index(name) for name in SPEECH_CLASSES]
    starts_s = np.arange(len(scores)) * PATCH_HOP_S
    touched = np.zeros(len(scores), dtype=bool)
    for span in spans:
        touched |= (starts_s < span["end_s"]) & (starts_s + PATCH_S > span["start_s"])
    chosen = scores[touched] if touched.any() else scores
    return float(chosen[:, columns].max(axis=1).mean())


def mean_score(scores: NDArray[np.float32], columns: NDArray[np.intp]) -> float:
    """Highest score among some classes, averaged over all patches (P, C)."""
    return float(scores[:, columns].max(axis=1).mean())


def top_tags(
    scores: NDArray[np.float32], class_names: tuple[str, ...], top_k: int
) -> list[dict[str, Any]]:
    """The `top_k` classes with the highest mean score over patches (P, C), rank 1 first."""
    means = scores.mean(axis=0)
    order = np.argsort(-means, kind="stable")[:top_k]
    return [
        {"rank": rank, "label": class_names[index], "score": float(means[index])}
        for rank, index in enumerate(order, start=1)
    ]


def peak_dbfs(audio: NDArray[np.float32]) -> float | None:
    """Sample peak of audio (T,) in dBFS; None where every sample is zero."""
    peak = float(np.max(np.abs(audio), initial=0.0))
    return 20.0 * float(np.log10(peak)) if peak > 0.0 else None


def silence_ratio(audio: NDArray[np.float32], rate_hz: int, threshold_dbfs: float) -> float:
    """Share of 20 ms frames of audio (T,) whose RMS is under the threshold; 1 for no audio."""
    frame = round(SILENCE_FRAME_S * rate_hz)
    count = len(audio) // frame
    if count == 0:
        frame, count = len(audio), 1
    if frame == 0:
        return 1.0
    frames = audio[: count * frame].reshape(count, frame).astype(np.float64)
    threshold = 10.0 ** (threshold_dbfs / 20.0)
    return float(np.mean(np.sqrt(np.mean(frames**2, axis=1)) < threshold))


def weights(config: ListenConfig) -> dict[str, str]:
    """The sha256 of each network that listening uses."""
    return {name: fingerprint(name) for name in NETWORKS}


STAGE = Stage(
    name="listen",
    version=3,
    config=ListenConfig,
    items="""
        SELECT w.clip_id AS item_id, w.duration_s AS cost_s,
               w.start_s, w.end_s, coalesce(w.speech_spans, []) AS speech_spans,
               d.audio16_ref, d.audio48_ref
        FROM windows w JOIN decodes d USING (source_id)
        WHERE w.has_audio AND d.audio16_ref IS NOT NULL
    """,
    outputs=(Output("listens", key="clip_id"), Output("tags", key="clip_id")),
    run=listen_shard,
    weights=weights,
    title="listen",
)
