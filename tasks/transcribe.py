"""What is said in a clip: Whisper's text with word times, and the signs that it may be invented.

A transcript that came with the source is preferred as text: Whisper then only says when each of its
words is spoken. Doubtful texts are flagged and kept; gates further down decide about them.
"""

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from models.timeline import AUDIO_HZ
from storage.rejects import Rejected
from storage.stage import Output, Rows, ShardRef, ShardResult, ShardTarget, Stage, run_items
from tasks.media import read_audio
from tasks.weights import MissingWeight, locate_whisper, whisper_fingerprint

if TYPE_CHECKING:
    from faster_whisper import WhisperModel

Span = dict[str, float]
"""A span of the clip: {"start_s", "end_s"}, seconds from the clip's start."""

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

INVENTED_PHRASES = (
    "thank you for watching",
    "thanks for watching",
    "thank you so much for watching",
    "please subscribe",
    "like and subscribe",
    "see you in the next video",
    "subtitles by",
    "captions by",
    "transcribed by",
    "amara org",
)
MIN_WORD_S = 0.04
"""No word is shorter: one audio latent at 25 Hz."""
MIN_RUN_WORD_S = 0.08
"""Less room than this for each unrecognised word, and a neighbour shares its time with it."""
SPEECH_MARGIN_S = 0.2
LONGEST_REPEATED_WORDS = 8
UNSPACED_LANGUAGES = frozenset({"zh", "yue", "ja", "th", "lo", "my"})


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
class Word:
    """A word with its times in seconds from the clip's start; score None where interpolated."""

    word: str
    start_s: float
    end_s: float
    score: float | None


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
        if not heard.words and not item["transcript"]:
            raise Rejected("no_speech", f"clip {clip_id}: {config.model} recognised no word")
        row, words = transcript_of(heard, item["transcript"], item["speech_spans"], config)
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
        words = aligned_words(shipped.split(), heard.words, spans)
        text, match = " ".join(shipped.split()), match_ratio(shipped.split(), heard.words)
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
    plain = f" {' '.join(words)} "
    spoken_s = sum(word.end_s - word.start_s for word in heard.words)
    own = match is None
    fired = {
        "no_speech": own and _above(heard.no_speech_score, config.max_no_speech_score),
        "low_logprob": own and _above(config.min_avg_logprob, heard.avg_logprob),
        "compression": own and _above(heard.compression_ratio, config.max_compression_ratio),
        "repetition": repeated_words(words) >= config.min_repeated_words,
        "too_fast": sum(map(len, words)) > config.max_chars_per_s * spoken_s,
        "outside_speech": outside_ratio(heard.words, spans) > config.max_outside_ratio,
        "phrase": own and any(f" {phrase} " in plain for phrase in INVENTED_PHRASES),
        "differs": _above(config.min_match_ratio, match),
    }
    return [name for name in FLAGS if fired[name]]


def _above(value: float | None, limit: float | None) -> bool:
    return value is not None and limit is not None and value > limit


def repeated_words(words: Sequence[str]) -> int:
    """Most words covered by one phrase of up to eight words said at least three times in a row."""
    most = 0
    for size in range(1, LONGEST_REPEATED_WORDS + 1):
        equal = 0  # words in a row that equal the word one phrase earlier
        for index in range(size, len(words)):
            equal = equal + 1 if words[index] == words[index - size] else 0
            times = 1 + equal // size
            if times >= 3:
                most = max(most, times * size)
    return most


def outside_ratio(words: Sequence[Word], spans: Sequence[Span]) -> float:
    """Share of words whose middle lies more than 0.2 s outside every speech span; 0 for none."""

    def is_outside(word: Word) -> bool:
        middle_s = (word.start_s + word.end_s) / 2
        return not any(
            span["start_s"] - SPEECH_MARGIN_S <= middle_s <= span["end_s"] + SPEECH_MARGIN_S
            for span in spans
        )

    return sum(map(is_outside, words)) / len(words) if words else 0.0


def joined_pieces(pieces: Sequence[Word], language: str) -> list[Word]:
    """Words as written between spaces; Whisper times "cold" and "-hearted" apart."""
    words: list[Word] = []
    for piece in pieces:
        text = piece.word.strip()
        if not text:
            continue
        follows = words and not piece.word.startswith(" ") and language not in UNSPACED_LANGUAGES
        if follows:
            last = words.pop()
            score = min(last.score or 0.0, piece.score or 0.0)
            words.append(Word(last.word + text, last.start_s, piece.end_s, score))
        else:
            words.append(replace(piece, word=text))
    return words


def trimmed_words(words: Sequence[Word], spans: Sequence[Span]) -> list[Word]:
    """Words without the silence at their ends, which Whisper gives to the word beside a pause.

    A word that touches no speech span keeps its times.
    """
    trimmed: list[Word] = []
    for word in words:
        inside = [s for s in spans if s["start_s"] < word.end_s and s["end_s"] > word.start_s]
        if inside:
            start_s = max(word.start_s, inside[0]["start_s"])
            word = replace(word, start_s=start_s, end_s=min(word.end_s, inside[-1]["end_s"]))
        trimmed.append(word)
    return trimmed


def ordered_words(words: Sequence[Word], duration_s: float) -> list[Word]:
    """Words whose times do not overlap, lie in [0, duration_s] and last at least MIN_WORD_S.

    A word that is too short first takes room from the pause before it. Where a clip is too short
    for so many words, they share it evenly.
    """
    least_s = min(MIN_WORD_S, duration_s / max(1, len(words)))
    times: list[list[float]] = []
    previous_s = 0.0
    for word in words:
        end_s = max(word.end_s, previous_s + least_s)
        start_s = max(previous_s, min(word.start_s, end_s - least_s))
        times.append([start_s, max(end_s, start_s + least_s)])
        previous_s = times[-1][1]
    limit_s = duration_s
    for pair in reversed(times):
        pair[1] = min(pair[1], limit_s)
        pair[0] = max(0.0, min(pair[0], pair[1] - least_s))
        limit_s = pair[0]
    return [
        replace(word, start_s=start_s, end_s=end_s)
        for word, (start_s, end_s) in zip(words, times, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class _Run:
    """Words that share one stretch of time."""

    tokens: tuple[str, ...]
    start_s: float
    end_s: float
    score: float | None

    def joined(self, after: "_Run") -> "_Run":
        return _Run(self.tokens + after.tokens, self.start_s, after.end_s, None)

    def words(self) -> list[Word]:
        sizes = [max(1, len(normalised(token))) for token in self.tokens]
        edges = np.concatenate([[0.0], np.cumsum(sizes) / sum(sizes)])
        times = self.start_s + edges * (self.end_s - self.start_s)
        times[-1] = self.end_s
        return [
            Word(token, float(start_s), float(end_s), self.score)
            for token, start_s, end_s in zip(self.tokens, times[:-1], times[1:], strict=True)
        ]


def aligned_words(
    tokens: Sequence[str], heard: Sequence[Word], spans: Sequence[Span]
) -> list[Word]:
    """Words of a shipped text with the times of the recognised words that they match.

    A word that was recognised keeps its time and score. Others share, by their letters, the time of
    the words that were recognised in their place, or the pause where none was.
    """
    first_s = spans[0]["start_s"] if spans else 0.0
    last_s = spans[-1]["end_s"] if spans else first_s + MIN_RUN_WORD_S * len(tokens)
    runs: list[_Run] = []
    for tag, i1, i2, j1, j2 in _matcher(tokens, heard).get_opcodes():
        if tag == "equal":
            pairs = zip(tokens[j1:j2], heard[i1:i2], strict=True)
            runs += [_Run((token,), w.start_s, w.end_s, w.score) for token, w in pairs]
        elif tag == "replace":
            runs.append(_Run(tuple(tokens[j1:j2]), heard[i1].start_s, heard[i2 - 1].end_s, None))
        elif tag == "insert":
            start_s = heard[i1 - 1].end_s if i1 else min([first_s, *[w.start_s for w in heard[:1]]])
            end_s = heard[i1].start_s if i1 < len(heard) else max(last_s, start_s)
            runs.append(_Run(tuple(tokens[j1:j2]), start_s, end_s, None))
    return [word for run in _with_room(runs) for word in run.words()]


def _with_room(runs: Sequence[_Run]) -> list[_Run]:
    """Runs of which none is too short for its words: such a one joins the run beside it."""
    roomy: list[_Run] = []
    for run in runs:
        if roomy and (_is_tight(run) or _is_tight(roomy[-1])):
            roomy[-1] = roomy[-1].joined(run)
        else:
            roomy.append(run)
    return roomy


def _is_tight(run: _Run) -> bool:
    return run.score is None and run.end_s - run.start_s < MIN_RUN_WORD_S * len(run.tokens)


def match_ratio(tokens: Sequence[str], heard: Sequence[Word]) -> float:
    """Share of the shipped words that were recognised as they are, in order."""
    blocks = _matcher(tokens, heard).get_matching_blocks()
    return sum(block.size for block in blocks) / max(1, len(tokens))


def _matcher(tokens: Sequence[str], heard: Sequence[Word]) -> SequenceMatcher[str]:
    left, right = [normalised(w.word) for w in heard], [normalised(token) for token in tokens]
    return SequenceMatcher(None, left, right, autojunk=False)


def normalised(word: str) -> str:
    """A word as it is compared: lower case, letters and digits of any script, inner spaces kept."""
    return re.sub(r"[\W_]+", " ", word.casefold().replace("'", "")).strip()


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
