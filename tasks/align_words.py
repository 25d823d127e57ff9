"""Words with times: joined from Whisper's pieces, put in order, and given to a shipped text.

A shipped text is aligned with the recognised words: words in common keep their times, and the
others share what lies between.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher

import numpy as np

Span = dict[str, float]
"""A span of the clip: {"start_s", "end_s"}, seconds from the clip's start."""

MIN_WORD_S = 0.04
"""No word is shorter: one audio latent at 25 Hz."""
MIN_RUN_WORD_S = 0.08
"""Less room than this for each unrecognised word, and a neighbour shares its time with it."""
UNSPACED_LANGUAGES = frozenset({"zh", "yue", "ja", "th", "lo", "my"})


@dataclass(frozen=True, slots=True)
class Word:
    """A word with its times in seconds from the clip's start; score None where interpolated."""

    word: str
    start_s: float
    end_s: float
    score: float | None


def joined_pieces(pieces: Sequence[Word], language: str) -> list[Word]:
    """Words as written between spaces; Whisper times "cold" and "-hearted" apart."""
    words: list[Word] = []
    for piece in pieces:
        text = piece.word.strip()
        if not text:
            continue
        is_spaced = piece.word.startswith(" ") or language in UNSPACED_LANGUAGES
        if words and not is_spaced:
            last = words[-1]
            score = min(last.score or 0.0, piece.score or 0.0)
            words[-1] = Word(last.word + text, last.start_s, piece.end_s, score)
        else:
            words.append(replace(piece, word=text))
    return words


def trimmed_words(words: Sequence[Word], spans: Sequence[Span]) -> list[Word]:
    """Words without the silence at their ends, which Whisper gives to the word beside a pause.

    A word that touches no speech span keeps its times.
    """
    trimmed: list[Word] = []
    for word in words:
        inside = [s for s in spans if s["start_s"] < word.end_s and s["end_s"] > word.start_s]
        if inside:
            start_s = max(word.start_s, inside[0]["start_s"])
            word = replace(word, start_s=start_s, end_s=min(word.end_s, inside[-1]["end_s"]))
        trimmed.append(word)
    return trimmed


def ordered_words(words: Sequence[Word], duration_s: float) -> list[Word]:
    """Words whose times do not overlap, lie in [0, duration_s] and last at least MIN_WORD_S.

    A word that is too short first takes room from the pause before it. Where a clip is too short
    for so many words, they share it evenly.
    """
    least_s = min(MIN_WORD_S, duration_s / max(1, len(words)))
    times: list[list[float]] = []
    previous_s = 0.0
    for word in words:
        end_s = max(word.end_s, previous_s + least_s)
        start_s = max(previous_s, min(word.start_s, end_s - least_s))
        times.append([start_s, max(end_s, start_s + least_s)])
        previous_s = times[-1][1]
    limit_s = duration_s
    for pair in reversed(times):
        pair[1] = min(pair[1], limit_s)
        pair[0] = max(0.0, min(pair[0], pair[1] - least_s))
        limit_s = pair[0]
    return [
        replace(word, start_s=start_s, end_s=end_s)
        for word, (start_s, end_s) in zip(words, times, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class _Run:
    """Words that share one stretch of time."""

    tokens: tuple[str, ...]
    start_s: float
    end_s: float
    score: float | None

    def joined(self, after: "_Run") -> "_Run":
        return _Run(self.tokens + after.tokens, self.start_s, after.end_s, None)

    def words(self) -> list[Word]:
        sizes = [max(1, len(normalised(token))) for token in self.tokens]
        edges = np.concatenate([[0.0], np.cumsum(sizes) / sum(sizes)])
        times = self.start_s + edges * (self.end_s - self.start_s)
        times[-1] = self.end_s
        return [
            Word(token, float(start_s), float(end_s), self.score)
            for token, start_s, end_s in zip(self.tokens, times[:-1], times[1:], strict=True)
        ]


def aligned_words(
    tokens: Sequence[str], heard: Sequence[Word], spans: Sequence[Span]
) -> list[Word]:
    """Words of a shipped text with the times of the recognised words that they match.

    A word that was recognised keeps its time and score. Others share, by their letters, the time of
    the words that were recognised in their place, or the pause where none was.
    """
    first_s = spans[0]["start_s"] if spans else 0.0
    last_s = spans[-1]["end_s"] if spans else first_s + MIN_RUN_WORD_S * len(tokens)
    runs: list[_Run] = []
    for tag, i1, i2, j1, j2 in _matcher(tokens, heard).get_opcodes():
        if tag == "equal":
            pairs = zip(tokens[j1:j2], heard[i1:i2], strict=True)
            runs += [_Run((token,), w.start_s, w.end_s, w.score) for token, w in pairs]
        elif tag == "replace":
            runs.append(_Run(tuple(tokens[j1:j2]), heard[i1].start_s, heard[i2 - 1].end_s, None))
        elif tag == "insert":
            start_s = heard[i1 - 1].end_s if i1 else min([first_s, *[w.start_s for w in heard[:1]]])
            end_s = heard[i1].start_s if i1 < len(heard) else max(last_s, start_s)
            runs.append(_Run(tuple(tokens[j1:j2]), start_s, end_s, None))
    return [word for run in _with_room(runs) for word in run.words()]


def _with_room(runs: Sequence[_Run]) -> list[_Run]:
    """Runs of which none is too short for its words: such a one joins the run beside it."""
    roomy: list[_Run] = []
    for run in runs:
        if roomy and (_is_tight(run) or _is_tight(roomy[-1])):
            roomy[-1] = roomy[-1].joined(run)
        else:
            roomy.append(run)
    return roomy


def _is_tight(run: _Run) -> bool:
    return run.score is None and run.end_s - run.start_s < MIN_RUN_WORD_S * len(run.tokens)


def match_ratio(tokens: Sequence[str], heard: Sequence[Word]) -> float:
    """Share of the shipped words that were recognised as they are, in order."""
    return len(matched_places(tokens, heard)) / max(1, len(tokens))


def matched_places(tokens: Sequence[str], heard: Sequence[Word]) -> list[int]:
    """The places of the shipped words that were recognised as they are, in order."""
    blocks = _matcher(tokens, heard).get_matching_blocks()
    return [block.b + step for block in blocks for step in range(block.size)]


def _matcher(tokens: Sequence[str], heard: Sequence[Word]) -> SequenceMatcher[str]:
    left, right = [normalised(w.word) for w in heard], [normalised(token) for token in tokens]
    return SequenceMatcher(None, left, right, autojunk=False)


def normalised(word: str) -> str:
    """A word as it is compared: lower case, letters and digits of any script, inner spaces kept."""
    return re.sub(r"[\W_]+", " ", re.sub("['’]", "", word.casefold())).strip()
