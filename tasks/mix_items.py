"""Which speech is mixed with which ambience, in which room: the items of the mix stage, as SQL.

Partners are chosen on rings (consistent hashing, Karger et al. 1997): every class of sound, every
ambience clip of a class and every room has places on a ring, and a mixture takes the holder of the
last place before its own. A new clip changes only the choices that it wins, the cost does not grow
with pairs, and no mixture crosses splits. Classes come before clips, so that a hundred recordings
of rain are heard as often as one of a train.
"""

from tasks.licences import allowed

# Places of each class and room, and of each clip: more share them out more evenly and cost more.
FEW_PLACES, MANY_PLACES = 512, 64
MAX_TAKES_FACTOR = 4


def _ring(name: str, holders: str, groups: str, holder: str, places: int) -> str:
    """Common table expressions of a ring: `holder` by places, apart for each of `groups`."""
    joined = ", ".join(groups.split())
    comma = f"{joined}, " if joined else ""
    grouped = f"GROUP BY {joined}" if joined else ""
    return f"""
        {name}_places AS (
            SELECT {comma}{holder},
                   md5_number_lower(concat_ws(':', '{name}', {comma}{holder}, n)) AS place
            FROM {holders}, range({places}) places(n)
        ),
        {name} AS (
            FROM {name}_places
            UNION ALL
            SELECT {comma}arg_max({holder}, place), 0::UBIGINT FROM {name}_places {grouped}
        )"""


def _place(name: str) -> str:
    """A mixture's own place on a ring."""
    return f"md5_number_lower(concat_ws(':', '{name}', $seed, i.speech_clip_id, i.take))"


HEARD = f"""
        heard AS (
            SELECT w.clip_id, k.kind, p.split, w.start_s, w.end_s, w.duration_s, w.has_picture,
                   CASE $rate_hz WHEN 48000 THEN d.audio48_ref ELSE d.audio16_ref END AS audio_ref,
                   d.audio_s, l.speech_spans, l.has_speech, l.speech_score, l.silence_ratio,
                   l.top_tag, coalesce(t.language, '') AS language
            FROM windows w
            JOIN kinds k USING (clip_id)
            JOIN listens l USING (clip_id)
            JOIN decodes d USING (source_id)
            JOIN splits p USING (source_id)
            LEFT JOIN transcripts t USING (clip_id)
            WHERE k.kept AND d.audio16_ref IS NOT NULL AND {allowed("w.source_id")}
        ),
        speech AS (
            SELECT * FROM heard
            WHERE kind IN ('speech_on_screen', 'speech_off_screen') AND len(speech_spans) > 0
        ),
        ambience AS (
            SELECT * REPLACE (least(end_s, audio_s) AS end_s) FROM heard
            WHERE kind = 'sound' AND NOT has_speech
              AND speech_score <= $max_ambience_speech_score
              AND silence_ratio <= $max_ambience_silence
              AND least(end_s, audio_s) - start_s >= $min_ambience_s
        )"""

# Takes of a clip follow its language's share: fewer clips of a language, more takes of each.
TAKEN = f"""
        spoken AS (SELECT split, language, count(*) AS clips FROM speech GROUP BY ALL),
        taken AS (
            SELECT split, language,
                   CASE WHEN $mixtures_per_clip = 0 THEN 0 ELSE
                   greatest(1, least({MAX_TAKES_FACTOR} * $mixtures_per_clip, round(
                       $mixtures_per_clip * pow(avg(clips) OVER (PARTITION BY split) / clips,
                                                $language_balance))))::INTEGER END AS takes
            FROM spoken
        ),
        wanted AS (
            SELECT s.clip_id AS speech_clip_id, s.split, unnest(range(t.takes))::INTEGER AS take
            FROM speech s JOIN taken t USING (split, language)
        )"""

ITEMS = f"""
        WITH {HEARD},
        {TAKEN},
        kinds_of_sound AS (SELECT DISTINCT split, top_tag FROM ambience),
        {_ring("classes", "kinds_of_sound", "split", "top_tag", FEW_PLACES)},
        {_ring("sounds", "ambience", "split top_tag", "clip_id", MANY_PLACES)},
        halls AS (SELECT room_id, min(ref) AS ref, min(t60_s) AS t60_s FROM rooms GROUP BY room_id),
        {_ring("responses", "halls", "", "room_id", FEW_PLACES)},
        classed AS (
            SELECT i.*, c.top_tag FROM (
                SELECT *, {_place("classes")} AS place FROM wanted i
            ) i ASOF JOIN classes c ON i.split = c.split AND i.place >= c.place
        ),
        sounded AS (
            SELECT i.* EXCLUDE (place), a.clip_id AS ambience_clip_id FROM (
                SELECT i.* REPLACE ({_place("sounds")} AS place) FROM classed i
            ) i ASOF JOIN sounds a
            ON i.split = a.split AND i.top_tag = a.top_tag AND i.place >= a.place
        ),
        roomed AS (
            SELECT i.* EXCLUDE (place), r.room_id FROM (
                SELECT i.*, {_place("responses")} AS place FROM sounded i
            ) i ASOF LEFT JOIN responses r ON i.place >= r.place
        )
        SELECT i.speech_clip_id || ':' || i.take AS item_id, i.take, i.split,
               s.clip_id AS speech_clip_id, s.start_s AS speech_start_s,
               s.end_s AS speech_end_s, s.audio_ref AS speech_audio_ref, s.speech_spans,
               s.has_picture AND s.kind <> 'speech_off_screen' AS speech_has_picture,
               a.clip_id AS ambience_clip_id, a.start_s AS ambience_start_s,
               a.end_s AS ambience_end_s, a.audio_ref AS ambience_audio_ref,
               a.has_picture AS ambience_has_picture,
               r.room_id, r.ref AS room_ref, r.t60_s,
               s.duration_s AS cost_s
        FROM roomed i
        JOIN speech s ON s.clip_id = i.speech_clip_id
        JOIN ambience a ON a.clip_id = i.ambience_clip_id
        LEFT JOIN halls r ON r.room_id = i.room_id
    """
