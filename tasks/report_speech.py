"""What is told of the phonemes of a catalog: by language, without an id, outside the dictionary."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from storage.catalog import Catalog

Row = dict[str, Any]

MAX_SYMBOLS = 30
MAX_WORDS = 30

LANGUAGES = """
    SELECT language, count(*) AS clips, sum(phonemes)::BIGINT AS phonemes,
           sum(aligned)::BIGINT AS aligned,
           count(*) FILTER (flag = 'proportional_clip') AS unaligned_clips,
           (SELECT coalesce(sum(spoken), 0)::BIGINT FROM phoneme_inventory i
            WHERE i.language = a.language AND NOT in_table) AS unknown
    FROM alignments a GROUP BY language ORDER BY phonemes DESC, language
"""

UNKNOWN_SYMBOLS = """
    SELECT language, phoneme, spoken, clips, example FROM phoneme_inventory
    WHERE NOT in_table ORDER BY spoken DESC, language, phoneme LIMIT ?
"""

UNLISTED_WORDS = """
    SELECT language, spoken, ipa, times FROM words_outside_dictionary
    ORDER BY times DESC, spoken LIMIT ?
"""


@dataclass(frozen=True, slots=True)
class SpokenReport:
    """Rows for the report's section on phonemes, the most frequent first."""

    languages: list[Row]
    unknown_symbols: list[Row]
    unlisted_words: list[Row]


def spoken_report(catalog: Catalog) -> SpokenReport:
    """What is spoken in each language, which symbols have no id, which words CMUdict lacks."""
    return SpokenReport(
        languages=catalog.rows(LANGUAGES),
        unknown_symbols=catalog.rows(UNKNOWN_SYMBOLS, [MAX_SYMBOLS]),
        unlisted_words=catalog.rows(UNLISTED_WORDS, [MAX_WORDS]),
    )


def corrected_words(words: Sequence[Row], phonemes: Sequence[Row]) -> list[Row]:
    """A clip's words with the times of their phonemes, which the aligner may have corrected."""
    spans: dict[int, tuple[float, float]] = {}
    for row in phonemes:
        start_s, _ = spans.get(row["word_position"], (row["start_s"], 0.0))
        spans[row["word_position"]] = (start_s, row["end_s"])
    corrected = []
    for word in words:
        start_s, end_s = spans.get(word["position"], (word["start_s"], word["end_s"]))
        corrected.append(word | {"start_s": start_s, "end_s": end_s})
    return corrected


def phoneme_warnings(catalog: Catalog) -> list[str]:
    """A line for each language with symbols that have no id, or with clips that are not aligned."""
    lines = []
    for row in catalog.rows(LANGUAGES):
        language = row["language"]
        if row["unknown"]:
            symbols = catalog.rows(
                "SELECT phoneme, spoken FROM phoneme_inventory WHERE NOT in_table AND language = ? "
                "ORDER BY spoken DESC, phoneme LIMIT 5",
                [language],
            )
            named = ", ".join(f"{symbol['phoneme']} ({symbol['spoken']})" for symbol in symbols)
            lines.append(
                f"{row['unknown']} of {row['phonemes']} phonemes in {language!r} have no id, so "
                f"the model is told that something unknown is said: {named}; see the view "
                "phoneme_inventory."
            )
        if row["unaligned_clips"]:
            lines.append(
                f"{row['unaligned_clips']} of {row['clips']} clips in {language!r} could not be "
                "aligned with their text, and their phonemes' times are proportional; see the view "
                "alignments."
            )
    return lines
