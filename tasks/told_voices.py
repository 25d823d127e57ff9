"""Whose voice a sample of a dataset is told.

A vector of a voice also tells a little of what is said, and how and where; a model that is given a
sample's own learns to read these off it, and misses them where it is given another recording's. So
where the truth or the manifest names who speaks, a sample is given the voice of *another clip* of
the same speaker: the next by id, round the corner, among the training clips; a held-out item of a
speaker without any, among those of its split. It is one clip and no mean of all, so that a model
meets a speaker as far apart as single recordings are, which is what `sonify.voice_file` gives it.

Where nobody is named, or a speaker has one clip, it is the clip's own. Only members' voices are
given: a licence that keeps a clip out keeps its voice out. A mixture has what its speech clip has.
"""

from tasks.speaker import speaker_name


def told_voices(may_enter: str) -> str:
    """SQL: the expressions `ring` and `voiced`, a row a clip with the voice that it is told.

    None has one where `$speaker` names no network. `may_enter` says in SQL whether a window `w` is
    of a source that may be a member.
    """
    return f"""ring AS (
        SELECT *, row_number() OVER (PARTITION BY name, split ORDER BY clip_id) AS place,
               count(*) OVER (PARTITION BY name, split) AS many,
               count(*) FILTER (split = 'train') OVER (PARTITION BY name) AS many_train
        FROM (
            SELECT w.clip_id, p.split, {speaker_name("w.source_id")} AS name,
                   sp.shard_ref, sp.content_hash
            FROM features sp JOIN windows w USING (clip_id) JOIN kinds k USING (clip_id)
            JOIN splits p USING (source_id)
            WHERE sp.extractor = $speaker AND k.kept AND k.task IN ('tts', 'visual_tts')
              AND {may_enter}
        )
    ),
    voiced AS (
        SELECT r.clip_id AS for_clip_id,
               struct_pack(clip_id := coalesce(o.clip_id, r.clip_id), name := r.name,
                           shard_ref := coalesce(o.shard_ref, r.shard_ref),
                           content_hash := coalesce(o.content_hash, r.content_hash)) AS speaker
        FROM ring r
        LEFT JOIN ring o ON o.name = r.name
             AND o.split = CASE WHEN r.many_train > 0 THEN 'train' ELSE r.split END
             AND o.place = r.place % CASE WHEN r.many_train > 0 THEN r.many_train ELSE r.many END
                           + 1
    )"""
