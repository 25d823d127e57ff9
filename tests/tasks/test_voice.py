"""Speech of a whole source: the same in blocks as at once, and as its detector was meant."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from models.timeline import AUDIO_HZ
from tasks import voice as module
from tasks.voice import (
    CHUNK,
    VoiceConfig,
    probabilities_of,
    spans_of,
    speech_spans,
    voice,
    weak_points,
)

CONFIG = VoiceConfig()


def chunks(*runs: tuple[int, float]) -> NDArray[np.float32]:
    """Probabilities (K,): so many chunks of each."""
    return np.concatenate([np.full(count, value, np.float32) for count, value in runs])


def samples_of(spans: list[dict[str, float]]) -> list[tuple[int, int]]:
    return [(round(s["start_s"] * AUDIO_HZ), round(s["end_s"] * AUDIO_HZ)) for s in spans]


@pytest.fixture(scope="module")
def reading(demo_corpus: Path) -> NDArray[np.float32]:
    """Three lines with a rest between them, 17 s at 16 kHz."""
    rest = np.zeros(AUDIO_HZ // 2, np.float32)
    lines = [
        soundfile.read(demo_corpus / f"librivox/{name}.wav")[0].astype(np.float32)
        for name in ("0880", "0890", "0870")
    ]
    return np.concatenate([part for line in lines for part in (line, rest)])


def test_a_pause_shorter_than_the_shortest_does_not_end_a_span() -> None:
    short, long = chunks((5, 0.9), (3, 0.1), (5, 0.9)), chunks((5, 0.9), (5, 0.1), (5, 0.9))
    pad = round(CONFIG.pad_s * AUDIO_HZ)
    assert samples_of(spans_of(short, 13 * CHUNK, CONFIG)) == [(0, 13 * CHUNK)]
    assert samples_of(spans_of(long, 15 * CHUNK, CONFIG)) == [
        (0, 5 * CHUNK + pad),
        (10 * CHUNK - pad, 15 * CHUNK),
    ]


def test_a_probability_between_the_thresholds_neither_begins_nor_ends_a_span() -> None:
    assert spans_of(chunks((20, 0.4)), 20 * CHUNK, CONFIG) == []
    held = chunks((5, 0.0), (2, 0.6), (20, 0.4), (5, 0.0))
    (span,) = samples_of(spans_of(held, 32 * CHUNK, CONFIG))
    assert span == (5 * CHUNK - 480, 27 * CHUNK + 480)


def test_spans_that_would_overlap_when_widened_meet() -> None:
    wide = VoiceConfig(pad_s=0.5)
    spans = samples_of(spans_of(chunks((9, 0.9), (10, 0.0), (9, 0.9)), 28 * CHUNK, wide))
    assert spans == [(0, 14 * CHUNK), (14 * CHUNK, 28 * CHUNK)]


def test_the_weakest_chunk_of_each_half_second_of_a_span_is_kept() -> None:
    probabilities = chunks((48, 0.9))
    probabilities[[7, 20, 40]] = (0.6, 0.7, 0.5)
    points = weak_points(probabilities, spans_of(probabilities, 48 * CHUNK, CONFIG))
    assert [round(p["time_s"] * AUDIO_HZ / CHUNK - 0.5) for p in points] == [7, 20]
    assert [p["probability"] for p in points] == pytest.approx([0.6, 0.7])


def test_no_sound_has_no_speech() -> None:
    empty = {"speech_s": 0.0, "speech_spans": [], "weak_points": []}
    assert voice([], CONFIG) == voice([np.zeros(AUDIO_HZ, np.float32)], CONFIG) == empty


def test_a_block_in_the_middle_that_ends_inside_a_chunk_is_an_error() -> None:
    blocks = [np.zeros(CHUNK + 1, np.float32), np.zeros(CHUNK, np.float32)]
    with pytest.raises(ValueError, match="whole chunks of 512"):
        list(probabilities_of(blocks))


@pytest.mark.weights
@pytest.mark.parametrize("chunks_in_block", [1, 37])
def test_speech_in_blocks_is_speech_heard_at_once(
    reading: NDArray[np.float32], chunks_in_block: int
) -> None:
    def blocks() -> Iterator[NDArray[np.float32]]:
        size = chunks_in_block * CHUNK
        return (reading[at : at + size] for at in range(0, len(reading), size))

    whole = np.concatenate(list(probabilities_of([reading])))
    np.testing.assert_allclose(np.concatenate(list(probabilities_of(blocks()))), whole, atol=1e-5)
    assert voice(blocks(), CONFIG)["speech_spans"] == speech_spans(reading, CONFIG)


@pytest.mark.weights
def test_a_long_source_is_heard_in_parts_that_change_nothing(
    reading: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = voice([reading], CONFIG)
    monkeypatch.setattr(module, "BLOCK", 41 * CHUNK)
    assert voice([reading], CONFIG)["speech_spans"] == whole["speech_spans"]


@pytest.mark.weights
def test_spans_are_those_of_the_detector_s_own_wrapper(reading: NDArray[np.float32]) -> None:
    from faster_whisper.vad import VadOptions, get_speech_timestamps

    options = VadOptions(threshold=0.5, min_silence_duration_ms=100, speech_pad_ms=30)
    expected = [(s["start"], s["end"]) for s in get_speech_timestamps(reading, options)]
    assert len(expected) == 3
    assert samples_of(speech_spans(reading, CONFIG)) == expected


@pytest.mark.weights
def test_speech_lies_where_it_was_put(reading: NDArray[np.float32]) -> None:
    spans = speech_spans(np.pad(reading, (2 * AUDIO_HZ, 0)), CONFIG)
    moved = [s["start_s"] - 2.0 for s in spans]
    assert moved == pytest.approx([s["start_s"] for s in speech_spans(reading, CONFIG)], abs=0.1)
    assert all(a["end_s"] < b["start_s"] for a, b in itertools.pairwise(spans))
