"""Name the kind of a clip from the evidence, and say whether the dataset keeps it."""

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from storage.ids import canonical_json
from storage.stage import Output, Rows, ShardRef, ShardResult, ShardTarget, Stage, run_items
from tasks.gates import ask_gates, failed

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
FACES = {True: "one speaks", False: "none speaks", None: "not looked at"}


@dataclass(frozen=True, slots=True)
class LabelConfig:
    """How kinds are named, and the thresholds of the gates; a gate whose threshold is null is off.

    Attributes:
        min_speech_ratio: share of the clip that speech must fill to make it a speech clip.
        max_speech_in_sound: largest share of speech in a clip of sound.
        min_loudness_lufs: a quieter clip is silent.
        max_silence_sound: largest silence ratio of a clip of sound.
        max_silence_speech: largest silence ratio of a clip of speech.
        min_bandwidth_sound_hz: sound that uses less was a telephone's or a toy camera's.
        min_bandwidth_speech_hz: wideband speech is 7 kHz (ITU-T G.722), which codecs just miss.
        max_clipping: share of samples in peaks cut off flat that a clip must stay under.
        max_music_sound: highest music score of a clip of sound; null, because films have music.
        max_music_speech: highest music score of a clip of speech.
        min_dnsmos: lowest opinion on speech, DNSMOS P.835 overall; speech over sound is not asked.
        min_phonemes: fewest phonemes of a clip of speech.
        min_logprob: a transcript's mean token log-probability must be above it.
        max_compression: highest compression ratio of a transcript.
        max_text_flags: most signs of an invented text; one alone is often wrong.
    """

    min_speech_ratio: Annotated[float, Field(ge=0, le=1)] = 0.3
    max_speech_in_sound: Annotated[float, Field(ge=0, le=1)] = 0.1
    min_loudness_lufs: float | None = -60.0
    max_silence_sound: Share | None = 0.8
    max_silence_speech: Share | None = 0.35
    min_bandwidth_sound_hz: Positive | None = 4000.0
    min_bandwidth_speech_hz: Positive | None = 6500.0
    max_clipping: Share | None = 0.001
    max_music_sound: Share | None = None
    max_music_speech: Share | None = None
    min_dnsmos: Annotated[float, Field(ge=1, le=5)] | None = 3.0
    min_phonemes: Annotated[int, Field(ge=1)] | None = 1
    min_logprob: float | None = -1.0
    max_compression: Positive | None = 2.4
    max_text_flags: Annotated[int, Field(ge=0)] | None = 1


def kind_of(item: dict[str, Any], config: LabelConfig) -> str:
    """The kind of a clip: silent, sound, mixed, speech_on_screen or speech_off_screen.

    Speech is on screen where a face that is seen speaks, by the stage `sync`. Where faces were not
    looked for, speech over a picture counts as on screen; the evidence says so.
    """
    loudness = item["loudness_lufs"]
    if not item["has_audio"] or loudness is None:
        return "silent"
    if config.min_loudness_lufs is not None and loudness < config.min_loudness_lufs:
        return "silent"
    share = item["speech_s"] / item["duration_s"]
    if not item["has_speech"] or share <= config.max_speech_in_sound:
        return "sound"
    if share < config.min_speech_ratio:
        return "mixed"
    on_screen = item["has_picture"] and item["on_screen"] is not False
    return "speech_on_screen" if on_screen else "speech_off_screen"


def task_of(kind: str, has_picture: bool) -> str | None:
    """The kind of training data that a clip can be: v2s, visual_tts, tts, or None.

    A voice from off the screen is speech alone: its picture would teach that mouths mean nothing.
    Sound without picture trains nothing by itself; it serves as ambience in mixtures.
    """
    if kind == "speech_off_screen":
        return "tts"
    if kind in ("speech_on_screen", "mixed"):
        return "visual_tts" if has_picture else "tts"
    return "v2s" if kind == "sound" and has_picture else None


def label_shard(shard: ShardRef, out: ShardTarget, config: LabelConfig) -> ShardResult:
    """Writes the kind of each clip and the verdicts of its gates."""

    def label_clip(item: dict[str, Any]) -> Rows:
        kind = kind_of(item, config)
        verdicts = ask_gates(kind, item, config)
        reasons = failed(verdicts)
        names = ("has_picture", "loudness_lufs", "silence_ratio", "speech_s", "phonemes")
        evidence = {name: item[name] for name in names}
        evidence |= {"faces": FACES[item["on_screen"]], "talk_confidence": item["talk_confidence"]}
        row = {
            "clip_id": item["item_id"],
            "kind": kind,
            "task": task_of(kind, item["has_picture"]),
            "kept": not reasons,
            "drop_reason": reasons[0] if reasons else None,
            "evidence": canonical_json(evidence),
            "failed_gates": reasons,
            "gates": verdicts,
        }
        return {"kinds": [row]}

    return run_items(shard, out, label_clip)


STAGE = Stage(
    name="label",
    title="name kinds",
    version=2,
    config=LabelConfig,
    items="""
        SELECT w.clip_id AS item_id, w.duration_s, w.has_audio, w.has_picture, l.loudness_lufs,
               coalesce(l.silence_ratio, 1.0) AS silence_ratio, coalesce(l.speech_s, 0) AS speech_s,
               coalesce(l.has_speech, false) AS has_speech, l.bandwidth_hz, l.clipping_ratio,
               l.music_score, l.dnsmos_overall, t.avg_logprob, t.compression_ratio,
               len(t.flags) AS text_flags,
               (SELECT count(*) FROM phonemes p WHERE p.clip_id = w.clip_id) AS phonemes,
               y.on_screen,
               (SELECT max(k.confidence) FROM talks k WHERE k.clip_id = w.clip_id)
               AS talk_confidence, w.duration_s AS cost_s
        FROM windows w
        LEFT JOIN listens l USING (clip_id)
        LEFT JOIN syncs y USING (clip_id)
        LEFT JOIN transcripts t USING (clip_id)
    """,
    outputs=(Output("kinds", key="clip_id"),),
    run=label_shard,
    shard_s=1_000_000.0,
)
