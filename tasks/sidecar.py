"""Transcripts that lie beside a media file: subtitles with times, or plain text.

`film.mp4` may have `film.srt`, `film.vtt` and `film.txt`, and any of them again for each language:
`film.de.srt`, `film.en.sdh.vtt`. Forced subtitles are left alone: they hold a few lines only.
"""

import html
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.script import TAG, cues_of

TIMED_SUFFIXES = (".srt", ".vtt")
TEXT_SUFFIX = ".txt"
MAX_BYTES = 8 << 20
"""A larger file is no transcript; it is not read."""
REMARKS = frozenset({"sdh", "cc"})
LANGUAGE = re.compile(r"[a-z]{2,3}([-_][a-z0-9]{2,8})*")
SOUND = re.compile(r"\[[^\]]*\]|♪+|♫+")
SHORT_CODES = {
    "ara": "ar", "chi": "zh", "zho": "zh", "cze": "cs", "ces": "cs", "dan": "da", "dut": "nl",
    "nld": "nl", "eng": "en", "fin": "fi", "fre": "fr", "fra": "fr", "ger": "de", "deu": "de",
    "gre": "el", "ell": "el", "heb": "he", "hin": "hi", "hun": "hu", "ita": "it", "jpn": "ja",
    "kor": "ko", "nor": "no", "pol": "pl", "por": "pt", "rum": "ro", "ron": "ro", "rus": "ru",
    "spa": "es", "swe": "sv", "tur": "tr", "ukr": "uk", "vie": "vi",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Sidecar:
    """A transcript's file name and its language; empty where the name does not say it."""

    name: str
    language: str


def sidecars_by_stem(names: Iterable[str]) -> dict[str, list[Sidecar]]:
    """The sidecars among the names of one folder, by the stem of the media file they belong to.

    Those without a language come first, and the plainest name before its variants.
    """
    found: dict[str, list[Sidecar]] = {}
    for name in names:
        stem, suffix = Path(name).stem, Path(name).suffix.lower()
        if suffix not in (*TIMED_SUFFIXES, TEXT_SUFFIX):
            continue
        found.setdefault(stem, []).append(Sidecar(name, ""))
        head, _, tag = stem.rpartition(".")
        if tag.lower() in REMARKS and head:
            found.setdefault(head, []).append(Sidecar(name, ""))
            head, _, tag = head.rpartition(".")
        if head and LANGUAGE.fullmatch(tag.lower()):
            found.setdefault(head, []).append(Sidecar(name, language_code(tag)))
    for beside in found.values():
        beside.sort(key=lambda sidecar: (sidecar.language, len(sidecar.name), sidecar.name))
    return found


def language_code(tag: str) -> str:
    """The two-letter code of a language tag, such as `de` of `deu` or `de-AT`, where it has one."""
    code = re.split("[-_]", tag.lower())[0]
    return SHORT_CODES.get(code, code)


def read_sidecars(folder: Path, sidecars: Iterable[Sidecar]) -> dict[str, Any]:
    """What the sidecars in a folder say, as `sidecar_facts`.

    A file that is too large or cannot be read says nothing.
    """
    return sidecar_facts(sidecars, lambda name: _read(folder / name))


def sidecar_facts(sidecars: Iterable[Sidecar], read: Callable[[str], bytes]) -> dict[str, Any]:
    """What the sidecars say: `cues`, in order, and `transcript`, the first text; None for neither.

    Of several subtitles in one language the first counts.

    Args:
        sidecars: in the order in which they count.
        read: gives the bytes of one by its name, none where it is larger than MAX_BYTES.
    """
    cues: list[dict[str, Any]] = []
    transcript, timed = None, set()
    for sidecar in sidecars:
        text = decoded_text(read(sidecar.name))
        if Path(sidecar.name).suffix.lower() not in TIMED_SUFFIXES:
            transcript = transcript or " ".join(text.split()) or None
        elif sidecar.language not in timed and (said := _cues(text, sidecar.language)):
            timed.add(sidecar.language)
            cues += said
    cues.sort(key=lambda cue: (cue["language"], cue["start_s"], cue["end_s"], cue["text"]))
    return {"transcript": transcript, "cues": cues or None}


def decoded_text(data: bytes) -> str:
    """The text of a file by its byte order mark, else as UTF-16, UTF-8 or Windows-1252."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", errors="replace")
    if len(data) > 1 and 0 in data[:2]:
        return data.decode("utf-16-be" if data[0] == 0 else "utf-16-le", errors="replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", errors="replace")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes() if path.stat().st_size <= MAX_BYTES else b""
    except OSError:
        return b""


def _cues(text: str, language: str) -> list[dict[str, Any]]:
    cues = []
    for start_s, end_s, said in cues_of(text):
        plain = SOUND.sub(" ", html.unescape(TAG.sub(" ", said)))
        words = [word for word in plain.split() if word == "&" or any(map(str.isalnum, word))]
        if words and end_s > start_s:
            spoken = {"text": " ".join(words), "language": language}
            cues.append({"start_s": start_s, "end_s": end_s, **spoken})
    return cues
