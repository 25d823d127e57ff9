"""What the report shows, as plain data: queries on a catalog that is open for reading.

A page is about one dataset, its newest version. The funnel counts the whole catalog, because a
file that was left out belongs to no dataset.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

from storage.catalog import Catalog
from tasks.report_gates import gate_rows
from tasks.report_mixtures import MixedReport, mixed_report
from tasks.report_speech import SpokenReport, corrected_words, spoken_report
from tasks.source_uri import name_of, told

Row = dict[str, Any]

MAX_FILMS = 8
TAGS_PER_CLIP = 5
EXAMPLE_ROWS = 8
MAX_LATE_SOURCES = 20
MAX_REJECTS = 500


class ExampleQuery(NamedTuple):
    """A question about the data, and the SQL that answers it on any catalog."""

    title: str
    sql: str


EXAMPLE_QUERIES: tuple[ExampleQuery, ...] = (
    ExampleQuery(
        "Which kinds of clips are there, and how many minutes of each are kept?",
        "SELECT kind, kept, clips,\n       round(60 * hours, 2) AS minutes\nFROM hours_by_kind",
    ),
    ExampleQuery(
        "Which phonemes are spoken most, and how long do they last?",
        "SELECT phoneme, count(*) AS spoken,\n"
        "  avg(1000 * (end_s - start_s))::INT AS ms\n"
        "FROM phonemes\n"
        "GROUP BY phoneme\n"
        "ORDER BY spoken DESC, phoneme LIMIT 8",
    ),
    ExampleQuery(
        "Which sounds lie under the speech of the mixtures, and how far below it?",
        "SELECT a.top_tag AS ambience,\n"
        "  count(*) AS mixtures,\n"
        "  round(avg(achieved_snr_db), 1) AS snr_db\n"
        "FROM mixtures m JOIN clips a\n"
        "  ON a.clip_id = m.ambience_clip_id\n"
        "WHERE achieved_snr_db IS NOT NULL\n"
        "GROUP BY ambience\n"
        "ORDER BY mixtures DESC, ambience LIMIT 8",
    ),
)


@dataclass(frozen=True, slots=True)
class Loss:
    """Items that left the funnel after a step, and why."""

    count: int
    why: str


@dataclass(frozen=True, slots=True)
class FunnelStep:
    """A step of the funnel: its items, their length, and what was lost before the next step."""

    name: str
    unit: str
    count: int
    duration_s: float
    lost: tuple[Loss, ...] = ()


@dataclass(frozen=True, slots=True)
class ReportData:
    """All that a report shows, in the order of its page; empty lists where there is nothing."""

    name: str
    dataset: Row | None
    run: Row | None
    counts: Row
    funnel: list[FunnelStep]
    splits: list[Row]
    kinds: list[Row]
    gates: list[Row]
    tasks: list[Row]
    clips: list[Row]
    spoken: SpokenReport
    late_sources: list[Row]
    mixed: MixedReport
    checkpoints: list[Row]
    losses: list[Row]
    evaluations: list[Row]
    codec: Row | None
    films: list[Row]
    rejects: list[Row]
    examples: list[Row]


def report_data(catalog: Catalog, name: str) -> ReportData:
    """What the report on the newest dataset of a name shows."""
    dataset = _one(
        catalog, "FROM datasets SEMI JOIN newest_datasets USING (dataset_id) WHERE name = ?", [name]
    )
    dataset_id = dataset["dataset_id"] if dataset else ""
    checkpoints = _checkpoints(catalog, dataset_id)
    newest = checkpoints[0]["checkpoint_id"] if checkpoints else ""
    run = _run(catalog, dataset)
    return ReportData(
        name=name,
        dataset=dataset,
        run=run,
        counts=_one(catalog, COUNTS, [dataset_id]) or {},
        funnel=_funnel(catalog, dataset_id),
        splits=catalog.rows(SPLITS, [dataset_id]),
        kinds=catalog.rows(KINDS),
        gates=gate_rows(catalog),
        tasks=catalog.rows(TASKS, [dataset_id]),
        clips=_clips(catalog, dataset_id),
        spoken=spoken_report(catalog),
        late_sources=catalog.rows(LATE_SOURCES, [MAX_LATE_SOURCES]),
        mixed=mixed_report(catalog, dataset_id, run["recipe"] if run else None),
        checkpoints=checkpoints,
        losses=catalog.rows(LOSSES, [newest]),
        evaluations=catalog.rows(EVALUATIONS, [newest]),
        codec=_codec(catalog, dataset),
        films=catalog.rows(FILMS, [dataset_id, dataset_id, MAX_FILMS]),
        rejects=[_reject(row) for row in catalog.rows(REJECTS, [MAX_REJECTS])],
        examples=[_answer(catalog, query) for query in EXAMPLE_QUERIES],
    )


def file_name(uri: str | None) -> str:
    """The file's name without its folders; a page that is passed on shows no machine's paths."""
    # A page holds UTF-8 only.
    return name_of(uri).encode("utf-8", "backslashreplace").decode() if uri else ""


COUNTS = """
    SELECT (SELECT count(*) FROM files) AS files,
           (SELECT count(*) FROM sources) AS sources,
           (SELECT count(*) FROM windows) AS clips,
           (SELECT count(*) FROM mixtures) AS mixtures,
           (SELECT count(*) FROM rejects) AS rejects,
           (SELECT count(DISTINCT name) FROM datasets) AS datasets,
           (SELECT count(*) FROM dataset_items WHERE dataset_id = ?) AS members
"""

SPLITS = """
    SELECT split, count(*) AS items, count(*) FILTER (task = 'mixture') AS mixtures,
           sum(duration_s) AS duration_s
    FROM dataset_items WHERE dataset_id = ? GROUP BY split
    ORDER BY CASE split WHEN 'train' THEN 0 WHEN 'validation' THEN 1 ELSE 2 END, split
"""

KINDS = """
    SELECT kind, count(*) AS clips, sum(duration_s) AS duration_s,
           count(*) FILTER (kept) AS kept,
           coalesce(sum(duration_s) FILTER (kept), 0) AS kept_s
    FROM clips WHERE kind IS NOT NULL GROUP BY kind ORDER BY kept_s DESC, kind
"""

TASKS = """
    SELECT task, count(*) AS items, sum(duration_s) AS duration_s,
           count(*) FILTER (split = 'train') AS train,
           count(*) FILTER (split = 'validation') AS validation,
           count(*) FILTER (split = 'test') AS test
    FROM dataset_items WHERE dataset_id = ? GROUP BY task
    ORDER BY CASE task WHEN 'v2s' THEN 0 WHEN 'visual_tts' THEN 1 WHEN 'tts' THEN 2 ELSE 3 END
"""

# Clips of many sources before many clips of one source, members of the dataset first.
CLIPS = """
    WITH member AS (SELECT item_id FROM dataset_items WHERE dataset_id = ?),
    turns AS (
        SELECT c.*, c.clip_id IN (FROM member) AS in_dataset,
               row_number() OVER (PARTITION BY c.kind, c.source_id ORDER BY c.kept DESC,
                                  c.speech_s DESC, c.clip_id) AS turn,
               CASE kind WHEN 'silent' THEN 1 WHEN 'sound' THEN 2 ELSE 3 END AS cards
        FROM clips c WHERE c.kind IS NOT NULL),
    chosen AS (
        SELECT *, row_number() OVER (PARTITION BY kind, has_picture ORDER BY kept DESC,
                                     in_dataset DESC, turn, clip_id) AS place
        FROM turns QUALIFY place <= cards)
    SELECT chosen.*, d.audio16_ref, d.frames10_ref, l.speech_spans, t.method, t.flags,
           t.avg_logprob, t.model_id, y.method AS av_method, d.faces_count IS NOT NULL AS looked_at
    FROM chosen
    JOIN decodes d USING (source_id)
    LEFT JOIN listens l USING (clip_id)
    LEFT JOIN transcripts t USING (clip_id)
    LEFT JOIN syncs y USING (clip_id)
    ORDER BY CASE kind WHEN 'speech_on_screen' THEN 0 WHEN 'speech_off_screen' THEN 1
                       WHEN 'mixed' THEN 2 WHEN 'sound' THEN 3 ELSE 4 END,
             kind, has_picture DESC, place
"""

FACES = """
    SELECT f.clip_id, f.track, f.seen_s, (f.box_left + f.box_right) / 2 AS across,
           k.confidence, coalesce(k.talks, false) AS talks
    FROM faces f LEFT JOIN talks k USING (clip_id, track)
    WHERE f.clip_id IN (SELECT unnest(?)) ORDER BY f.clip_id, f.track
"""

LATE_SOURCES = """
    SELECT uri, offset_s, clips, spread_s FROM source_offsets WHERE is_out_of_sync
    ORDER BY abs(offset_s) DESC, uri LIMIT ?
"""

LOSSES = """
    SELECT phase, step, task, loss FROM losses
    WHERE checkpoint_id = ? AND t_bucket = 'all' ORDER BY step, task
"""

EVALUATIONS = """
    SELECT * FROM evaluations WHERE checkpoint_id = ?
    ORDER BY metric, unit, CASE task WHEN 'all' THEN 0 ELSE 1 END, task, split
"""

FILMS = """
    SELECT g.*, s.uri, s.video_codec, s.has_audio AS source_has_audio, d.frames10_ref,
           coalesce(i.splits, []) AS splits
    FROM generations g
    JOIN checkpoints c USING (checkpoint_id)
    LEFT JOIN sources s USING (source_id)
    LEFT JOIN decodes d USING (source_id)
    LEFT JOIN runs r ON r.run_id = c.run_id
    LEFT JOIN (SELECT w.source_id, list(DISTINCT x.split ORDER BY x.split) AS splits
               FROM dataset_items x
               LEFT JOIN mixtures m ON m.mix_id = x.item_id
               JOIN windows w ON w.clip_id IN (x.item_id, m.speech_clip_id, m.ambience_clip_id)
               WHERE x.dataset_id = ? GROUP BY w.source_id) i USING (source_id)
    WHERE c.dataset_id = ?
    ORDER BY r.started_at DESC, g.file_ref, g.take LIMIT ?
"""

REJECTS = """
    SELECT r.stage, r.item_id, r.reason, r.message,
           coalesce(r.uri, s.uri, c.uri) AS uri
    FROM rejects r
    LEFT JOIN sources s ON s.source_id = r.item_id
    LEFT JOIN clips c ON c.clip_id = r.item_id
    ORDER BY r.stage, uri, r.item_id LIMIT ?
"""


def _one(catalog: Catalog, sql: str, parameters: list[Any] | None = None) -> Row | None:
    rows = catalog.rows(sql, parameters)
    return rows[0] if rows else None


def _run(catalog: Catalog, dataset: Row | None) -> Row | None:
    """The run that froze the dataset, or the newest run where there is no dataset."""
    return _one(
        catalog,
        "SELECT * FROM runs ORDER BY run_id = ? DESC, started_at DESC LIMIT 1",
        [dataset["run_id"] if dataset else ""],
    )


def _checkpoints(catalog: Catalog, dataset_id: str) -> list[Row]:
    return catalog.rows(
        "SELECT c.* FROM checkpoints c LEFT JOIN runs r USING (run_id) "
        "WHERE c.dataset_id = ? ORDER BY r.started_at DESC, c.checkpoint_id",
        [dataset_id],
    )


def _codec(catalog: Catalog, dataset: Row | None) -> Row | None:
    return _one(
        catalog,
        "SELECT * FROM codecs ORDER BY codec_id = ? DESC, codec_id LIMIT 1",
        [dataset["codec_id"] if dataset else ""],
    )


def _clips(catalog: Catalog, dataset_id: str) -> list[Row]:
    clips = catalog.rows(CLIPS, [dataset_id])
    ids = [clip["clip_id"] for clip in clips]
    for table, order in (("tags", "rank"), ("words", "position"), ("phonemes", "position")):
        rows = catalog.rows(
            f"SELECT * FROM {table} WHERE clip_id IN (SELECT unnest(?)) ORDER BY clip_id, {order}",
            [ids],
        )
        for clip in clips:
            own = [row for row in rows if row["clip_id"] == clip["clip_id"]]
            clip[table] = own[:TAGS_PER_CLIP] if table == "tags" else own
    faces = catalog.rows(FACES, [ids])
    for clip in clips:
        clip["words"] = corrected_words(clip["words"], clip["phonemes"])
        clip["faces"] = [face for face in faces if face["clip_id"] == clip["clip_id"]]
    return clips


def _reject(row: Row) -> Row:
    file = file_name(row["uri"])
    message = row["message"]
    if file:
        message = message.replace(told(row["uri"]), file).replace(row["uri"], file)
    return row | {"file": file, "message": message}


def _answer(catalog: Catalog, query: ExampleQuery) -> Row:
    rows = catalog.rows(query.sql)[:EXAMPLE_ROWS]
    return {
        "title": query.title,
        "sql": query.sql,
        "columns": list(rows[0]) if rows else [],
        "rows": [list(row.values()) for row in rows],
    }


# -- the funnel ----------------------------------------------------------------------------------


def _funnel(catalog: Catalog, dataset_id: str) -> list[FunnelStep]:
    """Steps from files to the dataset; the losses of each sum to the drop to the next."""
    sizes = {row["name"]: row for row in catalog.rows(FUNNEL_SIZES, [dataset_id])}
    reasons = catalog.rows(FUNNEL_LOSSES, [dataset_id, dataset_id])
    names = list(sizes)
    steps = []
    for name, following in zip(names, [*names[1:], ""], strict=True):
        row = sizes[name]
        lost = [Loss(r["items"], r["why"]) for r in reasons if r["after"] == name and r["items"]]
        if following and row["unit"] == sizes[following]["unit"]:
            rest = row["items"] - sizes[following]["items"] - sum(loss.count for loss in lost)
            if rest > 0:
                lost.append(Loss(rest, "not worked yet"))
        steps.append(
            FunnelStep(name, row["unit"], row["items"], row["duration_s"] or 0.0, tuple(lost))
        )
    return steps


FUNNEL_SIZES = """
    SELECT 'files' AS name, 'files' AS unit, count(*) AS items, sum(s.duration_s) AS duration_s
    FROM files f LEFT JOIN sources s USING (source_id)
    UNION ALL SELECT 'sources', 'files', count(*), sum(duration_s) FROM sources
    UNION ALL SELECT 'decoded', 'files', count(*), sum(duration_s) FROM decodes
    UNION ALL SELECT 'clips', 'clips', count(*), sum(duration_s) FROM windows
    UNION ALL SELECT 'heard', 'clips', count(*), sum(duration_s)
              FROM windows JOIN listens USING (clip_id)
    UNION ALL SELECT 'kept', 'clips', count(*), sum(duration_s) FROM clips WHERE kept
    UNION ALL SELECT 'in the dataset', 'clips', count(*), sum(duration_s)
              FROM dataset_items WHERE dataset_id = ? AND task <> 'mixture'
"""

FUNNEL_LOSSES = """
    SELECT 'files' AS after, count(*) - count(DISTINCT source_id) AS items,
           'same bytes as another file' AS why FROM files
    UNION ALL
    SELECT CASE stage WHEN 'scan' THEN 'files' WHEN 'probe' THEN 'files'
                      WHEN 'decode' THEN 'sources' WHEN 'clips' THEN 'decoded'
                      WHEN 'listen' THEN 'clips' END,
           count(*), replace(reason, '_', ' ') || ' (' || stage || ')'
    FROM rejects WHERE stage IN ('scan', 'probe', 'decode', 'clips', 'listen')
    GROUP BY stage, reason
    UNION ALL
    SELECT 'clips', count(*), 'no sound track' FROM windows WHERE NOT has_audio
    UNION ALL
    SELECT 'heard', count(*), replace(drop_reason, '_', ' ')
    FROM clips JOIN listens USING (clip_id) WHERE NOT kept GROUP BY drop_reason
    UNION ALL
    SELECT 'kept', count(*),
           CASE WHEN task IS NULL THEN 'sound without picture: ambience only'
                WHEN NOT (len(l.licences) > 0 AND list_has_all(d.licences, l.licences))
                THEN 'licence (snapshot)'
                ELSE coalesce(r.reason, 'left out of the snapshot') END AS why
    FROM clips c
    JOIN source_licences l USING (source_id)
    LEFT JOIN datasets d ON d.dataset_id = ?
    LEFT JOIN (SELECT item_id, min(replace(reason, '_', ' ') || ' (' || stage || ')') AS reason
               FROM rejects GROUP BY item_id) r ON r.item_id = c.clip_id
    WHERE kept AND clip_id NOT IN (SELECT item_id FROM dataset_items WHERE dataset_id = ?)
    GROUP BY why
    ORDER BY after, items DESC, why
"""
