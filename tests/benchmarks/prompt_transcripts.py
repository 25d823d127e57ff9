"""CPU-seconds and word errors on short prompts: ours beside faster-whisper called per clip.

    apt-get download asterisk-core-sounds-en-g722 asterisk-core-sounds-en
    for deb in asterisk-*.deb; do dpkg -x "$deb" prompts; done
    .venv/bin/python -m tests.benchmarks.prompt_transcripts prompts

Both use the same weights, one thread, int8, temperature 0 and word times, and their own number of
beams (ours one, faster-whisper five), one clip after the other in the same process; clips are read
outside the clock. Ours is also given their speech spans, whose cost is printed beside it: in a
build the stage `voice` has paid for them.

How texts are compared: lower case; what stands in brackets is not spoken; `*`, `#`, `$`, `%`, `&`
and `@` are read out; numbers and ordinals are written as words, of more than three digits digit by
digit; `P.M.` is one word, hyphens part words, apostrophes and all other marks are dropped. Prompts
without a spoken word (tones, silence) count for cost and not for word errors.
"""

import argparse
import gzip
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from models.timeline import AUDIO_HZ
from tasks.recognise import Recogniser, load_whisper, recognise
from tasks.voice import VoiceConfig, speech_spans
from tasks.word_errors import compared_words, word_errors

VOICE = "usr/share/asterisk/sounds/en_US_f_Allison"
TEXTS = "usr/share/doc/asterisk-core-sounds-en/core-sounds-en.txt.gz"


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt: its name, sound (T,) at 16 kHz, and the words of its transcript."""

    name: str
    audio: NDArray[np.float32]
    words: list[str]


def read_prompts(folder: Path, step: int) -> list[Prompt]:
    """Every `step`-th prompt below an unpacked folder, in the order of their names."""
    texts: dict[str, str] = {}
    with gzip.open(folder / TEXTS, "rt", encoding="utf-8", errors="replace") as lines:
        for line in lines:
            name, colon, text = line.strip().partition(":")
            if colon and not line.startswith(";"):
                texts[name] = text
    prompts = []
    for path in sorted((folder / VOICE).rglob("*.g722"))[::step]:
        name = path.relative_to(folder / VOICE).with_suffix("").as_posix()
        with av.open(str(path), format="g722") as container:
            parts = [frame.to_ndarray().reshape(-1) for frame in container.decode(audio=0)]
        audio = np.concatenate(parts).astype(np.float32) / np.float32(32768)
        prompts.append(Prompt(name, audio, compared_words(texts[name])))
    return prompts


def heard_per_clip(recogniser: Recogniser, prompt: Prompt) -> str:
    """What faster-whisper's own call hears."""
    segments, _ = recogniser.model.transcribe(
        prompt.audio,
        language="en",
        beam_size=5,
        word_timestamps=True,
        temperature=0.0,
        condition_on_previous_text=False,
        no_speech_threshold=None,
        log_prob_threshold=None,
        compression_ratio_threshold=None,
    )
    return "".join(segment.text for segment in segments)


def measured(name: str, prompts: list[Prompt], hear: Callable[[Prompt], str], show: bool) -> float:
    """Prints one contender's cost and word errors; returns its CPU-seconds."""
    texts, began = [], time.process_time()
    for prompt in prompts:
        texts.append(hear(prompt))
    cpu_s = time.process_time() - began
    errors = total = 0
    for prompt, text in zip(prompts, texts, strict=True):
        wrong = word_errors(prompt.words, compared_words(text)) if prompt.words else 0
        errors, total = errors + wrong, total + len(prompt.words)
        if show and wrong:
            print(f"    {wrong:3} {prompt.name}: {text.strip()[:80]!r}")
    audio_s = sum(len(prompt.audio) for prompt in prompts) / AUDIO_HZ
    print(
        f"{name:26} {cpu_s:7.1f} CPU-s, {cpu_s / audio_s:.4f} a second of sound, "
        f"WER {100 * errors / total:.2f} % ({errors} of {total} words)",
        flush=True,
    )
    return cpu_s


def main() -> None:
    """Runs both in one process and prints cost, word errors, ratio and load."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where both packages were unpacked")
    parser.add_argument("--step", type=int, default=1, help="take every n-th prompt")
    parser.add_argument("--model", default="tiny.en")
    parser.add_argument("--show", action="store_true", help="print what was heard wrongly")
    options = parser.parse_args()
    prompts = read_prompts(options.folder, options.step)
    minutes = sum(len(prompt.audio) for prompt in prompts) / AUDIO_HZ / 60
    print(f"{len(prompts)} prompts, {minutes:.1f} minutes, {options.model}, int8, one thread")
    recogniser = load_whisper(options.model, "cpu", "int8")
    heard_per_clip(recogniser, prompts[0])
    began = time.process_time()
    spans = {prompt.name: speech_spans(prompt.audio, VoiceConfig()) for prompt in prompts}
    vad_s = time.process_time() - began

    def ours(prompt: Prompt) -> str:
        return recognise(recogniser, prompt.audio, spans[prompt.name], "en").text

    own_s = measured("talkies", prompts, ours, options.show)
    per_clip_s = measured(
        "faster-whisper per clip",
        prompts,
        lambda prompt: heard_per_clip(recogniser, prompt),
        options.show,
    )
    print(
        f"{per_clip_s / own_s:.2f} x per clip; {per_clip_s / (own_s + vad_s):.2f} x with the "
        f"{vad_s:.1f} CPU-s of the voice detector; load {os.getloadavg()[0]:.1f} on "
        f"{os.cpu_count()} cores"
    )


if __name__ == "__main__":
    main()
