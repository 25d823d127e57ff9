"""The view over offsets: which sources are out of sync throughout."""

from storage.columns import BOOL, DOUBLE, LONG, Column, View, view
from storage.view_columns import of

C = Column

SIGHT_VIEWS: tuple[View, ...] = (
    view(
        "source_offsets",
        "How far a source's sound and picture are apart: its clips that are sure of it, together.",
        "SELECT uri, offset_s, clips FROM source_offsets WHERE is_out_of_sync ORDER BY uri",
        """WITH sure AS (
               SELECT w.source_id, y.offset_s, y.confidence,
                      sum(y.confidence) OVER up_to AS below,
                      sum(y.confidence) OVER (PARTITION BY w.source_id) AS weight
               FROM syncs y JOIN windows w USING (clip_id)
               WHERE y.confidence >= 0.9 AND y.offset_s IS NOT NULL
               WINDOW up_to AS (PARTITION BY w.source_id ORDER BY y.offset_s, w.clip_id)),
           middle AS (
               SELECT source_id, count(*) AS clips, any_value(weight) AS weight,
                      min(offset_s) FILTER (below >= weight / 2) AS offset_s
               FROM sure GROUP BY source_id),
           spreads AS (
               SELECT m.source_id, sum(y.confidence * abs(y.offset_s - m.offset_s)) / m.weight
                      AS spread_s
               FROM middle m JOIN sure y USING (source_id) GROUP BY m.source_id, m.weight)
           SELECT s.source_id, s.uri, m.offset_s, m.clips, p.spread_s,
                  m.clips >= 2 AND p.spread_s <= 0.08 AS is_constant,
                  m.clips >= 2 AND p.spread_s <= 0.08
                  AND (m.offset_s > 0.185 OR m.offset_s < -0.09) AS is_out_of_sync
           FROM middle m JOIN spreads p USING (source_id) JOIN sources s USING (source_id)
           ORDER BY s.uri""",
        *of("sources", "source_id", "uri"),
        C(
            "offset_s",
            DOUBLE,
            "Median of its clips' offsets, weighted by confidence: positive is sound late.",
            "s",
            "0.4012",
        ),
        C("clips", LONG, "Clips with a confidence of at least 0.9.", "", "12"),
        C("spread_s", DOUBLE, "Their mean distance from the median, weighted.", "s", "0.0214"),
        C("is_constant", BOOL, "Two clips or more, within 80 ms on average.", "", "true"),
        C(
            "is_out_of_sync",
            BOOL,
            "Constant, and sound more than 185 ms late or 90 ms early (ITU-R BT.1359).",
            "",
            "true",
        ),
    ),
)
