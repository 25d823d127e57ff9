"""Where somebody speaks in a source, found in one pass before the source is cut into clips.

The detector (silero VAD) gives a probability for each 32 ms; its memory of what came before is
carried from block to block, so a source of any length is heard as one and memory stays flat.
Spans alone are no proof of speech: drones and barks have some, and `listen` asks a tagger as well.

Legend: T samples, K chunks of 512 samples.
"""

import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from models.timeline import AUDIO_HZ, index, seconds
from storage.stage import Output, Rows, ShardRef, ShardResult, ShardTarget, Stage, run_items
from tasks.align_words import Span
from tasks.media import audio_blocks
from tasks.onnx_session import open_onnx
from tasks.weights import fingerprint, locate

CHUNK = 512
CONTEXT = 64
"""Samples of the chunk before that the network sees with each chunk."""
BLOCK = 1000 * CHUNK
"""Samples that are heard at once: 32 s, for which the network wants about 25 MB."""
HYSTERESIS = 0.15
"""Speech ends where the probability falls so far below the threshold that begins it."""
WEAK_EVERY = 16
"""Chunks among which one weak point is kept, about half a second."""


@dataclass(frozen=True, slots=True)
class VoiceConfig:
    """What counts as speech and as a pause."""

    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Probability above which the voice detector calls 32 ms speech."""
    min_silence_s: Annotated[float, Field(ge=0)] = 0.1
    """A pause shorter than this does not end a span, in seconds."""
    pad_s: Annotated[float, Field(ge=0)] = 0.03
    """Each span is widened by this on both sides, in seconds."""


def voice_shard(shard: ShardRef, out: ShardTarget, config: VoiceConfig) -> ShardResult:
    """Rows of `voices` for the sources of a shard."""

    def one_item(item: dict[str, Any]) -> Rows:
        blocks = audio_blocks(out.workspace, item["audio16_ref"], BLOCK, AUDIO_HZ)
        return {"voices": [{"source_id": item["item_id"], **voice(blocks, config)}]}

    return run_items(shard, out, one_item)


def voice(blocks: Iterable[NDArray[np.float32]], config: VoiceConfig) -> dict[str, Any]:
    """Where somebody speaks, as a row of `voices` without source_id.

    Args:
        blocks: the sound at 16 kHz in blocks (T,); all but the last hold whole chunks.
        config: thresholds.
    """
    probabilities, samples = _heard(blocks)
    spans = spans_of(probabilities, samples, config)
    return {
        "speech_s": float(sum(span["end_s"] - span["start_s"] for span in spans)),
        "speech_spans": spans,
        "weak_points": weak_points(probabilities, spans),
    }


def speech_spans(audio16: NDArray[np.float32], config: VoiceConfig) -> list[Span]:
    """Spans of speech in 16 kHz audio (T,), in order, without overlap."""
    return voice([audio16], config)["speech_spans"]


def _heard(blocks: Iterable[NDArray[np.float32]]) -> tuple[NDArray[np.float32], int]:
    """The probability of speech in each chunk (K,), and how many samples were heard."""
    samples = 0

    def counted() -> Iterator[NDArray[np.float32]]:
        nonlocal samples
        for block in blocks:
            samples += len(block)
            yield block

    parts = list(probabilities_of(counted()))
    return np.concatenate([np.zeros(0, np.float32), *parts]), samples


def probabilities_of(blocks: Iterable[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
    """The probability of speech in each chunk (K,) of each block (T,).

    Raises ValueError for a block in the middle that ends inside a chunk.
    """
    detector = load_detector()
    state = np.zeros((1, 1, 128), np.float32)
    memory = (state, state)
    before = np.zeros(CONTEXT, np.float32)
    is_last = False
    for block in blocks:
        if is_last:
            raise ValueError(f"a block before the last does not hold whole chunks of {CHUNK}")
        is_last = len(block) % CHUNK > 0
        for first in range(0, len(block), BLOCK):
            part = block[first : first + BLOCK]
            whole = np.pad(part, (0, -len(part) % CHUNK))
            seen = np.lib.stride_tricks.sliding_window_view(
                np.concatenate([before, whole]), CONTEXT + CHUNK
            )[::CHUNK]  # (K, 576)
            given = {"input": np.ascontiguousarray(seen), "h": memory[0], "c": memory[1]}
            found, *state_after = detector.run(None, given)
            memory = (state_after[0], state_after[1])
            before = whole[-CONTEXT:]
            yield found


def spans_of(probabilities: NDArray[np.float32], samples: int, config: VoiceConfig) -> list[Span]:
    """Spans of speech by the probability of each chunk (K,) of a sound of so many samples.

    A span begins at the threshold and ends where the probability has fallen below its hysteresis
    and has not come back for the shortest pause; spans that would overlap when widened meet.
    """
    spans = _unpadded(probabilities, samples, config)
    pad = config.pad_s * AUDIO_HZ
    edges = [max(0, int(spans[0][0] - pad))] if spans else []
    for (_, end), (start, _) in pairwise(spans):
        reach = min(pad, (start - end) / 2)
        edges += [int(end + reach), int(start - reach)]
    edges += [min(samples, int(spans[-1][1] + pad))] if spans else []
    return [
        {"start_s": seconds(start, AUDIO_HZ), "end_s": seconds(end, AUDIO_HZ)}
        for start, end in zip(edges[::2], edges[1::2], strict=True)
    ]


def _unpadded(
    probabilities: NDArray[np.float32], samples: int, config: VoiceConfig
) -> list[tuple[int, int]]:
    """Spans as (first, behind the last) sample, before they are widened."""
    release = max(config.threshold - HYSTERESIS, 0.01)
    pause = config.min_silence_s * AUDIO_HZ
    spans: list[tuple[int, int]] = []
    start = quiet = None
    for chunk, probability in enumerate(probabilities.tolist()):
        at = chunk * CHUNK
        if probability >= config.threshold:
            start, quiet = at if start is None else start, None
        elif start is not None and probability < release:
            quiet = at if quiet is None else quiet
            if at - quiet >= pause:
                spans.append((start, quiet))
                start = quiet = None
    if start is not None:
        spans.append((start, samples))
    return spans


def weak_points(probabilities: NDArray[np.float32], spans: list[Span]) -> list[dict[str, float]]:
    """Where the spans are least like speech: the middle of one chunk in each half second.

    They are for spans that must be cut because they have no pause where one is needed.
    """
    points = []
    for span in spans:
        first = index(span["start_s"], AUDIO_HZ) // CHUNK + 1
        last = min(index(span["end_s"], AUDIO_HZ) // CHUNK, len(probabilities))
        for left in range(first, last - WEAK_EVERY + 1, WEAK_EVERY):
            chunk = left + int(np.argmin(probabilities[left : left + WEAK_EVERY]))
            time_s = seconds(chunk * CHUNK + CHUNK // 2, AUDIO_HZ)
            points.append({"time_s": time_s, "probability": float(probabilities[chunk])})
    return points


@functools.cache
def load_detector() -> Any:
    """The voice detector, opened once per process."""
    return open_onnx(locate("silero_vad"))


def weights(config: VoiceConfig) -> dict[str, str]:
    """The sha256 of the voice detector."""
    return {"silero_vad": fingerprint("silero_vad")}


STAGE = Stage(
    name="voice",
    title="find speech",
    version=1,
    config=VoiceConfig,
    items="""
        SELECT source_id AS item_id, audio16_ref, coalesce(audio_s, 0) AS cost_s
        FROM decodes WHERE audio16_ref IS NOT NULL
    """,
    outputs=(Output("voices", key="source_id"),),
    run=voice_shard,
    weights=weights,
    shard_s=3_600.0,
)
