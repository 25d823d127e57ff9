"""Tars and datasets on disk as others write them, made of given bytes."""

import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from storage.rejects import Rejected
from tasks.scan import ScanConfig, list_folder, scan_file
from tasks.source_uri import split_inside


def write_tar(path: Path, members: Mapping[str, bytes], **how: int) -> Path:
    """A tar of members in their order; `how` goes to tarfile (such as its `format`)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", encoding="utf-8", errors="surrogateescape", **how) as tar:  # type: ignore[call-overload]
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def write_special(path: Path, infos: list[tarfile.TarInfo]) -> Path:
    """A tar of headers alone: links, devices, folders."""
    with tarfile.open(path, "w") as tar:
        for info in infos:
            tar.addfile(info)
    return path


MEDIA = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def write_dataset(
    folder: Path,
    columns: Mapping[str, list[Any]],
    features: Mapping[str, str],
    files: int = 1,
    batch_rows: int = 2,
) -> list[Path]:
    """A dataset as `Dataset.save_to_disk` of Hugging Face lays it out.

    Args:
        folder: where it goes.
        columns: values; those of media features are (name, bytes) or None.
        features: column → feature's type, such as `Audio`, `Image` or `Value`.
        files: Arrow files that the rows are shared out to.
        batch_rows: rows of one record batch.
    """
    folder.mkdir(parents=True)
    rows = len(next(iter(columns.values())))
    arrays = {
        name: values
        if features[name] == "Value"
        else pa.array([v and {"path": v[0], "bytes": v[1]} for v in values], MEDIA)
        for name, values in columns.items()
    }
    described = {
        name: {"_type": kind} | ({"dtype": "string"} if kind == "Value" else {})
        for name, kind in features.items()
    }
    known = {"info": {"features": described}}
    table = pa.table(arrays).replace_schema_metadata({"huggingface": json.dumps(known)})
    paths: list[Path] = []
    for number in range(files):
        first, last = (rows * (number + at) // files for at in (0, 1))
        paths.append(folder / f"data-{number:05d}-of-{files:05d}.arrow")
        with pa.OSFile(str(paths[-1]), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as out:
            out.write_table(table.slice(first, last - first), max_chunksize=batch_rows)
    info = {"citation": "", "description": "", "features": described, "homepage": "", "license": ""}
    (folder / "dataset_info.json").write_text(json.dumps(info, indent=2))
    state = {
        "_data_files": [{"filename": path.name} for path in paths],
        "_fingerprint": "7a6f8d9e0c1b2a3f",
        "_format_columns": None,
        "_format_kwargs": {},
        "_format_type": None,
        "_output_all_columns": False,
        "_split": None,
    }
    (folder / "state.json").write_text(json.dumps(state, indent=2))
    return paths


def write_splits(folder: Path, splits: Sequence[str]) -> Path:
    """The file of a `DatasetDict` that names the splits below a folder."""
    path = folder / "dataset_dict.json"
    path.write_text(json.dumps({"splits": list(splits)}))
    return path


def listed(folder: Path, **fields: Any) -> dict[str, dict[str, Any]]:
    """The listing by the place inside its archive, or by name."""
    rows = list_folder(ScanConfig(folder=str(folder), **fields)).to_pylist()
    return {split_inside(row["uri"])[1] or Path(row["uri"]).name: row for row in rows}


def why(row: dict[str, Any]) -> Rejected:
    """Why a listed source is not taken."""
    with pytest.raises(Rejected) as caught:
        scan_file(row)
    return caught.value
