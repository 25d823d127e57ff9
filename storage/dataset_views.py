"""The views of what was done, of datasets and of what was generated."""

from storage.columns import DOUBLE, LONG, STRING, STRINGS, Column, View, optional, view
from storage.view_columns import joined, of

C = Column

DATASET_VIEWS: tuple[View, ...] = (
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
        "dataset_sources",
        "A source that a dataset's member is made of: one row, or two for a mixture of two.",
        "SELECT DISTINCT licence, attribution FROM dataset_sources "
        "WHERE name = 'demo' AND version = 1 ORDER BY ALL",
        """WITH parents AS (
               SELECT clip_id AS item_id, clip_id, 'clip' AS role FROM windows
               UNION ALL SELECT mix_id, speech_clip_id, 'speech' FROM mixtures
                         WHERE speech_clip_id IS NOT NULL
               UNION ALL SELECT mix_id, ambience_clip_id, 'ambience' FROM mixtures
                         WHERE ambience_clip_id IS NOT NULL)
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
