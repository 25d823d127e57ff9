"""The media that the shipped model is trained on, listed in a manifest with a recipe beside it.

    talkies stage-world WORLD --clips 8150
    apt-get download asterisk-core-sounds-en-g722 asterisk-core-sounds-en forensics-samples-files
    for deb in *.deb; do dpkg -x "$deb" DEBIAN; done
    python -m tests.benchmarks.shipped_corpus WORLD DEBIAN OUT
    talkies build OUT/recipe.yaml --workspace WORKSPACE
    talkies train OUT/recipe.yaml --workspace WORKSPACE
    talkies evaluate ID --dataset shipped --generate 100 --workspace WORKSPACE
    talkies model export ID models/weights/world --without-voice allison --workspace WORKSPACE

Of the staged world: its first 1,600 clips as they are, which hold all that a model is measured on,
and of the others those of the training split that show it most, clips whose onsets are known and
speech. Of real media: what may be used and changed freely, out of Python and Debian packages, and
of the demo's files only those that the demo itself trains on. Nobody asked Allison Smith whether
models may speak in her voice, so that it is not offered by name.
"""

import argparse
import csv
import gzip
import io
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import yaml

from tasks.corpus import CORPUS, TRANSCRIPTS, read_transcripts
from tasks.fetch import fetch_member
from tasks.held_out import TEXTURES
from tests.benchmarks.decode import bunny
from tests.benchmarks.prompt_transcripts import TEXTS, VOICE
from tests.benchmarks.proving_ground import SHARED

COLUMNS = (
    "uri",
    "licence",
    "attribution",
    "consent",
    "transcript",
    "speaker",
    "recording",
    "split",
    "truth",
)
WHOLE = 1600
"""The first clips of the world are all taken."""
MORE = {"onsets": 1206, "speech": 400, "both": 150, "nothing": 150}
"""Of the later training clips, how many of each are taken, in order."""
FREE = ("CC0-1.0", "public-domain", "CC-BY-2.0", "CC-BY-3.0")
DEMO_HOLDS_OUT = ("cat", "frog", "pig", "sheep", "0880", "shot_change")
"""Files that the demo tests on, by their stems."""
HELLO = "usr/share/forensics-samples/original-files/movie2/movie-hello.mp4"
PROMPT_S = (1.2, 10.0)
"""Prompts of another length are left out: too short to hear a voice, or longer than a clip."""


@dataclass(frozen=True, slots=True)
class Medium:
    """A row of the manifest."""

    uri: str
    licence: str
    attribution: str
    consent: str
    transcript: str = ""
    speaker: str = ""
    recording: str = ""
    split: str = ""
    truth: str = ""


@dataclass(slots=True)
class Chooser:
    """Which clips of a world are taken, in their order."""

    left: dict[str, int] = field(default_factory=lambda: dict(MORE))

    def takes(self, row: dict[str, str], truth: dict[str, Any]) -> bool:
        """Whether a clip is taken, which counts it."""
        if truth["number"] < WHOLE:
            return True
        heard = [event for event in truth["events"] if event["heard"]]
        sharp = heard and not any(event["kind"] in TEXTURES for event in heard)
        group = "onsets" if truth["kind"] == "sound" and sharp else truth["kind"]
        if row["split"] != "train" or not self.left.get(group):
            return False
        self.left[group] -= 1
        return True


def staged(world: Path) -> Iterator[Medium]:
    """The chosen clips of a staged world."""
    csv.field_size_limit(sys.maxsize)
    chooser = Chooser()
    with (world / "manifest.csv").open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            if chooser.takes(row, json.loads(row["truth"])):
                uri = str((world / row.pop("path")).resolve())
                yield Medium(uri=uri, **row)


def demo_media() -> Iterator[Medium]:
    """The demo's own files that are free and that the demo does not test on."""
    texts = read_transcripts(fetch_member(TRANSCRIPTS).read_text(encoding="utf-8"))
    for file in CORPUS:
        stem = Path(file.path).stem
        if file.licence in FREE and stem not in DEMO_HOLDS_OUT and stem != "bigbuckbunny":
            text = texts[file.utterance] if file.utterance else ""
            rights = (file.licence, file.attribution, file.consent, text)
            yield Medium(str(fetch_member(file.spec)), *rights, split="train")


def films(debian: Path, out: Path) -> Iterator[Medium]:
    """The whole of Big Buck Bunny, and a man who speaks to a camera."""
    film = str(bunny(out).resolve())
    yield Medium(
        film, "CC-BY-3.0", "Blender Foundation, Big Buck Bunny", "no_person", split="train"
    )
    credit = "Joao Eriberto Mota Filho, forensics-samples"
    hello = str((debian / HELLO).resolve())
    yield Medium(hello, "CC-BY-SA-4.0", credit, "unknown", split="train")


def prompts(debian: Path) -> Iterator[Medium]:
    """What Allison Smith says for Asterisk, where it is as long as a clip."""
    with gzip.open(debian / TEXTS, "rt", encoding="utf-8", errors="replace") as lines:
        told = [line.strip().partition(":") for line in lines if not line.startswith(";")]
    for name, _, text in told:
        path = debian / VOICE / f"{name}.g722"
        if not path.is_file() or "[" in text:
            continue
        with av.open(str(path), format="g722") as container:
            length_s = sum(frame.samples for frame in container.decode(audio=0)) / 16_000
        if PROMPT_S[0] <= length_s <= PROMPT_S[1]:
            credit = "Allison Smith, Asterisk core sounds"
            rights = ("CC-BY-SA-3.0", credit, "unknown", text.strip())
            yield Medium(str(path.resolve()), *rights, speaker="allison", split="train")


TRAIN = SHARED | {
    "preset": "mini",
    "joint_steps": 8500,
    "mixture_steps": 1500,
    "learning_rate": 1.5e-3,
    "ema": 0.999,
    "mixture_share": 0.4,
    "batch_size": 16,
    "ranks": 2,
    "threads": 1,
    "uniform_phonemes": 0.3,
    "balance": 0.3,
    "reframe": 0.5,
    "grey": 0.15,
}
"""As the shipped model was trained last, with `init_from` the weights of one that never shipped,
2ae7b305c4d9: 27,500 steps on the same media in `fine_pixels`, then inputs for colour that began
with 0. EXPERIMENTS.md tells of its trainings; what goes on from the model that ships needs no other
weights."""

SAMPLING = {"temperature": 0.7}
"""Words are truer than with 1, and a scene in which nothing sounds stays silent more often."""

RECIPE = {
    "name": "shipped",
    "look": {"sync": "colour_pixels", "precision": "bfloat16"},
    "faces": {"lips": "mouth_track"},
    "speaker": {"network": "ge2e"},
    "match": {"picture_distance": 0.0, "sound_distance": 0.0},
    "mix": {"max_ambience_silence": 0.98},
    # A model that goes on from the one that ships knows the latents of its codec.
    "fit_codec": {"file": "shipped"},
    # All was chosen by hand, or made to be learnt from.
    "label": {
        "min_loudness_lufs": None,
        "max_silence_sound": None,
        "max_silence_speech": None,
        "min_bandwidth_sound_hz": None,
        "min_bandwidth_speech_hz": None,
        "min_dnsmos": None,
    },
    "evaluate": {"shifted": 20, "by_lips": 20} | SAMPLING,
    "sonify": SAMPLING,
    "train": TRAIN,
}


def main() -> None:
    """Writes manifest and recipe and prints how many media of each licence there are."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("world", type=Path)
    parser.add_argument("debian", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    media = [*staged(options.world), *demo_media(), *films(options.debian, options.out)]
    media += prompts(options.debian)
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: getattr(medium, name) for name in COLUMNS} for medium in media)
    manifest = options.out / "manifest.csv"
    manifest.write_text(text.getvalue(), "utf-8")
    recipe = RECIPE | {"scan": {"folder": str(options.out.resolve()), "manifest": manifest.name}}
    (options.out / "recipe.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False), "utf-8")
    for licence in sorted({medium.licence for medium in media}):
        print(licence, sum(medium.licence == licence for medium in media))


if __name__ == "__main__":
    main()
