"""The views of what is said in clips, and of the gates that they pass."""

from storage.columns import BOOL, DOUBLE, INT, LONG, STRING, Column, View, optional, view
from storage.view_columns import of

C = Column

LABEL_VIEWS: tuple[View, ...] = (
    view(
        "spoken_words",
        "A spoken word with its times: one row, or several for a written word such as $5.",
        "SELECT clip_id, word, spoken, start_s FROM spoken_words WHERE word <> spoken ORDER BY ALL",
        """SELECT p.clip_id, p.word_position, p.spoken_position, w.word, p.spoken,
                  string_agg(p.phoneme, '' ORDER BY p.position) AS ipa, min(p.start_s) AS start_s,
                  max(p.end_s) AS end_s, p.method, p.in_dictionary
           FROM phonemes p
           JOIN words w ON w.clip_id = p.clip_id AND w.position = p.word_position
           GROUP BY ALL ORDER BY ALL""",
        *of("phonemes", "clip_id", "word_position", "spoken_position"),
        *of("words", "word"),
        *of("phonemes", "spoken"),
        C("ipa", STRING, "Its phonemes in one string.", "", "dɑːlɚz"),
        *of("phonemes", "start_s", "end_s", "method", "in_dictionary"),
    ),
    view(
        "alignments",
        "How many phonemes of a clip have times from the sound; flagged where some have not.",
        "SELECT clip_id, flag FROM alignments WHERE flag = 'proportional_clip' ORDER BY clip_id",
        """SELECT p.clip_id, t.language, count(*) AS phonemes,
                  count(*) FILTER (p.method = 'aligned') AS aligned,
                  avg(p.score) AS mean_score,
                  min(p.method) FILTER (p.method ^@ 'proportional_') AS flag
           FROM phonemes p JOIN transcripts t USING (clip_id)
           GROUP BY p.clip_id, t.language ORDER BY p.clip_id""",
        *of("phonemes", "clip_id"),
        *of("transcripts", "language"),
        C("phonemes", LONG, "Phonemes of the clip.", "", "76"),
        C("aligned", LONG, "Those with times from the sound.", "", "70"),
        optional("mean_score", DOUBLE, "Mean of their scores.", "nat", "-1.2"),
        optional(
            "flag",
            STRING,
            "proportional_word or proportional_clip where the aligner failed; else NULL.",
            "",
            "proportional_word",
        ),
    ),
    view(
        "phoneme_inventory",
        "A symbol that is spoken in a language, how often, and whether the id table holds it.",
        "SELECT language, phoneme, spoken, example FROM phoneme_inventory "
        "WHERE NOT in_table ORDER BY spoken DESC, language, phoneme",
        """SELECT t.language, p.phoneme, p.in_table, count(*) AS spoken,
                  count(DISTINCT p.clip_id) AS clips, min(w.word) AS example,
                  arg_min(p.clip_id, (w.word, p.clip_id)) AS example_clip_id
           FROM phonemes p
           JOIN transcripts t USING (clip_id)
           JOIN words w ON w.clip_id = p.clip_id AND w.position = p.word_position
           GROUP BY t.language, p.phoneme, p.in_table
           ORDER BY t.language, spoken DESC, p.phoneme""",
        *of("transcripts", "language"),
        *of("phonemes", "phoneme", "in_table"),
        C("spoken", LONG, "How often it is spoken.", "", "19"),
        C("clips", LONG, "Clips that it is spoken in.", "", "5"),
        C("example", STRING, "A word with it.", "", "negotiations,"),
        C("example_clip_id", STRING, "A clip with that word.", "", "3536e86549a6…"),
    ),
    view(
        "words_outside_dictionary",
        "A spoken word that CMUdict lacks, with what espeak-ng makes of it.",
        "SELECT spoken, ipa, times FROM words_outside_dictionary ORDER BY times DESC, spoken",
        """SELECT t.language, lower(s.spoken) AS spoken, min(s.ipa) AS ipa, count(*) AS times,
                  min(s.clip_id) AS example_clip_id
           FROM spoken_words s JOIN transcripts t USING (clip_id)
           WHERE NOT s.in_dictionary
           GROUP BY t.language, lower(s.spoken) ORDER BY t.language, times DESC, spoken""",
        *of("transcripts", "language"),
        C("spoken", STRING, "The word in lower case.", "", "dashwood"),
        C("ipa", STRING, "Its phonemes in one string.", "", "dæʃwʊd"),
        C("times", LONG, "How often it is spoken.", "", "1"),
        C("example_clip_id", STRING, "A clip with it.", "", "3536e86549a6…"),
    ),
    view(
        "drop_reasons",
        "Clips and hours that no dataset takes, by kind and by the first gate that they failed.",
        "SELECT drop_reason, sum(clips) AS clips FROM drop_reasons GROUP BY ALL ORDER BY ALL",
        """SELECT kind, drop_reason, count(*) AS clips, sum(duration_s) / 3600 AS hours
           FROM clips WHERE NOT kept GROUP BY ALL ORDER BY ALL""",
        *of("kinds", "kind", "drop_reason"),
        C("clips", LONG, "Number of clips.", "", "5"),
        C("hours", DOUBLE, "Their length.", "h", "0.002689"),
    ),
    view(
        "gate_checks",
        "A gate that was asked of a clip, with what it measured and its verdict.",
        "SELECT clip_id, value, threshold FROM gate_checks WHERE gate = 'too_quiet' AND NOT passed",
        """SELECT clip_id, kind, duration_s, g.position, g.gate, g.value, g.threshold, g.passed
           FROM (SELECT k.clip_id, k.kind, w.duration_s, unnest(k.gates) AS g
                 FROM kinds k JOIN windows w USING (clip_id))""",
        *of("windows", "clip_id"),
        *of("kinds", "kind"),
        *of("windows", "duration_s"),
        C("position", INT, "Place in the order of the gates, from 1.", "", "10"),
        C("gate", STRING, "The gate: what a clip that fails it is.", "", "poor_speech"),
        optional("value", DOUBLE, "What was measured; NULL where nothing was.", "gate's", "2.79"),
        optional("threshold", DOUBLE, "The recipe's; NULL where it has none.", "gate's", "3.0"),
        optional("passed", BOOL, "The verdict; NULL where the gate is off.", "", "false"),
    ),
    view(
        "gates",
        "What each gate removes, in order: alone, as the only one, and together with those before.",
        "SELECT gate, clips_failed, clips_only, clips_left FROM gates ORDER BY position",
        """WITH clip AS (
               SELECT clip_id, duration_s, min(position) FILTER (NOT passed) AS first,
                      count(*) FILTER (NOT passed) AS failures
               FROM gate_checks GROUP BY clip_id, duration_s),
           gate AS (
               SELECT position, gate, max(threshold) AS threshold, count(passed) AS clips_asked,
                      count(*) FILTER (NOT passed) AS clips_failed,
                      coalesce(sum(g.duration_s) FILTER (NOT passed), 0) / 3600 AS hours_failed,
                      count(*) FILTER (NOT passed AND failures = 1) AS clips_only,
                      coalesce(sum(g.duration_s) FILTER (NOT passed AND failures = 1), 0) / 3600
                          AS hours_only,
                      count(*) FILTER (first = position) AS clips_here,
                      coalesce(sum(g.duration_s) FILTER (first = position), 0) AS here_s
               FROM gate_checks g JOIN clip USING (clip_id) GROUP BY position, gate)
           SELECT position, gate, threshold, clips_asked, clips_failed, hours_failed,
                  clips_only, hours_only,
                  ((SELECT count(*) FROM clip)
                   - sum(clips_here) OVER (ORDER BY position, gate))::BIGINT AS clips_left,
                  ((SELECT sum(duration_s) FROM clip)
                   - sum(here_s) OVER (ORDER BY position, gate)) / 3600 AS hours_left
           FROM gate ORDER BY position, gate""",
        C("position", INT, "Place in the order of the gates, from 1.", "", "10"),
        C("gate", STRING, "The gate: what a clip that fails it is.", "", "poor_speech"),
        optional("threshold", DOUBLE, "The recipe's; NULL where it has none.", "gate's", "3.0"),
        C("clips_asked", LONG, "Clips that were asked; 0 where the gate is off.", "", "6"),
        C("clips_failed", LONG, "Clips that it alone would remove.", "", "2"),
        C("hours_failed", DOUBLE, "Their length.", "h", "0.0039"),
        C("clips_only", LONG, "Clips that no other gate removes.", "", "1"),
        C("hours_only", DOUBLE, "Their length.", "h", "0.0015"),
        C("clips_left", LONG, "Clips that are left after it and all before it.", "", "61"),
        C("hours_left", DOUBLE, "Their length.", "h", "0.1343"),
    ),
)
