"""Mix speech with ambience at a requested level: the recipe is the sample.

`mix_plan` draws the recipe of a mixture and `mix_render` makes its sound; `mix_id` is the hash of
the recipe, and rendering it again gives the same samples.

Ambience is chosen by rendezvous hashing: each pair of speech clip and take draws a hash for every
ambience clip of its split, and the lowest wins. A new clip changes only the choices that it wins,
and no mixture crosses splits. Mix and stems are stored as 16-bit FLAC.
"""

from dataclasses import asdict
from typing import Any

from storage.blobs import Blobs
from storage.ids import canonical_json, mix_id
from storage.rejects import Rejected
from storage.stage import Output, Rows, ShardRef, ShardResult, ShardTarget, Stage, run_items
from tasks.licences import allowed
from tasks.media import read_audio
from tasks.mix_plan import MixConfig, Recipe, plan_recipe
from tasks.mix_render import Measures, flac_bytes, render


def mix_shard(shard: ShardRef, out: ShardTarget, config: MixConfig) -> ShardResult:
    """Plans and renders the mixtures of a shard; stores mix and stems as FLAC."""
    blobs = Blobs(out.workspace)

    def mix(item: dict[str, Any]) -> Rows:
        recipe = plan_recipe(item, config)
        rate_hz = recipe["rate_hz"]
        speech, ambience = (
            read_audio(
                out.workspace,
                item[f"{parent}_audio_ref"],
                item[f"{parent}_start_s"],
                item[f"{parent}_end_s"],
                rate_hz,
            )
            for parent in ("speech", "ambience")
        )
        rendered = render(recipe, speech, ambience, config.max_ambience_gain_db)
        require_levels(rendered.measures, recipe, config)
        row = {
            "mix_id": mix_id(recipe),
            "item_id": item["item_id"],
            "speech_clip_id": item["speech_clip_id"],
            "ambience_clip_id": item["ambience_clip_id"],
            "regime": recipe["regime"],
            "requested_snr_db": recipe["requested_snr_db"],
            **asdict(rendered.measures),
            "duration_s": recipe["duration_s"],
            "split": item["split"],
            "mix_ref": blobs.put_bytes(flac_bytes(rendered.mix, rate_hz), ".flac"),
            "speech_ref": blobs.put_bytes(flac_bytes(rendered.speech_stem, rate_hz), ".flac"),
            "ambience_ref": blobs.put_bytes(flac_bytes(rendered.ambience_stem, rate_hz), ".flac"),
            "recipe": canonical_json(recipe),
        }
        return {"mixtures": [row]}

    return run_items(shard, out, mix)


def require_levels(measures: Measures, recipe: Recipe, config: MixConfig) -> None:
    """Raises Rejected("level_off") where a measured level is not what was asked for."""
    asked = recipe["master"]
    checks = (
        ("SNR (dB)", measures.achieved_snr_db, recipe["requested_snr_db"], config.tolerance_db),
        (
            "loudness (LUFS)",
            measures.loudness_lufs,
            asked["loudness_lufs"],
            config.loudness_tolerance_lu,
        ),
    )
    wrong = [
        f"{name} is {value:.2f} and {wanted:.2f} was asked, tolerance {tolerance:g}"
        for name, value, wanted, tolerance in checks
        if not abs(value - wanted) <= tolerance
    ]
    if measures.true_peak_dbtp > asked["true_peak_dbtp"]:
        wrong.append(f"the true peak is {measures.true_peak_dbtp:.2f} dBTP")
    if wrong:
        raise Rejected(
            "level_off",
            f"{recipe['speech']['clip_id']} over {recipe['ambience']['clip_id']}: "
            + "; ".join(wrong),
            {"requested_snr_db": recipe["requested_snr_db"], **asdict(measures)},
        )


STAGE = Stage(
    name="mix",
    title="mix speech and ambience",
    version=1,
    config=MixConfig,
    items=f"""
        WITH heard AS (
            SELECT w.clip_id, k.kind, p.split, w.start_s, w.end_s, w.duration_s, w.has_picture,
                   d.audio16_ref, d.audio_s, l.speech_spans, l.has_speech, l.speech_score,
                   l.silence_ratio
            FROM windows w
            JOIN kinds k USING (clip_id)
            JOIN listens l USING (clip_id)
            JOIN decodes d USING (source_id)
            JOIN splits p USING (source_id)
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
        ),
        takes AS (SELECT unnest(range($mixtures_per_clip))::INTEGER AS take),
        pairs AS (
            SELECT s.clip_id AS speech_clip_id, t.take,
                   arg_min(a.clip_id, md5(concat_ws(':', $seed, s.clip_id, a.clip_id, t.take)))
                       AS ambience_clip_id
            FROM speech s JOIN ambience a ON a.split = s.split CROSS JOIN takes t
            GROUP BY s.clip_id, t.take
        )
        SELECT p.speech_clip_id || ':' || p.take AS item_id, p.take, s.split,
               s.clip_id AS speech_clip_id, s.kind AS speech_kind, s.start_s AS speech_start_s,
               s.end_s AS speech_end_s, s.audio16_ref AS speech_audio_ref, s.speech_spans,
               s.has_picture AND s.kind <> 'speech_off_screen' AS speech_has_picture,
               a.clip_id AS ambience_clip_id, a.start_s AS ambience_start_s,
               a.end_s AS ambience_end_s, a.audio16_ref AS ambience_audio_ref,
               a.has_picture AS ambience_has_picture,
               s.duration_s AS cost_s
        FROM pairs p
        JOIN speech s ON s.clip_id = p.speech_clip_id
        JOIN ambience a ON a.clip_id = p.ambience_clip_id
    """,
    outputs=(Output("mixtures", key="item_id"),),
    run=mix_shard,
    selects=("licences",),
)
