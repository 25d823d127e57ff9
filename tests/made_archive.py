"""A made catalog of two films and a sound, with blobs, shards, a mixture, a dataset and a model.

Every id is readable, padded to the length of real ones, and every text can be searched for.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from storage.blobs import Blobs
from storage.catalog import Catalog
from storage.features import pack_features
from storage.schema import TABLES

CLIPS = {"rain": ("rain-one", "rain-two"), "talk": ("talk-one", "talk-two"), "wind": ("wind-one",)}
SECRET = "whoever says this wants to be forgotten"
DATASET, CHECKPOINT = "dataset-one", "checkpoint-one"


def full(name: str, length: int = 32) -> str:
    """An id that begins with a readable name."""
    return name + "0" * (length - len(name))


def source_id(name: str) -> str:
    """The id of a made source."""
    return full(f"src-{name}", 64)


def add(catalog: Catalog, table: str, *rows: dict[str, Any]) -> None:
    """Inserts rows; columns that are left out get an empty value of their type."""
    filled = []
    for row in rows:
        values = {c.name: _empty(c.type) for c in TABLES[table].columns if not c.nullable}
        filled.append(values | row)
    catalog.insert(table, filled)


def _empty(kind: pa.DataType) -> Any:
    if pa.types.is_list(kind):
        return []
    if pa.types.is_boolean(kind):
        return False
    return "-" if pa.types.is_string(kind) else 0


def add_source(catalog: Catalog, name: str, split: str = "train") -> None:
    """A source with its file, blobs and clips, and all that is said of them, in one commit."""
    with catalog.transaction():
        _add_source(catalog, name, split)


def _add_source(catalog: Catalog, name: str, split: str) -> None:
    blobs, own, uri = Blobs(catalog.workspace.root), source_id(name), f"/archive/{name}.mp4"
    add(catalog, "files", {"uri": uri, "source_id": own, "transcript": f"{name} {SECRET}"})
    add(catalog, "sources", {"source_id": own, "uri": uri})
    add(catalog, "splits", {"source_id": own, "component_id": own, "split": split})
    audio = blobs.put_bytes(f"sound of {name}".encode(), ".flac")
    silence = blobs.put_bytes(b"silence", ".flac")
    decode = {"source_id": own, "audio16_ref": audio, "audio48_ref": silence, "duration_s": 8.0}
    add(catalog, "decodes", decode)
    for number, clip in enumerate(CLIPS[name]):
        clip_id = full(clip)
        window = {"clip_id": clip_id, "source_id": own, "start_s": 4.0 * number}
        add(catalog, "windows", window | {"end_s": 4.0 * number + 4, "duration_s": 4.0})
        add(catalog, "listens", {"clip_id": clip_id, "top_tag": name})
        add(catalog, "tags", *({"clip_id": clip_id, "rank": k, "label": name} for k in (1, 2)))
        add(catalog, "kinds", {"clip_id": clip_id, "kind": "sound", "task": "v2s", "kept": True})
        add(catalog, "transcripts", {"clip_id": clip_id, "text": f"{clip} {SECRET}"})
        add(catalog, "phonemes", {"clip_id": clip_id, "phoneme": "a", "position": 0})
        add(catalog, "progress", {"stage": "listen", "item_id": clip_id})
    add(catalog, "progress", {"stage": "scan", "item_id": uri}, {"stage": "probe", "item_id": own})


def array_of(item: str) -> np.ndarray:
    """The feature of a made clip or mixture."""
    return np.full((3, 2), sum(item.encode()) % 100)


def add_features(catalog: Catalog, *items: str, extractor: str = "mel_pca") -> str:
    """Features of items in one shard; returns its reference."""
    rows = [
        {"clip_id": full(i), "extractor": extractor, "version": 1, "_array": array_of(i)}
        for i in items
    ]
    packed = pack_features(catalog.workspace.root, rows)
    add(catalog, "features", *packed)
    return packed[0]["shard_ref"]


def add_dataset(
    catalog: Catalog, name: str, items: Mapping[str, str], snapshot: int, **more: Any
) -> str:
    """A frozen dataset, item → content hash, with a training shard; returns its reference."""
    ref = f"shards/dataset/{name}.parquet"
    members = [full(item) for item in items]
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"item_id": members, "split": ["train"] * len(members)}), sink)
    catalog.workspace.write(ref, sink.getvalue().to_pybytes())
    dataset = {"dataset_id": full(name), "name": "made", "shard_refs": [ref], "version": 1}
    counts = {"train_items": len(items), "codec_id": full("codec-one"), "hours": len(items) / 900}
    add(catalog, "datasets", dataset | counts | {"catalog_snapshot": snapshot} | more)
    frozen = [
        {"dataset_id": full(name), "item_id": full(item), "content_hash": content,
         "split": "train", "task": "mixture" if item.startswith("mix") else "v2s",
         "duration_s": 4.0}
        for item, content in items.items()
    ]  # fmt: skip
    add(catalog, "dataset_items", *frozen)
    return ref


def add_archive(catalog: Catalog) -> None:
    """All of it: wind first, which no dataset holds; then rain and talk, a mixture, a model."""
    for name in ("wind", "rain", "talk"):
        add_source(catalog, name)
    snapshot = catalog.snapshot()
    with catalog.transaction():
        _add_made(catalog, snapshot)


def _add_made(catalog: Catalog, snapshot: int) -> None:
    blobs = Blobs(catalog.workspace.root)
    parents = {"speech_clip_id": full("talk-one"), "ambience_clip_id": full("rain-one")}
    mix = {"mix_id": full("mix-one"), "item_id": f"{full('talk-one')}:0", "regime": "hard"}
    mix_ref = blobs.put_bytes(b"mix", ".flac")
    refs = {"mix_ref": mix_ref, "speech_ref": mix_ref, "ambience_ref": mix_ref}
    add(catalog, "mixtures", mix | parents | refs)
    add(catalog, "progress", {"stage": "mix", "item_id": mix["item_id"]})
    add_features(catalog, "rain-one", "rain-two", "talk-one", "talk-two", "mix-one", "wind-one")
    add_features(catalog, "talk-one", extractor="motion")
    add(catalog, "codecs", {"codec_id": full("codec-one"), "name": "mel_pca"})
    items: dict[str, str] = dict.fromkeys(("rain-one", "rain-two", "talk-one", "mix-one"), "h")
    add_dataset(catalog, DATASET, items, snapshot)
    ref = f"checkpoints/{full(CHECKPOINT)}"
    heard = f'{{"item_id": "{full("talk-one")}", "words": "talk-one {SECRET}"}}'
    catalog.workspace.write(f"{ref}/items.jsonl", heard.encode())
    model = {"checkpoint_id": full(CHECKPOINT), "dataset_id": full(DATASET)}
    add(catalog, "checkpoints", model | {"ref": ref})
    metric = {"checkpoint_id": full(CHECKPOINT), "metric": "loss", "task": "all", "split": "test"}
    add(catalog, "evaluations", metric)
    add(catalog, "losses", *({"checkpoint_id": full(CHECKPOINT), "step": k} for k in range(3)))
    for film in ("rain", "talk"):
        file_ref = f"soundtracks/{film}.mp4"
        catalog.workspace.write(file_ref, film.encode())
        made = {"generation_id": full(f"film-{film}"), "source_id": source_id(film)}
        audio = blobs.put_bytes(f"soundtrack of {film}".encode(), ".flac")
        made |= {"checkpoint_id": full(CHECKPOINT), "file_ref": file_ref, "audio_ref": audio}
        add(catalog, "generations", made | {"item_id": f"{source_id(film)}:{CHECKPOINT}:1"})
