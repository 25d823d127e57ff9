"""A script for a soundtrack: subtitles or plain text as words with times."""

import html
import re
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

CUE = re.compile(
    r"(?:(\d+):)?(\d{1,2}):(\d{2})[.,](\d{1,3})\s*-->\s*(?:(\d+):)?(\d{1,2}):(\d{2})[.,](\d{1,3})"
)
UNSPOKEN = re.compile(r"\d+$|WEBVTT|NOTE\b|STYLE\b|REGION\b|X-TIMESTAMP-MAP|$")
TAG = re.compile(r"<[^>]*>|\{\\[^}]*\}")
WEBVTT = "WEBVTT"
SUFFIXES = (".srt", ".vtt", ".txt")


def read_script(path: Path) -> str:
    """The text of a script file.

    Raises ValueError for a suffix that is none of SUFFIXES, or a text that is not UTF-8.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(f"script {path}: give a file that ends in {', '.join(SUFFIXES)}")
    try:
        return path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"script {path}: not UTF-8 ({error}); save it as UTF-8") from error


def script_words(script: str, duration_s: float) -> list[dict[str, Any]]:
    """The words of a script as rows with position, word, start_s, end_s and the number of its cue.

    In SubRip and WebVTT each cue's words share the cue's time in proportion to their letters;
    plain text is spread over the whole duration. Cues beyond the duration are cut off.
    """
    cues = cues_of(script)
    if not cues and not script.startswith(WEBVTT):
        cues = [(0.0, duration_s, script)]
    words: list[dict[str, Any]] = []
    for number, (start_s, end_s, text) in enumerate(cues):
        end_s = min(end_s, duration_s)
        tokens = html.unescape(TAG.sub(" ", text)).split()
        if end_s <= start_s or not tokens:
            continue
        edges = list(accumulate((len(token) + 1 for token in tokens), initial=0))
        at = [min(end_s, start_s + (end_s - start_s) * edge / edges[-1]) for edge in edges]
        for token, (begin, end) in zip(tokens, pairwise(at), strict=True):
            place = len(words)
            row = {"position": place, "word": token, "start_s": begin, "end_s": end}
            words.append(row | {"cue": number})
    return words


def cues_of(script: str) -> list[tuple[float, float, str]]:
    """The cues of SubRip or WebVTT text as (start_s, end_s, text), in the file's order.

    Times may have a comma or a point. Numbers, names of cues, settings behind the times, and blocks
    of notes and styles are no text; a blank line inside a cue does not end it.
    """
    cues: list[tuple[float, float, str]] = []
    for block in re.split(r"\n\s*\n", script.replace("\r\n", "\n").replace("\r", "\n")):
        found = list(CUE.finditer(block))
        if not found and cues and not UNSPOKEN.match(block.strip()):
            start_s, end_s, text = cues.pop()
            cues.append((start_s, end_s, f"{text}\n{block}"))
        for match, after in pairwise([*found, None]):
            assert match is not None
            said = block[match.end() : after.start() if after else None].partition("\n")[2]
            if after is not None:
                said = re.sub(r"\n\d+\s*$", "", said.rstrip("\n"))
            cues.append((_seconds(match.groups()[:4]), _seconds(match.groups()[4:]), said))
    return cues


def _seconds(parts: tuple[str | None, ...]) -> float:
    hours, minutes, seconds = (int(part or 0) for part in parts[:3])
    return hours * 3600 + minutes * 60 + seconds + int((parts[3] or "0").ljust(3, "0")) / 1000
