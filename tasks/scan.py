"""List a source folder: which files are there, what bytes they hold, what came with them."""

import csv
import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow as pa

from storage.columns import CUES
from storage.ids import sha256_file
from storage.rejects import Rejected
from storage.stage import Output, Rows, ShardRef, ShardResult, ShardTarget, Stage, run_items
from tasks.container import local_path
from tasks.sidecar import Sidecar, read_sidecars, sidecars_by_stem

VIDEO_SUFFIXES = (
    ".3gp .avi .flv .m2ts .m4v .mkv .mov .mp4 .mpeg .mpg .mts .mxf .ogv .ts .vob .webm .wmv"
)
AUDIO_SUFFIXES = ".aac .aif .aiff .flac .g722 .m4a .mp3 .oga .ogg .opus .wav .wma"
MEDIA_SUFFIXES = frozenset(f"{VIDEO_SUFFIXES} {AUDIO_SUFFIXES}".split(" "))
MANIFEST_COLUMNS = ("licence", "attribution", "consent", "transcript", "speaker", "recording")
# A name that is not UTF-8 has a `file://` address, whose folders are percent-encoded as well.
BELOW_FOLDER = """(starts_with(uri, $folder || '/')
    OR starts_with(uri, 'file://' || replace(url_encode($folder), '%2F', '/') || '/'))"""
FORGOTTEN = "(SELECT list(source_id) FROM tombstones) AS _forgotten"
# What only its sidecar or the manifest says otherwise is not read again.
KNOWN = """(SELECT any_value(f.source_id) FROM files f WHERE f.uri = listing.uri
    AND f.size_bytes = listing.size_bytes AND f.mtime_ns = listing.mtime_ns) AS _known"""
LISTING = pa.schema(
    [
        ("uri", pa.string()),
        ("size_bytes", pa.int64()),
        ("mtime_ns", pa.int64()),
        *((name, pa.string()) for name in MANIFEST_COLUMNS),
        ("cues", CUES),
    ]
)


class ManifestError(ValueError):
    """The manifest of a source folder cannot be used."""


@dataclass(frozen=True, slots=True)
class ScanConfig:
    """Where the sources are.

    Attributes:
        folder: the folder, searched with all its subfolders; a relative one counts from the
            recipe's own folder.
        manifest: CSV with a column `path` and any of MANIFEST_COLUMNS; a missing one is no error
            while it has its default name.
        files: only these files, wherever they lie; the folder is not searched.
    """

    folder: str = "."
    manifest: str = "manifest.csv"
    files: tuple[str, ...] = ()


def list_folder(config: ScanConfig) -> pa.Table:
    """The media files below a folder with what the manifest says of them, ordered by path.

    Subtitles and texts of the same name beside a media file, also with a language such as
    `film.de.srt`, are its transcript unless the manifest has one.
    Links are followed to files but not out of the folder. Raises NotADirectoryError where the
    folder is missing, FileNotFoundError for one of `files` that is, ManifestError for a manifest
    that cannot be read, and ValueError for a folder whose name is not UTF-8.
    """
    if config.files:
        paths = [Path(local_path(file)) for file in sorted(set(config.files))]
        beside = {folder: _sidecars(folder) for folder in {path.parent for path in paths}}
        rows = [_listed(path, path.parent, {}, beside[path.parent]) for path in paths]
        return pa.Table.from_pylist(rows, schema=LISTING)
    root = Path(config.folder)
    if not root.is_dir():
        raise NotADirectoryError(f"source folder {root}: not a folder; mend `scan.folder`")
    root = root.resolve()
    if uri_of(root) != str(root):
        raise ValueError(f"source folder {uri_of(root)}: its name is not UTF-8; rename it")
    manifest = read_manifest(root, config.manifest)
    rows = []
    for folder, _, names in os.walk(root):
        beside = sidecars_by_stem(names)
        for name in names:
            path = Path(folder) / name
            if path.suffix.lower() in MEDIA_SUFFIXES and _stays_inside(path, root):
                with suppress(FileNotFoundError):  # it was removed since its folder was read
                    rows.append(_listed(path, root, manifest.get(str(path), {}), beside))
    if not rows:
        # An archive whose disk is not mounted is an empty folder; taking it for one whose files
        # were all removed would drop everything that was made of them.
        raise ValueError(f"source folder {root}: no media file in it; is its disk mounted?")
    rows.sort(key=lambda row: row["uri"])
    return pa.Table.from_pylist(rows, schema=LISTING)


def uri_of(path: Path) -> str:
    """The uri of a path: the path as it is, or a `file://` address where it is not UTF-8.

    Tables hold UTF-8 only. `tasks.container.local_path` gives the path back, byte for byte.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return f"file://{quote(os.fsencode(path))}"
    return str(path)


def _stays_inside(path: Path, root: Path) -> bool:
    # Path.resolve would raise for links that go round in a circle.
    return not path.is_symlink() or Path(os.path.realpath(path)).is_relative_to(root)


def _sidecars(folder: Path) -> dict[str, list[Sidecar]]:
    return sidecars_by_stem(os.listdir(folder)) if folder.is_dir() else {}


def _listed(
    path: Path, root: Path, said: dict[str, str], beside: dict[str, list[Sidecar]]
) -> dict[str, Any]:
    facts = os.stat(path) if path.exists() else os.lstat(path)
    row: dict[str, Any] = {name: said.get(name) or None for name in MANIFEST_COLUMNS}
    if not row["transcript"]:
        sidecars = [
            sidecar
            for sidecar in beside.get(path.stem, ())
            if (path.parent / sidecar.name).is_file()
            and _stays_inside(path.parent / sidecar.name, root)
        ]
        row |= read_sidecars(path.parent, sidecars)
    return row | {
        "uri": uri_of(path),
        "size_bytes": facts.st_size if stat.S_ISREG(facts.st_mode) else -1,
        "mtime_ns": facts.st_mtime_ns,
    }


def read_manifest(root: Path, name: str) -> dict[str, dict[str, str]]:
    """What the manifest says, by absolute path; empty where the default manifest is missing.

    Raises ManifestError naming the file and what is wrong with it.
    """
    path = root / name
    if not path.exists():
        if name == ScanConfig().manifest:
            return {}
        raise ManifestError(f"manifest {path}: no such file; mend `scan.manifest`")
    try:
        # Spreadsheets begin a UTF-8 file with a byte order mark.
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            if "path" not in (reader.fieldnames or ()):
                raise ManifestError(f"manifest {path}: the column `path` is missing")
            return {str(root / row["path"]): row for row in reader if row["path"]}
    except (UnicodeDecodeError, csv.Error) as error:
        raise ManifestError(f"manifest {path}: not CSV in UTF-8: {error}") from error


def scan_shard(shard: ShardRef, out: ShardTarget, config: ScanConfig) -> ShardResult:
    """Hashes the new and changed files of a listing into rows of `files`."""
    return run_items(shard, out, scan_file)


def scan_file(item: dict[str, Any]) -> Rows:
    """The `files` row of one listed path; raises Rejected for what is not a readable file."""
    path = Path(local_path(item["uri"]))
    if item["size_bytes"] < 0:
        raise Rejected("unreadable", f"{path}: not a regular file (a link to nowhere, or a pipe)")
    if item["size_bytes"] == 0:
        raise Rejected("empty", f"{path}: the file has no bytes; get a complete copy")
    try:
        before = path.stat()
        # What became a pipe since it was listed would block its reader.
        source_id = item.get("_known") or ""
        if not source_id and stat.S_ISREG(before.st_mode):
            source_id = sha256_file(path)
        after = path.stat()
    except FileNotFoundError:
        raise Rejected("missing", f"{path}: gone since it was listed; build again") from None
    except OSError as error:
        raise Rejected("unreadable", f"{path}: {error.strerror}; check its permissions") from None
    listed = (item["size_bytes"], item["mtime_ns"])
    if not source_id or (after.st_size, after.st_mtime_ns) != listed:
        raise Rejected("changed", f"{path}: changed since it was listed; build when it is complete")
    if source_id in (item.get("_forgotten") or ()):
        raise Rejected("forgotten", f"{path}: its content was taken down; remove the file")
    row = {name: item[name] for name in ("uri", "size_bytes", "mtime_ns", *MANIFEST_COLUMNS)}
    row["cues"] = item["cues"]
    return {"files": [row | {"source_id": source_id}]}


STAGE = Stage(
    name="scan",
    title="hash files",
    version=2,
    config=ScanConfig,
    # Files of other folders in the same workspace stay: their rows are items as they stand.
    items=f"""
        SELECT uri AS item_id, uri, size_bytes, mtime_ns, {", ".join(MANIFEST_COLUMNS)},
               cues, greatest(size_bytes, 0) / 1e6 AS cost_s, {FORGOTTEN}, {KNOWN}
        FROM listing
        UNION ALL
        SELECT uri AS item_id, uri, size_bytes, mtime_ns, {", ".join(MANIFEST_COLUMNS)},
               cues, size_bytes / 1e6 AS cost_s, {FORGOTTEN}, source_id AS _known
        FROM files WHERE (len($files) > 0 OR NOT {BELOW_FOLDER})
        AND uri NOT IN (SELECT uri FROM listing)
    """,
    selects=("folder", "manifest", "files"),
    outputs=(Output("files", key="uri"),),
    run=scan_shard,
    given=lambda _catalog, config: {"listing": list_folder(config)},
)
