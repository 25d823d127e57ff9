"""The named queries for the questions of every day, over the tables of one catalog.

Counts are BIGINT, hours are DOUBLE. A view reads tables and the views above it.
"""

from dataclasses import replace

from storage.clip_tables import CLIP_TABLES
from storage.columns import (
    BOOL,
    DOUBLE,
    INT,
    LONG,
    STRING,
    STRINGS,
    Column,
    View,
    optional,
    view,
)
from storage.model_tables import MODEL_TABLES
from storage.sight_tables import SIGHT_TABLES
from storage.state_tables import STATE_TABLES

COLUMNS = {
    (table.name, column.name): column
    for table in (*CLIP_TABLES, *SIGHT_TABLES, *MODEL_TABLES, *STATE_TABLES)
    for column in table.columns
}
C = Column


def of(table: str, *names: str) -> tuple[Column, ...]:
    """Columns that a view takes from a table as they are."""
    return tuple(COLUMNS[table, name] for name in names)


def joined(table: str, *names: str) -> tuple[Column, ...]:
    """Columns that a view takes from a table where it has a row; NULL where it has none."""
    return tuple(replace(column, nullable=True) for column in of(table, *names))


VIEW_LIST: tuple[View, ...] = (
    view(
        "clips",
        "A clip with its labels: the table to begin with.",
        "SELECT clip_id, duration_s, top_tag FROM clips WHERE kind = 'sound' AND kept",
        """SELECT w.clip_id, w.source_id, s.uri, w.start_s, w.end_s, w.duration_s, w.scene,
                  w.has_audio, w.has_picture, k.kind, k.task, k.kept, k.drop_reason,
                  p.split, l.loudness_lufs, l.peak_dbfs, l.silence_ratio, l.speech_s,
                  l.speech_score, l.has_speech, l.top_tag, t.text, t.language,
                  k.failed_gates, l.heard_as, l.music_score, l.sound_score, l.bandwidth_hz,
                  l.clipping_ratio, l.dnsmos_overall,
                  y.on_screen, y.offset_s AS av_offset_s, y.confidence AS av_confidence
           FROM windows w
           JOIN sources s USING (source_id)
           LEFT JOIN listens l USING (clip_id)
           LEFT JOIN kinds k USING (clip_id)
           LEFT JOIN splits p USING (source_id)
           LEFT JOIN transcripts t USING (clip_id)
           LEFT JOIN syncs y USING (clip_id)""",
        *of("windows", "clip_id", "source_id"),
        *of("sources", "uri"),
        *of("windows", "start_s", "end_s", "duration_s", "scene", "has_audio", "has_picture"),
        *joined("kinds", "kind", "task", "kept", "drop_reason"),
        *joined("splits", "split"),
        *joined("listens", "loudness_lufs", "peak_dbfs", "silence_ratio", "speech_s"),
        *joined("listens", "speech_score", "has_speech", "top_tag"),
        *joined("transcripts", "text", "language"),
        *joined("kinds", "failed_gates"),
        *joined("listens", "heard_as", "music_score", "sound_score", "bandwidth_hz"),
        *joined("listens", "clipping_ratio", "dnsmos_overall"),
        *joined("syncs", "on_screen"),
        *(replace(c, name=f"av_{c.name}") for c in joined("syncs", "offset_s", "confidence")),
    ),
    view(
        "funnel",
        "How much is left after each step, from files as listed to members of the newest datasets.",
        "SELECT step, things, items, round(hours, 2) AS hours FROM funnel ORDER BY position",
        """SELECT 1 AS position, 'listed' AS step, 'files' AS things,
                  count(*) AS items, NULL::DOUBLE AS hours FROM files
           UNION ALL SELECT 2, 'distinct', 'sources', count(DISTINCT source_id), NULL FROM files
           UNION ALL SELECT 3, 'probed', 'sources', count(*), sum(duration_s) / 3600 FROM sources
           UNION ALL SELECT 4, 'decoded', 'sources', count(*), sum(duration_s) / 3600 FROM decodes
           UNION ALL SELECT 5, 'cut', 'clips', count(*), sum(duration_s) / 3600 FROM windows
           UNION ALL SELECT 6, 'heard', 'clips', count(*), sum(duration_s) / 3600
                     FROM windows SEMI JOIN listens USING (clip_id)
           UNION ALL SELECT 7, 'kept', 'clips', count(*), sum(duration_s) / 3600
                     FROM windows JOIN kinds USING (clip_id) WHERE kept
           UNION ALL SELECT 8, 'mixed', 'mixtures', count(*), sum(duration_s) / 3600 FROM mixtures
           UNION ALL SELECT 9, 'frozen', 'members', count(*), sum(duration_s) / 3600
                     FROM dataset_items WHERE dataset_id IN
                     (SELECT arg_max(dataset_id, version) FROM datasets GROUP BY name)
           ORDER BY position""",
        C("position", INT, "Place in the pipeline, from 1.", "", "7"),
        C("step", STRING, "What was done to them.", "", "kept"),
        C("things", STRING, "files, sources, clips, mixtures or members.", "", "clips"),
        C("items", LONG, "How many are left.", "", "62"),
        optional("hours", DOUBLE, "Their length; NULL before it is known.", "h", "0.1353"),
    ),
    view(
        "hours_by_kind",
        "Clips and hours of each kind, kept and dropped.",
        "SELECT kind, hours FROM hours_by_kind WHERE kept ORDER BY hours DESC",
        """SELECT kind, kept, count(*) AS clips, sum(duration_s) / 3600 AS hours
           FROM clips WHERE kind IS NOT NULL GROUP BY ALL ORDER BY ALL""",
        *of("kinds", "kind", "kept"),
        C("clips", LONG, "Number of clips.", "", "56"),
        C("hours", DOUBLE, "Their length.", "h", "0.126"),
    ),
    view(
        "hours_by_kind_and_language",
        "Clips, hours and hours of speech of each kind and language, kept and dropped.",
        "SELECT language, sum(speech_hours) AS hours FROM hours_by_kind_and_language "
        "WHERE kept AND language IS NOT NULL GROUP BY language ORDER BY hours DESC",
        """SELECT kind, language, kept, count(*) AS clips, sum(duration_s) / 3600 AS hours,
                  coalesce(sum(speech_s), 0) / 3600 AS speech_hours
           FROM clips WHERE kind IS NOT NULL GROUP BY ALL ORDER BY ALL""",
        *of("kinds", "kind"),
        optional("language", STRING, "Language code; NULL without a transcript.", "", "en"),
        *of("kinds", "kept"),
        C("clips", LONG, "Number of clips.", "", "5"),
        C("hours", DOUBLE, "Their length.", "h", "0.006869"),
        C("speech_hours", DOUBLE, "Seconds of speech in them, as hours.", "h", "0.006212"),
    ),
    view(
        "hours_by_licence",
        "Sources and hours under each licence.",
        "SELECT * FROM hours_by_licence WHERE licence LIKE 'CC-%' ORDER BY hours DESC",
        """SELECT coalesce(licence, 'none') AS licence, count(*) AS sources,
                  coalesce(sum(duration_s), 0) / 3600 AS hours
           FROM sources GROUP BY ALL ORDER BY ALL""",
        C("licence", STRING, "Licence; none where the manifest gives none.", "", "CC-BY-3.0"),
        C("sources", LONG, "Number of sources.", "", "1"),
        C("hours", DOUBLE, "Their length by their containers.", "h", "0.001476"),
    ),
    view(
        "source_licences",
        "Every licence that is stated for a source, over all files that hold its bytes.",
        "SELECT licences, count(*) AS sources FROM source_licences GROUP BY ALL ORDER BY ALL",
        """SELECT source_id, coalesce(list_sort(list(DISTINCT licence) FILTER (
                      lower(trim(licence)) NOT IN ('', '-', '?', 'n/a', 'none', 'unknown'))), [])
                  AS licences, count(*) AS files
           FROM files GROUP BY source_id""",
        *of("files", "source_id"),
        C("licences", STRINGS, "Licences; empty where none is known.", "", '["CC-BY-3.0"]'),
        C("files", LONG, "Files that hold the bytes.", "", "1"),
    ),
    view(
        "licence_losses",
        "Kept clips that the newest version of a dataset leaves out for their source's licence.",
        "SELECT licence, sum(clips) AS clips FROM licence_losses WHERE name = 'demo' "
        "GROUP BY licence ORDER BY clips DESC",
        """WITH newest AS (
               SELECT name, version, licences AS allowed FROM datasets
               QUALIFY row_number() OVER (PARTITION BY name ORDER BY version DESC) = 1)
           SELECT n.name, n.version, 'licence' AS reason, coalesce(nullif(
                      array_to_string(l.licences, ' and '), ''), 'unknown') AS licence,
                  count(*) AS clips, sum(c.duration_s) / 3600 AS hours
           FROM newest n CROSS JOIN clips c JOIN source_licences l USING (source_id)
           WHERE c.kept AND n.allowed IS NOT NULL
             AND NOT (len(l.licences) > 0 AND list_has_all(n.allowed, l.licences))
           GROUP BY ALL ORDER BY ALL""",
        *of("datasets", "name", "version"),
        C("reason", STRING, "Why: licence.", "", "licence"),
        C("licence", STRING, "Licences of the source; unknown for none.", "", "CC-BY-NC-2.0"),
        C("clips", LONG, "Number of clips.", "", "3"),
        C("hours", DOUBLE, "Their length.", "h", "0.001374"),
    ),
    view(
        "named_sources",
        "Who speaks in a source and which recording it is of, by the manifest.",
        "SELECT name, count(*) AS sources FROM named_sources WHERE kind = 'speaker' GROUP BY name",
        r"""SELECT DISTINCT source_id, kind,
                   lower(trim(regexp_replace(said, '\s+', ' ', 'g'))) AS name
           FROM (SELECT source_id, unnest(['speaker', 'recording']) AS kind,
                        unnest([speaker, recording]) AS said FROM files)
           WHERE said IS NOT NULL AND lower(trim(said)) NOT IN
                 ('', '-', '?', 'n/a', 'none', 'unknown', 'various')""",
        *of("files", "source_id"),
        C("kind", STRING, "speaker or recording.", "", "speaker"),
        C("name", STRING, "Without case and extra spaces.", "", "elizabeth klett"),
    ),
    view(
        "duplicates",
        "A file in a group of files whose bytes are equal, or whose picture or sound nearly is.",
        "SELECT kind, group_id, list(uri) AS files FROM duplicates GROUP BY ALL ORDER BY ALL",
        """WITH RECURSIVE reach AS (
               SELECT source_id, kind, other_id AS member FROM relations
               WHERE kind IN ('same_picture', 'same_sound')
               UNION
               SELECT r.source_id, r.kind, o.other_id FROM reach r
               JOIN relations o ON o.source_id = r.member AND o.kind = r.kind),
           alike AS (
               SELECT source_id, kind, min(least(source_id, member)) AS group_id
               FROM reach GROUP BY source_id, kind),
           best AS (
               SELECT source_id, kind, max(score) AS score FROM relations GROUP BY source_id, kind)
           SELECT replace(kind, 'same_', '') AS kind, group_id, source_id, uri, score
           FROM alike JOIN best USING (source_id, kind) JOIN files USING (source_id)
           UNION ALL
           SELECT 'exact', source_id, source_id, uri, 1.0 FROM files
           WHERE source_id IN (SELECT source_id FROM files GROUP BY source_id HAVING count(*) > 1)
           ORDER BY kind, group_id, uri""",
        C("kind", STRING, "exact, picture or sound.", "", "sound"),
        C("group_id", STRING, "First of the group's source ids.", "", "60bb569508d0…"),
        *of("files", "source_id", "uri"),
        C("score", DOUBLE, "Of its best match in the group.", "0..1", "0.9412"),
    ),
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
    view(
        "reject_reasons",
        "How many items each stage could not process, by reason.",
        "SELECT reason, sum(items) AS items FROM reject_reasons GROUP BY ALL ORDER BY items DESC",
        "SELECT stage, reason, count(*) AS items FROM rejects GROUP BY ALL ORDER BY ALL",
        *of("rejects", "stage", "reason"),
        C("items", LONG, "Number of items.", "", "1"),
    ),
    view(
        "stage_progress",
        "What each stage has finished, and what it cost.",
        "SELECT stage, cpu_s / items AS cpu_s_each FROM stage_progress ORDER BY cpu_s_each DESC",
        """SELECT stage, count(*) AS items, count(*) FILTER (status = 'rejected') AS rejected,
                  round(sum(cpu_s), 2) AS cpu_s
           FROM progress GROUP BY stage ORDER BY stage""",
        *of("progress", "stage"),
        C("items", LONG, "Items it has finished, rejected ones among them.", "", "27"),
        C("rejected", LONG, "Items it could not process.", "", "2"),
        C("cpu_s", DOUBLE, "CPU of the workers, decoding children aside.", "s", "7.07"),
    ),
    view(
        "snr_histogram",
        "Mixtures of a regime in bins of 1 dB, by the SNR asked and by the SNR measured.",
        "SELECT from_db, sum(requested) AS requested, sum(achieved) AS achieved "
        "FROM snr_histogram GROUP BY from_db ORDER BY from_db",
        """SELECT regime, from_db, from_db + 1 AS to_db,
                  count(*) FILTER (asked) AS requested, count(*) FILTER (NOT asked) AS achieved
           FROM (SELECT regime, floor(requested_snr_db)::INTEGER AS from_db, true AS asked
                 FROM mixtures
                 UNION ALL SELECT regime, floor(achieved_snr_db)::INTEGER, false FROM mixtures)
           GROUP BY regime, from_db ORDER BY regime, from_db""",
        *of("mixtures", "regime"),
        C("from_db", INT, "Lower end of the bin, included.", "dB", "5"),
        C("to_db", INT, "Upper end of the bin, not included.", "dB", "6"),
        C("requested", LONG, "Mixtures that asked for an SNR in the bin.", "", "3"),
        C("achieved", LONG, "Mixtures whose measured SNR is in the bin.", "", "3"),
    ),
    view(
        "dataset_sources",
        "A source that a dataset's member is made of: one row, or two for a mixture.",
        "SELECT DISTINCT licence, attribution FROM dataset_sources "
        "WHERE name = 'demo' AND version = 1 ORDER BY ALL",
        """WITH parents AS (
               SELECT clip_id AS item_id, clip_id, 'clip' AS role FROM windows
               UNION ALL SELECT mix_id, speech_clip_id, 'speech' FROM mixtures
               UNION ALL SELECT mix_id, ambience_clip_id, 'ambience' FROM mixtures)
           SELECT d.dataset_id, d.name, d.version, i.item_id, i.task, i.split, i.duration_s,
                  p.role, p.clip_id, w.source_id, s.uri, s.licence, s.attribution, s.consent
           FROM datasets d
           JOIN dataset_items i USING (dataset_id)
           LEFT JOIN parents p USING (item_id)
           LEFT JOIN windows w USING (clip_id)
           LEFT JOIN sources s USING (source_id)""",
        *of("datasets", "dataset_id", "name", "version"),
        *of("dataset_items", "item_id", "task", "split", "duration_s"),
        optional("role", STRING, "clip, speech or ambience; NULL if it is gone.", "", "speech"),
        *joined("windows", "clip_id", "source_id"),
        *joined("sources", "uri", "licence", "attribution", "consent"),
    ),
    view(
        "dataset_cards",
        "Members, hours, sources and licences of a dataset's version, for each task and split.",
        "SELECT task, split, members, hours, licences FROM dataset_cards "
        "WHERE name = 'demo' AND version = 1 ORDER BY task, split",
        """WITH rights AS (
               SELECT dataset_id, task, split, count(DISTINCT source_id) AS sources,
                      list_sort(list(DISTINCT coalesce(licence, 'none'))) AS licences
               FROM dataset_sources GROUP BY ALL),
           sizes AS (
               SELECT dataset_id, task, split, count(*) AS members, sum(duration_s) / 3600 AS hours
               FROM dataset_items GROUP BY ALL)
           SELECT d.name, d.version, d.dataset_id, task, split, members,
                  sizes.hours, sources, rights.licences, d.licences AS allowed
           FROM datasets d JOIN sizes USING (dataset_id) JOIN rights USING (dataset_id, task, split)
           ORDER BY d.name, d.version, task, split""",
        *of("datasets", "name", "version", "dataset_id"),
        *of("dataset_items", "task", "split"),
        C("members", LONG, "Clips or mixtures.", "", "3"),
        C("hours", DOUBLE, "Their length.", "h", "0.002492"),
        C("sources", LONG, "Different sources that they are made of.", "", "3"),
        C("licences", STRINGS, "Licences of the sources.", "", '["CC0-1.0", "public-domain"]'),
        optional(
            "allowed", STRINGS, "Licences that the recipe allowed; NULL: all.", "", '["CC0-1.0"]'
        ),
    ),
    view(
        "dataset_licences",
        "What stands in a dataset's version under each licence; a mixture counts under both.",
        "SELECT licence, members, hours FROM dataset_licences "
        "WHERE name = 'demo' AND version = 1 ORDER BY licence",
        """SELECT name, version, coalesce(licence, 'none') AS licence,
                  count(*) AS members, sum(duration_s) / 3600 AS hours
           FROM (SELECT DISTINCT name, version, licence, item_id, duration_s FROM dataset_sources)
           GROUP BY ALL ORDER BY ALL""",
        *of("datasets", "name", "version"),
        C("licence", STRING, "Licence; none where the manifest gives none.", "", "CC-BY-3.0"),
        C("members", LONG, "Members made of a source under it.", "", "1"),
        C("hours", DOUBLE, "Their length.", "h", "0.001476"),
    ),
    view(
        "generation_throughput",
        "Soundtracks, hours of sound and speed of each model in each run.",
        "SELECT checkpoint_id, sum(audio_hours) AS hours, sum(compute_s) / sum(audio_hours) / 3600 "
        "AS rtf FROM generation_throughput GROUP BY checkpoint_id ORDER BY checkpoint_id",
        """SELECT g.run_id, r.started_at, g.checkpoint_id, c.preset, count(*) AS soundtracks,
                  sum(g.duration_s) / 3600 AS audio_hours, sum(g.rtf * g.duration_s) AS compute_s,
                  sum(g.rtf * g.duration_s) / nullif(sum(g.duration_s), 0) AS rtf,
                  max(g.rtf) AS slowest_rtf
           FROM generations g
           LEFT JOIN checkpoints c USING (checkpoint_id)
           LEFT JOIN runs r ON r.run_id = g.run_id
           GROUP BY ALL ORDER BY r.started_at, g.run_id, g.checkpoint_id""",
        *of("generations", "run_id"),
        *joined("runs", "started_at"),
        *of("generations", "checkpoint_id"),
        *joined("checkpoints", "preset"),
        C("soundtracks", LONG, "Number of soundtracks.", "", "2"),
        C("audio_hours", DOUBLE, "Their length.", "h", "0.005222"),
        C("compute_s", DOUBLE, "Compute seconds of all of them.", "s", "3.328"),
        C("rtf", DOUBLE, "Compute seconds over audio seconds, of all.", "ratio", "0.177"),
        C("slowest_rtf", DOUBLE, "The highest of one soundtrack.", "ratio", "0.1798"),
    ),
)
