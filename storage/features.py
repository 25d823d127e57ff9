"""Feature arrays in Parquet shards: one row a clip, fp16 bytes, each with its hash."""

import hashlib
import io
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from storage.rejects import Rejected
from storage.workspace import Workspace

ROW_GROUP_ROWS = 64
DTYPE = "float16"
SHARD_SCHEMA = pa.schema(
    [
        pa.field("clip_id", pa.string(), nullable=False),
        pa.field("shape", pa.list_(pa.int32()), nullable=False),
        pa.field("data", pa.binary(), nullable=False),
    ]
)


def pack_features(workspace_root: str | Path, rows: Iterable[dict[str, Any]]) -> list[dict]:
    """Writes the arrays of feature rows into one shard an extractor; returns catalog rows.

    Args:
        workspace_root: the workspace.
        rows: rows of table `features` with `clip_id`, `extractor`, `version`, and `_array`, an
            array of any shape that is stored as fp16.

    Raises ValueError for an array with NaN or infinity, naming the clip.
    """
    packed: list[dict[str, Any]] = []
    by_extractor: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_extractor.setdefault(row["extractor"], []).append(row)
    for extractor, group in sorted(by_extractor.items()):
        arrays = [_half(row) for row in group]
        shard_ref = _write_shard(workspace_root, extractor, group, arrays)
        packed += [
            {
                "clip_id": row["clip_id"],
                "extractor": extractor,
                "version": row["version"],
                "shape": list(array.shape),
                "dtype": DTYPE,
                "shard_ref": shard_ref,
                "content_hash": hashlib.sha256(array.tobytes()).hexdigest(),
            }
            for row, array in zip(group, arrays, strict=True)
        ]
    return packed


def _half(row: dict[str, Any]) -> np.ndarray:
    with np.errstate(over="ignore"):
        array = np.ascontiguousarray(row["_array"], dtype=np.float16)
    if not np.isfinite(array).all():
        raise ValueError(f"clip {row['clip_id']}: {row['extractor']} has NaN or overflows fp16")
    return array


def _write_shard(
    workspace_root: str | Path,
    extractor: str,
    group: list[dict[str, Any]],
    arrays: list[np.ndarray],
) -> str:
    table = pa.table(
        {
            "clip_id": [row["clip_id"] for row in group],
            "shape": [list(array.shape) for array in arrays],
            "data": [array.tobytes() for array in arrays],
        },
        schema=SHARD_SCHEMA,
    )
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="none", row_group_size=ROW_GROUP_ROWS)
    data = sink.getvalue()
    ref = f"shards/{extractor}/{hashlib.sha256(data).hexdigest()}.parquet"
    Workspace.at(workspace_root).put(ref, data)
    return ref


@lru_cache(maxsize=32)
def _index(path: Path) -> dict[str, int]:
    column = pq.read_table(path, columns=["clip_id"])["clip_id"]
    return {clip: position for position, clip in enumerate(column.to_pylist())}


def read_feature(
    workspace_root: str | Path, shard_ref: str, clip_id: str, content_hash: str
) -> np.ndarray:
    """A clip's feature as float32, checked against the hash that the catalog holds.

    Raises Rejected("content_hash") where the bytes differ, and KeyError where the shard does not
    hold the clip.
    """
    path = Workspace.at(workspace_root).fetch(shard_ref)
    position = _index(path)[clip_id]
    with pq.ParquetFile(path) as shard:
        group = shard.read_row_group(position // ROW_GROUP_ROWS, columns=["shape", "data"])
    row = group.slice(position % ROW_GROUP_ROWS, 1).to_pylist()[0]
    if hashlib.sha256(row["data"]).hexdigest() != content_hash:
        raise Rejected("content_hash", f"clip {clip_id}: {shard_ref} holds other bytes")
    array = np.frombuffer(row["data"], dtype=np.float16).reshape(row["shape"])
    return array.astype(np.float32)
