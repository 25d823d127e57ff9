"""The views of mixtures: what is said in them and when, and the levels that they asked for."""

from dataclasses import replace

from storage.columns import INT, LONG, Column, View, view
from storage.view_columns import of

C = Column
# Mixtures of before recipes of version 2 began with their speech and have no `speech_at_s`.
IN_MIXTURE = {
    "start_s": "Start in the mixture.",
    "end_s": "End in the mixture.",
}


def _moved(table: str) -> tuple[Column, ...]:
    """The times of a table's rows, moved to where the speech lies in a mixture."""
    return tuple(replace(c, text=IN_MIXTURE[c.name]) for c in of(table, *IN_MIXTURE))


def _histogram(name: str, level: str, measure: str, unit: str) -> View:
    """Mixtures by what they asked of a level and by what was measured; others do not count."""
    asked, got = f"requested_{level}", f"achieved_{level}"
    low = f"from_{unit.lower()}"
    return view(
        name,
        f"Mixtures of a regime that ask for {measure}, in bins of 1 {unit} by it and by what was "
        "measured.",
        f"SELECT {low}, sum(requested) AS requested, sum(achieved) AS achieved "
        f"FROM {name} GROUP BY {low} ORDER BY {low}",
        f"""SELECT regime, {low}, {low} + 1 AS to_{unit.lower()},
                   count(*) FILTER (asked) AS requested, count(*) FILTER (NOT asked) AS achieved
            FROM (SELECT regime, asked, floor(level)::INTEGER AS {low} FROM (
                      SELECT regime, unnest([{asked}, {got}]) AS level,
                             unnest([true, false]) AS asked
                      FROM mixtures WHERE {asked} IS NOT NULL)
                  WHERE level IS NOT NULL)
            GROUP BY regime, {low} ORDER BY regime, {low}""",
        *of("mixtures", "regime"),
        C(low, INT, "Lower end of the bin, included.", unit, "5"),
        C(f"to_{unit.lower()}", INT, "Upper end of the bin, not included.", unit, "6"),
        C("requested", LONG, "Mixtures that asked for a level in the bin.", "", "3"),
        C("achieved", LONG, "Mixtures whose measured level is in the bin.", "", "3"),
    )


MIX_VIEWS: tuple[View, ...] = (
    view(
        "mixture_words",
        "A word that is said in a mixture, with its times there.",
        "SELECT mix_id, word, end_s - start_s AS length_s FROM mixture_words "
        "ORDER BY length_s DESC, mix_id, position LIMIT 20",
        """SELECT m.mix_id, w.position, w.word, w.start_s + coalesce(m.speech_at_s, 0) AS start_s,
                  w.end_s + coalesce(m.speech_at_s, 0) AS end_s
           FROM mixtures m JOIN words w ON w.clip_id = m.speech_clip_id""",
        *of("mixtures", "mix_id"),
        *of("words", "position", "word"),
        *_moved("words"),
    ),
    view(
        "mixture_phonemes",
        "A phoneme that is said in a mixture, with its times there.",
        "SELECT mix_id, min(start_s) AS first_s, max(end_s) AS last_s FROM mixture_phonemes "
        "GROUP BY mix_id ORDER BY mix_id",
        """SELECT m.mix_id, p.position, p.word_position, p.phoneme,
                  p.start_s + coalesce(m.speech_at_s, 0) AS start_s,
                  p.end_s + coalesce(m.speech_at_s, 0) AS end_s
           FROM mixtures m JOIN phonemes p ON p.clip_id = m.speech_clip_id""",
        *of("mixtures", "mix_id"),
        *of("phonemes", "position", "word_position", "phoneme"),
        *_moved("phonemes"),
    ),
    _histogram("snr_histogram", "snr_db", "an SNR", "dB"),
    _histogram(
        "loudness_difference_histogram",
        "difference_lu",
        "a loudness difference of speech and ambience",
        "LU",
    ),
)
