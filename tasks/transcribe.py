"""What is said in a clip: Whisper's text with word times, and the signs that it may be invented.

A transcript that came with the source is preferred as text: Whisper then only says when each of its
words is spoken. Doubtful texts are flagged and kept; gates further down decide about them.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from models.timeline import AUDIO_HZ
from storage.rejects import Rejected
from storage.stage import Output, Rows, ShardRef, ShardResult, ShardTarget, Stage, run_items
from tasks.align_words import (
    Span,
    Word,
    aligned_words,
    joined_pieces,
    match_ratio,
    normalised,
    ordered_words,
    trimmed_words,
)
from tasks.hallucination import has_invented_phrase, outside_ratio, repeated_words
from tasks.media import read_audio
from tasks.weights import MissingWeight, locate_whisper, whisper_fingerprint

if TYPE_CHECKING:
    from faster_whisper import WhisperModel

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
    """A registered size, a folder with a CTranslate2 model, or a name of the Hugging Face hub."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where Whisper runs."""
    compute_type: str = "int8"
    """CTranslate2's number format, such as int8 or float16."""
    language: str | None = None
    """Language code; None lets a multilingual model detect it."""
    beam_size: Annotated[int, Field(ge=1)] = 5
    """Beams of the search."""
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


@dataclass(frozen=True, slots=True)
class Heard:
    """What Whisper recognised in a clip."""

    words: tuple[Word, ...]
    language: str
    language_score: float
    avg_logprob: float | None
    no_speech_score: float | None
    compression_ratio: float | None

    @property
    def text(self) -> str:
        """The words with single spaces."""
        return " ".join(word.word for word in self.words)


def transcribe_shard(shard: ShardRef, out: ShardTarget, config: TranscribeConfig) -> ShardResult:
    """Rows of `transcripts` and `words` for the clips of a shard."""

    def one_item(item: dict[str, Any]) -> Rows:
        audio = read_audio(
            out.workspace, item["audio16_ref"], item["start_s"], item["end_s"], AUDIO_HZ
        )
        model = load_whisper(config.model, config.device, config.compute_type)
        heard = recognise(model, audio[0], item["speech_spans"], config)
        clip_id = item["item_id"]
        shipped = " ".join((item["transcript"] or "").split())
        if not heard.words and not shipped:
            raise Rejected("no_speech", f"clip {clip_id}: {config.model} recognised no word")
        row, words = transcript_of(heard, shipped, item["speech_spans"], config)
        return {
            "transcripts": [{"clip_id": clip_id, **row}],
            "words": [{"clip_id": clip_id, **word} for word in words],
        }

    return run_items(shard, out, one_item)


@functools.cache
def load_whisper(model: str, device: str, compute_type: str) -> "WhisperModel":
    """A Whisper model, loaded once per process; on the CPU it keeps to one thread.

    Raises MissingWeight where it is neither here nor to be had from the Hugging Face hub.
    """
    from faster_whisper import WhisperModel

    where = locate_whisper(model)
    try:
        return WhisperModel(
            where,
            device=device,
            compute_type=compute_type,
            cpu_threads=1,
            local_files_only=Path(where).is_dir(),
        )
    except (OSError, RuntimeError, ValueError) as error:
        raise MissingWeight(
            f"transcribe.model {model!r} does not load on {device} as {compute_type} from "
            f"{where}: {error}; name 'tiny.en', a folder, or a hub name that you can reach"
        ) from error


def recognise(
    model: "WhisperModel",
    audio16: NDArray[np.float32],
    spans: Sequence[Span],
    config: TranscribeConfig,
) -> Heard:
    """Whisper's words in 16 kHz audio (T,), with times that lie inside the clip and in order.

    Scores of several segments are averaged by their tokens. Nothing is dropped as silence: a
    doubtful text is flagged later.
    """
    segments, info = model.transcribe(
        audio16,
        language=config.language,
        beam_size=config.beam_size,
        word_timestamps=True,
        temperature=0.0,
        condition_on_previous_text=False,
        no_speech_threshold=None,
        log_prob_threshold=None,
        compression_ratio_threshold=None,
    )
    found = list(segments)
    pieces = [
        Word(piece.word, float(piece.start), float(piece.end), float(piece.probability))
        for segment in found
        for piece in segment.words or ()
    ]
    words = joined_pieces(pieces, info.language)
    ordered = ordered_words(trimmed_words(words, spans), len(audio16) / AUDIO_HZ)
    tokens = [max(1, len(segment.tokens)) for segment in found]

    def mean(values: list[float]) -> float | None:
        return float(np.average(values, weights=tokens)) if values else None

    return Heard(
        words=tuple(ordered),
        language=info.language,
        language_score=float(info.language_probability),
        avg_logprob=mean([segment.avg_logprob for segment in found]),
        no_speech_score=mean([segment.no_speech_prob for segment in found]),
        compression_ratio=mean([segment.compression_ratio for segment in found]),
    )


def transcript_of(
    heard: Heard, shipped: str | None, spans: Sequence[Span], config: TranscribeConfig
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A row of `transcripts` and its rows of `words`, without clip_id.

    A shipped text is preferred: its words take their times from the recognised ones.
    """
    words, text, match = list(heard.words), heard.text, None
    if shipped:
        tokens = shipped.split()
        words = aligned_words(tokens, heard.words, spans)
        text, match = " ".join(tokens), match_ratio(tokens, heard.words)
    row = {
        "text": text,
        "language": heard.language,
        "language_score": heard.language_score,
        "avg_logprob": heard.avg_logprob,
        "no_speech_score": heard.no_speech_score,
        "compression_ratio": heard.compression_ratio,
        "flags": flags_of(replace(heard, words=tuple(words)), spans, config, match),
        "method": "shipped" if shipped else "whisper",
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
    heard: Heard, spans: Sequence[Span], config: TranscribeConfig, match: float | None = None
) -> list[str]:
    """Names from FLAGS that fire on a text; `match` is given for a shipped one.

    Whisper's doubts about its own text do not count against a shipped text.
    """
    words = [normalised(word.word) for word in heard.words]
    spoken_s = sum(word.end_s - word.start_s for word in heard.words)
    own = match is None
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
    version=1,
    config=TranscribeConfig,
    items="""
        SELECT w.clip_id AS item_id, w.duration_s AS cost_s,
               w.start_s, w.end_s, d.audio16_ref, l.speech_spans,
               CASE WHEN w.start_s <= 0.1 AND w.end_s >= d.duration_s - 0.1
                    THEN nullif(trim(s.transcript), '') END AS transcript
        FROM windows w
        JOIN decodes d ON d.source_id = w.source_id
        JOIN sources s ON s.source_id = w.source_id
        JOIN listens l ON l.clip_id = w.clip_id
        WHERE l.has_speech
    """,
    outputs=(Output("transcripts", key="clip_id"), Output("words", key="clip_id")),
    run=transcribe_shard,
    weights=weights,
    title="transcribe speech",
)
