"""Rows of a listing: files in folders, and what lies inside tars and datasets, with what is said.

What the manifest says comes first, then what the tar or dataset itself says, then a sidecar.
"""

import json
import os
import stat
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from storage.rejects import Rejected
from tasks.arrow_index import dataset_files
from tasks.container import local_path
from tasks.globs import Globs
from tasks.inside import Contents, Refusal, Slice
from tasks.manifest import LISTED_COLUMNS, Manifest, facts_said
from tasks.objects import S3, facts_of_objects, objects_below, small_objects
from tasks.sidecar import (
    MAX_BYTES,
    Sidecar,
    decoded_text,
    read_sidecars,
    sidecar_facts,
    sidecars_by_stem,
)
from tasks.source_copy import SCHEME_OF_SUFFIX, contents_of
from tasks.source_uri import ARROW, TAR, inside_uri, scheme_of, split_inside, uri_of

VIDEO_SUFFIXES = (
    ".3gp .avi .flv .m2ts .m4v .mkv .mov .mp4 .mpeg .mpg .mts .mxf .ogv .ts .vob .webm .wmv"
)
AUDIO_SUFFIXES = ".aac .aif .aiff .flac .g722 .m4a .mp3 .oga .ogg .opus .wav .wma"
MEDIA_SUFFIXES = frozenset(f"{VIDEO_SUFFIXES} {AUDIO_SUFFIXES}".split(" "))
ARROW_SUFFIX = ".arrow"
NOT_A_FILE = -1
"""The size of what is listed and is no regular file."""

Row = dict[str, Any]
Said = Mapping[str, str]


def folder_rows(root: Path, globs: Globs, manifest: Manifest) -> list[Row]:
    """A row for each chosen source below a folder; links are followed to files inside it only."""
    rows: list[Row] = []
    for folder, _, names in os.walk(root):
        beside, dataset = sidecars_by_stem(names), dataset_files(Path(folder))
        for name in names:
            path = Path(folder) / name
            if scheme_of_file(path) == ARROW and path not in dataset:
                continue
            if not (globs.chooses(str(path.relative_to(root))) and stays_inside(path, root)):
                continue
            if holds_sources(path):
                rows += inside_rows(path, manifest.said)
                continue
            with suppress(FileNotFoundError):  # it was removed since its folder was read
                rows.append(file_row(path, root, manifest.said.get(str(path), {}), beside))
    return rows


def manifest_rows(manifest: Manifest) -> list[Row]:
    """A row for each source that a manifest lists; those that are not there are rows too."""
    rows: list[Row] = []
    objects: list[str] = []
    inside: dict[tuple[str, str], set[str]] = {}
    beside: dict[Path, dict[str, list[Sidecar]]] = {}
    for uri, said in manifest.said.items():
        if scheme_of(uri) == S3:
            objects.append(uri)
            continue
        if scheme_of(uri) != "file":
            path, name = split_inside(uri)
            inside.setdefault((scheme_of(uri), path), set()).add(name)
            continue
        path = Path(local_path(uri))
        if holds_sources(path):
            rows += inside_rows(path, manifest.said, said)
            continue
        if path.parent not in beside:
            beside[path.parent] = sidecars_in(path.parent)
        rows.append(file_row(path, path.parent, said, beside[path.parent], may_be_missing=True))
    for (scheme, path), names in inside.items():
        found = inside_rows(Path(path), manifest.said, only=names, scheme=scheme)
        rows += found
        missing = {inside_uri(scheme, path, name) for name in names} - {r["uri"] for r in found}
        rows += [_row(uri, NOT_A_FILE, 0, manifest.said[uri]) for uri in missing]
    there = facts_of_objects(objects)
    rows += [_row(u, *there.get(u, (NOT_A_FILE, 0)), manifest.said[u]) for u in objects]
    named = {row["uri"]: row for row in rows}
    return [row | {"listed_in": manifest.path} for row in named.values()]


def bucket_rows(url: str, globs: Globs, manifest: Manifest) -> list[Row]:
    """A row for each chosen object below `s3://bucket/prefix`, with the texts beside it."""
    facts = objects_below(url)
    folders: dict[str, list[str]] = {}
    for key in facts:
        folder, _, name = key.rpartition("/")
        folders.setdefault(folder, []).append(name)
    beside = {folder: sidecars_by_stem(names) for folder, names in folders.items()}
    rows, wanted = {}, {}
    for key in filter(globs.chooses, facts):
        if PurePosixPath(key).suffix.lower() == ARROW_SUFFIX:
            continue
        uri = f"{url}/{key}"
        rows[key] = _row(uri, *facts[key], manifest.said.get(uri, {}))
        if not rows[key]["transcript"]:
            folder, mark, name = key.rpartition("/")
            sidecars = beside[folder].get(PurePosixPath(name).stem, ())
            wanted[key] = [Sidecar(f"{folder}{mark}{s.name}", s.language) for s in sidecars]
    asked = {s.name for sidecars in wanted.values() for s in sidecars}
    texts = small_objects(url, {key: facts[key] for key in asked if facts[key][0] <= MAX_BYTES})
    for key, sidecars in wanted.items():
        rows[key] |= sidecar_facts(sidecars, lambda name: texts.get(name, b""))
    return list(rows.values())


def holds_sources(path: Path) -> bool:
    """Whether a path is a regular file of a kind whose inside is listed."""
    return scheme_of_file(path) != "file" and path.is_file()


def scheme_of_file(path: Path) -> str:
    """The scheme of what lies inside a file, by its suffix; `file` where nothing does."""
    return SCHEME_OF_SUFFIX.get(path.suffix.lower(), "file")


def inside_rows(
    path: Path,
    said_of: Mapping[str, Said],
    said: Said | None = None,
    only: Collection[str] | None = None,
    chooses: Callable[[str], bool] | None = None,
    scheme: str = "",
) -> list[Row]:
    """A row for each source inside a file, and one for the file itself where it is damaged.

    Args:
        path: a tar, or an Arrow file of a dataset.
        said_of: what a manifest says, by uri.
        said: what a manifest says of the whole file.
        only: names of the sources that are asked for, whatever their suffix.
        chooses: which names are asked for; media files where it is None.
        scheme: how it is read; by its suffix where it is empty.
    """
    scheme = scheme or scheme_of_file(path)
    # A dataset says itself which of its columns are media.
    chooses = (lambda _name: True) if scheme == ARROW else chooses or _is_media
    try:
        mtime_ns = path.stat().st_mtime_ns
        contents = contents_of(scheme, str(path))
        asked = only if only is not None else filter(chooses, contents.held)
        with path.open("rb") as stream:
            beside = _Beside(stream, contents) if scheme == TAR else None
            rows = [
                _inside_row(inside_uri(scheme, path, name), name, found, mtime_ns, beside)
                for name in asked
                if (found := contents.held.get(name)) is not None
            ]
    except (OSError, Rejected):
        # Whoever hashes it says what is wrong with it.
        return [_container_row(path, said)] if only is None else []
    for row in rows:
        given = {**(said or {}), **said_of.get(row["uri"], {})}
        if given.get("transcript"):
            row["cues"] = None
        row |= given
    if contents.damage and only is None:
        rows.append(_container_row(path, said))
    return rows


def _inside_row(
    uri: str, name: str, found: Slice | Refusal, mtime_ns: int, beside: "_Beside | None"
) -> Row:
    """The row of one source inside a file, with what the file itself says of it."""
    if isinstance(found, Refusal):
        return _row(uri, NOT_A_FILE, mtime_ns, {})
    row = _row(uri, found.size_bytes, mtime_ns, beside.said(name) if beside else found.said or {})
    return row | beside.transcript(name) if beside and not row["transcript"] else row


def _is_media(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in MEDIA_SUFFIXES


class _Beside:
    """What lies beside the media files of a tar: members of the same key or the same stem.

    The key is a member's path up to the first dot of its name, as WebDataset has it.
    """

    def __init__(self, stream: BinaryIO, contents: Contents) -> None:
        self._stream, self._held = stream, contents.held
        folders: dict[str, list[str]] = {}
        for name in contents.held:
            folder, _, last = name.rpartition("/")
            folders.setdefault(folder, []).append(last)
        self._sidecars = {folder: sidecars_by_stem(names) for folder, names in folders.items()}

    def said(self, name: str) -> dict[str, str]:
        """What the JSON of a member's sample says; nothing where it is damaged or not an object."""
        for stem in _stems(name):
            if text := decoded_text(self._read(f"{stem}.json")):
                try:
                    row = json.loads(text)
                except (ValueError, RecursionError):
                    continue
                if isinstance(row, dict):
                    return facts_said(row)
        return {}

    def transcript(self, name: str) -> Row:
        """What the subtitles and texts of a member's sample say."""
        folder, mark, _ = name.rpartition("/")
        stems = [stem.rpartition("/")[2] for stem in _stems(name)]
        sidecars = [s for stem in stems for s in self._sidecars[folder].get(stem, ())]
        return sidecar_facts(sidecars, lambda last: self._read(f"{folder}{mark}{last}"))

    def _read(self, name: str) -> bytes:
        found = self._held.get(name)
        return found.read(self._stream, MAX_BYTES) if isinstance(found, Slice) else b""


def _stems(name: str) -> list[str]:
    """The paths without suffix under which something belongs to a member, the nearest first."""
    folder, mark, last = name.rpartition("/")
    stem, key = PurePosixPath(last).stem, last.split(".")[0]
    return [f"{folder}{mark}{each}" for each in dict.fromkeys((stem, key or stem))]


def stays_inside(path: Path, root: Path) -> bool:
    """Whether a path that may be a link leads to something below a folder."""
    # Path.resolve would raise for links that go round in a circle.
    return not path.is_symlink() or Path(os.path.realpath(path)).is_relative_to(root)


def sidecars_in(folder: Path) -> dict[str, list[Sidecar]]:
    """The sidecars in a folder by stem; none where there is no folder."""
    return sidecars_by_stem(os.listdir(folder)) if folder.is_dir() else {}


def file_row(
    path: Path,
    root: Path,
    said: Said,
    beside: Mapping[str, list[Sidecar]],
    may_be_missing: bool = False,
) -> Row:
    """The row of one file.

    Args:
        path: the file's.
        root: what a sidecar that is a link must stay below.
        said: what the manifest says of it.
        beside: the sidecars of its folder by stem.
        may_be_missing: whether a missing file is a row too; else FileNotFoundError is raised.
    """
    try:
        facts = os.stat(path) if path.exists() else os.lstat(path)
    except FileNotFoundError:
        if may_be_missing:
            return _row(uri_of(path), NOT_A_FILE, 0, said)
        raise
    is_file = stat.S_ISREG(facts.st_mode)
    row = _row(uri_of(path), facts.st_size if is_file else NOT_A_FILE, facts.st_mtime_ns, said)
    if row["transcript"]:
        return row
    sidecars = [
        sidecar
        for sidecar in beside.get(path.stem, ())
        if (path.parent / sidecar.name).is_file() and stays_inside(path.parent / sidecar.name, root)
    ]
    return row | read_sidecars(path.parent, sidecars)


def _container_row(path: Path, said: Said | None) -> Row:
    return file_row(path, path.parent, said or {}, {}, may_be_missing=True)


def _row(uri: str, size_bytes: int, mtime_ns: int, said: Said) -> Row:
    facts: Row = {name: said.get(name) for name in LISTED_COLUMNS}
    return facts | {"uri": uri, "size_bytes": size_bytes, "mtime_ns": mtime_ns}
