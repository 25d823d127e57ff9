"""Read one sample of a frozen dataset by its index, straight from its place in a training shard."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from storage.features import DTYPE
from storage.workspace import Workspace
from tasks.batches import FEATURES, SPEAKER, Sample
from tasks.snapshot import ARRAYS, arrays_sha256

CHANNELS = {"latents": "latent_channels"}
LATER = (*FEATURES, SPEAKER)
"""Arrays that shards of older datasets do not hold."""
CHANNELS |= {name: f"{name}_channels" for name in ("visual", "motion", *LATER)}
ALIGN_BYTES = 64
PREFIX_BYTES = 4


class SampleError(RuntimeError):
    """A sample whose bytes are not those that were frozen; names the shard and the item."""


@dataclass(frozen=True, slots=True, eq=False)
class Shard:
    """Where the values of one shard's samples lie in its file.

    Attributes:
        ref: reference of the shard.
        path: its file.
        table: the small columns, one row a sample.
        starts: byte offset of each value in the file (samples, arrays).
        sizes: bytes of each value (samples, arrays); -1 where the sample has none.
        groups: row group of each sample (samples,).
    """

    ref: str
    path: str
    table: pa.Table
    starts: np.ndarray
    sizes: np.ndarray
    groups: np.ndarray


def index_shard(workspace_root: str | Path, ref: str) -> Shard:
    """Finds every value of a shard from its footer and small columns, reading no array.

    A row group's column is one page of plain values, each behind its length in four bytes, so the
    values are found backwards from the page's end. Raises FileNotFoundError where the shard is
    missing, and ValueError where it was not written that way.
    """
    path = Workspace.at(workspace_root).fetch(ref)
    with pq.ParquetFile(path) as file:
        names = set(file.schema_arrow.names)
        there = [name for name in ARRAYS if name not in LATER or name in names]
        if not names.issuperset(f"{name}_bytes" for name in there):
            raise ValueError(
                f"shard {ref} says no sizes, an older talkies wrote it: build the dataset again"
            )
        table = file.read(columns=sorted(names - set(ARRAYS))).combine_chunks()
        ends, groups = _chunk_ends(file.metadata, ref, there)
    columns = [_sizes_of(table, name) for name in ARRAYS]
    sizes = np.nan_to_num(np.stack(columns, axis=1).astype(np.float64), nan=-1).astype(np.int64)
    starts = np.zeros_like(sizes)
    for group, end in enumerate(ends):
        rows = np.flatnonzero(groups == group)
        stored = np.where(sizes[rows] >= 0, sizes[rows] + PREFIX_BYTES, 0)
        starts[rows] = end - np.cumsum(stored[::-1], axis=0)[::-1] + PREFIX_BYTES
    return Shard(ref, str(path), table, starts, sizes, groups)


def _sizes_of(table: pa.Table, name: str) -> np.ndarray:
    """Bytes of an array in each sample; NaN where the sample has none."""
    column = f"{name}_bytes"
    if column not in table.column_names:
        return np.full(len(table), np.nan)
    return table[column].to_numpy(zero_copy_only=False)


def _chunk_ends(
    metadata: pq.FileMetaData, ref: str, there: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """The end of each array's bytes in each row group, and the row group of each row."""
    ends = np.zeros((metadata.num_row_groups, len(ARRAYS)), np.int64)
    rows = [metadata.row_group(g).num_rows for g in range(metadata.num_row_groups)]
    place = {metadata.schema.column(i).path: i for i in range(metadata.num_columns)}
    for group, array in np.ndindex(*ends.shape):
        if ARRAYS[array] not in there:
            continue
        chunk = metadata.row_group(group).column(place[ARRAYS[array]])
        if chunk.compression != "UNCOMPRESSED" or chunk.has_dictionary_page:
            raise ValueError(f"shard {ref}: {ARRAYS[array]} is encoded: build the dataset again")
        ends[group, array] = chunk.data_page_offset + chunk.total_compressed_size
    return ends, np.repeat(np.arange(len(rows)), rows)


class SampleStore:
    """The samples of one split of a frozen dataset, read one by one from their shards.

    The index is built once, from footers and small columns: about 100 bytes of memory a sample.
    A sample is read by the offsets of its values, so nothing else of its row group is.
    """

    def __init__(
        self,
        workspace_root: str | Path,
        shard_refs: Sequence[str],
        split: str,
        arrays: Sequence[str] = ARRAYS,
        check_hashes: bool = False,
    ) -> None:
        """Builds the index.

        Args:
            workspace_root: the workspace; each shard is brought here once.
            shard_refs: the dataset's shards, from the row of table `datasets`.
            split: the split whose samples are read.
            arrays: what is read of ARRAYS; the rest is None, as if the sample did not have it.
            check_hashes: compare each sample's bytes with the hash in its shard; reads all arrays.

        Raises ValueError for a shard of an older form or an unknown array, and FileNotFoundError
        where a shard is missing.
        """
        if unknown := set(arrays) - set(ARRAYS):
            raise ValueError(f"arrays {sorted(unknown)} are unknown; samples have {ARRAYS}")
        self.workspace_root = workspace_root
        self.split = split
        self.check_hashes = check_hashes
        self.wanted = [name in arrays or check_hashes for name in ARRAYS]
        self.kept = set(arrays)
        self.shards = [index_shard(workspace_root, ref) for ref in shard_refs]
        names = "\n".join([split, *shard_refs])
        self.digest = hashlib.sha256(names.encode()).hexdigest()
        self.groups: list[np.ndarray] = []
        places: list[np.ndarray] = []
        first = 0
        for number, shard in enumerate(self.shards):
            rows = np.flatnonzero(shard.table["split"].to_numpy() == split)
            places.append(np.stack([np.full(len(rows), number), rows], axis=1))
            cuts = np.flatnonzero(np.diff(shard.groups[rows])) + 1
            indices = np.arange(first, first + len(rows))
            self.groups += [group for group in np.split(indices, cuts) if len(group)]
            first += len(rows)
        self.places = np.concatenate([np.zeros((0, 2), np.int64), *places])

    def __len__(self) -> int:
        """Samples of the split."""
        return len(self.places)

    def column(self, name: str) -> np.ndarray:
        """A small column of every sample (samples,), in the order of their indices.

        It is 0 in shards from before the column, and None where a sample has no text in it.
        """
        parts = [
            shard.table[name].to_numpy()
            if name in shard.table.column_names
            else np.zeros(len(shard.table), int)
            for shard in self.shards
        ]
        return self._of_samples(parts)

    def has(self, array: str) -> np.ndarray:
        """Which samples have an array of ARRAYS (samples,), bool."""
        place = ARRAYS.index(array)
        return self._of_samples([shard.sizes[:, place] >= 0 for shard in self.shards])

    def _of_samples(self, parts: Sequence[np.ndarray]) -> np.ndarray:
        owner, rows = self.places.T
        taken = [part[rows[owner == number]] for number, part in enumerate(parts)]
        return np.concatenate(taken) if taken else np.zeros(0)

    def __getitem__(self, index: int) -> Sample:
        """One sample; see `read`."""
        return self.read([index])[0]

    def read(self, indices: Sequence[int]) -> list[Sample]:
        """The samples of these indices, as views of one buffer.

        Keys: item_id, task, latents (N, C) float16, phonemes (N,) int16, visual (F, Dv), motion
        (N, Dm), sync (N, Dy), lips (N, Dl) and speaker (1, Ds) float16 or None. Raises SampleError
        where a shard's bytes are not what was frozen, and OSError where a shard cannot be read.
        """
        rows = [self.places[index] for index in indices]
        sizes = [np.where(self.wanted, self.shards[s].sizes[row], -1) for s, row in rows]
        # One large buffer has large pages: many small ones cost a page fault every 4 KiB, which
        # takes longer than reading. 64 bytes before each value take its length.
        slots = np.where(np.array(sizes) >= 0, -(-np.array(sizes) // ALIGN_BYTES) + 1, 0)
        ends = np.cumsum(slots * ALIGN_BYTES).reshape(slots.shape)
        buffer = np.empty(int(ends[-1, -1]) + ALIGN_BYTES, np.uint8)
        offset = -buffer.ctypes.data % ALIGN_BYTES
        places = ends - slots * ALIGN_BYTES + ALIGN_BYTES + offset
        return [
            self._sample(self.shards[shard], int(row), size, place, buffer)
            for (shard, row), size, place in zip(rows, sizes, places, strict=True)
        ]

    def _sample(
        self, shard: Shard, row: int, sizes: np.ndarray, places: np.ndarray, buffer: np.ndarray
    ) -> Sample:
        small = {name: shard.table[name][row].as_py() for name in ("item_id", "task")}
        views: dict[str, np.ndarray | None] = dict.fromkeys(ARRAYS)
        file = self._opened(shard)
        try:
            for column, name in enumerate(ARRAYS):
                if sizes[column] >= 0:
                    place, size = int(places[column]), int(sizes[column])
                    stored = buffer[place - PREFIX_BYTES : place + size]
                    found = os.preadv(
                        file, [stored.data], int(shard.starts[row, column]) - PREFIX_BYTES
                    )
                    if found < len(stored) or stored[:PREFIX_BYTES].view("<u4")[0] != size:
                        raise SampleError(
                            f"shard {shard.ref}, item {small['item_id']}: {name} is not the "
                            f"{size} bytes that were frozen; restore the shard or build again"
                        )
                    views[name] = stored[PREFIX_BYTES:]
        finally:
            os.close(file)
        if self.check_hashes:
            self._check(shard, row, views)
        return small | {
            name: self._shaped(shard, row, name, view) if name in self.kept else None
            for name, view in views.items()
        }

    def _opened(self, shard: Shard) -> int:
        try:
            return os.open(shard.path, os.O_RDONLY)
        except FileNotFoundError:
            # A copy that was let go of for its age; training uses it again.
            return os.open(Workspace.at(self.workspace_root).fetch(shard.ref), os.O_RDONLY)

    def _check(self, shard: Shard, row: int, views: dict[str, np.ndarray | None]) -> None:
        if arrays_sha256(views.values()) != shard.table["arrays_sha256"][row].as_py():
            raise SampleError(
                f"shard {shard.ref}, item {shard.table['item_id'][row]}: its bytes do not have "
                "the hash that was frozen; restore the shard or build the dataset again"
            )

    def _shaped(
        self, shard: Shard, row: int, name: str, view: np.ndarray | None
    ) -> np.ndarray | None:
        if view is None:
            return None
        if name not in CHANNELS:
            return view.view(np.int16)
        return view.view(DTYPE).reshape(-1, shard.table[CHANNELS[name]][row].as_py())
