"""The audio and video of a Hugging Face dataset that was saved to disk: where their bytes lie.

`save_to_disk` writes `data-….arrow` files in Arrow's stream format beside `dataset_info.json`,
which names the features, and `state.json`, which names the files. A feature of type Audio or Video
is a struct of `bytes` and `path`.
"""

import functools
import json
import os
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from storage.rejects import Rejected
from tasks.container import check_file
from tasks.inside import Contents, Refusal, Slice
from tasks.manifest import MANIFEST_COLUMNS, SPELLINGS, facts_said

if TYPE_CHECKING:
    import pyarrow as pa

INFO, STATE, SPLITS = "dataset_info.json", "state.json", "dataset_dict.json"
MEDIA_FEATURES = ("Audio", "Video")
KEPT_INDEXES = 64


def dataset_files(folder: Path) -> list[Path]:
    """The Arrow files of a dataset whose `state.json` lies in a folder; none where it has none.

    Raises ValueError for a state that cannot be read and for a split or a file that is missing.
    """
    if (folder / SPLITS).is_file():
        for split in _read(folder / SPLITS).get("splits", ()):
            if not (isinstance(split, str) and (folder / split / STATE).is_file()):
                raise ValueError(
                    f"dataset {folder / SPLITS}: the split {split!r} has no {STATE}; "
                    "get a complete copy"
                )
    if not ((folder / STATE).is_file() and (folder / INFO).is_file()):
        return []
    named = _read(folder / STATE).get("_data_files", ())
    # A name may be anything: only files of the folder itself are the dataset's.
    files = [folder / PurePosixPath(str(each.get("filename"))).name for each in named]
    for file in files:
        if not file.exists():
            raise ValueError(f"dataset {folder / STATE}: {file.name} is missing; get it again")
    return files


def media_columns(folder: Path) -> tuple[str, ...]:
    """The columns of a dataset whose feature is audio or video, by its `dataset_info.json`."""
    features = _read(folder / INFO).get("features") or {}
    return tuple(
        name
        for name, feature in features.items()
        if isinstance(feature, dict) and feature.get("_type") in MEDIA_FEATURES
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"dataset {path}: not JSON that can be read: {error}") from error
    if not isinstance(found, dict):
        raise ValueError(f"dataset {path}: not an object of JSON; get a complete copy")
    return found


def arrow_contents(path: str) -> Contents:
    """The audio and video in an Arrow file by `column/row/name`, up to where it is damaged.

    A row without bytes is refused, one without anything is left out. What the string columns with
    a manifest's names say is said of each. Raises Rejected where the file is missing or empty.
    """
    facts = check_file(path)
    return _contents(path, facts.st_size, facts.st_mtime_ns)


@functools.lru_cache(maxsize=KEPT_INDEXES)
def _contents(path: str, size_bytes: int, mtime_ns: int) -> Contents:
    import pyarrow as pa

    try:
        columns = media_columns(Path(path).parent)
    except ValueError as error:
        raise Rejected("unreadable", str(error)) from None
    held: dict[str, Slice | Refusal] = {}
    with pa.memory_map(path) as file:
        whole = file.read_buffer(size_bytes)
        first = 0
        try:
            with pa.ipc.open_stream(whole) as stream:
                for batch in stream:
                    _index(batch, columns, first, whole, held)
                    first += batch.num_rows
        except (pa.ArrowException, OSError, ValueError) as error:
            said = " ".join(str(error).split())
            if not held:
                return Contents({}, Refusal("not_media", f"not an Arrow stream ({said})"))
            why = f"the dataset is damaged behind its first {first} rows ({said}); get another copy"
            return Contents(held, Refusal("truncated", why))
    return Contents(held, _unfinished(path, size_bytes, first))


def _unfinished(path: str, size_bytes: int, rows: int) -> Refusal | None:
    """A stream that was cut between two batches reads as whole, but has no end mark."""
    with open(path, "rb") as stream:
        stream.seek(-8, os.SEEK_END)
        if stream.read(8) == b"\xff\xff\xff\xff\0\0\0\0":
            return None
    why = f"the dataset ends behind {rows} rows without its end mark; get another copy"
    return Refusal("truncated", why)


def _index(
    batch: "pa.RecordBatch",
    columns: tuple[str, ...],
    first: int,
    whole: "pa.Buffer",
    held: dict[str, Slice | Refusal],
) -> None:
    """Adds the audio and video of one batch, whose first row has the number `first`."""
    names = [n for n in batch.schema.names if n in {*MANIFEST_COLUMNS, *SPELLINGS, *columns}]
    # What is damaged may point anywhere; this looks at offsets and texts only.
    batch.select(names).validate(full=True)
    texts = batch.select([name for name in names if name not in columns])
    said = [facts_said(row) for row in texts.to_pylist()] if texts.num_columns else []
    for column in (name for name in names if name in columns):
        cells = batch.column(column)
        places = _places(cells, whole)
        for row, name, has_bytes in _cells(cells):
            key = f"{column}/{first + row}/{name}" if name else f"{column}/{first + row}"
            if not has_bytes:
                why = "the row holds a path and no bytes; save the dataset with its files"
                held[key] = Refusal("missing", why)
            elif places is None:
                held[key] = Refusal("unsupported", "compressed; save the dataset uncompressed")
            else:
                offset, end = places[row]
                held[key] = Slice(offset, end - offset, said[row] if said else None)


def _cells(array: Any) -> Iterator[tuple[int, str, bool]]:
    """Row and file name of each cell that holds something, and whether it holds the bytes."""
    if not _has_bytes(array):
        # An older dataset holds the path alone.
        values = array.to_pylist()
        yield from ((row, PurePosixPath(str(v)).name, False) for row, v in enumerate(values) if v)
        return
    has_path = array.type.get_field_index("path") >= 0
    paths = array.field("path").to_pylist() if has_path else [None] * len(array)
    filled = array.field("bytes").is_valid().to_pylist()
    for row, is_valid in enumerate(array.is_valid().to_pylist()):
        name = PurePosixPath(paths[row] or "").name
        if is_valid and (filled[row] or name):
            yield row, name, filled[row]


def _has_bytes(array: Any) -> bool:
    import pyarrow as pa

    if not pa.types.is_struct(array.type) or array.type.get_field_index("bytes") < 0:
        return False
    kind = array.type.field("bytes").type
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _places(array: Any, whole: "pa.Buffer") -> list[tuple[int, int]] | None:
    """Begin and end of each row's bytes in the file, or None where they are not in it as they are.

    They are taken from the offsets: a value that is asked for is copied out of the file.
    """
    import numpy as np
    import pyarrow as pa

    if not _has_bytes(array):
        return None
    data = array.field("bytes")
    _, offsets, values = data.buffers()
    if values is None or not values.size:
        return [(0, 0)] * len(data)
    begin = values.address - whole.address
    if not 0 <= begin <= begin + values.size <= whole.size:
        return None
    width = np.int64 if pa.types.is_large_binary(data.type) else np.int32
    at = np.frombuffer(offsets, width)[data.offset : data.offset + len(data) + 1].tolist()
    return [(begin + first, begin + last) for first, last in pairwise(at)]
