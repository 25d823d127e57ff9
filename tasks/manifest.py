"""A manifest: what somebody says of the sources, in CSV or Parquet, or which sources there are."""

import csv
import io
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from storage.access import StoreError
from storage.keys import SPLITS
from storage.rejects import Rejected
from storage.store import ObjectStore
from tasks.container import local_path
from tasks.objects import S3
from tasks.source_uri import INSIDE, inside_uri, scheme_of, split_inside, uri_of

MANIFEST_COLUMNS = ("licence", "attribution", "consent", "transcript", "speaker", "recording")
MANIFEST_ONLY = ("split", "truth")
"""What a manifest alone may say: what lies in a tar or a dataset often has a `split` of its own."""
LISTED_COLUMNS = (*MANIFEST_COLUMNS, *MANIFEST_ONLY)
# What the same is called elsewhere; the name in MANIFEST_COLUMNS comes first where both are given.
SPELLINGS = {
    "license": "licence",
    "text": "transcript",
    "transcription": "transcript",
    "sentence": "transcript",
}
SCHEMES = ("file", *INSIDE, S3)
TRUTH = "truth"
LONGEST_CELL = 131_072
"""Characters of a cell in CSV, as many as Python's own reader takes; truth may have more."""


class ManifestError(ValueError):
    """The manifest of the sources cannot be used."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """A read manifest.

    Attributes:
        path: where it lies.
        lists: whether its rows are the sources; else it only says something of them.
        said: uri → what its row says, by LISTED_COLUMNS; what is empty is left out.
    """

    path: str
    lists: bool
    said: Mapping[str, dict[str, str]]


def facts_said(row: Mapping[Any, Any]) -> dict[str, str]:
    """What a row says under MANIFEST_COLUMNS or SPELLINGS; only texts and numbers count."""
    said: dict[str, str] = {}
    for name in (*MANIFEST_COLUMNS, *SPELLINGS):
        value = row.get(name)
        if isinstance(value, str | int | float) and not isinstance(value, bool) and value != "":
            said.setdefault(SPELLINGS.get(name, name), str(value))
    return said


def manifest_place(root: str, name: str) -> str:
    """Where a name lies that counts from a folder or an object store's address."""
    if os.path.isabs(name) or "://" in name:
        return name
    return f"{root}/{name}" if scheme_of(root) == S3 else str(Path(root) / name)


def read_manifest(root: str | Path, name: str, is_optional: bool = False) -> Manifest:
    """A manifest below a folder, or at an absolute path; an optional one may be missing.

    With a column `uri` its rows are the sources. With a column `path`, which counts from the
    folder or is a uri, they say something of what the folder holds.
    Raises ManifestError naming the file, the row and what is wrong with it.
    """
    path = manifest_place(str(root), name)
    data = _read(path)
    if data is None:
        if is_optional:
            return Manifest(path, False, {})
        raise ManifestError(f"manifest {path}: no such file; mend `scan.manifest`")
    parse = _parquet if path.lower().endswith(".parquet") else _csv
    columns, rows = parse(path, data)
    lists = "uri" in columns
    if not lists and "path" not in columns:
        raise ManifestError(
            f"manifest {path}: the column `path` is missing (or `uri`, to list the sources); "
            f"there are: {', '.join(columns) or 'none'}"
        )
    said: dict[str, dict[str, str]] = {}
    first: dict[str, int] = {}
    for number, row in rows:
        key = row.get("uri" if lists else "path")
        if not key:
            continue
        uri = _listed_uri(path, number, str(key)) if lists else manifest_place(str(root), str(key))
        facts = facts_said(row) | _own_facts(path, number, row)
        if said.setdefault(uri, facts) != facts:
            raise ManifestError(
                f"manifest {path}: row {number} says other things of {key} than row {first[uri]}; "
                "keep one of them"
            )
        first.setdefault(uri, number)
    if lists and not said:
        raise ManifestError(f"manifest {path}: no row has a uri; add the sources")
    return Manifest(path, lists, said)


def _own_facts(path: str, number: int, row: Mapping[str, Any]) -> dict[str, str]:
    """What a row says under MANIFEST_ONLY; raises ManifestError for a split that there is not."""
    cells = {name: str(row.get(name) or "").strip() for name in MANIFEST_ONLY}
    facts = {name: text for name, text in cells.items() if text}
    if (split := facts.get("split", SPLITS[0])) not in SPLITS:
        raise ManifestError(
            f"manifest {path}: row {number}: split {split!r}: give {', '.join(SPLITS)} or nothing, "
            "or call the column otherwise"
        )
    return facts


def _read(path: str) -> bytes | None:
    """The bytes of a manifest, or None where there is none."""
    try:
        if scheme_of(path) != S3:
            return Path(path).read_bytes()
        folder, _, name = path.rpartition("/")
        with ObjectStore(folder).open(name) as file:
            return bytes(file.read())
    except FileNotFoundError:
        return None
    except StoreError:
        raise
    except OSError as error:
        raise ManifestError(f"manifest {path}: {error.strerror}; mend `scan.manifest`") from error


def _csv(path: str, data: bytes) -> tuple[list[str], Iterable[tuple[int, dict[str, Any]]]]:
    """The columns and the rows with their line's number in a CSV file."""
    try:
        # Spreadsheets begin a UTF-8 file with a byte order mark.
        text = data.decode("utf-8-sig")
        csv.field_size_limit(max(csv.field_size_limit(), len(text)))
        reader = csv.DictReader(io.StringIO(text, newline=""))
        rows = [(reader.line_num, row) for row in reader]
        for number, row in rows:
            _require_cells(number, row)
        return list(reader.fieldnames or ()), rows
    except (UnicodeDecodeError, csv.Error) as error:
        raise ManifestError(f"manifest {path}: not CSV in UTF-8: {error}") from error


def _require_cells(number: int, row: dict[str, Any]) -> None:
    """Raises csv.Error for a cell that is too long to be one, as in a file that is no table.

    What is true of an hour of speech is one cell, and longer than that.
    """
    for name, cell in row.items():
        if name != TRUTH and isinstance(cell, str) and len(cell) > LONGEST_CELL:
            raise csv.Error(
                f"line {number}: a cell of {name} has {len(cell)} characters, more than "
                f"{LONGEST_CELL}"
            )


def _parquet(path: str, data: bytes) -> tuple[list[str], Iterable[tuple[int, dict[str, Any]]]]:
    """The columns and the rows with their number, from 1, in a Parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    known = {"uri", "path", *LISTED_COLUMNS, *SPELLINGS}
    try:
        with pq.ParquetFile(pa.BufferReader(data)) as file:
            names = [name for name in file.schema_arrow.names if name in known]
            rows = file.read(columns=names).to_pylist()
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        said = " ".join(str(error).split())
        raise ManifestError(f"manifest {path}: not Parquet that can be read: {said}") from error
    return names, enumerate(rows, 1)


def _listed_uri(path: str, number: int, given: str) -> str:
    """The uri of a row in the one spelling that the catalog has of it."""
    scheme = scheme_of(given)
    if scheme in INSIDE:
        file, name = split_inside(given)
        if not (name and os.path.isabs(file)):
            mend = f"{scheme}:///absolute/path#/name"
            raise ManifestError(f"manifest {path}: row {number}: uri {given!r}: give {mend}")
        return inside_uri(scheme, file, name)
    if scheme == S3 and all(given.partition("://")[2].partition("/")[::2]):
        return given
    if scheme not in SCHEMES or scheme == S3:
        kinds = ", ".join(f"{known}://" for known in SCHEMES)
        raise ManifestError(
            f"manifest {path}: row {number}: uri {given!r}: only absolute paths, {kinds} are read"
        )
    try:
        file = local_path(given)
    except Rejected as reject:
        raise ManifestError(f"manifest {path}: row {number}: {reject.message}") from None
    if not os.path.isabs(file):
        raise ManifestError(
            f"manifest {path}: row {number}: uri {given!r} is relative; give an absolute path, or "
            "name the column `path`"
        )
    return uri_of(Path(os.path.normpath(file)))
