"""How many words the borders of clips cut: equal windows against windows that end in pauses.

    .venv/bin/python -m tests.benchmarks.cut_words

The five LibriVox lines of the demo corpus follow each other with half a second between them, as
often as asked, in orders drawn from a seed. The times of the words are Whisper's in each line
alone. A start or end of a window lies in a word if it is 40 ms or more from both ends of it:
Whisper's own times are no better. Printed beside it is what the voice detector costs.
"""

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from models.timeline import AUDIO_HZ
from tasks.align_words import Word
from tasks.clips import ClipsConfig, clip_source
from tasks.corpus import assemble_corpus
from tasks.recognise import load_whisper, recognise
from tasks.voice import BLOCK, VoiceConfig, speech_spans, voice

WITHIN_S = 0.04
GAP_S = 0.5
FILMS = 20
SHOT_S = 7.3

Line = tuple[NDArray[np.float32], tuple[Word, ...]]


def lines_of(folder: Path) -> list[Line]:
    """Each line with its words."""
    whisper = load_whisper("tiny.en", "cpu", "int8")
    found = []
    for path in sorted((folder / "librivox").glob("*.wav")):
        audio = soundfile.read(path, dtype="float32")[0].astype(np.float32)
        found.append((audio, recognise(whisper, audio, speech_spans(audio, VoiceConfig())).words))
    return found


def joined(lines: list[Line]) -> tuple[NDArray[np.float32], list[tuple[float, float]]]:
    """The lines one after the other, and where their words are."""
    gap = np.zeros(round(GAP_S * AUDIO_HZ), np.float32)
    parts: list[NDArray[np.float32]] = []
    words: list[tuple[float, float]] = []
    for audio, said in lines:
        at_s = sum(map(len, parts)) / AUDIO_HZ
        words += [(at_s + word.start_s, at_s + word.end_s) for word in said]
        parts += [audio, gap]
    return np.concatenate(parts), words


def cut(words: list[tuple[float, float]], edges: list[float]) -> int:
    """How many starts and ends of windows lie in a word."""
    return sum(any(a + WITHIN_S < at < b - WITHIN_S for a, b in words) for at in edges)


def main(repeats: int = 2) -> None:
    """Prints the figures for films without and with scene cuts."""
    with tempfile.TemporaryDirectory() as folder:
        lines = lines_of(assemble_corpus(Path(folder)))
    totals: dict[str, Any] = {}
    cpu_s = audio_s = 0.0
    for seed in range(FILMS):
        order = np.random.default_rng(seed).permutation(len(lines) * repeats)
        audio, words = joined([lines[i % len(lines)] for i in order])
        duration_s = len(audio) / AUDIO_HZ
        began = time.process_time()
        heard = voice((audio[at : at + BLOCK] for at in range(0, len(audio), BLOCK)), VoiceConfig())
        cpu_s, audio_s = cpu_s + time.process_time() - began, audio_s + duration_s
        shots = [float(at) for at in np.arange(SHOT_S, duration_s, SHOT_S)]
        for name, cuts_s in (("one scene", []), (f"a scene cut every {SHOT_S} s", shots)):
            film = {"item_id": "film", "duration_s": duration_s, "cuts_s": cuts_s}
            film |= {"audio_s": duration_s, "frames10_count": None}
            deaf = {"speech_spans": None, "weak_points": None}
            for how, ears in (("equal windows", deaf), ("by pauses", heard)):
                windows = clip_source(film | ears, ClipsConfig())["windows"]
                edges = [row[name] for row in windows for name in ("start_s", "end_s")]
                marked = sum(row["cuts_speech_start"] + row["cuts_speech_end"] for row in windows)
                trimmed_s = sum(row["trim_start_s"] + row["trim_end_s"] for row in windows)
                counts = np.array([len(windows), cut(words, edges), marked, trimmed_s])
                totals[f"{name}, {how}"] = totals.get(f"{name}, {how}", 0) + counts
    for name, (windows, bad, marked, trimmed_s) in totals.items():
        print(
            f"{name}: {windows:.0f} windows; of {2 * windows:.0f} starts and ends {bad:.0f} lie in "
            f"a word, {marked:.0f} are marked as cutting speech; {trimmed_s:.1f} s trimmed"
        )
    print(f"{audio_s:.0f} s of sound, voice detector {1000 * cpu_s / audio_s:.2f} CPU-ms a second")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
