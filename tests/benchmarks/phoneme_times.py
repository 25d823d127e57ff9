"""How far phoneme borders are from the truth: aligned and proportional times on synthetic speech.

`flite` says where it put each phone, so its speech has a known truth. Fifty sentences of the IEEE
list (IEEE Trans. Audio Electroacoust. 17, 1969) are spoken by three of its voices in turn, timed
by Whisper and given to the stage as it runs in a build. Run with the path of a flite 2.2 program
(Debian package flite, its libraries on LD_LIBRARY_PATH), its voices slt, rms and awb:

    python -m tests.benchmarks.phoneme_times /usr/bin/flite
"""

import functools
import itertools
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from models.arpabet import ipa_of
from models.phone_distance import distance, matched
from tasks.align_phonemes import force_align
from tasks.espeak import speak
from tasks.phonemize import PhonemizeConfig, phoneme_rows
from tasks.shipped import placed_text
from tasks.transcribe import TranscribeConfig, load_whisper, recognise, transcript_of
from tasks.voice import VoiceConfig, speech_spans

VOICES = ("slt", "rms", "awb")
IPA_OF_FLITE = {"ax": "ə", "axr": "ɚ", "ix": "ɪ", "dx": "ɾ", "nx": "n"}
SENTENCES = """
The birch canoe slid on the smooth planks. Glue the sheet to the dark blue background.
It's easy to tell the depth of a well. These days a chicken leg is a rare dish.
Rice is often served in round bowls. The juice of lemons makes fine punch.
The box was thrown beside the parked truck. The hogs were fed chopped corn and garbage.
Four hours of steady work faced us. A large size in stockings is hard to sell.
The boy was there when the sun rose. A rod is used to catch pink salmon.
The source of the huge river is the clear spring. Kick the ball straight and follow through.
Help the woman get back to her feet. A pot of tea helps to pass the evening.
Smoky fires lack flame and heat. The soft cushion broke the man's fall.
The salt breeze came across from the sea. The girl at the booth sold fifty bonds.
The small pup gnawed a hole in the sock. The fish twisted and turned on the bent hook.
Press the pants and sew a button on the vest. The swan dive was far short of perfect.
The beauty of the view stunned the young boy. Two blue fish swam in the tank.
Her purse was full of useless trash. The colt reared and threw the tall rider.
It snowed, rained, and hailed the same morning. Read verse out loud for pleasure.
Hoist the load to your left shoulder. Take the winding path to reach the lake.
Note closely the size of the gas tank. Wipe the grease off his dirty face.
Mend the coat before you go out. The wrist was badly strained and hung limp.
The stray cat gave birth to kittens. The young girl gave no clear response.
The meal was cooked before the bell rang. What joy there is in living.
A king ruled the state in the early days. The ship was torn apart on the sharp reef.
Sickness kept him home the third week. The wide road shimmered in the hot sun.
The lazy cow lay in the cool grass. Lift the square stone over the fence.
The rope will bind the seven books at once. Hop over the fence and plunge in.
The friendly gang left the drug store. Mesh wire keeps chicks inside.
"""


def sentences() -> list[str]:
    """The fifty sentences."""
    parts = " ".join(SENTENCES.split()).split(". ")
    return [part.rstrip(".") + "." for part in parts][:50]


def spoken(flite: str, voice: str, text: str, path: Path) -> list[tuple[str, float, float]]:
    """Has flite speak a text into a file; returns its phones in IPA with their times."""
    command = [flite, "-voice", voice, "-psdur", "-t", text, "-o", str(path)]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    phones, start_s = [], 0.0
    for entry in said.split():
        name, _, end = entry.partition(":")
        if name != "pau":
            symbol = IPA_OF_FLITE.get(name) or ipa_of(name.upper())
            phones.append((symbol, start_s, float(end)))
        start_s = float(end)
    return phones


def errors_s(rows: list[dict[str, Any]], truth: list[tuple[str, float, float]]) -> list[float]:
    """How far the start of each phoneme is from where flite began it, and the end of the last.

    Only phonemes that match one of flite's are compared: the two say some words otherwise.
    """
    groups = matched([row["phoneme"] for row in rows], [phone[0] for phone in truth])
    if groups is None:
        return []
    errors = []
    for own, theirs in groups:
        row, phone = rows[own[0]], truth[theirs[0]]
        if len(own) == len(theirs) == 1 and distance(row["phoneme"], phone[0]) < 0.5:
            errors.append(row["start_s"] - phone[1])
    return errors


def true_words(
    rows: list[dict[str, Any]], words: list[dict[str, Any]], truth: list[tuple[str, float, float]]
) -> list[dict[str, Any]]:
    """The words with the times that flite gave them."""
    groups = matched([row["phoneme"] for row in rows], [phone[0] for phone in truth]) or []
    times: dict[int, list[float]] = {}
    for own, theirs in groups:
        for place in own:
            span = times.setdefault(rows[place]["word_position"], [9e9, 0.0])
            span[0] = min(span[0], truth[theirs[0]][1])
            span[1] = max(span[1], truth[theirs[-1]][2])
    return [w | {"start_s": times[n][0], "end_s": times[n][1]} for n, w in enumerate(words)]


def main(flite: str) -> None:
    """Prints the errors of each method with Whisper's and with the true word times."""
    say = functools.partial(speak, "en-us")
    whisper = load_whisper("tiny.en", "cpu", "int8")
    found: dict[str, list[float]] = {}
    methods: dict[str, int] = {}
    cpu_s = audio_s = 0.0
    with tempfile.TemporaryDirectory() as folder:
        for text, voice in zip(sentences(), itertools.cycle(VOICES)):
            path = Path(folder) / "said.wav"
            truth = spoken(flite, voice, text, path)
            audio, _ = soundfile.read(path, dtype="float32")
            audio = np.pad(audio, (0, 1600)).astype(np.float32)
            spans = speech_spans(audio, VoiceConfig())
            config = TranscribeConfig()
            heard = recognise(whisper, audio, spans)
            shipped = placed_text(text, True, 0.0, heard.words, spans)
            _, words = transcript_of(heard, shipped, spans, config)
            proportional = phoneme_rows(words, say, PhonemizeConfig())
            exact = true_words(proportional, words, truth)
            for name, timed in (("Whisper's word times", words), ("true word times", exact)):
                rows = phoneme_rows(timed, say, PhonemizeConfig())
                found.setdefault(f"proportional, {name}", []).extend(errors_s(rows, truth))
                started = time.process_time()
                hear = functools.partial(force_align, audio)
                rows = phoneme_rows(timed, say, PhonemizeConfig(), align=hear)
                cpu_s, audio_s = cpu_s + time.process_time() - started, audio_s + len(audio) / 16e3
                found.setdefault(f"aligned, {name}", []).extend(errors_s(rows, truth))
                for row in rows:
                    methods[row["method"]] = methods.get(row["method"], 0) + 1
    for name, errors in found.items():
        ms = 1000 * np.array(errors)
        low, high = np.quantile(np.abs(ms), [0.5, 0.9])
        print(
            f"{name}: {len(ms)} borders, median |error| {low:.1f} ms, 90th percentile "
            f"{high:.1f} ms, bias {np.median(ms):+.1f} ms"
        )
    print(f"methods: {methods}; CPU {cpu_s / audio_s:.4f} s per second of sound")


if __name__ == "__main__":
    main(*sys.argv[1:])
