"""The words that Whisper hears in a clip, at a cost that follows the clip's length.

Whisper knows windows of 30 s, and the usual call pays for one however short the clip is. Packing
several clips into one window would make the words of a clip depend on what else is in its shard.
Here a clip is encoded alone, at its own length, and the rest of its window is what the encoder says
of silence, computed once per process: the decoder sees a whole window. Without that rest it
repeats a short clip until the tokens run out. EXPERIMENTS.md has the figures.

Legend: T samples, M mel bands, F mel frames at 100 Hz, E = F / 2 encoder positions, D channels.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from models.timeline import AUDIO_HZ, MEL_HZ, index
from tasks.align_words import Span, Word, joined_pieces, ordered_words, trimmed_words
from tasks.weights import MissingWeight, locate_whisper

if TYPE_CHECKING:
    from ctranslate2 import StorageView
    from ctranslate2.models import WhisperGenerationResult
    from faster_whisper import WhisperModel
    from faster_whisper.tokenizer import Tokenizer

WINDOW_FRAMES = 3000
AFTER_S = 2.0
"""Quiet that is encoded with the clip; with less of it words at the end are lost."""
MARGIN_S = 0.5
"""What is kept of the clip before its first and after its last speech span."""
PIECE_S = 28.0
"""Longest stretch that is recognised at once."""
UNHEARD_S = 1.0
"""More speech than this after the last word, and recognition goes on behind that word."""
MAX_TOKENS = 448
MAX_TOKENS_PER_S = 16
"""Nobody speaks twice as fast; it bounds what an endless repetition costs."""
SPARE_TOKENS = 24
TIMESTAMP_S = 0.02
OVERRUN_S = 1.0
"""How far behind the end of a stretch a timestamp may lie: whole seconds are what it rounds to."""
PREPENDED, APPENDED = "\"'“¿([{-", "\"'.。,，!！?？:：”)]}、"


@dataclass(frozen=True, slots=True, eq=False)
class Recogniser:
    """A loaded Whisper and what its encoder says of a silent window, (1, 1500, D)."""

    model: "WhisperModel"
    silence: NDArray[np.float32]


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


@dataclass(frozen=True, slots=True)
class _Piece:
    """The words of one stretch, in seconds from its start, and how sure Whisper is of them."""

    words: list[Word]
    tokens: int
    avg_logprob: float
    no_speech_score: float
    compression_ratio: float


@functools.cache
def load_whisper(model: str, device: str, compute_type: str) -> Recogniser:
    """A Whisper model, loaded once per process; on the CPU it keeps to one thread.

    Raises MissingWeight where it is neither here nor to be had from the Hugging Face hub.
    """
    from faster_whisper import WhisperModel

    where = locate_whisper(model)
    try:
        loaded = WhisperModel(
            where,
            device=device,
            compute_type=compute_type,
            cpu_threads=1,
            local_files_only=Path(where).is_dir(),
        )
    except (OSError, RuntimeError, ValueError) as error:
        raise MissingWeight(
            f"transcribe.model {model!r} does not load on {device} as {compute_type} from "
            f"{where}: {error}; name 'tiny.en', 'base', a folder, or a hub name that you can reach"
        ) from error
    bands = loaded.feature_extractor.mel_filters.shape[0]
    return Recogniser(loaded, _encoded(loaded, np.zeros((bands, WINDOW_FRAMES), np.float32)))


def recognise(
    recogniser: Recogniser,
    audio16: NDArray[np.float32],
    spans: Sequence[Span],
    language: str | None = None,
    beam_size: int = 1,
) -> Heard:
    """Whisper's words in 16 kHz audio (T,), with times that lie inside the clip and in order.

    The result depends on this audio alone. Silence around the speech spans is left out; without
    any span all is listened to. Scores of several stretches are averaged by their tokens.

    Args:
        recogniser: what `load_whisper` gives.
        audio16: the clip.
        spans: its speech.
        language: its language; None lets a multilingual model detect it.
        beam_size: beams of the search.
    """
    duration_s = len(audio16) / AUDIO_HZ
    at_s, end_s = 0.0, duration_s
    if spans:
        at_s = max(0.0, spans[0]["start_s"] - MARGIN_S)
        end_s = min(duration_s, spans[-1]["end_s"] + MARGIN_S)
    pieces: list[_Piece] = []
    words: list[Word] = []
    spoken = None
    while at_s < end_s:
        stop_s = _piece_end(at_s, end_s, spans)
        encoded = _encode(recogniser, audio16[index(at_s, AUDIO_HZ) : index(stop_s, AUDIO_HZ)])
        spoken = spoken or _language(recogniser.model, encoded[1], language)
        piece = _recognise_piece(recogniser.model, *encoded, stop_s - at_s, spoken[0], beam_size)
        pieces.append(piece)
        said = [Word(w.word, w.start_s + at_s, w.end_s + at_s, w.score) for w in piece.words]
        words += said
        at_s = _next_start(at_s, stop_s, said, spans)
    tokens = [max(1, piece.tokens) for piece in pieces]

    def mean(values: list[float]) -> float | None:
        return float(np.average(values, weights=tokens)) if words else None

    code, score = spoken or (language or "en", 1.0)
    joined = trimmed_words(joined_pieces(words, code), spans)
    return Heard(
        words=tuple(ordered_words(joined, duration_s)),
        language=code,
        language_score=score,
        avg_logprob=mean([piece.avg_logprob for piece in pieces]),
        no_speech_score=mean([piece.no_speech_score for piece in pieces]),
        compression_ratio=mean([piece.compression_ratio for piece in pieces]),
    )


def _piece_end(at_s: float, end_s: float, spans: Sequence[Span]) -> float:
    """Where a stretch ends: at the end, or in the longest pause of its second half, or full."""
    limit_s = at_s + PIECE_S
    if end_s <= limit_s:
        return end_s
    pauses = [
        (after["start_s"] - before["end_s"], (before["end_s"] + after["start_s"]) / 2)
        for before, after in pairwise(spans)
    ]
    inside = [pause for pause in pauses if at_s + PIECE_S / 2 <= pause[1] <= limit_s]
    return max(inside)[1] if inside else limit_s


def _next_start(at_s: float, stop_s: float, said: list[Word], spans: Sequence[Span]) -> float:
    """Where recognition goes on: behind the stretch, or behind its last word if speech is left."""
    if not said or said[-1].end_s < at_s + UNHEARD_S:
        return stop_s
    last_s = said[-1].end_s
    left_s = sum(max(0.0, min(s["end_s"], stop_s) - max(s["start_s"], last_s)) for s in spans)
    return last_s if left_s > UNHEARD_S else stop_s


def _encode(
    recogniser: Recogniser, audio16: NDArray[np.float32]
) -> tuple["StorageView", "StorageView"]:
    """What the encoder says of a stretch (T,): alone, and followed by silence to a whole window."""
    from ctranslate2 import StorageView

    mel = recogniser.model.feature_extractor(audio16)[:, :-1]  # (M, F)
    frames = min(WINDOW_FRAMES, mel.shape[1] + index(AFTER_S, MEL_HZ))
    frames += frames % 2
    mel = np.pad(mel, ((0, 0), (0, frames - mel.shape[1])))
    alone = _encoded(recogniser.model, mel)  # (1, E, D)
    whole = np.concatenate([alone, recogniser.silence[:, alone.shape[1] :]], axis=1)
    return StorageView.from_array(alone), StorageView.from_array(np.ascontiguousarray(whole))


def _encoded(model: "WhisperModel", mel: NDArray[np.float32]) -> NDArray[np.float32]:
    from ctranslate2 import DataType, StorageView

    features = StorageView.from_array(np.ascontiguousarray(mel[None], np.float32))
    encoded = model.model.encode(features, to_cpu=True)
    if encoded.dtype != DataType.float32:
        encoded = encoded.to(DataType.float32)
    return np.array(encoded)


def _language(
    model: "WhisperModel", whole: "StorageView", language: str | None
) -> tuple[str, float]:
    if not model.model.is_multilingual:
        return "en", 1.0
    if language is not None:
        return language, 1.0
    token, score = model.model.detect_language(whole)[0][0]
    return token.strip("<|>"), float(score)


def _recognise_piece(
    model: "WhisperModel",
    alone: "StorageView",
    whole: "StorageView",
    duration_s: float,
    language: str,
    beam_size: int,
) -> _Piece:
    """Decodes one stretch; temperature 0 and no text before it."""
    from faster_whisper.tokenizer import Tokenizer
    from faster_whisper.transcribe import get_compression_ratio, get_suppressed_tokens

    multilingual = model.model.is_multilingual
    tokenizer = Tokenizer(model.hf_tokenizer, multilingual, task="transcribe", language=language)
    room = SPARE_TOKENS + int(MAX_TOKENS_PER_S * duration_s)

    def decoded(prompt: list[int]) -> "WhisperGenerationResult":
        return model.model.generate(
            whole,
            [prompt],
            beam_size=beam_size,
            max_length=min(MAX_TOKENS, len(prompt) + room),
            return_scores=True,
            return_no_speech_prob=True,
            suppress_tokens=list(get_suppressed_tokens(tokenizer, (-1,)) or ()),
        )[0]

    prompt = list(tokenizer.sot_sequence)
    result = decoded(prompt)
    if _goes_on(result.sequences_ids[0], tokenizer.timestamp_begin, duration_s, room):
        result = decoded([*prompt, tokenizer.no_timestamps])
    found = result.sequences_ids[0]
    text = tokenizer.decode(found)
    return _Piece(
        words=_words(model, tokenizer, alone, found, duration_s),
        tokens=len(found),
        avg_logprob=result.scores[0] * len(found) / (len(found) + 1),
        no_speech_score=float(result.no_speech_prob),
        compression_ratio=get_compression_ratio(text) if text.strip() else 0.0,
    )


def _goes_on(tokens: list[int], first_timestamp: int, duration_s: float, room: int) -> bool:
    """Whether the decoder went on behind the end of a stretch, by its own timestamps.

    What it says there is what it said before, again. Without timestamps it stops, but hears a
    little less well what it hears well. A single segment may end where it likes.
    """
    times_s = [(t - first_timestamp) * TIMESTAMP_S for t in tokens if t >= first_timestamp]
    overruns = len(times_s) > 2 and times_s[-1] > duration_s + OVERRUN_S
    return overruns or len(tokens) >= room


def _words(
    model: "WhisperModel",
    tokenizer: "Tokenizer",
    alone: "StorageView",
    tokens: list[int],
    duration_s: float,
) -> list[Word]:
    """Words with times by the decoder's attention on the stretch alone."""
    segment: dict[str, Any] = {"seek": 0, "start": 0.0, "end": duration_s, "tokens": tokens}
    segments: Any = [[segment]]
    if not any(token < tokenizer.eot for token in tokens):
        return []
    frames = index(duration_s, MEL_HZ)
    model.add_word_timestamps(segments, tokenizer, alone, frames, PREPENDED, APPENDED, 0.0)
    return [
        Word(word["word"], float(word["start"]), float(word["end"]), float(word["probability"]))
        for word in segment["words"]
    ]
