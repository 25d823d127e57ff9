"""A small workspace with a row in every table and the bytes of every file that is named."""

import datetime
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from storage.blobs import Blobs
from storage.catalog import Catalog
from storage.features import pack_features
from storage.ids import canonical_json, hash_of
from storage.workspace import Workspace
from tasks.pipeline import ALL
from tests.made_commits import RUN_ID, made_row

SOURCES = 6
TEST_SOURCES = (5,)
LATENTS = "mel_pca"


def source(number: int) -> str:
    """The id of a made source."""
    return f"{number:064x}"


def clip(number: int) -> str:
    """The id of the one clip of a made source."""
    return f"c{number:031x}"


def mix(number: int) -> str:
    """The id of a made mixture; mixture 0 is of clips 0 and 1, mixture 1 of clips 2 and 3."""
    return f"m{number:031x}"


def split_of(number: int) -> str:
    """The split of a made source."""
    return "test" if number in TEST_SOURCES else "train"


def make_workspace(root: str | Path) -> Workspace:
    """Fills a workspace: sources, clips, labels, features, mixtures, a dataset, a model, a film."""
    workspace = Workspace.at(root).make()
    with Catalog(workspace) as catalog:
        _insert(catalog, _inputs(workspace))
        dataset = _dataset(workspace, catalog)
        _insert(catalog, dataset)
        _insert(catalog, _models(workspace, dataset["datasets"][0]["dataset_id"]))
        _insert(catalog, {"progress": _progress(catalog)})
    return workspace


def _insert(catalog: Catalog, rows: dict[str, list[dict[str, Any]]]) -> None:
    with catalog.transaction():
        for table, new in rows.items():
            catalog.insert(table, [made_row(table, **row) for row in new])


def _inputs(workspace: Workspace) -> dict[str, list[dict[str, Any]]]:
    blobs = Blobs(workspace.root)

    def blob(name: str) -> str:
        return blobs.put_bytes(name.encode(), ".flac")

    each = range(SOURCES)
    clips = [{"clip_id": clip(n)} for n in each]
    started = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    decodes = [
        {
            "source_id": source(n),
            "audio48_ref": blob(f"48-{n}"),
            "audio16_ref": blob(f"16-{n}"),
            "frames10_ref": blob(f"frames-{n}"),
        }
        for n in each
    ]
    mixtures = [
        {
            "mix_id": mix(n),
            "item_id": f"{clip(2 * n)}:0",
            "speech_clip_id": clip(2 * n),
            "ambience_clip_id": clip(2 * n + 1),
            "recipe": canonical_json(
                {"speech": {"clip_id": clip(2 * n)}, "ambience": {"clip_id": clip(2 * n + 1)}}
            ),
            "split": "train",
            "mix_ref": blob(f"mix-{n}"),
            "speech_ref": blob(f"speech-{n}"),
            "ambience_ref": blob(f"ambience-{n}"),
        }
        for n in (0, 1)
    ]
    latents = [clip(n) for n in each] + [mix(0), mix(1)]
    return {
        "runs": [{"run_id": RUN_ID, "started_at": started}],
        "files": [{"uri": f"{n}.wav", "source_id": source(n)} for n in each],
        "sources": [{"source_id": source(n), "uri": f"{n}.wav"} for n in each],
        "decodes": decodes,
        "windows": [{"clip_id": clip(n), "source_id": source(n)} for n in each],
        "splits": [
            {"source_id": source(n), "component_id": source(n), "split": split_of(n)} for n in each
        ],
        "listens": clips,
        "tags": [row | {"rank": 1} for row in clips],
        "transcripts": clips,
        "words": [row | {"position": 0} for row in clips],
        "phonemes": [row | {"position": 0, "word_position": 0} for row in clips],
        "kinds": [row | {"kind": "sound", "kept": True} for row in clips],
        "codecs": [{"codec_id": "codec", "name": LATENTS, "ref": blob("codec")}],
        "rooms": [{"item_id": "simulated:00000", "room_id": "room", "ref": blob("room")}],
        "mixtures": mixtures,
        "features": [
            *_features(workspace, LATENTS, latents),
            *_features(workspace, "motion", latents[:SOURCES]),
            *_features(workspace, "efficientnet_lite0", latents[:SOURCES]),
        ],
    }


def _array(clip_id: str, extractor: str) -> np.ndarray:
    seed = int.from_bytes(hashlib.sha256(f"{clip_id}{extractor}".encode()).digest()[:4], "big")
    return np.random.default_rng(seed).standard_normal((5, 4)).astype(np.float16)


def _features(workspace: Workspace, extractor: str, clips: list[str]) -> list[dict[str, Any]]:
    rows = [
        {"clip_id": name, "extractor": extractor, "version": 1, "_array": _array(name, extractor)}
        for name in clips
    ]
    return pack_features(workspace.root, rows)


def _dataset(workspace: Workspace, catalog: Catalog) -> dict[str, list[dict[str, Any]]]:
    names = [clip(0), clip(1), clip(5), mix(0)]
    items = [
        {
            "item_id": name,
            "task": "mixture" if name == mix(0) else "v2s",
            "split": "test" if name == clip(5) else "train",
            "content_hash": hashlib.sha256(name.encode()).hexdigest(),
        }
        for name in sorted(names)
    ]
    digest = hashlib.sha256(",".join(item["content_hash"] for item in items).encode()).hexdigest()
    dataset_id = hashlib.sha256(f"made@{digest}".encode()).hexdigest()[:32]
    samples = [
        {key: item[key] for key in ("item_id", "task", "split")}
        | {"latents": _array(item["item_id"], LATENTS).tobytes()}
        for item in items
    ]
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(samples), sink)
    data = sink.getvalue().to_pybytes()
    ref = f"shards/dataset/{hashlib.sha256(data).hexdigest()}.parquet"
    workspace.put(ref, data)
    row = {
        "dataset_id": dataset_id,
        "name": "made",
        "version": 1,
        "digest": digest,
        "catalog_snapshot": catalog.snapshot(),
        "train_items": 3,
        "test_items": 1,
        "hours": len(items) / 3600,
        "codec_id": "codec",
        "shard_refs": [ref],
    }
    return {"datasets": [row], "dataset_items": [i | {"dataset_id": dataset_id} for i in items]}


def _models(workspace: Workspace, dataset_id: str) -> dict[str, list[dict[str, Any]]]:
    weights = b"weights"
    card = {"format": 1, "sha256": {"model.safetensors": hashlib.sha256(weights).hexdigest()}}
    checkpoint = hash_of("checkpoint", card["sha256"], canonical_json(card))
    workspace.write(f"checkpoints/{checkpoint}/model.safetensors", weights)
    workspace.write(f"checkpoints/{checkpoint}/config.json", json.dumps(card).encode())
    film = b"film"
    workspace.write("soundtracks/film.mp4", film)
    model = {"checkpoint_id": checkpoint}
    generation = model | {
        "generation_id": "generation",
        "source_id": source(0),
        "audio_ref": Blobs(workspace.root).put_bytes(b"soundtrack", ".flac"),
        "file_ref": "soundtracks/film.mp4",
        "output_hash": hashlib.sha256(film).hexdigest(),
    }
    return {
        "checkpoints": [
            model | {"dataset_id": dataset_id, "ref": f"checkpoints/{checkpoint}"},
        ],
        "losses": [model],
        "evaluations": [model],
        "generations": [generation],
    }


def _progress(catalog: Catalog) -> list[dict[str, Any]]:
    """A row for every item of every stage that rows of its tables stand for."""
    items = {
        (stage.name, row["item"])
        for stage in ALL
        for output in stage.outputs
        for row in catalog.rows(f"SELECT DISTINCT {output.key} AS item FROM lake.{output.table}")
    }
    return [{"stage": stage, "item_id": item, "status": "done"} for stage, item in sorted(items)]
