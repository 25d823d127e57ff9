"""List the sources: which there are, what bytes they hold, what came with them."""

import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from storage.columns import CUES
from storage.ids import sha256_file
from storage.rejects import Rejected
from storage.stage import Output, Rows, ShardRef, ShardResult, ShardTarget, Stage, run_items
from tasks.container import local_path
from tasks.globs import Globs
from tasks.listing import (
    MEDIA_SUFFIXES,
    bucket_rows,
    file_row,
    folder_rows,
    holds_sources,
    inside_rows,
    manifest_rows,
    sidecars_in,
)
from tasks.manifest import (
    LISTED_COLUMNS,
    MANIFEST_COLUMNS,
    MANIFEST_ONLY,
    Manifest,
    manifest_place,
    read_manifest,
)
from tasks.objects import S3
from tasks.source_copy import SCHEME_OF_SUFFIX, contents_of, sha256_source, source_facts
from tasks.source_uri import INSIDE, scheme_of, told, uri_of

QUOTED = "replace(url_encode($folder), '%2F', '/')"
# A name that is not UTF-8 has a `file://` address, whose folders are percent-encoded as well, and
# so has what lies inside a tar or a dataset; the folder itself may be a tar.
BELOW_FOLDER = f"""(starts_with(uri, $folder || '/')
    OR starts_with(uri, 'file://' || {QUOTED} || '/')
    OR {
    " OR ".join(
        f"starts_with(uri, '{s}://' || {QUOTED} || {end})" for s in INSIDE for end in ("'/'", "'#'")
    )
})"""
FORGOTTEN = "(SELECT list(source_id) FROM tombstones) AS _forgotten"
# What only its sidecar or the manifest says otherwise is not read again.
KNOWN = """(SELECT any_value(f.source_id) FROM files f WHERE f.uri = listing.uri
    AND f.size_bytes = listing.size_bytes AND f.mtime_ns = listing.mtime_ns) AS _known"""
LISTING = pa.schema(
    [
        ("uri", pa.string()),
        ("size_bytes", pa.int64()),
        ("mtime_ns", pa.int64()),
        *((name, pa.string()) for name in LISTED_COLUMNS),
        ("cues", CUES),
        ("listed_in", pa.string()),
    ]
)
SEARCH = pa.schema([("manifest", pa.string()), ("lists", pa.bool_())])
COLUMNS = ("uri", "size_bytes", "mtime_ns", *LISTED_COLUMNS, "cues", "listed_in")


@dataclass(frozen=True, slots=True)
class ScanConfig:
    """Where the sources are.

    Attributes:
        folder: the folder, searched with all its subfolders, or one tar, or `s3://bucket/prefix`;
            a relative one counts from the recipe's own folder.
        manifest: CSV or Parquet with any of LISTED_COLUMNS. With a column `uri` its rows are the
            sources and no folder is searched; with a column `path` it says something of the
            folder's. A missing one is no error while it has its default name.
        globs: only files whose path below the folder matches one of these.
        files: only these files, wherever they lie; the folder is not searched.
    """

    folder: str = "."
    manifest: str = "manifest.csv"
    globs: tuple[str, ...] = ()
    files: tuple[str, ...] = ()


def list_folder(config: ScanConfig) -> pa.Table:
    """The sources with what the manifest says of them, ordered by uri.

    Subtitles and texts of the same name beside a media file, also with a language such as
    `film.de.srt`, are its transcript unless the manifest has one.
    Links are followed to files but not out of the folder. Raises NotADirectoryError where the
    folder is missing, FileNotFoundError for one of `files` that is, ManifestError for a manifest
    that cannot be read, and ValueError for a folder whose name is not UTF-8 and for a pattern that
    matches nothing.
    """
    return _given(config)["listing"]


def _given(config: ScanConfig) -> dict[str, pa.Table]:
    """The listing, and one row of `search`: the manifest's path, and whether it lists sources."""
    path = manifest_path(config)
    if config.files:
        rows, lists = _named_rows(config), False
    else:
        is_optional = config.manifest == ScanConfig().manifest
        manifest = read_manifest(_manifest_root(config), config.manifest, is_optional)
        rows, lists = _rows(config, manifest), manifest.lists
    rows.sort(key=lambda row: row["uri"])
    search = {"manifest": path, "lists": lists}
    return {
        "listing": pa.Table.from_pylist(rows, schema=LISTING),
        "search": pa.Table.from_pylist([search], schema=SEARCH),
    }


def manifest_path(config: ScanConfig) -> str:
    """Where the manifest lies: in the folder, beside it where it is a tar, or where it says."""
    return manifest_place(_manifest_root(config), config.manifest)


def _manifest_root(config: ScanConfig) -> str:
    if scheme_of(config.folder) == S3:
        return config.folder.rstrip("/")
    root = Path(config.folder).resolve()
    is_file = root.suffix.lower() in SCHEME_OF_SUFFIX and not root.is_dir()
    return str(root.parent if is_file else root)


def _named_rows(config: ScanConfig) -> list[dict[str, Any]]:
    paths = [Path(local_path(file)) for file in sorted(set(config.files))]
    beside = {folder: sidecars_in(folder) for folder in {path.parent for path in paths}}
    return [file_row(path, path.parent, {}, beside[path.parent]) for path in paths]


def _rows(config: ScanConfig, manifest: Manifest) -> list[dict[str, Any]]:
    root = Path(config.folder).resolve()
    globs = Globs(config.globs, MEDIA_SUFFIXES | SCHEME_OF_SUFFIX.keys())
    if manifest.lists:
        if config.globs:
            raise ValueError(
                f"scan.globs: manifest {manifest.path} lists the sources by `uri` and no folder is "
                "searched; leave out one of them"
            )
        return manifest_rows(manifest)
    if scheme_of(config.folder) == S3:
        rows, root = bucket_rows(_manifest_root(config), globs, manifest), config.folder
    elif not root.is_dir() and not holds_sources(root):
        raise NotADirectoryError(f"source folder {root}: not a folder; mend `scan.folder`")
    elif uri_of(root) != str(root):
        raise ValueError(f"source folder {uri_of(root)}: its name is not UTF-8; rename it")
    elif root.is_dir():
        rows = folder_rows(root, globs, manifest)
    else:
        rows = inside_rows(root, manifest.said, chooses=globs.chooses)
    globs.check(str(root))
    if not rows:
        # An archive whose disk is not mounted is an empty folder; taking it for one whose files
        # were all removed would drop everything that was made of them.
        raise ValueError(f"source folder {root}: no media file in it; is its disk mounted?")
    return rows


def scan_shard(shard: ShardRef, out: ShardTarget, config: ScanConfig) -> ShardResult:
    """Hashes the new and changed files of a listing into rows of `files`."""
    return run_items(shard, out, scan_file)


def scan_file(item: dict[str, Any]) -> Rows:
    """The `files` row of one listed source; raises Rejected for what cannot be read."""
    uri = item["uri"]
    is_file = scheme_of(uri) == "file"
    source_id = _hash_file(item) if is_file else _hash_inside(item)
    if source_id in (item.get("_forgotten") or ()):
        raise Rejected("forgotten", f"{told(uri)}: its content was taken down; remove the file")
    return {"files": [{name: item.get(name) for name in COLUMNS} | {"source_id": source_id}]}


def _hash_file(item: dict[str, Any]) -> str:
    path = Path(local_path(item["uri"]))
    if item["size_bytes"] < 0 and not path.is_symlink() and not path.exists():
        raise Rejected("missing", f"{path}: no such file; put it back or mend the manifest")
    if item["size_bytes"] < 0:
        raise Rejected("unreadable", f"{path}: not a regular file (a link to nowhere, or a pipe)")
    if item["size_bytes"] == 0:
        raise Rejected("empty", f"{path}: the file has no bytes; get a complete copy")
    if scheme := SCHEME_OF_SUFFIX.get(path.suffix.lower()):
        # Such a file is listed itself only where it is damaged.
        damage = contents_of(scheme, str(path)).damage
        raise damage.rejected(str(path)) if damage else _changed(str(path))
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
        raise _changed(str(path))
    return source_id


def _hash_inside(item: dict[str, Any]) -> str:
    uri, listed = item["uri"], (item["size_bytes"], item["mtime_ns"])
    if source_facts(uri) != listed:
        raise _changed(told(uri))
    if item["size_bytes"] == 0:
        raise Rejected("empty", f"{told(uri)}: it has no bytes; get a complete copy")
    source_id = item.get("_known") or sha256_source(uri)
    if source_facts(uri) != listed:
        raise _changed(told(uri))
    return source_id


def _changed(where: str) -> Rejected:
    return Rejected("changed", f"{where}: changed since it was listed; build when it is complete")


# Files of other folders and manifests in the same workspace stay: their rows are items as they
# stand. What another manifest lists stays also where it lies below this folder.
OWN = f"""(len($files) = 0 AND (listed_in IS NOT DISTINCT FROM (SELECT manifest FROM search)
    OR (listed_in IS NULL AND NOT (SELECT lists FROM search) AND {BELOW_FOLDER})))"""

# A file that is named, as for a soundtrack, is listed without its manifest, which may be any of the
# workspace's; what one said of it holds until a build says otherwise. What only a sidecar said is
# read anew, unless it may have been a manifest that gave the text alone.
SAID = f"""(len($files) > 0 AND coalesce({
    ", ".join(f"known.{name}" for name in (*LISTED_COLUMNS, "listed_in") if name != "transcript")
}) IS NOT NULL)"""
TEXT_ALONE = "(CASE WHEN len($files) > 0 AND listing.cues IS NULL THEN known.transcript END)"
AS_SAID = ", ".join(
    f"CASE WHEN {SAID} THEN known.{name} ELSE {new} END AS {name}"
    for name, new in {
        **{name: f"listing.{name}" for name in (*LISTED_COLUMNS, "cues", "listed_in")},
        "transcript": f"coalesce(listing.transcript, {TEXT_ALONE})",
    }.items()
)

STAGE = Stage(
    name="scan",
    title="hash files",
    version=3,
    config=ScanConfig,
    items=f"""
        SELECT uri AS item_id, uri, listing.size_bytes, listing.mtime_ns, {AS_SAID},
               greatest(listing.size_bytes, 0) / 1e6 AS cost_s, {FORGOTTEN}, {KNOWN}
        FROM listing LEFT JOIN files known USING (uri)
        UNION ALL BY NAME
        SELECT uri AS item_id, uri, size_bytes, mtime_ns, {", ".join(MANIFEST_COLUMNS)},
               cues, listed_in, {", ".join(MANIFEST_ONLY)},
               size_bytes / 1e6 AS cost_s, {FORGOTTEN}, source_id AS _known
        FROM files WHERE NOT {OWN} AND uri NOT IN (SELECT uri FROM listing)
    """,
    selects=("folder", "manifest", "globs", "files"),
    outputs=(Output("files", key="uri"),),
    later_columns=MANIFEST_ONLY,
    run=scan_shard,
    given=lambda _catalog, config: _given(config),
)
