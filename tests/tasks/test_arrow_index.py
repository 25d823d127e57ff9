"""Hugging Face datasets on disk as sources: cells by offset, what columns say, damage."""

import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storage.ids import sha256_file
from tasks.arrow_index import arrow_contents
from tasks.inside import Slice
from tasks.scan import ScanConfig, list_folder, scan_file
from tasks.source_copy import local_source, source_chunks
from tests.made_archives import listed, why, write_dataset, write_splits

CLIPS = [("/elsewhere/a b.wav", b"first" * 90), ("b.wav", b"second"), None, (None, b"third"),
         ("gone.wav", None), ("e.wav", b"")]  # fmt: skip
TEXTS = ["one", "two", "three", "four", None, "six"]
FEATURES = {"audio": "Audio", "cover": "Image", "sentence": "Value", "license": "Value"}


def columns() -> dict[str, list[Any]]:
    return {
        "audio": list(CLIPS),
        "cover": [("c.png", b"picture")] * 6,
        "sentence": list(TEXTS),
        "license": ["CC0-1.0"] * 6,
    }


def test_audio_cells_are_sources_with_what_the_text_columns_say(tmp_path: Path) -> None:
    (path,) = write_dataset(tmp_path / "set", columns(), FEATURES)
    (tmp_path / "same.wav").write_bytes(b"second")
    rows = listed(tmp_path)
    assert set(rows) == {"audio/0/a b.wav", "audio/1/b.wav", "audio/3", "audio/4/gone.wav",
                         "audio/5/e.wav", "same.wav"}  # fmt: skip
    row = rows["audio/1/b.wav"]
    assert row["uri"] == f"arrow://{path}#/audio/1/b.wav"
    assert (row["transcript"], row["licence"]) == ("two", "CC0-1.0")
    (made,) = scan_file(row)["files"]
    assert made["source_id"] == sha256_file(tmp_path / "same.wav")
    assert made["size_bytes"] == 6
    assert b"".join(source_chunks(rows["audio/3"]["uri"])) == b"third"
    assert why(rows["audio/4/gone.wav"]).reason == "missing"
    assert "holds a path and no bytes" in why(rows["audio/4/gone.wav"]).message
    assert why(rows["audio/5/e.wav"]).reason == "empty"


def test_a_cell_is_copied_under_a_name_of_ours_with_its_suffix(tmp_path: Path) -> None:
    write_dataset(tmp_path / "set", columns(), FEATURES)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    row = listed(tmp_path / "set")["audio/0/a b.wav"]
    source_id = scan_file(row)["files"][0]["source_id"]
    with local_source(row["uri"], scratch, source_id) as path:
        assert Path(path).read_bytes() == b"first" * 90
        assert path.endswith(".wav")
    assert not list(scratch.iterdir())


def test_all_splits_and_files_are_listed_and_what_is_no_part_of_them_is_not(
    tmp_path: Path,
) -> None:
    for split in ("train", "test"):
        data = {"video": [(f"{split}{n}.mp4", f"{split}{n}".encode()) for n in range(5)]}
        write_dataset(tmp_path / "set" / split, data, {"video": "Video"}, files=2)
    write_splits(tmp_path / "set", ["train", "test"])
    (path, *_) = (tmp_path / "set" / "train").glob("*.arrow")
    (path.parent / "cache-7f.arrow").write_bytes(path.read_bytes())
    rows = list_folder(ScanConfig(folder=str(tmp_path))).to_pylist()
    assert len(rows) == 10
    assert len({scan_file(row)["files"][0]["source_id"] for row in rows}) == 10
    only = list_folder(ScanConfig(folder=str(tmp_path), globs=("set/test/*",)))
    assert len(only) == 5
    write_splits(tmp_path / "set", ["train", "test", "dev"])
    with pytest.raises(ValueError, match=r"dataset_dict.json: the split 'dev' has no state.json"):
        list_folder(ScanConfig(folder=str(tmp_path)))


def test_a_dataset_whose_state_names_a_missing_file_is_named(tmp_path: Path) -> None:
    first, _ = write_dataset(tmp_path / "set", columns(), FEATURES, files=2)
    first.unlink()
    with pytest.raises(ValueError, match=rf"state.json: {first.name} is missing"):
        list_folder(ScanConfig(folder=str(tmp_path)))


def test_a_name_in_the_state_cannot_lead_out_of_the_folder(tmp_path: Path) -> None:
    (path,) = write_dataset(tmp_path / "set", columns(), FEATURES)
    path.rename(tmp_path / path.name)
    state = tmp_path / "set" / "state.json"
    state.write_text(json.dumps({"_data_files": [{"filename": f"../{path.name}"}]}))
    with pytest.raises(ValueError, match=r"is missing"):
        list_folder(ScanConfig(folder=str(tmp_path)))


@pytest.mark.parametrize("text", ["", "[]", "{"])
def test_a_state_that_cannot_be_read_is_named(tmp_path: Path, text: str) -> None:
    write_dataset(tmp_path / "set", columns(), FEATURES)
    (tmp_path / "set" / "state.json").write_text(text)
    with pytest.raises(ValueError, match=r"dataset .*state.json: not "):
        list_folder(ScanConfig(folder=str(tmp_path)))


def test_a_cut_dataset_gives_the_rows_before_the_cut_and_one_reject(tmp_path: Path) -> None:
    data = {"audio": [(f"{n}.wav", bytes([n]) * 4000) for n in range(6)]}
    (path,) = write_dataset(tmp_path / "set", data, {"audio": "Audio"})
    whole = path.read_bytes()
    for cut, left in ((9000, 2), (len(whole) - 8, 6), (len(whole) - 3000, 4)):
        path.write_bytes(whole[:cut])
        rows = listed(tmp_path)
        assert len(rows) == left + 1
        assert why(rows.pop(path.name)).reason == "truncated"
        assert all(scan_file(row)["files"] for row in rows.values())
    path.write_bytes(b"no arrow at all")
    (row,) = listed(tmp_path).values()
    assert why(row).reason == "not_media"


def test_compressed_cells_are_refused_with_the_mend(tmp_path: Path) -> None:
    data = {"audio": [("a.wav", bytes(9000))]}
    (path,) = write_dataset(tmp_path / "set", data, {"audio": "Audio"})
    with pa.ipc.open_stream(path.read_bytes()) as stream:
        table = stream.read_all()
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with (
        pa.OSFile(str(path), "wb") as sink,
        pa.ipc.new_stream(sink, table.schema, options=options) as out,
    ):
        out.write_table(table)
    (row,) = listed(tmp_path).values()
    assert why(row).reason == "unsupported"


def test_a_dataset_that_changes_after_it_was_listed_is_noticed(tmp_path: Path) -> None:
    (path,) = write_dataset(tmp_path / "set", columns(), FEATURES)
    row = listed(tmp_path)["audio/1/b.wav"]
    os.utime(path, ns=(1, 1))
    assert why(row).reason == "changed"
    path.unlink()
    assert why(row).reason == "missing"


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), max_size=12))
def test_whatever_is_damaged_in_a_dataset_it_is_read_within_the_file(
    tmp_path: Path, changes: list[tuple[int, int]]
) -> None:
    if not (tmp_path / "set").exists():
        write_dataset(tmp_path / "set", columns(), FEATURES)
        (tmp_path / "whole").write_bytes(next((tmp_path / "set").glob("*.arrow")).read_bytes())
    (path,) = (tmp_path / "set").glob("*.arrow")
    data = bytearray((tmp_path / "whole").read_bytes())
    for at, value in changes:
        data[at % len(data)] = value
    path.write_bytes(data)
    for found in arrow_contents(str(path)).held.values():
        if isinstance(found, Slice):
            assert 0 <= found.offset <= found.offset + found.size_bytes <= len(data)
