"""Name the kind of a clip from the evidence, and say whether the dataset keeps it."""

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from storage.ids import canonical_json
from storage.stage import Output, Rows, ShardRef, ShardResult, ShardTarget, Stage, run_items

TASK_OF_SPEECH = {True: "visual_tts", False: "tts"}


@dataclass(frozen=True, slots=True)
class LabelConfig:
    """The gates: what a clip must be to enter a dataset.

    Attributes:
        max_silence_sound: largest silence ratio of a clip of sound.
        max_silence_speech: largest silence ratio of a clip of speech.
        min_speech_ratio: share of the clip that speech must fill to make it a speech clip.
        max_speech_in_sound: largest share of speech in a clip of sound.
        min_logprob: lowest mean token log-probability of a transcript.
        max_compression: highest compression ratio of a transcript.
        min_loudness_lufs: a quieter clip is silent.
    """

    max_silence_sound: Annotated[float, Field(ge=0, le=1)] = 0.8
    max_silence_speech: Annotated[float, Field(ge=0, le=1)] = 0.35
    min_speech_ratio: Annotated[float, Field(ge=0, le=1)] = 0.3
    max_speech_in_sound: Annotated[float, Field(ge=0, le=1)] = 0.1
    min_logprob: float = -1.0
    max_compression: float = 2.4
    min_loudness_lufs: float = -60.0


def kind_of(item: dict[str, Any], config: LabelConfig) -> str:
    """The kind of a clip: silent, sound, mixed, speech_on_screen or speech_off_screen.

    Speech over a picture counts as on screen until faces are looked at; the evidence says so.
    """
    loudness = item["loudness_lufs"]
    if not item["has_audio"] or loudness is None or loudness < config.min_loudness_lufs:
        return "silent"
    share = item["speech_s"] / item["duration_s"]
    if not item["has_speech"] or share <= config.max_speech_in_sound:
        return "sound"
    if share < config.min_speech_ratio:
        return "mixed"
    return "speech_on_screen" if item["has_picture"] else "speech_off_screen"


def drop_reason(kind: str, item: dict[str, Any], config: LabelConfig) -> str | None:
    """The first gate that a clip fails, or None."""
    if kind == "silent":
        return "no_sound"
    speaks = kind.startswith("speech") or kind == "mixed"
    limit = config.max_silence_speech if speaks else config.max_silence_sound
    if item["silence_ratio"] > limit:
        return "too_silent"
    if not speaks:
        return None
    if item["phonemes"] == 0:
        return "no_transcript"
    if item["avg_logprob"] is not None and item["avg_logprob"] <= config.min_logprob:
        return "unsure_transcript"
    if item["compression_ratio"] is not None and item["compression_ratio"] > config.max_compression:
        return "repeating_transcript"
    return None


def task_of(kind: str, has_picture: bool) -> str | None:
    """The kind of training data that a clip can be: v2s, visual_tts, tts, or None.

    Sound without picture trains nothing by itself; it serves as ambience in mixtures.
    """
    if kind in ("speech_on_screen", "speech_off_screen", "mixed"):
        return TASK_OF_SPEECH[has_picture]
    return "v2s" if kind == "sound" and has_picture else None


def label_shard(shard: ShardRef, out: ShardTarget, config: LabelConfig) -> ShardResult:
    """Writes the kind of each clip."""

    def label_clip(item: dict[str, Any]) -> Rows:
        kind = kind_of(item, config)
        reason = drop_reason(kind, item, config)
        names = ("has_picture", "loudness_lufs", "silence_ratio", "speech_s", "phonemes")
        evidence = {name: item[name] for name in names} | {"faces": "not looked at"}
        row = {
            "clip_id": item["item_id"],
            "kind": kind,
            "task": task_of(kind, item["has_picture"]),
            "kept": reason is None,
            "drop_reason": reason,
            "evidence": canonical_json(evidence),
        }
        return {"kinds": [row]}

    return run_items(shard, out, label_clip)


STAGE = Stage(
    name="label",
    title="name kinds",
    version=1,
    config=LabelConfig,
    items="""
        SELECT w.clip_id AS item_id, w.duration_s, w.has_audio, w.has_picture, l.loudness_lufs,
               coalesce(l.silence_ratio, 1.0) AS silence_ratio, coalesce(l.speech_s, 0) AS speech_s,
               coalesce(l.has_speech, false) AS has_speech, t.avg_logprob, t.compression_ratio,
               (SELECT count(*) FROM phonemes p WHERE p.clip_id = w.clip_id) AS phonemes,
               w.duration_s AS cost_s
        FROM windows w
        LEFT JOIN listens l USING (clip_id)
        LEFT JOIN transcripts t USING (clip_id)
    """,
    outputs=(Output("kinds", key="clip_id"),),
    run=label_shard,
    shard_s=1_000_000.0,
)
