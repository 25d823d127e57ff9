"""What is said in a clip: Whisper's text with word times, and the signs that it may be invented.

A transcript that came with the source is preferred as text: Whisper then only says when each of its
words is spoken. Doubtful texts are flagged and kept; gates further down decide about them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from pydantic import Field

from models.timeline import AUDIO_HZ
from storage.rejects import Rejected
from storage.stage import Output, Rows, ShardRef, ShardResult, ShardTarget, Stage, run_items
from tasks.align_words import Span, normalised
from tasks.hallucination import has_invented_phrase, outside_ratio, repeated_words
from tasks.media import read_audio
from tasks.recognise import Heard, load_whisper, recognise
from tasks.shipped import Shipped, placed_cues, placed_text
from tasks.weights import whisper_fingerprint

FLAGS: dict[str, str] = {
    "no_speech": "Whisper itself doubts that there is speech.",
    "low_logprob": "The tokens are improbable.",
    "compression": "The text compresses too well, so it repeats itself.",
    "repetition": "The same words come again and again.",
    "too_fast": "More characters a second than a person speaks.",
    "outside_speech": "Words stand where the voice detector hears no speech.",
    "phrase": "A phrase that Whisper is known to invent on noise.",
    "differs": "The shipped transcript and the recognised words hardly agree.",
}
"""Signs of an invented text, in the order in which they are stored."""


@dataclass(frozen=True, slots=True)
class TranscribeConfig:
    """The recogniser, and when its text is doubted."""

    model: str = "tiny.en"
    """`tiny.en`, `base` (multilingual), a folder with a CTranslate2 model, or a hub name."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where Whisper runs."""
    compute_type: str = "int8"
    """CTranslate2's number format, such as int8 or float16."""
    language: str | None = None
    """Language code; None lets a multilingual model detect it."""
    beam_size: Annotated[int, Field(ge=1)] = 1
    """Beams of the search. On 568 prompts one made 178 errors in 3,285 words, and five made 191 and
    cost 1.7 times as much."""
    max_no_speech_score: Annotated[float, Field(ge=0, le=1)] = 0.6
    """Above it the text is flagged `no_speech`."""
    min_avg_logprob: Annotated[float, Field(le=0)] = -1.0
    """Below it the text is flagged `low_logprob`, in nats a token."""
    max_compression_ratio: Annotated[float, Field(gt=0)] = 2.4
    """Above it the text is flagged `compression`."""
    min_repeated_words: Annotated[int, Field(ge=3)] = 6
    """From this many words said three times in a row, the text is flagged `repetition`."""
    max_chars_per_s: Annotated[float, Field(gt=0)] = 25.0
    """Above it the text is flagged `too_fast`; letters over the time of the words."""
    max_outside_ratio: Annotated[float, Field(ge=0, le=1)] = 0.3
    """Above this share of words outside speech the text is flagged `outside_speech`."""
    min_match_ratio: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Below this share of recognised words a shipped transcript is flagged `differs`."""


def transcribe_shard(shard: ShardRef, out: ShardTarget, config: TranscribeConfig) -> ShardResult:
    """Rows of `transcripts` and `words` for the clips of a shard."""

    def one_item(item: dict[str, Any]) -> Rows:
        audio = read_audio(
            out.workspace, item["audio16_ref"], item["start_s"], item["end_s"], AUDIO_HZ
        )
        model = load_whisper(config.model, config.device, config.compute_type)
        spans = item["speech_spans"]
        heard = recognise(model, audio[0], spans, config.language, config.beam_size)
        clip_id = item["item_id"]
        shipped = shipped_in(item, heard, config)
        if not heard.words and shipped is None:
            raise Rejected("no_speech", f"clip {clip_id}: {config.model} recognised no word")
        row, words = transcript_of(heard, shipped, spans, config)
        return {
            "transcripts": [{"clip_id": clip_id, **row}],
            "words": [{"clip_id": clip_id, **word} for word in words],
        }

    return run_items(shard, out, one_item)


def shipped_in(item: dict[str, Any], heard: Heard, config: TranscribeConfig) -> Shipped | None:
    """What came with the source and is said in a clip: subtitles first, then a text."""
    window = (item["start_s"], item["end_s"])
    by_cues = placed_cues(
        item["cues"] or [], window, heard.words, heard.language, config.min_match_ratio
    )
    if by_cues or not item["transcript"]:
        return by_cues
    return placed_text(
        item["transcript"],
        item["covers_source"],
        item["source_share"],
        heard.words,
        item["speech_spans"],
    )


def transcript_of(
    heard: Heard, shipped: Shipped | None, spans: Sequence[Span], config: TranscribeConfig
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A row of `transcripts` and its rows of `words`, without clip_id.

    What was shipped is preferred, unless it is a passage of a longer text that hardly agrees with
    what was heard: the text may not hold what this clip says.
    """
    match = shipped.match if shipped else None
    taken = shipped
    if shipped and not shipped.is_certain and shipped.match < config.min_match_ratio:
        taken = None
    words = list(taken.words) if taken else list(heard.words)
    flags = flags_of(replace(heard, words=tuple(words)), spans, config, match, taken is None)
    row = {
        "text": " ".join(word.word for word in words),
        "language": (taken.language if taken else None) or heard.language,
        "language_score": heard.language_score,
        "avg_logprob": heard.avg_logprob,
        "no_speech_score": heard.no_speech_score,
        "compression_ratio": heard.compression_ratio,
        "flags": flags,
        "method": taken.method if taken else "whisper",
        "model_id": config.model,
    }
    return row, [
        {
            "position": position,
            "word": word.word,
            "start_s": word.start_s,
            "end_s": word.end_s,
            "score": word.score,
        }
        for position, word in enumerate(words)
    ]


def flags_of(
    heard: Heard,
    spans: Sequence[Span],
    config: TranscribeConfig,
    match: float | None = None,
    own: bool = True,
) -> list[str]:
    """Names from FLAGS that fire on a text; `match` is that of a shipped one, where there is one.

    Whisper's doubts about its own text do not count against a shipped text (`own` is false).
    """
    words = [normalised(word.word) for word in heard.words]
    spoken_s = sum(word.end_s - word.start_s for word in heard.words)
    fired = {
        "no_speech": own and _above(heard.no_speech_score, config.max_no_speech_score),
        "low_logprob": own and _above(config.min_avg_logprob, heard.avg_logprob),
        "compression": own and _above(heard.compression_ratio, config.max_compression_ratio),
        "repetition": repeated_words(words) >= config.min_repeated_words,
        "too_fast": sum(map(len, words)) > config.max_chars_per_s * spoken_s,
        "outside_speech": outside_ratio(heard.words, spans) > config.max_outside_ratio,
        "phrase": own and has_invented_phrase(words),
        "differs": _above(config.min_match_ratio, match),
    }
    return [name for name in FLAGS if fired[name]]


def _above(value: float | None, limit: float | None) -> bool:
    return value is not None and limit is not None and value > limit


def weights(config: TranscribeConfig) -> dict[str, str]:
    """The sha256 of the recogniser's weights."""
    return {"whisper": whisper_fingerprint(config.model)}


STAGE = Stage(
    name="transcribe",
    version=3,
    config=TranscribeConfig,
    # Only the cues that touch a clip are hashed: a changed line costs the clips that it lies in.
    items="""
        SELECT w.clip_id AS item_id, w.duration_s AS cost_s,
               w.start_s, w.end_s, d.audio16_ref, l.speech_spans,
               coalesce(list_filter(f.cues, lambda cue:
                   cue.end_s > w.start_s AND cue.start_s < w.end_s), []) AS cues,
               nullif(trim(s.transcript), '') AS transcript,
               w.start_s <= 0.1 AND w.end_s >= d.duration_s - 0.1 AS covers_source,
               w.start_s / d.duration_s AS source_share
        FROM windows w
        JOIN decodes d ON d.source_id = w.source_id
        JOIN sources s ON s.source_id = w.source_id
        LEFT JOIN files f ON f.uri = s.uri AND f.source_id = s.source_id
        JOIN listens l ON l.clip_id = w.clip_id
        WHERE l.has_speech
    """,
    outputs=(Output("transcripts", key="clip_id"), Output("words", key="clip_id")),
    run=transcribe_shard,
    weights=weights,
    title="transcribe speech",
)
