"""CPU-seconds on short prompts: our transcriber beside whisperX's command.

    .venv/bin/python -m tests.benchmarks.prompt_commands prompts --step 8

`prompt_transcripts` says where the prompts come from and how words are compared. Both start as
processes of their own, with the same tiny.en weights, int8, one thread, each with its own
number of beams. Ours includes its voice detector and word times; whisperX gets all files in one
command and does not align. What a command costs before the first file is measured with the shortest
prompt alone and printed beside.

--align lets whisperX align too, for word times as ours has them: by a network of the size of its
own for English but with random weights, since a hub is not reachable everywhere. --each starts the
command once a file, on that many files.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import soundfile

from models.timeline import AUDIO_HZ
from tasks.recognise import load_whisper, recognise
from tasks.voice import VoiceConfig, speech_spans
from tasks.weights import locate_whisper
from tasks.word_errors import compared_words, word_errors
from tests.benchmarks.decode import load, measured
from tests.benchmarks.peer_environments import ONE_THREAD, environment
from tests.benchmarks.prompt_transcripts import Prompt, read_prompts

MODEL = "tiny.en"
PEERS = Path(__file__).parent / "peers"


@dataclass(frozen=True, slots=True)
class Files:
    """Prompts as files, and the folder into which texts are written."""

    prompts: list[Prompt]
    paths: list[Path]
    out: Path

    @property
    def audio_s(self) -> float:
        """Their seconds of sound."""
        return sum(len(prompt.audio) for prompt in self.prompts) / AUDIO_HZ

    def errors(self) -> tuple[int, int]:
        """Wrong words and words, after a run has written its texts."""
        wrong = total = 0
        for prompt, path in zip(self.prompts, self.paths, strict=True):
            text = self.out / f"{path.stem}.txt"
            words = compared_words(text.read_text(encoding="utf-8") if text.exists() else "")
            wrong += word_errors(prompt.words, words) if prompt.words else 0
            total += len(prompt.words)
        return wrong, total


def write_files(prompts: list[Prompt], folder: Path) -> Files:
    """The prompts as 16 kHz files."""
    paths = [folder / f"{number:03d}.wav" for number in range(len(prompts))]
    for prompt, path in zip(prompts, paths, strict=True):
        soundfile.write(path, prompt.audio, AUDIO_HZ, subtype="PCM_16")
    out = folder / "texts"
    out.mkdir()
    return Files(prompts, paths, out)


def transcribe_files(out: str, *paths: str) -> None:
    """Our side: hears each file, writes its text."""
    recogniser = load_whisper(MODEL, "cpu", "int8")
    for path in paths:
        audio = np.asarray(soundfile.read(path, dtype="float32")[0], dtype=np.float32)
        heard = recognise(recogniser, audio, speech_spans(audio, VoiceConfig()), "en")
        (Path(out) / f"{Path(path).stem}.txt").write_text(heard.text, encoding="utf-8")


def ours(out: Path, paths: list[Path]) -> None:
    """Starts our side in a process of its own."""
    code = (
        "import sys; from tests.benchmarks.prompt_commands import transcribe_files; "
        "transcribe_files(*sys.argv[1:])"
    )
    run([sys.executable, "-c", code, str(out), *map(str, paths)])


def whisperx(aligner: Path | None, out: Path, paths: list[Path]) -> None:
    """Starts whisperX's command on files."""
    options = (
        f"--language en --device cpu --compute_type int8 --threads 1 --beam_size 5 "
        f"--output_format txt --verbose False --model {locate_whisper(MODEL)}"
    ).split()
    options += ["--align_model", str(aligner)] if aligner else ["--no_align"]
    command = str(environment("whisperx") / "whisperx")
    run([command, *map(str, paths), *options, "--output_dir", str(out)], NLTK_DATA=str(aligner))


def run(command: list[str], **more: str) -> None:
    """Runs a command on one thread and without a hub, with more variables."""
    variables = os.environ | ONE_THREAD | {"HF_HUB_OFFLINE": "1"} | more
    done = subprocess.run(command, env=variables, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{command[0]} failed: {done.stderr[-2000:]}")


def compare(files: Files, aligner: Path | None, repeats: int) -> None:
    """Interleaved runs over all files and over the shortest; prints medians and ratios."""
    shortest = [min(files.paths, key=lambda path: path.stat().st_size)]
    ways = {"talkies": ours, "whisperx, no words' times": partial(whisperx, None)}
    if aligner:
        ways["whisperx, aligned"] = partial(whisperx, aligner)
    costs_s: dict[str, list[float]] = {way: [] for way in ways}
    starts_s: dict[str, list[float]] = {way: [] for way in ways}
    wrong: dict[str, tuple[int, int]] = {}
    for _ in range(repeats):
        for way, call in ways.items():
            starts_s[way].append(measured(partial(call, files.out, shortest))[0])
            costs_s[way].append(measured(partial(call, files.out, files.paths))[0])
            wrong[way] = files.errors()
            for text in files.out.iterdir():
                text.unlink()
    own_s = statistics.median(costs_s["talkies"])
    own_start_s = statistics.median(starts_s["talkies"])
    print(
        f"{'':<27}{'CPU s':>8}{'start s':>9}{'a second':>10}{'WER %':>7}{'x ours':>8}"
        + f"{'less start':>12}"
    )
    for way in ways:
        cost_s, start_s = statistics.median(costs_s[way]), statistics.median(starts_s[way])
        errors, words = wrong[way]
        print(
            f"{way:<27}{cost_s:>8.1f}{start_s:>9.1f}{cost_s / files.audio_s:>10.3f}"
            f"{100 * errors / words:>7.2f}{cost_s / own_s:>8.2f}"
            f"{(cost_s - start_s) / (own_s - own_start_s):>12.2f}"
        )


def compare_each(files: Files, number: int) -> None:
    """The command started once a file, beside ours started once a file."""
    few = files.paths[:: max(1, len(files.paths) // number)][:number]
    costs_s = {"talkies": 0.0, "whisperx": 0.0}
    for path in few:
        costs_s["talkies"] += measured(partial(ours, files.out, [path]))[0]
        costs_s["whisperx"] += measured(partial(whisperx, None, files.out, [path]))[0]
    ratio = costs_s["whisperx"] / costs_s["talkies"]
    print(f"one command a file, {len(few)} files: {costs_s} CPU-s, {ratio:.2f} x ours")


def main() -> None:
    """Compares what the options say and prints the load."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where both packages were unpacked")
    parser.add_argument("--step", type=int, default=8, help="take every n-th prompt")
    parser.add_argument("--repeats", type=int, default=3, help="interleaved runs")
    parser.add_argument("--align", action="store_true", help="with alignment as well")
    parser.add_argument("--each", type=int, default=0, help="files with a command of their own")
    options = parser.parse_args()
    prompts = [one for one in read_prompts(options.folder, options.step) if len(one.audio)]
    with tempfile.TemporaryDirectory() as name:
        folder, aligner = Path(name), None
        files = write_files(prompts, folder)
        python = str(environment("whisperx") / "python")
        if options.align:
            aligner = folder / "aligner"
            run([python, str(PEERS / "made_aligner.py"), str(aligner)])
        print(
            f"{len(prompts)} prompts, {files.audio_s / 60:.1f} minutes, {MODEL}, int8, one thread, "
            f"median of {options.repeats} interleaved runs, {load()}",
            flush=True,
        )
        if options.repeats:
            compare(files, aligner, options.repeats)
        if options.each:
            compare_each(files, options.each)
        print(f"{load()} on {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
