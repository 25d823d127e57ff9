"""Freeze a dataset: its members, their split, and training shards that hold every input."""

import hashlib
import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from models.phoneme_ids import TABLE_ID
from models.timeline import MOTION_FPS, VISUAL_FPS
from storage.features import DTYPE, read_feature
from storage.stage import Output, Rows, ShardRef, ShardResult, ShardTarget, Stage, run_items
from storage.versions import PLACE
from storage.workspace import Workspace
from tasks.batches import FEATURES, SPEAKER
from tasks.clip_encoders import NONE, LipsName, SyncName
from tasks.encoders import EncoderName
from tasks.licences import allowed
from tasks.look import COMPOSED, MOTION_EXTRACTOR
from tasks.mix_conditions import IS_COMPOSED, PICTURE, combined, phonemes_on_grid, whole
from tasks.scan import BELOW_FOLDER
from tasks.speaker import SpeakerName
from tasks.told_voices import told_voices

SPLITS = ("train", "validation", "test")
SHARD_ITEMS = 512
ROW_GROUP_ITEMS = 32
PAGE_BYTES = 2**30
SAMPLE_SCHEMA = pa.schema(
    [
        ("item_id", pa.string()),
        ("task", pa.string()),
        ("split", pa.string()),
        ("latents", pa.binary()),
        ("latent_channels", pa.int32()),
        ("phonemes", pa.binary()),
        ("visual", pa.binary()),
        ("visual_channels", pa.int32()),
        ("motion", pa.binary()),
        ("motion_channels", pa.int32()),
        ("latents_bytes", pa.int32()),
        ("phonemes_bytes", pa.int32()),
        ("visual_bytes", pa.int32()),
        ("motion_bytes", pa.int32()),
        ("arrays_sha256", pa.string()),
        ("sync", pa.binary()),
        ("sync_channels", pa.int32()),
        ("lips", pa.binary()),
        ("lips_channels", pa.int32()),
        ("sync_bytes", pa.int32()),
        ("lips_bytes", pa.int32()),
        ("speaker", pa.binary()),
        ("speaker_channels", pa.int32()),
        ("speaker_bytes", pa.int32()),
        ("speaker_name", pa.string()),
    ]
)
ARRAYS = ("latents", "phonemes", "visual", "motion", *FEATURES, SPEAKER)


@dataclass(frozen=True, slots=True)
class SnapshotConfig:
    """What the dataset is called and what may enter it.

    Attributes:
        name: name of the dataset; each change of its members gives it a new version, and members
            that it had before give it back the version that it had.
        folder: only sources below this folder are members; set from the recipe.
        licences: only sources under these licences are members, are mixed, and teach the codec;
            all are where the list is empty. A source whose licence is unknown is under none.
        manifest: where this manifest lists sources, only these are members; set from the recipe.
        extractor: whose image features are taken; set from `look.extractor`.
        sync: whose sync features are taken, if any; set from `look.sync`.
        lips: whose lip features are taken, if any; set from `faces.lips`.
        speaker: whose vectors of voices are taken, if any; set from `speaker.network`.
    """

    name: str = "dataset"
    folder: str = ""
    licences: tuple[str, ...] = ()
    manifest: str = ""
    extractor: EncoderName = "efficientnet_lite0"
    sync: SyncName = "none"
    lips: LipsName = "none"
    speaker: SpeakerName = "none"


def snapshot_shard(shard: ShardRef, out: ShardTarget, config: SnapshotConfig) -> ShardResult:
    """Freezes a dataset into rows of `datasets` and `dataset_items` and into training shards."""
    return run_items(shard, out, lambda item: snapshot(item, out, config))


def snapshot(item: dict[str, Any], out: ShardTarget, config: SnapshotConfig) -> Rows:
    """The rows of one dataset; raises Rejected where a feature's bytes are not as recorded."""
    members = item["_members"]
    refs = []
    for start in range(0, len(members), SHARD_ITEMS):
        out.report(start, len(members), "training shards")
        samples = [_sample(out.workspace, m) for m in members[start : start + SHARD_ITEMS]]
        refs.append(_write_samples(out.workspace, samples))
    dataset_id = item["item_id"]
    in_split = {name: sum(m["split"] == name for m in members) for name in SPLITS}
    dataset = {
        "dataset_id": dataset_id,
        "name": config.name,
        "version": item["_version"],
        "digest": item["digest"],
        "catalog_snapshot": item["_catalog_snapshot"],
        **{f"{name}_items": number for name, number in in_split.items()},
        "hours": sum(m["duration_s"] for m in members) / 3600,
        "codec_id": members[0]["codec_id"],
        "image_extractor": config.extractor,
        "sync_extractor": None if config.sync == NONE else config.sync,
        "lips_extractor": None if config.lips == NONE else config.lips,
        "shard_refs": refs,
        "licences": sorted(config.licences) or None,
        "phoneme_table": TABLE_ID,
        "freeze_number": item["freeze_number"],
    }
    frozen = ("item_id", "task", "split", "duration_s", "content_hash")
    rows = [{name: m[name] for name in frozen} | {"dataset_id": dataset_id} for m in members]
    return {"datasets": [dataset], "dataset_items": rows}


def _sample(workspace_root: str, member: dict[str, Any]) -> dict[str, Any]:
    latents = _feature(workspace_root, member["item_id"], member["latents"])
    said, duration_s = member["phonemes"] or [], member["duration_s"]
    phonemes = phonemes_on_grid(said, duration_s, member["phonemes_at_s"])
    return {
        "item_id": member["item_id"],
        "task": member["task"],
        "split": member["split"],
        **_packed("latents", "latent_channels", latents),
        **_packed("visual", "visual_channels", _seen(workspace_root, member, "visual", VISUAL_FPS)),
        **_packed("motion", "motion_channels", _seen(workspace_root, member, "motion", MOTION_FPS)),
        **_packed("sync", "sync_channels", _seen(workspace_root, member, "sync", MOTION_FPS)),
        **_packed("lips", "lips_channels", _lips(workspace_root, member)),
        **_speaker(workspace_root, member["speaker"]),
        "phonemes": phonemes.tobytes(),
    }


def _feature(workspace_root: str, clip_id: str, feature: dict[str, Any] | None) -> Any:
    if feature is None or feature["shard_ref"] is None:
        return None
    return read_feature(workspace_root, feature["shard_ref"], clip_id, feature["content_hash"])


def _seen(
    workspace_root: str, member: dict[str, Any], feature: str, fps: float
) -> np.ndarray | None:
    """A picture feature of a member, from the clips that its picture is made of."""
    parts = member["parts"] or []
    arrays = [_feature(workspace_root, part["clip_id"], part[feature]) for part in parts]
    return combined(parts, arrays, member["combine"], member["duration_s"], fps)


def _lips(workspace_root: str, member: dict[str, Any]) -> np.ndarray | None:
    """The lips of a clip, or in a mixture those of who speaks, laid under their speech."""
    part = member["lips_part"]
    lips = _feature(workspace_root, part["clip_id"], member["lips"]) if part else None
    if lips is None or not len(lips):
        return None
    return combined([part], [lips], "insert", member["duration_s"], MOTION_FPS)


def _speaker(workspace_root: str, voice: dict[str, Any] | None) -> dict[str, Any]:
    """The voice that a sample is told and whose it is."""
    clip_id = voice["clip_id"] if voice else ""
    array = _feature(workspace_root, clip_id, voice)
    name = voice["name"] if voice else None
    return _packed(SPEAKER, "speaker_channels", array) | {"speaker_name": name}


def _packed(name: str, channels: str, array: np.ndarray | None) -> dict[str, Any]:
    if array is None:
        return {name: None, channels: 0}
    return {name: array.astype(DTYPE).tobytes(), channels: array.shape[1]}


def _write_samples(workspace_root: str, samples: list[dict[str, Any]]) -> str:
    sink = io.BytesIO()
    table = pa.Table.from_pylist([_measured(s) for s in samples], schema=SAMPLE_SCHEMA)
    # Plain values, all of a row group's column in one page: `SampleStore` finds each by its size.
    pq.write_table(
        table,
        sink,
        compression="none",
        row_group_size=ROW_GROUP_ITEMS,
        use_dictionary=False,
        data_page_size=PAGE_BYTES,
        write_statistics=False,
    )
    data = sink.getvalue()
    ref = f"shards/dataset/{hashlib.sha256(data).hexdigest()}.parquet"
    Workspace.at(workspace_root).put(ref, data)
    return ref


def _measured(sample: dict[str, Any]) -> dict[str, Any]:
    sizes = {f"{n}_bytes": None if sample[n] is None else len(sample[n]) for n in ARRAYS}
    return {**sample, **sizes, "arrays_sha256": arrays_sha256(sample[n] for n in ARRAYS)}


def arrays_sha256(arrays: Iterable[Any]) -> str:
    """Hash of a sample's arrays in the order of ARRAYS, as bytes or numpy; None is absent."""
    digest = hashlib.sha256()
    for array in arrays:
        if array is not None:
            digest.update(array)
    return digest.hexdigest()


def read_samples(workspace_root: str | Path, shard_refs: list[str], split: str) -> list[dict]:
    """The samples of one split with arrays in place of bytes, ordered by item_id.

    Keys: item_id, task, latents (N, C) float32, phonemes (N,) int64, visual (F, Dv) float32 or
    None, motion (N, Dm), sync (N, Dy), lips (N, Dl) and speaker (1, Ds) float32 or None. Raises
    FileNotFoundError where a shard is missing.
    """
    samples = []
    for ref in shard_refs:
        table = pq.read_table(Workspace.at(workspace_root).fetch(ref))
        samples += [_unpacked(row) for row in table.to_pylist() if row["split"] == split]
    return samples


def _unpacked(row: dict[str, Any]) -> dict[str, Any]:
    def array(name: str, channels: str) -> np.ndarray | None:
        # Shards from before sync, lips and speakers have no such column.
        if row.get(name) is None:
            return None
        flat = np.frombuffer(row[name], dtype=DTYPE).astype(np.float32)
        return flat.reshape(-1, row[channels])

    return {
        "item_id": row["item_id"],
        "task": row["task"],
        "latents": array("latents", "latent_channels"),
        "visual": array("visual", "visual_channels"),
        "motion": array("motion", "motion_channels"),
        "sync": array("sync", "sync_channels"),
        "lips": array("lips", "lips_channels"),
        SPEAKER: array(SPEAKER, "speaker_channels"),
        "phonemes": np.frombuffer(row["phonemes"], dtype=np.int16).astype(np.int64),
    }


def _may_enter(source_id: str) -> str:
    """SQL: whether a source, given as an expression, is below the folder, listed and licensed."""
    return f"""EXISTS (FROM files f WHERE f.source_id = {source_id}
                      AND CASE WHEN EXISTS (FROM files m WHERE m.listed_in = $manifest)
                          THEN f.listed_in = $manifest
                          ELSE $folder = '' OR {BELOW_FOLDER} END)
          AND {allowed(source_id)}"""


MEMBERS = f"""
    WITH {told_voices(_may_enter("w.source_id"))},
    said AS (
        SELECT clip_id, list(struct_pack(phoneme, start_s, end_s) ORDER BY position) AS phonemes
        FROM phonemes GROUP BY clip_id
    ),
    candidates AS (
        SELECT w.clip_id AS item_id, w.clip_id AS source_clip_id, w.clip_id AS other_clip_id,
               k.task, p.split, w.duration_s,
               CASE WHEN k.task = 'v2s' THEN NULL ELSE w.clip_id END AS phoneme_clip_id,
               phoneme_clip_id AS voice_clip_id,
               0.0::DOUBLE AS phonemes_at_s, 'add' AS combine, '' AS looked,
               CASE WHEN w.has_picture AND k.task <> 'tts'
                    THEN {whole("w.clip_id", "w.duration_s")} END AS picture,
               picture[1] AS lips_part
        FROM windows w JOIN kinds k USING (clip_id) JOIN splits p USING (source_id)
        WHERE k.kept AND k.task IS NOT NULL
        UNION ALL
        SELECT mix_id, coalesce(speech_clip_id, ambience_clip_id),
               coalesce(ambience_clip_id, speech_clip_id), 'mixture', split, duration_s,
               recipe->>'$.conditions.phonemes.clip_id', speech_clip_id,
               coalesce((recipe->>'$.conditions.phonemes.at_s')::DOUBLE, 0.0),
               recipe->>'$.conditions.combine',
               CASE WHEN {IS_COMPOSED} THEN '{COMPOSED}' ELSE '' END,
               CASE WHEN {IS_COMPOSED} THEN {whole("mix_id", "duration_s")} ELSE {PICTURE} END,
               list_filter({PICTURE}, lambda part:
                   part.clip_id = (recipe->>'$.conditions.phonemes.clip_id'))[1]
        FROM mixtures
    ),
    placed AS (
        SELECT item_id, looked, unnest(picture) AS part, generate_subscripts(picture, 1) AS place
        FROM candidates
    ),
    seen AS (
        SELECT p.item_id,
               list(struct_pack(clip_id := part.clip_id, at_s := part.at_s,
                    length_s := part.length_s, offset_s := part.offset_s, loop_s := part.loop_s,
                    visual := struct_pack(vi.shard_ref, vi.content_hash),
                    motion := struct_pack(mo.shard_ref, mo.content_hash),
                    sync := struct_pack(sy.shard_ref, sy.content_hash)) ORDER BY place) AS parts,
               string_agg(sy.content_hash ORDER BY place) AS sync_hashes,
               list([vi.content_hash, mo.content_hash] ORDER BY place) AS hashes
        FROM placed p
        LEFT JOIN features vi ON vi.clip_id = part.clip_id
             AND vi.extractor = looked || $extractor
        LEFT JOIN features mo ON mo.clip_id = part.clip_id
             AND mo.extractor = looked || '{MOTION_EXTRACTOR}'
        LEFT JOIN features sy ON sy.clip_id = part.clip_id AND sy.extractor = looked || $sync
        GROUP BY p.item_id
    ),
    members AS (
        SELECT c.item_id, c.task, c.split, c.duration_s, c.combine, c.phonemes_at_s,
               co.codec_id, said.phonemes, seen.parts,
               struct_pack(shard_ref := la.shard_ref, content_hash := la.content_hash) AS latents,
               c.lips_part, struct_pack(li.shard_ref, li.content_hash) AS lips, voiced.speaker,
               -- Without sync, lips and speaker it is what it was before there were any.
               sha256(to_json(struct_pack(
                   c.item_id, c.task, c.split, c.duration_s, co.codec_id, la.content_hash,
                   c.picture, c.combine, seen.hashes, said.phonemes, c.phonemes_at_s,
                   phoneme_table := '{TABLE_ID}'))::VARCHAR
                   || coalesce(' sync ' || seen.sync_hashes, '')
                   || coalesce(' lips ' || li.content_hash || c.lips_part::VARCHAR, '')
                   || coalesce(' speaker ' || voiced.speaker.content_hash, '')
                   || coalesce(' name ' || voiced.speaker.name, '')
               ) AS content_hash
        FROM candidates c
        CROSS JOIN codecs co
        JOIN windows sw ON sw.clip_id = c.source_clip_id
        JOIN features la ON la.clip_id = c.item_id AND la.extractor = co.name
        LEFT JOIN seen ON seen.item_id = c.item_id
        LEFT JOIN said ON said.clip_id = c.phoneme_clip_id
        LEFT JOIN features li ON li.clip_id = c.lips_part.clip_id AND li.extractor = $lips
        LEFT JOIN voiced ON voiced.for_clip_id = c.voice_clip_id
        WHERE {_may_enter("sw.source_id")}
          AND (len($licences::VARCHAR[]) = 0 OR EXISTS (
               FROM windows ow WHERE ow.clip_id = c.other_clip_id AND {allowed("ow.source_id")}))
    )
"""

STAGE = Stage(
    name="snapshot",
    title="freeze the dataset",
    version=4,
    config=SnapshotConfig,
    items=f"""
        {MEMBERS}
        SELECT left(sha256($name || '@' || digest), 32) AS item_id, digest, cost_s, _members,
               _version,
               -- An earlier version that comes back is another item than it was: frozen again.
               nullif(number, _version) AS freeze_number,
               (SELECT max(snapshot_id) FROM lake.snapshots()) AS _catalog_snapshot
        FROM (
            SELECT sha256(string_agg(content_hash ORDER BY item_id)) AS digest,
                   sum(duration_s) AS cost_s, list(members ORDER BY item_id) AS _members
            FROM members
        ) AS frozen, LATERAL (
            SELECT coalesce(any_value(version) FILTER (d.digest = frozen.digest),
                            max(version) + 1, 1) AS _version,
                   coalesce(max({PLACE}) FILTER (d.digest <> frozen.digest), 0) + 1 AS number
            FROM datasets d WHERE d.name = $name
        ) WHERE digest IS NOT NULL
    """,
    outputs=(
        Output("datasets", key="dataset_id"),
        Output("dataset_items", key="dataset_id"),
    ),
    run=snapshot_shard,
    selects=("name", "folder", "manifest", "licences", "extractor", "sync", "lips", "speaker"),
    later_columns=("freeze_number",),
    keeps_history=True,
)
