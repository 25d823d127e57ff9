"""Signs that a text was invented: phrases that come again, or that stand where nobody speaks."""

from collections.abc import Sequence

from tasks.align_words import Span, Word

INVENTED_PHRASES = (
    "thank you for watching",
    "thanks for watching",
    "thank you so much for watching",
    "please subscribe",
    "like and subscribe",
    "see you in the next video",
    "subtitles by",
    "captions by",
    "transcribed by",
    "amara org",
)
SPEECH_MARGIN_S = 0.2
LONGEST_REPEATED_WORDS = 8


def has_invented_phrase(words: Sequence[str]) -> bool:
    """Whether normalised words hold a phrase that Whisper is known to invent on noise."""
    plain = f" {' '.join(words)} "
    return any(f" {phrase} " in plain for phrase in INVENTED_PHRASES)


def repeated_words(words: Sequence[str]) -> int:
    """Most words covered by one phrase of up to eight words said at least three times in a row."""
    most = 0
    for size in range(1, LONGEST_REPEATED_WORDS + 1):
        equal = 0  # words in a row that equal the word one phrase earlier
        for index in range(size, len(words)):
            equal = equal + 1 if words[index] == words[index - size] else 0
            times = 1 + equal // size
            if times >= 3:
                most = max(most, times * size)
    return most


def outside_ratio(words: Sequence[Word], spans: Sequence[Span]) -> float:
    """Share of words whose middle lies more than 0.2 s outside every speech span; 0 for none."""

    def is_outside(word: Word) -> bool:
        middle_s = (word.start_s + word.end_s) / 2
        return not any(
            span["start_s"] - SPEECH_MARGIN_S <= middle_s <= span["end_s"] + SPEECH_MARGIN_S
            for span in spans
        )

    return sum(map(is_outside, words)) / len(words) if words else 0.0
