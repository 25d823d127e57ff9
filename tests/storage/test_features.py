"""Feature shards: half precision, each array with the hash that it is checked against."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from storage.features import ROW_GROUP_ROWS, pack_features, read_feature
from storage.rejects import Rejected


def feature(number: int, array: np.ndarray, extractor: str = "motion") -> dict[str, Any]:
    return {"clip_id": f"c{number:04d}", "extractor": extractor, "version": 1, "_array": array}


def made(count: int, rng: np.random.Generator) -> list[dict[str, Any]]:
    return [feature(k, rng.normal(size=(k % 5 + 1, 3))) for k in range(count)]


def read(workspace: Path, row: dict[str, Any]) -> np.ndarray:
    return read_feature(workspace, row["shard_ref"], row["clip_id"], row["content_hash"])


def test_every_array_comes_back_in_half_precision(
    workspace: Path, rng: np.random.Generator
) -> None:
    rows = made(ROW_GROUP_ROWS * 2 + 3, rng)
    packed = pack_features(workspace, rows)
    for row, stored in zip(rows, packed, strict=True):
        array = read(workspace, stored)
        assert array.dtype == np.float32
        assert np.array_equal(array, row["_array"].astype(np.float16).astype(np.float32))
        assert stored["shape"] == list(array.shape)
    with pq.ParquetFile(workspace / packed[0]["shard_ref"]) as shard:
        assert shard.metadata.num_row_groups == 3


def test_each_extractor_has_a_shard_of_its_own(workspace: Path) -> None:
    rows = [feature(0, np.ones((2, 2)), "look"), feature(0, np.zeros((3, 1)), "motion")]
    packed = pack_features(workspace, rows)
    refs = {row["extractor"]: row["shard_ref"] for row in packed}
    assert {name: Path(ref).parts[:2] for name, ref in refs.items()} == {
        "look": ("shards", "look"),
        "motion": ("shards", "motion"),
    }


def test_the_same_arrays_give_the_same_bytes(tmp_path: Path, rng: np.random.Generator) -> None:
    rows = made(9, rng)
    one, two = (pack_features(tmp_path / name, rows) for name in ("one", "two"))
    assert one == two
    ref = one[0]["shard_ref"]
    assert (tmp_path / "one" / ref).read_bytes() == (tmp_path / "two" / ref).read_bytes()


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e6])
def test_what_half_precision_cannot_hold_raises_with_the_clip(
    workspace: Path, value: float
) -> None:
    with pytest.raises(ValueError, match="clip c0007: motion has NaN or overflows fp16"):
        pack_features(workspace, [feature(7, np.array([[value]]))])


def test_another_hash_than_the_recorded_one_is_a_reject(workspace: Path) -> None:
    (row,) = pack_features(workspace, [feature(0, np.ones((2, 2)))])
    with pytest.raises(Rejected, match="clip c0000") as caught:
        read(workspace, row | {"content_hash": "0" * 64})
    assert caught.value.reason == "content_hash"


def test_the_feature_of_another_clip_is_not_given_in_its_place(workspace: Path) -> None:
    one, two = pack_features(workspace, [feature(k, np.full((2, 2), k)) for k in range(2)])
    with pytest.raises(Rejected):
        read(workspace, one | {"clip_id": two["clip_id"]})
    with pytest.raises(KeyError):
        read(workspace, one | {"clip_id": "c9999"})


def test_a_clip_without_rows_keeps_its_width(workspace: Path) -> None:
    (row,) = pack_features(workspace, [feature(0, np.zeros((0, 18)))])
    assert read(workspace, row).shape == (0, 18)
