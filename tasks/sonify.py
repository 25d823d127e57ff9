"""Give a silent video its sound: what is spoken, the generated track, and the film with it."""

import functools
import re
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from models.timeline import AUDIO_HZ, count
from storage.blobs import Blobs
from storage.ids import hash_of, sha256_file
from storage.rejects import Rejected
from storage.stage import Output, Rows, ShardRef, ShardResult, ShardTarget, Stage, run_items
from storage.versions import ASKED, PLACE
from storage.workspace import Workspace
from tasks.checkpoint import Checkpoint, load_checkpoint
from tasks.durations import spoken_at_pace
from tasks.espeak import speak
from tasks.loudness import loudness_lufs
from tasks.phonemize import PhonemizeConfig, phoneme_rows
from tasks.sandbox import Limits, run_limited
from tasks.script import script_words
from tasks.sonify_config import SonifyConfig
from tasks.soundtrack import soundtrack, window_seed
from tasks.source_copy import local_source
from tasks.source_uri import name_of
from tasks.voice_choice import chosen_voice, voice_weights

if TYPE_CHECKING:
    from models.durations import DurationPredictor

TRANSCRIPT = "transcript"
VOICE = "en-us"


def sonify_shard(shard: ShardRef, out: ShardTarget, config: SonifyConfig) -> ShardResult:
    """Writes the soundtracks of a shard and their `generations`."""
    import torch

    torch.set_num_threads(1)
    return run_items(shard, out, lambda item: sonify(item, out, config))


@functools.lru_cache(maxsize=1)
def _checkpoint(folder: Path, checkpoint_id: str) -> Checkpoint:
    return load_checkpoint(folder, checkpoint_id)


def sonify(item: dict[str, Any], out: ShardTarget, config: SonifyConfig) -> Rows:
    """The soundtrack of one source as a film file, a FLAC blob and a row."""
    workspace = Workspace.at(out.workspace)
    if item["source_id"] is None:
        raise Rejected(
            "missing",
            f"{item['_uri']}: no source of this name; mend sonify.targets or add the file",
        )
    checkpoint = _checkpoint(workspace.fetch(item["ref"]), item["checkpoint_id"])
    if not item["windows"]:
        raise Rejected(
            "no_picture",
            f"{item['_uri']}: no picture to make a soundtrack for, or none with features of "
            f"{item['_extractor']}, by which the model was trained",
        )
    if item.get("aligned"):
        pairs = zip(item["windows"], item["aligned"], strict=True)
        item = item | {"windows": [window | aligned for window, aligned in pairs]}
    started = time.perf_counter()
    predictor = checkpoint.durations if config.durations == "predicted" else None
    phonemes = spoken_phonemes(item, predictor)
    voice = chosen_voice(checkpoint, config, Path(out.folder))
    item = item | {"_workspace": out.workspace, "_voice": voice}
    audio = soundtrack(item, checkpoint, phonemes, config, out)
    rtf = (time.perf_counter() - started) / item["duration_s"]
    flac = Path(out.folder) / f"take-{item['take']}.flac"
    _write_flac(flac, audio)
    seed = window_seed(config, item, 0)
    film = _mux(item, checkpoint, flac, out, seed)
    # The picture may end inside a frame of the 10 fps grid; the film's own length is the truth.
    audio = audio[:, : count(film["video_s"], AUDIO_HZ)]
    _write_flac(flac, audio)
    row = {
        "generation_id": _generation_id(item, checkpoint, config),
        "item_id": item["item_id"],
        "source_id": item["source_id"],
        "checkpoint_id": checkpoint.checkpoint_id,
        "seed": seed,
        "take": item["take"],
        "script": _script_text(item),
        "duration_s": audio.shape[1] / AUDIO_HZ,
        "video_s": film["video_s"],
        "rtf": rtf,
        "loudness_lufs": loudness_lufs(audio, AUDIO_HZ),
        "audio_ref": Blobs(out.workspace).put_file(flac, ".flac"),
        "file_ref": film["ref"],
        "output_hash": sha256_file(workspace.path(film["ref"])),
        "picture_untouched": film["picture_untouched"],
    }
    return {"generations": [row]}


def spoken_phonemes(
    item: dict[str, Any], durations: "DurationPredictor | None" = None
) -> list[dict[str, Any]]:
    """The phonemes to be spoken, with times in the source; none without a script.

    Those of a script have its words' own times where nothing predicts how long they last.
    Raises Rejected("no_script") where a script was given and nothing in it can be spoken.
    """
    if not item["script"]:
        return []
    if item["script"] == TRANSCRIPT:
        rows = item["phonemes"] or []
    else:
        words = script_words(item["script"], item["duration_s"])
        rows = phoneme_rows(words, functools.partial(speak, VOICE), PhonemizeConfig())
        if durations is not None:
            rows = spoken_at_pace(rows, words, durations)
    if not rows:
        raise Rejected("no_script", f"{item['_uri']}: its script has no word that can be spoken")
    return rows


def _generation_id(item: dict[str, Any], checkpoint: Checkpoint, config: SonifyConfig) -> str:
    chosen = STAGE.chosen(config)
    return hash_of(
        "generation",
        item["source_id"],
        checkpoint.checkpoint_id,
        item["script"],
        item["take"],
        config.steps,
        config.guidance,
        config.seed,
        *([chosen] if chosen else []),
        *([voice] if (voice := voice_weights(config)) else []),
    )


def _script_text(item: dict[str, Any]) -> str | None:
    return item["text"] if item["script"] == TRANSCRIPT else item["script"] or None


def _write_flac(path: Path, audio: np.ndarray) -> None:
    import soundfile

    soundfile.write(path, audio.T, AUDIO_HZ, subtype="PCM_16", format="FLAC")


def _mux(
    item: dict[str, Any], checkpoint: Checkpoint, flac: Path, out: ShardTarget, seed: int
) -> dict[str, Any]:
    """Puts the soundtrack beside the picture in a child process; returns facts and reference."""
    stem = re.sub(r"[^A-Za-z0-9._-]+", "_", Path(name_of(item["_uri"])).stem)[:80] or "film"
    name = f"{stem}-{item['source_id'][:8]}-{checkpoint.checkpoint_id[:8]}-take{item['take']}"
    arguments = {
        "audio_path": str(flac),
        "output_folder": out.folder,
        "name": name,
        "model_id": checkpoint.checkpoint_id,
        "seed": seed,
    }
    wall_s = 30 + 2 * item["duration_s"]
    limits = Limits(wall_s=wall_s, cpu_s=wall_s, memory_mb=2048, output_mb=8192)
    with local_source(item["_uri"], out.folder, item["source_id"]) as path:
        made = run_limited("tasks.mux:mux_file", arguments | {"video_path": path}, limits).value
    film = Path(made["path"])
    ref = f"soundtracks/{film.name}"
    workspace = Workspace.at(out.workspace)
    shutil.move(film, workspace.path(ref))
    workspace.publish(ref)
    return made | {"ref": ref}


STAGE = Stage(
    name="sonify",
    title="generate soundtracks",
    version=3,
    config=SonifyConfig,
    items=f"""
        WITH model AS (
            SELECT ck.checkpoint_id, ck.ref,
                   coalesce(d.image_extractor, 'efficientnet_lite0') AS extractor,
                   d.sync_extractor, d.lips_extractor
            FROM checkpoints ck JOIN datasets d USING (dataset_id)
            WHERE CASE WHEN $checkpoint = '' THEN {ASKED}
                       ELSE ck.checkpoint_id = $checkpoint END
            ORDER BY {PLACE} DESC, ck.run_id DESC LIMIT 1
        ),
        wanted AS (
            SELECT s.source_id, coalesce(s.uri, t.file) AS uri, t.script, de.duration_s,
                   coalesce(de.frames25_count / 25.0, de.frames10_count / 10.0) AS video_s
            FROM (SELECT unnest($targets::STRUCT(file VARCHAR, script VARCHAR)[],
                                recursive := true)) t
            LEFT JOIN sources s ON s.uri = t.file OR ends_with(s.uri, '/' || t.file)
            LEFT JOIN decodes de USING (source_id)
        ),
        shown AS (
            SELECT w.source_id, list(struct_pack(
                       clip_id := w.clip_id,
                       start_s := w.start_s - coalesce(w.trim_start_s, 0),
                       end_s := w.end_s + coalesce(w.trim_end_s, 0),
                       held_s := coalesce(w.trim_start_s, 0),
                       visual := struct_pack(shard_ref := v.shard_ref,
                                             content_hash := v.content_hash),
                       motion := struct_pack(shard_ref := m.shard_ref,
                                             content_hash := m.content_hash)
                   ) ORDER BY w.start_s) AS windows,
                   -- Apart from the windows, so that a film without them has no other hash.
                   list(struct_pack(
                       sync := struct_pack(shard_ref := y.shard_ref,
                                           content_hash := y.content_hash),
                       lips := struct_pack(shard_ref := l.shard_ref,
                                           content_hash := l.content_hash)
                   ) ORDER BY w.start_s) AS aligned
            FROM windows w
            CROSS JOIN model
            JOIN features v ON v.clip_id = w.clip_id AND v.extractor = model.extractor
            LEFT JOIN features m ON m.clip_id = w.clip_id AND m.extractor = 'motion'
            LEFT JOIN features y ON y.clip_id = w.clip_id AND y.extractor = model.sync_extractor
            LEFT JOIN features l ON l.clip_id = w.clip_id AND l.extractor = model.lips_extractor
            WHERE w.has_picture
              AND (model.sync_extractor IS NULL OR y.clip_id IS NOT NULL)
              AND (model.lips_extractor IS NULL OR l.clip_id IS NOT NULL)
            GROUP BY w.source_id
        ),
        said AS (
            SELECT w.source_id, list(struct_pack(
                       phoneme := p.phoneme, start_s := p.start_s + w.start_s,
                       end_s := p.end_s + w.start_s) ORDER BY w.start_s, p.position) AS phonemes
            FROM phonemes p JOIN windows w USING (clip_id) GROUP BY w.source_id
        ),
        texts AS (
            SELECT w.source_id, string_agg(t.text, ' ' ORDER BY w.start_s) AS text
            FROM transcripts t JOIN windows w USING (clip_id) GROUP BY w.source_id
        )
        SELECT concat_ws(':', coalesce(wanted.source_id, wanted.uri), model.checkpoint_id, take)
               AS item_id,
               wanted.source_id, model.checkpoint_id, model.ref, take::INTEGER AS take,
               wanted.script, coalesce(wanted.video_s, wanted.duration_s) AS duration_s,
               shown.windows, CASE WHEN wanted.script = 'transcript' THEN said.phonemes END
               AS phonemes, texts.text, wanted.uri AS _uri,
               CASE WHEN coalesce(model.sync_extractor, model.lips_extractor) IS NOT NULL
                    THEN shown.aligned END AS aligned,
               concat_ws(', ', model.extractor, model.sync_extractor, model.lips_extractor)
               AS _extractor,
               coalesce(wanted.duration_s, 0) AS cost_s
        FROM wanted CROSS JOIN model CROSS JOIN range(1, $takes + 1) AS takes(take)
        LEFT JOIN shown USING (source_id)
        LEFT JOIN said USING (source_id)
        LEFT JOIN texts USING (source_id)
    """,
    outputs=(Output("generations", key="item_id"),),
    run=sonify_shard,
    # A recorded voice counts by its hash, wherever it lies.
    selects=("dataset", "checkpoint", "targets", "takes", "voice_file"),
    weights=voice_weights,
    later_columns=("aligned",),
    later=(
        "speech_guidance",
        "solver",
        "tolerance",
        "temperature",
        "precision",
        "durations",
        "voice",
    ),
    keeps_history=True,
)
