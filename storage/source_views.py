"""The views of clips and of the sources that they come from."""

from dataclasses import replace

from storage.columns import DOUBLE, INT, LONG, STRING, STRINGS, Column, View, optional, view
from storage.view_columns import joined, of

C = Column

SOURCE_VIEWS: tuple[View, ...] = (
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
                  y.on_screen, y.offset_s AS av_offset_s, y.confidence AS av_confidence,
                  w.cuts_speech_start, w.cuts_speech_end
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
        *of("windows", "cuts_speech_start", "cuts_speech_end"),
    ),
    view(
        "newest_datasets",
        "The newest version of each dataset: the one that was frozen last.",
        "SELECT name, version, hours FROM datasets SEMI JOIN newest_datasets USING (dataset_id)",
        """SELECT dataset_id, name, version FROM datasets QUALIFY row_number() OVER (
               PARTITION BY name ORDER BY coalesce(freeze_number, version) DESC) = 1""",
        *of("datasets", "dataset_id", "name", "version"),
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
                     FROM dataset_items SEMI JOIN newest_datasets USING (dataset_id)
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
               SELECT name, version, licences AS allowed
               FROM datasets SEMI JOIN newest_datasets USING (dataset_id))
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
)
